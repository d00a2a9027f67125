//! SIGTERM and SIGINT.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::HELLO;
use crate::support::{DEADLINE, DRIVERS, Gateway, Origin, proxy_to};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

/// An origin that answers only when told to, however often.
fn gated() -> (Origin, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::new(move |peer| {
        while peer.request().is_some() {
            let _ = gate.lock().expect("no holder panics").recv_timeout(DEADLINE);
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    (origin, open)
}

#[test]
fn a_request_in_flight_is_finished_new_connections_are_refused_and_the_exit_code_is_0() {
    for driver in DRIVERS {
        let (origin, open) = gated();
        let mut gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        client.send(GET);
        origin.wait_for_requests(1);
        gateway.signal("TERM");
        gateway.wait_for_message("shutting down");
        assert_eq!(gateway.admin("GET", "/readyz").status(), 503, "{driver}");
        assert_eq!(gateway.admin("GET", "/status").json()["state"], "draining");
        let until = Instant::now() + DEADLINE;
        while std::net::TcpStream::connect(gateway.address()).is_ok() {
            assert!(Instant::now() < until, "{driver}: new connections are still taken");
        }
        open.send(()).expect("the origin is there");
        assert_eq!(client.response().text(), "done", "{driver}");
        client.expect_closed();
        assert_eq!(gateway.wait_for_exit(DEADLINE).code(), Some(0), "{driver}");
    }
}

#[test]
fn an_idle_connection_does_not_hold_up_the_exit() {
    for signal in ["TERM", "INT"] {
        let mut gateway = Gateway::start(HELLO);
        let mut client = gateway.connect();
        assert_eq!(client.exchange("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n").status(), 200);
        gateway.signal(signal);
        assert_eq!(gateway.wait_for_exit(Duration::from_secs(5)).code(), Some(0), "{signal}");
        client.expect_closed();
    }
}

#[test]
fn drain_timeout_cuts_what_is_still_open_says_how_much_and_exits_0() {
    let (origin, _open) = gated();
    let builder = Gateway::builder().server("drain_timeout = \"300ms\"");
    let mut gateway = builder.start(&proxy_to(&[&origin.url()]));
    let mut client = gateway.connect();
    client.send(GET);
    origin.wait_for_requests(1);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_exit(DEADLINE).code(), Some(0));
    gateway.wait_for_message("1 connection is cut");
    assert_eq!(client.read_to_cut(), b"");
    let line = gateway.log_of("/");
    assert_eq!(
        (&line["status"], &line["reason"], &line["upstream"]),
        (&503.into(), &"shutdown".into(), &"origin".into())
    );
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let (origin, _open) = gated();
    let builder = Gateway::builder().server("drain_timeout = \"60s\"");
    let mut gateway = builder.start(&proxy_to(&[&origin.url()]));
    let mut client = gateway.connect();
    client.send(GET);
    origin.wait_for_requests(1);
    gateway.signal("TERM");
    gateway.wait_for_message("shutting down");
    gateway.signal("INT");
    assert_eq!(gateway.wait_for_exit(Duration::from_secs(5)).code(), Some(0));
    gateway.wait_for_message("second signal");
    assert_eq!(gateway.log_of("/")["reason"], "shutdown");
}

#[test]
fn a_reload_during_the_drain_is_refused() {
    let (origin, open) = gated();
    let mut gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.send(GET);
    origin.wait_for_requests(1);
    gateway.signal("TERM");
    gateway.wait_for_message("shutting down");
    let refused = gateway.admin("POST", "/reload");
    assert_eq!((refused.status(), &refused.json()["reason"]), (503, &"draining".into()));
    open.send(()).expect("the origin is there");
    assert_eq!(client.response().status(), 200);
    assert_eq!(gateway.wait_for_exit(DEADLINE).code(), Some(0));
}

#[test]
fn a_gateway_that_has_ended_leaves_its_port_to_the_next() {
    let mut first = Gateway::start(HELLO);
    let mut client = first.connect();
    client.exchange("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n");
    first.signal("TERM");
    first.wait_for_exit(DEADLINE);
    let toml = format!("[server]\nlisten = \"{}\"\nshards = 1\npin_cores = false\n{HELLO}", first.address());
    assert_eq!(Gateway::start(&toml).get("/hello").status(), 200);
}
