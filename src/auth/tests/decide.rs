//! Which of several methods decides, and the challenges of a refusal.

use std::sync::Arc;

use jsonwebtoken::Algorithm::*;
use serde_json::json;

use super::super::api_keys::{Consumers, DynamicKeys};
use super::super::cache::TokenCache;
use super::super::decide::{Authenticator, Denied, Identity, Refusal};
use super::super::jwt::Provider;
use super::super::keys::KeySet;
use super::providers::*;
use super::request::Request;
use super::sign::*;
use crate::auth::parse::credential_place;
use crate::plan::{ApiKeyHash, AuthMethod, Consumer};

const BEARER: &str = r#"Bearer realm="ringway""#;
const BAD_BEARER: &str = r#"Bearer realm="ringway", error="invalid_token""#;
const OLD_BEARER: &str =
    r#"Bearer realm="ringway", error="invalid_token", error_description="The token expired""#;
const KEY: &str = r#"Key realm="ringway""#;
const BOTH: [AuthMethod; 2] = [AuthMethod::Jwt(0), AuthMethod::Key];

/// Provider 0 signs with HS256, provider 1 with ES256; both read `authorization`. Alice has the key `k-alice`.
fn decide(methods: &[AuthMethod], request: &Request) -> Result<Identity, Denied> {
    let providers = [Arc::new(provider(&[HS256])), Arc::new(provider(&[ES256]))];
    decide_by(&providers, methods, request)
}

fn decide_by(
    providers: &[Arc<Provider>],
    methods: &[AuthMethod],
    request: &Request,
) -> Result<Identity, Denied> {
    decide_with(Some(&DynamicKeys::default()), providers, methods, request)
}

fn decide_with(
    dynamic_keys: Option<&DynamicKeys>,
    providers: &[Arc<Provider>],
    methods: &[AuthMethod],
    request: &Request,
) -> Result<Identity, Denied> {
    let api_keys = vec![ApiKeyHash::of(b"k-alice").unwrap()];
    let alice =
        Consumer { name: "alice".into(), groups: vec![], permissions: vec![], api_keys, limits: vec![] };
    Authenticator {
        providers,
        consumers: &Consumers::build(&[Arc::new(alice)]).unwrap(),
        dynamic_keys,
        key_places: &[
            credential_place("header:x-api-key").unwrap(),
            credential_place("query:apikey").unwrap(),
        ],
        tokens: &mut TokenCache::new(10, 10_000),
    }
    .decide(methods, request, NOW)
}

fn denied(methods: &[AuthMethod], request: &Request, reason: &str, challenges: &[&str]) {
    let denied = decide(methods, request).unwrap_err();
    assert_eq!(denied.refusal.reason(), reason, "{denied:?}");
    assert_eq!(denied.challenges, challenges);
}

fn bearer(token: &[u8]) -> Request {
    Request::new().bearer(token)
}

#[test]
fn a_token_identifies_the_consumer_that_its_claim_names() {
    let name = |claims| {
        let identity = decide(&BOTH, &bearer(&usual(HS256, &claims))).unwrap();
        assert!(identity.claims.is_some());
        identity.consumer.map(|consumer| consumer.name.to_string())
    };
    assert_eq!(name(json!({ "exp": NOW, "sub": "alice" })).as_deref(), Some("alice"));
    for sub in [json!("bob"), json!(1), json!(["alice"]), json!(null), json!("Alice")] {
        assert_eq!(name(json!({ "exp": NOW, "sub": sub })), None);
    }
    assert_eq!(name(json!({ "exp": NOW })), None);
}

#[test]
fn a_key_identifies_its_consumer_in_every_place() {
    for place in ["header:x-api-key", "query:apikey"] {
        let identity = decide(&BOTH, &Request::new().with(place, "k-alice")).unwrap();
        assert_eq!(identity.consumer.unwrap().name, Arc::<str>::from("alice"));
        assert_eq!((identity.method, identity.claims), (AuthMethod::Key, None));
    }
}

#[test]
fn any_method_that_accepts_is_enough() {
    let bad_token = bearer(b"a.b.c").with("header:x-api-key", "k-alice");
    assert_eq!(decide(&BOTH, &bad_token).unwrap().method, AuthMethod::Key);
    let bad_key = bearer(&usual(HS256, &good_claims())).with("header:x-api-key", "wrong");
    assert_eq!(decide(&[AuthMethod::Key, AuthMethod::Jwt(0)], &bad_key).unwrap().method, AuthMethod::Jwt(0));
    let second = bearer(&usual(ES256, &good_claims()));
    assert_eq!(
        decide(&[AuthMethod::Jwt(0), AuthMethod::Jwt(1)], &second).unwrap().method,
        AuthMethod::Jwt(1)
    );
    let both = bearer(&usual(HS256, &good_claims())).with("header:x-api-key", "k-alice");
    assert_eq!(decide(&BOTH, &both).unwrap().method, AuthMethod::Jwt(0), "the first in the route's order");
}

