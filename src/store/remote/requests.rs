//! What one exchange with Redis carries: the requests of shards, and operations that are due by the clock.

use std::sync::Arc;

use ::redis::Value;

use super::op::Op;
use super::scripts;
use crate::store::message::{StoreReply, StoreRequest};
use crate::store::totals::DeltaBatch;

/// An operation that is due by the clock.
pub enum TimedOp {
    AddCounters(DeltaBatch),
    ReadCounters(Vec<Arc<str>>),
    KeysVersion,
    ListKeys,
}

impl TimedOp {
    pub fn op(&self) -> Op<'_> {
        match self {
            TimedOp::AddCounters(batch) => Op::AddCounters(batch),
            TimedOp::ReadCounters(names) => Op::ReadCounters(names),
            TimedOp::KeysVersion => Op::KeysVersion,
            TimedOp::ListKeys => Op::ListKeys,
        }
    }
}

/// The operation of a request. `None` for counters, which are sent by the clock.
pub fn op_of(request: &StoreRequest) -> Option<Op<'_>> {
    match request {
        StoreRequest::Lease { limit, rule, request, .. } => Some(Op::Lease { limit, rule, request }),
        StoreRequest::Strict { limit, rule, key, .. } => Some(Op::Take { limit, rule, key }),
        StoreRequest::Counters { .. } => None,
    }
}

/// The shard and its reply; `None` if Redis's answer is not in the expected form.
pub fn reply_to(request: &StoreRequest, answer: &Value) -> Option<(usize, StoreReply)> {
    match request {
        StoreRequest::Lease { shard, ticket, request, .. } => {
            Some((*shard, StoreReply::Lease { ticket: *ticket, grant: scripts::grant(request, answer)? }))
        }
        StoreRequest::Strict { shard, ticket, .. } => {
            Some((*shard, StoreReply::Strict { ticket: *ticket, verdict: scripts::verdict(answer)? }))
        }
        StoreRequest::Counters { .. } => None,
    }
}

/// Replies that there is no answer.
pub fn reply_failed(request: &StoreRequest, reply: &mut dyn FnMut(usize, StoreReply)) {
    if let StoreRequest::Lease { shard, ticket, .. } | StoreRequest::Strict { shard, ticket, .. } = request {
        reply(*shard, StoreReply::Failed { ticket: *ticket });
    }
}
