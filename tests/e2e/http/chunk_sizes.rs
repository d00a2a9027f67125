//! The sizes of chunks, in both directions: a size line is judged before anything of it is passed on, in whatever pieces
//! it comes.

use std::sync::Mutex;
use std::sync::mpsc;

use crate::support::{DEADLINE, DRIVERS, Gateway, Origin, on_both_drivers, proxy_to};

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An origin that says when a first chunk of `hello` is there, and then all that has come when the connection ended.
fn recording() -> (Origin, mpsc::Receiver<Vec<u8>>) {
    let (send, received) = mpsc::channel();
    let send = Mutex::new(send);
    let origin = Origin::new(move |peer| {
        if peer.head().is_some() {
            let mut bytes = peer.wire().read_until(b"hello\r\n").expect("the first chunk");
            let send = send.lock().expect("no holder panics");
            send.send(bytes.clone()).expect("the test waits");
            bytes.extend(peer.drain());
            send.send(bytes).expect("the test waits");
        }
    });
    (origin, received)
}

#[test]
fn a_chunk_over_body_bytes_is_413_and_nothing_of_it_reaches_the_origin() {
    for driver in DRIVERS {
        let (origin, received) = recording();
        let limits = "[server.limits]\nbody_bytes = \"1KiB\"\n";
        let gateway = Gateway::with_driver(driver, &format!("{limits}{}", proxy_to(&[&origin.url()])));
        for pieces in
            [&["ffffffffffffffff\r\nx"][..], &["ffffffff", "ffffffff", "\r\n"], &["3fc", ";a=b\r\n"]]
        {
            let mut client = gateway.connect();
            client.send(POST).send("5\r\nhello\r\n");
            assert_eq!(received.recv_timeout(DEADLINE).expect("the first chunk"), b"5\r\nhello\r\n");
            for piece in pieces {
                client.send_taken(piece);
            }
            let response = client.response();
            assert_eq!((response.status(), &response.json()["reason"]), (413, &"body_too_large".into()));
            client.expect_closed();
            let all = received.recv_timeout(DEADLINE).expect("the connection ends");
            assert_eq!(all, b"5\r\nhello\r\n", "{driver} {pieces:?}: {}", String::from_utf8_lossy(&all));
        }
    }
}

#[test]
fn a_chunk_size_may_have_leading_zeros_and_come_in_pieces() {
    on_both_drivers(Origin::echo, |gateway, origin| {
        let mut client = gateway.connect();
        client.send(POST);
        client.send_bytewise(format!("{}5\r\nhello\r\n00\r\n\r\n", "0".repeat(31)));
        assert_eq!(client.response().status(), 200);
        assert_eq!(origin.requests()[0].field("transfer-encoding"), Some("chunked"));
        assert_eq!(client.exchange(format!("{POST}{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(32))).status(), 400);
    });
}

#[test]
fn a_size_of_a_response_that_comes_in_pieces_reaches_the_client_whole() {
    for driver in DRIVERS {
        let (go_on, gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let origin = Origin::new(move |peer| {
            while peer.request().is_some() {
                let gate = gate.lock().expect("no holder panics");
                for piece in [&format!("{OK}5\r\nhello\r\n000"), "3\r\nabc\r\n0", "0\r\n\r\n"] {
                    peer.send(piece);
                    let _ = gate.recv_timeout(DEADLINE);
                }
            }
        });
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        for (end, whole) in [("hello\r\n", false), ("0003\r\nabc\r\n", true), ("00\r\n\r\n", true)] {
            let read = client.read_until(end.as_bytes());
            assert!(!whole || read == end.as_bytes(), "{driver}: {}", String::from_utf8_lossy(&read));
            go_on.send(()).expect("the origin waits");
        }
    }
}

#[test]
fn a_chunk_of_a_response_that_no_recipient_can_count_is_refused() {
    for first in ["", "5\r\nhello\r\n"] {
        let origin = Origin::answering_once(format!("{OK}{first}ffffffffffffffff\r\nx"));
        let gateway = Gateway::proxying(&origin);
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        // Answered with 502, or cut where the head was on its way before the chunk came.
        let all = client.read_to_cut();
        assert!(!all.windows(4).any(|bytes| bytes == b"ffff"), "{}", String::from_utf8_lossy(&all));
        assert_eq!(gateway.log_of("/")["reason"], "upstream_protocol");
    }
}
