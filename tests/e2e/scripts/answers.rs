//! `respond`, `redirect` and `deny` of every hook, and bodies set: right framing, and a connection that goes on.

use super::{GET, mirror, post, reason, route_to, scripted, with_script};
use crate::support::{DRIVERS, Message, Origin};

/// All hooks, each of which answers or not as the client's `x-do` says.
fn answering(hook: &str) -> String {
    let arguments = if hook.starts_with("on_request") { "req" } else { "req, res" };
    format!(
        r#"fn {hook}({arguments}) {{
            switch req.headers["x-do"] {{
                "text" => return respond(200, "hello"),
                "json" => return respond(201, #{{ a: 1 }}, #{{ "x-more": ["1", "2"] }}),
                "none" => return respond(204),
                "unchanged" => return respond(304),
                "away" => return redirect("/elsewhere", 307),
                "deny" => return deny("not you"),
            }}
        }}"#
    )
}

const HOOKS: [&str; 4] = ["on_request", "on_request_body", "on_response", "on_response_body"];

fn ask(method: &str, what: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: t\r\nX-Do: {what}\r\nContent-Length: 4\r\n\r\nbody")
}

fn assert_answer(answer: &Message, what: &str, hook: &str) {
    let context = format!("{hook} {what}");
    let expected = match what {
        "text" => (200, Some(5)),
        "json" => (201, Some(7)),
        "none" => (204, None),
        "unchanged" => (304, None),
        "away" => (307, Some(0)),
        "deny" => (403, answer.content_length()),
        _ => (200, Some(4)),
    };
    assert_eq!((answer.status(), answer.content_length()), expected, "{context}");
    assert!(!answer.has("transfer-encoding") && !answer.connection_lists("close"), "{context}");
    assert!(answer.field("date").is_some() || what == "stream", "{context}: {:?}", answer.fields);
    assert_eq!(answer.all("x-request-id").len(), 1, "{context}");
    match what {
        "json" => {
            assert_eq!(answer.all("x-more"), ["1", "2"], "{context}");
            assert_eq!(answer.field("content-type"), Some("application/json"), "{context}");
        }
        "away" => assert_eq!(answer.field("location"), Some("/elsewhere"), "{context}"),
        _ => {}
    }
}

#[test]
fn every_hook_can_answer_and_the_next_pipelined_request_is_right() {
    for driver in DRIVERS {
        for hook in HOOKS {
            let origin = mirror();
            let gateway = with_script(&answering(hook)).driver(driver).start(&route_to(&origin, ""));
            let mut client = gateway.connect();
            let whats = ["text", "json", "none", "unchanged", "away", "deny", "stream", "text"];
            client.send(whats.map(|what| ask("POST", what)).concat());
            for what in whats {
                let answer = client.response();
                assert_answer(&answer, what, hook);
                match what {
                    "text" => assert_eq!(answer.text(), "hello", "{hook}"),
                    "json" => assert_eq!(answer.text(), "{\"a\":1}", "{hook}"),
                    "deny" => {
                        assert_eq!(reason(&answer), "script_denied", "{hook}");
                        assert_eq!(answer.json()["detail"], "not you", "{hook}");
                    }
                    "stream" => assert_eq!(answer.text(), "body", "{hook}"),
                    _ => {}
                }
            }
            client.expect_silence();
            let denied = gateway.wait_for_log(|line| line["status"] == 403);
            assert_eq!(denied["reason"], "script_denied");
        }
    }
}

#[test]
fn answers_to_head_say_a_length_and_have_no_body() {
    for hook in ["on_request", "on_request_body", "on_response"] {
        let origin = mirror_of_head();
        let gateway = scripted(&origin, &answering(hook));
        let mut client = gateway.connect();
        for what in ["text", "json", "none", "unchanged", "away", "deny"] {
            client.send(format!("HEAD / HTTP/1.1\r\nHost: t\r\nX-Do: {what}\r\n\r\n"));
            let answer = client.response_to("HEAD");
            assert_answer(&answer, what, hook);
        }
        client.expect_silence();
    }
}

/// Answers each HEAD as if there were a body of 9 bytes.
fn mirror_of_head() -> Origin {
    Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
}

#[test]
fn clients_of_http_1_0_get_a_length_and_keep_their_connection_if_they_ask() {
    for hook in HOOKS {
        let origin = mirror();
        let gateway = scripted(&origin, &answering(hook));
        let ask = |connection: &str| format!("GET / HTTP/1.0\r\nX-Do: text\r\n{connection}\r\n");
        // Without a body there is nothing for `on_response_body` but the empty one that came.
        let mut client = gateway.connect();
        for _ in 0..2 {
            let answer = client.exchange(ask("Connection: keep-alive\r\n"));
            assert_eq!((answer.status(), answer.text()), (200, "hello"), "{hook}");
            assert!(answer.connection_lists("keep-alive"), "{hook}");
        }
        let last = client.exchange(ask(""));
        assert_eq!(last.text(), "hello", "{hook}");
        client.expect_closed();
    }
}

#[test]
fn an_early_answer_takes_a_body_that_is_here_and_ends_the_connection_before_one_that_is_not() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let script = "fn on_request(req) { return respond(403, \"no\"); }";
        let gateway = with_script(script).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        client.send(post("", "all of it") + GET);
        assert_eq!(client.response().status(), 403);
        assert_eq!(client.response().status(), 403);
        client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\npart");
        let answer = client.response();
        assert!(answer.connection_lists("close"));
        assert_eq!(answer.text(), "no");
        client.send_lossy(vec![b'x'; 50_000]).finish();
        client.expect_closed();
        assert_eq!(origin.connections(), 0);
    }
}

