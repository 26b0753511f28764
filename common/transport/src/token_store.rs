//! Which tokens a replica has given out. Only hashes of their secrets are kept.

use crate::authority::fingerprint;
use crate::files::{self, FileError};
use crate::token::{SECRET_BYTES, Token, TokenError, TokenKind};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vedette_model::Timestamp;
use vedette_wire::control::EnrollRefusal;

/// Tokens that may be outstanding or remembered as used.
pub const TOKENS_MAX: usize = 10_000;
/// Uses of one token.
pub const USES_MAX: u32 = 10_000;
/// How long a used or expired token is remembered, so that showing it again gets the right answer.
const REMEMBER_MS: i64 = 24 * 3600 * 1000;
const FILE: &str = "tokens.json";
/// Version 1 had one use a token, `used_at_ms` and `used_by`.
const FILE_VERSION: u32 = 2;
const FILE_VERSION_MIN: u32 = 1;

/// Tokens given out by this replica, in `tokens.json`.
pub struct TokenStore {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// Why a token cannot be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    /// The file fails.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nobody could use it, or too many.
    #[error("a token is good for 1 to {USES_MAX} uses, not {uses}")]
    Uses {
        /// What was asked for.
        uses: u32,
    },
    /// Too many are outstanding.
    #[error("{TOKENS_MAX} tokens are outstanding: wait until some expire")]
    Full,
    /// There is no randomness.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The token would be unusable.
    #[error(transparent)]
    Token(#[from] TokenError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// SHA-256 of the secret.
    hash: [u8; 32],
    kind: TokenKind,
    expires_at: Timestamp,
    uses_max: u32,
    /// In their order. Invariant: never more than `uses_max`.
    uses: Vec<Use>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    at: Timestamp,
    by: String,
}

impl TokenStore {
    /// Reads the tokens in `folder`; a missing file means none.
    pub fn open(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join(FILE);
        let entries = match files::read(&path)? {
            None => Vec::new(),
            Some(bytes) => parse(&bytes).map_err(|reason| files::invalid(&path, reason))?,
        };
        Ok(Self { path, entries })
    }

    /// Makes a token that works `uses` times, until `ttl` is over.
    pub fn create(
        &mut self,
        kind: TokenKind,
        ttl: Duration,
        uses: u32,
        authority: [u8; 32],
        addresses: Vec<String>,
        now: Timestamp,
    ) -> Result<Token, TokenStoreError> {
        if !(1..=USES_MAX).contains(&uses) {
            return Err(TokenStoreError::Uses { uses });
        }
        let mut entries = self.remembered(now);
        if entries.len() >= TOKENS_MAX {
            return Err(TokenStoreError::Full);
        }
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        let expires_at = now.plus_millis(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        let token = Token { kind, expires_at, authority, secret, addresses }.check()?;
        let (uses_max, uses) = (uses, Vec::new());
        entries.push(Entry { hash: fingerprint(&secret), kind, expires_at, uses_max, uses });
        self.replace(entries)?;
        Ok(token)
    }

    /// Whether a secret is good for `kind` now.
    pub fn check(&self, secret: &[u8], kind: TokenKind, now: Timestamp) -> Result<(), EnrollRefusal> {
        self.usable(secret, kind, now).map(|_index| ())
    }

    /// Marks a token as used once more, on disk before it returns: that use is spent, whatever happens next.
    pub fn redeem(
        &mut self,
        secret: &[u8],
        kind: TokenKind,
        by: &str,
        now: Timestamp,
    ) -> Result<Result<(), EnrollRefusal>, FileError> {
        let index = match self.usable(secret, kind, now) {
            Ok(index) => index,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut entries = self.entries.clone();
        entries[index].uses.push(Use { at: now, by: by.to_owned() });
        self.replace(entries)?;
        Ok(Ok(()))
    }

    fn usable(&self, secret: &[u8], kind: TokenKind, now: Timestamp) -> Result<usize, EnrollRefusal> {
        let hash = fingerprint(secret);
        let index = self.entries.iter().position(|entry| equal_in_constant_time(&entry.hash, &hash));
        let index = index.ok_or(EnrollRefusal::UnknownToken)?;
        let entry = &self.entries[index];
        match entry {
            Entry { uses_max, uses, .. } if uses.len() as u64 >= u64::from(*uses_max) => {
                Err(EnrollRefusal::UsedToken)
            }
            _ if entry.expires_at <= now => Err(EnrollRefusal::ExpiredToken),
            _ if entry.kind != kind => Err(EnrollRefusal::WrongKind),
            _ => Ok(index),
        }
    }

    fn remembered(&self, now: Timestamp) -> Vec<Entry> {
        let over = |entry: &Entry| match entry.uses.last() {
            Some(last) if entry.uses.len() as u64 >= u64::from(entry.uses_max) => last.at,
            _ => entry.expires_at,
        };
        let keep = |entry: &&Entry| now.millis_since(over(entry)) < REMEMBER_MS;
        self.entries.iter().filter(keep).cloned().collect()
    }

    /// On disk first, in memory only when that went well.
    fn replace(&mut self, entries: Vec<Entry>) -> Result<(), FileError> {
        let bytes = render(&entries).map_err(|error| files::invalid(&self.path, error))?;
        files::replace(&self.path, &bytes)?;
        self.entries = entries;
        Ok(())
    }
}

/// Looks at all bytes whatever it finds. What is compared are hashes, so this is the second lock on the door.
fn equal_in_constant_time(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b))) == 0
}

