//! What reaches the origin: of two gateways with two shards each that share a Redis, and of one that has none.

use std::collections::HashMap;
use std::time::Instant;

use crate::support::{Client, DRIVERS, Gateway, HeavyLoad, Origin, Redis, proxy_to};

/// Everything goes to the origin, under one limit of these lines.
fn limited_to(origin: &Origin, limit: &str) -> String {
    format!("[log]\naccess = \"off\"\n{}[[route.rate_limit]]\n{limit}\n", proxy_to(&[&origin.url()]))
}

/// Patient, since machines stall; and where that is not enough, requests are refused rather than counted elsewhere.
fn two_gateways(redis: &Redis, origin: &Origin, limit: &str) -> [Gateway; 2] {
    let store = format!("[store]\nurl = {:?}\ntimeout = \"5s\"\n", redis.url());
    let toml = store + &limited_to(origin, &format!("{limit}\non_store_failure = \"deny\""));
    [(); 2].map(|()| Gateway::builder().shards(2).start(&toml))
}

/// What may have come back to a bucket of so many tokens a day meanwhile.
fn came_back(per_day: usize, began: Instant) -> usize {
    (began.elapsed().as_secs_f64() * per_day as f64 / 86_400.0) as usize + 1
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n")
}

/// Many clients at once ask until each has been refused often. Returns how many requests passed.
fn flood(gateways: &[&Gateway]) -> usize {
    const CLIENTS: usize = 12;
    const REFUSALS: usize = 40;
    let ask = |gateway: &Gateway| {
        let mut client = gateway.connect();
        let (mut passed, mut refused) = (0, 0);
        while refused < REFUSALS {
            match client.exchange(get("")).status() {
                200 => passed += 1,
                429 => refused += 1,
                status => panic!("status {status}"),
            }
        }
        passed
    };
    std::thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|number| scope.spawn(move || ask(gateways[number % gateways.len()])));
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().expect("it was served")).sum()
    })
}

/// Sends the requests all at once, and returns how many passed.
fn pipelined(client: &mut Client, requests: &[String]) -> usize {
    client.send(requests.concat());
    requests.iter().filter(|_| client.response().status() == 200).count()
}

#[test]
fn of_one_hot_key_on_two_shards_the_rule_arrives_and_most_of_it_without_a_wait() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let toml = limited_to(&origin, "rate = \"1000/day\"\nby = \"ip\"");
        let gateway = Gateway::builder().driver(driver).shards(2).start(&toml);
        let began = Instant::now();
        let passed = flood(&[&gateway]);
        assert_eq!(origin.requests().len(), passed);
        assert!((950..=1_000 + came_back(1_000, began)).contains(&passed), "{passed} passed");
        let waits = gateway.metric("ringway_rate_limit_waits_total", "");
        assert!(waits < 500.0, "{waits} of {passed} waited");
    }
}

#[test]
fn of_one_hot_key_on_two_gateways_the_rule_arrives_and_never_more() {
    for mode in ["shared", "strict"] {
        let (redis, origin) = (Redis::start(), Origin::echo());
        let limit = format!("rate = \"1000/day\"\nby = \"ip\"\nmode = {mode:?}");
        let gateways = two_gateways(&redis, &origin, &limit);
        let began = Instant::now();
        let passed = flood(&[&gateways[0], &gateways[1]]);
        assert_eq!(origin.requests().len(), passed);
        assert!((950..=1_000 + came_back(1_000, began)).contains(&passed), "{mode}: {passed} passed");
    }
}

#[test]
fn of_five_a_minute_five_arrive_wherever_they_come_in() {
    let (redis, origin) = (Redis::start(), Origin::echo());
    let gateways = two_gateways(&redis, &origin, "rate = \"5/min\"\nby = \"ip\"");
    let began = Instant::now();
    let passed = (0..40).filter(|at| gateways[at % 2].get("/").status() == 200).count();
    assert_eq!(origin.requests().len(), passed);
    assert!((5..=5 + came_back(5 * 24 * 60, began) - 1).contains(&passed), "{passed} passed");
}

#[test]
fn of_ten_thousand_keys_two_requests_each_arrive() {
    let _heavy = HeavyLoad::begin();
    const KEYS: usize = 10_000;
    const PARTS: usize = 4;
    let (redis, origin) = (Redis::start(), Origin::echo());
    let gateways = two_gateways(&redis, &origin, "rate = \"2/day\"\nby = \"header:x-key\"");
    let ask = |gateway: &Gateway, part: usize| {
        let mut client = gateway.connect();
        let keys = part * KEYS / PARTS..(part + 1) * KEYS / PARTS;
        let requests: Vec<String> = keys.map(|key| get(&format!("X-Key: {key}\r\n"))).collect();
        requests.chunks(50).map(|some| pipelined(&mut client, some)).sum::<usize>()
    };
    let passed: usize = std::thread::scope(|scope| {
        // Each key comes to both gateways, twice each.
        let all: Vec<_> = (0..4 * PARTS)
            .map(|number| {
                let gateway = &gateways[number % 2];
                scope.spawn(move || ask(gateway, number / 2 % PARTS))
            })
            .collect();
        all.into_iter().map(|part| part.join().expect("it was served")).sum()
    });
    let mut counts = HashMap::<String, usize>::new();
    for request in origin.requests() {
        *counts.entry(request.field("x-key").expect("it was forwarded").to_owned()).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<usize>(), passed);
    assert!(counts.values().all(|count| *count <= 2), "some key got more than the rule");
    assert!(passed >= 2 * KEYS * 95 / 100, "{passed} passed");
}

#[test]
#[cfg(debug_assertions)]
fn the_death_of_a_shard_makes_no_token() {
    let origin = Origin::echo();
    let toml = limited_to(&origin, "rate = \"100/day\"\nby = \"route\"");
    let gateway = Gateway::builder().shards(2).env("RINGWAY_FAULT", "panic").start(&toml);
    let began = Instant::now();
    let mut clients: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
    let passed: usize = clients.iter_mut().map(|client| pipelined(client, &vec![get(""); 5])).sum();
    assert_eq!(passed, 40);
    gateway.connect().send("GET /__fault/shard HTTP/1.1\r\nHost: t\r\n\r\n").read_to_cut();
    gateway.wait_for_metric("ringway_shard_restarts_total", "", |count| count == 1.0);
    drop(clients);
    flood(&[&gateway]);
    let arrived = origin.requests().len();
    assert!(arrived <= 100 + came_back(100, began), "{arrived} arrived");
}
