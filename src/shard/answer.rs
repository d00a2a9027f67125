//! Answers that the gateway makes itself: problems (RFC 9457), `respond`, `redirect`. The one place that
//! turns an error into a response.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Next};
use super::record::Record;
use super::scratch::Scratch;
use super::scripted::Scripts;
use super::{Shard, connection};
use crate::base::error::{Error, Reason, Retry, Source};
use crate::base::time::imf_fixdate;
use crate::config::plan::{Redirect, Respond, Route};
use crate::http::fields::{Fields, Name};
use crate::http::head::{Method, ResponseHead, Version};
use crate::http::write;
use crate::net::Socket;
use crate::policy::{back, scripted as policy};
use crate::route::edit;
use crate::script::{Content, Hook, Transaction};

/// How long a client that is refused for lack of room may take to accept that.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How many of them are waited for at once. More get their answer and are closed in the same breath: each
/// holds a descriptor, and a flood of them would take those that `max_connections` leaves to the others.
const MOST_REFUSING: usize = 128;

/// Ends a request with an error: a problem document where one can still be sent.
pub async fn refuse(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &mut Record,
    error: Error,
) -> Next {
    let request_id = String::from_utf8_lossy(&scratch.transaction.id);
    tracing::debug!(%request_id, %error, "answered by the gateway");
    if let (Source::Upstream, Some(target)) = (error.source, &record.target) {
        target.metrics.failure(error.reason);
    }
    record.reason = Some(error.reason);
    // Between an interim head and the final one there is no status yet.
    if !record.head_sent || record.status == 0 {
        record.status = error.reason.status();
    }
    if record.head_sent {
        return Next::Abort;
    }
    if error.reason == Reason::ClientClosed {
        return Next::Close;
    }
    let Scratch { transaction, onward, .. } = &mut *scratch;
    if transaction.id.is_empty() {
        connection.shard.ids.borrow_mut().write(&mut transaction.id);
    }
    let fields = begin(&mut transaction.response, error.reason.status());
    fields.add(b"Content-Type", b"application/problem+json");
    if error.source == Source::Upstream || error.reason == Reason::NoTarget {
        fields.add(b"Proxy-Status", proxy_status(&error).as_bytes());
    }
    if error.reason == Reason::MethodNotAllowed {
        fields.add(b"Allow", onward);
    }
    fields.add(b"X-Request-Id", &transaction.id);
    // After a head or body that made no sense, nothing that follows does.
    record.keep_alive &= !matches!(
        error.reason,
        Reason::BadRequest
            | Reason::RequestTimeout
            | Reason::BodyTooLarge
            | Reason::UriTooLong
            | Reason::HeadersTooLarge
            | Reason::Overloaded
    );
    let body = problem(&error, &transaction.id);
    send(connection, scratch, record, &body).await.unwrap_or(Next::Close)
}

/// Makes `response` an empty one with this status.
fn begin(response: &mut ResponseHead, status: u16) -> &mut Fields {
    response.clear();
    response.set_status(status);
    &mut response.fields
}

/// A route's `respond`.
///
/// # Errors
/// When a script fails, or the client has gone.
pub async fn respond(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &mut Record,
    route: &Route,
    respond: &Respond,
    scripts: Option<Scripts<'_>>,
) -> Result<Next, Error> {
    let fields = begin(&mut scratch.transaction.response, respond.status);
    if let Some(content_type) = &respond.content_type {
        fields.add(b"Content-Type", content_type.as_bytes());
    }
    own(connection, scratch, record, route, &respond.body, scripts).await
}

/// A route's `redirect`.
///
/// # Errors
/// When a script fails, or the client has gone.
pub async fn redirect(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &mut Record,
    route: &Route,
    redirect: &Redirect,
    scripts: Option<Scripts<'_>>,
) -> Result<Next, Error> {
    let Scratch { transaction, onward, .. } = &mut *scratch;
    let Transaction { target, path_bytes, captures, response, .. } = transaction;
    edit::expand(&redirect.to, &target[..*path_bytes], captures, onward);
    let keeps_query = !onward.contains(&b'?');
    if keeps_query {
        onward.extend_from_slice(&target[*path_bytes..]);
    }
    begin(response, redirect.status).add(b"Location", onward);
    own(connection, scratch, record, route, b"", scripts).await
}

/// What a request script has answered.
///
/// # Errors
/// When the client has gone.
pub async fn scripted(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &mut Record,
    route: &Route,
) -> Result<Next, Error> {
    let Transaction { response, edits, id, .. } = &mut scratch.transaction;
    let body = edits.response_body.take_changed().unwrap_or_default();
    back::prepare(&mut response.fields, route, id);
    send(connection, scratch, record, &body).await
}

/// A response of the route's own, which its scripts may change.
async fn own(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &mut Record,
    route: &Route,
    body: &[u8],
    scripts: Option<Scripts<'_>>,
) -> Result<Next, Error> {
    let transaction = &mut scratch.transaction;
    let mut changed = None;
    if let Some(scripts) = scripts {
        scripts.on_response(Hook::Response, transaction)?;
        let response_body = &mut transaction.edits.response_body;
        if !response_body.changed {
            *response_body = Content::buffered(body.to_vec());
        }
        if policy::may_be_whole(transaction.response.status()) {
            scripts.on_response(Hook::ResponseBody, transaction)?;
        }
        changed = transaction.edits.response_body.take_changed();
        if changed.is_some() {
            policy::forget_bytes(&mut transaction.response.fields);
        }
    }
    back::prepare(&mut transaction.response.fields, route, &transaction.id);
    send(connection, scratch, record, changed.as_deref().unwrap_or(body)).await
}

