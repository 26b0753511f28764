//! Vedette's own two programs, as a user starts them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{Program, ProgramExit, free_port};
use crate::{Api, GENEROUS, eventually};

/// A binary beside the test's own.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("tests run from target/<profile>/deps")?;
    let path = profile.join(name);
    ensure!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    Ok(path)
}

fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!(
            "{command:?}: {status}\n{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
    }
    Ok(String::from_utf8(stdout)?)
}

fn await_logged(log: impl Fn() -> String, words: &[&str]) -> Result<()> {
    eventually(&format!("a line of the log with {words:?}"), GENEROUS, || {
        let log = log();
        let is_logged = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(is_logged, "not in\n{log}");
        Ok(Some(()))
    })
}

/// What a subcommand has said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// On standard output.
    pub stdout: String,
    /// On standard error.
    pub stderr: String,
}

fn ran(command: &mut Command) -> Result<Ran> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("{command:?}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) })
}

/// The place of a program that is started and ended over and over.
#[derive(Default)]
struct Slot(Option<Program>);

impl Slot {
    fn launch(&mut self, command: &mut Command, log: &Path) -> Result<()> {
        self.0 = Some(Program::start(command, log)?);
        Ok(())
    }

    /// Waits until `api` says that it is ready.
    fn await_ready(&mut self, api: &Api) -> Result<()> {
        let program = self.running()?;
        eventually("the program is ready", GENEROUS, || {
            program.check_alive()?;
            Ok(api.get("/-/ready").is_ok().then_some(()))
        })
    }

    fn running(&mut self) -> Result<&mut Program> {
        self.0.as_mut().context("the program is not running")
    }

    fn kill_hard(&mut self) -> Result<()> {
        self.running()?.kill_hard()?;
        self.0 = None;
        Ok(())
    }

    fn terminate(&mut self) -> Result<ProgramExit> {
        let exit = self.running()?.terminate()?;
        self.0 = None;
        Ok(exit)
    }
}

/// An aggregator with its folder and its ports, which it keeps over restarts.
pub struct Aggregator {
    dir: PathBuf,
    storage: PathBuf,
    http_port: u16,
    /// Where QUIC listens.
    address: String,
    quic_port: u16,
    arguments: Vec<String>,
    config: Option<PathBuf>,
    environment: Vec<(String, String)>,
    program: Slot,
}

impl Aggregator {
    /// Chooses ports and starts it with its data under `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        let mut aggregator = Self::prepare(dir, &dir.join("storage"))?;
        aggregator.run()?;
        Ok(aggregator)
    }

    /// Chooses ports, and starts nothing yet; the data will be in `storage`.
    pub fn prepare(dir: &Path, storage: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (http_port, quic_port) = (free_port()?, free_port()?);
        Ok(Self {
            dir: dir.to_path_buf(),
            storage: storage.to_path_buf(),
            http_port,
            address: "127.0.0.1".to_owned(),
            quic_port,
            arguments: Vec::new(),
            config: None,
            environment: Vec::new(),
            program: Slot::default(),
        })
    }

    /// Lets agents reach it at another address of this host.
    pub fn listening_on(mut self, address: &str) -> Self {
        self.address = address.to_owned();
        self
    }

    /// Gives it one more argument.
    pub fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets a variable of its environment.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives it a configuration file.
    pub fn with_config(mut self, yaml: &str) -> Result<Self> {
        self.configure(yaml)?;
        Ok(self)
    }

    /// Gives it a configuration file, from its next start on.
    pub fn configure(&mut self, yaml: &str) -> Result<()> {
        let path = self.dir.join("aggregator.yml");
        std::fs::write(&path, yaml)?;
        self.config = Some(path);
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary("vedette-aggregator")?);
        command.arg(format!("--storage.path={}", self.storage.display()));
        if let Some(config) = &self.config {
            command.arg(format!("--config.file={}", config.display()));
        }
        Ok(command)
    }

    /// Starts it, and waits until it is ready.
    pub fn run(&mut self) -> Result<()> {
        self.launch()?;
        let api = self.api();
        self.program.await_ready(&api)
    }

    /// Starts it, and does not wait.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.command()?;
        command
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.http_port))
            .arg(format!("--quic.listen-address={}", self.quic_address()))
            .args(&self.arguments)
            .envs(self.environment.iter().cloned());
        self.program.launch(&mut command, &self.dir.join("aggregator.log"))
    }

    /// The running process.
    pub fn program(&mut self) -> Result<&mut Program> {
        self.program.running()
    }

    /// `kill -9`.
    pub fn kill_hard(&mut self) -> Result<()> {
        self.program.kill_hard()
    }

    /// SIGTERM.
    pub fn terminate(&mut self) -> Result<ProgramExit> {
        self.program.terminate()
    }

    /// Where agents reach it.
    pub fn quic_address(&self) -> String {
        format!("{}:{}", self.address, self.quic_port)
    }

    /// Its HTTP address with `http://`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// Its HTTP API.
    pub fn api(&self) -> Api {
        Api::new(&self.url())
    }

    /// Runs a subcommand on its folder, whatever comes of it.
    pub fn ask(&self, arguments: &[&str]) -> Result<Ran> {
        ran(self.command()?.args(arguments))
    }

    /// A new token, as a file.
    pub fn token(&self, kind: &str) -> Result<PathBuf> {
        let token = output(self.command()?.args(["token", "create", "--kind", kind]))?;
        let path = self.dir.join(format!("token-{kind}-{:08x}", rand::random::<u32>()));
        std::fs::write(&path, token)?;
        Ok(path)
    }

    /// Makes this one, which has never run, a replica of the group that `token_file` is of.
    pub fn join(&self, token_file: &Path) -> Result<()> {
        let listen = format!("--quic.listen-address={}", self.quic_address());
        output(self.command()?.arg(listen).arg("join").arg("--token-file").arg(token_file)).map(drop)
    }

    /// All that it has logged, over restarts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("aggregator.log")).unwrap_or_default()
    }

    /// Waits for a line of the log that has all of `words`: what a caller sees may come before its line.
    pub fn await_logged(&self, words: &[&str]) -> Result<()> {
        await_logged(|| self.log(), words)
    }

    /// Its data folder.
    pub fn storage(&self) -> &Path {
        &self.storage
    }
}

