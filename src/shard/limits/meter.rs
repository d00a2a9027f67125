//! Counts the requests under one rule of a limit on this shard: from leases, in the store, or by a local share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::ShardLimits;
use super::answer::{AnswerWaiter, PendingAnswer};
use super::pending::PendingRequest;
use crate::limit::{BucketStore, Key, LeaseGrant, LeaseRequest, Leaseholder, Leases, Rule, Verdict};
use crate::metrics::LimitMetrics;
use crate::plan::LimitMode;
use crate::store::StoreRequest;

/// Keys of one rule that a shard keeps at a time.
/// Clients choose keys, so their number needs a bound.
pub const MAX_KEYS: usize = 65_536;

/// What two limits must have in common to spend from the same leases: before and after a reload, or for two consumers.
/// The buckets in the store, and this shard's share, go by the name alone: a change of the rule does not fill them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeterId {
    /// The limit's name in the store.
    pub limit: Arc<str>,
    pub rule: Rule,
    pub mode: LimitMode,
}

/// A shard's share of the rules of one limit.
pub type LocalShare = Rc<RefCell<BucketStore>>;

/// The tokens that this shard holds under one rule of one limit, for all keys.
pub struct Meter {
    pub id: MeterId,
    /// In mode `shared`.
    leases: Option<RefCell<Leases>>,
    /// The grants that requests wait for, by the lease request's `seq`.
    grants: RefCell<HashMap<u64, Rc<PendingAnswer<()>>>>,
    /// In mode `local`, and while the store is lost.
    local_share: LocalShare,
}

impl Meter {
    /// `local_share` is that of all meters of the limit.
    pub fn new(id: MeterId, local_share: LocalShare) -> Meter {
        let leases = || {
            // Random, so that a new meter of the same limit is another leaseholder to the store, and inherits no
            // lease.
            let holder = Leaseholder(RandomState::new().hash_one("holder"));
            RefCell::new(Leases::new(&id.rule, holder, MAX_KEYS))
        };
        let leases = (id.mode == LimitMode::Shared).then(leases);
        Meter { id, leases, grants: RefCell::default(), local_share }
    }

    /// Keys of leases.
    pub fn keys(&self) -> usize {
        self.leases.as_ref().map_or(0, |leases| leases.borrow().len())
    }

    /// Takes one token for one request, after a wait for the store where that is necessary; `waited` is what the request
    /// has waited so far. `None`: the store gave no answer.
    pub async fn take(
        self: &Rc<Meter>,
        key: &Key,
        limits: &ShardLimits,
        metrics: &LimitMetrics,
        waited: &mut Duration,
    ) -> Option<Verdict> {
        match self.id.mode {
            LimitMode::Local => Some(self.take_local(key, limits)),
            LimitMode::Shared => match self.take_from_lease(key, limits) {
                Ok(verdict) => Some(verdict),
                Err(grant) => {
                    let grant = grant?;
                    metrics.waited();
                    // Boxed: few requests wait, and all would carry the space for it.
                    Box::pin(limits.in_time(waited, self.take_after(grant, key, limits))).await
                }
            },
            LimitMode::Strict => {
                let verdict = self.request_verdict(key, limits)?;
                metrics.waited();
                let verdict = Box::pin(limits.in_time(waited, AnswerWaiter::new(verdict))).await?;
                self.continue_from(key, verdict.remaining, limits);
                Some(verdict)
            }
        }
    }

    /// Takes one token for a request that the store does not answer.
    pub fn take_alone(self: &Rc<Meter>, key: &Key, limits: &ShardLimits) -> Verdict {
        let Some(leases) = &self.leases else { return self.take_local(key, limits) };
        let mut share = self.local_share.borrow_mut();
        share.follow(&self.id.rule);
        let (mut leases, now_ms) = (leases.borrow_mut(), limits.now_ms());
        let verdict = leases.take_alone(&mut share, key, now_ms);
        // What is owed may need the room of another key, whose tokens go back.
        self.send_lease_requests(&mut leases, now_ms, limits);
        verdict
    }

    /// Takes one token of this shard's own share.
    pub fn take_local(&self, key: &Key, limits: &ShardLimits) -> Verdict {
        let mut share = self.local_share.borrow_mut();
        share.follow(&self.id.rule);
        share.take(key, limits.now_ms())
    }

    /// The store has said that so many tokens are left in the key's bucket: this shard's own share goes on from its part
    /// of them.
    fn continue_from(&self, key: &Key, available: u64, limits: &ShardLimits) {
        let mut share = self.local_share.borrow_mut();
        share.follow(&self.id.rule);
        share.continue_from(self.id.rule.burst(), key, available, limits.now_ms());
    }

