//! How a service that fails is started again, and what an administrator who repairs it sees.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{GENEROUS, eventually};

use crate::steps::{AGENT, AGENT_CONFIG, Host};

/// What it is to the agent's configuration when it can not be read.
const BROKEN: &str = "globl: {}\n";
/// RestartSec= of both units, in microseconds.
const PAUSE_MIN: i64 = 5_000_000;
/// What a start that is delayed says.
const DELAYED: &str = "it failed before";

impl Host {
    /// What fails before any program is run has no backoff; it has a pause.
    pub(crate) fn failures_before_the_program_are_paused(&self) -> Result<()> {
        let secrets = "/etc/vedette/agent.secrets";
        self.run(&["mv", secrets, "/root/secrets"])?;
        let begin = self.log_length()?;
        self.restart_in_vain()?;
        let failed = eventually("it is tried again and again", GENEROUS, || {
            let log = self.log_since(begin)?;
            let failed: Vec<i64> = log
                .iter()
                .filter(|(_, message)| message.contains("status=243/CREDENTIALS"))
                .map(|(at, _)| *at)
                .collect();
            // One of ExecStartPre, one of ExecStopPost.
            Ok((failed.len() >= 6).then_some(failed))
        })?;
        let pauses: Vec<i64> = failed.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let apart = pauses.iter().filter(|pause| **pause >= PAUSE_MIN).count();
        ensure!(apart >= 2, "started again after {pauses:?} microseconds");
        self.run(&["mv", "/root/secrets", secrets])?;

        // A name that systemd does not take, as the page says.
        self.run(&["touch", &format!("{secrets}/a:b")])?;
        let begin = self.log_length()?;
        self.restart_in_vain()?;
        eventually("the log says why", GENEROUS, || {
            let log = self.log_since(begin)?;
            Ok(log.iter().any(|(_, message)| message.contains("Protocol error")).then_some(()))
        })?;
        self.run(&["rm", &format!("{secrets}/a:b")])?;
        self.run(&["systemctl", "restart", AGENT])?;
        self.await_active(AGENT)
    }

    /// A folder for data that is missing: the program says so, rather than systemd without end.
    pub(crate) fn a_missing_disk_is_named(&self) -> Result<()> {
        let folder = self.root().join(format!("etc/systemd/system/{AGENT}.d"));
        fs::create_dir_all(&folder)?;
        // As packaging/README.md has it.
        fs::write(folder.join("path.conf"), "[Service]\nReadWritePaths=-/srv/absent\n")?;
        self.run(&["systemctl", "daemon-reload"])?;
        self.configure(&format!("{AGENT_CONFIG}spool: {{path: /srv/absent}}\n"))?;
        let begin = self.log_length()?;
        self.restart_in_vain()?;
        eventually("the program names the folder", GENEROUS, || {
            let log = self.log_since(begin)?;
            ensure!(!log.iter().any(|(_, message)| message.contains("226/NAMESPACE")), "{log:?}");
            Ok(log.iter().any(|(_, message)| message.contains("/srv/absent")).then_some(()))
        })?;
        fs::remove_dir_all(&folder)?;
        self.run(&["systemctl", "daemon-reload"])?;
        self.configure(AGENT_CONFIG)?;
        self.run(&["systemctl", "restart", AGENT])?;
        self.await_active(AGENT)
    }

    /// Failures that follow each other take longer; who repairs and restarts waits for nothing.
    pub(crate) fn repairs_take_effect_at_once(&self) -> Result<()> {
        // While it waits.
        self.fail_until("start-pre")?;
        self.configure(AGENT_CONFIG)?;
        self.starts_at_once("restart")?;

        self.fail_until("start-pre")?;
        self.run(&["systemctl", "stop", AGENT])?;
        let state = self.property(AGENT, "ActiveState")?;
        ensure!(state == "inactive", "stopped while it waits, it is {state}");
        self.configure(AGENT_CONFIG)?;
        self.starts_at_once("start")?;

        // In the pause before it waits.
        self.fail_until("auto-restart")?;
        self.run(&["systemctl", "stop", AGENT])?;
        self.configure(AGENT_CONFIG)?;
        self.starts_at_once("start")
    }

    /// Breaks the configuration, and waits until a second start was delayed by it, and the service is in this state again.
    fn fail_until(&self, state: &str) -> Result<()> {
        self.configure(BROKEN)?;
        let begin = self.log_length()?;
        self.restart_in_vain()?;
        for delay in ["starts in 2 s", "starts in 4 s"] {
            eventually("its start is delayed", GENEROUS, || {
                Ok(self.log_since(begin)?.iter().any(|(_, message)| message.contains(delay)).then_some(()))
            })?;
        }
        eventually("the service is in that state", GENEROUS, || {
            Ok((self.property(AGENT, "SubState")? == state).then_some(()))
        })
    }

    fn starts_at_once(&self, verb: &str) -> Result<()> {
        let begin = self.log_length()?;
        self.run(&["systemctl", verb, AGENT])?;
        self.await_active(AGENT)?;
        let log = self.log_since(begin)?;
        ensure!(!log.iter().any(|(_, message)| message.contains(DELAYED)), "{verb} was delayed: {log:?}");
        Ok(())
    }

    /// A restart that fails at once is told of by systemctl; one that fails later is not.
    fn restart_in_vain(&self) -> Result<()> {
        self.run(&["systemctl", "restart", "--no-block", AGENT]).map(drop)
    }

    fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.root().join("etc/vedette/agent.yml"), text)?)
    }

    /// How many lines the log of the agent's unit has.
    fn log_length(&self) -> Result<usize> {
        Ok(self.log_since(0)?.len())
    }

    /// The lines of the log of the agent's unit behind the first ones, each with its time in microseconds.
    fn log_since(&self, begin: usize) -> Result<Vec<(i64, String)>> {
        self.run(&["journalctl", "--sync"])?;
        let text =
            self.run(&["journalctl", "--no-pager", "--quiet", "--output=short-unix", "--unit", AGENT])?;
        let lines = text.lines().skip(begin).map(|line| {
            let (at, message) = line.split_once(' ').context("a time")?;
            Ok((at.replace('.', "").parse()?, message.to_owned()))
        });
        lines.collect::<Result<_>>().with_context(|| text.clone())
    }
}
