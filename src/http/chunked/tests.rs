//! Chunked bodies (RFC 9112, 7.1): what is taken, what is refused, in whatever pieces it comes.

use super::*;

const TRAILER_LIMIT: usize = 256;

/// The payload and how many bytes the coding took, or why it is refused. What is held back of a piece is put before the
/// next, as a connection's buffer does.
fn decode_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, usize, bool), BodyError> {
    let mut decoder = Chunked::new(u64::MAX, TRAILER_LIMIT);
    let (mut payload, mut consumed, mut done, mut held) = (Vec::new(), 0, false, Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        let fed = decoder.feed(&held, |range| {
            assert!(!range.is_empty());
            payload.extend_from_slice(&held[range]);
        })?;
        let rest = &held[fed.consumed..];
        assert!(fed.done || rest.len() <= 32 && rest.iter().all(u8::is_ascii_hexdigit));
        (consumed, done) = (consumed + fed.consumed, fed.done);
        held.drain(..fed.consumed);
    }
    assert_eq!((decoder.payload_bytes(), decoder.is_done()), (payload.len() as u64, done));
    Ok((payload, consumed, done))
}

fn decode(body: &[u8]) -> Result<(Vec<u8>, usize, bool), BodyError> {
    decode_pieces([body])
}

/// Whether `body` is one whole chunked body and nothing more.
fn accepts(body: &[u8]) -> bool {
    decode(body).is_ok_and(|(_, consumed, done)| done && consumed == body.len())
}

#[test]
fn payload_comes_without_sizes_extensions_and_trailers() {
    let body = b"5;a=b\r\nhello\r\n0000001\r\n \r\nA\r\n0123456789\r\n0;last\r\nDigest: x\r\n\r\nGET /";
    let (payload, consumed, done) = decode(body).unwrap();
    assert_eq!((&payload[..], consumed, done), (&b"hello 0123456789"[..], body.len() - 5, true));
}

#[test]
fn payload_may_hold_any_byte() {
    assert_eq!(decode(b"6\r\n\r\n0\r\n\r\r\n0\r\n\r\n").unwrap().0, b"\r\n0\r\n\r");
    assert_eq!(decode(b"3\r\n\0\xff\n\r\n0\r\n\r\n").unwrap().0, b"\0\xff\n");
}

#[test]
fn a_chunk_size_is_hex_digits_and_nothing_else() {
    let accepted = ["5", "05", "0000000000000005", "00000000000000005", &format!("{}5", "0".repeat(31))];
    accepted
        .iter()
        .for_each(|size| assert!(accepts(format!("{size}\r\nhello\r\n0\r\n\r\n").as_bytes()), "{size}"));
    let refused = [
        "",
        " 5",
        "5 ",
        "\t5",
        "5\t",
        "+5",
        "-5",
        "0x5",
        "5h",
        "5,5",
        "5 5",
        &format!("{}5", "0".repeat(32)),
        "5\0",
        "x",
        ";a",
        "\r",
        "10000000000000000",
        "fffffffffffffffffffff",
        "5\u{b}",
        "\u{ff15}",
        "5\r\r",
        "5\n",
        "5#",
    ];
    for size in refused {
        assert!(decode(format!("{size}\r\nhello\r\n0\r\n\r\n").as_bytes()).is_err(), "{size:?}");
    }
    assert_eq!(
        decode(b"a\r\n0123456789\r\n0\r\n\r\n").unwrap().0,
        decode(b"A\r\n0123456789\r\n0\r\n\r\n").unwrap().0
    );
    let zeros = |digits| format!("{}\r\n\r\n", "0".repeat(digits));
    assert!(accepts(zeros(32).as_bytes()) && !accepts(zeros(33).as_bytes()));
}

