//! The keys that verify tokens: an immutable set, each key bound to the algorithms it may be used with.

use std::fmt;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, crypto};

use super::parse::check_algorithms;
use crate::base::hash::sha256;
use crate::plan::{self, JwtKey, Secret};

/// A set with more keys is an error.
pub const MAX_KEYS: usize = 64;
/// A token is tried against at most this many keys, which bounds the cost of a forged one.
const MAX_TRIES: usize = 8;

/// A set of keys, immutable: a new set replaces it. Sets of the same keys for the same algorithms are equal, if the same
/// others were refused.
pub struct KeySet {
    keys: Vec<VerificationKey>,
    /// Keys of a JWK set that are not used, with the reasons.
    refused: Vec<String>,
    fingerprint: [u8; 32],
}

/// One key.
pub(super) struct VerificationKey {
    kid: Option<Box<str>>,
    /// Pinned by the provider, possible for the kind of key, and allowed by its own `alg`; at least one. So an RSA key is
    /// never used as a shared secret, whatever `alg` a token has (RFC 8725, 2.1).
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Shows the number of keys alone: a secret could be guessed from a fingerprint.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.keys.len())
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &KeySet) -> bool {
        (self.fingerprint, &self.refused) == (other.fingerprint, &other.refused)
    }
}

impl KeySet {
    /// The set of the configuration; empty where it is to be fetched.
    pub fn build(plan: &plan::Jwt) -> Result<KeySet, String> {
        match &plan.key {
            JwtKey::Secret(Secret(secret)) => KeySet::from_secret(secret, &plan.algorithms),
            JwtKey::PublicKey(pem) => KeySet::from_pem(pem, &plan.algorithms),
            JwtKey::Jwks(jwks) => KeySet::from_jwks(jwks, &plan.algorithms),
            JwtKey::JwksUrl(_) => check_algorithms(&plan.algorithms).map(|()| KeySet::empty()),
        }
    }

    /// No keys: the set of a provider until it is fetched. Every token then has an unknown key.
    pub fn empty() -> KeySet {
        KeySet::new(Vec::new())
    }

    /// The set of one shared secret. An error quotes nothing of the secret.
    pub fn from_secret(secret: &[u8], pinned: &[Algorithm]) -> Result<KeySet, String> {
        if secret.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        let material = KeyMaterial::Secret(secret.to_vec());
        material.must_serve(pinned)?;
        Ok(KeySet::new(Vec::from_iter(VerificationKey::new(None, None, pinned, material))))
    }

    /// The set of one public key, the text of a PEM file: `PUBLIC KEY` (SPKI) or `RSA PUBLIC KEY` (PKCS #1).
    pub fn from_pem(text: &str, pinned: &[Algorithm]) -> Result<KeySet, String> {
        let material = super::pem::public_key(text)?;
        material.must_serve(pinned)?;
        Ok(KeySet::new(Vec::from_iter(VerificationKey::new(None, None, pinned, material))))
    }

    /// The usable keys of a JWK set (RFC 7517, 5), given as JSON text. Keys of unknown kinds, uses and algorithms are
    /// skipped, as the RFC requires; those that are weak or malformed are in [`KeySet::refused`].
    ///
    /// # Errors
    /// A set without a usable key, a text that is no JSON or has a duplicate member.
    pub fn from_jwks(text: &str, pinned: &[Algorithm]) -> Result<KeySet, String> {
        check_algorithms(pinned)?;
        let (keys, refused) = super::jwks::keys(text, pinned)?;
        Ok(KeySet { refused, ..KeySet::new(keys) })
    }

    pub(super) fn new(mut keys: Vec<VerificationKey>) -> KeySet {
        let mut prints: Vec<[u8; 32]> = Vec::with_capacity(keys.len());
        keys.retain(|key| {
            let print = key.fingerprint();
            let is_new = !prints.contains(&print);
            if is_new {
                prints.push(print);
            }
            is_new
        });
        let fingerprint = sha256(&[prints.as_flattened()]);
        KeySet { keys, refused: Vec::new(), fingerprint }
    }

