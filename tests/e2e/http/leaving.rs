//! Clients that leave while their response is on its way, and others that only look as if they did.

use crate::support::{DRIVERS, Gateway, Origin, QUIET, let_time_pass, on_both_drivers, proxy_with};

/// Heads of responses that go on for long, one for each way in which a body passes.
const LONG: [(&str, &str); 4] = [
    ("chunked", "Transfer-Encoding: chunked"),
    ("with a length, copied", "Content-Length: 60000"),
    ("with a length, spliced", "Content-Length: 1000000000000"),
    ("until the close, to be chunked", "Connection: close"),
];

/// Answers with this field and the beginning of a body, then says nothing until the gateway ends the connection.
fn falls_silent(field: &'static str) -> Origin {
    Origin::new(move |peer| {
        if peer.request().is_some() {
            let begin = "5\r\nbegin\r\n";
            peer.send(format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n{begin}"));
            peer.expect_closed();
        }
    })
}

#[test]
fn a_client_that_leaves_while_its_response_is_silent_ends_the_exchange_there_too() {
    for (body, field) in LONG {
        on_both_drivers(
            || falls_silent(field),
            |gateway, origin| {
                let mut client = gateway.connect();
                client.send("GET /left HTTP/1.1\r\nHost: test\r\n\r\n");
                assert_eq!(client.head().status(), 200);
                client.read_until(b"begin");
                drop(client);
                origin.wait_for_closed(1);
                let line = gateway.log_of("/left");
                assert_eq!(
                    (&line["status"], &line["reason"]),
                    (&200.into(), &"client_closed".into()),
                    "{body}"
                );
                assert_eq!(gateway.metric("ringway_upstream_failures_total", ""), 0.0, "{body}");
            },
        );
    }
}

#[test]
fn that_a_client_left_comes_before_what_its_upstream_failed_to_do() {
    // Shorter than the time between two looks at the client.
    let upstream = "idle_timeout = \"60ms\"";
    for (body, field) in LONG {
        for driver in DRIVERS {
            let origin = falls_silent(field);
            let gateway = Gateway::with_driver(driver, &proxy_with(&[&origin.url()], upstream, ""));
            let mut client = gateway.connect();
            // Half-closed before the answer can come, so that no haste is needed.
            client.send("GET /left HTTP/1.1\r\nHost: test\r\n\r\n").finish();
            origin.wait_for_closed(1);
            assert_eq!(gateway.log_of("/left")["reason"], "client_closed", "{driver} {body}");
            assert_eq!(gateway.metric("ringway_upstream_failures_total", ""), 0.0, "{driver} {body}");
        }
    }
}

#[test]
fn a_client_that_sends_its_next_request_while_a_response_is_silent_has_not_left() {
    for (body, size) in [("copied", 60_000), ("spliced", 600_000)] {
        let origin = || {
            Origin::new(move |peer| {
                while let Some(request) = peer.request() {
                    peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
                    peer.send(vec![b'x'; size - 10]);
                    if request.target() == "/slow" {
                        // Longer than it takes to notice a client that has left.
                        let_time_pass(2 * QUIET);
                    }
                    peer.send([b'x'; 10]);
                }
            })
        };
        on_both_drivers(origin, |gateway, origin| {
            let mut client = gateway.connect();
            client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\nGET /next HTTP/1.1\r\nHost: test\r\n\r\n");
            for _ in 0..2 {
                assert_eq!(client.response().body.len(), size, "{body}");
            }
            assert_eq!(origin.requests()[1].target(), "/next", "{body}");
        });
    }
}
