//! Where a rule of a limit is counted on this shard: from leases, in the store, or by a share of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use super::ShardLimits;
use super::tickets::Asked;
use super::wait::{Outcome, Wait};
use crate::limit::{
    BucketStore, Decision, Key, LeaseGrant, LeaseRequest, Leaseholder, Leases, Rule, Verdict, local,
};
use crate::plan::LimitMode;
use crate::store::StoreRequest;

/// Keys of one rule that a shard keeps at a time.
const MAX_KEYS: usize = 65_536;

/// What two limits must have in common to be counted together: before and after a reload, or for two consumers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeterId {
    /// In the store.
    pub limit: Arc<str>,
    pub rule: Rule,
    pub mode: LimitMode,
}

pub struct Meter {
    pub id: MeterId,
    /// For `shared`.
    leases: Option<RefCell<Leases>>,
    /// By the number of the ask whose answer they wait for.
    waits: RefCell<HashMap<u64, Rc<Wait>>>,
    /// This shard's share of the rule: for `local`, and while the store is lost. Made when it is first needed.
    share: RefCell<Option<BucketStore>>,
}

/// What becomes of a request.
pub enum Taken {
    Done(Verdict),
    /// It waits for the store.
    Wait(Rc<Wait>),
    /// The store is lost.
    Lost,
}

impl Meter {
    pub fn new(id: MeterId) -> Meter {
        let leases = || {
            let holder = Leaseholder(RandomState::new().hash_one("holder"));
            RefCell::new(Leases::new(&id.rule, holder, MAX_KEYS))
        };
        let leases = (id.mode == LimitMode::Shared).then(leases);
        Meter { id, leases, waits: RefCell::default(), share: RefCell::default() }
    }

    /// Keys that are kept here.
    pub fn keys(&self) -> usize {
        let leased = self.leases.as_ref().map_or(0, |leases| leases.borrow().len());
        leased + self.share.borrow().as_ref().map_or(0, BucketStore::len)
    }

    /// One token for one request.
    pub fn take(self: &Rc<Meter>, key: &Key, limits: &ShardLimits) -> Taken {
        match self.id.mode {
            LimitMode::Local => Taken::Done(self.take_of_share(key, limits)),
            _ if !limits.store_answers() => Taken::Lost,
            LimitMode::Shared => self.take_of_lease(key, limits),
            LimitMode::Strict => self.ask_store(key, limits),
        }
    }

    /// One token of what is this shard's own.
    pub fn take_of_share(&self, key: &Key, limits: &ShardLimits) -> Verdict {
        let mut share = self.share.borrow_mut();
        let share = share
            .get_or_insert_with(|| local(&self.id.rule, limits.shards as u64, limits.shard as u64, MAX_KEYS));
        share.take(key, limits.now_ms())
    }

    fn take_of_lease(self: &Rc<Meter>, key: &Key, limits: &ShardLimits) -> Taken {
        let now_ms = limits.now_ms();
        let mut leases = self.leases().borrow_mut();
        let decision = leases.try_take(key, now_ms);
        let unsent = self.send_asks(&mut leases, now_ms, limits);
        match decision {
            Decision::Done(verdict) => Taken::Done(verdict),
            Decision::Wait(seq) if unsent == Some(seq) => Taken::Lost,
            Decision::Wait(seq) => Taken::Wait(self.waits.borrow_mut().entry(seq).or_default().clone()),
        }
    }

    fn ask_store(&self, key: &Key, limits: &ShardLimits) -> Taken {
        let wait = Rc::<Wait>::default();
        let MeterId { limit, rule, .. } = self.id.clone();
        let (shard, key) = (limits.shard, *key);
        let request = |ticket| StoreRequest::Strict { shard, ticket, limit, rule, key };
        let sent = limits.ask(request, Asked::Strict(wait.clone()), limits.now_ms());
        if sent { Taken::Wait(wait) } else { Taken::Lost }
    }

    /// The store's answer to the ask of this number.
    pub fn granted(self: &Rc<Meter>, seq: u64, grant: &LeaseGrant, limits: &ShardLimits) {
        let now_ms = limits.now_ms();
        let mut leases = self.leases().borrow_mut();
        leases.granted(grant, now_ms);
        self.send_asks(&mut leases, now_ms, limits);
        drop(leases);
        self.end_wait(seq, Outcome::Granted);
    }

    /// There is no answer to the ask of this number.
    pub fn failed(&self, key: &Key, seq: u64) {
        self.leases().borrow_mut().failed(key, seq);
        self.end_wait(seq, Outcome::Failed);
    }

    /// Gives back what is not in use.
    pub fn tick(self: &Rc<Meter>, limits: &ShardLimits) {
        let now_ms = limits.now_ms();
        if let Some(leases) = &self.leases {
            let mut leases = leases.borrow_mut();
            leases.tick(now_ms);
            self.send_asks(&mut leases, now_ms, limits);
        }
        if let Some(share) = &mut *self.share.borrow_mut() {
            share.tick(now_ms);
        }
    }

    fn end_wait(&self, seq: u64, outcome: Outcome) {
        let wait = self.waits.borrow_mut().remove(&seq);
        if let Some(wait) = wait {
            wait.end(outcome);
        }
    }

    /// Sends what the leases want to be sent. Returns the number of one that was not, if any.
    fn send_asks(self: &Rc<Meter>, leases: &mut Leases, now_ms: u64, limits: &ShardLimits) -> Option<u64> {
        let mut unsent = None;
        while let Some(ask) = leases.outbox.pop() {
            if !self.send(ask, now_ms, limits) {
                leases.failed(&ask.key, ask.seq);
                unsent = Some(ask.seq);
            }
        }
        unsent
    }

    fn send(self: &Rc<Meter>, ask: LeaseRequest, now_ms: u64, limits: &ShardLimits) -> bool {
        let MeterId { limit, rule, .. } = self.id.clone();
        let shard = limits.shard;
        let request = |ticket| StoreRequest::Lease { shard, ticket, limit, rule, ask };
        limits.ask(request, Asked::Lease { meter: self.clone(), key: ask.key, seq: ask.seq }, now_ms)
    }

    fn leases(&self) -> &RefCell<Leases> {
        self.leases.as_ref().expect("only what is shared has asked for leases")
    }
}
