//! The host of a request: `Host` and the authority of an absolute-form target, parsed strictly.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::fields::FieldName;
use super::head::{HeadError, RequestHead, Version};
use super::path::absolute_form;

/// A host and port, in the form by which routes are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Lower case, without port and trailing dot; an IPv6 address keeps its brackets. Empty only for a request without
    /// a host, as HTTP/1.0 allows.
    pub host: &'a [u8],
    /// 1 to 65535; `None`: not given.
    pub port: Option<u16>,
}

/// The host of a request, which in HTTP/1.1 has exactly one `Host`. A target in absolute-form must name the same host and
/// port (RFC 9112, 3.2.2 would ignore `Host`, but an upstream that prefers `Host` would then serve another site).
/// `buffer` holds the lower-cased host.
pub fn request_host<'a>(head: &RequestHead, buffer: &'a mut Vec<u8>) -> Result<Authority<'a>, HeadError> {
    let mut hosts = head.fields.all(FieldName::Host);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadError::Bad("more than one Host"));
    }
    if host.is_none() && head.version() == Version::Http11 {
        return Err(HeadError::Bad("no Host"));
    }
    let host = host.map(parse_authority).transpose()?;
    let target = match absolute_form(head.target()) {
        Some(absolute) => Some((parse_authority(absolute.authority)?, absolute.default_port)),
        None => None,
    };
    if let (Some(host), Some((target, default_port))) = (host, target) {
        let port = |authority: Authority<'_>| authority.port.unwrap_or(default_port);
        if !host.host.eq_ignore_ascii_case(target.host) || port(host) != port(target) {
            return Err(HeadError::Bad("the target and Host name different hosts"));
        }
    }
    let named = host.or(target.map(|(target, _)| target)).unwrap_or(Authority { host: b"", port: None });
    buffer.clear();
    buffer.extend(named.host.iter().map(u8::to_ascii_lowercase));
    Ok(Authority { host: buffer, port: named.port })
}

/// Splits `host[:port]`, the host in the case received. An empty port is none (RFC 3986, 3.2.3).
pub fn parse_authority(authority: &[u8]) -> Result<Authority<'_>, HeadError> {
    let split = if authority.starts_with(b"[") {
        memchr::memchr(b']', authority).map_or(authority.len(), |at| at + 1)
    } else {
        memchr::memchr(b':', authority).unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(split);
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(parse_port(digits)?),
        _ => return Err(HeadError::Bad("the host has something other than a port behind it")),
    };
    if host.starts_with(b"[") {
        check_ipv6(host)?;
        return Ok(Authority { host, port });
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    check_name(host)?;
    Ok(Authority { host, port })
}

fn parse_port(digits: &[u8]) -> Result<u16, HeadError> {
    let number = std::str::from_utf8(digits)
        .ok()
        .filter(|_| digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit));
    let port = number.and_then(|number| number.parse().ok()).filter(|&port| port != 0);
    port.ok_or(HeadError::Bad("the host's port is not a number from 1 to 65535"))
}

/// An IPv6 address in brackets, without a zone; no IPvFuture.
fn check_ipv6(host: &[u8]) -> Result<(), HeadError> {
    let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or_default();
    let address = std::str::from_utf8(inner).ok().and_then(|inner| inner.parse::<Ipv6Addr>().ok());
    address.map(|_| ()).ok_or(HeadError::Bad("the host is not an IPv6 address in brackets"))
}

