use super::*;
use crate::limit::Period;

const A: Leaseholder = Leaseholder(1);
const B: Leaseholder = Leaseholder(2);

fn key(number: u32) -> Key {
    Key::new(&number.to_be_bytes())
}

/// An ask of this holder for the first key, that needs so much and wants so much ahead.
fn ask(holder: Leaseholder, seq: u64, held: u64, need: u64, ahead: u64) -> LeaseRequest {
    LeaseRequest { key: key(0), holder, seq, held, returned: 0, need, ahead }
}

/// One token a second, up to 40.
fn bank() -> BucketStore {
    BucketStore::new(&Rule::token_bucket(1, Period::Second, 40), 3)
}

#[test]
fn what_requests_wait_for_is_lent_down_to_the_last_token() {
    let mut bank = bank();
    let grant = bank.lease(&ask(A, 1, 0, 100, 100), 0);
    assert_eq!((grant.tokens, grant.level, grant.retry_after_ms), (40, 0, 1_000));
    let grant = bank.lease(&ask(B, 1, 0, 1, 0), 999);
    assert_eq!((grant.tokens, grant.lent, grant.retry_after_ms), (0, 40, 1_000));
}

#[test]
fn ahead_of_requests_no_more_than_a_quarter_of_the_bucket_is_lent() {
    let mut bank = bank();
    assert_eq!(bank.lease(&ask(A, 1, 0, 2, 6), 0).tokens, 8);
    let grant = bank.lease(&ask(B, 1, 0, 1, 20), 0);
    assert_eq!((grant.tokens, grant.level, grant.lent), (3, 29, 8));
    assert_eq!(bank.lease(&ask(A, 2, 8, 0, 20), 0).tokens, 8);
}

#[test]
fn what_comes_back_can_be_lent_again_and_what_was_spent_comes_back_with_time() {
    let mut bank = bank();
    bank.lease(&ask(A, 1, 0, 40, 0), 0);
    // 30 come back, 10 were spent.
    let back = LeaseRequest { returned: 30, ..ask(A, 2, 0, 0, 0) };
    assert_eq!(bank.lease(&back, 0).level, 30);
    assert_eq!(bank.lease(&ask(B, 1, 0, 0, 0), 5_000).level, 35);
    assert_eq!(bank.lease(&ask(B, 2, 0, 0, 0), 60_000).level, 40);
}

#[test]
fn a_lease_that_ended_comes_back_with_time_only_for_it_may_have_been_spent() {
    let mut bank = bank();
    bank.lease(&ask(A, 1, 0, 40, 0), 0);
    let asked_before = bank.lease(&ask(B, 1, 0, 0, 0), LEASE_LIFE_MS - 1);
    assert_eq!((asked_before.lent, asked_before.level), (40, 0));
    let asked_then = bank.lease(&ask(B, 2, 0, 0, 0), LEASE_LIFE_MS);
    assert_eq!((asked_then.lent, asked_then.level), (0, 0));
    assert_eq!(bank.lease(&ask(B, 3, 0, 0, 0), LEASE_LIFE_MS + 3_000).level, 3);
}

#[test]
fn nothing_comes_for_a_lease_in_the_time_before_it_ended() {
    let mut bank = bank();
    bank.lease(&ask(A, 1, 0, 10, 0), 0);
    // The bank was as full as the lease let it be, all that time.
    let grant = bank.lease(&ask(B, 1, 0, 0, 0), LEASE_LIFE_MS);
    assert_eq!((grant.lent, grant.level), (0, 30));
}

#[test]
fn an_ask_that_comes_twice_is_answered_twice_and_lends_once() {
    let mut bank = bank();
    let first = bank.lease(&ask(A, 1, 0, 3, 0), 0);
    assert_eq!(bank.lease(&ask(A, 1, 0, 3, 0), 0), first);
}

#[test]
fn an_ask_that_was_overtaken_changes_nothing() {
    let mut bank = bank();
    bank.lease(&ask(A, 7, 0, 3, 0), 0);
    let late = LeaseRequest { returned: 3, ..ask(A, 6, 0, 5, 0) };
    assert_eq!(bank.lease(&late, 0).tokens, 0);
    assert_eq!(bank.lease(&ask(A, 8, 3, 0, 0), 0).tokens, 3);
}

#[test]
fn what_the_bank_does_not_know_of_is_not_believed() {
    let mut bank = bank();
    let claims = LeaseRequest { returned: 20, ..ask(A, 1, 20, 0, 0) };
    let grant = bank.lease(&claims, 0);
    assert_eq!((grant.tokens, grant.level), (0, 40));
}

#[test]
fn the_tokens_of_a_window_end_with_it() {
    let mut bank = BucketStore::new(&Rule::fixed_window(8, Period::Second), 3);
    let grant = bank.lease(&ask(A, 1, 0, 8, 0), 10_700);
    assert_eq!((grant.tokens, grant.expires_in_ms, grant.reset_ms), (8, 300, 300));
    assert_eq!(bank.lease(&ask(B, 1, 0, 1, 0), 10_999).retry_after_ms, 1);
    let grant = bank.lease(&ask(A, 2, 8, 0, 0), 11_000);
    assert_eq!((grant.tokens, grant.level), (0, 8));
}

#[test]
fn a_full_table_shares_one_bucket_among_new_keys_until_an_old_one_is_full_again() {
    let mut bank = BucketStore::new(&Rule::token_bucket(1, Period::Second, 2), 3);
    for number in 0..3 {
        assert_eq!(bank.take(&key(number), 0).remaining, 1);
    }
    let strangers: Vec<bool> = (3..6).map(|number| bank.take(&key(number), 0).allowed).collect();
    assert_eq!(strangers, [true, true, false]);
    assert!(bank.take(&key(0), 0).allowed, "who has an account keeps it");
    assert_eq!(bank.len(), 4);
    // Key 1 is full again.
    assert_eq!(bank.take(&key(6), 1_000).remaining, 1);
    assert_eq!(bank.len(), 4);
}

#[test]
fn a_full_table_refuses_leases_to_new_keys_but_not_to_the_overflow_key() {
    let mut bank = BucketStore::new(&Rule::token_bucket(1, Period::Hour, 2), 1);
    assert_eq!(bank.lease(&ask(A, 1, 0, 1, 0), 0).tokens, 1);
    let grant = bank.lease(&LeaseRequest { key: key(1), ..ask(B, 1, 0, 1, 0) }, 0);
    assert_eq!((grant.full, grant.tokens), (true, 0));
    assert_eq!(bank.lease(&LeaseRequest { key: Key::OVERFLOW, ..ask(B, 2, 0, 1, 0) }, 0).tokens, 1);
}

#[test]
fn accounts_that_are_full_are_forgotten_and_others_are_not() {
    let mut bank = bank();
    bank.take(&key(1), 0);
    bank.lease(&ask(A, 1, 0, 1, 0), 0);
    bank.tick(999);
    assert_eq!(bank.len(), 2);
    bank.tick(1_000);
    assert_eq!(bank.len(), 1);
    // The lease ends; then its token comes back.
    bank.tick(LEASE_LIFE_MS);
    assert_eq!(bank.len(), 1);
    bank.tick(LEASE_LIFE_MS + 1_000);
    assert!(bank.is_empty());
}
