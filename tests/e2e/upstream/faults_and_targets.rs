//! What an upstream can do wrong, the answer each makes, and how targets are addressed and chosen.

use std::time::{Duration, Instant};

use crate::support::{
    DEADLINE, DRIVERS, ENDLESS_FRAMINGS, Gateway, Message, Origin, echo, let_time_pass, proxy_to, proxy_with,
    refusing,
};
use socket2::{Domain, Socket, Type};

fn assert_fault(response: &Message, status: u16, reason: &str) {
    assert_eq!((response.status(), &response.json()["reason"]), (status, &reason.into()));
    let proxy_status = response.field("proxy-status").expect("the upstream caused it");
    assert!(proxy_status.starts_with("ringway"), "{proxy_status}");
    assert!(proxy_status.contains("error="), "{proxy_status}");
}

/// A listening address whose accept queue is full: a connect to it gets no answer at all.
fn unanswering() -> (Vec<Socket>, String) {
    let (listener, url) = refusing();
    listener.listen(0).expect("a bound socket listens");
    let address = listener.local_addr().expect("bound");
    let mut held = vec![listener];
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let connected = socket.connect_timeout(&address, Duration::from_millis(300));
        held.push(socket);
        if connected.is_err() {
            return (held, url);
        }
    }
}

#[test]
fn a_target_that_refuses_is_502_upstream_connect() {
    for driver in DRIVERS {
        let (_held, url) = refusing();
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&url]));
        let mut client = gateway.connect();
        for _ in 0..2 {
            let response = client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_fault(&response, 502, "upstream_connect");
        }
        let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
        assert_fault(&client.exchange(post), 502, "upstream_connect");
    }
}

#[test]
fn a_client_that_leaves_during_the_connect_ends_it() {
    let (_held, url) = unanswering();
    // The second is shorter than the time between two looks at the client.
    for timeout in ["60s", "60ms"] {
        for driver in DRIVERS {
            let upstream = format!("connect_timeout = {timeout:?}");
            let gateway = Gateway::with_driver(driver, &proxy_with(&[&url], &upstream, ""));
            let mut client = gateway.connect();
            client.send("GET /left HTTP/1.1\r\nHost: test\r\n\r\n").finish();
            let line = gateway.log_of("/left");
            assert_eq!(
                (&line["status"], &line["reason"]),
                (&499.into(), &"client_closed".into()),
                "{driver} {timeout}"
            );
            assert_eq!(gateway.metric("ringway_upstream_failures_total", ""), 0.0, "{driver} {timeout}");
        }
    }
}

#[test]
fn a_target_that_does_not_answer_the_connect_is_504() {
    for driver in DRIVERS {
        let (_held, url) = unanswering();
        let gateway = Gateway::with_driver(driver, &proxy_with(&[&url], "connect_timeout = \"300ms\"", ""));
        let begun = Instant::now();
        assert_fault(&gateway.get("/"), 504, "upstream_timeout");
        assert!(begun.elapsed() >= Duration::from_millis(290));
    }
}

#[test]
fn an_origin_that_does_not_answer_is_504_after_response_timeout() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if peer.request().is_some() {
                peer.expect_closed();
            }
        });
        let config = proxy_with(&[&origin.url()], "response_timeout = \"300ms\"", "");
        let gateway = Gateway::with_driver(driver, &config);
        let begun = Instant::now();
        assert_fault(&gateway.get("/late"), 504, "upstream_timeout");
        // The coarse clock may be late on a busy machine.
        assert!(begun.elapsed() >= Duration::from_millis(150));
        origin.wait_for_closed(1);
        let log = gateway.log_of("/late");
        assert_eq!((&log["status"], &log["reason"]), (&504.into(), &"upstream_timeout".into()));
    }
}

#[test]
fn an_origin_that_stops_inside_its_head_is_504_after_response_timeout() {
    let origin = Origin::new(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Le");
        peer.drain();
    });
    let gateway = Gateway::start(&proxy_with(&[&origin.url()], "response_timeout = \"300ms\"", ""));
    assert_fault(&gateway.get("/"), 504, "upstream_timeout");
}

#[test]
fn interim_responses_do_not_hold_the_response_timeout_off() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            peer.request();
            while peer.send_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {}
        });
        let config = proxy_with(&[&origin.url()], "response_timeout = \"500ms\"", "");
        let gateway = Gateway::with_driver(driver, &config);
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_fault(&client.final_response(), 504, "upstream_timeout");
    }
}

#[test]
fn the_response_timeout_runs_from_the_end_of_the_request() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&proxy_with(&[&origin.url()], "response_timeout = \"400ms\"", ""));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(900) {
        client.send("1\r\nx\r\n");
        assert_eq!(gateway.get("/").status(), 200);
        let_time_pass(Duration::from_millis(20));
    }
    assert_eq!(client.send("0\r\n\r\n").response().status(), 200);
}

