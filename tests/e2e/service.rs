//! What a service manager sees: readiness, reloads and the end, told through `sd_notify`.

use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use vedette_tests::{Agent, Aggregator, GENEROUS, binary, now};

#[test]
fn the_agent_tells_its_service_manager() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let manager = ServiceManager::listen(dir.path())?;
    let mut agent =
        Agent::prepare(&dir.path().join("agent"), &[])?.with_variable("NOTIFY_SOCKET", &manager.path);
    agent.run()?;
    manager.await_word("READY=1")?;
    agent.program()?.signal(Signal::HUP)?;
    manager.await_word("RELOADING=1")?;
    manager.await_word("READY=1")?;
    ensure!(agent.terminate()?.status.code() == Some(0), "it leaves with 0");
    manager.await_word("STOPPING=1")
}

#[test]
fn the_aggregator_tells_its_service_manager() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let manager = ServiceManager::listen(dir.path())?;
    let folder = dir.path().join("aggregator");
    let mut aggregator =
        Aggregator::prepare(&folder, &folder.join("storage"))?.with_variable("NOTIFY_SOCKET", &manager.path);
    aggregator.run()?;
    manager.await_word("READY=1")?;
    aggregator.program()?.signal(Signal::HUP)?;
    manager.await_word("RELOADING=1")?;
    manager.await_word("READY=1")?;
    ensure!(aggregator.terminate()?.status.code() == Some(0), "it leaves with 0");
    manager.await_word("STOPPING=1")
}

/// What is connected to the journal says how urgent each line is, also the one with which it fails; nothing else does.
#[test]
fn the_journal_is_told_how_urgent_a_line_is() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let listen = format!("--web.listen-address={}", taken.local_addr()?);
    for (program, folder) in [("vedette-agent", "--spool.path"), ("vedette-aggregator", "--storage.path")] {
        let dir = tempfile::tempdir()?;
        let data = format!("{folder}={}", dir.path().join("data").display());
        for is_journal in [true, false] {
            let log = failing(program, &[&data, &listen, "--log.level=debug"], is_journal, 1)?;
            let last = log.lines().last().unwrap_or_default();
            ensure!(last.contains("level=error") && last.contains("in use"), "{program}: {log}");
            for line in log.lines() {
                let level = line.split("level=").nth(1).and_then(|rest| rest.split(' ').next());
                let priority = match level {
                    _ if !is_journal => "",
                    Some("error") => "<3>",
                    Some("warn") => "<4>",
                    Some("info") => "<6>",
                    _ => "<7>",
                };
                ensure!(line.starts_with(&format!("{priority}time=")), "{program}: {line}");
            }
            // A mistake in the usage, before there is a log.
            let error = failing(program, &["--log.level=loud"], is_journal, 2)?;
            let priority = if is_journal { "<3>" } else { "" };
            ensure!(error.starts_with(&format!("{priority}error: --log.level")), "{program}: {error}");
        }
    }
    Ok(())
}

/// What a program that ends with `code` prints on standard error, which is the journal's, or is not.
fn failing(program: &str, arguments: &[&str], is_journal: bool, code: i32) -> Result<String> {
    let mut error = tempfile::NamedTempFile::new()?;
    let file = error.as_file().metadata()?;
    let inode = file.ino() + u64::from(!is_journal);
    let mut command = Command::new(binary(program)?);
    command.env("JOURNAL_STREAM", format!("{}:{inode}", file.dev())).args(arguments);
    let status = command.stderr(error.reopen()?).status()?;
    let mut text = String::new();
    error.read_to_string(&mut text)?;
    ensure!(status.code() == Some(code), "{program} {arguments:?}: {status}: {text}");
    Ok(text)
}

/// `status | head -1`, and a full disk behind `>`.
#[test]
fn who_stops_reading_is_no_error_and_a_full_disk_is() -> Result<()> {
    for program in ["vedette-agent", "vedette-aggregator"] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = Command::new(binary(program)?).arg("check").stdout(writer).output()?;
        ensure!(output.status.code() == Some(0) && output.stderr.is_empty(), "{program}: {output:?}");
        let full = Stdio::from(File::options().write(true).open("/dev/full")?);
        let output = Command::new(binary(program)?).arg("check").stdout(full).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{program}: {output:?}");
        ensure!(said.starts_with("error: standard output: No space left"), "{program}: {said}");
    }
    Ok(())
}

/// The socket that systemd would listen on.
struct ServiceManager {
    socket: UnixDatagram,
    path: String,
}

impl ServiceManager {
    fn listen(dir: &Path) -> Result<Self> {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(Self { socket, path: path.to_str().context("a path in UTF-8")?.to_owned() })
    }

    /// Waits for a message with this line.
    fn await_word(&self, word: &str) -> Result<()> {
        let end = now() + GENEROUS;
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while now() < end {
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|line| line == word) {
                return Ok(());
            }
            heard.push(message);
        }
        anyhow::bail!("{word} was not said; heard {heard:?}")
    }
}
