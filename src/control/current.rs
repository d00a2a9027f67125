//! The generation in force: what a shard is spawned with, and what all shards swap to at a reload.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::auth::jwt::Provider;
use crate::control::health::HealthChecks;
use crate::control::jwks::KeySets;
use crate::control::listen::{ListenerChange, Listeners};
use crate::control::prepare::Prepared;
use crate::control::resolve::{self, HostPort};
use crate::plan::Plan;
use crate::route;
use crate::shard::{Addresses, Generation, Listener};

/// The generation in force. Every shard has a copy of its own, made by [`CurrentGeneration::generation_for`].
pub struct CurrentGeneration {
    /// 1 at the start, one more with each reload that succeeds.
    pub number: u64,
    pub plan: Arc<Plan>,
    /// Built once, because that takes long with many routes; each shard gets a clone.
    pub table: route::RouteTable,
    /// The host names of the plan's targets.
    pub names: HashSet<HostPort>,
    /// The addresses of those names that have been resolved.
    pub addresses: Arc<Addresses>,
    /// The health checks of its endpoints.
    pub health: HealthChecks,
    /// The JWK sets that are fetched, and when each is due.
    pub key_sets: KeySets,
    /// All JWT providers, by the plan's indices.
    pub providers: Arc<[Arc<Provider>]>,
    pub listeners: Listeners,
}

impl CurrentGeneration {
    /// A shard's own copy, with clones of its listeners.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn generation_for(&self, shard: usize) -> io::Result<Generation> {
        Ok(self.generation_with(self.listeners.of_shard(shard)?))
    }

    /// The same with listeners that were cloned before.
    pub fn generation_with(&self, listeners: Vec<Listener>) -> Generation {
        Generation {
            number: self.number,
            plan: self.plan.clone(),
            table: self.table.clone(),
            addresses: self.addresses.clone(),
            unhealthy: self.health.unhealthy(),
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
        let health = HealthChecks::default();
        CurrentGeneration { number: 1, plan, table, names, addresses, health, key_sets, providers, listeners }
    }

    /// Replaces this generation by the next one. Names and key sets that both have keep what is known of them. Returns
    /// the listeners that the next one does not have.
    pub fn advance(&mut self, prepared: Prepared, change: ListenerChange) -> Listeners {
        let Prepared { plan, table, names, found, keys, .. } = prepared;
        let known = resolve::retain(&self.addresses, &names);
        self.addresses = Arc::new(resolve::merge(&known, &found).unwrap_or(known));
        self.key_sets.follow(&plan, keys, Instant::now());
        self.providers = self.key_sets.providers(&plan, &self.providers);
        self.number += 1;
        (self.plan, self.table, self.names) = (plan, table, names);
        self.listeners.apply(change)
    }
}
