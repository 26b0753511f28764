//! What configurations are accepted and refused, and what they come to.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use vedette_scrape::Target;
use vedette_scrape::config::{
    Authentication, ConfigError, GlobalConfig, RawGlobalConfig, RawScrapeConfig, ScrapeConfig, SecretSource,
    check_scrape_configs,
};

fn scrape(yaml: &str) -> Result<Vec<ScrapeConfig>, String> {
    let raw: Vec<Option<RawScrapeConfig>> =
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    let checked = check_scrape_configs(&raw, &GlobalConfig::default(), Path::new("/etc/vedette"));
    checked.map_err(|error| error.to_string())
}

fn global(yaml: &str) -> Result<GlobalConfig, ConfigError> {
    let raw: RawGlobalConfig = serde_saphyr::from_str(yaml).expect("YAML");
    GlobalConfig::check(&raw, &|name| (name == "HOST").then(|| "box".to_owned()))
}

/// Refused, with `text` in the message.
fn refused(yaml: &str, text: &str) {
    let error = scrape(yaml).expect_err(yaml);
    assert!(error.contains(text), "{yaml}: {error}");
}

#[test]
fn defaults() {
    let config = scrape("- job_name: j\n  static_configs:\n  - targets: ['a:1']\n").expect("good").remove(0);
    assert_eq!(config.scrape_interval, Duration::from_secs(60));
    assert_eq!(config.scrape_timeout, Duration::from_secs(10));
    assert_eq!((config.metrics_path.as_str(), config.scheme.as_str()), ("/metrics", "http"));
    assert!(config.honor_timestamps && config.enable_compression && config.http.follow_redirects);
    assert!(!config.honor_labels && !config.track_timestamps_staleness);
    // A timeout that is not given never exceeds the interval.
    let config = scrape("- {job_name: j, scrape_interval: 5s}").expect("good").remove(0);
    assert_eq!(config.scrape_timeout, Duration::from_secs(5));
}

#[test]
fn refusals_name_line_and_key() {
    refused(
        "- job_name: j\n  scrape_interval: 5x\n",
        "line 2: scrape_configs[0].scrape_interval: unknown unit",
    );
    refused(
        "- job_name: j\n  relabel_configs: []\n",
        "line 2: scrape_configs[0].relabel_configs: not supported yet",
    );
    for key in ["metric_relabel_configs", "file_sd_configs", "kubernetes_sd_configs", "oauth2", "proxy_url"] {
        refused(&format!("- job_name: j\n  {key}: {{}}\n"), "not supported yet");
    }
    refused("- job_name: j\n  scrape_intervall: 5s\n", "unknown field `scrape_intervall`");
    refused("- job_name: j\n  metric_name_validation_scheme: legacy\n", "not supported yet");
}

#[test]
fn what_prometheus_refuses_too() {
    refused("- {}", "job_name is empty");
    refused("- ", "empty or null scrape config section");
    refused("- job_name: j\n- job_name: j\n", "line 2: scrape_configs[1].job_name: found multiple");
    refused("- {job_name: j, scrape_interval: 5s, scrape_timeout: 6s}", "scrape timeout greater than");
    refused("- {job_name: j, scrape_protocols: []}", "cannot be empty");
    refused(
        "- {job_name: j, scrape_protocols: [PrometheusText0.0.4, PrometheusText0.0.4]}",
        "duplicated protocol",
    );
    refused("- {job_name: j, scrape_protocols: [x]}", "unknown scrape protocol x");
    refused("- {job_name: j, fallback_scrape_protocol: x}", "unknown scrape protocol x");
    refused("- {job_name: j, body_size_limit: 100}", "unknown unit");
    refused("- {job_name: j, static_configs: [{targets: ['http://a']}]}", "is not a valid hostname");
    refused("- {job_name: j, static_configs: [null]}", "empty or null section");
    refused("- {job_name: j, sample_limit: -1}", "sample_limit");
    refused("- {job_name: j, basic_auth: {username: u}, authorization: {credentials: x}}", "at most one of");
    refused("- {job_name: j, basic_auth: {password: u, password_file: x}}", "at most one of password");
    refused("- {job_name: j, authorization: {type: Basic, credentials: x}}", "use \"basic_auth\"");
    refused("- {job_name: j, bearer_token: a, bearer_token_file: b}", "at most one of");
    refused("- {job_name: j, tls_config: {cert_file: a}}", "exactly both");
    refused("- {job_name: j, tls_config: {min_version: TLS99}}", "unknown TLS version");
    refused("- {job_name: j, http_headers: {authorization: {values: [x]}}}", "is not allowed");
}

