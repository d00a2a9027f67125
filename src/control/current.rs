//! The generation that is served now: what a shard gets when it is seated, and when all swap.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use crate::auth::jwt::Provider;
use crate::auth::keys::KeySet;
use crate::config::Plan;
use crate::config::plan::Jwt;
use crate::control::listen::{Change, Listeners};
use crate::control::recipe::Prepared;
use crate::control::resolve::{self, Name};
use crate::route;
use crate::shard::{Addresses, Generation, Listener};

/// One generation, of which every shard has its own copy.
pub struct Current {
    /// 1 at the start, one more with each reload.
    pub number: u64,
    pub plan: Arc<Plan>,
    /// Built once; each shard has a clone.
    pub table: route::Table,
    /// The names of the plan's targets.
    pub names: HashSet<Name>,
    /// Those of them that have addresses.
    pub addresses: Arc<Addresses>,
    pub listeners: Listeners,
}

impl Current {
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
            providers: providers(&self.plan),
            listeners,
        }
    }

    /// The first generation.
    pub fn first(prepared: Prepared, listeners: Listeners) -> Current {
        let Prepared { plan, table, names, found, .. } = prepared;
        let addresses = resolve::merge(&Addresses::new(), &found).unwrap_or_default();
        Current { number: 1, plan, table, names, addresses: Arc::new(addresses), listeners }
    }

    /// The next generation takes this one's place. Returns the listeners that are wanted no more.
    pub fn advance(&mut self, prepared: Prepared, change: Change) -> Listeners {
        let Prepared { plan, table, names, found, .. } = prepared;
        let known = resolve::keep(&self.addresses, &names);
        let addresses = resolve::merge(&known, &found).unwrap_or(known);
        let listeners = std::mem::take(&mut self.listeners);
        *self = Current {
            number: self.number + 1,
            plan,
            table,
            names,
            addresses: Arc::new(addresses),
            listeners,
        };
        self.listeners.apply(change)
    }
}

/// The plan's providers with the keys that the configuration holds.
fn providers(plan: &Plan) -> Arc<[Arc<Provider>]> {
    // Keys were read when the configuration was checked.
    let provider = |jwt: &Arc<Jwt>| {
        Arc::new(Provider::new(jwt.clone(), Arc::new(KeySet::build(jwt).unwrap_or_else(|_| KeySet::empty()))))
    };
    plan.jwts.iter().map(provider).collect()
}
