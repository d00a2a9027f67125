//! What a refusal leaves of the connection.

use super::{ALICE, get, key, refusal, refused, route_to};
use crate::support::{DRIVERS, Gateway, Origin};

fn gateway(driver: &str, origin: &Origin) -> Gateway {
    Gateway::with_driver(driver, &format!("{ALICE}{}", route_to(origin, "auth = [\"key\"]")))
}

fn no_credentials() -> (u16, String) {
    refused(401, "no_credentials")
}

#[test]
fn after_a_401_the_connection_serves_the_next_request() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = gateway(driver, &origin);
        let mut client = gateway.connect();
        let body = format!(
            "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello{}",
            get("/b", &key("alices-key"))
        );
        assert_eq!(refusal(&client.exchange(body)), no_credentials());
        assert_eq!(client.response().echoed().target(), "/b", "its body was here and is gone");
        for _ in 0..3 {
            assert_eq!(refusal(&client.exchange(get("/", ""))), no_credentials());
            assert_eq!(client.exchange(get("/", &key("alices-key"))).status(), 200);
        }
    }
}

#[test]
fn a_body_still_to_come_delays_no_answer_and_is_never_taken_for_a_request() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = gateway(driver, &origin);
        let smuggled = get("/smuggled", &key("alices-key"));
        for framing in [format!("Content-Length: {}", smuggled.len()), "Transfer-Encoding: chunked".into()] {
            let mut client = gateway.connect();
            client.send(format!("POST / HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\n"));
            let answer = client.response();
            assert_eq!(refusal(&answer), no_credentials(), "before the body is here");
            client.send_lossy(&smuggled).finish();
            assert!(client.read_to_cut().is_empty());
        }
        assert!(origin.requests().is_empty());
    }
}

#[test]
fn who_waits_for_100_gets_the_401_instead() {
    let origin = Origin::echo();
    let gateway = gateway("auto", &origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response();
    assert_eq!(refusal(&answer), no_credentials());
    assert!(answer.connection_lists("close"));
}

#[test]
fn http_1_0_is_refused_and_let_in_alike() {
    let origin = Origin::echo();
    let gateway = gateway("auto", &origin);
    let mut client = gateway.connect();
    let answer = client.exchange("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(refusal(&answer), no_credentials());
    assert_eq!(answer.field("www-authenticate"), Some("Key realm=\"ringway\""));
    client.expect_closed();
    let mut client = gateway.connect();
    assert_eq!(client.exchange("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").status(), 401);
    let with_key = format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\n{}\r\n", key("alices-key"));
    assert_eq!(client.exchange(with_key).status(), 200);
}

#[test]
fn pipelined_requests_are_each_judged_by_themselves() {
    let origin = Origin::echo();
    let gateway = gateway("auto", &origin);
    let mut client = gateway.connect();
    let (with, without) = (get("/", &key("alices-key")), get("/", ""));
    client.send([&with[..], &without, &with, &without, &without, &with].concat());
    let statuses: Vec<_> = (0..6).map(|_| client.response().status()).collect();
    assert_eq!(statuses, [200, 401, 200, 401, 401, 200]);
}
