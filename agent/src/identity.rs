//! Who the agent is: enrolment, noticing it, and renewal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use vedette_model::Timestamp;
use vedette_spool::write_members;
use vedette_transport::{
    Enrolled, Identity, IdentityError, Role, Token, TokenKind, client_endpoint, create_folder, enroll_agent,
    renew,
};

use crate::config::Config;
use crate::shared::Shared;

/// How often the identity's file is looked at, and whether it is time to renew.
const LOOK: Duration = Duration::from_secs(10);
/// How often before there is one, or after it was revoked: someone waits for the enrolment to show.
const LOOK_FOR_FIRST: Duration = Duration::from_secs(1);
/// How long after a failed renewal the next is tried.
const RENEW_RETRY: Duration = Duration::from_secs(600);
/// No token is longer.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// An agent's token from a file.
pub(crate) fn read_token(token_file: &Path) -> anyhow::Result<Token> {
    let size = std::fs::metadata(token_file).with_context(|| token_file.display().to_string())?.len();
    if size > TOKEN_BYTES_MAX {
        bail!("{} is too large for a token", token_file.display());
    }
    let text = std::fs::read_to_string(token_file).with_context(|| token_file.display().to_string())?;
    let token: Token =
        text.trim().parse().with_context(|| format!("{} holds no token", token_file.display()))?;
    if token.kind != TokenKind::Agent {
        bail!("this token is for a {}, not for an agent", token.kind);
    }
    Ok(token)
}

/// `vedette-agent enroll`: makes a key, gets a certificate for it, keeps both.
pub(crate) async fn enroll(config: &Config, token: &Token) -> anyhow::Result<()> {
    let endpoint = client_endpoint()?;
    let enrolled = enroll_agent(&endpoint, token, &config.name).await.context("enrolment failed")?;
    let folder = config.identity_path();
    save(&folder, &config.spool.members_file, &enrolled)?;
    info!(
        name = %config.name, folder = %folder.display(), expires_at = %enrolled.identity.expires_at(),
        aggregators = addresses(&enrolled), "enrolled"
    );
    endpoint.wait_idle().await;
    Ok(())
}

fn save(folder: &Path, members_file: &Path, enrolled: &Enrolled) -> anyhow::Result<()> {
    // The membership first: a running agent takes up both when it sees the identity.
    create_folder(folder)?;
    if !enrolled.members.members.is_empty() {
        write_members(members_file, &enrolled.members).with_context(|| members_file.display().to_string())?;
    }
    enrolled.identity.save(folder)?;
    Ok(())
}

fn addresses(enrolled: &Enrolled) -> String {
    let members = enrolled.members.members.iter();
    members.flat_map(|member| member.addresses.iter().map(String::as_str)).collect::<Vec<_>>().join(",")
}

/// What of the configuration matters here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IdentityConfig {
    name: String,
    seeds: Vec<String>,
}

impl IdentityConfig {
    pub(crate) fn of(config: &Config) -> Self {
        Self { name: config.name.to_string(), seeds: config.aggregators.clone() }
    }
}

/// Watches the identity's file, takes up what changes, and renews the certificate in time.
pub(crate) struct IdentityKeeper {
    shared: Arc<Shared>,
    folder: PathBuf,
    members_file: PathBuf,
    config: watch::Receiver<IdentityConfig>,
    seen: Option<SystemTime>,
    said: Option<String>,
    renew_not_before: Duration,
}

impl IdentityKeeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: &Config,
        changes: watch::Receiver<IdentityConfig>,
    ) -> Self {
        Self {
            shared,
            folder: config.identity_path(),
            members_file: config.spool.members_file.clone(),
            config: changes,
            seen: None,
            said: None,
            renew_not_before: Duration::ZERO,
        }
    }

    /// Runs until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let wait = if self.is_awaited() { LOOK_FOR_FIRST } else { LOOK };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Ok(()) = self.config.changed() => self.check_name(),
                () = stop.cancelled() => return,
            }
            self.look();
            self.renew_if_due().await;
        }
    }

    /// Whether somebody is about to enrol: there is no certificate, or none that is taken.
    fn is_awaited(&self) -> bool {
        let is_revoked = || self.shared.replicas().values().any(|numbers| numbers.is_revoked);
        self.shared.identity.borrow().is_none() || is_revoked()
    }

    /// Takes up the identity if it is new.
    pub(crate) fn look(&mut self) {
        let modified =
            std::fs::metadata(Identity::path_in(&self.folder)).and_then(|metadata| metadata.modified()).ok();
        if modified.is_some() && modified == self.seen {
            return;
        }
        match Identity::load(&self.folder) {
            Ok(identity) => self.take_up(identity),
            Err(IdentityError::Missing { .. }) => {
                let how = "not enrolled: metrics are collected, kept in the spool and served, but not shipped; to \
                           enrol, on an aggregator: vedette-aggregator token create >token, and here: \
                           vedette-agent enroll --token-file token";
                self.say(how.to_owned());
            }
            Err(error) => self.say(format!("the identity can not be used: {error}")),
        }
        self.seen = modified;
    }

    fn take_up(&mut self, identity: Identity) {
        match identity.role() {
            Role::Agent(name) => {
                info!(%name, expires_at = %identity.expires_at(), "identity loaded");
            }
            Role::Replica(replica) => {
                return self.say(format!("the identity can not be used: it is that of replica {replica}"));
            }
        }
        self.said = None;
        let now = self.shared.now();
        self.shared.spool().reload_members(now);
        self.shared.identity.send_replace(Some(Arc::new(identity)));
        self.check_name();
    }

    /// Aggregators know the agent by its certificate, people by its configuration.
    fn check_name(&mut self) {
        let Some(identity) = self.shared.identity.borrow().clone() else { return };
        let name = self.config.borrow_and_update().name.clone();
        if let Role::Agent(certified) = identity.role()
            && certified.as_str() != name
        {
            warn!(
                certificate = %certified, name,
                "the certificate is for another name than this agent's; enrol again to change it"
            );
        }
    }

    fn say(&mut self, what: String) {
        if self.said.as_ref() != Some(&what) {
            warn!(folder = %self.folder.display(), "{what}");
            self.said = Some(what);
        }
    }

    async fn renew_if_due(&mut self) {
        let Some(identity) = self.shared.identity.borrow().clone() else { return };
        let now = self.shared.now();
        if now.wall < identity.renew_at() || now.monotonic < self.renew_not_before {
            return;
        }
        self.renew_not_before = now.monotonic + RENEW_RETRY;
        match self.renew(&identity).await {
            Ok(expires_at) => info!(%expires_at, "certificate renewed"),
            Err(error) => {
                self.shared.numbers().renewals_failed += 1;
                let expires_at = identity.expires_at();
                warn!(error = format!("{error:#}"), %expires_at, "the certificate can not be renewed yet");
            }
        }
    }

    async fn renew(&mut self, identity: &Identity) -> anyhow::Result<Timestamp> {
        let mut addresses: Vec<String> = {
            let spool = self.shared.spool();
            let members = spool.members().map_or(&[][..], |members| members.members.as_slice());
            members.iter().flat_map(|member| member.addresses.clone()).collect()
        };
        addresses.extend(self.config.borrow().seeds.iter().cloned());
        let endpoint = client_endpoint()?;
        let enrolled = renew(&endpoint, identity, &addresses).await?;
        let expires_at = enrolled.identity.expires_at();
        save(&self.folder, &self.members_file, &enrolled)?;
        debug!("the renewed identity is taken up like any other");
        self.look();
        Ok(expires_at)
    }
}