#[test]
fn a_chunk_over_the_limit_is_refused_by_its_size_line() {
    let sized = |limit: u64, line: &str| {
        let mut decoder = Chunked::new(limit, TRAILER_LIMIT);
        decoder.feed(b"3\r\nabc\r\n", |_| {}).unwrap();
        decoder.feed(line.as_bytes(), |_| {}).map(|fed| fed.consumed)
    };
    for line in ["3\r", "03;", "ffffffffffffffff\r", "7fffffffffffffff;"] {
        assert_eq!(sized(5, line), Err(BodyError::TooLarge), "{line:?}");
    }
    assert_eq!(sized(5, "2\r"), Ok(2));
    assert_eq!(sized(u64::MAX, "7ffffffffffffffc;"), Ok(17));
    // More than recipients can count, whatever the limit.
    for line in ["7ffffffffffffffd;", "ffffffffffffffff\r"] {
        assert_eq!(sized(u64::MAX, line), Err(BodyError::TooLarge), "{line:?}");
    }
}

#[test]
fn a_chunk_size_is_held_back_until_it_is_whole() {
    let mut decoder = Chunked::new(u64::MAX, TRAILER_LIMIT);
    assert_eq!(decoder.feed(b"1\r\nx\r\n0fff", |_| {}), Ok(FeedProgress { consumed: 6, done: false }));
    assert_eq!(decoder.feed(b"0fffffffff", |_| {}), Ok(FeedProgress { consumed: 0, done: false }));
    assert_eq!(decoder.feed(b"00002;a", |_| {}), Ok(FeedProgress { consumed: 7, done: false }));
    assert_eq!(decoder.feed(b"\r\nyz\r\n", |_| {}), Ok(FeedProgress { consumed: 6, done: false }));
    assert_eq!(decoder.payload_bytes(), 3);
}

#[test]
fn the_largest_chunk_size_is_awaited_without_a_byte_of_memory() {
    let mut decoder = Chunked::new(u64::MAX, 0);
    for head in ["7fffffffffffffff\r\n", "40000000\r\n"] {
        decoder = Chunked::new(u64::MAX, 0);
        assert_eq!(
            decoder.feed(head.as_bytes(), |_| panic!()),
            Ok(FeedProgress { consumed: head.len(), done: false })
        );
    }
    let piece = vec![b'x'; 64 * 1024];
    let mut calls = 0;
    for _ in 0..16 * 1024 {
        // One call a piece: payload is passed over, not looked at.
        decoder.feed(&piece, |range| calls += usize::from(range == (0..piece.len()))).unwrap();
    }
    assert_eq!((calls, decoder.payload_bytes()), (16 * 1024, 1 << 30));
    assert_eq!(decoder.feed(b"\r\n0\r\n\r\nx", |_| panic!()), Ok(FeedProgress { consumed: 7, done: true }));
}

#[test]
fn line_ends_are_crlf_everywhere() {
    let body = b"5;a=\"b\"\r\nhello\r\n0\r\nDigest: x\r\n\r\n";
    assert!(accepts(body));
    for at in (0..body.len()).filter(|&at| matches!(body[at], b'\r' | b'\n')) {
        for replacement in [&b""[..], b"x", b"\r\r", b"\n\n", b"\0"] {
            let broken = [&body[..at], replacement, &body[at + 1..]].concat();
            assert!(!accepts(&broken), "{:?}", String::from_utf8_lossy(&broken));
        }
    }
    for broken in [
        &b"5\nhello\n0\n\n"[..],
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
    ] {
        assert!(decode(broken).is_err(), "{:?}", String::from_utf8_lossy(broken));
    }
}

#[test]
fn extensions_are_names_with_token_or_quoted_values() {
    let table: &[(&[u8], bool)] = &[
        (b";a", true),
        (b";a=b", true),
        (b";a;b;c=d", true),
        (b";a=\"\"", true),
        (b";a=\"b c\t;\xff\"", true),
        (b";a=\"\\\"\\\\\";b", true),
        (b";", false),
        (b";;a", false),
        (b";a;", false),
        (b";=b", false),
        (b";a=", false),
        (b";a==b", false),
        (b";a=b=c", false),
        (b"; a", false),
        (b" ;a", false),
        (b";a ", false),
        (b";a =b", false),
        (b";a= b", false),
        (b";a=\"b", false),
        (b";a=\"b\"c", false),
        (b";a=\"b\\\"", false),
        (b";a=b\"c\"", false),
        (b";a=\"\x01\"", false),
        (b";a=\"\\\x01\"", false),
        (b";a=\"\x7f\"", false),
        (b";a=\"\r\n\"", false),
        (b";a=\"\n\"", false),
        (b";a(b", false),
        (b";\xe4", false),
        (b";a\0", false),
    ];
    for &(extension, accepted) in table {
        for body in [
            [b"1", extension, b"\r\nx\r\n0\r\n\r\n"].concat(),
            [b"1\r\nx\r\n0", extension, b"\r\n\r\n"].concat(),
        ] {
            assert_eq!(accepts(&body), accepted, "{:?}", String::from_utf8_lossy(&body));
        }
    }
}

