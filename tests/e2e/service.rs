//! What a service manager sees: readiness, reloads and the end, told through `sd_notify`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use vedette_tests::{Agent, Aggregator, GENEROUS, now};

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
