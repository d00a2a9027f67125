//! A shard whose event loop turns late, because scripts run for long: who is told of it, and what a reload does
//! meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::hello;
use crate::support::{Client, DEADLINE, DRIVERS, Gateway};

/// Runs until its time is over, in calls that take long each.
const BUSY: &str =
    "fn on_request(req) { let s = \"x\"; for i in 0..14 { s += s; } while true { sha256(s); } }";
const BUSY_ROUTE: &str =
    "[[route]]\nname = \"busy\"\npath = \"/busy\"\nrespond = {}\nscripts = [\"busy.rhai\"]\n";

/// A gateway of one shard, and the client whose request keeps it busy for `time`.
fn busy_for(time: &str) -> (Gateway, Client) {
    let scripts = format!("[scripts]\nmax_operations = 100000000\nmax_time = \"{time}\"\n");
    let toml = format!("{scripts}{BUSY_ROUTE}{}", hello("one"));
    let gateway = Gateway::builder().file("scripts/busy.rhai", BUSY).start(&toml);
    assert_eq!(gateway.admin("GET", "/readyz").status(), 200);
    let mut client = gateway.connect();
    client.send("GET /busy HTTP/1.1\r\nHost: t\r\n\r\n");
    (gateway, client)
}

/// Asks `/readyz` until the status is that one.
fn wait_until_ready_says(gateway: &Gateway, status: u16) -> String {
    // What a script uses is counted in its own time, which passes slowly where many share the cores.
    let until = Instant::now() + 6 * DEADLINE;
    loop {
        let answer = gateway.admin("GET", "/readyz");
        if answer.status() == status {
            return answer.text().to_owned();
        }
        assert!(Instant::now() < until, "{}", answer.text());
    }
}

#[test]
fn a_shard_that_does_not_turn_makes_the_gateway_not_ready_and_is_named() {
    let (gateway, mut busy) = busy_for("3s");
    let refusal = wait_until_ready_says(&gateway, 503);
    assert!(refusal.contains("shard 0 has not answered for "), "{refusal}");
    let shard = gateway.admin("GET", "/status").json()["shards"][0].clone();
    assert_eq!((&shard["state"], &shard["answered"]), (&"stalled".into(), &false.into()), "{shard}");
    assert!(shard["tick_age_ms"].as_u64().expect("a number") >= 1000, "{shard}");
    assert!(gateway.metric("ringway_shard_tick_age_seconds", "shard=\"0\"") >= 1.0);
    gateway.wait_for_message("the shard has not answered for ");
    assert_eq!(wait_until_ready_says(&gateway, 200), "ready\n");
    assert_eq!(busy.response().status(), 500);
    gateway.wait_for_message("the shard answers again");
}

#[test]
fn a_reload_names_the_shard_that_has_not_swapped_and_it_swaps_once_it_can() {
    let (gateway, _busy) = busy_for("7s");
    wait_until_ready_says(&gateway, 503);
    gateway.write_config(&hello("two"));
    let answer = gateway.admin("POST", "/reload");
    assert_eq!((answer.status(), &answer.json()["reason"]), (503, &"shard_late".into()), "{}", answer.text());
    assert_eq!((&answer.json()["generation"], &answer.json()["shards"][0]), (&2.into(), &0.into()));
    assert!(answer.text().contains("shard 0 did not answer within 5s"), "{}", answer.text());
    gateway.wait_for_message("shard 0 did not answer within 5s");
    wait_until_ready_says(&gateway, 200);
    assert_eq!(gateway.get("/hello").text(), "two");
    assert_eq!(gateway.metric("ringway_reloads_total", "failure"), 1.0);
    assert_eq!(gateway.admin("POST", "/reload").json()["generation"], 3);
}

#[test]
fn a_listener_that_a_reload_removes_can_be_added_by_the_very_next_however_busy_the_shard_is() {
    const BUSY_GET: &str = "GET /busy HTTP/1.1\r\nHost: t\r\n\r\n";
    for driver in DRIVERS {
        let toml = |list: &str| {
            format!(
                "[server]\nlisten = {list}\nshards = 1\npin_cores = false\ndriver = {driver:?}\n\
                 [admin]\nlisten = \"127.0.0.1:0\"\n[scripts]\nmax_operations = 100000000\nmax_time = \"20ms\"\n\
                 {BUSY_ROUTE}{}",
                hello(driver)
            )
        };
        let builder = Gateway::builder().file("scripts/busy.rhai", BUSY);
        let gateway = builder.start(&toml("[\"127.0.0.1:0\", \"[::1]:0\"]"));
        let second = gateway.addresses[1];
        // By its port from here on: a port 0 would become another one.
        let lists = ["[\"127.0.0.1:0\"]".to_owned(), format!("[\"127.0.0.1:0\", \"{second}\"]")];
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for mut client in [gateway.connect(), gateway.connect(), gateway.connect()] {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        client.exchange(BUSY_GET);
                    }
                });
            }
            let answers: Vec<_> = (0..5)
                .flat_map(|_| &lists)
                .map(|list| {
                    gateway.write_config(&toml(list));
                    gateway.admin("POST", "/reload").text().to_owned()
                })
                .collect();
            stop.store(true, Ordering::Relaxed);
            assert!(answers.iter().all(|answer| answer.starts_with("{\"generation\"")), "{answers:#?}");
        });
        assert_eq!(Client::connect(second).exchange("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n").text(), driver);
    }
}
