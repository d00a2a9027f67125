//! Tokens that come in, and those that do not, through a real configuration.

use aws_lc_rs::hmac;
use jsonwebtoken::Algorithm::{self, ES256, EdDSA, HS256, RS256};
use serde_json::{Value, json};

use super::sign::{self, b64, jwk, pem, spki, usual};
use super::{ALICE, JWT, bearer, claims, get, refusal, refused, route_to, text, token, unix_now};
use crate::support::{DEADLINE, Gateway, Origin, proxy_with};

const AUTH: &str = "auth = [\"jwt:main\"]\n";
const BEARER: &str = "Bearer realm=\"ringway\"";
const INVALID: &str = "Bearer realm=\"ringway\", error=\"invalid_token\"";
const EXPIRED: &str =
    "Bearer realm=\"ringway\", error=\"invalid_token\", error_description=\"The token expired\"";

fn gateway(origin: &Origin, jwt: &str) -> Gateway {
    Gateway::start(&format!("{jwt}{}", route_to(origin, AUTH)))
}

/// A gateway that takes tokens of the tests' public key for this algorithm, from a PEM file.
fn with_public_key(origin: &Origin, algorithm: Algorithm, more: &str) -> Gateway {
    let jwt = format!("[jwt.main]\nalgorithms = [\"{algorithm:?}\"]\npublic_key = \"file:key.pem\"\n{more}");
    let key = pem("PUBLIC KEY", &spki(algorithm));
    Gateway::builder().file("key.pem", &key).start(&format!("{jwt}{}", route_to(origin, AUTH)))
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.exchange(get("/", &bearer(token))).status()
}

fn reason(gateway: &Gateway, token: &str) -> (u16, String) {
    refusal(&gateway.exchange(get("/", &bearer(token))))
}

fn invalid() -> (u16, String) {
    refused(401, "invalid_token")
}

#[test]
fn a_token_of_each_kind_comes_in_and_that_of_another_key_does_not() {
    let origin = Origin::echo();
    for algorithm in [HS256, RS256, ES256, EdDSA] {
        let gateway = match algorithm {
            HS256 => gateway(&origin, JWT),
            _ => with_public_key(&origin, algorithm, ""),
        };
        let good = text(usual(algorithm, &claims(json!({}))));
        assert_eq!(status(&gateway, &good), 200, "{algorithm:?}");
        let message = good.rsplit_once('.').expect("three parts").0;
        for signature in [b64([0; 64]), b64(vec![7; 256]), String::new(), "AA".into()] {
            assert_eq!(reason(&gateway, &format!("{message}.{signature}")), invalid(), "{algorithm:?}");
        }
        for other in [HS256, RS256, ES256, EdDSA].into_iter().filter(|other| *other != algorithm) {
            assert_eq!(reason(&gateway, &text(usual(other, &claims(json!({}))))), invalid(), "{algorithm:?}");
        }
    }
}

#[test]
fn what_was_refused_is_said_with_its_challenge_and_nothing_of_why() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, JWT);
    let expired = token(json!({ "exp": unix_now() - 61 }));
    let wrong = text(sign::hs256(b"another secret, of 32 bytes or more", &claims(json!({}))));
    for (fields, reason, error, challenge) in [
        (String::new(), "no_credentials", "No token provided", BEARER),
        ("Authorization: Basic YTpi\r\n".into(), "no_credentials", "No token provided", BEARER),
        ("Authorization: Bearer\r\n".into(), "no_credentials", "No token provided", BEARER),
        (bearer("x"), "invalid_token", "Invalid token", INVALID),
        (bearer(&wrong), "invalid_token", "Invalid token", INVALID),
        (bearer(&expired), "token_expired", "Token expired", EXPIRED),
    ] {
        let answer = gateway.exchange(get("/", &fields));
        assert_eq!(refusal(&answer), refused(401, reason), "{fields}");
        assert_eq!(answer.field("www-authenticate"), Some(challenge));
        let said = answer.json();
        assert_eq!((&said["error"], said.get("detail")), (&error.into(), None));
        gateway.wait_for_log(|line| line["reason"] == reason && line["status"] == 401);
    }
    assert_eq!(origin.connections(), 0);
    gateway.wait_for_metric("ringway_requests_total", "reason=\"invalid_token\"", |count| count == 2.0);
    let head = gateway.connect().send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n").response_to("HEAD");
    assert_eq!((head.status(), head.field("www-authenticate")), (401, Some(BEARER)));
}

