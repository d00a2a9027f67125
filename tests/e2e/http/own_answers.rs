//! The gateway's own answers and its account of each request: problem bodies, request ids, the access log, panics.

use std::collections::HashSet;

use crate::support::{DRIVERS, Gateway, Message, Origin};

fn routes(origin: &Origin) -> String {
    format!(
        "[server.limits]\nheader_bytes = \"2KiB\"\nbody_bytes = \"1KiB\"\nheader_timeout = \"300ms\"\n\
         [upstream.o]\ntargets = [{:?}]\n\
         [[route]]\nname = \"proxy\"\npath = \"/proxy/*\"\nupstream = \"o\"\n\
         [[route]]\nname = \"get\"\npath = \"/get\"\nmethod = \"GET\"\nrespond = {{ status = 200, body = \"hi\" }}\n\
         [[route]]\nname = \"away\"\npath = \"/away\"\nredirect = {{ to = \"/get\", status = 302 }}\n",
        origin.url()
    )
}

fn assert_problem(response: &Message, status: u16, title: &str, reason: &str, error: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.field("content-type"), Some("application/problem+json"));
    let body = response.json();
    let id = response.field("x-request-id").expect("every response has one");
    for (member, expected) in
        [("type", "about:blank"), ("title", title), ("error", error), ("reason", reason), ("requestId", id)]
    {
        assert_eq!(body[member], expected, "{member} of {body}");
    }
    assert_eq!(body["status"], status);
}

#[test]
fn each_fault_of_the_clients_has_its_problem_body() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&routes(&origin));
    let long = "x".repeat(3000);
    let table = [
        ("GET / HTTP/1.1\r\n\r\n".to_string(), 400, "Bad Request", "bad_request", "Bad request"),
        ("GET /none HTTP/1.1\r\nHost: t\r\n\r\n".to_string(), 404, "Not Found", "no_route", "Not found"),
        (
            "PUT /get HTTP/1.1\r\nHost: t\r\n\r\n".to_string(),
            405,
            "Method Not Allowed",
            "method_not_allowed",
            "Method not allowed",
        ),
        ("GET / HT".to_string(), 408, "Request Timeout", "request_timeout", "Request timeout"),
        (
            "POST /proxy/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1025\r\n\r\n".to_string(),
            413,
            "Content Too Large",
            "body_too_large",
            "Request body too large",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nHost: t\r\n\r\n"),
            414,
            "URI Too Long",
            "uri_too_long",
            "Request target too long",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: t\r\nX: {long}\r\n\r\n"),
            431,
            "Request Header Fields Too Large",
            "headers_too_large",
            "Request header fields too large",
        ),
    ];
    for (request, status, title, reason, error) in table {
        let response = gateway.connect().send_lossy(request).response();
        assert_problem(&response, status, title, reason, error);
        assert!(!response.has("proxy-status"), "no upstream had a part in a {status}");
        let log = gateway.wait_for_log(|line| line["reason"] == reason);
        assert_eq!(log["status"], status);
        assert_eq!(log["request_id"], response.json()["requestId"]);
    }
}

#[test]
fn each_fault_of_the_upstreams_has_its_problem_body() {
    let origin = Origin::new(|peer| {
        if let Some(request) = peer.request() {
            match request.target() {
                "/proxy/reset" => peer.reset(),
                "/proxy/protocol" => peer.send("nonsense\r\n\r\n"),
                _ => drop(peer.drain()),
            }
        }
    });
    let config = routes(&origin).replace("[upstream.o]\n", "[upstream.o]\nresponse_timeout = \"300ms\"\n");
    let gateway = Gateway::start(&config);
    let table = [
        ("/proxy/reset", 502, "Bad Gateway", "upstream_reset", "Bad gateway"),
        ("/proxy/protocol", 502, "Bad Gateway", "upstream_protocol", "Bad gateway"),
        ("/proxy/timeout", 504, "Gateway Timeout", "upstream_timeout", "Gateway timeout"),
    ];
    for (path, status, title, reason, error) in table {
        let response = gateway.get(path);
        assert_problem(&response, status, title, reason, error);
        assert!(response.field("proxy-status").is_some_and(|v| v.starts_with("ringway;")), "{path}");
        assert_eq!(gateway.log_of(path)["reason"], reason);
        gateway
            .wait_for_metric("ringway_requests_total", &format!("reason=\"{reason}\""), |count| count == 1.0);
    }
}