/// An agent with its spool and its port, which it keeps over restarts.
pub struct Agent {
    dir: PathBuf,
    spool: PathBuf,
    web_port: u16,
    arguments: Vec<String>,
    config: Option<PathBuf>,
    environment: Vec<(String, String)>,
    program: Slot,
}

impl Agent {
    /// An agent that has not been started; its spool is `dir`/spool.
    pub fn prepare(dir: &Path, arguments: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            spool: dir.join("spool"),
            web_port: free_port()?,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            config: None,
            environment: Vec::new(),
            program: Slot::default(),
        })
    }

    /// Puts the spool somewhere else.
    pub fn with_spool(mut self, spool: &Path) -> Self {
        self.spool = spool.to_path_buf();
        self
    }

    /// Gives it a configuration file.
    pub fn with_config(mut self, yaml: &str) -> Result<Self> {
        let path = self.dir.join("agent.yml");
        std::fs::write(&path, yaml)?;
        self.config = Some(path);
        Ok(self)
    }

    /// Sets a variable of its environment.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary("vedette-agent")?);
        command.arg(format!("--spool.path={}", self.spool.display()));
        if let Some(config) = &self.config {
            command.arg(format!("--config.file={}", config.display()));
        }
        command.args(&self.arguments);
        Ok(command)
    }

    /// Runs a subcommand on its folder, whatever comes of it.
    pub fn ask(&self, arguments: &[&str]) -> Result<Ran> {
        ran(self.command()?.args(arguments))
    }

    /// Enrols it with a token.
    pub fn enroll(&self, token_file: &Path) -> Result<()> {
        output(self.command()?.arg("enroll").arg("--token-file").arg(token_file)).map(drop)
    }

    /// Starts it, and waits until it is ready.
    pub fn run(&mut self) -> Result<()> {
        self.launch()?;
        let api = self.api();
        self.program.await_ready(&api)
    }

    /// Starts it, and does not wait.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.command()?;
        command
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.web_port))
            .envs(self.environment.iter().cloned());
        self.program.launch(&mut command, &self.dir.join("agent.log"))
    }

    /// The running process.
    pub fn program(&mut self) -> Result<&mut Program> {
        self.program.running()
    }

    /// `kill -9`.
    pub fn kill_hard(&mut self) -> Result<()> {
        self.program.kill_hard()
    }

    /// SIGTERM.
    pub fn terminate(&mut self) -> Result<ProgramExit> {
        self.program.terminate()
    }

    /// Its HTTP server.
    pub fn api(&self) -> Api {
        Api::new(&self.url())
    }

    /// Its HTTP address with `http://`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.web_port)
    }

    /// Its spool's folder, its identity included.
    pub fn spool(&self) -> &Path {
        &self.spool
    }

    /// All that it has logged, over restarts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }

    /// Waits for a line of the log that has all of `words`.
    pub fn await_logged(&self, words: &[&str]) -> Result<()> {
        await_logged(|| self.log(), words)
    }
}

/// An aggregator, and an agent of it that samples every second, both running.
pub fn enrolled_pair(dir: &Path) -> Result<(Aggregator, Agent)> {
    let aggregator = Aggregator::start(&dir.join("aggregator"))?;
    let mut agent = Agent::prepare(&dir.join("agent"), &["--interval=1s"])?;
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    Ok((aggregator, agent))
}

/// A tmpfs of that many megabytes, unmounted when dropped; `None` where mounting is not permitted.
pub fn mounted_tmpfs(path: &Path, megabytes: u32) -> Result<Option<Mounted>> {
    std::fs::create_dir_all(path)?;
    let size = format!("size={megabytes}m");
    let status =
        Command::new("mount").args(["-t", "tmpfs", "-o", &size, "vedette-test"]).arg(path).status()?;
    if !status.success() {
        crate::skip("mounting a tmpfs is not permitted here");
        return Ok(None);
    }
    Ok(Some(Mounted { path: path.to_path_buf() }))
}

/// A mounted file system.
pub struct Mounted {
    path: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, since a program may still be on its way out.
        Command::new("umount").arg("-l").arg(&self.path).status().ok();
    }
}
