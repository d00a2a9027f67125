//! `on_request_body`: the body read as a whole, whatever its framing, its client's haste or its end.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc;

use super::{GET, mirror, post, reason, route_to, scripted, with_script};
use crate::support::{Client, DEADLINE, DRIVERS, Gateway, Origin, pattern, proxy_with};

/// Tells the origin what it has read.
const READ: &str = "fn on_request_body(req) {
    let size = if req.body == () { -1 } else { req.body.len };
    req.headers[\"x-size\"] = size;
}";

fn small(origin: &Origin, script: &str, driver: &str) -> Gateway {
    let toml = format!("[scripts]\nmax_body = \"2KiB\"\n{}", route_to(origin, ""));
    with_script(script).driver(driver).start(&toml)
}

#[test]
fn a_body_comes_whole_to_the_hook_and_on_to_the_origin() {
    for driver in DRIVERS {
        let origin = mirror();
        let gateway = with_script(READ).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        client.send(post("", "hello"));
        let chunked = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n\
                       2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n";
        client.send(chunked).send(GET).send(post("", "last!"));
        for body in ["hello", "hello", "", "last!"] {
            assert_eq!(client.response().text(), body, "{driver}");
        }
        assert_eq!(origin.connections(), 1);
        client.send_bytewise(chunked);
        assert_eq!(client.response().text(), "hello");
        client.expect_silence();
        let requests = origin.requests();
        let sizes: Vec<_> = requests.iter().map(|r| r.field("x-size").expect("it ran")).collect();
        assert_eq!(sizes, ["5", "5", "-1", "5", "5"]);
        for request in [&requests[0], &requests[1], &requests[3], &requests[4]] {
            assert_eq!(request.field("content-length"), Some("5"));
            assert!(!request.has("transfer-encoding") && !request.has("trailer"));
        }
        assert!(!requests[2].has("content-length"));
    }
}

#[test]
fn the_origin_is_not_asked_before_the_body_is_here() {
    let origin = mirror();
    let gateway = scripted(&origin, READ);
    let mut client = gateway.connect();
    client.send_taken("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello");
    client.expect_silence();
    assert_eq!(origin.connections(), 0);
    assert_eq!(client.send("world").response().text(), "helloworld");
}

#[test]
fn a_large_body_passes_byte_for_byte() {
    for driver in DRIVERS {
        let origin = mirror();
        let toml = format!("[scripts]\nmax_body = \"4MiB\"\n{}", route_to(&origin, ""));
        let gateway = with_script("fn on_request_body(req) { }").driver(driver).start(&toml);
        let body = pattern(3_000_000);
        let mut client = gateway.connect();
        let head = format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut writer = client.wire().writer();
        let whole = [head.as_bytes(), &body].concat();
        let sending = std::thread::spawn(move || writer.write_all(&whole));
        assert!(client.response().body == body, "{driver}: the body came back changed");
        sending.join().expect("no panic").expect("all was taken");
    }
}

#[test]
fn the_gateway_itself_lets_a_body_come_that_waits_for_100() {
    for driver in DRIVERS {
        for script in [READ, "fn on_request(req) { req.body = \"hello\"; }"] {
            let origin = mirror();
            let gateway = with_script(script).driver(driver).start(&route_to(&origin, ""));
            let mut client = gateway.connect();
            let head = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
            for _ in 0..2 {
                client.send(head);
                assert_eq!(client.response().status(), 100);
                assert_eq!(client.send("hello").response().text(), "hello");
            }
            for request in origin.requests() {
                assert!(!request.has("expect"), "{:?}", request.fields);
            }
            client.expect_silence();
        }
    }
}

#[test]
fn a_100_is_left_out_where_the_body_is_here_or_there_is_none() {
    let origin = mirror();
    let gateway = scripted(&origin, READ);
    let mut client = gateway.connect();
    assert_eq!(client.exchange(post("Expect: 100-continue\r\n", "hello")).text(), "hello");
    assert_eq!(client.exchange(post("Expect: 100-continue\r\n", "")).status(), 200);
    let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(old);
    client.expect_silence();
    assert_eq!(client.send("hello").response().text(), "hello");
}

