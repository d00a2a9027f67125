//! `max_inflight`: what a route or an upstream has in flight has a bound, and what is over it is refused at once.

use std::sync::{Arc, Barrier};
use std::time::Instant;

use crate::support::{DEADLINE, DRIVERS, Gateway, Origin, proxy_with};

const HELD: &str = "GET /held HTTP/1.1\r\nHost: t\r\n\r\n";
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// An origin that answers `/held` once so many requests for it, and the test, wait at the barrier. An upgrade becomes a
/// tunnel until the client ends it.
fn holding(requests: usize) -> (Arc<Barrier>, Origin) {
    let barrier = Arc::new(Barrier::new(requests + 1));
    let for_origin = barrier.clone();
    let origin = Origin::new(move |peer| {
        while let Some(request) = peer.request() {
            if request.field("upgrade").is_some() {
                peer.send("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
                peer.drain();
                return;
            }
            if request.start_line.contains("/held") {
                for_origin.wait();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (barrier, origin)
}

/// The keys of the upstream and of the route, with this one in either.
fn in_either(key: &str) -> [(&str, &str); 2] {
    [(key, ""), ("", key)]
}

fn assert_overloaded(gateway: &Gateway) {
    let mut client = gateway.connect();
    let refused = client.exchange("GET /over HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!((refused.status(), &refused.json()["reason"]), (503, &"overloaded".into()));
    client.expect_closed();
}

/// There is room again as soon as the gateway has seen the end of another.
fn assert_room(gateway: &Gateway) {
    let until = Instant::now() + DEADLINE;
    while gateway.get("/free").status() != 200 {
        assert!(Instant::now() < until, "it stays full");
    }
}

#[test]
fn what_is_over_max_inflight_is_refused_at_once_and_reaches_no_target() {
    for driver in DRIVERS {
        for (upstream_keys, route_keys) in in_either("max_inflight = 2") {
            let (barrier, origin) = holding(2);
            let config = proxy_with(&[&origin.url()], upstream_keys, route_keys);
            let gateway = Gateway::with_driver(driver, &config);
            let mut held = [gateway.connect(), gateway.connect()];
            held.iter_mut().for_each(|client| _ = client.send(HELD));
            origin.wait_for_requests(2);
            assert_overloaded(&gateway);
            let line = gateway.log_of("/over");
            assert_eq!((&line["reason"], &line["route"]), (&"overloaded".into(), &"all".into()));
            assert!(line["target"].is_null(), "{line}");
            // What is in flight counts on after a reload.
            gateway.write_config(&format!("{config}timeout = \"20s\"\n"));
            assert_eq!(gateway.admin("POST", "/reload").status(), 200);
            assert_overloaded(&gateway);
            assert_eq!(origin.requests().len(), 2);
            barrier.wait();
            held.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
            assert_room(&gateway);
        }
    }
}

#[test]
fn a_tunnel_is_in_flight_for_as_long_as_it_is_open() {
    for driver in DRIVERS {
        for (upstream_keys, route_keys) in in_either("max_inflight = 1") {
            let (_, origin) = holding(1);
            let config = proxy_with(&[&origin.url()], upstream_keys, route_keys);
            let gateway = Gateway::with_driver(driver, &config);
            let mut tunnel = gateway.connect();
            assert_eq!(tunnel.exchange(UPGRADE).status(), 101);
            assert_overloaded(&gateway);
            tunnel.finish();
            tunnel.expect_closed();
            assert_room(&gateway);
        }
    }
}

#[test]
fn a_request_whose_client_leaves_or_whose_upstream_fails_makes_room() {
    for (upstream_keys, route_keys) in in_either("max_inflight = 1") {
        let (_barrier, origin) = holding(1);
        let gateway = Gateway::start(&proxy_with(&[&origin.url()], upstream_keys, route_keys));
        gateway.connect().send(HELD);
        origin.wait_for_requests(1);
        assert_room(&gateway);
        let failing = Origin::answering_once("HTTP/1.1 nonsense\r\n\r\n");
        let gateway = Gateway::start(&proxy_with(&[&failing.url()], upstream_keys, route_keys));
        for _ in 0..3 {
            assert_eq!(gateway.get("/").status(), 502);
        }
    }
}
