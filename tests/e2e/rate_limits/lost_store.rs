//! A store that is frozen, killed, back: requests never wait longer than its timeout, and what becomes of them is what
//! the limit says.

use super::{get, limited, passing};
use crate::support::{Gateway, Redis};

/// A route for each way to go on without a store, in both modes that need one.
fn routes() -> String {
    let route = |mode: &str, on_failure: &str| {
        let limit = format!(
            "rate = \"1000/hour\"\nby = \"route\"\nmode = \"{mode}\"\non_store_failure = \"{on_failure}\""
        );
        limited(&format!("{mode}-{on_failure}"), &[&limit])
    };
    ["shared", "strict"]
        .iter()
        .flat_map(|mode| ["local", "allow", "deny"].map(|on_failure| route(mode, on_failure)))
        .collect()
}

fn follow_the_rule_of_each_limit(gateway: &Gateway) {
    for mode in ["shared", "strict"] {
        // Those that come first may still wait, for the store's timeout.
        assert!(matches!(get(gateway, &format!("/{mode}-deny"), "").status(), 200 | 503));
    }
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 0.0);
    for mode in ["shared", "strict"] {
        for (on_failure, status) in [("local", 200), ("allow", 200), ("deny", 503)] {
            let answer = get(gateway, &format!("/{mode}-{on_failure}"), "");
            assert_eq!(answer.status(), status, "{mode} {on_failure}");
            if status == 503 {
                assert_eq!(answer.json()["reason"], "store_unavailable");
            }
        }
    }
    let labels = "route=\"strict-allow\",limit=\"strict-allow-1\",result=\"store_failed\"";
    gateway.wait_for_metric("ringway_rate_limit_requests_total", labels, |n| n >= 1.0);
}

fn is_back(gateway: &Gateway) {
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 1.0);
    for mode in ["shared", "strict"] {
        assert_eq!(get(gateway, &format!("/{mode}-deny"), "").status(), 200, "{mode}");
    }
}

#[test]
fn a_store_that_is_frozen_counts_as_lost_until_it_moves_again() {
    let redis = Redis::start();
    let gateway = Gateway::builder().shards(2).start(&(redis.section() + routes().as_str()));
    is_back(&gateway);
    redis.freeze();
    follow_the_rule_of_each_limit(&gateway);
    redis.thaw();
    is_back(&gateway);
}

#[test]
fn a_store_that_is_killed_counts_as_lost_until_it_is_back() {
    let mut redis = Redis::start();
    let gateway = Gateway::builder().shards(2).start(&(redis.section() + routes().as_str()));
    is_back(&gateway);
    redis.kill();
    follow_the_rule_of_each_limit(&gateway);
    redis.restart();
    is_back(&gateway);
}

#[test]
fn without_its_store_a_gateway_admits_its_own_share_and_no_more() {
    let mut redis = Redis::start();
    let limit = "rate = \"40/hour\"\nby = \"route\"";
    let gateway =
        Gateway::builder().shards(2).start(&(redis.section() + limited("share", &[limit]).as_str()));
    redis.kill();
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 0.0);
    let passed = passing(&gateway, "/share", "", 120);
    assert!((20..=41).contains(&passed), "{passed}");
}

#[test]
fn a_store_that_lost_its_data_costs_one_more_burst_at_most() {
    let redis = Redis::start();
    let limit = "rate = \"10/hour\"\nby = \"route\"\nmode = \"strict\"";
    let gateway = Gateway::start(&(redis.section() + limited("flushed", &[limit]).as_str()));
    assert_eq!(passing(&gateway, "/flushed", "", 15), 10);
    redis.ask("FLUSHALL");
    assert_eq!(passing(&gateway, "/flushed", "", 15), 10);
    redis.ask("SCRIPT FLUSH");
    assert_eq!(get(&gateway, "/flushed", "").status(), 429);
}

/// Each limit does what it says, and no request waits.
fn nothing_waits(gateway: &Gateway) {
    let waits = || gateway.metric("ringway_rate_limit_waits_total", "");
    let failed = || gateway.metric("ringway_rate_limit_requests_total", "result=\"store_failed\"");
    let (waited_before, failed_before) = (waits(), failed());
    for mode in ["shared", "strict"] {
        for (on_failure, status) in [("local", 200), ("allow", 200), ("deny", 503)] {
            assert_eq!(get(gateway, &format!("/{mode}-{on_failure}"), "").status(), status);
        }
    }
    assert_eq!((waits(), failed()), (waited_before, failed_before + 6.0));
}

#[test]
fn requests_that_wait_when_it_freezes_are_answered_while_it_is_frozen_and_later_ones_do_not_wait() {
    let redis = Redis::start();
    let gateway = Gateway::start(&(redis.section() + routes().as_str()));
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 1.0);
    redis.freeze();
    // No shard has a token of these, so all of them ask.
    let waiting = ["/shared-allow", "/shared-deny", "/strict-allow", "/strict-deny"].map(|path| {
        let mut client = gateway.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n"));
        client
    });
    assert_eq!(waiting.map(|mut client| client.response().status()), [200, 503, 200, 503]);
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 0.0);
    nothing_waits(&gateway);
    redis.thaw();
    is_back(&gateway);
}

#[test]
fn nothing_waits_for_a_store_that_was_never_there() {
    let mut redis = Redis::start();
    redis.kill();
    let gateway = Gateway::start(&(redis.section() + routes().as_str()));
    nothing_waits(&gateway);
    redis.restart();
    is_back(&gateway);
}