#[test]
fn a_body_over_max_body_is_413_and_no_100_goes_before_it_where_its_length_is_said() {
    for driver in DRIVERS {
        let origin = mirror();
        let gateway = small(&origin, READ, driver);
        let said = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2049\r\n\r\n";
        let mut client = gateway.connect();
        let answer = client.exchange(said);
        assert_eq!((answer.status(), reason(&answer).as_str()), (413, "body_too_large"));
        assert!(answer.connection_lists("close"));
        client.finish();
        client.expect_closed();

        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("801\r\n{}\r\n", "x".repeat(0x801)));
        assert_eq!(client.response().status(), 413);
        client.finish();
        client.expect_closed();
        assert_eq!(origin.connections(), 0);
        assert_eq!(gateway.exchange(post("", &"x".repeat(2048))).body.len(), 2048, "exactly as much is fine");
    }
}

#[test]
fn a_client_that_stalls_in_its_body_is_408_and_one_that_leaves_is_499() {
    for driver in DRIVERS {
        let origin = mirror();
        let limits = "[server.limits]\nbody_timeout = \"300ms\"\n";
        let gateway = with_script(READ).driver(driver).start(&format!("{limits}{}", route_to(&origin, "")));
        let part = "POST /part HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello";
        let mut client = gateway.connect();
        let answer = client.exchange(part);
        assert_eq!(answer.status(), 408);
        client.expect_closed();
        let gateway = with_script(READ).driver(driver).start(&route_to(&origin, ""));
        let end: [fn(Client); 2] = [Client::reset, drop];
        for leave in end {
            let mut client = gateway.connect();
            client.send_taken(part);
            leave(client);
        }
        let mut left = 0;
        gateway.wait_for_log(|line| {
            left += usize::from(line["status"] == 499);
            left == 2
        });
        assert_eq!(origin.connections(), 0);
    }
}

#[test]
fn a_malformed_body_is_400() {
    let origin = mirror();
    let gateway = scripted(&origin, READ);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    client.finish();
    client.expect_closed();
    assert_eq!(origin.connections(), 0);
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory")
}

#[test]
fn a_coded_body_is_read_decoded_and_goes_on_as_it_came_unless_it_is_changed() {
    let script = r#"fn on_request_body(req) {
        req.headers["x-size"] = if req.body == () { 0 } else { req.body.len };
        if "x-change" in req.headers { req.body = req.body + "!"; }
    }"#;
    for driver in DRIVERS {
        let origin = mirror();
        let gateway = small(&origin, script, driver);
        let mut client = gateway.connect();
        let coded = gzip(b"hello");
        let mut send = |more: &str, body: &[u8]| {
            let head = format!(
                "POST / HTTP/1.1\r\nHost: t\r\nContent-Encoding: gzip\r\n{more}Content-Length: {}\r\n\r\n",
                body.len()
            );
            client.exchange([head.as_bytes(), body].concat())
        };
        assert_eq!(send("", b"").status(), 200, "nothing to decode");
        assert_eq!(send("", &coded).body, coded);
        assert_eq!(send("X-Change: 1\r\n", &coded).body, b"hello!");
        let requests = origin.requests();
        assert_eq!(requests[1].field("content-encoding"), Some("gzip"));
        assert!(!requests[2].has("content-encoding"));
        assert_eq!(requests[1].field("x-size"), Some("5"));
        assert_eq!(send("", &gzip(&vec![0; 1_000_000])).status(), 413, "a bomb");
        for coding in ["gzip", "zstd"] {
            let coded = post(&format!("Content-Encoding: {coding}\r\n"), "no such thing");
            let answer = gateway.exchange([coded.as_bytes(), GET.as_bytes()].concat());
            assert_eq!((answer.status(), reason(&answer).as_str()), (400, "bad_request"), "{coding}");
        }
        assert_eq!(origin.requests().len(), 3);
    }
}

#[test]
fn where_errors_are_ignored_a_coded_body_that_cannot_be_read_goes_on_as_it_came() {
    let origin = mirror();
    let toml = format!("[scripts]\non_error = \"ignore\"\n{}", route_to(&origin, ""));
    let gateway = with_script("fn on_request_body(req) { req.body = \"changed\"; }").start(&toml);
    for coding in ["gzip", "zstd"] {
        let answer = gateway.exchange(post(&format!("Content-Encoding: {coding}\r\n"), "no such thing"));
        assert_eq!((answer.status(), answer.text()), (200, "no such thing"), "{coding}");
        let line = gateway.wait_for_message("on_request_body is passed by");
        assert!(line.contains("WARN"), "{line}");
    }
}

