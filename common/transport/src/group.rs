//! A replica's standing in its group: authority, own identity, tokens, membership, who was enrolled.
//!
//! ```text
//! <data folder>/ca/authority.pem   the group's authority and its key
//! <data folder>/ca/tokens.json     tokens given out by this replica
//! <data folder>/ca/enrolled.txt    names of agents, one a line
//! <data folder>/ca/roll.json       who is not a member any more
//! <data folder>/identity.pem       this replica's key and certificate
//! <data folder>/members.json       the group's replicas
//! ```

use crate::authority::{Authority, AuthorityError};
use crate::enroll::Joined;
use crate::files::{self, FileError};
use crate::identity::{Certified, Identity, IdentityError, Role, expires_at};
use crate::members::MembersStore;
use crate::roll::{RollError, RollStore};
use crate::token::{Token, TokenKind};
use crate::token_store::{TokenStore, TokenStoreError};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;
use vedette_model::Timestamp;
use vedette_wire::control::{
    EnrollAnswer, EnrollRefusal, EnrollRequest, Issued, Member, NewcomerKind, Redeem, RefusedEnroll,
    RollPage, TEXT_BYTES_MAX,
};
use vedette_wire::{AgentName, ReplicaId};

/// Names of agents that are remembered; later ones are enrolled all the same.
const ENROLLED_MAX: usize = 1_000_000;
/// Attempts with an unknown token that are looked at in full, and how fast they come back.
const FAILURES_MAX: u32 = 20;
const FAILURES_PER_SECOND: f64 = 2.0;
/// Callers on the enrolment protocol at the same time: anybody can be one.
const ENROLLING_MAX: usize = 64;

/// A replica's standing in its group.
pub struct Group {
    authority_folder: PathBuf,
    folder: PathBuf,
    authority: Authority,
    replica: ReplicaId,
    /// Where this replica can be reached.
    addresses: Mutex<Vec<String>>,
    identity: Mutex<Arc<Identity>>,
    tokens: Mutex<TokenStore>,
    enrolled: Mutex<HashSet<String>>,
    failures: Mutex<FailureBudget>,
    enrolling: Semaphore,
    members: MembersStore,
    roll: RollStore,
}

/// Why a replica has no standing.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// A file fails.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The identity fails.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The folder holds the identity of somebody else.
    #[error("{folder} holds the identity of {role}, which is no replica")]
    NotAReplica {
        /// Which folder.
        folder: String,
        /// Whose identity it holds.
        role: Role,
    },
    /// The folder belongs to a group already.
    #[error("{folder} belongs to a group already: join with an empty data folder")]
    Occupied {
        /// Which folder.
        folder: String,
    },
}

impl Group {
    /// Opens the standing in `folder`, or founds a group. `addresses` are where this replica can be reached.
    pub fn open(folder: &Path, addresses: &[String], now: Timestamp) -> Result<Self, GroupError> {
        let authority_folder = folder.join("ca");
        let authority = match Authority::load(&authority_folder)? {
            Some(authority) => authority,
            None => found(folder, &authority_folder, now)?,
        };
        let identity = match Identity::load(folder) {
            Ok(identity) => identity,
            // The authority is written first: a crash may have come between.
            Err(IdentityError::Missing { .. }) => {
                let identity = authority.issue(&Role::Replica(ReplicaId(Uuid::new_v4())), now)?;
                identity.save(folder)?;
                identity
            }
            Err(error) => return Err(error.into()),
        };
        let replica = match identity.role() {
            Role::Replica(replica) => *replica,
            role => {
                return Err(GroupError::NotAReplica {
                    folder: folder.display().to_string(),
                    role: role.clone(),
                });
            }
        };
        let own = Member { replica, addresses: addresses.to_vec() };
        let roll = RollStore::open(&authority_folder)?;
        let group = Self {
            tokens: Mutex::new(TokenStore::open(&authority_folder)?),
            enrolled: Mutex::new(read_enrolled(&authority_folder)?),
            failures: Mutex::new(FailureBudget::default()),
            enrolling: Semaphore::new(ENROLLING_MAX),
            members: MembersStore::open_with(folder, own, roll.subscribe())?,
            roll,
            identity: Mutex::new(Arc::new(identity)),
            authority_folder,
            folder: folder.to_owned(),
            authority,
            replica,
            addresses: Mutex::new(addresses.to_vec()),
        };
        // A replica that was off for long renews before it takes a call.
        group.renew(now)?;
        Ok(group)
    }