/// A DNS name or IPv4 address. Of RFC 3986's reg-name, sub-delims and escapes are refused: no host name has them, and
/// recipients differ in how they read them.
fn check_name(host: &[u8]) -> Result<(), HeadError> {
    const MAX_NAME_BYTES: usize = 253;
    if host.is_empty() {
        return Err(HeadError::Bad("the host is empty"));
    }
    if host.len() > MAX_NAME_BYTES {
        return Err(HeadError::Bad("the host is longer than a name can be"));
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if !host.iter().all(allowed) {
        return Err(HeadError::Bad("the host has a byte that no host name has"));
    }
    let (mut labels, mut last) = (host.split(|&byte| byte == b'.'), &b""[..]);
    if labels.any(|label| {
        last = label;
        label.is_empty()
    }) {
        return Err(HeadError::Bad("the host has an empty label"));
    }
    // Some recipients read `127.1` or `0177.0.0.1` as an address, others as a name.
    let address = || std::str::from_utf8(host).ok().and_then(|host| host.parse::<Ipv4Addr>().ok());
    if last.iter().all(u8::is_ascii_digit) && address().is_none() {
        return Err(HeadError::Bad("the host ends in a number and is not an IPv4 address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, parse_request};

    fn read(head: &str) -> Result<(String, Option<u16>), HeadError> {
        let mut request = RequestHead::default();
        parse_request(head.as_bytes(), &HeadLimits { bytes: 16384, count: 96 }, &mut request).unwrap();
        let mut buffer = b"left over".to_vec();
        let authority = request_host(&request, &mut buffer)?;
        Ok((String::from_utf8(authority.host.to_vec()).unwrap(), authority.port))
    }

    fn host(value: &str) -> Result<(String, Option<u16>), HeadError> {
        read(&format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"))
    }

    #[test]
    fn hosts_are_lower_cased_and_split_from_port_and_trailing_dot() {
        let table = [
            ("example.com", "example.com", None),
            ("EXAMPLE.Com", "example.com", None),
            ("example.com.", "example.com", None),
            ("example.com.:8080", "example.com", Some(8080)),
            ("example.com:", "example.com", None),
            ("example.com:1", "example.com", Some(1)),
            ("example.com:65535", "example.com", Some(65535)),
            ("localhost", "localhost", None),
            ("my_service-1", "my_service-1", None),
            ("1.example", "1.example", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:8080", "[2001:db8::1]", Some(8080)),
            ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None),
        ];
        for (value, name, port) in table {
            assert_eq!(host(value), Ok((name.to_string(), port)), "{value}");
        }
    }

    #[test]
    fn a_host_that_could_be_read_in_two_ways_is_refused() {
        let refused = [
            "",
            ".",
            "..",
            "example..com",
            ".example.com",
            "example.com..",
            ":80",
            "user@example.com",
            "user:pw@example.com",
            "exa mple.com",
            "example.com, other.com",
            "example.com/",
            "example.com?x",
            "example.com#x",
            "exam%70le.com",
            "ex\u{e4}mple.com",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "example.com:8o",
            "example.com:000080",
            "example.com:80:80",
            "example.com: 80",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "127.1",
            "127.0.0.256",
            "0177.0.0.1",
            "2130706433",
        ];
        for value in refused {
            assert!(host(value).is_err(), "{value:?}");
        }
        assert!(host(&"a".repeat(253)).is_ok() && host(&"a".repeat(254)).is_err());
    }

    #[test]
    fn http_1_1_has_exactly_one_host() {
        assert!(read("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
        assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), Err(HeadError::Bad("no Host")));
        let two = Err(HeadError::Bad("more than one Host"));
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), two);
        assert_eq!(read("GET / HTTP/1.0\r\nHost: a\r\nHOST: a\r\n\r\n"), two);
    }

    #[test]
    fn http_1_0_may_have_no_host_but_not_an_empty_one() {
        assert_eq!(read("GET / HTTP/1.0\r\n\r\n"), Ok((String::new(), None)));
        assert_eq!(read("GET http://A:81/ HTTP/1.0\r\n\r\n"), Ok(("a".to_string(), Some(81))));
        assert!(read("GET / HTTP/1.0\r\nHost:\r\n\r\n").is_err());
    }

    #[test]
    fn an_absolute_target_names_the_same_host_as_host_does() {
        let table = [
            ("http://a.com/x", "a.com", true),
            ("http://A.com./x", "a.COM", true),
            ("http://a.com:80", "a.com", true),
            ("http://a.com?q", "a.com:80", true),
            ("https://a.com/", "a.com:443", true),
            ("HTTP://a.com/", "a.com", true),
            ("http://a.com:81/", "a.com:81", true),
            ("http://a.com/", "b.com", false),
            ("http://a.com:81/", "a.com", false),
            ("http://a.com/", "a.com:443", false),
            ("https://a.com:80/", "a.com", false),
            ("http://u@a.com/", "a.com", false),
            ("http:///x", "a.com", false),
        ];
        for (target, value, agrees) in table {
            let read = read(&format!("GET {target} HTTP/1.1\r\nHost: {value}\r\n\r\n"));
            assert_eq!(read.is_ok(), agrees, "{target} with Host {value}: {read:?}");
        }
    }
}
