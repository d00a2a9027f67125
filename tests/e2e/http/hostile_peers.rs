//! Peers that mean harm or simply misbehave: what they may break is their own exchange, never another's.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Client, DRIVERS, Gateway, Origin, Peer, let_time_pass, pattern, proxy_to, proxy_with};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// An origin whose handler gets the receiving end of a channel, to wait for what the test allows it.
fn guided(handle: impl Fn(&mut Peer, &Receiver<()>) + Send + Sync + 'static) -> (Origin, Sender<()>) {
    let (go, wait) = channel();
    let wait = Arc::new(Mutex::new(wait));
    let origin = Origin::new(move |peer| handle(peer, &wait.lock().expect("no handler panicked")));
    (origin, go)
}

/// An origin that refuses with a body in two halves, and a client that has its head and the first half.
fn half_refused(driver: &str, limits: &str) -> (Origin, Sender<()>, Gateway, Client) {
    let (origin, go) = guided(|peer, wait| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 10\r\n\r\n12345");
            let _ = wait.recv();
            peer.send("67890");
            peer.drain();
        }
    });
    let gateway = Gateway::with_driver(driver, &format!("{limits}\n{}", proxy_to(&[&origin.url()])));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    client.send(pattern(100_000));
    assert_eq!(client.head().status(), 413);
    assert_eq!(client.read_exact(5), b"12345");
    (origin, go, gateway, client)
}

#[test]
fn a_client_that_stops_its_upload_on_a_refusal_gets_all_of_it() {
    for driver in DRIVERS {
        let (_origin, go, _gateway, mut client) = half_refused(driver, "");
        client.finish();
        client.expect_silence();
        go.send(()).expect("the origin waits");
        assert_eq!(client.read_to_end(), b"67890");
    }
}

#[test]
fn a_client_that_pauses_its_upload_on_a_refusal_gets_all_of_it() {
    for driver in DRIVERS {
        let limits = "[server.limits]\nbody_timeout = \"100ms\"";
        let (_origin, go, _gateway, mut client) = half_refused(driver, limits);
        client.expect_silence();
        go.send(()).expect("the origin waits");
        assert_eq!(client.read_to_end(), b"67890");
    }
}

#[test]
fn a_redirect_before_an_upload_says_that_the_connection_ends() {
    let origin = Origin::new(|peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
            peer.drain();
        }
    });
    let gateway = Gateway::proxying(&origin);
    let head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    let mut client = gateway.connect();
    assert!(client.exchange(head).connection_lists("close"));
    client.expect_closed();
}

#[test]
fn what_a_client_sends_behind_its_last_request_does_not_cut_the_answer_to_it() {
    const BYTES: usize = 1_500_000;
    for driver in DRIVERS {
        let (origin, go) = guided(|peer, wait| {
            if peer.request().is_some() {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
                let _ = wait.recv();
                peer.send(pattern(BYTES));
            }
        });
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        client.send("GET /unasked HTTP/1.1\r\nHost: test\r\n\r\n");
        go.send(()).expect("the origin waits");
        gateway.log_of("/");
        assert!(client.read_to_end() == pattern(BYTES), "{driver}");
    }
}

#[test]
fn a_slow_head_does_not_use_up_the_routes_timeout() {
    let origin = Origin::new(|peer| {
        while peer.request().is_some() {
            let_time_pass(Duration::from_millis(150));
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::start(&proxy_with(&[&origin.url()], "", "timeout = \"1s\""));
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1100) {
        assert_eq!(gateway.get("/other").status(), 200);
    }
    assert_eq!(client.exchange("Host: test\r\n\r\n").status(), 200);
}

/// Two uploads that go on and on, one of each framing, both of which the upstream's slowness ends.
pub fn assert_endless_uploads_are_504(gateway: &Gateway) {
    use std::io::Write;
    for framing in ["Content-Length: 60000000", "Transfer-Encoding: chunked"] {
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"));
        let mut writer = client.wire().writer();
        let sending = std::thread::spawn(move || {
            let piece = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
            while writer.write_all(piece.as_bytes()).is_ok() {}
        });
        let response = client.response();
        assert_eq!((response.status(), &response.json()["reason"]), (504, &"upstream_timeout".into()));
        drop(client);
        sending.join().expect("the sender ends");
    }
}

#[test]
fn an_origin_that_takes_no_more_of_an_upload_is_504() {
    for driver in DRIVERS {
        let (origin, done) = guided(|peer, wait| {
            if peer.head().is_some() {
                let _ = wait.recv();
            }
        });
        let gateway =
            Gateway::with_driver(driver, &proxy_with(&[&origin.url()], "idle_timeout = \"300ms\"", ""));
        assert_endless_uploads_are_504(&gateway);
        drop(done);
    }
}

#[test]
fn interim_responses_carry_no_length() {
    let interim = "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: </a>\r\n\r\n";
    let origin = Origin::answering(format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    let response = client.exchange(GET);
    assert_eq!((response.status(), response.has("content-length")), (103, false));
    assert_eq!(client.response().status(), 200);

    let origin = Origin::answering_once(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n",
    );
    let gateway = Gateway::proxying(&origin);
    let response =
        gateway.exchange("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!((response.status(), response.has("content-length")), (101, false));
}

#[test]
fn a_tunnel_whose_reader_is_slow_but_reads_is_not_idle() {
    // More than the buffers on the way hold, so that for some time each write waits for the reader.
    const BYTES: usize = 6_000_000;
    const IDLE: Duration = Duration::from_secs(1);
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if peer.request().is_some() {
                peer.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                );
                peer.send(pattern(BYTES));
                peer.finish();
                peer.drain();
            }
        });
        let upstream = format!("idle_timeout = \"{}s\"", IDLE.as_secs());
        let gateway = Gateway::with_driver(driver, &proxy_with(&[&origin.url()], &upstream, ""));
        let mut client = Client::with_socket(gateway.address(), |socket| {
            socket.set_recv_buffer_size(65536).expect("a small buffer is always accepted");
        });
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(client.head().status(), 101);
        let mut received = Vec::new();
        let begun = Instant::now();
        // A third of a megabyte a second or so: a write of the gateway's may wait for longer than the timeout.
        while begun.elapsed() < 4 * IDLE {
            received.extend(client.read_exact(32 * 1024));
            let_time_pass(Duration::from_millis(100));
        }
        assert!(received.len() < BYTES / 2, "the reader was slow");
        received.extend(client.read_exact(BYTES - received.len()));
        assert!(received == pattern(BYTES), "{driver}");
    }
}