    /// Writes what a newcomer got by [`crate::enroll_replica`] into its empty `folder`.
    pub fn adopt(folder: &Path, joined: &Joined) -> Result<(), GroupError> {
        if Self::exists(folder)? {
            return Err(GroupError::Occupied { folder: folder.display().to_string() });
        }
        // The authority comes last: without it, `join` may simply be repeated.
        joined.identity.save(folder)?;
        if let Role::Replica(replica) = joined.identity.role() {
            let own = joined.members.get(*replica).cloned();
            let own = own.unwrap_or(Member { replica: *replica, addresses: Vec::new() });
            MembersStore::open(folder, own)?.merge(&joined.members)?;
        }
        joined.authority.save(&folder.join("ca"))?;
        Ok(())
    }

    /// Whether `folder` belongs to a group.
    pub fn exists(folder: &Path) -> Result<bool, GroupError> {
        Ok(Authority::load(&folder.join("ca"))?.is_some())
    }

    /// This replica's id.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// This replica's present identity.
    pub fn identity(&self) -> Arc<Identity> {
        lock(&self.identity).clone()
    }

    /// The membership.
    pub fn members(&self) -> &MembersStore {
        &self.members
    }

    /// This replica can be reached elsewhere than it was opened with, for instance because the system chose
    /// its port.
    pub fn announce(&self, addresses: &[String]) -> Result<(), FileError> {
        *lock(&self.addresses) = addresses.to_vec();
        self.members.announce(addresses)
    }

    /// Who is no member any more.
    pub fn roll(&self) -> &RollStore {
        &self.roll
    }

    /// The authority's certificate is good until then; there is no rollover yet.
    pub fn authority_expires_at(&self) -> Result<Timestamp, IdentityError> {
        expires_at(self.authority.certificate())
    }

    /// The names of agents that were enrolled here, in no order.
    pub fn enrolled(&self) -> Vec<String> {
        lock(&self.enrolled).iter().cloned().collect()
    }

    /// No certificate that the agent has is good any more, on any replica, as soon as it hears of it.
    pub fn revoke(&self, agent: &AgentName) -> Result<(), RollError> {
        self.roll.revoke(agent)?;
        tracing::warn!(%agent, "agent revoked: its certificates are refused until it is enrolled again");
        Ok(())
    }

    /// The replica is no member any more. Agents and peers stop calling it, and nobody takes its calls.
    pub fn remove_member(&self, replica: ReplicaId) -> Result<(), RollError> {
        self.roll.remove(replica)?;
        self.members.call_roll()?;
        tracing::warn!(%replica, "replica removed from the group");
        Ok(())
    }

    /// Takes over what a peer knows of who is no member any more.
    pub(crate) fn take_roll(&self, page: &RollPage) -> Result<(), RollError> {
        self.roll.merge(page)?;
        self.members.call_roll()?;
        Ok(())
    }

