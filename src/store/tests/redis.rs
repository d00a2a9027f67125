//! With a real server: what works, and what happens when it fails in each way that it can.

use std::time::{Duration, Instant};

use ::redis::Value;
use crossbeam_channel::{Receiver, Sender};

use super::server::{RedisServer, TIMEOUT, config, free_port, remote};
use super::shard::{TEST_TIMEOUT, TestShard};
use crate::limit::{Key, LeaseRequest, Leaseholder, Rule};
use crate::plan::ApiKeyHash;
use crate::plan::Period;
use crate::store::{KeyList, KeyRing, Link, LinkStop, StoreReply, StoreRequest, StoreState};

/// The timeout in tests of a store that does not answer.
const SHORT: Duration = Duration::from_millis(200);

fn rule(tokens: u64) -> Rule {
    Rule::token_bucket(tokens, Period::Hour, tokens)
}

/// A gateway with one shard, once its store is reached.
pub fn gateway(server: &RedisServer) -> (Link, LinkStop, TestShard) {
    gateway_with(&server.url(), TIMEOUT)
}

fn gateway_with(url: &str, timeout: Duration) -> (Link, LinkStop, TestShard) {
    let (link, stop) = Link::start(config(url, timeout)).unwrap();
    let shard = TestShard::join(&link, 1);
    shard.await_reachable(true);
    (link, stop, shard)
}

fn allowed(shard: &TestShard, ticket: u64, tokens: u64) -> Option<bool> {
    shard.strict(ticket, &rule(tokens)).map(|verdict| verdict.allowed)
}