#[test]
fn time_issuer_and_audience_are_held_against_the_configuration() {
    let origin = Origin::echo();
    let rules = "issuer = \"https://id.example.com\"\naudience = [\"api\", \"web\"]\nleeway = \"10s\"\n";
    let gateway = gateway(&origin, &format!("{JWT}{rules}"));
    let of = |more: Value| {
        let mut all = json!({ "iss": "https://id.example.com", "aud": "api" });
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        reason_or_in(&gateway, &token(all))
    };
    let now = unix_now();
    for good in [
        json!({}),
        json!({ "aud": ["other", "web"] }),
        json!({ "nbf": now - 5 }),
        json!({ "exp": now + 600, "iat": now + 500 }),
        json!({ "exp": (now + 600) as f64 + 0.5 }),
    ] {
        assert_eq!(of(good.clone()), "in", "{good}");
    }
    for bad in [
        json!({ "iss": "https://id.example.com/" }),
        json!({ "iss": null }),
        json!({ "iss": ["https://id.example.com"] }),
        json!({ "aud": "apis" }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "aud": ["api", 1] }),
        json!({ "nbf": now + 600 }),
        json!({ "nbf": "0" }),
        json!({ "exp": null }),
        json!({ "exp": (now + 600).to_string() }),
        json!({ "exp": -1 }),
    ] {
        assert_eq!(of(bad.clone()), "invalid_token", "{bad}");
    }
    assert_eq!(of(json!({ "exp": now - 11 })), "token_expired");
    assert_eq!(of(json!({ "exp": now - 11, "aud": "other" })), "invalid_token", "first what is worse");
}

fn reason_or_in(gateway: &Gateway, token: &str) -> String {
    let answer = gateway.exchange(get("/", &bearer(token)));
    if answer.status() == 200 { "in".into() } else { refusal(&answer).1 }
}

