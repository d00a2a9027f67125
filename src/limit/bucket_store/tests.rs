//! What a bucket store leases, takes back and forgets.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::plan::Period;

const A: Leaseholder = Leaseholder(1);
const B: Leaseholder = Leaseholder(2);

fn key(number: u32) -> Key {
    Key::new(&number.to_be_bytes())
}

/// A holder's lease request for the first key.
fn request(holder: Leaseholder, seq: u64, kept: u64, needed: u64, prefetch: u64) -> LeaseRequest {
    LeaseRequest { key: key(0), holder, seq, kept, returned: 0, needed, prefetch }
}

/// One token a second, up to 40.
fn store() -> BucketStore {
    BucketStore::new(&Rule::token_bucket(1, Period::Second, 40), 3)
}

#[test]
fn what_requests_wait_for_is_leased_down_to_the_last_token() {
    let mut store = store();
    let grant = store.lease(&request(A, 1, 0, 100, 100), 0);
    assert_eq!((grant.granted, grant.available, grant.retry_after_ms), (40, 0, 1_000));
    let grant = store.lease(&request(B, 1, 0, 1, 0), 999);
    assert_eq!((grant.granted, grant.leased_to_others, grant.retry_after_ms), (0, 40, 1_000));
}

#[test]
fn no_more_than_a_quarter_of_the_bucket_is_prefetched() {
    let mut store = store();
    assert_eq!(store.lease(&request(A, 1, 0, 2, 6), 0).granted, 8);
    let grant = store.lease(&request(B, 1, 0, 1, 20), 0);
    assert_eq!((grant.granted, grant.available, grant.leased_to_others), (3, 29, 8));
    assert_eq!(store.lease(&request(A, 2, 8, 0, 20), 0).granted, 8);
}

#[test]
fn returned_tokens_can_be_leased_again_and_spent_ones_are_gained_again() {
    let mut store = store();
    store.lease(&request(A, 1, 0, 40, 0), 0);
    // 30 are returned, 10 were spent.
    let back = LeaseRequest { returned: 30, ..request(A, 2, 0, 0, 0) };
    assert_eq!(store.lease(&back, 0).available, 30);
    assert_eq!(store.lease(&request(B, 1, 0, 0, 0), 5_000).available, 35);
    assert_eq!(store.lease(&request(B, 2, 0, 0, 0), 60_000).available, 40);
}

#[test]
fn the_tokens_of_a_lease_that_ended_count_as_spent() {
    let mut store = store();
    store.lease(&request(A, 1, 0, 40, 0), 0);
    let before = store.lease(&request(B, 1, 0, 0, 0), LEASE_LIFE_MS - 1);
    assert_eq!((before.leased_to_others, before.available), (40, 0));
    let after = store.lease(&request(B, 2, 0, 0, 0), LEASE_LIFE_MS);
    assert_eq!((after.leased_to_others, after.available), (0, 0));
    assert_eq!(store.lease(&request(B, 3, 0, 0, 0), LEASE_LIFE_MS + 3_000).available, 3);
}

#[test]
fn a_bucket_gains_nothing_for_the_time_of_a_lease_that_ended() {
    let mut store = store();
    store.lease(&request(A, 1, 0, 10, 0), 0);
    // The bucket was as full as the lease allowed, all that time.
    let grant = store.lease(&request(B, 1, 0, 0, 0), LEASE_LIFE_MS);
    assert_eq!((grant.leased_to_others, grant.available), (0, 30));
}

#[test]
fn a_repeated_request_gets_its_grant_again_and_leases_once() {
    let mut store = store();
    let first = store.lease(&request(A, 1, 0, 3, 0), 0);
    assert_eq!(store.lease(&request(A, 1, 0, 3, 0), 0), first);
}

#[test]
fn a_request_that_was_overtaken_changes_nothing() {
    let mut store = store();
    store.lease(&request(A, 7, 0, 3, 0), 0);
    let late = LeaseRequest { returned: 3, ..request(A, 6, 0, 5, 0) };
    assert_eq!(store.lease(&late, 0).granted, 0);
    assert_eq!(store.lease(&request(A, 8, 3, 0, 0), 0).granted, 3);
}

#[test]
fn tokens_that_were_never_leased_can_be_neither_kept_nor_returned() {
    let mut store = store();
    let claims = LeaseRequest { returned: 20, ..request(A, 1, 20, 0, 0) };
    let grant = store.lease(&claims, 0);
    assert_eq!((grant.granted, grant.available), (0, 40));
}

#[test]
fn the_tokens_of_a_window_end_with_it() {
    let mut store = BucketStore::new(&Rule::fixed_window(8, Period::Second), 3);
    let grant = store.lease(&request(A, 1, 0, 8, 0), 10_700);
    assert_eq!((grant.granted, grant.expires_in_ms, grant.reset_ms), (8, 300, 300));
    assert_eq!(store.lease(&request(B, 1, 0, 1, 0), 10_999).retry_after_ms, 1);
    let grant = store.lease(&request(A, 2, 8, 0, 0), 11_000);
    assert_eq!((grant.granted, grant.available), (0, 8));
}

