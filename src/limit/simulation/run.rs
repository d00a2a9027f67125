//! Shards of several nodes, one bucket store, and every fault between them, in an order drawn from a seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::oracle::Oracle;
use crate::limit::{AwaitGrant, BucketStore, Key, LeaseGrant, LeaseRequest, Leaseholder, Leases, Rule};

/// What may happen in a run. Times are in microseconds of the simulation's own time.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) rule: Rule,
    pub(super) nodes: usize,
    pub(super) shards: usize,
    pub(super) keys: usize,
    pub(super) max_store_keys: usize,
    pub(super) max_shard_keys: usize,
    /// Between two requests of one shard, on average.
    pub(super) gap_us: u64,
    /// A message's way, at least and at most.
    pub(super) min_delay_us: u64,
    pub(super) delay_us: u64,
    /// When a shard gives up a lease request.
    pub(super) timeout_us: u64,
    /// Of each `period_us`, how long the store stands still at the end.
    pub(super) frozen_us: u64,
    pub(super) period_us: u64,
    /// How requests are decided to which the store gives no answer; `None`: they are refused.
    pub(super) alone: Option<WithoutStore>,
    /// Of a thousand messages.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Those that take up to ten seconds.
    pub(super) late: u64,
    /// Of a thousand requests, those after which the shard or its node dies, stands still, or has no requests for long.
    pub(super) crashes: u64,
    pub(super) halts: u64,
    pub(super) pauses: u64,
    /// By how much the shards' clocks may be faster or slower than the store's, in thousandths.
    pub(super) skew: u64,
    pub(super) end_us: u64,
    pub(super) max_steps: usize,
}

/// Requests that are decided without the store.
#[derive(Clone, Debug)]
pub(super) struct WithoutStore {
    /// How long a request waits for the store at most.
    pub(super) patience_us: u64,
    /// What all that is admitted keeps to, with the store or without.
    pub(super) bound: Rule,
}

#[derive(Clone, Debug)]
enum SimEvent {
    Request {
        shard: usize,
    },
    Tick {
        shard: usize,
    },
    StoreTick,
    AtStore {
        shard: usize,
        life: u64,
        request: LeaseRequest,
    },
    AtShard {
        shard: usize,
        life: u64,
        grant: LeaseGrant,
    },
    TimedOut {
        shard: usize,
        life: u64,
        key: Key,
        seq: u64,
    },
    /// Requests of this shard have waited for as long as they may.
    Impatient {
        shard: usize,
    },
}

/// A request that waits for the answer to a lease request.
#[derive(Clone, Copy)]
struct SimWaiter {
    key: Key,
    seq: u64,
    until_us: u64,
}

struct SimShard {
    leases: Leases,
    holder: Leaseholder,
    /// Counts its restarts; what was sent to an earlier life does not arrive.
    life: u64,
    waiting: Vec<SimWaiter>,
    share: BucketStore,
    /// Until then it takes the store for lost.
    lost_until_us: u64,
    halted_until_us: u64,
    /// Its clock: `offset + speed / 1000 * time`.
    offset_ms: u64,
    speed: u64,
}

pub(super) struct Simulation {
    scenario: Scenario,
    random: SimRandom,
    now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<SimEvent>,
    store: BucketStore,
    store_offset_ms: u64,
    shards: Vec<SimShard>,
    oracles: HashMap<Key, Oracle>,
    pub(super) admitted: u64,
    /// Of these, without the store.
    pub(super) admitted_alone: u64,
    bounds: HashMap<Key, Oracle>,
    /// What one exact bucket per key would have admitted of the same requests.
    pub(super) ideal: u64,
    ideals: HashMap<Key, Oracle>,
}

