//! Problems that `check` finds, and scripts that it accepts.

use super::*;
use crate::script::ScriptProblem;

fn problems(files: &[(&str, &str)]) -> Vec<ScriptProblem> {
    check(&scripts(files), &["s.rhai".into()])
}

fn found(files: &[(&str, &str)]) -> Vec<String> {
    let tell =
        |p: &ScriptProblem| format!("{}:{}:{}: {} [{}]", p.script, p.line, p.column, p.message, p.hint);
    problems(files).iter().map(tell).collect()
}

fn found_in(text: &str, lib: &str) -> Vec<String> {
    found(&[("s.rhai", text), ("lib/x.rhai", lib)])
}

/// The one problem of a script.
fn one(text: &str, lib: &str) -> String {
    let found = found_in(text, lib);
    assert_eq!(found.len(), 1, "{text}: {found:#?}");
    found.into_iter().next().expect("one")
}

#[test]
fn problems_are_found_with_their_place_and_a_hint() {
    for (text, place, message, hint) in [
        ("fn on_request(req) {\n  let x = ;\n}", "2:11", "", ""),
        ("fn on_request(req) {\n  let x = 1\n", "", "", ""),
        ("fn on_request(req) {\n  \"open\n}", "", "", ""),
        ("fn on_request(req) {\n  nosuch(1);\n}", "2:3", "there is no function `nosuch`", ""),
        (
            "fn on_request(req) {\n  base64_encod(\"x\");\n}",
            "2:3",
            "no function",
            "did you mean `base64_encode`?",
        ),
        (
            "fn on_request(req) {\n  let x = shaa256(\"x\");\n}",
            "2:11",
            "no function",
            "did you mean `sha256`?",
        ),
        (
            "fn on_request(req) {\n  sha256(\"x\", 1);\n}",
            "2:3",
            "`sha256` is called with 2 arguments",
            "it takes 1",
        ),
        ("fn on_request(req) {\n  respond();\n}", "2:3", "called with 0 arguments", "it takes 1 or 2 or 3"),
        ("fn on_request(req) {\n  req.headers.nmaes();\n}", "2:15", "no function", "did you mean `names`?"),
        ("fn f(a) {}\nfn on_request(req) {\n  f(1, 2);\n}", "3:3", "called with 2 arguments", "it takes 1"),
        ("fn fetch_it(a) {}\nfn on_request(req) {\n  fetch_i(1);\n}", "3:3", "no function", "`fetch_it`"),
        (
            "\nprivate fn on_request(req) {}",
            "2:12",
            "`on_request` is private, so the gateway could not call it",
            "leave out `private`",
        ),
        ("fn on_request() {}", "1:4", "takes 1 parameter, not 0", "write fn on_request(req)"),
        ("fn on_request(a, b) {}", "1:4", "takes 1 parameter, not 2", "write fn on_request(req)"),
        ("\nfn on_response(req) {}", "2:4", "takes 2 parameters, not 1", "write fn on_response(req, res)"),
        ("fn on_log(req) {}", "1:4", "takes 2 parameters, not 1", "write fn on_log(req, res)"),
        ("fn on_request(req) {\n  reqq.path\n}", "2:3", "reqq", ""),
        ("let x = 1; fn on_request(req) { x }", "1:33", "x", ""),
        (
            "fn on_request(req) {\n  import \"lib/y\" as y;\n}",
            "2:10",
            "there is no script \"lib/y\"",
            "`[scripts] dir`",
        ),
        (
            "let p = \"lib/x\";\nimport p as x; fn on_request(req) {}",
            "2:1",
            "written out",
            "import \"lib/name\"",
        ),
        ("import \"lib/x\" as x;\nfn on_request(req) { x::nosuch() }", "2:25", "no function `nosuch`", ""),
        (
            "import \"lib/x\" as x;\nfn on_request(req) { x::f() }",
            "2:25",
            "called with 0 arguments",
            "it takes 1",
        ),
        ("import \"lib/x\" as x;\nfn on_request(req) { x::hidden() }", "2:25", "no function `hidden`", ""),
        ("const X = 1 / 0; fn on_request(req) {}", "1:", "", ""),
        ("fn on_request(req) {}\nthrow \"top\";", "2:1", "top", ""),
        ("const B = vars.brand; fn on_request(req) {}", "1:11", "`vars` belongs to a route", ""),
        ("fn helper(x) { x }", "0:0", "defines no hook", "on_request"),
        ("", "0:0", "defines no hook", "on_request"),
        ("fn on_request(req) {\n  sleep(1);\n}", "2:3", "cannot sleep", ""),
        ("fn on_request(req) { timestamp() }", "1:22", "now", ""),
        ("fn on_request(req) { exit() }", "1:22", "use `return`", ""),
        ("fn on_request(req) { eval(\"1\") }", "1:22", "eval", ""),
        (
            "fn on_request(req) {\n  req.headers[\"X-Request-Id\"] = \"1\";\n}",
            "2:15",
            "header \"X-Request-Id\" cannot be changed by a script: it names the request",
            "",
        ),
        ("fn on_request(r) {\n  if true { r.headers.add(\"host\", 1); }\n}", "2:27", "`host_header`", ""),
        ("fn on_request(req) {\n  req.headers.remove(\"expect\")\n}", "2:22", "\"expect\"", ""),
        ("fn on_request(req) {\n  let x = req.headers.remove(\"te\");\n}", "2:30", "\"te\"", ""),
        ("fn on_request(req) {\n  req.headers.connection = \"close\";\n}", "2:15", "one connection", ""),
        ("fn on_request(req) {\n  req.headers[\"x_request_id\"] = 1;\n}", "2:15", "with `-` for `_`", ""),
        ("fn on_request(req) {\n  req.headers[\"a b\"] = 1;\n}", "2:15", "no header name", ""),
        ("fn on_response(q, s) {\n  s.headers[\"content-length\"] += 1;\n}", "2:13", "framed", ""),
        (
            "fn on_request(req) { set(req) }\nfn set(req) {\n  [1].for_each(|| req.headers[\"host\"] = this);\n}",
            "3:31",
            "`host_header`",
            "",
        ),
        ("fn on_request(req) {\n  // a ü comment\n  let ü = 1; nosuch();\n}", "3:", "", ""),
    ] {
        let found = one(text, "fn f(a) {} private fn hidden() {}");
        assert!(found.starts_with(&format!("s.rhai:{place}")), "{text}: {found}");
        assert!(found.contains(message) && found.contains(hint), "{text}: {found}");
    }
}

