//! The admin listener.

use super::{HELLO, hello};
use crate::support::{Client, Gateway, Message, Origin, proxy_to};

fn ask(gateway: &Gateway, bytes: &str) -> Message {
    Client::connect(gateway.admin_address()).exchange(bytes)
}

#[test]
fn health_and_readiness_are_200_while_all_shards_serve() {
    let gateway = Gateway::builder().shards(2).start(HELLO);
    assert_eq!(gateway.admin("GET", "/healthz").text(), "ok\n");
    let ready = gateway.admin("GET", "/readyz");
    assert_eq!((ready.status(), ready.text()), (200, "ready\n"));
}

#[test]
fn status_tells_of_shards_routes_and_upstreams() {
    let origin = Origin::echo();
    let toml = format!("{}{HELLO}", proxy_to(&[&origin.url()]));
    let gateway = Gateway::builder().shards(2).start(&toml);
    for _ in 0..3 {
        assert_eq!(gateway.get("/hello").status(), 200);
    }
    assert_eq!(gateway.get("/elsewhere").status(), 200);
    gateway.wait_for_metric("ringway_requests_total", "", |count| count == 4.0);
    let status = gateway.admin("GET", "/status").json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["generation"], 1);
    assert_eq!(status["state"], "serving");
    assert_eq!(status["store"]["kind"], "embedded");
    assert_eq!(status["log"]["access_dropped"], 0);
    assert!(status["uptime_s"].is_u64());
    let shards = status["shards"].as_array().expect("a list");
    assert_eq!(shards.len(), 2);
    for (id, shard) in shards.iter().enumerate() {
        assert_eq!(
            (&shard["id"], &shard["state"], &shard["restarts"]),
            (&id.into(), &"serving".into(), &0.into())
        );
        assert!(shard["connections"].is_u64() && shard["answered"] == true, "{shard}");
    }
    let route = |name: &str| {
        let routes = status["routes"].as_array().expect("a list");
        routes.iter().find(|route| route["name"] == name).expect("a route of that name").clone()
    };
    assert_eq!((&route("hello")["requests"], &route("hello")["respond"]), (&3.into(), &200.into()));
    assert_eq!((&route("all")["requests"], &route("all")["upstream"]), (&1.into(), &"origin".into()));
    let target = &status["upstreams"][0]["targets"][0];
    assert_eq!((&target["url"], &target["state"]), (&origin.url().into(), &"up".into()));
    assert_eq!(target["addresses"][0], origin.authority());
    assert_eq!((&target["active"], &target["idle"]), (&0.into(), &1.into()));
}

#[test]
fn metrics_are_the_prometheus_text_format_summed_over_the_shards() {
    let gateway = Gateway::builder().shards(2).start(HELLO);
    for _ in 0..20 {
        gateway.get("/hello");
    }
    gateway
        .wait_for_metric("ringway_requests_total", "route=\"hello\",status=\"200\"", |count| count == 20.0);
    let page = gateway.admin("GET", "/metrics");
    assert_eq!(page.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(gateway.metric("ringway_shards", ""), 2.0);
    assert_eq!(gateway.metric("ringway_generation", ""), 1.0);
    assert!(gateway.metric("process_resident_memory_bytes", "") > 0.0);
    let counted =
        page.text().lines().filter(|line| line.starts_with("ringway_requests_total{route=\"hello\""));
    assert_eq!(counted.count(), 1, "one series, whatever the number of shards");
}

#[test]
fn what_is_not_there_is_404_another_method_405_and_what_comes_later_501() {
    let gateway = Gateway::start(HELLO);
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("POST", "/status", 405),
        ("GET", "/reload", 405),
        ("DELETE", "/cache?route=hello", 501),
    ] {
        let answer = gateway.admin(method, path);
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{method} {path}");
        assert_eq!(answer.json()["status"], status, "{method} {path}");
    }
    assert_eq!(gateway.admin("GET", "/reload").field("allow"), Some("POST"));
}

