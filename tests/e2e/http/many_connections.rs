//! Ten thousand connections at once, open and served.

use crate::support::{Client, DRIVERS, Gateway, HeavyLoad, Origin, proxy_to, raise_open_files};

const CONNECTIONS: usize = 10_000;

#[test]
fn ten_thousand_connections_are_open_and_served() {
    let _heavy = HeavyLoad::begin();
    // The clients' ends are this process's, and other tests run beside this one.
    let (limit, needed) = (raise_open_files(), CONNECTIONS as u64 + 2_000);
    if limit < needed {
        return println!("skipped: a process may have {limit} open files here, {needed} are needed");
    }
    for driver in DRIVERS {
        let origin = Origin::echo();
        let config = format!(
            "[server.limits]\nmax_connections = 20000\nheader_timeout = \"60s\"\n{}",
            proxy_to(&[&origin.url()])
        );
        let gateway = Gateway::builder().driver(driver).shards(2).start(&config);
        let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| gateway.connect().resetting()).collect();
        // Each is served once; and some of them again, after the others' turns.
        for (round, step) in [(0, 1), (1, 20)] {
            for (number, client) in clients.iter_mut().enumerate().step_by(step) {
                let response = client.exchange(format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n"));
                assert_eq!(response.echoed().target(), format!("/{number}"), "round {round}");
            }
        }
        assert!(gateway.open_files() >= CONNECTIONS, "all are open at once");
        assert!(origin.connections() < 50, "few are needed towards the origin: {}", origin.connections());
        println!("{driver}: {} KiB resident with {CONNECTIONS} idle connections", gateway.resident_kib());
    }
}