    /// Makes a token that works once, here, until `ttl` is over.
    pub fn create_token(
        &self,
        kind: TokenKind,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Token, TokenStoreError> {
        self.create_token_for(kind, ttl, 1, now)
    }

    /// Makes a token that works `uses` times, here, until `ttl` is over. Only this replica takes it, so that it counts alone
    /// and nothing is redeemed twice while replicas can not hear each other.
    pub fn create_token_for(
        &self,
        kind: TokenKind,
        ttl: Duration,
        uses: u32,
        now: Timestamp,
    ) -> Result<Token, TokenStoreError> {
        let addresses = lock(&self.addresses).clone();
        let authority = self.authority.fingerprint();
        let token = lock(&self.tokens).create(kind, ttl, uses, authority, addresses, now)?;
        tracing::info!(%kind, uses, expires_at = %token.expires_at, "token created");
        Ok(token)
    }

    /// A fresh certificate for this replica when two thirds of the present one's life are over. Put it in
    /// place with [`crate::replace_identity`].
    pub fn renew(&self, now: Timestamp) -> Result<Option<Arc<Identity>>, AuthorityError> {
        let present = self.identity();
        if now < present.renew_at() {
            return Ok(None);
        }
        let renewed = self.authority.issue(present.role(), now)?;
        renewed.save(&self.folder)?;
        let renewed = Arc::new(renewed);
        *lock(&self.identity) = renewed.clone();
        tracing::info!(expires_at = %renewed.expires_at(), "own certificate renewed");
        Ok(Some(renewed))
    }

    /// Room for one more conversation with a newcomer; none when there are too many.
    pub(crate) fn admit_newcomer(&self) -> Option<SemaphorePermit<'_>> {
        self.enrolling.try_acquire().ok()
    }

    /// Answers a newcomer or a member. Writes files: not for an async task.
    pub fn enroll(
        &self,
        request: &EnrollRequest,
        member: Option<&Certified>,
        now: Timestamp,
    ) -> EnrollAnswer {
        let issued = match (request, member) {
            (EnrollRequest::Redeem(redeem), _) => self.redeem(redeem, now),
            // What was revoked stays revoked: the next certificate says of itself what the present one does.
            (EnrollRequest::Renew(renew), Some(member)) => self.issue(&renew.signing_request, member, now),
            (EnrollRequest::Renew(_), None) => {
                Err(refused(EnrollRefusal::NotAuthenticated, "a renewal needs the present certificate"))
            }
        };
        match issued {
            Ok(issued) => EnrollAnswer::Issued(issued),
            Err(refused) => EnrollAnswer::Refused(refused),
        }
    }

    fn redeem(&self, redeem: &Redeem, now: Timestamp) -> Result<Issued, RefusedEnroll> {
        let (kind, role) = match &redeem.newcomer {
            NewcomerKind::Agent { name } => {
                let name = AgentName::new(name).map_err(|error| refused(EnrollRefusal::Malformed, error))?;
                (TokenKind::Agent, Role::Agent(name))
            }
            NewcomerKind::Replica { replica, .. } => (TokenKind::Replica, Role::Replica(*replica)),
        };
        // Signed before the token is spent, so that a bad request does not cost the token.
        if let Err(refusal) = lock(&self.tokens).check(&redeem.secret, kind, now) {
            return Err(self.token_refused(refusal, now));
        }
        let revocations = match &role {
            Role::Agent(name) => self.roll.current().revocations(name),
            Role::Replica(_) => 0,
        };
        let certified = Certified { role: role.clone(), revocations };
        let mut issued = self.issue(&redeem.signing_request, &certified, now)?;
        // One writer at a time: of two that show the same token, one is refused here.
        let spent = lock(&self.tokens).redeem(&redeem.secret, kind, &role.to_string(), now);
        spent.map_err(internal)?.map_err(|refusal| self.token_refused(refusal, now))?;
        match &redeem.newcomer {
            NewcomerKind::Agent { name } => self.remember(name).map_err(internal)?,
            NewcomerKind::Replica { replica, addresses } => {
                let joiner = Member { replica: *replica, addresses: addresses.clone() };
                issued.members = self.members.put(joiner).map_err(internal)?;
                issued.authority_key = Some(self.authority.key_der());
            }
        }
        Ok(issued)
    }

