//! Parses JWK sets (RFC 7517): which of their keys are usable, and why others are not.

use aws_lc_rs::signature;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::json::strict_object;
use super::keys::{KeyMaterial, MAX_KEYS, VerificationKey};
use super::{parse, pem};

type Jwk = Map<String, Value>;

/// The usable keys of a set, given as JSON text, in order; at least one.
pub(super) fn keys(text: &str, pinned: &[Algorithm]) -> Result<Vec<VerificationKey>, String> {
    let set = strict_object(text.as_bytes())
        .ok_or("the JWK set is no JSON object, or has a member that stands twice")?;
    let list = set.get("keys").and_then(Value::as_array).ok_or("the JWK set has no list `keys`")?;
    if list.len() > MAX_KEYS {
        return Err(format!("the JWK set has {} keys; at most {MAX_KEYS} are taken", list.len()));
    }
    let (mut keys, mut refused) = (Vec::new(), Vec::new());
    for (at, jwk) in list.iter().enumerate() {
        match jwk.as_object().ok_or_else(|| "no object".to_owned()).and_then(|jwk| key(jwk, pinned)) {
            Ok(key) => keys.push(key),
            Err(why) => refused.push(format!("key {}: {why}", at + 1)),
        }
    }
    match (keys.is_empty(), refused.is_empty()) {
        (false, _) => Ok(keys),
        (true, true) => Err("the JWK set is empty".to_owned()),
        (true, false) => Err(format!("the JWK set has no usable key ({})", refused.join("; "))),
    }
}

/// One key, or why it is skipped.
fn key(jwk: &Jwk, pinned: &[Algorithm]) -> Result<VerificationKey, String> {
    // RFC 7517, 4.2 and 4.3: a key for encryption must not check signatures.
    if text(jwk, "use")?.is_some_and(|usage| usage != "sig") {
        return Err("its `use` is not `sig`".to_owned());
    }
    if jwk
        .get("key_ops")
        .is_some_and(|ops| !ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")))
    {
        return Err("its `key_ops` lack `verify`".to_owned());
    }
    let own = match text(jwk, "alg")? {
        Some(name) => Some(parse::algorithm(name).map_err(|_| "its `alg` is unknown")?),
        None => None,
    };
    let material = material(jwk)?;
    VerificationKey::new(text(jwk, "kid")?, own, pinned, material)
        .ok_or_else(|| "it serves none of `algorithms`".to_owned())
}

/// The key material by the parameters of its `kty` (RFC 7518, 6 and RFC 8037, 2).
fn material(jwk: &Jwk) -> Result<KeyMaterial, String> {
    let kind = text(jwk, "kty")?.ok_or("it has no `kty`")?;
    // In each kind of public key `d` is the private part: everyone who reads the set could sign with it.
    if kind != "oct" && jwk.contains_key("d") {
        return Err("it is a private key".to_owned());
    }
    match (kind, text(jwk, "crv")?) {
        ("RSA", _) => pem::rsa(integer(jwk, "n")?, integer(jwk, "e")?),
        ("EC", Some("P-256")) => {
            let point = point(jwk, 32)?;
            sound(pem::is_key_for(&signature::ECDSA_P256_SHA256_FIXED, &point), KeyMaterial::P256(point))
        }
        ("EC", Some("P-384")) => {
            let point = point(jwk, 48)?;
            sound(pem::is_key_for(&signature::ECDSA_P384_SHA384_FIXED, &point), KeyMaterial::P384(point))
        }
        ("OKP", Some("Ed25519")) => {
            let x = fixed(jwk, "x", 32)?;
            sound(pem::is_key_for(&signature::ED25519, &x), KeyMaterial::Ed25519(x))
        }
        ("oct", _) => {
            let secret = bytes(jwk, "k")?;
            sound(!secret.is_empty(), KeyMaterial::Secret(secret))
        }
        _ => Err("its `kty` or `crv` is not supported".to_owned()),
    }
}

fn sound(is_sound: bool, material: KeyMaterial) -> Result<KeyMaterial, String> {
    is_sound.then_some(material).ok_or_else(|| "it is no sound key".to_owned())
}

/// An uncompressed point of a curve whose coordinates have that many bytes (SEC 1, 2.3.3).
fn point(jwk: &Jwk, bytes: usize) -> Result<Vec<u8>, String> {
    Ok([vec![4], fixed(jwk, "x", bytes)?, fixed(jwk, "y", bytes)?].concat())
}

fn fixed(jwk: &Jwk, name: &str, len: usize) -> Result<Vec<u8>, String> {
    bytes(jwk, name).and_then(|bytes| {
        (bytes.len() == len).then_some(bytes).ok_or_else(|| format!("its `{name}` has not {len} bytes"))
    })
}

/// A Base64urlUInt. Some issuers write the sign byte of ASN.1 before it, which is dropped.
fn integer(jwk: &Jwk, name: &str) -> Result<Vec<u8>, String> {
    let bytes = bytes(jwk, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(bytes[zeros..].to_vec())
}

fn bytes(jwk: &Jwk, name: &str) -> Result<Vec<u8>, String> {
    let text = text(jwk, name)?.ok_or_else(|| format!("it has no `{name}`"))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("its `{name}` is not base64url"))
}

fn text<'a>(jwk: &'a Jwk, name: &str) -> Result<Option<&'a str>, String> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{name}` is no string")),
    }
}
