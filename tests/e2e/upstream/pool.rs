//! Connections to origins are kept and used again; one that the origin closed meanwhile never costs a client an error.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::{Client, DRIVERS, Gateway, Origin, Peer, on_both_drivers, proxy_to, proxy_with};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn connections_are_shared_by_clients_one_after_the_other() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_connection_whose_origin_says_close_is_not_kept() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    for _ in 0..3 {
        let response = client.exchange(GET);
        assert_eq!(response.text(), "ok");
        assert!(!response.connection_lists("close"), "hop-by-hop: the origin's wish is not the client's");
    }
    assert_eq!(origin.connections(), 3);
}

/// Answers one request and closes.
fn one_each(peer: &mut Peer) {
    if peer.request().is_some() {
        peer.send(OK);
    }
}

/// Answers one request and resets, once the client has its answer for sure.
fn one_each_then_reset(peer: &mut Peer) {
    if peer.request().is_some() {
        peer.wire().send_taken(OK).expect("the gateway reads");
        peer.reset();
    }
}

#[test]
fn a_connection_closed_while_idle_is_noticed_before_any_request_is_sent_on_it() {
    for handle in [one_each as fn(&mut Peer), one_each_then_reset] {
        on_both_drivers(
            || Origin::new(handle),
            |gateway, origin| {
                let mut client = gateway.connect();
                for (number, request) in [GET, POST, GET, POST, POST].into_iter().enumerate() {
                    assert_eq!(client.exchange(request).status(), 200, "request {number}");
                    origin.wait_for_closed_everywhere(number + 1);
                }
            },
        );
    }
}

/// On its first connection, answers one request, reads the second and closes without a byte; then behaves.
fn leaves_at_the_second(peer: &mut Peer) {
    if peer.number > 0 {
        while peer.request().is_some() {
            peer.send(OK);
        }
    } else if peer.request().is_some() {
        peer.send(OK);
        peer.request();
    }
}

fn resets_at_the_second(peer: &mut Peer) {
    leaves_at_the_second(peer);
    peer.reset();
}

#[test]
fn an_idempotent_request_on_a_connection_that_closes_just_then_is_replayed() {
    for handle in [leaves_at_the_second as fn(&mut Peer), resets_at_the_second] {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
            on_both_drivers(
                || Origin::new(handle),
                |gateway, origin| {
                    let request = format!("{method} /again HTTP/1.1\r\nHost: test\r\n\r\n");
                    let mut client = gateway.connect();
                    client.exchange(GET);
                    client.send(request);
                    assert_eq!(client.response_to("HEAD").status(), 200, "{method}");
                    assert_eq!(origin.connections(), 2);
                    assert_eq!(gateway.log_of("/again")["retries"], 1);
                },
            );
        }
    }
}

#[test]
fn a_post_that_was_sent_on_a_connection_that_closes_just_then_is_not_replayed() {
    for handle in [leaves_at_the_second as fn(&mut Peer), resets_at_the_second] {
        on_both_drivers(
            || Origin::new(handle),
            |gateway, origin| {
                let mut client = gateway.connect();
                client.exchange(GET);
                let response = client.exchange(POST);
                assert_eq!((response.status(), &response.json()["reason"]), (502, &"upstream_reset".into()));
                assert_eq!(origin.requests().len(), 2, "it must not be sent twice");
            },
        );
    }
}

#[test]
fn a_body_that_streamed_is_not_replayed_though_all_of_it_was_sent() {
    for handle in [leaves_at_the_second as fn(&mut Peer), resets_at_the_second] {
        on_both_drivers(
            || Origin::new(handle),
            |gateway, origin| {
                let mut client = gateway.connect();
                client.exchange(GET);
                client.send("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n");
                // The head is with the origin before the body comes.
                origin.wait_for_requests(2);
                let response = client.exchange(vec![b'x'; 100_000]);
                assert_eq!((response.status(), &response.json()["reason"]), (502, &"upstream_reset".into()));
                assert_eq!(origin.requests().len(), 2, "its beginning alone must not be sent");
            },
        );
    }
}