    fn issue(
        &self,
        signing_request: &[u8],
        certified: &Certified,
        now: Timestamp,
    ) -> Result<Issued, RefusedEnroll> {
        let signed = self.authority.sign_again(signing_request, certified, now);
        let certificate = signed.map_err(|error| match error {
            AuthorityError::SigningRequest { .. } => refused(EnrollRefusal::Malformed, error),
            error => internal(error),
        })?;
        Ok(Issued {
            certificate: certificate.to_vec(),
            authority: self.authority.certificate().to_vec(),
            authority_key: None,
            members: self.members.current(),
        })
    }

    /// A name may be enrolled anew, for instance when a host is installed again; the log says so.
    fn remember(&self, name: &str) -> Result<(), FileError> {
        let mut enrolled = lock(&self.enrolled);
        if enrolled.contains(name) {
            tracing::warn!(agent = name, "agent enrolled again under a name that was enrolled before");
            return Ok(());
        }
        if enrolled.len() < ENROLLED_MAX {
            files::append(&self.authority_folder.join(ENROLLED_FILE), format!("{name}\n").as_bytes())?;
            enrolled.insert(name.to_owned());
        }
        Ok(())
    }

    fn token_refused(&self, refusal: EnrollRefusal, now: Timestamp) -> RefusedEnroll {
        // Good tokens are not slowed down by whoever guesses: only what is answered to bad ones changes.
        if !lock(&self.failures).take(now) {
            return refused(EnrollRefusal::RateLimited, "too many attempts with bad tokens");
        }
        let text = match refusal {
            EnrollRefusal::UnknownToken => "this replica did not make the token, or has forgotten it",
            EnrollRefusal::ExpiredToken => "the token has expired",
            EnrollRefusal::UsedToken => {
                "the token was used before, as often as it may be: make another with vedette-aggregator token create"
            }
            EnrollRefusal::WrongKind => "the token is for the other kind: agent or replica",
            _ => "the token cannot be used",
        };
        refused(refusal, text)
    }
}

const ENROLLED_FILE: &str = "enrolled.txt";

fn found(folder: &Path, authority_folder: &Path, now: Timestamp) -> Result<Authority, GroupError> {
    // An identity without authority is what `adopt` leaves when it is interrupted, or an agent's folder.
    if !matches!(Identity::load(folder), Err(IdentityError::Missing { .. })) {
        return Err(GroupError::Occupied { folder: folder.display().to_string() });
    }
    files::create_folder(folder)?;
    let authority = Authority::create(now)?;
    authority.save(authority_folder)?;
    tracing::info!(authority = %data_encoding::HEXLOWER.encode(&authority.fingerprint()), "group founded");
    Ok(authority)
}

fn read_enrolled(folder: &Path) -> Result<HashSet<String>, FileError> {
    let path = folder.join(ENROLLED_FILE);
    let bytes = files::read(&path)?.unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(|error| files::invalid(&path, error))?;
    Ok(text.lines().take(ENROLLED_MAX).map(str::to_owned).collect())
}

fn refused(reason: EnrollRefusal, message: impl ToString) -> RefusedEnroll {
    let message = message.to_string().chars().take(TEXT_BYTES_MAX / 4).collect();
    RefusedEnroll { reason, message }
}

fn internal(error: impl ToString) -> RefusedEnroll {
    refused(EnrollRefusal::Internal, error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct FailureBudget {
    left: f64,
    refilled_at: Timestamp,
}

impl Default for FailureBudget {
    fn default() -> Self {
        Self { left: FAILURES_MAX.into(), refilled_at: Timestamp::MIN }
    }
}

impl FailureBudget {
    fn take(&mut self, now: Timestamp) -> bool {
        let elapsed_ms = now.millis_since(self.refilled_at).max(0);
        self.left = (self.left + elapsed_ms as f64 / 1000.0 * FAILURES_PER_SECOND).min(FAILURES_MAX.into());
        self.refilled_at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}
