//! What becomes of endpoints and their idle connections when configurations and addresses change.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Addresses, BreakerOutbox, Endpoint, EndpointAddress, Upstream};
use crate::balance::{Balancer, WeightedEndpoint, hash_key};
use crate::base::error::{FaultOrigin, Reason};
use crate::metrics::ShardMetrics;
use crate::net::Deadlines;
use crate::plan::{Balance, BreakerPlan, HashOn, RetryPlan, TargetAddress, TargetPlan, UpstreamPlan};

const PORT: u16 = 80;

/// The address that tests call `last`.
fn address(last: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, last), PORT).into()
}

/// The name `pool` with these addresses.
pub(super) fn addresses(last: &[u8]) -> Addresses {
    Addresses::from([(("pool".into(), PORT), last.iter().map(|last| address(*last)).collect())])
}

/// A target that is the name `pool`.
pub(super) fn by_name(weight: u32) -> TargetPlan {
    let address = TargetAddress::Name { host: "pool".into(), port: PORT };
    TargetPlan { url: "http://pool".into(), weight, address, authority: "pool".into() }
}

fn by_address(address: SocketAddr, weight: u32) -> TargetPlan {
    let url: Arc<str> = format!("http://{address}").into();
    TargetPlan { url, weight, address: TargetAddress::Ip(address), authority: "a".into() }
}

pub(super) fn plan(targets: Vec<TargetPlan>) -> UpstreamPlan {
    UpstreamPlan {
        name: "u".into(),
        targets,
        balance: Balance::RoundRobin,
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(60),
        keepalive: 10,
        keepalive_idle: Duration::from_secs(60),
        max_inflight: None,
        retry: RetryPlan::CONNECTS_ONLY,
        breaker: Some(BreakerPlan::CONNECTS_ONLY),
        health: None,
    }
}

pub(super) fn first(plan: UpstreamPlan, addresses: &Addresses) -> Rc<Upstream> {
    Upstream::succeed(&Arc::new(plan), None, addresses, &ShardMetrics::new(0), &BreakerOutbox::default(), 0)
}

fn reloaded(plan: UpstreamPlan, before: &Rc<Upstream>, addresses: &Addresses) -> Rc<Upstream> {
    Upstream::succeed(&Arc::new(plan), Some(before), addresses, &ShardMetrics::new(0), &before.outbox, 0)
}

/// The endpoints' last bytes of address.
fn last_bytes(upstream: &Upstream) -> Vec<u8> {
    let last = |endpoint: &Rc<Endpoint>| match endpoint.address {
        EndpointAddress::Tcp(SocketAddr::V4(address)) => address.ip().octets()[3],
        _ => panic!("not of these tests"),
    };
    upstream.endpoints().iter().map(last).collect()
}

/// The indices of the endpoints that so many requests pick.
pub(super) fn picks(upstream: &Upstream, count: usize) -> Vec<usize> {
    let index = |endpoint: Rc<Endpoint>| {
        upstream.endpoints().iter().position(|other| Rc::ptr_eq(other, &endpoint)).expect("one of them")
    };
    (0..count).map(|_| index(upstream.pick(0, &[], 0).expect("usable"))).collect()
}

#[test]
fn a_name_is_one_endpoint_per_address_each_with_the_targets_weight() {
    let upstream = first(plan(vec![by_name(2), by_address(address(9), 1)]), &addresses(&[1, 2, 3]));
    assert_eq!(last_bytes(&upstream), [1, 2, 3, 9]);
    let picks = picks(&upstream, 70);
    let count = |index: usize| picks.iter().filter(|picked| **picked == index).count();
    assert_eq!([0, 1, 2, 3].map(count), [20, 20, 20, 10]);
    let endpoints = upstream.endpoints();
    assert!(Rc::ptr_eq(&endpoints[0].metrics, &endpoints[2].metrics), "counted by target");
    assert!(!Rc::ptr_eq(&endpoints[0].metrics, &endpoints[3].metrics));
}

#[test]
fn other_addresses_keep_the_endpoints_whose_address_stays() {
    let upstream = first(plan(vec![by_name(1)]), &addresses(&[1, 2, 3]));
    let before: Vec<_> = upstream.endpoints().to_vec();
    upstream.set_addresses(&addresses(&[4, 3, 1]));
    assert_eq!(last_bytes(&upstream), [4, 3, 1]);
    let after: Vec<_> = upstream.endpoints().to_vec();
    assert!(Rc::ptr_eq(&after[1], &before[2]) && Rc::ptr_eq(&after[2], &before[0]));
    let mut seen = picks(&upstream, 3);
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
}

