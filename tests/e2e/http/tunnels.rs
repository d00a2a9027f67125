//! Upgrades: from the 101 on, bytes both ways, each direction ended by itself; and CONNECT, which is refused.

use crate::support::{DRIVERS, Gateway, Origin, Peer, on_both_drivers, pattern, proxy_with};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: abc\r\n\r\n";

/// Accepts the upgrade and sends everything back in upper case until the client's half ends, then says goodbye.
fn shout(peer: &mut Peer) {
    let Some(request) = peer.head() else { return };
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert!(request.connection_lists("upgrade"));
    assert_eq!(request.field("sec-websocket-key"), Some("dGhlIHNhbXBsZQ=="));
    peer.send(SWITCHING);
    while let Ok(byte) = peer.wire().read_exact(1) {
        peer.send(byte.to_ascii_uppercase());
    }
    peer.send("goodbye");
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    on_both_drivers(
        || Origin::new(shout),
        |gateway, _| {
            let mut client = gateway.connect();
            let response = client.exchange(UPGRADE);
            assert_eq!(response.start_line, "HTTP/1.1 101 Switching Protocols");
            assert_eq!(response.field("upgrade"), Some("websocket"));
            assert!(response.connection_lists("upgrade"));
            assert_eq!(response.field("sec-websocket-accept"), Some("abc"));
            for _ in 0..10 {
                client.send("ping\r\n\r\n");
                assert_eq!(client.read_exact(8), b"PING\r\n\r\n");
            }
        },
    );
}

#[test]
fn open_tunnels_are_counted_for_as_long_as_they_last() {
    on_both_drivers(
        || Origin::new(shout),
        |gateway, _| {
            let mut client = gateway.connect();
            assert_eq!(client.exchange(UPGRADE).status(), 101);
            gateway.wait_for_metric("ringway_tunnels", "shard=\"0\"", |open| open == 1.0);
            client.finish();
            gateway.wait_for_metric("ringway_tunnels", "shard=\"0\"", |open| open == 0.0);
        },
    );
}

#[test]
fn a_client_may_end_its_half_and_still_hear_the_rest() {
    on_both_drivers(
        || Origin::new(shout),
        |gateway, _| {
            let mut client = gateway.connect();
            client.exchange(UPGRADE);
            client.send("last words").finish();
            assert_eq!(client.read_to_end(), b"LAST WORDSgoodbye");
        },
    );
}

#[test]
fn an_origin_may_end_its_half_and_still_hear_the_rest() {
    fn handle(peer: &mut Peer) {
        if peer.head().is_some() {
            peer.send(SWITCHING);
            peer.send("I am done");
            peer.finish();
            assert_eq!(peer.drain(), b"I am not");
        }
    }
    on_both_drivers(
        || Origin::new(handle),
        |gateway, origin| {
            let mut client = gateway.connect();
            client.exchange(UPGRADE);
            assert_eq!(client.read_to_end(), b"I am done");
            client.send("I am not").finish();
            origin.wait_for_closed(1);
        },
    );
}

#[test]
fn bytes_right_behind_the_upgrade_arrive_on_either_side() {
    fn handle(peer: &mut Peer) {
        if peer.head().is_some() {
            peer.send(format!("{SWITCHING}early origin"));
            let early = peer.wire().read_exact(12).expect("the client's early bytes");
            peer.send(early);
        }
    }
    on_both_drivers(
        || Origin::new(handle),
        |gateway, _| {
            let mut client = gateway.connect();
            let response = client.exchange(format!("{UPGRADE}early client"));
            assert_eq!(response.status(), 101);
            assert_eq!(client.read_to_end(), b"early originearly client");
        },
    );
}

#[test]
fn a_tunnel_carries_megabytes_both_ways_at_once() {
    fn handle(peer: &mut Peer) {
        if peer.head().is_some() {
            peer.send(SWITCHING);
            let mut writer = peer.wire().writer();
            let sending =
                std::thread::spawn(move || std::io::Write::write_all(&mut writer, &pattern(8_000_000)));
            assert!(peer.wire().read_exact(8_000_000).is_ok_and(|bytes| bytes == pattern(8_000_000)));
            sending.join().expect("the sender does not panic").expect("the gateway takes all");
        }
    }
    on_both_drivers(
        || Origin::new(handle),
        |gateway, _| {
            let mut client = gateway.connect();
            client.exchange(UPGRADE);
            let mut writer = client.wire().writer();
            let sending =
                std::thread::spawn(move || std::io::Write::write_all(&mut writer, &pattern(8_000_000)));
            assert!(client.read_exact(8_000_000) == pattern(8_000_000));
            sending.join().expect("the sender does not panic").expect("the gateway takes all");
        },
    );
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let origin = Origin::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        let response = client.exchange(UPGRADE);
        assert_eq!((response.status(), response.text()), (403, "no"));
    }
}

#[test]
fn upgrade_without_connection_upgrade_is_no_upgrade() {
    let origin = Origin::echo();
    let echoed = Gateway::proxying(&origin)
        .exchange("GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\r\n")
        .echoed();
    assert!(!echoed.has("upgrade"), "hop-by-hop: goes when it is not the gateway's to pass on");
}

