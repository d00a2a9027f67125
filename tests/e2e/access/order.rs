//! The order of a route's policies, seen by which of them answers.

use serde_json::json;

use super::{BOB, JWT, bearer, get, key, refusal, refused, route_to, token};
use crate::support::{Gateway, Origin};

const APP: &str = "Origin: https://app.example.com\r\n";
const PREFLIGHT: &str = "OPTIONS / HTTP/1.1\r\nHost: t\r\nOrigin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n\r\n";

/// Policies in their order, each of which would refuse a request; a gateway with all but the first `passed`.
fn gateway(origin: &Origin, passed: usize) -> Gateway {
    let policies = [
        "ip = { deny = [\"127.0.0.0/8\"] }\n",
        "require = { groups = [\"gold\"] }\n",
        "[[route.rate_limit]]\nrate = \"1/hour\"\nburst = 1\nmode = \"local\"\nby = \"route\"\n",
    ];
    let always = "cors = { origins = [\"https://app.example.com\"] }\nauth = [\"jwt:main\", \"key\"]\nscripts = [\"a.rhai\"]\n";
    let toml = format!("{JWT}{BOB}{}", route_to(origin, &format!("{always}{}", policies[passed..].concat())));
    let script = "fn on_request(req) { counter(\"ran\").add(1); respond(403, #{ reason: \"script_denied\" }, #{ \"content-type\": \"application/problem+json\" }) }";
    Gateway::builder().file("scripts/a.rhai", script).start(&toml)
}

#[test]
fn ip_then_cors_then_auth_then_require_then_limits_then_scripts() {
    let origin = Origin::echo();
    let known = key("bobs-key");

    let all = gateway(&origin, 0);
    for request in [PREFLIGHT.to_owned(), get("/", APP), get("/", &bearer("wrong")), get("/", &known)] {
        assert_eq!(refusal(&all.exchange(&request)), refused(403, "ip_denied"), "{request}");
    }

    let from_cors_on = gateway(&origin, 1);
    assert_eq!(from_cors_on.exchange(PREFLIGHT).status(), 204);
    assert_eq!(refusal(&from_cors_on.get("/")), refused(401, "no_credentials"));
    assert_eq!(refusal(&from_cors_on.exchange(get("/", &bearer("wrong")))), refused(401, "invalid_token"));
    for _ in 0..3 {
        assert_eq!(refusal(&from_cors_on.exchange(get("/", &known))), refused(403, "forbidden"));
    }

    let from_limits_on = gateway(&origin, 2);
    for _ in 0..3 {
        assert_eq!(refusal(&from_limits_on.get("/")).0, 401, "who is not known costs nothing of the limit");
    }
    assert_eq!(refusal(&from_limits_on.exchange(get("/", &known))), refused(403, "script_denied"));
    assert_eq!(refusal(&from_limits_on.exchange(get("/", &known))), refused(429, "rate_limited"));
    assert_eq!(
        refusal(&from_limits_on.exchange(get("/", &bearer(&token(json!({})))))),
        refused(429, "rate_limited")
    );
    from_limits_on.wait_for_metric("ringway_script_counter", "name=\"ran\"", |ran| ran == 1.0);
    assert!(origin.requests().is_empty());
}

#[test]
fn a_limit_before_auth_counts_guesses_but_neither_the_denied_nor_preflights() {
    let origin = Origin::echo();
    let more = "cors = { origins = [\"https://app.example.com\"] }\nauth = [\"key\"]\n\
                [[route.rate_limit]]\nrate = \"2/hour\"\nmode = \"local\"\nby = \"ip\"\nbefore_auth = true\n";
    let gateway = Gateway::start(&format!("{BOB}{}", route_to(&origin, more)));
    for _ in 0..3 {
        assert_eq!(gateway.exchange(PREFLIGHT).status(), 204);
    }
    assert_eq!(refusal(&gateway.exchange(get("/", &key("guess-1")))).0, 401);
    assert_eq!(refusal(&gateway.exchange(get("/", &key("guess-2")))).0, 401);
    assert_eq!(refusal(&gateway.exchange(get("/", &key("bobs-key")))), refused(429, "rate_limited"));
}
