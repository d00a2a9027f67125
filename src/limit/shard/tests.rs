use super::*;
use crate::limit::{BucketStore, LEASE_LIFE_MS, LEASE_SHARE, Period};

fn key(number: u32) -> Key {
    Key::new(&number.to_be_bytes())
}

fn leases(rule: &Rule, keys_max: usize) -> Leases {
    Leases::new(rule, Leaseholder(1), keys_max)
}

fn minutely(tokens: u64) -> Rule {
    Rule::token_bucket(tokens, Period::Minute, tokens)
}

fn allowed(decision: Decision) -> bool {
    matches!(decision, Decision::Done(verdict) if verdict.allowed)
}

/// Carries all asks to the bank and the answers back, at once. Returns how many there were.
fn exchange(leases: &mut Leases, bank: &mut BucketStore, now_ms: u64) -> usize {
    let mut count = 0;
    while !leases.outbox.is_empty() {
        for ask in std::mem::take(&mut leases.outbox) {
            leases.granted(&bank.lease(&ask, now_ms), now_ms);
            count += 1;
        }
    }
    count
}

/// One request, which waits for the bank if it must.
fn request(leases: &mut Leases, bank: &mut BucketStore, key: &Key, now_ms: u64) -> bool {
    for _ in 0..3 {
        let decision = leases.try_take(key, now_ms);
        exchange(leases, bank, now_ms);
        if let Decision::Done(verdict) = decision {
            return verdict.allowed;
        }
    }
    panic!("two answers came, and it still waits");
}

#[test]
fn the_first_request_waits_and_those_of_its_key_wait_for_the_same_answer() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    assert_eq!(leases.try_take(&key(0), 0), Decision::Wait(1));
    assert_eq!(leases.try_take(&key(0), 0), Decision::Wait(1));
    assert_eq!(leases.try_take(&key(1), 0), Decision::Wait(2));
    assert_eq!(leases.outbox.len(), 2);
    // One was asked for and two wait: the second token is asked for with the first answer.
    assert_eq!(exchange(&mut leases, &mut bank, 0), 3);
    assert!(allowed(leases.try_take(&key(0), 0)) && allowed(leases.try_take(&key(0), 0)));
}

#[test]
fn a_small_limit_is_lent_token_by_token_and_admits_exactly_its_burst() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    let admitted = (0..50).filter(|_| request(&mut leases, &mut bank, &key(0), 0)).count();
    assert_eq!(admitted, 5);
    assert_eq!(leases.held(&key(0), 0), Some(0));
}

#[test]
fn who_knows_that_the_bank_is_empty_refuses_without_a_message_until_it_is_not() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    for _ in 0..6 {
        request(&mut leases, &mut bank, &key(0), 0);
    }
    for now_ms in [0, 6_000, 11_999] {
        // Idle or not.
        leases.tick(now_ms);
        exchange(&mut leases, &mut bank, now_ms);
        let Decision::Done(verdict) = leases.try_take(&key(0), now_ms) else { panic!("it asks") };
        assert_eq!((verdict.allowed, verdict.retry_after_ms), (false, 12_000 - now_ms));
    }
    assert!(request(&mut leases, &mut bank, &key(0), 12_000));
}

#[test]
fn a_hot_key_never_waits_and_asks_seldom() {
    let rule = Rule::token_bucket(10_000, Period::Second, 10_000);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    let mut asks = 0;
    for now_ms in 0..3_000 {
        for _ in 0..5 {
            let decision = leases.try_take(&key(0), now_ms);
            assert!(now_ms < 200 || allowed(decision), "{decision:?} at {now_ms}");
        }
        // Answers take a millisecond.
        asks += exchange(&mut leases, &mut bank, now_ms + 1);
    }
    assert!(asks < 3_000 * 5 / 100, "{asks}");
}

#[test]
fn a_lease_is_never_larger_than_its_share_of_the_bucket() {
    let rule = Rule::token_bucket(800, Period::Second, 800);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    for now_ms in 0..500 {
        request(&mut leases, &mut bank, &key(0), now_ms);
        let held = leases.held(&key(0), now_ms).unwrap();
        assert!(held <= 800 / LEASE_SHARE, "{held}");
    }
    assert!(leases.held(&key(0), 499).unwrap() > 10, "it leases ahead");
}