#[test]
fn without_credentials_the_challenges_list_the_methods() {
    denied(&BOTH, &Request::new(), "no_credentials", &[BEARER, KEY]);
    denied(&[AuthMethod::Key], &Request::new(), "no_credentials", &[KEY]);
    denied(&[AuthMethod::Jwt(0), AuthMethod::Jwt(1)], &Request::new(), "no_credentials", &[BEARER]);
    // Credentials of methods that the route does not have are ignored.
    denied(
        &[AuthMethod::Jwt(0)],
        &Request::new().with("header:x-api-key", "k-alice"),
        "no_credentials",
        &[BEARER],
    );
    denied(&[AuthMethod::Key], &bearer(&usual(HS256, &good_claims())), "no_credentials", &[KEY]);
    let basic = Request::new().with("header:authorization", "Basic YTpi");
    denied(&BOTH, &basic, "no_credentials", &[BEARER, KEY]);
}

#[test]
fn a_refused_credential_is_named_with_its_reason() {
    let expired = usual(HS256, &json!({ "exp": 1 }));
    denied(&BOTH, &bearer(b"a.b.c"), "invalid_token", &[BAD_BEARER, KEY]);
    denied(&BOTH, &bearer(&expired), "token_expired", &[OLD_BEARER, KEY]);
    denied(&BOTH, &Request::new().with("header:x-api-key", "wrong"), "invalid_api_key", &[BEARER, KEY]);
    denied(&BOTH, &Request::new().with("query:apikey", "k".repeat(600)), "invalid_api_key", &[BEARER, KEY]);
    let twice = Request::new().with("header:x-api-key", "k-alice").with("header:x-api-key", "k-alice");
    denied(&BOTH, &twice, "invalid_api_key", &[BEARER, KEY]);
    denied(&BOTH, &bearer(b"a.b.c").bearer(b"a.b.c"), "invalid_token", &[BAD_BEARER, KEY]);
}

#[test]
fn of_several_refusals_an_expired_token_takes_precedence_else_the_first() {
    let expired = usual(ES256, &json!({ "exp": 1 }));
    denied(&[AuthMethod::Jwt(0), AuthMethod::Jwt(1)], &bearer(&expired), "token_expired", &[OLD_BEARER]);
    let with_key = bearer(&expired).with("header:x-api-key", "wrong");
    denied(&[AuthMethod::Key, AuthMethod::Jwt(1)], &with_key, "token_expired", &[KEY, OLD_BEARER]);
    let both = bearer(b"a.b.c").with("header:x-api-key", "wrong");
    denied(&BOTH, &both, "invalid_token", &[BAD_BEARER, KEY]);
    denied(&[AuthMethod::Key, AuthMethod::Jwt(0)], &both, "invalid_api_key", &[KEY, BEARER]);
}

#[test]
fn an_unknown_key_names_the_provider_to_fetch_for() {
    let empty = Provider::new(Arc::new(jwt_plan(&[ES256])), Arc::new(KeySet::empty()));
    let providers = [Arc::new(provider(&[HS256])), Arc::new(empty)];
    let methods = [AuthMethod::Jwt(0), AuthMethod::Jwt(1), AuthMethod::Key];
    let request = bearer(&usual(ES256, &good_claims()));
    let denied = decide_by(&providers, &methods, &request).unwrap_err();
    assert_eq!(denied.unknown_key_of, [1]);
    assert!(matches!(denied.refusal, Refusal::InvalidToken(_)));

    let fetched = [providers[0].clone(), Arc::new(provider(&[ES256]))];
    assert_eq!(decide_by(&fetched, &methods, &request).unwrap().method, AuthMethod::Jwt(1));
    let both = [providers[1].clone(), providers[1].clone()];
    assert_eq!(decide_by(&both, &methods, &request).unwrap_err().unknown_key_of, [0, 1], "either may be it");
    let with_key = request.with("header:x-api-key", "k-alice");
    assert_eq!(
        decide_by(&providers, &methods, &with_key).unwrap().method,
        AuthMethod::Key,
        "no fetch is needed"
    );
}

#[test]
fn no_key_is_accepted_or_refused_before_it_is_known_which_were_revoked() {
    let providers = [Arc::new(provider(&[HS256])), Arc::new(provider(&[ES256]))];
    let undecided = |request: Request| decide_with(None, &providers, &BOTH, &request);
    let key = |key: &str| Request::new().with("header:x-api-key", key);
    let expired = usual(HS256, &json!({ "exp": 1 }));
    for request in
        [key("k-alice"), key("wrong"), key("k-alice").bearer(&expired), key("wrong").bearer(b"a.b.c")]
    {
        let denied = undecided(request).unwrap_err();
        assert_eq!((denied.refusal.reason(), &denied.challenges[..]), ("store_unavailable", &[][..]));
    }
    let twice = key("k-alice").with("header:x-api-key", "k-alice");
    for (request, reason) in
        [(Request::new(), "no_credentials"), (twice, "invalid_api_key"), (bearer(&expired), "token_expired")]
    {
        assert_eq!(undecided(request).unwrap_err().refusal.reason(), reason);
    }
    let token = usual(HS256, &good_claims());
    assert_eq!(undecided(key("wrong").bearer(&token)).unwrap().method, AuthMethod::Jwt(0), "tokens go on");
}
