//! A request to an upstream: the endpoint and connection it goes over, the head it gets, and the replay on a fresh
//! connection when a pooled one turns out to be dead.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::slice;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::tunnel;
use crate::balance;
use crate::base::error::{Error, Reason, Retry};
use crate::exchange::Transaction;
use crate::http::body::{BodyError, BodyReader};
use crate::http::framing::Body;
use crate::http::{path, write};
use crate::net::buffers::SMALL_BYTES;
use crate::pipeline::client::Client;
use crate::pipeline::forward::{self, Forward};
use crate::pipeline::script::RouteScripts;
use crate::plan::{Balance, HashOn, Proxy, RoutePlan};
use crate::shard::Shard;
use crate::shard::buffers::RequestBuffers;
use crate::shard::h1::connection::{Connection, Next};
use crate::shard::proxy::request_body::{self, Stop};
use crate::shard::proxy::response::{End, Responder};
use crate::shard::request::RequestMeta;
use crate::shard::request_log::RequestLog;
use crate::upstream::{Endpoint, InFlight, Upstream, UpstreamConnection};

/// A request that a route proxies.
pub struct Request<'a> {
    pub asked: RequestMeta,
    pub route: &'a RoutePlan,
    pub proxy: &'a Proxy,
    pub scripts: Option<RouteScripts<'a>>,
}

/// What stays the same over all attempts of an exchange.
pub struct Exchange<'a> {
    pub shard: &'a Shard,
    pub route: &'a RoutePlan,
    pub scripts: Option<RouteScripts<'a>>,
    pub upstream: &'a Upstream,
    /// The client offered to change protocols, and the upstream was told.
    pub upgrade: bool,
    /// When the route's `timeout` ends all of it.
    pub until: Option<Instant>,
}

impl Exchange<'_> {
    /// A timeout of a single step, cut to what is left of the whole exchange.
    pub fn within(&self, timeout: Duration) -> Duration {
        self.until.map_or(timeout, |until| timeout.min(until.saturating_duration_since(Instant::now())))
    }
}

/// Sends a request to its upstream and the response to its client.
///
/// # Errors
/// Whatever kept the exchange from completing; `record.head_sent` tells whether it can still be answered.
pub async fn proxy(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    mut request: Request<'_>,
) -> Result<Next, Error> {
    let (shard, live) = (connection.shard.clone(), record.live.clone());
    let upstream = &live.upstreams[buffers.transaction.edits.upstream.unwrap_or(request.proxy.upstream)];
    record.upstream = Some(upstream.clone());
    let exchange = Exchange {
        shard: &shard,
        route: request.route,
        scripts: request.scripts,
        upstream,
        upgrade: request.asked.upgrade.is_some(),
        // Not from the head's first byte: a slow client would make the upstream look late.
        until: request.route.timeout.map(|timeout| Instant::now() + timeout),
    };
    let key = hash_key(upstream, &buffers.transaction, request.asked.client);
    let Reached { endpoint, connection: connected, _in_flight } = reach(record, &exchange, key).await?;
    prepare(buffers, &request, &endpoint, &connection.peer_text);
    let mut out = shard.buffers.small();
    let RequestBuffers { transaction, onward, .. } = &*buffers;
    let head = &transaction.request;
    write::request_head(&mut out, head.method_bytes(), onward, &head.fields);
    let mut rest = Vec::new();
    match &mut request.asked.whole_body {
        Some(whole) if out.len() + whole.bytes.len() <= FIRST_BYTES => out.extend_from_slice(&whole.bytes),
        Some(whole) => rest = std::mem::take(&mut whole.bytes),
        None if request.asked.expects_continue => {}
        None => take_body_prefix(connection, record, &mut out)?,
    }
    attempts(connection, buffers, record, &exchange, (&endpoint, connected), ToSend { first: out, rest })
        .await
}

/// An endpoint with a connection for the first attempt.
struct Reached {
    endpoint: Rc<Endpoint>,
    connection: UpstreamConnection,
    _in_flight: InFlight,
}

/// Picks an endpoint and takes a connection to it; one that cannot be connected to is replaced by another, once.
async fn reach(record: &mut RequestLog, exchange: &Exchange<'_>, key: u64) -> Result<Reached, Error> {
    let (upstream, deadlines) = (exchange.upstream, &exchange.shard.deadlines);
    let mut endpoint = upstream.pick(key, &[])?;
    loop {
        record.target = Some(endpoint.clone());
        let in_flight = endpoint.begin_exchange();
        if let Some(connection) = endpoint.pooled(deadlines.now_ms()) {
            return Ok(Reached { endpoint, connection, _in_flight: in_flight });
        }
        let timeout = exchange.within(upstream.plan.connect_timeout);
        let error = match Box::pin(endpoint.connect(timeout, deadlines)).await {
            Ok(connection) => return Ok(Reached { endpoint, connection, _in_flight: in_flight }),
            Err(error) => error,
        };
        let is_first = record.retries == 0;
        let Some(other) = upstream.pick(key, slice::from_ref(&endpoint)).ok().filter(|_| is_first) else {
            return Err(error);
        };
        record.retries += 1;
        endpoint.metrics.failure(error.reason);
        endpoint.metrics.retried();
        endpoint = other;
    }
}

