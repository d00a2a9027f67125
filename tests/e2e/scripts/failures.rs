//! Scripts that fail cost their own request, say so in the log and nothing of it to the client.

use std::time::Instant;

use super::{GET, mirror, post, reason, route_to, scripted, with_script};
use crate::support::{DEADLINE, DRIVERS, Gateway, Origin, proxy_with};

fn failing(hook: &str, body: &str) -> String {
    let arguments = if hook.starts_with("on_request") { "req" } else { "req, res" };
    format!(
        "// A first line.\nfn {hook}({arguments}) {{\n    if req.headers[\"x-ok\"] == () {{ {body} }}\n}}\n"
    )
}

#[test]
fn a_throw_of_any_hook_is_500_with_its_place_in_the_log_and_nothing_in_the_answer() {
    for driver in DRIVERS {
        for hook in ["on_request", "on_request_body", "on_response", "on_response_body"] {
            let origin = mirror();
            let gateway = with_script(&failing(hook, "throw \"top secret\";"))
                .driver(driver)
                .start(&route_to(&origin, ""));
            let mut client = gateway.connect();
            client.send(post("", "one") + &post("X-Ok: 1\r\n", "two") + &post("", "three"));
            let answer = client.response();
            assert_eq!((answer.status(), reason(&answer).as_str()), (500, "script_error"), "{hook}");
            assert_eq!(answer.field("content-type"), Some("application/problem+json"));
            let text = answer.text();
            assert!(!text.contains("secret") && !text.contains("rhai") && !text.contains("detail"), "{text}");
            let id = answer.field("x-request-id").expect("an id");
            assert_eq!(answer.json()["requestId"], id);
            assert_eq!(client.response().text(), "two", "{hook}: the connection goes on");
            assert_eq!(client.response().status(), 500);
            let line = gateway.wait_for_message(id);
            for part in ["top secret", "a.rhai", "line=3", "column=", "route=all", "ERROR"] {
                assert!(line.contains(part), "{part} in {line}");
            }
            let access = gateway.wait_for_log(|line| line["request_id"] == id);
            assert_eq!((&access["status"], &access["reason"]), (&500.into(), &"script_error".into()));
            let labels = "route=\"all\",script=\"a.rhai\"";
            assert_eq!(gateway.metric("ringway_script_errors_total", labels), 2.0, "{hook}");
        }
    }
}

#[test]
fn an_ignored_error_leaves_the_request_as_it_was() {
    let undone = r#"
        fn on_request(req) {
            req.headers["x-a"] = "1"; req.path = "/changed"; req.body = "changed"; req.ctx.a = 1;
            throw "no";
        }
        fn on_request_body(req) { req.headers["x-ctx"] = "a" in req.ctx; req.body = "changed"; throw "no"; }
        fn on_response(req, res) { res.status = 500; res.headers["x-b"] = "1"; throw "no"; }
        fn on_response_body(req, res) { res.body = "changed"; throw "no"; }
        fn on_log(req, res) { throw "no"; }
    "#;
    for driver in DRIVERS {
        let origin = mirror();
        let toml = format!("[scripts]\non_error = \"ignore\"\n{}", route_to(&origin, ""));
        let gateway = with_script(undone).driver(driver).start(&toml);
        let mut client = gateway.connect();
        client.send(post("", "one") + GET + &post("", "two"));
        for body in ["one", "", "two"] {
            let answer = client.response();
            assert_eq!((answer.status(), answer.text(), answer.has("x-b")), (200, body, false));
        }
        let seen = &origin.requests()[0];
        assert_eq!((seen.target(), seen.has("x-a"), seen.has("x-ctx")), ("/", false, false));
        gateway.wait_for_metric("ringway_script_errors_total", "", |errors| errors >= 15.0);
    }
}

#[test]
fn a_failing_on_log_changes_nothing() {
    let origin = mirror();
    let gateway = scripted(&origin, &failing("on_log", "throw \"too late\";"));
    let mut client = gateway.connect();
    client.send(GET.repeat(3));
    for _ in 0..3 {
        assert_eq!(client.response().status(), 200);
    }
    gateway.wait_for_message("too late");
    gateway.wait_for_metric("ringway_script_errors_total", "script=\"a.rhai\"", |errors| errors == 3.0);
    let line = gateway.wait_for_log(|_| true);
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &serde_json::Value::Null));
}