/// Sends requests until there is an answer again.
fn await_allowed(shard: &TestShard, tokens: u64) -> bool {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        if let Some(allowed) = allowed(shard, 77, tokens) {
            return allowed;
        }
        assert!(Instant::now() < deadline, "the store does not recover");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn hash(byte: u8) -> ApiKeyHash {
    ApiKeyHash([byte; 32])
}

#[test]
fn strict_limits_are_counted_over_all_gateways() {
    let server = RedisServer::start(&[]);
    let (_one, stop_one, one) = gateway(&server);
    let (_two, stop_two, two) = gateway(&server);
    let got: Vec<_> =
        (0..3).flat_map(|ticket| [allowed(&one, ticket, 4), allowed(&two, ticket, 4)]).collect();
    assert_eq!(got, [true, true, true, true, false, false].map(Some));
    stop_one.stop();
    stop_two.stop();
}

#[test]
fn leases_are_granted_over_all_gateways() {
    let server = RedisServer::start(&[]);
    let (_one, stop_one, one) = gateway(&server);
    let (_two, stop_two, two) = gateway(&server);
    let request = |holder, needed| LeaseRequest {
        key: Key::new(b"k"),
        holder: Leaseholder(holder),
        seq: 1,
        kept: 0,
        returned: 0,
        needed,
        prefetch: 0,
    };
    let first = one.lease(1, &rule(10), request(u64::MAX, 7)).expect("it answers");
    let second = two.lease(1, &rule(10), request(2, 7)).expect("it answers");
    assert_eq!((first.granted, second.granted, second.leased_to_others), (7, 3, 7));
    stop_one.stop();
    stop_two.stop();
}

/// Has the link take `count` requests (from ticket 1 on) as one batch, once the returned sender is dropped.
fn gather(link: &Link, count: u64) -> (Sender<()>, Receiver<StoreReply>) {
    let (hold, held) = crossbeam_channel::bounded(0);
    let (holding, is_held) = crossbeam_channel::bounded(1);
    let (sink, replies) = crossbeam_channel::unbounded();
    link.join_shard(
        2,
        Box::new(move |reply| {
            // Blocks the link, as no shard may, while the batch gathers.
            if matches!(reply, StoreReply::Strict { ticket: 0, .. }) {
                holding.send(()).expect("the test waits for it");
                let _: Result<(), _> = held.recv();
            }
            sink.send(reply).is_ok()
        }),
    );
    let ask = |ticket| {
        let key = Key::new(b"k");
        let request = StoreRequest::Strict { shard: 2, ticket, limit: "api".into(), rule: rule(1000), key };
        assert!(link.send(request).is_ok());
    };
    ask(0);
    is_held.recv_timeout(TEST_TIMEOUT).expect("it is answered");
    (1..=count).for_each(ask);
    (hold, replies)
}

/// Waits for as many of these replies.
fn await_replies(replies: &Receiver<StoreReply>, count: u64, wanted: impl Fn(&StoreReply) -> bool) {
    let mut left = count;
    while left > 0 {
        left -= u64::from(wanted(&replies.recv_timeout(TEST_TIMEOUT).expect("a reply comes")));
    }
}

#[test]
fn requests_that_gather_are_sent_as_one_batch() {
    let server = RedisServer::start(&[]);
    let (link, stop, _shard) = gateway(&server);
    let (hold, replies) = gather(&link, 500);
    drop(hold);
    await_replies(
        &replies,
        501,
        |reply| matches!(reply, StoreReply::Strict { verdict, .. } if verdict.allowed),
    );
    stop.stop();
    assert!(link.snapshot().traffic.max_commands >= 500);
}

#[test]
fn counters_add_up_over_shards_and_gateways() {
    let server = RedisServer::start(&[]);
    let (link, stop_one, one) = gateway(&server);
    let (_two, stop_two, two) = gateway(&server);
    let sibling = TestShard::join(&link, 2);
    for (shard, n) in [(&one, 1), (&sibling, 10), (&two, 100)] {
        shard.counters.add("hits", n);
        shard.tick();
    }
    for shard in [&one, &sibling, &two] {
        shard.await_value("hits", 111);
    }
    two.counters.add("hits", -11);
    two.tick();
    one.await_value("hits", 100);
    stop_one.stop();
    stop_two.stop();
}

#[test]
fn counters_of_the_last_moment_are_stored_at_the_end_and_found_at_the_next_start() {
    let server = RedisServer::start(&[]);
    let (_link, stop, shard) = gateway(&server);
    for n in 1..=50 {
        shard.counters.add("hits", n);
        shard.tick();
        shard.next_sums();
    }
    stop.stop();
    let (_link, stop, shard) = gateway(&server);
    assert_eq!(shard.counters.value("hits"), 0);
    shard.tick();
    shard.await_value("hits", 1275);
    stop.stop();
}

#[test]
fn counters_stop_at_the_ends_in_the_store_too() {
    let server = RedisServer::start(&[]);
    server.run(&format!("HSET {{rw:counters}} up {} down {} odd x", i64::MAX - 1, i64::MIN));
    let (_link, stop, shard) = gateway(&server);
    for (name, n) in [("up", 5), ("down", -5), ("odd", 5)] {
        shard.counters.add(name, n);
    }
    shard.tick();
    shard.await_value("up", i64::MAX);
    shard.await_value("down", i64::MIN);
    shard.await_value("odd", 5);
    stop.stop();
}

#[test]
fn counters_outlive_an_outage_and_are_stored_once() {
    let server = RedisServer::start(&[]);
    let (_link, stop, shard) = gateway_with(&server.url(), SHORT);
    shard.count("hits", 1);
    server.freeze();
    shard.count("hits", 10);
    shard.await_reachable(false);
    shard.count("hits", 100);
    assert_eq!(shard.counters.value("hits"), 111);
    server.thaw();
    shard.await_reachable(true);
    stop.stop();
    // The frozen store carried out the batch when it was thawed, and got it again after that.
    let stored = server.run("HGET {rw:counters} hits");
    assert_eq!(::redis::from_redis_value::<i64>(stored).unwrap(), 111);
}

#[test]
fn a_frozen_store_is_noticed_in_time_and_costs_nothing_after_that() {
    let server = RedisServer::start(&[]);
    let (link, stop, shard) = gateway_with(&server.url(), SHORT);
    assert_eq!(allowed(&shard, 1, 10), Some(true));
    server.freeze();
    for ticket in 0..300 {
        shard.send_strict(ticket, &rule(1000), Key::new(b"other"));
    }
    for ticket in 0..300 {
        assert!(matches!(shard.answer(ticket), StoreReply::Failed { .. }));
    }
    // Those failed by the timeout, or before the link noticed; from now on it replies without the store.
    let before = link.snapshot().traffic;
    for ticket in 0..100 {
        assert_eq!(allowed(&shard, ticket, 10), None);
    }
    assert_eq!(link.snapshot().traffic.exchanges, before.exchanges);
    assert!(matches!(link.snapshot().state, StoreState::Down { .. }));
    assert!(link.snapshot().last_error.is_some_and(|error| error.contains("no answer in time")));
    server.thaw();
    assert!(await_allowed(&shard, 10));
    stop.stop();
}

#[test]
fn a_batch_that_a_frozen_store_does_not_answer_costs_one_timeout_and_not_one_for_each() {
    let server = RedisServer::start(&[]);
    let (link, stop, _shard) = gateway_with(&server.url(), SHORT);
    let (hold, replies) = gather(&link, 500);
    server.freeze();
    drop(hold);
    await_replies(&replies, 500, |reply| matches!(reply, StoreReply::Failed { .. }));
    server.thaw();
    stop.stop();
}

#[test]
fn a_store_that_was_killed_is_used_again_when_it_is_back() {
    let mut server = RedisServer::start(&[]);
    let (link, stop, shard) = gateway(&server);
    assert_eq!(allowed(&shard, 1, 1), Some(true));
    server.kill();
    shard.await_reachable(false);
    assert_eq!(allowed(&shard, 2, 1), None);
    assert!(link.snapshot().traffic.failures > 0);
    server.restart();
    assert!(await_allowed(&shard, 1), "it was empty, and had no script");
    assert!(!await_allowed(&shard, 1));
    stop.stop();
}

#[test]
fn a_gateway_starts_without_its_store_and_finds_it_later() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let (link, stop) = Link::start(server.config()).unwrap();
    let shard = TestShard::join(&link, 1);
    assert_eq!(allowed(&shard, 1, 1), None);
    server.restart();
    shard.await_reachable(true);
    assert_eq!(allowed(&shard, 2, 1), Some(true));
    stop.stop();
}

