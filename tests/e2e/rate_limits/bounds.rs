//! How many requests pass: never more than the rule, whoever counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

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
fn a_flood_of_keys_is_bounded_and_the_newest_share_one_bucket() {
    let _heavy = HeavyLoad::begin();
    const KEYS: usize = 65_536;
    let limit = "rate = \"1/day\"\nby = \"header:x-key\"\nmode = \"local\"";
    let gateway = Gateway::start(&format!("[log]\naccess = \"off\"\n{}", limited("keys", &[limit])));
    let mut client = gateway.connect();
    let mut statuses = Vec::new();
    for first in (0..KEYS + 3).step_by(64) {
        let keys = first..(KEYS + 3).min(first + 64);
        let request = |key| format!("GET /keys HTTP/1.1\r\nHost: t\r\nX-Key: {key}\r\n\r\n");
        client.send(keys.clone().map(request).collect::<String>());
        statuses.extend(keys.map(|_| client.response().status()));
    }
    assert!(statuses[..=KEYS].iter().all(|status| *status == 200), "each key, and the first that shares");
    assert_eq!(statuses[KEYS + 1..], [429, 429], "strangers that share");
    assert_eq!(gateway.metric("ringway_rate_limit_keys", ""), (KEYS + 1) as f64);
}
