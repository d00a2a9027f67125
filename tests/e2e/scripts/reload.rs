//! Scripts over a reload: changed, broken, gone, and what goes on meanwhile.

use std::sync::Mutex;
use std::sync::mpsc;

use super::{GET, mirror, route_to, scripted, with_script};
use crate::support::{DRIVERS, Gateway, Origin, proxy_to};

fn saying(text: &str) -> String {
    format!(
        "fn on_request(req) {{ counter(\"asked\").add(1); }}\n\
         fn on_response(req, res) {{ res.headers[\"x-says\"] = \"{text}\"; }}\n\
         fn on_log(req, res) {{ log(\"logged by {text}\"); }}"
    )
}

fn reload(gateway: &Gateway) {
    let answer = gateway.admin("POST", "/reload");
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[test]
fn a_changed_script_is_served_on_open_connections_and_its_counters_go_on() {
    for driver in DRIVERS {
        let origin = mirror();
        let gateway = with_script(&saying("one")).driver(driver).shards(2).start(&route_to(&origin, ""));
        let mut clients: Vec<_> = (0..6).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.exchange(GET).field("x-says"), Some("one"));
        }
        gateway.write_file("scripts/a.rhai", &saying("two"));
        reload(&gateway);
        for client in &mut clients {
            assert_eq!(client.exchange(GET).field("x-says"), Some("two"), "{driver}");
        }
        gateway.wait_for_metric("ringway_script_counter", "name=\"asked\"", |sum| sum == 12.0);
        let calls = "script=\"a.rhai\",hook=\"on_response\"";
        assert_eq!(gateway.metric("ringway_script_operations_count", calls), 12.0);
    }
}

#[test]
fn a_broken_script_is_refused_with_its_place_and_the_old_one_goes_on() {
    let origin = mirror();
    let gateway = scripted(&origin, &saying("one"));
    gateway.write_file("scripts/a.rhai", "fn on_request(req) {\n    let x = ;\n}\n");
    let refused = gateway.admin("POST", "/reload");
    assert_eq!(refused.status(), 422);
    let problems = refused.json()["problems"].to_string();
    assert!(problems.contains("scripts/a.rhai:2:13"), "{problems}");
    gateway.wait_for_message("a.rhai:2:13");
    assert_eq!(gateway.exchange(GET).field("x-says"), Some("one"));
    gateway.write_file("scripts/a.rhai", "fn on_response(req, res) { no_such_function(1); }");
    let refused = gateway.admin("POST", "/reload");
    assert_eq!(refused.status(), 422);
    let problems = refused.json()["problems"].to_string();
    assert!(problems.contains("scripts/a.rhai:1:28") && problems.contains("no_such_function"), "{problems}");
    std::fs::remove_file(gateway.dir().join("scripts/a.rhai")).expect("it is there");
    let refused = gateway.admin("POST", "/reload");
    assert_eq!(refused.status(), 422);
    assert!(refused.text().contains("a.rhai"));
    assert_eq!(gateway.exchange(GET).field("x-says"), Some("one"));
    assert_eq!(gateway.metric("ringway_generation", ""), 1.0);
}

#[test]
fn a_route_that_has_no_scripts_any_more_runs_none() {
    let origin = mirror();
    let gateway = scripted(&origin, &saying("one"));
    assert_eq!(gateway.exchange(GET).field("x-says"), Some("one"));
    gateway.write_config(&proxy_to(&[&origin.url()]));
    reload(&gateway);
    assert_eq!(gateway.exchange(GET).field("x-says"), None);
    assert_eq!(gateway.metric("ringway_script_operations_count", ""), 0.0, "its metrics went with it");
    gateway.wait_for_metric("ringway_script_counter", "name=\"asked\"", |sum| sum == 1.0);
}

#[test]
fn vars_change_while_the_script_stays() {
    let origin = Origin::echo();
    let script = "fn on_request(req) { req.headers[\"x-brand\"] = vars.brand; }";
    let gateway = with_script(script).start(&route_to(&origin, "vars = { brand = \"one\" }"));
    assert_eq!(gateway.exchange(GET).echoed().field("x-brand"), Some("one"));
    gateway.write_config(&route_to(&origin, "vars = { brand = \"two\" }"));
    reload(&gateway);
    assert_eq!(gateway.exchange(GET).echoed().field("x-brand"), Some("two"));
}