#[test]
fn extensions_are_bounded_per_chunk_and_per_body() {
    let chunk = |bytes: usize| format!("1;{}\r\nx\r\n", "a".repeat(bytes - 1));
    assert!(accepts(format!("{}0\r\n\r\n", chunk(256)).as_bytes()));
    assert_eq!(decode(chunk(257).as_bytes()), Err(ChunkFault::LongExtensions.error()));
    assert!(accepts(format!("{}0\r\n\r\n", chunk(256).repeat(64)).as_bytes()));
    assert_eq!(
        decode(format!("{}1;a", chunk(256).repeat(64)).as_bytes()),
        Err(ChunkFault::LongExtensions.error())
    );
    let quoted = format!("1;a=\"{}\"\r\n", "b".repeat(300));
    assert_eq!(decode(quoted.as_bytes()), Err(ChunkFault::LongExtensions.error()));
}

#[test]
fn trailers_are_held_to_the_grammar_of_fields() {
    let table: &[(&[u8], bool)] = &[
        (b"", true),
        (b"Digest: x\r\n", true),
        (b"A:\r\nB: \t x\xff \r\n", true),
        (b"Digest : x\r\n", false),
        (b": x\r\n", false),
        (b" Digest: x\r\n", false),
        (b"Digest\r\n", false),
        (b"Di gest: x\r\n", false),
        (b"Digest: x\r\n y\r\n", false),
        (b"Digest: \x01\r\n", false),
        (b"Digest: \0\r\n", false),
        (b"Digest: x\ry\r\n", false),
        (b"Digest: x\ny: z\r\n", false),
        (b"Content-Length: 5\r\n", false),
        (b"Content-Lengths: 5\r\n", true),
        (b"TRANSFER-ENCODING: chunked\r\n", false),
        (b"A: b\r\nHost: a\r\n", false),
        (b"connection: close\r\n", false),
        (b"X-Forwarded-For: 1\r\n", false),
        (b"X-Forwarded-Anything-That-Is-Long: 1\r\n", false),
        (b"x_consumer_name: admin\r\n", false),
        (b"Authorization: x\r\n", false),
        (b"Proxy-Authorization: x\r\n", false),
        (b"A-name-that-is-longer-than-any-of-the-forbidden-ones: x\r\n", true),
    ];
    for &(trailers, accepted) in table {
        let body = [b"1\r\nx\r\n0\r\n", trailers, b"\r\n"].concat();
        assert_eq!(accepts(&body), accepted, "{:?}", String::from_utf8_lossy(trailers));
    }
}

#[test]
fn trailers_are_bounded_in_bytes_and_number() {
    let line = |bytes: usize| format!("0\r\na:{}\r\n\r\n", "x".repeat(bytes - 4));
    assert!(accepts(line(TRAILER_LIMIT).as_bytes()));
    assert_eq!(decode(line(TRAILER_LIMIT + 1).as_bytes()), Err(ChunkFault::LongTrailers.error()));
    let fields = |count: usize| format!("0\r\n{}\r\n", "a:\r\n".repeat(count));
    assert!(accepts(fields(MAX_TRAILERS).as_bytes()));
    let mut decoder = Chunked::new(u64::MAX, 4096);
    assert_eq!(
        decoder.feed(fields(MAX_TRAILERS + 1).as_bytes(), |_| {}),
        Err(ChunkFault::ManyTrailers.error())
    );
    let mut none = Chunked::new(u64::MAX, 0);
    assert_eq!(none.feed(b"0\r\n\r\n", |_| {}), Ok(FeedProgress { consumed: 5, done: true }));
}

