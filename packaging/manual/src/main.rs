//! Writes what packages contain beside the programs: manual pages and shells' completions, from what both programs'
//! command lines are declared as, and the licences of others' work. A program of its own, so that the installed ones carry none of it.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _, Parser};

mod completions;
mod notices;

#[path = "../../../agent/src/cli.rs"]
mod agent;
#[path = "../../../aggregator/src/cli.rs"]
mod aggregator;

/// The release, as `vedette_daemon::build` has it.
const VERSION: &str = match option_env!("VEDETTE_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// What the declarations do not know.
const AGENT: &str = r#".SH FILES
.TP
\fI/etc/vedette/agent.yml\fR
What the service is given with \fB\-\-config.file\fR: every key, with its default.
.TP
\fI/etc/vedette/agent.secrets/\fR
Passwords for scraping. The service sees \fINAME\fR as \fI/run/credentials/vedette\-agent.service/secret_NAME\fR.
.TP
\fI/var/lib/vedette/agent/\fR
Spool and identity.
.SH SIGNALS
SIGHUP reads the configuration again, SIGTERM ends the program.
.SH "EXIT STATUS"
0 when all went well, 1 after a failure while running, 2 when usage or configuration is wrong.
.SH "SEE ALSO"
\fBvedette\-aggregator\fR(1), \fBsystemctl\fR(1)
"#;
const AGGREGATOR: &str = r#".SH FILES
.TP
\fI/etc/vedette/aggregator.yml\fR
What the service is given with \fB\-\-config.file\fR: every key, with its default.
.TP
\fI/etc/vedette/aggregator.secrets/\fR
Secrets. The service sees \fINAME\fR as \fI/run/credentials/vedette\-aggregator.service/secret_NAME\fR.
.TP
\fI/var/lib/vedette/aggregator/\fR
Samples, identity, the group's certificate authority.
.SH SIGNALS
SIGHUP reads the configuration again, SIGTERM ends the program.
.SH "EXIT STATUS"
0 when all went well, 1 after a failure while running, 2 when usage or configuration is wrong.
.SH "SEE ALSO"
\fBvedette\-agent\fR(1), \fBsystemctl\fR(1)
"#;

/// Writes the manual pages, shells' completions and notices of both programs.
#[derive(Parser)]
struct Options {
    /// What the programs are compiled for [default: this machine]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Where to.
    folder: PathBuf,
}

fn main() -> ExitCode {
    let Options { target, folder } = Options::parse();
    let target = target.unwrap_or_else(|| format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let written = write(agent::Cli::command(), AGENT, &target, &folder.join("agent"))
        .and_then(|()| write(aggregator::Cli::command(), AGGREGATOR, &target, &folder.join("aggregator")));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Pages into `folder`/man, completions into `folder`/completions.
fn write(mut command: Command, more: &str, target: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (pages, completions) = (folder.join("man"), folder.join("completions"));
    std::fs::create_dir_all(&pages)?;
    std::fs::create_dir_all(&completions)?;
    let name = command.get_name().to_owned();
    clap_mangen::generate_to(without_help(command.clone()), &pages)?;
    completions::write(&mut command, &completions)?;
    let mut page = OpenOptions::new().append(true).open(pages.join(format!("{name}.1")))?;
    page.write_all(more.as_bytes())?;
    std::fs::write(folder.join("THIRD-PARTY-NOTICES"), notices::write(&name, target)?)?;
    Ok(())
}

/// `help` has no page of its own: it prints the others.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