#[test]
fn no_header_parameter_talks_the_gateway_into_anything() {
    let origin = Origin::echo();
    let set = json!({ "keys": [jwk(RS256, json!({ "kid": "one", "alg": "RS256" }))] });
    let jwt = "[jwt.main]\nalgorithms = [\"RS256\"]\njwks = \"file:set.json\"\n";
    let gateway = Gateway::builder()
        .file("set.json", &set.to_string())
        .start(&format!("{jwt}{}", route_to(&origin, AUTH)));
    let body = claims(json!({})).to_string();
    let signed = |header: Value| text(sign::token(RS256, &header.to_string(), &body));
    for good in [json!({ "alg": "RS256", "kid": "one" }), json!({ "alg": "RS256", "typ": "at+jwt" })] {
        assert_eq!(status(&gateway, &signed(good.clone())), 200, "{good}");
    }
    for bad in [
        json!({ "alg": "RS256", "kid": "two" }),
        json!({ "alg": "RS256", "kid": 1 }),
        json!({ "alg": "RS256", "kid": "" }),
        json!({ "alg": "RS256", "kid": "one", "crit": ["exp"] }),
        json!({ "alg": "RS256", "kid": "one", "crit": [] }),
        json!({ "alg": "RS256", "kid": "one", "b64": false }),
        json!({ "alg": "RS256", "kid": "one", "zip": "DEF" }),
        json!({ "alg": "RS256", "kid": "one", "jku": format!("{}/jwks.json", origin.url()) }),
        json!({ "alg": "RS256", "kid": "one", "x5u": format!("{}/chain.pem", origin.url()) }),
        json!({ "alg": "RS256", "kid": "one", "jwk": jwk(RS256, json!({})) }),
        json!({ "alg": "RS256", "kid": "one", "cty": "JWT" }),
        json!({ "alg": "rs256", "kid": "one" }),
        json!({ "alg": ["RS256"], "kid": "one" }),
        json!({ "kid": "one" }),
    ] {
        assert_eq!(reason(&gateway, &signed(bad.clone())), invalid(), "{bad}");
    }
    let twice = text(sign::token(RS256, r#"{"alg":"none","alg":"RS256","kid":"one"}"#, &body));
    assert_eq!(reason(&gateway, &twice), invalid());
    let claims_twice = body.replacen('{', r#"{"sub":"root","#, 1);
    let twice = text(sign::token(RS256, r#"{"alg":"RS256","kid":"one"}"#, &claims_twice));
    assert_eq!(reason(&gateway, &twice), invalid());
    assert_eq!(origin.requests().len(), 2, "nothing is fetched from where a token points");
}

#[test]
fn none_is_never_an_algorithm_and_a_public_key_never_a_secret() {
    let origin = Origin::echo();
    let gateway = with_public_key(&origin, RS256, "");
    let body = b64(claims(json!({})).to_string());
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let message = format!("{}.{body}", b64(json!({ "alg": alg }).to_string()));
        for token in [format!("{message}."), message.clone(), format!("{message}.AA")] {
            assert_eq!(reason(&gateway, &token), invalid(), "{alg}");
        }
    }
    let der = spki(RS256);
    let texts = [pem("PUBLIC KEY", &der), pem("PUBLIC KEY", &der).trim_end().to_owned()];
    for secret in texts.iter().map(String::as_bytes).chain([&der[..]]) {
        for (name, kind) in
            [("HS256", hmac::HMAC_SHA256), ("RS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)]
        {
            let message = format!("{}.{body}", b64(json!({ "alg": name }).to_string()));
            let tag = hmac::sign(&hmac::Key::new(kind, secret), message.as_bytes());
            assert_eq!(reason(&gateway, &format!("{message}.{}", b64(tag))), invalid(), "{name}");
        }
    }
}

#[test]
fn oversized_and_malformed_tokens_are_refused_in_every_place() {
    let origin = Origin::echo();
    let from = "from = [\"header:authorization\", \"cookie:sid\", \"query:token\"]\n";
    let gateway = gateway(&origin, &format!("{JWT}{from}"));
    let padded = |bytes: usize| token(json!({ "pad": "x".repeat(bytes) }));
    let small = padded(5000);
    assert!(small.len() < 8192);
    assert_eq!(status(&gateway, &small), 200);
    let big = padded(6200);
    assert!(big.len() > 8192, "well signed, but too long");
    let good = token(json!({}));
    let bad = [&big[..], "a.b.c", "..", ".", "a", "%00", &good[..good.len() - 1], &good[1..]];
    let longer = format!("{good}.x");
    let (padded, spaced) = (format!("{good}="), good.replacen('.', " .", 1));
    for token in bad.into_iter().chain([&longer[..], &padded, &spaced]) {
        assert_eq!(reason(&gateway, token), invalid(), "{token}");
        let cookie = gateway.exchange(get("/", &format!("Cookie: a=b; sid={token}\r\n")));
        assert_eq!(refusal(&cookie), invalid(), "{token}");
        if !token.contains(' ') {
            assert_eq!(refusal(&gateway.get(&format!("/?a=b&token={token}"))), invalid(), "{token}");
        }
    }
    assert_eq!(status(&gateway, &good), 200);
}

#[test]
fn two_tokens_in_one_place_are_refused_and_the_first_place_counts() {
    let origin = Origin::echo();
    let from = "from = [\"header:authorization\", \"cookie:sid\", \"query:token\"]\n";
    let gateway = gateway(&origin, &format!("{JWT}{from}"));
    let good = token(json!({}));
    let other = text(sign::hs256(b"another secret, of 32 bytes or more", &claims(json!({}))));
    for (first, second) in [(&good, &other), (&other, &good), (&good, &good)] {
        let two = [
            get("/", &(bearer(first) + &bearer(second))),
            get("/", &format!("{}Authorization: Basic YTpi\r\n", bearer(first))),
            get("/", &format!("Cookie: sid={first}; sid={second}\r\n")),
            get("/", &format!("Cookie: sid={first}\r\nCookie: sid={second}\r\n")),
            get(&format!("/?token={first}&token={second}"), ""),
            get(&format!("/?token={first}&%74oken={second}"), ""),
        ];
        for request in two {
            assert_eq!(refusal(&gateway.exchange(&request)), invalid(), "{request}");
        }
    }
    let places = |header: &str, cookie: &str, query: &str| {
        gateway
            .exchange(get(
                &format!("/?token={query}"),
                &format!("{}Cookie: sid={cookie}\r\n", bearer(header)),
            ))
            .status()
    };
    assert_eq!(places(&good, &other, &other), 200);
    assert_eq!(places(&other, &good, &good), 401, "a wrong one is not passed by for another");
    assert_eq!(gateway.exchange(get(&format!("/?token={good}"), "Cookie: sid=\r\n")).status(), 200);
}

#[test]
fn any_of_the_methods_lets_in_and_the_refusal_names_them_all() {
    let origin = Origin::echo();
    let other = "[jwt.other]\nalgorithms = [\"HS256\"]\nsecret = \"the secret of the other, 32 bytes or more\"\nheaders = { sub = \"x-other\" }\n";
    let main = "headers = { sub = \"x-main\" }\n";
    let auth = "auth = [\"jwt:main\", \"jwt:other\", \"key\"]\n";
    let gateway = Gateway::start(&format!("{JWT}{main}{other}{ALICE}{}", route_to(&origin, auth)));
    let of_other =
        text(sign::hs256(b"the secret of the other, 32 bytes or more", &claims(json!({ "sub": "zoe" }))));
    let wrong = text(sign::hs256(b"nobody's secret at all, of 32 bytes", &claims(json!({}))));
    let ask = |fields: String| gateway.exchange(get("/", &fields));
    let echoed = ask(bearer(&of_other)).echoed();
    assert_eq!(
        (echoed.field("x-other"), echoed.has("x-main"), echoed.has("x-consumer-name")),
        (Some("zoe"), false, false)
    );
    let echoed = ask(bearer(&wrong) + &super::key("alices-key")).echoed();
    assert_eq!((echoed.field("x-consumer-name"), echoed.has("x-other")), (Some("alice"), false));
    assert_eq!(ask(bearer(&token(json!({}))) + &super::key("wrong")).status(), 200);

    let nothing = ask(String::new());
    assert_eq!(nothing.all("www-authenticate"), [BEARER, "Key realm=\"ringway\""]);
    let expired = ask(bearer(&token(json!({ "exp": unix_now() - 100 }))) + &super::key("wrong"));
    assert_eq!(refusal(&expired), refused(401, "token_expired"));
    assert_eq!(expired.all("www-authenticate"), [EXPIRED, "Key realm=\"ringway\""]);
    let wrong_key = ask(super::key("wrong"));
    assert_eq!(refusal(&wrong_key), refused(401, "invalid_api_key"));
    assert_eq!(wrong_key.json()["error"], "Invalid API key");
    assert_eq!(wrong_key.all("www-authenticate"), [BEARER, "Key realm=\"ringway\""]);
}

#[test]
fn a_remembered_token_ends_at_exp_and_leeway() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, &format!("{JWT}leeway = \"1s\"\n"));
    let token = token(json!({ "exp": unix_now() + 1 }));
    let mut client = gateway.connect();
    assert_eq!(client.exchange(get("/", &bearer(&token))).status(), 200);
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        let answer = client.exchange(get("/", &bearer(&token)));
        if answer.status() != 200 {
            assert_eq!(refusal(&answer), refused(401, "token_expired"));
            break;
        }
        assert!(std::time::Instant::now() < until, "it never ends");
    }
}

#[test]
fn a_token_goes_on_living_on_a_route_without_auth_untouched() {
    let origin = Origin::echo();
    let toml = format!("{JWT}forward = false\n{}", proxy_with(&[&origin.url()], "", ""));
    let gateway = Gateway::start(&toml);
    let fields = gateway.exchange(get("/", &bearer("anything"))).echoed();
    assert_eq!(
        fields.field("authorization"),
        Some("Bearer anything"),
        "no auth, no business of the gateway's"
    );
}
