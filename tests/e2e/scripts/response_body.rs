//! `on_response_body`: the body read as a whole, whatever its framing or coding, and what its upstream does in it.

use std::io::Write;

use super::{GET, reason, route_to, scripted, with_script};
use crate::support::{Client, DRIVERS, Origin, pattern, proxy_with};

const UPPER: &str = "fn on_response_body(req, res) { res.body = res.body.to_upper(); }";

#[test]
fn a_body_of_any_framing_reaches_the_hook_and_leaves_with_a_length() {
    let responses = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 1),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nT: 1\r\n\r\n",
            1,
        ),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", 3),
        ("HTTP/1.0 200 OK\r\n\r\nhello", 3),
    ];
    for driver in DRIVERS {
        for (response, connections) in responses {
            let is_delimited = connections == 1;
            let origin =
                if is_delimited { Origin::answering(response) } else { Origin::answering_once(response) };
            let gateway = with_script(UPPER).driver(driver).start(&route_to(&origin, ""));
            let mut client = gateway.connect();
            client.send(GET.repeat(2)).send("GET / HTTP/1.0\r\n\r\n");
            for _ in 0..3 {
                let answer = client.response();
                assert_eq!(
                    (answer.text(), answer.field("content-length")),
                    ("HELLO", Some("5")),
                    "{response}"
                );
                assert!(!answer.has("transfer-encoding") && answer.trailers.is_empty());
            }
            client.expect_closed();
            assert_eq!(origin.connections(), connections, "{driver} {response}");
        }
    }
}

#[test]
fn a_body_that_the_hook_only_reads_is_sent_as_it_came() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let gateway =
        scripted(&origin, "fn on_response_body(req, res) { res.headers[\"x-size\"] = res.body.len; }");
    let answer = gateway.exchange(GET);
    assert_eq!(
        (answer.text(), answer.field("x-size"), answer.field("etag")),
        ("hello", Some("5"), Some("\"1\""))
    );
    assert_eq!(answer.field("content-length"), Some("5"));
}

#[test]
fn bytes_that_are_no_text_pass_as_a_blob() {
    let origin = Origin::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\x00\x80");
    let gateway = scripted(
        &origin,
        "fn on_response_body(req, res) { let b = res.body; b.push(1); res.headers[\"x-type\"] = type_of(b); res.body = b; }",
    );
    let answer = gateway.exchange(GET);
    assert_eq!((answer.body.as_slice(), answer.field("x-type")), (&b"\xff\x00\x80\x01"[..], Some("blob")));
}

fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory")
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory")
}

/// `hello` as brotli writes it: one uncompressed metablock, then the empty last one.
const BR_HELLO: [u8; 9] = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];

#[test]
fn coded_bodies_reach_the_hook_decoded() {
    let all = [
        ("gzip", gzip(b"hello")),
        ("deflate", deflate(b"hello")),
        ("br", BR_HELLO.to_vec()),
        ("X-GZIP", gzip(b"hello")),
    ];
    for (coding, body) in all {
        let origin = Origin::answering(coded(coding, &body));
        let changed = scripted(&origin, UPPER).exchange(GET);
        assert_eq!((changed.text(), changed.has("content-encoding")), ("HELLO", false), "{coding}");
        assert!(!changed.has("etag"));
        let read =
            scripted(&origin, "fn on_response_body(req, res) { res.headers[\"x-size\"] = res.body.len; }")
                .exchange(GET);
        assert_eq!(read.body, body, "{coding}: unchanged, it goes as it came");
        assert_eq!((read.field("content-encoding"), read.field("x-size")), (Some(coding), Some("5")));
    }
}

/// Bodies that nobody here can decode, each with its coding.
const UNREADABLE: [(&str, &[u8]); 3] =
    [("zstd", b"(zstd)"), ("gzip", b"{\"password\": 1}"), ("gzip, gzip, gzip", b"x")];

#[test]
fn a_body_that_cannot_be_decoded_is_502_and_nothing_of_it_is_sent() {
    let redact = include_str!("../../../scripts/redact.rhai");
    let (settings, http) =
        (include_str!("../../../scripts/lib/settings.rhai"), include_str!("../../../scripts/lib/http.rhai"));
    for script in [UPPER, redact] {
        for (coding, body) in UNREADABLE {
            let origin = Origin::answering(coded(coding, body));
            let gateway = with_script(script)
                .file("scripts/lib/settings.rhai", settings)
                .file("scripts/lib/http.rhai", http)
                .start(&route_to(&origin, "vars = { fields = \"password\" }"));
            let mut client = gateway.connect();
            for _ in 0..2 {
                let answer = client.exchange(GET);
                assert_eq!(
                    (answer.status(), reason(&answer).as_str()),
                    (502, "upstream_protocol"),
                    "{coding}"
                );
                assert!(!answer.text().contains("password") && !answer.has("content-encoding"), "{coding}");
            }
        }
    }
}

