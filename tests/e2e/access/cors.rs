//! `cors`: preflights, and what responses say to pages of other origins.

use super::{ALICE, bearer, get, key, refusal, refused, route_to};
use crate::support::{Builder, DRIVERS, Gateway, Message, Origin, proxy_with};

const APP: &str = "https://app.example.com";
const CORS: &str = "cors = { origins = [\"https://app.example.com\"], methods = [\"GET\", \"PUT\"], headers = [\"authorization\"], expose = [\"x-total\"], credentials = true, max_age = \"10m\" }\n";

fn preflight(origin: &str, method: &str) -> String {
    format!(
        "OPTIONS /x HTTP/1.1\r\nHost: t\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: authorization\r\n\r\n"
    )
}

fn from(origin: &str) -> String {
    get("/x", &format!("Origin: {origin}\r\n"))
}

/// The `Access-Control-…` fields, in order.
fn cors_fields(answer: &Message) -> Vec<String> {
    let all =
        answer.fields.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"));
    all.map(|(name, value)| format!("{name}: {value}")).collect()
}

const CORS_FIELDS: [&str; 3] = [
    "Access-Control-Allow-Origin: https://app.example.com",
    "Access-Control-Allow-Credentials: true",
    "Access-Control-Expose-Headers: x-total",
];

#[test]
fn a_preflight_is_answered_by_the_gateway_for_a_route_without_options() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway =
            Gateway::with_driver(driver, &route_to(&origin, &format!("method = [\"GET\"]\n{CORS}")));
        let mut client = gateway.connect();
        let answer = client.exchange(preflight(APP, "GET"));
        assert_eq!(answer.status(), 204);
        assert_eq!(
            cors_fields(&answer),
            [
                "Access-Control-Allow-Origin: https://app.example.com",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Allow-Methods: GET, PUT",
                "Access-Control-Allow-Headers: authorization",
                "Access-Control-Max-Age: 600"
            ]
        );
        assert_eq!(
            answer.field("vary"),
            Some("Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
        );
        assert!(
            answer.field("x-request-id").is_some_and(|id| !id.is_empty()) && !answer.has("content-length")
        );
        assert_eq!(cors_fields(&client.exchange(from(APP))), CORS_FIELDS, "the connection goes on");
        assert_eq!(origin.requests().len(), 1);
        assert_eq!(gateway.wait_for_log(|line| line["method"] == "OPTIONS")["status"], 204);
    }
}

#[test]
fn a_preflight_for_a_method_that_no_route_takes_is_405() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&route_to(&origin, &format!("method = [\"GET\"]\n{CORS}")));
    let answer = gateway.exchange(preflight(APP, "DELETE"));
    assert_eq!((refusal(&answer), cors_fields(&answer)), (refused(405, "method_not_allowed"), vec![]));
}

#[test]
fn a_preflight_is_for_the_route_of_the_method_that_it_asks_for() {
    let origin = Origin::echo();
    let route = |method: &str, more: &str| {
        format!(
            "[[route]]\nname = \"{method}\"\npath = \"/x\"\nmethod = [\"{method}\"]\nupstream = \"origin\"\n{more}\n"
        )
    };
    let toml = format!(
        "[upstream.origin]\ntargets = [\"{}\"]\n{}{}{}",
        origin.url(),
        route("GET", "cors = { origins = [\"https://app.example.com\"], methods = [\"GET\"] }"),
        route("PUT", "cors = { origins = [\"https://admin.example.com\"], methods = [\"PUT\"] }"),
        route("OPTIONS", ""),
    );
    let gateway = Gateway::start(&toml);
    let allowed = |origin: &str, method: &str| {
        gateway
            .exchange(preflight(origin, method))
            .field("access-control-allow-methods")
            .map(ToOwned::to_owned)
    };
    assert_eq!(allowed(APP, "GET").as_deref(), Some("GET"));
    assert_eq!(allowed("https://admin.example.com", "PUT").as_deref(), Some("PUT"));
    assert_eq!(allowed(APP, "PUT"), None);
    assert!(origin.requests().is_empty());
    let passed_on = gateway.exchange(preflight(APP, "PATCH"));
    assert_eq!(passed_on.echoed().method(), "OPTIONS", "no route for PATCH, so it goes where OPTIONS goes");
}

#[test]
fn origins_that_may_not_are_answered_without_permission() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&route_to(&origin, CORS));
    for other in [
        "https://evil.example",
        "null",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://xapp.example.com",
        "HTTPS://APP.EXAMPLE.COM",
        "https://app.example.com, https://evil.example",
        "*",
        "",
    ] {
        let answer = gateway.exchange(preflight(other, "GET"));
        assert_eq!((answer.status(), cors_fields(&answer)), (204, vec![]), "{other}");
        let answer = gateway.exchange(from(other));
        assert_eq!(
            (answer.status(), cors_fields(&answer), answer.field("vary")),
            (200, vec![], Some("Origin")),
            "{other}"
        );
    }
    let without = gateway.exchange(get("/x", ""));
    assert_eq!((cors_fields(&without), without.field("vary")), (vec![], Some("Origin")));
}