#[test]
fn problems_of_imported_files_name_the_imported_file() {
    let importing = "import \"lib/x\" as x; fn on_request(req) {}";
    for (lib, place) in [
        ("fn f( {", "lib/x.rhai:1:"),
        ("fn f() {\n  nosuch();\n}", "lib/x.rhai:2:3"),
        ("\nthrow \"lib\";", "lib/x.rhai:2:1"),
        ("import \"lib/x\" as x;", "lib/x.rhai:1:"),
        ("import \"lib/none\" as x;", "lib/x.rhai:1:8"),
    ] {
        let found = one(importing, lib);
        assert!(found.starts_with(place), "{lib}: {found}");
    }
}

#[test]
fn all_problems_are_found_at_once() {
    let found =
        found(&[("s.rhai", "fn on_request(req) {\n  a_();\n  b_();\n  sha256();\n}\nfn on_log() {}")]);
    assert_eq!(found.len(), 4, "{found:#?}");
}

#[test]
fn functions_of_one_name_in_files_imported_together_are_found() {
    let script = "import \"lib/x\" as x;\nfn helper() { 1 }\nfn on_request(req) { x::f() + helper() }";
    let found = one(script, "fn f() { helper() }\n private fn helper() { 2 }");
    assert!(found.starts_with("lib/x.rhai:2:13: `helper` is defined in s.rhai too"), "{found}");
    for (script, lib) in [
        // Another number of parameters, a hook, a closure.
        (script, "fn f() { helper(1) } fn helper(n) { n } fn on_request(req) { f() }"),
        (
            "import \"lib/x\" as x; fn on_request(req) { let f = |x| x; f.call(1) }",
            "fn f() { let f = |x| x; f.call(1) }",
        ),
    ] {
        let found = found_in(script, lib);
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// A script that imports `lib/1`, which imports `lib/2`, and so on to `lib/{files}`; `within`: in functions.
fn chain_of(files: usize, within: bool) -> Vec<(String, String)> {
    let import = |number: usize| match within {
        true => format!("fn f{number}() {{ import \"lib/{number}\" as x; x::g{number}() }}\n"),
        false => format!("import \"lib/{number}\" as x;\n"),
    };
    let mut all = vec![("s.rhai".to_owned(), format!("\n{}fn on_request(req) {{}}", import(1)))];
    for number in 1..=files {
        let next = if number < files { import(number + 1) } else { String::new() };
        all.push((format!("lib/{number}.rhai"), format!("{next}fn g{number}() {{}}")));
    }
    all
}

#[test]
fn imports_too_deep_are_found() {
    for within in [false, true] {
        for (files, is_good) in [(16, true), (17, false), (18, false), (200, false)] {
            let chain = chain_of(files, within);
            let chain: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (&**name, &**text)).collect();
            let found = found(&chain);
            if is_good {
                assert!(found.is_empty(), "{files}: {found:#?}");
            } else {
                assert_eq!(found.len(), 1, "{files}: {found:#?}");
                let place = if within { "s.rhai:2:18: " } else { "s.rhai:2:8: " };
                assert!(
                    found[0].starts_with(&format!("{place}this imports more than 16 files in a row")),
                    "{found:?}"
                );
            }
        }
    }
}

#[test]
fn a_long_chain_of_imports_is_an_error_where_nobody_has_checked_it() {
    let chain = chain_of(17, false);
    let chain: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (&**name, &**text)).collect();
    let engine = Engine::new(&scripts(&chain), Rc::new(TestHost::default()));
    let fault = engine.program(&"s.rhai".into()).err().expect("it is too deep");
    assert!(fault.message.contains("more than 16 files"), "{fault}");
}