    /// Takes one token of a lease.
    ///
    /// # Errors
    /// The grant to wait for; `None`: the store does not answer.
    fn take_from_lease(
        self: &Rc<Meter>,
        key: &Key,
        limits: &ShardLimits,
    ) -> Result<Verdict, Option<Rc<PendingAnswer<()>>>> {
        if !limits.store_answers() {
            return Err(None);
        }
        let now_ms = limits.now_ms();
        let mut leases = self.leases().borrow_mut();
        let taken = leases.try_take(key, now_ms);
        let unsent = self.send_lease_requests(&mut leases, now_ms, limits);
        taken.map_err(|awaited| {
            let was_sent = unsent != Some(awaited.seq);
            was_sent.then(|| self.grants.borrow_mut().entry(awaited.seq).or_default().clone())
        })
    }

    /// Waits for grants until there is a verdict: the tokens of one may all go to requests that came before.
    async fn take_after(
        self: &Rc<Meter>,
        mut grant: Rc<PendingAnswer<()>>,
        key: &Key,
        limits: &ShardLimits,
    ) -> Option<Verdict> {
        loop {
            AnswerWaiter::new(grant).await?;
            match self.take_from_lease(key, limits) {
                Ok(verdict) => return Some(verdict),
                Err(next) => grant = next?,
            }
        }
    }

    /// Has the store take one token. `None`: the request was not sent.
    fn request_verdict(&self, key: &Key, limits: &ShardLimits) -> Option<Rc<PendingAnswer<Verdict>>> {
        let verdict = Rc::<PendingAnswer<Verdict>>::default();
        let MeterId { limit, rule, .. } = self.id.clone();
        let (shard, key) = (limits.shard, *key);
        let request = |ticket| StoreRequest::Strict { shard, ticket, limit, rule, key };
        limits.send(request, PendingRequest::Strict(verdict.clone()), limits.now_ms()).then_some(verdict)
    }

    /// The store has answered the lease request of this `seq`.
    pub fn granted(self: &Rc<Meter>, seq: u64, grant: &LeaseGrant, limits: &ShardLimits) {
        let now_ms = limits.now_ms();
        let mut leases = self.leases().borrow_mut();
        leases.granted(grant, now_ms);
        self.send_lease_requests(&mut leases, now_ms, limits);
        drop(leases);
        self.resolve_grant(seq, Some(()));
    }

    /// There is no answer to the lease request of this `seq`.
    /// Requests that wait are woken without a grant, and follow the limit's `on_store_failure`.
    pub fn failed(&self, key: &Key, seq: u64) {
        self.leases().borrow_mut().failed(key, seq);
        self.resolve_grant(seq, None);
    }

    /// Returns tokens of idle keys.
    pub fn tick(self: &Rc<Meter>, limits: &ShardLimits) {
        let now_ms = limits.now_ms();
        // While the store is lost, what is owed to it must not be forgotten.
        if let Some(leases) = self.leases.as_ref().filter(|_| limits.store_answers()) {
            let mut leases = leases.borrow_mut();
            leases.tick(now_ms);
            self.send_lease_requests(&mut leases, now_ms, limits);
        }
    }

    fn resolve_grant(&self, seq: u64, granted: Option<()>) {
        let grant = self.grants.borrow_mut().remove(&seq);
        if let Some(grant) = grant {
            grant.resolve(granted);
        }
    }

    /// Sends the lease requests of the outbox. Returns the `seq` of one that could not be sent, if any.
    fn send_lease_requests(
        self: &Rc<Meter>,
        leases: &mut Leases,
        now_ms: u64,
        limits: &ShardLimits,
    ) -> Option<u64> {
        let mut unsent = None;
        while let Some(request) = leases.outbox.pop() {
            if !self.send(request, now_ms, limits) {
                leases.failed(&request.key, request.seq);
                // The last one is that of the request; others only return tokens.
                unsent = unsent.max(Some(request.seq));
            }
        }
        unsent
    }

    fn send(self: &Rc<Meter>, request: LeaseRequest, now_ms: u64, limits: &ShardLimits) -> bool {
        let MeterId { limit, rule, .. } = self.id.clone();
        let (shard, key, seq) = (limits.shard, request.key, request.seq);
        let envelope = |ticket| StoreRequest::Lease { shard, ticket, limit, rule, request };
        limits.send(envelope, PendingRequest::Lease { meter: self.clone(), key, seq }, now_ms)
    }

    fn leases(&self) -> &RefCell<Leases> {
        self.leases.as_ref().expect("only meters of mode `shared` send lease requests")
    }
}
