//! Requests whose attempt failed go to another endpoint, where that is set up and the request can be repeated.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{DRIVERS, Gateway, Message, Origin, Peer, pattern, proxy_with, refusing};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UNAVAILABLE: &str = "HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nbusy";

/// What an origin does with a connection.
type Handle = fn(&mut Peer);

/// Reads each request and then goes without an answer.
fn resets(peer: &mut Peer) {
    if peer.request().is_some() {
        peer.reset();
    }
}

/// Goes within the head of its response.
fn cuts_the_head(peer: &mut Peer) {
    if peer.request().is_some() {
        peer.send("HTTP/1.1 200 OK\r\nContent-");
    }
}

fn is_unavailable(peer: &mut Peer) {
    while peer.request().is_some() {
        peer.send(UNAVAILABLE);
    }
}

/// Says that it will send more than it does.
fn is_unavailable_at_length(peer: &mut Peer) {
    if peer.request().is_some() {
        peer.send("HTTP/1.1 503 X\r\nContent-Length: 100000\r\n\r\nbusy");
        peer.drain();
    }
}

/// Does not wait for the body.
fn is_unavailable_at_once(peer: &mut Peer) {
    if peer.head().is_some() {
        peer.send("HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy");
        peer.drain();
    }
}

fn is_silent(peer: &mut Peer) {
    if peer.request().is_some() {
        peer.expect_closed();
    }
}

/// A gateway before two origins, of which the first request goes to the first.
fn before(driver: &str, failing: &Origin, other: &Origin, keys: &str) -> Gateway {
    let keys = format!("breaker = false\n{keys}");
    let text = proxy_with(&[&failing.url(), &other.url()], &keys, "");
    Gateway::builder().driver(driver).shards(1).start(&text)
}

/// Sends the request until it has come to `failing`: which of the two is first depends on the shard.
fn exchange_at(gateway: &Gateway, failing: &Origin, request: impl AsRef<[u8]>) -> Message {
    let before = failing.requests().len();
    let first = gateway.exchange(&request);
    if failing.requests().len() > before { first } else { gateway.exchange(&request) }
}

#[test]
fn a_request_goes_to_another_endpoint_after_each_failure_that_is_set_up() {
    let failures: [(&str, &str, Handle); 5] = [
        ("reset", "", resets),
        ("reset", "", cuts_the_head),
        ("503", "", is_unavailable),
        ("503", "", is_unavailable_at_length),
        ("timeout", "response_timeout = \"100ms\"", is_silent),
    ];
    for driver in DRIVERS {
        for (number, (on, keys, handle)) in failures.into_iter().enumerate() {
            let (failing, other) = (Origin::new(handle), Origin::answering(OK));
            let keys = format!("{keys}\nretry.on = [{on:?}]");
            let gateway = before(driver, &failing, &other, &keys);
            let response = exchange_at(&gateway, &failing, "GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
            assert_eq!((response.status(), response.text()), (200, "ok"), "{driver} {number}");
            let record = gateway.wait_for_log(|record| record["retries"] == 1);
            assert_eq!((&record["status"], &record["path"]), (&200.into(), &"/x".into()), "{record}");
            assert_eq!(record["target"], other.url(), "{record}");
            assert_eq!(failing.requests().len(), 1, "{driver} {number}");
            let target = format!("target=\"{}\"", failing.url());
            assert_eq!(gateway.metric("ringway_upstream_retries_total", &target), 1.0);
        }
    }
}

#[test]
fn a_failure_that_is_not_set_up_is_the_clients_answer() {
    let failures: [(Handle, u16); 2] = [(resets, 502), (is_unavailable, 503)];
    for (handle, status) in failures {
        let (failing, other) = (Origin::new(handle), Origin::answering(OK));
        let gateway = before("auto", &failing, &other, "retry.on = [\"connect\", \"timeout\", \"504\"]");
        let response = exchange_at(&gateway, &failing, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(response.status(), status);
    }
}

#[test]
fn a_post_is_repeated_only_where_its_client_says_that_it_may_be() {
    let handles: [(Handle, u16); 2] = [(resets, 502), (is_unavailable, 503)];
    for driver in DRIVERS {
        for (handle, status) in handles {
            let (failing, other) = (Origin::new(handle), Origin::answering(OK));
            let gateway = before(driver, &failing, &other, "retry.on = [\"reset\", \"503\"]");
            let post =
                |field: &str| format!("POST / HTTP/1.1\r\nHost: t\r\n{field}Content-Length: 5\r\n\r\nhello");
            assert_eq!(exchange_at(&gateway, &failing, post("")).status(), status, "{driver}");
            let keyed = exchange_at(&gateway, &failing, post("Idempotency-Key: 1\r\n"));
            assert_eq!(keyed.status(), 200, "{driver}");
            assert_eq!(failing.requests().len(), 2, "{driver}");
        }
    }
}

/// An origin that keeps the bodies that it receives.
fn keeping_bodies() -> (Arc<Mutex<Vec<Vec<u8>>>>, Origin) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let for_origin = bodies.clone();
    let origin = Origin::new(move |peer| {
        while let Some(request) = peer.request() {
            for_origin.lock().expect("no holder panics").push(request.body);
            peer.send(OK);
        }
    });
    (bodies, origin)
}

#[test]
fn a_body_of_up_to_64_kib_is_replayed_whole_and_a_longer_one_is_not() {
    for driver in DRIVERS {
        for handle in [resets as Handle, is_unavailable, is_unavailable_at_once] {
            let (failing, (bodies, other)) = (Origin::new(handle), keeping_bodies());
            let gateway = before(driver, &failing, &other, "retry.on = [\"reset\", \"503\"]");
            for (size, is_replayed) in [(10, true), (40 << 10, true), (64 << 10, true), (100 << 10, false)] {
                let body = pattern(size);
                let mut put =
                    format!("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: {size}\r\n\r\n").into_bytes();
                put.extend_from_slice(&body);
                let response = exchange_at(&gateway, &failing, put);
                assert_eq!(response.status() == 200, is_replayed, "{driver} {size}");
                let bodies = bodies.lock().expect("no holder panics");
                assert!(!is_replayed || bodies.last() == Some(&body), "{driver} {size}");
            }
            // What failed over was counted, what did not was not.
            assert_eq!(gateway.metric("ringway_upstream_retries_total", ""), 3.0, "{driver}");
        }
    }
}

#[test]
fn a_chunked_body_that_is_still_to_come_is_not_replayed() {
    let (failing, other) = (Origin::new(resets), Origin::answering(OK));
    let gateway = before("auto", &failing, &other, "retry = {}");
    let mut put = b"PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..8 {
        put.extend_from_slice(b"2000\r\n");
        put.extend_from_slice(&pattern(0x2000));
        put.extend_from_slice(b"\r\n");
    }
    put.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(exchange_at(&gateway, &failing, put).status(), 502);
}

