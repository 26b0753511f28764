//! Writes what packages contain beside the programs: manual pages and shells' completions, from what both programs'
//! command lines are declared as, and the licences of others' work. A program of its own, so that the installed ones carry none of it.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};

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

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: vedette-manual FOLDER");
        return ExitCode::from(2);
    };
    let folder = Path::new(&folder);
    let written = write(agent::Cli::command(), AGENT, &folder.join("agent"))
        .and_then(|()| write(aggregator::Cli::command(), AGGREGATOR, &folder.join("aggregator")));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Pages into `folder`/man, completions into `folder`/completions.
fn write(mut command: Command, more: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (pages, completions) = (folder.join("man"), folder.join("completions"));
    std::fs::create_dir_all(&pages)?;
    std::fs::create_dir_all(&completions)?;
    let name = command.get_name().to_owned();
    clap_mangen::generate_to(without_help(command.clone()), &pages)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut command, &name, &completions)?;
    }
    let mut page = OpenOptions::new().append(true).open(pages.join(format!("{name}.1")))?;
    page.write_all(more.as_bytes())?;
    std::fs::write(folder.join("THIRD-PARTY-NOTICES"), notices::write(&name)?)?;
    Ok(())
}

/// `help` has no page of its own: it prints the others.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