impl Simulation {
    pub(super) fn new(scenario: Scenario, seed: u64) -> Simulation {
        let mut random = SimRandom(seed);
        let mut simulation = Simulation {
            now_us: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            store: BucketStore::new(&scenario.rule, scenario.max_store_keys),
            store_offset_ms: 1_700_000_000_000 + random.below(100_000_000),
            shards: Vec::new(),
            oracles: HashMap::new(),
            ideal: 0,
            ideals: HashMap::new(),
            admitted: 0,
            admitted_alone: 0,
            bounds: HashMap::new(),
            random,
            scenario,
        };
        for index in 0..simulation.scenario.nodes * simulation.scenario.shards {
            let shard = simulation.new_shard(index, 0);
            simulation.shards.push(shard);
            let first = simulation.random.below(simulation.scenario.gap_us + 1);
            simulation.after(first, SimEvent::Request { shard: index });
            simulation.after(first, SimEvent::Tick { shard: index });
        }
        simulation.after(0, SimEvent::StoreTick);
        simulation
    }

    fn new_shard(&mut self, index: usize, life: u64) -> SimShard {
        let (rule, shards) = (&self.scenario.rule, self.scenario.shards);
        let share = BucketStore::local_share(rule, shards as u64, (index % shards) as u64, 100);
        let holder = Leaseholder(self.random.next());
        let skew = self.scenario.skew;
        SimShard {
            leases: Leases::new(&self.scenario.rule, holder, self.scenario.max_shard_keys),
            holder,
            life,
            waiting: Vec::new(),
            share,
            lost_until_us: 0,
            halted_until_us: 0,
            offset_ms: self.random.below(1_000_000),
            speed: 1_000 - skew + self.random.below(2 * skew + 1),
        }
    }

    /// Runs to the end; panics where a rule is broken.
    pub(super) fn run(&mut self) {
        for _ in 0..self.scenario.max_steps {
            let Some(Reverse((at_us, _, event))) = self.queue.pop() else { return };
            if at_us > self.scenario.end_us {
                return;
            }
            self.now_us = at_us;
            let event = self.events[event].clone();
            if let Some(key) = self.handle(event) {
                self.check_invariants(&key);
            }
        }
    }

    fn after(&mut self, delay_us: u64, event: SimEvent) {
        let order = self.events.len();
        self.events.push(event);
        self.queue.push(Reverse((self.now_us + delay_us, order as u64, order)));
    }

    fn store_ms(&self) -> u64 {
        self.store_offset_ms + self.now_us / 1_000
    }

    fn shard_ms(&self, shard: usize) -> u64 {
        let shard = &self.shards[shard];
        shard.offset_ms + self.now_us * shard.speed / 1_000_000
    }

    /// Handles an event; returns the key that it was about.
    fn handle(&mut self, event: SimEvent) -> Option<Key> {
        if let SimEvent::Request { shard } | SimEvent::Tick { shard } | SimEvent::AtShard { shard, .. } =
            event
        {
            let halted_until_us = self.shards[shard].halted_until_us;
            if halted_until_us > self.now_us {
                self.after(halted_until_us - self.now_us, event);
                return None;
            }
        }
        match event {
            SimEvent::Request { shard } => Some(self.request(shard)),
            SimEvent::Tick { shard } => {
                let now_ms = self.shard_ms(shard);
                self.shards[shard].leases.tick(now_ms);
                self.send(shard);
                self.after(100_000, SimEvent::Tick { shard });
                None
            }
            SimEvent::StoreTick => {
                self.store.tick(self.store_ms());
                self.after(1_000_000, SimEvent::StoreTick);
                None
            }
            SimEvent::AtStore { .. } if self.thaws_in_us() > 0 => {
                self.after(self.thaws_in_us(), event);
                None
            }
            SimEvent::AtStore { shard, life, request } => {
                let grant = self.store.lease(&request, self.store_ms());
                self.deliver(SimEvent::AtShard { shard, life, grant });
                Some(request.key)
            }
            SimEvent::AtShard { shard, life, grant } => {
                let now_ms = self.shard_ms(shard);
                if self.shards[shard].life == life {
                    self.shards[shard].leases.granted(&grant, now_ms);
                    self.send(shard);
                    self.wake(shard, grant.seq);
                }
                Some(grant.key)
            }
            SimEvent::TimedOut { shard, life, key, seq } => {
                if self.shards[shard].life == life {
                    self.shards[shard].leases.failed(&key, seq);
                    let thaws_in_us = self.thaws_in_us();
                    if thaws_in_us > 0 {
                        self.shards[shard].lost_until_us =
                            self.now_us + thaws_in_us + self.random.below(50_000);
                    }
                    for waiter in self.take_waiting(shard, |waiter| waiter.seq == seq) {
                        self.decide_alone(shard, waiter.key);
                    }
                }
                Some(key)
            }
            SimEvent::Impatient { shard } => {
                let now_us = self.now_us;
                for waiter in self.take_waiting(shard, |waiter| waiter.until_us <= now_us) {
                    self.decide_alone(shard, waiter.key);
                }
                None
            }
        }
    }

