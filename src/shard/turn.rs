//! One request and its response on a shard, whatever protocol they came by: what is known of them, what they need room
//! for, and the record of how they went.
//!
//! A protocol makes an [`OpenTurn`] before it reads a request, and ends it by [`OpenTurn::finish`] or
//! [`OpenTurn::release`]; nothing of one request can then be seen by the next on the same connection. One that goes on as
//! a tunnel keeps a [`TurnRecord`] alone. What is dropped instead, by a panic or at the end of a drain, is in the log as
//! well.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::Shard;
use super::generation::{LiveGeneration, LiveRoute};
use super::request_log::RequestLog;
use crate::base::error::Reason;
use crate::exchange::Transaction;
use crate::http::fields::Fields;
use crate::limit::{CountedInFlight, LimitReport};
use crate::net::deadline::NEVER;
use crate::pipeline::request_head::UpstreamRequestHead;
use crate::script::Hook;

/// One request and its response.
pub struct Turn {
    pub shard: Rc<Shard>,
    /// The generation that was current when the request began: a reload never changes the rules under it.
    pub live: Rc<LiveGeneration>,
    /// From the shard's stock, to which they return at the end.
    pub buffers: Box<RequestBuffers>,
    pub log: RequestLog,
    /// When the exchange must be over, by the shard's coarse clock: the route's `timeout`, from the end of the head on.
    pub until_ms: u64,
    pub in_flight: TurnInFlight,
    /// There is a request: a whole head, or one that is refused.
    pub has_request: bool,
}

/// What counts a request as in flight, for `max_inflight`.
#[derive(Default)]
pub struct TurnInFlight {
    /// Of its route, once that is known.
    pub route: Option<CountedInFlight>,
    /// At its upstream, as a tunnel.
    pub upstream: Option<CountedInFlight>,
}

/// A turn that has not ended.
pub struct OpenTurn(Option<Turn>);

impl OpenTurn {
    /// A request is about to be read from this peer.
    pub fn begin(shard: &Rc<Shard>, peer: IpAddr) -> OpenTurn {
        OpenTurn(Some(Turn {
            shard: shard.clone(),
            live: shard.live(),
            buffers: shard.request_buffers.borrow_mut().pop().unwrap_or_default(),
            log: RequestLog::new(peer),
            until_ms: NEVER,
            in_flight: TurnInFlight::default(),
            has_request: false,
        }))
    }

    /// The request has ended: counts it, writes its line, and gives its room back.
    pub fn finish(self) {
        self.into_record().finish();
    }

    /// The request's rules have done their work: lets go of its generation, keeps what its line needs.
    pub fn into_record(mut self) -> TurnRecord {
        self.0.take().expect("only what ends it takes it out").into_record()
    }

    /// There was no request after all: nothing to count or log.
    pub fn release(mut self) {
        self.0.take().into_iter().for_each(Turn::release);
    }
}

impl Deref for OpenTurn {
    type Target = Turn;

    fn deref(&self) -> &Turn {
        self.0.as_ref().expect("only what ends it takes it out")
    }
}

impl DerefMut for OpenTurn {
    fn deref_mut(&mut self) -> &mut Turn {
        self.0.as_mut().expect("only what ends it takes it out")
    }
}

impl Drop for OpenTurn {
    /// Its connection's task ends in the midst of it.
    fn drop(&mut self) {
        match self.0.take() {
            Some(turn) if turn.has_request => drop(turn.into_record()),
            Some(turn) => turn.release(),
            None => {}
        }
    }
}

impl Turn {
    fn into_record(self) -> TurnRecord {
        let Turn { shard, live, buffers, log, in_flight, .. } = self;
        let route = log.route.map(|index| live.routes[index].clone());
        let (generation, buffers) = (live.number, Some(buffers));
        TurnRecord { shard, generation, route, buffers, log, _in_flight: in_flight, finished: false }
    }

    fn release(self) {
        self.buffers.release(&self.shard);
    }
}

/// What is left of a turn whose exchange is over but for bytes that nobody interprets.
/// It does not hold the generation, so that a tunnel that stays open for days does not keep all that reloads have
/// replaced since.
pub struct TurnRecord {
    shard: Rc<Shard>,
    /// The number of the generation that the request began with.
    generation: u64,
    route: Option<Rc<LiveRoute>>,
    /// `None`: they have gone back to the stock.
    buffers: Option<Box<RequestBuffers>>,
    pub log: RequestLog,
    _in_flight: TurnInFlight,
    finished: bool,
}

impl TurnRecord {
    /// Frees what the end of the request does not need: it may be days until then.
    pub fn shrink(&mut self) {
        let Some(buffers) = &mut self.buffers else { return };
        let scripts = self.route.as_ref().and_then(|route| route.scripts());
        let reads_heads = scripts.is_some_and(|scripts| scripts.has(Hook::Log));
        buffers.free_request(reads_heads);
        if !reads_heads {
            buffers.transaction.response.fields = Fields::default();
        }
    }

    /// As [`OpenTurn::finish`].
    pub fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for TurnRecord {
    fn drop(&mut self) {
        let Some(mut buffers) = self.buffers.take() else { return };
        if !self.finished {
            // Its connection's task ends in the midst of it.
            let reason = if self.shard.cut.get() { Reason::Shutdown } else { Reason::Internal };
            self.log.reason = Some(reason);
            if self.log.status == 0 {
                self.log.status = reason.status();
            }
        }
        self.log.finish(&self.shard, self.generation, self.route.as_deref(), &mut buffers.transaction);
        buffers.release(&self.shard);
    }
}

/// How many [`RequestBuffers`] a shard keeps.
/// More than that are in use together only in a burst, whose memory should not stay for good.
const MAX_KEPT: usize = 256;

/// What one request needs room for, kept from request to request so that none of it is allocated twice.
#[derive(Default)]
pub struct RequestBuffers {
    pub transaction: Transaction,
    /// The head that upstreams get.
    pub upstream_head: UpstreamRequestHead,
    /// Where the request stands with its rate limits.
    pub limit_report: LimitReport,
}

impl RequestBuffers {
    /// Frees what an answer that may last for days does not need. `reads_heads`: the end of the request does.
    pub fn free_request(&mut self, reads_heads: bool) {
        self.upstream_head = UpstreamRequestHead::default();
        if !reads_heads {
            self.transaction.request.fields = Fields::default();
        }
    }

    /// Goes back to the shard's stock, if that has room.
    fn release(mut self: Box<Self>, shard: &Shard) {
        let mut kept = shard.request_buffers.borrow_mut();
        if kept.len() < MAX_KEPT && self.is_ordinary() {
            self.clear();
            kept.push(self);
        }
    }

    /// Forgets the request and the bodies that scripts have seen, keeps the room.
    fn clear(&mut self) {
        self.transaction.begin();
        self.upstream_head.clear();
        self.limit_report.clear();
    }

    /// Not swollen by one huge request.
    /// By capacity, not by length: room is what stays allocated. 64 KiB is four times an ordinary head's limit.
    fn is_ordinary(&self) -> bool {
        const MAX_BYTES: usize = 64 * 1024;
        let Transaction { target, request, response, .. } = &self.transaction;
        let upstream = &self.upstream_head;
        let heads = request.fields.stored_bytes() + response.fields.stored_bytes();
        let copies = upstream.fields.stored_bytes() + upstream.target.capacity();
        target.capacity() + heads + copies < MAX_BYTES
    }
}
