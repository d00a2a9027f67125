//! Leases of one shard: which tokens it requests, spends and returns.

use super::*;
use crate::limit::{BucketStore, LEASE_LIFE_MS, LEASE_SHARE};
use crate::plan::Period;

fn key(number: u32) -> Key {
    Key::new(&number.to_be_bytes())
}

fn leases(rule: &Rule, max_keys: usize) -> Leases {
    Leases::new(rule, Leaseholder(1), max_keys)
}

fn minutely(tokens: u64) -> Rule {
    Rule::token_bucket(tokens, Period::Minute, tokens)
}

fn allowed(taken: Result<Verdict, AwaitGrant>) -> bool {
    taken.is_ok_and(|verdict| verdict.allowed)
}

/// Carries all lease requests to the store and the grants back, at once. Returns how many there were.
fn exchange(leases: &mut Leases, store: &mut BucketStore, now_ms: u64) -> usize {
    let mut count = 0;
    while !leases.outbox.is_empty() {
        for request in std::mem::take(&mut leases.outbox) {
            leases.granted(&store.lease(&request, now_ms), now_ms);
            count += 1;
        }
    }
    count
}

/// One client request, which waits for the store if it must.
fn request(leases: &mut Leases, store: &mut BucketStore, key: &Key, now_ms: u64) -> bool {
    for _ in 0..3 {
        let taken = leases.try_take(key, now_ms);
        exchange(leases, store, now_ms);
        if let Ok(verdict) = taken {
            return verdict.allowed;
        }
    }
    panic!("two answers came, and it still waits");
}

#[test]
fn the_first_request_waits_and_those_of_its_key_wait_for_the_same_answer() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    assert_eq!(leases.try_take(&key(0), 0), Err(AwaitGrant { seq: 1 }));
    assert_eq!(leases.try_take(&key(0), 0), Err(AwaitGrant { seq: 1 }));
    assert_eq!(leases.try_take(&key(1), 0), Err(AwaitGrant { seq: 2 }));
    assert_eq!(leases.outbox.len(), 2);
    // One was requested and two wait: the second token is requested on the first grant.
    assert_eq!(exchange(&mut leases, &mut store, 0), 3);
    assert!(allowed(leases.try_take(&key(0), 0)) && allowed(leases.try_take(&key(0), 0)));
}

#[test]
fn a_small_limit_is_leased_token_by_token_and_admits_exactly_its_burst() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    let admitted = (0..50).filter(|_| request(&mut leases, &mut store, &key(0), 0)).count();
    assert_eq!(admitted, 5);
    assert_eq!(leases.unspent(&key(0), 0), Some(0));
}

#[test]
fn a_bucket_known_to_be_empty_refuses_without_a_message_until_it_has_a_token() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    for _ in 0..6 {
        request(&mut leases, &mut store, &key(0), 0);
    }
    for now_ms in [0, 2_000, 4_999] {
        // Idle or not.
        leases.tick(now_ms);
        exchange(&mut leases, &mut store, now_ms);
        let Ok(verdict) = leases.try_take(&key(0), now_ms) else { panic!("it waits") };
        assert_eq!((verdict.allowed, verdict.retry_after_ms), (false, 12_000 - now_ms));
    }
    assert!(request(&mut leases, &mut store, &key(0), 12_000));
}

#[test]
fn a_bucket_that_is_empty_for_hours_is_asked_again_after_some_seconds() {
    let rule = Rule::token_bucket(10, Period::Day, 10);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    let admitted = (0..50).filter(|_| request(&mut leases, &mut store, &key(0), 0)).count();
    assert_eq!(admitted, 10);
    let Ok(verdict) = leases.try_take(&key(0), 4_999) else { panic!("it waits") };
    assert_eq!((verdict.allowed, verdict.retry_after_ms), (false, 24 * 360_000 - 4_999));
    // The store was restored from a backup, in which the bucket is full.
    let mut store = BucketStore::new(&rule, 10);
    assert!(request(&mut leases, &mut store, &key(0), 5_000));
}

/// How many of so many requests are admitted without the store.
fn alone(leases: &mut Leases, share: &mut BucketStore, key: &Key, requests: u64, now_ms: u64) -> usize {
    (0..requests).filter(|_| leases.take_alone(share, key, now_ms).allowed).count()
}

