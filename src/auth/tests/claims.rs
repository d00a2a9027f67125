//! The requirements on the claims of a signed token.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::super::jwt::{Provider, TokenFailure};
use super::providers::*;
use super::sign::*;

fn outcome(provider: &Provider, claims: &Value) -> Result<(), TokenFailure> {
    verify(provider, &usual(Algorithm::HS256, claims)).map(drop)
}

fn with(change: impl FnOnce(&mut crate::plan::Jwt)) -> Provider {
    let provider = provider(&[Algorithm::HS256]);
    let mut plan = provider.plan().clone();
    change(&mut plan);
    Provider::new(Arc::new(plan), provider.keys().clone())
}

/// RFC 7519, 4.1.4 and 4.1.5, with 60 seconds of leeway.
#[test]
fn a_token_is_valid_from_nbf_to_exp_within_the_leeway() {
    let provider = provider(&[Algorithm::HS256]);
    for (claims, expected) in [
        (json!({ "exp": NOW + 1 }), Ok(())),
        (json!({ "exp": NOW }), Ok(())),
        (json!({ "exp": NOW - 59 }), Ok(())),
        (json!({ "exp": NOW - 60 }), Err(TokenFailure::Expired)),
        (json!({ "exp": NOW as f64 - 59.5 }), Err(TokenFailure::Expired)),
        (json!({ "exp": NOW as f64 - 58.5 }), Ok(())),
        (json!({ "exp": 0 }), Err(TokenFailure::Expired)),
        (json!({ "exp": u64::MAX }), Ok(())),
        (json!({ "exp": 1e15 }), Ok(())),
        (json!({ "exp": NOW + 9, "nbf": NOW }), Ok(())),
        (json!({ "exp": NOW + 9, "nbf": NOW + 60 }), Ok(())),
        (json!({ "exp": NOW + 99, "nbf": NOW + 61 }), Err(TokenFailure::Invalid("`nbf` is in the future"))),
        (
            json!({ "exp": NOW + 99, "nbf": NOW as f64 + 60.5 }),
            Err(TokenFailure::Invalid("`nbf` is in the future")),
        ),
        (json!({ "exp": NOW + 99, "nbf": u64::MAX }), Err(TokenFailure::Invalid("`nbf` is in the future"))),
        // An `iat` in the future alone is no reason.
        (json!({ "exp": NOW + 99, "iat": NOW + 5000 }), Ok(())),
    ] {
        assert_eq!(outcome(&provider, &claims), expected, "{claims}");
    }
    let strict = with(|plan| plan.leeway = std::time::Duration::ZERO);
    assert_eq!(outcome(&strict, &json!({ "exp": NOW + 1 })), Ok(()));
    assert_eq!(outcome(&strict, &json!({ "exp": NOW })), Err(TokenFailure::Expired));
    let forever = with(|plan| plan.leeway = std::time::Duration::MAX);
    assert_eq!(outcome(&forever, &json!({ "exp": 1, "nbf": NOW + 9 })), Ok(()));
}

/// RFC 7519, 2: a NumericDate is a number. Without `exp` a token would never end.
#[test]
fn dates_must_be_dates_and_exp_must_be_there() {
    let provider = provider(&[Algorithm::HS256]);
    assert_eq!(outcome(&provider, &json!({ "sub": "a" })), Err(TokenFailure::Invalid("`exp` is missing")));
    for wrong in [
        json!("1800000300"),
        json!(null),
        json!(true),
        json!([NOW]),
        json!({}),
        json!(-1),
        json!(-0.5),
        json!(1e300),
    ] {
        for name in ["exp", "nbf", "iat"] {
            let mut claims = good_claims();
            claims[name] = wrong.clone();
            assert!(matches!(outcome(&provider, &claims), Err(TokenFailure::Invalid(_))), "{name} {wrong}");
        }
    }
}

#[test]
fn the_issuer_equals_the_configured_one() {
    let provider = with(|plan| plan.issuer = Some("https://id.example.com".into()));
    for (iss, holds) in [
        (json!("https://id.example.com"), true),
        (json!("https://id.example.com/"), false),
        (json!("https://ID.example.com"), false),
        (json!(["https://id.example.com"]), false),
        (json!(null), false),
    ] {
        let claims = json!({ "exp": NOW + 9, "iss": iss });
        assert_eq!(outcome(&provider, &claims).is_ok(), holds, "{claims}");
    }
    assert!(outcome(&provider, &json!({ "exp": NOW + 9 })).is_err());
}

#[test]
fn one_of_the_tokens_audiences_is_one_of_the_configured() {
    let provider = with(|plan| plan.audience = vec!["api".into(), "api2".into()]);
    for (aud, holds) in [
        (json!("api"), true),
        (json!("api2"), true),
        (json!(["web", "api"]), true),
        (json!("web"), false),
        (json!("api web"), false),
        (json!([]), false),
        (json!(["web"]), false),
        (json!(["api", 1]), false),
        (json!([["api"]]), false),
        (json!({ "api": 1 }), false),
        (json!(null), false),
    ] {
        let claims = json!({ "exp": NOW + 9, "aud": aud });
        assert_eq!(outcome(&provider, &claims).is_ok(), holds, "{claims}");
    }
    assert!(outcome(&provider, &json!({ "exp": NOW + 9 })).is_err());
}

#[test]
fn only_tokens_valid_otherwise_are_expired() {
    let provider = with(|plan| plan.issuer = Some("us".into()));
    assert_eq!(outcome(&provider, &json!({ "exp": 1, "iss": "us" })), Err(TokenFailure::Expired));
    assert!(matches!(outcome(&provider, &json!({ "exp": 1, "iss": "them" })), Err(TokenFailure::Invalid(_))));
    let forged = hs256(b"another secret", &json!({ "exp": 1, "iss": "us" }));
    assert!(matches!(verify(&provider, &forged), Err(TokenFailure::Invalid(_))));
}

/// A shard gets its providers from the thread that fetches keys.
#[test]
fn providers_may_be_sent_between_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Provider>();
}
