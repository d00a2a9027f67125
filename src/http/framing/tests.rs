//! How bodies are delimited, and what becomes of a connection after one.

use super::*;
use crate::http::head::{HeadLimits, parse_request, parse_response};

fn request(version: &str, fields: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let text = format!("POST / HTTP/{version}\r\n{fields}\r\n");
    parse_request(text.as_bytes(), &HeadLimits { bytes: 16384, count: 96 }, &mut head).expect(&text);
    head
}

fn response(version: &str, status: u16, fields: &str) -> ResponseHead {
    let mut head = ResponseHead::default();
    let text = format!("HTTP/{version} {status} x\r\n{fields}\r\n");
    parse_response(text.as_bytes(), &mut head).expect(&text);
    head
}

/// What both sides read alike: `None` in the table is a refusal.
const LENGTHS: &[(&str, &str, Option<Body>)] = &[
    ("1.1", "Content-Length: 0\r\n", Some(Body::Length(0))),
    ("1.1", "content-LENGTH:\t 5 \r\n", Some(Body::Length(5))),
    ("1.0", "Content-Length: 5\r\n", Some(Body::Length(5))),
    ("1.1", "Content-Length: 0000005\r\n", Some(Body::Length(5))),
    ("1.1", "Content-Length: 9223372036854775807\r\n", Some(Body::Length(i64::MAX as u64))),
    ("1.1", "Content-Length: 9223372036854775808\r\n", None),
    ("1.1", "Content-Length: 18446744073709551616\r\n", None),
    ("1.1", "Content-Length: 00000000000000000005\r\n", Some(Body::Length(5))),
    ("1.1", "Content-Length: 000000000000000000005\r\n", None),
    ("1.1", "Content-Length:\r\n", None),
    ("1.1", "Content-Length: +5\r\n", None),
    ("1.1", "Content-Length: -5\r\n", None),
    ("1.1", "Content-Length: 5 5\r\n", None),
    ("1.1", "Content-Length: 0x5\r\n", None),
    ("1.1", "Content-Length: 5a\r\n", None),
    ("1.1", "Content-Length: 5.0\r\n", None),
    ("1.1", "Content-Length: 5,5\r\n", None),
    ("1.1", "Content-Length: 5, 5\r\n", None),
    ("1.1", "Content-Length: \u{665}\r\n", None),
    ("1.1", "Content-Length: 5\r\nContent-Length: 5\r\n", None),
    ("1.1", "Content-Length: 5\r\ncontent-length: 6\r\n", None),
    ("1.1", "Transfer-Encoding: chunked\r\n", Some(Body::Chunked)),
    ("1.1", "transfer-encoding: CHUNKED \r\n", Some(Body::Chunked)),
    ("1.0", "Transfer-Encoding: chunked\r\n", None),
    ("1.0", "Transfer-Encoding: identity\r\n", None),
    ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", None),
    ("1.1", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", None),
    ("1.1", "Content-Length: 0\r\nTransfer-Encoding: identity\r\n", None),
    ("1.1", "Transfer-Encoding:\r\n", None),
    ("1.1", "Transfer-Encoding: identity\r\n", None),
    ("1.1", "Transfer-Encoding: gzip\r\n", None),
    ("1.1", "Transfer-Encoding: gzip, chunked\r\n", None),
    ("1.1", "Transfer-Encoding: chunked, gzip\r\n", None),
    ("1.1", "Transfer-Encoding: chunked, chunked\r\n", None),
    ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", None),
    ("1.1", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", None),
    ("1.1", "Transfer-Encoding: chunked,\r\n", None),
    ("1.1", "Transfer-Encoding: ,chunked\r\n", None),
    ("1.1", "Transfer-Encoding: chunked;a=b\r\n", None),
    ("1.1", "Transfer-Encoding: \"chunked\"\r\n", None),
    ("1.1", "Transfer-Encoding: xchunked\r\n", None),
];

#[test]
fn a_body_has_one_length_that_every_peer_reads_alike() {
    for &(version, fields, body) in LENGTHS {
        assert_eq!(request_body(&request(version, fields)).ok(), body, "request {fields:?}");
        assert_eq!(
            response_body(&response(version, 200, fields), Method::Get).ok(),
            body,
            "response {fields:?}"
        );
    }
}

#[test]
fn without_a_length_a_request_has_no_body_and_a_response_goes_on_until_close() {
    for version in ["1.0", "1.1"] {
        assert_eq!(request_body(&request(version, "")), Ok(Body::None));
        assert_eq!(response_body(&response(version, 200, ""), Method::Get), Ok(Body::UntilClose));
    }
}

#[test]
fn answers_to_head_and_1xx_204_304_have_no_body_whatever_they_say() {
    for fields in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        for status in [100, 101, 103, 199, 204, 304] {
            assert_eq!(response_body(&response("1.1", status, fields), Method::Get), Ok(Body::None));
        }
        assert_eq!(response_body(&response("1.1", 200, fields), Method::Head), Ok(Body::None));
        for status in [200, 205, 303, 305, 404] {
            assert_ne!(response_body(&response("1.1", status, fields), Method::Get), Ok(Body::None));
        }
    }
}

#[test]
fn a_length_that_is_passed_on_is_well_formed_even_where_no_body_follows() {
    for fields in
        ["Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"]
    {
        assert!(response_body(&response("1.1", 304, fields), Method::Get).is_err());
        assert!(response_body(&response("1.1", 200, fields), Method::Head).is_err());
    }
}

#[test]
fn connections_persist_as_version_and_connection_options_say() {
    let table = [
        ("1.1", "", true),
        ("1.0", "", false),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "connection: x, Keep-Alive ,y\r\n", true),
        ("1.1", "Connection: x\r\nConnection: y,\tclose\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Connection: close, keep-alive\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: not close\r\n", true),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
    ];
    for (version, fields, keep) in table {
        let head = request(version, fields);
        assert_eq!(wants_keep_alive(head.version(), &head.fields), keep, "HTTP/{version} {fields:?}");
    }
}