#[test]
fn a_response_body_that_stops_coming_is_cut_after_idle_timeout() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            peer.drain();
        });
        let config = proxy_with(&[&origin.url()], "idle_timeout = \"300ms\"", "");
        let gateway = Gateway::with_driver(driver, &config);
        let mut client = gateway.connect();
        client.send("GET /stops HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        assert_eq!(client.read_to_cut(), b"half");
        assert_eq!(gateway.log_of("/stops")["reason"], "upstream_timeout");
    }
}

#[test]
fn the_routes_timeout_ends_the_whole_exchange() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            if peer.request().is_some_and(|request| request.target() == "/streams") {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while peer.send_all(b"1\r\nx\r\n").is_ok() {
                    let_time_pass(Duration::from_millis(20));
                }
            }
            peer.drain();
        });
        let gateway = Gateway::with_driver(driver, &proxy_with(&[&origin.url()], "", "timeout = \"500ms\""));
        assert_fault(&gateway.get("/silent"), 504, "upstream_timeout");
        let mut client = gateway.connect();
        client.send("GET /streams HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        let begun = Instant::now();
        while client.wire().read_exact(6).is_ok() {
            assert!(begun.elapsed() < DEADLINE, "it streams on after the route's timeout");
        }
        assert_eq!(gateway.log_of("/streams")["reason"], "upstream_timeout");
    }
}

