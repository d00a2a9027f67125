//! Clusters of one and two masters.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::server::{RedisServer, TIMEOUT, config, free_port};
use super::shard::{TEST_TIMEOUT, TestShard};
use crate::limit::{Key, Rule};
use crate::plan::Period;
use crate::store::{Link, LinkStop, StoreReply, StoreState};

struct ClusterNode {
    server: RedisServer,
    port: u16,
}

fn node() -> ClusterNode {
    let (port, bus) = (free_port(), free_port());
    let numbers = [port.to_string(), bus.to_string()];
    let server = RedisServer::start(&[
        "--port",
        &numbers[0],
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &numbers[1],
    ]);
    ClusterNode { server, port }
}

fn await_ok(node: &ClusterNode) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    let info = || ::redis::from_redis_value::<String>(node.server.run("CLUSTER INFO")).unwrap();
    while !info().contains("cluster_state:ok") {
        assert!(Instant::now() < deadline, "{}", info());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn gateway(url: &str) -> (Link, LinkStop, TestShard) {
    let (link, stop) = Link::start(config(url, TIMEOUT)).unwrap();
    let shard = TestShard::join(&link, 1);
    shard.await_reachable(true);
    (link, stop, shard)
}

fn use_many_keys(shard: &TestShard) {
    let rule = Rule::token_bucket(1000, Period::Hour, 1000);
    for ticket in 0..200 {
        shard.send_strict(ticket, &rule, Key::new(ticket.to_string().as_bytes()));
    }
    for ticket in 0..200 {
        assert!(
            matches!(shard.answer(ticket), StoreReply::Strict { verdict, .. } if verdict.allowed),
            "{ticket}"
        );
    }
}

#[test]
fn a_cluster_of_one_works_as_a_server_does() {
    let node = node();
    node.server.run("CLUSTER ADDSLOTSRANGE 0 16383");
    await_ok(&node);
    let (link, stop, shard) = gateway(&format!("redis-cluster://127.0.0.1:1,127.0.0.1:{}", node.port));
    use_many_keys(&shard);
    shard.counters.add("hits", 7);
    shard.tick();
    shard.await_value("hits", 7);
    node.server.run("SCRIPT FLUSH");
    use_many_keys(&shard);
    assert_eq!(link.snapshot().traffic.unanswered, 0);
    stop.stop();
}

/// Two masters, with half of the slots each.
fn two_masters() -> (ClusterNode, ClusterNode) {
    let (one, two) = (node(), node());
    one.server.run("CLUSTER ADDSLOTSRANGE 0 8191");
    two.server.run("CLUSTER ADDSLOTSRANGE 8192 16383");
    let bus = |node: &ClusterNode| {
        let port =
            ::redis::from_redis_value::<Vec<String>>(node.server.run("CONFIG GET cluster-port")).unwrap();
        port[1].clone()
    };
    one.server.run(&format!("CLUSTER MEET 127.0.0.1 {} {}", two.port, bus(&two)));
    await_ok(&one);
    await_ok(&two);
    (one, two)
}

/// Of 200 keys, those that are answered.
fn answered(shard: &TestShard) -> Vec<u64> {
    let rule = Rule::token_bucket(1000, Period::Hour, 1000);
    let keys = 0..200_u64;
    let ask = |ticket: u64| shard.send_strict(ticket, &rule, Key::new(ticket.to_string().as_bytes()));
    keys.clone().for_each(ask);
    keys.filter(|&ticket| matches!(shard.answer(ticket), StoreReply::Strict { .. })).collect()
}

#[test]
fn a_master_that_is_gone_or_frozen_takes_its_own_slots_down_until_it_is_back() {
    let (one, mut two) = two_masters();
    for node in [&one, &two] {
        node.server.run("CONFIG SET cluster-require-full-coverage no");
        node.server.run("CONFIG SET cluster-node-timeout 600000");
    }
    let timeout = Duration::from_millis(500);
    let (link, stop) =
        Link::start(config(&format!("redis-cluster://127.0.0.1:{}", one.port), timeout)).unwrap();
    let shard = TestShard::join(&link, 1);
    shard.await_reachable(true);
    assert_eq!(answered(&shard).len(), 200);
    for frozen in [true, false] {
        if frozen {
            two.server.freeze();
        } else {
            two.server.kill();
        }
        // The first ones may find out, at the cost of their timeout.
        answered(&shard);
        let of_one = answered(&shard);
        assert!((50..150).contains(&of_one.len()), "{}", of_one.len());
        let snapshot = link.snapshot();
        assert!(!matches!(snapshot.state, StoreState::Down { .. }), "{:?}", snapshot.last_error);
        let named = snapshot.last_error.is_some_and(|error| error.contains(&two.port.to_string()));
        assert!(named, "it says which node");
        if frozen {
            two.server.thaw();
        } else {
            two.server.restart();
        }
        let deadline = Instant::now() + TEST_TIMEOUT;
        while answered(&shard).len() < 200 {
            assert!(Instant::now() < deadline, "it is not found again");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    stop.stop();
}

#[test]
fn operations_follow_keys_that_move() {
    let (one, two) = two_masters();
    let (link, stop, shard) = gateway(&format!("redis-cluster://127.0.0.1:{}", one.port));
    use_many_keys(&shard);
    // The second master gives half of its empty slots to the first: MOVED for each key in them. The other half is on
    // its way: ASK for each key that has left.
    two.server.run("FLUSHALL");
    let id =
        |node: &ClusterNode| ::redis::from_redis_value::<String>(node.server.run("CLUSTER MYID")).unwrap();
    let set_slots = |node: &ClusterNode, slots: Range<u16>, state: &str, id: &str| {
        let mut pipe = ::redis::pipe();
        for slot in slots {
            pipe.cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(state).arg(id).ignore();
        }
        pipe.exec(&mut node.server.client()).unwrap();
    };
    let (one_id, two_id) = (id(&one), id(&two));
    // A slot that was being imported raises the configuration epoch of its new master, which then wins.
    set_slots(&one, 8192..16_384, "IMPORTING", &two_id);
    set_slots(&two, 12_288..16_384, "MIGRATING", &one_id);
    for node in [&one, &two] {
        set_slots(node, 8192..12_288, "NODE", &one_id);
    }
    use_many_keys(&shard);
    assert_eq!(link.snapshot().traffic.unanswered, 0);
    stop.stop();
}
