//! HTTP/1.1 between client, gateway and origin when everybody keeps to the rules: framing, persistence, pipelining.

use crate::support::{DRIVERS, Gateway, Message, Origin, on_both_drivers, pattern, proxy_to, proxy_with};

/// What the gateway adds to a response by itself.
fn without_request_id(response: &Message) -> Vec<(&str, &str)> {
    let fields = response.fields.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    fields.filter(|(n, _)| !n.eq_ignore_ascii_case("x-request-id")).collect()
}

#[test]
fn a_response_passes_through_with_its_fields_in_their_case_and_order() {
    let origin = Origin::answering(
        "HTTP/1.1 203 Quite So\r\nZ-Last: 1\r\nserver: me\r\nSet-Cookie: a=1\r\nX-lower: \r\nSet-Cookie: b=2\r\n\
         CONTENT-LENGTH: 5\r\nA-First: \"q, r\"\r\n\r\nhello",
    );
    let response = Gateway::proxying(&origin).get("/");
    assert_eq!(response.start_line, "HTTP/1.1 203 Quite So");
    let expected = [
        ("Z-Last", "1"),
        ("server", "me"),
        ("Set-Cookie", "a=1"),
        ("X-lower", ""),
        ("Set-Cookie", "b=2"),
        ("CONTENT-LENGTH", "5"),
        ("A-First", "\"q, r\""),
    ];
    assert_eq!(without_request_id(&response), expected);
    assert_eq!(response.text(), "hello");
}

#[test]
fn requests_follow_one_another_on_one_connection_each_way() {
    on_both_drivers(Origin::echo, |gateway, origin| {
        let mut client = gateway.connect();
        for n in 0..20 {
            let response = client.exchange(format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"));
            assert_eq!((response.status(), response.echoed().target()), (200, format!("/{n}").as_str()));
            assert!(!response.connection_lists("close"));
        }
        assert_eq!(origin.connections(), 1);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_both_drivers(Origin::echo, |gateway, origin| {
        let mut packet = String::new();
        for n in 0..10 {
            packet += &match n % 3 {
                0 => format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"),
                1 => format!("POST /{n} HTTP/1.1\r\nHost: test\r\nContent-Length: 7\r\n\r\nGET / H"),
                _ => format!(
                    "PUT /{n} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\r\n\r\r\n0\r\n\r\n"
                ),
            };
        }
        let mut client = gateway.connect();
        client.send(&packet);
        for n in 0..10 {
            assert_eq!(client.response().echoed().target(), format!("/{n}"));
        }
        client.expect_silence();
        assert_eq!(origin.requests().len(), 10);
    });
}

#[test]
fn a_pipeline_ends_with_the_request_that_asks_for_the_close() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: test\r\n\r\nGET /2 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n\
         GET /3 HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert_eq!(client.response().echoed().target(), "/1");
    let last = client.response();
    assert_eq!(last.echoed().target(), "/2");
    assert!(last.connection_lists("close"));
    client.expect_closed();
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_head_may_be_cut_at_any_byte() {
    on_both_drivers(Origin::echo, |gateway, _| {
        let request = b"GET /cut HTTP/1.1\r\nHost: test\r\nX-Some: value\r\n\r\n";
        let mut client = gateway.connect();
        for cut in 1..request.len() {
            client.send_taken(&request[..cut]).send(&request[cut..]);
            let echoed = client.response().echoed();
            assert_eq!((echoed.target(), echoed.field("x-some")), ("/cut", Some("value")), "cut at {cut}");
        }
        client.send_bytewise(request);
        assert_eq!(client.response().echoed().target(), "/cut");
    });
}

/// Answers with the request's decoded body, chunked.
fn body_echo() -> Origin {
    Origin::new(|peer| {
        while let Some(request) = peer.request() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()));
            peer.send(&request.body);
        }
    })
}

#[test]
fn a_chunked_body_may_be_cut_at_any_byte() {
    for driver in DRIVERS {
        let origin = body_echo();
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = b"5;a=b;c=\"d;\\\" e\"\r\nhello\r\n00a\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\n";
        let mut client = gateway.connect();
        for cut in 1..body.len() {
            client.send_taken([head.as_bytes(), &body[..cut]].concat()).send(&body[cut..]);
            assert_eq!(client.response().text(), "hello0123456789", "cut at {cut}");
        }
        client.send_bytewise([head.as_bytes(), body].concat());
        assert_eq!(client.response().text(), "hello0123456789");
    }
}

