//! Few file descriptors: the gateway takes what it has room for, and can always be asked.

use crate::support::{Client, DRIVERS, Gateway, Origin, proxy_to};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
const LIMIT: usize = 256;

#[test]
fn idle_clients_make_room_for_others_and_the_admin_listener_stays() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = Gateway::builder().driver(driver).open_files(LIMIT).start(&proxy_to(&[&origin.url()]));
        let said = gateway.wait_for_message("may open 256 files");
        assert!(said.contains("not the 10000 of [server.limits] max_connections"), "{said}");
        gateway.wait_for_message("connections each at most");
        let mut clients: Vec<Client> = (0..350).map(|_| gateway.connect()).collect();
        for _ in 0..20 {
            assert_eq!(gateway.get("/").status(), 200, "{driver}");
        }
        assert_eq!(gateway.admin("GET", "/healthz").status(), 200);
        assert!(gateway.open_files() < LIMIT);
        // The newest are there still, the oldest are not.
        assert_eq!(clients.last_mut().expect("many").exchange(GET).status(), 200);
        clients[0].expect_closed();
        assert!(!gateway.stderr.all().iter().any(|line| line.contains("cannot accept")));
    }
}

#[test]
fn where_every_client_is_busy_the_next_is_told_so() {
    for driver in DRIVERS {
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let origin = Origin::new(move |peer| {
            while peer.request().is_some() {
                // Until the sender is gone.
                let _ = gate.lock().map(|gate| gate.recv());
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
            }
        });
        let gateway = Gateway::builder().driver(driver).open_files(LIMIT).start(&proxy_to(&[&origin.url()]));
        let mut clients: Vec<Client> = (0..200).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            client.send_lossy(GET);
        }
        let mut last = gateway.connect();
        let refused = last.send_lossy(GET).response();
        assert_eq!((refused.status(), &refused.json()["reason"]), (503, &"overloaded".into()), "{driver}");
        assert_eq!(gateway.admin("GET", "/healthz").status(), 200, "{driver}");
        assert_eq!(gateway.metric("ringway_upstream_failures_total", ""), 0.0, "the target is not blamed");
        drop(open);
        let is_served =
            |client: &mut Client| client.wire().response("GET").is_ok_and(|answer| answer.status() == 200);
        let served = clients.iter_mut().map(is_served).filter(|is_served| *is_served).count();
        assert!(served > 20, "{driver}: those that were let in are served");
    }
}
