//! The aggregator: takes what agents send, keeps it, and answers PromQL over it. Only composes.

mod admin;
mod advertise;
mod backup;
mod cli;
mod config;
mod control;
mod facts;
mod http;
mod join;
mod lifecycle;
mod metrics;
mod process;
mod report;
mod serve;
mod status;

use std::process::ExitCode;

use clap::Parser as _;
use vedette_daemon::build::VERSION;
use vedette_daemon::config::of_service;
use vedette_daemon::logging;
use vedette_daemon::people::say;

use cli::{AgentCommand, Cli, Command, MemberCommand, TokenCommand};
use config::Config;

/// Something failed while running.
const EXIT_FAILURE: u8 = 1;
/// The usage or the configuration is wrong.
const EXIT_CONFIG: u8 = 2;

/// The service's configuration, which commands beside it take as well.
const SERVICE_CONFIG: &str = "/etc/vedette/aggregator.yml";

/// What the data folder holds. Greater with the first release whose data this one can not read; packages have it as well
/// (`packaging/deb`, `packaging/rpm`).
const DATA_FORMAT: u32 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut flags = cli.flags;
    match &cli.command {
        Some(Command::Check { file: Some(file) }) => flags.config_file = Some(file.clone()),
        Some(Command::Serve) | None => {}
        Some(_) if flags.config_file.is_none() => flags.config_file = of_service(SERVICE_CONFIG),
        Some(_) => {}
    }
    let config = match Config::load(&flags) {
        Ok(config) => config,
        Err(error) => {
            logging::complain(error);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let done = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let level = logging::start(config.log_format, config.log_level);
            return match serve::run(&flags, config, &level) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "failed");
                    ExitCode::from(EXIT_FAILURE)
                }
            };
        }
        Command::Check { .. } => {
            let file = flags.config_file.as_ref().map(|file| file.display().to_string());
            let file = file.as_deref().unwrap_or("the default configuration");
            say(format!("{file} is valid\n")).map_err(Into::into)
        }
        Command::Token { command: TokenCommand::Create { kind, ttl, uses } } => {
            match config::positive_duration(&ttl) {
                Ok(ttl_ms) => control::create_token(&config.path, kind, ttl_ms, uses),
                Err(reason) => {
                    logging::complain(format_args!("--ttl: {reason}"));
                    return ExitCode::from(EXIT_CONFIG);
                }
            }
        }
        Command::Join { token_file } => join::run(&config, &token_file),
        Command::Agent { command: AgentCommand::List { json } } => list_agents(&config, json),
        Command::Agent { command: AgentCommand::Revoke { name, force } } => {
            control::revoke(&config.path, &name, force)
        }
        Command::Member { command: MemberCommand::Remove { replica } } => {
            control::remove_member(&config.path, &replica)
        }
        Command::Backup { folder } => control::back_up(&config.path, &folder),
        Command::Status { json } => match print_status(&config, json) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::from(EXIT_FAILURE),
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(format_args!("{error:#}"));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Whether the running aggregator is healthy.
fn print_status(config: &Config, as_json: bool) -> anyhow::Result<bool> {
    let report = control::report(&config.path)?;
    say(if as_json { serde_json::to_string_pretty(&report)? } else { report.text() } + "\n")?;
    Ok(report.healthy)
}

fn list_agents(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let report = control::report(&config.path)?;
    let text = if as_json { serde_json::to_string_pretty(&report.agents)? } else { report.agents_text() };
    Ok(say(text + "\n")?)
}
