//! Bodies of any size pass through bounded memory, with back-pressure from whoever is slow.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::{Client, DEADLINE, DRIVERS, Gateway, Origin, Peer, let_time_pass, proxy_to, proxy_with};

const LARGE: u64 = 200 * 1024 * 1024;

/// What the gateway may grow by while a large body passes.
const ROOM_KIB: u64 = 16 * 1024;

fn unlimited(driver: &str, origin: &Origin) -> Gateway {
    Gateway::with_driver(
        driver,
        &format!("[server.limits]\nbody_bytes = \"0\"\n{}", proxy_to(&[&origin.url()])),
    )
}

/// Serves once, so that what is allocated at first use is there, and returns the memory.
fn warm(gateway: &Gateway) -> u64 {
    gateway.get("/warm");
    gateway.peak_kib()
}

fn assert_little_grown(gateway: &Gateway, before: u64) {
    let grown = gateway.peak_kib() - before;
    assert!(grown < ROOM_KIB, "the gateway grew by {grown} KiB");
}

/// Answers `/warm` and, to anything else, a download; or takes an upload and says how many bytes came.
fn large_origin() -> Origin {
    Origin::new(|peer| {
        while let Some(request) = peer.head() {
            let piece = [b'x'; 64 * 1024];
            if request.target() == "/warm" {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            } else if let Some(size) = request.content_length() {
                let mut sum = 0;
                let whole = peer.wire().read_through(size as u64, |bytes| sum += bytes.len());
                whole.expect("the whole body comes");
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{sum}",
                    sum.to_string().len()
                ));
            } else {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
                for _ in 0..LARGE / piece.len() as u64 {
                    peer.send(piece);
                }
            }
        }
    })
}

#[test]
fn a_large_download_costs_no_memory() {
    for driver in DRIVERS {
        let origin = large_origin();
        let gateway = unlimited(driver, &origin);
        let before = warm(&gateway);
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.head().content_length(), Some(LARGE as usize));
        let expected = [b'x'; 64 * 1024];
        let all = client.wire().read_through(LARGE, |bytes| assert!(bytes == &expected[..bytes.len()]));
        all.expect("the whole body comes");
        assert_little_grown(&gateway, before);
        assert_eq!(client.exchange("GET /warm HTTP/1.1\r\nHost: test\r\n\r\n").status(), 200);
    }
}

