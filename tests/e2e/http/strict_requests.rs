//! Request heads that two parsers could read differently are refused with 400 and the close, byte for byte,
//! and their nearest valid neighbours pass.

use crate::support::{Client, Gateway, Origin, show};

/// What each refused request would smuggle if anything behind it were read as a request.
const BEHIND: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";

struct Row {
    rule: &'static str,
    bad: &'static [u8],
    good: &'static [u8],
}

const fn row<const B: usize, const G: usize>(
    rule: &'static str,
    bad: &'static [u8; B],
    good: &'static [u8; G],
) -> Row {
    Row { rule, bad, good }
}

/// Sends each bad head on a connection of its own: 400, closed, and the origin never hears of it.
/// Each good one is answered, and its connection goes on.
fn check(rows: &[Row]) {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    for Row { rule, bad, .. } in rows {
        eprintln!("{rule}: {}", show(bad));
        let mut client = gateway.connect();
        client.send([bad, BEHIND.as_bytes()].concat());
        refused(&mut client, rule);
        assert!(origin.requests().is_empty(), "{rule}: the origin has seen a request");
    }
    let mut passed = 0;
    for Row { rule, good, .. } in rows.iter().filter(|row| !row.good.is_empty()) {
        eprintln!("valid neighbour of {rule}: {}", show(good));
        let mut client = gateway.connect();
        assert_eq!(client.exchange(good).status(), 200, "valid neighbour of {rule}: {}", show(good));
        passed += 1;
        assert_eq!(origin.requests().len(), passed, "{rule}");
    }
}

fn refused(client: &mut Client, rule: &str) {
    let response = client.response();
    assert_eq!(response.status(), 400, "{rule}");
    assert_eq!(response.json()["reason"], "bad_request", "{rule}");
    assert!(response.connection_lists("close"), "{rule}");
    client.expect_closed();
}

