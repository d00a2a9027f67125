//! One request served, whatever protocol it came by: its route found, its steps run, its action taken, its errors
//! answered.
//!
//! The order is the pipeline's (`pipeline::steps`); here are only the two ends, and what becomes of an error. An error
//! is answered at most once, and only as long as no head was sent: see [`refuse`].

use std::pin::pin;

use super::fence::fenced;
use super::protocol::{BodySource, ResponseSink};
use super::proxy::attempt;
use super::proxy::tunnel::Upgraded;
use super::step_host::ShardStepHost;
use super::turn::{RequestBuffers, Turn};
use crate::base::error::{Error, FaultOrigin, Reason};
use crate::base::fault::{self, InjectedFault};
use crate::pipeline::answer;
use crate::pipeline::find_route::find_route;
use crate::pipeline::steps::{self, Decision};
use crate::plan::RoutePlan;

/// How a request ended, as its protocol has to know.
pub enum Served {
    /// Its response was sent.
    Complete,
    /// Its response was cut short, and the client must notice.
    /// By a missing last chunk or by fewer bytes than the length says (RFC 9112, 8); the connection is closed.
    CutShort,
    /// The client left before there was a response.
    ClientGone,
    /// Client and upstream agreed on another protocol.
    Upgraded(Upgraded),
}

/// Serves a request that was received.
/// Never fails: every error ends in one of [`Served`], and so does a panic. Errors are boxed away, because each connection's task has room
/// for the largest state it may be in.
pub async fn serve(turn: &mut Turn, source: &mut BodySource<'_>, sink: &mut ResponseSink<'_>) -> Served {
    let shard = turn.shard.clone();
    let served = fenced(&shard, pin!(run(turn, source, sink))).await;
    sink.end_exchange();
    match served.unwrap_or_else(|panicked| Err(panicked.into())) {
        Ok(served) => served,
        Err(error) => Box::pin(refuse(turn, source, sink, error)).await,
    }
}

/// # Errors
/// What a step refuses, or what the exchange with an upstream ended in.
async fn run(
    turn: &mut Turn,
    source: &mut BodySource<'_>,
    sink: &mut ResponseSink<'_>,
) -> Result<Served, Error> {
    let live = turn.live.clone();
    let RequestBuffers { transaction, limit_report, .. } = &mut *turn.buffers;
    // Only tests ask for these.
    match fault::requested(transaction.path()) {
        Some(InjectedFault::Connection) => panic!("a test requested a panic in this connection"),
        Some(InjectedFault::Shard) => turn.shard.doomed.set(true),
        Some(InjectedFault::Answer) => return Err(Error::gateway(Reason::Internal, "a test requested it")),
        None => {}
    }
    let index = find_route(&live.table, &live.plan.routes, transaction)?;
    turn.log.route = Some(index);
    turn.in_flight.route = Some(live.routes[index].begin_request(turn.shard.shards)?);
    let route = live.route_context(index);
    turn.until_ms = turn.shard.deadlines.after(route.plan.timeout);
    sink.begin_exchange(turn.until_ms, live.plan.server.limits.min_rate);
    let mut host = ShardStepHost {
        shard: &turn.shard,
        live: &live,
        limits: live.limits[index].as_ref(),
        source,
        sink,
        log: &turn.log,
        until_ms: turn.until_ms,
        held: None,
    };
    match steps::request(&route, transaction, limit_report, &mut host).await? {
        Decision::Answer(body) => respond(turn, source, sink, Some(route.plan), &body).await,
        Decision::Forward(proxy) => attempt::forward(turn, &route, proxy, source, sink).await,
    }
}

/// Sends a response that the gateway makes itself, and whose head stands in the transaction.
/// What has arrived of the request's body is dropped. Where more is to come than is worth reading, the connection ends
/// with this response: the rest must not be taken for the next request.
async fn respond(
    turn: &mut Turn,
    source: &mut BodySource<'_>,
    sink: &mut ResponseSink<'_>,
    route: Option<&RoutePlan>,
    body: &[u8],
) -> Result<Served, Error> {
    if !source.discard_arrived() {
        sink.end_connection();
    }
    let RequestBuffers { transaction, limit_report, .. } = &mut *turn.buffers;
    let panics = fault::requested(transaction.path()) == Some(InjectedFault::Answer);
    assert!(!panics, "a test requested a panic in this answer");
    steps::finish_whole(route, transaction, limit_report, body.len(), turn.shard.unix_s());
    turn.log.status = transaction.response.status();
    sink.respond(transaction, body, &mut turn.log).await?;
    Ok(Served::Complete)
}

/// Ends a request with an error: a problem document where one can still be sent.
/// The steps of the way out run on it as on any response, so that CORS and rate limit fields are there on errors too.
pub async fn refuse(
    turn: &mut Turn,
    source: &mut BodySource<'_>,
    sink: &mut ResponseSink<'_>,
    error: Error,
) -> Served {
    let transaction = &mut turn.buffers.transaction;
    // An error before the id was made: the problem document and the log need one to be matched by.
    if transaction.id.is_empty() {
        turn.shard.ids.borrow_mut().write(&mut transaction.id);
    }
    let request_id = String::from_utf8_lossy(&transaction.id);
    tracing::debug!(%request_id, %error, "answered by the gateway");
    if let (FaultOrigin::Upstream, Some(target)) = (error.source, &turn.log.target) {
        target.metrics.failure(error.reason);
    }
    turn.log.reason = Some(error.reason);
    // Between an interim head and the final one there is no status yet.
    if !sink.head_sent() || turn.log.status == 0 {
        turn.log.status = error.reason.status();
    }
    if sink.head_sent() {
        return Served::CutShort;
    }
    if error.reason == Reason::ClientClosed {
        return Served::ClientGone;
    }
    // After a head or body that made no sense, nothing that follows does. A body that is only too large has an end.
    let spoils_connection = matches!(
        error.reason,
        Reason::BadRequest
            | Reason::RequestTimeout
            | Reason::UriTooLong
            | Reason::HeadersTooLarge
            | Reason::Overloaded
            | Reason::Internal
    );
    if spoils_connection {
        sink.end_connection();
    }
    let body = answer::problem(transaction, &error);
    let live = turn.live.clone();
    let route = turn.log.route.map(|index| &*live.plan.routes[index]);
    respond(turn, source, sink, route, &body).await.unwrap_or(Served::ClientGone)
}
