//! Where a request goes and what its head says there: the target, `Host`, and all that the gateway adds.

use super::client::Client;
use super::edits;
use super::request_head::{self, Onward};
use crate::exchange::Transaction;
use crate::http::fields::FieldName;
use crate::http::framing::Body;
use crate::plan::{HostHeader, PathEdit, Proxy, RoutePlan};
use crate::route::edit;

/// What is known of a request beyond its transaction.
pub struct Forward<'a> {
    pub client: Client,
    /// The peer's address as text.
    pub peer: &'a str,
    /// As the client named it; empty: HTTP/1.0 without `Host`.
    pub client_host: &'a [u8],
    pub body: Body,
    /// The protocol of an upgrade that is passed on.
    pub upgrade: Option<&'a [u8]>,
    /// The target's host, and its port where it is not 80.
    pub authority: &'a str,
}

/// Makes the client's head the upstream's, and appends the target that it is asked for to `out`.
pub fn prepare(
    transaction: &mut Transaction,
    route: &RoutePlan,
    proxy: &Proxy,
    forward: &Forward<'_>,
    out: &mut Vec<u8>,
) {
    let (path, captures) = (transaction.path(), &transaction.captures);
    let mut prefix_bytes = 0;
    match (&transaction.edits.path, &proxy.path) {
        (Some(path), _) => out.extend_from_slice(path),
        (None, PathEdit::Keep) => out.extend_from_slice(path),
        (None, PathEdit::StripPrefix) => {
            edit::strip_prefix(path, captures, out);
            prefix_bytes = captures.prefix_len();
        }
        (None, PathEdit::Rewrite(template)) => edit::expand(template, path, captures, out),
    }
    transaction.write_query(out);
    let Transaction { request: head, target, id, .. } = transaction;
    let prefix = Some(&target[..prefix_bytes]).filter(|prefix| !prefix.is_empty());
    let Forward { client, peer, client_host, body, upgrade, authority } = *forward;
    request_head::prepare(
        &mut head.fields,
        &Onward { client, peer, request_id: id, client_host, prefix, body, upgrade },
    );
    edits::apply(&route.request_headers, &mut head.fields);
    match &proxy.host {
        HostHeader::Client if !client_host.is_empty() => head.fields.put(FieldName::Host, client_host),
        HostHeader::Literal(host) => head.fields.put(FieldName::Host, host.as_bytes()),
        HostHeader::Upstream | HostHeader::Client => head.fields.put(FieldName::Host, authority.as_bytes()),
    }
}