#[test]
fn lengths_that_leave_room_for_doubt_are_refused() {
    let five = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello";
    check(&[
        row(
            "two lengths",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            five,
        ),
        row(
            "the same twice",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            b"",
        ),
        row("two in a list", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5, 6\r\n\r\nhello", b""),
        row("plus", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +5\r\n\r\nhello", b""),
        row("minus", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: -5\r\n\r\nhello", b""),
        row("hex", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0x5\r\n\r\nhello", b""),
        row("inner space", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5 0\r\n\r\nhello", b""),
        row("empty", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n\r\nhello", b""),
        row("fraction", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5.0\r\n\r\nhello", b""),
        row("underscore", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1_0\r\n\r\nhello", b""),
        row("arabic digit", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \xd9\xa5\r\n\r\nhello", b""),
        row(
            "2^64 + 5",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
            b"",
        ),
        row(
            "white space around it is fine",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \x0b5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \t 5 \t\r\n\r\nhello",
        ),
    ]);
}

#[test]
fn transfer_codings_that_leave_room_for_doubt_are_refused() {
    let good = b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(&[
        row(
            "with a length",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            good,
        ),
        row(
            "with a length behind it",
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: t\r\ntransfer-encoding:chunked\r\n\r\n0\r\n\r\n",
        ),
        row("gzip", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", b""),
        row("not last", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", b""),
        row("twice", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", b""),
        row(
            "two fields, the second another",
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        ),
        row(
            "two fields, the second x",
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: t\r\nX-Transfer-Encoding: x\r\n\r\n",
        ),
        row("identity", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", b""),
        row("prefix", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", b""),
        row("suffix", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", b""),
        row("vertical tab behind", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n", b""),
        row("vertical tab before", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", b""),
        row("form feed", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\x0cchunked\r\n\r\n0\r\n\r\n", b""),
        row("NUL", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n", b""),
        row("quoted", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", b""),
        row("parameter", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", b""),
        row("empty", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", b""),
        row("space before colon", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", b""),
        row("folded", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", b""),
        row("folded value", b"POST / HTTP/1.1\r\nHost: t\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        row("gzip first", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b""),
        row("behind a bare LF", b"POST / HTTP/1.1\r\nHost: t\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        row("behind a bare CR", b"POST / HTTP/1.1\r\nHost: t\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        row(
            "on HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
        ),
    ]);
}

#[test]
fn line_ends_other_than_crlf_are_refused() {
    check(&[
        row("LF everywhere", b"GET / HTTP/1.1\nHost: t\n\n", b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"),
        row("LF behind the request line", b"GET / HTTP/1.1\nHost: t\r\n\r\n", b""),
        row(
            "LF behind a field",
            b"GET / HTTP/1.1\r\nHost: t\nX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nX: y\r\n\r\n",
        ),
        row("LF as the empty line", b"GET / HTTP/1.1\r\nHost: t\r\n\n", b""),
        row("LF LF", b"GET / HTTP/1.1\r\nHost: t\n\n", b""),
        row("CR CR LF", b"GET / HTTP/1.1\r\nHost: t\r\r\n\r\n", b""),
        row("CR in the request line", b"GET /\r HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("CR in a name", b"GET / HTTP/1.1\r\nHost: t\r\nX\rY: z\r\n\r\n", b""),
        row("CR in a value", b"GET / HTTP/1.1\r\nHost: t\r\nX: y\rz\r\n\r\n", b""),
        row("CR X LF", b"GET / HTTP/1.1\r\nHost: t\r\nX: y\rX\n\r\n", b""),
    ]);
}

#[test]
fn folded_and_misplaced_lines_are_refused() {
    check(&[
        row("folded by space", b"GET / HTTP/1.1\r\nHost: t\r\nX: y\r\n z\r\n\r\n", b""),
        row("folded by tab", b"GET / HTTP/1.1\r\nHost: t\r\nX: y\r\n\tz\r\n\r\n", b""),
        row("folded to nothing", b"GET / HTTP/1.1\r\nHost: t\r\nX: y\r\n \r\n\r\n", b""),
        row("space before the first field", b"GET / HTTP/1.1\r\n Host: t\r\nHost: t\r\n\r\n", b""),
        row(
            "space before the colon",
            b"GET / HTTP/1.1\r\nHost : t\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t \r\n\r\n",
        ),
        row(
            "tab before the colon",
            b"GET / HTTP/1.1\r\nHost: t\r\nX\t: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\tt\r\n\r\n",
        ),
        row(
            "no colon",
            b"GET / HTTP/1.1\r\nHost: t\r\nX\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nX:\r\n\r\n",
        ),
        row(
            "no name",
            b"GET / HTTP/1.1\r\nHost: t\r\n: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nx: :y\r\n\r\n",
        ),
    ]);
}

#[test]
fn octets_that_no_field_may_have_are_refused() {
    check(&[
        row("NUL in a value", b"GET / HTTP/1.1\r\nHost: t\r\nX: a\0b\r\n\r\n", b""),
        row(
            "SOH in a value",
            b"GET / HTTP/1.1\r\nHost: t\r\nX: a\x01b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nX: a\tb\r\n\r\n",
        ),
        row("ESC in a value", b"GET / HTTP/1.1\r\nHost: t\r\nX: \x1b[1m\r\n\r\n", b""),
        row("DEL in a value", b"GET / HTTP/1.1\r\nHost: t\r\nX: a\x7fb\r\n\r\n", b""),
        row("NUL in a name", b"GET / HTTP/1.1\r\nHost: t\r\nX\0: a\r\n\r\n", b""),
        row(
            "space in a name",
            b"GET / HTTP/1.1\r\nHost: t\r\nX Y: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nX_Y: a\r\n\r\n",
        ),
        row(
            "brackets in a name",
            b"GET / HTTP/1.1\r\nHost: t\r\nX(Y): a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\n!#$%&'*+-.^_`|~1: a\r\n\r\n",
        ),
        row("slash in a name", b"GET / HTTP/1.1\r\nHost: t\r\nX/Y: a\r\n\r\n", b""),
        row("high octet in a name", b"GET / HTTP/1.1\r\nHost: t\r\nX\xe9: a\r\n\r\n", b""),
    ]);
}

#[test]
fn a_high_octet_in_a_value_passes_unchanged() {
    let origin = Origin::new(|peer| {
        let head = peer.wire().read_until(b"\r\n\r\n").expect("a head");
        let passed = head.windows(8).any(|w| w == b"X: \xc3\xa9\xff\r\n");
        peer.send(format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", if passed { 200 } else { 500 }));
    });
    let response =
        Gateway::proxying(&origin).exchange(b"GET / HTTP/1.1\r\nHost: t\r\nX: \xc3\xa9\xff\r\n\r\n");
    assert_eq!(response.status(), 200, "obs-text is part of a value's grammar");
}

#[test]
fn a_request_names_its_host_exactly_once() {
    check(&[
        row("none", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"),
        row("none, other fields", b"GET / HTTP/1.1\r\nX-Host: t\r\n\r\n", b""),
        row(
            "none with an absolute target",
            b"GET http://t/ HTTP/1.1\r\n\r\n",
            b"GET http://t/ HTTP/1.1\r\nHost: t\r\n\r\n",
        ),
        row("two", b"GET / HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n", b"GET / HTTP/1.1\r\nHost: t:80\r\n\r\n"),
        row("the same twice", b"GET / HTTP/1.1\r\nHost: t\r\nhost: t\r\n\r\n", b""),
        row(
            "two on HTTP/1.0",
            b"GET / HTTP/1.0\r\nHost: t\r\nHost: u\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: t\r\n\r\n",
        ),
        row("a list", b"GET / HTTP/1.1\r\nHost: t, u\r\n\r\n", b""),
        row("a space", b"GET / HTTP/1.1\r\nHost: t u\r\n\r\n", b""),
        row("a path", b"GET / HTTP/1.1\r\nHost: t/u\r\n\r\n", b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"),
        row("a user", b"GET / HTTP/1.1\r\nHost: a@t\r\n\r\n", b""),
        row(
            "a port that is none",
            b"GET / HTTP/1.1\r\nHost: t:x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
        ),
    ]);
}

#[test]
fn a_request_line_is_three_words_with_one_space_between() {
    let good = b"GET /a?b HTTP/1.1\r\nHost: t\r\n\r\n";
    check(&[
        row("two spaces", b"GET  / HTTP/1.1\r\nHost: t\r\n\r\n", good),
        row("two spaces before the version", b"GET /  HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("tab", b"GET\t/ HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("space behind", b"GET / HTTP/1.1 \r\nHost: t\r\n\r\n", b""),
        row("space before", b" GET / HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row(
            "space in the target",
            b"GET /a b HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /a%20b HTTP/1.1\r\nHost: t\r\n\r\n",
        ),
        row("no version", b"GET /\r\nHost: t\r\n\r\n", b""),
        row("no target", b"GET HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("no method", b"/ HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("lower case version", b"GET / http/1.1\r\nHost: t\r\n\r\n", b""),
        row("version 2.0", b"GET / HTTP/2.0\r\nHost: t\r\n\r\n", b""),
        row("version 0.9", b"GET / HTTP/0.9\r\nHost: t\r\n\r\n", b""),
        row("version 1.10", b"GET / HTTP/1.10\r\nHost: t\r\n\r\n", b""),
        row("version 01.1", b"GET / HTTP/01.1\r\nHost: t\r\n\r\n", b""),
        row(
            "method with a forbidden octet",
            b"G@T / HTTP/1.1\r\nHost: t\r\n\r\n",
            b"G-T / HTTP/1.1\r\nHost: t\r\n\r\n",
        ),
        row("method with a colon", b"GET: / HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("relative target", b"GET a HTTP/1.1\r\nHost: t\r\n\r\n", b""),
        row("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b""),
        row("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b""),
        row("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
    ]);
}

#[test]
fn an_expectation_that_nobody_knows_is_refused() {
    check(&[row(
        "another",
        b"POST / HTTP/1.1\r\nHost: t\r\nExpect: magic\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: t\r\nX-Expect: magic\r\nContent-Length: 0\r\n\r\n",
    )]);
}

#[test]
fn a_refused_request_leaves_those_before_it_answered() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: t\r\n\r\nGET /2 HTTP/1.1\r\nHost : t\r\n\r\nGET /3 HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().echoed().target(), "/1");
    refused(&mut client, "the second");
    assert_eq!(origin.requests().len(), 1);
}
