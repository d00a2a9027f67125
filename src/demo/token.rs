//! A JWT that `[jwt.demo]` of the demo's configuration accepts, signed when the tour is printed.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::plan::{JwtKey, Plan};

/// Seconds that it is valid.
const DAY_S: u64 = 24 * 60 * 60;

/// A token of the consumer alice, valid for a day from `now_s` (Unix time) on. `None` if the configuration was edited so
/// that it has no `[jwt.demo]` with a secret.
pub fn sign(plan: &Plan, now_s: u64) -> Option<String> {
    let jwt = plan.jwts.iter().find(|jwt| &*jwt.name == "demo")?;
    let JwtKey::Secret(secret) = &jwt.key else { return None };
    let claims = json!({
        "iss": jwt.issuer,
        "sub": "alice",
        "tenant": "globex",
        "scope": "orders.read",
        "iat": now_s,
        "exp": now_s + DAY_S,
    });
    let header = Header::new(*jwt.algorithms.first()?);
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret.0)).ok()
}
