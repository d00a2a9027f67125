//! Who is calling: what is required of them, and what the upstream, scripts and logs hear of them.

use serde_json::{Value, json};

use super::{ALICE, BOB, JWT, bearer, get, key, refusal, refused, route_to, token};
use crate::support::{Gateway, Origin};

const BOTH: &str = "auth = [\"jwt:main\", \"key\"]\n";

fn gateway(origin: &Origin, jwt: &str, route: &str) -> Gateway {
    Gateway::start(&format!("{JWT}{jwt}{ALICE}{BOB}{}", route_to(origin, &format!("{BOTH}{route}"))))
}

#[test]
fn what_a_route_requires_is_named_in_the_403_and_the_log_knows_who_it_was() {
    let origin = Origin::echo();
    for (require, credential, detail) in [
        ("groups = [\"gold\", \"staff\"]", key("alices-key"), "the caller is not in group `staff`"),
        ("permissions = [\"write\"]", key("alices-key"), "the caller lacks permission `write`"),
        (
            "scopes = [\"users.read\"]",
            bearer(&token(json!({ "scope": "users" }))),
            "the token lacks scope `users.read`",
        ),
        ("scopes = [\"users.read\"]", key("alices-key"), "the token lacks scope `users.read`"),
        (
            "claims = { tenant = \"acme\" }",
            bearer(&token(json!({ "tenant": "x" }))),
            "the token's claim `tenant` is not as required",
        ),
    ] {
        let gateway = gateway(&origin, "", &format!("require = {{ {require} }}"));
        let answer = gateway.exchange(get("/x", &credential));
        assert_eq!(refusal(&answer), refused(403, "forbidden"), "{require}");
        let said = answer.json();
        assert_eq!((&said["detail"], &said["error"]), (&detail.into(), &"Forbidden".into()));
        let challenge =
            require.contains("scopes").then_some("Bearer realm=\"ringway\", error=\"insufficient_scope\"");
        assert_eq!(answer.field("www-authenticate"), challenge);
        let line = gateway.log_of("/x");
        assert_eq!((&line["reason"], &line["consumer"]), (&"forbidden".into(), &"alice".into()));
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn who_has_all_that_is_required_comes_in() {
    let origin = Origin::echo();
    let require = "require = { groups = [\"gold\"], permissions = [\"read\"], scopes = [\"a\", \"b\"], claims = { tenant = \"acme\", level = \"3\" } }";
    let gateway = gateway(&origin, "", require);
    let status = |more: Value| gateway.exchange(get("/", &bearer(&token(more)))).status();
    let good = json!({ "scope": "b c a", "tenant": ["x", "acme"], "level": 3 });
    assert_eq!(status(good.clone()), 200);
    for (name, value) in
        [("sub", json!("bob")), ("sub", json!("nobody")), ("scope", json!("a")), ("level", json!(4))]
    {
        let mut bad = good.clone();
        bad[name] = value;
        assert_eq!(status(bad.clone()), 403, "{bad}");
    }
}

#[test]
fn the_upstream_hears_of_consumer_and_claims_from_the_gateway_alone() {
    let origin = Origin::echo();
    let headers = "headers = { sub = \"X-User-Id\", tenant = \"x-tenant\", roles = \"x-roles\" }\n";
    let gateway = gateway(&origin, headers, "");
    let lies = "X-User-Id: root\r\nx_user_id: root\r\nX_Tenant: root\r\nx-TENANT: root\r\nX-Roles: root\r\n\
                X-Consumer-Name: root\r\nX_Consumer_Name: root\r\nx-consumer-groups: root\r\nx-consumer_groups: root\r\n";
    let credential = bearer(&token(json!({ "tenant": "acme", "roles": ["a", "b"] })));
    for connection in ["", "Connection: x-user-id, x-tenant, x-consumer-name, x_user_id, authorization\r\n"] {
        let echoed = gateway.exchange(get("/", &format!("{lies}{connection}{credential}"))).echoed();
        assert!(!String::from_utf8_lossy(&echoed.head).contains("root"), "{echoed:?}");
        for (name, value) in [
            ("x-user-id", "alice"),
            ("x-tenant", "acme"),
            ("x-roles", "a,b"),
            ("x-consumer-name", "alice"),
            ("x-consumer-groups", "gold,beta"),
        ] {
            assert_eq!(echoed.field(name), Some(value));
        }
        assert!(echoed.has("authorization"));
    }
    let echoed = gateway.exchange(get("/", &format!("{lies}{}", key("bobs-key")))).echoed();
    let said = String::from_utf8_lossy(&echoed.head).to_lowercase();
    assert_eq!(echoed.field("x-consumer-name"), Some("bob"));
    for absent in ["root", "x-user-id", "x-tenant", "x-roles", "x-consumer-groups"] {
        assert!(!said.contains(absent), "{absent} in {said}");
    }
    let stranger = bearer(&token(json!({ "sub": "zoe\r\nX-Admin: 1" })));
    let echoed = gateway.exchange(get("/", &stranger)).echoed();
    assert!(!echoed.has("x-user-id") && !echoed.has("x-admin") && !echoed.has("x-consumer-name"));
}

#[test]
fn a_route_without_auth_takes_no_claim_headers_from_clients_either() {
    let origin = Origin::echo();
    let jwt = format!("{JWT}headers = {{ sub = \"x-user-id\" }}\n");
    let gateway = Gateway::start(&format!("{jwt}{}", route_to(&origin, "")));
    let echoed = gateway
        .exchange(get("/", "X-User-Id: root\r\nx_user_id: root\r\nX-Consumer-Name: root\r\n"))
        .echoed();
    assert!(!String::from_utf8_lossy(&echoed.head).contains("root"));
}

#[test]
fn trailers_do_not_say_what_the_gateway_says() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "headers = { sub = \"x-user-id\" }\n", "");
    let chunked = |trailer: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: t\r\n{}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{trailer}\r\n\r\n",
            key("alices-key")
        )
    };
    for name in ["X-User-Id", "x_user_id", "X-Consumer-Name", "x_consumer_groups", "Authorization"] {
        let mut client = gateway.connect();
        let answer = client.send_lossy(chunked(&format!("{name}: root"))).response();
        assert_eq!(refusal(&answer), refused(400, "bad_request"), "{name}");
    }
    assert_eq!(gateway.exchange(chunked("X-User: me")).status(), 200);
    let seen = origin.requests();
    assert!(seen.iter().all(|request| request.trailers.iter().all(|(_, value)| value != "root")));
}