#[test]
fn a_large_upload_costs_no_memory() {
    for driver in DRIVERS {
        let origin = large_origin();
        let gateway = unlimited(driver, &origin);
        let before = warm(&gateway);
        let mut client = gateway.connect();
        client.send(format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {LARGE}\r\n\r\n"));
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..LARGE / piece.len() as u64 {
            client.send(&piece);
        }
        assert_eq!(client.response().text(), LARGE.to_string());
        assert_little_grown(&gateway, before);
    }
}

#[test]
fn a_chunk_of_one_gibibyte_streams() {
    for driver in DRIVERS {
        let seen = 64 * 1024 * 1024;
        let (report, reported) = channel();
        let report = Mutex::new(report);
        let origin = Origin::new(move |peer| {
            while let Some(request) = peer.head() {
                if request.target() == "/warm" {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    continue;
                }
                // Chunk lines of the gateway's own may be among them: counted are only the body's bytes.
                let mut left: usize = seen;
                while left > 0 {
                    let part = peer.wire().read_exact(64 * 1024).expect("the body streams");
                    left = left.saturating_sub(part.iter().filter(|b| **b == b'x').count());
                }
                report.lock().expect("one connection").send(()).expect("the test waits");
                peer.drain();
            }
        });
        let gateway = unlimited(driver, &origin);
        let before = warm(&gateway);
        let mut client = gateway.connect();
        client.send("PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n");
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..seen / piece.len() + 16 {
            client.send(&piece);
        }
        reported.recv_timeout(DEADLINE).expect("the origin has its bytes before the chunk has ended");
        assert_little_grown(&gateway, before);
        client.reset();
        origin.wait_for_closed(1);
    }
}

#[test]
fn a_slow_reader_slows_the_origin_down_and_gets_everything() {
    const SIZE: usize = 128 * 1024 * 1024;
    for driver in DRIVERS {
        let (stuck_at, stuck) = channel();
        let stuck_at = Mutex::new(stuck_at);
        let origin = Origin::new(move |peer| {
            while let Some(request) = peer.head() {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
                if request.target() == "/warm" {
                    peer.send(vec![b'x'; SIZE]);
                    continue;
                }
                let sent = send_until_stuck(peer, SIZE);
                stuck_at.lock().expect("one connection").send(sent).expect("the test waits");
                peer.send(vec![b'x'; SIZE - sent]);
            }
        });
        let gateway = unlimited(driver, &origin);
        let before = warm(&gateway);
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let sent = stuck.recv_timeout(DEADLINE * 3).expect("the origin gets stuck");
        // Four socket buffers of the kernel's lie between, each of some megabytes at most.
        assert!(sent < 64 * 1024 * 1024, "{sent} bytes went to a client that reads nothing");
        assert_eq!(client.head().status(), 200);
        client.wire().read_through(SIZE as u64, |_| ()).expect("the whole body comes");
        assert_little_grown(&gateway, before);
    }
}

/// How many bytes go out until half a second passes in which none is taken.
fn send_until_stuck(peer: &mut Peer, size: usize) -> usize {
    let writer = peer.wire().writer();
    writer.set_write_timeout(Some(Duration::from_millis(500))).expect("a write timeout is always accepted");
    let piece = [b'x'; 64 * 1024];
    let mut sent = 0;
    while sent < size {
        match std::io::Write::write(&mut &writer, &piece[..piece.len().min(size - sent)]) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    writer.set_write_timeout(Some(DEADLINE)).expect("a write timeout is always accepted");
    sent
}

#[test]
fn a_slow_origin_slows_the_client_down() {
    for driver in DRIVERS {
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let origin = Origin::new(move |peer| {
            let Some(request) = peer.head() else { return };
            released.lock().expect("one connection").recv().expect("the client is stuck");
            let size = request.content_length().expect("a sized upload") as u64;
            peer.wire().read_through(size, |_| ()).expect("the whole body comes");
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        });
        let gateway = unlimited(driver, &origin);
        let before = gateway.peak_kib();
        let mut client = gateway.connect();
        client.send(format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {LARGE}\r\n\r\n"));
        let writer = client.wire().writer();
        writer
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("a write timeout is always accepted");
        let piece = [b'x'; 64 * 1024];
        let mut sent = 0;
        while let Ok(n) = std::io::Write::write(&mut &writer, &piece) {
            sent += n as u64;
            assert!(sent < 64 * 1024 * 1024, "{sent} bytes went to an origin that reads nothing");
        }
        writer.set_write_timeout(Some(DEADLINE)).expect("a write timeout is always accepted");
        release.send(()).expect("the origin waits");
        while sent < LARGE {
            let take = piece.len().min((LARGE - sent) as usize);
            client.send(&piece[..take]);
            sent += take as u64;
        }
        assert_eq!(client.response().status(), 200);
        assert_little_grown(&gateway, before);
    }
}

#[test]
fn a_response_that_began_during_the_upload_may_take_longer_than_response_timeout() {
    // More than all socket buffers on the way can hold.
    const SIZE: usize = 64 * 1024 * 1024;
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if let Some(mut request) = peer.head() {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
                let mut writer = peer.wire().writer();
                let sending = std::thread::spawn(move || writer.write_all(&vec![b'x'; SIZE]).is_ok());
                peer.body(&mut request).expect("the upload is complete");
                sending.join().expect("no panic");
            }
        });
        let gateway =
            Gateway::with_driver(driver, &proxy_with(&[&origin.url()], "response_timeout = \"400ms\"", ""));
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        // It flows by now, and will be stuck when the upload ends.
        client.read_exact(SIZE / 4);
        client.send_taken("hello");
        // The client does not read for a while: the bytes wait at the gateway's door.
        let_time_pass(Duration::from_secs(1));
        assert_eq!(client.read_exact(SIZE - SIZE / 4).len(), SIZE - SIZE / 4);
    }
}

/// What the gateway's memory grows by for each of 300 connections on which this was sent, and `seen` came back.
fn grown_kib_for_each(gateway: &Gateway, sent: &str, seen: impl Fn(&mut Client)) -> u64 {
    const CLIENTS: u64 = 300;
    let open = || {
        let mut client = gateway.connect().resetting();
        seen(client.send(sent));
        client
    };
    // What is allocated at first use is not theirs.
    drop(open());
    let before = gateway.resident_kib();
    let clients: Vec<_> = (0..CLIENTS).map(|_| open()).collect();
    let grown = gateway.resident_kib().saturating_sub(before) / CLIENTS;
    drop(clients);
    grown
}

#[test]
fn what_waits_for_its_next_bytes_holds_no_buffers() {
    const UPLOADED: usize = 200_000;
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            let Some(request) = peer.head() else { return };
            match request.target() {
                "/upload" => {
                    let _ = peer.wire().read_exact(UPLOADED);
                    peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
                }
                "/tunnel" => peer.send(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                ),
                _ => peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n"),
            }
            peer.drain();
        });
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let events = "GET /events HTTP/1.1\r\nHost: test\r\n\r\n";
        let tunnel =
            "GET /tunnel HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let upload = "PUT /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n";
        let upload = upload.to_string() + &"x".repeat(UPLOADED);
        let grown = [
            grown_kib_for_each(&gateway, events, |client| drop(client.read_until(b"event"))),
            grown_kib_for_each(&gateway, tunnel, |client| assert_eq!(client.head().status(), 101)),
            grown_kib_for_each(&gateway, &upload, |client| assert_eq!(client.head().status(), 103)),
        ];
        // With a buffer each it would be 25, 8 and 180.
        let limits = [12, 7, 40];
        assert!(
            grown.iter().zip(limits).all(|(grown, limit)| *grown <= limit),
            "{driver}: {grown:?} KiB for each stream of events, tunnel, upload"
        );
    }
}