#[test]
fn flushed_scripts_and_data_are_no_outage() {
    let server = RedisServer::start(&[]);
    let (link, stop, shard) = gateway(&server);
    assert_eq!(allowed(&shard, 1, 1), Some(true));
    for command in ["SCRIPT FLUSH", "FLUSHALL"] {
        server.run(command);
        assert!(shard.strict(2, &rule(1)).is_some(), "after {command}");
    }
    assert_eq!(allowed(&shard, 3, 1), Some(false), "FLUSHALL has filled the bucket once");
    shard.count("hits", 3);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while server.run("HGET {rw:counters} hits") == Value::Nil {
        assert!(Instant::now() < deadline);
    }
    server.run("FLUSHALL");
    shard.await_value("hits", 0);
    assert_eq!(link.snapshot().traffic.failures, 0);
    stop.stop();
}

#[test]
fn a_store_that_takes_no_writes_is_an_outage_until_it_does() {
    for (command, cure, code) in [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"),
    ] {
        let server = RedisServer::start(&["--replica-serve-stale-data", "yes"]);
        let (link, stop, shard) = gateway(&server);
        assert_eq!(allowed(&shard, 1, 100), Some(true));
        server.run(command);
        assert_eq!(allowed(&shard, 2, 100), None, "{code}");
        shard.await_reachable(false);
        let error = link.snapshot().last_error.unwrap_or_default();
        assert!(error.contains(code), "{error}");
        server.run(cure);
        assert!(await_allowed(&shard, 100), "{code}");
        stop.stop();
    }
}

#[test]
fn an_error_about_one_key_costs_that_request_alone() {
    let server = RedisServer::start(&[]);
    let (link, stop, shard) = gateway(&server);
    server.run("SET {rw:strict:bucket:3:api:k} text");
    assert_eq!(allowed(&shard, 1, 5), None);
    let window = Rule::fixed_window(5, Period::Hour);
    assert!(shard.strict(2, &window).is_some_and(|verdict| verdict.allowed));
    let snapshot = link.snapshot();
    assert_eq!(
        (snapshot.state, snapshot.traffic.failures, snapshot.traffic.unanswered),
        (StoreState::Up, 0, 1)
    );
    stop.stop();
}

#[test]
fn users_log_in_and_a_wrong_password_is_an_outage_that_does_not_show_it() {
    let server = RedisServer::start(&[
        "--user", "gate", "on", ">s3cret", "~*", "&*", "+@all", "-script", "--user", "default", "off",
    ]);
    let (link, stop) =
        Link::start(config(&format!("{}?user=gate&pass=wr0ng", server.url()), TIMEOUT)).unwrap();
    let shard = TestShard::join(&link, 1);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while link.snapshot().last_error.is_none() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(allowed(&shard, 1, 1), None);
    let error = link.snapshot().last_error.unwrap_or_default();
    assert!(error.contains("authentication failed") && !error.contains("wr0ng"), "{error}");
    stop.stop();
    let (_link, stop, shard) = gateway_with(&format!("{}?user=gate&pass=s3cret", server.url()), TIMEOUT);
    assert_eq!(allowed(&shard, 1, 1), Some(true), "scripts go by text where they cannot be loaded before");
    stop.stop();
}

