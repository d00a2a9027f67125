//! Reload, by `POST /reload` and by SIGHUP.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use super::{HELLO, hello};
use crate::support::{Client, DEADLINE, DRIVERS, Gateway, HeavyLoad, Origin, proxy_to, proxy_with};

const GET_HELLO: &str = "GET /hello HTTP/1.1\r\nHost: t\r\n\r\n";

fn reload(gateway: &Gateway) -> u64 {
    let answer = gateway.admin("POST", "/reload");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["generation"].as_u64().expect("a number")
}

#[test]
fn post_reload_serves_the_new_file_on_every_shard_and_on_open_connections() {
    for driver in DRIVERS {
        let gateway = Gateway::builder().driver(driver).shards(2).start(&hello("one"));
        let mut clients: Vec<_> = (0..10).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.exchange(GET_HELLO).text(), "one");
        }
        gateway.write_config(&hello("two"));
        assert_eq!(reload(&gateway), 2);
        for client in &mut clients {
            assert_eq!(client.exchange(GET_HELLO).text(), "two", "{driver}");
        }
        assert_eq!(gateway.get("/hello").text(), "two");
        gateway.wait_for_message("reloaded");
    }
}

#[test]
fn sighup_reloads_too() {
    let gateway = Gateway::start(&hello("one"));
    gateway.write_config(&hello("two"));
    gateway.signal("HUP");
    gateway.wait_for_metric("ringway_generation", "", |generation| generation == 2.0);
    assert_eq!(gateway.get("/hello").text(), "two");
    assert_eq!(gateway.metric("ringway_reloads_total", "success"), 1.0);
}

#[test]
fn the_same_file_is_a_new_generation() {
    let gateway = Gateway::start(HELLO);
    assert_eq!((reload(&gateway), reload(&gateway)), (2, 3));
}

#[test]
fn a_bad_file_changes_nothing_and_is_answered_and_logged_with_its_places() {
    let gateway = Gateway::start(&hello("one"));
    gateway.write_config("[[route]]\nname = \"x\"\npath = \"/x\"\nupstrem = \"users\"\n");
    let refused = gateway.admin("POST", "/reload");
    assert_eq!(refused.status(), 422);
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    assert_eq!(refused.json()["reason"], "invalid_config");
    let problems = refused.json()["problems"].as_array().expect("a list").clone();
    let config = gateway.config_path().display().to_string();
    let placed = |line: &serde_json::Value| {
        line.as_str()
            .is_some_and(|line| line.starts_with(&config) && line.contains("did you mean `upstream`?"))
    };
    assert!(problems.iter().any(placed), "{problems:?}");
    gateway.wait_for_message("did you mean `upstream`?");
    gateway.signal("HUP");
    gateway.wait_for_metric("ringway_reloads_total", "failure", |count| count == 2.0);
    assert_eq!(gateway.metric("ringway_generation", ""), 1.0);
    assert_eq!(gateway.get("/hello").text(), "one");
    std::fs::remove_file(gateway.config_path()).expect("the file is there");
    assert_eq!(gateway.admin("POST", "/reload").status(), 422, "a file that is gone is no reason to stop");
    assert_eq!(gateway.get("/hello").text(), "one");
}

#[test]
fn what_only_a_restart_can_change_is_refused_and_named() {
    let gateway = Gateway::start(HELLO);
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\n";
    for (server, named) in [
        ("shards = 2\npin_cores = false", "[server] shards is 1 and would become 2"),
        ("shards = 1\npin_cores = true", "[server] pin_cores"),
        ("shards = 1\npin_cores = false\ndriver = \"epoll\"", "[server] driver"),
    ] {
        let toml = format!("[server]\nlisten = \"127.0.0.1:0\"\n{server}\n{admin}{HELLO}");
        std::fs::write(gateway.config_path(), toml).expect("the file can be written");
        let refused = gateway.admin("POST", "/reload");
        assert_eq!((refused.status(), &refused.json()["reason"]), (409, &"needs_restart".into()));
        assert!(refused.text().contains(named), "{named} in {}", refused.text());
    }
    assert_eq!(gateway.metric("ringway_generation", ""), 1.0);
}

fn listening(list: &str, answer: &str) -> String {
    format!(
        "[server]\nlisten = {list}\nshards = 2\npin_cores = false\n[admin]\nlisten = \"127.0.0.1:0\"\n{}",
        hello(answer)
    )
}

#[test]
fn listeners_come_and_go_with_a_reload_and_those_that_stay_are_not_rebound() {
    for driver in DRIVERS {
        let toml =
            |list: &str| listening(list, driver).replace("[admin]", &format!("driver = {driver:?}\n[admin]"));
        let gateway = Gateway::start(&toml("[\"127.0.0.1:0\"]"));
        let first = gateway.address();
        let mut kept = Client::connect(first);
        assert_eq!(kept.exchange(GET_HELLO).status(), 200);

        gateway.write_config(&toml("[\"127.0.0.1:0\", \"[::1]:0\"]"));
        reload(&gateway);
        let listen = gateway.admin("GET", "/status").json()["listen"].as_array().expect("a list").clone();
        assert_eq!(listen[0], first.to_string(), "the one that stays has kept its port");
        let second = listen[1].as_str().and_then(|text| text.parse().ok()).expect("an address");
        let mut other = Client::connect(second);
        assert_eq!(other.exchange(GET_HELLO).text(), driver);

        gateway.write_config(&toml("[\"[::1]:0\"]"));
        reload(&gateway);
        let until = Instant::now() + DEADLINE;
        while std::net::TcpStream::connect(first).is_ok() {
            assert!(Instant::now() < until, "{driver}: {first} is still open");
        }
        assert_eq!(Client::connect(second).exchange(GET_HELLO).status(), 200);
        assert_eq!(kept.exchange(GET_HELLO).status(), 200, "an open connection outlives its listener");
        assert_eq!(other.exchange(GET_HELLO).status(), 200);
    }
}

