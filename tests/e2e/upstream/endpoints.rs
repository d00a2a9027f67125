//! Every address of a name is an endpoint: traffic goes to all, and leaves one that is withdrawn.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use crate::support::{DRIVERS, Gateway, Origin, Peer, echo, proxy_to, proxy_with};
use socket2::{Domain, Socket, Type};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello";

/// Two addresses of this machine, of which one port is taken. Other tests, whose ports the kernel hands out at 127.0.0.1,
/// are not on them, so that a port that is free at one is free at the other.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// `/etc/hosts` that gives them both to one name.
const HOSTS: &str = "127.0.0.3 pair.test\n127.0.0.2 pair.test\n";

fn skipped() -> bool {
    let skipped = !Gateway::can_have_hosts();
    if skipped {
        println!("skipped: no mount namespace may be made here");
    }
    skipped
}

fn pair(port: u16) -> String {
    format!("http://pair.test:{port}")
}

/// Two origins on the two addresses, at one port.
fn origins(
    first: impl Fn(&mut Peer) + Send + Sync + 'static,
    second: impl Fn(&mut Peer) + Send + Sync + 'static,
) -> (Origin, Origin, u16) {
    let first = Origin::at((FIRST, 0).into(), first);
    let port = first.socket_address().port();
    (first, Origin::at((SECOND, port).into(), second), port)
}

/// A bound socket that refuses connections for as long as it lives.
fn refusing(address: Ipv4Addr, port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((address, port)).into()).expect("a free address");
    socket
}

#[test]
fn a_name_with_two_addresses_gets_traffic_on_both() {
    if skipped() {
        return;
    }
    for driver in DRIVERS {
        let (first, second, port) = origins(echo, echo);
        let gateway = Gateway::builder().driver(driver).hosts(HOSTS).start(&proxy_to(&[&pair(port)]));
        let mut client = gateway.connect();
        for _ in 0..20 {
            let echoed = client.exchange(GET).echoed();
            assert_eq!(echoed.field("host"), Some(format!("pair.test:{port}").as_str()));
        }
        assert_eq!((first.requests().len(), second.requests().len()), (10, 10));
        assert_eq!((first.connections(), second.connections()), (1, 1), "each has its pool");
        let line = gateway.log_of("/");
        assert_eq!((&line["target"], &line["retries"]), (&pair(port).into(), &0.into()));
        let status = gateway.admin("GET", "/status").json();
        let target = &status["upstreams"][0]["targets"][0];
        assert_eq!((&target["idle"], &target["active"]), (&2.into(), &0.into()));
    }
}

#[test]
fn each_address_of_a_name_has_the_targets_weight() {
    if skipped() {
        return;
    }
    let (first, second, port) = origins(echo, echo);
    let other = Origin::echo();
    let (pair, other_url) = (pair(port), other.url());
    let config = format!(
        "[upstream.origin]\ntargets = [{{ url = {pair:?}, weight = 2 }}, {other_url:?}]\n\
         [[route]]\nname = \"all\"\npath = \"/*\"\nupstream = \"origin\"\n"
    );
    let gateway = Gateway::builder().hosts(HOSTS).start(&config);
    let mut client = gateway.connect();
    for _ in 0..50 {
        assert_eq!(client.exchange(GET).status(), 200);
    }
    assert_eq!([first, second, other].map(|origin| origin.requests().len()), [20, 20, 10]);
}

#[test]
fn a_dead_first_address_costs_no_request() {
    if skipped() {
        return;
    }
    for driver in DRIVERS {
        let origin = Origin::at((SECOND, 0).into(), echo);
        let port = origin.socket_address().port();
        let _dead = refusing(FIRST, port);
        let gateway = Gateway::builder().driver(driver).hosts(HOSTS).start(&proxy_to(&[&pair(port)]));
        let mut client = gateway.connect();
        for request in [GET, POST].into_iter().cycle().take(20) {
            assert_eq!(client.exchange(request).status(), 200);
        }
        assert_eq!(origin.requests().len(), 20);
        assert!(gateway.metric("ringway_upstream_retries_total", "") >= 1.0);
        gateway.wait_for_log(|line| line["retries"] == 1 && line["status"] == 200);
    }
}

