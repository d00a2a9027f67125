//! Tunnels outlive reloads, and keep nothing but what they need of the generation that they began in.

use super::hello;
use crate::support::{Client, DRIVERS, Gateway, Origin, Peer, proxy_to};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Echoes what comes after an upgrade; answers everything else, and keeps the connection.
fn echoes_or_answers(peer: &mut Peer) {
    while let Some(request) = peer.request() {
        if request.has("upgrade") {
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            );
            while let Ok(byte) = peer.wire().read_exact(1) {
                peer.send(byte);
            }
            return;
        }
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

fn open_tunnel(gateway: &Gateway) -> Client {
    let mut client = gateway.connect();
    assert_eq!(client.exchange(UPGRADE).status(), 101);
    client
}

fn reload(gateway: &Gateway, toml: &str) {
    gateway.write_config(toml);
    let answer = gateway.admin("POST", "/reload");
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[test]
fn a_tunnel_keeps_no_idle_connection_of_an_upstream_that_a_reload_has_removed() {
    for driver in DRIVERS {
        let origin = Origin::new(echoes_or_answers);
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut tunnel = open_tunnel(&gateway);
        assert_eq!(gateway.get("/").text(), "ok");
        assert_eq!(origin.connections(), 2);
        reload(&gateway, &hello("new"));
        origin.wait_for_closed(1);
        tunnel.send("still here");
        assert_eq!(tunnel.read_exact(10), b"still here", "{driver}");
        tunnel.finish();
        let line = gateway.log_of("/chat");
        assert_eq!((&line["status"], &line["generation"]), (&101.into(), &1.into()));
        assert_eq!((&line["route"], &line["upstream"]), (&"all".into(), &"origin".into()));
        assert_eq!(line["target"], origin.url());
        origin.wait_for_closed(2);
    }
}

#[test]
fn a_tunnel_does_not_keep_the_rest_of_its_generation() {
    for driver in DRIVERS {
        let origin = Origin::new(echoes_or_answers);
        let limited = "[[route]]\nname = \"limited\"\npath = \"/limited\"\nrespond = { body = \"ok\" }\n\
                       [[route.rate_limit]]\nname = \"l\"\nrate = \"1/min\"\n";
        let gateway = Gateway::with_driver(driver, &(proxy_to(&[&origin.url()]) + limited));
        let mut tunnel = open_tunnel(&gateway);
        assert_eq!(gateway.get("/limited").text(), "ok");
        gateway.wait_for_metric("ringway_rate_limit_keys", "", |keys| keys == 1.0);
        reload(&gateway, &hello("new"));
        // Counts are kept for as long as a generation that has the limit.
        gateway.wait_for_metric("ringway_rate_limit_keys", "", |keys| keys == 0.0);
        tunnel.send("still here");
        assert_eq!(tunnel.read_exact(10), b"still here", "{driver}");
    }
}

#[test]
fn log_hooks_of_a_tunnel_are_those_of_its_own_generation() {
    for driver in DRIVERS {
        let origin = Origin::new(echoes_or_answers);
        let script = |text: &str| format!("fn on_log(req, res) {{ log(\"{text} \" + res.status); }}");
        let config = proxy_to(&[&origin.url()]) + "scripts = [\"note.rhai\"]\n";
        let gateway =
            Gateway::builder().driver(driver).file("scripts/note.rhai", &script("before")).start(&config);
        let tunnel = open_tunnel(&gateway);
        gateway.write_file("scripts/note.rhai", &script("after"));
        reload(&gateway, &config);
        drop(tunnel);
        gateway.wait_for_message("before 101");
        assert_eq!(gateway.get("/").text(), "ok");
        gateway.wait_for_message("after 200");
    }
}