#[test]
fn a_coded_body_without_a_byte_is_none() {
    let origin = Origin::answering(coded("gzip", b""));
    let script = "fn on_response_body(req, res) { res.headers[\"x-empty\"] = res.body == (); }";
    let answer = scripted(&origin, script).exchange(GET);
    assert_eq!((answer.status(), answer.field("x-empty"), answer.body.len()), (200, Some("true"), 0));
}

#[test]
fn where_errors_are_ignored_a_body_that_cannot_be_decoded_passes_by_with_a_line_in_the_log() {
    for (coding, body) in UNREADABLE {
        let origin = Origin::answering(coded(coding, body));
        let toml = format!("[scripts]\non_error = \"ignore\"\n{}", route_to(&origin, ""));
        let gateway = with_script(UPPER).start(&toml);
        let answer = gateway.exchange(GET);
        assert_eq!((answer.status(), answer.body.as_slice()), (200, body), "{coding}");
        assert_eq!((answer.field("content-encoding"), answer.field("etag")), (Some(coding), Some("\"1\"")));
        let line = gateway.wait_for_message("on_response_body is passed by");
        assert!(line.contains(answer.field("x-request-id").expect("an id")), "{line}");
    }
}

#[test]
fn a_body_over_max_body_is_502_and_nothing_of_it_is_sent() {
    let large = |head: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{}", "x".repeat(2049)).into_bytes();
    let chunks =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n801\r\n{}\r\n", "x".repeat(0x801));
    let all = [
        large("Content-Length: 2049"),
        large("Connection: close"),
        chunks.into_bytes(),
        coded("gzip", &gzip(&vec![b'x'; 10_000_000])),
    ];
    for (at, response) in all.into_iter().enumerate() {
        let origin = Origin::answering_once(response);
        let toml = format!("[scripts]\nmax_body = \"2KiB\"\n{}", route_to(&origin, ""));
        // The bomb itself is a little larger than what may be buffered of a body.
        let toml = if at == 3 { toml.replace("2KiB", "16KiB") } else { toml };
        let gateway = with_script(UPPER).start(&toml);
        let mut client = gateway.connect();
        for _ in 0..2 {
            let answer = client.exchange(GET);
            assert_eq!(answer.status(), 502, "{at}");
            assert!(answer.has("proxy-status"));
        }
    }
}

#[test]
fn an_upstream_that_ends_stalls_or_errs_within_the_body_costs_a_clean_answer() {
    for driver in DRIVERS {
        let cut = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 502, "upstream_reset"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", 502, "upstream_reset"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 502, "upstream_protocol"),
        ];
        for (response, status, why) in cut {
            let origin = Origin::answering_once(response);
            let gateway = with_script(UPPER).driver(driver).start(&route_to(&origin, ""));
            let mut client = gateway.connect();
            for _ in 0..2 {
                let answer = client.exchange(GET);
                assert_eq!((answer.status(), reason(&answer).as_str()), (status, why), "{driver} {response}");
            }
            let line = gateway.wait_for_log(|_| true);
            assert_eq!((&line["status"], &line["reason"]), (&status.into(), &why.into()));
        }
        let origin = Origin::new(|peer| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
                peer.expect_closed();
            }
        });
        let toml = proxy_with(&[&origin.url()], "idle_timeout = \"300ms\"", "scripts = [\"a.rhai\"]");
        let gateway = with_script(UPPER).driver(driver).start(&toml);
        let mut client = gateway.connect();
        let answer = client.exchange(GET);
        assert_eq!((answer.status(), reason(&answer).as_str()), (504, "upstream_timeout"));
        assert_eq!(client.exchange(GET).status(), 504);
        origin.wait_for_closed(2);

        let toml = proxy_with(&[&origin.url()], "", "scripts = [\"a.rhai\"]\ntimeout = \"300ms\"");
        let gateway = with_script(UPPER).driver(driver).start(&toml);
        assert_eq!(gateway.exchange(GET).status(), 504, "the route's timeout covers the body too");
    }
}

