//! Providers with the keys of [`sign`](super::sign).

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::super::jwt::{Claims, Provider, TokenFailure};
use super::super::keys::KeySet;
use super::sign::{SECRET, pem, spki};
use crate::plan;

/// The time of the tests.
pub const NOW: u64 = 1_800_000_000;

pub fn good_claims() -> Value {
    json!({ "sub": "alice", "exp": NOW + 300 })
}

/// Requires nothing but the algorithm.
pub fn jwt_plan(algorithms: &[Algorithm]) -> plan::Jwt {
    plan::Jwt {
        name: "main".into(),
        algorithms: algorithms.to_vec(),
        key: plan::JwtKey::Secret(plan::Secret(SECRET.into())),
        issuer: None,
        audience: vec![],
        leeway: plan::Jwt::LEEWAY,
        from: vec![crate::auth::parse::credential_place(plan::Jwt::FROM).unwrap()],
        consumer_claim: plan::Jwt::CONSUMER_CLAIM.into(),
        forward: true,
        headers: vec![],
    }
}

/// A provider with the tests' key for the algorithms.
pub fn provider(algorithms: &[Algorithm]) -> Provider {
    let keys = match algorithms[0] {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => KeySet::from_secret(SECRET, algorithms),
        first => KeySet::from_pem(&pem("PUBLIC KEY", &spki(first)), algorithms),
    };
    Provider::new(Arc::new(jwt_plan(algorithms)), Arc::new(keys.unwrap()))
}

/// A provider with the keys of a JWK set.
pub fn jwks_provider(algorithms: &[Algorithm], jwks: &Value) -> Provider {
    let keys = KeySet::from_jwks(&jwks.to_string(), algorithms).unwrap();
    Provider::new(Arc::new(jwt_plan(algorithms)), Arc::new(keys))
}

pub fn verify(provider: &Provider, token: &[u8]) -> Result<Claims, TokenFailure> {
    provider.verify(token, NOW)
}