#[test]
fn endless_loops_end_and_others_on_the_shard_are_served() {
    let bodies = [
        "loop {}",
        "let s = \"x\"; loop { s += s; }",
        "let a = []; loop { a.push(a); }",
        "let m = #{}; let i = 0; loop { m[`k${i}`] = \"x\".repeat(1000); i += 1; }",
        "deep(0);",
    ];
    for driver in DRIVERS {
        let origin = mirror();
        let files = bodies.iter().enumerate().map(|(at, body)| (format!("{at}.rhai"), *body));
        let mut builder = Gateway::builder().driver(driver);
        let mut toml = proxy_with(&[&origin.url()], "", "priority = -1");
        for (name, body) in files {
            let body = body.replace(".repeat(1000)", "");
            let text = format!("fn on_request(req) {{ {body} }}\nfn deep(n) {{ deep(n + 1) }}\n");
            builder = builder.file(&format!("scripts/{name}"), &text);
            toml += &format!(
                "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"origin\"\nscripts = [\"{name}\"]\n"
            );
        }
        let mut gateway = builder.start(&toml);
        let mut other = gateway.connect();
        for (at, body) in bodies.iter().enumerate() {
            let mut client = gateway.connect();
            client.send(format!("GET /{at}.rhai HTTP/1.1\r\nHost: t\r\n\r\n").repeat(3));
            assert_eq!(other.exchange(GET).status(), 200);
            for _ in 0..3 {
                assert_eq!(client.response().status(), 500, "{body}");
            }
        }
        assert!(gateway.is_running());
        assert_eq!(gateway.metric("ringway_panics_total", ""), 0.0);
    }
}

#[test]
fn a_script_that_uses_up_its_time_again_and_again_is_paused_and_tried_again() {
    let origin = mirror();
    let builder = with_script("fn on_request(req) { if req.headers[\"x-ok\"] == () { loop {} } }");
    let limits = "[scripts]\nmax_operations = 100000000\nmax_time = \"20ms\"\n";
    let gateway = builder.start(&format!("{limits}{}", route_to(&origin, "")));
    let mut client = gateway.connect();
    client.send(GET.repeat(30));
    for _ in 0..30 {
        let answer = client.response();
        assert_eq!((answer.status(), reason(&answer).as_str()), (500, "script_error"));
    }
    let line = gateway.wait_for_message("the hook is paused");
    assert!(line.contains("ERROR") && line.contains("a.rhai") && line.contains("route=all"), "{line}");
    let labels = "route=\"all\",script=\"a.rhai\"";
    let (errors, paused) = (
        gateway.metric("ringway_script_errors_total", labels),
        gateway.metric("ringway_script_paused_total", labels),
    );
    assert!(errors >= 3.0 && paused >= 1.0 && errors + paused == 30.0, "{errors} errors, {paused} paused");
    let until = Instant::now() + DEADLINE;
    while client.exchange(post("X-Ok: 1\r\n", "one")).status() != 200 {
        assert!(Instant::now() < until, "it is still paused");
    }
    assert_eq!(client.exchange(post("X-Ok: 1\r\n", "two")).status(), 200);
}

#[test]
fn an_upstream_is_not_blamed_for_a_script() {
    let origin = mirror();
    let gateway = scripted(&origin, "fn on_response(req, res) { throw \"no\"; }");
    for _ in 0..3 {
        assert_eq!(gateway.exchange(GET).status(), 500);
    }
    assert_eq!(gateway.metric("ringway_upstream_failures_total", ""), 0.0);
    assert_eq!(gateway.metric("ringway_upstream_requests_total", "upstream=\"origin\""), 3.0);
}

#[test]
fn on_log_sees_the_final_status_whoever_answered() {
    let script = r#"
        fn on_request(req) {
            switch req.params.rest {
                "throw" => throw "no",
                "deny" => return deny(),
                "own" => return respond(418, "own"),
            }
        }
        fn on_response(req, res) { if req.params.rest == "change" { res.status = 451; } }
        fn on_log(req, res) { log(`end of ${req.path}: ${res.status}`); }
    "#;
    let origin = mirror();
    let gateway = scripted(&origin, script);
    for (path, status) in [("throw", 500), ("deny", 403), ("own", 418), ("change", 451), ("plain", 200)] {
        assert_eq!(gateway.get(&format!("/{path}")).status(), status);
        gateway.wait_for_message(&format!("end of /{path}: {status}"));
    }
    let refused = Origin::echo();
    let dead = refused.url();
    drop(refused);
    let toml = proxy_with(&[&dead], "", "scripts = [\"a.rhai\"]");
    let gateway = with_script(script).start(&toml);
    assert_eq!(gateway.get("/plain").status(), 502);
    gateway.wait_for_message("end of /plain: 502");
}