#[test]
fn a_request_in_flight_ends_on_the_scripts_it_began_with() {
    for driver in DRIVERS {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let origin = Origin::new(move |peer| {
            while peer.request().is_some() {
                let _ = released.lock().map(|released| released.recv());
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let gateway = with_script(&saying("one")).driver(driver).start(&route_to(&origin, ""));
        let mut client = gateway.connect();
        client.send(GET);
        origin.wait_for_requests(1);
        gateway.write_file("scripts/a.rhai", &saying("two"));
        reload(&gateway);
        drop(release);
        assert_eq!(client.response().field("x-says"), Some("one"), "{driver}");
        gateway.wait_for_message("logged by one");
        assert_eq!(client.exchange(GET).field("x-says"), Some("two"));
    }
}

#[test]
fn a_changed_import_and_changed_limits_are_followed() {
    let origin = Origin::echo();
    let script = "import \"lib/b\" as b;\nfn on_request(req) { req.headers[\"x-b\"] = b::word(); }";
    let word = |word: &str| format!("fn word() {{ \"{word}\" }}");
    let gateway = with_script(script).file("scripts/lib/b.rhai", &word("one")).start(&route_to(&origin, ""));
    assert_eq!(gateway.exchange(GET).echoed().field("x-b"), Some("one"));
    gateway.write_file("scripts/lib/b.rhai", &word("two"));
    reload(&gateway);
    assert_eq!(gateway.exchange(GET).echoed().field("x-b"), Some("two"));
    gateway.write_file(
        "scripts/a.rhai",
        "fn on_request(req) { let i = 0; while i < 1000 { i += 1; } req.headers[\"x-b\"] = i; }",
    );
    reload(&gateway);
    assert_eq!(gateway.exchange(GET).status(), 200);
    gateway.write_config(&format!("[scripts]\nmax_operations = 1000\n{}", route_to(&origin, "")));
    reload(&gateway);
    assert_eq!(gateway.exchange(GET).status(), 500);
}

#[test]
fn a_script_that_a_route_gets_back_is_counted_again() {
    let origin = mirror();
    let routes = |first: &str| {
        format!(
            "[upstream.origin]\ntargets = [\"{}\"]\n\
             [[route]]\nname = \"one\"\npath = \"/one\"\nupstream = \"origin\"\n{first}\
             [[route]]\nname = \"two\"\npath = \"/two\"\nupstream = \"origin\"\nscripts = [\"b.rhai\"]\n",
            origin.url()
        )
    };
    let with = routes("scripts = [\"a.rhai\"]\n");
    let hook = "fn on_request(req) { if req.query.fail != () { throw \"no\"; } }";
    let gateway = with_script(hook).file("scripts/b.rhai", hook).start(&with);
    let calls = |script: &str| {
        gateway.metric("ringway_script_operations_count", &format!("script=\"{script}\",hook=\"on_request\""))
    };
    assert_eq!((gateway.get("/one").status(), gateway.get("/two").status()), (200, 200));
    assert_eq!((calls("a.rhai"), calls("b.rhai")), (1.0, 1.0));
    gateway.write_config(&routes(""));
    reload(&gateway);
    assert_eq!((gateway.get("/one").status(), gateway.get("/two").status()), (200, 200));
    assert_eq!((calls("a.rhai"), calls("b.rhai")), (0.0, 2.0));
    gateway.write_config(&with);
    reload(&gateway);
    assert_eq!((gateway.get("/one").status(), gateway.get("/two").status()), (200, 200));
    assert_eq!((calls("a.rhai"), calls("b.rhai")), (1.0, 3.0));
    assert_eq!(gateway.get("/one?fail=1").status(), 500);
    assert_eq!(gateway.metric("ringway_script_errors_total", "script=\"a.rhai\""), 1.0);
}