#[test]
fn nothing_is_replayed_once_a_byte_of_a_response_came() {
    let origin = Origin::new(|peer| {
        if peer.request().is_some() {
            peer.send(OK);
            if peer.request().is_some() {
                peer.send("HTTP/1.1 2");
            }
        }
    });
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.exchange(GET);
    assert_eq!(client.exchange(GET).status(), 502);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_request_that_no_connection_takes_is_not_replayed_for_ever() {
    let origin = Origin::new(|peer| {
        if peer.number == 0 && peer.request().is_some() {
            peer.send(OK);
        }
        peer.request();
    });
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.exchange(GET);
    let response = client.exchange(GET);
    assert_eq!((response.status(), &response.json()["reason"]), (502, &"upstream_reset".into()));
    assert!(origin.connections() <= 4, "{} connections", origin.connections());
}

/// Closes after every few requests, now before the next one is read and now after, as the number says.
fn unreliable(peer: &mut Peer) {
    for served in 0.. {
        let Some(request) = peer.request() else { return };
        if served > peer.number % 5 {
            // Read, but not answered: only a request that may be sent twice survives this.
            return;
        }
        let body = request.target().to_string();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        if peer.number.is_multiple_of(3) && served == 2 {
            return;
        }
    }
}

#[test]
fn under_load_no_get_is_lost_to_an_origin_that_keeps_closing_its_connections() {
    for driver in DRIVERS {
        let origin = Origin::new(unreliable);
        let gateway = Gateway::builder().driver(driver).shards(2).start(&proxy_to(&[&origin.url()]));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let mut client = gateway.connect();
                scope.spawn(move || {
                    for n in 0..150 {
                        let target = format!("/{thread}/{n}");
                        let response = client.exchange(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"));
                        assert_eq!((response.status(), response.text()), (200, target.as_str()));
                    }
                });
            }
        });
    }
}

#[test]
fn without_keepalive_every_request_has_a_connection_of_its_own() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&proxy_with(&[&origin.url()], "keepalive = 0", ""));
    for number in 1..=3 {
        assert_eq!(gateway.get("/").text(), "ok");
        origin.wait_for_closed(number);
    }
}

/// An origin whose answers all wait until `count` requests are there, so that they need as many connections.
fn answers_together(count: usize) -> Origin {
    let barrier = std::sync::Barrier::new(count);
    Origin::new(move |peer| {
        while peer.request().is_some() {
            barrier.wait();
            peer.send(OK);
        }
    })
}

#[test]
fn no_more_than_keepalive_connections_are_kept_idle() {
    for driver in DRIVERS {
        let origin = answers_together(5);
        let config = proxy_with(&[&origin.url()], "keepalive = 2", "");
        let gateway = Gateway::with_driver(driver, &config);
        let mut clients: Vec<Client> = (0..5).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            client.send(GET);
        }
        for client in &mut clients {
            assert_eq!(client.response().text(), "ok");
        }
        origin.wait_for_closed(3);
        assert_eq!(origin.connections(), 5);
    }
}

#[test]
fn an_idle_connection_is_closed_after_keepalive_idle() {
    for driver in DRIVERS {
        let origin = Origin::answering(OK);
        let config = proxy_with(&[&origin.url()], "keepalive_idle = \"300ms\"", "");
        let gateway = Gateway::with_driver(driver, &config);
        let begun = std::time::Instant::now();
        assert_eq!(gateway.get("/").status(), 200);
        origin.wait_for_closed(1);
        assert!(begun.elapsed() >= std::time::Duration::from_millis(290));
        assert_eq!(gateway.get("/").status(), 200);
    }
}

#[test]
fn a_connection_whose_request_was_not_read_to_its_end_is_not_used_again() {
    for driver in DRIVERS {
        let (answered, wait) = channel();
        let answered = Mutex::new(answered);
        let origin = Origin::new(move |peer| {
            while let Some(request) = peer.head() {
                peer.send(OK);
                if request.method() == "POST" {
                    answered.lock().expect("one connection").send(()).expect("the test waits");
                    peer.drain();
                }
            }
        });
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        let response = client.exchange("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\npart");
        assert_eq!(response.text(), "ok");
        wait.recv().expect("the origin has answered");
        drop(client);
        origin.wait_for_closed(1);
        assert_eq!(gateway.get("/").text(), "ok");
        assert_eq!(origin.connections(), 2);
    }
}
