//! Statuses that scripts change across the line between responses with and without a body.

use super::{GET, mirror, post, scripted, with_script};
use crate::support::Origin;

fn to(status: u16) -> String {
    format!("fn on_response(req, res) {{ if \"x-go\" in req.headers {{ res.status = {status}; }} }}")
}

const GO: &str = "GET / HTTP/1.1\r\nHost: t\r\nX-Go: 1\r\n\r\n";

#[test]
fn a_response_that_becomes_bodiless_loses_its_body_whatever_its_framing() {
    let bodies = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        for status in [204, 304] {
            let origin = Origin::answering(body);
            let gateway = scripted(&origin, &to(status));
            let mut client = gateway.connect();
            client.send([GO, GET, GO].concat());
            let changed = client.response();
            assert_eq!((changed.status(), changed.content_length()), (status, None));
            assert!(!changed.has("transfer-encoding"));
            assert_eq!(client.response().text(), "hello");
            assert_eq!(client.response().status(), status);
            client.expect_silence();
        }
    }
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let gateway = scripted(&origin, &to(204));
    let mut client = gateway.connect();
    client.send(GO);
    assert_eq!(client.response().status(), 204);
    client.expect_silence();
}

#[test]
fn a_bodiless_response_that_may_have_a_body_gets_an_empty_one() {
    for status in [204, 304] {
        let origin = Origin::answering(format!("HTTP/1.1 {status} X\r\nETag: \"1\"\r\n\r\n"));
        let gateway = scripted(&origin, &to(200));
        let mut client = gateway.connect();
        client.send([GO, GET, GO].concat());
        let changed = client.response();
        assert_eq!((changed.status(), changed.text(), changed.content_length()), (200, "", Some(0)));
        assert_eq!(client.response().status(), status);
        assert_eq!(client.response().status(), 200);
        client.expect_silence();
        assert_eq!(origin.connections(), 1, "there was nothing left unread");
    }
}

#[test]
fn a_response_that_becomes_304_keeps_its_validators() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\nhello");
    let answer = scripted(&origin, &to(304)).exchange(GO);
    assert_eq!((answer.status(), answer.field("etag")), (304, Some("\"1\"")));
}

#[test]
fn a_body_set_for_a_status_without_one_is_not_sent() {
    let origin = mirror();
    let gateway = scripted(&origin, "fn on_response(req, res) { res.body = \"x\"; res.status = 204; }");
    let mut client = gateway.connect();
    client.send(GET.repeat(2));
    for _ in 0..2 {
        let answer = client.response();
        assert_eq!((answer.status(), answer.content_length()), (204, None));
    }
    client.expect_silence();
}

#[test]
fn answers_to_head_stay_without_a_body_and_do_not_promise_one_that_a_hook_would_change() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    let head = "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n";
    for (script, length) in [
        ("fn on_response(req, res) { res.headers[\"x-a\"] = \"1\"; }", Some(5)),
        ("fn on_response(req, res) { res.body = \"longer body\"; }", Some(11)),
        ("fn on_response_body(req, res) { res.body = \"longer body\"; }", None),
    ] {
        let gateway = scripted(&origin, script);
        let mut client = gateway.connect();
        client.send(head.repeat(2));
        for _ in 0..2 {
            assert_eq!(client.response_to("HEAD").content_length(), length, "{script}");
        }
        client.expect_silence();
    }
}

#[test]
fn a_part_of_a_body_and_bodiless_responses_pass_the_body_hook_by() {
    let script = "fn on_response_body(req, res) { res.headers[\"x-ran\"] = \"1\"; }";
    for (response, ran) in [
        (
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/9\r\nContent-Length: 4\r\n\r\npart",
            false,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", true),
    ] {
        let origin = Origin::answering(response);
        let gateway = scripted(&origin, script);
        let mut client = gateway.connect();
        client.send(GET.repeat(2));
        for _ in 0..2 {
            let answer = client.response();
            assert_eq!(answer.has("x-ran"), ran, "{response}");
            assert!(response.ends_with(answer.text()), "{response}");
        }
    }
}

#[test]
fn what_the_upstream_is_asked_for_is_plain_and_whole_where_a_hook_reads_it() {
    let sent =
        "GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\nRange: bytes=0-3\r\nIf-Range: \"1\"\r\n\r\n";
    for (hook, expected) in [("on_response_body", false), ("on_response", true)] {
        let origin = Origin::echo();
        let gateway = with_script(&format!("fn {hook}(req, res) {{ }}")).start(&super::route_to(&origin, ""));
        let seen = gateway.exchange(sent).echoed();
        for name in ["accept-encoding", "range", "if-range"] {
            assert_eq!(seen.has(name), expected, "{hook} {name}");
        }
    }
}

#[test]
fn a_refusal_that_comes_of_a_script_during_the_upload_ends_the_connection_in_words() {
    let origin = Origin::new(|peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            peer.drain();
        }
    });
    for script in [
        "fn on_response(req, res) { res.status = 403; }",
        "fn on_response(req, res) { return respond(403, \"no\"); }",
        "fn on_response_body(req, res) { res.status = 403; }",
        "fn on_response(req, res) { return deny(); }",
    ] {
        let gateway = scripted(&origin, script);
        let mut client = gateway.connect();
        let whole = post("", &"x".repeat(1_000_000));
        client.send(&whole[..1000]);
        let answer = client.response();
        assert_eq!(answer.status(), 403, "{script}");
        assert!(answer.connection_lists("close"), "{script}");
        client.send_lossy(&whole[1000..]).finish();
        client.expect_closed();
    }
}
