//! A request to an upstream: for each attempt an endpoint is picked, a connection leased, and the head rendered for it;
//! then both directions run at once until the response is complete.
//!
//! A request is forwarded at most once per endpoint plus one fresh connection in place of a dead pooled one; what may
//! be repeated is decided in `retry`, and where in `endpoint_choice`. No read or write is dropped half-way: timeouts shut
//! the socket down instead.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::connecting::connect;
use super::endpoint_choice::{ChosenRetry, EndpointChoice};
use super::replay;
use super::request_body::UploadError;
use super::response::{Responder, ResponseEnd};
use super::response_body::left_waiting;
use super::retry::{FailedAttempt, NextAttempt, next_attempt};
use super::tunnel::Upgraded;
use crate::balance;
use crate::base::error::{Error, Reason, Retry};
use crate::exchange::Transaction;
use crate::http::path;
use crate::http::write;
use crate::net::buffers::SMALL_BYTES;
use crate::net::expiry::Expiry;
use crate::pipeline::request_head::UpstreamRequestHead;
use crate::pipeline::steps::RouteContext;
use crate::plan::{Balance, HashOn, Proxy};
use crate::shard::Shard;
use crate::shard::protocol::{BodySource, ResponseSink};
use crate::shard::serve::Served;
use crate::shard::turn::Turn;
use crate::upstream::{InFlight, Upstream, UpstreamConnection};

/// How much of a request may go in its first write.
/// In bytes, head included: nearly all of a small request's cost is the number of writes.
const MAX_FIRST_BYTES: usize = 2 * SMALL_BYTES;

/// What stays the same over all attempts of a request.
pub struct Exchange<'a> {
    pub shard: &'a Shard,
    pub route: &'a RouteContext<'a>,
    pub upstream: &'a Upstream,
    pub choice: EndpointChoice<'a>,
    /// The method is idempotent (RFC 9110, 9.2.2), or the client says that the request is.
    pub is_repeatable: bool,
    /// When the route's `timeout` ends all of it, by the shard's coarse clock. The sockets know it too, so it bounds every
    /// read and write.
    pub until_ms: u64,
}

impl Exchange<'_> {
    /// How long a connect may take.
    fn connect_timeout(&self) -> Duration {
        self.upstream.plan.connect_timeout.min(self.shard.deadlines.left_until(self.until_ms))
    }

    /// How long the upstream may neither take nor send a byte.
    pub fn idle_timeout(&self) -> Duration {
        self.upstream.plan.idle_timeout
    }
}

/// Where the request's body stands, for all that its client sees of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// Some of it is still to be sent.
    Sending,
    /// All of it was taken from the client.
    Complete,
    /// The upstream takes no more of it. It may have answered already, or be about to.
    Stopped,
    /// The client was answered before its body was here, and is to see that the rest is not wanted.
    Unwanted,
}

/// Sends a request to its upstream and the response to its client.
///
/// # Errors
/// Whatever kept the exchange from completing; `sink.head_sent()` tells whether it can still be answered.
pub async fn forward(
    turn: &mut Turn,
    route: &RouteContext<'_>,
    proxy: &Proxy,
    source: &mut BodySource<'_>,
    sink: &mut ResponseSink<'_>,
) -> Result<Served, Error> {
    let (shard, live) = (turn.shard.clone(), turn.live.clone());
    let transaction = &turn.buffers.transaction;
    let upstream = &live.upstreams[transaction.edits.upstream.unwrap_or(proxy.upstream)];
    turn.log.upstream = Some(upstream.clone());
    let in_flight = upstream.begin_request(shard.shards)?;
    let choice = EndpointChoice::new(upstream, hash_key(upstream, transaction));
    turn.buffers.upstream_head.prepare(transaction, route.plan, proxy);
    let is_repeatable = replay::is_repeatable(&upstream.plan.retry, transaction);
    if is_repeatable && upstream.plan.retry.repeats_sent() {
        Box::pin(replay::hold_body(turn, source, sink)).await?;
    }
    upstream.count_request();
    let until_ms = turn.until_ms;
    let exchange = Exchange { shard: &shard, route, upstream, choice, is_repeatable, until_ms };
    let mut first = FirstWrite { bytes: shard.buffers.small(), body_at: None };
    let served = attempts(turn, &exchange, proxy, source, sink, &mut first).await;
    shard.buffers.give_back(first.bytes);
    if let Ok(Served::Upgraded(_)) = served {
        turn.in_flight.upstream = Some(in_flight);
    }
    served
}

