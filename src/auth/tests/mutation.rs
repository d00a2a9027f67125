//! Property tests: altered tokens never verify, and no input panics.

use std::sync::LazyLock;

use jsonwebtoken::Algorithm::{self, *};
use proptest::prelude::*;
use serde_json::json;

use super::super::jwt::Provider;
use super::super::keys::KeySet;
use super::super::{strip, token};
use super::providers::{self, *};
use super::request::Request;
use super::sign::{self, *};
use crate::plan::CredentialPlace;

/// One of each kind with its good token.
static GOOD: LazyLock<Vec<(Provider, Vec<u8>)>> = LazyLock::new(|| {
    let pairs = |algorithm: Algorithm| (providers::provider(&[algorithm]), usual(algorithm, &good_claims()));
    [HS256, RS256, PS256, ES256, EdDSA].map(pairs).to_vec()
});

#[derive(Clone, Debug)]
enum Mutation {
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Cut(usize),
    Repeat(usize, usize),
    Swap(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>().prop_map(|index| index.index(4096));
    let byte = prop_oneof![prop::sample::select(b"ABCyz019-_.=+/ \0".to_vec()), any::<u8>()];
    prop_oneof![
        4 => (at.clone(), byte.clone()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        2 => (at.clone(), byte).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        1 => at.clone().prop_map(Mutation::Remove),
        1 => at.clone().prop_map(Mutation::Cut),
        1 => (at.clone(), at.clone()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        1 => (at.clone(), at).prop_map(|(one, two)| Mutation::Swap(one, two)),
    ]
}

fn mutate(token: &mut Vec<u8>, mutation: &Mutation) {
    let len = token.len();
    if len == 0 {
        return;
    }
    match *mutation {
        Mutation::Set(at, byte) => token[at % len] = byte,
        Mutation::Insert(at, byte) => token.insert(at % (len + 1), byte),
        Mutation::Remove(at) => drop(token.remove(at % len)),
        Mutation::Cut(at) => token.truncate(at % len),
        Mutation::Repeat(from, to) => {
            let (from, to) = (from % len, to % len);
            token.extend_from_within(from.min(to)..from.max(to));
        }
        Mutation::Swap(one, two) => token.swap(one % len, two % len),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_tokens_never_verify(which in 0..5_usize, mutations in prop::collection::vec(mutation(), 1..4)) {
        let (provider, good) = &GOOD[which];
        let mut token = good.clone();
        mutations.iter().for_each(|mutation| mutate(&mut token, mutation));
        prop_assert_eq!(provider.verify(&token, NOW).is_ok(), token == *good);
    }

    #[test]
    fn signed_nonsense_never_panics(header in ".{0,60}", claims in ".{0,60}", name in "[a-z0-9]{1,4}", value in "[\\PC]{0,12}") {
        for header in [header, format!(r#"{{"alg":"HS256","{name}":{value}}}"#)] {
            for claims in [claims.clone(), format!(r#"{{"exp":{},"{name}":{value}}}"#, NOW + 1)] {
                let _ = GOOD[0].0.verify(&sign::token(HS256, &header, &claims), NOW);
            }
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), now_s in any::<u64>()) {
        prop_assert!(GOOD[0].0.verify(&bytes, now_s).is_err());
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(KeySet::from_jwks(&text, &[RS256]).is_err());
        prop_assert!(KeySet::from_pem(&text, &[RS256]).is_err());
        prop_assert!(KeySet::from_pem(&pem("PUBLIC KEY", &bytes), &[ES256]).is_err());
        prop_assert!(KeySet::from_pem(&pem("PUBLIC KEY", &bytes), &[EdDSA]).is_err());
        let _ = (strip::without_cookie(&bytes, b"a"), strip::without_query(&bytes, b"a"));
        let request = Request::new().with("header:authorization", &bytes);
        let _ = token::find(&[CredentialPlace::Header("authorization".into())], &request, 100);
    }

    #[test]
    fn altered_jwks_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = json!({ "keys": [jwk(RS256, json!({ "kid": "a" })), jwk(ES256, json!({})), jwk(EdDSA, json!({}))] })
            .to_string()
            .into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let _ = KeySet::from_jwks(&String::from_utf8_lossy(&text), &[RS256, ES256, EdDSA]);
    }
}