#[test]
fn connection_names_come_from_every_line_without_the_empty_ones() {
    let head = request("1.1", "Connection: ,a , B,,\r\nX: y\r\nconnection:\r\nCONNECTION:\tc\r\n");
    assert_eq!(connection_names(&head.fields).collect::<Vec<_>>(), [b"a", b"B", b"c"]);
}

#[test]
fn an_upgrade_takes_http_1_1_the_option_and_the_field() {
    let asks = |version, fields: &str| upgrade(&request(version, fields)).map(<[u8]>::to_vec);
    let both = "Connection: keep-alive, UPGRADE\r\nUpgrade: websocket\r\n";
    assert_eq!(asks("1.1", both), Some(b"websocket".to_vec()));
    assert_eq!(asks("1.0", both), None);
    assert_eq!(asks("1.1", "Upgrade: websocket\r\n"), None);
    assert_eq!(asks("1.1", "Connection: upgrade\r\n"), None);
    assert_eq!(asks("1.1", "Connection: upgrade\r\nUpgrade:\r\n"), None);
    assert_eq!(asks("1.1", "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n"), None);
    assert_eq!(asks("1.1", "Connection: upgrade\r\nUpgrade: a/1, b\r\n"), Some(b"a/1, b".to_vec()));
}

#[test]
fn an_upgrade_to_h2c_is_not_heeded() {
    for value in ["h2c", "H2C", "websocket, h2c"] {
        let head = request("1.1", &format!("Connection: upgrade, http2-settings\r\nUpgrade: {value}\r\n"));
        assert_eq!(upgrade(&head), None, "{value}");
    }
    assert!(upgrade(&request("1.1", "Connection: upgrade\r\nUpgrade: h2cx\r\n")).is_some());
}

#[test]
fn expectations_other_than_100_continue_are_refused() {
    let table = [
        ("1.1", "", Some(false)),
        ("1.1", "Expect: 100-continue\r\n", Some(true)),
        ("1.1", "expect: 100-Continue\r\n", Some(true)),
        ("1.0", "Expect: 100-continue\r\n", Some(false)),
        ("1.1", "Expect: 100-continued\r\n", None),
        ("1.1", "Expect: 200-ok\r\n", None),
        ("1.1", "Expect:\r\n", None),
        ("1.1", "Expect: 100-continue\r\nExpect: x\r\n", None),
        ("1.1", "Expect: 100-continue, x\r\n", None),
    ];
    for (version, fields, expects) in table {
        let head = request(version, fields);
        assert_eq!(request_body(&head).ok().map(|_| expects_continue(&head)), expects, "{fields:?}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn field() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("Content-Length"),
            Just("transfer-encoding"),
            Just("Connection"),
            Just("Expect"),
            Just("Upgrade"),
            Just("X")
        ];
        let value = prop_oneof![
            Just("chunked".to_string()),
            Just("close".to_string()),
            (0u64..20).prop_map(|n| n.to_string()),
            "[ -~]{0,12}"
        ];
        (name, value).prop_map(|(name, value)| format!("{name}: {value}\r\n"))
    }

    proptest! {
        #[test]
        fn a_framing_that_is_accepted_is_the_only_one_the_fields_can_mean(
            fields in proptest::collection::vec(field(), 0..5),
            old in any::<bool>(),
        ) {
            let head = request(if old { "1.0" } else { "1.1" }, &fields.concat());
            let lengths: Vec<_> = head.fields.all(FieldName::ContentLength).collect();
            let codings: Vec<_> = head.fields.all(FieldName::TransferEncoding).collect();
            match request_body(&head) {
                Ok(Body::None) => prop_assert!(lengths.is_empty() && codings.is_empty()),
                Ok(Body::Length(length)) => {
                    prop_assert!(codings.is_empty() && lengths.len() == 1);
                    let text = std::str::from_utf8(lengths[0]).unwrap();
                    prop_assert_eq!(text.parse(), Ok(length));
                }
                Ok(Body::Chunked) => {
                    prop_assert!(!old && lengths.is_empty() && codings.len() == 1);
                    prop_assert!(codings[0].eq_ignore_ascii_case(b"chunked"));
                }
                Ok(Body::UntilClose) => prop_assert!(false, "a request without an end"),
                Err(_) => prop_assert!(!fields.is_empty()),
            }
            wants_keep_alive(head.version(), &head.fields);
            upgrade(&head);
        }
    }
}

#[test]
fn at_most_16_names_stand_in_connection() {
    let names = |count: usize| vec!["x-a"; count].join(", ");
    for (fields, accepted) in [
        (format!("Connection: {}\r\n", names(16)), true),
        (format!("Connection: {}\r\n", names(17)), false),
        (format!("Connection: {},,,, ,\r\n", names(16)), true),
        (format!("Connection: {}\r\nA: b\r\nconnection: {}\r\n", names(8), names(8)), true),
        (format!("Connection: {}\r\nA: b\r\nconnection: {}\r\n", names(8), names(9)), false),
    ] {
        let request = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let limits = HeadLimits { bytes: 16384, count: 96 };
        let request = parse_request(request.as_bytes(), &limits, &mut RequestHead::default());
        assert_eq!(request.is_ok(), accepted, "request {fields:?}");
        let response = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let response = parse_response(response.as_bytes(), &mut ResponseHead::default());
        assert_eq!(response.is_ok(), accepted, "response {fields:?}");
    }
}
