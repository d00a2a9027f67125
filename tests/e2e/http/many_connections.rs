//! Ten thousand connections at once, open and served. In a file of its own: it needs the file descriptors.

use std::process::Command;

use crate::support::{Client, DRIVERS, Gateway, Origin, proxy_to};

const CONNECTIONS: usize = 10_000;

/// Raises this process's soft limit, which the gateway inherits, to its hard one. The number it is then.
fn raise_open_files() -> usize {
    let pid = std::process::id().to_string();
    let hard = Command::new("prlimit")
        .args(["--pid", &pid, "--nofile", "--output", "HARD", "--noheadings"])
        .output();
    let Ok(output) = hard else { return 0 };
    let hard: usize = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
    let raised = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]).status();
    if raised.is_ok_and(|status| status.success()) { hard } else { 0 }
}

#[test]
fn ten_thousand_connections_are_open_and_served() {
    let limit = raise_open_files();
    if limit < CONNECTIONS + 500 {
        println!(
            "skipped: this machine allows {limit} open files a process, {} are needed",
            CONNECTIONS + 500
        );
        return;
    }
    for driver in DRIVERS {
        let origin = Origin::echo();
        let config = format!(
            "[server.limits]\nmax_connections = 20000\nheader_timeout = \"60s\"\n{}",
            proxy_to(&[&origin.url()])
        );
        let gateway = Gateway::builder().driver(driver).shards(2).start(&config);
        let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| gateway.connect().resetting()).collect();
        for round in 0..2 {
            for (number, client) in clients.iter_mut().enumerate() {
                let response = client.exchange(format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n"));
                assert_eq!(response.echoed().target(), format!("/{number}"), "round {round}");
            }
        }
        assert!(gateway.open_files() >= CONNECTIONS, "all are open at once");
        assert!(origin.connections() < 50, "few are needed towards the origin: {}", origin.connections());
        println!("{driver}: {} KiB resident with {CONNECTIONS} idle connections", gateway.resident_kib());
    }
}
