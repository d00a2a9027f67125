//! What a gateway says of its store: there, gone, frozen, and back.

use std::time::Instant;

use serde_json::Value;

use super::HELLO;
use crate::support::{DEADLINE, Gateway, Redis};

fn gateway(redis: &Redis) -> Gateway {
    Gateway::start(&format!("{}{HELLO}", redis.section()))
}

/// Asks for `/status` until the store is in this state.
fn wait_for_state(gateway: &Gateway, state: &str) -> Value {
    let until = Instant::now() + DEADLINE;
    loop {
        let store = gateway.admin("GET", "/status").json()["store"].clone();
        if store["state"] == state {
            return store;
        }
        assert!(Instant::now() < until, "it is not {state}: {store}");
    }
}

/// It says so, and serves all the same.
fn expect_down(gateway: &Gateway) {
    let store = wait_for_state(gateway, "down");
    assert!(store["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{store}");
    assert!(store["last_error"].is_string(), "{store}");
    assert!(store["failures"].as_u64() > Some(0), "{store}");
    assert_eq!(gateway.metric("ringway_store_up", ""), 0.0);
    assert_eq!(gateway.admin("GET", "/readyz").status(), 200);
    assert_eq!(gateway.get("/hello").text(), "hello\n");
}

fn expect_up(gateway: &Gateway) {
    let store = wait_for_state(gateway, "up");
    assert_eq!((&store["kind"], &store["since"]), (&"redis".into(), &Value::Null));
    assert_eq!(gateway.metric("ringway_store_up", ""), 1.0);
    gateway.wait_for_metric("ringway_store_exchanges_total", "", |exchanges| exchanges > 0.0);
}

#[test]
fn a_store_that_is_killed_is_down_and_up_again_when_it_is_back() {
    let mut redis = Redis::start();
    let gateway = gateway(&redis);
    expect_up(&gateway);
    redis.kill();
    expect_down(&gateway);
    redis.restart();
    expect_up(&gateway);
}

#[test]
fn a_store_that_is_frozen_is_down_and_up_again_when_it_moves() {
    let redis = Redis::start();
    let gateway = gateway(&redis);
    expect_up(&gateway);
    redis.freeze();
    expect_down(&gateway);
    redis.thaw();
    expect_up(&gateway);
}

#[test]
fn a_gateway_starts_without_its_store_and_finds_it_later() {
    let mut redis = Redis::start();
    redis.kill();
    let gateway = gateway(&redis);
    expect_down(&gateway);
    redis.restart();
    expect_up(&gateway);
}

#[test]
fn another_store_wants_a_restart_and_its_password_is_not_told() {
    let redis = Redis::start();
    let gateway = gateway(&redis);
    gateway.write_config(&format!("[store]\nurl = \"redis://:hush-hush@127.0.0.1:1\"\n{HELLO}"));
    let refused = gateway.admin("POST", "/reload");
    assert_eq!((refused.status(), &refused.json()["reason"]), (409, &"needs_restart".into()));
    assert!(refused.text().contains("[store]") && !refused.text().contains("hush"), "{}", refused.text());
    expect_up(&gateway);
}
