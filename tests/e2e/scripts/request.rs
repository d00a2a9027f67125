//! `on_request`: what of a request it can read, and what the origin gets of what it changes.

use super::{GET, route_to, scripted, with_script};
use crate::support::{DRIVERS, Gateway, Origin, proxy_with};

#[test]
fn header_changes_are_what_the_origin_sees() {
    let script = r#"
        fn on_request(req) {
            let h = req.headers;
            h["X-Set"] = "1";
            h["x-there"] = "new";
            h.add("X-Twice", "a");
            h.add("X-Twice", "b");
            h.remove("Cookie");
            h["x-number"] = 42;
            h["x-count"] = h.all("accept-language").len;
        }
    "#;
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = with_script(script).driver(driver).start(&route_to(&origin, ""));
        let sent = "GET / HTTP/1.1\r\nHost: t\r\nX-There: old\r\nX-There: older\r\nCookie: a=b\r\n\
                    Accept-Language: de\r\nAccept-Language: en\r\n\r\n";
        let seen = gateway.exchange(sent).echoed();
        assert_eq!(seen.field("x-set"), Some("1"));
        assert_eq!(seen.field("x-there"), Some("new"));
        assert_eq!(seen.all("x-twice"), ["a", "b"]);
        assert_eq!(seen.field("x-number"), Some("42"));
        assert_eq!(seen.field("x-count"), Some("2"));
        assert!(!seen.has("cookie"));
    }
}

#[test]
fn a_path_and_a_query_that_are_set_go_to_the_origin_as_they_are() {
    let script = r#"
        fn on_request(req) {
            req.path = "/v2/" + req.params.id + "/x%20y/../z";
            req.query.remove("secret");
            req.query.brand = vars.brand;
        }
    "#;
    let origin = Origin::echo();
    let route = "[[route]]\nname = \"users\"\npath = \"/users/{id}\"\nupstream = \"origin\"\nrewrite = \"/no\"\n\
                 scripts = [\"a.rhai\"]\nvars = { brand = \"a&b\" }\n";
    let gateway =
        with_script(script).start(&format!("[upstream.origin]\ntargets = [\"{}\"]\n{route}", origin.url()));
    let seen = gateway.get("/users/4%2F2?keep=%41&secret=1&keep=b").echoed();
    assert_eq!(seen.target(), "/v2/4%2F2/z?keep=%41&keep=b&brand=a%26b");
}

#[test]
fn a_query_that_loses_its_last_member_has_no_question_mark() {
    let origin = Origin::echo();
    let gateway = scripted(&origin, "fn on_request(req) { req.query.remove(\"a\"); }");
    assert_eq!(gateway.get("/x?a=1").echoed().target(), "/x");
}

#[test]
fn another_upstream_gets_the_request_and_the_log_names_it() {
    let (main, other) =
        (Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmain"), Origin::echo());
    let toml = format!("[upstream.other]\ntargets = [\"{}\"]\n{}", other.url(), route_to(&main, ""));
    let script = "fn on_request(req) { if req.headers[\"x-beta\"] == \"1\" { req.upstream = \"other\"; } }";
    let gateway = with_script(script).start(&toml);
    assert_eq!(gateway.get("/main").text(), "main");
    let seen = gateway.exchange("GET /beta HTTP/1.1\r\nHost: t\r\nX-Beta: 1\r\n\r\n").echoed();
    assert_eq!(seen.field("host"), Some(other.authority().as_str()));
    assert_eq!(gateway.log_of("/beta")["upstream"], "other");
    assert_eq!(gateway.log_of("/main")["upstream"], "origin");
    assert_eq!(gateway.metric("ringway_upstream_requests_total", "upstream=\"other\""), 1.0);
}

#[test]
fn what_a_request_says_of_itself_can_be_read() {
    let script = r#"
        fn on_request(req) {
            return respond(200, #{
                id: req.id, method: req.method, path: req.path, query: req.query, host: req.host,
                scheme: req.scheme, ip: req.client_ip, route: req.route, params: req.params,
                upstream: req.upstream, consumer: req.consumer, claims: req.claims, body: req.body,
            });
        }
    "#;
    let origin = Origin::echo();
    let gateway = scripted(&origin, script);
    let answer =
        gateway.exchange("PUT /a/%62?x=1&x=2 HTTP/1.1\r\nHost: T.example:80\r\nContent-Length: 0\r\n\r\n");
    let id = answer.field("x-request-id").expect("every answer has one").to_owned();
    let expected = serde_json::json!({
        "id": id, "method": "PUT", "path": "/a/b", "query": { "x": ["1", "2"] }, "host": "t.example",
        "scheme": "http", "ip": "127.0.0.1", "route": "all", "params": { "rest": "a/b" },
        "upstream": "origin", "consumer": null, "claims": null, "body": null,
    });
    assert_eq!(answer.json(), expected);
}

#[test]
fn ctx_lives_from_the_request_to_the_response_and_to_the_log_and_not_longer() {
    let script = r#"
        fn on_request(req) {
            req.headers["x-left"] = req.ctx.len();
            req.ctx.word = req.headers["x-word"];
        }
        fn on_response(req, res) { res.headers["x-word"] = req.ctx.word; }
        fn on_log(req, res) { log(`word ${req.ctx.word} at ${res.status} after ${res.duration_ms > 0.0}`); }
    "#;
    let origin = Origin::echo();
    let gateway = scripted(&origin, script);
    let mut client = gateway.connect();
    for word in ["one", "two"] {
        let answer = client.exchange(format!("GET / HTTP/1.1\r\nHost: t\r\nX-Word: {word}\r\n\r\n"));
        assert_eq!(answer.field("x-word"), Some(word));
        assert_eq!(answer.echoed().field("x-left"), Some("0"));
        let line = gateway.wait_for_message(&format!("word {word} at 200 after true"));
        assert!(line.contains(answer.field("x-request-id").expect("an id")), "{line}");
        assert!(line.contains("a.rhai") && line.contains("all"), "{line}");
    }
}

