//! Reloads that change who may come in: on open connections, and for tokens that are remembered.

use serde_json::{Value, json};

use super::{ALICE, BOB, JWT, bearer, claims, get, key, refusal, refused, route_to, sign, text, token};
use crate::support::{DRIVERS, Gateway, Origin};

const BOTH: &str = "auth = [\"jwt:main\", \"key\"]\n";

fn reload(gateway: &Gateway) {
    let answer = gateway.admin("POST", "/reload");
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[test]
fn a_remembered_token_of_an_old_key_or_rule_is_refused() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let toml = |jwt: &str| format!("{jwt}{}", route_to(&origin, BOTH));
        let gateway = Gateway::builder().driver(driver).shards(2).start(&toml(JWT));
        let (old, new) =
            (token(json!({})), text(sign::hs256(b"the new secret, of 32 bytes or more", &claims(json!({})))));
        let mut clients: Vec<_> = (0..6).map(|_| gateway.connect()).collect();
        let mut all = |token: &str, expected: u16| {
            for client in &mut clients {
                assert_eq!(client.exchange(get("/", &bearer(token))).status(), expected, "{driver}");
            }
        };
        all(&old, 200);
        all(&new, 401);
        for rule in ["issuer = \"https://id.example.com\"\n", "audience = [\"api\"]\n", "algorithms"] {
            let jwt =
                if rule == "algorithms" { JWT.replace("HS256", "HS384") } else { format!("{JWT}{rule}") };
            gateway.write_config(&toml(&jwt));
            reload(&gateway);
            all(&old, 401);
        }
        gateway.write_config(&toml(
            "[jwt.main]\nalgorithms = [\"HS256\"]\nsecret = \"the new secret, of 32 bytes or more\"\n",
        ));
        reload(&gateway);
        all(&old, 401);
        all(&new, 200);
        gateway.write_config(&toml(JWT));
        reload(&gateway);
        all(&old, 200);
        all(&new, 401);
    }
}

#[test]
fn secrets_in_files_are_read_again() {
    let origin = Origin::echo();
    let jwt = "[jwt.main]\nalgorithms = [\"HS256\"]\nsecret = \"file:secret\"\n";
    let consumer = "[[consumer]]\nname = \"alice\"\napi_keys = [\"file:key\"]\n";
    let builder = Gateway::builder()
        .file("secret", "a secret of the tests, of 32 bytes or more\n")
        .file("key", "one\r\n");
    let gateway = builder.start(&format!("{jwt}{consumer}{}", route_to(&origin, BOTH)));
    let status = |fields: &str| gateway.exchange(get("/", fields)).status();
    let token = bearer(&token(json!({})));
    assert_eq!([status(&token), status(&key("one")), status(&key("two"))], [200, 200, 401]);
    gateway.write_file("secret", "another secret of the tests, of 32 bytes\n");
    gateway.write_file("key", "two");
    assert_eq!([status(&token), status(&key("one"))], [200, 200], "nothing before the reload");
    reload(&gateway);
    assert_eq!([status(&token), status(&key("one")), status(&key("two"))], [401, 401, 200]);
    gateway.write_file("key", "");
    let answer = gateway.admin("POST", "/reload");
    assert_eq!(answer.status(), 422);
    assert_eq!(status(&key("two")), 200, "a bad file changes nothing");
}

#[test]
fn consumers_come_go_and_change() {
    let origin = Origin::echo();
    let require = format!("{BOTH}require = {{ groups = [\"gold\"] }}\n");
    let toml = |consumers: &str| format!("{JWT}{consumers}{}", route_to(&origin, &require));
    let gateway = Gateway::start(&toml(&(ALICE.to_owned() + BOB)));
    let mut client = gateway.connect();
    let token = bearer(&token(json!({})));
    let mut statuses = || {
        [&token, &key("alices-key"), &key("bobs-key")]
            .map(|fields| client.exchange(get("/", fields)).status())
    };
    assert_eq!(statuses(), [200, 200, 403]);
    gateway.write_config(&toml(
        &(ALICE.replace("gold", "silver")
            + &BOB.replace("name = \"bob\"", "name = \"bob\"\ngroups = [\"gold\"]")),
    ));
    reload(&gateway);
    assert_eq!(statuses(), [403, 403, 200]);
    gateway.write_config(&toml(&ALICE.replace("alices-key", "bobs-key")));
    reload(&gateway);
    assert_eq!(statuses(), [200, 401, 200]);
    gateway.write_config(&toml(BOB));
    reload(&gateway);
    assert_eq!(statuses(), [403, 401, 403], "the token is good, but names no consumer");
}

#[test]
fn claim_headers_of_the_new_configuration_are_no_longer_the_clients() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&format!("{JWT}{}", route_to(&origin, "")));
    let mut client = gateway.connect();
    let mut said =
        || client.exchange(get("/", "X-User-Id: me\r\n")).echoed().field("x-user-id").map(ToOwned::to_owned);
    assert_eq!(said().as_deref(), Some("me"));
    gateway.write_config(&format!("{JWT}headers = {{ sub = \"x-user-id\" }}\n{}", route_to(&origin, "")));
    reload(&gateway);
    assert_eq!(said(), None);
}

#[test]
fn a_reload_with_a_bad_key_or_two_of_one_is_refused_and_shows_no_secret() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&format!("{ALICE}{}", route_to(&origin, "auth = [\"key\"]")));
    for bad in [
        BOB.replace("bobs-key", "alices-key"),
        BOB.replace("bobs-key", "with a blank s3cret"),
        BOB.replace("bobs-key", "sha256:s3cret"),
        "[jwt.main]\nalgorithms = [\"RS256\"]\npublic_key = \"-----BEGIN PRIVATE KEY----- s3cret\"\n"
            .to_owned(),
        "[jwt.main]\nalgorithms = [\"RS256\"]\nsecret = \"a s3cret that is none for RS256\"\n".to_owned(),
    ] {
        gateway.write_config(&format!("{ALICE}{bad}{}", route_to(&origin, "auth = [\"key\"]")));
        let answer = gateway.admin("POST", "/reload");
        assert_eq!(answer.status(), 422);
        let said: Value = answer.json();
        assert!(!said.to_string().contains("s3cret"), "{said}");
    }
    assert!(gateway.stderr.all().iter().all(|line| !line.contains("s3cret")), "{:#?}", gateway.stderr.all());
    assert_eq!(gateway.exchange(get("/", &key("alices-key"))).status(), 200);
    assert_eq!(refusal(&gateway.get("/")), refused(401, "no_credentials"));
}
