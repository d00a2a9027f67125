//! One request and its response on a shard, whatever protocol they came by: what is known of them, what they need room
//! for, and the record of how they went.
//!
//! A protocol makes a [`Turn`] before it reads a request, and ends it by [`Turn::finish`] or
//! [`Turn::release`]; nothing of one request can then be seen by the next on the same connection. One that goes on as
//! a tunnel keeps a [`TurnRecord`] alone.

use std::net::IpAddr;
use std::rc::Rc;

use super::Shard;
use super::generation::{LiveGeneration, LiveRoute};
use super::request_log::RequestLog;
use crate::exchange::Transaction;
use crate::http::fields::Fields;
use crate::limit::LimitReport;
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
}

impl Turn {
    /// A request is about to be read from this peer.
    pub fn begin(shard: &Rc<Shard>, peer: IpAddr) -> Turn {
        Turn {
            shard: shard.clone(),
            live: shard.live(),
            buffers: shard.request_buffers.borrow_mut().pop().unwrap_or_default(),
            log: RequestLog::new(peer),
        }
    }

    /// The request has ended: counts it, writes its line, and gives its room back.
    pub fn finish(self) {
        self.into_record().finish();
    }

    /// The request's rules have done their work: lets go of its generation, keeps what its line needs.
    pub fn into_record(self) -> TurnRecord {
        let Turn { shard, live, buffers, log } = self;
        let route = log.route.map(|index| live.routes[index].clone());
        TurnRecord { shard, generation: live.number, route, buffers, log }
    }

    /// There was no request after all: nothing to count or log.
    pub fn release(self) {
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
    buffers: Box<RequestBuffers>,
    pub log: RequestLog,
}

impl TurnRecord {
    /// Frees what the end of the request does not need: it may be days until then.
    pub fn shrink(&mut self) {
        let scripts = self.route.as_ref().and_then(|route| route.scripts());
        let reads_heads = scripts.is_some_and(|scripts| scripts.has(Hook::Log));
        self.buffers.free_request(reads_heads);
        if !reads_heads {
            self.buffers.transaction.response.fields = Fields::default();
        }
    }

    /// As [`Turn::finish`].
    pub fn finish(mut self) {
        let route = self.route.as_deref();
        self.log.finish(&self.shard, self.generation, route, &mut self.buffers.transaction);
        self.buffers.release(&self.shard);
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
