//! Verifies a token against a provider: form (RFC 7515), signature, claims (RFC 7519), following RFC 8725.
//!
//! `jsonwebtoken` is used for signatures alone: its own validation takes the last of duplicate members, ignores `crit`, and
//! reads the clock.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Number, Value};

use super::json::strict_object;
use super::keys::KeySet;
use crate::base::hash::sha256;
use crate::plan;

/// Bytes of the longest token that is examined: well below the default limit of a head.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Header parameters that no token may carry (RFC 7515, 4.1). `jku`, `jwk` and `x5u` bring keys of the token's own
/// choice (RFC 8725, 3.10). `crit` and `b64` require extensions, of which none is supported; by 4.1.11 an unknown one is
/// refused. `zip` belongs to encrypted tokens (RFC 7516, 4.1.3).
const REFUSED_PARAMETERS: [(&str, &str); 6] = [
    ("jku", "the header points to keys (`jku`)"),
    ("jwk", "the header brings its own key (`jwk`)"),
    ("x5u", "the header points to keys (`x5u`)"),
    ("crit", "the header asks for extensions (`crit`)"),
    ("b64", "the header asks for another encoding (`b64`)"),
    ("zip", "the header asks for compression (`zip`)"),
];

/// Why a token is refused. The texts are for the log; they quote nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFailure {
    Invalid(&'static str),
    /// Valid but for its `exp`.
    Expired,
    /// Well-formed, but of a key that is not in the set. A newer set may have it; until then the token is invalid.
    UnknownKey,
}

use TokenFailure::Invalid;

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    pub map: Map<String, Value>,
    /// Unix seconds of `exp`, without a fraction.
    pub exp_s: u64,
    /// Bytes of their JSON text.
    pub bytes: usize,
}

/// A provider ready to verify: its configuration and a key set. A new set makes a new provider.
#[derive(Clone)]
pub struct Provider {
    plan: Arc<plan::Jwt>,
    keys: Arc<KeySet>,
    fingerprint: [u8; 32],
}

impl Provider {
    pub fn new(plan: Arc<plan::Jwt>, keys: Arc<KeySet>) -> Provider {
        let fingerprint = fingerprint(&plan, &keys);
        Provider { plan, keys, fingerprint }
    }

    pub fn plan(&self) -> &plan::Jwt {
        &self.plan
    }

    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// Identifies a token together with all that decides about it: keys, algorithms, issuer, audience, leeway.
    pub(super) fn token_id(&self, token: &[u8]) -> [u8; 32] {
        sha256(&[&self.fingerprint, token])
    }

    /// The first second in which a token with that `exp` is refused.
    pub(super) fn expires_s(&self, exp_s: u64) -> u64 {
        exp_s.saturating_add(self.plan.leeway.as_secs())
    }

    /// Verifies a token at `now_s` (Unix seconds).
    ///
    /// The signature is checked before the claims are parsed, and `exp` last: only a token that this provider's issuer has
    /// signed for this audience is [`TokenFailure::Expired`].
    pub fn verify(&self, token: &[u8], now_s: u64) -> Result<Claims, TokenFailure> {
        let parts = TokenParts::of(token)?;
        let header = Header::read(parts.header)?;
        let pinned = header.alg.parse().ok().filter(|algorithm| self.plan.algorithms.contains(algorithm));
        let algorithm = pinned.ok_or(Invalid("`alg` is not one of the configured algorithms"))?;
        self.check_signature(&parts, &header, algorithm)?;
        self.check_claims(decode(parts.claims)?, now_s)
    }

    fn check_signature(
        &self,
        parts: &TokenParts<'_>,
        header: &Header,
        algorithm: Algorithm,
    ) -> Result<(), TokenFailure> {
        let kid = header.kid.as_deref();
        if self.keys.lacks(kid) {
            return Err(TokenFailure::UnknownKey);
        }
        let mut candidates = self.keys.candidates(kid, algorithm);
        let verified = candidates.any(|key| key.verifies(algorithm, parts.message, parts.signature));
        verified.then_some(()).ok_or(Invalid("the signature is wrong"))
    }