#[test]
fn a_response_may_be_cut_at_any_byte() {
    let answer = b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nB;x\r\n01234567890\r\n0\r\nT: u\r\n\r\n";
    let origin = Origin::new(move |peer| {
        while let Some(request) = peer.request() {
            let cut: usize = request.target()[1..].parse().expect("the path is a number");
            peer.wire().send_taken(&answer[..cut]).expect("the gateway reads");
            peer.send(&answer[cut..]);
        }
    });
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    for cut in 1..answer.len() {
        let response = client.exchange(format!("GET /{cut} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(response.text(), "abc01234567890", "cut at {cut}");
        assert_eq!(response.trailers, [("T".to_string(), "u".to_string())]);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn trailers_and_chunks_with_extensions_pass_both_ways() {
    on_both_drivers(
        || {
            Origin::new(|peer| {
                while let Some(request) = peer.request() {
                    assert!(request.is_chunked());
                    assert_eq!(request.text(), "hello world");
                    assert_eq!(
                        request.trailers,
                        [("X-Sum".into(), "11".into()), ("x-second".into(), "".into())]
                    );
                    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Digest\r\n\r\n");
                    peer.send("4;name=value\r\nabcd\r\n1\r\ne\r\n0;last\r\nX-Digest: d\r\n\r\n");
                }
            })
        },
        |gateway, _| {
            let mut client = gateway.connect();
            for _ in 0..2 {
                let response = client.exchange(
                    "POST / HTTP/1.1\r\nHost: test\r\ntransfer-encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n\
                     5;ext\r\nhello\r\n6;a=\"b c\"\r\n world\r\n0\r\nX-Sum: 11\r\nx-second:\r\n\r\n",
                );
                assert_eq!((response.status(), response.text()), (200, "abcde"));
                assert!(response.is_chunked());
                assert_eq!(response.trailers, [("X-Digest".to_string(), "d".to_string())]);
            }
        },
    );
}

#[test]
fn a_body_with_a_length_keeps_its_length() {
    on_both_drivers(Origin::echo, |gateway, origin| {
        let body = pattern(300_000);
        let head = format!("PUT /sized HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut client = gateway.connect();
        client.send([head.as_bytes(), &body].concat());
        let echoed = client.response().echoed();
        assert_eq!(echoed.content_length(), Some(body.len()));
        assert!(!echoed.has("transfer-encoding"));
        assert_eq!(origin.requests().len(), 1);
    });
}

#[test]
fn a_body_arrives_as_it_was_sent() {
    on_both_drivers(body_echo, |gateway, _| {
        let body = pattern(1_000_000);
        let mut client = gateway.connect();
        client.send(format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert!(client.response().body == body);
        client.send("PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(70_001) {
            client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
        }
        assert!(client.send("0\r\n\r\n").response().body == body);
    });
}

#[test]
fn an_empty_body_and_a_body_on_get_pass() {
    on_both_drivers(body_echo, |gateway, _| {
        let mut client = gateway.connect();
        assert_eq!(client.exchange("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").text(), "");
        assert_eq!(
            client.exchange("GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi").text(),
            "hi"
        );
        let empty = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(client.exchange(empty).text(), "");
        assert_eq!(client.exchange("POST / HTTP/1.1\r\nHost: test\r\n\r\n").text(), "");
    });
}

#[test]
fn responses_without_a_body_keep_their_fields_and_the_connection() {
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", Some(1000)),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 404 Not Found\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: \"a\"\r\n\r\n", Some(500)),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some(0)),
    ];
    for (method, answer, length) in cases {
        let origin = Origin::answering(answer);
        let gateway = Gateway::proxying(&origin);
        let mut client = gateway.connect();
        for _ in 0..3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"));
            let response = client.response_to(method);
            assert_eq!(response.content_length(), length, "{method} {answer:?}");
        }
        client.expect_silence();
        assert_eq!(origin.connections(), 1, "{method} {answer:?}");
    }
}

#[test]
fn a_response_that_ends_with_its_connection_arrives_whole() {
    for driver in DRIVERS {
        let body = pattern(100_000);
        let origin = Origin::answering_once([b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", &body[..]].concat());
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        let first = client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(first.body == body);
        // Chunked keeps the client's connection; without it, the close is the only end there is.
        if first.is_chunked() {
            assert!(client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n").body == body);
        } else {
            client.expect_closed();
        }
        let old = gateway.exchange("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
        assert!(old.body == body);
        assert!(!old.has("transfer-encoding"));
    }
}

#[test]
fn an_absolute_target_is_forwarded_as_a_path_and_must_name_the_same_host() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&proxy_with(&[&origin.url()], "", "host_header = \"client\""));
    let echoed =
        gateway.exchange("GET http://real.example/a?b=c HTTP/1.1\r\nHost: real.example\r\n\r\n").echoed();
    assert_eq!(echoed.start_line, "GET /a?b=c HTTP/1.1");
    assert_eq!(echoed.field("host"), Some("real.example"));
    // RFC 9112, 3.2.2 lets the target win silently; a second server that prefers `Host` would serve another site.
    let other = gateway.exchange("GET http://real.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert_eq!(other.status(), 400);
}

#[test]
fn one_empty_line_before_a_request_is_ignored() {
    on_both_drivers(Origin::echo, |gateway, _| {
        let mut client = gateway.connect();
        for _ in 0..2 {
            assert_eq!(client.exchange("\r\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n").echoed().target(), "/x");
        }
        assert_eq!(client.exchange("\r\n\r\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n").status(), 400);
    });
}