    fn request(&mut self, shard: usize) -> Key {
        // The first key is the hot one.
        let index =
            self.random.below(self.scenario.keys as u64).min(self.random.below(self.scenario.keys as u64));
        let key = Key::new(&index.to_be_bytes());
        let (rule, now_ms) = (self.scenario.rule, self.store_ms());
        let ideal = self.ideals.entry(key).or_insert_with(|| Oracle::new(&rule, now_ms));
        self.ideal += u64::from(ideal.admit(now_ms));
        let patience_us = self.scenario.alone.as_ref().map_or(u64::MAX / 2, |alone| alone.patience_us);
        self.decide(shard, key, self.now_us + patience_us);
        let mut gap_us = self.random.below(2 * self.scenario.gap_us + 1);
        if self.random.chance(self.scenario.pauses) {
            gap_us += self.random.below(20_000_000);
        }
        self.after(gap_us, SimEvent::Request { shard });
        if self.random.chance(self.scenario.halts) {
            self.shards[shard].halted_until_us = self.now_us + self.random.below(10_000_000);
        }
        if self.random.chance(self.scenario.crashes) {
            self.crash(shard);
        }
        key
    }

    /// A shard dies, or all shards of its node, with all requests that wait there.
    fn crash(&mut self, shard: usize) {
        let node = shard / self.scenario.shards * self.scenario.shards;
        let dead = if self.random.chance(500) { node..node + self.scenario.shards } else { shard..shard + 1 };
        for index in dead {
            let life = self.shards[index].life + 1;
            self.shards[index] = self.new_shard(index, life);
        }
    }

    fn decide(&mut self, shard: usize, key: Key, until_us: u64) {
        if self.shards[shard].lost_until_us > self.now_us {
            return self.decide_alone(shard, key);
        }
        let now_ms = self.shard_ms(shard);
        let taken = self.shards[shard].leases.try_take(&key, now_ms);
        self.send(shard);
        match taken {
            Ok(verdict) if verdict.allowed => self.admit(key),
            Ok(_) => {}
            Err(AwaitGrant { seq }) => {
                self.shards[shard].waiting.push(SimWaiter { key, seq, until_us });
                if self.scenario.alone.is_some() {
                    self.after(until_us.saturating_sub(self.now_us), SimEvent::Impatient { shard });
                }
            }
        }
    }

    fn decide_alone(&mut self, shard: usize, key: Key) {
        if self.scenario.alone.is_none() {
            return;
        }
        let now_ms = self.shard_ms(shard);
        let SimShard { leases, share, .. } = &mut self.shards[shard];
        let held = leases.unspent(&key, now_ms).unwrap_or(0);
        if !leases.take_alone(share, &key, now_ms).allowed {
            return;
        }
        if held > 0 {
            self.admit(key);
        } else {
            self.admitted += 1;
            self.admitted_alone += 1;
            self.keep_to_bound(key);
        }
    }