#[test]
fn keys_that_are_added_and_revoked_reach_every_gateway() {
    let server = RedisServer::start(&[]);
    let (_one, stop_one, one) = gateway(&server);
    let (_two, stop_two, two) = gateway(&server);
    let mut ring = KeyRing::open(&remote(server.config())).unwrap();
    assert_eq!(ring.add(hash(1), "alice", 10).unwrap(), None);
    assert_eq!(ring.revoke(hash(2), Some("carol"), 11).unwrap(), None);
    let wanted = |keys: &KeyList| {
        keys.added.get(&hash(1)).is_some_and(|consumer| &**consumer == "alice")
            && keys.revoked.contains(&hash(2))
    };
    for shard in [&one, &two] {
        shard.await_keys(wanted);
    }
    let before = ring.revoke(hash(1), None, 12).unwrap().expect("it was there");
    assert_eq!((&*before.consumer, before.revoked, before.changed_s), ("alice", false, 10));
    for shard in [&one, &two] {
        while !matches!(shard.next(), StoreReply::Keys(keys) if keys.added.is_empty() && keys.revoked.len() == 2)
        {
        }
    }
    let listed: Vec<_> = ring.list().unwrap().into_iter().map(|entry| (entry.hash, entry.value())).collect();
    assert_eq!(listed, [(hash(2), "revoked 11 carol".into()), (hash(1), "revoked 12 alice".into())]);
    server.run("FLUSHALL");
    ring.add(hash(3), "bob", 13).unwrap();
    one.await_keys(|keys| keys.added.len() == 1 && keys.revoked.is_empty());
    stop_one.stop();
    stop_two.stop();
}

#[test]
fn a_shard_that_joins_late_gets_the_keys() {
    let server = RedisServer::start(&[]);
    KeyRing::open(&remote(server.config())).unwrap().add(hash(1), "alice", 10).unwrap();
    let (link, stop, one) = gateway(&server);
    one.await_keys(|keys| keys.added.len() == 1);
    let (sink, replies) = crossbeam_channel::unbounded();
    link.join_shard(2, Box::new(move |reply| sink.send(reply).is_ok()));
    assert!(matches!(replies.recv_timeout(TEST_TIMEOUT), Ok(StoreReply::Reachable(true))));
    assert!(
        matches!(replies.recv_timeout(TEST_TIMEOUT), Ok(StoreReply::Keys(keys)) if keys.added.len() == 1)
    );
    assert_eq!(link.keys().map(|keys| (keys.added.len(), keys.revoked.len())), Some((1, 0)));
    stop.stop();
}

#[test]
fn databases_and_tcp_work_too() {
    let port = free_port().to_string();
    let server = RedisServer::start(&["--port", &port]);
    let (_link, stop, shard) = gateway_with(&format!("redis://localhost:{port}/3"), TIMEOUT);
    assert_eq!(allowed(&shard, 1, 1), Some(true));
    stop.stop();
    let keys: Vec<String> = {
        let mut client = server.client();
        ::redis::cmd("SELECT").arg(3).exec(&mut client).unwrap();
        ::redis::cmd("KEYS").arg("{rw:strict:*").query(&mut client).unwrap()
    };
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_full_queue_refuses_at_once_and_what_was_taken_is_answered_once() {
    let server = RedisServer::start(&[]);
    let (link, stop, shard) = gateway_with(&server.url(), TEST_TIMEOUT);
    server.freeze();
    let mut taken = 0;
    while shard.try_strict(taken, &rule(100_000), Key::new(b"k")) {
        taken += 1;
    }
    assert!(taken >= 1024);
    assert_eq!(link.snapshot().refused, 1);
    server.thaw();
    for ticket in 0..taken {
        assert!(matches!(shard.answer(ticket), StoreReply::Strict { verdict, .. } if verdict.allowed));
    }
    stop.stop();
    assert!(shard.replies.try_iter().all(|reply| matches!(
        reply,
        StoreReply::Counters(_) | StoreReply::Reachable(_) | StoreReply::Keys(_)
    )));
}

#[test]
fn whatever_happens_to_the_store_each_ticket_gets_one_reply() {
    let mut server = RedisServer::start(&[]);
    let (_link, stop, shard) = gateway_with(&server.url(), SHORT);
    let mut ticket = 0;
    let mut ask = |shard: &TestShard, count: u64| {
        for _ in 0..count {
            shard.send_strict(ticket, &rule(100_000), Key::new(&ticket.to_le_bytes()));
            ticket += 1;
        }
        ticket
    };
    for _ in 0..4 {
        ask(&shard, 50);
        server.freeze();
        ask(&shard, 50);
        shard.await_reachable(false);
        server.thaw();
        ask(&shard, 50);
        shard.await_reachable(true);
        ask(&shard, 50);
        server.kill();
        ask(&shard, 50);
        shard.await_reachable(false);
        server.restart();
        shard.await_reachable(true);
    }
    let sent = ask(&shard, 50);
    stop.stop();
    let mut seen = shard.tickets();
    seen.sort_unstable();
    assert_eq!(seen, (0..sent).collect::<Vec<_>>());
}
