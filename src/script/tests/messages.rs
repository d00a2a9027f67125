//! Properties of `req` and `res`.

use super::*;

pub(super) const RESPONSE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: 1\r\nContent-Length: 2\r\n\r\n";

/// Runs a statement in every hook, on a message that has all; each must end as `allowed` says.
fn in_hooks(statement: &str, allowed: &[Hook]) {
    for hook in Hook::ALL {
        let text = format!("fn {}({}) {{ {statement} }}", hook.name(), hook.parameters().join(", "));
        let mut fixture = Fixture::of(&text);
        fixture.respond(RESPONSE);
        let result = match hook {
            Hook::Request | Hook::RequestBody => fixture.request_hook(hook).map(|_| ()),
            Hook::Response | Hook::ResponseBody => fixture.response_hook(hook).map(|_| ()),
            Hook::Log => {
                let faults = RefCell::new(Vec::new());
                fixture.chain.on_log(
                    &fixture.engine,
                    &mut fixture.transaction,
                    &|_: &Transaction, fault: &ScriptFault| {
                        faults.borrow_mut().push(fault.clone());
                    },
                );
                faults.into_inner().pop().map_or(Ok(()), Err)
            }
        };
        match result {
            Ok(()) => assert!(allowed.contains(&hook), "{statement} went through in {hook:?}"),
            Err(fault) => {
                assert!(!allowed.contains(&hook), "{statement} in {hook:?}: {fault}");
                assert!(fault.message.contains("cannot be set any more"), "{statement}: {fault}");
            }
        }
    }
}