    fn keep_to_bound(&mut self, key: Key) {
        let now_ms = self.store_ms();
        if let Some(WithoutStore { bound, .. }) = &self.scenario.alone {
            let oracle = self.bounds.entry(key).or_insert_with(|| Oracle::new(bound, now_ms));
            assert!(oracle.admit(now_ms), "more was admitted than {bound:?}");
        }
    }

    /// How long the store stands still yet.
    fn thaws_in_us(&self) -> u64 {
        let left_us = self.scenario.period_us - self.now_us % self.scenario.period_us;
        if left_us <= self.scenario.frozen_us { left_us } else { 0 }
    }

    fn admit(&mut self, key: Key) {
        self.admitted += 1;
        let now_ms = self.store_ms();
        let rule = self.scenario.rule;
        let oracle = self.oracles.entry(key).or_insert_with(|| Oracle::new(&rule, now_ms));
        assert!(oracle.admit(now_ms), "more was admitted than {rule:?} allows");
        self.keep_to_bound(key);
    }

    fn wake(&mut self, shard: usize, seq: u64) {
        for waiter in self.take_waiting(shard, |waiter| waiter.seq == seq) {
            self.decide(shard, waiter.key, waiter.until_us);
        }
    }

    fn take_waiting(&mut self, shard: usize, taken: impl Fn(&SimWaiter) -> bool) -> Vec<SimWaiter> {
        self.shards[shard].waiting.extract_if(.., |waiter| taken(waiter)).collect()
    }

    fn send(&mut self, shard: usize) {
        let requests = std::mem::take(&mut self.shards[shard].leases.outbox);
        let life = self.shards[shard].life;
        for request in requests {
            self.deliver(SimEvent::AtStore { shard, life, request });
            let (key, seq) = (request.key, request.seq);
            self.after(self.scenario.timeout_us, SimEvent::TimedOut { shard, life, key, seq });
        }
    }

    /// Delivers a message, once or twice, or loses it.
    fn deliver(&mut self, message: SimEvent) {
        if self.random.chance(self.scenario.doubled) {
            let delay_us = self.delay_us();
            self.after(delay_us, message.clone());
        }
        if !self.random.chance(self.scenario.lost) {
            let delay_us = self.delay_us();
            self.after(delay_us, message);
        }
    }

    fn delay_us(&mut self) -> u64 {
        let late = self.random.chance(self.scenario.late);
        let (least, most) = (self.scenario.min_delay_us, self.scenario.delay_us);
        least + self.random.below(1 + if late { 10_000_000 } else { most - least })
    }

    /// No token is in two places: those in the bucket and those leased are the burst at most, and no shard holds more
    /// than its lease, which has not ended.
    fn check_invariants(&self, key: &Key) {
        let audit = self.store.audit(key, self.store_ms());
        let (tokens, leases) = audit.unwrap_or((0, Vec::new()));
        let sum: u64 = tokens + leases.iter().map(|(_, leased)| leased).sum::<u64>();
        assert!(sum <= self.scenario.rule.burst(), "{tokens} in the bucket and {leases:?} leased");
        if self.scenario.keys > self.scenario.max_store_keys {
            // What is on the leases of an evicted bucket counts as spent.
            return;
        }
        for (index, shard) in self.shards.iter().enumerate() {
            let unspent = shard.leases.unspent(key, self.shard_ms(index)).unwrap_or(0);
            let own = leases.iter().find(|(holder, _)| *holder == shard.holder);
            let leased = own.map_or(0, |(_, leased)| *leased);
            assert!(unspent <= leased, "shard {index} holds {unspent} tokens, of which {leased} are leased");
        }
    }
}

/// SplitMix64.
pub(super) struct SimRandom(pub(super) u64);

impl SimRandom {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1_000) < thousandths
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