#[test]
fn scripts_run_in_order_on_the_way_in_and_in_reverse_on_the_way_out() {
    let script = |name: &str| {
        format!(
            "fn on_request(req) {{ req.headers.add(\"x-in\", \"{name}\"); }}\n\
             fn on_request_body(req) {{ req.body = req.body + \"{name}\"; }}\n\
             fn on_response(req, res) {{ res.headers.add(\"x-out\", \"{name}\"); }}\n\
             fn on_response_body(req, res) {{ res.body = res.body + \"{name}\"; }}\n\
             fn on_log(req, res) {{ log(\"logged by {name}\"); }}"
        )
    };
    let origin = super::mirror();
    let toml = proxy_with(&[&origin.url()], "", "scripts = [\"a.rhai\", \"lib/b.rhai\"]");
    let gateway = Gateway::builder()
        .file("scripts/a.rhai", &script("a"))
        .file("scripts/lib/b.rhai", &script("b"))
        .start(&toml);
    let answer = gateway.exchange(super::post("", "-"));
    assert_eq!(answer.text(), "-abba");
    assert_eq!(answer.all("x-out"), ["b", "a"]);
    assert_eq!(origin.requests()[0].all("x-in"), ["a", "b"]);
    gateway.wait_for_message("logged by a");
    let lines = gateway.stderr.all();
    let place = |text: &str| lines.iter().position(|line| line.contains(text));
    assert!(place("logged by b") < place("logged by a"), "{lines:#?}");
}

#[test]
fn a_route_of_the_same_gateway_without_scripts_and_a_404_run_none() {
    let origin = Origin::echo();
    let toml = format!(
        "[upstream.origin]\ntargets = [\"{}\"]\n\
         [[route]]\nname = \"with\"\npath = \"/with\"\nupstream = \"origin\"\nscripts = [\"a.rhai\"]\n\
         [[route]]\nname = \"without\"\npath = \"/without\"\nupstream = \"origin\"\n",
        origin.url()
    );
    let gateway = with_script("fn on_log(req, res) { counter(\"ran\").add(1); }").start(&toml);
    assert_eq!(gateway.get("/without").status(), 200);
    assert_eq!(gateway.get("/nowhere").status(), 404);
    assert_eq!(gateway.get("/with").status(), 200);
    gateway.wait_for_metric("ringway_script_counter", "name=\"ran\"", |sum| sum == 1.0);
}

#[test]
fn what_the_gateway_says_of_a_request_is_not_for_scripts_to_change() {
    for name in [
        "X-Request-Id",
        "x-forwarded-for",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Prefix",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "TE",
        "Trailer",
        "Keep-Alive",
        "Expect",
    ] {
        let origin = Origin::echo();
        // A name that is written out would be found by the check.
        let script = format!("fn on_request(req) {{ let name = \"{name}\"; req.headers[name] = \"1\"; }}");
        let gateway = scripted(&origin, &script);
        let answer = gateway.exchange(GET);
        assert_eq!(answer.status(), 500, "{name}");
        assert_eq!(origin.connections(), 0, "{name}");
    }
}

#[test]
fn a_query_that_is_only_read_goes_on_as_it_came_and_can_be_read_in_every_hook() {
    let script = r#"
        fn on_request(req) { req.ctx.a = [req.query.a, req.query.len(), "a" in req.query, req.query["x"]]; }
        fn on_response(req, res) {
            res.headers["x-a"] = `${req.query.a}/${req.query.len()}/${"a" in req.query}/${req.query["x"]}`;
            res.headers["x-path"] = req.path + req.params.rest + req.upstream;
        }
        fn on_log(req, res) { log(`read ${req.query.a} ${req.headers["x-b"]}`); }
    "#;
    let request_hook = script.find("fn on_response").expect("it is there");
    for script in [script, &script[request_hook..]] {
        let origin = Origin::echo();
        let gateway = scripted(&origin, script);
        for query in [
            "?a=",
            "?a",
            "?",
            "?a=1&&b=2",
            "?&a=1",
            "?a=1&",
            "?a=%41+b&A=%zz&=x",
            "?a=1&a=2",
            "?a=\u{e4}",
            "?%61=1",
        ] {
            let answer = gateway.get(&format!("/p{query}"));
            assert_eq!(answer.status(), 200, "{query}");
            let target: String = answer.echoed().target().to_owned();
            let sent: String = format!("/p{query}").bytes().map(char::from).collect();
            assert_eq!(target, sent);
        }
    }
}

#[test]
fn parts_of_a_request_that_are_maps_and_arrays_can_be_read_after_it_was_sent() {
    let script = r#"
        fn on_response(req, res) {
            let h = req.headers;
            res.headers["x-a"] = h["x-a"] + h.names().len + h.all("x-a").len;
            res.headers["x-p"] = req.params["rest"] + req.params.len() + (req.ctx.len());
            req.ctx.list = [1, 2];
            req.ctx.list.push(3);
            req.ctx.map = #{ a: #{ b: 1 } };
            req.ctx.map.a.b += 1;
            res.headers["x-c"] = `${req.ctx.list.len} ${req.ctx.map.a.b}`;
        }
    "#;
    let origin = Origin::echo();
    let answer = scripted(&origin, script).exchange("GET /p/q HTTP/1.1\r\nHost: t\r\nX-A: v\r\n\r\n");
    assert_eq!((answer.status(), answer.field("x-c")), (200, Some("3 2")));
    assert_eq!(answer.field("x-p"), Some("p/q10"));
}
