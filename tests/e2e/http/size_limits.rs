//! The sizes of `[server.limits]`: what fits passes, what is one over is refused with its own status.

use crate::support::{Client, DEADLINE, DRIVERS, Gateway, Message, Origin, proxy_to};

fn limited(origin: &Origin, limits: &str) -> Gateway {
    Gateway::start(&format!("[server.limits]\n{limits}\n{}", proxy_to(&[&origin.url()])))
}

fn assert_refused(response: &Message, status: u16, reason: &str) {
    assert_eq!((response.status(), &response.json()["reason"]), (status, &reason.into()));
}

/// Sends what the gateway may refuse half way, and reads the answer and the close.
fn refused(gateway: &Gateway, request: impl AsRef<[u8]>, status: u16, reason: &str) {
    let mut client = gateway.connect();
    client.send_lossy(request);
    let response = client.response();
    assert_refused(&response, status, reason);
    assert!(response.connection_lists("close"));
    client.expect_closed();
}

#[test]
fn a_head_over_header_bytes_is_431_and_one_of_exactly_that_size_passes() {
    let origin = Origin::echo();
    let gateway = limited(&origin, "header_bytes = \"1KiB\"");
    let frame = "GET / HTTP/1.1\r\nHost: test\r\nX: \r\n\r\n".len();
    let request =
        |size: usize| format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "y".repeat(size - frame));
    assert_eq!(request(1024).len(), 1024);
    assert_eq!(gateway.exchange(request(1024)).status(), 200);
    refused(&gateway, request(1025), 431, "headers_too_large");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_request_line_over_header_bytes_is_414() {
    let origin = Origin::echo();
    let gateway = limited(&origin, "header_bytes = \"1KiB\"");
    let request = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(1100));
    refused(&gateway, request, 414, "uri_too_long");
    let endless = "GET /".to_string() + &"a".repeat(66_000);
    refused(&gateway, endless, 414, "uri_too_long");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn one_field_too_many_is_431() {
    let origin = Origin::echo();
    let gateway = limited(&origin, "header_count = 20");
    let request = |count: usize| {
        let fields = (1..count).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
        format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
    };
    assert_eq!(gateway.exchange(request(20)).status(), 200);
    refused(&gateway, request(21), 431, "headers_too_large");
}

#[test]
fn the_defaults_hold_against_huge_heads() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let head = "GET / HTTP/1.1\r\nHost: test\r\n";
        let long = "x".repeat(66_000);
        refused(&gateway, format!("{head}X: {long}\r\n\r\n"), 431, "headers_too_large");
        refused(&gateway, format!("{head}{long}: y\r\n\r\n"), 431, "headers_too_large");
        refused(&gateway, format!("{head}{long}"), 431, "headers_too_large");
        refused(&gateway, format!("{head}{}\r\n", "a:b\r\n".repeat(10_000)), 431, "headers_too_large");
        refused(&gateway, format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n"), 414, "uri_too_long");
        assert_eq!(origin.connections(), 0);
        assert_eq!(gateway.get("/").status(), 200, "others are served");
    }
}

#[test]
fn ninety_six_fields_pass_by_default_and_ninety_seven_do_not() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let request =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    assert_eq!(gateway.exchange(request(96)).echoed().all("a").len(), 95);
    refused(&gateway, request(97), 431, "headers_too_large");
}

#[test]
fn a_thousand_fields_pass_where_they_are_allowed() {
    let origin = Origin::echo();
    let gateway = limited(&origin, "header_bytes = \"64KiB\"\nheader_count = 1000");
    let fields: String = (1..1000).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let echoed = gateway.exchange(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).echoed();
    assert_eq!(echoed.field("x-999"), Some("999"));
    refused(
        &gateway,
        format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}y: 1\r\n\r\n"),
        431,
        "headers_too_large",
    );
}

