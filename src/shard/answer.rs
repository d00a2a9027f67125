//! Answers that the gateway makes itself, sent: problems, `respond`, `redirect`, what scripts say.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Shard;
use super::buffers::RequestBuffers;
use super::h1::connection;
use super::h1::connection::{Connection, Next};
use super::request_log::RequestLog;
use crate::base::error::{Error, FaultOrigin, Reason};
use crate::base::time::imf_fixdate;
use crate::exchange::Transaction;
use crate::http::fields::{FieldName, Fields};
use crate::http::head::{Method, Version};
use crate::http::write;
use crate::net::Socket;
use crate::pipeline::script::RouteScripts;
use crate::pipeline::{answer, cors, response_head, scripted};
use crate::plan::{Cors, Redirect, Respond, RoutePlan};

/// How long a client that is refused for lack of room may take to accept that.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How many of them are waited for at once. More get their answer and are closed in the same breath: each
/// holds a descriptor, and a flood of them would take those that `max_connections` leaves to the others.
const MAX_REFUSING: usize = 128;

/// Ends a request with an error: a problem document where one can still be sent.
pub async fn refuse(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    error: Error,
) -> Next {
    let request_id = String::from_utf8_lossy(&buffers.transaction.id);
    tracing::debug!(%request_id, %error, "answered by the gateway");
    if let (FaultOrigin::Upstream, Some(target)) = (error.source, &record.target) {
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
    let RequestBuffers { transaction, onward, told, .. } = &mut *buffers;
    if transaction.id.is_empty() {
        connection.shard.ids.borrow_mut().write(&mut transaction.id);
    }
    let body = answer::problem(transaction, &error, onward);
    if let Some(route) = record.route {
        let Transaction { response, origin, .. } = &mut *transaction;
        response_head::tell(origin, &mut response.fields, &record.live.routes[route].plan);
    }
    told.write_to(&mut transaction.response.fields);
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
    send(connection, buffers, record, &body).await.unwrap_or(Next::Close)
}

/// The answer to a preflight.
///
/// # Errors
/// When the client has gone.
pub async fn preflight(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    cors: &Cors,
) -> Result<Next, Error> {
    let Transaction { response, id, origin, .. } = &mut buffers.transaction;
    cors::answer(cors, origin, response);
    response.fields.put(FieldName::XRequestId, id);
    send(connection, buffers, record, b"").await
}

/// A route's `respond`.
///
/// # Errors
/// When a script fails, or the client has gone.
pub async fn respond(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    route: &RoutePlan,
    respond: &Respond,
    scripts: Option<RouteScripts<'_>>,
) -> Result<Next, Error> {
    answer::respond(&mut buffers.transaction, respond);
    own(connection, buffers, record, route, &respond.body, scripts).await
}

/// A route's `redirect`.
///
/// # Errors
/// When a script fails, or the client has gone.
pub async fn redirect(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    route: &RoutePlan,
    redirect: &Redirect,
    scripts: Option<RouteScripts<'_>>,
) -> Result<Next, Error> {
    answer::redirect(&mut buffers.transaction, redirect, &mut buffers.onward);
    own(connection, buffers, record, route, b"", scripts).await
}

/// What a request script has answered.
///
/// # Errors
/// When the client has gone.
pub async fn scripted(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    route: &RoutePlan,
) -> Result<Next, Error> {
    let RequestBuffers { transaction, told, .. } = &mut *buffers;
    let body = transaction.edits.response_body.take_changed().unwrap_or_default();
    told.write_to(&mut transaction.response.fields);
    response_head::prepare(transaction, route);
    send(connection, buffers, record, &body).await
}

/// A response of the route's own, which its scripts may change.
async fn own(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    route: &RoutePlan,
    body: &[u8],
    scripts: Option<RouteScripts<'_>>,
) -> Result<Next, Error> {
    let transaction = &mut buffers.transaction;
    let changed = match scripts {
        Some(scripts) => scripts.on_own(transaction, body)?,
        None => None,
    };
    buffers.told.write_to(&mut buffers.transaction.response.fields);
    response_head::prepare(&mut buffers.transaction, route);
    send(connection, buffers, record, changed.as_deref().unwrap_or(body)).await
}

/// Sends the response that stands in the transaction, with this body, and says what becomes of the connection.
async fn send(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    body: &[u8],
) -> Result<Next, Error> {
    connection.discard_buffered_body();
    let rest_unread = !connection.body.is_done();
    let keep = record.keep_alive && !rest_unread && !connection.shard.draining.get();
    let shard = connection.shard.clone();
    let Transaction { request, response, .. } = &mut buffers.transaction;
    add_date(&mut response.fields, &shard);
    let status = response.status();
    let mut out = shard.buffers.small();
    write::status_line(&mut out, status, response.reason());
    response.fields.write_to(&mut out);
    let bodiless = scripted::is_bodiless(status);
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
    if fields.get(FieldName::Date).is_none() {
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
    let mut buffers = shard.take_request_buffers();
    let mut record = RequestLog::new(shard.live(), peer.to_canonical());
    let error = Error::gateway(Reason::Overloaded, "max_connections is reached");
    let turn = Refusing::new(&shard);
    let refusing = refuse(&mut connection, &mut buffers, &mut record, error);
    let refused = monoio::time::timeout(REFUSAL_TIMEOUT, refusing).await;
    record.finish(&shard, &mut buffers);
    shard.give_back_request_buffers(buffers);
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
        Refusing { count, is_patient: count.get() <= MAX_REFUSING }
    }
}

impl Drop for Refusing<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}
