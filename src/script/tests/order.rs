//! Several scripts of a route: in order, in reverse, undone; and what they share.

use super::*;

/// Scripts that each write what happens to them into `req.ctx.got`.
fn tracing(names: &[&str]) -> Vec<(String, String)> {
    let text = |name: &str| {
        let note = |hook: &str| format!("req.ctx.got += \"{name}.{hook} \";");
        format!(
            "fn on_request(req) {{ if req.ctx.got == () {{ req.ctx.got = \"\"; }} {} }}
             fn on_request_body(req) {{ {} }}
             fn on_response(req, res) {{ {} }}
             fn on_response_body(req, res) {{ {} }}
             fn on_log(req, res) {{ {} }}",
            note("request"),
            note("request_body"),
            note("response"),
            note("response_body"),
            note("log")
        )
    };
    names.iter().map(|name| (format!("{name}.rhai"), text(name))).collect()
}

fn with_files(files: &[(&str, &str)]) -> Fixture {
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).filter(|name| !name.contains('/')).collect();
    Fixture::with(&scripts(files), &names)
}

#[test]
fn scripts_run_in_order_on_the_way_in_and_in_reverse_on_the_way_out() {
    let files = tracing(&["a", "b", "c"]);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    let mut fixture = with_files(&files);
    fixture.respond("HTTP/1.1 200 OK\r\n\r\n");
    fixture.run();
    assert!(fixture.request_hook(Hook::RequestBody).is_ok());
    assert!(fixture.response_hook(Hook::Response).is_ok());
    assert!(fixture.response_hook(Hook::ResponseBody).is_ok());
    fixture.chain.on_log(
        &fixture.engine,
        &mut fixture.transaction,
        &|_: &Transaction, fault: &ScriptFault| panic!("{fault}"),
    );
    assert_eq!(
        fixture.got(),
        "\"a.request b.request c.request a.request_body b.request_body c.request_body \
         c.response b.response a.response c.response_body b.response_body a.response_body \
         c.log b.log a.log \""
    );
}

#[test]
fn a_hook_that_no_script_defines_does_not_exist() {
    let fixture = with_files(&[
        ("a.rhai", "fn on_request(req) {}"),
        ("b.rhai", "fn on_log(req, res) {} fn on_response(req) {} fn on_response_body(a, b, c) {}"),
    ]);
    let has: Vec<Hook> = Hook::ALL.into_iter().filter(|hook| fixture.chain.has(*hook)).collect();
    assert_eq!(has, [Hook::Request, Hook::Log]);
}

#[test]
fn the_first_answer_ends_the_way_in() {
    let mut fixture = with_files(&[
        ("a.rhai", "fn on_request(req) { req.ctx.got = 1; }"),
        ("b.rhai", "fn on_request(req) { respond(403, \"b\") }"),
        ("c.rhai", "fn on_request(req) { req.ctx.got = 3; }"),
    ]);
    assert!(matches!(fixture.request_hook(Hook::Request), Ok(HookOutcome::Answer(ScriptAnswer::Own))));
    assert_eq!(fixture.got(), "1");
    assert_eq!(fixture.transaction.response.status(), 403);
}

