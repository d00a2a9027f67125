//! A shard that dies is seated again. Only debug builds can be made to fail.

use crate::common::{DRIVERS, Gateway};
use crate::hello;

#[test]
fn a_shard_that_died_is_seated_again_with_the_newest_generation_and_takes_part_in_the_next() {
    for driver in DRIVERS {
        let builder = Gateway::builder().driver(driver).shards(2).env("RINGWAY_FAULT", "panic");
        let gateway = builder.start(&hello("one"));
        gateway.write_config(&hello("two"));
        assert_eq!(gateway.admin("POST", "/reload").status(), 200);
        let mut struck = gateway.connect();
        struck.send("GET /__fault/shard HTTP/1.1\r\nHost: t\r\n\r\n");
        let _ = struck.read_to_cut();
        gateway.wait_for_metric("ringway_shard_restarts_total", "", |count| count == 1.0);
        gateway.wait_for_metric("ringway_shards", "", |count| count == 2.0);
        let status = gateway.admin("GET", "/status").json();
        let shards = status["shards"].as_array().expect("a list");
        assert_eq!(shards.iter().filter(|shard| shard["restarts"] == 1).count(), 1, "{shards:?}");
        assert!(shards.iter().all(|shard| shard["state"] == "serving"), "{shards:?}");
        assert_eq!(gateway.admin("GET", "/readyz").status(), 200);
        // New connections are spread over both shards.
        assert!((0..20).all(|_| gateway.get("/hello").text() == "two"), "{driver}");
        gateway.write_config(&hello("three"));
        assert_eq!(gateway.admin("POST", "/reload").json()["generation"], 3);
        assert!((0..20).all(|_| gateway.get("/hello").text() == "three"), "{driver}");
    }
}
