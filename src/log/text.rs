//! The values of access-log lines as bytes: escaped text, numbers, addresses, durations. On the way of every request, so
//! without `fmt` and without an allocation of its own.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

/// A number behind `name`, which holds the comma, the quotes and the colon.
pub(super) fn json_number(name: &[u8], number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    push_number(number, out);
}

/// Whether a byte stands for itself in both formats: printable ASCII but `"` and `\`, so nearly every byte of requests.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// A JSON string, or `null`.
pub(super) fn json_string(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(bytes) = bytes else {
        return out.extend_from_slice(b"null");
    };
    out.push(b'"');
    // A fold that does not stop early: the compiler makes it compare many bytes at a time.
    if bytes.iter().fold(true, |plain, &byte| plain & is_plain(byte)) {
        out.extend_from_slice(bytes);
    } else {
        json_escaped(bytes, out);
    }
    out.push(b'"');
}

/// What is not plain: escaped where JSON demands it, and where a reader or a terminal could be misled. Bytes that are not
/// UTF-8 become the four characters `\xHH`.
#[cold]
fn json_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                // Line and paragraph separator: some programs end a line there.
                '\u{2028}' => out.extend_from_slice(b"\\u2028"),
                '\u{2029}' => out.extend_from_slice(b"\\u2029"),
                // All control characters are below U+00A0: two digits hold them.
                c if c.is_control() => {
                    out.extend_from_slice(b"\\u00");
                    push_hex(c as u8, out);
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for &byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            push_hex(byte, out);
        }
    }
}

/// Text in a column of the Common Log Format: what is not plain becomes `\xHH`. A space does too, since columns are
/// separated by spaces.
pub(super) fn common_text(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        if is_plain(byte) && byte != b' ' {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            push_hex(byte, out);
        }
    }
}

fn push_hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// An address in its shortest form; IPv4 mapped into IPv6 as IPv4.
pub(super) fn push_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            push_number(a.into(), out);
            for octet in [b, c, d] {
                out.push(b'.');
                push_number(octet.into(), out);
            }
        }
        // Writing to a Vec does not fail.
        IpAddr::V6(ip) => _ = write!(out, "{ip}"),
    }
}

/// Milliseconds with three decimals.
pub(super) fn push_ms(duration: Duration, out: &mut Vec<u8>) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    push_number(us / 1000, out);
    let [hundreds, tens, ones] = [us / 100 % 10, us / 10 % 10, us % 10].map(|digit| b'0' + digit as u8);
    out.extend_from_slice(&[b'.', hundreds, tens, ones]);
}

/// Decimal digits, without the cost of `fmt`.
pub(super) fn push_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20]; // as many as u64::MAX has
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[start..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn addresses_are_written_in_their_shortest_form() {
        for (ip, text) in [
            (IpAddr::V4(Ipv4Addr::BROADCAST), "255.255.255.255"),
            (IpAddr::V6(Ipv6Addr::LOCALHOST), "::1"),
            (IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped()), "10.0.0.1"),
        ] {
            let mut out = Vec::new();
            push_ip(ip, &mut out);
            assert_eq!(out, text.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_fmt_writes_them(number in any::<u64>()) {
            let mut out = Vec::new();
            push_number(number, &mut out);
            prop_assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
