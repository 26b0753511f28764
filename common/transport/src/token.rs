//! A newcomer's ticket: everything that it needs to find and trust its group, as one string.
//!
//! ```text
//! "vedette1." base64url( version u8 | kind u8 | expires_at i64 | authority 32 | secret 32
//!                        | count u8 | count × ( length u16 | address ) | check 4 )
//! ```
//!
//! Integers are little endian. `authority` is the SHA-256 of the certificate authority's certificate, and
//! `check` the first bytes of the SHA-256 of all before it, so that a mistyped token is named as such.

use crate::authority::fingerprint;
use data_encoding::BASE64URL_NOPAD;
use std::fmt;
use std::str::FromStr;
use vedette_model::Timestamp;
use vedette_wire::control::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};

/// Bytes of a token's secret.
pub const SECRET_BYTES: usize = 32;
const PREFIX: &str = "vedette1.";
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;
/// Longest token that is looked at.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// What the holder of a token may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// An agent.
    Agent,
    /// A replica of the group, which gets the authority's key.
    Replica,
}

/// A newcomer's ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What the holder may become.
    pub kind: TokenKind,
    /// After this it is worthless.
    pub expires_at: Timestamp,
    /// SHA-256 of the certificate of the group's authority.
    pub authority: [u8; 32],
    /// What only the holder and the replica that made it know.
    pub secret: [u8; SECRET_BYTES],
    /// Where the replica that made it can be reached, as `host:port`.
    pub addresses: Vec<String>,
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as one.
    #[error("not a token: it has to start with {PREFIX:?}")]
    Prefix,
    /// A character or the length is wrong, or a part is missing.
    #[error("damaged token: copy it again, whole and without line breaks")]
    Damaged,
    /// Made by a later release.
    #[error("the token has version {found}, this release reads {VERSION}")]
    Version {
        /// What it says.
        found: u8,
    },
    /// It lacks an address or has too many.
    #[error("a token has 1 to {ADDRESSES_MAX} addresses of 1 to {ADDRESS_BYTES_MAX} bytes")]
    Addresses,
}

impl TokenKind {
    /// As a person writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Replica => "replica",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Agent => 1,
            Self::Replica => 2,
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TokenKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Agent, Self::Replica]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("unknown kind {text:?}: agent or replica"))
    }
}

/// The whole token, secret included.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION, self.kind.code()];
        bytes.extend(self.expires_at.as_millis().to_le_bytes());
        bytes.extend(self.authority);
        bytes.extend(self.secret);
        bytes.push(u8::try_from(self.addresses.len()).map_err(|_| fmt::Error)?);
        for address in &self.addresses {
            bytes.extend(u16::try_from(address.len()).map_err(|_| fmt::Error)?.to_le_bytes());
            bytes.extend(address.as_bytes());
        }
        bytes.extend_from_slice(&fingerprint(&bytes)[..CHECK_BYTES]);
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

/// The secret is not printed.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("kind", &self.kind)
            .field("expires_at", &self.expires_at)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if encoded.len() > TEXT_BYTES_MAX {
            return Err(TokenError::Damaged);
        }
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| TokenError::Damaged)?;
        let (content, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TokenError::Damaged)?;
        if fingerprint(content)[..CHECK_BYTES] != check[..] {
            return Err(TokenError::Damaged);
        }
        parse_content(content)
    }
}

impl Token {
    /// Whether its addresses are within their bounds.
    pub(crate) fn check(self) -> Result<Self, TokenError> {
        let fits = |address: &String| (1..=ADDRESS_BYTES_MAX).contains(&address.len());
        let addresses = &self.addresses;
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX || !addresses.iter().all(fits) {
            return Err(TokenError::Addresses);
        }
        Ok(self)
    }
}

/// Everything before the check.
fn parse_content(content: &[u8]) -> Result<Token, TokenError> {
    let [version, kind, rest @ ..] = content else {
        return Err(TokenError::Damaged);
    };
    if *version != VERSION {
        return Err(TokenError::Version { found: *version });
    }
    let kind = [TokenKind::Agent, TokenKind::Replica].into_iter().find(|known| known.code() == *kind);
    parse_body(kind.ok_or(TokenError::Damaged)?, rest).ok_or(TokenError::Damaged)?.check()
}

fn parse_body(kind: TokenKind, rest: &[u8]) -> Option<Token> {
    let (expires_at, rest) = rest.split_first_chunk::<8>()?;
    let (authority, rest) = rest.split_first_chunk::<32>()?;
    let (secret, rest) = rest.split_first_chunk::<SECRET_BYTES>()?;
    let (&count, mut rest) = rest.split_first()?;
    let mut addresses = Vec::new();
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (address, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
        addresses.push(std::str::from_utf8(address).ok()?.to_owned());
        rest = after;
    }
    let expires_at = Timestamp::from_millis(i64::from_le_bytes(*expires_at));
    rest.is_empty().then_some(Token { kind, expires_at, authority: *authority, secret: *secret, addresses })
}

/// Reads `bytes` as a token, and as what stands before a token's check.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    for token in text.into_iter().chain(parse_content(bytes)) {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            kind: TokenKind::Agent,
            expires_at: Timestamp::from_millis(1_700_000_000_000),
            authority: [7; 32],
            secret: [9; 32],
            addresses: vec!["vedette.example.org:9095".to_owned(), "[2001:db8::1]:9095".to_owned()],
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let text = token().to_string();
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!("\n {text}\n").parse(), Ok(token()));
        assert!(!format!("{:?}", token()).contains('9'.to_string().repeat(3).as_str()));
    }

    #[test]
    fn every_flipped_or_missing_character_is_noticed() {
        let text = token().to_string();
        for index in PREFIX.len()..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[index] = if damaged[index] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert!(damaged.parse::<Token>().is_err(), "flipped at {index}");
            assert!(text[..index].parse::<Token>().is_err(), "cut at {index}");
        }
        assert_eq!("hello".parse::<Token>(), Err(TokenError::Prefix));
    }

    #[test]
    fn a_token_without_address_is_refused() {
        let homeless = Token { addresses: Vec::new(), ..token() };
        assert_eq!(homeless.to_string().parse::<Token>(), Err(TokenError::Addresses));
    }
}
