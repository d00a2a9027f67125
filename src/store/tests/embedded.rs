//! Counters and limits in the embedded store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::shard::TestShard;
use crate::limit::{Key, LeaseRequest, Leaseholder, Rule};
use crate::plan::Period;
use crate::store::{Link, MAX_COUNTERS, ShardCounters, StoreConfig, StoreReply, StoreRequest};

#[test]
fn every_shard_sees_what_every_shard_adds() {
    let (link, stop) = Link::start(StoreConfig::Embedded).unwrap();
    let shards: Vec<_> = (0..4).map(|id| TestShard::join(&link, id)).collect();
    for shard in &shards {
        shard.counters.add("hits", 10);
        shard.tick();
    }
    for shard in &shards {
        shard.await_value("hits", 40);
    }
    stop.stop();
    assert_eq!(link.snapshot().counters[..], [("hits".into(), 40)]);
}

#[test]
fn each_request_is_acknowledged_to_its_shard_alone() {
    let (link, stop) = Link::start(StoreConfig::Embedded).unwrap();
    let (one, two) = (TestShard::join(&link, 1), TestShard::join(&link, 2));
    one.counters.add("a", 1);
    one.tick();
    assert!(one.next_sums().acknowledges);
    assert!(!two.next_sums().acknowledges);
    stop.stop();
}

#[test]
fn a_shard_that_joins_late_or_again_gets_all_sums() {
    let (link, stop) = Link::start(StoreConfig::Embedded).unwrap();
    let one = TestShard::join(&link, 1);
    one.counters.add("a", 1);
    one.tick();
    one.await_value("a", 1);
    one.next_sums();
    let again = TestShard::join(&link, 1);
    assert_eq!(again.counters.value("a"), 1);
    stop.stop();
}

#[test]
fn a_shard_that_could_not_take_a_reply_gets_it_later() {
    let (link, stop) = Link::start(StoreConfig::Embedded).unwrap();
    let (full, mailbox) = (Arc::new(AtomicBool::new(true)), crossbeam_channel::unbounded());
    let (is_full, sink) = (full.clone(), mailbox.0);
    link.join_shard(1, Box::new(move |reply| !is_full.load(Ordering::SeqCst) && sink.send(reply).is_ok()));
    let counters = ShardCounters::new();
    counters.add("a", 5);
    assert!(link.send(StoreRequest::Counters { shard: 1, deltas: counters.take_deltas() }).is_ok());
    while link.snapshot().counters.is_empty() {
        std::thread::yield_now();
    }
    full.store(false, Ordering::SeqCst);
    let update = loop {
        if let StoreReply::Counters(update) =
            mailbox.1.recv_timeout(Duration::from_secs(10)).expect("it is tried again")
        {
            break update;
        }
    };
    assert!(update.acknowledges);
    counters.apply(&update);
    assert_eq!(counters.value("a"), 5);
    stop.stop();
}

#[test]
fn names_over_the_bound_are_refused_on_every_shard() {
    let (link, stop) = Link::start(StoreConfig::Embedded).unwrap();
    let (one, two) = (TestShard::join(&link, 1), TestShard::join(&link, 2));
    for number in 0..MAX_COUNTERS {
        one.counters.add(&number.to_string(), 1);
    }
    two.counters.add("extra", 1);
    one.tick();
    while !one.next_sums().acknowledges {}
    two.tick();
    while !two.next_sums().full {}
    assert!(!two.counters.add("extra", 1));
    assert!(two.counters.add("0", 1));
    while !one.next_sums().full {}
    assert!(!one.counters.add("extra", 1));
    stop.stop();
    assert!(link.snapshot().counters_full);
}

#[test]
fn a_stop_handles_what_was_sent_before_and_later_sends_fail() {
    let (link, stop) = Link::start(StoreConfig::Embedded).unwrap();
    for _ in 0..5000 {
        assert!(link.send(StoreRequest::Counters { shard: 0, deltas: vec![("a".into(), 1)] }).is_ok());
    }
    stop.stop();
    assert_eq!(link.snapshot().counters[..], [("a".into(), 5000)]);
    assert!(link.send(StoreRequest::Counters { shard: 0, deltas: Vec::new() }).is_err());
    assert_eq!(link.snapshot().refused, 1);
}

#[test]
fn tickets_come_back_to_their_shard_with_the_answer() {
    let (link, stop) = Link::start(StoreConfig::Embedded).unwrap();
    let (one, two) = (TestShard::join(&link, 1), TestShard::join(&link, 2));
    let rule = Rule::token_bucket(3, Period::Hour, 3);
    let verdicts: Vec<bool> =
        (0..4).map(|ticket| one.strict(ticket, &rule).expect("it answers").allowed).collect();
    assert_eq!(verdicts, [true, true, true, false]);
    assert!(!two.strict(9, &rule).expect("it answers").allowed);
    let request = LeaseRequest {
        key: Key::new(b"k"),
        holder: Leaseholder(1),
        seq: 1,
        kept: 0,
        returned: 0,
        needed: 2,
        prefetch: 0,
    };
    let grant = two.lease(10, &rule, request).expect("it answers");
    assert_eq!(grant.granted, 2, "leases have a bucket store of their own");
    assert!(one.replies.is_empty());
    stop.stop();
}
