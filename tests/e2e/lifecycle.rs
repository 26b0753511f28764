//! `/-/reload` and `/-/quit`, beside a real Prometheus.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{Aggregator, Api, GENEROUS, Prometheus, eventually};

fn post(api: &Api, path: &str) -> Result<(u16, String)> {
    let (status, _, body) = api.raw("POST", path, &[], b"")?;
    Ok((status, String::from_utf8(body)?))
}

fn reloaded(api: &Api) -> Result<bool> {
    let info = api.data("/api/v1/status/runtimeinfo", &[])?;
    info["reloadConfigSuccess"].as_bool().context("whether the last reload succeeded")
}

/// Does the same to both; `config` is the file of each.
fn reload(apis: [&Api; 2], files: [&Path; 2], text: &str) -> Result<[(u16, String); 2]> {
    for file in files {
        std::fs::write(file, text)?;
    }
    Ok([post(apis[0], "/-/reload")?, post(apis[1], "/-/reload")?])
}

#[test]
fn with_the_flag_http_reloads_and_ends_the_program() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let flag = "--web.enable-lifecycle";
    let folder = dir.path().join("prometheus");
    let Some(mut prometheus) = Prometheus::start(&folder, "", &[flag])? else { return Ok(()) };
    let mut aggregator = Aggregator::prepare(dir.path(), &dir.path().join("storage"))?
        .with_config("global: {}\n")?
        .with_argument(flag);
    aggregator.run()?;
    let (theirs, ours) = (prometheus.api(), aggregator.api());
    let apis = [&theirs, &ours];
    let files = [folder.join("prometheus.yml"), dir.path().join("aggregator.yml")];
    let files = [files[0].as_path(), files[1].as_path()];
    let mut last = "";
    for (text, is_good) in
        [("global: {}\n", true), ("nonsense: 1\n", false), ("# Another.\nglobal: {}\n", true)]
    {
        if is_good {
            last = text;
        }
        let answers = reload(apis, files, text)?;
        for ((status, body), api) in answers.iter().zip(apis) {
            ensure!(reloaded(api)? == is_good, "{text}: {}", api.url());
            let expected = if is_good { 200 } else { 500 };
            ensure!(*status == expected, "{text}: {}: {status}: {body}", api.url());
            ensure!(is_good || body.starts_with("failed to reload config: "), "{body}");
            ensure!(is_good == body.is_empty(), "{text}: {body}");
        }
        // The configuration that is shown is the one that was taken up last.
        let shown = apis[1].data("/api/v1/status/config", &[])?;
        ensure!(shown["yaml"].as_str() == Some(last), "{shown}");
        ensure!(is_good || answers[1].1.contains("nonsense"), "it says what is wrong: {:?}", answers[1]);
    }
    for api in apis {
        let (status, body) = post(api, "/-/quit")?;
        ensure!(status == 200 && body == "Requesting termination... Goodbye!", "{status}: {body}");
    }
    for program in [prometheus.program()?, aggregator.program()?] {
        let exit = eventually("it has left", GENEROUS, || program.exit_status())?;
        ensure!(exit.success(), "{exit}");
    }
    ensure!(aggregator.log().contains("stopped"), "it left in good order: {}", aggregator.log());
    Ok(())
}
