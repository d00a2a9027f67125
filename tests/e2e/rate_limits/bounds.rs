//! How many requests pass: never more than the rule, whoever counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::counted::MODES;
use super::{get, limited, passing};
use crate::support::{Client, Gateway, HeavyLoad, Redis};

/// Sends requests over so many connections to each gateway at once, and returns how many were answered with 200.
fn flood(
    gateways: &[&Gateway],
    connections: usize,
    requests: usize,
    target: impl Fn(usize) -> String + Sync,
) -> usize {
    let passed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (gateway, number) in
            gateways.iter().flat_map(|gateway| (0..connections).map(move |n| (gateway, n)))
        {
            let (passed, target) = (&passed, &target);
            scope.spawn(move || {
                let mut client: Client = gateway.connect();
                for request in 0..requests {
                    let target = target(number * requests + request);
                    match client.exchange(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n")).status() {
                        200 => _ = passed.fetch_add(1, Ordering::Relaxed),
                        status => assert_eq!(status, 429),
                    }
                }
            });
        }
    });
    passed.into_inner()
}

/// The most that a rate of so many a minute, beginning with a full bucket, lets through until now.
fn most(burst: usize, per_minute: usize, began: Instant) -> usize {
    burst + (began.elapsed().as_secs_f64() * per_minute as f64 / 60.0) as usize + 1
}

fn is_within(passed: usize, burst: usize, per_minute: usize, began: Instant) {
    let most = most(burst, per_minute, began);
    assert!(passed <= most, "{passed} passed where {most} may");
    assert!(passed * 100 >= burst * 95, "only {passed} passed of a burst of {burst}");
}

#[test]
fn one_hot_key_on_all_shards_of_a_process_gets_its_rule_and_no_more() {
    for mode in ["shared", "strict"] {
        let toml = limited("hot", &[&format!("rate = \"600/min\"\nby = \"route\"\nmode = \"{mode}\"")]);
        let gateway = Gateway::builder().shards(2).start(&toml);
        let began = Instant::now();
        let passed = flood(&[&gateway], 8, 300, |_| "/hot".to_owned());
        is_within(passed, 600, 600, began);
    }
}

#[test]
fn one_hot_key_on_two_gateways_of_one_redis_gets_its_rule_and_no_more() {
    let redis = Redis::start();
    for mode in ["shared", "strict"] {
        let name = format!("hot-{mode}");
        let limits = limited(&name, &[&format!("rate = \"600/min\"\nby = \"route\"\nmode = \"{mode}\"")]);
        let toml = redis.section() + &limits;
        let gateways = [(); 2].map(|()| Gateway::builder().shards(2).start(&toml));
        let began = Instant::now();
        let passed = flood(&[&gateways[0], &gateways[1]], 4, 300, |_| format!("/{name}"));
        is_within(passed, 600, 600, began);
    }
}

#[test]
fn a_limit_of_five_a_minute_lets_five_through_over_two_gateways_and_four_shards() {
    let redis = Redis::start();
    let toml = redis.section() + &limited("five", &["rate = \"5/min\"\nby = \"route\""]);
    let gateways = [(); 2].map(|()| Gateway::builder().shards(2).start(&toml));
    let began = Instant::now();
    let passed = flood(&[&gateways[0], &gateways[1]], 4, 10, |_| "/five".to_owned());
    assert!((5..=most(5, 5, began)).contains(&passed), "{passed}");
}

#[test]
fn a_local_limit_is_divided_by_the_shards_and_never_exceeded() {
    let toml = limited("local", &["rate = \"60/hour\"\nby = \"route\"\nmode = \"local\""]);
    let gateway = Gateway::builder().shards(2).start(&toml);
    let passed = flood(&[&gateway], 16, 10, |_| "/local".to_owned());
    assert!((30..=61).contains(&passed), "{passed}");
}

#[test]
fn a_window_ends_with_the_calendars_day() {
    let toml = limited("window", &["rate = \"7/day\"\nby = \"route\"\nalgorithm = \"fixed_window\""]);
    let gateway = Gateway::builder().shards(2).start(&toml);
    let passed = passing(&gateway, "/window", "", 12);
    // Should midnight fall into the test, another window begins.
    assert!(passed == 7 || passed == 12, "{passed}");
}