/// How much of a request may go in its first write.
const FIRST_BYTES: usize = 2 * SMALL_BYTES;

/// A request as each attempt sends it.
struct ToSend {
    /// The head, with what fits behind it of the body.
    first: Vec<u8>,
    /// The body, where it was read as a whole and does not fit: sent while the answer is awaited, since an upstream
    /// may answer before it has taken all.
    rest: Vec<u8>,
}

/// Tries a pooled connection, and once more a fresh one if that was dead before it could answer.
async fn attempts(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    exchange: &Exchange<'_>,
    (endpoint, connected): (&Rc<Endpoint>, UpstreamConnection),
    mut to_send: ToSend,
) -> Result<Next, Error> {
    let shard = exchange.shard;
    let mut connected = Some(connected);
    loop {
        let upstream = match connected.take() {
            Some(connected) => connected,
            None => {
                let timeout = exchange.within(exchange.upstream.plan.connect_timeout);
                Box::pin(endpoint.connect(timeout, &shard.deadlines)).await?
            }
        };
        let replayable = connection.body.is_done();
        // On a fresh connection this is the last attempt.
        let rest = if upstream.reused { to_send.rest.clone() } else { std::mem::take(&mut to_send.rest) };
        let first = std::mem::take(&mut to_send.first);
        let (result, first) = attempt(connection, buffers, record, exchange, &upstream, first, rest).await;
        to_send.first = first;
        let Err(error) = result else {
            shard.buffers.give_back(to_send.first);
            return result;
        };
        let safe = match error.retry {
            Retry::Safe => true,
            Retry::IfIdempotent => upstream.reused && buffers.transaction.request.method().is_idempotent(),
            Retry::Never => false,
        };
        if !(safe && replayable && upstream.reused && !record.head_sent) {
            shard.buffers.give_back(to_send.first);
            return Err(error);
        }
        record.retries += 1;
        endpoint.metrics.retried();
    }
}

/// One attempt over one connection: sends `first`, then both directions at once until the response is complete.
async fn attempt(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    exchange: &Exchange<'_>,
    upstream: &UpstreamConnection,
    first: Vec<u8>,
    mut rest: Vec<u8>,
) -> (Result<Next, Error>, Vec<u8>) {
    let began = Instant::now();
    record.upstream_time = None;
    let idle_timeout = exchange.within(exchange.upstream.plan.idle_timeout);
    let written = upstream.socket.write_all(first, idle_timeout).await;
    if written.result.is_err() && written.sent_bytes == 0 {
        let error =
            Error::upstream(Reason::UpstreamReset, Retry::Safe, "the upstream took no byte of the request");
        return (Err(error), written.buffer);
    }
    let Connection { socket, input, body, .. } = connection;
    let is_here = !rest.is_empty();
    let mut rest_body = BodyReader::new(Body::Length(rest.len() as u64), u64::MAX, 0);
    let (input, body) = if is_here { (&mut rest, &mut rest_body) } else { (input, body) };
    let live = record.live.clone();
    let limits = &live.plan.server.limits;
    let bytes_in = Cell::new(0_usize);
    let pumping = Cell::new(!body.is_done() && written.result.is_ok());
    let RequestBuffers { transaction, told, .. } = buffers;
    let responder = Responder {
        exchange,
        client: socket,
        upstream: &upstream.socket,
        began,
        limits,
        told,
        method: transaction.request.method(),
        version: transaction.request.version(),
        pumping: &pumping,
        answered: Cell::new(false),
        refused: Cell::new(false),
    };
    let end = if pumping.get() {
        let uploading =
            request_body::pump(exchange, limits, socket, &upstream.socket, input, body, &bytes_in);
        let downloading = responder.run(transaction, record);
        Box::pin(both(uploading, downloading, &responder)).await
    } else {
        responder.request_sent();
        responder.run(transaction, record).await
    };
    if !is_here {
        record.add_in(bytes_in.get());
    }
    // An upload cut short has lost bytes, or left some of the body in `input`: where the next request
    // begins nobody knows, and guessing would let a body speak as a request.
    record.keep_alive &= !pumping.get();
    // Without a response head: until the attempt failed.
    record.upstream_time.get_or_insert_with(|| began.elapsed());
    let result = match end {
        Ok(End::Complete { reusable, keep_alive }) => {
            let sent = connection.body.is_done() && !pumping.get() && written.result.is_ok();
            if sent
                && reusable
                && let Some(endpoint) = &record.target
            {
                endpoint.release(upstream.socket.clone(), exchange.shard.deadlines.now_ms());
            }
            Ok(match (sent, keep_alive) {
                (true, true) => Next::KeepAlive,
                (true, false) => Next::Close,
                (false, _) => Next::Linger,
            })
        }
        Ok(End::Upgraded { first }) => {
            let idle_timeout = exchange.upstream.plan.idle_timeout;
            Box::pin(tunnel::run(exchange.shard, connection, &upstream.socket, first, idle_timeout, record))
                .await;
            Ok(Next::Close)
        }
        Err(error) => {
            // An orderly close would leave it writing to nobody.
            upstream.socket.abort();
            Err(error)
        }
    };
    (result, written.buffer)
}