#[test]
fn a_round_of_look_ups_without_news_does_not_begin_the_rotation_anew() {
    let upstream = first(plan(vec![by_name(1)]), &addresses(&[1, 2, 3]));
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.extend(picks(&upstream, 1));
        upstream.set_addresses(&addresses(&[1, 2, 3]));
    }
    assert_eq!(seen, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_reload_that_leaves_the_targets_keeps_endpoints_and_the_rotation() {
    let addresses = addresses(&[1, 2, 3]);
    let upstream = first(plan(vec![by_name(1)]), &addresses);
    assert_eq!(picks(&upstream, 1), [0]);
    let same = reloaded(plan(vec![by_name(1)]), &upstream, &addresses);
    assert!(Rc::ptr_eq(&same, &upstream));
    let response_timeout = Duration::from_secs(1);
    let changed = reloaded(UpstreamPlan { response_timeout, ..plan(vec![by_name(1)]) }, &same, &addresses);
    assert_eq!(changed.plan.response_timeout, response_timeout);
    assert!(changed.endpoints().iter().zip(upstream.endpoints().iter()).all(|(a, b)| Rc::ptr_eq(a, b)));
    assert_eq!(picks(&changed, 3), [1, 2, 0]);
    let heavier = reloaded(plan(vec![by_name(5)]), &changed, &addresses);
    assert!(heavier.endpoints().iter().zip(upstream.endpoints().iter()).all(|(a, b)| Rc::ptr_eq(a, b)));
}

#[test]
fn a_reload_brings_its_addresses_too() {
    let upstream = first(plan(vec![by_name(1)]), &addresses(&[1]));
    let same = reloaded(plan(vec![by_name(1)]), &upstream, &addresses(&[1, 2]));
    assert_eq!(last_bytes(&same), [1, 2]);
}

#[test]
fn an_endpoint_that_was_tried_is_not_picked_again() {
    let hash = UpstreamPlan { balance: Balance::Hash(HashOn::Ip), ..plan(vec![by_name(1)]) };
    for plan in [plan(vec![by_name(1)]), hash] {
        let upstream = first(plan, &addresses(&[1, 2, 3]));
        let mut tried = Vec::new();
        for _ in 0..3 {
            let next = upstream.pick(5, &tried, 0).expect("one is left");
            assert!(!tried.iter().any(|tried| Rc::ptr_eq(tried, &next)));
            tried.push(next);
        }
        assert_eq!(upstream.pick(5, &tried, 0).err().map(|error| error.reason), Some(Reason::NoTarget));
    }
}

#[test]
fn a_name_without_an_address_has_no_endpoint_and_says_so() {
    let upstream = first(plan(vec![by_name(1)]), &Addresses::new());
    let error = upstream.pick(0, &[], 0).err().expect("there is no endpoint");
    assert_eq!((error.reason, error.source), (Reason::NoTarget, FaultOrigin::Upstream));
    assert_eq!(error.detail, "the target's name has no address");
    upstream.set_addresses(&addresses(&[1]));
    assert!(upstream.pick(0, &[], 0).is_ok());
    let beside = first(plan(vec![by_name(1), by_address(address(9), 1)]), &Addresses::new());
    assert_eq!(picks(&beside, 4), [0; 4], "the others get its requests");
}

#[test]
fn exchanges_are_counted_by_endpoint_and_by_target() {
    let upstream = first(plan(vec![by_name(1)]), &addresses(&[1, 2]));
    let [one, other] = [0, 1].map(|index| upstream.endpoints()[index].clone());
    let in_flight = [&one, &one, &other].map(|endpoint| upstream.begin_exchange(endpoint, 0));
    assert_eq!((one.active(), other.active(), one.metrics.active.get()), (2, 1, 3));
    drop(in_flight);
    assert_eq!((one.active(), other.active(), one.metrics.active.get()), (0, 0, 0));
}

#[test]
fn least_connections_looks_at_the_endpoint_not_at_the_target() {
    let least = UpstreamPlan { balance: Balance::LeastConnections, ..plan(vec![by_name(1)]) };
    let upstream = first(least, &addresses(&[1, 2]));
    let busy = upstream.endpoints()[0].clone();
    let _in_flight = upstream.begin_exchange(&busy, 0);
    assert_eq!(picks(&upstream, 5), [1; 5]);
}

#[test]
fn shards_begin_at_different_endpoints() {
    let begin = |seed| {
        let plan = Arc::new(plan(vec![by_name(1)]));
        let metrics = ShardMetrics::new(0);
        picks(
            &Upstream::succeed(
                &plan,
                None,
                &addresses(&[1, 2, 3]),
                &metrics,
                &BreakerOutbox::default(),
                seed,
            ),
            1,
        )[0]
    };
    assert_eq!([0, 1, 2, 3].map(begin), [0, 1, 2, 0]);
}

#[test]
fn hash_places_a_fixed_address_by_its_url_and_a_name_by_url_and_address() {
    let targets = vec![by_address(address(7), 1), by_address(address(8), 2), by_name(1)];
    let plan = UpstreamPlan { balance: Balance::Hash(HashOn::Ip), ..plan(targets) };
    let upstream = first(plan.clone(), &addresses(&[1, 2]));
    let named = |(name, weight): (&str, u32)| WeightedEndpoint { name: name.into(), weight };
    let names = [
        ("http://10.0.0.7:80", 1),
        ("http://10.0.0.8:80", 2),
        ("http://pool 10.0.0.1:80", 1),
        ("http://pool 10.0.0.2:80", 1),
    ];
    let mut balancer = Balancer::build(&plan.balance, &names.map(named), 3);
    for key in (0..500_u64).map(|key| hash_key(&key.to_le_bytes())) {
        let picked = upstream.pick(key, &[], 0).expect("usable");
        let expected = balancer.pick(key, |_| true, |_| 0).expect("usable");
        assert!(Rc::ptr_eq(&picked, &upstream.endpoints()[expected]));
    }
}

proptest! {
    #[test]
    fn endpoints_are_always_those_of_the_addresses_and_keep_their_identity(
        rounds in prop::collection::vec(prop::collection::hash_set(0_u8..12, 0..8), 1..12),
    ) {
        let upstream = first(plan(vec![by_name(1)]), &Addresses::new());
        let mut before: Vec<Rc<Endpoint>> = Vec::new();
        for round in rounds {
            let round: Vec<u8> = round.into_iter().collect();
            upstream.set_addresses(&addresses(&round));
            prop_assert_eq!(&last_bytes(&upstream), &round);
            let after = upstream.endpoints().to_vec();
            for endpoint in &after {
                let old = before.iter().find(|old| old.address == endpoint.address);
                prop_assert!(old.is_none_or(|old| Rc::ptr_eq(old, endpoint)));
            }
            let mut picked = picks(&upstream, round.len());
            picked.sort_unstable();
            prop_assert_eq!(picked, (0..round.len()).collect::<Vec<_>>());
            before = after;
        }
    }
}

/// Runs a test on an event loop of its own.
fn on_event_loop(test: impl Future<Output = ()>) {
    let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer();
    builder.build().expect("epoll works").block_on(test);
}

/// A listening origin; the kernel accepts for it.
fn origin() -> (TcpListener, TargetPlan) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let target = by_address(listener.local_addr().expect("bound"), 1);
    (listener, target)
}

