use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

/// A value and where it stands; absent and null are the same, as in Prometheus.
pub(crate) type Field<T> = Option<Spanned<T>>;

/// The line that a value stands in, counted from 1.
pub(crate) fn line<T>(field: &Spanned<T>) -> u64 {
    field.referenced.line()
}

/// The scrape half of `global`, as the file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawGlobalConfig {
    pub(crate) scrape_interval: Field<String>,
    pub(crate) scrape_timeout: Field<String>,
    pub(crate) scrape_protocols: Field<Vec<String>>,
    pub(crate) external_labels: Field<BTreeMap<String, String>>,
    pub(crate) body_size_limit: Field<String>,
    pub(crate) sample_limit: Field<u64>,
    pub(crate) target_limit: Field<u64>,
    pub(crate) label_limit: Field<u64>,
    pub(crate) label_name_length_limit: Field<u64>,
    pub(crate) label_value_length_limit: Field<u64>,
    pub(crate) keep_dropped_targets: Field<u64>,
    pub(crate) metric_name_validation_scheme: Field<String>,
    pub(crate) metric_name_escaping_scheme: Field<String>,
    pub(crate) scrape_native_histograms: Field<bool>,
    pub(crate) always_scrape_classic_histograms: Field<bool>,
    pub(crate) convert_classic_histograms_to_nhcb: Field<bool>,
    // Known to Prometheus, not to an agent.
    pub(crate) evaluation_interval: Field<IgnoredAny>,
    pub(crate) rule_query_offset: Field<IgnoredAny>,
    pub(crate) query_log_file: Field<IgnoredAny>,
    pub(crate) scrape_failure_log_file: Field<IgnoredAny>,
}

/// Declares the entry of `scrape_configs`: the keys that are read, and those that Prometheus knows and this agent does
/// not yet.
macro_rules! raw_scrape_config {
    (read { $($key:ident: $kind:ty,)* } later { $($later:ident)* }) => {
        /// One entry of `scrape_configs`, as the file has it.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct RawScrapeConfig {
            $(pub(crate) $key: Field<$kind>,)*
            $($later: Field<IgnoredAny>,)*
        }

        impl RawScrapeConfig {
            /// The keys in use that are not supported yet, with their lines.
            pub(crate) fn later(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($later), self.$later.as_ref().map(line)),)*]
                    .into_iter()
                    .filter_map(|(key, line)| Some((key, line?)))
            }
        }
    };
}

raw_scrape_config! {
    read {
        job_name: String,
        scrape_interval: String,
        scrape_timeout: String,
        scrape_protocols: Vec<String>,
        fallback_scrape_protocol: String,
        metrics_path: String,
        scheme: String,
        params: BTreeMap<String, Vec<String>>,
        honor_labels: bool,
        honor_timestamps: bool,
        track_timestamps_staleness: bool,
        enable_compression: bool,
        body_size_limit: String,
        sample_limit: u64,
        target_limit: u64,
        label_limit: u64,
        label_name_length_limit: u64,
        label_value_length_limit: u64,
        keep_dropped_targets: u64,
        metric_name_validation_scheme: String,
        metric_name_escaping_scheme: String,
        scrape_native_histograms: bool,
        always_scrape_classic_histograms: bool,
        convert_classic_histograms_to_nhcb: bool,
        native_histogram_bucket_limit: u64,
        native_histogram_min_bucket_factor: f64,
        static_configs: Vec<Option<RawStaticConfig>>,
        basic_auth: RawBasicAuth,
        authorization: RawAuthorization,
        bearer_token: String,
        bearer_token_file: String,
        tls_config: RawTlsConfig,
        follow_redirects: bool,
        enable_http2: bool,
        http_headers: BTreeMap<String, RawHeader>,
    }
    later {
        relabel_configs
        metric_relabel_configs
        scrape_failure_log_file
        extra_scrape_metrics
        oauth2
        proxy_url
        no_proxy
        proxy_from_environment
        proxy_connect_header
        azure_sd_configs
        consul_sd_configs
        digitalocean_sd_configs
        dns_sd_configs
        docker_sd_configs
        dockerswarm_sd_configs
        ec2_sd_configs
        eureka_sd_configs
        file_sd_configs
        gce_sd_configs
        hetzner_sd_configs
        http_sd_configs
        ionos_sd_configs
        kubernetes_sd_configs
        kuma_sd_configs
        lightsail_sd_configs
        linode_sd_configs
        marathon_sd_configs
        nerve_sd_configs
        nomad_sd_configs
        openstack_sd_configs
        ovhcloud_sd_configs
        puppetdb_sd_configs
        scaleway_sd_configs
        serverset_sd_configs
        stackit_sd_configs
        triton_sd_configs
        uyuni_sd_configs
        vultr_sd_configs
    }
}

/// One entry of `static_configs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawStaticConfig {
    pub(crate) targets: Vec<Spanned<String>>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

/// `basic_auth`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawBasicAuth {
    pub(crate) username: Option<String>,
    pub(crate) username_file: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) password_file: Option<String>,
}

/// `authorization`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAuthorization {
    #[serde(rename = "type")]
    pub(crate) scheme: Option<String>,
    pub(crate) credentials: Option<String>,
    pub(crate) credentials_file: Option<String>,
}

/// `tls_config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTlsConfig {
    pub(crate) ca: Option<String>,
    pub(crate) ca_file: Option<String>,
    pub(crate) cert: Option<String>,
    pub(crate) cert_file: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) server_name: Option<String>,
    pub(crate) insecure_skip_verify: Option<bool>,
    pub(crate) min_version: Field<String>,
    pub(crate) max_version: Field<String>,
}

/// One of `http_headers`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawHeader {
    pub(crate) values: Option<Vec<String>>,
    pub(crate) secrets: Option<Vec<String>>,
    pub(crate) files: Option<Vec<String>>,
}
