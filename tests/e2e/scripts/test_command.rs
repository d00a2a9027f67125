//! `ringway test` as its users run it: files of tests in a directory, a child process, its exit code and what it prints.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const CONFIG: &str = r#"
[upstream.main]
targets = ["http://users.internal:3001"]
[upstream.other]
targets = ["http://127.0.0.1:3002"]
[[route]]
name = "shop"
host = "shop.example"
path = ["/shop/*", "/shops/{shop}/{*what}"]
method = ["GET"]
upstream = "main"
strip_prefix = true
scripts = ["shop.rhai"]
vars = { brand = "acme" }
request_headers = { set = { x-from = "edge" } }
response_headers = { remove = ["server"] }
[[route]]
name = "hello"
path = "/hello"
respond = { body = "hello\n", content_type = "text/plain" }
scripts = ["shop.rhai"]
[[route]]
name = "moved"
path = "/old/*"
redirect = { to = "/new/{rest}" }
[[route]]
name = "whole"
path = "/whole"
upstream = "main"
scripts = ["whole.rhai"]
"#;

const SHOP: &str = r#"fn on_request(req) {
    if req.path == "/shop/deny" { return deny("not here"); }
    if req.path == "/shop/closed" { return respond(403, "closed\n"); }
    if req.path == "/shop/broken" {
        throw "this is broken";
    }
    if req.path == "/shop/forever" { loop {} }
    req.headers["x-brand"] = vars.brand ?? "none";
    req.headers["x-seen"] = `${req.host} ${req.client_ip} ${req.params.shop ?? "-"} ${req.scheme}`;
    if req.consumer != () { req.headers["x-who"] = req.consumer.name; }
    if req.claims != () { req.headers["x-tenant"] = req.claims.tenant; }
    log("seen " + req.path);
}

fn on_response(req, res) {
    res.headers["x-time"] = now();
    counter("answers").add(1);
}

fn on_log(req, res) {
    if res.status == 599 { throw "too late to matter"; }
}
"#;

const WHOLE: &str = r#"fn on_request_body(req) {
    if req.body != () { req.json = #{ was: req.body }; }
}

fn on_response_body(req, res) {
    res.body = (res.body ?? "") + "!";
}
"#;

/// A directory with the configuration and scripts above, and these files of tests.
fn place(tests: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in the directory")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    };
    write("gateway.toml", CONFIG);
    write("scripts/shop.rhai", SHOP);
    write("scripts/whole.rhai", WHOLE);
    for (name, text) in tests {
        write(&format!("scripts/tests/{name}"), text);
    }
    dir
}

