//! The request head as the upstream gets it: hop-by-hop fields gone, the client's claims about itself replaced by what
//! the gateway knows, the route's path and header edits applied.

use std::sync::Arc;

use crate::exchange::{Client, Transaction};
use crate::http::fields::{FieldName, FieldRef, Fields};
use crate::http::framing::{self, Body};
use crate::http::hygiene;
use crate::plan::{HeaderEdits, HostHeader, PathEdit, Proxy, RoutePlan};
use crate::route::edit;

/// A request head for an upstream: made of the client's for each request, and given its `Host` for each attempt, so
/// that the client's own stays as it is.
#[derive(Default)]
pub struct UpstreamRequestHead {
    /// Path and query.
    pub target: Vec<u8>,
    pub fields: Fields,
}

impl UpstreamRequestHead {
    /// Forgets the request, keeps the room.
    pub fn clear(&mut self) {
        self.target.clear();
        self.fields.clear();
    }

    /// Makes the head of a request that the steps have let pass, but for its `Host`.
    pub fn prepare(&mut self, transaction: &Transaction, route: &RoutePlan, proxy: &Proxy) {
        self.clear();
        let prefix_bytes = self.prepare_target(transaction, proxy);
        self.fields.copy_from(&transaction.request.fields);
        let prefix = &transaction.target[..prefix_bytes];
        add_forwarded(&mut self.fields, transaction, prefix);
        apply_edits(&route.request_headers, &mut self.fields);
    }

    /// Sets `Host` for an endpoint whose host (and port, where it is not the scheme's own) is `authority`.
    pub fn set_host(&mut self, proxy: &Proxy, client_host: &[u8], authority: &str) {
        let host = match &proxy.host {
            HostHeader::Client if !client_host.is_empty() => client_host,
            HostHeader::Literal(host) => host.as_bytes(),
            HostHeader::Upstream | HostHeader::Client => authority.as_bytes(),
        };
        self.fields.put(FieldName::Host, host);
    }

    /// Writes path and query; returns how many bytes `strip_prefix` took off the path.
    fn prepare_target(&mut self, transaction: &Transaction, proxy: &Proxy) -> usize {
        let (path, captures) = (transaction.path(), &transaction.captures);
        let mut prefix_bytes = 0;
        match (&transaction.edits.path, &proxy.path) {
            (Some(path), _) => self.target.extend_from_slice(path),
            (None, PathEdit::Keep) => self.target.extend_from_slice(path),
            (None, PathEdit::StripPrefix) => {
                edit::strip_prefix(path, captures, &mut self.target);
                prefix_bytes = captures.prefix_len();
            }
            (None, PathEdit::Rewrite(template)) => edit::expand(template, path, captures, &mut self.target),
        }
        transaction.write_query(&mut self.target);
        prefix_bytes
    }
}

/// Removes what a client may not say: hop-by-hop fields, those that `Connection` names, and those in which the
/// gateway alone speaks; `owned` are those that the configuration adds.
pub fn clean(fields: &mut Fields, client: Client, owned: &[Arc<str>]) {
    super::identity::remove_owned(owned, fields);
    let nominated = Nominated::of(fields);
    fields.retain(|field| keeps(&field, client.trusted) && !nominated.has(field.name));
}

/// Keeps of the protocols that a client offers to change to (a list, RFC 9110, 7.8) those that are allowed: by name, or
/// by name and version where those are written.
pub fn restrict_upgrade(offered: &mut Vec<u8>, allowed: &[Arc<str>]) {
    if offered.is_empty() {
        return;
    }
    let is_allowed = |protocol: &&[u8]| {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
        let matches = |known: &Arc<str>| {
            known.as_bytes().eq_ignore_ascii_case(protocol) || known.as_bytes().eq_ignore_ascii_case(name)
        };
        allowed.iter().any(matches)
    };
    let kept: Vec<&[u8]> = framing::elements(offered).filter(is_allowed).collect();
    *offered = kept.join(&b", "[..]);
}

/// A route's `request_headers` or `response_headers`: remove, then set, then add.
pub fn apply_edits(edits: &HeaderEdits, fields: &mut Fields) {
    for name in &edits.remove {
        fields.remove(name.as_bytes());
    }
    for (name, value) in &edits.set {
        fields.set(name.as_bytes(), value.as_bytes());
    }
    for (name, value) in &edits.add {
        fields.add(name.as_bytes(), value.as_bytes());
    }
}

