//! Script counters over gateways.

use std::time::Duration;

use crate::support::{DEADLINE, Gateway, Redis, let_time_pass};

const SCRIPT: &str = "fn on_request(req) { counter(\"hits\").add(1); }\n";
const ROUTE: &str = "[[route]]\nname = \"count\"\npath = \"/*\"\nrespond = {}\nscripts = [\"count.rhai\"]\n";

#[test]
fn counters_are_summed_over_all_gateways_and_outlive_them() {
    let redis = Redis::start();
    let start = || {
        let builder = Gateway::builder().shards(2).file("scripts/count.rhai", SCRIPT);
        builder.start(&format!("{}{ROUTE}", redis.section()))
    };
    let (one, two) = (start(), start());
    for _ in 0..10 {
        assert_eq!(one.get("/").status(), 200);
        assert_eq!(two.get("/").status(), 200);
    }
    for gateway in [&one, &two] {
        gateway.wait_for_metric("ringway_script_counter", "name=\"hits\"", |value| value == 20.0);
    }
    drop((one, two));
    let three = start();
    assert_eq!(three.get("/").status(), 200);
    three.wait_for_metric("ringway_script_counter", "name=\"hits\"", |value| value == 21.0);
}

#[test]
fn what_is_counted_in_the_last_moment_of_a_drain_is_stored() {
    let redis = Redis::start();
    let section = redis.section().replace("500ms", "8s");
    let builder = Gateway::builder().file("scripts/count.rhai", SCRIPT);
    let mut gateway = builder.start(&format!("{section}{ROUTE}"));
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 1.0);
    redis.freeze();
    // Until an exchange hangs: then the link takes what the shard sends, and acknowledges it, only a second later.
    let_time_pass(Duration::from_millis(500));
    assert_eq!(gateway.get("/").status(), 200);
    let_time_pass(Duration::from_millis(60));
    assert_eq!(gateway.get("/").status(), 200);
    gateway.signal("TERM");
    let_time_pass(Duration::from_millis(300));
    redis.thaw();
    assert!(gateway.wait_for_exit(DEADLINE).success());
    let stored = redis.ask("HGET {ringway:counters} hits");
    assert!(stored.contains("\r\n2\r\n"), "{stored}");
}
