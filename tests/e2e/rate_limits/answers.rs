//! Whose requests are counted together, and what responses say of it.

use super::{get, limited, passing};
use crate::support::{DRIVERS, Gateway, Origin, proxy_with};

#[test]
fn a_refusal_is_a_429_that_says_when_to_come_back() {
    for driver in DRIVERS {
        let toml = limited("api", &["rate = \"2/min\"\nby = \"ip\""]);
        let gateway = Gateway::with_driver(driver, &toml);
        let first = get(&gateway, "/api", "");
        assert_eq!((first.status(), first.field("x-ratelimit-limit")), (200, Some("2")));
        assert_eq!(first.field("x-ratelimit-remaining"), Some("1"));
        assert!(first.has("x-ratelimit-reset") && !first.has("retry-after"));
        get(&gateway, "/api", "");
        let refused = get(&gateway, "/api", "");
        assert_eq!((refused.status(), refused.field("x-ratelimit-remaining")), (429, Some("0")));
        let seconds: u64 = refused.field("retry-after").expect("it says when").parse().expect("seconds");
        assert!((1..=30).contains(&seconds), "{seconds}");
        let problem = refused.json();
        assert_eq!(problem["reason"], "rate_limited");
        assert_eq!(problem["error"], "Rate limit exceeded");
        assert_eq!(problem["retryAfter"], seconds);
        let logged = gateway.wait_for_log(|line| line["status"] == 429);
        assert_eq!((&logged["reason"], &logged["route"]), (&"rate_limited".into(), &"api".into()));
        let labels = "route=\"api\",limit=\"api-1\",result=\"limited\"";
        gateway.wait_for_metric("ringway_rate_limit_requests_total", labels, |n| n == 1.0);
    }
}

#[test]
fn every_dialect_has_its_fields() {
    let limit = |headers: &str| format!("rate = \"5/min\"\nby = \"ip\"\nheaders = \"{headers}\"");
    let routes = ["ietf", "kong", "off"].map(|name| limited(name, &[&limit(name)]));
    let gateway = Gateway::start(&routes.concat());
    let ietf = get(&gateway, "/ietf", "");
    assert!(ietf.field("ratelimit-policy").is_some_and(|policy| policy.contains("q=5")), "{ietf:?}");
    assert!(ietf.field("ratelimit").is_some_and(|limit| limit.contains("r=4")), "{ietf:?}");
    let kong = get(&gateway, "/kong", "");
    assert_eq!(kong.field("x-ratelimit-limit-minute"), Some("5"));
    assert_eq!(kong.field("x-ratelimit-remaining-minute"), Some("4"));
    assert_eq!((kong.field("ratelimit-limit"), kong.field("ratelimit-remaining")), (Some("5"), Some("4")));
    let off = get(&gateway, "/off", "");
    assert!(!["x-ratelimit-limit", "ratelimit", "ratelimit-limit"].iter().any(|name| off.has(name)));
}

#[test]
fn a_proxied_response_tells_of_the_limit_in_place_of_what_the_origin_says() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 99\r\nContent-Length: 2\r\n\r\nok");
    let limit = "rate_limit = [{ rate = \"5/min\", by = \"ip\" }]";
    let gateway = Gateway::start(&proxy_with(&[&origin.url()], "", limit));
    let answer = get(&gateway, "/", "");
    assert_eq!((answer.text(), answer.all("x-ratelimit-limit")), ("ok", vec!["5"]));
}

#[test]
fn requests_are_counted_by_what_the_limit_names_and_else_by_their_address() {
    let by_header = limited("header", &["rate = \"2/hour\"\nby = \"header:x-tenant\""]);
    let by_ip = limited("ip", &["rate = \"2/hour\"\nby = \"ip\""]);
    let server = "trusted_proxies = [\"127.0.0.1\"]";
    let gateway = Gateway::builder().server(server).start(&(by_header + by_ip.as_str()));
    for tenant in ["X-Tenant: a\r\n", "X-Tenant: b\r\n", ""] {
        assert_eq!(passing(&gateway, "/header", tenant, 4), 2, "{tenant}");
    }
    for address in ["192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1"] {
        assert_eq!(passing(&gateway, "/ip", &format!("X-Forwarded-For: {address}\r\n"), 4), 2, "{address}");
    }
    // The same 64 bits.
    assert_eq!(get(&gateway, "/ip", "X-Forwarded-For: 2001:db8:0:1:2:3:4:5\r\n").status(), 429);
}

