//! What one thing that fails costs the others: a user's missing permission, a panic, one master of a cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::server::{RedisServer, config};
use super::shard::{TEST_TIMEOUT, TestShard};
use crate::limit::{Key, Rule};
use crate::plan::Period;
use crate::store::{Link, StoreConfig, StoreReply, StoreSnapshot, StoreState};

fn rule(tokens: u64) -> Rule {
    Rule::token_bucket(tokens, Period::Hour, tokens)
}

fn await_snapshot(link: &Link, wanted: impl Fn(&StoreSnapshot) -> bool) -> StoreSnapshot {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let snapshot = link.snapshot();
        if wanted(&snapshot) {
            return snapshot;
        }
        assert!(Instant::now() < deadline, "{snapshot:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_user_without_a_command_is_told_which_and_the_store_is_tried_ever_more_rarely() {
    for (missing, word) in [("-evalsha", "evalsha"), ("-hset", "hset"), ("-hincrby", "hincrby")] {
        let acl = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", missing];
        let server = RedisServer::start(&acl);
        let (link, stop) = Link::start(server.config()).unwrap();
        let shard = TestShard::join(&link, 1);
        let said = |snapshot: &StoreSnapshot| {
            let error = snapshot.last_error.as_deref().unwrap_or_default();
            error.contains("NOPERM") && error.contains(&format!("'{word}'"))
        };
        let snapshot = await_snapshot(&link, said);
        // The waits double from 25 ms on: more than six attempts take a second and a half.
        let began = Instant::now();
        await_snapshot(&link, |now| now.traffic.failures >= snapshot.traffic.failures + 7);
        assert!(began.elapsed() > Duration::from_millis(500), "{missing}: {:?}", began.elapsed());
        server.run(&format!("ACL SETUSER default +{word}"));
        shard.await_reachable(true);
        assert!(shard.strict(1, &rule(1)).is_some());
        // The same when the permission is taken away from a gateway that serves.
        server.run(&format!("ACL SETUSER default {missing}"));
        shard.counters.add("hits", 1);
        shard.tick();
        let _ = shard.strict(2, &rule(1));
        shard.await_reachable(false);
        await_snapshot(&link, said);
        stop.stop();
    }
}

#[test]
fn a_panic_of_the_link_costs_what_is_in_hand_and_not_the_link() {
    let server = RedisServer::start(&[]);
    for config in [StoreConfig::Embedded, server.config()] {
        let (link, stop) = Link::start(config).unwrap();
        let shard = TestShard::join(&link, 1);
        shard.await_reachable(true);
        assert!(shard.strict(1, &rule(3)).is_some_and(|verdict| verdict.allowed));
        let panics = AtomicBool::new(true);
        let sink = move |reply| {
            let fatal = matches!(reply, StoreReply::Strict { .. }) && panics.swap(false, Ordering::SeqCst);
            assert!(!fatal, "a test's panic");
            true
        };
        link.join_shard(2, Box::new(sink));
        let (key, limit) = (Key::new(b"k"), "api".into());
        let request = crate::store::StoreRequest::Strict { shard: 2, ticket: 9, limit, rule: rule(3), key };
        assert!(link.send(request).is_ok());
        let panicked = |error: &str| error.contains("a test's panic");
        await_snapshot(&link, |snapshot| snapshot.last_error.as_deref().is_some_and(panicked));
        await_snapshot(&link, |snapshot| !matches!(snapshot.state, StoreState::Down { .. }));
        shard.await_reachable(true);
        shard.count("hits", 5);
        shard.await_value("hits", 5);
        assert!(shard.strict(2, &rule(3)).is_some());
        stop.stop();
    }
}

#[test]
fn a_link_that_panics_again_and_again_says_so_and_lets_nobody_wait() {
    let (link, stop) = Link::start(StoreConfig::Embedded).unwrap();
    let shard = TestShard::join(&link, 1);
    link.join_shard(2, Box::new(|reply| !matches!(reply, StoreReply::Strict { .. }) || panic!("again")));
    for _ in 0..2 {
        let (key, limit) = (Key::new(b"k"), "api".into());
        let request = crate::store::StoreRequest::Strict { shard: 2, ticket: 9, limit, rule: rule(3), key };
        assert!(link.send(request).is_ok());
        await_snapshot(&link, |snapshot| snapshot.last_error.is_some());
    }
    shard.await_reachable(false);
    assert!(matches!(link.snapshot().state, StoreState::Down { .. }));
    shard.await_reachable(true);
    assert!(shard.strict(1, &rule(3)).is_some());
    stop.stop();
}

#[test]
fn an_exchange_begins_while_another_is_not_answered_yet() {
    let server = RedisServer::start(&[]);
    let (link, stop) = Link::start(config(&server.url(), TEST_TIMEOUT)).unwrap();
    let shard = TestShard::join(&link, 1);
    shard.await_reachable(true);
    assert!(shard.strict(1, &rule(10)).is_some());
    server.freeze();
    // An eighth of the timeout after the first, the second goes out too.
    for ticket in [2, 3] {
        shard.send_strict(ticket, &rule(10), Key::new(b"k"));
        await_snapshot(&link, |snapshot| snapshot.queue == 0);
    }
    server.thaw();
    let verdicts = (0..100).map(|_| shard.next()).filter_map(|reply| match reply {
        StoreReply::Strict { verdict, .. } => Some(verdict.allowed),
        _ => None,
    });
    assert_eq!(verdicts.take(2).collect::<Vec<_>>(), [true, true]);
    assert_eq!(link.snapshot().traffic.failures, 0);
    stop.stop();
}
