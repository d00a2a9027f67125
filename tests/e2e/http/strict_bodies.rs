//! Chunked request bodies: what two parsers could read differently ends the connection before the origin could
//! take it for complete, and nothing behind it becomes a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{DEADLINE, DRIVERS, Gateway, Origin, Wire, proxy_to, show};

const HEAD: &str = "POST /first HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
const BEHIND: &str = "\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";

/// An origin that answers only complete requests, and how many it has seen.
fn counting_origin() -> (Origin, Arc<AtomicUsize>) {
    let complete = Arc::new(AtomicUsize::new(0));
    let counter = complete.clone();
    let origin = Origin::new(move |peer| {
        while let Some(request) = peer.request() {
            assert_ne!(request.target(), "/smuggled");
            counter.fetch_add(1, Ordering::SeqCst);
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()));
            peer.send(&request.body);
        }
    });
    (origin, complete)
}

fn check_refused(bodies: &[(&str, Vec<u8>)]) {
    let (origin, complete) = counting_origin();
    let gateway = Gateway::proxying(&origin);
    for (rule, body) in bodies {
        eprintln!("{rule}: {}", show(body));
        let mut client = gateway.connect();
        client.send_lossy([HEAD.as_bytes(), body, BEHIND.as_bytes()].concat());
        let response = client.response();
        assert_eq!((response.status(), &response.json()["reason"]), (400, &"bad_request".into()), "{rule}");
        client.expect_closed();
        assert_eq!(complete.load(Ordering::SeqCst), 0, "{rule}: the origin took it for complete");
    }
    assert!(origin.requests().iter().all(|request| request.target() == "/first"));
}

#[test]
fn chunk_sizes_are_hex_digits_and_nothing_else() {
    let sizes: [&str; 17] = [
        "0x5",
        "5 ",
        " 5",
        "+5",
        "-5",
        "",
        "g",
        "5\t",
        "5.",
        "5_",
        "5,5",
        "5 5",
        "\u{665}",
        "5\0",
        "5\x0b",
        "10000000000000005",
        "fffffffffffffffffffff",
    ];
    let bodies: Vec<_> =
        sizes.iter().map(|size| (*size, format!("{size}\r\nhello\r\n0\r\n\r\n").into_bytes())).collect();
    check_refused(&bodies);
}

