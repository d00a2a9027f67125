//! What the breakers of a shard have to tell those of the other shards, until the shard's tick sends it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::EndpointId;
use crate::balance::BreakerNews;

/// The breaker of an endpoint has opened or closed on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerChange {
    pub endpoint: EndpointId,
    pub news: BreakerNews,
}

/// The changes since the last tick, of each endpoint the last one. Clones are the same outbox.
#[derive(Clone, Default)]
pub struct BreakerOutbox(Rc<RefCell<HashMap<EndpointId, BreakerNews>>>);

impl BreakerOutbox {
    /// Has it sent at the next tick, in place of what was to be sent of the same endpoint.
    pub(super) fn put(&self, endpoint: EndpointId, news: BreakerNews) {
        self.0.borrow_mut().insert(endpoint, news);
    }

    /// Takes what is to be sent; nothing, as a rule.
    pub fn take(&self) -> Vec<BreakerChange> {
        let changes = std::mem::take(&mut *self.0.borrow_mut());
        changes.into_iter().map(|(endpoint, news)| BreakerChange { endpoint, news }).collect()
    }
}
