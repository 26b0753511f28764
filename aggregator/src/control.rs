//! What the running aggregator does when its own subcommands ask, over the socket in its data folder.
//!
//! One line of JSON is asked, one is answered. Whoever can open the socket may make tokens, so it belongs to the
//! user that runs the aggregator alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vedette_daemon::socket::{self, AskError};
use vedette_daemon::{clock, people};
use vedette_transport::{Group, TokenKind};
use vedette_wire::{AgentName, ReplicaId};

use crate::backup::{self, Snapshots};
use crate::cli::Kind;
use crate::report::Report;
use crate::status::Status;

/// The longest request.
const REQUEST_BYTES_MAX: u64 = 4096;
/// Callers at once; further ones wait.
const CALLERS_MAX: usize = 16;
/// How long a caller may take to ask, and to take the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take. A backup first writes what is in memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    CreateToken { kind: Kind, ttl_ms: i64, uses: u32 },
    Status,
    Revoke { agent: String, force: bool },
    RemoveMember { replica: String },
    BeginBackup,
    EndBackup,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// To be printed.
    Done(String),
    Status(Box<Report>),
    Backup(PathBuf),
    Error(String),
}

/// What requests are answered with.
pub(crate) struct Control {
    pub(crate) group: Arc<Group>,
    pub(crate) status: Arc<Status>,
    pub(crate) snapshots: Snapshots,
}

/// Opens the socket. The storage's lock must be held: it makes sure that a socket left there is nobody's.
pub(crate) fn listen(data: &Path) -> Result<UnixListener> {
    let listen = || UnixListener::from_std(socket::listen(data)?);
    listen().with_context(|| socket::path(data).display().to_string())
}