/// Attempts until one succeeds or none may follow. Each failed one is counted at its endpoint.
async fn attempts(
    turn: &mut Turn,
    exchange: &Exchange<'_>,
    proxy: &Proxy,
    source: &mut BodySource<'_>,
    sink: &mut ResponseSink<'_>,
    first: &mut FirstWrite,
) -> Result<Served, Error> {
    let shard = exchange.shard;
    let mut endpoint = exchange.choice.first(shard.deadlines.now_ms())?;
    let mut wants_fresh = false;
    loop {
        let pooled = if wants_fresh { None } else { endpoint.pooled(shard.deadlines.now_ms()) };
        turn.log.target = Some(endpoint.clone());
        let in_flight = exchange.upstream.begin_exchange(&endpoint, shard.deadlines.now_ms());
        let connection = match pooled {
            Some(pooled) => Ok(pooled),
            None => {
                let _connecting = shard.begin_connect()?;
                let timeout = exchange.connect_timeout();
                Box::pin(connect(&endpoint, timeout, shard, sink)).await
            }
        };
        let (connected, reused) = (connection.is_ok(), matches!(&connection, Ok(leased) if leased.reused));
        let result = match connection {
            Ok(connection) => {
                let client_host = &turn.buffers.transaction.meta.host;
                turn.buffers.upstream_head.set_host(proxy, client_host, &endpoint.authority);
                first.render(turn, source)?;
                in_flight.connected();
                attempt(turn, exchange, &in_flight, &connection, source, sink, &mut first.bytes).await
            }
            Err(error) => Err(error),
        };
        let other = match result {
            Ok(AttemptEnd::Served(served)) => {
                in_flight.ended(None, shard.deadlines.now_ms());
                return Ok(served);
            }
            Ok(AttemptEnd::Retry(other)) => {
                in_flight.ended(None, shard.deadlines.now_ms());
                drop(in_flight);
                Some(other)
            }
            Err(error) => {
                let failed = FailedAttempt {
                    connected,
                    reused,
                    // What was sent first is gone once an answer was here.
                    can_replay: source.can_replay() && !first.bytes.is_empty(),
                    is_repeatable: exchange.is_repeatable,
                    is_unanswered: !sink.head_sent(),
                    time_left: shard.deadlines.left_until(exchange.until_ms),
                    endpoints_tried: exchange.choice.endpoints_tried(),
                    draw: balance::hash_key(&turn.buffers.transaction.id),
                };
                after_error(exchange, in_flight, error, failed)?
            }
        };
        tracing::debug!(target = %endpoint.url, "trying again");
        source.rewind();
        turn.log.retries += 1;
        endpoint.metrics.retried();
        wants_fresh = other.is_none();
        if let Some(ChosenRetry { endpoint: other, delay }) = other {
            endpoint = other;
            wait(delay, sink).await?;
        }
    }
}

/// What follows an attempt that failed: one at another endpoint, or (`None`) over a fresh connection to the same one.
///
/// # Errors
/// The attempt's own, where none follows.
fn after_error(
    exchange: &Exchange<'_>,
    in_flight: InFlight<'_>,
    error: Error,
    failed: FailedAttempt,
) -> Result<Option<ChosenRetry>, Error> {
    let now_ms = exchange.shard.deadlines.now_ms();
    let next = next_attempt(&exchange.upstream.plan.retry, &error, failed);
    // A pooled connection that was dead says nothing about its endpoint: a fresh one is tried there.
    if next != NextAttempt::SameEndpoint {
        in_flight.ended(Some(&error), now_ms);
    }
    let endpoint = in_flight.endpoint().clone();
    drop(in_flight);
    tracing::debug!(target = %endpoint.url, %error, ?next, "an attempt failed");
    match next {
        NextAttempt::None => Err(error),
        NextAttempt::SameEndpoint => Ok(None),
        NextAttempt::OtherEndpoint { delay } => {
            // With no other endpoint left, the client gets this attempt's error, not one about choosing.
            let Some(other) = exchange.choice.instead_of(&endpoint, delay, now_ms) else { return Err(error) };
            endpoint.metrics.failure(error.reason);
            Ok(Some(other))
        }
    }
}