#[test]
fn an_upgrade_to_http2_is_not_passed_on() {
    // Requests inside such a tunnel would go past every rule of the gateway.
    let origin = Origin::echo();
    let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABk\r\n\r\n";
    let echoed = Gateway::proxying(&origin).exchange(request).echoed();
    assert!(!echoed.has("upgrade") && !echoed.has("http2-settings") && !echoed.connection_lists("upgrade"));
}

#[test]
fn a_101_that_nobody_asked_for_is_refused() {
    let origin = Origin::answering(format!("{SWITCHING}GET /smuggled HTTP/1.1\r\n\r\n"));
    let response = Gateway::proxying(&origin).get("/");
    assert_eq!((response.status(), &response.json()["reason"]), (502, &"upstream_protocol".into()));
}

#[test]
fn a_silent_tunnel_ends_after_the_upstreams_idle_timeout() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if peer.head().is_some() {
                peer.send(SWITCHING);
                peer.drain();
            }
        });
        let config = proxy_with(&[&origin.url()], "idle_timeout = \"500ms\"", "");
        let gateway = Gateway::with_driver(driver, &config);
        let mut client = gateway.connect();
        client.exchange(UPGRADE);
        client.expect_closed();
        origin.wait_for_closed(1);
    }
}

#[test]
fn one_end_that_dies_takes_the_other_with_it() {
    on_both_drivers(
        || Origin::new(shout),
        |gateway, origin| {
            let mut client = gateway.connect();
            client.exchange(UPGRADE);
            client.reset();
            origin.wait_for_closed(1);
        },
    );
    fn dies(peer: &mut Peer) {
        if peer.head().is_some() {
            peer.send(SWITCHING);
            let _ = peer.wire().read_exact(1);
            peer.reset();
        }
    }
    on_both_drivers(
        || Origin::new(dies),
        |gateway, _| {
            let mut client = gateway.connect();
            client.exchange(UPGRADE);
            client.send("x").expect_closed();
        },
    );
}

#[test]
fn connect_is_refused() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    for target in ["test:443", "127.0.0.1:22", "/"] {
        let response = gateway.exchange(format!("CONNECT {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(
            (response.status(), &response.json()["reason"]),
            (405, &"method_not_allowed".into()),
            "{target}"
        );
        assert!(response.has("allow"), "RFC 9110, 15.5.6");
    }
    assert_eq!(origin.connections(), 0);
}

/// An origin that takes an upgrade for the end of the message, whatever the head says of a body, and what follows for
/// requests of their own. It is slow to answer an upgrade, so that what follows has time to come.
fn ends_messages_at_upgrades(peer: &mut Peer) {
    while let Some(request) = peer.head() {
        let answer =
            |target: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
        if request.has("upgrade") {
            let Some(smuggled) = peer.head() else { return };
            peer.send(answer(request.target()));
            peer.send(answer(smuggled.target()));
        } else {
            if let Some(length) = request.content_length() {
                peer.wire().read_exact(length).expect("the body");
            }
            peer.send(answer(request.target()));
        }
    }
}

#[test]
fn a_body_beside_an_upgrade_is_never_read_as_requests() {
    let body = "GET /admin/delete HTTP/1.1\r\nHost: test\r\nX-Consumer-Name: alice\r\n\r\n";
    for driver in DRIVERS {
        for protocol in ["foo", "websocket"] {
            let origin = Origin::new(ends_messages_at_upgrades);
            let gateway = Gateway::with_driver(driver, &proxy_with(&[&origin.url()], "", ""));
            let mut attacker = gateway.connect();
            attacker.send(format!(
                "POST /public HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            ));
            // The head is with the origin before the body comes.
            origin.wait_for_requests(1);
            attacker.send(body);
            assert_eq!(attacker.response().body, b"/public", "{driver} {protocol}");
            assert_eq!(gateway.get("/next").body, b"/next", "{driver} {protocol}");
            let requests = origin.requests();
            let paths: Vec<&str> = requests.iter().map(|request| request.target()).collect();
            assert_eq!(paths, ["/public", "/next"], "{driver} {protocol}");
        }
    }
}

#[test]
fn a_route_passes_on_upgrades_to_its_own_protocols_alone() {
    for (keys, offered, expected) in [
        ("", "websocket", Some("websocket")),
        ("", "foo", None),
        ("upgrade = [\"foo\"]", "websocket, foo/2", Some("foo/2")),
        ("upgrade = []", "websocket", None),
    ] {
        let origin = Origin::echo();
        let gateway = Gateway::with_driver("auto", &proxy_with(&[&origin.url()], "", keys));
        let request =
            format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: {offered}\r\n\r\n");
        assert_eq!(gateway.exchange(request).status(), 200);
        let seen = &origin.requests()[0];
        assert_eq!(seen.field("upgrade"), expected, "{keys} {offered}");
        assert_eq!(seen.connection_lists("upgrade"), expected.is_some(), "{keys} {offered}");
    }
}