#[test]
fn nothing_is_consumed_after_the_end_or_an_error() {
    let mut decoder = Chunked::new(u64::MAX, 0);
    assert_eq!(decoder.feed(b"0\r\n\r\n0\r\n\r\n", |_| {}), Ok(FeedProgress { consumed: 5, done: true }));
    assert_eq!(decoder.feed(b"0\r\n\r\n", |_| {}), Ok(FeedProgress { consumed: 0, done: true }));
    let mut decoder = Chunked::new(u64::MAX, 0);
    assert_eq!(decoder.feed(b"x", |_| {}), Err(ChunkFault::Size.error()));
    assert_eq!(decoder.feed(b"0\r\n\r\n", |_| {}), Err(ChunkFault::Size.error()));
}

#[test]
fn a_body_split_at_any_byte_is_the_body_as_a_whole() {
    let bodies: [&[u8]; 4] = [
        b"5;a=\"\\\"\"\r\nhello\r\n1\r\n!\r\n0;z\r\nDigest: x\r\nB:\r\n\r\n",
        b"5\r\nhello\r\n0\r\nHost: x\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n0\r\n",
    ];
    for body in bodies {
        let whole = decode(body);
        for split in 0..=body.len() {
            assert_eq!(decode_pieces([&body[..split], &body[split..]]), whole, "split at {split}");
        }
        assert_eq!(decode_pieces(body.chunks(1)), whole);
    }
}

#[test]
fn chunk_sizes_are_written_in_hex_with_crlf() {
    let mut out = [0; 18];
    for (len, line) in [
        (0, "0\r\n"),
        (9, "9\r\n"),
        (10, "a\r\n"),
        (0x1000, "1000\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(encode_chunk_size(len, &mut out), line.as_bytes());
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn encode(chunks: &[Vec<u8>]) -> Vec<u8> {
        let (mut body, mut line) = (Vec::new(), [0; 18]);
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            body.extend_from_slice(encode_chunk_size(chunk.len(), &mut line));
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        body
    }

    fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself_in_any_pieces(chunks in chunks(), piece in 1usize..50) {
            let body = encode(&chunks);
            let expected = Ok((chunks.concat(), body.len(), true));
            prop_assert_eq!(decode(&body), expected.clone());
            prop_assert_eq!(decode_pieces(body.chunks(piece)), expected);
        }

        #[test]
        fn a_damaged_body_gives_the_same_answer_whole_and_in_pieces(
            chunks in chunks(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            piece in 1usize..9,
        ) {
            let mut body = encode(&chunks);
            for (at, byte) in damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
            prop_assert_eq!(decode_pieces(body.chunks(piece)), decode(&body));
        }

        #[test]
        fn a_size_is_read_as_httparse_reads_it(zeros in 0usize..14, size in "[0-9a-fA-F]{0,18}") {
            let line = format!("{}{size}\r\n", "0".repeat(zeros));
            let mut decoder = Chunked::new(u64::MAX, 0);
            let ours = decoder.feed(line.as_bytes(), |_| {}).ok().map(|_| decoder.remaining);
            // httparse takes an empty size for zero, and knows no more than 16 digits.
            let theirs = match httparse::parse_chunk_size(line.trim_start_matches('0').as_bytes()) {
                Ok(httparse::Status::Complete((_, size))) if line.len() > 2 => Some(size),
                _ => None,
            };
            let theirs = theirs.filter(|size| *size <= MAX_PAYLOAD_BYTES);
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn whatever_is_accepted_httparse_accepts_too(
            line in "[0-9a-f]{0,3}(;[a-z]{0,3}(=([a-z\" \\\\]{0,4}))?)?[ \t;x]?\r\n",
        ) {
            let mut decoder = Chunked::new(u64::MAX, 0);
            if decoder.feed(line.as_bytes(), |_| {}).is_ok() {
                let expected = httparse::Status::Complete((line.len(), decoder.remaining));
                prop_assert_eq!(httparse::parse_chunk_size(line.as_bytes()), Ok(expected));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1')], 0..100),
        ) {
            let _ = decode(&bytes);
        }
    }
}