/// Waits before another attempt.
///
/// # Errors
/// A client that left meanwhile.
async fn wait(delay: Duration, sink: &ResponseSink<'_>) -> Result<(), Error> {
    if delay.is_zero() {
        return Ok(());
    }
    Box::pin(monoio::time::sleep(delay)).await;
    if sink.client_left() { Err(left_waiting()) } else { Ok(()) }
}

/// The head of a request, with what was here of its body when it was first rendered.
struct FirstWrite {
    bytes: Vec<u8>,
    /// Where the body begins; `None`: nothing was rendered yet.
    body_at: Option<usize>,
}

impl FirstWrite {
    /// Renders the head for an attempt, in place of that of the one before.
    fn render(&mut self, turn: &Turn, source: &mut BodySource<'_>) -> Result<(), Error> {
        let UpstreamRequestHead { target, fields } = &turn.buffers.upstream_head;
        let method = turn.buffers.transaction.request.method_bytes();
        let body = self.body_at.map(|at| self.bytes.split_off(at));
        self.bytes.clear();
        write::request_head(&mut self.bytes, method, target, fields);
        self.body_at = Some(self.bytes.len());
        match body {
            // What was taken from the client cannot be taken again.
            Some(body) if matches!(source, BodySource::Http1(_)) => {
                self.bytes.extend_from_slice(&body);
                Ok(())
            }
            _ => source.take_arrived(&mut self.bytes, MAX_FIRST_BYTES, &turn.log),
        }
    }
}

/// How an attempt ended that did not fail.
enum AttemptEnd {
    Served(Served),
    /// Its response was not what the client is to see.
    Retry(ChosenRetry),
}

