//! Bodies held for scripts are bounded over a whole shard, and what they held is given back, however they end.

use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{GET, mirror, post, reason, route_to, with_script};
use crate::support::{Client, DRIVERS, Gateway, Origin, let_time_pass};

/// Between the bytes of those that drip.
const PACE: Duration = Duration::from_millis(50);

/// As many bodies of 1 KiB as a shard holds, and some.
const MANY: usize = 300;

fn start(driver: &str, origin: &Origin, script: &str) -> Gateway {
    // Nobody is to be timed out before the test is done with it.
    let limits = "[server.limits]\nbody_timeout = \"5m\"\n[scripts]\nmax_body = \"1KiB\"";
    let toml = format!("{limits}\n{}", route_to(origin, ""));
    with_script(script).driver(driver).start(&toml)
}

/// Sends most of a body on each of many connections, until one is refused.
fn fill(gateway: &Gateway) -> Vec<Client> {
    let most = post("", &"x".repeat(1024));
    let mut held = Vec::new();
    for _ in 0..MANY {
        let mut client = gateway.connect().resetting();
        client.send(&most[..most.len() - 1]);
        held.push(client);
    }
    held
}

#[test]
fn bodies_beyond_what_a_shard_holds_are_refused_and_leave_no_trace() {
    for driver in DRIVERS {
        let origin = mirror();
        let gateway = start(driver, &origin, "fn on_request_body(req) { }");
        let held = fill(&gateway);
        let log = gateway.wait_for_log(|line| line["status"] == 503);
        assert_eq!(log["reason"], "overloaded");
        assert_eq!(gateway.exchange(GET).status(), 200, "a request without a body needs no room");
        drop(held);
        // Each that left is logged, some of them as refused before.
        let mut ended = 0;
        gateway.wait_for_log(|line| {
            ended += usize::from(line["status"] == 499 || line["status"] == 503);
            ended >= MANY
        });
        for _ in 0..3 {
            assert_eq!(gateway.exchange(post("", &"x".repeat(1024))).body.len(), 1024);
        }
        // Errors gave theirs back as well: as many fit in as before.
        let held = fill(&gateway);
        drop(held);
    }
}

#[test]
fn bodies_that_hardly_come_give_way_to_those_that_do() {
    for driver in DRIVERS {
        let origin = mirror();
        let gateway = start(driver, &origin, "fn on_request_body(req) { }");
        // All of them together are what a shard holds, and none ends before the test does.
        let mut dripping: Vec<Client> = (0..MANY).map(|_| gateway.connect().resetting()).collect();
        let most = post("", &"x".repeat(1024));
        for client in &mut dripping {
            client.send_lossy(&most[..most.len() - 124]);
        }
        let honest = post("", &"x".repeat(1024));
        let begun = Instant::now();
        let mut served = 0;
        while served < 50 {
            for client in &mut dripping {
                client.send_lossy("x");
            }
            let answer = gateway.exchange(&honest);
            // Nobody knows of a body that has just begun how slow it is.
            let known = begun.elapsed() > Duration::from_secs(4);
            assert!(answer.status() == 200 || !known, "{driver}: {} after {served}", reason(&answer));
            served += usize::from(known);
            let_time_pass(PACE);
        }
        let line = gateway.wait_for_log(|line| line["status"] == 408);
        assert_eq!(line["reason"], "request_timeout", "those that gave way");
    }
}

#[test]
fn a_body_counts_for_as_long_as_it_is_kept() {
    for driver in DRIVERS {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let origin = Origin::new(move |peer| {
            if peer.request().is_some() {
                let _ = released.lock().map(|released| released.recv());
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let gateway = start(driver, &origin, "fn on_request_body(req) { }");
        let whole = post("", &"x".repeat(1024));
        let mut waiting: Vec<Client> = (0..256).map(|_| gateway.connect()).collect();
        for client in &mut waiting {
            client.send(&whole);
        }
        origin.wait_for_requests(256);
        let refused = gateway.exchange(&whole);
        assert_eq!(refused.status(), 503, "{driver}: they are with the upstream, and kept for a retry");
        drop(release);
        for client in &mut waiting {
            assert_eq!(client.response().status(), 200);
        }
        assert_eq!(gateway.exchange(&whole).status(), 200);
    }
}

#[test]
fn responses_are_counted_like_requests_and_given_back_after_errors() {
    for driver in DRIVERS {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let origin = Origin::new(move |peer| {
            if peer.request().is_some() {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n{}", "x".repeat(1023)));
                let _ = released.lock().map(|released| released.recv());
            }
        });
        let gateway = start(driver, &origin, "fn on_response_body(req, res) { }");
        let mut waiting: Vec<Client> = (0..MANY).map(|_| gateway.connect()).collect();
        for client in &mut waiting {
            client.send(GET);
        }
        gateway.wait_for_log(|line| line["status"] == 503 && line["reason"] == "overloaded");
        drop(release);
        // All others end as their upstream does: within the body.
        let count = |status| move |answers: &[u16]| answers.iter().filter(|&&s| s == status).count();
        let answers: Vec<u16> = waiting.iter_mut().map(|client| client.response().status()).collect();
        assert!(count(502)(&answers) >= 250, "{answers:?}");
        assert_eq!(count(502)(&answers) + count(503)(&answers), MANY);
        assert_eq!(gateway.exchange(GET).status(), 502, "there is room again");
    }
}