#[test]
fn wildcards_let_labels_below_a_domain_in_and_a_star_everyone() {
    let origin = Origin::echo();
    let below = "cors = { origins = [\"https://*.example.com\", \"http://*.test:8080\"] }";
    let gateway = Gateway::start(&route_to(&origin, below));
    for (page, may) in [
        ("https://a.example.com", true),
        ("https://a.b.example.com", true),
        ("http://a.test:8080", true),
        ("https://example.com", false),
        ("https://.example.com", false),
        ("https://evilexample.com", false),
        ("https://a.example.com:444", false),
        ("http://a.test", false),
        ("https://user@a.example.com", false),
        ("https://evil.example/.example.com", false),
        ("https://a.example.com.evil.example", false),
        ("null", false),
    ] {
        let answer = gateway.exchange(from(page));
        assert_eq!(answer.field("access-control-allow-origin"), may.then_some(page), "{page}");
    }
    let gateway = Gateway::start(&route_to(&origin, "cors = { origins = [\"*\"] }"));
    for page in [APP, "null"] {
        let answer = gateway.exchange(from(page));
        assert_eq!(cors_fields(&answer), ["Access-Control-Allow-Origin: *"]);
        assert!(!answer.has("vary"));
    }
    assert!(!gateway.exchange(preflight(APP, "GET")).has("access-control-max-age"));
}

#[test]
fn what_the_upstream_says_of_it_is_replaced_and_its_vary_kept() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\naccess-control-allow-origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Expose-Headers: x-secret\r\nVary: Accept\r\n\r\n",
    );
    let gateway = Gateway::start(&route_to(&origin, CORS));
    let answer = gateway.exchange(from(APP));
    assert_eq!(
        (cors_fields(&answer), answer.all("vary")),
        (CORS_FIELDS.map(Into::into).to_vec(), vec!["Accept", "Origin"])
    );
    assert_eq!(cors_fields(&gateway.exchange(from("https://evil.example"))), [""; 0]);
    let without = Gateway::start(&route_to(&origin, ""));
    assert_eq!(
        cors_fields(&without.exchange(from(APP))).len(),
        3,
        "the upstream's business where there is no `cors`"
    );
}

#[test]
fn refusals_say_it_too_or_a_page_could_not_read_them() {
    let origin = Origin::answering_once("");
    let guarded = format!(
        "{CORS}auth = [\"key\"]\nrequire = {{ groups = [\"gold\"] }}\n[[route.rate_limit]]\nrate = \"2/hour\"\nmode = \"local\"\nby = \"route\"\n"
    );
    let bob = super::BOB;
    let gateway = Gateway::start(&format!("{ALICE}{bob}{}", route_to(&origin, &guarded)));
    let ask = |fields: &str| gateway.exchange(get("/x", &format!("Origin: {APP}\r\n{fields}")));
    for (fields, status) in [
        (String::new(), 401),
        (key("bobs-key"), 403),
        (key("alices-key"), 502),
        (key("alices-key"), 502),
        (key("alices-key"), 429),
    ] {
        let answer = ask(&fields);
        assert_eq!((answer.status(), cors_fields(&answer)), (status, CORS_FIELDS.map(Into::into).to_vec()));
        assert_eq!(answer.field("vary"), Some("Origin"));
    }
    let denied = Gateway::start(&route_to(&origin, &format!("{CORS}ip = {{ deny = [\"127.0.0.1\"] }}")));
    assert_eq!(
        cors_fields(&denied.exchange(from(APP))),
        CORS_FIELDS,
        "also to a page that may not come from there"
    );
}

#[test]
fn the_page_is_told_though_the_upstream_does_not_hear_of_it() {
    let origin = Origin::echo();
    let script = "fn on_request(req) { req.headers.remove(\"origin\"); }";
    let removed = [
        (Gateway::builder(), "request_headers = { remove = [\"origin\"] }"),
        (Gateway::builder(), "request_headers = { set = { origin = \"https://inside.example\" } }"),
        (Gateway::builder().file("scripts/a.rhai", script), "scripts = [\"a.rhai\"]"),
    ];
    for (builder, more) in removed {
        let gateway = builder.start(&route_to(&origin, &format!("{CORS}{more}")));
        let answer = gateway.exchange(from(APP));
        assert_ne!(answer.echoed().field("origin"), Some(APP));
        assert_eq!(cors_fields(&answer), CORS_FIELDS, "{more}");
    }
    let gateway = Gateway::start(&route_to(&origin, CORS));
    let answer = gateway.exchange(get("/x", &format!("Origin: {APP}\r\nConnection: origin\r\n")));
    assert_eq!(cors_fields(&answer), CORS_FIELDS, "named in Connection");
}

