//! `min_rate`: clients that are slower than that over 10 s of waiting are let go, and no others.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::{Client, DRIVERS, Gateway, Message, Origin, let_time_pass, proxy_to};

/// Over which the rate is an average.
const WINDOW: Duration = Duration::from_secs(10);
const PACE: Duration = Duration::from_millis(100);
/// Long enough for everything here.
const MOST: Duration = Duration::from_secs(25);

/// `/download` has no end; `/trickle` takes longer than the window; anything else answers at the end of its body.
fn origin() -> Origin {
    Origin::new(|peer| {
        let Some(mut request) = peer.head() else { return };
        match request.target() {
            "/download" => {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
                while peer.send_all(&[b'x'; 65536]).is_ok() {}
            }
            "/trickle" => {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                let begun = Instant::now();
                while begun.elapsed() < WINDOW + WINDOW / 5 {
                    peer.send("1\r\nx\r\n");
                    let_time_pass(PACE);
                }
                peer.send("1\r\ny\r\n0\r\n\r\n");
            }
            _ => {
                if peer.body(&mut request).is_ok() {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            }
        }
    })
}

fn client(gateway: &Gateway) -> Client {
    Client::with_socket(gateway.address(), |socket| {
        socket.set_recv_buffer_size(8192).expect("a small buffer is always accepted");
    })
}

/// Sends pieces of a chunked body at this pace, for so long; then what the gateway says.
fn upload(gateway: &Gateway, path: &str, piece_bytes: usize, time: Duration) -> Message {
    let mut client = client(gateway);
    client.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"));
    let piece = format!("{piece_bytes:x}\r\n{}\r\n", "x".repeat(piece_bytes));
    let begun = Instant::now();
    let mut writer = client.wire().writer();
    while begun.elapsed() < time && writer.write_all(piece.as_bytes()).is_ok() {
        let_time_pass(PACE);
    }
    let _ = writer.write_all(b"0\r\n\r\n");
    client.response()
}

/// Sends a byte of a long body, which is spliced, more often than the gateway looks; then what the gateway says.
fn drip(gateway: &Gateway, path: &str) -> Message {
    let mut client = client(gateway);
    client.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"));
    let begun = Instant::now();
    let mut writer = client.wire().writer();
    while begun.elapsed() < WINDOW + WINDOW / 5 && writer.write_all(b"x").is_ok() {
        let_time_pass(Duration::from_millis(2));
    }
    client.response()
}

/// Reads at this pace until the gateway ends it, or for so long; says for how long it could.
fn download(gateway: &Gateway, piece_bytes: usize, time: Duration) -> Duration {
    let mut client = client(gateway);
    client.send("GET /download HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    let begun = Instant::now();
    while begun.elapsed() < time && client.wire().read_exact(piece_bytes).is_ok() {
        let_time_pass(PACE);
    }
    begun.elapsed()
}

#[test]
fn clients_slower_than_the_rate_are_let_go_and_no_others() {
    std::thread::scope(|scope| {
        for driver in DRIVERS {
            scope.spawn(move || {
                let origin = origin();
                let limits = "[server.limits]\nmin_rate = \"20KB\"\n";
                let gateway =
                    Gateway::with_driver(driver, &(limits.to_string() + &proxy_to(&[&origin.url()])));
                let gateway = &gateway;
                std::thread::scope(|scope| {
                    scope.spawn(move || {
                        let begun = Instant::now();
                        let refused = upload(gateway, "/slow", 100, WINDOW + WINDOW / 20);
                        assert_eq!(refused.status(), 408, "{driver}");
                        assert_eq!(refused.json()["reason"], "request_timeout");
                        assert!(begun.elapsed() >= WINDOW, "not before its time");
                        assert_eq!(gateway.log_of("/slow")["reason"], "request_timeout");
                    });
                    scope.spawn(move || assert_eq!(drip(gateway, "/drip").status(), 408, "{driver}"));
                    scope.spawn(move || {
                        let lasted = download(gateway, 100, MOST);
                        // What the kernel had room for may have passed for taken in the first window.
                        assert!((WINDOW..MOST).contains(&lasted), "{driver}: cut after {lasted:?}");
                        gateway.wait_for_log(|line| {
                            line["path"] == "/download" && line["reason"] == "request_timeout"
                        });
                    });
                    scope.spawn(move || {
                        let time = WINDOW + WINDOW / 5;
                        assert_eq!(upload(gateway, "/fast", 10_000, time).text(), "ok", "{driver}");
                    });
                    scope.spawn(move || {
                        let time = WINDOW * 2 + WINDOW / 5;
                        let lasted = download(gateway, 10_000, time);
                        assert!(
                            lasted >= time,
                            "{driver}: a reader that keeps the rate was cut after {lasted:?}"
                        );
                    });
                    scope.spawn(move || {
                        let mut client = client(gateway);
                        client.send("GET /trickle HTTP/1.1\r\nHost: test\r\n\r\n");
                        assert_eq!(client.head().status(), 200);
                        // It waits for the origin: that is no fault of its own.
                        while client.read_exact(6) != b"1\r\ny\r\n" {}
                    });
                });
                assert_eq!(gateway.metric("ringway_upstream_failures_total", ""), 0.0);
            });
        }
    });
}
