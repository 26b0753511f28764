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
use vedette_daemon::config::ConfigError;
use vedette_daemon::privileges::become_owner_of;
use vedette_daemon::{data_format, logging};

use cli::{Cli, Command, Flags};
use config::Config;

/// Usage or configuration is wrong; clap's own code as well.
const EXIT_USAGE: u8 = 2;
/// Something failed while running.
const EXIT_FAILURE: u8 = 1;

/// What the folder of spool and identity holds. Greater with the first release whose data this one can not read; packages
/// have it as well (`packaging/deb`, `packaging/rpm`).
const DATA_FORMAT: u32 = 1;

fn main() -> ExitCode {
    let Cli { mut flags, command } = Cli::parse();
    if let Some(Command::Check { file: Some(file) }) = &command {
        flags.config_file = Some(file.clone());
    }
    let config = match Config::load(&flags, &host_name()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match command {
        Some(Command::Check { .. }) => {
            let file = flags.config_file.as_ref().map(|file| file.display().to_string());
            println!("{} is valid", file.as_deref().unwrap_or("the default configuration"));
            ExitCode::SUCCESS
        }
        Some(Command::Status { json }) => match control::print_status(&config.spool.path, json) {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(EXIT_FAILURE),
        },
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

fn collect(config: &Config, only: &[String]) -> ExitCode {
    logging::start(config.log_format, config.log_level);
    match once::print(config, only) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
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
