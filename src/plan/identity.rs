//! Who is calling: what a plan says about tokens, API keys and consumers, and the reading of its small words.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::{Rate, Secret};

/// `[jwt.NAME]`: who signs tokens, and what one must say.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    pub name: Arc<str>,
    /// At least one, all of one kind ([`check_algorithms`]).
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

impl CredentialPlace {
    /// Reads `header:NAME`, `cookie:NAME` or `query:NAME`.
    pub fn parse(text: &str) -> Result<CredentialPlace, String> {
        match text.split_once(':') {
            Some((_, "")) => Err(format!("`{text}` names nothing behind the colon")),
            Some(("header", name)) => Ok(CredentialPlace::Header(name.to_ascii_lowercase().into())),
            Some(("cookie", name)) => Ok(CredentialPlace::Cookie(name.into())),
            Some(("query", name)) => Ok(CredentialPlace::Query(name.into())),
            _ => Err(format!("`{text}` is none of `header:NAME`, `cookie:NAME`, `query:NAME`")),
        }
    }
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
    /// What replaces the rates of limits, by their names: the consumer's own, then its groups', each name once.
    pub limits: Vec<(Arc<str>, Rate)>,
}

impl Consumer {
    /// What replaces the rate of a limit.
    pub fn rate_of(&self, limit: &str) -> Option<Rate> {
        self.limits.iter().find(|(name, _)| **name == *limit).map(|(_, rate)| *rate)
    }
}

/// The SHA-256 of an API key: all that the gateway keeps of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeyHash(pub [u8; 32]);

impl ApiKeyHash {
    /// The most bytes of a key.
    pub const MAX_KEY_BYTES: usize = 512;

    /// The hash of a key; `None`: it is empty or longer than a key may be.
    pub fn of(key: &[u8]) -> Option<ApiKeyHash> {
        let fits = (1..=ApiKeyHash::MAX_KEY_BYTES).contains(&key.len());
        fits.then(|| ApiKeyHash(sha256(&[key])))
    }

    /// Reads an entry of `api_keys`: `sha256:HEX`, or the key itself, which is hashed.
    pub fn parse(text: &str) -> Result<ApiKeyHash, String> {
        match text.strip_prefix("sha256:") {
            Some(hex) => ApiKeyHash::from_hex(hex).ok_or_else(|| "`sha256:` wants 64 hex digits".to_owned()),
            // Bytes outside of visible ASCII cannot be sent in a header as they are written here.
            None if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err("an API key is made of visible ASCII characters".to_owned())
            }
            None => ApiKeyHash::of(text.as_bytes())
                .ok_or_else(|| format!("an API key has 1 to {} characters", ApiKeyHash::MAX_KEY_BYTES)),
        }
    }

    /// Reads 64 hex digits of either case.
    pub fn from_hex(hex: &str) -> Option<ApiKeyHash> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if pairs.len() != hash.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        Some(ApiKeyHash(hash))
    }

    /// 64 hex digits, lower case.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Says nothing of the hash: who has it can try keys against it.
impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyHash(..)")
    }
}

/// The SHA-256 of the parts, one behind the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
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

/// Reads an entry of `algorithms` (RFC 7518, 3.1 and RFC 8037, 3.1); names are case-sensitive.
pub fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    match name {
        "ES512" => Err("ES512 is not supported; ES256, ES384 and EdDSA are".to_owned()),
        _ if name.eq_ignore_ascii_case("none") => {
            Err("`none` is never accepted: anyone could write such a token".to_owned())
        }
        _ => name.parse().map_err(|_| {
            let known = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
            format!("`{name}` is not a known algorithm; there are {known}")
        }),
    }
}

/// Refuses an empty list, and one that mixes shared secrets with public keys: who mistakes one for the other lets
/// anyone sign (RFC 8725, 2.1 and 3.1).
pub fn check_algorithms(algorithms: &[Algorithm]) -> Result<(), String> {
    let is_hmac = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
    match algorithms {
        [] => Err("`algorithms` must name at least one".to_owned()),
        list if list.iter().any(is_hmac) && !list.iter().all(is_hmac) => {
            Err("`algorithms` mixes HS256 and its like (a shared secret) with those of public keys"
                .to_owned())
        }
        _ => Ok(()),
    }
}

/// What to warn of in a shared secret: one shorter than the hash's output can be guessed from a single token
/// (RFC 7518, 3.2 forbids it; gateways take it all the same, and so does this one).
pub fn weak_secret(secret: &[u8], algorithms: &[Algorithm]) -> Option<String> {
    let least = algorithms.iter().map(|algorithm| match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    });
    let least = least.max().unwrap_or(32);
    let len = secret.len();
    (len < least).then(|| format!("the secret has {len} bytes; RFC 7518, 3.2 asks for at least {least}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_header_names_folded() {
        assert_eq!(
            CredentialPlace::parse("header:Authorization"),
            Ok(CredentialPlace::Header("authorization".into()))
        );
        assert_eq!(CredentialPlace::parse("cookie:Sid"), Ok(CredentialPlace::Cookie("Sid".into())));
        assert_eq!(
            CredentialPlace::parse("query:access_token"),
            Ok(CredentialPlace::Query("access_token".into()))
        );
        for wrong in ["", "header", "header:", "Header:x", "body:x"] {
            assert!(CredentialPlace::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_api_key_is_known_by_its_hash_written_or_made() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let made = ApiKeyHash::parse("test").unwrap();
        assert_eq!(made, ApiKeyHash::parse(&format!("sha256:{hex}")).unwrap());
        assert_eq!(made, ApiKeyHash::parse(&format!("sha256:{}", hex.to_uppercase())).unwrap());
        assert_eq!(made.to_hex(), hex);
        assert!(!format!("{made:?}").contains("9f"));
        let long = "k".repeat(513);
        for wrong in ["", "a b", "é", "sha256:", "sha256:9f86", &hex[1..], &long] {
            let wrong = if wrong.len() == 63 { format!("sha256:{wrong}") } else { wrong.to_owned() };
            assert!(ApiKeyHash::parse(&wrong).is_err(), "{wrong}");
        }
        assert!(ApiKeyHash::from_hex(&format!("{hex}0")).is_none());
        assert!(ApiKeyHash::from_hex(&hex.replace('9', "é")).is_none());
    }

    #[test]
    fn algorithms_are_known_by_their_exact_names_and_not_mixed() {
        assert_eq!(parse_algorithm("PS384"), Ok(Algorithm::PS384));
        for wrong in ["none", "NONE", "ES512", "hs256", "HS1", ""] {
            assert!(parse_algorithm(wrong).is_err(), "{wrong}");
        }
        assert!(check_algorithms(&[]).is_err());
        assert!(check_algorithms(&[Algorithm::HS256, Algorithm::RS256]).is_err());
        assert!(check_algorithms(&[Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA]).is_ok());
    }

    #[test]
    fn a_short_secret_is_warned_of() {
        assert!(weak_secret(&[0; 31], &[Algorithm::HS256]).is_some());
        assert!(weak_secret(&[0; 32], &[Algorithm::HS256]).is_none());
        assert!(weak_secret(&[0; 32], &[Algorithm::HS256, Algorithm::HS512]).is_some());
    }
}
