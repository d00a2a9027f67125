//! `ip`: addresses let in and kept out.

use super::{get, refusal, refused, route_to};
use crate::support::{Client, DRIVERS, Gateway, Origin};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

fn forwarded(chain: &str) -> String {
    get("/", &format!("X-Forwarded-For: {chain}\r\n"))
}

#[test]
fn a_denied_address_is_told_so_logged_and_counted_and_the_upstream_hears_nothing() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = Gateway::with_driver(driver, &route_to(&origin, "ip = { deny = [\"127.0.0.0/8\"] }"));
        let mut client = gateway.connect();
        assert_eq!(refusal(&client.exchange(get("/in", ""))), refused(403, "ip_denied"));
        assert_eq!(
            refusal(&client.exchange(get("/in", ""))),
            refused(403, "ip_denied"),
            "the connection stays"
        );
        let line = gateway.log_of("/in");
        assert_eq!((&line["status"], &line["reason"]), (&403.into(), &"ip_denied".into()));
        assert_eq!(line["client_ip"], "127.0.0.1");
        gateway.wait_for_metric("ringway_requests_total", "reason=\"ip_denied\"", |count| count == 2.0);
        assert_eq!(origin.connections(), 0);
    }
}

#[test]
fn allow_lets_only_its_own_in_and_deny_goes_before_it() {
    let origin = Origin::echo();
    let rules = "ip = { allow = [\"10.0.0.0/8\", \"2001:db8::/32\"], deny = [\"10.9.0.0/16\", \"2001:db8:bad::/48\"] }";
    let gateway = Gateway::builder().server(TRUSTED).start(&route_to(&origin, rules));
    for (address, status) in [
        ("10.1.2.3", 200),
        ("10.9.2.3", 403),
        ("192.0.2.1", 403),
        ("2001:db8::1", 200),
        ("[2001:db8::1]:4711", 200),
        ("2001:db8:bad::1", 403),
        ("2001:db9::1", 403),
        ("::ffff:10.1.2.3", 200),
        ("::ffff:10.9.2.3", 403),
    ] {
        assert_eq!(gateway.exchange(forwarded(address)).status(), status, "{address}");
    }
}

#[test]
fn only_trusted_proxies_are_believed_and_from_the_right() {
    let origin = Origin::echo();
    let toml = route_to(&origin, "ip = { allow = [\"10.0.0.0/8\"] }");
    let behind = Gateway::builder().server(TRUSTED).start(&toml);
    for (chain, status) in [
        ("10.0.0.1", 200),
        ("10.0.0.1, 192.0.2.1", 403),
        ("192.0.2.1, 10.0.0.1", 200),
        ("10.0.0.1, 127.0.0.9", 200),
        ("10.0.0.1, nonsense", 403),
        ("10.0.0.1,", 403),
    ] {
        assert_eq!(behind.exchange(forwarded(chain)).status(), status, "{chain}");
    }
    let two_lines = get("/", "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(behind.exchange(two_lines).status(), 403);
    let open = Gateway::start(&toml);
    for name in ["X-Forwarded-For", "X_Forwarded_For", "X-Real-IP", "Forwarded"] {
        let request = get("/", &format!("{name}: 10.0.0.1\r\n"));
        assert_eq!(refusal(&open.exchange(request)), refused(403, "ip_denied"), "{name}");
    }
}

#[test]
fn networks_in_the_ipv4_mapped_form_mean_the_ipv4_network() {
    let origin = Origin::echo();
    for rules in [
        "deny = [\"::ffff:127.0.0.1\"]",
        "deny = [\"::ffff:127.0.0.0/104\"]",
        "deny = [\"::/0\", \"0.0.0.0/0\"]",
    ] {
        let gateway = Gateway::start(&route_to(&origin, &format!("ip = {{ {rules} }}")));
        assert_eq!(refusal(&gateway.get("/")), refused(403, "ip_denied"), "{rules}");
    }
}

#[test]
fn a_client_over_ipv6_is_known_by_that_address() {
    let origin = Origin::echo();
    let rules = route_to(&origin, "ip = { allow = [\"::1\"] }");
    let toml = format!("[server]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\nshards = 1\n\n{rules}");
    let gateway = Gateway::start(&toml);
    gateway.wait_for_metric("ringway_generation", "", |generation| generation == 1.0);
    let statuses: Vec<_> = gateway
        .addresses
        .iter()
        .map(|at| (at.is_ipv6(), Client::connect(*at).exchange(get("/", "")).status()))
        .collect();
    assert_eq!(statuses, [(false, 403), (true, 200)]);
}

#[test]
fn a_default_is_replaced_and_switched_off_by_routes() {
    let defaults = "[defaults]\nip = { deny = [\"127.0.0.0/8\"] }\n";
    let route = |name: &str, more: &str| {
        format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nrespond = {{ body = \"in\" }}\n{more}\n")
    };
    let routes = [
        route("closed", ""),
        route("open", "ip = false"),
        route("other", "ip = { deny = [\"10.0.0.0/8\"] }"),
    ];
    let gateway = Gateway::start(&format!("{defaults}{}", routes.concat()));
    let statuses = ["/closed", "/open", "/other"].map(|path| gateway.get(path).status());
    assert_eq!(statuses, [403, 200, 200]);
}