    /// Keys of the JWK set that are not used because they are weak, private or malformed: which, and why.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Differs between sets of different keys or algorithms.
    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The keys that may have signed a token: those of its `kid` and those without one (a `kid` is a hint: RFC 7515,
    /// 4.1.4), or all where the token has none; at most [`MAX_TRIES`].
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &VerificationKey> {
        let fits = move |key: &&VerificationKey| key.algorithms.contains(&algorithm) && key.matches(kid);
        self.keys.iter().filter(fits).take(MAX_TRIES)
    }

    /// Whether no key matches the `kid`: a newer set might have it.
    pub(super) fn lacks(&self, kid: Option<&str>) -> bool {
        !self.keys.iter().any(|key| key.matches(kid))
    }
}

impl VerificationKey {
    /// A key; `None`: it can be used with no pinned algorithm. `own` is the algorithm that the key itself names.
    pub(super) fn new(
        kid: Option<&str>,
        own: Option<Algorithm>,
        pinned: &[Algorithm],
        material: KeyMaterial,
    ) -> Option<VerificationKey> {
        let serves = |algorithm: &Algorithm| {
            material.algorithms().contains(algorithm) && own.is_none_or(|own| own == *algorithm)
        };
        let algorithms: Vec<Algorithm> = pinned.iter().copied().filter(serves).collect();
        let kid = kid.map(Into::into);
        (!algorithms.is_empty()).then(|| VerificationKey { kid, algorithms, key: material.decoding_key() })
    }

    fn matches(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Some(own), Some(kid)) => **own == *kid,
            _ => true,
        }
    }

    /// Whether `signature` (canonical base64url) is a signature of `message` by this key.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.algorithms.contains(&algorithm)
            && crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }

    fn fingerprint(&self) -> [u8; 32] {
        let names = format!("{:?}", self.algorithms);
        let (bytes, exponent): (&[u8], &[u8]) = match self.key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => (bytes, &[]),
            DecodingKeyKind::RsaModulusExponent { n, e } => (n, e),
        };
        let kid = self.kid.as_deref().unwrap_or_default();
        let parts = [names.as_bytes(), kid.as_bytes(), bytes, exponent];
        // Each part by its hash, so that different lists of parts never concatenate to the same bytes.
        let hashes = parts.map(|part| sha256(&[part]));
        sha256(&[&[u8::from(self.kid.is_some())], hashes.as_flattened()])
    }
}

/// The kind and bytes of a key that has been validated.
#[derive(Clone)]
pub(super) enum KeyMaterial {
    Secret(Vec<u8>),
    /// Big-endian, without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point (SEC 1, uncompressed) or SPKI in DER.
    P256(Vec<u8>),
    P384(Vec<u8>),
    /// 32 bytes, or SPKI in DER.
    Ed25519(Vec<u8>),
}

impl KeyMaterial {
    fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            KeyMaterial::Secret(_) => &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
            KeyMaterial::Rsa { .. } => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            KeyMaterial::P256(_) => &[Algorithm::ES256],
            KeyMaterial::P384(_) => &[Algorithm::ES384],
            KeyMaterial::Ed25519(_) => &[Algorithm::EdDSA],
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            KeyMaterial::Secret(_) => "a shared secret",
            KeyMaterial::Rsa { .. } => "an RSA key",
            KeyMaterial::P256(_) => "an EC key on P-256",
            KeyMaterial::P384(_) => "an EC key on P-384",
            KeyMaterial::Ed25519(_) => "an Ed25519 key",
        }
    }

    /// A provider's only key must be usable with all of its algorithms: otherwise the configuration is wrong.
    fn must_serve(&self, pinned: &[Algorithm]) -> Result<(), String> {
        check_algorithms(pinned)?;
        match pinned.iter().find(|algorithm| !self.algorithms().contains(algorithm)) {
            None => Ok(()),
            Some(algorithm) => {
                let known: Vec<String> = self.algorithms().iter().map(|known| format!("{known:?}")).collect();
                let known = known.join(", ");
                Err(format!("{} serves {known}, but `algorithms` names {algorithm:?}", self.kind()))
            }
        }
    }

    fn decoding_key(&self) -> DecodingKey {
        let key = match self {
            KeyMaterial::Secret(secret) => DecodingKey::from_secret(secret),
            KeyMaterial::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            KeyMaterial::P256(bytes) | KeyMaterial::P384(bytes) => DecodingKey::from_ec_der(bytes),
            KeyMaterial::Ed25519(bytes) => DecodingKey::from_ed_der(bytes),
        };
        debug_assert_eq!(
            key.family() == AlgorithmFamily::Hmac,
            matches!(self, KeyMaterial::Secret(_)),
            "public keys are never secrets"
        );
        key
    }
}
