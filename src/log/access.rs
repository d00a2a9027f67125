//! One finished request, and its line in the access log.
//!
//! What a client chose (method, host, path) may hold any byte. In both formats what is not printable is escaped, so that
//! no client can forge a line, or send control sequences to the terminal of a person who reads the log.

use std::net::IpAddr;
use std::time::Duration;

use super::text::{common_text, json_number, json_string, push_ip, push_ms, push_number};
use crate::base::error::Reason;

/// A finished request, as the access log has it.
#[derive(Clone, Copy, Debug)]
pub struct AccessEntry<'a> {
    pub request_id: &'a [u8],
    /// The client behind trusted proxies. An IPv4 address mapped into IPv6 is written as IPv4.
    pub client_ip: IpAddr,
    /// Empty, like `host` and `path`, where the head could not be read that far. Logged as absent.
    pub method: &'a [u8],
    pub host: &'a [u8],
    /// Without the query, which may hold secrets.
    pub path: &'a [u8],
    /// The `x` of `HTTP/1.x`.
    pub version_minor: u8,
    pub status: u16,
    /// Set where the gateway itself made the response.
    pub reason: Option<Reason>,
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,
    pub target: Option<&'a str>,
    pub consumer: Option<&'a str>,
    /// From the first byte of the head to the last byte of the response.
    pub duration: Duration,
    /// From the choice of a target to the upstream's response head.
    pub upstream_time: Option<Duration>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub cache: Option<&'a str>,
    /// Attempts beyond the first.
    pub retries: u32,
    pub shard: usize,
    /// The configuration that served it.
    pub generation: u64,
}

/// Appends one JSON object and a line feed. `time` is RFC 3339; what is absent is `null`, times are milliseconds with
/// three decimals. Bytes that are not UTF-8 become the four characters `\xHH`, as nginx writes them.
pub fn write_json(entry: &AccessEntry, time: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(time);
    out.extend_from_slice(b"\",\"request_id\":");
    json_string(Some(entry.request_id), out);
    out.extend_from_slice(b",\"client_ip\":\"");
    push_ip(entry.client_ip, out);
    out.extend_from_slice(b"\",\"method\":");
    json_string(present(entry.method), out);
    out.extend_from_slice(b",\"host\":");
    json_string(present(entry.host), out);
    out.extend_from_slice(b",\"path\":");
    json_string(present(entry.path), out);
    json_number(b",\"status\":", entry.status.into(), out);
    out.extend_from_slice(b",\"reason\":");
    json_string(entry.reason.map(|reason| reason.as_str().as_bytes()), out);
    out.extend_from_slice(b",\"route\":");
    json_string(entry.route.map(str::as_bytes), out);
    out.extend_from_slice(b",\"upstream\":");
    json_string(entry.upstream.map(str::as_bytes), out);
    out.extend_from_slice(b",\"target\":");
    json_string(entry.target.map(str::as_bytes), out);
    out.extend_from_slice(b",\"consumer\":");
    json_string(entry.consumer.map(str::as_bytes), out);
    out.extend_from_slice(b",\"duration_ms\":");
    push_ms(entry.duration, out);
    out.extend_from_slice(b",\"upstream_ms\":");
    match entry.upstream_time {
        Some(time) => push_ms(time, out),
        None => out.extend_from_slice(b"null"),
    }
    json_number(b",\"bytes_in\":", entry.bytes_in, out);
    json_number(b",\"bytes_out\":", entry.bytes_out, out);
    out.extend_from_slice(b",\"cache\":");
    json_string(entry.cache.map(str::as_bytes), out);
    json_number(b",\"retries\":", entry.retries.into(), out);
    json_number(b",\"shard\":", entry.shard as u64, out);
    json_number(b",\"generation\":", entry.generation, out);
    out.extend_from_slice(b"}\n");
}

/// Appends a line of the Common Log Format: `client - consumer [time] "METHOD path HTTP/1.x" status bytes`, with
/// `time` as `base::time::common_log` writes it. What is not printable ASCII, and `"` and `\`, become `\xHH`.
pub fn write_common(entry: &AccessEntry, time: &[u8], out: &mut Vec<u8>) {
    push_ip(entry.client_ip, out);
    out.extend_from_slice(b" - ");
    match entry.consumer {
        Some(name) if !name.is_empty() => common_text(name.as_bytes(), out),
        _ => out.push(b'-'),
    }
    out.extend_from_slice(b" [");
    out.extend_from_slice(time);
    out.extend_from_slice(b"] \"");
    if entry.method.is_empty() {
        out.push(b'-');
    } else {
        common_text(entry.method, out);
        out.push(b' ');
        common_text(entry.path, out);
        out.extend_from_slice(b" HTTP/1.");
        push_number(entry.version_minor.into(), out);
    }
    out.extend_from_slice(b"\" ");
    push_number(entry.status.into(), out);
    out.push(b' ');
    push_number(entry.bytes_out, out);
    out.push(b'\n');
}