#[test]
fn an_answer_in_place_of_a_response_is_what_the_scripts_before_see() {
    let mut fixture = with_files(&[
        (
            "a.rhai",
            "fn on_response(req, res) {
                req.ctx.got = [res.status, res.body, res.headers[\"x-old\"], res.headers[\"x-new\"]];
                res.headers[\"x-a\"] = 1;
            }",
        ),
        ("b.rhai", "fn on_response(req, res) { respond(503, \"down\", #{\"x-new\": 1}) }"),
    ]);
    fixture.respond("HTTP/1.1 200 OK\r\nX-Old: 1\r\n\r\n");
    assert!(matches!(fixture.response_hook(Hook::Response), Ok(HookOutcome::Continue)));
    assert_eq!(fixture.got(), r#"[503,"down",null,"1"]"#);
    assert_eq!(fixture.transaction.response.status(), 503);
    assert!(fixture.response_head().ends_with("x-new: 1\r\nx-a: 1\r\n"));
    assert_eq!(fixture.transaction.edits.response_body.take_changed().as_deref(), Some(&b"down"[..]));
}

#[test]
fn a_denial_ends_the_way_out_too() {
    let mut fixture = with_files(&[
        ("a.rhai", "fn on_response(req, res) { req.ctx.got = 1; }"),
        ("b.rhai", "fn on_response(req, res) { req.ctx.got = 0; deny(\"secret\") }"),
    ]);
    fixture.respond("HTTP/1.1 200 OK\r\n\r\n");
    match fixture.response_hook(Hook::Response) {
        Ok(HookOutcome::Answer(ScriptAnswer::Denied(detail))) => assert_eq!(detail, "secret"),
        _ => panic!("no denial"),
    }
    assert_eq!(fixture.got(), "0");
}

#[test]
fn every_on_log_runs_whatever_the_others_do() {
    let mut fixture = with_files(&[
        ("a.rhai", "fn on_log(req, res) { log(\"a\"); respond(200) }"),
        ("b.rhai", "fn on_log(req, res) { throw \"b is broken\" }"),
        ("c.rhai", "fn on_log(req, res) { log(\"c\"); deny() }"),
    ]);
    let faults = RefCell::new(Vec::new());
    let tell = |_: &Transaction, fault: &ScriptFault| faults.borrow_mut().push(fault.to_string());
    fixture.chain.on_log(&fixture.engine, &mut fixture.transaction, &tell);
    assert_eq!(*fixture.host.lines.borrow(), ["c.rhai users id-1: c", "a.rhai users id-1: a"]);
    assert_eq!(*faults.borrow(), ["b.rhai:1:23: b is broken"]);
}

#[test]
fn an_error_ends_the_chain() {
    let mut fixture = with_files(&[
        ("a.rhai", "fn on_request(req) {\n  let x = 1;\n  throw `a ${x}`\n}"),
        ("b.rhai", "fn on_request(req) { req.ctx.got = 1; }"),
    ]);
    assert_eq!(fixture.fault(), "a.rhai:3:3: a 1");
    assert_eq!(*fixture.faults.borrow(), ["a.rhai:3:3: a 1"]);
    assert!(fixture.transaction.edits.ctx.is_unit());
}

#[test]
fn an_ignored_error_undoes_all_that_its_hook_did_and_goes_on() {
    let mut files = scripts(&[
        (
            "a.rhai",
            "fn on_request(req) { req.ctx.got = [1]; req.headers[\"x-a\"] = 1; req.path = \"/a\"; req.body = \"a\"; }
             fn on_response(req, res) { req.ctx.got += 5; }",
        ),
        (
            "b.rhai",
            "fn on_request(req) {
                req.ctx.got.push(2); req.ctx.more = 1; let c = req.ctx; c.got[0] = 9;
                req.headers[\"x-a\"] = 2; req.headers.remove(\"x-tag\"); req.headers.add(\"x-b\", 1);
                req.path = \"/b\"; req.query.page = 9; req.upstream = \"canary\"; req.body = \"b\";
                throw \"undone\"
             }
             fn on_response(req, res) {
                res.status = 500; res.headers[\"x-r\"] = 2; res.json = [1]; req.ctx.got = ();
                throw \"undone too\"
             }",
        ),
        ("c.rhai", "fn on_request(req) { req.ctx.got.push(3); }"),
    ]);
    files.on_error = OnError::Ignore;
    let mut fixture = Fixture::with(&files, &["a.rhai", "b.rhai", "c.rhai"]);
    fixture.run();
    assert_eq!(fixture.faults.borrow().len(), 1);
    assert_eq!(fixture.got(), "[1,3]");
    let head = "Host: shop.example\r\nX-Tag: a\r\nx-tag: b\r\nx-a: 1\r\n";
    assert_eq!(fixture.request_head(), head);
    let edits = &fixture.transaction.edits;
    assert_eq!(edits.path.as_deref(), Some(&b"/a"[..]));
    assert_eq!((&edits.query, edits.upstream), (&None, None));
    assert_eq!(edits.request_body.bytes.as_deref(), Some(&b"a"[..]));
    assert!(!edits.ctx.clone().flatten().as_map_ref().expect("a map").contains_key("more"));

    fixture.respond("HTTP/1.1 200 OK\r\nX-R: 1\r\n\r\n");
    assert!(matches!(fixture.response_hook(Hook::Response), Ok(HookOutcome::Continue)));
    assert_eq!(fixture.got(), "[1,3,5]");
    assert_eq!(fixture.transaction.response.status(), 200);
    assert_eq!(fixture.response_head(), "X-R: 1\r\n");
    assert!(!fixture.transaction.edits.response_body.changed);
}

#[test]
fn an_ignored_error_of_the_first_script_leaves_no_ctx_behind() {
    let mut files = scripts(&[("a.rhai", "fn on_request(req) { req.ctx.x = 1; throw 1 }")]);
    files.on_error = OnError::Ignore;
    let mut fixture = Fixture::with(&files, &["a.rhai"]);
    fixture.run();
    assert!(fixture.transaction.edits.ctx.is_unit());
}

#[test]
fn the_top_level_runs_once() {
    let mut fixture = with_files(&[(
        "a.rhai",
        "counter(\"top\").add(1); const ID = uuid(); const N = 2 + 3;
         fn on_request(req) { req.ctx.got = [global::ID, global::N]; }",
    )]);
    for _ in 0..3 {
        fixture.run();
        assert_eq!(fixture.got(), r#"["00000000-0000-4000-8000-000000000001",5]"#);
        fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    assert_eq!(fixture.host.counters.borrow()["top"], 1);
}

#[test]
fn constants_stay_as_they_are() {
    for statement in ["global::LIST.push(1)", "let l = global::LIST; l.push(1)", "global::LIST[0] = 7"] {
        let text = format!(
            "const LIST = [0];
             fn on_request(req) {{ try {{ {statement}; }} catch {{}} req.ctx.got = global::LIST; }}"
        );
        let mut fixture = Fixture::of(&text);
        for _ in 0..2 {
            fixture.run();
            assert_eq!(fixture.got(), "[0]", "{statement}");
            fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
    }
}

#[test]
fn modules_are_imported_from_the_directory_and_evaluated_once() {
    let lib = "counter(\"lib\").add(1); export const NAME = \"lib\"; const HIDDEN = 2;
               fn twice(x) { x * global::HIDDEN } private fn secret() { 1 }
               fn brand() { vars.brand } fn uses_secret() { secret() }";
    let mut fixture = with_files(&[
        (
            "a.rhai",
            "import \"lib/x\" as x; fn on_request(req) { req.ctx.got = [x::twice(4), x::NAME, x::brand(), x::uses_secret()]; }",
        ),
        ("b.rhai", "fn on_request(req) { import \"lib/x.rhai\" as y; req.ctx.got.push(y::twice(5)); }"),
        ("lib/x.rhai", lib),
    ]);
    for _ in 0..2 {
        fixture.run();
        assert_eq!(fixture.got(), r#"[8,"lib","acme",1,10]"#);
        fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    assert_eq!(fixture.host.counters.borrow()["lib"], 1);
}

#[test]
fn private_functions_cannot_be_called_from_outside() {
    let mut fixture = with_files(&[
        ("a.rhai", "import \"lib/x\" as x; fn on_request(req) { x::secret() }"),
        ("lib/x.rhai", "private fn secret() { 1 } fn open() { 2 }"),
    ]);
    assert!(fixture.fault().contains("secret"));
}

#[test]
fn a_cycle_of_imports_is_an_error() {
    let mut fixture = with_files(&[
        ("a.rhai", "fn on_request(req) { import \"lib/x\" as x; }"),
        ("lib/x.rhai", "import \"lib/y\" as y; fn f() { y::f() }"),
        ("lib/y.rhai", "import \"lib/x\" as x; fn f() { x::f() }"),
    ]);
    for _ in 0..2 {
        let fault = fixture.fault();
        assert!(fault.starts_with("lib/y.rhai:1:") && fault.contains("imports itself"), "{fault}");
    }
}

#[test]
fn errors_have_the_position_where_they_occurred() {
    let mut fixture = with_files(&[
        ("a.rhai", "import \"lib/x\" as x;\nfn on_request(req) {\n  x::f(0)\n}"),
        ("lib/x.rhai", "fn f(n) {\n\n    g(n)\n}\nfn g(n) {\n  1 / n\n}"),
    ]);
    let fault = fixture.fault();
    assert!(fault.starts_with("lib/x.rhai:6:5: "), "{fault}");
    let mut fixture = with_files(&[("a.rhai", "\n\n  fn on_request(req) { loop {} }")]);
    let fault = fixture.fault();
    assert!(fault.starts_with("a.rhai:3:6: ") && fault.contains("max_operations"), "{fault}");
}

#[test]
fn imports_of_a_function_end_with_the_call() {
    // The compiler sees to it within a file, the call's end does for what runs.
    let files = scripts(&[
        ("a.rhai", "fn on_request(req) { import \"lib/x\" as x; } fn on_log(req, res) { x::f() }"),
        ("lib/x.rhai", "fn f() { 1 }"),
    ]);
    let found = check(&files, &["a.rhai".into()]);
    assert!(found.iter().any(|problem| problem.message.contains("x")), "{}", found.len());
    let mut fixture = with_files(&[
        ("a.rhai", "fn on_request(req) { import \"lib/x\" as x; x::f(); }"),
        ("lib/x.rhai", "fn f() { 1 }"),
    ]);
    // If they were kept, there would soon be too many.
    for _ in 0..50 {
        fixture.run();
    }
}

#[test]
fn one_script_on_two_routes_sees_the_vars_of_each() {
    let files = scripts(&[
        (
            "s.rhai",
            "import \"lib/x\" as x; fn on_request(req) { req.ctx.got = [vars.brand, x::brand(), req.route]; }",
        ),
        ("lib/x.rhai", "fn brand() { vars.brand }"),
    ]);
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    let action = Action::Proxy(Proxy { upstream: 0, path: PathEdit::Keep, host: HostHeader::Upstream });
    let mut other = route(&["s.rhai"], action);
    other.name = "other".into();
    other.vars = vec![("brand".into(), "umbrella".into())];
    let other = Chain::build(&fixture.engine, &files, &other, &["users".into()].into());
    let mut other = other.expect("it compiles").expect("it has scripts");
    for round in 0..4 {
        fixture.run();
        let wanted = [r#"["acme","acme","users"]"#, r#"["umbrella","umbrella","other"]"#][round % 2];
        assert_eq!(fixture.got(), wanted);
        std::mem::swap(&mut fixture.chain, &mut other);
    }
}

#[test]
fn a_module_cannot_keep_the_vars_of_the_route_that_imports_it_first() {
    let mut fixture = with_files(&[
        ("a.rhai", "fn on_request(req) { import \"lib/x\" as x; req.ctx.got = x::B; }"),
        ("lib/x.rhai", "export const B = vars.brand;"),
    ]);
    assert!(fixture.fault().contains("`vars` belongs to a route"));
}

#[test]
fn functions_of_the_same_name_are_each_scripts_own() {
    let mut fixture = with_files(&[
        ("a.rhai", "fn helper() { \"a\" } fn on_request(req) { req.ctx.got = [helper()]; }"),
        ("b.rhai", "fn helper() { \"b\" } fn on_request(req) { req.ctx.got += helper(); }"),
        (
            "c.rhai",
            "import \"lib/x\" as x; fn on_request(req) { req.ctx.got += [x::helper(), x::indirect(), x::helper()]; }",
        ),
        ("lib/x.rhai", "fn helper() { \"x\" } fn indirect() { helper() }"),
    ]);
    for _ in 0..5 {
        fixture.run();
        assert_eq!(fixture.got(), r#"["a","b","x","x","x"]"#);
        fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
}

#[test]
fn modules_that_import_each_others_modules_keep_apart() {
    let mut fixture = with_files(&[
        ("a.rhai", "import \"lib/x\" as m; fn on_request(req) { req.ctx.got = [m::x(), m::x()]; }"),
        ("b.rhai", "import \"lib/y\" as m; fn on_request(req) { req.ctx.got += [m::y(), m::y()]; }"),
        ("lib/x.rhai", "import \"lib/z\" as m; const N = 1; fn x() { m::z(global::N) }"),
        ("lib/y.rhai", "import \"lib/z\" as m; const N = 2; fn y() { m::z(global::N) }"),
        ("lib/z.rhai", "const N = 30; fn z(n) { n + global::N }"),
    ]);
    for _ in 0..5 {
        fixture.run();
        assert_eq!(fixture.got(), "[31,31,32,32]");
        fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
}