#[test]
fn chunk_lines_end_with_crlf() {
    check_refused(&[
        ("LF behind the size", b"5\nhello\r\n0\r\n\r\n".to_vec()),
        ("LF behind an extension", b"5;a\nhello\r\n0\r\n\r\n".to_vec()),
        ("CR alone behind the size", b"5\rhello\r\n0\r\n\r\n".to_vec()),
        ("CR X behind the size", b"5\rX\nhello\r\n0\r\n\r\n".to_vec()),
        ("LF behind the data", b"5\r\nhello\n0\r\n\r\n".to_vec()),
        ("nothing behind the data", b"5\r\nhello0\r\n\r\n".to_vec()),
        ("data longer than its size", b"5\r\nhello!\r\n0\r\n\r\n".to_vec()),
        ("data shorter than its size", b"6\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("LF behind the last chunk", b"5\r\nhello\r\n0\n\r\n".to_vec()),
        ("LF as the end", b"5\r\nhello\r\n0\r\n\n".to_vec()),
        ("CR X as the end", b"5\r\nhello\r\n0\r\n\rX".to_vec()),
    ]);
}

#[test]
fn chunk_extensions_have_a_grammar_and_a_bound() {
    check_refused(&[
        ("space around an extension", b"5 ;a\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("bare CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("NUL in an extension", b"5;a=\0\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("DEL in an extension", b"5;\x7f\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("a megabyte of extension", [b"5;", &vec![b'a'; 1_000_000][..], b"\r\nhello\r\n0\r\n\r\n"].concat()),
        (
            "small extensions without end",
            [&b"1;aaaaaaaaaaaaaaaa=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\nx\r\n".repeat(20_000)[..], b"0\r\n\r\n"]
                .concat(),
        ),
    ]);
}

#[test]
fn trailers_are_held_to_the_grammar_of_fields() {
    let trailers: [&[u8]; 9] = [
        b"X : y\r\n",
        b"X: y\n",
        b"X: y\r\n z\r\n",
        b" X: y\r\n",
        b"X: a\0b\r\n",
        b"X: a\rb\r\n",
        b": y\r\n",
        b"no colon\r\n",
        b"X Y: z\r\n",
    ];
    let bodies: Vec<_> = trailers
        .iter()
        .map(|trailer| ("trailer", [b"5\r\nhello\r\n0\r\n", *trailer, b"\r\n"].concat()))
        .collect();
    check_refused(&bodies);
}

#[test]
fn trailers_that_would_change_framing_or_routing_never_reach_the_origin() {
    let names = [
        "Content-Length: 7",
        "Transfer-Encoding: chunked",
        "Host: evil",
        "Connection: close",
        "TE: trailers",
    ];
    for trailer in names {
        let (origin, _) = counting_origin();
        let gateway = Gateway::proxying(&origin);
        let mut client = gateway.connect();
        client.send(format!("{HEAD}5\r\nhello\r\n0\r\n{trailer}\r\nX-Fine: y\r\n\r\n"));
        // Refused, or dropped: either way the origin must not see it.
        let status = client.response().status();
        assert!(status == 400 || status == 200, "{trailer}: {status}");
        let seen = origin.requests();
        let name = trailer.split(':').next().expect("split yields at least one piece");
        assert!(seen.iter().all(|request| request.trailers.iter().all(|(n, _)| n != name)), "{trailer}");
    }
}

#[test]
fn trailers_are_bounded() {
    let (origin, complete) = counting_origin();
    let gateway = Gateway::proxying(&origin);
    let long = "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(20_000);
    let mut client = gateway.connect();
    client.send_lossy(format!("{HEAD}5\r\nhello\r\n0\r\n{long}\r\n"));
    let status = client.response().status();
    assert!(status == 400 || status == 431, "{status}");
    assert_eq!(complete.load(Ordering::SeqCst), 0);
}

#[test]
fn valid_neighbours_of_what_is_refused_pass() {
    let (origin, complete) = counting_origin();
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    let bodies = [
        "5\r\nhello\r\n0\r\n\r\n",
        "00000005\r\nhello\r\n000\r\n\r\n",
        "5;a=b;c\r\nhello\r\n0;d=\"e;\"\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\nX: y\r\nZ:\r\n\r\n",
        "A\r\nhellohello\r\n0\r\n\r\n",
        "a\r\nhellohello\r\n0\r\n\r\n",
        "2\r\n\r\n\r\n0\r\n\r\n",
    ];
    for body in bodies {
        assert_eq!(client.exchange(format!("{HEAD}{body}")).status(), 200, "{body:?}");
    }
    assert_eq!(complete.load(Ordering::SeqCst), bodies.len());
}

#[test]
fn what_stands_behind_a_body_in_its_packet_is_the_next_request() {
    let (origin, _) = counting_origin();
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.send(format!(
        "{HEAD}5\r\nhello\r\n0\r\n\r\nPOST /second HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc"
    ));
    assert_eq!(client.response().text(), "hello");
    assert_eq!(client.response().text(), "abc");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_body_that_never_comes_whole_is_never_completed_for_the_origin() {
    for body in ["POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf", &format!("{HEAD}5\r\nhel")] {
        let (origin, complete) = counting_origin();
        let gateway = Gateway::proxying(&origin);
        let mut client = gateway.connect();
        client.send(body);
        origin.wait_for_requests(1);
        client.finish();
        origin.wait_for_closed(1);
        assert_eq!(complete.load(Ordering::SeqCst), 0);
    }
}

/// A wire is what the origin reads with; its strictness is what makes the tests above mean something.
#[test]
#[should_panic(expected = "chunk size line")]
fn the_tests_own_reader_refuses_a_bad_size() {
    let (near, far) =
        socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a pair");
    Wire::new(near)
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n")
        .expect("it fits");
    let _ = Wire::new(far).response("GET");
}

#[test]
fn a_body_that_the_origin_would_not_take_is_never_read_as_the_next_request() {
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    let dir = tempfile::tempdir().expect("a temporary directory");
    for driver in DRIVERS {
        let (stop_reading, has_stopped_reading) = std::sync::mpsc::channel();
        let (close, may_close) = std::sync::mpsc::channel();
        let ends = std::sync::Mutex::new((stop_reading, may_close));
        // Refuses every further byte without an end that the gateway could see, which only Unix sockets can.
        let origin = Origin::unix(&dir.path().join(driver), move |peer| {
            if peer.head().is_some() {
                let (stop_reading, may_close) = &*ends.lock().expect("one connection at a time");
                peer.wire().socket().shutdown(std::net::Shutdown::Read).expect("a connected socket");
                stop_reading.send(()).expect("the test waits");
                may_close.recv_timeout(DEADLINE).expect("the test goes on");
            }
        });
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", SMUGGLED.len()));
        has_stopped_reading.recv_timeout(DEADLINE).expect("the head arrives");
        client.send_taken(SMUGGLED);
        close.send(()).expect("the origin waits");
        let response = client.response();
        assert_eq!((response.status(), response.connection_lists("close")), (502, true), "{driver}");
        client.expect_closed();
        assert_eq!(origin.requests().len(), 1, "{driver}: the body was taken for a request");
    }
}

#[test]
fn a_body_over_body_bytes_that_nobody_reads_ends_the_connection() {
    let respond = "[[route]]\nname = \"all\"\npath = \"/*\"\nrespond = { status = 200, body = \"hi\" }\n";
    let gateway = Gateway::start(&format!("[server.limits]\nbody_bytes = \"10B\"\n{respond}"));
    let mut client = gateway.connect();
    client.send(format!(
        "{HEAD}14\r\n{}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
        "x".repeat(20)
    ));
    let response = client.response();
    assert_eq!((response.status(), response.connection_lists("close")), (200, true));
    client.expect_closed();
}
