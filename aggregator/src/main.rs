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

use cli::{AgentCommand, Cli, Command, MemberCommand, TokenCommand};
use config::Config;

/// Something failed while running.
const EXIT_FAILURE: u8 = 1;
/// The usage or the configuration is wrong.
const EXIT_CONFIG: u8 = 2;

/// What the data folder holds. Greater with the first release whose data this one can not read; packages have it as well
/// (`packaging/deb`, `packaging/rpm`).
const DATA_FORMAT: u32 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut flags = cli.flags;
    if let Some(Command::Check { file: Some(file) }) = &cli.command {
        flags.config_file = Some(file.clone());
    }
    let config = match Config::load(&flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let done = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&flags, config),
        Command::Check { .. } => {
            let file = flags.config_file.as_ref().map(|file| file.display().to_string());
            println!("{} is valid", file.as_deref().unwrap_or("the default configuration"));
            Ok(())
        }
        Command::Token { command: TokenCommand::Create { kind, ttl, uses } } => {
            match config::positive_duration(&ttl) {
                Ok(ttl_ms) => control::create_token(&config.path, kind, ttl_ms, uses),
                Err(reason) => {
                    eprintln!("error: --ttl: {reason}");
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
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Whether the running aggregator is healthy.
fn print_status(config: &Config, as_json: bool) -> anyhow::Result<bool> {
    let report = control::report(&config.path)?;
    println!("{}", if as_json { serde_json::to_string_pretty(&report)? } else { report.text() });
    Ok(report.healthy)
}

fn list_agents(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let report = control::report(&config.path)?;
    println!(
        "{}",
        if as_json { serde_json::to_string_pretty(&report.agents)? } else { report.agents_text() }
    );
    Ok(())
}
