//! What clients send through scripts never breaks a message's framing, on either side.

use super::{GET, mirror, route_to, scripted, with_script};
use crate::support::{Client, DRIVERS, Gateway, Origin};

const SPLIT: [&str; 5] =
    ["a%0d%0aX-Evil:%201", "a%0aX-Evil:1", "a%0dX-Evil:1", "a%00b", "a%0d%0a%0d%0aGET%20/evil"];

/// Scripts that put what a client said where it could break out.
const SINKS: [&str; 12] = [
    "fn on_request(req) { req.headers[\"x-a\"] = TEXT; }",
    "fn on_request(req) { req.headers.add(\"x-a\", TEXT); }",
    "fn on_request(req) { req.headers[TEXT] = \"1\"; }",
    "fn on_request(req) { req.headers.add(TEXT, \"1\"); }",
    "fn on_request(req) { req.path = \"/\" + TEXT; }",
    "fn on_request(req) { return respond(200, \"x\", #{ \"x-a\": TEXT }); }",
    "fn on_request(req) { let h = #{}; h[TEXT] = \"1\"; return respond(200, \"x\", h); }",
    "fn on_request(req) { return respond(200, \"x\", #{ \"x-a\": [\"1\", TEXT] }); }",
    "fn on_request(req) { return redirect(TEXT); }",
    "fn on_response(req, res) { res.headers[\"x-a\"] = TEXT; }",
    "fn on_response(req, res) { res.headers.add(TEXT, \"1\"); }",
    "fn on_response_body(req, res) { res.headers[\"content-type\"] = TEXT; }",
];

#[test]
fn line_breaks_and_nul_never_reach_a_head() {
    for driver in DRIVERS {
        let mut cases = Vec::new();
        for sink in SINKS {
            let origin = Origin::echo();
            let script = sink.replace("TEXT", "url_decode(req.headers[\"x-text\"])");
            let gateway = with_script(&script).driver(driver).start(&route_to(&origin, ""));
            let mut client = gateway.connect();
            for text in SPLIT {
                client.send(format!("GET / HTTP/1.1\r\nHost: t\r\nX-Text: {text}\r\n\r\n"));
                // The harness itself fails on a head with a control byte or a line that is no field.
                let answer = client.response();
                assert_eq!(answer.status(), 500, "{sink} {text}");
                assert!(!answer.has("x-evil"));
            }
            cases.push((sink, origin, gateway, client));
        }
        Client::expect_silence_of_all(cases.iter_mut().map(|(.., client)| client));
        for (sink, origin, ..) in &cases {
            for request in origin.requests() {
                assert!(!request.has("x-evil") && request.target() == "/", "{sink}: {request:?}");
            }
        }
    }
}

#[test]
fn what_goes_into_a_query_is_encoded() {
    let origin = Origin::echo();
    let script = "fn on_request(req) { let t = url_decode(req.headers[\"x-text\"]); req.query[t] = t; }";
    let gateway = scripted(&origin, script);
    for text in SPLIT {
        let answer = gateway.exchange(format!("GET / HTTP/1.1\r\nHost: t\r\nX-Text: {text}\r\n\r\n"));
        let seen = answer.echoed();
        assert!(!seen.has("x-evil"));
        let target = seen.target().to_ascii_lowercase();
        assert!(target.starts_with("/?a%0") && !target.contains(' '), "{target}");
    }
}

#[test]
fn a_line_break_in_a_denial_stays_within_its_document() {
    let origin = Origin::echo();
    let script = "fn on_request(req) { return deny(url_decode(req.headers[\"x-text\"])); }";
    let gateway = scripted(&origin, script);
    for text in SPLIT {
        let answer = gateway.exchange(format!("GET / HTTP/1.1\r\nHost: t\r\nX-Text: {text}\r\n\r\n"));
        assert_eq!((answer.status(), answer.has("x-evil")), (403, false));
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.starts_with('a')));
    }
}

#[test]
fn line_breaks_in_a_log_text_make_no_second_line() {
    let origin = Origin::echo();
    let script = "fn on_request(req) { log(\"start \" + url_decode(req.headers[\"x-text\"]) + \" end\"); }";
    let gateway = scripted(&origin, script);
    gateway.exchange("GET / HTTP/1.1\r\nHost: t\r\nX-Text: a%0a%1b%5b2Jforged\r\n\r\n");
    let line = gateway.wait_for_message("start ");
    assert!(line.contains(" end") && !line.contains('\u{1b}'), "{line:?}");
}