#[derive(Serialize, Deserialize)]
struct RawTokens {
    version: u32,
    tokens: Vec<RawToken>,
}

#[derive(Serialize, Deserialize)]
struct RawToken {
    secret_sha256: String,
    kind: String,
    expires_at_ms: i64,
    /// Since version 2.
    #[serde(default = "once")]
    uses_max: u32,
    #[serde(default)]
    uses: Vec<RawUse>,
    /// Of version 1, as is the next.
    #[serde(default, skip_serializing)]
    used_at_ms: Option<i64>,
    #[serde(default, skip_serializing)]
    used_by: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RawUse {
    at_ms: i64,
    by: String,
}

fn once() -> u32 {
    1
}

impl From<&Entry> for RawToken {
    fn from(entry: &Entry) -> Self {
        Self {
            secret_sha256: HEXLOWER.encode(&entry.hash),
            kind: entry.kind.as_str().to_owned(),
            expires_at_ms: entry.expires_at.as_millis(),
            uses_max: entry.uses_max,
            uses: entry
                .uses
                .iter()
                .map(|used| RawUse { at_ms: used.at.as_millis(), by: used.by.clone() })
                .collect(),
            used_at_ms: None,
            used_by: None,
        }
    }
}

fn render(entries: &[Entry]) -> Result<Vec<u8>, serde_json::Error> {
    let tokens = entries.iter().map(RawToken::from).collect();
    serde_json::to_vec_pretty(&RawTokens { version: FILE_VERSION, tokens })
}

fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let raw: RawTokens = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if !(FILE_VERSION_MIN..=FILE_VERSION).contains(&raw.version) {
        let reads = format!("{FILE_VERSION_MIN} to {FILE_VERSION}");
        return Err(format!("version {} of the file, this release reads {reads}", raw.version));
    }
    raw.tokens.into_iter().map(parse_token).collect()
}

fn parse_token(raw: RawToken) -> Result<Entry, String> {
    let hash = HEXLOWER.decode(raw.secret_sha256.as_bytes()).map_err(|error| error.to_string())?;
    let hash = hash.try_into().map_err(|_| "a hash has 32 bytes".to_owned())?;
    let first = raw.used_at_ms.map(|at_ms| RawUse { at_ms, by: raw.used_by.unwrap_or_default() });
    let uses: Vec<_> = first
        .into_iter()
        .chain(raw.uses)
        .map(|used| Use { at: Timestamp::from_millis(used.at_ms), by: used.by })
        .collect();
    if !(1..=USES_MAX).contains(&raw.uses_max) || uses.len() as u64 > u64::from(raw.uses_max) {
        return Err(format!("{} uses of a token that is good for {}", uses.len(), raw.uses_max));
    }
    let expires_at = Timestamp::from_millis(raw.expires_at_ms);
    Ok(Entry { hash, kind: raw.kind.parse()?, expires_at, uses_max: raw.uses_max, uses })
}

