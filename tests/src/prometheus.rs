//! A real Prometheus, to be compared with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{Program, free_port};
use crate::{Api, GENEROUS, eventually, peer};

/// A running Prometheus, with its folder and port, which it keeps over restarts.
pub struct Prometheus {
    binary: PathBuf,
    dir: PathBuf,
    port: u16,
    arguments: Vec<String>,
    program: Option<Program>,
}

impl Prometheus {
    /// Starts one with a configuration file of this text; `None` when it is not on this machine.
    pub fn start(dir: &Path, yaml: &str, arguments: &[&str]) -> Result<Option<Self>> {
        let Some(binary) = peer("prometheus") else { return Ok(None) };
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("prometheus.yml"), yaml)?;
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut prometheus =
            Self { binary, dir: dir.to_path_buf(), port: free_port()?, arguments, program: None };
        prometheus.run()?;
        Ok(Some(prometheus))
    }

    /// Starts it again, and waits until it is ready.
    pub fn run(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--config.file={}", self.dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", self.dir.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .args(&self.arguments);
        let program = self.program.insert(Program::start(&mut command, &self.dir.join("prometheus.log"))?);
        let api = Api::new(&format!("http://127.0.0.1:{}", self.port));
        eventually("Prometheus is ready", GENEROUS, || {
            program.check_alive()?;
            Ok(api.get("/-/ready").is_ok().then_some(()))
        })
    }

    /// The running process.
    pub fn program(&mut self) -> Result<&mut Program> {
        self.program.as_mut().context("Prometheus is not running")
    }

    /// SIGTERM, and waits until it has left.
    pub fn terminate(&mut self) -> Result<()> {
        self.program()?.terminate()?;
        self.program = None;
        Ok(())
    }

    /// Its HTTP address with `http://`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its HTTP API.
    pub fn api(&self) -> Api {
        Api::new(&self.url())
    }
}