/// Sends the response that stands in the transaction, with this body, and says what becomes of the connection.
async fn send(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &mut Record,
    body: &[u8],
) -> Result<Next, Error> {
    connection.discard_buffered_body();
    let rest_unread = !connection.body.is_done();
    let keep = record.keep_alive && !rest_unread && !connection.shard.draining.get();
    let shard = connection.shard.clone();
    let Transaction { request, response, .. } = &mut scratch.transaction;
    add_date(&mut response.fields, &shard);
    let status = response.status();
    let mut out = shard.buffers.small();
    write::status_line(&mut out, status, response.reason());
    response.fields.write_to(&mut out);
    let bodiless = matches!(status, 100..=199 | 204 | 304);
    if !bodiless {
        out.extend_from_slice(b"Content-Length: ");
        write::decimal(&mut out, body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    write_connection(&mut out, keep, request.version());
    out.extend_from_slice(b"\r\n");
    if !bodiless && request.method() != Method::Head {
        out.extend_from_slice(body);
    }
    record.head_sent = true;
    record.status = status;
    let written = connection.socket.write_all(out, record.live.plan.server.limits.body_timeout).await;
    record.bytes_out += written.sent_bytes as u64;
    shard.buffers.give_back(written.buffer);
    written.result.map_err(|_| Error::client(Reason::ClientClosed, "the client left during its answer"))?;
    Ok(match (keep, rest_unread || !connection.input.is_empty()) {
        (true, _) => Next::KeepAlive,
        (false, false) if record.reason.is_none() => Next::Close,
        // What was refused may still be coming in.
        (false, _) => Next::Linger,
    })
}

/// Adds `Date` where a response has none (RFC 9110, 6.6.1).
pub fn add_date(fields: &mut Fields, shard: &Shard) {
    if fields.get(Name::Date).is_none() {
        let now_s = shard.clock.unix_ms(Instant::now()) / 1000;
        fields.add(b"Date", &imf_fixdate(now_s));
    }
}

/// `Connection`, where it says something that the version does not.
pub fn write_connection(out: &mut Vec<u8>, keep: bool, version: Version) {
    match (keep, version) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
}

/// Closes a connection that is one too many, with a word.
pub async fn refuse_connection(shard: Rc<Shard>, socket: Socket, peer: IpAddr) {
    let mut connection = Connection::new(shard.clone(), socket, peer);
    let mut scratch = shard.take_scratch();
    let mut record = Record::new(shard.live(), peer.to_canonical());
    let error = Error::gateway(Reason::Overloaded, "max_connections is reached");
    let turn = Refusing::new(&shard);
    let refusing = refuse(&mut connection, &mut scratch, &mut record, error);
    let refused = monoio::time::timeout(REFUSAL_TIMEOUT, refusing).await;
    record.finish(&shard, &mut scratch);
    shard.give_back_scratch(scratch);
    if refused.is_ok() && turn.is_patient {
        connection::linger(&mut connection).await;
    }
}

/// Counts a connection that is being refused.
struct Refusing<'a> {
    count: &'a Cell<usize>,
    /// There is room to wait until the client has noticed.
    is_patient: bool,
}

impl<'a> Refusing<'a> {
    fn new(shard: &'a Shard) -> Refusing<'a> {
        let count = &shard.refusing;
        count.set(count.get() + 1);
        Refusing { count, is_patient: count.get() <= MOST_REFUSING }
    }
}

impl Drop for Refusing<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

/// The problem document (RFC 9457).
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    error: &'static str,
    reason: &'static str,
    request_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

fn problem(error: &Error, request_id: &[u8]) -> Vec<u8> {
    let status = error.reason.status();
    let document = Problem {
        r#type: "about:blank",
        title: write::reason_phrase(status),
        status,
        error: error.reason.error(),
        reason: error.reason.as_str(),
        request_id: String::from_utf8_lossy(request_id),
        // What an upstream did is for the log; what the client did is for the client.
        detail: (error.source == Source::Client)
            .then_some(&*error.detail)
            .filter(|detail| !detail.is_empty()),
    };
    let mut body = serde_json::to_vec(&document).expect("strings and a number always serialise");
    body.push(b'\n');
    body
}

/// `Proxy-Status` (RFC 9209, 2.3) of an error on the upstream's side.
fn proxy_status(error: &Error) -> String {
    let kind = match (error.reason, error.retry) {
        (Reason::UpstreamConnect, _) => "connection_refused",
        (Reason::UpstreamReset, _) => "connection_terminated",
        (Reason::UpstreamProtocol, _) => "http_protocol_error",
        (Reason::UpstreamTimeout, Retry::Safe) => "connection_timeout",
        (Reason::UpstreamTimeout, _) => "http_response_timeout",
        (Reason::NoTarget, _) => "destination_unavailable",
        _ => "proxy_internal_error",
    };
    format!("ringway; error={kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_the_reason_and_keeps_upstream_details_to_itself() {
        let error = Error::upstream(Reason::UpstreamReset, Retry::Never, "10.0.0.7 closed");
        let document: serde_json::Value =
            serde_json::from_slice(&problem(&error, b"id-1")).expect("valid JSON");
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Bad Gateway", "status": 502, "error": "Bad gateway",
            "reason": "upstream_reset", "requestId": "id-1",
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn proxy_status_tells_a_connect_timeout_from_a_slow_answer() {
        let timeout = |retry| proxy_status(&Error::upstream(Reason::UpstreamTimeout, retry, ""));
        assert_eq!(timeout(Retry::Safe), "ringway; error=connection_timeout");
        assert_eq!(timeout(Retry::Never), "ringway; error=http_response_timeout");
    }
}