#[test]
fn a_body_whose_length_is_over_body_bytes_is_413_before_the_origin_hears_of_it() {
    let origin = Origin::echo();
    let gateway = limited(&origin, "body_bytes = \"1KiB\"");
    let request = |size: usize| {
        format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n{}", "x".repeat(size))
    };
    assert_eq!(gateway.exchange(request(1024)).status(), 200);
    assert_refused(&gateway.exchange(request(1025)), 413, "body_too_large");
    refused(&gateway, request(70_000), 413, "body_too_large");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_client_that_expects_100_gets_413_instead_and_sends_nothing() {
    let origin = Origin::echo();
    let gateway = limited(&origin, "body_bytes = \"1KiB\"");
    let request = "PUT / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1025\r\n\r\n";
    refused(&gateway, request, 413, "body_too_large");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_413_can_be_read_while_the_body_is_still_being_sent() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let config = format!("[server.limits]\nbody_bytes = \"1KiB\"\n{}", proxy_to(&[&origin.url()]));
        let gateway = Gateway::with_driver(driver, &config);
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 3_000_000));
        let mut writer = client.wire().writer();
        // A client that reads nothing before it has sent all: the close must not throw the answer away.
        let _ = std::io::Write::write_all(&mut writer, &vec![b'x'; 3_000_000]);
        assert_refused(&client.response(), 413, "body_too_large");
    }
}

#[test]
fn a_chunked_body_that_grows_over_body_bytes_is_413_and_never_complete_for_the_origin() {
    let origin = Origin::new(|peer| assert!(peer.request().is_none(), "a complete body"));
    let gateway = limited(&origin, "body_bytes = \"1KiB\"");
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    refused(&gateway, format!("{head}{}0\r\n\r\n", chunk.repeat(3)), 413, "body_too_large");
    let mut client = gateway.connect();
    client.send(format!("{head}{chunk}{chunk}"));
    client.send("1\r\nx\r\n");
    assert_refused(&client.response(), 413, "body_too_large");
    client.expect_closed();
}

#[test]
fn a_chunked_body_of_exactly_body_bytes_passes() {
    let origin = Origin::echo();
    let gateway = limited(&origin, "body_bytes = \"1KiB\"");
    let body = format!("400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024));
    let request = format!("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    assert_eq!(gateway.exchange(request).status(), 200);
}

#[test]
fn a_connection_over_max_connections_is_told_so_and_closed() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let config = format!("[server.limits]\nmax_connections = 2\n{}", proxy_to(&[&origin.url()]));
        let gateway = Gateway::with_driver(driver, &config);
        let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
        let mut kept: Vec<Client> = (0..2).map(|_| gateway.connect()).collect();
        for client in &mut kept {
            assert_eq!(client.exchange(get).status(), 200);
        }
        let mut third = gateway.connect();
        assert_refused(&third.response(), 503, "overloaded");
        third.expect_closed();
        assert_eq!(kept[0].exchange(get).status(), 200, "those inside go on");
        drop(kept.pop());
        // The gateway hears of the leaving in its own time.
        let until = std::time::Instant::now() + DEADLINE;
        while gateway.connect().send_lossy(get).response().status() != 200 {
            assert!(std::time::Instant::now() < until, "the place that became free is not given away");
        }
    }
}

#[test]
fn a_flood_of_connections_over_max_connections_does_not_pile_up() {
    const FLOOD: usize = 600;
    for driver in DRIVERS {
        let config = "[server.limits]\nmax_connections = 1\n\
                      [[route]]\nname = \"all\"\npath = \"/*\"\nrespond = { status = 200, body = \"hi\" }\n";
        let gateway = Gateway::with_driver(driver, config);
        let mut kept = gateway.connect();
        assert_eq!(kept.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n").status(), 200);
        let before = gateway.open_files();
        // None of them goes away by itself.
        let mut flood: Vec<Client> = (0..FLOOD).map(|_| gateway.connect()).collect();
        for client in &mut flood {
            assert_refused(&client.response(), 503, "overloaded");
        }
        let held = gateway.open_files().saturating_sub(before);
        assert!(held < FLOOD / 2, "{driver}: {held} descriptors are held for those refused");
    }
}