#[test]
fn a_file_is_checked_once() {
    let files = scripts(&[("s.rhai", "fn on_request(req) { nosuch() }")]);
    assert_eq!(check(&files, &["s.rhai".into(), "s.rhai".into()]).len(), 1);
}

#[test]
fn headers_that_may_be_set_and_those_of_other_maps_pass() {
    for text in [
        "fn on_response(req, res) { res.headers[\"server\"] = (); res.headers[\"host\"] = \"1\"; req.headers[\"host\"] }",
        "fn on_request(req) { let x = req.headers[\"host\"]; if req.headers.connection == () {} \"expect\" in req.headers }",
        "fn on_request(req) { f(1) } fn f(n) { let req = #{ headers: #{} }; req.headers[\"host\"] = 1; }",
        "fn on_request(q) { let req = #{ headers: #{} }; [1].for_each(|| req.headers[\"host\"] = 1); }",
        "fn on_request(req) { f(#{}) } fn f(map) { map.headers[\"host\"] = 1; map.headers.remove(\"expect\"); }",
        "fn on_request(req) { req.ctx[\"host\"] = 1; req.query.host = \"1\"; req.query.remove(\"expect\"); }",
        "fn on_request(req) { respond(200, \"\", #{ \"x-a\": 1 }) }",
    ] {
        let found = found_in(text, "");
        assert!(found.is_empty(), "{text}: {found:#?}");
    }
}

