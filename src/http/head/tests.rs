//! Heads within and outside of the grammar, in one piece and in many.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, count: 96 };

/// Scans and parses as a connection does; the scanner must find all of `bytes` to be one head.
fn request(bytes: &[u8]) -> Result<RequestHead, HeadError> {
    let mut head = RequestHead::default();
    match HeadScanner::default().scan(bytes, &LIMITS)? {
        Some(n) => assert_eq!(n, bytes.len(), "the head ended early: {:?}", String::from_utf8_lossy(bytes)),
        None => panic!("no head in {:?}", String::from_utf8_lossy(bytes)),
    }
    parse_request(bytes, &LIMITS, &mut head).map(|()| head)
}

fn response(bytes: &[u8]) -> Result<ResponseHead, HeadError> {
    let mut head = ResponseHead::default();
    match HeadScanner::default().scan(bytes, &RESPONSE_LIMITS)? {
        Some(n) => assert_eq!(n, bytes.len(), "the head ended early: {:?}", String::from_utf8_lossy(bytes)),
        None => panic!("no head in {:?}", String::from_utf8_lossy(bytes)),
    }
    parse_response(bytes, &mut head).map(|()| head)
}

fn pairs(fields: &Fields) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|field| (text(field.name), text(field.value))).collect()
}

#[test]
fn a_request_head_is_read_as_it_stands() {
    let head =
        request(b"PURGE /a?b=%zz HTTP/1.0\r\nhOST:a\r\nX-Empty:\r\nx-empty: \t \r\nX-Tab: \ta\t b \r\n\r\n")
            .unwrap();
    assert_eq!((head.method(), head.method_bytes()), (Method::Other, &b"PURGE"[..]));
    assert_eq!((head.target(), head.version()), (&b"/a?b=%zz"[..], Version::Http10));
    let fields = [("hOST", "a"), ("X-Empty", ""), ("x-empty", ""), ("X-Tab", "a\t b")];
    assert_eq!(pairs(&head.fields), fields.map(|(name, value)| (name.to_string(), value.to_string())));
}

#[test]
fn a_response_head_is_read_as_it_stands() {
    let head = response(b"HTTP/1.1 404 Nicht da, \xe4tsch\r\nServer: x\r\nserver:y\r\n\r\n").unwrap();
    assert_eq!((head.status(), head.version()), (404, Version::Http11));
    assert_eq!(head.reason(), b"Nicht da, \xe4tsch");
    assert_eq!(head.fields.all(super::super::fields::FieldName::Server).collect::<Vec<_>>(), [b"x", b"y"]);
    for (head, reason) in
        [("HTTP/1.0 200\r\n\r\n", ""), ("HTTP/1.0 200 \r\n\r\n", ""), ("HTTP/1.0 200 A B\r\n\r\n", "A B")]
    {
        assert_eq!(response(head.as_bytes()).unwrap().reason(), reason.as_bytes());
    }
}

#[test]
fn reading_the_next_head_forgets_the_last() {
    let mut head = RequestHead::default();
    parse_request(b"POST /long HTTP/1.0\r\nHost: a\r\nX: y\r\n\r\n", &LIMITS, &mut head).unwrap();
    parse_request(b"GET / HTTP/1.1\r\nVia: b\r\n\r\n", &LIMITS, &mut head).unwrap();
    assert_eq!((head.method(), head.target(), head.version()), (Method::Get, &b"/"[..], Version::Http11));
    assert_eq!(pairs(&head.fields), [("Via".to_string(), "b".to_string())]);
}

