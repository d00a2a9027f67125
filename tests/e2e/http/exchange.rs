//! The order of events in one exchange: interim responses, `Expect`, answers that come early, peers that leave.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::{Gateway, Origin, on_both_drivers, pattern};

#[test]
fn interim_responses_are_passed_on_before_the_final_one() {
    on_both_drivers(
        || {
            Origin::answering(
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            )
        },
        |gateway, origin| {
            let mut client = gateway.connect();
            for _ in 0..2 {
                let first = client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
                assert_eq!((first.status(), first.field("link")), (103, Some("</a.css>")));
                assert_eq!(client.response().status(), 102);
                assert_eq!(client.response().text(), "ok");
            }
            assert_eq!(origin.connections(), 1);
        },
    );
}

#[test]
fn an_interim_response_does_not_wait_for_the_final_one() {
    let (client_has_it, seen) = channel();
    let seen = Mutex::new(seen);
    let origin = Origin::new(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        seen.lock().expect("one connection").recv().expect("the client has the hint");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n").status(), 103);
    client_has_it.send(()).expect("the origin waits");
    assert_eq!(client.response().status(), 200);
}

const EXPECTING: &str = "PUT /up HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn expect_continue_reaches_the_origin_and_its_100_the_client_before_the_body_is_sent() {
    let origin = || {
        Origin::new(|peer| {
            while let Some(mut request) = peer.head() {
                assert_eq!(request.field("expect"), Some("100-continue"));
                peer.send("HTTP/1.1 100 Continue\r\n\r\n");
                peer.body(&mut request).expect("the body follows");
                assert_eq!(request.text(), "hello");
                peer.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
            }
        })
    };
    on_both_drivers(origin, |gateway, origin| {
        let mut client = gateway.connect();
        for _ in 0..2 {
            assert_eq!(client.exchange(EXPECTING).status(), 100);
            assert_eq!(client.exchange("hello").status(), 201);
        }
        assert_eq!(origin.requests().len(), 2);
    });
}

#[test]
fn a_client_that_does_not_wait_for_its_100_is_served_too() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.send(format!("{EXPECTING}hello"));
    assert_eq!(client.final_response().status(), 200);
}

#[test]
fn a_final_answer_instead_of_100_reaches_the_client_which_never_sends_its_body() {
    let origin = || {
        Origin::new(|peer| {
            if peer.head().is_some() {
                peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
                peer.drain();
            }
        })
    };
    on_both_drivers(origin, |gateway, _| {
        let mut client = gateway.connect();
        let response = client.exchange(EXPECTING);
        assert_eq!((response.status(), response.text()), (417, "no"));
    });
}

#[test]
fn a_route_that_answers_by_itself_does_not_make_an_expecting_client_wait() {
    let gateway =
        Gateway::start("[[route]]\nname = \"a\"\npath = \"/*\"\nrespond = { status = 200, body = \"hi\" }\n");
    assert_eq!(gateway.connect().send(EXPECTING).final_response().text(), "hi");
}

#[test]
fn an_answer_before_the_body_has_ended_reaches_the_client_at_once() {
    let origin = || {
        Origin::new(|peer| {
            if peer.head().is_some() {
                peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
                peer.drain();
            }
        })
    };
    on_both_drivers(origin, |gateway, _| {
        let mut client = gateway.connect();
        let response =
            client.exchange("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nfirst bytes");
        assert_eq!((response.status(), response.text()), (403, "no"));
    });
}

#[test]
fn an_origin_that_answers_and_closes_during_a_large_upload_is_still_heard() {
    let origin = || {
        Origin::new(|peer| {
            if peer.head().is_some() {
                peer.send(
                    "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
                );
                peer.finish();
                peer.drain();
            }
        })
    };
    on_both_drivers(origin, |gateway, _| {
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 50000000\r\n\r\n");
        let mut writer = client.wire().writer();
        let sending = std::thread::spawn(move || {
            let piece = pattern(64 * 1024);
            while std::io::Write::write_all(&mut writer, &piece).is_ok() {}
        });
        let response = client.response();
        assert_eq!((response.status(), response.text()), (413, "no"));
        drop(gateway.connect());
        client.wire().socket().shutdown(std::net::Shutdown::Both).ok();
        sending.join().expect("the sender ends when the connection does");
    });
}

#[test]
fn bodies_flow_both_ways_at_the_same_time() {
    let origin = || {
        Origin::new(|peer| {
            if peer.head().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
                for _ in 0..50 {
                    let Ok(part) = peer.wire().read_exact(10) else { return };
                    peer.send(part.to_ascii_uppercase());
                }
            }
        })
    };
    on_both_drivers(origin, |gateway, _| {
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        for _ in 0..50 {
            client.send("abcdefghij");
            assert_eq!(client.read_exact(10), b"ABCDEFGHIJ");
        }
    });
}

#[test]
fn a_client_that_leaves_while_the_origin_thinks_ends_the_exchange_there_too() {
    let origin = || {
        Origin::new(|peer| {
            if peer.request().is_some() {
                peer.expect_closed();
            }
        })
    };
    on_both_drivers(origin, |gateway, origin| {
        let mut client = gateway.connect();
        client.send("GET /left HTTP/1.1\r\nHost: test\r\n\r\n");
        origin.wait_for_requests(1);
        drop(client);
        origin.wait_for_closed(1);
        let line = gateway.log_of("/left");
        assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_closed".into()));
    });
}

#[test]
fn a_client_that_resets_in_the_middle_of_its_body_ends_the_exchange() {
    let origin = || {
        Origin::new(|peer| {
            peer.head();
            peer.drain();
        })
    };
    on_both_drivers(origin, |gateway, origin| {
        let mut client = gateway.connect();
        client.send("POST /left HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf");
        origin.wait_for_requests(1);
        client.reset();
        origin.wait_for_closed(1);
        assert_eq!(gateway.log_of("/left")["reason"], "client_closed");
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_response_ends_the_exchange() {
    let origin = || {
        Origin::new(|peer| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
                while peer.send_all(&[b'x'; 65536]).is_ok() {}
            }
        })
    };
    on_both_drivers(origin, |gateway, origin| {
        let mut client = gateway.connect();
        client.send("GET /left HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        client.read_exact(100_000);
        drop(client);
        origin.wait_for_closed(1);
        assert_eq!(gateway.log_of("/left")["reason"], "client_closed");
    });
}

#[test]
fn a_client_that_leaves_during_interim_responses_is_logged_as_having_left() {
    let origin = || {
        Origin::new(|peer| {
            peer.request();
            while peer.send_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {}
        })
    };
    on_both_drivers(origin, |gateway, _| {
        let mut client = gateway.connect();
        assert_eq!(client.exchange("GET /left HTTP/1.1\r\nHost: test\r\n\r\n").status(), 102);
        client.reset();
        let line = gateway.log_of("/left");
        assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_closed".into()));
    });
}

#[test]
fn a_response_streams_as_it_comes() {
    let (go_on, heard) = channel();
    let heard = Mutex::new(heard);
    let origin = Origin::new(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n");
        let heard = heard.lock().expect("one connection");
        while let Ok(event) = heard.recv() {
            peer.send(event);
        }
    });
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.send("GET /events HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.head().is_chunked());
    for _ in 0..20 {
        go_on.send("8\r\ndata: 1\n\r\n").expect("the origin waits");
        client.read_until(b"data: 1\n");
    }
    go_on.send("0\r\n\r\n").expect("the origin waits");
    client.read_until(b"0\r\n\r\n");
}