/// Answers until `stop`.
pub(crate) async fn serve(listener: UnixListener, control: Arc<Control>, stop: CancellationToken) {
    let mut callers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            Some(_ended) = callers.join_next() => continue,
            accepted = listener.accept(), if callers.len() < CALLERS_MAX => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(callers.spawn(converse(stream, Arc::clone(&control)))),
            Err(error) => {
                tracing::warn!(%error, "the control socket takes nobody");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, control: Arc<Control>) {
    if answer(stream, control).await.is_err() {
        tracing::debug!("a caller on the control socket hung up");
    }
}

async fn answer(stream: UnixStream, control: Arc<Control>) -> Result<()> {
    let (receive, mut send) = stream.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(receive.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = tokio::task::spawn_blocking(move || control.answer_to(&line)).await?;
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    tokio::time::timeout(TIMEOUT, send.write_all(text.as_bytes())).await??;
    Ok(())
}

impl Control {
    fn answer_to(&self, line: &str) -> Answer {
        let answered = match serde_json::from_str(line) {
            Err(error) => Err(anyhow!("request: {error}")),
            Ok(Request::Status) => Ok(Answer::Status(Box::new(self.status.report(clock::now())))),
            Ok(Request::CreateToken { kind, ttl_ms, uses }) => self.create_token(kind, ttl_ms, uses),
            Ok(Request::Revoke { agent, force }) => self.revoke(&agent, force),
            Ok(Request::RemoveMember { replica }) => self.remove_member(&replica),
            Ok(Request::BeginBackup) => self.snapshots.take().map(Answer::Backup),
            Ok(Request::EndBackup) => {
                self.snapshots.end();
                Ok(Answer::Done(String::new()))
            }
        };
        answered.unwrap_or_else(|error| Answer::Error(format!("{error:#}")))
    }

    fn create_token(&self, kind: Kind, ttl_ms: i64, uses: u32) -> Result<Answer> {
        let kind = match kind {
            Kind::Agent => TokenKind::Agent,
            Kind::Replica => TokenKind::Replica,
        };
        let ttl = Duration::from_millis(ttl_ms.max(0).unsigned_abs());
        let token = self.group.create_token_for(kind, ttl, uses, clock::now())?;
        Ok(Answer::Done(token.to_string()))
    }

    fn revoke(&self, name: &str, force: bool) -> Result<Answer> {
        let agent = AgentName::new(name)?;
        let is_known = self.status.agent_names().contains(name);
        if !is_known && !force {
            bail!(
                "no agent {name:?} is known here: `vedette-aggregator agent list` shows those that are; with --force it \
                 is revoked all the same"
            );
        }
        self.group.revoke(&agent)?;
        Ok(Answer::Done(format!(
            "revoked {agent}: its sessions are closed, on replicas that can be reached within seconds, on others when \
             they are back; its data stays; a new token enrols it again"
        )))
    }

    fn remove_member(&self, text: &str) -> Result<Answer> {
        let replica: ReplicaId =
            text.parse().map_err(|error| anyhow!("{text:?} is no replica's id: {error}"))?;
        if replica == self.group.replica() {
            bail!("this is the replica that answers: stop it, and remove it on another one");
        }
        if self.group.members().current().get(replica).is_none() {
            bail!("the group has no replica {replica}: `vedette-aggregator status` shows those that it has");
        }
        self.group.remove_member(replica)?;
        Ok(Answer::Done(format!(
            "removed replica {replica}: agents and peers stop calling it; should its data folder still exist, delete it"
        )))
    }
}

/// Asks the aggregator that runs on this data folder.
fn ask(data: &Path, request: &Request) -> Result<Answer> {
    let line = serde_json::to_string(request)?;
    let answer = match socket::ask(data, &line, ANSWER_TIMEOUT) {
        Ok(answer) => answer,
        Err(error @ AskError::NotRunning { .. }) => bail!(
            "{error}: no aggregator runs on this data folder (--storage.path); start it: systemctl start \
             vedette-aggregator, or vedette-aggregator serve"
        ),
        Err(error) => bail!(error),
    };
    match serde_json::from_str(&answer).context("the aggregator's answer makes no sense")? {
        Answer::Error(message) => bail!(message),
        answer => Ok(answer),
    }
}

/// `token create`
pub(crate) fn create_token(data: &Path, kind: Kind, ttl_ms: i64, uses: u32) -> Result<()> {
    print(&ask(data, &Request::CreateToken { kind, ttl_ms, uses })?)
}

/// `agent revoke`
pub(crate) fn revoke(data: &Path, agent: &str, force: bool) -> Result<()> {
    print(&ask(data, &Request::Revoke { agent: agent.to_owned(), force })?)
}

/// `member remove`
pub(crate) fn remove_member(data: &Path, replica: &str) -> Result<()> {
    print(&ask(data, &Request::RemoveMember { replica: replica.to_owned() })?)
}

/// `status`, and `agent list`, which is a part of it: how the running aggregator is.
pub(crate) fn report(data: &Path) -> Result<Report> {
    match ask(data, &Request::Status)? {
        Answer::Status(report) => Ok(*report),
        _ => bail!("the aggregator answers something else"),
    }
}

/// `backup`
pub(crate) fn back_up(data: &Path, target: &Path) -> Result<()> {
    backup::check_target(target)?;
    let Answer::Backup(snapshot) = ask(data, &Request::BeginBackup)? else {
        bail!("the aggregator answers something else");
    };
    let copied = backup::copy(data, &snapshot, target);
    // Where it can not be told, it lets go of the snapshot at its next backup or start.
    let ended = ask(data, &Request::EndBackup);
    let bytes = copied?;
    ended?;
    Ok(people::say(format!("{}: {}\n", target.display(), people::bytes(bytes)))?)
}

fn print(answer: &Answer) -> Result<()> {
    match answer {
        Answer::Done(text) => Ok(people::say(format!("{text}\n"))?),
        _ => bail!("the aggregator answers something else"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_not_be_asked_is_told_why() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = create_token(folder.path(), Kind::Agent, 1, 1).expect_err("nobody listens").to_string();
        assert!(
            error.contains("no aggregator runs on this data folder (--storage.path); start it"),
            "{error}"
        );
    }
}
