//! The gateway's own faults, made on purpose: a panic costs its connection, a dead shard its connections, and nothing
//! the process. Only debug builds can be made to fail.

use std::time::Instant;

use super::hello;
use crate::support::{Client, DEADLINE, DRIVERS, Gateway, Origin, proxy_to};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

fn failing(driver: &str, shards: usize, origin: &Origin) -> Gateway {
    let builder = Gateway::builder().driver(driver).shards(shards).env("RINGWAY_FAULT", "panic");
    builder.start(&proxy_to(&[&origin.url()]))
}

/// Asks for the fault on a connection of its own, which must end. It may get an answer first.
fn strike(gateway: &Gateway, path: &str) {
    let mut struck = gateway.connect();
    struck.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n"));
    let _ = struck.read_to_cut();
}

#[test]
fn a_panic_ends_its_own_connection_and_nothing_else() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = failing(driver, 1, &origin);
        let mut others: Vec<Client> = (0..5).map(|_| gateway.connect()).collect();
        for client in &mut others {
            assert_eq!(client.exchange(GET).status(), 200);
        }
        strike(&gateway, "/__fault/panic");
        for client in &mut others {
            assert_eq!(client.exchange(GET).status(), 200);
        }
        assert_eq!(gateway.get("/").status(), 200);
        gateway.wait_for_metric("ringway_panics_total", "", |count| count == 1.0);
        gateway.wait_for_message("panic");
    }
}

#[test]
fn a_request_whose_handling_panics_is_answered_500_and_logged() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = failing(driver, 1, &origin);
        let mut struck = gateway.connect();
        let answer = struck.exchange("GET /__fault/panic HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!((answer.status(), &answer.json()["reason"]), (500, &"internal".into()));
        struck.expect_closed();
        let line = gateway.log_of("/__fault/panic");
        assert_eq!((&line["status"], &line["reason"]), (&500.into(), &"internal".into()));
        assert_eq!(line["request_id"], answer.field("x-request-id").expect("an id"));
        // Where the answer itself cannot be made there is none, but there still is the line.
        strike(&gateway, "/__fault/answer");
        let line = gateway.log_of("/__fault/answer");
        assert_eq!(
            (&line["status"], &line["reason"], &line["bytes_out"]),
            (&500.into(), &"internal".into(), &0.into())
        );
        gateway.wait_for_metric("ringway_panics_total", "", |count| count == 2.0);
    }
}

#[test]
fn panics_leak_neither_connections_nor_memory() {
    let origin = Origin::echo();
    let gateway = failing("auto", 1, &origin);
    strike(&gateway, "/__fault/panic");
    let files = gateway.open_files();
    for _ in 0..50 {
        strike(&gateway, "/__fault/panic");
    }
    gateway.wait_for_metric("ringway_panics_total", "", |count| count == 51.0);
    assert!(gateway.open_files() <= files + 5, "{files} open files became {}", gateway.open_files());
}

#[test]
fn a_dead_shard_is_replaced_while_the_process_lives_on() {
    for driver in DRIVERS {
        for shards in [1, 2] {
            let origin = Origin::echo();
            let mut gateway = failing(driver, shards, &origin);
            assert_eq!(gateway.get("/").status(), 200);
            strike(&gateway, "/__fault/shard");
            gateway.wait_for_metric("ringway_shard_restarts_total", "", |count| count == 1.0);
            // What was in the dead shard's accept queue may be closed, but nobody may be left to wait.
            let until = Instant::now() + DEADLINE;
            for _ in 0..20 {
                while !is_served(&gateway) {
                    assert!(Instant::now() < until, "the shard does not come back");
                }
            }
            assert!(gateway.is_running());
        }
    }
}

fn is_served(gateway: &Gateway) -> bool {
    let mut client = gateway.connect();
    client.send_lossy(GET).wire().head().is_ok_and(|head| head.status() == 200)
}

#[test]
fn without_the_switch_the_fault_paths_are_ordinary() {
    let origin = Origin::echo();
    assert_eq!(Gateway::proxying(&origin).get("/__fault/panic").echoed().target(), "/__fault/panic");
}

#[test]
fn a_replaced_shard_has_the_newest_generation_and_takes_part_in_the_next() {
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
