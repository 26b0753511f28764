//! `vedette-agent`: collects, spools, ships. This crate only composes; what it composes has its own crates.

mod cli;
mod clock;
mod collect;
mod config;
mod control;
mod identity;
mod once;
mod own;
mod report;
mod run;
mod shared;
mod ship;
mod web;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use vedette_daemon::build::VERSION;
use vedette_daemon::config::{ConfigError, of_service};
use vedette_daemon::privileges::become_owner_of;
use vedette_daemon::{data_format, logging, people};

use cli::{Cli, Command, Flags};
use config::Config;

/// Usage or configuration is wrong; clap's own code as well.
const EXIT_USAGE: u8 = 2;
/// Something failed while running.
const EXIT_FAILURE: u8 = 1;

/// The service's configuration, which commands beside it take as well.
const SERVICE_CONFIG: &str = "/etc/vedette/agent.yml";

/// What the folder of spool and identity holds. Greater with the first release whose data this one can not read; packages
/// have it as well (`packaging/deb`, `packaging/rpm`).
const DATA_FORMAT: u32 = 1;

fn main() -> ExitCode {
    let Cli { mut flags, command } = Cli::parse();
    match &command {
        Some(Command::Check { file: Some(file) }) => flags.config_file = Some(file.clone()),
        Some(Command::Run) | None => {}
        Some(_) if flags.config_file.is_none() => flags.config_file = of_service(SERVICE_CONFIG),
        Some(_) => {}
    }
    let config = match Config::load(&flags, &host_name()) {
        Ok(config) => config,
        Err(error) => {
            logging::complain(error);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match command {
        Some(Command::Check { .. }) => {
            let file = flags.config_file.as_ref().map(|file| file.display().to_string());
            let file = file.as_deref().unwrap_or("the default configuration");
            answer(people::say(format!("{file} is valid\n")).map(|()| true).map_err(Into::into))
        }
        Some(Command::Status { json }) => answer(control::print_status(&config.spool.path, json)),
        Some(Command::Collect { once: _, collectors }) => collect(&config, &collectors),
        Some(Command::Enroll { token_file }) => {
            logging::start(config.log_format, config.log_level);
            report(enroll(&config, &token_file))
        }
        Some(Command::Run) | None => {
            let level = logging::start(config.log_format, config.log_level);
            report(block_on(run::run(config, flags, level)))
        }
    }
}

/// The exit code of a command that asks whether something is so.
fn answer(said: anyhow::Result<bool>) -> ExitCode {
    match said {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILURE),
        Err(error) => {
            logging::complain(format_args!("{error:#}"));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn collect(config: &Config, only: &[String]) -> ExitCode {
    logging::start(config.log_format, config.log_level);
    match once::print(config, only) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(format_args!("{error:#}"));
            ExitCode::from(if error.is::<vedette_collector::ConfigError>() {
                EXIT_USAGE
            } else {
                EXIT_FAILURE
            })
        }
    }
}

/// The token may be root's alone, what comes of it belongs to who owns the spool.
fn enroll(config: &Config, token_file: &Path) -> anyhow::Result<()> {
    let token = identity::read_token(token_file)?;
    become_owner_of(&config.spool.path).with_context(|| config.spool.path.display().to_string())?;
    data_format::check(&config.spool.path, DATA_FORMAT)?;
    block_on(identity::enroll(config, &token))
}

/// One thread does everything but waiting for disks: hosts are watched by little memory and few switches.
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "failed");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Reads the configuration again, as it was read at the start.
fn reload(flags: &Flags) -> Result<Config, ConfigError> {
    Config::load(flags, &host_name())
}