#[test]
fn the_claim_that_names_the_consumer_can_be_another() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "consumer_claim = \"client_id\"\n", "");
    let name = |more: Value| {
        let echoed = gateway.exchange(get("/", &bearer(&token(more)))).echoed();
        echoed.field("x-consumer-name").map(ToOwned::to_owned)
    };
    assert_eq!(name(json!({ "client_id": "bob" })).as_deref(), Some("bob"));
    for none in [
        json!({}),
        json!({ "client_id": "nobody" }),
        json!({ "client_id": ["bob"] }),
        json!({ "client_id": 1 }),
    ] {
        assert_eq!(name(none.clone()), None, "{none}");
    }
}

#[test]
fn scripts_see_who_is_calling() {
    let origin = Origin::echo();
    let script = "fn on_request(req) {\n\
                    let who = if req.consumer == () { \"nobody\" } else { req.consumer.name + \":\" + req.consumer.groups.len() };\n\
                    let tenant = if req.claims == () { \"no claims\" } else { req.claims.tenant };\n\
                    respond(200, who + \" \" + tenant)\n\
                  }\n\
                  fn on_log(req, res) { if req.consumer != () { log(\"seen \" + req.consumer.name + \" \" + res.status); } }";
    let route = format!("{BOTH}scripts = [\"a.rhai\"]\nrequire = {{ groups = [] }}\n");
    let toml = format!("{JWT}{ALICE}{BOB}{}", route_to(&origin, &route));
    let gateway = Gateway::builder().file("scripts/a.rhai", script).start(&toml);
    let said = |fields: String| gateway.exchange(get("/", &fields)).text().to_owned();
    assert_eq!(said(key("alices-key")), "alice:2 no claims");
    assert_eq!(said(bearer(&token(json!({ "tenant": "acme" })))), "alice:2 acme");
    assert_eq!(said(bearer(&token(json!({ "sub": "zoe", "tenant": "acme" })))), "nobody acme");
    gateway.wait_for_message("seen alice 200");
}

#[test]
fn a_consumer_stays_with_one_target() {
    let origins = [Origin::echo(), Origin::echo(), Origin::echo()];
    let targets: Vec<_> = origins.iter().map(Origin::url).collect();
    let consumers: String =
        (0..20).map(|n| format!("[[consumer]]\nname = \"c{n}\"\napi_keys = [\"key-{n}\"]\n")).collect();
    let gateway = Gateway::start(&format!(
        "{consumers}[upstream.origin]\ntargets = {targets:?}\nbalance = \"hash\"\nhash_on = \"consumer\"\n\
         [[route]]\nname = \"all\"\npath = \"/*\"\nupstream = \"origin\"\nauth = [\"key\"]\n"
    ));
    for n in (0..20).chain(0..20) {
        assert_eq!(gateway.exchange(get("/", &key(&format!("key-{n}")))).status(), 200);
    }
    let mut all = 0;
    for n in 0..20 {
        let name = format!("c{n}");
        let counts = origins.each_ref().map(|origin| {
            origin.requests().iter().filter(|seen| seen.field("x-consumer-name") == Some(&name)).count()
        });
        assert!(counts.contains(&2), "{name}: {counts:?}");
        all += counts.iter().filter(|count| **count > 0).count();
    }
    assert_eq!(all, 20);
    assert!(origins.iter().filter(|origin| !origin.requests().is_empty()).count() > 1);
}

#[test]
fn routes_switch_off_and_replace_what_the_defaults_ask_for() {
    let route = |name: &str, more: &str| {
        format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nrespond = {{ body = \"in\" }}\n{more}\n")
    };
    let toml = format!(
        "{JWT}{ALICE}{BOB}[defaults]\nauth = [\"key\"]\nrequire = {{ groups = [\"gold\"] }}\n{}{}{}{}",
        route("usual", ""),
        route("open", "auth = []"),
        route("any", "require = false"),
        route("token", "auth = [\"jwt:main\"]"),
    );
    let gateway = Gateway::start(&toml);
    let statuses = |fields: String| {
        ["/usual", "/open", "/any", "/token"].map(|path| gateway.exchange(get(path, &fields)).status())
    };
    assert_eq!(statuses(String::new()), [401, 200, 401, 401]);
    assert_eq!(statuses(key("alices-key")), [200, 200, 200, 401]);
    assert_eq!(statuses(key("bobs-key")), [403, 200, 200, 401]);
    assert_eq!(statuses(bearer(&token(json!({})))), [401, 200, 401, 200]);
}
