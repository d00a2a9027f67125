//! The scripts for limits in a real Redis: they do what [`BucketStore`] does, and leave nothing behind.

use std::time::Instant;

use ::redis::from_redis_value;

use super::redis::gateway;
use super::server::RedisServer;
use super::shard::{TEST_TIMEOUT, TestShard};
use crate::limit::{BucketStore, Key, LeaseGrant, LeaseRequest, Leaseholder, Rule};
use crate::plan::Period;

const HOUR_MS: i64 = 3_600_000;

fn hourly(tokens: u64, burst: u64) -> Rule {
    Rule::token_bucket(tokens, Period::Hour, burst)
}

fn number(server: &RedisServer, command: &str) -> i64 {
    from_redis_value(server.run(command)).expect("it is a number")
}

/// The time until the only key of strict limits expires, in ms; -2 if there is none.
fn expires_in(server: &RedisServer) -> i64 {
    number(server, "PTTL {rw:strict:bucket:3:api:k}")
}

/// How many of so many requests pass.
fn passing(shard: &TestShard, rule: &Rule, requests: u64) -> usize {
    (0..requests).filter(|ticket| shard.strict(*ticket, rule).expect("it answers").allowed).count()
}

/// Kept by two codes, so they are compared on random requests under two rules; the rates are so low that no token is
/// gained meanwhile.
#[test]
fn leases_in_redis_are_those_of_the_embedded_store() {
    let server = RedisServer::start(&[]);
    let (_link, stop, shard) = gateway(&server);
    let rules = [Rule::token_bucket(1, Period::Day, 40), Rule::token_bucket(2, Period::Day, 25)];
    let mut embedded = BucketStore::new(&rules[0], 10);
    let mut seed = 1_u64;
    let mut below = |end: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end
    };
    for ticket in 1..=400_u64 {
        let request = LeaseRequest {
            key: Key::new(b"k"),
            holder: Leaseholder(below(3)),
            // Some are repeated or overtaken.
            seq: ticket.saturating_sub(below(3)).max(1),
            kept: below(8),
            returned: below(8),
            needed: below(6),
            prefetch: below(8),
        };
        // One rule for a while, then the other.
        let rule = &rules[(ticket / 20 % 2) as usize];
        let grant = shard.lease(ticket, rule, request).expect("it answers");
        embedded.follow(rule);
        let expected = embedded.lease(&request, 0);
        let tokens = |grant: &LeaseGrant| (grant.granted, grant.available, grant.leased_to_others);
        assert_eq!(tokens(&grant), tokens(&expected), "{request:?}");
        assert_eq!(grant.expires_in_ms, expected.expires_in_ms);
    }
    stop.stop();
}

#[test]
fn gateways_with_two_versions_of_a_rule_admit_no_more_than_the_greater() {
    for (first, second, total) in [
        (hourly(10, 10), hourly(20, 20), 10),
        (hourly(20, 20), hourly(10, 10), 20),
        (hourly(10, 10), Rule::token_bucket(30, Period::Day, 30), 10),
        (Rule::fixed_window(10, Period::Day), Rule::fixed_window(20, Period::Day), 10),
    ] {
        let server = RedisServer::start(&[]);
        let (_one, stop_one, one) = gateway(&server);
        let (_two, stop_two, two) = gateway(&server);
        let passed = passing(&one, &first, 12) + passing(&two, &second, 30) + passing(&one, &first, 30);
        assert_eq!(passed, total, "{first:?}, {second:?}");
        stop_one.stop();
        stop_two.stop();
    }
}

#[test]
fn a_change_to_another_period_keeps_the_fraction_of_a_token() {
    let server = RedisServer::start(&[]);
    let (_link, stop, shard) = gateway(&server);
    assert_eq!(passing(&shard, &hourly(1, 1), 2), 1);
    // All but a millisecond of an hour's token is there.
    server.run("HSET {rw:strict:bucket:3:api:k} c 86399999");
    let daily = Rule::token_bucket(24, Period::Day, 1);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while passing(&shard, &daily, 1) == 0 {
        assert!(Instant::now() < deadline);
    }
    stop.stop();
}

#[test]
fn a_key_is_kept_until_its_bucket_is_full_and_not_longer() {
    let server = RedisServer::start(&[]);
    let (_link, stop, shard) = gateway(&server);
    assert_eq!(passing(&shard, &hourly(60, 60), 1), 1);
    assert!((1..=60_001).contains(&expires_in(&server)), "a token comes in a minute");
    assert_eq!(passing(&shard, &hourly(60, 60), 2), 2);
    assert!((120_001..=180_001).contains(&expires_in(&server)));

    let request = |seq, returned, needed| LeaseRequest {
        key: Key::new(b"k"),
        holder: Leaseholder(1),
        seq,
        kept: 0,
        returned,
        needed,
        prefetch: 0,
    };
    for rule in [hourly(60, 60), Rule::fixed_window(60, Period::Day)] {
        shard.lease(1, &rule, request(1, 0, 10)).expect("it answers");
        shard.lease(2, &rule, request(2, 10, 0)).expect("it answers");
    }
    assert_eq!(number(&server, "EXISTS {rw:lease:bucket:3:api:k} {rw:lease:window:3:api:k}"), 0);
    stop.stop();
}

#[test]
fn a_key_that_is_full_by_one_version_of_a_rule_is_kept_until_it_is_full_by_the_other() {
    let server = RedisServer::start(&[]);
    let (_link, stop, shard) = gateway(&server);
    let (large, small) = (hourly(3_600, 3_600), hourly(3_600, 1));
    assert_eq!(passing(&shard, &large, 10), 10);
    assert_eq!(passing(&shard, &small, 1), 1);
    assert!(expires_in(&server) > HOUR_MS - 60_000, "{}", expires_in(&server));
    // Long after the last request under the other one.
    let mut set = ::redis::cmd("HSET");
    set.arg("{rw:strict:bucket:3:api:k}").arg("o").arg("3600 3600000 3600 1").arg("r").arg("3600 3600000 1");
    set.exec(&mut server.client()).expect("it is set");
    passing(&shard, &small, 1);
    assert!(expires_in(&server) <= 1_001);
    stop.stop();
}