#[test]
fn an_idle_key_gives_back_and_leaves() {
    let rule = Rule::token_bucket(1_000, Period::Hour, 1_000);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    for now_ms in 0..100 {
        assert!(request(&mut leases, &mut bank, &key(0), now_ms));
    }
    assert!(leases.held(&key(0), 99).unwrap() > 0);
    leases.tick(99 + IDLE_MS - 1);
    assert_eq!(leases.len(), 1);
    leases.tick(99 + IDLE_MS);
    assert!(leases.is_empty());
    exchange(&mut leases, &mut bank, 99 + IDLE_MS);
    assert_eq!(bank.audit(&key(0), 99 + IDLE_MS), Some((900, vec![])));
}

#[test]
fn a_lease_whose_demand_fell_shrinks_at_its_renewal() {
    let rule = Rule::token_bucket(10_000, Period::Hour, 10_000);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    for now_ms in 0..500 {
        request(&mut leases, &mut bank, &key(0), now_ms);
    }
    assert!(leases.held(&key(0), 499).unwrap() > 100);
    for now_ms in (600..600 + LEASE_LIFE_MS / 2).step_by(100) {
        request(&mut leases, &mut bank, &key(0), now_ms);
    }
    let held = leases.held(&key(0), 600 + LEASE_LIFE_MS / 2).unwrap();
    assert!(held < 10, "{held}");
}

#[test]
fn a_lease_ends_here_before_it_ends_at_the_bank() {
    let rule = Rule::token_bucket(1_000, Period::Second, 1_000);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    for now_ms in 0..100 {
        request(&mut leases, &mut bank, &key(0), now_ms);
    }
    // No answer comes any more.
    let decision = leases.try_take(&key(0), LEASE_LIFE_MS - LEASE_LIFE_MS / 10);
    assert!(matches!(decision, Decision::Wait(_)), "{decision:?}");
}

#[test]
fn an_answer_that_was_given_up_is_let_pass() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    assert_eq!(leases.try_take(&key(0), 0), Decision::Wait(1));
    let late = bank.lease(&leases.outbox.remove(0), 0);
    leases.failed(&key(0), 1);
    leases.granted(&late, 1);
    assert_eq!(leases.held(&key(0), 1), Some(0));
    assert_eq!(leases.try_take(&key(0), 1), Decision::Wait(2));
    leases.granted(&late, 1);
    assert_eq!(leases.try_take(&key(0), 1), Decision::Wait(2));
}

#[test]
fn a_flood_of_keys_fills_the_table_and_then_shares_one_bucket() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 3);
    let mut bank = BucketStore::new(&rule, 1_000);
    for number in 0..3 {
        assert!(request(&mut leases, &mut bank, &key(number), 0));
    }
    let strangers = (3..1_000).filter(|number| request(&mut leases, &mut bank, &key(*number), 0)).count();
    assert_eq!((strangers, leases.len()), (5, 4));
    assert!(request(&mut leases, &mut bank, &key(0), 0), "who is in the table keeps its own");
    // The first that is idle makes room, without waiting for a tick.
    assert!(request(&mut leases, &mut bank, &key(1_000), IDLE_MS));
    assert_eq!(leases.len(), 4);
}

#[test]
fn keys_for_which_the_bank_has_no_room_share_one_bucket_for_a_while() {
    let rule = minutely(5);
    let mut leases = leases(&rule, 100);
    let mut bank = BucketStore::new(&rule, 1);
    assert!(request(&mut leases, &mut bank, &key(0), 0));
    let strangers = (1..50).filter(|number| request(&mut leases, &mut bank, &key(*number), 0)).count();
    assert_eq!((strangers, leases.len(), bank.len()), (5, 2, 2));
    assert!(request(&mut leases, &mut bank, &key(0), 0));
}

#[test]
fn what_remains_and_when_it_resets_is_the_banks_and_the_shards_together() {
    let rule = minutely(100);
    let mut leases = leases(&rule, 10);
    let mut bank = BucketStore::new(&rule, 10);
    for _ in 0..40 {
        assert!(request(&mut leases, &mut bank, &key(0), 0));
    }
    let Decision::Done(verdict) = leases.try_take(&key(0), 0) else { panic!("it waits") };
    assert_eq!((verdict.remaining, verdict.reset_ms), (59, 41 * 600));
}
