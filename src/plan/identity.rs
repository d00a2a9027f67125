//! Who is calling: secrets, tokens, API keys and consumers, and what a route requires of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::Rate;
use crate::base::hash;

/// Bytes that never show in logs or errors; never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<[u8]>);

impl Secret {
    /// `None`: it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// `[jwt.NAME]`: who signs tokens, and what one must say.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    pub name: Arc<str>,
    /// At least one, all of one kind (all shared secrets, or all public keys).
    pub algorithms: Vec<Algorithm>,
    pub key: JwtKey,
    /// Exactly this `iss`; `None`: not looked at.
    pub issuer: Option<Arc<str>>,
    /// One of these must be in `aud`; empty: not looked at.
    pub audience: Vec<Arc<str>>,
    /// How far the clocks of issuer and gateway may differ, for `exp` and `nbf`. Whole seconds count.
    pub leeway: Duration,
    /// Where a token may stand, in the order they are looked at.
    pub from: Vec<CredentialPlace>,
    /// The claim that names the consumer.
    pub consumer_claim: Arc<str>,
    /// Whether the upstream sees the token.
    pub forward: bool,
    /// Claim and request header (lower case).
    pub headers: Vec<(Arc<str>, Arc<str>)>,
}

impl Jwt {
    /// The leeway where none is written.
    pub const LEEWAY: Duration = Duration::from_secs(60);
    /// The place where none is written.
    pub const FROM: &str = "header:authorization";
    /// The claim where none is written.
    pub const CONSUMER_CLAIM: &str = "sub";
}

/// What a token's signature is checked with.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtKey {
    Secret(Secret),
    /// The text of a PEM file.
    PublicKey(Arc<str>),
    /// The text of a JWK set (RFC 7517).
    Jwks(Arc<str>),
    /// Where a JWK set is fetched from.
    JwksUrl(Arc<str>),
}

/// Where in a request a credential may stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialPlace {
    /// Lower case. In `authorization` the token follows the scheme `Bearer`; in others it is the whole value.
    Header(Arc<str>),
    Cookie(Arc<str>),
    Query(Arc<str>),
}

/// `[api_keys]`: where keys stand.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKeySettings {
    /// In the order they are looked at; [`ApiKeySettings::HEADER`] where nothing is written.
    pub from: Vec<CredentialPlace>,
}

impl ApiKeySettings {
    /// The header where none is written.
    pub const HEADER: &str = "x-api-key";
}

/// `[[consumer]]`: a known client.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    pub name: Arc<str>,
    pub groups: Vec<Arc<str>>,
    pub permissions: Vec<Arc<str>>,
    pub api_keys: Vec<ApiKeyHash>,
    /// What replaces the rates of limits: the consumer's own, then its groups', each limit's name once.
    pub limits: Vec<ConsumerLimit>,
}

/// What replaces the rate of all limits of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerLimit {
    pub limit: Arc<str>,
    pub rate: Rate,
    /// The group whose rate it is; `None`: the consumer's own.
    pub group: Option<Arc<str>>,
}

impl Consumer {
    /// What replaces the rate of a limit.
    pub fn rate_of(&self, limit: &str) -> Option<Rate> {
        self.limits.iter().find(|of| *of.limit == *limit).map(|of| of.rate)
    }
}

/// The SHA-256 of an API key: all that the gateway keeps of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKeyHash(pub [u8; hash::SHA256_BYTES]);

impl ApiKeyHash {
    /// The most bytes of a key.
    pub const MAX_KEY_BYTES: usize = 512;

    /// The hash of a key; `None`: it is empty or longer than a key may be.
    pub fn of(key: &[u8]) -> Option<ApiKeyHash> {
        let fits = (1..=ApiKeyHash::MAX_KEY_BYTES).contains(&key.len());
        fits.then(|| ApiKeyHash(hash::sha256(&[key])))
    }

    /// Reads 64 hex digits of either case.
    pub fn from_hex(hex: &str) -> Option<ApiKeyHash> {
        hash::from_hex(hex).map(ApiKeyHash)
    }

    /// 64 hex digits, lower case.
    pub fn to_hex(self) -> String {
        hash::to_hex(&self.0)
    }
}

/// Says nothing of the hash: who has it can try keys against it.
impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyHash(..)")
    }
}

/// One entry of a route's `auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// `jwt:NAME`, as an index into the providers.
    Jwt(usize),
    /// `key`.
    Key,
}

/// A route's `require`: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Require {
    pub groups: Vec<Arc<str>>,
    pub permissions: Vec<Arc<str>>,
    pub scopes: Vec<Arc<str>>,
    /// Claim and wanted value: a string's text, or the JSON text of a number or boolean.
    pub claims: Vec<(Arc<str>, Arc<str>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_stars_whatever_it_is() {
        assert_eq!(format!("{:?}", Some(Secret((*b"hunter2").into()))), "Some(Secret(***))");
    }

    #[test]
    fn a_keys_hash_is_written_in_hexadecimal_and_never_shown_for_debugging() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let hash = ApiKeyHash::of(b"test").unwrap();
        assert_eq!((hash.to_hex(), ApiKeyHash::from_hex(hex)), (hex.to_owned(), Some(hash)));
        assert!(!format!("{hash:?}").contains("9f"));
        assert_eq!((ApiKeyHash::of(b""), ApiKeyHash::of(&[b'k'; 513])), (None, None));
    }
}
