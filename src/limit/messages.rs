//! What a shard and the bank of one limit say to each other about leases.
//!
//! A shard sends an [`LeaseRequest`] and gets a [`LeaseGrant`]; a give-back is an ask that wants nothing, and its grant may be thrown
//! away. Both count in absolute numbers, never in differences, and asks are numbered. So a message that is lost,
//! comes twice, or comes late costs tokens at worst; it never makes one. The limit itself is named by the envelope that
//! carries these.

use super::key::Key;

/// How long a lease lives at the bank, counted from the ask's arrival there, in milliseconds. What a dead holder had is
/// missing from the bucket for at most this long.
pub const LEASE_LIFE_MS: u64 = 4_000;

/// Who holds a lease: one life of one shard's [`Leases`](super::Leases).
///
/// Drawn at random whenever one is made: a number is never used for a limit again, not by the same shard after a
/// restart either, since its asks would be numbered from 1 again and taken for late ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leaseholder(pub u64);

/// A shard tells the bank what it still holds of a key and how much more it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    pub key: Key,
    pub holder: Leaseholder,
    /// Counts up over all keys of the holder; at least 1.
    pub seq: u64,
    /// Unspent tokens that the holder keeps. What the bank has booked for it beyond these is spent or lost.
    pub held: u64,
    /// Unspent tokens that go back into the bucket; not part of `held`.
    pub returned: u64,
    /// Requests that wait for a token now.
    pub need: u64,
    /// Tokens beyond that, to be spent before the next ask.
    pub ahead: u64,
}

/// The bank's answer to the ask of the same `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    pub key: Key,
    pub seq: u64,
    /// All that the holder holds now, as the bank has booked it: at most the ask's `held + need + ahead`. The holder
    /// takes from it what it spent since it sent the ask.
    pub tokens: u64,
    /// Tokens left in the bank.
    pub level: u64,
    /// Tokens that other holders have, as far as the bank knows.
    pub lent: u64,
    /// Life of the lease from the ask's arrival at the bank, in milliseconds. The holder counts it from before it sent
    /// the ask, and takes a margin off.
    pub expires_in_ms: u64,
    /// Milliseconds until the bank has a token; 0 if it has one.
    pub retry_after_ms: u64,
    /// Milliseconds until the bucket is full if nothing more is spent; for a window, until it ends.
    pub reset_ms: u64,
    /// The bank's table is full and the key not in it: the holder is to ask for [`Key::OVERFLOW`] instead. All other
    /// numbers are 0.
    pub full: bool,
}