#[test]
fn every_property_of_a_request_can_be_read() {
    for (property, value) in [
        ("id", r#""id-1""#),
        ("method", r#""GET""#),
        ("path", r#""/users/42""#),
        ("query", r#"{"page":"2"}"#),
        ("host", r#""shop.example""#),
        ("scheme", r#""http""#),
        ("client_ip", r#""192.0.2.7""#),
        ("route", r#""users""#),
        ("params", "{}"),
        ("consumer", "null"),
        ("claims", "null"),
        ("upstream", r#""users""#),
        ("body", "null"),
        ("json", "null"),
    ] {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ req.ctx.got = req.{property}; }}"));
        fixture.run();
        assert_eq!(fixture.got(), value, "{property}");
    }
}

#[test]
fn read_only_properties_cannot_be_set() {
    for property in
        ["id", "method", "host", "scheme", "client_ip", "route", "params", "consumer", "claims", "no_such"]
    {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ req.{property} = \"x\"; }}"));
        assert!(fixture.request_hook(Hook::Request).is_err(), "{property}");
    }
}

#[test]
fn a_consumer_and_claims_are_plain_data() {
    let mut fixture = Fixture::of(
        r#"fn on_request(req) {
            let c = req.consumer;
            c.name = "mallory";
            req.ctx.got = [req.consumer.name, "gold" in req.consumer.groups, req.consumer.permissions,
                req.claims.sub, req.claims.nested.list[1], req.claims.exp];
        }"#,
    );
    fixture.transaction.consumer = Some(Arc::new(plan::Consumer {
        name: "alice".into(),
        groups: vec!["gold".into()],
        permissions: vec!["read".into()],
        api_keys: vec![],
        limits: vec![],
    }));
    let claims = serde_json::json!({"sub": "u1", "nested": {"list": [1, true]}, "exp": 1_700_000_000});
    let map = claims.as_object().expect("an object").clone();
    fixture.transaction.claims = Some(Rc::new(Claims { map, exp_s: 1_700_000_000, bytes: 0 }));
    fixture.run();
    assert_eq!(fixture.got(), r#"["alice",true,["read"],"u1",true,1700000000]"#);
}

#[test]
fn the_upstream_request_is_changed_only_before_it_is_sent() {
    const BEFORE: [Hook; 2] = [Hook::Request, Hook::RequestBody];
    for statement in [
        r#"req.path = "/x";"#,
        r#"req.query = #{a: 1};"#,
        r#"req.query.a = "1";"#,
        r#"req.upstream = "canary";"#,
        r#"req.body = "x";"#,
        r#"req.json = #{};"#,
        r#"req.headers["x-a"] = "1";"#,
        r#"req.headers.add("x-a", "1");"#,
        r#"req.headers.remove("x-tag");"#,
        r#"req.headers["x-tag"] = ();"#,
    ] {
        in_hooks(statement, &BEFORE);
    }
}

#[test]
fn the_response_is_changed_only_before_it_is_sent() {
    for statement in [
        "res.status = 201;",
        r#"res.body = "x";"#,
        "res.json = [1];",
        r#"res.headers["x-a"] = "2";"#,
        r#"res.headers.add("x-b", "1");"#,
        r#"res.headers.remove("x-a");"#,
    ] {
        // Before it, there is no `res`.
        for hook in [Hook::Response, Hook::ResponseBody, Hook::Log] {
            let mut fixture = Fixture::of(&format!("fn {}(req, res) {{ {statement} }}", hook.name()));
            fixture.respond(RESPONSE);
            if hook == Hook::Log {
                let told = Cell::new(false);
                let tell = |_: &Transaction, _: &ScriptFault| told.set(true);
                fixture.chain.on_log(&fixture.engine, &mut fixture.transaction, &tell);
                assert!(told.get(), "{statement}");
            } else if let Err(fault) = fixture.response_hook(hook) {
                panic!("{statement}: {fault}");
            }
        }
    }
}

#[test]
fn reading_changes_nothing_in_any_hook() {
    let read = r#"let all = [req.id, req.path, req.query, req.query.page, req.headers["x-tag"], req.ctx,
        req.upstream, req.body, req.json, req.params, req.consumer, req.claims]; req.ctx.n = all.len();"#;
    in_hooks(read, &Hook::ALL);
}

#[test]
fn a_response_is_read_and_changed() {
    let mut fixture = Fixture::of(
        r#"fn on_response(req, res) {
            req.ctx.got = [res.status, res.headers["x-a"], res.body, res.headers.all("X-A"), "x-a" in res.headers];
            res.status = 404;
            res.headers["X-A"] = 2.5;
            res.headers.add("X-A", 'c');
        }"#,
    );
    fixture.respond(RESPONSE);
    assert!(matches!(fixture.response_hook(Hook::Response), Ok(HookOutcome::Continue)));
    assert_eq!(fixture.got(), r#"[200,"1",null,["1"],true]"#);
    assert_eq!(fixture.transaction.response.status(), 404);
    let head = "Content-Type: text/plain\r\nX-A: 2.5\r\nContent-Length: 2\r\nX-A: c\r\n";
    assert_eq!(fixture.response_head(), head);
}

#[test]
fn a_status_is_a_final_one() {
    for status in ["0", "-1", "100", "199", "600", "65736", "9223372036854775807", "\"200\"", "200.0", "()"] {
        let mut fixture = Fixture::of(&format!("fn on_response(req, res) {{ res.status = {status}; }}"));
        fixture.respond(RESPONSE);
        assert!(fixture.response_hook(Hook::Response).is_err(), "{status}");
        assert_eq!(fixture.transaction.response.status(), 200, "{status}");
    }
}

#[test]
fn duration_is_in_milliseconds() {
    let mut fixture = Fixture::of("fn on_log(req, res) { log(res.duration_ms); }");
    fixture.transaction.edits.duration = Duration::from_micros(12_500);
    fixture.chain.on_log(
        &fixture.engine,
        &mut fixture.transaction,
        &|_: &Transaction, fault: &ScriptFault| panic!("{fault}"),
    );
    assert_eq!(*fixture.host.lines.borrow(), ["s.rhai users id-1: 12.5"]);
}

#[test]
fn bodies_are_text_or_blobs() {
    let mut fixture = Fixture::of(
        r#"fn on_request_body(req) {
            req.ctx.got = [type_of(req.body), req.body.len()];
            let b = req.body; b += 255; req.body = b;
        }"#,
    );
    fixture.transaction.edits.request_body = Content::buffered(vec![0xff, 0x00]);
    assert!(matches!(fixture.request_hook(Hook::RequestBody), Ok(HookOutcome::Continue)));
    assert_eq!(fixture.got(), r#"["blob",2]"#);
    let body = &mut fixture.transaction.edits.request_body;
    assert_eq!(body.take_changed().as_deref(), Some(&[0xff, 0x00, 0xff][..]));
    assert_eq!(body.take_changed(), None);
}

#[test]
fn values_that_are_not_assigned_do_not_count_as_changed() {
    let mut fixture = Fixture::of("fn on_request_body(req) { let j = req.json; j.a = 2; req.body.len(); }");
    fixture.transaction.edits.request_body = Content::buffered(br#"{"a":1}"#.to_vec());
    assert!(matches!(fixture.request_hook(Hook::RequestBody), Ok(HookOutcome::Continue)));
    assert_eq!(fixture.transaction.edits.request_body.take_changed(), None);
}

#[test]
fn json_is_parsed_changed_and_written() {
    let mut fixture = Fixture::of(
        r#"fn on_response_body(req, res) {
            let data = res.json;
            data.b.push(#{c: 1.5});
            res.json = #{id: req.id, data: data};
        }"#,
    );
    fixture.respond(RESPONSE);
    fixture.transaction.edits.response_body = Content::buffered(r#"{"a":"é\n","b":[null,true,-7]}"#.into());
    assert!(matches!(fixture.response_hook(Hook::ResponseBody), Ok(HookOutcome::Continue)));
    let body = fixture.transaction.edits.response_body.take_changed().expect("changed");
    assert_eq!(
        String::from_utf8_lossy(&body),
        r#"{"data":{"a":"é\n","b":[null,true,-7,{"c":1.5}]},"id":"id-1"}"#
    );
    assert!(fixture.response_head().starts_with("Content-Type: application/json\r\n"));
}

#[test]
fn a_json_type_that_is_set_stays() {
    let mut fixture = Fixture::of(
        r#"fn on_request(req) { req.headers["content-type"] = "application/merge-patch+json"; req.json = 1; }"#,
    );
    fixture.run();
    assert!(fixture.request_head().ends_with("content-type: application/merge-patch+json\r\n"));
    assert_eq!(fixture.transaction.edits.request_body.take_changed().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_body_that_is_no_json_is_an_error_to_catch() {
    let mut fixture =
        Fixture::of(r#"fn on_request_body(req) { try { req.json; } catch (e) { return respond(400, e); } }"#);
    for body in ["{", "[1,]", "nul", "{\"a\":1} x", "\u{feff}{}"] {
        fixture.transaction.edits.request_body = Content::buffered(body.into());
        assert!(matches!(fixture.request_hook(Hook::RequestBody), Ok(HookOutcome::Answer(_))), "{body:?}");
        assert_eq!(fixture.transaction.response.status(), 400);
    }
}

#[test]
fn unit_empties_a_body() {
    let mut fixture = Fixture::of("fn on_request(req) { req.body = (); }");
    fixture.run();
    assert_eq!(fixture.transaction.edits.request_body.take_changed(), Some(vec![]));
    for value in ["1", "true", "[1]", "#{}", "'c'"] {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ req.body = {value}; }}"));
        assert!(fixture.request_hook(Hook::Request).is_err(), "{value}");
    }
}

#[test]
fn paths_are_normalised_like_clients_paths() {
    for (set, got) in
        [("/a/../b", "/b"), ("/a/./b/", "/a/b/"), ("/%61%2Fb", "/a%2Fb"), ("/a//b", "/a//b"), ("/", "/")]
    {
        let text = format!("fn on_request(req) {{ req.path = \"{set}\"; req.ctx.got = req.path; }}");
        let mut fixture = Fixture::of(&text);
        fixture.run();
        assert_eq!(fixture.got(), format!("{got:?}"), "{set}");
        assert_eq!(fixture.transaction.edits.path.as_deref(), Some(got.as_bytes()), "{set}");
    }
}

#[test]
fn malformed_paths_are_refused() {
    for path in [
        "",
        "a",
        "*",
        "http://evil/",
        "/a?b",
        "/a#b",
        "/a b",
        "/a\\r\\nX: y",
        "/\\x00",
        "/a\\x7f",
        "/%zz",
        "/..",
        "/../../etc",
    ] {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ req.path = \"{path}\"; }}"));
        let result = fixture.request_hook(Hook::Request);
        // What climbs above the root may be refused or end there.
        if path.starts_with("/..") && result.is_ok() {
            let path = fixture.transaction.edits.path.as_deref().unwrap_or_default();
            assert!(!String::from_utf8_lossy(path).contains(".."));
            continue;
        }
        assert!(result.is_err(), "{path}");
        assert_eq!(fixture.transaction.edits.path, None, "{path}");
    }
}

#[test]
fn a_query_is_a_map() {
    let mut fixture = Fixture::of(
        r#"fn on_request(req) {
            req.query.page = 3;
            req.query.tags = ["a&b", "c d"];
            req.query["no"] = ();
            let q = req.query;
            req.ctx.got = [q.page, q.tags, "no" in q];
        }"#,
    );
    fixture.run();
    assert_eq!(fixture.got(), r#"["3",["a&b","c d"],false]"#);
    assert_eq!(fixture.transaction.edits.query.as_deref(), Some(&b"page=3&tags=a%26b&tags=c%20d"[..]));
}

#[test]
fn a_query_cannot_add_a_line_to_a_head() {
    let mut fixture = Fixture::of(r#"fn on_request(req) { req.query = #{"a\r\nb": "c\r\n d#?&="}; }"#);
    fixture.run();
    let query = fixture.transaction.edits.query.as_deref();
    assert_eq!(query, Some(&b"a%0D%0Ab=c%0D%0A%20d%23%3F%26%3D"[..]));
}

#[test]
fn an_upstream_is_one_of_the_configuration() {
    let mut fixture =
        Fixture::of(r#"fn on_request(req) { req.upstream = "canary"; req.ctx.got = req.upstream; }"#);
    fixture.run();
    assert_eq!(fixture.got(), r#""canary""#);
    assert_eq!(fixture.transaction.edits.upstream, Some(1));
    let mut fixture = Fixture::of(r#"fn on_request(req) { req.upstream = "http://evil"; }"#);
    assert!(fixture.fault().contains("there is no upstream"));
}

#[test]
fn a_route_that_answers_by_itself_has_no_upstream() {
    let files = scripts(&[(
        "s.rhai",
        r#"fn on_request(req) { req.ctx.got = req.upstream; req.upstream = "canary"; }"#,
    )]);
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    let upstreams: Rc<[Arc<str>]> = ["users".into(), "canary".into()].into();
    let chain = Chain::build(&fixture.engine, &files, &answering(&["s.rhai"]), &upstreams);
    fixture.chain = chain.expect("it compiles").expect("it has scripts");
    assert!(fixture.fault().contains("answers by itself"));
    assert_eq!(fixture.got(), "null");
}

#[test]
fn ctx_lives_as_long_as_the_request_and_is_shared_by_all_scripts() {
    let files = scripts(&[
        ("a.rhai", "fn on_request(req) { req.ctx.list = [1]; } fn on_log(req, res) { log(req.ctx.list); }"),
        (
            "b.rhai",
            "fn on_request(req) { req.ctx.list.push(2); let c = req.ctx; c.list.push(9); }
             fn on_response(req, res) { req.ctx.list += 3; }",
        ),
    ]);
    let mut fixture = Fixture::with(&files, &["a.rhai", "b.rhai"]);
    fixture.run();
    assert!(fixture.response_hook(Hook::Response).is_ok());
    fixture.chain.on_log(
        &fixture.engine,
        &mut fixture.transaction,
        &|_: &Transaction, fault: &ScriptFault| panic!("{fault}"),
    );
    assert_eq!(*fixture.host.lines.borrow(), ["a.rhai users id-1: [1, 2, 3]"]);
    for value in ["1", "()", "[1]", "\"x\"", "req"] {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ req.ctx = {value}; }}"));
        assert!(fixture.fault().contains("is a map"), "{value}");
    }
}
