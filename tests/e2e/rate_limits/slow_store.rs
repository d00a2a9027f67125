//! A store that answers late, though within its timeout, and one that stops again and again.

use std::thread;
use std::time::{Duration, Instant};

use super::{get, limited};
use crate::support::{Delay, Gateway, HeavyLoad, Redis, let_time_pass};

/// An answer takes so much of the store's timeout that a request which waited for two would give up.
const TIMEOUT: Duration = Duration::from_secs(1);
const ROUND_TRIP: Duration = Duration::from_millis(650);

fn slow_section(delay: &Delay) -> String {
    format!("[store]\nurl = \"redis+unix://{}\"\ntimeout = \"1s\"\n", delay.socket().display())
}

/// Sends so many requests, each over a connection of its own and some milliseconds after the one before; returns how
/// many passed.
fn staggered(gateway: &Gateway, path: &str, requests: usize) -> usize {
    thread::scope(|scope| {
        let send = |_| {
            let_time_pass(Duration::from_millis(15));
            scope.spawn(move || get(gateway, path, "").status())
        };
        let waiting: Vec<_> = (0..requests).map(send).collect();
        let statuses = waiting.into_iter().map(|request| request.join().expect("it is answered"));
        statuses.filter(|status| *status == 200).count()
    })
}

#[test]
fn a_store_that_is_slow_but_in_time_is_asked_for_each_request_and_admits_the_rule_alone() {
    let redis = Redis::start();
    let delay = Delay::before(&redis.socket(), ROUND_TRIP);
    let limit = |mode: &str| format!("rate = \"10/hour\"\nby = \"route\"\nmode = \"{mode}\"");
    let routes = ["strict", "shared"].map(|mode| limited(mode, &[&limit(mode)])).concat();
    let gateway = Gateway::builder().shards(2).start(&(slow_section(&delay) + &routes));
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 1.0);
    assert_eq!(staggered(&gateway, "/strict", 30), 10);
    assert_eq!(gateway.metric("ringway_rate_limit_requests_total", "result=\"store_failed\""), 0.0);
    // Of a bucket that is leased token by token, those that come later wait for the second answer, and not all so long.
    // What is then admitted without the store is no more than it had left, and is paid before anything else.
    let passed = staggered(&gateway, "/shared", 30);
    assert!((10..20).contains(&passed), "{passed}");
    let up = gateway.metric("ringway_store_up", "");
    assert_eq!((up, get(&gateway, "/shared", "").status()), (1.0, 429));
    assert!(TIMEOUT > ROUND_TRIP && TIMEOUT < 2 * ROUND_TRIP);
}

#[test]
fn a_request_waits_for_the_store_once_whatever_the_number_of_its_limits() {
    let redis = Redis::start();
    let delay = Delay::before(&redis.socket(), ROUND_TRIP);
    let limit = |key: &str| {
        format!("rate = \"10/hour\"\nby = \"header:{key}\"\nmode = \"strict\"\non_store_failure = \"allow\"")
    };
    let limits = ["x-a", "x-b", "x-c", "x-d", "x-e", "x-f"].map(limit);
    let toml = slow_section(&delay) + &limited("many", &limits.each_ref().map(String::as_str));
    let gateway = Gateway::start(&toml);
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 1.0);
    let began = Instant::now();
    assert_eq!(get(&gateway, "/many", "").status(), 200);
    // One after the other would take six round trips.
    assert!(began.elapsed() < 3 * ROUND_TRIP, "{:?}", began.elapsed());
}

#[test]
fn a_store_that_stops_again_and_again_adds_one_burst_to_the_rule_and_not_one_each_time() {
    let _heavy = HeavyLoad::begin();
    const PER_SECOND: usize = 200;
    let redis = Redis::start();
    let section = format!("[store]\nurl = {:?}\ntimeout = \"100ms\"\n", redis.url());
    let toml = section + &limited("often", &[&format!("rate = \"{PER_SECOND}/s\"\nby = \"route\"")]);
    let gateway = Gateway::builder().shards(2).start(&toml);
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 1.0);
    let began = Instant::now();
    let end = began + Duration::from_secs(6);
    let passed: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    let mut passed = 0;
                    while Instant::now() < end {
                        let status = client.exchange("GET /often HTTP/1.1\r\nHost: t\r\n\r\n").status();
                        passed += usize::from(status == 200);
                        let_time_pass(Duration::from_millis(2));
                    }
                    passed
                })
            })
            .collect();
        while Instant::now() < end {
            let_time_pass(Duration::from_millis(900));
            redis.freeze();
            let_time_pass(Duration::from_millis(300));
            redis.thaw();
        }
        clients.into_iter().map(|client| client.join().expect("it is answered")).sum()
    });
    let most = 2 * PER_SECOND + (began.elapsed().as_secs_f64() * PER_SECOND as f64) as usize;
    assert!(passed <= most, "{passed} passed where {most} may");
}