#[test]
fn a_head_request_has_the_fields_of_a_get_and_no_body() {
    let gateway = Gateway::start(HELLO);
    let mut client = Client::connect(gateway.admin_address());
    client.send("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.response_to("HEAD");
    assert_eq!((head.status(), head.content_length()), (200, Some(3)));
    let next = client.exchange("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(next.text(), "ok\n", "the connection goes on where it should");
}

#[test]
fn requests_can_follow_one_another_with_bodies_and_pipelined() {
    let gateway = Gateway::start(HELLO);
    let mut client = Client::connect(gateway.admin_address());
    client.send("POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhelloGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response().json()["generation"], 2);
    assert_eq!(client.response().text(), "ok\n");
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().text(), "ok\n");
    client.expect_closed();
}

#[test]
fn a_page_of_another_origin_cannot_reload() {
    let gateway = Gateway::start(HELLO);
    let address = gateway.admin_address();
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let refused = ask(
            &gateway,
            &format!(
                "POST /reload HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n"
            ),
        );
        assert_eq!((refused.status(), &refused.json()["reason"]), (403, &"origin_denied".into()), "{origin}");
    }
    assert_eq!(gateway.metric("ringway_generation", ""), 1.0);
    let own = format!("POST /reload HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\r\n");
    assert_eq!(ask(&gateway, &own).json()["generation"], 2);
}

#[test]
fn a_name_that_was_bent_to_this_address_is_refused() {
    let gateway = Gateway::start(HELLO);
    for host in ["evil.example", "evil.example:9901", "127.0.0.1.evil.example"] {
        let refused = ask(&gateway, &format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((refused.status(), &refused.json()["reason"]), (403, &"host_denied".into()), "{host}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]:9901", "ringway"] {
        let answer = ask(&gateway, &format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status(), 200, "{host}");
    }
}

#[test]
fn heads_that_are_too_large_or_malformed_are_refused_and_the_connection_closed() {
    let gateway = Gateway::start(HELLO);
    let long = "x".repeat(9000);
    let many = "a: b\r\n".repeat(65);
    for (head, status) in [
        (format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 414),
        ("GET /healthz HTTP/1.1\nHost: localhost\n\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let mut client = Client::connect(gateway.admin_address());
        client.send_lossy(&head);
        assert_eq!(client.response().status(), status, "{head:.60}");
    }
    assert_eq!(gateway.admin("GET", "/healthz").status(), 200);
}

#[test]
fn slow_and_idle_clients_are_few_and_let_go_while_others_are_answered() {
    const BOUND: usize = 64;
    let gateway = Gateway::start(HELLO);
    let mut slow = Client::connect(gateway.admin_address());
    slow.send("GET /healthz HTT");
    assert_eq!(gateway.admin("GET", "/healthz").status(), 200);
    let crowd: Vec<_> = (0..BOUND).map(|_| Client::connect(gateway.admin_address())).collect();
    gateway.wait_for_message("admin connections");
    drop(crowd);
    assert_eq!(slow.response().status(), 408);
    assert_eq!(gateway.admin("GET", "/healthz").status(), 200);
}

#[test]
fn without_an_admin_table_there_is_no_admin_listener() {
    let gateway = Gateway::builder().without_admin().start(&hello("plain"));
    assert_eq!(gateway.get("/hello").text(), "plain");
    assert!(gateway.stdout.all().iter().all(|line| !line.contains("admin on")));
}

#[test]
fn a_token_is_needed_for_all_but_the_probes_and_a_reload_changes_it() {
    let toml = |token: &str| {
        format!(
            "[admin]\nlisten = \"127.0.0.1:0\"\nhosts = [\"gateway.internal\"]\ntoken = {token:?}\n{HELLO}"
        )
    };
    let gateway = Gateway::builder().env("ADMIN_TOKEN", "first").start(&toml("env:ADMIN_TOKEN"));
    let request = |method: &str, path: &str, token: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: gateway.internal\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        ask(&gateway, &request)
    };
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gateway.admin("GET", path).status(), 200, "{path}");
    }
    let refused = gateway.admin("GET", "/status");
    assert_eq!((refused.status(), refused.field("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(request("POST", "/reload", "other").status(), 401);
    assert_eq!(request("GET", "/metrics", "first").status(), 200);
    gateway.write_config(&toml("second"));
    assert_eq!(request("POST", "/reload", "first").json()["generation"], 2);
    assert_eq!(request("GET", "/status", "first").status(), 401);
    assert_eq!(request("GET", "/status", "second").status(), 200);
}

#[test]
fn a_listener_that_others_can_reach_without_a_token_is_warned_of_at_the_start_and_at_a_reload() {
    const WARNING: &str = "may read and reload this gateway";
    let public = format!("[admin]\nlisten = \"0.0.0.0:0\"\n{HELLO}");
    let gateway = Gateway::start(&public);
    gateway.wait_for_message(WARNING);
    let warnings = || gateway.stderr.all().iter().filter(|line| line.contains(WARNING)).count();
    let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], gateway.admin_address().port()));
    assert_eq!(Client::connect(address).exchange(request).status(), 200);
    gateway.wait_for_message("reloaded");
    assert_eq!(warnings(), 2);
}