/// Runs the upload beside the response. The response decides when it is over; an upload that the client
/// spoils ends both, unless it was refused already; one that the upstream no longer takes does not.
async fn both(
    upload: impl Future<Output = Result<(), Stop>>,
    response: impl Future<Output = Result<End, Error>>,
    responder: &Responder<'_>,
) -> Result<End, Error> {
    let (mut upload, mut response) = (pin!(upload), pin!(response));
    let mut uploading = true;
    poll_fn(|cx| {
        if uploading && let Poll::Ready(result) = upload.as_mut().poll(cx) {
            uploading = false;
            match result {
                Ok(()) => responder.request_sent(),
                // To stop is what it should do then, and it still is to get the answer.
                Err(Stop::Client(_)) if responder.refused.get() => {}
                Err(Stop::Client(error)) => return Poll::Ready(Err(error)),
                // It may have answered before it stopped reading, or be about to.
                Err(Stop::Upstream) => responder.await_head(),
            }
        }
        response.as_mut().poll(cx)
    })
    .await
}

/// Makes the client's head the upstream's.
fn prepare(buffers: &mut RequestBuffers, request: &Request<'_>, endpoint: &Endpoint, peer: &str) {
    let RequestBuffers { transaction, onward, client_host, .. } = buffers;
    let forward = Forward {
        client: request.asked.client,
        peer,
        client_host,
        body: request.asked.body,
        upgrade: request.asked.upgrade.as_deref(),
        authority: &endpoint.authority,
    };
    forward::prepare(transaction, request.route, request.proxy, &forward, onward);
}

/// Puts what has already arrived of the body behind the head, so that most requests are one write.
fn take_body_prefix(
    connection: &mut Connection,
    record: &RequestLog,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let room = FIRST_BYTES.saturating_sub(out.len());
    let here = connection.input.len().min(room);
    let taken = connection.body.take(&connection.input[..here]).map_err(body_refusal)?;
    out.extend_from_slice(&connection.input[..taken]);
    connection.consume(taken);
    record.add_in(taken);
    Ok(())
}

/// A request body that cannot go on, as the client's error.
pub fn body_refusal(error: BodyError) -> Error {
    match error {
        BodyError::Bad(detail) => Error::client(Reason::BadRequest, detail),
        BodyError::TooLarge => Error::client(Reason::BodyTooLarge, "the body is over body_bytes"),
    }
}

/// What `hash_on` selects of this request, hashed; 0 for every other way of balancing.
fn hash_key(upstream: &Upstream, transaction: &Transaction, client: Client) -> u64 {
    let Balance::Hash(on) = &upstream.plan.balance else { return 0 };
    let fields = &transaction.request.fields;
    let ip = || balance::hash_key(client.ip.to_string().as_bytes());
    match on {
        HashOn::Ip => ip(),
        HashOn::Consumer => {
            let consumer = transaction.consumer.as_ref();
            consumer.map_or_else(ip, |consumer| balance::hash_key(consumer.name.as_bytes()))
        }
        HashOn::Path => balance::hash_key(transaction.path()),
        HashOn::Header(name) => balance::hash_key(fields.find(name.as_bytes()).unwrap_or_default()),
        HashOn::Cookie(name) => balance::hash_key(fields.cookie(name.as_bytes()).unwrap_or_default()),
        HashOn::Query(name) => {
            let value = path::query_pairs(transaction.query()).find(|(key, _)| *key == name.as_bytes());
            balance::hash_key(value.map(|(_, value)| value).unwrap_or_default())
        }
    }
}
