//! HTTP/1.0 clients and origins: no chunks, no interim responses, and connections that close unless asked to stay.

use crate::support::{DRIVERS, Gateway, Origin, proxy_to};

#[test]
fn an_http10_client_gets_its_answer_and_the_close() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        let response = client.exchange("GET /old HTTP/1.0\r\nHost: test\r\n\r\n");
        assert_eq!((response.status(), response.echoed().target()), (200, "/old"));
        client.expect_closed();
    }
}

#[test]
fn an_http10_client_that_asks_keeps_its_connection() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        for _ in 0..3 {
            let response = client.exchange("GET / HTTP/1.0\r\nHost: test\r\nConnection: Keep-Alive\r\n\r\n");
            assert_eq!(response.status(), 200);
            assert!(response.connection_lists("keep-alive"), "it must be told that the connection stays");
        }
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn the_origin_is_spoken_to_in_http11_whatever_the_client_speaks() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let echoed = gateway.exchange("POST /up HTTP/1.0\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi").echoed();
    assert_eq!(echoed.start_line, "POST /up HTTP/1.1");
}

#[test]
fn a_chunked_response_is_unwrapped_for_an_http10_client() {
    for driver in DRIVERS {
        let origin = Origin::answering(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n\
             5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nT: u\r\n\r\n",
        );
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut client = gateway.connect();
        let response = client.exchange("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
        assert!(!response.has("transfer-encoding"));
        assert!(!response.connection_lists("keep-alive"), "only the close ends this body");
        assert_eq!(response.text(), "hello world");
    }
}

#[test]
fn an_http10_client_sees_no_interim_responses() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let response = Gateway::proxying(&origin).exchange("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!((response.status(), response.text()), (200, "ok"));
}

#[test]
fn an_http10_origin_is_understood_and_its_connection_not_kept() {
    let origin = Origin::answering("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        let response = client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!((response.start_line.as_str(), response.text()), ("HTTP/1.1 200 OK", "ok"));
    }
    assert_eq!(origin.connections(), 2);
}
