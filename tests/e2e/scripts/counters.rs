//! `counter(name)`: every shard adds, every shard reads the sum, and a shard's death loses nothing of it.

use std::time::Instant;

use super::with_script;
use crate::support::{Client, DEADLINE, DRIVERS, Gateway, Message};

const SCRIPT: &str = r#"
    fn on_request(req) {
        let hits = counter("hits");
        if req.query.add != () { hits.add(req.query.add.parse_int()); }
        return respond(200, `${hits.value}`);
    }
"#;
const ROUTE: &str = "[[route]]\nname = \"count\"\npath = \"/*\"\nrespond = {}\nscripts = [\"a.rhai\"]\n";

/// Which shard served it is in the access log alone.
fn shard_of(gateway: &Gateway, answer: &Message) -> u64 {
    let id = answer.field("x-request-id").expect("an id").to_owned();
    gateway.wait_for_log(|line| line["request_id"] == id.as_str())["shard"].as_u64().expect("a number")
}

/// A connection to each of the two shards.
fn one_to_each(gateway: &Gateway) -> [Client; 2] {
    let mut found = [None, None];
    let until = Instant::now() + DEADLINE;
    while found.iter().any(Option::is_none) {
        assert!(Instant::now() < until, "one shard gets all connections");
        let mut client = gateway.connect();
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        let shard = usize::try_from(shard_of(gateway, &answer)).expect("a small number");
        found[shard] = Some(client);
    }
    found.map(|client| client.expect("both were found"))
}

fn ask(client: &mut Client, query: &str) -> i64 {
    let answer = client.exchange(format!("GET /{query} HTTP/1.1\r\nHost: t\r\n\r\n"));
    answer.text().parse().unwrap_or_else(|_| panic!("no number: {} {}", answer.status(), answer.text()))
}

fn ask_until(client: &mut Client, sum: i64) {
    let until = Instant::now() + DEADLINE;
    loop {
        let value = ask(client, "");
        if value == sum {
            return;
        }
        assert!(Instant::now() < until, "it is still {value}, not {sum}");
    }
}

#[test]
fn both_shards_add_both_read_the_sum_and_metrics_show_it() {
    for driver in DRIVERS {
        let gateway = with_script(SCRIPT).driver(driver).shards(2).start(ROUTE);
        let [mut one, mut two] = one_to_each(&gateway);
        assert_eq!(ask(&mut one, "?add=5"), 5, "its own addition is there at once");
        ask(&mut two, "?add=37");
        ask_until(&mut one, 42);
        ask_until(&mut two, 42);
        for _ in 0..50 {
            ask(&mut one, "?add=1");
            ask(&mut two, "?add=-1");
        }
        ask(&mut two, "?add=8");
        ask_until(&mut one, 50);
        ask_until(&mut two, 50);
        gateway.wait_for_metric("ringway_script_counter", "{name=\"hits\"}", |sum| sum == 50.0);
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_shard_that_died_comes_back_with_the_sums() {
    for driver in DRIVERS {
        let gateway = with_script(SCRIPT).driver(driver).shards(2).env("RINGWAY_FAULT", "panic").start(ROUTE);
        let [mut one, mut two] = one_to_each(&gateway);
        ask(&mut one, "?add=5");
        ask(&mut two, "?add=37");
        ask_until(&mut one, 42);
        ask_until(&mut two, 42);
        one.send("GET /__fault/shard HTTP/1.1\r\nHost: t\r\n\r\n");
        let _ = one.read_to_cut();
        gateway.wait_for_metric("ringway_shard_restarts_total", "", |count| count == 1.0);
        let [mut one, mut two] = one_to_each(&gateway);
        ask_until(&mut one, 42);
        ask(&mut one, "?add=8");
        ask_until(&mut two, 50);
        gateway.wait_for_metric("ringway_script_counter", "{name=\"hits\"}", |sum| sum == 50.0);
    }
}

#[test]
fn names_are_bounded_and_shown_as_valid_labels() {
    let script = r#"
        fn on_request(req) { counter(url_decode(req.query.name)).add(1); return respond(200, "ok"); }
    "#;
    let gateway = with_script(script).start(ROUTE);
    assert_eq!(gateway.get("/?name=a%2522b%255Cc").status(), 200);
    gateway.wait_for_metric("ringway_script_counter", "{name=\"a\\\"b\\\\c\"}", |sum| sum == 1.0);
    assert_eq!(gateway.get(&format!("/?name={}", "x".repeat(129))).status(), 500);
    assert_eq!(gateway.get("/?name=a%250Ab").status(), 500);
    let mut client = gateway.connect();
    let mut refused = false;
    for at in 0..20_000 {
        let status = client.exchange(format!("GET /?name=n{at} HTTP/1.1\r\nHost: t\r\n\r\n")).status();
        refused |= status == 500;
        if refused {
            break;
        }
    }
    assert!(refused, "there is an end to names");
    assert_eq!(gateway.get("/?name=n1").status(), 200, "those that are there go on");
}

#[test]
fn a_route_that_makes_too_many_names_takes_none_from_another() {
    let script = r#"
        fn on_request(req) {
            for number in 0..50 { counter(`${req.query.name}-${number}`).add(1); }
            respond(200, "counted")
        }
    "#;
    let route =
        |name: &str| ROUTE.replace("\"count\"", &format!("\"{name}\"")).replace("/*", &format!("/{name}"));
    let gateway = with_script(script).shards(1).start(&format!("{}{}", route("one"), route("two")));
    let mut client = gateway.connect();
    let mut ask = |route: &str, name: &str| {
        client.exchange(format!("GET /{route}?name={name} HTTP/1.1\r\nHost: t\r\n\r\n")).status()
    };
    let answers: Vec<u16> = (0..250).map(|number| ask("one", &format!("made-up-{number}"))).collect();
    assert_eq!((answers[..5].to_vec(), answers[5]), (vec![200; 5], 500));
    assert!(answers[5..].iter().all(|status| *status == 500));
    assert_eq!(ask("one", "made-up-0"), 200, "names that are there go on");
    assert_eq!(ask("two", "its-own"), 200);
    gateway.wait_for_message("no room for counter");
    gateway.wait_for_metric("ringway_script_counter", "name=\"its-own-7\"", |sum| sum == 1.0);
}