/// Exit code, stdout, stderr.
fn run(dir: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let output = command.arg("test").args(words).current_dir(dir).output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs one file of tests.
fn run_text(text: &str) -> (Option<i32>, String, String) {
    let dir = place(&[("t.rhai", text)]);
    run(dir.path(), &["--config", "gateway.toml"])
}

/// All tests of this text pass.
fn passes(text: &str) {
    let (code, out, err) = run_text(text);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
}

/// The one test of this text fails; what is said of it.
fn fails(body: &str) -> String {
    let (code, out, err) = run_text(&format!("fn test_it() {{\n    {body}\n}}\n"));
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    assert!(out.ends_with("\n0 passed, 1 failed\n"), "{out}");
    out.lines().next().expect("a line").to_owned()
}

#[test]
fn the_shipped_policies_pass_their_tests() {
    let (code, out, err) = run(Path::new(ROOT), &["--config", "config/demo.toml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for policy in std::fs::read_dir(Path::new(ROOT).join("scripts")).expect("scripts/ is there") {
        let name = policy.expect("a file").file_name();
        let name = name.to_str().expect("UTF-8");
        if name.ends_with(".rhai") {
            let begins = format!("scripts/tests/{name}: ");
            let tested =
                out.lines().any(|line| line.starts_with(&begins) && line.ends_with(" passed, 0 failed"));
            assert!(tested, "{name} has tests:\n{out}");
        }
    }
}

#[test]
fn each_file_has_a_line_and_the_sum_is_the_last() {
    let dir = place(&[
        ("b.rhai", "fn test_1() {}\nfn test_2() { assert(false); }\nfn helper() {}"),
        ("a.rhai", "fn test_1() {}"),
        ("c.txt", "no tests"),
    ]);
    let (code, out, err) = run(dir.path(), &["--config", "gateway.toml"]);
    assert_eq!((code, err.as_str()), (Some(1), ""));
    assert_eq!(
        out,
        "scripts/tests/a.rhai: 1 passed, 0 failed\n\
         FAILED scripts/tests/b.rhai:2:15: test_2: this does not hold\n\
         scripts/tests/b.rhai: 1 passed, 1 failed\n\n\
         2 passed, 1 failed\n"
    );
}

#[test]
fn a_failed_assertion_shows_file_line_and_both_values() {
    assert_eq!(
        fails(r#"assert_eq(run("hello", #{ path: "/hello" }).status, 404);"#),
        "FAILED scripts/tests/t.rhai:2:5: test_it: got 200, want 404"
    );
    assert_eq!(
        fails(r#"assert_eq(#{ a: "x\ny" }, [()], "the shape");"#),
        r##"FAILED scripts/tests/t.rhai:2:5: test_it: the shape: got #{"a": "x\ny"}, want [()]"##
    );
    assert!(fails("assert(1 > 2, \"one is less\");").ends_with("test_it: one is less"));
}

#[test]
fn a_script_that_fails_is_reported_where_it_fails() {
    let broken = r#"run("shop", #{ path: "/shop/broken" })"#;
    passes(&format!(
        r#"fn test_broken() {{
            let r = {broken};
            assert_eq([r.status, r.reason, r.request], [500, "script_error", ()]);
            assert_eq(r.error, "shop.rhai:5:9: this is broken");
            assert_error(r, "is broken");
            assert_eq(r.json.reason, "script_error");
            assert(!("broken" in r.body));
        }}"#
    ));
    // Also where the test looked at something else.
    let (_, out, _) = run_text(&format!("fn test_it() {{ assert_eq({broken}.status, 200); }}"));
    assert!(out.contains("got 500, want 200\n    log: shop.rhai:5:9: this is broken\n"), "{out}");
    assert!(fails(&format!(r#"assert_error({broken}, "else");"#)).contains("shop.rhai:5:9: this is broken"));
    assert!(fails(r#"assert_error(run("hello", #{ path: "/hello" }), "x");"#).contains("no script failed"));
}

#[test]
fn an_error_in_on_log_changes_no_answer_but_is_told() {
    passes(
        r#"fn test_late() {
            let r = run("shop", #{ path: "/shop/x", upstream: #{ status: 599 } });
            assert_eq(r.status, 599);
            assert_error(r, "too late to matter");
        }"#,
    );
}

#[test]
fn a_request_goes_the_gateways_way() {
    passes(
        r#"fn test_captures_edits_and_hygiene() {
            let headers = #{ "x-consumer-name": "root", connection: "x-hop", "x-hop": "1", "x-list": ["a", "b"] };
            let upstream = #{ headers: #{ server: "nginx", "set-cookie": ["a=1", "b=2"] }, body: "hi" };
            let r = run("shop", #{
                path: "/shops/berlin/b%2Fikes/7/./8?page=2", headers: headers, client_ip: "192.0.2.7",
                consumer: #{ name: "alice" }, claims: #{ tenant: "acme" }, upstream: upstream,
            });
            assert_eq([r.status, r.body, r.json, r.error, r.reason], [200, "hi", (), (), ()]);
            assert_eq(r.headers["set-cookie"], "a=1, b=2");
            assert_eq(r.headers["x-time"], "1700000000");
            assert(!("server" in r.headers) && "x-request-id" in r.headers);
            assert_eq(r.log, ["seen /shops/berlin/b%2Fikes/7/8"]);
            let up = r.request;
            assert_eq([up.method, up.path, up.query, up.upstream, up.body], ["GET", "/b%2Fikes/7/8", "page=2", "main", ""]);
            assert_eq(up.headers["host"], "users.internal:3001");
            assert_eq(up.headers["x-seen"], "shop.example 192.0.2.7 berlin http");
            assert_eq(up.headers["x-forwarded-prefix"], "/shops/berlin");
            assert_eq(up.headers["x-forwarded-for"], "192.0.2.7");
            assert_eq([up.headers["x-who"], up.headers["x-tenant"]], ["alice", "acme"]);
            assert_eq([up.headers["x-from"], up.headers["x-list"]], ["edge", "a, b"]);
            assert(!("x-consumer-name" in up.headers) && !("x-hop" in up.headers));
        }

        fn test_vars_are_the_routes_or_the_tests() {
            assert_eq(run("shop", #{ path: "/shop/x" }).request.headers["x-brand"], "acme");
            assert_eq(run("shop", #{ path: "/shop/x", vars: #{ brand: "b" } }).request.headers["x-brand"], "b");
        }

        fn test_answers_without_an_upstream() {
            let r = run("shop", #{ path: "/shop/deny" });
            assert_eq([r.status, r.reason, r.json.detail, r.request, r.error], [403, "script_denied", "not here", (), ()]);
            let r = run("shop", #{ path: "/shop/closed" });
            assert_eq([r.status, r.reason, r.body, r.headers["content-length"]], [403, (), "closed\n", "7"]);
            let r = run("hello", #{ path: "/hello" });
            assert_eq([r.body, r.headers["x-time"], r.headers["date"]], ["hello\n", "1700000000", "Tue, 14 Nov 2023 22:13:20 GMT"]);
            assert_eq(run("moved", #{ path: "/old/a?b=1" }).headers["location"], "/new/a?b=1");
        }

        fn test_the_limits_of_hooks_are_the_configurations() {
            assert_error(run("shop", #{ path: "/shop/forever" }), "max_operations");
        }"#,
    );
}

#[test]
fn bodies_are_decoded_framed_and_json_where_they_are_maps() {
    passes(
        r#"fn whole(request) {
            request.path = "/whole";
            run("whole", request)
        }

        fn test_both_bodies() {
            let r = whole(#{ method: "POST", body: "hi", upstream: #{ headers: #{ etag: "x" }, body: "ho" } });
            assert_eq([r.request.body, r.request.headers["content-length"]], ["{\"was\":\"hi\"}", "12"]);
            assert_eq(r.request.headers["content-type"], "application/json");
            assert_eq([r.body, r.headers["content-length"], "etag" in r.headers], ["ho!", "3", false]);
        }

        fn test_no_body_stays_none() {
            let r = whole(#{});
            assert_eq([r.request.body, "content-length" in r.request.headers, r.body], ["", false, "!"]);
        }

        fn test_a_map_is_json() {
            let r = run("shop", #{ method: "POST", path: "/shop/x", body: [1], upstream: #{ body: #{ a: 1.5 } } });
            assert_eq([r.request.body, r.request.headers["content-type"]], ["[1]", "application/json"]);
            assert_eq([r.body, r.json, r.headers["content-type"]], ["{\"a\":1.5}", #{ a: 1.5 }, "application/json"]);
        }

        fn test_coded_bodies() {
            let gzip = base64_decode("H4sIAAAAAAACA8vIBwCZj/AxAgAAAA==");
            let r = whole(#{ upstream: #{ headers: #{ "content-encoding": "gzip" }, body: gzip } });
            assert_eq([r.body, "content-encoding" in r.headers], ["ho!", false]);
            let r = whole(#{ upstream: #{ headers: #{ "content-encoding": "zstd" }, body: "?" } });
            assert_eq([r.status, r.reason], [502, "upstream_protocol"]);
            let r = run("shop", #{ path: "/shop/x", upstream: #{ body: gzip } });
            assert_eq(type_of(r.body), "blob");
        }

        fn test_head_204_and_what_is_no_response() {
            let r = whole(#{ method: "HEAD", upstream: #{ body: "ho" } });
            // How long the body would be that the hook makes of it, nobody knows.
            assert_eq([r.body, r.headers["content-length"]], ["", ()]);
            assert_eq(whole(#{ upstream: #{ status: 204, body: "ho" } }).body, "");
            let r = whole(#{ upstream: #{ headers: #{ "content-length": "x" } } });
            assert_eq([r.status, r.reason], [502, "upstream_protocol"]);
        }

        fn test_bodies_over_max_body() {
            let large = "x";
            large.pad(1024 * 1024 + 1, "x");
            assert_eq(whole(#{ method: "POST", body: large }).status, 413);
            assert_eq(whole(#{ upstream: #{ body: large } }).status, 502);
            assert_eq(run("shop", #{ path: "/shop/x", upstream: #{ body: large } }).status, 200);
        }"#,
    );
}

#[test]
fn each_test_has_a_clock_ids_and_counters_of_its_own() {
    let text = r#"fn ID() {}
        fn test_NAME() {
            assert_eq([now(), uuid(), uuid().sub_string(-1)], [1_700_000_000, "00000000-0000-4000-8000-000000000001", "2"]);
            assert_eq(counter("answers").value, 0);
            run("hello", #{ path: "/hello" });
            assert_eq(counter("answers").value, 1);
            advance(90);
            assert_eq([now(), now_rfc3339()], [1_700_000_090, "2023-11-14T22:14:50.000Z"]);
            set_now(5);
            assert_eq(run("hello", #{ path: "/hello" }).headers["x-time"], "5");
        }"#;
    passes(&format!(
        "{}\n{}",
        text.replace("NAME", "a"),
        text.replace("NAME", "b").replace("fn ID() {}", "")
    ));
    assert!(fails("set_now(-1);").contains("1970"));
    assert!(fails("advance(9_223_372_036_854_775_807);").contains("1970"));
}

#[test]
fn what_run_does_not_understand_is_said() {
    for (request, says) in [
        (r#"run("shpo", #{ path: "/shop/x" })"#, r#"there is no route "shpo": did you mean "shop"?"#),
        (r#"run("shop", #{})"#, "`path` is missing"),
        (
            r#"run("shop", #{ path: "/x" })"#,
            r#""/x" is no path of route "shop": it has /shop/*, /shops/{shop}/{*what}"#,
        ),
        (r#"run("shop", #{ path: "shop" })"#, "begins with `/`"),
        (r#"run("shop", #{ path: "/shop/x", header: #{} })"#, "did you mean `headers`?"),
        (r#"run("shop", #{ path: "/shop/x", upstream: #{ stauts: 1 } })"#, "did you mean `upstream.status`?"),
        (r#"run("shop", #{ path: "/shop/x", upstream: #{ status: 101 } })"#, "200 to 599"),
        (r#"run("shop", #{ path: "/shop/x", headers: #{ a: "x\r\nb: c" } })"#, "no header"),
        (
            r#"run("shop", #{ path: "/shop/x", body: 7 })"#,
            "`body` is a string, a blob, a map or an array, not a number",
        ),
        (r#"run("shop", #{ path: "/shop/x", client_ip: "here" })"#, "`client_ip` is an address"),
        (r#"run("shop", #{ path: "/shop/x", consumer: #{ groups: ["a"] } })"#, "`consumer.name` is missing"),
    ] {
        let line = fails(&format!("{request};"));
        assert!(line.starts_with("FAILED scripts/tests/t.rhai:2:5: test_it: `run`: "), "{line}");
        assert!(line.contains(says), "{says} in {line}");
    }
}

#[test]
fn a_test_that_runs_for_ever_is_ended() {
    let line = fails("loop {}");
    assert_eq!(
        line,
        "FAILED scripts/tests/t.rhai:1: test_it: the test was ended: it needs too many operations, too long, or too much memory"
    );
}

#[test]
fn a_test_may_do_more_than_a_hook() {
    passes("fn test_it() { let n = 0; while n < 50_000 { n += 1; } assert_eq(n, 50_000); }");
}

#[test]
fn a_file_that_is_no_script_and_a_test_with_parameters_fail() {
    let (code, out, _) = run_text("fn test_it() {\n    let = 1;\n}");
    assert_eq!(code, Some(1));
    assert!(out.starts_with("FAILED scripts/tests/t.rhai:2:9: "), "{out}");
    let (code, out, _) = run_text("fn test_it(x) {}");
    assert_eq!(code, Some(1));
    assert!(out.contains("t.rhai:1: test_it: a test takes no parameters: write fn test_it()"), "{out}");
}

#[test]
fn a_test_can_have_constants_helpers_and_the_libraries_of_the_scripts() {
    let dir = place(&[(
        "t.rhai",
        "import \"lib/x\" as x;\nconst SEVEN = 7;\nfn test_it() { assert_eq(x::twice(global::SEVEN), 14); }",
    )]);
    std::fs::create_dir(dir.path().join("scripts/lib")).expect("it can be made");
    std::fs::write(dir.path().join("scripts/lib/x.rhai"), "fn twice(n) { 2 * n }")
        .expect("it can be written");
    let (code, out, _) = run(dir.path(), &["--config", "gateway.toml"]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn paths_are_files_or_directories() {
    let dir = place(&[("a.rhai", "fn test_1() {}"), ("b.rhai", "fn test_1() {}")]);
    std::fs::create_dir(dir.path().join("more")).expect("it can be made");
    std::fs::write(dir.path().join("more/c.rhai"), "fn test_1() {}").expect("it can be written");
    let (code, out, _) = run(dir.path(), &["--config", "gateway.toml", "more", "scripts/tests/b.rhai"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        "more/c.rhai: 1 passed, 0 failed\nscripts/tests/b.rhai: 1 passed, 0 failed\n\n2 passed, 0 failed\n"
    );
}

#[test]
fn no_tests_and_a_path_that_is_not_there_exit_1_with_what_to_do() {
    for (tests, words, cause) in [
        (&[][..], &[][..], "there are no tests in scripts/tests"),
        (&[("a.rhai", "fn helper() {}")], &[], "there are no tests in scripts/tests/a.rhai"),
        (
            &[("a.rhai", "fn test_1() {}")],
            &["scripts/test"],
            "cannot read the tests in scripts/test: No such file",
        ),
    ] {
        let dir = place(tests);
        let (code, _, err) = run(dir.path(), &[&["--config", "gateway.toml"], words].concat());
        assert_eq!(code, Some(1));
        let mut lines = err.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with(&format!("ringway: {cause}"))), "{err}");
        assert!(lines.next().is_some_and(|line| line.starts_with("hint: ")), "{err}");
        assert_eq!(lines.next(), None);
    }
}

#[test]
fn a_configuration_with_problems_is_shown_as_check_shows_it() {
    let dir = place(&[("a.rhai", "fn test_1() {}")]);
    std::fs::write(dir.path().join("scripts/shop.rhai"), "fn on_request(req) {\n    nothing();\n}\n")
        .expect("it can be written");
    let (code, out, err) = run(dir.path(), &["--config", "gateway.toml"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("--> scripts/shop.rhai:2:5") && err.ends_with("1 problem in gateway.toml\n"),
        "{err}"
    );
}

/// The fenced blocks of a document: info string, line of the fence, text.
fn blocks(text: &str) -> Vec<(&str, usize, String)> {
    let (mut blocks, mut open) = (Vec::new(), None::<(&str, usize, String)>);
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => open = Some((info, number, String::new())),
            (None, Some((.., body))) => *body += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn the_examples_of_the_documentation_pass_their_tests() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/scripting.md")).expect("it is there");
    let blocks = blocks(&text);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (scripts, lib) = (dir.path().join("scripts"), dir.path().join("scripts/lib"));
    std::fs::create_dir_all(scripts.join("tests")).expect("it can be made");
    std::fs::create_dir(&lib).expect("it can be made");
    for file in std::fs::read_dir(Path::new(ROOT).join("scripts/lib")).expect("it is there") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), lib.join(file.file_name())).expect("it can be copied");
    }
    let (_, _, config) = blocks.iter().find(|(info, ..)| *info == "toml").expect("a configuration");
    std::fs::write(dir.path().join("gateway.toml"), config).expect("it can be written");
    // So that what fails is said to be on the line of the document.
    let at_its_line = |line: usize, text: &str| "\n".repeat(line) + text;
    let (mut examples, mut tested) = (0, 0);
    for (info, line, text) in &blocks {
        let name = match *info {
            "rhai" => "example.rhai",
            "rhai test" => "tests/scripting.md.rhai",
            _ => continue,
        };
        std::fs::write(scripts.join(name), at_its_line(*line, text)).expect("it can be written");
        if *info == "rhai" {
            examples += 1;
            continue;
        }
        tested += 1;
        let (code, out, err) = run(dir.path(), &["--config", "gateway.toml"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    }
    assert_eq!(examples, tested, "each example is tested");
    assert!(tested > 20, "{tested} examples");
}
