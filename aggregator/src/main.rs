//! The aggregator: takes what agents send, keeps it, and answers PromQL over it. Only composes.

mod admin;
mod advertise;
mod cli;
mod config;
mod control;
mod facts;
mod http;
mod join;
mod metrics;
mod process;
mod serve;
mod status;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command, TokenCommand};
use config::Config;

/// Something failed while running.
const EXIT_FAILURE: u8 = 1;
/// The usage or the configuration is wrong.
const EXIT_CONFIG: u8 = 2;

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
        Command::Token { command: TokenCommand::Create { kind, ttl } } => {
            match config::positive_duration(&ttl) {
                Ok(ttl_ms) => control::create_token(&config.path, kind, ttl_ms),
                Err(reason) => {
                    eprintln!("error: --ttl: {reason}");
                    return ExitCode::from(EXIT_CONFIG);
                }
            }
        }
        Command::Join { token_file } => join::run(&config, &token_file),
        Command::Status => control::print_status(&config.path),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}