#[test]
fn what_refuses_a_request_takes_no_token_of_the_limits_behind_it() {
    let first = "name = \"first\"\nrate = \"2/hour\"\nby = \"header:x-a\"";
    let second = "name = \"second\"\nrate = \"4/hour\"\nby = \"route\"";
    let gateway = Gateway::start(&limited("two", &[first, second]));
    assert_eq!(passing(&gateway, "/two", "X-A: 1\r\n", 10), 2);
    assert_eq!(passing(&gateway, "/two", "X-A: 2\r\n", 10), 2);
    assert_eq!(get(&gateway, "/two", "X-A: 3\r\n").status(), 429);
}

#[test]
fn a_reload_that_leaves_a_limit_as_it_is_leaves_its_count() {
    let gateway = Gateway::start(&limited("kept", &["rate = \"3/hour\"\nby = \"route\""]));
    assert_eq!(passing(&gateway, "/kept", "", 5), 3);
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(get(&gateway, "/kept", "").status(), 429);
}

#[test]
fn a_reload_with_another_rate_fills_no_bucket() {
    for mode in MODES {
        let toml = |rate| limited("rate", &[&format!("rate = {rate:?}\nby = \"ip\"\nmode = {mode:?}")]);
        let gateway = Gateway::start(&toml("4/day"));
        assert_eq!(passing(&gateway, "/rate", "", 3), 3, "{mode}");
        for (rate, passes) in [("100/day", 1), ("6/hour", 0)] {
            gateway.write_config(&toml(rate));
            assert_eq!(gateway.admin("POST", "/reload").status(), 200);
            assert_eq!(passing(&gateway, "/rate", "", 3), passes, "{mode}: {rate}");
        }
    }
}

#[test]
fn a_flood_of_keys_is_bounded_and_gives_none_of_them_a_second_bucket() {
    let _heavy = HeavyLoad::begin();
    const KEYS: usize = 65_536;
    let limit = "rate = \"1/day\"\nby = \"header:x-key\"\nmode = \"local\"";
    let gateway = Gateway::start(&format!("[log]\naccess = \"off\"\n{}", limited("keys", &[limit])));
    let mut client = gateway.connect();
    let mut passing = |keys: std::ops::Range<usize>| {
        let request = |key| format!("GET /keys HTTP/1.1\r\nHost: t\r\nX-Key: {key}\r\n\r\n");
        client.send(keys.clone().map(request).collect::<String>());
        keys.filter(|_| client.response().status() == 200).count()
    };
    let new: usize = (0..KEYS + 64).step_by(64).map(|first| passing(first..first + 64)).sum();
    assert!(new > KEYS + 32, "{new} new ones pass, those too for which there was no room");
    assert_eq!(gateway.metric("ringway_rate_limit_keys", ""), KEYS as f64);
    // Those that were evicted, too.
    assert_eq!((0..128).step_by(64).map(|first| passing(first..first + 64)).sum::<usize>(), 0);
}

/// Where a gateway takes clients' addresses from.
const BEHIND_A_PROXY: &str = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[log]\naccess = \"off\"\n";

#[test]
fn a_flood_of_addresses_locks_out_neither_known_nor_new_clients() {
    let _heavy = HeavyLoad::begin();
    let limit = "rate = \"20/day\"\nby = \"ip\"";
    let gateway = Gateway::start(&format!("{BEHIND_A_PROXY}{}", limited("ip", &[limit])));
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    assert_eq!(passing(&gateway, "/ip", &from("192.0.2.1"), 10), 10);
    let mut client = gateway.connect();
    // Networks of one /46: more than the store and a shard have room for.
    for first in (0..120_000_u32).step_by(100) {
        let address = |number: u32| format!("2001:db8:{:x}:{:x}::1", number >> 16, number & 0xffff);
        let request = |number| format!("GET /ip HTTP/1.1\r\nHost: t\r\n{}\r\n", from(&address(number)));
        client.send((first..first + 100).map(request).collect::<String>());
        (0..100).for_each(|_| assert_eq!(client.response().status(), 200));
    }
    assert!(gateway.metric("ringway_rate_limit_keys", "") <= 2.0 * 65_536.0);
    assert_eq!(passing(&gateway, "/ip", &from("192.0.2.1"), 20), 10);
    for address in ["192.0.2.2", "2001:db8:ffff::1"] {
        assert!(passing(&gateway, "/ip", &from(address), 21) >= 18, "{address}");
    }
}