/// One attempt over one connection: sends `first`, then both directions at once until the response is complete.
///
/// # Errors
/// Whatever ended the exchange. The connection is then aborted and never pooled.
async fn attempt(
    turn: &mut Turn,
    exchange: &Exchange<'_>,
    in_flight: &InFlight<'_>,
    connection: &UpstreamConnection,
    source: &mut BodySource<'_>,
    sink: &mut ResponseSink<'_>,
    first: &mut Vec<u8>,
) -> Result<AttemptEnd, Error> {
    let upstream = &connection.socket;
    let began = Instant::now();
    turn.log.upstream_time = None;
    upstream.slot().begin_exchange(exchange.until_ms, 0);
    let written = upstream.write_all(std::mem::take(first), exchange.idle_timeout()).await;
    if let Err(error) = &written.result
        && written.sent_bytes == 0
    {
        let error = nothing_taken(error);
        *first = written.buffer;
        return Err(error);
    }
    let upload = Cell::new(match (source.is_done(), &written.result) {
        (true, _) => Upload::Complete,
        (false, Ok(())) => Upload::Sending,
        (false, Err(_)) => Upload::Stopped,
    });
    // A body that streams cannot be sent again, nor can then what came before it.
    let can_replay = source.can_replay();
    let sent = if can_replay {
        written.buffer
    } else {
        exchange.shard.buffers.give_back(written.buffer);
        Vec::new()
    };
    let responder = Responder {
        exchange,
        upstream,
        in_flight,
        began,
        upload: &upload,
        answered: Cell::new(false),
        can_replay,
        sent: Cell::new(sent),
    };
    let bytes_in = Cell::new(0_usize);
    let is_repeated = exchange.is_repeatable && exchange.upstream.plan.retry.repeats_sent();
    let keeps_body = connection.reused || is_repeated;
    let end = if upload.get() == Upload::Sending {
        // Both are made in the box: as arguments they would be moved there, and have their room twice.
        Box::pin(async {
            let uploading = pin!(source.upload(exchange, upstream, keeps_body, &bytes_in));
            let downloading = pin!(responder.run(turn, sink));
            both(uploading, downloading, &responder).await
        })
        .await
    } else {
        responder.await_head();
        responder.run(turn, sink).await
    };
    *first = responder.sent.take();
    turn.log.add_in(bytes_in.get());
    // An upload cut short has lost bytes, or left some of the body unread: where the next request begins nobody knows,
    // and guessing would let a body speak as a request.
    let is_taken = matches!(source, BodySource::Whole(_)) || upload.get() == Upload::Complete;
    if !is_taken {
        sink.end_connection();
    }
    // Without a response head: until the attempt failed.
    turn.log.upstream_time.get_or_insert_with(|| began.elapsed());
    // Only a connection on which both messages ended exactly may carry another request.
    let is_clean = upload.get() == Upload::Complete && written.result.is_ok();
    let give_back = || {
        upstream.slot().end_exchange();
        in_flight.endpoint().release(upstream.clone(), exchange.shard.deadlines.now_ms());
    };
    match end {
        Ok(ResponseEnd::Complete { reusable }) => {
            if reusable && is_clean {
                give_back();
            }
            Ok(AttemptEnd::Served(Served::Complete))
        }
        Ok(ResponseEnd::Retry { next, reusable }) => {
            if reusable && is_clean {
                give_back();
            } else {
                upstream.abort();
            }
            Ok(AttemptEnd::Retry(next))
        }
        Ok(ResponseEnd::Upgraded { first }) => {
            // A tunnel has no end that was agreed on.
            upstream.slot().end_exchange();
            let idle_timeout = exchange.upstream.plan.idle_timeout;
            let upgraded = Upgraded { upstream: upstream.clone(), first, idle_timeout };
            Ok(AttemptEnd::Served(Served::Upgraded(upgraded)))
        }
        Err(error) => {
            // An orderly close would leave it writing to nobody.
            upstream.abort();
            Err(error)
        }
    }
}

/// An upstream whose kernel took no byte of the request: it may be sent again, whatever its method and body.
fn nothing_taken(error: &io::Error) -> Error {
    let reason = match Expiry::of(error) {
        Some(_) => Reason::UpstreamTimeout,
        None => Reason::UpstreamReset,
    };
    Error::upstream(reason, Retry::Safe, "the upstream took no byte of the request")
}

/// Runs the upload beside the response. The response decides when it is over; an upload that the client spoils ends
/// both, unless the rest is not wanted any more; one that the upstream no longer takes does not.
async fn both(
    mut upload: Pin<&mut impl Future<Output = Result<(), UploadError>>>,
    mut response: Pin<&mut impl Future<Output = Result<ResponseEnd, Error>>>,
    responder: &Responder<'_>,
) -> Result<ResponseEnd, Error> {
    let mut uploading = true;
    poll_fn(|cx| {
        if uploading && let Poll::Ready(result) = upload.as_mut().poll(cx) {
            uploading = false;
            match result {
                Ok(()) => responder.upload.set(Upload::Complete),
                // To stop is what it should do then, and it still is to get the answer.
                Err(UploadError::Client(_)) if responder.upload.get() == Upload::Unwanted => {}
                Err(UploadError::Client(error)) => return Poll::Ready(Err(error)),
                Err(UploadError::Upstream) => responder.upload.set(Upload::Stopped),
            }
            responder.await_head();
        }
        response.as_mut().poll(cx)
    })
    .await
}

/// What `hash_on` selects of this request, hashed; 0 for every other way of balancing.
fn hash_key(upstream: &Upstream, transaction: &Transaction) -> u64 {
    let Balance::Hash(on) = &upstream.plan.balance else { return 0 };
    let fields = &transaction.request.fields;
    let ip = || balance::hash_key(transaction.meta.client.ip.to_string().as_bytes());
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
