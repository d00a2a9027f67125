//! Health checks: endpoints that do not pass them get no requests, and get them again when they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use crate::support::{DEADLINE, Gateway, Origin, proxy_with};

const CHECKS: &str = "health = { path = \"/healthz\", interval = \"100ms\", unhealthy = 2, healthy = 2 }";

/// An origin that answers checks with the status that is set, and everything else with 200.
fn checked_origin() -> (Arc<AtomicU16>, Origin) {
    let status = Arc::new(AtomicU16::new(200));
    let for_origin = status.clone();
    let origin = Origin::new(move |peer| {
        while let Some(request) = peer.request() {
            let is_check = request.target() == "/healthz";
            let status = if is_check { for_origin.load(Ordering::Relaxed) } else { 200 };
            peer.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    (status, origin)
}

/// The requests of clients that an origin got.
fn served(origin: &Origin) -> usize {
    origin.requests().iter().filter(|request| request.target() != "/healthz").count()
}

fn wait_for_state(gateway: &Gateway, target: usize, expected: &str) -> serde_json::Value {
    let until = Instant::now() + DEADLINE;
    loop {
        let status = gateway.admin("GET", "/status").json();
        let target = &status["upstreams"][0]["targets"][target];
        if target["state"] == expected {
            return target.clone();
        }
        assert!(Instant::now() < until, "still {target}");
    }
}

#[test]
fn an_endpoint_that_fails_its_checks_gets_no_requests_until_it_passes_them_again() {
    let (failing, one) = checked_origin();
    let (_, other) = checked_origin();
    let gateway = Gateway::builder().shards(2).start(&proxy_with(&[&one.url(), &other.url()], CHECKS, ""));
    one.wait_for_requests(1);
    failing.store(503, Ordering::Relaxed);
    let status = wait_for_state(&gateway, 0, "unhealthy");
    let why = status["unhealthy"][0].as_str().expect("a reason");
    assert!(why.ends_with(": status 503"), "{why}");
    gateway.wait_for_message("unhealthy: status 503");
    // A shard takes its messages before the requests that come after them.
    gateway.admin("GET", "/metrics");
    let before = served(&one);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    assert_eq!(served(&one), before);

    failing.store(200, Ordering::Relaxed);
    wait_for_state(&gateway, 0, "up");
    gateway.wait_for_message("healthy again");
    gateway.admin("GET", "/metrics");
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    assert!(served(&one) > before);
}

#[test]
fn while_none_is_healthy_requests_go_to_all_or_are_refused_as_configured() {
    for (keys, expected) in [("", 200), (", panic = \"fail\"", 503)] {
        let (failing, origin) = checked_origin();
        failing.store(500, Ordering::Relaxed);
        let checks = format!("health = {{ path = \"/healthz\"{keys} }}");
        let gateway = Gateway::start(&proxy_with(&[&origin.url()], &checks, ""));
        wait_for_state(&gateway, 0, "unhealthy");
        gateway.admin("GET", "/metrics");
        let response = gateway.get("/");
        assert_eq!(response.status(), expected);
        if expected == 503 {
            assert_eq!(response.json()["reason"], "no_target");
        }
    }
}

#[test]
fn checks_are_made_once_per_process_with_the_targets_host() {
    let (_, origin) = checked_origin();
    let checks = "health = { path = \"/healthz\", interval = \"1h\" }";
    let gateway = Gateway::builder().shards(3).start(&proxy_with(&[&origin.url()], checks, ""));
    let request = origin.wait_for_requests(1).remove(0);
    assert_eq!(request.field("host"), Some(origin.authority().as_str()));
    assert_eq!(request.field("user-agent"), Some("ringway-health"));
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(origin.requests().len() - served(&origin), 1);
}

#[test]
fn a_reload_starts_and_ends_checks_and_keeps_what_is_known() {
    let (failing, origin) = checked_origin();
    failing.store(500, Ordering::Relaxed);
    let checks = |more: &str| {
        proxy_with(
            &[&origin.url()],
            "health = { path = \"/healthz\", interval = \"1s\", panic = \"fail\" }",
            more,
        )
    };
    let gateway = Gateway::start(&checks(""));
    wait_for_state(&gateway, 0, "unhealthy");
    gateway.write_config(&checks("timeout = \"20s\""));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(gateway.get("/").status(), 503, "still unhealthy");
    gateway.write_config(&proxy_with(&[&origin.url()], "", ""));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(gateway.get("/").status(), 200);
}
