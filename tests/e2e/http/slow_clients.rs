//! Slow clients: a head, a body or a reader that takes too long is ended on time, and costs nobody else anything.

use std::time::{Duration, Instant};

use crate::support::{Client, DRIVERS, Gateway, Origin, let_time_pass, proxy_to};

/// Between the bytes of those who trickle.
const PACE: Duration = Duration::from_millis(20);
const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

fn start(driver: &str, origin: &Origin, limits: &str) -> Gateway {
    Gateway::with_driver(driver, &format!("[server.limits]\n{limits}\n{}", proxy_to(&[&origin.url()])))
}

fn assert_request_timeout(client: &mut Client) {
    let response = client.response();
    assert_eq!((response.status(), &response.json()["reason"]), (408, &"request_timeout".into()));
    assert!(response.connection_lists("close"));
    client.expect_closed();
}

#[test]
fn a_head_that_does_not_end_in_time_is_408() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = start(driver, &origin, "header_timeout = \"400ms\"");
        let begun = Instant::now();
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: te");
        assert_request_timeout(&mut client);
        assert!(begun.elapsed() >= Duration::from_millis(390), "not before its time: {:?}", begun.elapsed());
        assert_eq!(origin.connections(), 0);
    }
}

#[test]
fn a_head_that_trickles_is_408_though_every_byte_comes_in_time() {
    let origin = Origin::echo();
    let gateway = start("auto", &origin, "header_timeout = \"500ms\"");
    let mut client = gateway.connect();
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nX: ");
    while begun.elapsed() < Duration::from_millis(700) {
        client.send_lossy("y");
        assert_eq!(gateway.get("/").status(), 200);
        let_time_pass(PACE);
    }
    assert_request_timeout(&mut client);
}

#[test]
fn an_empty_line_after_a_request_begins_no_head_that_could_be_late() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = start(driver, &origin, "header_timeout = \"200ms\"");
        let mut client = gateway.connect();
        assert_eq!(client.exchange(format!("{GET}\r\n")).status(), 200);
        client.expect_silence();
        assert_eq!(client.exchange(GET).status(), 200);
        client.send("\r\n");
        client.expect_silence();
        // One is ignored, as everywhere.
        client.send("\r\n");
        assert_eq!(client.response().status(), 400);
        client.expect_closed();
    }
}

#[test]
fn the_second_head_on_a_connection_has_the_whole_time_again() {
    let origin = Origin::echo();
    let gateway = start("auto", &origin, "header_timeout = \"400ms\"");
    let mut client = gateway.connect();
    assert_eq!(client.exchange(GET).status(), 200);
    client.send("GET /");
    assert_request_timeout(&mut client);
}

#[test]
fn a_connection_that_sends_nothing_is_closed_without_a_word() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let limits = "header_timeout = \"400ms\"\nkeepalive_timeout = \"400ms\"";
        let gateway = start(driver, &origin, limits);
        gateway.connect().expect_closed();
    }
}

#[test]
fn an_idle_connection_is_closed_after_the_keepalive_timeout() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = start(driver, &origin, "keepalive_timeout = \"400ms\"");
        let mut client = gateway.connect();
        assert_eq!(client.exchange(GET).status(), 200);
        let begun = Instant::now();
        client.expect_closed();
        assert!(begun.elapsed() >= Duration::from_millis(350), "not before its time: {:?}", begun.elapsed());
    }
}

#[test]
fn a_body_that_stops_coming_is_408() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| assert!(peer.request().is_none(), "a complete body"));
        let gateway = start(driver, &origin, "body_timeout = \"400ms\"");
        for framing in ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nha"] {
            let mut client = gateway.connect();
            client.send(format!("POST /slow HTTP/1.1\r\nHost: test\r\n{framing}"));
            assert_request_timeout(&mut client);
        }
        origin.wait_for_closed(2);
        assert_eq!(gateway.log_of("/slow")["reason"], "request_timeout");
    }
}

#[test]
fn a_body_that_keeps_coming_may_take_longer_than_the_body_timeout() {
    let origin = Origin::echo();
    let gateway = start("auto", &origin, "body_timeout = \"1s\"");
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        client.send("1\r\nx\r\n");
        assert_eq!(gateway.get("/").status(), 200);
        let_time_pass(PACE);
    }
    assert_eq!(client.send("0\r\n\r\n").response().status(), 200);
}

#[test]
fn a_client_that_stops_reading_is_let_go_after_the_body_timeout() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
                while peer.send_all(&[b'x'; 65536]).is_ok() {}
            }
        });
        let gateway = start(driver, &origin, "body_timeout = \"500ms\"");
        let mut client = gateway.connect();
        client.send(GET);
        assert_eq!(client.head().status(), 200);
        origin.wait_for_closed(1);
    }
}

#[test]
fn a_hundred_slow_heads_are_closed_in_time_while_others_are_served() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = start(driver, &origin, "header_timeout = \"1s\"");
        let mut served = gateway.connect();
        let mut slow: Vec<Client> = (0..100).map(|_| gateway.connect()).collect();
        for client in &mut slow {
            client.send("GET / HTTP/1.1\r\nHost: test\r\nX: ");
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(900) {
            assert_eq!(served.exchange(GET).status(), 200);
            for client in &mut slow {
                client.send_lossy("y");
            }
            let_time_pass(PACE);
        }
        for client in &mut slow {
            assert_request_timeout(client);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "all closed after {:?}", begun.elapsed());
    }
}