const CONSUMERS: &str = "
[[consumer]]
name = \"alice\"
api_keys = [\"key-a\"]
limits = { api = \"6/hour\" }
[[consumer]]
name = \"bob\"
groups = [\"gold\"]
api_keys = [\"key-b\"]
[[consumer]]
name = \"carol\"
api_keys = [\"key-c\"]
[group.gold]
limits = { api = \"4/hour\" }
";

#[test]
fn a_consumers_own_rate_goes_before_its_groups_and_that_before_the_limits() {
    let route = limited("api", &["name = \"api\"\nrate = \"2/hour\""])
        .replace("respond", "auth = [\"key\"]\nrespond");
    let gateway = Gateway::start(&(CONSUMERS.to_owned() + route.as_str()));
    for (key, wanted) in [("key-a", 6), ("key-b", 4), ("key-c", 2)] {
        assert_eq!(passing(&gateway, "/api", &format!("X-API-Key: {key}\r\n"), 10), wanted, "{key}");
    }
    let told = get(&gateway, "/api", "X-API-Key: key-a\r\n");
    assert_eq!(told.field("x-ratelimit-limit"), Some("6"));
}

#[test]
fn a_limit_before_auth_counts_those_who_guess_too() {
    let route = limited("api", &["rate = \"3/hour\"\nby = \"ip\"\nbefore_auth = true"])
        .replace("respond", "auth = [\"key\"]\nrespond");
    let gateway = Gateway::start(&(CONSUMERS.to_owned() + route.as_str()));
    let guess = |n: usize| get(&gateway, "/api", &format!("X-API-Key: guess-{n}\r\n")).status();
    assert_eq!((0..5).map(guess).collect::<Vec<_>>(), [401, 401, 401, 429, 429]);
}

#[test]
fn a_limit_after_auth_does_not_count_those_who_are_refused_there() {
    let route = limited("api", &["rate = \"2/hour\"\nby = \"route\""])
        .replace("respond", "auth = [\"key\"]\nrespond");
    let gateway = Gateway::start(&(CONSUMERS.to_owned() + route.as_str()));
    (0..5).for_each(|_| assert_eq!(get(&gateway, "/api", "").status(), 401));
    assert_eq!(passing(&gateway, "/api", "X-API-Key: key-c\r\n", 4), 2);
}

#[test]
fn a_dry_run_counts_and_tells_and_refuses_nothing() {
    let gateway = Gateway::start(&limited("dry", &["rate = \"2/hour\"\nby = \"route\"\ndry_run = true"]));
    assert_eq!(passing(&gateway, "/dry", "", 5), 5);
    let labels = "route=\"dry\",limit=\"dry-1\",result=\"dry_run\"";
    gateway.wait_for_metric("ringway_rate_limit_requests_total", labels, |n| n == 3.0);
    assert_eq!(get(&gateway, "/dry", "").field("x-ratelimit-remaining"), Some("0"));
}

#[test]
fn a_refusal_is_exactly_this_document_and_the_connection_goes_on() {
    let gateway = Gateway::start(&limited("api", &["rate = \"1/hour\"\nby = \"ip\""]));
    let mut client = gateway.connect();
    let mut ask = || client.exchange("GET /api HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(ask().status(), 200);
    for _ in 0..2 {
        let refused = ask();
        let document = refused.json();
        let expected = serde_json::json!({
            "type": "about:blank",
            "title": "Too Many Requests",
            "status": 429,
            "error": "Rate limit exceeded",
            "reason": "rate_limited",
            "requestId": refused.field("x-request-id"),
            "retryAfter": document["retryAfter"],
        });
        assert_eq!((refused.status(), &document), (429, &expected));
        assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    }
}

#[test]
fn of_several_limits_the_nearest_is_told_and_those_of_another_dialect_besides() {
    let gateway = Gateway::start(&limited(
        "api",
        &[
            "name = \"wide\"\nrate = \"1000/hour\"\nby = \"ip\"",
            "name = \"narrow\"\nrate = \"4/hour\"\nby = \"ip\"",
            "name = \"also\"\nrate = \"20/hour\"\nby = \"ip\"\nheaders = \"ietf\"",
        ],
    ));
    let answer = get(&gateway, "/api", "");
    assert_eq!(answer.all("x-ratelimit-limit"), ["4"]);
    assert_eq!(answer.field("x-ratelimit-remaining"), Some("3"));
    assert_eq!(answer.field("ratelimit-policy"), Some("\"also\";q=20;w=3600"));
    assert!(answer.field("ratelimit").is_some_and(|told| told.starts_with("\"also\";r=19;")), "{answer:?}");
}

#[test]
fn a_401_tells_of_the_limit_before_auth_and_the_routes_own_headers_have_the_last_word() {
    let route = limited("api", &["rate = \"3/hour\"\nby = \"ip\"\nbefore_auth = true"]).replace(
        "respond",
        "auth = [\"key\"]\nresponse_headers = { remove = [\"x-ratelimit-reset\"] }\nrespond",
    );
    let gateway = Gateway::start(&(CONSUMERS.to_owned() + route.as_str()));
    let refused = get(&gateway, "/api", "X-API-Key: wrong\r\n");
    assert_eq!((refused.status(), refused.field("x-ratelimit-remaining")), (401, Some("2")));
    let served = get(&gateway, "/api", "X-API-Key: key-c\r\n");
    assert_eq!((served.status(), served.field("x-ratelimit-remaining")), (200, Some("1")));
    assert!(!served.has("x-ratelimit-reset"));
}