    fn check_claims(&self, json: Vec<u8>, now_s: u64) -> Result<Claims, TokenFailure> {
        let map =
            strict_object(&json).ok_or(Invalid("the claims are no JSON object, or one stands twice"))?;
        let issuer = map.get("iss").and_then(Value::as_str);
        if self.plan.issuer.as_deref().is_some_and(|wanted| issuer != Some(wanted)) {
            return Err(Invalid("`iss` is not the configured issuer"));
        }
        if !audience_holds(&self.plan.audience, map.get("aud")) {
            return Err(Invalid("`aud` does not hold the configured audience"));
        }
        let exp_s = date(&map, "exp", f64::floor)?.ok_or(Invalid("`exp` is missing"))?;
        let not_before = date(&map, "nbf", f64::ceil)?.unwrap_or_default();
        // An `iat` in the future is accepted (RFC 7519, 4.1.6 sets no rule), but it must be a date.
        date(&map, "iat", f64::floor)?;
        if not_before > now_s.saturating_add(self.plan.leeway.as_secs()) {
            return Err(Invalid("`nbf` is in the future"));
        }
        // RFC 7519, 4.1.4: not "on or after" that time.
        if now_s >= self.expires_s(exp_s) {
            return Err(TokenFailure::Expired);
        }
        Ok(Claims { map, exp_s, bytes: json.len() })
    }
}

/// The three parts of a compact JWS (RFC 7515, 7.1), still encoded.
struct TokenParts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// What is signed: header, dot, claims.
    message: &'a [u8],
}

impl TokenParts<'_> {
    fn of(token: &[u8]) -> Result<TokenParts<'_>, TokenFailure> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Invalid("the token is too long"));
        }
        let text = str::from_utf8(token).map_err(|_| Invalid("the token is not base64url"))?;
        let mut parts = text.split('.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(header), Some(claims), Some(signature), None) if !signature.is_empty() => {
                let message = &token[..header.len() + 1 + claims.len()];
                Ok(TokenParts { header, claims, signature, message })
            }
            (Some(_), Some(_), Some(_), None) => Err(Invalid("the token is not signed")),
            _ => Err(Invalid("the token has not three parts")),
        }
    }
}

/// The parameters used of a JOSE header.
struct Header {
    alg: String,
    kid: Option<String>,
}

impl Header {
    fn read(encoded: &str) -> Result<Header, TokenFailure> {
        let mut map = strict_object(&decode(encoded)?)
            .ok_or(Invalid("the header is no JSON object, or a member stands twice"))?;
        if let Some((_, why)) = REFUSED_PARAMETERS.iter().find(|(name, _)| map.contains_key(*name)) {
            return Err(Invalid(why));
        }
        if is_nested(map.get("cty")) {
            return Err(Invalid("the token holds another token (`cty`)"));
        }
        let kid = match map.remove("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(Invalid("`kid` is no string")),
        };
        match map.remove("alg") {
            Some(Value::String(alg)) => Ok(Header { alg, kid }),
            _ => Err(Invalid("`alg` is missing or no string")),
        }
    }
}

/// Whether this is a nested token (RFC 7519, 5.2), whose payload is not claims. A `cty` that is no string counts as one.
fn is_nested(cty: Option<&Value>) -> bool {
    let nests = |cty: &str| cty.eq_ignore_ascii_case("jwt") || cty.eq_ignore_ascii_case("application/jwt");
    cty.is_some_and(|cty| cty.as_str().is_none_or(nests))
}

/// Decodes base64url in its canonical form: no padding, no stray bits, no other characters (RFC 7515, 2).
fn decode(encoded: &str) -> Result<Vec<u8>, TokenFailure> {
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Invalid("the token is not base64url"))
}

/// Whether `aud`, a string or an array of strings alone (RFC 7519, 4.1.3), holds one of those wanted.
fn audience_holds(wanted: &[Arc<str>], aud: Option<&Value>) -> bool {
    let is_wanted = |aud: &str| wanted.iter().any(|wanted| **wanted == *aud);
    match aud {
        _ if wanted.is_empty() => true,
        Some(Value::String(aud)) => is_wanted(aud),
        Some(Value::Array(list)) => {
            list.iter().all(Value::is_string) && list.iter().filter_map(Value::as_str).any(is_wanted)
        }
        _ => false,
    }
}

/// A NumericDate (RFC 7519, 2): seconds since 1970, possibly with a fraction, which is rounded to the stricter side.
fn date(map: &Map<String, Value>, name: &str, round: fn(f64) -> f64) -> Result<Option<u64>, TokenFailure> {
    let seconds = |number: &Number| {
        let fraction = || number.as_f64().filter(|s| (0.0..=u64::MAX as f64).contains(s));
        number.as_u64().or_else(|| fraction().map(|s| round(s) as u64))
    };
    match map.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) if seconds(number).is_some() => Ok(seconds(number)),
        Some(_) => Err(Invalid("`exp`, `nbf` or `iat` is no date")),
    }
}

fn fingerprint(plan: &plan::Jwt, keys: &KeySet) -> [u8; 32] {
    let rules = (&plan.algorithms, &plan.issuer, &plan.audience, plan.leeway);
    // `Debug` quotes and escapes strings, so that different rules give different texts.
    sha256(&[keys.fingerprint(), format!("{rules:?}").as_bytes()])
}