#[test]
fn what_was_admitted_without_the_store_is_paid_out_of_the_next_grants() {
    let rule = minutely(60);
    let mut leases = leases(&rule, 10);
    let mut share = BucketStore::local_share(&rule, 1, 0, 10);
    let mut store = BucketStore::new(&rule, 10);
    assert_eq!(alone(&mut leases, &mut share, &key(0), 20, 0), 20);
    let admitted = (0..100).filter(|_| request(&mut leases, &mut store, &key(0), 0)).count();
    assert_eq!(admitted, 40);
    // The share goes on from the bucket, which is empty: it has what came in since.
    assert_eq!(alone(&mut leases, &mut share, &key(0), 100, 25_000), 25);
    let admitted = (0..100).filter(|_| request(&mut leases, &mut store, &key(0), 30_000)).count();
    assert_eq!(admitted, 5);
}

#[test]
fn no_more_than_a_burst_is_owed_and_an_idle_key_pays_before_it_is_forgotten() {
    let rule = minutely(60);
    let mut leases = leases(&rule, 10);
    let mut share = BucketStore::local_share(&rule, 1, 0, 10);
    let mut store = BucketStore::new(&rule, 10);
    for now_ms in [0, 60_000, 120_000] {
        assert_eq!(alone(&mut leases, &mut share, &key(0), 100, now_ms), 60);
    }
    assert_eq!(alone(&mut leases, &mut share, &key(1), 10, 120_000), 10);
    let now_ms = 120_000 + IDLE_MS;
    leases.tick(now_ms);
    assert_eq!(exchange(&mut leases, &mut store, now_ms), 2);
    leases.tick(now_ms);
    assert_eq!((exchange(&mut leases, &mut store, now_ms), leases.len()), (2, 1), "an empty bucket stays");
    let mut left =
        |number| (0..100).filter(|_| request(&mut leases, &mut store, &key(number), now_ms)).count();
    assert_eq!((left(0), left(1)), (0, 50));
}

#[test]
fn tokens_that_are_held_are_spent_before_anything_is_owed() {
    let rule = Rule::token_bucket(1_000, Period::Hour, 1_000);
    let mut leases = leases(&rule, 10);
    let mut share = BucketStore::local_share(&rule, 2, 0, 10);
    let mut store = BucketStore::new(&rule, 10);
    for now_ms in 0..100 {
        assert!(request(&mut leases, &mut store, &key(0), now_ms));
    }
    let held = leases.unspent(&key(0), 99).unwrap();
    assert!(held > 0);
    alone(&mut leases, &mut share, &key(0), held, 99);
    assert!(share.is_empty());
    assert_eq!(leases.unspent(&key(0), 99), Some(0));
}

#[test]
fn a_hot_key_never_waits_and_sends_few_lease_requests() {
    let rule = Rule::token_bucket(10_000, Period::Second, 10_000);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    let mut lease_requests = 0;
    for now_ms in 0..3_000 {
        for _ in 0..5 {
            let taken = leases.try_take(&key(0), now_ms);
            assert!(now_ms < 200 || allowed(taken), "{taken:?} at {now_ms}");
        }
        // Answers take a millisecond.
        lease_requests += exchange(&mut leases, &mut store, now_ms + 1);
    }
    assert!(lease_requests < 3_000 * 5 / 100, "{lease_requests}");
}

#[test]
fn a_lease_is_never_larger_than_its_share_of_the_bucket() {
    let rule = Rule::token_bucket(800, Period::Second, 800);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    for now_ms in 0..500 {
        request(&mut leases, &mut store, &key(0), now_ms);
        let unspent = leases.unspent(&key(0), now_ms).unwrap();
        assert!(unspent <= 800 / LEASE_SHARE, "{unspent}");
    }
    assert!(leases.unspent(&key(0), 499).unwrap() > 10, "it prefetches");
}

#[test]
fn an_idle_key_returns_its_tokens_and_is_forgotten() {
    let rule = Rule::token_bucket(1_000, Period::Hour, 1_000);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    for now_ms in 0..100 {
        assert!(request(&mut leases, &mut store, &key(0), now_ms));
    }
    assert!(leases.unspent(&key(0), 99).unwrap() > 0);
    leases.tick(99 + IDLE_MS - 1);
    assert_eq!(leases.len(), 1);
    leases.tick(99 + IDLE_MS);
    assert!(leases.is_empty());
    exchange(&mut leases, &mut store, 99 + IDLE_MS);
    assert_eq!(store.audit(&key(0), 99 + IDLE_MS), Some((900, vec![])));
}

