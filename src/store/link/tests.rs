use std::sync::atomic::AtomicBool;

use super::super::counters::ShardCounters;
use super::super::message::MOST_NAMES;
use super::*;

/// A shard as the gateway has it, less the event loop.
struct TestShard {
    id: usize,
    link: Link,
    counters: ShardCounters,
    replies: Receiver<Reply>,
}

impl TestShard {
    fn join(link: &Link, id: usize) -> TestShard {
        let (sink, replies) = unbounded();
        link.join_shard(id, Box::new(move |reply| sink.send(reply).is_ok()));
        let shard = TestShard { id, link: link.clone(), counters: ShardCounters::new(), replies };
        shard.next();
        shard
    }

    fn tick(&self) {
        let deltas = self.counters.take_deltas();
        if !deltas.is_empty() && self.link.send(Request::Counters { shard: self.id, deltas }).is_err() {
            self.counters.put_back();
        }
    }

    fn next(&self) -> CounterSums {
        let Reply::Counters(news) =
            self.replies.recv_timeout(Duration::from_secs(10)).expect("a reply comes");
        self.counters.apply(&news);
        news
    }

    /// Takes replies until the counter has the value.
    fn await_value(&self, name: &str, value: i64) {
        while self.counters.value(name) != value {
            self.next();
        }
    }
}

#[test]
fn every_shard_sees_what_every_shard_adds() {
    let (link, stop) = Link::start(Config::Embedded).unwrap();
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
    let (link, stop) = Link::start(Config::Embedded).unwrap();
    let (one, two) = (TestShard::join(&link, 1), TestShard::join(&link, 2));
    one.counters.add("a", 1);
    one.tick();
    assert!(one.next().acknowledges);
    assert!(!two.next().acknowledges);
    stop.stop();
}

#[test]
fn a_shard_that_joins_late_or_again_gets_all_sums() {
    let (link, stop) = Link::start(Config::Embedded).unwrap();
    let one = TestShard::join(&link, 1);
    one.counters.add("a", 1);
    one.tick();
    one.await_value("a", 1);
    one.next();
    let again = TestShard::join(&link, 1);
    assert_eq!(again.counters.value("a"), 1);
    stop.stop();
}

#[test]
fn a_shard_that_could_not_take_a_reply_gets_it_later() {
    let (link, stop) = Link::start(Config::Embedded).unwrap();
    let (deaf, heard) = (Arc::new(AtomicBool::new(true)), unbounded());
    let (ears, sink) = (deaf.clone(), heard.0);
    link.join_shard(1, Box::new(move |reply| !ears.load(Ordering::SeqCst) && sink.send(reply).is_ok()));
    let counters = ShardCounters::new();
    counters.add("a", 5);
    assert!(link.send(Request::Counters { shard: 1, deltas: counters.take_deltas() }).is_ok());
    while link.snapshot().counters.is_empty() {
        std::thread::yield_now();
    }
    deaf.store(false, Ordering::SeqCst);
    let Reply::Counters(news) = heard.1.recv_timeout(Duration::from_secs(10)).expect("it is tried again");
    assert!(news.acknowledges);
    counters.apply(&news);
    assert_eq!(counters.value("a"), 5);
    stop.stop();
}

#[test]
fn names_over_the_bound_are_refused_on_every_shard() {
    let (link, stop) = Link::start(Config::Embedded).unwrap();
    let (one, two) = (TestShard::join(&link, 1), TestShard::join(&link, 2));
    for number in 0..MOST_NAMES {
        one.counters.add(&number.to_string(), 1);
    }
    two.counters.add("extra", 1);
    one.tick();
    while !one.next().acknowledges {}
    two.tick();
    while !two.next().full {}
    assert!(!two.counters.add("extra", 1));
    assert!(two.counters.add("0", 1));
    while !one.next().full {}
    assert!(!one.counters.add("extra", 1));
    stop.stop();
    assert!(link.snapshot().counters_full);
}

#[test]
fn a_stop_handles_what_was_sent_before_and_later_sends_fail() {
    let (link, stop) = Link::start(Config::Embedded).unwrap();
    for _ in 0..5000 {
        assert!(link.send(Request::Counters { shard: 0, deltas: vec![("a".into(), 1)] }).is_ok());
    }
    stop.stop();
    assert_eq!(link.snapshot().counters[..], [("a".into(), 5000)]);
    assert!(link.send(Request::Counters { shard: 0, deltas: Vec::new() }).is_err());
    assert_eq!(link.snapshot().refused, 1);
}