#[test]
fn the_routes_timeout_ends_a_response_that_always_has_more_to_give() {
    for driver in DRIVERS {
        for framing in ENDLESS_FRAMINGS {
            let origin = Origin::endless(framing);
            let route = "timeout = \"500ms\"";
            let gateway = Gateway::with_driver(driver, &proxy_with(&[&origin.url()], "", route));
            let mut client = gateway.connect();
            client.send("GET /floods HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(client.head().status(), 200);
            let begun = Instant::now();
            while client.wire().read_exact(65536).is_ok() {
                assert!(begun.elapsed() < Duration::from_secs(4), "it flows on after the route's timeout");
            }
            // Whoever was waited for just then.
            let reason = &gateway.log_of("/floods")["reason"];
            assert!(reason == "upstream_timeout" || reason == "request_timeout", "{reason}");
        }
    }
}

#[test]
fn the_routes_timeout_bounds_the_connect_too() {
    let (_held, url) = unanswering();
    for driver in DRIVERS {
        let upstream = "connect_timeout = \"9s\"";
        let gateway = Gateway::with_driver(driver, &proxy_with(&[&url], upstream, "timeout = \"500ms\""));
        let begun = Instant::now();
        assert_fault(&gateway.get("/"), 504, "upstream_timeout");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

#[test]
fn an_origin_that_refuses_the_body_and_never_answers_is_504_after_response_timeout() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for driver in DRIVERS {
        let (stop_reading, has_stopped_reading) = std::sync::mpsc::channel();
        let (_held, until_done) = std::sync::mpsc::channel::<()>();
        let ends = std::sync::Mutex::new((stop_reading, until_done));
        let origin = Origin::unix(&dir.path().join(driver), move |peer| {
            if peer.head().is_some() {
                peer.wire().socket().shutdown(std::net::Shutdown::Read).expect("a connected socket");
                let (stop_reading, until_done) = &*ends.lock().expect("one connection");
                stop_reading.send(()).expect("the test waits");
                // Open until the test drops its end.
                let _ = until_done.recv();
            }
        });
        let upstream = "response_timeout = \"400ms\"";
        let gateway = Gateway::with_driver(driver, &proxy_with(&[&origin.url()], upstream, ""));
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n");
        has_stopped_reading.recv_timeout(DEADLINE).expect("the head arrives");
        client.send("hello");
        assert_fault(&client.response(), 504, "upstream_timeout");
    }
}

#[test]
fn an_origin_that_resets_or_closes_without_an_answer_is_502_upstream_reset() {
    for driver in DRIVERS {
        for reset in [true, false] {
            let origin = Origin::new(move |peer| {
                peer.request();
                if reset {
                    peer.reset();
                }
            });
            let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
            assert_fault(&gateway.get("/"), 502, "upstream_reset");
            let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
            assert_fault(&gateway.exchange(post), 502, "upstream_reset");
        }
    }
}

#[test]
fn a_client_connection_outlives_a_fault_of_the_upstream() {
    let origin = Origin::new(|peer| {
        if peer.request().is_some_and(|request| request.target() != "/bad") {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    for _ in 0..3 {
        assert_fault(&client.exchange("GET /bad HTTP/1.1\r\nHost: t\r\n\r\n"), 502, "upstream_reset");
        assert_eq!(client.exchange("GET /good HTTP/1.1\r\nHost: t\r\n\r\n").status(), 200);
    }
}

#[test]
fn a_unix_socket_is_a_target() {
    for driver in DRIVERS {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let origin = Origin::unix(&dir.path().join("origin.sock"), echo);
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        for n in 0..3 {
            let echoed = client.exchange(format!("GET /{n} HTTP/1.1\r\nHost: t\r\n\r\n")).echoed();
            assert_eq!(echoed.target(), format!("/{n}"));
            assert!(echoed.field("host").is_some_and(|host| !host.is_empty()));
        }
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn an_ipv6_address_is_a_target() {
    let Some(origin) = Origin::ipv6(echo) else {
        return println!("skipped: this machine has no IPv6 loopback");
    };
    let echoed = Gateway::proxying(&origin).get("/").echoed();
    assert_eq!(echoed.field("host"), Some(origin.authority().as_str()));
}

#[test]
fn a_unix_socket_that_is_not_there_is_502_upstream_connect() {
    let gateway = Gateway::start(&proxy_to(&["unix:missing.sock"]));
    assert_fault(&gateway.get("/"), 502, "upstream_connect");
}

#[test]
fn a_name_is_a_target_and_its_authority_the_host() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let port = origin.socket_address().port();
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&format!("http://localhost:{port}")]));
        let echoed = gateway.get("/").echoed();
        assert_eq!(echoed.field("host"), Some(format!("localhost:{port}").as_str()));
    }
}

#[test]
fn a_name_that_does_not_resolve_is_503_no_target() {
    let gateway = Gateway::start(&proxy_to(&["http://nowhere.invalid:80"]));
    let response = gateway.get("/");
    assert_eq!((response.status(), &response.json()["reason"]), (503, &"no_target".into()));
}

/// How many of `count` requests each origin gets.
fn shares(origins: &[Origin], gateway: &Gateway, count: usize) -> Vec<usize> {
    let mut client = gateway.connect();
    for _ in 0..count {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status(), 200);
    }
    origins.iter().map(|origin| origin.requests().len()).collect()
}

#[test]
fn targets_get_their_weights_share_exactly() {
    for driver in DRIVERS {
        let origins = [Origin::echo(), Origin::echo(), Origin::echo()];
        let [a, b, c] = [&origins[0], &origins[1], &origins[2]].map(Origin::url);
        let config = format!(
            "[upstream.origin]\ntargets = [{a:?}, {{ url = {b:?}, weight = 3 }}, {{ url = {c:?}, weight = 2 }}]\n\
             [[route]]\nname = \"all\"\npath = \"/*\"\nupstream = \"origin\"\n"
        );
        let gateway = Gateway::with_driver(driver, &config);
        assert_eq!(shares(&origins, &gateway, 60), [10, 30, 20]);
    }
}

#[test]
fn every_way_to_balance_uses_every_target() {
    for balance in ["round_robin", "least_connections", "p2c", "random"] {
        let origins = [Origin::echo(), Origin::echo()];
        let targets = [origins[0].url(), origins[1].url()];
        let config = proxy_with(&[&targets[0], &targets[1]], &format!("balance = {balance:?}"), "");
        let got = shares(&origins, &Gateway::start(&config), 60);
        assert_eq!(got.iter().sum::<usize>(), 60);
        assert!(got.iter().all(|n| *n > 0), "{balance}: {got:?}");
    }
}

#[test]
fn a_hash_keeps_each_key_at_its_target() {
    let origins = [Origin::echo(), Origin::echo(), Origin::echo()];
    let targets = [origins[0].url(), origins[1].url(), origins[2].url()];
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let config = proxy_with(&targets, "balance = \"hash\"\nhash_on = \"header:X-User\"", "");
    let gateway = Gateway::start(&config);
    for user in 0..30 {
        for _ in 0..3 {
            gateway.exchange(format!("GET /{user} HTTP/1.1\r\nHost: t\r\nx-user: {user}\r\n\r\n"));
        }
    }
    let seen = origins.map(|origin| origin.requests());
    for user in 0..30 {
        let at =
            |requests: &Vec<Message>| requests.iter().filter(|r| r.target() == format!("/{user}")).count();
        assert!(seen.iter().map(at).any(|count| count == 3), "user {user} is spread over targets");
    }
    assert!(seen.iter().all(|requests| !requests.is_empty()), "thirty users meet three targets");
}

#[test]
fn least_connections_avoids_the_busy_target() {
    let busy = Origin::new(|peer| {
        peer.request();
        peer.drain();
    });
    let free = Origin::echo();
    let config = proxy_with(&[&busy.url(), &free.url()], "balance = \"least_connections\"", "");
    let gateway = Gateway::start(&config);
    let mut held = Vec::new();
    while busy.requests().is_empty() {
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        held.push(client);
        let until = Instant::now() + DEADLINE;
        while busy.requests().len() + free.requests().len() < held.len() {
            assert!(Instant::now() < until, "a request is lost");
            std::thread::yield_now();
        }
    }
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    assert_eq!(busy.requests().len(), 1);
}
