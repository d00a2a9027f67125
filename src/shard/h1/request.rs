//! One request on a client connection: its head read and refused or understood, then served, then what becomes of the
//! connection.

use std::pin::pin;

use super::connection::{Connection, Next, ReadHead};
use super::{WireBody, WireResponse};
use crate::base::error::{Error, Reason};
use crate::exchange::Transaction;
use crate::http::body::BodyReader;
use crate::http::framing;
use crate::http::head::{self, HeadLimits, Method};
use crate::pipeline::receive::{receive, refused_head};
use crate::shard::fence::fenced;
use crate::shard::protocol::{BodySource, ResponseSink};
use crate::shard::proxy::tunnel::Tunnel;
use crate::shard::serve::{self, Served};
use crate::shard::turn::{OpenTurn, Turn};

/// Reads one request and sees to it that it is answered, counted and logged.
pub async fn serve_one(connection: &mut Connection) -> Next {
    let mut turn = OpenTurn::begin(&connection.shard, connection.peer.ip);
    let shard = connection.shard.clone();
    let read = fenced(&shard, pin!(read(connection, &mut turn))).await;
    let keep_alive = match read.unwrap_or_else(|panicked| Err(panicked.into())) {
        Ok(Received::Request { keep_alive }) => Ok(keep_alive),
        Ok(Received::Nothing(next)) => {
            turn.release();
            return next;
        }
        Ok(Received::Refused { error, keep_alive }) => Err((error, keep_alive)),
        // Where the next request begins nobody knows.
        Err(error) => Err((error, false)),
    };
    turn.has_request = true;
    let Connection { shard, socket, input, body, .. } = &mut *connection;
    let (request, limits) = (&turn.buffers.transaction.request, &turn.live.plan.server.limits);
    let mut sink = ResponseSink::Http1(WireResponse {
        shard,
        socket,
        version: request.version(),
        timeout: limits.body_timeout,
        keep_alive: match &keep_alive {
            Ok(keep_alive) | Err((_, keep_alive)) => *keep_alive,
        },
        head_sent: false,
    });
    let mut source = BodySource::Http1(WireBody {
        shard,
        socket,
        timeout: limits.body_timeout,
        awaits_continue: turn.buffers.transaction.meta.expects_continue,
        input,
        body,
    });
    let served = match keep_alive {
        Ok(_) => serve::serve(&mut turn, &mut source, &mut sink).await,
        Err((error, _)) => Box::pin(serve::refuse(&mut turn, &mut source, &mut sink, error)).await,
    };
    drop(source);
    let keep_alive = sink.keeps_connection();
    let next = match served {
        Served::Complete => next(connection, &turn, keep_alive),
        Served::CutShort => Next::Abort,
        Served::ClientGone => Next::Close,
        Served::Upgraded(upgraded) => {
            return Next::Tunnel(Box::new(Tunnel { upgraded, record: turn.into_record() }));
        }
    };
    turn.finish();
    next
}

/// What becomes of the connection after a complete answer.
fn next(connection: &Connection, turn: &Turn, keep_alive: bool) -> Next {
    let unread = !connection.body.is_done() || !connection.input.is_empty();
    match keep_alive {
        true if !connection.body.is_done() => Next::Discard,
        true => Next::KeepAlive,
        // What was refused may still be coming in.
        false if unread || turn.log.reason.is_some() => Next::Linger,
        false => Next::Close,
    }
}

/// What has come over a connection.
enum Received {
    /// A request. `keep_alive`: its client would have the connection kept.
    Request {
        keep_alive: bool,
    },
    /// One that is refused, although it is in order.
    Refused {
        error: Error,
        keep_alive: bool,
    },
    Nothing(Next),
}

/// Reads a head and all that it decides: framing, who is asking, id, host, path.
async fn read(connection: &mut Connection, turn: &mut Turn) -> Result<Received, Error> {
    let server = &turn.live.plan.server;
    let limits = &server.limits;
    let head_limits = HeadLimits { bytes: limits.header_bytes, count: limits.header_count };
    let head_bytes = match connection.read_head(&head_limits, limits.header_timeout).await? {
        ReadHead::Whole(bytes) => bytes,
        ReadHead::EmptyLine => return Ok(Received::Nothing(Next::Wait)),
        ReadHead::Closed => return Ok(Received::Nothing(Next::Close)),
    };
    turn.has_request = true;
    turn.log.add_in(head_bytes);
    let transaction = &mut turn.buffers.transaction;
    let parsed = head::parse_request(&connection.input[..head_bytes], &head_limits, &mut transaction.request);
    connection.consume(head_bytes);
    parsed.map_err(refused_head)?;

    let Transaction { request, meta, .. } = &mut *transaction;
    meta.body = framing::request_body(request).map_err(refused_head)?;
    meta.expects_continue = framing::expects_continue(request);
    meta.upgrade.extend_from_slice(framing::upgrade(request).unwrap_or_default());
    connection.body =
        BodyReader::new(meta.body, limits.body_bytes, limits.header_bytes).forbid_trailers(&turn.live.owned);
    let keep_alive =
        framing::wants_keep_alive(request.version(), &request.fields) && request.method() != Method::Connect;

    let new_id = |out: &mut Vec<u8>| connection.shard.ids.borrow_mut().write(out);
    let received = receive(transaction, &connection.peer, server, new_id);
    turn.log.client_ip = transaction.meta.client.ip;
    match received {
        Err(error) if error.reason == Reason::BodyTooLarge => {
            return Ok(Received::Refused { error, keep_alive });
        }
        received => received?,
    }
    Ok(Received::Request { keep_alive })
}
