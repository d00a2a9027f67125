//! What no body hook wants streams on, however many other hooks there are.

use std::sync::Mutex;
use std::sync::mpsc;

use super::{GET, route_to, with_script};
use crate::support::{DEADLINE, DRIVERS, Origin};

const HEADS: &str = r#"
    fn on_request(req) { req.headers["x-a"] = "1"; }
    fn on_response(req, res) { res.headers["x-b"] = "1"; }
    fn on_log(req, res) { req.ctx.x = res.status; }
"#;

#[test]
fn the_first_byte_reaches_the_client_before_the_origin_has_sent_the_rest() {
    for driver in DRIVERS {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let origin = Origin::new(move |peer| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
                released.lock().expect("one at a time").recv().expect("the test goes on");
                peer.send("4\r\nlast\r\n0\r\n\r\n");
            }
        });
        let gateway = with_script(HEADS).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        let head = client.send(GET).head();
        assert_eq!(head.field("x-b"), Some("1"));
        assert_eq!(client.read_until(b"first\r\n"), b"5\r\nfirst\r\n");
        release.send(()).expect("the origin waits");
        assert_eq!(client.read_until(b"0\r\n\r\n"), b"4\r\nlast\r\n0\r\n\r\n");
    }
}

#[test]
fn a_request_body_reaches_the_origin_before_the_client_has_sent_the_rest() {
    for driver in DRIVERS {
        let (arrived, has_arrived) = mpsc::channel::<()>();
        let arrived = Mutex::new(arrived);
        let origin = Origin::new(move |peer| {
            if let Some(head) = peer.head() {
                assert_eq!(head.field("x-a"), Some("1"));
                assert_eq!(peer.wire().read_exact(5).expect("it comes"), b"first");
                arrived.lock().expect("one at a time").send(()).expect("the test waits");
                assert_eq!(peer.wire().read_exact(4).expect("it comes"), b"last");
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let gateway = with_script(HEADS).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nfirst");
        has_arrived.recv_timeout(DEADLINE).expect("the first part arrives");
        assert_eq!(client.send("last").response().status(), 200);
    }
}

#[test]
fn a_long_body_takes_no_memory_either_way() {
    const SIZE: u64 = 64 << 20;
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if let Some(head) = peer.head() {
                let sent = head.content_length().unwrap_or(0) as u64;
                peer.wire().read_through(sent, |_| ()).expect("all of it comes");
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
                let piece = vec![b'x'; 1 << 20];
                (0..64).for_each(|_| peer.send(&piece));
            }
        });
        let gateway = with_script(HEADS).driver(driver).start(&route_to(&origin, ""));
        assert_eq!(gateway.exchange("GET /none HTTP/1.1\r\nHost: t\r\nX-Warm: 1\r\n\r\n").status(), 200);
        let before = gateway.peak_kib();
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {SIZE}\r\n\r\n"));
        let piece = vec![b'x'; 1 << 20];
        (0..64).for_each(|_| _ = client.send(&piece));
        assert_eq!(client.head().content_length(), Some(64 << 20));
        client.wire().read_through(SIZE, |_| ()).expect("all of it comes");
        let grown = gateway.peak_kib() - before;
        assert!(grown < 8 * 1024, "{driver}: it took {grown} KiB more");
    }
}