#[test]
fn a_body_set_in_on_request_waits_for_the_clients_old_one() {
    for driver in DRIVERS {
        let origin = mirror();
        let gateway = with_script("fn on_request(req) { req.body = \"new\"; }")
            .driver(driver)
            .start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        client.send_taken("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello");
        client.send_taken("wo").send_taken("rld");
        client.send(GET);
        assert_eq!(client.response().text(), "new");
        assert_eq!(client.response().text(), "new");
        client.expect_silence();
    }
}

#[test]
fn a_dead_pooled_connection_is_replaced_and_gets_the_body_once_more() {
    for (driver, size) in DRIVERS.into_iter().flat_map(|driver| [(driver, 5), (driver, 500_000)]) {
        let origin = Origin::new(|peer| {
            if let Some(request) = peer.request() {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
                peer.send([head.as_bytes(), &request.body].concat());
            }
            // The second request finds the connection closed after it was sent, as a real timeout would.
            if peer.number == 0 {
                peer.head();
                peer.reset();
            }
        });
        let gateway = with_script(READ).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        let put = post("", &"x".repeat(size)).replace("POST", "PUT");
        assert_eq!(client.exchange(&put).body.len(), size);
        assert_eq!(client.exchange(&put).body.len(), size, "{driver}");
        assert_eq!(origin.connections(), 2);
        gateway.wait_for_log(|line| line["retries"] == 1);
    }
}

#[test]
fn an_origin_that_answers_before_it_has_taken_a_large_body_is_heard() {
    for driver in DRIVERS {
        let (_held, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let origin = Origin::new(move |peer| {
            if peer.head().is_some() {
                peer.send("HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno");
                // Takes nothing, and keeps the connection for as long as the client waits.
                let _ = released.lock().map(|released| released.recv());
            }
        });
        let toml = proxy_with(&[&origin.url()], "", "scripts = [\"a.rhai\"]");
        let toml = format!("[scripts]\nmax_body = \"32MiB\"\n{toml}");
        let gateway = with_script("fn on_request_body(req) { }").driver(driver).start(&toml);
        let body = vec![b'x'; 30_000_000];
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len()));
        let answer = client.send(&body).response();
        assert_eq!((answer.status(), answer.text()), (413, "no"), "{driver}");
    }
}

#[test]
fn an_origin_that_sends_while_it_reads_does_not_block_a_large_body() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            let Some(head) = peer.head() else { return };
            let mut left = head.content_length().expect("a length");
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n"));
            while left > 0 {
                let piece = left.min(64 * 1024);
                let Ok(bytes) = peer.wire().read_exact(piece) else { return };
                peer.send(&bytes);
                left -= piece;
            }
        });
        let toml = format!("[scripts]\nmax_body = \"32MiB\"\n{}", route_to(&origin, ""));
        let gateway = with_script("fn on_request_body(req) { }").driver(driver).start(&toml);
        let body = pattern(30_000_000);
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert!(client.response().body == body, "{driver}");
    }
}

#[test]
fn a_drain_waits_for_a_body_that_is_being_read_and_ends_its_connection() {
    let origin = mirror();
    let mut gateway = scripted(&origin, READ);
    let mut client = gateway.connect();
    client.send_taken("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello");
    gateway.signal("TERM");
    gateway.wait_for_message("drain");
    let answer = client.send("world").response();
    assert_eq!(answer.text(), "helloworld");
    assert!(answer.connection_lists("close"));
    client.expect_closed();
    assert!(gateway.wait_for_exit(DEADLINE).success());
}

#[test]
fn the_bytes_of_a_body_are_counted_once() {
    for (hook, size) in
        [("fn on_request_body(req) { }", 100_000), ("fn on_request(req) { req.body = \"x\"; }", 100_000)]
    {
        let origin = mirror();
        let gateway = scripted(&origin, hook);
        let request = post("", &"x".repeat(size));
        let mut client = gateway.connect();
        client.send(&request);
        let answered = client.response().body.len();
        let line = gateway.wait_for_log(|_| true);
        assert_eq!(line["bytes_in"], request.len());
        assert!(line["bytes_out"].as_u64().is_some_and(|bytes| bytes > answered as u64));
    }
}