#[test]
fn nothing_is_sent_before_the_body_is_whole_and_a_slow_one_comes_through() {
    let origin = Origin::new(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for piece in ["2\r\nhe", "\r\n3\r", "\nllo\r\n0\r\n", "\r\n"] {
                peer.wire().send_taken(piece).expect("the gateway reads");
            }
        }
    });
    for driver in DRIVERS {
        let gateway = with_script(UPPER).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        client.send(GET.repeat(2));
        assert_eq!(client.response().text(), "HELLO");
        assert_eq!(client.response().text(), "HELLO");
    }
}

#[test]
fn an_early_response_is_sent_while_the_upload_goes_on_and_the_upload_is_not_cut() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            while let Some(mut head) = peer.head() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
                if peer.body(&mut head).is_err() {
                    return;
                }
                peer.send("lo");
            }
        });
        let gateway = with_script(UPPER).driver(driver).start(&route_to(&origin, ""));
        let body = pattern(200_000);
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body[..1000]);
        origin.wait_for_requests(1);
        assert_eq!(client.send(&body[1000..]).response().text(), "HELLO");
        assert_eq!(client.exchange(GET).text(), "HELLO", "{driver}");
    }
}

#[test]
fn a_response_with_more_bytes_behind_it_does_not_lend_its_connection_to_the_next() {
    let extra =
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for script in [
        UPPER,
        "fn on_response(req, res) { res.body = \"HELLO\"; }",
        "fn on_response(req, res) { return respond(200, \"HELLO\"); }",
    ] {
        let origin = Origin::answering(extra);
        let gateway = scripted(&origin, script);
        let mut client = gateway.connect();
        client.send(GET.repeat(3));
        for _ in 0..3 {
            assert_eq!(client.response().text(), "HELLO", "{script}");
        }
        client.expect_silence();
        assert_eq!(origin.connections(), 3, "{script}");
    }
}

#[test]
fn a_client_that_leaves_while_the_body_is_awaited_ends_the_exchange() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
                peer.expect_closed();
            }
        });
        let gateway = with_script(UPPER).driver(driver).start(&route_to(&origin, ""));
        let leave: [fn(Client); 2] = [Client::reset, drop];
        for (at, leave) in leave.into_iter().enumerate() {
            let mut client = gateway.connect();
            client.send(GET);
            origin.wait_for_requests(at + 1);
            leave(client);
            origin.wait_for_closed(at + 1);
        }
        let line = gateway.wait_for_log(|_| true);
        assert_eq!(line["status"], 499, "{driver}");
    }
}

#[test]
fn interim_responses_pass_and_scripts_see_the_final_one_alone() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    );
    let script = r#"
        fn on_response(req, res) { res.headers["x-status"] = res.status; }
        fn on_response_body(req, res) { res.body = res.body.to_upper(); }
    "#;
    let gateway = scripted(&origin, script);
    let mut client = gateway.connect();
    for _ in 0..2 {
        let interim = client.exchange(GET);
        assert_eq!((interim.status(), interim.has("x-status")), (103, false));
        let answer = client.response();
        assert_eq!((answer.text(), answer.field("x-status")), ("HELLO", Some("200")));
    }
}

#[test]
fn a_script_that_fails_after_an_interim_response_still_gets_its_500_to_the_client() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    );
    let gateway = scripted(&origin, "fn on_response(req, res) { throw \"no\"; }");
    let mut client = gateway.connect();
    for _ in 0..2 {
        assert_eq!(client.exchange(GET).status(), 103);
        assert_eq!(client.response().status(), 500);
    }
}

#[test]
fn an_upgraded_connection_is_a_tunnel_as_without_scripts() {
    let script = r#"
        fn on_request(req) { req.headers["x-a"] = "1"; }
        fn on_request_body(req) { }
        fn on_response(req, res) { res.headers["x-b"] = "1"; }
        fn on_response_body(req, res) { res.body = "no"; }
        fn on_log(req, res) { log(`ended with ${res.status}`); }
    "#;
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            let Some(request) = peer.request() else { return };
            assert_eq!(request.field("x-a"), Some("1"));
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
            );
            while let Ok(byte) = peer.wire().read_exact(1) {
                peer.send(byte);
            }
        });
        let gateway = with_script(script).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(client.response().status(), 101);
        assert_eq!(client.read_exact(5), b"first");
        client.send("ping");
        assert_eq!(client.read_exact(4), b"ping");
        client.finish();
        client.expect_closed();
        gateway.wait_for_message("ended with 101");
    }
}
