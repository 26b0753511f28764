use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// Stores what agents send and answers PromQL over it.
#[derive(Debug, Parser)]
#[command(name = "vedette-aggregator", version = crate::VERSION, args_conflicts_with_subcommands = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags in Prometheus' manner. Each is also a key of the configuration file, and overrides it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Flags {
    /// Configuration file; without one everything has its default. Commands other than `serve` take that of the service,
    /// /etc/vedette/aggregator.yml, where it is there.
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub(crate) config_file: Option<PathBuf>,
    /// Folder of all data: samples, identity, certificate authority [default: /var/lib/vedette/aggregator]
    #[arg(long = "storage.path", value_name = "DIR", global = true)]
    pub(crate) storage_path: Option<PathBuf>,
    /// How long samples are kept [default: 15d]
    #[arg(long = "storage.retention", value_name = "DURATION", global = true)]
    pub(crate) storage_retention: Option<String>,
    /// Where HTTP is served [default: 127.0.0.1:9090]
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", global = true)]
    pub(crate) web_listen_address: Option<String>,
    /// Allow deleting series and taking snapshots over HTTP.
    #[arg(long = "web.enable-admin-api", global = true)]
    pub(crate) web_enable_admin_api: bool,
    /// Allow reloading the configuration and ending the program over HTTP.
    #[arg(long = "web.enable-lifecycle", global = true)]
    pub(crate) web_enable_lifecycle: bool,
    /// Origins whose pages may read the API, an anchored regular expression [default: .*]
    #[arg(long = "web.cors.origin", value_name = "REGEX", global = true)]
    pub(crate) web_cors_origin: Option<String>,
    /// How long a sample counts after its time [default: 5m]
    #[arg(long = "query.lookback-delta", value_name = "DURATION", global = true)]
    pub(crate) query_lookback_delta: Option<String>,
    /// How long a query may take [default: 2m]
    #[arg(long = "query.timeout", value_name = "DURATION", global = true)]
    pub(crate) query_timeout: Option<String>,
    /// Queries evaluated at once [default: 20]
    #[arg(long = "query.max-concurrency", value_name = "COUNT", global = true)]
    pub(crate) query_max_concurrency: Option<String>,
    /// The most samples that one query may hold at once [default: 50000000]
    #[arg(long = "query.max-samples", value_name = "COUNT", global = true)]
    pub(crate) query_max_samples: Option<String>,
    /// Where agents and peers connect, UDP [default: 0.0.0.0:9095]
    #[arg(long = "quic.listen-address", value_name = "HOST:PORT", global = true)]
    pub(crate) quic_listen_address: Option<String>,
    /// Features to enable, with Prometheus' names; may be repeated or separated by commas.
    #[arg(long = "enable-feature", value_name = "NAME", value_delimiter = ',', global = true)]
    pub(crate) enable_feature: Vec<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long = "log.level", value_name = "LEVEL", global = true)]
    pub(crate) log_level: Option<String>,
    /// logfmt or json [default: logfmt]
    #[arg(long = "log.format", value_name = "FORMAT", global = true)]
    pub(crate) log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the aggregator.
    Serve,
    /// Check the configuration and say what is wrong with it.
    Check {
        /// The file; else the one of `--config.file`.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Tokens, with which agents and replicas enrol.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Make this a replica of the group that a token is of.
    Join {
        /// File with the token.
        #[arg(long = "token-file", value_name = "FILE")]
        token_file: PathBuf,
    },
    /// Agents of the group.
    Agent {
        #[command(subcommand)]
        command: AgentCommand,
    },
    /// Replicas of the group.
    Member {
        #[command(subcommand)]
        command: MemberCommand,
    },
    /// Copy all that the running aggregator has to a folder that an aggregator can be started on.
    Backup {
        /// A folder that is not there yet.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Show how the running aggregator is and what to do next; 0 when healthy, 1 when not.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List the agents.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Refuse an agent on all replicas from now on, until it is enrolled again with a new token.
    Revoke {
        /// Its name.
        name: String,
        /// Also when no agent of this name is known here.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Remove a replica that is gone for good.
    Remove {
        /// Its id, as `status` shows it.
        replica: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Print a new token, good for one enrolment or --uses of them, at this replica. Asks the running aggregator.
    Create {
        /// What may enrol with it.
        #[arg(long, value_enum, default_value = "agent")]
        kind: Kind,
        /// How long it is good.
        #[arg(long, default_value = "1h", value_name = "DURATION")]
        ttl: String,
        /// How often it can be used.
        #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        uses: u32,
    },
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// An agent, under the name that it gives itself.
    Agent,
    /// A replica of this group, which can then sign certificates as well.
    Replica,
}
