//! The socket in the data folder, by which `token` and `status` talk to the running aggregator.
//!
//! One line of JSON is asked, one is answered. Whoever can open the socket may make tokens, so it belongs to the
//! user that runs the aggregator alone.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use vedette_daemon::clock;
use vedette_transport::{Group, TokenKind};

use crate::cli::Kind;
use crate::status::Status;

/// The longest request.
const REQUEST_BYTES_MAX: u64 = 4096;
/// How long a conversation may take.
const TIMEOUT: Duration = Duration::from_secs(10);
const FOLDER: &str = "control";
const SOCKET: &str = "socket";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    CreateToken { kind: Kind, ttl_ms: i64 },
    Status,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Token(String),
    Status(String),
    Error(String),
}

fn socket_path(data: &Path) -> PathBuf {
    data.join(FOLDER).join(SOCKET)
}

/// Opens the socket. The storage's lock must be held: it makes sure that a socket left there is nobody's.
pub(crate) fn listen(data: &Path) -> Result<UnixListener> {
    let path = socket_path(data);
    let folder = data.join(FOLDER);
    let open = || {
        std::fs::create_dir_all(&folder)?;
        // The folder keeps others out in the moment before the socket has its mode.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    open().with_context(|| path.display().to_string())
}

/// Answers until `stop`, one caller after the other.
pub(crate) async fn serve(
    listener: UnixListener,
    group: Arc<Group>,
    status: Arc<Status>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let answered = tokio::time::timeout(TIMEOUT, answer(stream, &group, &status)).await;
                if !matches!(answered, Ok(Ok(()))) {
                    tracing::debug!("a caller on the control socket hung up");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, group: &Arc<Group>, status: &Arc<Status>) -> Result<()> {
    let (receive, mut send) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(receive.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let (group, status) = (Arc::clone(group), Arc::clone(status));
    let answer = tokio::task::spawn_blocking(move || answer_to(&line, &group, &status)).await?;
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    send.write_all(text.as_bytes()).await?;
    Ok(())
}

fn answer_to(line: &str, group: &Group, status: &Status) -> Answer {
    match serde_json::from_str(line) {
        Err(error) => Answer::Error(format!("request: {error}")),
        Ok(Request::Status) => Answer::Status(status.text(clock::now())),
        Ok(Request::CreateToken { kind, ttl_ms }) => {
            let kind = match kind {
                Kind::Agent => TokenKind::Agent,
                Kind::Replica => TokenKind::Replica,
            };
            let ttl = Duration::from_millis(ttl_ms.max(0).unsigned_abs());
            match group.create_token(kind, ttl, clock::now()) {
                Ok(token) => Answer::Token(token.to_string()),
                Err(error) => Answer::Error(error.to_string()),
            }
        }
    }
}

/// Asks the aggregator that runs on this data folder.
fn ask(data: &Path, request: &Request) -> Result<Answer> {
    let path = socket_path(data);
    let mut stream = BlockingStream::connect(&path)
        .map_err(|error| anyhow!("{}: {}", path.display(), not_reached(&error)))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    serde_json::from_str(&answer).context("the aggregator's answer makes no sense")
}

fn not_reached(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            "no aggregator runs on this data folder (--storage.path)".to_owned()
        }
        ErrorKind::PermissionDenied => {
            "permission denied: ask as the user that runs the aggregator".to_owned()
        }
        _ => error.to_string(),
    }
}

/// `token create`
pub(crate) fn create_token(data: &Path, kind: Kind, ttl_ms: i64) -> Result<()> {
    print(ask(data, &Request::CreateToken { kind, ttl_ms })?)
}

/// `status`
pub(crate) fn print_status(data: &Path) -> Result<()> {
    print(ask(data, &Request::Status)?)
}

fn print(answer: Answer) -> Result<()> {
    match answer {
        Answer::Token(text) | Answer::Status(text) => println!("{text}"),
        Answer::Error(message) => bail!(message),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_not_be_asked_is_told_why() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = create_token(folder.path(), Kind::Agent, 1).expect_err("nobody listens").to_string();
        assert!(error.ends_with("no aggregator runs on this data folder (--storage.path)"), "{error}");
        let denied = not_reached(&ErrorKind::PermissionDenied.into());
        assert!(denied.contains("as the user that runs the aggregator"), "{denied}");
    }
}