#[test]
fn the_gateways_own_answers_leave_the_connection_usable_where_they_may() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = Gateway::with_driver(driver, &routes(&origin));
        let mut client = gateway.connect();
        for request in ["GET /none", "PUT /get", "GET /away", "GET /get", "GET /proxy/a"] {
            let response =
                client.exchange(format!("{request} HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody"));
            assert!(!response.connection_lists("close"), "{request}");
        }
    }
}

#[test]
fn a_body_that_an_own_answer_leaves_unread_never_becomes_a_request() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let config = routes(&origin).replace("body_bytes = \"1KiB\"", "body_bytes = \"0\"");
        let gateway = Gateway::with_driver(driver, &config);
        let hidden = "GET /proxy/smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
        for size in [hidden.len(), 100 * hidden.len(), 20_000 * hidden.len()] {
            let body = hidden.repeat(size / hidden.len());
            let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n");
            for rest in [format!("Content-Length: {size}\r\n\r\n{body}"), chunked] {
                let mut client = gateway.connect();
                client.send_lossy(format!("POST /none HTTP/1.1\r\nHost: t\r\n{rest}"));
                client.send_lossy("GET /get HTTP/1.1\r\nHost: t\r\n\r\n");
                let response = client.response();
                assert_eq!(response.status(), 404);
                // Either the body is read over and the next request answered, or the connection ends.
                match client.wire().response("GET") {
                    Ok(next) => assert_eq!(next.text(), "hi"),
                    Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::TimedOut),
                }
            }
        }
        assert_eq!(origin.connections(), 0);
    }
}

#[test]
fn a_client_that_is_refused_in_the_midst_of_its_body_keeps_its_connection() {
    let origin = Origin::echo();
    for driver in DRIVERS {
        let gateway = Gateway::with_driver(driver, &routes(&origin));
        let whole = "x".repeat(2000);
        let half = &whole[..1000];
        let post =
            |target: &str, framing: &str| format!("POST {target} HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\n");
        for (target, status, framing, first, rest) in [
            ("/none", 404, "Content-Length: 1000", "", half.to_string()),
            // Over `body_bytes`, by its length.
            ("/proxy/a", 413, "Content-Length: 2000", half, half.to_string()),
            ("/none", 404, "Transfer-Encoding: chunked", "64\r\n", format!("{}\r\n0\r\n\r\n", &whole[..100])),
        ] {
            let mut client = gateway.connect();
            for _ in 0..3 {
                client.send(format!("{}{first}", post(target, framing)));
                let response = client.response();
                assert_eq!(response.status(), status);
                assert!(!response.connection_lists("close"), "{target} {framing}");
                client.send(&rest);
                assert_eq!(client.exchange("GET /get HTTP/1.1\r\nHost: t\r\n\r\n").text(), "hi");
            }
        }
        // More is not worth reading (nor is it allowed here), and a client that waits for 100 may send its body or not.
        for framing in ["Content-Length: 65537", "Expect: 100-continue\r\nContent-Length: 5"] {
            let mut client = gateway.connect();
            let response = client.exchange(post("/none", framing));
            assert!(response.status() >= 404 && response.connection_lists("close"), "{framing}");
            client.expect_closed();
        }
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_refused_body_that_does_not_come_to_its_end_does_not_hold_the_connection() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&routes(&origin).replace("body_bytes = \"1KiB\"", "body_bytes = \"0\""));
    let mut stalled = gateway.connect();
    assert_eq!(stalled.exchange("POST /none HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n").status(), 404);
    let mut endless = gateway.connect();
    let chunked = "POST /none HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(endless.exchange(chunked).status(), 404);
    endless.send_lossy(format!("20000\r\n{}", "x".repeat(0x12000)));
    for mut client in [stalled, endless] {
        client.expect_closed();
    }
}