#[test]
fn a_full_table_evicts_the_fullest_and_no_key_gains_by_it() {
    let mut store = BucketStore::new(&Rule::token_bucket(1, Period::Hour, 5), 3);
    for (number, taken) in [(0, 5), (1, 2), (2, 5)] {
        for left in (0..taken).rev() {
            assert_eq!(store.take(&key(number), 0).remaining, left + 5 - taken);
        }
    }
    assert_eq!(store.take(&key(3), 0).remaining, 4);
    assert_eq!(store.len(), 3);
    assert_eq!(store.audit(&key(1), 0), None);
    assert!(!store.take(&key(0), 0).allowed && !store.take(&key(2), 0).allowed);
    assert_eq!(store.take(&key(1), 0).remaining, 2, "it goes on where it was");
}

#[test]
fn the_lease_of_an_evicted_bucket_counts_as_spent() {
    let mut store = BucketStore::new(&Rule::token_bucket(1, Period::Second, 40), 1);
    assert_eq!(store.lease(&request(A, 1, 0, 10, 0), 0).granted, 10);
    store.take(&key(1), 0);
    let grant = store.lease(&request(A, 2, 10, 1, 0), 1_000);
    assert_eq!(grant.granted, 1);
    // One less where both keys fall on the same places of a table as small as this.
    assert!((28..=29).contains(&grant.available), "{}", grant.available);
}

#[test]
fn a_flood_of_keys_takes_few_tokens_from_new_ones_and_none_from_known_ones() {
    const MAX_KEYS: usize = 1_000;
    for rule in [Rule::token_bucket(100, Period::Hour, 100), Rule::fixed_window(100, Period::Day)] {
        let mut store = BucketStore::new(&rule, MAX_KEYS);
        let known = Key::of_consumer("alice");
        for _ in 0..60 {
            store.take(&known, 0);
        }
        for number in 0..50 * MAX_KEYS as u32 {
            assert!(store.take(&Key::of_header(&number.to_be_bytes()), 1).remaining >= 95);
        }
        assert!(store.len() <= MAX_KEYS);
        assert_eq!(store.take(&known, 1).remaining, 39);
        assert!(store.take(&Key::of_consumer("bob"), 1).remaining >= 95);
    }
}

#[test]
fn values_of_headers_that_use_up_their_limit_lock_nobody_else_out() {
    const MAX_KEYS: usize = 1_000;
    let mut store = BucketStore::new(&Rule::token_bucket(1, Period::Hour, 1), MAX_KEYS);
    for number in 0..100_000_u32 {
        store.take(&Key::of_header(&number.to_be_bytes()), 0);
    }
    let honest = (200_000..201_000_u32).map(|number| store.take(&Key::of_header(&number.to_be_bytes()), 1));
    let served = honest.filter(|verdict| verdict.allowed).count();
    assert!(served > 850, "{served} of 1000");
}

#[test]
fn networks_of_one_site_that_use_up_their_limit_lock_nobody_else_out() {
    const MAX_KEYS: usize = 1_000;
    let address =
        |site: u128, network: u128| Key::of_address(Ipv6Addr::from(site << 80 | network << 64).into());
    let rule = Rule::token_bucket(5, Period::Hour, 5);
    let mut store = BucketStore::new(&rule, MAX_KEYS);
    // A /46, in the proportion of one to the default table.
    for network in 0..64_000 {
        while store.take(&address(0x2001_0db8_0000, network), 0).allowed {}
    }
    assert!(store.len() <= MAX_KEYS);
    let honest = (0..1_000).map(|site| store.take(&address(0x2001_0db9_0000 + site, 0), 1).allowed);
    let served = honest.filter(|allowed| *allowed).count();
    assert!(served > 950, "{served} of 1000");
}

proptest! {
    /// Whatever is evicted, each key is held to its own rule.
    #[test]
    fn an_eviction_admits_nothing(
        window in any::<bool>(), tokens in 1..6_u64, max_keys in 1..4_usize,
        requests in prop::collection::vec((0..6_u32, 0..400_u64), 1..300),
    ) {
        let rule = match window {
            true => Rule::fixed_window(tokens, Period::Second),
            false => Rule::token_bucket(tokens, Period::Second, tokens),
        };
        let mut small = BucketStore::new(&rule, max_keys);
        let mut large = BucketStore::new(&rule, 100);
        let mut now_ms = 1_000_000;
        for (number, step) in requests {
            now_ms += step;
            if small.take(&key(number), now_ms).allowed {
                prop_assert!(large.take(&key(number), now_ms).allowed);
            }
            prop_assert!(small.len() <= max_keys);
            if number == 0 {
                small.tick(now_ms);
            }
        }
    }
}

