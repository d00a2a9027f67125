//! The request head as the upstream gets it: hop-by-hop fields gone, the client's claims about itself
//! replaced by what the gateway knows.

use std::sync::Arc;

use super::client::Client;
use crate::http::fields::{FieldName, FieldRef, Fields};
use crate::http::framing::{self, Body};
use crate::http::hygiene;

/// What the gateway knows and adds.
pub struct Onward<'a> {
    pub client: Client,
    /// The peer's address as text.
    pub peer: &'a str,
    pub request_id: &'a [u8],
    /// As the client named it; empty: HTTP/1.0 without `Host`.
    pub client_host: &'a [u8],
    /// What `strip_prefix` took off the path.
    pub prefix: Option<&'a [u8]>,
    pub body: Body,
    /// The protocol of an upgrade that is passed on.
    pub upgrade: Option<&'a [u8]>,
}

/// Removes what a client may not say: hop-by-hop fields, those that `Connection` names, and those in which the
/// gateway alone speaks; `owned` are those that the configuration adds.
pub fn clean(fields: &mut Fields, client: Client, owned: &[Arc<str>]) {
    super::identity::remove_owned(owned, fields);
    let nominated = Nominated::of(fields);
    fields.retain(|field| keeps(&field, client.trusted) && !nominated.has(field.name));
}

/// Adds what the gateway says to fields that are [`clean`]. `Host` is set per target, by the caller.
pub fn prepare(fields: &mut Fields, onward: &Onward<'_>) {
    let trusted = onward.client.trusted;
    forwarded_for(fields, onward.peer);
    if !(trusted && fields.get(FieldName::XForwardedProto).is_some()) {
        fields.put(FieldName::XForwardedProto, b"http");
    }
    let host_is_told = trusted && fields.get(FieldName::XForwardedHost).is_some();
    if !host_is_told && !onward.client_host.is_empty() {
        fields.put(FieldName::XForwardedHost, onward.client_host);
    }
    if let Some(prefix) = onward.prefix {
        fields.put(FieldName::XForwardedPrefix, prefix);
    }
    fields.put(FieldName::XRequestId, onward.request_id);
    fields.add(b"Via", b"1.1 ringway");
    if matches!(onward.body, Body::Chunked) {
        fields.add(b"Transfer-Encoding", b"chunked");
    }
    if let Some(protocol) = onward.upgrade {
        fields.add(b"Connection", b"Upgrade");
        fields.add(b"Upgrade", protocol);
    }
}

fn keeps(field: &FieldRef<'_>, trusted: bool) -> bool {
    match field.id {
        FieldName::XConsumerName | FieldName::XConsumerGroups => false,
        FieldName::XForwardedFor => true,
        FieldName::XRealIp | FieldName::Forwarded => trusted,
        _ if hygiene::is_forwarded(field.name) => trusted,
        id => !hygiene::is_hop_by_hop(id) && !hygiene::is_spoofable(field.name),
    }
}

/// Appends the peer to `X-Forwarded-For`, in one field.
fn forwarded_for(fields: &mut Fields, peer: &str) {
    let mut chain = Vec::new();
    for line in fields.all(FieldName::XForwardedFor) {
        chain.extend_from_slice(line);
        chain.extend_from_slice(b", ");
    }
    if chain.is_empty() {
        return fields.put(FieldName::XForwardedFor, peer.as_bytes());
    }
    chain.extend_from_slice(peer.as_bytes());
    fields.put(FieldName::XForwardedFor, &chain);
}

/// The fields that `Connection` declares hop-by-hop. Almost always none, so nothing is allocated.
struct Nominated(Vec<Vec<u8>>);

impl Nominated {
    fn of(fields: &Fields) -> Nominated {
        // What every connection says of itself names no field.
        let names_field = |name: &&[u8]| {
            !(name.eq_ignore_ascii_case(b"close")
                || name.eq_ignore_ascii_case(b"keep-alive")
                || name.eq_ignore_ascii_case(b"upgrade"))
                && hygiene::may_drop_as_connection_option(name)
        };
        Nominated(framing::connection_names(fields).filter(names_field).map(<[u8]>::to_vec).collect())
    }

    fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|nominated| nominated.eq_ignore_ascii_case(name))
    }
}

/// Removes what a response may not carry across: hop-by-hop fields and those `Connection` names.
pub fn remove_hop_by_hop(fields: &mut Fields) {
    let nominated = Nominated::of(fields);
    fields.retain(|field| !hygiene::is_hop_by_hop(field.id) && !nominated.has(field.name));
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn prepared(trusted: bool, lines: &[(&str, &str)]) -> String {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.add(name.as_bytes(), value.as_bytes()));
        let peer = IpAddr::from([192, 0, 2, 9]);
        let onward = Onward {
            client: Client { trusted, ip: peer },
            peer: "192.0.2.9",
            request_id: b"id-1",
            client_host: b"shop.example",
            prefix: None,
            body: Body::None,
            upgrade: None,
        };
        clean(&mut fields, onward.client, &[]);
        prepare(&mut fields, &onward);
        let mut out = Vec::new();
        fields.write_to(&mut out);
        String::from_utf8(out).expect("only text went in")
    }

    #[test]
    fn what_the_client_says_about_itself_is_replaced() {
        let told = [
            ("Accept", "*/*"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "bank.example"),
            ("X-Forwarded-Prefix", "/x"),
            ("x-forwarded-port", "443"),
            ("X-Forwarded-Server", "bank.example"),
            ("X-Real-IP", "10.0.0.1"),
            ("X_Real_IP", "10.0.0.1"),
            ("Forwarded", "for=10.0.0.1"),
            ("X-Consumer-Name", "root"),
            ("x_consumer_name", "root"),
            ("X-Request-Id", "mine"),
        ];
        let head = prepared(false, &told);
        assert_eq!(
            head,
            "Accept: */*\r\nX-Request-Id: id-1\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: shop.example\r\nVia: 1.1 ringway\r\n"
        );
    }

    #[test]
    fn a_trusted_proxy_keeps_its_word_about_scheme_and_host() {
        let said = [
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "a.example"),
            ("X-Forwarded-Port", "443"),
            ("X-Real-IP", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.1"),
        ];
        let head = prepared(true, &said);
        for (name, value) in said {
            assert!(head.contains(&format!("{name}: {value}\r\n")), "{name} in {head}");
        }
    }

    #[test]
    fn hop_by_hop_and_nominated_fields_go_but_never_the_framing() {
        let head = prepared(
            false,
            &[
                ("Connection", "close, x-secret, content-length"),
                ("X-Secret", "1"),
                ("Content-Length", "5"),
                ("Keep-Alive", "timeout=5"),
                ("TE", "trailers"),
                ("Upgrade", "h2c"),
                ("Proxy-Connection", "close"),
            ],
        );
        assert!(head.starts_with("Content-Length: 5\r\nX-Forwarded-For: "));
    }

    #[test]
    fn the_peer_is_appended_to_the_chain_in_one_field() {
        let head = prepared(false, &[("X-Forwarded-For", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]);
        assert!(head.starts_with("X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.9\r\n"), "{head}");
    }
}
