//! Whose requests are counted together, in every mode; and that a reload counts on.

use jsonwebtoken::{EncodingKey, Header};

use super::{get, limited};
use crate::support::Gateway;

pub const MODES: [&str; 3] = ["shared", "strict", "local"];

/// The statuses of so many equal requests, one after the other.
fn statuses(gateway: &Gateway, path: &str, fields: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| get(gateway, path, fields).status()).collect()
}

const SECRET: &str = "a secret of at least thirty-two bytes";

fn bearer(claims: &serde_json::Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), claims, &key).expect("the claims can be signed");
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn by_claim_each_value_counts_and_a_token_without_it_by_address() {
    let route = limited("api", &["rate = \"2/hour\"\nby = \"jwt:tenant\""])
        .replace("respond", "auth = [\"jwt:main\"]\nrespond");
    let provider = format!("[jwt.main]\nalgorithms = [\"HS256\"]\nsecret = {SECRET:?}\n");
    let gateway = Gateway::start(&(provider + &route));
    let exp = 4_000_000_000_u64;
    let of =
        |tenant: &str, sub: &str| bearer(&serde_json::json!({ "exp": exp, "tenant": tenant, "sub": sub }));
    assert_eq!(statuses(&gateway, "/api", &of("a", "one"), 2), [200, 200]);
    assert_eq!(statuses(&gateway, "/api", &of("a", "two"), 1), [429]);
    assert_eq!(statuses(&gateway, "/api", &of("b", "one"), 1), [200]);
    let without = |sub: &str| bearer(&serde_json::json!({ "exp": exp, "sub": sub }));
    assert_eq!(statuses(&gateway, "/api", &without("one"), 2), [200, 200]);
    assert_eq!(statuses(&gateway, "/api", &without("two"), 1), [429]);
}

#[test]
fn by_header_long_values_that_differ_at_their_end_count_apart() {
    let gateway = Gateway::start(&limited("api", &["rate = \"1/hour\"\nby = \"header:x-tenant\""]));
    for end in ["a", "b"] {
        let fields = format!("X-Tenant: {}{end}\r\n", "long".repeat(500));
        assert_eq!(statuses(&gateway, "/api", &fields, 2), [200, 429], "{end}");
    }
}

const CONSUMERS: &str = "
[[consumer]]
name = \"alice\"
groups = [\"gold\"]
api_keys = [\"key-a\"]
limits = { api = \"4/hour\" }
[[consumer]]
name = \"bob\"
groups = [\"gold\"]
api_keys = [\"key-b\"]
[[consumer]]
name = \"carol\"
api_keys = [\"key-c\"]
[group.gold]
limits = { api = \"3/hour\" }
";
const ALICE: &str = "X-API-Key: key-a\r\n";
const BOB: &str = "X-API-Key: key-b\r\n";
const CAROL: &str = "X-API-Key: key-c\r\n";

/// A limit for consumers, in a mode.
fn for_consumers(mode: &str) -> String {
    let limit = format!("name = \"api\"\nrate = \"2/hour\"\nmode = {mode:?}");
    let route = limited("api", &[&limit]).replace("respond", "auth = [\"key\"]\nrespond");
    format!("{CONSUMERS}{route}")
}

#[test]
fn rates_of_consumers_and_groups_hold_in_every_mode() {
    for mode in MODES {
        let gateway = Gateway::start(&for_consumers(mode));
        assert_eq!(statuses(&gateway, "/api", ALICE, 5), [200, 200, 200, 200, 429], "{mode}");
        assert_eq!(statuses(&gateway, "/api", BOB, 4), [200, 200, 200, 429], "{mode}");
        assert_eq!(statuses(&gateway, "/api", CAROL, 3), [200, 200, 429], "{mode}");
    }
}

#[test]
fn a_reload_to_another_configuration_counts_on_for_what_stays_the_same() {
    for mode in MODES {
        let toml = for_consumers(mode);
        let gateway = Gateway::start(&toml);
        assert_eq!(statuses(&gateway, "/api", ALICE, 3), [200, 200, 200], "{mode}");
        assert_eq!(statuses(&gateway, "/api", CAROL, 1), [200], "{mode}");
        gateway.write_config(&(toml + &limited("another", &["rate = \"1/hour\"\nby = \"ip\""])));
        assert_eq!(gateway.admin("POST", "/reload").status(), 200);
        assert_eq!(statuses(&gateway, "/api", ALICE, 2), [200, 429], "{mode}");
        assert_eq!(statuses(&gateway, "/api", CAROL, 2), [200, 429], "{mode}");
        assert_eq!(statuses(&gateway, "/another", "", 2), [200, 429], "{mode}");
    }
}

#[test]
fn a_window_refuses_in_every_mode_what_is_over_until_it_ends() {
    for mode in MODES {
        let limit = format!("rate = \"3/day\"\nby = \"ip\"\nalgorithm = \"fixed_window\"\nmode = {mode:?}");
        let gateway = Gateway::start(&limited("window", &[&limit]));
        let all = statuses(&gateway, "/window", "", 4);
        // Should midnight fall into the test, another window begins.
        assert!(all == [200, 200, 200, 429] || all == [200; 4], "{mode}: {all:?}");
    }
}

#[test]
fn limits_of_one_name_on_two_routes_count_apart() {
    let limit = "name = \"api\"\nrate = \"1/hour\"\nby = \"ip\"";
    let gateway = Gateway::start(&(limited("a", &[limit]) + &limited("b", &[limit])));
    for path in ["/a", "/b"] {
        assert_eq!(statuses(&gateway, path, "", 2), [200, 429], "{path}");
    }
}

#[test]
fn a_route_may_switch_the_default_limit_off() {
    let defaults = "[defaults]\nrate_limit = [{ rate = \"1/hour\", by = \"ip\" }]\n";
    let without = limited("without", &[]).replace("respond", "rate_limit = []\nrespond");
    let gateway = Gateway::start(&format!("{defaults}{}{without}", limited("with", &[])));
    assert_eq!(statuses(&gateway, "/with", "", 2), [200, 429]);
    assert_eq!(statuses(&gateway, "/without", "", 2), [200, 200]);
}
