//! API keys.

use super::{ALICE, BOB, bearer, get, key, refusal, refused, route_to};
use crate::support::{Gateway, Origin};

const AUTH: &str = "auth = [\"key\"]\n";
/// SHA-256 of `test`.
const HASHED: &str = "sha256:9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn gateway(origin: &Origin, before: &str) -> Gateway {
    Gateway::start(&format!("{before}{ALICE}{BOB}{}", route_to(origin, AUTH)))
}

fn invalid() -> (u16, String) {
    refused(401, "invalid_api_key")
}

#[test]
fn a_key_tells_who_is_calling_and_others_are_refused() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, &format!("[[consumer]]\nname = \"carol\"\napi_keys = [\"{HASHED}\"]\n"));
    for (sent, name) in [("alices-key", "alice"), ("bobs-key", "bob"), ("test", "carol")] {
        let echoed = gateway.exchange(get(&format!("/{name}"), &key(sent))).echoed();
        assert_eq!(echoed.field("x-consumer-name"), Some(name));
        assert_eq!(echoed.field("x-api-key"), Some(sent), "the key goes on as it was sent");
        assert_eq!(gateway.log_of(&format!("/{name}"))["consumer"], name);
    }
    let long = "k".repeat(513);
    for wrong in [
        "alices-ke",
        "alices-keyy",
        "ALICES-KEY",
        "alices-key, bobs-key",
        HASHED,
        &HASHED[7..],
        "\u{e9}",
        &long,
    ] {
        let answer = gateway.exchange(get("/", &key(wrong)));
        assert_eq!(refusal(&answer), invalid(), "{wrong}");
        assert_eq!(answer.field("www-authenticate"), Some("Key realm=\"ringway\""));
    }
}

#[test]
fn two_keys_are_refused_and_an_empty_one_is_none() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "");
    for (first, second) in
        [("alices-key", "bobs-key"), ("alices-key", "alices-key"), ("", "alices-key"), ("alices-key", "")]
    {
        let answer = gateway.exchange(get("/", &(key(first) + &key(second))));
        assert_eq!(refusal(&answer), invalid(), "{first:?} {second:?}");
    }
    for fields in [key(""), String::new(), bearer("alices-key"), "X_API_Key: alices-key\r\n".into()] {
        let answer = gateway.exchange(get("/?x-api-key=alices-key", &fields));
        assert_eq!(refusal(&answer), refused(401, "no_credentials"), "{fields}");
        assert_eq!(answer.json()["error"], "No token provided");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn the_header_can_have_another_name_and_the_query_be_looked_at() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "[api_keys]\nheader = \"X-Token\"\nquery = \"api_key\"\n");
    let status = |target: &str, fields: &str| gateway.exchange(get(target, fields)).status();
    assert_eq!(status("/", "x-token: alices-key\r\n"), 200);
    assert_eq!(status("/", &key("alices-key")), 401);
    assert_eq!(status("/?a=1&api_key=alices-key", ""), 200);
    assert_eq!(status("/?a=1&api%5Fkey=alices%2Dkey", ""), 200);
    assert_eq!(status("/?API_KEY=alices-key", ""), 401);
    assert_eq!(status("/?api_key=alices-key&api_key=bobs-key", ""), 401);
    assert_eq!(status("/?api_key=bobs-key", "X-Token: wrong\r\n"), 401, "the header is looked at first");
    let both = gateway.exchange(get("/?api_key=wrong", "X-Token: alices-key\r\n"));
    assert_eq!(both.echoed().field("x-consumer-name"), Some("alice"));
    assert_eq!(gateway.log_of("/")["path"], "/", "without the query");
    assert!(gateway.stdout.all().iter().all(|line| !line.contains("alices-key")));
}
