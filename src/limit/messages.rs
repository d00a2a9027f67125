//! The messages between a shard and the bucket store of one limit about leases.
//!
//! A shard sends a [`LeaseRequest`] and gets a [`LeaseGrant`]. To return tokens it sends a request that needs nothing,
//! whose grant may be dropped. Both carry absolute numbers, never differences, and requests are numbered: a message
//! that is lost, duplicated or late can cost tokens, but never create any. The limit itself is named by the envelope
//! ([`crate::store::StoreRequest`]) that carries these.

use super::key::Key;

/// How long a lease lives in the bucket store, counted from the request's arrival there, in milliseconds. The tokens of
/// a shard that died are missing from the bucket for at most this long.
pub const LEASE_LIFE_MS: u64 = 4_000;

/// The holder of a lease: one life of one shard's [`Leases`](super::Leases).
///
/// Drawn at random whenever one is made. A number is never used for a limit again, not even by the same shard after a
/// restart: its requests would be numbered from 1 again and taken for late ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leaseholder(pub u64);

/// What a shard still holds of a key's lease, and how many tokens more it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    pub key: Key,
    pub holder: Leaseholder,
    /// Counts up over all keys of the holder; at least 1.
    pub seq: u64,
    /// Unspent tokens that the holder keeps. Whatever else the store has leased to it is spent or lost.
    pub kept: u64,
    /// Unspent tokens that go back into the bucket; not part of `kept`.
    pub returned: u64,
    /// Tokens for requests that wait now.
    pub needed: u64,
    /// Tokens beyond those, to be spent before the next lease request.
    pub prefetch: u64,
}

/// The bucket store's answer to the lease request of the same `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    pub key: Key,
    pub seq: u64,
    /// All tokens of the lease now: at most the request's `kept + needed + prefetch`. The holder subtracts what it has
    /// spent since it sent the request.
    pub granted: u64,
    /// Tokens left in the bucket.
    pub available: u64,
    /// Tokens leased to other holders, as far as the store knows.
    pub leased_to_others: u64,
    /// Life of the lease from the request's arrival at the store, in milliseconds. The holder counts it from before it
    /// sent the request, and subtracts a margin.
    pub expires_in_ms: u64,
    /// Milliseconds until the bucket has a token; 0 if it has one.
    pub retry_after_ms: u64,
    /// Milliseconds until the bucket is full if nothing more is spent; for a window, until it ends.
    pub reset_ms: u64,
}