#[test]
fn protobuf_is_asked_for_where_native_histograms_are() {
    let protocols = |yaml: &str| {
        let config = scrape(yaml).expect(yaml).remove(0);
        config.scrape_protocols.iter().map(|protocol| protocol.as_str()).collect::<Vec<_>>()
    };
    let text = ["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"];
    assert_eq!(protocols("- {job_name: j}"), text);
    let all = protocols("- {job_name: j, scrape_native_histograms: true}");
    assert_eq!((all[0], &all[1..]), ("PrometheusProto", &text[..]));
    let own = "- {job_name: j, scrape_native_histograms: true, scrape_protocols: [PrometheusText0.0.4, PrometheusProto]}";
    assert_eq!(protocols(own), ["PrometheusText0.0.4", "PrometheusProto"]);
    let config = scrape("- {job_name: j, always_scrape_classic_histograms: true}").expect("good").remove(0);
    assert!(config.histograms.classic_as_well && !config.histograms.native);
}

#[test]
fn histograms_are_read_as_the_job_says_or_global_does() {
    let yes = global("convert_classic_histograms_to_nhcb: true").expect("good");
    let raw: Vec<Option<RawScrapeConfig>> =
        serde_saphyr::from_str("- job_name: a\n- {job_name: b, convert_classic_histograms_to_nhcb: false}\n")
            .expect("YAML");
    let configs = check_scrape_configs(&raw, &yes, Path::new("/")).expect("good");
    let converts: Vec<_> = configs.iter().map(|config| config.convert_classic_histograms).collect();
    assert_eq!(converts, [true, false]);
    let limits = |keys: &str| {
        let limits = scrape(&format!("- {{job_name: j{keys}}}")).expect(keys)[0].histogram_limits;
        (limits.buckets_max, limits.schema_max)
    };
    assert_eq!(limits(""), (0, 8));
    assert_eq!(limits(", native_histogram_bucket_limit: 20"), (20, 8));
    // What Prometheus makes of a factor.
    for (factor, schema) in [
        ("0", 8),
        ("-1", 8),
        ("1", 8),
        ("1.001", 8),
        ("1.1", 2),
        ("1.5", 0),
        ("2", 0),
        ("4", -1),
        ("1e9", -4),
        (".nan", 0),
    ] {
        assert_eq!(limits(&format!(", native_histogram_min_bucket_factor: {factor}")).1, schema, "{factor}");
    }
    refused("- {job_name: j, native_histogram_bucket_limit: -1}", "native_histogram_bucket_limit");
    refused("- {job_name: j, native_histogram_min_bucket_factor: x}", "native_histogram_min_bucket_factor");
}

#[test]
fn a_targets_labels_may_decide_on_histograms() {
    let yaml = "- job_name: j\n  scrape_native_histograms: true\n  static_configs:\n  - targets: ['a:1']\n    labels: {__scrape_native_histograms__: 'f', __convert_classic_histograms_to_nhcb__: '1', __always_scrape_classic_histograms__: yes}\n";
    let config = std::sync::Arc::new(scrape(yaml).expect("good").remove(0));
    let (targets, _) = Target::of_config(&config);
    let target = &targets[0];
    assert!(!target.histograms.native && !target.histograms.classic_as_well);
    assert!(target.converts_classic_histograms);
    assert_eq!(target.labels.len(), 2);
}