#[test]
fn good_scripts_pass() {
    let whole = r#"
        // Everything there is, in one script.
        import "lib/x" as x;
        const LIMIT = 10;
        const NAMES = ["a", "b"];
        const TABLE = #{a: 1, "b c": [1, 2]};

        private fn helper(a, b) { a + b }
        fn twice() { this *= 2; this }
        fn is_gold(consumer) { consumer != () && "gold" in consumer.groups }

        fn on_request(req) {
            let h = req.headers;
            if h["x"] == () && !("y" in h) { h["y"] = "1"; h.add("z", 2); h.remove("w"); }
            h.all("x").len(); h.names().len; for name in h.names() { log(name); }
            req.path = req.path + "/x"; req.query.page = 1; req.upstream = "canary";
            let total = 0;
            for i in 0..3 { total += i; }
            for i in 0..=3 { if i == 2 { continue; } if i > 2 { break; } }
            for (name, i) in global::NAMES { print(`${name} ${i}`); }
            while total < 5 { total += 1; }
            do { total -= 1; } while total > 3;
            loop { break; }
            let kind = switch req.method { "GET" | "HEAD" => "read", "POST" if total > 0 => "write", _ => "other" };
            let five = 5; five.twice(); helper(five, 1);
            let f = |x| x > total; let g = Fn("helper"); g.call(1, 2); call(g, 1, 2); g.curry(1).call(2);
            let list = [3, 1, 2]; list.sort(); list.sort(|a, b| b - a);
            let some = list.filter(|x| f.call(x)).map(|x| x * 2).reduce(|s, x| s + x, 0);
            list.some(|x| x == 1); list.all(|x| x > 0); list.index_of(2); list.find(|x| x > 1); list.for_each(|| this += 1);
            list.push(4); list.pop(); list.len(); list.is_empty(); list.contains(1); list.dedup(); list.reverse();
            let m = #{a: 1, handler: |x| x + 1}; m.handler(1); m["b"] = 2; m.keys(); m.values(); m.contains("a"); m.remove("a");
            m.other = |a, b| a * b; m.other(2, 3);
            let s = " Text "; s.trim(); s.to_upper(); s.sub_string(1, 2); s.split(","); s.replace("T", "t"); s.len; s.contains("x");
            s.starts_with("T"); s.ends_with("t"); s.pad(10, ' '); s.to_lower(); s.index_of("x"); s.to_string();
            try { throw #{code: 1}; } catch (e) { debug(e); }
            let t = type_of(s); is_def_var("s"); is_def_fn("helper", 2); let n = s ?? "none"; let opt = req.consumer?.name;
            let num = parse_int("12") + parse_float("1.5").to_int() + 7.max(3) + (-2).abs() + 2 ** 3; num.to_string();
            sha256("x"); hmac_sha256("k", "x"); base64_encode("x"); base64_decode("eA=="); url_encode("x"); url_decode("x");
            to_json(m.len()); parse_json("{}"); regex_match("a", "a"); regex_replace("a", "a", "b"); uuid(); now();
            now_rfc3339(); env("GREETING"); counter("n").add(1); let v = counter("n").value; secure_eq("a", "b");
            vars.brand; vars["brand"]; "brand" in vars; x::f(1); x::N; req.ctx.n = global::LIMIT + global::TABLE.a;
            if is_gold(req.consumer) { return redirect("/x"); }
            if total == 99 { return deny("no"); }
            if total == 98 { return respond(200); }
            if total == 97 { return respond(200, "x", #{"x-a": "1"}); }
            if total == 96 { return redirect("/y", 307); }
        }
        fn on_request_body(req) { let j = req.json; req.json = j; req.body = req.body; blob(3).len(); }
        fn on_response(req, res) { res.status = 201; res.headers["server"] = (); }
        fn on_response_body(req, res) { res.json = #{data: res.json, t: now()}; }
        fn on_log(req, res) { log(`${res.status} ${res.duration_ms}`); }
    "#;
    let lib = "export const N = 1; fn f(a) { g(a) } private fn g(a) { a }";
    let found = found(&[("s.rhai", whole), ("lib/x.rhai", lib)]);
    assert!(found.is_empty(), "{found:#?}");

    let mut fixture = Fixture::with(&scripts(&[("s.rhai", whole), ("lib/x.rhai", lib)]), &["s.rhai"]);
    fixture.transaction.edits.request_body = Content::buffered(b"{}".to_vec());
    fixture.run();
    assert!(fixture.request_hook(Hook::RequestBody).is_ok());
}