#[test]
fn a_dead_target_costs_no_request_and_its_replacement_gets_its_own_authority() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let dead = refusing(SECOND, 0);
        let address = dead.local_addr().ok().and_then(|address| address.as_socket()).expect("bound");
        let targets = [format!("http://{address}"), origin.url()];
        let route = "host_header = \"upstream\"";
        let config = proxy_with(&[&targets[0], &targets[1]], "", route);
        let gateway = Gateway::with_driver(driver, &config);
        let mut client = gateway.connect();
        for request in [GET, POST].into_iter().cycle().take(10) {
            let echoed = client.exchange(request).echoed();
            assert_eq!(echoed.field("host"), Some(origin.authority().as_str()));
        }
    }
}

#[test]
fn when_no_address_can_be_connected_to_the_answer_is_502() {
    if skipped() {
        return;
    }
    let dead = refusing(FIRST, 0);
    let port = dead.local_addr().ok().and_then(|address| address.as_socket()).expect("bound").port();
    let _also_dead = refusing(SECOND, port);
    let gateway = Gateway::builder().hosts(HOSTS).start(&proxy_to(&[&pair(port)]));
    let mut client = gateway.connect();
    for request in [GET, POST, GET] {
        let response = client.exchange(request);
        assert_eq!((response.status(), &response.json()["reason"]), (502, &"upstream_connect".into()));
    }
}

/// An origin's handler that answers `/held` by half, and by the other half when told to; the rest at once.
fn holding() -> (Sender<()>, impl Fn(&mut Peer) + Send + Sync + 'static) {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let handle = move |peer: &mut Peer| {
        while let Some(request) = peer.request() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
            if request.target() == "/held" {
                // An error is a test that has failed already.
                let _ = held.lock().expect("one at a time").recv();
            }
            peer.send("lf");
        }
    };
    (release, handle)
}

#[test]
fn a_withdrawn_address_is_drained_at_once_and_its_exchanges_end_in_peace() {
    if skipped() {
        return;
    }
    let (release, handle) = holding();
    let (withdrawn, stays, port) = origins(handle, echo);
    // As long as a name has no address, all are looked up often.
    let unknown = "[upstream.unknown]\ntargets = [\"http://nowhere.invalid\"]\n\
                   [[route]]\nname = \"unknown\"\npath = \"/unknown\"\nupstream = \"unknown\"\n";
    let gateway = Gateway::builder()
        .hosts(HOSTS)
        .env("RES_OPTIONS", "timeout:1 attempts:1")
        .start(&format!("{}{unknown}", proxy_to(&[&pair(port)])));
    let mut held = gateway.connect();
    while withdrawn.requests().is_empty() {
        held = gateway.connect();
        held.send("GET /held HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(held.head().status(), 200);
    }
    // One more connection to it, which stays idle.
    while withdrawn.connections() < 2 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    gateway.change_hosts("127.0.0.2 pair.test\n");
    withdrawn.wait_for_closed(1);

    let before = stays.requests().len();
    for _ in 0..6 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    assert_eq!((stays.requests().len() - before, withdrawn.requests().len()), (6, 2));
    release.send(()).expect("the origin waits");
    assert_eq!(held.read_exact(4), b"half");
    // And is not kept for a next one.
    withdrawn.wait_for_closed(2);
}

#[test]
fn a_target_that_a_reload_removes_is_drained_while_the_old_generation_still_serves() {
    for driver in DRIVERS {
        let (release, handle) = holding();
        let stays = Origin::new(handle);
        let goes = Origin::echo();
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&stays.url(), &goes.url()]));
        let mut held = gateway.connect();
        while stays.requests().is_empty() {
            held = gateway.connect();
            held.send("GET /held HTTP/1.1\r\nHost: t\r\n\r\n");
            assert_eq!(held.head().status(), 200);
        }
        while stays.connections() < 2 || goes.connections() < 1 {
            assert_eq!(gateway.get("/").status(), 200);
        }
        gateway.write_config(&proxy_with(&[&stays.url()], "connect_timeout = \"1s\"", ""));
        assert_eq!(gateway.admin("POST", "/reload").status(), 200);
        goes.wait_for_closed(1);
        for _ in 0..4 {
            assert_eq!(gateway.get("/").status(), 200);
        }
        assert_eq!(stays.connections(), 2, "its pool outlives the generation");
        release.send(()).expect("the origin waits");
        assert_eq!(held.read_exact(4), b"half");
    }
}