/// Opens so many connections and releases them.
async fn warm(endpoint: &Endpoint, count: usize) {
    let deadlines = Rc::default();
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(connect(endpoint, &deadlines).await);
    }
    connections.into_iter().for_each(|connection| endpoint.release(connection.socket, 0));
}

async fn connect(endpoint: &Endpoint, deadlines: &Rc<Deadlines>) -> super::UpstreamConnection {
    endpoint.connect(Duration::from_secs(5), deadlines, || false).await.expect("the origin listens")
}

/// Whether the gateway has closed the next connection that the origin has.
fn next_is_closed(listener: &TcpListener) -> bool {
    let (mut stream, _) = listener.accept().expect("there is a connection");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("not zero");
    stream.read(&mut [0]).is_ok_and(|bytes| bytes == 0)
}

#[test]
fn a_withdrawn_endpoint_closes_its_idle_connections_at_once_and_keeps_none() {
    on_event_loop(async {
        let (listener, target) = origin();
        let address = listener.local_addr().expect("bound");
        let name = |list: &[SocketAddr]| Addresses::from([(("pool".into(), PORT), list.into())]);
        let upstream = first(plan(vec![by_name(1), target]), &name(&[address]));
        let withdrawn = upstream.endpoints()[0].clone();
        warm(&withdrawn, 2).await;
        let in_use = withdrawn.pooled(1).expect("still good");
        assert!(in_use.reused);
        let in_flight = upstream.begin_exchange(&withdrawn, 0);

        upstream.set_addresses(&name(&[]));
        assert_eq!(withdrawn.idle(), 0);
        assert!(next_is_closed(&listener));
        assert_eq!(picks(&upstream, 3), [0; 3]);
        assert!(in_use.socket.is_quiet(), "what is in flight ends in peace");
        withdrawn.release(in_use.socket, 2);
        drop(in_flight);
        assert_eq!(withdrawn.idle(), 0);
        assert!(next_is_closed(&listener));

        upstream.set_addresses(&name(&[address]));
        let back = upstream.endpoints()[0].clone();
        warm(&back, 1).await;
        assert_eq!(back.idle(), 1, "an address that comes back is an endpoint like any other");
    });
}

