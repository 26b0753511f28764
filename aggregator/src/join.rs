//! `join`: makes an empty data folder a replica of an existing group.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use uuid::Uuid;
use vedette_daemon::data_format;
use vedette_daemon::people::say;
use vedette_daemon::privileges::become_owner_of;
use vedette_transport::{Group, Token, TokenKind, client_endpoint, enroll_replica};
use vedette_wire::ReplicaId;

use crate::DATA_FORMAT;
use crate::advertise;
use crate::config::Config;

pub(crate) fn run(config: &Config, token_file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(token_file).with_context(|| token_file.display().to_string())?;
    let token: Token = text.trim().parse().with_context(|| token_file.display().to_string())?;
    if token.kind != TokenKind::Replica {
        bail!("the token is for an agent; make one with `vedette-aggregator token create --kind replica`");
    }
    // The token may be root's alone, what comes of it belongs to who owns the data.
    become_owner_of(&config.path).with_context(|| config.path.display().to_string())?;
    data_format::check(&config.path, DATA_FORMAT)?;
    if Group::exists(&config.path)? {
        bail!("{} belongs to a group already: join with an empty data folder", config.path.display());
    }
    let replica = ReplicaId(Uuid::new_v4());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let joined = runtime.block_on(async {
        let endpoint = client_endpoint()?;
        let addresses = advertise::addresses(config, config.quic_listen);
        let joined = enroll_replica(&endpoint, &token, replica, addresses).await?;
        endpoint.wait_idle().await;
        anyhow::Ok(joined)
    })?;
    Group::adopt(&config.path, &joined)?;
    Ok(say(format!("joined the group as replica {replica}; start it with `vedette-aggregator serve`\n"))?)
}
