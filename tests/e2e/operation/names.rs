//! Targets that are given by name.

use crate::support::{Gateway, Origin, proxy_with};

#[test]
fn a_name_is_resolved_and_its_addresses_are_shown() {
    let origin = Origin::echo();
    let port = origin.socket_address().port();
    let gateway = Gateway::start(&proxy_with(&[&format!("http://localhost:{port}")], "", ""));
    assert_eq!(gateway.get("/").status(), 200);
    let status = gateway.admin("GET", "/status").json();
    let addresses = status["upstreams"][0]["targets"][0]["addresses"].as_array().expect("a list").clone();
    assert!(addresses.contains(&format!("127.0.0.1:{port}").into()), "{addresses:?}");
}

#[test]
fn a_name_that_cannot_be_resolved_is_a_warning_and_costs_only_its_own_requests() {
    // Reserved never to exist (RFC 6761).
    let lost = proxy_with(&["http://nowhere.invalid:80"], "", "");
    let gateway = Gateway::start(&format!("{lost}{}", super::HELLO));
    gateway.wait_for_message("nowhere.invalid");
    assert_eq!(gateway.get("/hello").status(), 200);
    assert!(matches!(gateway.get("/lost").status(), 502 | 503));
    let status = gateway.admin("GET", "/status").json();
    assert_eq!(status["upstreams"][0]["targets"][0]["state"], "unresolved");
}

#[test]
fn a_reload_resolves_the_names_that_are_new() {
    let origin = Origin::echo();
    let gateway = Gateway::start(super::HELLO);
    let port = origin.socket_address().port();
    gateway.write_config(&proxy_with(&[&format!("http://localhost:{port}")], "", ""));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(gateway.get("/").status(), 200);
}
