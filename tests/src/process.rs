//! One program under test: started, watched, ended.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{eventually, now};

/// How a program ended.
#[derive(Debug)]
pub struct ProgramExit {
    /// Its status.
    pub status: ExitStatus,
    /// How long it took from the signal on.
    pub took: Duration,
}

/// A child process with its log in a file. Ended, at the latest, when it is dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`, its standard output and error appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file =
            File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let child =
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn().with_context(
                || format!("starting {command:?}; build it with: cargo build --workspace --bins"),
            )?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process id is never 0")?;
        kill_process(pid, signal).context("sending a signal")
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill_hard(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits until it has left.
    pub fn terminate(&mut self) -> Result<ProgramExit> {
        let start = now();
        self.signal(Signal::TERM)?;
        let status = eventually("the program leaves after SIGTERM", Duration::from_secs(20), || {
            Ok(self.child.try_wait()?)
        })?;
        Ok(ProgramExit { status, took: start.elapsed() })
    }

    /// Its status once it has ended by itself.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails, with the end of its log, when it has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(8).collect();
            bail!("ended by itself with {status}; its last words: {tail:#?}");
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing left to end.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// A port of loopback that was free for TCP and UDP a moment ago.
pub fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on loopback")
}
