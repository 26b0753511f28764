use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Collects this host's metrics, scrapes what runs on it, and ships all of it to aggregators.
#[derive(Debug, Parser)]
#[command(name = "vedette-agent", version = crate::VERSION)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// What to do; `run` when left out.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags in Prometheus' manner. Each is also a key of the configuration file, and overrides it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Flags {
    /// Configuration file; without one everything has its default. Commands other than `run` take that of the service,
    /// /etc/vedette/agent.yml, where it is there.
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub(crate) config_file: Option<PathBuf>,
    /// Folder of the spool and of the identity [default: /var/lib/vedette/agent]
    #[arg(long = "spool.path", value_name = "DIR", global = true)]
    pub(crate) spool_path: Option<PathBuf>,
    /// Where an aggregator is reached; may be repeated. Ordinarily the enrolment tells.
    #[arg(long = "aggregator", value_name = "HOST:PORT", global = true)]
    pub(crate) aggregators: Vec<String>,
    /// Where /metrics is served [default: 127.0.0.1:9100]
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", global = true)]
    pub(crate) web_listen_address: Option<String>,
    /// How often to collect, 1s or longer [default: 15s]
    #[arg(long = "interval", value_name = "DURATION", global = true)]
    pub(crate) interval: Option<String>,
    /// Mount point of procfs [default: /proc]
    #[arg(long = "path.procfs", value_name = "DIR", global = true)]
    pub(crate) procfs: Option<PathBuf>,
    /// Mount point of sysfs [default: /sys]
    #[arg(long = "path.sysfs", value_name = "DIR", global = true)]
    pub(crate) sysfs: Option<PathBuf>,
    /// The host's root directory [default: /]
    #[arg(long = "path.rootfs", value_name = "DIR", global = true)]
    pub(crate) rootfs: Option<PathBuf>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long = "log.level", value_name = "LEVEL", global = true)]
    pub(crate) log_level: Option<String>,
    /// logfmt or json [default: logfmt]
    #[arg(long = "log.format", value_name = "FORMAT", global = true)]
    pub(crate) log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent.
    Run,
    /// Check the configuration and say what is wrong with it.
    Check {
        /// The file; the same as --config.file.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show how the running agent is; 0 when healthy, 1 when not, and then what to do.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what the collectors find on this host, with no daemon and no network.
    Collect {
        /// Collect once, and end.
        #[arg(long, required = true)]
        once: bool,
        /// This collector alone; may be repeated. Also one that is off.
        #[arg(long = "collector", value_name = "NAME")]
        collectors: Vec<String>,
    },
    /// Become a member of the group that a token is of.
    Enroll {
        /// File with the token, from `vedette-aggregator token create`.
        #[arg(long = "token-file", value_name = "FILE")]
        token_file: PathBuf,
    },
}
