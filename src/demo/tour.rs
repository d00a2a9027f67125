//! What the demo prints: its tour, with the addresses and the token filled in.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::stops::{STOPS, TourStop};

/// The values of the placeholders in commands.
pub struct TourValues {
    pub gateway: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub token: Option<String>,
}

/// The whole tour. `config`: the name of the configuration that is served.
pub fn text(values: &TourValues, config: &str) -> String {
    let mut text = format!("\nServing {config}. In another terminal, try:\n");
    for (title, stops) in STOPS {
        // Writing to a String does not fail.
        let _ = write!(text, "\n{title}\n");
        for TourStop { route, look_for, command } in *stops {
            let Some(command) = values.fill(command) else { continue };
            let route = route.map(|route| format!(" (route {route})")).unwrap_or_default();
            let _ = write!(text, "  # {look_for}{route}\n  {command}\n");
        }
    }
    text += "\nCtrl-C ends it. The lines below are the access log.\n\n";
    text
}

impl TourValues {
    /// The command as it can be typed; `None` if it needs a value that is missing.
    fn fill(&self, command: &str) -> Option<String> {
        let mut command = command.to_owned();
        let values = [
            ("GATEWAY", Some(url(self.gateway))),
            ("ADMIN", self.admin.map(url)),
            ("TOKEN", self.token.clone()),
        ];
        for (name, value) in values {
            if command.contains(name) {
                command = command.replace(name, &value?);
            }
        }
        Some(command)
    }
}

/// The URL to type: a listener on all addresses is reached on the loopback one.
fn url(mut address: SocketAddr) -> String {
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::jwt::Provider;
    use crate::auth::keys::KeySet;
    use crate::control::ConfigSource;

    #[test]
    fn every_route_of_the_demo_is_shown_and_nothing_that_is_not_there() {
        let source = ConfigSource::Text {
            name: "demo.toml",
            text: super::super::TEXT.into(),
            scripts: super::super::scripts::ALL,
        };
        let plan = source.load().expect("a good configuration").plan;
        let mut shown: Vec<_> =
            STOPS.iter().flat_map(|(_, stops)| *stops).filter_map(|stop| stop.route).collect();
        shown.sort_unstable();
        shown.dedup();
        let mut routes: Vec<_> = plan.routes.iter().map(|route| &*route.name).collect();
        routes.sort_unstable();
        assert_eq!(shown, routes);
    }

    fn values(gateway: &str, admin: Option<&str>) -> TourValues {
        let address = |text: &str| text.parse().expect("an address");
        TourValues { gateway: address(gateway), admin: admin.map(address), token: Some("e.y.s".to_owned()) }
    }

    #[test]
    fn the_token_is_one_that_the_demo_accepts_for_a_day() {
        const NOW_S: u64 = 1_795_521_600;
        let source = ConfigSource::Text {
            name: "demo.toml",
            text: super::super::TEXT.into(),
            scripts: super::super::scripts::ALL,
        };
        let plan = source.load().expect("a good configuration").plan;
        let token = super::super::token::sign(&plan, NOW_S).expect("the demo has a secret");
        let jwt = plan.jwts[0].clone();
        let keys = KeySet::build(&jwt).expect("a good secret");
        let provider = Provider::new(jwt, keys.into());
        let claims = provider.verify(token.as_bytes(), NOW_S + 86_000).expect("a good token");
        assert_eq!((&claims.map["sub"], &claims.map["tenant"]), (&"alice".into(), &"globex".into()));
        assert!(provider.verify(token.as_bytes(), NOW_S + 90_000).is_err(), "two days are too much");
        assert!(plan.consumers.iter().any(|consumer| &*consumer.name == "alice"));
    }

    #[test]
    fn every_command_has_its_address_filled_in() {
        let text = text(&values("0.0.0.0:8080", Some("127.0.0.1:9901")), "x");
        for placeholder in ["GATEWAY", "ADMIN", "TOKEN"] {
            assert!(!text.contains(placeholder), "{text}");
        }
        assert!(text.contains("Bearer e.y.s'"), "{text}");
        assert!(text.contains("http://127.0.0.1:8080/echo"), "{text}");
        assert!(text.contains("http://127.0.0.1:9901/status"), "{text}");
    }

    #[test]
    fn without_an_admin_listener_nothing_is_said_of_it() {
        let text = text(&values("127.0.0.1:8080", None), "x");
        assert!(!text.contains("ADMIN") && !text.contains("/status"), "{text}");
    }
}
