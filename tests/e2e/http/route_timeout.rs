//! A route's `timeout` bounds the whole exchange, to the last byte at the client, and who is late is named: the client, or
//! the upstream. Nothing that follows on the connection is bound by it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::hostile_peers::assert_endless_uploads_are_504;
use crate::support::{Client, DRIVERS, ENDLESS_FRAMINGS, Gateway, Origin, Redis, let_time_pass, proxy_with};

const TIMEOUT: Duration = Duration::from_millis(600);
const PACE: Duration = Duration::from_millis(20);
const GET: &str = "GET /late HTTP/1.1\r\nHost: test\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn route(origin: &Origin, more: &str) -> String {
    proxy_with(&[&origin.url()], "", &format!("timeout = \"{}ms\"\n{more}", TIMEOUT.as_millis()))
}

/// A client with little room, so that what it does not read soon waits in the gateway.
fn slow_reader(gateway: &Gateway) -> Client {
    Client::with_socket(gateway.address(), |socket| {
        socket.set_recv_buffer_size(8192).expect("a small buffer is always accepted");
    })
}

fn assert_late_client(gateway: &Gateway, path: &str, status: u16) {
    let line = gateway.log_of(path);
    assert_eq!((&line["status"], &line["reason"]), (&status.into(), &"request_timeout".into()));
    assert_eq!(gateway.metric("ringway_upstream_failures_total", ""), 0.0, "no fault of the target's");
}

#[test]
fn a_client_that_reads_slowly_is_cut_though_it_never_stops() {
    for driver in DRIVERS {
        // The first is spliced, the second copied.
        for framing in ENDLESS_FRAMINGS {
            let origin = Origin::endless(framing);
            let gateway = Gateway::with_driver(driver, &route(&origin, ""));
            let begun = Instant::now();
            let mut client = slow_reader(&gateway);
            client.send(GET);
            assert_eq!(client.head().status(), 200);
            let cut = AtomicBool::new(false);
            std::thread::scope(|scope| {
                // Reads on until the gateway is done with it: what was on its way is still there then.
                scope.spawn(|| {
                    while !cut.load(Ordering::Relaxed) && client.wire().read_exact(1).is_ok() {
                        let_time_pass(PACE);
                    }
                });
                assert_late_client(&gateway, "/late", 200);
                assert!(begun.elapsed() >= TIMEOUT, "not before its time");
                cut.store(true, Ordering::Relaxed);
            });
            origin.wait_for_closed(1);
        }
    }
}

#[test]
fn a_client_that_sends_its_body_slowly_is_408() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| assert!(peer.request().is_none(), "a complete body"));
        let script = "fn on_request_body(req) { }";
        let hooked = route(&origin, "scripts = [\"a.rhai\"]");
        for toml in [route(&origin, ""), hooked] {
            let gateway = Gateway::builder().driver(driver).file("scripts/a.rhai", script).start(&toml);
            // Copied, and spliced where no script wants it.
            for (framing, piece) in
                [("Transfer-Encoding: chunked", "1\r\nx\r\n"), ("Content-Length: 1000000", "x")]
            {
                let begun = Instant::now();
                let mut client = gateway.connect();
                client.send(format!("POST /late HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"));
                while begun.elapsed() < TIMEOUT + 3 * PACE {
                    client.send_lossy(piece);
                    let_time_pass(PACE);
                }
                let response = client.response();
                assert_eq!((response.status(), &response.json()["reason"]), (408, &"request_timeout".into()));
                assert_late_client(&gateway, "/late", 408);
            }
        }
    }
}

#[test]
fn an_upstream_that_takes_the_body_slowly_is_504() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if peer.head().is_some() {
                while peer.wire().read_exact(1).is_ok() {
                    let_time_pass(PACE);
                }
            }
        });
        let gateway = Gateway::with_driver(driver, &route(&origin, ""));
        assert_endless_uploads_are_504(&gateway);
        assert_eq!(gateway.metric("ringway_upstream_failures_total", "upstream_timeout"), 2.0);
    }
}

#[test]
fn a_store_that_lets_a_request_wait_does_not_keep_it_longer() {
    let redis = Redis::start();
    let origin = Origin::echo();
    let limit = "[[route.rate_limit]]\nrate = \"1000/hour\"\nby = \"route\"\nmode = \"strict\"";
    let store = format!("[store]\nurl = {:?}\ntimeout = \"1h\"\n", redis.url());
    let gateway = Gateway::start(&(store + &route(&origin, limit)));
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 1.0);
    assert_eq!(gateway.get("/").status(), 200);
    redis.freeze();
    let response = gateway.get("/late");
    assert_eq!((response.status(), &response.json()["reason"]), (503, &"store_unavailable".into()));
}

#[test]
fn neither_a_tunnel_nor_the_next_request_is_bound_by_it() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            while let Some(request) = peer.request() {
                if request.has("upgrade") {
                    peer.send(SWITCHING);
                    while let Ok(byte) = peer.wire().read_exact(1) {
                        peer.send(byte);
                    }
                    return;
                }
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let gateway = Gateway::with_driver(driver, &route(&origin, ""));
        let mut client = gateway.connect();
        let begun = Instant::now();
        while begun.elapsed() < 2 * TIMEOUT {
            assert_eq!(client.exchange(GET).status(), 200);
            let_time_pass(TIMEOUT.mul_f32(0.7));
        }
        assert_eq!(origin.connections(), 1, "nor is the connection to the upstream");
        let upgrade = "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(client.exchange(upgrade).status(), 101);
        let begun = Instant::now();
        while begun.elapsed() < 2 * TIMEOUT {
            client.send("x");
            assert_eq!(client.read_exact(1), b"x");
            let_time_pass(PACE);
        }
    }
}
