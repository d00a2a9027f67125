//! Addresses: of listeners, of trusted networks, of targets.
//!
//! Names are not resolved here: control does it, and again while the gateway runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::problems::{Problems, ValueError, quoted};
use super::section::At;
use crate::http::host;
use crate::plan::TargetAddress;

/// The longest path that fits a Unix socket's address on Linux, its end included.
const MAX_UNIX_PATH: usize = 107;

/// `"127.0.0.1:8080"`, `"[::]:8080"`, or `":8080"` for all IPv4 interfaces. Port 0: any free one.
///
/// # Errors
/// Host names, `*` and addresses without a port, each with what to write instead.
pub(super) fn listen(text: &str) -> Result<SocketAddr, ValueError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let error =
        |hint: String| ValueError::new(format!("{} is not an address to listen on", quoted(text)), hint);
    if text.parse::<u16>().is_ok() {
        return Err(error(format!("write \"0.0.0.0:{text}\"")));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(error(format!("write \"[{text}]:8080\"")));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| error(format!("add a port: \"{text}:8080\"")))?;
    let port = port_number(port).ok_or_else(|| error("the port is a number from 1 to 65535".to_string()))?;
    match host {
        "" => Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        "*" => Err(error(format!("write \"0.0.0.0:{port}\""))),
        "localhost" => Err(error(format!("write \"127.0.0.1:{port}\""))),
        _ => Err(error("write an IP address and a port: \"0.0.0.0:8080\", \"[::]:8080\"".to_string())),
    }
}

/// Whether only one of both can be listened on. IPv4 and IPv6 keep apart; port 0 is always another one.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_family = a.is_ipv4() == b.is_ipv4();
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_family && same_ip
}

/// A network, or a single address. IPv4 in the form of IPv6 is IPv4, as clients' addresses are.
fn network(text: &str) -> Result<IpNet, ValueError> {
    const MAPPED_BITS: u8 = 96;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let canonical = |net: IpNet| match (net.addr().to_canonical(), net.prefix_len().checked_sub(MAPPED_BITS))
    {
        (IpAddr::V4(ip), Some(bits)) if net.addr().is_ipv6() => IpNet::new(ip.into(), bits).unwrap_or(net),
        _ => net,
    };
    text.parse::<IpNet>().map(canonical).map_err(|_| {
        ValueError::new(
            format!("{} is neither a network nor an IP address", quoted(text)),
            "write \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.1\"",
        )
    })
}

/// A list of networks; those that are wrong are reported and left out.
pub(super) fn networks(texts: Vec<At<&str>>, problems: &mut Problems) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (text, span) in texts {
        let Some(network) = problems.accept(span.clone(), network(text)) else { continue };
        if network.addr() != network.network() {
            let message = format!("{} has bits beyond its prefix, which count for nothing", quoted(text));
            problems.warning(span, message).with_hint(format!("write \"{}\"", network.trunc()));
        }
        networks.push(network.trunc());
    }
    networks
}

/// A target's address, and the authority that `host_header = "upstream"` sends to it.
///
/// # Errors
/// Other schemes, and anything behind the port: a target is where to connect, not what to ask for.
pub(super) fn target(text: &str) -> Result<(TargetAddress, Arc<str>), ValueError> {
    let error = |message: String, hint: &str| Err(ValueError::new(message, hint));
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => error(format!("{} names no socket", quoted(text)), "write \"unix:/run/app.sock\""),
            _ if path.len() > MAX_UNIX_PATH || path.contains('\0') => error(
                format!("{} is not a socket's path", quoted(text)),
                "at most 107 bytes, none of them NUL",
            ),
            _ => Ok((TargetAddress::Unix(Path::new(path).into()), "localhost".into())),
        };
    }
    if text.starts_with("https://") {
        return error(
            format!("{}: `https://` is not supported yet", quoted(text)),
            "this version speaks plain HTTP/1.1 to upstreams",
        );
    }
    let Some(authority) = text.strip_prefix("http://") else {
        return error(
            format!("{} is not a target", quoted(text)),
            "write \"http://127.0.0.1:3001\" or \"unix:/run/app.sock\"",
        );
    };
    if authority.contains('@') {
        return error(
            format!("{} has a user name in it", quoted(text)),
            "credentials go into `request_headers`, not into a target",
        );
    }
    if authority.contains(['/', '?', '#']) {
        return error(
            format!("{} has a path or query", quoted(text)),
            "leave everything after the port out; a route's `rewrite` changes the path",
        );
    }
    let (host, port) = host_and_port(authority)
        .map_err(|why| ValueError::new(format!("{}: {why}", quoted(text)), "write \"http://HOST:PORT\""))?;
    let port = port.unwrap_or(80);
    let shown = if port == 80 { host.to_string() } else { format!("{host}:{port}") };
    let address = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => TargetAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => TargetAddress::Name { host: host.into(), port },
    };
    Ok((address, shown.into()))
}