/// Reads `bytes` as the file.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    if let Ok(entries) = parse(bytes) {
        let rendered = render(&entries).expect("strings and numbers");
        assert_eq!(parse(&rendered).as_ref(), Ok(&entries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn create(store: &mut TokenStore, kind: TokenKind) -> Token {
        store.create(kind, HOUR, 1, [1; 32], vec!["localhost:1".to_owned()], at(0)).unwrap()
    }

    #[test]
    fn a_token_works_once_for_its_kind_and_time_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = TokenStore::open(folder.path()).unwrap();
        let token = create(&mut store, TokenKind::Agent);
        let mut store = TokenStore::open(folder.path()).unwrap();

        assert_eq!(store.check(&[0; 32], TokenKind::Agent, at(1)), Err(EnrollRefusal::UnknownToken));
        assert_eq!(store.check(&token.secret, TokenKind::Replica, at(1)), Err(EnrollRefusal::WrongKind));
        assert_eq!(store.check(&token.secret, TokenKind::Agent, at(3600)), Err(EnrollRefusal::ExpiredToken));
        assert_eq!(store.redeem(&token.secret, TokenKind::Agent, "a", at(3599)).unwrap(), Ok(()));

        let mut store = TokenStore::open(folder.path()).unwrap();
        let again = store.redeem(&token.secret, TokenKind::Agent, "b", at(3599)).unwrap();
        assert_eq!(again, Err(EnrollRefusal::UsedToken));
    }

    #[test]
    fn a_token_may_work_several_times_and_its_uses_are_counted_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = TokenStore::open(folder.path()).unwrap();
        let mut create =
            |uses| store.create(TokenKind::Agent, HOUR, uses, [1; 32], vec!["localhost:1".to_owned()], at(0));
        assert!(matches!(create(0), Err(TokenStoreError::Uses { uses: 0 })));
        assert!(matches!(create(USES_MAX + 1), Err(TokenStoreError::Uses { .. })));
        let token = create(3).unwrap();
        for name in ["a", "b", "a"] {
            let mut store = TokenStore::open(folder.path()).unwrap();
            assert_eq!(store.redeem(&token.secret, TokenKind::Agent, name, at(1)).unwrap(), Ok(()));
        }
        let mut store = TokenStore::open(folder.path()).unwrap();
        let again = store.redeem(&token.secret, TokenKind::Agent, "c", at(1)).unwrap();
        assert_eq!(again, Err(EnrollRefusal::UsedToken));
    }

    #[test]
    fn what_the_first_release_wrote_is_read() {
        let hash = HEXLOWER.encode(&fingerprint(&[7; 32]));
        let file = |used: &str| {
            format!(
                r#"{{"version":1,"tokens":[{{"secret_sha256":"{hash}","kind":"agent","expires_at_ms":9000{used}}}]}}"#
            )
        };
        for (used, expected) in
            [("", Ok(())), (r#","used_at_ms":5,"used_by":"agent a""#, Err(EnrollRefusal::UsedToken))]
        {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(FILE), file(used)).unwrap();
            let store = TokenStore::open(folder.path()).unwrap();
            assert_eq!(store.check(&[7; 32], TokenKind::Agent, at(1)), expected);
        }
    }

    #[test]
    fn the_secret_is_not_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let token = create(&mut TokenStore::open(folder.path()).unwrap(), TokenKind::Agent);
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!text.contains(&HEXLOWER.encode(&token.secret)));
        assert!(text.contains(&HEXLOWER.encode(&fingerprint(&token.secret))));
    }

    #[test]
    fn old_tokens_are_forgotten_and_their_number_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = TokenStore::open(folder.path()).unwrap();
        let token = create(&mut store, TokenKind::Agent);
        let full = vec![store.entries[0].clone(); TOKENS_MAX];
        store.entries = full;
        let addresses = || vec!["localhost:1".to_owned()];
        let error = store.create(TokenKind::Agent, HOUR, 1, [1; 32], addresses(), at(1)).unwrap_err();
        assert!(matches!(error, TokenStoreError::Full));
        let later = at(3600 + REMEMBER_MS / 1000 + 1);
        store.create(TokenKind::Agent, HOUR, 1, [1; 32], addresses(), later).unwrap();
        assert_eq!(store.check(&token.secret, TokenKind::Agent, later), Err(EnrollRefusal::UnknownToken));
    }
}