#[test]
fn a_preflight_needs_no_credentials_costs_nothing_of_a_limit_and_runs_no_script() {
    let origin = Origin::echo();
    let script = "fn on_request(req) { counter(\"ran\").add(1); respond(418, \"no\") }\n\
                  fn on_response(req, res) { res.headers[\"x-script\"] = \"ran\"; }";
    let more = format!(
        "{CORS}auth = [\"key\"]\nscripts = [\"a.rhai\"]\n[[route.rate_limit]]\nrate = \"1/hour\"\nmode = \"local\"\nby = \"ip\"\n"
    );
    let gateway = Gateway::builder()
        .file("scripts/a.rhai", script)
        .start(&format!("{ALICE}{}", route_to(&origin, &more)));
    for _ in 0..3 {
        let answer = gateway.exchange(preflight(APP, "GET"));
        assert_eq!(
            (answer.status(), answer.has("x-script"), answer.has("x-ratelimit-limit")),
            (204, false, false)
        );
    }
    assert_eq!(gateway.exchange(get("/x", &key("alices-key"))).status(), 418);
    assert_eq!(gateway.exchange(get("/x", &key("alices-key"))).status(), 429);
    gateway.wait_for_metric("ringway_script_counter", "name=\"ran\"", |ran| ran == 1.0);
}

#[test]
fn options_that_are_no_preflight_go_on() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&route_to(&origin, CORS));
    for fields in
        [String::new(), format!("Origin: {APP}\r\n"), "Access-Control-Request-Method: GET\r\n".to_owned()]
    {
        let answer = gateway.exchange(format!("OPTIONS /x HTTP/1.1\r\nHost: t\r\n{fields}\r\n"));
        assert_eq!(answer.echoed().method(), "OPTIONS", "{fields}");
    }
    let get_with = get("/x", &format!("Origin: {APP}\r\nAccess-Control-Request-Method: PUT\r\n"));
    assert_eq!(gateway.exchange(get_with).echoed().method(), "GET");
}

#[test]
fn a_preflight_with_a_body_is_answered_and_the_next_request_is_not_its_body() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&route_to(&origin, CORS));
    let body = get("/smuggled", "");
    let with_body = |length: usize| {
        preflight(APP, "GET").replace("\r\n\r\n", &format!("\r\nContent-Length: {length}\r\n\r\n"))
    };
    let mut client = gateway.connect();
    let answer = client.exchange(with_body(body.len()) + &body);
    assert_eq!(answer.status(), 204);
    if answer.connection_lists("close") {
        client.expect_closed();
    } else {
        assert_eq!(client.exchange(get("/next", "")).echoed().target(), "/next");
    }
    assert!(origin.requests().iter().all(|request| request.target() != "/smuggled"));
    let mut client = gateway.connect();
    let answer = client.exchange(with_body(10_000));
    assert_eq!(answer.status(), 204, "before its body is here");
    client.send(body.repeat(10_000 / body.len()) + &"x".repeat(10_000 % body.len()));
    assert_eq!(client.exchange(get("/next", "")).echoed().target(), "/next");
    assert!(origin.requests().iter().all(|request| request.target() != "/smuggled"));
}

#[test]
fn credentials_and_stars_do_not_go_together() {
    let refused = |cors: &str| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = dir.path().join("gateway.toml");
        let toml = proxy_with(&["http://127.0.0.1:1"], "", &format!("cors = {cors}"));
        std::fs::write(&config, toml).expect("a new file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"));
        let output = command.args(["check", "--config"]).arg(&config).output().expect("the binary starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("it prints UTF-8"))
    };
    for cors in [
        "{ origins = [\"*\"], credentials = true }",
        "{ origins = [\"https://app.example.com/\"] }",
        "{ credentials = true }",
    ] {
        let (code, said) = refused(cors);
        assert!(code == Some(1) && said.contains("gateway.toml:"), "{cors}: {said}");
    }
}

#[test]
fn routes_that_answer_by_themselves_say_it_too() {
    let route = |name: &str, action: &str| {
        format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\n{action}\n{CORS}")
    };
    let toml = route("own", "respond = { body = \"hi\" }") + &route("away", "redirect = { to = \"/own\" }");
    let builder: Builder = Gateway::builder();
    let gateway = builder.start(&toml);
    for (path, status) in [("/own", 200), ("/away", 308)] {
        let answer = gateway.exchange(get(path, &format!("Origin: {APP}\r\n{}", bearer("x"))));
        assert_eq!(
            (answer.status(), cors_fields(&answer)),
            (status, CORS_FIELDS.map(Into::into).to_vec()),
            "{path}"
        );
    }
}

#[test]
fn a_preflight_does_not_carry_what_a_route_with_headers_asks_for() {
    let origin = Origin::echo();
    let gateway =
        Gateway::start(&route_to(&origin, &format!("headers = {{ x-api-version = \"2\" }}\n{CORS}")));
    assert_eq!(refusal(&gateway.exchange(preflight(APP, "GET"))), refused(404, "no_route"));
    let request = get("/x", &format!("X-Api-Version: 2\r\nOrigin: {APP}\r\n"));
    assert_eq!(cors_fields(&gateway.exchange(request)), CORS_FIELDS);
}
