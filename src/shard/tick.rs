//! What a shard does by the clock: its heartbeat, deadlines, clients that left, pools, the log, the end of a drain.
//!
//! One timer for the shard, every [`TICK_MS`] (20 ms), in place of one per connection. So all timeouts here are late
//! by up to a tick; intervals below are counted in ticks.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Shard;
use crate::net::deadline::TICK_MS;
use crate::net::socket;
use crate::store::StoreRequest;

/// How often clients that wait for a slow upstream, for its head or for more of its body, are looked at.
/// 100 ms: each look is one `poll` of all of them.
const LEFT_TICKS: u64 = 5;
/// How often rate limits give back what is not in use.
/// 100 ms. Tokens of idle keys should go back soon, for other shards to spend.
const TIDY_TICKS: u64 = 5;
/// How often idle upstream connections are looked at.
/// One second, which is fine enough for `keepalive_idle`.
const SWEEP_TICKS: u64 = 50;
/// How often the last counters of a shard are tried to be sent: for a second.
const LAST_COUNTERS_TICKS: u64 = 50;
/// A tick that comes so late tells of a shard that stood still, which counts against no peer. Not less: else a shard that
/// is merely busy would have its timeouts last for longer.
const STALL_MS: u64 = 1000;
/// While draining, an idle client may send one more request within this time (answered with
/// `Connection: close`), so that none meets a connection just closed.
/// Half a second is more than a round trip to any client.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// Ticks until a drain is complete. `no_listener`: nothing can come in any more.
///
/// # Panics
/// When a test has asked for it.
pub async fn until_drained(shard: &Rc<Shard>, no_listener: impl Fn() -> bool) {
    let mut fired = Vec::new();
    let mut grace_until = None;
    for ticks in 1_u64.. {
        monoio::time::sleep(Duration::from_millis(TICK_MS)).await;
        assert!(!shard.doomed.get(), "a test requested a panic in this shard");
        shard.heartbeat.beat(Instant::now());
        // Deadlines come first: they bound what everything else waits for.
        expire(shard, &mut fired);
        // A line of the access log waits for a tick at most, however few there are.
        shard.log.borrow_mut().flush();
        send_counters(shard);
        shard.context.breakers.take().into_iter().for_each(&shard.breaker_changed);
        shard.limits.expire();
        if ticks % TIDY_TICKS == 0 {
            shard.limits.release_unused();
        }
        if ticks % LEFT_TICKS == 0 {
            cancel_left(shard);
        }
        if ticks % SWEEP_TICKS == 0 {
            sweep(shard);
            shard.clock.correct();
        }
        if shard.draining.get() {
            // The grace runs from the first tick that sees the drain.
            let until = *grace_until.get_or_insert_with(|| shard.clock.elapsed() + IDLE_GRACE);
            if shard.clock.elapsed() >= until {
                shard.deadlines.silence_idle_clients().into_iter().for_each(socket::stop_reading);
            }
            if shard.connections.len() == 0 && no_listener() {
                return;
            }
        }
    }
}

/// What scripts have added since the last tick goes to the other shards.
/// Where the link's channel is full they are kept for the next tick: deltas add up, so nothing is lost by waiting.
fn send_counters(shard: &Shard) {
    let deltas = shard.counters.take_deltas();
    if !deltas.is_empty() && shard.link.send(StoreRequest::Counters { shard: shard.id, deltas }).is_err() {
        shard.counters.put_back();
    }
}

/// Sends what scripts have added since the last tick of a drain, which nothing would send any more. Waits some ticks at
/// most for room in the link's channel.
pub async fn send_last_counters(shard: &Shard) {
    for _ in 0..LAST_COUNTERS_TICKS {
        let deltas = shard.counters.take_last();
        if deltas.is_empty() || shard.link.send(StoreRequest::Counters { shard: shard.id, deltas }).is_ok() {
            return;
        }
        shard.counters.put_back();
        monoio::time::sleep(Duration::from_millis(TICK_MS)).await;
    }
}

/// Shuts down the sockets whose deadline has passed. The pending operation then ends by itself and its buffer comes
/// back: a read or write that is dropped instead would lose bytes.
fn expire(shard: &Shard, fired: &mut Vec<crate::net::deadline::Fired>) {
    let now_ms = u64::try_from(shard.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    let still_ms = now_ms.saturating_sub(shard.deadlines.now_ms());
    if still_ms >= STALL_MS {
        shard.deadlines.forgive(still_ms);
    }
    shard.deadlines.tick(now_ms, socket::unsent_bytes, fired);
    for passed in fired.drain(..) {
        socket::expire(passed.fd, passed.side, passed.direction);
    }
}

/// Ends the exchanges whose client has gone while the upstream lets it wait.
/// A client that waits is not read from, so nothing else would notice that it left. Its exchange is ended by the
/// upstream's socket, for which the request waits.
fn cancel_left(shard: &Shard) {
    let mut waiting = Vec::new();
    let since_ms = shard.deadlines.now_ms().saturating_sub(LEFT_TICKS * TICK_MS);
    shard.deadlines.waiting_since(since_ms, &mut waiting);
    if waiting.is_empty() {
        return;
    }
    let gone = socket::closed_by_peer(waiting.iter().map(|(_, fd)| *fd));
    for ((slot, _), gone) in waiting.into_iter().zip(gone) {
        if gone && let Some(upstream) = shard.deadlines.mark_left(slot) {
            socket::expire(
                upstream,
                crate::net::deadline::SocketSide::Upstream,
                crate::net::deadline::Direction::Read,
            );
        }
    }
}

/// Closes upstream connections that were idle for too long, or that the upstream has closed.
fn sweep(shard: &Shard) {
    let now_ms = shard.deadlines.now_ms();
    for upstream in &shard.live().upstreams {
        upstream.sweep(now_ms);
    }
}