#[test]
fn a_change_of_the_rule_fills_no_bucket() {
    let mut store = BucketStore::new(&Rule::token_bucket(10, Period::Hour, 10), 3);
    assert_eq!(store.lease(&request(A, 1, 0, 8, 0), 0).granted, 8);
    store.follow(&Rule::token_bucket(100, Period::Hour, 100));
    assert_eq!(store.lease(&request(B, 1, 0, 50, 0), 0).granted, 2);
    store.follow(&Rule::token_bucket(10, Period::Minute, 5));
    let grant = store.lease(&request(B, 2, 2, 0, 0), 0);
    assert_eq!((grant.granted, grant.available, grant.leased_to_others), (2, 0, 8));

    let mut store = BucketStore::new(&Rule::fixed_window(10, Period::Hour), 3);
    for _ in 0..8 {
        store.take(&key(0), 0);
    }
    store.follow(&Rule::fixed_window(100, Period::Hour));
    assert_eq!(store.take(&key(0), 0).remaining, 1);
    store.follow(&Rule::fixed_window(100, Period::Hour));
    assert_eq!(store.take(&key(0), 3_600_000).remaining, 99);
}

#[test]
fn keys_with_rules_of_their_own_keep_them_side_by_side() {
    let (small, large) = (Rule::token_bucket(2, Period::Hour, 2), Rule::token_bucket(50, Period::Hour, 50));
    let mut store = BucketStore::new(&small, 10);
    store.follow(&large);
    for _ in 0..10 {
        store.take(&key(1), 0);
    }
    store.follow(&small);
    assert_eq!(store.take(&key(2), 0).remaining, 1);
    store.tick(1);
    store.follow(&large);
    assert_eq!(store.take(&key(1), 1).remaining, 39);
}

#[test]
fn buckets_that_are_full_are_forgotten_and_others_are_not() {
    let mut store = store();
    store.take(&key(1), 0);
    store.lease(&request(A, 1, 0, 1, 0), 0);
    store.tick(999);
    assert_eq!(store.len(), 2);
    store.tick(1_000);
    assert_eq!(store.len(), 1);
    // The lease ends; then its token is gained again.
    store.tick(LEASE_LIFE_MS);
    assert_eq!(store.len(), 1);
    store.tick(LEASE_LIFE_MS + 1_000);
    assert!(store.is_empty());
}

#[test]
fn a_bucket_that_fills_slowly_keeps_none_of_the_full_ones_behind_it() {
    let mut store = BucketStore::new(&Rule::token_bucket(1, Period::Hour, 1_000), 1_000);
    (0..1_000).for_each(|_| _ = store.take(&key(0), 0));
    (1..500).for_each(|number| _ = store.take(&key(number), 0));
    store.tick(3_600_000);
    store.tick(3_600_000);
    assert_eq!(store.len(), 1);
}

/// What all shards together admit of an endless demand in that time.
fn admitted_by_shares(rule: &Rule, shards: u64, ms: u64) -> u64 {
    let mut stores: Vec<BucketStore> =
        (0..shards).map(|index| BucketStore::local_share(rule, shards, index, 10)).collect();
    let mut count = 0;
    for now_ms in (0..=ms).step_by(50) {
        for store in &mut stores {
            while store.take(&key(0), now_ms).allowed {
                count += 1;
            }
        }
    }
    count
}

#[test]
fn all_local_shares_together_admit_the_rule_whatever_their_number() {
    let bucket = Rule::token_bucket(5, Period::Second, 7);
    let window = Rule::fixed_window(5, Period::Second);
    for shards in [1, 2, 3, 4, 7] {
        // 7 and 5 a second. Up to one token per shard is not complete yet.
        let count = admitted_by_shares(&bucket, shards, 9_999);
        assert!((57 - shards..57).contains(&count), "{count} of {shards} shards");
        assert_eq!(admitted_by_shares(&window, shards, 9_999), 50);
    }
}

#[test]
fn where_tokens_are_fewer_than_shards_the_first_shards_have_them_and_their_rate() {
    let rule = Rule::token_bucket(2, Period::Second, 2);
    assert_eq!(admitted_by_shares(&rule, 16, 10_000), 22);
    assert!(!BucketStore::local_share(&rule, 16, 2, 10).take(&key(0), 0).allowed);
}

#[test]
fn the_shares_of_all_shards_go_on_from_what_the_store_said_last() {
    let rule = Rule::token_bucket(60, Period::Minute, 60);
    let mut shares: Vec<_> = (0..4).map(|index| BucketStore::local_share(&rule, 4, index, 10)).collect();
    let mut admitted = |available, at_ms, now_ms| {
        let take_all = |share: &mut BucketStore| {
            share.continue_from(60, &key(0), available, at_ms);
            (0..100).filter(|_| share.take(&key(0), now_ms).allowed).count()
        };
        shares.iter_mut().map(take_all).sum::<usize>()
    };
    assert_eq!(admitted(22, 1_000, 1_000), 20, "five each, of a quarter of 22");
    assert_eq!(admitted(22, 1_000, 1_001), 0, "the same word again is no new one");
    assert_eq!(admitted(0, 2_000, 10_000), 8, "what the rule gives since then");
    assert_eq!(admitted(60, 500, 10_000), 0, "an older word");
}