#[test]
fn without_attempts_not_even_a_connect_is_tried_again() {
    for driver in DRIVERS {
        let ((_held, dead), other) = (refusing(), Origin::answering(OK));
        let keys = "breaker = false\nretry.attempts = 0";
        let text = proxy_with(&[&dead, &other.url()], keys, "");
        let gateway = Gateway::builder().driver(driver).shards(1).start(&text);
        let mut statuses = [gateway.get("/").status(), gateway.get("/").status()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 502], "{driver}");
        assert_eq!(gateway.metric("ringway_upstream_retries_total", ""), 0.0);
    }
}

#[test]
fn when_the_budget_is_spent_the_upstreams_own_answer_is_passed_on() {
    let (failing, other) = (Origin::new(is_unavailable), Origin::new(is_unavailable));
    let gateway = before("auto", &failing, &other, "retry = { on = [\"503\"], budget = 0.001 }");
    let mut client = gateway.connect();
    for _ in 0..30 {
        let response = client.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!((response.status(), response.text()), (503, "busy"));
        assert!(response.field("proxy-status").is_none(), "the origin's own answer passes");
    }
    assert_eq!(failing.requests().len() + other.requests().len(), 40);
    // A reload that leaves the table alone does not fill it again.
    let text = std::fs::read_to_string(gateway.config_path()).expect("the file was written");
    gateway.write_config(&text.replace("breaker = false", "breaker = false\nkeepalive = 17"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(gateway.get("/").status(), 503);
    assert_eq!(failing.requests().len() + other.requests().len(), 41);
}

#[test]
fn when_the_attempts_are_spent_the_last_answer_is_passed_on() {
    for driver in DRIVERS {
        let count = Arc::new(AtomicUsize::new(0));
        let origins: Vec<_> = (0..4)
            .map(|_| {
                let count = count.clone();
                Origin::new(move |peer| {
                    while peer.request().is_some() {
                        let nth = count.fetch_add(1, Ordering::Relaxed);
                        peer.send(format!("HTTP/1.1 503 X\r\nContent-Length: 1\r\n\r\n{nth}"));
                    }
                })
            })
            .collect();
        let urls: Vec<String> = origins.iter().map(Origin::url).collect();
        let targets: Vec<&str> = urls.iter().map(|url| &**url).collect();
        let keys = "breaker = false\nretry = { on = [\"503\"], attempts = 2 }";
        let gateway = Gateway::with_driver(driver, &proxy_with(&targets, keys, ""));
        let response = gateway.get("/");
        assert_eq!((response.status(), response.text()), (503, "2"), "{driver}");
        assert_eq!(gateway.log_of("/")["retries"], 2);
        assert!(origins.iter().all(|origin| origin.requests().len() <= 1), "each endpoint is asked once");
    }
}

#[test]
fn no_retry_begins_when_the_routes_time_is_over() {
    let (failing, other) = (Origin::new(is_silent), Origin::answering(OK));
    let text = proxy_with(
        &[&failing.url(), &other.url()],
        "breaker = false\nretry.on = [\"timeout\"]",
        "timeout = \"200ms\"",
    );
    let gateway = Gateway::builder().shards(1).start(&text);
    let response = exchange_at(&gateway, &failing, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(response.status(), 504);
}

#[test]
fn an_origin_that_dies_under_load_costs_no_request() {
    for driver in DRIVERS {
        let is_dead = Arc::new(AtomicBool::new(false));
        let for_origin = is_dead.clone();
        let dying = Origin::new(move |peer| {
            while peer.request().is_some() {
                if for_origin.load(Ordering::Relaxed) {
                    return peer.reset();
                }
                peer.send(OK);
            }
        });
        let others = [Origin::answering(OK), Origin::answering(OK)];
        let keys = "retry = {}\nbreaker = {}";
        let text = proxy_with(&[&dying.url(), &others[0].url(), &others[1].url()], keys, "");
        let gateway = Gateway::with_driver(driver, &text);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (gateway, is_dead) = (&gateway, &is_dead);
                scope.spawn(move || {
                    let mut client = gateway.connect();
                    for n in 0..100 {
                        if n == 50 {
                            is_dead.store(true, Ordering::Relaxed);
                        }
                        let response = client.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
                        assert_eq!(response.status(), 200, "{driver} {number} {n}");
                    }
                });
            }
        });
    }
}
