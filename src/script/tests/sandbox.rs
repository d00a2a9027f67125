//! The sandbox: scripts reach neither the machine, nor code made from data, nor other requests.

use super::*;

#[test]
fn data_never_becomes_code() {
    for text in ["eval(\"1\")", "let x = eval;", "fn eval(x) { 1 } fn on_request(req) { eval(\"1\") }"] {
        let text =
            if text.starts_with("fn") { text.to_owned() } else { format!("fn on_request(req) {{ {text} }}") };
        let files = scripts(&[("s.rhai", &text)]);
        assert!(
            Engine::new(&files, Rc::new(TestHost::default())).program(&"s.rhai".into()).is_err(),
            "{text}"
        );
        assert!(!check(&files, &["s.rhai".into()]).is_empty(), "{text}");
    }
    for body in [
        "call(\"eval\", \"log(1)\")",
        "Fn(\"eval\").call(\"log(1)\")",
        "let e = \"eval\"; Fn(e).call(\"log(1)\")",
        "Fn(\"ev\" + \"al\").curry(\"log(1)\").call()",
        "[\"log(1)\"].map(\"eval\")",
        "let e = \"ev\" + \"al\"; [\"log(1)\"].map(Fn(e))",
        "req.headers[\"x-tag\"].call()",
        "Fn(\"x; log(1)\").call()",
    ] {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ {body} }}"));
        assert!(fixture.request_hook(Hook::Request).is_err(), "{body}");
        assert!(fixture.host.lines.borrow().is_empty(), "{body}");
    }
}

#[test]
fn data_of_a_request_is_only_text() {
    let mut fixture = Fixture::of(
        "fn on_request(req) { let t = req.headers[\"x-t\"]; req.ctx.got = `${t}`; log(t); regex_replace(\"a\", \"a\", t); }",
    );
    fixture.next("GET / HTTP/1.1\r\nHost: a\r\nX-T: ${log(1)} `$x` {0} \"+1\r\n\r\n");
    fixture.run();
    assert_eq!(fixture.got(), r#""${log(1)} `$x` {0} \"+1""#);
    assert_eq!(*fixture.host.lines.borrow(), ["s.rhai users id-1: ${log(1)} `$x` {0} \"+1"]);
}

#[test]
fn only_files_of_the_directory_are_imported() {
    let dir = tempfile::tempdir().expect("a directory");
    let outside = dir.path().join("outside.rhai");
    std::fs::write(&outside, "fn f() { 1 }").expect("written");
    let absolute = outside.display().to_string();
    for name in [
        "/etc/passwd",
        &absolute,
        absolute.trim_end_matches(".rhai"),
        "../x",
        "./lib/x",
        "lib/../lib/x",
        "lib",
        "",
        "Cargo.toml",
        "lib/x\0",
    ] {
        for import in [format!("import {name:?} as m;"), format!("let p = {name:?}; import p as m;")] {
            let text = format!("fn on_request(req) {{ {import} }}").replace("\\0", "\\x00");
            let files = scripts(&[("s.rhai", &text), ("lib/x.rhai", "fn f() { 1 }")]);
            let mut fixture = Fixture::with(&files, &["s.rhai"]);
            assert!(fixture.fault().contains("odule not found"), "{import}");
        }
    }
}

#[test]
fn a_script_cannot_sleep_or_exit() {
    for (call, why) in [
        ("sleep(1)", "cannot sleep"),
        ("sleep(0.5)", "cannot sleep"),
        ("timestamp()", "withheld"),
        ("exit()", "use `return`"),
        ("exit(1)", "use `return`"),
        ("Fn(\"exit\").call()", "use `return`"),
        ("[1].map(Fn(\"sleep\"))", "cannot sleep"),
    ] {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ {call}; }}"));
        assert!(fixture.fault().contains(why), "{call}");
    }
}

#[test]
fn nothing_of_the_machine_is_accessible() {
    for call in [
        "open(\"/etc/passwd\")",
        "read(\"x\")",
        "File(\"x\")",
        "read_file(\"/etc/passwd\")",
        "system(\"ls\")",
        "exec(\"ls\")",
        "http_get(\"http://x\")",
        "fetch(\"http://x\")",
        "connect(\"x\")",
        "back_trace()",
        "getenv(\"PATH\")",
        "rand()",
        "import_file(\"x\")",
    ] {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ {call}; }}"));
        assert!(fixture.fault().contains("unction not found"), "{call}");
    }
}

#[test]
fn a_request_sees_nothing_of_another() {
    let mut fixture = Fixture::of(
        "const BOX = #{}; const F = |r| r;
         fn on_request(req) {
             let had = [req.ctx.keys(), is_def_var(\"secret\"), is_def_var(\"mine\"), global::BOX.len(), req.query.token];
             let secret = req.query.token;
             let mine = || secret;
             mine.call();
             let b = global::BOX; b.secret = secret;
             try { global::BOX.secret = secret; } catch {}
             global::F.call(req);
             req.ctx.secret = secret;
             req.ctx.req = req;
             req.ctx.headers = req.headers;
             req.ctx.got = had;
         }
         fn on_request_body(req) { req.ctx.got = [req.body, req.ctx.secret, req.headers[\"x-mine\"]]; }",
    );
    for (token, head) in [("a", "X-Mine: a"), ("b", "X-Mine: b"), ("c", "X-Mine: c")] {
        fixture.next(&format!("GET /?token={token} HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n"));
        fixture.run();
        assert_eq!(fixture.got(), format!(r#"[[],false,false,0,"{token}"]"#));
        fixture.transaction.edits.request_body = Content::buffered(token.into());
        assert!(fixture.request_hook(Hook::RequestBody).is_ok());
        assert_eq!(fixture.got(), format!(r#"["{token}","{token}","{token}"]"#));
    }
}

#[test]
fn a_handle_refers_to_the_running_request() {
    // Two requests whose hooks take turns, each with a handle of itself in its ctx.
    let mut fixture = Fixture::of(
        "fn on_request(req) { req.ctx.me = req; req.ctx.h = req.headers; }
         fn on_request_body(req) { req.ctx.got = [req.ctx.me.path, req.ctx.h[\"host\"]]; }",
    );
    let mut other = Transaction::default();
    request(&mut other, "GET /other HTTP/1.1\r\nHost: other\r\n\r\n");
    fixture.run();
    std::mem::swap(&mut fixture.transaction, &mut other);
    fixture.run();
    for _ in 0..2 {
        std::mem::swap(&mut fixture.transaction, &mut other);
        assert!(fixture.request_hook(Hook::RequestBody).is_ok());
        let path = String::from_utf8_lossy(fixture.transaction.path()).into_owned();
        let host = if path == "/other" { "other" } else { "shop.example" };
        assert_eq!(fixture.got(), format!("[{path:?},{host:?}]"));
    }
}
