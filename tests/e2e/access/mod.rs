//! Who may come in, end to end: addresses, pages of other origins, tokens, keys, and what the upstream hears of it.

// Shared with the unit tests, which use the rest of it.
#[allow(dead_code)]
#[path = "../../../src/auth/tests/sign.rs"]
mod sign;

mod connections;
mod consumers;
mod cors;
mod flood;
mod ip;
mod key_sets;
mod keys;
mod order;
mod places;
mod reload;
mod secrets;
mod tokens;

use std::time::SystemTime;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::{Message, Origin, proxy_with};

/// Tokens signed with the tests' secret.
const JWT: &str =
    "[jwt.main]\nalgorithms = [\"HS256\"]\nsecret = \"a secret of the tests, of 32 bytes or more\"\n";
const ALICE: &str = "[[consumer]]\nname = \"alice\"\ngroups = [\"gold\", \"beta\"]\npermissions = [\"read\"]\napi_keys = [\"alices-key\"]\n";
const BOB: &str = "[[consumer]]\nname = \"bob\"\napi_keys = [\"bobs-key\"]\n";

/// Everything goes to the origin; `more` are further keys of the route.
fn route_to(origin: &Origin, more: &str) -> String {
    proxy_with(&[&origin.url()], "", more)
}

/// A `GET` of this target with further field lines, each with its line end.
fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: t\r\n{fields}\r\n")
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Alice's claims for the next minutes, and `more`.
fn claims(more: Value) -> Value {
    let mut claims = json!({ "sub": "alice", "exp": unix_now() + 600 });
    claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    claims
}

/// A token that [`JWT`] takes, with `more` claims.
fn token(more: Value) -> String {
    text(sign::usual(Algorithm::HS256, &claims(more)))
}

fn text(token: Vec<u8>) -> String {
    String::from_utf8(token).expect("a token is ASCII")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn key(key: &str) -> String {
    format!("X-API-Key: {key}\r\n")
}

/// Status, and the `reason` of the problem document.
fn refusal(answer: &Message) -> (u16, String) {
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    (answer.status(), answer.json()["reason"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}