#[test]
fn a_lease_that_is_used_less_shrinks_at_its_renewal() {
    let rule = Rule::token_bucket(10_000, Period::Hour, 10_000);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    for now_ms in 0..500 {
        request(&mut leases, &mut store, &key(0), now_ms);
    }
    assert!(leases.unspent(&key(0), 499).unwrap() > 100);
    for now_ms in (600..600 + LEASE_LIFE_MS / 2).step_by(100) {
        request(&mut leases, &mut store, &key(0), now_ms);
    }
    let unspent = leases.unspent(&key(0), 600 + LEASE_LIFE_MS / 2).unwrap();
    assert!(unspent < 10, "{unspent}");
}

#[test]
fn a_lease_ends_on_its_shard_before_it_ends_in_the_store() {
    let rule = Rule::token_bucket(1_000, Period::Second, 1_000);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    for now_ms in 0..100 {
        request(&mut leases, &mut store, &key(0), now_ms);
    }
    // No more answers arrive.
    let taken = leases.try_take(&key(0), LEASE_LIFE_MS - LEASE_LIFE_MS / 10);
    assert!(taken.is_err(), "{taken:?}");
}

#[test]
fn an_answer_that_came_too_late_is_ignored() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    assert_eq!(leases.try_take(&key(0), 0), Err(AwaitGrant { seq: 1 }));
    let late = store.lease(&leases.outbox.remove(0), 0);
    leases.failed(&key(0), 1);
    leases.granted(&late, 1);
    assert_eq!(leases.unspent(&key(0), 1), Some(0));
    assert_eq!(leases.try_take(&key(0), 1), Err(AwaitGrant { seq: 2 }));
    leases.granted(&late, 1);
    assert_eq!(leases.try_take(&key(0), 1), Err(AwaitGrant { seq: 2 }));
}

#[test]
fn a_flood_of_keys_takes_no_token_from_any_of_them() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 3);
    let mut store = BucketStore::new(&rule, 10_000);
    for number in 0..1_000 {
        assert!(request(&mut leases, &mut store, &key(number), 0), "{number}");
        assert!(leases.len() <= 3);
    }
    // The first was forgotten; its bucket was not.
    let admitted = (0..10).filter(|_| request(&mut leases, &mut store, &key(0), 0)).count();
    assert_eq!(admitted, 4);
}

#[test]
fn a_key_that_is_forgotten_to_make_room_returns_its_tokens() {
    let rule = Rule::token_bucket(1_000, Period::Hour, 1_000);
    let mut leases = leases(&rule, 1);
    let mut store = BucketStore::new(&rule, 10);
    for now_ms in 0..100 {
        assert!(request(&mut leases, &mut store, &key(0), now_ms));
    }
    assert!(leases.unspent(&key(0), 99).unwrap() > 0);
    assert!(request(&mut leases, &mut store, &key(1), 99));
    assert_eq!(store.audit(&key(0), 99), Some((900, vec![])));
}

#[test]
fn a_key_whose_requests_wait_is_not_forgotten() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 2);
    let mut store = BucketStore::new(&rule, 10);
    for number in 0..5 {
        assert!(leases.try_take(&key(number), 0).is_err());
    }
    assert_eq!(leases.len(), 5);
    exchange(&mut leases, &mut store, 0);
    for number in 0..5 {
        assert!(allowed(leases.try_take(&key(number), 0)));
    }
    assert!(request(&mut leases, &mut store, &key(5), 0));
    assert_eq!(leases.len(), 2);
}

#[test]
fn remaining_and_reset_count_the_tokens_of_store_and_shard() {
    let rule = minutely(100);
    let mut leases = leases(&rule, 10);
    let mut store = BucketStore::new(&rule, 10);
    for _ in 0..40 {
        assert!(request(&mut leases, &mut store, &key(0), 0));
    }
    let Ok(verdict) = leases.try_take(&key(0), 0) else { panic!("it waits") };
    assert_eq!((verdict.remaining, verdict.reset_ms), (59, 41 * 600));
}
