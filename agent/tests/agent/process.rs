//! One agent process.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes nearly as long on a machine that is not overloaded.
const GENEROUS: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
#[expect(clippy::disallowed_methods, reason = "driver: a deadline for a process of its own")]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < GENEROUS, "{what}: not within {GENEROUS:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vedette-agent"));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    port: u16,
}

impl Agent {
    /// Starts an agent with its spool in `folder`, and waits until it is ready.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let port = free_port();
        let log = folder.join("log");
        let file = std::fs::File::options().create(true).append(true).open(&log).expect("log file");
        let child = command(arguments)
            .arg(format!("--spool.path={}", folder.join("spool").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(file)
            .spawn()
            .expect("starts");
        let agent = Self { child, log, port };
        eventually("the agent is ready", || agent.get("/-/ready").filter(|(status, _)| *status == 200));
        agent
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn await_logged(&self, words: &str) {
        eventually(words, || self.log().contains(words).then_some(()));
    }

    /// Status and answer, with its head.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.request("GET", path, "")?;
        let answer = String::from_utf8(answer).ok()?;
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, answer))
    }

    /// The answer, with its head. `headers` end with a line break each.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &str) -> Option<Vec<u8>> {
        let mut stream = self.connect()?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}Connection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn connect(&self) -> Option<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port)).ok()
    }

    /// The value of a metric by its whole key.
    pub(crate) fn metric(&self, key: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signalled");
    }

    /// SIGTERM; the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().expect("ends").code()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ends");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already, or the test has failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}
