//! Script counters over gateways.

use crate::support::{Gateway, Redis};

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
