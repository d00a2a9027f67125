//! The generation that is served now: what a shard gets when it is seated, and when all swap.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::auth::jwt::Provider;
use crate::control::jwks::KeySets;
use crate::control::listen::{ListenerChange, Listeners};
use crate::control::prepare::Prepared;
use crate::control::resolve::{self, HostPort};
use crate::plan::Plan;
use crate::route;
use crate::shard::{Addresses, Generation, Listener};

/// One generation, of which every shard has its own copy.
pub struct CurrentGeneration {
    /// 1 at the start, one more with each reload.
    pub number: u64,
    pub plan: Arc<Plan>,
    /// Built once; each shard has a clone.
    pub table: route::RouteTable,
    /// The names of the plan's targets.
    pub names: HashSet<HostPort>,
    /// Those of them that have addresses.
    pub addresses: Arc<Addresses>,
    /// The JWK sets that are fetched.
    pub key_sets: KeySets,
    /// All of the plan, in its order.
    pub providers: Arc<[Arc<Provider>]>,
    pub listeners: Listeners,
}

impl CurrentGeneration {
    /// A shard's own copy. Fails where the process has no file descriptor left.
    pub fn generation_for(&self, shard: usize) -> io::Result<Generation> {
        Ok(self.generation_with(self.listeners.of_shard(shard)?))
    }

    /// The same with a shard's listeners at hand.
    pub fn generation_with(&self, listeners: Vec<Listener>) -> Generation {
        Generation {
            number: self.number,
            plan: self.plan.clone(),
            table: self.table.clone(),
            addresses: self.addresses.clone(),
            providers: self.providers.clone(),
            listeners,
        }
    }

    /// The first generation.
    pub fn first(prepared: Prepared, listeners: Listeners) -> CurrentGeneration {
        let Prepared { plan, table, names, found, keys, .. } = prepared;
        let addresses = Arc::new(resolve::merge(&Addresses::new(), &found).unwrap_or_default());
        let now = Instant::now();
        let mut key_sets = KeySets::new(now);
        key_sets.follow(&plan, keys, now);
        let providers = key_sets.providers(&plan, &[]);
        CurrentGeneration { number: 1, plan, table, names, addresses, key_sets, providers, listeners }
    }

    /// The next generation takes this one's place. Returns the listeners that are wanted no more.
    pub fn advance(&mut self, prepared: Prepared, change: ListenerChange) -> Listeners {
        let Prepared { plan, table, names, found, keys, .. } = prepared;
        let known = resolve::keep(&self.addresses, &names);
        self.addresses = Arc::new(resolve::merge(&known, &found).unwrap_or(known));
        self.key_sets.follow(&plan, keys, Instant::now());
        self.providers = self.key_sets.providers(&plan, &self.providers);
        self.number += 1;
        (self.plan, self.table, self.names) = (plan, table, names);
        self.listeners.apply(change)
    }
}
