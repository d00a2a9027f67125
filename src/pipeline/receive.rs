//! What is decided of every request before a route is looked for: who is asking, the request's id, its host and path.

use crate::base::error::{Error, Reason};
use crate::exchange::{Client, Peer, Transaction};
use crate::http::fields::FieldName;
use crate::http::framing::Body;
use crate::http::head::{HeadError, Method};
use crate::http::{host as host_field, path};
use crate::plan::Server;

/// Fills in what `transaction.request` says, and who says it. The protocol has set `meta.body` already. `new_id` appends
/// an id, where no trusted proxy has given one.
///
/// # Errors
/// A host or target that is malformed, a body that is announced as too long, CONNECT.
pub fn receive(
    transaction: &mut Transaction,
    peer: &Peer,
    server: &Server,
    new_id: impl FnOnce(&mut Vec<u8>),
) -> Result<(), Error> {
    let Transaction { request, meta, id, origin, host, target, .. } = &mut *transaction;
    let client = Client::of(peer.ip, &request.fields, &server.trusted_proxies);
    meta.client = client;
    meta.peer.extend_from_slice(peer.text.as_bytes());
    meta.host.extend_from_slice(request.fields.get(FieldName::Host).unwrap_or_default());
    // Before anything can edit the field.
    origin.extend_from_slice(request.fields.get(FieldName::Origin).unwrap_or_default());
    match client.request_id(&request.fields) {
        Some(said) => id.extend_from_slice(said),
        None => new_id(id),
    }
    let method = request.method();
    if method == Method::Connect {
        let mut error = Error::client(Reason::MethodNotAllowed, "CONNECT is not for a gateway");
        error.fields.push(("Allow", String::new()));
        return Err(error);
    }
    host_field::request_host(request, host).map_err(refused_head)?;
    let normal = path::normalise(request.target(), method, target).map_err(refused_head)?;
    transaction.path_bytes = normal.path_len;
    if matches!(transaction.meta.body, Body::Length(bytes) if bytes > server.limits.body_bytes) {
        return Err(Error::client(Reason::BodyTooLarge, "Content-Length is over body_bytes"));
    }
    Ok(())
}

/// A request head that is refused, as the client's error.
pub fn refused_head(error: HeadError) -> Error {
    match error {
        HeadError::Bad(detail) => Error::client(Reason::BadRequest, detail),
        HeadError::UriTooLong => Error::client(Reason::UriTooLong, "the request line is over header_bytes"),
        HeadError::TooLarge(detail) => Error::client(Reason::HeadersTooLarge, detail),
    }
}