/// Empty is absent.
fn present(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const TIME: &[u8] = b"2026-11-24T10:00:00.123Z";
    const FIELDS: [&str; 20] = [
        "time",
        "request_id",
        "client_ip",
        "method",
        "host",
        "path",
        "status",
        "reason",
        "route",
        "upstream",
        "target",
        "consumer",
        "duration_ms",
        "upstream_ms",
        "bytes_in",
        "bytes_out",
        "cache",
        "retries",
        "shard",
        "generation",
    ];

    pub(in crate::log) fn sample() -> AccessEntry<'static> {
        AccessEntry {
            request_id: b"0192f0c1",
            client_ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            method: b"GET",
            host: b"api.example.com",
            path: b"/users/42",
            version_minor: 1,
            status: 200,
            reason: None,
            route: Some("users"),
            upstream: Some("users"),
            target: Some("http://127.0.0.1:3001"),
            consumer: None,
            duration: Duration::from_micros(12_345),
            upstream_time: Some(Duration::from_micros(9_007)),
            bytes_in: 101,
            bytes_out: 18_446_744_073_709_551_615,
            cache: None,
            retries: 1,
            shard: 3,
            generation: 2,
        }
    }

    fn json(entry: &AccessEntry) -> String {
        let mut out = Vec::new();
        write_json(entry, TIME, &mut out);
        String::from_utf8(out).expect("a line is UTF-8")
    }

    fn common(entry: &AccessEntry) -> String {
        let mut out = Vec::new();
        write_common(entry, b"24/Nov/2026:10:00:00 +0000", &mut out);
        String::from_utf8(out).expect("a line is ASCII")
    }

    #[test]
    fn a_json_line_holds_the_fields_in_the_documented_order() {
        assert_eq!(
            json(&sample()),
            concat!(
                r#"{"time":"2026-11-24T10:00:00.123Z","request_id":"0192f0c1","client_ip":"192.0.2.7","#,
                r#""method":"GET","host":"api.example.com","path":"/users/42","status":200,"reason":null,"#,
                r#""route":"users","upstream":"users","target":"http://127.0.0.1:3001","consumer":null,"#,
                r#""duration_ms":12.345,"upstream_ms":9.007,"bytes_in":101,"bytes_out":18446744073709551615,"#,
                r#""cache":null,"retries":1,"shard":3,"generation":2}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_request_that_could_not_be_read_has_null_for_what_it_lacks() {
        let entry = AccessEntry {
            method: b"",
            host: b"",
            path: b"",
            status: 400,
            reason: Some(Reason::BadRequest),
            route: None,
            upstream: None,
            target: None,
            upstream_time: None,
            ..sample()
        };
        let value: serde_json::Value = serde_json::from_str(&json(&entry)).unwrap();
        for name in ["method", "host", "path", "route", "upstream", "target", "upstream_ms", "cache"] {
            assert!(value[name].is_null(), "{name}");
        }
        assert_eq!(value["reason"], "bad_request");
        assert_eq!(common(&entry).split('"').nth(1), Some("-"));
    }

    #[test]
    fn an_attacker_cannot_forge_a_line_or_reach_the_terminal() {
        let entry = AccessEntry { path: b"/\r\n\"\\\x1b[2J\x7f\xff\xc2\x9b\xe2\x80\xa8\xc3\xa9", ..sample() };
        assert!(
            json(&entry).contains(concat!(
                r#""path":"/\u000d\u000a\"\\\u001b[2J\u007f\\xff\u009b\u2028"#,
                "\u{e9}\""
            ))
        );
        assert!(
            common(&entry)
                .contains(r#""GET /\x0d\x0a\x22\x5c\x1b[2J\x7f\xff\xc2\x9b\xe2\x80\xa8\xc3\xa9 HTTP/1.1""#)
        );
    }

    #[test]
    fn a_common_line_has_seven_columns() {
        let entry = AccessEntry { consumer: Some("alice b"), version_minor: 0, bytes_out: 0, ..sample() };
        assert_eq!(
            common(&entry),
            "192.0.2.7 - alice\\x20b [24/Nov/2026:10:00:00 +0000] \"GET /users/42 HTTP/1.0\" 200 0\n"
        );
        assert!(common(&sample()).starts_with("192.0.2.7 - - ["));
    }

    proptest! {
        #[test]
        fn a_json_line_is_one_valid_line_whatever_the_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            name in any::<String>(),
            us in any::<u64>(),
            status in any::<u16>(),
            ip in any::<u128>(),
        ) {
            let entry = AccessEntry {
                request_id: &bytes, method: &bytes, host: &bytes, path: &bytes,
                route: Some(&name), upstream: Some(&name), target: Some(&name), consumer: Some(&name), cache: Some(&name),
                status, client_ip: IpAddr::V6(ip.into()), duration: Duration::from_micros(us),
                ..sample()
            };
            let line = json(&entry);
            prop_assert_eq!(line.lines().count(), 1);
            prop_assert!(!line.trim_end_matches('\n').contains(char::is_control));
            let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
            let mut names: Vec<_> = value.keys().map(String::as_str).collect();
            let mut expected = FIELDS;
            names.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(names, expected);
            prop_assert_eq!(value["route"].as_str(), Some(name.as_str()));
            prop_assert_eq!(value["status"].as_u64(), Some(status.into()));
            let ms = value["duration_ms"].as_f64().unwrap();
            prop_assert!((ms - us as f64 / 1000.0).abs() <= ms * 1e-12);
            if let Ok(text) = std::str::from_utf8(&bytes) {
                prop_assert_eq!(value["request_id"].as_str(), Some(text));
            }
        }

        #[test]
        fn a_common_line_is_printable_with_fixed_columns_whatever_the_bytes(
            bytes in prop::collection::vec(any::<u8>(), 1..200),
            name in "\\PC+",
        ) {
            let line = common(&AccessEntry { method: &bytes, path: &bytes, consumer: Some(&name), ..sample() });
            prop_assert!(line.trim_end_matches('\n').bytes().all(|b| matches!(b, b' '..=b'~')));
            prop_assert_eq!(line.split(' ').count(), 10);
            prop_assert_eq!(line.matches('"').count(), 2);
        }

    }
}