#[test]
fn an_early_answer_to_a_client_that_waits_for_100_is_not_preceded_by_one() {
    let origin = Origin::echo();
    let gateway = scripted(&origin, "fn on_request(req) { return respond(403, \"no\"); }");
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.status(), 403);
    assert!(answer.connection_lists("close"), "whether the body comes is not known");
    client.finish();
    client.expect_closed();
}

#[test]
fn a_body_set_in_each_hook_replaces_the_old_one_and_its_framing() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"1\"\r\nContent-Type: text/plain\r\n\
                   Trailer: X-T\r\nAccept-Ranges: bytes\r\nContent-MD5: x\r\nRepr-Digest: x\r\n\r\n\
                   3\r\nold\r\n0\r\nX-T: 1\r\n\r\n";
    for driver in DRIVERS {
        for hook in ["on_response", "on_response_body"] {
            let origin = Origin::answering(chunked);
            let script = format!("fn {hook}(req, res) {{ res.json = #{{ is_new: true }}; }}");
            let gateway = with_script(&script).driver(driver).start(&route_to(&origin, ""));
            let mut client = gateway.connect();
            client.send(GET.repeat(3));
            for _ in 0..3 {
                let answer = client.response();
                assert_eq!(answer.text(), "{\"is_new\":true}", "{hook}");
                assert_eq!(answer.field("content-length"), Some("15"), "{hook}");
                assert_eq!(answer.field("content-type"), Some("application/json"), "{hook}");
                for gone in
                    ["transfer-encoding", "trailer", "etag", "accept-ranges", "content-md5", "repr-digest"]
                {
                    assert!(!answer.has(gone), "{hook}: {gone}");
                }
            }
            client.expect_silence();
            assert_eq!(origin.connections(), 1, "{hook}: it sent exactly its response");
        }
    }
}

#[test]
fn a_request_body_set_in_each_hook_is_what_the_origin_gets() {
    for driver in DRIVERS {
        for hook in ["on_request", "on_request_body"] {
            let origin = mirror();
            let script = format!("fn {hook}(req) {{ req.body = \"entirely new\"; }}");
            let gateway = with_script(&script).driver(driver).start(&route_to(&origin, ""));
            let mut client = gateway.connect();
            client.send(post("ETag: x\r\nContent-Encoding: br\r\n", "old"));
            client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nold\r\n0\r\nT: 1\r\n\r\n");
            client.send(GET);
            for at in 0..3 {
                // What is said to be br is not, which only the hook that reads it finds out.
                let answer = client.response();
                if hook == "on_request_body" && at == 0 {
                    assert_eq!(answer.status(), 400);
                    break;
                }
                assert_eq!(answer.text(), "entirely new", "{hook}");
            }
            for request in origin.requests() {
                assert_eq!(request.field("content-length"), Some("12"), "{hook}");
                for gone in ["transfer-encoding", "content-encoding", "etag", "trailer"] {
                    assert!(!request.has(gone), "{hook}: {gone}");
                }
            }
        }
    }
}

#[test]
fn a_body_taken_away_is_an_empty_one() {
    let origin = mirror();
    let gateway = scripted(&origin, "fn on_request_body(req) { req.body = (); }");
    let mut client = gateway.connect();
    client.send(post("", "old") + GET);
    assert_eq!(client.response().text(), "");
    assert_eq!(client.response().text(), "");
    let requests = origin.requests();
    assert_eq!(requests[0].field("content-length"), Some("0"));
    assert!(!requests[1].has("content-length"), "a request without a body stays one");
}

#[test]
fn routes_that_answer_themselves_run_the_same_hooks() {
    let script = r#"
        fn on_request(req) { if req.query.stop != () { return respond(409, "stopped"); } }
        fn on_response(req, res) { res.headers["x-seen"] = res.status; }
        fn on_response_body(req, res) { if res.body != () { res.body = res.body.to_upper(); } }
    "#;
    let gateway = with_script(script).start(
        "[[route]]\nname = \"hello\"\npath = \"/hello\"\nscripts = [\"a.rhai\"]\n\
         respond = { body = \"hello\", content_type = \"text/plain\" }\n\
         [[route]]\nname = \"old\"\npath = \"/old/*\"\nscripts = [\"a.rhai\"]\nredirect = { to = \"/new/{rest}\" }\n",
    );
    let mut client = gateway.connect();
    client.send("GET /hello HTTP/1.1\r\nHost: t\r\n\r\nHEAD /hello HTTP/1.1\r\nHost: t\r\n\r\n");
    client.send("GET /old/x HTTP/1.1\r\nHost: t\r\n\r\nGET /hello?stop=1 HTTP/1.1\r\nHost: t\r\n\r\n");
    let hello = client.response();
    assert_eq!((hello.text(), hello.field("x-seen")), ("HELLO", Some("200")));
    assert_eq!(hello.field("content-type"), Some("text/plain"));
    assert_eq!(client.response_to("HEAD").content_length(), Some(5));
    let away = client.response();
    assert_eq!(away.field("location"), Some("/new/x"));
    assert_eq!(away.field("x-seen"), Some(away.status().to_string().as_str()));
    let stopped = client.response();
    assert_eq!((stopped.status(), stopped.text()), (409, "stopped"));
    assert!(!stopped.has("x-seen"), "response hooks do not see a request hook's answer");
    client.expect_silence();
}

#[test]
fn a_date_that_a_script_sets_is_the_only_one() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for hook in ["on_request(req)", "on_response(req, res)"] {
        let origin = Origin::echo();
        let script = format!("fn {hook} {{ return respond(200, \"x\", #{{ date: \"{date}\" }}); }}");
        assert_eq!(scripted(&origin, &script).exchange(GET).field("date"), Some(date), "{hook}");
    }
}
