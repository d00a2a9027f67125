//! Endpoints that fail get no more requests, and get them again when they work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use crate::support::{DEADLINE, DRIVERS, Gateway, Message, Origin, proxy_with, refusing};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

/// An origin that answers each request with the status that is set.
fn origin_with_status() -> (Arc<AtomicU16>, Origin) {
    let status = Arc::new(AtomicU16::new(200));
    let for_origin = status.clone();
    let origin = Origin::new(move |peer| {
        while peer.request().is_some() {
            let status = for_origin.load(Ordering::Relaxed);
            peer.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    (status, origin)
}

fn state(gateway: &Gateway) -> String {
    let status = gateway.admin("GET", "/status").json();
    status["upstreams"][0]["targets"][0]["state"].as_str().expect("a state").to_owned()
}

fn reason(response: &Message) -> String {
    response.json()["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn with_one_of_three_targets_refusing_no_request_fails_whatever_the_balancing() {
    for balance in ["round_robin", "least_connections", "p2c", "random", "hash"] {
        let (_held, dead) = refusing();
        let [one, other] = [Origin::echo(), Origin::echo()];
        let keys = format!("balance = {balance:?}\nhash_on = \"query:k\"");
        let keys = if balance == "hash" { keys } else { format!("balance = {balance:?}") };
        let gateway = Gateway::start(&proxy_with(&[&dead, &one.url(), &other.url()], &keys, ""));
        let mut client = gateway.connect();
        for n in 0..60 {
            let get = format!("GET /?k={n} HTTP/1.1\r\nHost: t\r\n\r\n");
            assert_eq!(client.exchange(get).status(), 200, "{balance} {n}");
        }
        let labels = format!("target=\"{dead}\",reason=\"upstream_connect\"");
        let failures = gateway.metric("ringway_upstream_failures_total", &labels);
        assert!((1.0..10.0).contains(&failures), "{balance}: {failures} connects to what refuses them");
    }
}

#[test]
fn a_breaker_opens_at_failing_statuses_refuses_at_once_and_closes_by_itself() {
    for driver in DRIVERS {
        let (status, origin) = origin_with_status();
        let keys = "breaker = { failures = 3, open_for = \"300ms\" }";
        let gateway = Gateway::with_driver(driver, &proxy_with(&[&origin.url()], keys, ""));
        let mut client = gateway.connect();
        assert_eq!((client.exchange(GET).status(), state(&gateway).as_str()), (200, "up"));
        status.store(503, Ordering::Relaxed);
        for _ in 0..3 {
            assert!(client.exchange(GET).field("proxy-status").is_none(), "the origin's own answer passes");
        }
        let refused = client.exchange(GET);
        assert_eq!((refused.status(), reason(&refused).as_str()), (503, "circuit_open"));
        assert_eq!(refused.field("retry-after"), Some("1"));
        assert_eq!(origin.requests().len(), 4);
        assert_eq!(state(&gateway), "open");
        assert_eq!(gateway.log_of("/")["status"], 200);

        status.store(200, Ordering::Relaxed);
        let until = Instant::now() + DEADLINE;
        while client.exchange(GET).status() != 200 {
            assert!(Instant::now() < until, "it stays open");
        }
        assert_eq!(state(&gateway), "up");
        assert_eq!(gateway.metric("ringway_upstream_ejections_total", ""), 1.0);
    }
}

/// Nothing is sent meanwhile: a shard without requests learns it from the others alone.
fn wait_for_state(gateway: &Gateway, wanted: &str) {
    let until = Instant::now() + DEADLINE;
    while state(gateway) != wanted {
        assert!(Instant::now() < until, "it stays {}", state(gateway));
    }
}

#[test]
fn what_one_shard_learns_of_an_endpoint_the_other_shards_know() {
    for driver in DRIVERS {
        let (status, origin) = origin_with_status();
        let start = |open_for: &str| {
            let keys = format!("breaker = {{ failures = 3, open_for = {open_for:?} }}");
            Gateway::builder().driver(driver).shards(3).start(&proxy_with(&[&origin.url()], &keys, ""))
        };
        status.store(503, Ordering::Relaxed);
        let gateway = start("10m");
        let mut client = gateway.connect();
        (0..3).for_each(|_| _ = client.exchange(GET));
        wait_for_state(&gateway, "open");
        for _ in 0..30 {
            assert_eq!(reason(&gateway.get("/")), "circuit_open");
        }
        assert_eq!(origin.requests().len(), 3);
        assert_eq!(gateway.metric("ringway_upstream_ejections_total", ""), 1.0);

        let gateway = start("100ms");
        let mut client = gateway.connect();
        (0..3).for_each(|_| _ = client.exchange(GET));
        wait_for_state(&gateway, "open");
        status.store(200, Ordering::Relaxed);
        let until = Instant::now() + DEADLINE;
        while client.exchange(GET).status() != 200 {
            assert!(Instant::now() < until, "it stays open");
        }
        wait_for_state(&gateway, "up");
        for _ in 0..30 {
            assert_eq!(gateway.get("/").status(), 200);
        }
    }
}

#[test]
fn an_open_breaker_survives_a_reload_that_does_not_touch_its_target() {
    let (status, origin) = origin_with_status();
    let keys = "breaker = { failures = 1 }";
    let config = proxy_with(&[&origin.url()], keys, "");
    let gateway = Gateway::start(&config);
    status.store(500, Ordering::Relaxed);
    assert_eq!(gateway.get("/").status(), 500);
    gateway.write_config(&format!("{config}timeout = \"20s\"\n"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(reason(&gateway.get("/")), "circuit_open");
}

#[test]
fn a_target_with_weight_0_gets_no_requests() {
    let [drained, serving] = [Origin::echo(), Origin::echo()];
    let text = proxy_with(&[], "", "").replace(
        "targets = []",
        &format!("targets = [{{ url = {:?}, weight = 0 }}, {:?}]", drained.url(), serving.url()),
    );
    let gateway = Gateway::start(&text);
    for _ in 0..6 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    assert_eq!((drained.requests().len(), serving.requests().len()), (0, 6));
}
