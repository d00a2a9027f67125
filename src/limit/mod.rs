//! Rate limits: which requests are admitted, and what responses report of it. No clock, no socket, no lock.
//!
//! A [`Rule`] gives each [`Key`] a token bucket (or a window of tokens); a request takes one token. Where the bucket is
//! kept is the limit's mode:
//!
//! - `shared`: in the limit's [`BucketStore`], one for all shards and nodes. Shards spend from [`Leases`] on its
//!   buckets, which they trade in [`LeaseRequest`]s and [`LeaseGrant`]s.
//! - `strict`: in the bucket store too, which decides each request ([`BucketStore::take`]).
//! - `local`: in each shard, a share of the rule ([`BucketStore::local_share`]).
//!
//! The bucket store is a [`BucketStore`] in the embedded store, and Lua scripts of the store in Redis; both do the
//! same, token by token.
//!
//! The bounds of `shared`, which the simulation holds the code to:
//! - In no span of time, by the store's clock, are more requests admitted than the burst and the tokens gained in that
//!   span; in no window more than its tokens. Whatever messages are lost, late or repeated, whichever shard dies, and
//!   if clocks differ in speed by less than an eighth. The exception is a store that loses its data: buckets begin
//!   full.
//! - Beyond what requests wait for, leases hold a quarter of the bucket at most ([`PREFETCH_SHARE`]), and one shard's
//!   an eighth ([`LEASE_SHARE`]); a bucket of fewer than eight tokens is leased one by one. The tokens of an idle shard
//!   come back after [`IDLE_MS`]; those of a dead one count as spent after [`LEASE_LIFE_MS`], and are gained again.
//! - A key in steady use on all shards is admitted at least 95 % of what one exact bucket would admit, as long as an
//!   answer of the store takes much less time than the bucket takes to fill.
//! - Without the store, a shard admits what it holds, and then its part of what the bucket had when the store last
//!   answered and of what comes in. The latter is owed, one burst at most, and paid before anything else: over any number
//!   of losses, a gateway admits one burst more than the rule.
//! - Tables are bounded. A shard forgets a key's lease, and the store a key's bucket, when others need the room; the key
//!   never gains by it. It may lose some tokens where very many were forgotten.

mod bucket;
mod bucket_store;
mod evicted;
mod headers;
mod in_flight;
mod key;
mod lease;
mod leases;
mod messages;
mod report;
mod rule;

pub use bucket::Verdict;
pub use bucket_store::{BucketStore, PREFETCH_SHARE};
pub use in_flight::{CountedInFlight, InFlightCount};
pub use key::Key;
pub use lease::LEASE_SHARE;
pub use leases::{AwaitGrant, IDLE_MS, Leases};
pub use messages::{LEASE_LIFE_MS, LeaseGrant, LeaseRequest, Leaseholder};
pub use report::LimitReport;
pub use rule::Rule;

#[cfg(test)]
mod simulation;