/// Cuts `HOST[:PORT]`, by the grammar of requests; the host in lower case, an IPv6 address in its brackets. What
/// requests may have and nobody means to write is refused: a port that is left empty, a trailing dot.
///
/// # Errors
/// Why not, as the end of a sentence that the caller begins.
pub(super) fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    /// RFC 1035, 2.3.4: longer ones cannot be resolved.
    const MAX_LABEL: usize = 63;
    if !authority.is_ascii() {
        return Err("write international names in their ASCII form, \"xn--…\"".to_string());
    }
    let read = host::parse_authority(authority.as_bytes()).map_err(|error| error.detail().to_string())?;
    if authority.ends_with(':') {
        return Err("the port is a number from 1 to 65535".to_string());
    }
    let (host, rest) = authority.split_at(read.host.len());
    if rest.starts_with('.') {
        return Err(format!("write it without the trailing dot: \"{host}\""));
    }
    if host.split('.').any(|label| label.len() > MAX_LABEL && !host.starts_with('[')) {
        return Err(format!("a part of a host name between dots has at most {MAX_LABEL} characters"));
    }
    Ok((host.to_ascii_lowercase(), read.port))
}

/// Digits only: `parse` alone would take a sign.
fn port_number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_an_ip_and_a_port() {
        for (text, want) in [
            ("0.0.0.0:8080", "0.0.0.0:8080"),
            ("[::]:8080", "[::]:8080"),
            (":8080", "0.0.0.0:8080"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(listen(text).unwrap().to_string(), want);
        }
        for (text, hint) in [
            ("8080", "write \"0.0.0.0:8080\""),
            ("127.0.0.1", "add a port: \"127.0.0.1:8080\""),
            ("localhost:80", "write \"127.0.0.1:80\""),
            ("*:80", "write \"0.0.0.0:80\""),
            ("::1", "write \"[::1]:8080\""),
            ("127.0.0.1:70000", "the port is a number from 1 to 65535"),
            ("127.0.0.1:", "the port is a number from 1 to 65535"),
            ("", "add a port: \":8080\""),
        ] {
            assert_eq!(listen(text).unwrap_err().hint, hint, "{text}");
        }
    }

    #[test]
    fn addresses_overlap_when_one_socket_would_take_the_others_connections() {
        let overlaps = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlaps("0.0.0.0:80", "127.0.0.1:80"));
        assert!(overlaps("127.0.0.1:80", "127.0.0.1:80"));
        assert!(overlaps("[::]:80", "[::1]:80"));
        assert!(!overlaps("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!overlaps("0.0.0.0:80", "[::]:80"));
        assert!(!overlaps("0.0.0.0:0", "0.0.0.0:0"));
    }

    #[test]
    fn targets_are_http_urls_without_path_or_unix_sockets() {
        let ip = |text: &str| TargetAddress::Ip(text.parse().unwrap());
        let name = |host: &str, port| TargetAddress::Name { host: host.into(), port };
        for (text, address, authority) in [
            ("http://127.0.0.1:3001", ip("127.0.0.1:3001"), "127.0.0.1:3001"),
            ("http://127.0.0.1", ip("127.0.0.1:80"), "127.0.0.1"),
            ("http://[::1]:3001", ip("[::1]:3001"), "[::1]:3001"),
            ("http://Users.internal", name("users.internal", 80), "users.internal"),
            ("http://users:8080", name("users", 8080), "users:8080"),
            ("http://my_service-1", name("my_service-1", 80), "my_service-1"),
            ("unix:/run/app.sock", TargetAddress::Unix(Path::new("/run/app.sock").into()), "localhost"),
        ] {
            assert_eq!(target(text).unwrap(), (address, authority.into()), "{text}");
        }
        for text in [
            "",
            "127.0.0.1:3001",
            "https://a",
            "ftp://a",
            "http://",
            "http://a/",
            "http://a?x",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://a b",
            "http://u:p@a",
            "http://1.2.3.4.5",
            "http://300.1.1.1",
            "http://[::1",
            "http://a..b",
            "http://a.",
            "http://a.:80",
            "http://a_b~c.é",
            &format!("http://{}.com", "a".repeat(64)),
            "unix:",
            "http://é",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