#[test]
fn files_are_relative_to_the_configuration() {
    let config =
        scrape("- {job_name: j, basic_auth: {username: u, password_file: secret}}").expect("good").remove(0);
    let Some(Authentication::Basic { password: SecretSource::File(path), .. }) = config.http.authentication
    else {
        panic!("no password file")
    };
    assert_eq!(path, Path::new("/etc/vedette/secret"));
}

#[test]
fn globals() {
    let config = global("scrape_interval: 5s\nexternal_labels: {site: '$HOST-${HOST}-$$x-${NONE}', a: ''}")
        .expect("good");
    assert_eq!(config.scrape_timeout, Duration::from_secs(5));
    assert_eq!(config.external_labels.get("site"), Some("box-box-$x-"));
    assert_eq!(config.external_labels.len(), 1);
    let error = global("scrape_timeout: 90s").expect_err("longer than the interval");
    assert_eq!((error.line, error.key.as_str()), (1, "scrape_timeout"));
    assert!(global("evaluation_interval: 5s").is_err());
}

#[test]
fn targets() {
    let configs = scrape(
        "- job_name: j\n  target_limit: 2\n  params: {m: [a, b]}\n  static_configs:\n  \
         - {targets: ['h:1', 'h:1', '[::1]:2'], labels: {env: x, job: other}}\n  \
         - {targets: ['h:3'], labels: {__metrics_path__: /p, __param_m: c, __scheme__: https, __scrape_interval__: 30s}}\n",
    )
    .expect("good");
    let config = std::sync::Arc::new(configs[0].clone());
    let (targets, errors) = Target::of_config(&config);
    assert!(errors.is_empty());
    let urls: Vec<&str> = targets.iter().map(|target| target.url.as_str()).collect();
    assert_eq!(
        urls,
        ["http://h:1/metrics?m=a&m=b", "http://[::1]:2/metrics?m=a&m=b", "https://h:3/p?m=c&m=b"]
    );
    let labels: Vec<_> = targets[0].labels.iter().collect();
    assert_eq!(labels, [("env", "x"), ("instance", "h:1"), ("job", "other")]);
    assert_eq!(targets[2].interval, Duration::from_secs(30));
    let text = "target_limit exceeded (number of targets: 3, limit: 2)";
    assert_eq!(targets[0].refused.as_deref(), Some(text));
}

/// Prometheus' own test files: what it accepts is accepted here, or a key is named that is not supported yet.
#[test]
fn what_prometheus_accepts() {
    #[derive(Deserialize)]
    struct File {
        scrape_configs: Option<Vec<Option<RawScrapeConfig>>>,
    }
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/prometheus-config"));
    let Ok(verdicts) = std::fs::read(folder.join("verdicts.tsv")) else {
        assert!(std::env::var("CI").is_err(), "{} is missing", folder.display());
        return println!("skipped: no {}", folder.display());
    };
    let (mut accepted, mut later) = (0, 0);
    for line in String::from_utf8_lossy(&verdicts).lines() {
        let mut fields = line.split('\t');
        let (Some(name), Some("accept")) = (fields.next(), fields.next()) else { continue };
        let Ok(text) = std::fs::read_to_string(folder.join(name)) else { continue };
        if text.trim().is_empty() {
            continue;
        }
        let file: File = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let raw = file.scrape_configs.unwrap_or_default();
        match check_scrape_configs(&raw, &GlobalConfig::default(), folder) {
            Ok(_) => accepted += 1,
            Err(error) => {
                assert!(error.to_string().contains("not supported yet"), "{name}: {error}");
                later += 1;
            }
        }
    }
    assert!(accepted >= 45 && accepted + later == 56, "{accepted} accepted, {later} later");
}
