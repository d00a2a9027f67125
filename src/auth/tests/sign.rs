//! Keys made in the process that runs the tests, and tokens that they sign. The end-to-end tests use this file too.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

pub const SECRET: &[u8] = b"a secret of the tests, of 32 bytes or more";

pub const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

pub static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub static OTHER_RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub static P256: LazyLock<EcdsaKeyPair> = LazyLock::new(|| ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING));
pub static P384: LazyLock<EcdsaKeyPair> = LazyLock::new(|| ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING));
pub static P521: LazyLock<EcdsaKeyPair> = LazyLock::new(|| ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING));
pub static ED: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).unwrap()
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The signature that the tests' key of the algorithm's kind makes.
pub fn signature(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    let hmac = |kind| hmac::sign(&hmac::Key::new(kind, SECRET), message).as_ref().to_vec();
    let ec = |key: &EcdsaKeyPair| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    let rsa = |encoding| rsa_signature(&RSA, encoding, message);
    match algorithm {
        Algorithm::HS256 => hmac(hmac::HMAC_SHA256),
        Algorithm::HS384 => hmac(hmac::HMAC_SHA384),
        Algorithm::HS512 => hmac(hmac::HMAC_SHA512),
        Algorithm::RS256 => rsa(&signature::RSA_PKCS1_SHA256),
        Algorithm::RS384 => rsa(&signature::RSA_PKCS1_SHA384),
        Algorithm::RS512 => rsa(&signature::RSA_PKCS1_SHA512),
        Algorithm::PS256 => rsa(&signature::RSA_PSS_SHA256),
        Algorithm::PS384 => rsa(&signature::RSA_PSS_SHA384),
        Algorithm::PS512 => rsa(&signature::RSA_PSS_SHA512),
        Algorithm::ES256 => ec(&P256),
        Algorithm::ES384 => ec(&P384),
        Algorithm::EdDSA => ED.sign(message).as_ref().to_vec(),
        other => panic!("no test key for {other:?}"),
    }
}

pub fn rsa_signature(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// A token of any header and claims, signed with the tests' key of that algorithm.
pub fn token(algorithm: Algorithm, header: &str, claims: &str) -> Vec<u8> {
    let message = format!("{}.{}", b64(header), b64(claims));
    let signature = signature(algorithm, message.as_bytes());
    format!("{message}.{}", b64(signature)).into_bytes()
}

/// A token with the usual header.
pub fn usual(algorithm: Algorithm, claims: &Value) -> Vec<u8> {
    token(algorithm, &json!({ "alg": algorithm, "typ": "JWT" }).to_string(), &claims.to_string())
}

/// A token by any secret.
pub fn hs256(secret: &[u8], claims: &Value) -> Vec<u8> {
    let message = format!("{}.{}", b64(r#"{"alg":"HS256"}"#), b64(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", b64(tag)).into_bytes()
}

/// The public key of the tests for the algorithm's kind, as SPKI.
pub fn spki(algorithm: Algorithm) -> Vec<u8> {
    let ec =
        |key: &EcdsaKeyPair| AsDer::<PublicKeyX509Der>::as_der(key.public_key()).unwrap().as_ref().to_vec();
    match algorithm {
        Algorithm::ES256 => ec(&P256),
        Algorithm::ES384 => ec(&P384),
        Algorithm::EdDSA => AsDer::<PublicKeyX509Der>::as_der(ED.public_key()).unwrap().as_ref().to_vec(),
        _ => AsDer::<PublicKeyX509Der>::as_der(RSA.public_key()).unwrap().as_ref().to_vec(),
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The tests' public key for the algorithm's kind as a JWK, with `more` members.
pub fn jwk(algorithm: Algorithm, more: Value) -> Value {
    let point = |key: &EcdsaKeyPair, curve: &str| {
        let bytes = key.public_key().as_ref();
        let (x, y) = bytes[1..].split_at((bytes.len() - 1) / 2);
        json!({ "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y) })
    };
    let mut jwk = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            // Long enough for HS512, and the same key: HMAC fills a key up with zeros itself (RFC 2104, 2).
            let mut secret = SECRET.to_vec();
            secret.resize(64, 0);
            json!({ "kty": "oct", "k": b64(secret) })
        }
        Algorithm::ES256 => point(&P256, "P-256"),
        Algorithm::ES384 => point(&P384, "P-384"),
        Algorithm::EdDSA => json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(ED.public_key().as_ref()) }),
        _ => rsa_jwk(&RSA),
    };
    jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    jwk
}

pub fn rsa_jwk(key: &RsaKeyPair) -> Value {
    let n = key.public_key().modulus().big_endian_without_leading_zero();
    let e = key.public_key().exponent().big_endian_without_leading_zero();
    json!({ "kty": "RSA", "n": b64(n), "e": b64(e) })
}
