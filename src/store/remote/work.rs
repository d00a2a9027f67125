//! What one exchange carries: what shards ask for, and what is due by the clock.

use std::sync::Arc;

use ::redis::Value;

use super::op::{self, Op};
use crate::store::message::{StoreReply, StoreRequest};
use crate::store::totals::Batch;

/// What is due by the clock.
pub enum Extra {
    Count(Batch),
    ReadCounters(Vec<Arc<str>>),
    KeysVersion,
    Keys,
}

impl Extra {
    pub fn op(&self) -> Op<'_> {
        match self {
            Extra::Count(batch) => Op::Count(batch),
            Extra::ReadCounters(names) => Op::ReadCounters(names),
            Extra::KeysVersion => Op::KeysVersion,
            Extra::Keys => Op::KeyList,
        }
    }
}

/// `None` for counters: they have a way of their own.
pub fn op_of(request: &StoreRequest) -> Option<Op<'_>> {
    match request {
        StoreRequest::Lease { limit, rule, ask, .. } => Some(Op::Lease { limit, rule, ask }),
        StoreRequest::Strict { limit, rule, key, .. } => Some(Op::Strict { limit, rule, key }),
        StoreRequest::Counters { .. } => None,
    }
}

/// The shard and its reply; `None` if the answer makes no sense.
pub fn answer_of(request: &StoreRequest, answer: &Value) -> Option<(usize, StoreReply)> {
    match request {
        StoreRequest::Lease { shard, ticket, ask, .. } => {
            Some((*shard, StoreReply::Lease { ticket: *ticket, grant: op::grant(ask, answer)? }))
        }
        StoreRequest::Strict { shard, ticket, .. } => {
            Some((*shard, StoreReply::Strict { ticket: *ticket, verdict: op::verdict(answer)? }))
        }
        StoreRequest::Counters { .. } => None,
    }
}

/// Says that there is no answer.
pub fn refuse(request: &StoreRequest, reply: &mut dyn FnMut(usize, StoreReply)) {
    if let StoreRequest::Lease { shard, ticket, .. } | StoreRequest::Strict { shard, ticket, .. } = request {
        reply(*shard, StoreReply::Failed { ticket: *ticket });
    }
}
