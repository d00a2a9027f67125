//! Origins that break the grammar: 502 `upstream_protocol`, the connection dropped, and never a byte of a response
//! that nobody asked for.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::{Client, DRIVERS, Gateway, Origin, proxy_to, show};

/// Each bad head makes a 502 and closes the origin's connection; each good one passes.
fn check(rows: &[(&'static str, &'static [u8], &'static [u8])]) {
    let all: Vec<&'static [u8]> = rows.iter().flat_map(|(_, bad, good)| [*bad, *good]).collect();
    let origin = Origin::new(move |peer| {
        while let Some(request) = peer.request() {
            let number: usize = request.target()[1..].parse().expect("the path is a number");
            peer.send(all[number]);
            if number.is_multiple_of(2) {
                peer.drain();
            }
        }
    });
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    for (number, (rule, bad, good)) in rows.iter().enumerate() {
        eprintln!("{rule}: {}", show(bad));
        let closed_before = number;
        let response = client.exchange(format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", number * 2));
        assert_eq!(response.status(), 502, "{rule}");
        assert_eq!(response.json()["reason"], "upstream_protocol", "{rule}");
        assert!(response.has("proxy-status"), "{rule}");
        origin.wait_for_closed(closed_before + 1);
        if !good.is_empty() {
            let response = client.exchange(format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", number * 2 + 1));
            assert_eq!(response.status(), 200, "valid neighbour of {rule}: {}", show(good));
        }
    }
}

#[test]
fn status_lines_are_held_to_the_grammar() {
    let good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    check(&[
        ("status 099", b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", good),
        ("status 600", b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", b""),
        ("status 000", b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n", b""),
        ("four digits", b"HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n", b""),
        ("two digits", b"HTTP/1.1 20 X\r\nContent-Length: 0\r\n\r\n", b""),
        ("letters", b"HTTP/1.1 2xx X\r\nContent-Length: 0\r\n\r\n", b""),
        (
            "sign",
            b"HTTP/1.1 +20 X\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "HTTP/2.0",
            b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        ("HTTP/1.10", b"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        ("lower case", b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        ("no version", b"200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        ("another protocol", b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        ("garbage", b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", b""),
        ("NUL in the reason", b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n", b""),
        ("CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", b""),
        ("space first", b" HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        ("HTTP/0.9", b"<html>hello</html>\r\n\r\n", b""),
    ]);
}

#[test]
fn fields_are_held_to_the_grammar() {
    check(&[
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", b""),
        (
            "control octet",
            b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\tb\r\nContent-Length: 0\r\n\r\n",
        ),
        ("DEL", b"HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n", b""),
        (
            "space before the colon",
            b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX:a\r\nContent-Length: 0\r\n\r\n",
        ),
        ("folded", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", b""),
        (
            "no colon",
            b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX:\r\nContent-Length: 0\r\n\r\n",
        ),
        ("no name", b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n", b""),
        ("space in a name", b"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 0\r\n\r\n", b""),
        ("bare LF", b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n", b""),
        ("LF everywhere", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b""),
        ("bare CR", b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n", b""),
    ]);
}

#[test]
fn response_framing_is_held_to_the_grammar() {
    check(&[
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello", b""),
        ("a list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 0, 5\r\n\r\nhello", b""),
        (
            "a signed length",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ),
        ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b""),
        ("a length that is none", b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", b""),
        ("an empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", b""),
        ("2^64", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", b""),
        (
            "length and coding",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        ),
        ("gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", b""),
        ("chunked, gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", b""),
        (
            "chunked twice",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"",
        ),
        ("unknown", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nhello", b""),
        ("vertical tab", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", b""),
        ("coding on HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    ]);
}

#[test]
fn a_head_over_64_kib_is_refused_and_one_below_passes() {
    let origin = Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let size: usize = request.target()[1..].parse().expect("the path is a number");
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "y".repeat(size)));
        }
    });
    let gateway = Gateway::proxying(&origin);
    let response = gateway.get("/66000");
    assert_eq!((response.status(), &response.json()["reason"]), (502, &"upstream_protocol".into()));
    assert_eq!(gateway.get("/60000").field("x").map(str::len), Some(60_000));
    let endless = Origin::new(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nX: ");
        while peer.send_all(&[b'y'; 65536]).is_ok() {}
    });
    let response = Gateway::proxying(&endless).get("/");
    assert_eq!((response.status(), &response.json()["reason"]), (502, &"upstream_protocol".into()));
}

#[test]
fn an_origin_that_leaves_inside_its_head_makes_a_502() {
    for answer in ["HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\n", "H"] {
        let origin = Origin::answering_once(answer);
        let response = Gateway::proxying(&origin).get("/");
        let reason = response.json()["reason"].clone();
        assert_eq!(response.status(), 502);
        assert!(reason == "upstream_protocol" || reason == "upstream_reset", "{answer:?}: {reason}");
    }
}

/// What the client has of a response whose body broke off, all that came of it.
fn cut_response(driver: &str, answer: &str, request: &str) -> (Vec<u8>, serde_json::Value) {
    let origin = Origin::answering_once(answer);
    let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
    let mut client = gateway.connect();
    client.send(request);
    assert_eq!(client.head().status(), 200, "{answer:?}");
    let rest = client.read_to_cut();
    (rest, gateway.log_of("/cut"))
}

#[test]
fn a_body_that_ends_too_soon_is_cut_for_the_client_too() {
    for driver in DRIVERS {
        let get = "GET /cut HTTP/1.1\r\nHost: test\r\n\r\n";
        let (body, log) = cut_response(driver, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", get);
        assert_eq!(body, b"hello");
        assert!(log["reason"] == "upstream_reset" || log["reason"] == "upstream_protocol", "{log}");
        let cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for rest in ["5\r\nhello\r\n", "5\r\nhel", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n5"] {
            let (body, _) = cut_response(driver, &format!("{cut}{rest}"), get);
            assert!(!body.ends_with(b"0\r\n\r\n"), "{rest:?}: must not look complete");
        }
    }
}

/// What stands behind a head and a first chunk of "hello".
const BAD_RESTS: [&str; 10] = [
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello!\r\n0\r\n\r\n",
    "\r\n0\r\n\r\n",
    "g\r\n0\r\n\r\n",
    "fffffffffffffffff\r\n0\r\n\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\r\nX: y\n\r\n",
];
const FIRST_CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

#[test]
fn a_chunked_body_that_leaves_the_grammar_later_is_cut_and_never_completed() {
    for driver in DRIVERS {
        for rest in BAD_RESTS {
            let origin = Origin::new(move |peer| {
                if peer.request().is_some() {
                    peer.wire().send_taken(FIRST_CHUNK).expect("the gateway reads");
                    peer.send(rest);
                    peer.drain();
                }
            });
            let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
            let mut client = gateway.connect();
            client.send("GET /cut HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(client.head().status(), 200);
            let body = client.read_to_cut();
            assert!(body.starts_with(b"5\r\nhello"), "{rest:?} came out as {}", show(&body));
            assert!(!body.ends_with(b"\r\n\r\n"), "{rest:?} came out as {}", show(&body));
            assert_eq!(gateway.log_of("/cut")["reason"], "upstream_protocol", "{rest:?}");
            origin.wait_for_closed(1);
        }
    }
}

#[test]
fn a_chunked_body_outside_the_grammar_in_the_heads_own_packet_is_never_completed() {
    for rest in BAD_RESTS {
        let origin = Origin::answering(format!("{FIRST_CHUNK}{rest}"));
        let gateway = Gateway::proxying(&origin);
        let mut client = gateway.connect();
        client.send("GET /cut HTTP/1.1\r\nHost: test\r\n\r\n");
        // Nothing was sent yet, so it can still be told from a good answer; or else it is cut.
        match client.head().status() {
            502 => {}
            200 => assert!(!client.read_to_cut().ends_with(b"\r\n\r\n"), "{rest:?}"),
            other => panic!("{other} for {rest:?}"),
        }
        assert_eq!(gateway.log_of("/cut")["reason"], "upstream_protocol", "{rest:?}");
    }
}

/// Two requests on one connection; the origin's first answer has something unasked with it.
fn next_answer_is_its_own(driver: &str, first: &'static [u8], first_body: &str) {
    let origin = Origin::new(move |peer| {
        if peer.request().is_some() {
            peer.send(if peer.number == 0 {
                first
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue"
            });
            peer.drain();
        }
    });
    let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
    let mut client = gateway.connect();
    let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    assert_eq!(client.exchange(get).text(), first_body, "{}", show(first));
    assert_eq!(client.exchange(get).text(), "true", "{}", show(first));
    client.expect_silence();
    assert_eq!(origin.connections(), 2, "{}", show(first));
}

#[test]
fn what_an_origin_sends_behind_a_response_reaches_nobody() {
    for driver in DRIVERS {
        let evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        next_answer_is_its_own(driver, evil, "good");
        next_answer_is_its_own(driver, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood and more", "good");
        next_answer_is_its_own(
            driver,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            "good",
        );
        next_answer_is_its_own(driver, b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "");
        next_answer_is_its_own(
            driver,
            b"HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            "",
        );
        next_answer_is_its_own(
            driver,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
            "",
        );
    }
}

#[test]
fn a_body_sent_in_answer_to_head_reaches_nobody() {
    let origin = Origin::new(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue");
            peer.drain();
        }
    });
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status(), 200);
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n").text(), "true");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_unasked_response_on_an_idle_connection_reaches_nobody() {
    for driver in DRIVERS {
        let (release, released) = channel();
        let (sent, wait) = channel();
        let released = Mutex::new((released, sent));
        let origin = Origin::new(move |peer| {
            if peer.request().is_none() {
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue");
            if peer.number == 0 {
                let released = released.lock().expect("one connection");
                released.0.recv().expect("the client has its answer");
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
                released.1.send(()).expect("the test waits");
            }
            peer.drain();
        });
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client: Client = gateway.connect();
        let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
        assert_eq!(client.exchange(get).text(), "true");
        release.send(()).expect("the origin waits");
        wait.recv().expect("the origin has sent it");
        assert_eq!(client.exchange(get).text(), "true");
        assert_eq!(origin.connections(), 2);
    }
}
