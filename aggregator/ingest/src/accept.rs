//! Calls: completed in tasks of their own, told apart by protocol.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vedette_transport::{AcceptError, Accepted, Handshake, Listener, close, serve_enroll, serve_peer};
use vedette_wire::control::EnrollAnswer;
use vedette_wire::session::CloseCode;

use crate::peers::Stored;
use crate::{Shared, session};

/// Takes calls until `stop`; returns when all connections are done with.
pub(crate) async fn serve(shared: Arc<Shared>, stop: CancellationToken) {
    let listener = Listener::new(shared.endpoint.clone(), shared.limits.connections_max)
        .with_roll(shared.group.roll().subscribe());
    let mut calls = JoinSet::new();
    let mut refused_before = 0;
    loop {
        // The listener logs these itself: under a flood they are far too many for a line each.
        let refused = listener.refused();
        shared.metrics.refusals.with_label_values(&["overload"]).inc_by(refused - refused_before);
        refused_before = refused;
        tokio::select! {
            () = stop.cancelled() => break,
            handshake = listener.accept() => match handshake {
                Some(handshake) => drop(calls.spawn(call(Arc::clone(&shared), handshake, stop.clone()))),
                None => break,
            },
            Some(ended) = calls.join_next() => report(ended),
        }
    }
    while let Some(ended) = calls.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

async fn call(shared: Arc<Shared>, handshake: Handshake, stop: CancellationToken) {
    let accepted = tokio::select! {
        () = stop.cancelled() => return,
        accepted = handshake.complete() => accepted,
    };
    match accepted {
        Err(error) => shared.refused(error.reason(), &caller(&error), &error.to_string()),
        Ok(Accepted::Data { agent, connection }) => {
            shared.metrics.handshakes.with_label_values(&["data"]).inc();
            session::run(shared, agent, connection, stop).await;
        }
        Ok(Accepted::Peer { replica, connection }) => {
            shared.metrics.handshakes.with_label_values(&["peer"]).inc();
            let store = Arc::new(Stored(Arc::clone(&shared)));
            let served = tokio::select! {
                () = stop.cancelled() => return,
                served = serve_peer(&connection, &shared.group, store) => served,
            };
            if let Err(error) = served {
                tracing::debug!(%replica, %error, "a peer's connection broke");
            }
        }
        Ok(Accepted::Enroll { member, connection }) => {
            shared.metrics.handshakes.with_label_values(&["enroll"]).inc();
            let Ok(_permit) = shared.enrolments.try_acquire() else {
                let message = "too many enrolments at once";
                shared.refused("enrolments", "enrolments", message);
                return close(&connection, CloseCode::Overload, message);
            };
            let now = shared.clock.now().wall;
            let host = connection.remote_address().ip().to_string();
            // Not cut off by `stop`: a spent token should come with its certificate. It is bounded in time.
            let outcome = match serve_enroll(Arc::clone(&shared.group), connection, member, now).await {
                Ok(EnrollAnswer::Issued(_)) => "issued",
                Ok(EnrollAnswer::Refused(refused)) => {
                    let message = format!("enrolment: {}", refused.message);
                    shared.refused(refused.reason.as_str(), &host, &message);
                    refused.reason.as_str()
                }
                Err(error) => {
                    shared.refused("enrolment_broken", &host, &format!("enrolment broke off: {error}"));
                    "broken"
                }
            };
            shared.metrics.enrolments.with_label_values(&[outcome]).inc();
        }
    }
}

/// Whom a refusal is about: the host, since the port changes with every attempt; who is known by its certificate.
fn caller(error: &AcceptError) -> String {
    let remote = match error {
        AcceptError::Revoked { role, .. } => return role.to_string(),
        AcceptError::Handshake { remote, .. }
        | AcceptError::Timeout { remote }
        | AcceptError::NoCertificate { remote, .. }
        | AcceptError::WrongRole { remote, .. }
        | AcceptError::Certificate { remote, .. } => remote,
    };
    remote.ip().to_string()
}
