//! Rate limits: who may pass, and what is told of it. No clock, no socket, no lock.
//!
//! A [`Rule`] gives each [`Key`] a bucket (or a window) of tokens; a request takes one. Where the bucket is kept is the
//! limit's mode:
//!
//! - `shared`: in the limit's [`BucketStore`], one for all shards and nodes. Shards spend from [`Leases`] on it, which
//!   they trade in [`LeaseRequest`]s and [`LeaseGrant`]s.
//! - `strict`: in the bank too, which is asked for each request ([`BucketStore::take`]).
//! - `local`: in each shard, a share of it ([`local`]).
//!
//! The bank is a [`BucketStore`] in the embedded store, and the scripts of [`lua`] in Redis; both do the same, token by token.
//!
//! The bounds of `shared`, which the simulation holds the code to:
//! - In no span of time, by the bank's clock, are more requests admitted than the burst and what came in that span; in
//!   no window more than its tokens. Whatever messages are lost, late or repeated, whoever dies, and if clocks
//!   differ in speed by less than an eighth. An exception is a bank that loses its state: it begins full.
//! - Ahead of requests, leases hold a quarter of the bucket at most ([`AHEAD_SHARE`]), and one shard's an eighth
//!   ([`LEASE_SHARE`]); a bucket of fewer than eight tokens is lent one by one. What is held by an idle shard comes
//!   back after [`IDLE_MS`], by a dead one after [`LEASE_LIFE_MS`] and then as spent tokens do.
//! - A key in steady use on all shards is admitted at least 95 % of what one exact bucket would admit, as long as an
//!   answer of the bank takes much less time than the bucket takes to fill.
//! - Keys beyond a table's bound share [`Key::OVERFLOW`].

mod bucket;
mod bucket_store;
mod demand;
mod headers;
mod key;
mod lease;
mod local;
pub mod lua;
mod messages;
mod report;
mod rule;
mod shard;

pub use bucket::Verdict;
pub use bucket_store::{AHEAD_SHARE, BucketStore};
pub use key::{Key, MAX_KEY_BYTES};
pub use lease::LEASE_SHARE;
pub use local::local;
pub use messages::{LEASE_LIFE_MS, LeaseGrant, LeaseRequest, Leaseholder};
pub use report::LimitReport;
pub use rule::{Algorithm, MAX_TOKENS, Period, Rule};
pub use shard::{Decision, IDLE_MS, Leases};

#[cfg(test)]
mod simulation;
