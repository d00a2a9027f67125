//! What one exchange carries: what shards ask for, and what is due by the clock.

use std::sync::Arc;

use ::redis::Value;

use super::op::{self, Op};
use crate::store::message::{Reply, Request};
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
            Extra::Keys => Op::Keys,
        }
    }
}

/// `None` for counters: they have a way of their own.
pub fn op_of(request: &Request) -> Option<Op<'_>> {
    match request {
        Request::Lease { limit, rule, ask, .. } => Some(Op::Lease { limit, rule, ask }),
        Request::Strict { limit, rule, key, .. } => Some(Op::Strict { limit, rule, key }),
        Request::Counters { .. } => None,
    }
}

/// The shard and its reply; `None` if the answer makes no sense.
pub fn answer_of(request: &Request, answer: &Value) -> Option<(usize, Reply)> {
    match request {
        Request::Lease { shard, ticket, ask, .. } => {
            Some((*shard, Reply::Lease { ticket: *ticket, grant: op::grant(ask, answer)? }))
        }
        Request::Strict { shard, ticket, .. } => {
            Some((*shard, Reply::Strict { ticket: *ticket, verdict: op::verdict(answer)? }))
        }
        Request::Counters { .. } => None,
    }
}

/// Says that there is no answer.
pub fn refuse(request: &Request, reply: &mut dyn FnMut(usize, Reply)) {
    if let Request::Lease { shard, ticket, .. } | Request::Strict { shard, ticket, .. } = request {
        reply(*shard, Reply::Failed { ticket: *ticket });
    }
}