#[test]
fn an_own_answer_to_head_has_no_body() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&routes(&origin));
    let mut client = gateway.connect();
    client.send("HEAD /none HTTP/1.1\r\nHost: t\r\n\r\n");
    let response = client.response_to("HEAD");
    assert_eq!(response.status(), 404);
    assert!(response.content_length().is_some_and(|size| size > 0));
    assert_eq!(client.exchange("GET /get HTTP/1.1\r\nHost: t\r\n\r\n").text(), "hi");
}

#[test]
fn every_response_has_a_request_id_of_its_own() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().shards(2).start(&routes(&origin));
    let targets = ["/get", "/away", "/none", "/proxy/x", "/a b"];
    let ids: HashSet<String> = (0..100)
        .map(|n| {
            gateway.get(targets[n % targets.len()]).field("x-request-id").expect("every one").to_string()
        })
        .collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.len() >= 16 && id.bytes().all(|b| b.is_ascii_graphic())), "{ids:?}");
}

const LOG_FIELDS: [&str; 20] = [
    "time",
    "request_id",
    "client_ip",
    "method",
    "host",
    "path",
    "status",
    "reason",
    "route",
    "upstream",
    "target",
    "consumer",
    "duration_ms",
    "upstream_ms",
    "bytes_in",
    "bytes_out",
    "cache",
    "retries",
    "shard",
    "generation",
];

#[test]
fn the_access_log_says_what_happened_to_each_request() {
    for driver in DRIVERS {
        let origin = Origin::answering("HTTP/1.1 201 Created\r\nContent-Length: 7\r\n\r\ncreated");
        let gateway = Gateway::with_driver(driver, &routes(&origin));
        let request = "POST /proxy/new?secret=1 HTTP/1.1\r\nHost: Api.Test\r\nContent-Length: 5\r\n\r\nhello";
        let response = gateway.exchange(request);
        let log = gateway
            .wait_for_log(|line| line["request_id"] == response.field("x-request-id").unwrap_or_default());
        for field in LOG_FIELDS {
            assert!(log.get(field).is_some(), "{field} in {log}");
        }
        assert_eq!(
            (&log["method"], &log["status"], &log["route"]),
            (&"POST".into(), &201.into(), &"proxy".into())
        );
        assert_eq!((&log["upstream"], &log["client_ip"]), (&"o".into(), &"127.0.0.1".into()));
        assert!(log["target"].as_str().is_some_and(|target| target.contains(&origin.authority())), "{log}");
        assert!(log["path"].as_str().is_some_and(|path| path.starts_with("/proxy/new")), "{log}");
        assert!(log["host"].as_str().is_some_and(|host| host.eq_ignore_ascii_case("api.test")), "{log}");
        assert!(log["bytes_in"].as_u64().is_some_and(|n| n >= 5), "{log}");
        assert!(log["bytes_out"].as_u64().is_some_and(|n| n >= 7), "{log}");
        assert!(log["duration_ms"].is_number() && log["upstream_ms"].is_number(), "{log}");
        assert_eq!((&log["retries"], &log["shard"]), (&0.into(), &0.into()));
    }
}

#[test]
fn every_request_has_exactly_one_log_line() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    for n in 0..50 {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: t\r\n\r\n"));
    }
    for _ in 0..50 {
        client.response();
    }
    gateway.log_of("/49");
    let lines: Vec<String> =
        gateway.stdout.all().into_iter().filter(|line| line.contains("\"request_id\"")).collect();
    assert_eq!(lines.len(), 50);
}

#[test]
fn a_log_line_cannot_be_forged_by_what_a_client_sends() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    gateway.exchange("GET /q\"},{%0a%22 HTTP/1.1\r\nHost: t\r\n\r\n");
    gateway.exchange("G\\\" /\\\" HTTP/1.1\r\nHost: t\"\\\r\n\r\n");
    gateway.get("/after");
    gateway.log_of("/after");
    let lines = gateway.stdout.all();
    let logged = lines.iter().filter(|line| line.starts_with('{'));
    assert!(logged.clone().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines:#?}");
    assert!(logged.count() <= 3);
}