#[test]
fn a_new_listener_that_is_refused_changes_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address)).expect("bound");
    let gateway = Gateway::start(&listening("[\"127.0.0.1:0\"]", "one"));
    gateway.write_config(&listening(&format!("[\"127.0.0.1:0\", \"{}\"]", taken.1), "two"));
    let refused = gateway.admin("POST", "/reload");
    assert_eq!((refused.status(), &refused.json()["reason"]), (409, &"listen_refused".into()));
    assert!(refused.text().contains(&taken.1.to_string()), "{}", refused.text());
    assert_eq!(gateway.get("/hello").text(), "one");
}

#[test]
fn a_request_in_flight_ends_on_the_generation_it_began_with() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::new(move |peer| {
        while peer.request().is_some() {
            let _ = gate.lock().expect("no holder panics").recv_timeout(DEADLINE);
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold");
        }
    });
    let gateway = Gateway::start(&proxy_with(
        &[&origin.url()],
        "",
        "response_headers = { set = { x-from = \"old\" } }",
    ));
    let mut client = gateway.connect();
    client.send("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n");
    origin.wait_for_requests(1);
    gateway.write_config(&hello("new"));
    reload(&gateway);
    assert_eq!(gateway.get("/hello").text(), "new");
    open.send(()).expect("the origin is there");
    let old = client.response();
    assert_eq!((old.text(), old.field("x-from")), ("old", Some("old")));
    assert_eq!(client.exchange(GET_HELLO).text(), "new", "the next request on the same connection");
}

#[test]
fn reloads_under_load_fail_no_request_close_no_connection_and_keep_the_pools_warm() {
    const CLIENTS: usize = 8;
    const RELOADS: u64 = 20;
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = Gateway::builder().driver(driver).shards(2).start(&proxy_to(&[&origin.url()]));
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..CLIENTS).map(|_| gateway.connect()).collect();
        let loaders: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let (stop, served) = (stop.clone(), served.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        // Fails the test if the connection is closed or nothing comes.
                        assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status(), 200);
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for generation in 2..RELOADS + 2 {
            let (before, until) = (served.load(Ordering::Relaxed), Instant::now() + DEADLINE);
            while served.load(Ordering::Relaxed) < before + CLIENTS && Instant::now() < until {
                std::thread::yield_now();
            }
            if generation % 2 == 0 {
                assert_eq!(reload(&gateway), generation);
            } else {
                gateway.signal("HUP");
                gateway.wait_for_metric("ringway_generation", "", |now| now == generation as f64);
            }
        }
        stop.store(true, Ordering::Relaxed);
        for loader in loaders {
            loader.join().expect("no request failed");
        }
        assert!(served.load(Ordering::Relaxed) >= CLIENTS * RELOADS as usize, "{driver}: there was load");
        assert!(
            origin.connections() <= CLIENTS,
            "{driver}: {} connections to the origin",
            origin.connections()
        );
    }
}

#[test]
fn reloads_that_come_all_at_once_are_all_answered() {
    let gateway = Gateway::start(HELLO);
    let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(gateway.admin_address())).collect();
    clients.iter_mut().for_each(|client| _ = client.send(request));
    let generations: Vec<_> = clients
        .iter_mut()
        .map(|client| client.response().json()["generation"].as_u64().expect("a number"))
        .collect();
    let last = gateway.metric("ringway_generation", "") as u64;
    assert!(generations.iter().all(|generation| (2..=last).contains(generation)), "{generations:?}");
}

/// Reloads between two files that differ in everything that has a name, `count` times.
fn many_reloads(count: usize) {
    let origin = Origin::echo();
    let gateway = Gateway::builder().shards(2).start(HELLO);
    let file = |number: usize| {
        let mut toml = String::new();
        for part in 0..20 {
            toml += &format!(
                "[upstream.u{number}-{part}]\ntargets = [\"{}\"]\n[[route]]\nname = \"r{number}-{part}\"\n\
                 path = \"/{number}/{part}/*\"\nupstream = \"u{number}-{part}\"\n",
                origin.url()
            );
        }
        toml
    };
    let mut admin = Client::connect(gateway.admin_address());
    let mut client = gateway.connect();
    let mut turn = |number: usize| {
        gateway.write_config(&file(number));
        let answer = admin.exchange("POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(answer.json()["generation"], number + 2, "{}", answer.text());
        let request = format!("GET /{number}/7/x HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(client.exchange(request).status(), 200);
    };
    let warm_up = 200;
    (0..warm_up).for_each(&mut turn);
    let (memory_kib, files) = (gateway.resident_kib(), gateway.open_files());
    (warm_up..warm_up + count).for_each(&mut turn);
    let (now_kib, files_now) = (gateway.resident_kib(), gateway.open_files());
    // What one reload leaves behind, if it leaves anything, is at least its own 20 routes.
    assert!(now_kib <= memory_kib + 2048, "{memory_kib} KiB became {now_kib} KiB after {count} reloads");
    assert!(files_now <= files + 4, "{files} open files became {files_now} after {count} reloads");
}

#[test]
fn five_hundred_reloads_leave_memory_and_open_files_where_they_were() {
    let _heavy = HeavyLoad::begin();
    many_reloads(500);
}

#[test]
#[ignore = "takes about a minute"]
fn ten_thousand_reloads_leave_memory_and_open_files_where_they_were() {
    many_reloads(10_000);
}