#[test]
fn request_lines_are_method_target_and_version_with_one_space_between() {
    let table = [
        ("GET / HTTP/1.1", true),
        ("get / HTTP/1.0", true),
        ("M-SEARCH * HTTP/1.1", true),
        ("GET /\u{e4} HTTP/1.1", true),
        ("GET  / HTTP/1.1", false),
        ("GET /  HTTP/1.1", false),
        ("GET / HTTP/1.1 ", false),
        (" GET / HTTP/1.1", false),
        ("GET\t/ HTTP/1.1", false),
        ("GET /\tHTTP/1.1", false),
        ("GET /a b HTTP/1.1", false),
        ("GET /a\tb HTTP/1.1", false),
        ("GET /a\u{7f}b HTTP/1.1", false),
        ("GET HTTP/1.1", false),
        ("GET /", false),
        ("GET", false),
        ("GE(T / HTTP/1.1", false),
        ("GET: / HTTP/1.1", false),
        ("GET / HTTP/1.2", false),
        ("GET / HTTP/0.9", false),
        ("GET / HTTP/2.0", false),
        ("GET / HTTP/1.10", false),
        ("GET / HTTP/1.", false),
        ("GET / HTTP/1", false),
        ("GET / HTTP/01.1", false),
        ("GET / http/1.1", false),
        ("GET / HTTP 1.1", false),
        ("GET / HTTPS/1.1", false),
        ("PRI * HTTP/2.0", false),
    ];
    for (line, accepted) in table {
        let result = request(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(result.is_ok(), accepted, "{line:?}: {result:?}");
    }
}

#[test]
fn status_lines_are_version_three_digits_and_a_reason() {
    let table: &[(&[u8], bool)] = &[
        (b"HTTP/1.1 200 OK", true),
        (b"HTTP/1.0 200 OK", true),
        (b"HTTP/1.1 200", true),
        (b"HTTP/1.1 200 ", true),
        (b"HTTP/1.1 200  two  spaces ", true),
        (b"HTTP/1.1 200 \xff", true),
        (b"HTTP/1.1 100 x", true),
        (b"HTTP/1.1 599 x", true),
        (b"HTTP/1.1 099 x", false),
        (b"HTTP/1.1 000 x", false),
        (b"HTTP/1.1 600 x", false),
        (b"HTTP/1.1 999 x", false),
        (b"HTTP/1.1 20 OK", false),
        (b"HTTP/1.1 2000 OK", false),
        (b"HTTP/1.1 2x0 OK", false),
        (b"HTTP/1.1 +20 OK", false),
        (b"HTTP/1.1  200 OK", false),
        (b"HTTP/1.1\t200 OK", false),
        (b"HTTP/1.1 200\tOK", false),
        (b"HTTP/1.1 200OK", false),
        (b"HTTP/1.1 OK", false),
        (b"HTTP/1.1", false),
        (b"HTTP/1.2 200 OK", false),
        (b"HTTP/2 200 OK", false),
        (b"HTTP/2.0 200 OK", false),
        (b"http/1.1 200 OK", false),
        (b"ICY 200 OK", false),
        (b" HTTP/1.1 200 OK", false),
        (b"HTTP/1.1 200 O\x01K", false),
        (b"HTTP/1.1 200 O\x7fK", false),
        (b"HTTP/1.1 200 O\0K", false),
        (b"HTTP/1.1 200 O\rK", false),
    ];
    for &(line, accepted) in table {
        let result = response(&[line, b"\r\nServer: a\r\n\r\n"].concat());
        assert_eq!(result.is_ok(), accepted, "{:?}: {result:?}", String::from_utf8_lossy(line));
    }
}

#[test]
fn field_lines_are_a_token_a_colon_and_a_value() {
    let table: &[(&[u8], bool)] = &[
        (b"Name: value", true),
        (b"Name:value", true),
        (b"Name: \t value \t ", true),
        (b"Name:", true),
        (b"Name: a:b", true),
        (b"N!#$%&'*+-.^_`|~9: v", true),
        (b"Name : value", false),
        (b"Name\t: value", false),
        (b" Name: value", false),
        (b"\tName: value", false),
        (b": value", false),
        (b" : value", false),
        (b"Name", false),
        (b"Na me: value", false),
        (b"Na(me: value", false),
        (b"Na\xe4me: value", false),
        (b"Name: a\xe4b", true),
        (b"Name: a\x7fb", false),
        (b"Name: a\x0bb", false),
        (b"Name: a\x1b[0m", false),
        (b"Name: \x01", false),
        (b"Name: a\0b", false),
        (b"Name: a\rb", false),
        (b"Name: a\nb: c", false),
        (b"Name: a\r\n b", false),
        (b"Name: a\r\n\tb", false),
        (b"Name:\r\n b", false),
        (b"Name: a\r\n : b", false),
        (b"Name: a\r\nb: c", true),
    ];
    // First, last and in the middle: parsers tend to treat the first line after the start line differently.
    for (before, after) in [("", ""), ("A: b\r\n", ""), ("", "Y: z\r\n"), ("A: b\r\n", "Y: z\r\n")] {
        for &(line, accepted) in table {
            let lines = [before.as_bytes(), line, b"\r\n", after.as_bytes(), b"\r\n"].concat();
            let shown = String::from_utf8_lossy(&lines);
            let result = request(&[b"GET / HTTP/1.1\r\n", &lines[..]].concat());
            assert_eq!(result.is_ok(), accepted, "{shown:?}: {result:?}");
            let result = response(&[b"HTTP/1.1 200 OK\r\n", &lines[..]].concat());
            assert_eq!(result.is_ok(), accepted, "{shown:?}: {result:?}");
        }
    }
}

#[test]
fn each_of_256_bytes_is_allowed_or_refused_at_every_offset_of_name_value_and_target() {
    // 70 offsets: the vectorised searches look at 8, 16 or 32 bytes at a time, and each has its own tables.
    for byte in (0..=255u8).filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')) {
        for offset in 0..70 {
            let mut run = [b'a'; 70];
            run[offset] = byte;
            let name = request(&[b"GET / HTTP/1.1\r\n", &run[..], b": v\r\n\r\n"].concat());
            let splits = byte == b':' && offset > 0;
            assert_eq!(name.is_ok(), splits || crate::http::hygiene::is_token_byte(byte), "name {byte:#x}");
            let value = request(&[b"GET / HTTP/1.1\r\nn:", &run[..], b"\r\n\r\n"].concat());
            assert_eq!(
                value.is_ok(),
                crate::http::hygiene::is_value_byte(byte),
                "value {byte:#x} at {offset}"
            );
            let target = request(&[b"GET /", &run[..], b" HTTP/1.1\r\n\r\n"].concat());
            assert_eq!(target.is_ok(), byte.is_ascii_graphic(), "target {byte:#x} at {offset}");
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let table: &[(&[u8], &str)] = &[
        (b"Name : v", "whitespace between a field name and its colon"),
        (b"A: b\r\n c", "a folded field line (it begins with whitespace)"),
        (b": v", "a field without a name"),
        (b"Name", "a field line without a colon"),
        (b"Na(me: v", "a byte in a field name that is not allowed there"),
        (b"Name: \x01", "a control byte in a field value"),
        (b"Name: a\rb", "a CR without its LF in the head"),
        (b"Name: a\nb: c", "an LF without its CR in the head"),
        (b"Name: a\0b", "a NUL byte in the head"),
    ];
    for &(line, detail) in table {
        let error = request(&[b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat()).unwrap_err();
        assert_eq!(error, HeadError::Bad(detail));
        assert_eq!(error.to_string(), detail);
    }
}

/// Heads whose every line end is CRLF.
const WHOLE: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nPOST /x HTTP/1.0\r\nHost: a\r\nEmpty:\r\nLast: x \r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n",
];

#[test]
fn a_line_that_ends_with_a_bare_lf_or_cr_is_refused_by_scanner_and_parser_each() {
    for head in WHOLE {
        for at in (0..head.len()).filter(|&at| head[at] == b'\r') {
            for drop in [at, at + 1] {
                let mut broken = head.to_vec();
                broken.remove(drop);
                if broken.is_empty() || broken.ends_with(b"\r") {
                    // A CR at the very end may still get its LF.
                    assert_eq!(HeadScanner::default().scan(&broken, &LIMITS), Ok(None));
                    continue;
                }
                let shown = String::from_utf8_lossy(&broken);
                assert!(HeadScanner::default().scan(&broken, &LIMITS).is_err(), "{shown:?}");
                assert!(parse_request(&broken, &LIMITS, &mut RequestHead::default()).is_err(), "{shown:?}");
                assert!(parse_response(&broken, &mut ResponseHead::default()).is_err(), "{shown:?}");
            }
        }
    }
}

#[test]
fn bare_cr_lf_and_nul_are_refused_before_the_head_is_complete() {
    for (bytes, error) in
        [(&b"GET / HT\rT"[..], BARE_CR), (b"GET /\n", BARE_LF), (b"G\0", NUL), (b"\x16\x03\x01\x00", NUL)]
    {
        assert_eq!(HeadScanner::default().scan(bytes, &LIMITS), Err(error));
    }
    assert_eq!(HeadScanner::default().scan(b"GET / HTTP/1.1\r", &LIMITS), Ok(None));
}

#[test]
fn one_empty_line_before_a_request_is_skipped_and_two_are_refused() {
    assert_eq!(request(b"\r\nGET /a HTTP/1.1\r\n\r\n").unwrap().target(), b"/a");
    let two = b"\r\n\r\nGET /a HTTP/1.1\r\n\r\n";
    assert_eq!(HeadScanner::default().scan(two, &LIMITS), Err(EMPTY_LINES));
    assert_eq!(HeadScanner::default().scan(b"\r\n", &LIMITS), Ok(None));
    assert!(parse_request(two, &LIMITS, &mut RequestHead::default()).is_err());
    assert!(parse_request(b"\nGET /a HTTP/1.1\r\n\r\n", &LIMITS, &mut RequestHead::default()).is_err());
    assert!(response(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
    assert!(response(b"\r\nHTTP/1.1 200 OK\r\n\r\n").is_err());
}

#[test]
fn a_head_split_at_any_byte_is_the_head_as_a_whole() {
    for head in WHOLE {
        let buffer = [head, b"rest\nwhatever"].concat();
        for split in 0..head.len() {
            let mut scanner = HeadScanner::default();
            assert_eq!(scanner.scan(&buffer[..split], &LIMITS), Ok(None));
            assert_eq!(scanner.scan(&buffer, &LIMITS), Ok(Some(head.len())), "split at {split}");
        }
        let mut scanner = HeadScanner::default();
        let by_byte = (0..=buffer.len()).find_map(|end| scanner.scan(&buffer[..end], &LIMITS).unwrap());
        assert_eq!(by_byte, Some(head.len()));
    }
}

#[test]
fn a_reset_scanner_finds_the_next_head() {
    let (first, second) = (WHOLE[1], WHOLE[2]);
    let buffer = [first, second].concat();
    let mut scanner = HeadScanner::default();
    let end = scanner.scan(&buffer, &LIMITS).unwrap().unwrap();
    scanner.reset();
    assert_eq!(scanner.scan(&buffer[end..], &LIMITS), Ok(Some(second.len())));
}

#[test]
fn a_head_of_exactly_the_allowed_bytes_passes_and_one_more_is_too_large() {
    let head = WHOLE[1];
    let limits = |bytes| HeadLimits { bytes, count: 96 };
    assert_eq!(HeadScanner::default().scan(head, &limits(head.len())), Ok(Some(head.len())));
    assert_eq!(HeadScanner::default().scan(head, &limits(head.len() - 1)), Err(OVER_BYTES));
    assert!(parse_request(head, &limits(head.len()), &mut RequestHead::default()).is_ok());
    assert_eq!(parse_request(head, &limits(head.len() - 1), &mut RequestHead::default()), Err(OVER_BYTES));
    let incomplete = &head[..head.len() - 1];
    assert_eq!(HeadScanner::default().scan(incomplete, &limits(head.len())), Ok(None));
    assert_eq!(HeadScanner::default().scan(incomplete, &limits(head.len() - 1)), Err(OVER_BYTES));
}

#[test]
fn a_request_line_that_is_alone_over_the_limit_is_too_long() {
    let limits = HeadLimits { bytes: 64, count: 96 };
    let head = |target: usize| format!("GET /{} HTTP/1.1\r\nHost: aaaaaaaa\r\n\r\n", "a".repeat(target));
    assert_eq!(HeadScanner::default().scan(head(100).as_bytes(), &limits), Err(HeadError::UriTooLong));
    // `GET /` + 48 + ` HTTP/1.1` and CRLF are 64 bytes.
    assert_eq!(HeadScanner::default().scan(head(49).as_bytes(), &limits), Err(HeadError::UriTooLong));
    assert_eq!(HeadScanner::default().scan(head(48).as_bytes(), &limits), Err(OVER_BYTES));
    assert!(matches!(HeadScanner::default().scan(head(24).as_bytes(), &limits), Ok(Some(_))));
}

#[test]
fn fields_beyond_the_allowed_number_are_refused() {
    for count in [0, 1, 95, 96, 97, 200, 1000] {
        let limits = HeadLimits { bytes: 1 << 20, count };
        let head = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(fields));
        let mut parsed = RequestHead::default();
        assert_eq!(parse_request(head(count).as_bytes(), &limits, &mut parsed), Ok(()));
        assert_eq!(parsed.fields.len(), count);
        assert_eq!(parse_request(head(count + 1).as_bytes(), &limits, &mut parsed), Err(OVER_COUNT));
        assert!(matches!(HeadScanner::default().scan(head(count).as_bytes(), &limits), Ok(Some(_))));
        assert_eq!(HeadScanner::default().scan(head(count + 1).as_bytes(), &limits), Err(OVER_COUNT));
    }
}

#[test]
fn a_response_head_has_at_most_512_fields_and_64_kib() {
    let head = |fields: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a:\r\n".repeat(fields));
    assert_eq!(response(head(512).as_bytes()).unwrap().fields.len(), 512);
    assert_eq!(response(head(513).as_bytes()).unwrap_err(), OVER_COUNT);
    assert_eq!(parse_response(head(513).as_bytes(), &mut ResponseHead::default()), Err(OVER_COUNT));
    let sized = |len: usize| format!("HTTP/1.1 200 OK\r\na:{}\r\n\r\n", "x".repeat(len - 23));
    assert_eq!(sized(64 * 1024).len(), 64 * 1024);
    assert!(response(sized(64 * 1024).as_bytes()).is_ok());
    assert_eq!(response(sized(64 * 1024 + 1).as_bytes()).unwrap_err(), OVER_BYTES);
    assert_eq!(
        parse_response(sized(64 * 1024 + 1).as_bytes(), &mut ResponseHead::default()),
        Err(OVER_BYTES)
    );
}

#[test]
fn methods_are_case_sensitive_and_know_whether_they_may_be_repeated() {
    let table = [
        ("GET", Method::Get, true, true),
        ("HEAD", Method::Head, true, true),
        ("OPTIONS", Method::Options, true, true),
        ("TRACE", Method::Trace, true, true),
        ("PUT", Method::Put, false, true),
        ("DELETE", Method::Delete, false, true),
        ("POST", Method::Post, false, false),
        ("PATCH", Method::Patch, false, false),
        ("CONNECT", Method::Connect, false, false),
        ("get", Method::Other, false, false),
        ("", Method::Other, false, false),
    ];
    for (text, method, safe, idempotent) in table {
        assert_eq!(Method::of(text.as_bytes()), method);
        assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{text}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Whether httparse takes `head` as one whole request, with its leniencies excluded by hand.
    fn httparse_agrees(head: &[u8]) -> bool {
        let mut slots = [httparse::EMPTY_HEADER; 96];
        let bare_lf = (0..head.len()).any(|at| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r'));
        let whole = httparse::Status::Complete(head.len());
        httparse::Request::new(&mut slots).parse(head) == Ok(whole)
            && !bare_lf
            && !head.starts_with(b"\r\n\r\n")
    }

    fn field() -> impl Strategy<Value = (String, String)> {
        ("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", "([!-~\u{80}-\u{ff}]([ \t!-~]{0,20}[!-~])?)?")
    }

    /// A valid head, and bytes to be put in anywhere.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let head = ("[A-Z]{1,8}", "[!-~]{1,20}", proptest::collection::vec(field(), 0..6));
        let byte =
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), Just(b'\t'), Just(0), any::<u8>()];
        let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>(), byte), 0..4);
        (head, damage).prop_map(|((method, target, fields), damage)| {
            let mut head = format!("{method} {target} HTTP/1.1\r\n");
            fields.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
            let mut head = (head + "\r\n").into_bytes();
            for (at, insert, byte) in damage {
                let at = at.index(head.len());
                if insert { head.insert(at, byte) } else { head[at] = byte }
            }
            head
        })
    }

    proptest! {
        #[test]
        fn a_written_head_reads_back_the_same(
            method in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,10}",
            target in "[!-~]{1,60}",
            fields in proptest::collection::vec(field(), 0..20),
        ) {
            let mut text = format!("{method} {target} HTTP/1.1\r\n");
            fields.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
            text += "\r\n";
            let head = request(text.as_bytes()).unwrap();
            prop_assert_eq!((head.method_bytes(), head.target()), (method.as_bytes(), target.as_bytes()));
            prop_assert_eq!(pairs(&head.fields), fields);
            let mut lines = Vec::new();
            head.fields.write_to(&mut lines);
            prop_assert_eq!(&lines[..], &text.as_bytes()[text.find('\n').unwrap() + 1..text.len() - 2]);
        }

        #[test]
        fn a_damaged_head_is_accepted_only_where_httparse_and_the_line_end_rule_agree(head in damaged()) {
            let mut parsed = RequestHead::default();
            let ours = parse_request(&head, &LIMITS, &mut parsed);
            prop_assert_eq!(ours.is_ok(), httparse_agrees(&head), "{:?}: {:?}", String::from_utf8_lossy(&head), ours);
            // What parses on its own is what the scanner would have handed over.
            if ours.is_ok() {
                prop_assert_eq!(HeadScanner::default().scan(&head, &LIMITS), Ok(Some(head.len())));
            }
        }

        #[test]
        fn any_bytes_give_the_same_answer_whole_and_in_pieces(
            head in damaged(),
            sizes in proptest::collection::vec(0usize..9, 1..8),
        ) {
            let whole = HeadScanner::default().scan(&head, &LIMITS);
            let (mut scanner, mut end, mut sizes) = (HeadScanner::default(), 0, sizes.into_iter().cycle());
            let mut pieces = Ok(None);
            let mut stalls = 0;
            while pieces == Ok(None) && end < head.len() && stalls < 9 {
                let size = sizes.next().unwrap_or(1);
                stalls = if size == 0 { stalls + 1 } else { 0 };
                end = (end + size).min(head.len());
                pieces = scanner.scan(&head[..end], &LIMITS);
            }
            prop_assert!(stalls == 9 || pieces == whole);
        }

        #[test]
        fn the_scanner_looks_at_a_byte_once_however_small_the_pieces(head in damaged()) {
            let mut scanner = HeadScanner::default();
            for end in 0..=head.len() {
                if scanner.scan(&head[..end], &LIMITS) != Ok(None) {
                    break;
                }
                // Only a CR whose LF is awaited is looked at again.
                prop_assert!(scanner.at == end || (scanner.at + 1 == end && head[scanner.at] == b'\r'));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), bytes_limit in 0usize..300, count in 0usize..5) {
            let limits = HeadLimits { bytes: bytes_limit, count };
            let _ = HeadScanner::default().scan(&bytes, &limits);
            let _ = parse_request(&bytes, &limits, &mut RequestHead::default());
            let _ = parse_response(&bytes, &mut ResponseHead::default());
        }
    }
}
