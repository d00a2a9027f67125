//! Parses JWK sets (RFC 7517): which of their keys are usable, and why others are not.
//!
//! Two kinds of keys are not used: those meant for something else, which every set may have, and those refused, of which
//! whoever runs the gateway or the issuer should know.

use aws_lc_rs::signature;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde_json::{Map, Value};

use super::json::strict_object;
use super::keys::{KeyMaterial, MAX_KEYS, VerificationKey};
use super::{parse, pem};

type Jwk = Map<String, Value>;

/// The most characters of a `kid` in a message.
const MAX_SHOWN_KID: usize = 64;

/// Why a key is not used.
enum Unusable {
    /// For encryption, for other algorithms, of an unknown kind.
    OtherPurpose(String),
    /// Weak, private or malformed.
    Refused(String),
}

impl From<String> for Unusable {
    fn from(why: String) -> Unusable {
        Unusable::Refused(why)
    }
}

/// The usable keys of a set, given as JSON text, in order; at least one. Beside them the keys that were refused, each
/// with the reason.
pub(super) fn keys(text: &str, pinned: &[Algorithm]) -> Result<(Vec<VerificationKey>, Vec<String>), String> {
    let set = strict_object(text.as_bytes())
        .ok_or("the JWK set is no JSON object, or has a member that stands twice")?;
    let list = set.get("keys").and_then(Value::as_array).ok_or("the JWK set has no list `keys`")?;
    if list.len() > MAX_KEYS {
        return Err(format!("the JWK set has {} keys; at most {MAX_KEYS} are taken", list.len()));
    }
    let (mut keys, mut refused, mut unused) = (Vec::new(), Vec::new(), Vec::new());
    for (at, jwk) in list.iter().enumerate() {
        let read = jwk.as_object().ok_or_else(|| Unusable::Refused("no object".to_owned()));
        match read.and_then(|jwk| key(jwk, pinned)) {
            Ok(key) => keys.push(key),
            Err(Unusable::OtherPurpose(why)) => unused.push(format!("{}: {why}", name(at, jwk))),
            Err(Unusable::Refused(why)) => {
                let why = format!("{}: {why}", name(at, jwk));
                unused.push(why.clone());
                refused.push(why);
            }
        }
    }
    match (keys.is_empty(), unused.is_empty()) {
        (false, _) => Ok((keys, refused)),
        (true, true) => Err("the JWK set is empty".to_owned()),
        (true, false) => Err(format!("the JWK set has no usable key ({})", unused.join("; "))),
    }
}

/// `key 2 ("its kid")`.
fn name(at: usize, jwk: &Value) -> String {
    match jwk.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("key {} ({:?})", at + 1, kid.chars().take(MAX_SHOWN_KID).collect::<String>()),
        None => format!("key {}", at + 1),
    }
}

/// One key, or why it is not used.
fn key(jwk: &Jwk, pinned: &[Algorithm]) -> Result<VerificationKey, Unusable> {
    let other = |why: &str| Err(Unusable::OtherPurpose(why.to_owned()));
    // RFC 7517, 4.2 and 4.3: a key for encryption must not check signatures.
    if text(jwk, "use")?.is_some_and(|usage| usage != "sig") {
        return other("its `use` is not `sig`");
    }
    if jwk
        .get("key_ops")
        .is_some_and(|ops| !ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")))
    {
        return other("its `key_ops` lack `verify`");
    }
    let own = match text(jwk, "alg")?.map(parse::algorithm) {
        Some(Ok(own)) => Some(own),
        Some(Err(_)) => return other("its `alg` is unknown"),
        None => None,
    };
    let kind = text(jwk, "kty")?.ok_or_else(|| "it has no `kty`".to_owned())?;
    let Some(family) = family(kind) else { return other("its `kty` is not supported") };
    let mut served: Vec<Algorithm> = pinned.to_vec();
    served.retain(|algorithm| algorithm.family() == family && own.is_none_or(|own| own == *algorithm));
    let Some(first) = served.first().copied() else { return other("it serves none of `algorithms`") };
    let material = material(kind, jwk)?;
    if let KeyMaterial::Secret(secret) = &material {
        served.retain(|algorithm| secret.len() >= parse::min_secret_bytes(*algorithm));
        if served.is_empty() {
            let (bytes, min) = (secret.len(), parse::min_secret_bytes(first));
            return Err(format!("the secret has {bytes} bytes; {first:?} needs at least {min}").into());
        }
    }
    match VerificationKey::new(text(jwk, "kid")?, own, &served, material) {
        Some(key) => Ok(key),
        None => other("it serves none of `algorithms`"),
    }
}

/// The algorithms that keys of this `kty` can serve.
fn family(kind: &str) -> Option<AlgorithmFamily> {
    match kind {
        "RSA" => Some(AlgorithmFamily::Rsa),
        "EC" => Some(AlgorithmFamily::Ec),
        "OKP" => Some(AlgorithmFamily::Ed),
        "oct" => Some(AlgorithmFamily::Hmac),
        _ => None,
    }
}

/// The key material by the parameters of its `kty` (RFC 7518, 6 and RFC 8037, 2).
fn material(kind: &str, jwk: &Jwk) -> Result<KeyMaterial, Unusable> {
    // In each kind of public key `d` is the private part: everyone who reads the set could sign with it.
    if kind != "oct" && jwk.contains_key("d") {
        return Err("it is a private key".to_owned().into());
    }
    let material = match (kind, text(jwk, "crv")?) {
        ("RSA", _) => pem::rsa(integer(jwk, "n")?, integer(jwk, "e")?)?,
        ("EC", Some("P-256")) => {
            let point = point(jwk, 32)?;
            sound(pem::is_key_for(&signature::ECDSA_P256_SHA256_FIXED, &point), KeyMaterial::P256(point))?
        }
        ("EC", Some("P-384")) => {
            let point = point(jwk, 48)?;
            sound(pem::is_key_for(&signature::ECDSA_P384_SHA384_FIXED, &point), KeyMaterial::P384(point))?
        }
        ("OKP", Some("Ed25519")) => {
            let x = fixed(jwk, "x", 32)?;
            sound(pem::is_key_for(&signature::ED25519, &x), KeyMaterial::Ed25519(x))?
        }
        ("oct", _) => KeyMaterial::Secret(bytes(jwk, "k")?),
        _ => return Err(Unusable::OtherPurpose("its `crv` is not supported".to_owned())),
    };
    Ok(material)
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
