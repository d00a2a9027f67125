//! Where tokens stand, and that upstreams do not see them with `forward = false`.

use serde_json::json;

use super::{ALICE, JWT, bearer, get, key, route_to, token};
use crate::support::{Gateway, Origin, proxy_with};

const AUTH: &str = "auth = [\"jwt:main\"]\n";
const FROM: &str = "forward = false\nfrom = [\"header:authorization\", \"header:x-token\", \"cookie:sid\", \"query:token\"]\n";

#[test]
fn a_token_that_stays_here_leaves_every_place_and_all_else_as_it_was() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&format!("{JWT}{FROM}{}", route_to(&origin, AUTH)));
    let token = token(json!({}));
    for (target, fields, left_target, left_cookies) in [
        ("/a?b=1", bearer(&token), "/a?b=1", vec![]),
        ("/a?b=%20+&c", format!("X-Token: {token}\r\n"), "/a?b=%20+&c", vec![]),
        ("/a", format!("Cookie: a=1; sid={token}; b=2\r\n"), "/a", vec!["a=1; b=2"]),
        ("/a", format!("Cookie: a=1\r\nCookie: sid={token}\r\ncookie: b=2\r\n"), "/a", vec!["a=1", "b=2"]),
        ("/a", format!("Cookie: sid={token}\r\n"), "/a", vec![]),
        (&format!("/a?token={token}"), String::new(), "/a", vec![]),
        (&format!("/a?b=1&%74oken={token}&c=2"), String::new(), "/a?b=1&c=2", vec![]),
        (
            "/a?token=x&b=1",
            format!("{}X-Token: x\r\nCookie: sid=x; a=1\r\n", bearer(&token)),
            "/a?b=1",
            vec!["a=1"],
        ),
    ] {
        let echoed = gateway.exchange(get(target, &fields)).echoed();
        assert_eq!(echoed.target(), left_target, "{target} {fields}");
        assert_eq!(echoed.all("cookie"), left_cookies, "{fields}");
        assert!(!echoed.has("authorization") && !echoed.has("x-token"));
    }
    let basic = gateway.exchange(get(&format!("/?token={token}"), "Authorization: Basic YTpi\r\n")).echoed();
    assert_eq!(basic.field("authorization"), Some("Basic YTpi"), "no token, so it goes on");
}

#[test]
fn it_leaves_the_query_whatever_becomes_of_the_path() {
    let origin = Origin::echo();
    let token = token(json!({}));
    let script =
        "fn on_request(req) { req.path = \"/set\"; req.query.b = \"2\"; log(\"sees \" + req.query); }";
    for (more, target) in [
        ("strip_prefix = true", "/x?b=1&c=3"),
        ("rewrite = \"/v2/{rest}\"", "/v2/x?b=1&c=3"),
        ("scripts = [\"a.rhai\"]", "/set?b=2&c=3"),
    ] {
        let toml = format!(
            "{JWT}{FROM}[upstream.origin]\ntargets = [\"{}\"]\n\
             [[route]]\nname = \"api\"\npath = \"/api/{{*rest}}\"\nupstream = \"origin\"\n{AUTH}{more}\n",
            origin.url()
        );
        let toml = if more.starts_with("strip") { toml.replace("{*rest}", "*") } else { toml };
        let gateway = Gateway::builder().file("scripts/a.rhai", script).start(&toml);
        let echoed = gateway.exchange(get(&format!("/api/x?b=1&token={token}&c=3"), "")).echoed();
        assert_eq!(echoed.target(), target);
        assert!(
            gateway.stderr.all().iter().all(|line| !line.contains(&token)),
            "scripts do not see it either"
        );
    }
}

#[test]
fn a_redirect_does_not_take_it_along() {
    let route = "[[route]]\nname = \"old\"\npath = \"/old/{*rest}\"\nredirect = { to = \"https://new.example/{rest}\" }\n";
    let token = token(json!({}));
    let target = format!("/old/x?b=1&token={token}");
    let gateway = Gateway::start(&format!("{JWT}{FROM}{route}{AUTH}"));
    assert_eq!(gateway.get("/old/x").status(), 401);
    assert_eq!(gateway.get(&target).field("location"), Some("https://new.example/x?b=1"));
    let only = gateway.get(&format!("/old/x?token={token}"));
    assert_eq!(only.field("location"), Some("https://new.example/x"));
    let forwarding = Gateway::start(&format!("{JWT}from = [\"query:token\"]\n{route}{AUTH}"));
    let all = format!("https://new.example/x?b=1&token={token}");
    assert_eq!(forwarding.get(&target).field("location"), Some(&*all));
}

#[test]
fn an_unverified_token_does_not_go_on_beside_a_key_that_lets_in() {
    let origin = Origin::echo();
    for auth in ["auth = [\"jwt:main\", \"key\"]", "auth = [\"key\", \"jwt:main\"]"] {
        let gateway = Gateway::start(&format!("{JWT}{FROM}{ALICE}{}", route_to(&origin, auth)));
        let fields = format!("{}{}Cookie: a=1; sid=forged\r\n", bearer("a.forged.one"), key("alices-key"));
        let echoed = gateway.exchange(get("/?token=forged&b=1", &fields)).echoed();
        assert!(!String::from_utf8_lossy(&echoed.head).contains("forged"), "{auth}");
        assert_eq!((echoed.field("cookie"), echoed.target()), (Some("a=1"), "/?b=1"));
        assert_eq!(echoed.field("x-consumer-name"), Some("alice"));
    }
}

#[test]
fn by_default_a_token_goes_on_as_it_came() {
    let origin = Origin::echo();
    let toml = format!("{JWT}from = [\"query:token\"]\n{}", proxy_with(&[&origin.url()], "", AUTH));
    let gateway = Gateway::start(&toml);
    let target = format!("/a?b=1&token={}", token(json!({})));
    assert_eq!(gateway.get(&target).echoed().target(), target);
    assert_eq!(gateway.get("/a?token=").status(), 401);
}

#[test]
fn what_is_found_in_a_query_or_cookie_is_what_is_removed_there() {
    let origin = Origin::echo();
    let jwt = format!("{JWT}forward = false\nfrom = [\"query:a token\", \"query:t+k\", \"cookie:sid\"]\n");
    let gateway = Gateway::start(&format!("{jwt}{}", route_to(&origin, AUTH)));
    let token = token(json!({}));
    let targets = ["a+token", "a%20token", "%61+token", "t%2Bk", "%74%2bk"];
    let mut requests: Vec<_> = targets.map(|name| get(&format!("/?x=1&{name}={token}"), "")).to_vec();
    let cookies = ["sid=", " sid=", "a=1;sid=", "a=1;\tsid="];
    requests.extend(cookies.map(|before| get("/?x=1", &format!("Cookie: {before}{token}\r\n"))));
    for request in requests {
        let answer = gateway.exchange(&request);
        assert_eq!(answer.status(), 200, "{request}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(&token), "{request}");
        assert_eq!(answer.echoed().target(), "/?x=1");
    }
}
