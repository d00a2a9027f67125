//! Heads and chunks as bytes of HTTP/1: the only place that lays out a start line, a field line or a chunk.

use super::chunked::encode_chunk_size;
use super::fields::Fields;

/// A request head: request line, fields in their order, blank line.
pub fn request_head(out: &mut Vec<u8>, method: &[u8], target: &[u8], fields: &Fields) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields.write_to(out);
    out.extend_from_slice(b"\r\n");
}

/// A status line. Fields may follow; the caller ends the head.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// One field line. The caller makes sure that name and value hold no CR, LF or NUL.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal, without an allocation of its own.
pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// One chunk (RFC 9112, 7.1). An empty payload writes nothing: an empty chunk would be the last one.
pub fn chunk(out: &mut Vec<u8>, payload: &[u8]) {
    if payload.is_empty() {
        return;
    }
    out.extend_from_slice(encode_chunk_size(payload.len(), &mut [0; 18]));
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// The last chunk, the trailer section and the blank line that end a chunked body (RFC 9112, 7.1).
pub fn last_chunk(out: &mut Vec<u8>, trailers: &Fields) {
    out.extend_from_slice(b"0\r\n");
    trailers.write_to(out);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase that the gateway uses for a status code (RFC 9110, 15).
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        // The library has their phrases from before RFC 9110.
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => http::StatusCode::from_u16(status)
            .ok()
            .and_then(|code| code.canonical_reason())
            .unwrap_or("Unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 404, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn chunks_carry_their_size_in_hex() {
        for size in [1, 15, 16, 255, 256, 4096, 70_000] {
            let mut out = Vec::new();
            chunk(&mut out, &vec![b'x'; size]);
            assert!(out.starts_with(format!("{size:x}\r\nx").as_bytes()) && out.ends_with(b"x\r\n"));
        }
        let mut out = Vec::new();
        chunk(&mut out, b"");
        assert!(out.is_empty());
    }

    #[test]
    fn the_last_chunk_carries_the_trailer_section() {
        let (mut out, mut trailers) = (Vec::new(), Fields::default());
        last_chunk(&mut out, &trailers);
        trailers.add(b"Digest", b"a");
        last_chunk(&mut out, &trailers);
        assert_eq!(out, b"0\r\n\r\n0\r\nDigest: a\r\n\r\n");
    }

    #[test]
    fn heads_are_laid_out_in_order() {
        let mut fields = Fields::default();
        fields.add(b"Host", b"a");
        fields.add(b"x-b", b"");
        let mut out = Vec::new();
        request_head(&mut out, b"GET", b"/p?q", &fields);
        assert_eq!(out, b"GET /p?q HTTP/1.1\r\nHost: a\r\nx-b: \r\n\r\n");
        out.clear();
        status_line(&mut out, 204, b"No Content");
        assert_eq!(out, b"HTTP/1.1 204 No Content\r\n");
    }
}
