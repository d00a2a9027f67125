//! Bad credentials by the thousand cost little and leave nothing behind.

use std::ops::Range;

use jsonwebtoken::Algorithm::{HS256, RS256};
use serde_json::json;

use super::sign::{self, b64, pem, spki};
use super::{ALICE, JWT, bearer, claims, get, key, route_to, text, token};
use crate::support::{Gateway, HeavyLoad, Origin};

const MIB: u64 = 1024;

/// Sends that many requests over one connection, some at a time; all must be answered with this status.
fn flood(gateway: &Gateway, numbers: Range<usize>, status: u16, fields: impl Fn(usize) -> String) {
    const AT_A_TIME: usize = 16;
    let mut client = gateway.connect();
    for first in numbers.clone().step_by(AT_A_TIME) {
        let some = first..numbers.end.min(first + AT_A_TIME);
        client.send(some.clone().map(|number| get("/", &fields(number))).collect::<String>());
        some.for_each(|_| assert_eq!(client.response().status(), status));
    }
}

#[test]
fn bad_tokens_and_keys_leave_no_memory_taken_and_good_ones_known() {
    let _heavy = HeavyLoad::begin();
    let origin = Origin::echo();
    let jwt = format!("{JWT}[jwt.rsa]\nalgorithms = [\"RS256\"]\npublic_key = \"file:key.pem\"\n");
    let route = "auth = [\"jwt:main\", \"jwt:rsa\", \"key\"]\n";
    let gateway = Gateway::builder()
        .file("key.pem", &pem("PUBLIC KEY", &spki(RS256)))
        .start(&format!("{jwt}{ALICE}[log]\naccess = \"off\"\n{}", route_to(&origin, route)));
    let body = |number: usize, bytes: usize| {
        b64(claims(json!({ "jti": number, "pad": "x".repeat(bytes) })).to_string())
    };
    let header = |alg| b64(json!({ "alg": alg }).to_string());
    let of =
        |alg, number, bytes| bearer(&format!("{}.{}.{}", header(alg), body(number, bytes), b64([7; 32])));
    let good = bearer(&token(json!({})));
    let all_kinds = |count: usize| {
        flood(&gateway, 0..count, 401, |number| of("HS256", number, 200));
        flood(&gateway, 0..count / 10, 401, |number| of("RS256", number, 200));
        flood(&gateway, 0..count / 10, 401, |number| of("HS256", number, 5800));
        flood(&gateway, 0..count / 10, 401, |number| of("HS256", number, 6800));
        flood(&gateway, 0..count / 2, 401, |number| key(&format!("guess-{number}")));
    };
    all_kinds(500);
    let before = gateway.resident_kib();
    assert_eq!(gateway.exchange(get("/", &good)).status(), 200);
    all_kinds(20_000);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} KiB more");
    assert_eq!(gateway.exchange(get("/", &good)).status(), 200);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn good_tokens_that_are_remembered_have_a_bound() {
    let _heavy = HeavyLoad::begin();
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let gateway = Gateway::start(&format!(
        "{JWT}[log]\naccess = \"off\"\n{}",
        route_to(&origin, "auth = [\"jwt:main\"]")
    ));
    let token = |number: usize| {
        let claims = claims(json!({ "jti": number, "pad": "x".repeat(4000) }));
        bearer(&text(sign::usual(HS256, &claims)))
    };
    flood(&gateway, 0..200, 204, token);
    let before = gateway.resident_kib();
    flood(&gateway, 200..6000, 204, token);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 32 * MIB, "{grown} KiB more");
}
