//! Who is asking: the peer's address, or what trusted proxies say about it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::http::fields::{FieldName, Fields};

/// The other end of a client connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// IPv4 addresses as such, also where they came mapped into IPv6.
    pub ip: IpAddr,
    /// The same as text: each of its requests carries it to the upstream.
    pub text: Box<str>,
}

impl Peer {
    pub fn new(ip: IpAddr) -> Peer {
        let ip = ip.to_canonical();
        Peer { ip, text: ip.to_string().into() }
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Whether the other end of the connection is one of `trusted_proxies`: only then its `X-Forwarded-*` and `X-Request-Id` count.
    pub trusted: bool,
    /// The client itself: the peer, or the first address from the right that is not trusted.
    pub ip: IpAddr,
}

impl Client {
    /// Reads `X-Forwarded-For` from the right as far as it can be believed.
    pub fn of(ip: IpAddr, fields: &Fields, trusted_proxies: &[IpNet]) -> Client {
        let peer = ip.to_canonical();
        let is_trusted = |ip: IpAddr| trusted_proxies.iter().any(|net| net.contains(&ip));
        if !is_trusted(peer) {
            return Client { trusted: false, ip: peer };
        }
        let mut ip = peer;
        let lines: Vec<&[u8]> = fields.all(FieldName::XForwardedFor).collect();
        for element in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            // Whatever stands left of something unreadable is nobody's word.
            let Some(said) = address(element) else { break };
            ip = said;
            if !is_trusted(ip) {
                break;
            }
        }
        Client { trusted: true, ip }
    }

    /// The request's id, where a trusted proxy has given it one.
    pub fn request_id(self, fields: &Fields) -> Option<&[u8]> {
        const MAX_BYTES: usize = 128;
        fields.get(FieldName::XRequestId).filter(|id| self.trusted && (1..=MAX_BYTES).contains(&id.len()))
    }
}

/// An address, with or without a port; IPv6 may be in brackets.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip())).ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(peer: &str, lines: &[&str]) -> String {
        let mut fields = Fields::default();
        lines.iter().for_each(|line| fields.add(b"X-Forwarded-For", line.as_bytes()));
        let trusted = ["10.0.0.0/8".parse().expect("a net"), "fd00::/8".parse().expect("a net")];
        Client::of(peer.parse().expect("an address"), &fields, &trusted).ip.to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(ip("192.0.2.1", &["1.1.1.1"]), "192.0.2.1");
    }

    #[test]
    fn trusted_proxies_are_walked_from_the_right() {
        assert_eq!(ip("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(ip("10.0.0.1", &["6.6.6.6, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(ip("10.0.0.1", &["6.6.6.6, 192.0.2.1, 10.2.3.4"]), "192.0.2.1");
        assert_eq!(ip("10.0.0.1", &["6.6.6.6", "192.0.2.1", "10.9.9.9,10.2.3.4"]), "192.0.2.1");
        assert_eq!(ip("10.0.0.1", &["10.3.3.3"]), "10.3.3.3");
    }

    #[test]
    fn ports_and_brackets_are_read_and_garbage_ends_the_walk() {
        assert_eq!(ip("fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(ip("::ffff:10.0.0.1", &["192.0.2.1:80"]), "192.0.2.1");
        assert_eq!(ip("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(ip("10.0.0.1", &["192.0.2.1,"]), "10.0.0.1");
    }
}