/// Adds what the gateway says to fields that are [`clean`]. `prefix`: what `strip_prefix` took off the path.
fn add_forwarded(fields: &mut Fields, transaction: &Transaction, prefix: &[u8]) {
    let meta = &transaction.meta;
    let trusted = meta.client.trusted;
    forwarded_for(fields, &meta.peer);
    if !(trusted && fields.get(FieldName::XForwardedProto).is_some()) {
        fields.put(FieldName::XForwardedProto, b"http");
    }
    let host_is_known = trusted && fields.get(FieldName::XForwardedHost).is_some();
    if !host_is_known && !meta.host.is_empty() {
        fields.put(FieldName::XForwardedHost, &meta.host);
    }
    if !prefix.is_empty() {
        fields.put(FieldName::XForwardedPrefix, prefix);
    }
    fields.put(FieldName::XRequestId, &transaction.id);
    fields.add(b"Via", b"1.1 ringway");
    if matches!(meta.body, Body::Chunked) {
        fields.add(b"Transfer-Encoding", b"chunked");
    }
    if !meta.offered_upgrade().is_empty() {
        fields.add(b"Connection", b"Upgrade");
        fields.add(b"Upgrade", meta.offered_upgrade());
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
fn forwarded_for(fields: &mut Fields, peer: &[u8]) {
    let mut chain = Vec::new();
    for line in fields.all(FieldName::XForwardedFor) {
        chain.extend_from_slice(line);
        chain.extend_from_slice(b", ");
    }
    if chain.is_empty() {
        return fields.put(FieldName::XForwardedFor, peer);
    }
    chain.extend_from_slice(peer);
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
        let mut transaction = Transaction { id: b"id-1".to_vec(), ..Transaction::default() };
        transaction.meta.client = Client { trusted, ip: peer };
        transaction.meta.peer = b"192.0.2.9".to_vec();
        transaction.meta.host = b"shop.example".to_vec();
        clean(&mut fields, transaction.meta.client, &[]);
        add_forwarded(&mut fields, &transaction, b"");
        let mut out = Vec::new();
        fields.write_to(&mut out);
        String::from_utf8(out).expect("only text went in")
    }

    #[test]
    fn what_the_client_says_about_itself_is_replaced() {
        let claimed = [
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
        let head = prepared(false, &claimed);
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

    #[test]
    fn only_allowed_protocols_are_offered_to_the_upstream() {
        for (offered, allowed, expected) in [
            ("websocket", &["websocket"][..], "websocket"),
            ("WebSocket", &["websocket"], "WebSocket"),
            ("websocket, foo/2", &["websocket"], "websocket"),
            ("foo/1, foo/2,bar", &["foo/2", "bar"], "foo/2, bar"),
            ("foo/1 , foo/2", &["foo"], "foo/1, foo/2"),
            ("foo", &["websocket"], ""),
            ("websocketx", &["websocket"], ""),
            ("websocket", &[], ""),
        ] {
            let allowed: Vec<Arc<str>> = allowed.iter().map(|name| (*name).into()).collect();
            let mut list = offered.as_bytes().to_vec();
            restrict_upgrade(&mut list, &allowed);
            assert_eq!(String::from_utf8_lossy(&list), expected, "{offered} of {allowed:?}");
        }
    }

    #[test]
    fn an_upgrade_is_never_offered_beside_a_body() {
        let mut transaction = Transaction::default();
        transaction.meta.upgrade = b"websocket".to_vec();
        for (body, is_offered) in
            [(Body::None, true), (Body::Length(0), true), (Body::Length(1), false), (Body::Chunked, false)]
        {
            let mut fields = Fields::default();
            transaction.meta.body = body;
            add_forwarded(&mut fields, &transaction, b"");
            let has = |name: &[u8]| fields.find(name).is_some();
            assert_eq!((has(b"upgrade"), has(b"connection")), (is_offered, is_offered), "{body:?}");
        }
    }

    #[test]
    fn edits_remove_then_set_then_add() {
        let mut fields = Fields::default();
        fields.add(b"X-A", b"1");
        fields.add(b"X-B", b"2");
        let edits = HeaderEdits {
            remove: vec!["x-a".into()],
            set: vec![("x-b".into(), "3".into()), ("x-a".into(), "4".into())],
            add: vec![("x-b".into(), "5".into())],
        };
        apply_edits(&edits, &mut fields);
        let mut out = Vec::new();
        fields.write_to(&mut out);
        assert_eq!(out, b"X-B: 3\r\nx-a: 4\r\nx-b: 5\r\n");
    }
}