#[test]
fn a_body_that_speaks_of_requests_stays_a_body() {
    let smuggled = "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: t\r\n\r\n";
    for driver in DRIVERS {
        for hook in ["on_request", "on_request_body"] {
            let origin = mirror();
            let script = format!("fn {hook}(req) {{ req.body = base64_decode(req.headers[\"x-body\"]); }}");
            let gateway = with_script(&script).driver(driver).start(&route_to(&origin, ""));
            let encoded = "MA0KDQpHRVQgL2V2aWwgSFRUUC8xLjENCkhvc3Q6IHQNCg0K";
            let mut client = gateway.connect();
            for framing in
                ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
            {
                let answer =
                    client.exchange(format!("POST / HTTP/1.1\r\nHost: t\r\nX-Body: {encoded}\r\n{framing}"));
                assert_eq!(answer.text(), smuggled);
            }
            assert!(origin.requests().iter().all(|request| request.target() == "/"));
        }
        let origin = Origin::echo();
        let script = "fn on_response(req, res) { res.body = \"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nevil\"; }";
        let gateway = with_script(script).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        client.send(GET.repeat(2));
        for _ in 0..2 {
            assert!(client.response().text().ends_with("evil"));
        }
        client.expect_silence();
    }
}

#[test]
fn framing_cannot_be_set_by_any_way() {
    let origin = Origin::echo();
    let names =
        ["Content-Length", "transfer-encoding", "Connection", "Trailer", "Upgrade", "Keep-Alive", "TE"];
    let scripts = [
        // A name that is written out would be found by the check.
        "fn on_request(req) { let name = \"NAME\"; req.headers.add(name, \"1\"); }",
        "fn on_request(req) { let name = \"NAME\"; req.headers.remove(name); }",
        "fn on_request(req) { return respond(200, \"x\", #{ \"NAME\": \"1\" }); }",
        "fn on_response(req, res) { let name = \"NAME\"; res.headers[name] = \"1\"; }",
        "fn on_response(req, res) { let name = \"NAME\"; res.headers.remove(name); }",
        "fn on_response(req, res) { return respond(200, \"x\", #{ \"NAME\": \"1\" }); }",
    ];
    let all: Vec<String> =
        names.iter().flat_map(|name| scripts.map(|script| script.replace("NAME", name))).collect();
    // One gateway; each script has a route of its own.
    let mut builder = Gateway::builder();
    let mut toml = format!("[upstream.o]\ntargets = [{:?}]\n", origin.url());
    for (number, script) in all.iter().enumerate() {
        builder = builder.file(&format!("scripts/{number}.rhai"), script);
        toml += &format!(
            "[[route]]\nname = \"r{number}\"\npath = \"/{number}\"\nupstream = \"o\"\nscripts = [\"{number}.rhai\"]\n"
        );
    }
    let gateway = builder.start(&toml);
    for (number, script) in all.iter().enumerate() {
        assert_eq!(gateway.get(&format!("/{number}")).status(), 500, "{script}");
    }
}

#[test]
fn the_gateways_own_fields_stay_its_own_whatever_a_client_and_a_script_say() {
    let origin = Origin::echo();
    let script = r#"
        fn on_request(req) { req.headers["x-copy"] = req.headers["x-forwarded-for"]; }
        fn on_response(req, res) { return respond(200, "x", #{ "x-request-id": "forged" }); }
    "#;
    let gateway = scripted(&origin, script);
    let sent = "GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
                X-Request-Id: mine\r\n\r\n";
    let answer = gateway.exchange(sent);
    let seen = &origin.requests()[0];
    let id = seen.field("x-request-id").expect("an id");
    assert!(id != "mine");
    assert_eq!(answer.field("x-request-id"), Some(id));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-for"), Some("9.9.9.9, 127.0.0.1"));
}

#[test]
fn heads_that_a_script_swells_are_bounded() {
    let origin = Origin::echo();
    let script = "fn on_request(req) { loop { req.headers.add(\"x-a\", \"b\"); } }";
    let toml = format!("[scripts]\nmax_operations = 1000000\nmax_time = \"5s\"\n{}", route_to(&origin, ""));
    let gateway = with_script(script).start(&toml);
    let mut client: Client = gateway.connect();
    for _ in 0..2 {
        assert_eq!(client.exchange(GET).status(), 500);
    }
    assert_eq!(origin.connections(), 0);
}