#[test]
fn a_retired_upstream_keeps_only_the_connections_that_its_successor_took_over() {
    on_event_loop(async {
        let (listener, stays) = origin();
        let (gone_listener, goes) = origin();
        let upstream = first(plan(vec![stays.clone(), goes]), &Addresses::new());
        let [kept, dropped] = [0, 1].map(|index| upstream.endpoints()[index].clone());
        warm(&kept, 1).await;
        warm(&dropped, 1).await;
        let live = reloaded(plan(vec![stays]), &upstream, &Addresses::new());
        assert_eq!((kept.idle(), dropped.idle()), (1, 1), "until the swap both generations serve");

        Upstream::retire(std::slice::from_ref(&upstream), std::slice::from_ref(&live));
        assert_eq!((kept.idle(), dropped.idle()), (1, 0));
        assert!(next_is_closed(&gone_listener));
        let late = connect(&dropped, &Rc::default()).await;
        dropped.release(late.socket, 0);
        assert_eq!(dropped.idle(), 0, "a request that began before the swap may use it, but keeps nothing");
        live.count_endpoints();
        assert_eq!(kept.metrics.idle.get(), 1);

        Upstream::retire(std::slice::from_ref(&live), std::slice::from_ref(&live));
        assert_eq!(kept.idle(), 1);
        Upstream::retire(std::slice::from_ref(&live), &[]);
        assert_eq!(kept.idle(), 0);
        assert!(next_is_closed(&listener));
    });
}

#[test]
fn other_keepalive_settings_hold_for_the_connections_that_are_there() {
    on_event_loop(async {
        let (_listener, target) = origin();
        let upstream = first(plan(vec![target.clone()]), &Addresses::new());
        let endpoint = upstream.endpoints()[0].clone();
        warm(&endpoint, 5).await;
        let keepalive_idle = Duration::from_millis(100);
        let fewer = UpstreamPlan { keepalive: 2, keepalive_idle, ..plan(vec![target]) };
        let live = reloaded(fewer, &upstream, &Addresses::new());
        assert!(Rc::ptr_eq(&live.endpoints()[0], &endpoint));
        assert_eq!(endpoint.idle(), 2);
        live.sweep(99);
        assert_eq!(endpoint.idle(), 2);
        live.sweep(100);
        assert_eq!(endpoint.idle(), 0);
    });
}

#[test]
fn an_upstream_keeps_so_many_connections_over_all_its_endpoints_and_drops_the_coldest() {
    on_event_loop(async {
        let (listener, first_target) = origin();
        let (_second, second_target) = origin();
        let plan = UpstreamPlan { keepalive: 3, ..plan(vec![first_target, second_target]) };
        let upstream = first(plan, &Addresses::new());
        let [one, other] = [0, 1].map(|index| upstream.endpoints()[index].clone());
        let deadlines = Rc::default();
        for (endpoint, now_ms, expected) in [
            (&one, 1, (1, 0)),
            (&other, 2, (1, 1)),
            (&one, 3, (2, 1)),
            (&other, 4, (1, 2)),
            (&other, 5, (1, 2)),
        ] {
            // Not one from the pool.
            let connection = connect(endpoint, &deadlines).await;
            endpoint.release(connection.socket, now_ms);
            assert_eq!((one.idle(), other.idle()), expected, "at {now_ms}");
        }
        assert!(next_is_closed(&listener));
        // One in use does not count.
        let taken = other.pooled(6).expect("still good");
        one.release(connect(&one, &deadlines).await.socket, 6);
        assert_eq!((one.idle(), other.idle()), (2, 1));
        other.release(taken.socket, 7);
        assert_eq!((one.idle(), other.idle()), (1, 2));
    });
}

#[test]
fn the_idle_gauge_of_a_target_is_the_sum_over_its_endpoints() {
    on_event_loop(async {
        let (listener, _) = origin();
        let port = listener.local_addr().expect("bound").port();
        // The whole of 127/8 is this machine.
        let second = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).expect("free beside the first");
        let list = [&listener, &second].map(|listener| listener.local_addr().expect("bound"));
        let addresses = Addresses::from([(("pool".into(), PORT), Arc::from(list))]);
        let upstream = first(plan(vec![by_name(1)]), &addresses);
        let [one, other] = [0, 1].map(|index| upstream.endpoints()[index].clone());
        warm(&one, 2).await;
        warm(&other, 1).await;
        upstream.count_endpoints();
        upstream.count_endpoints();
        assert_eq!(one.metrics.idle.get(), 3);
    });
}
