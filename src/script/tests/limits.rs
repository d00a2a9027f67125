//! The limits of a call, and that a call that exceeds them affects its own request alone.

use super::*;
use crate::script::budget::CallLimits;

/// What one operation may allocate beyond the limit before it is checked again.
const SLACK_BYTES: i64 = 8 * 1024 * 1024;

/// A good hook beside a bad one.
fn beside(text: &str) -> String {
    format!("{text}\nfn on_request_body(req) {{ req.ctx.ok = [1, 2].map(|x| x + 1); }}")
}

/// Both calls of `on_request` must fail, within the bounds of memory; then the program must still work.
fn ends(text: &str) -> String {
    let mut files = scripts(&[("s.rhai", &beside(text))]);
    // Readings of the clock stand for time: a script has some thousands of them.
    files.max_time = Duration::from_secs(3600);
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    fixture.transaction.edits.request_body = Content::buffered(b"[1]".to_vec());
    let limits = CallLimits { operations: 0, time: Duration::ZERO, body_bytes: files.max_body };
    let mut last = String::new();
    for _ in 0..2 {
        let before = fixture.host.watch();
        last = match fixture.request_hook(Hook::Request) {
            Ok(_) => panic!("it ended well: {text}"),
            Err(fault) => {
                assert!(fault.line > 0, "{fault}: {text}");
                assert!(fault.message.len() < 1100, "{} bytes: {text}", fault.message.len());
                fault.message
            }
        };
        let most = fixture.host.max_held.get() - before;
        let limit = i64::try_from(limits.memory_bytes()).expect("small");
        assert!(most < limit + SLACK_BYTES, "{most} bytes were held: {last}: {text}");
        fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    match fixture.request_hook(Hook::RequestBody) {
        Ok(_) => last,
        Err(fault) => panic!("after {text}: {fault}"),
    }
}

fn all_end(bodies: &[&str]) {
    for body in bodies {
        ends(&format!("fn on_request(req) {{ {body} }}"));
    }
}

/// All must succeed, twice, and leave no memory behind.
fn all_pass(bodies: &[&str]) {
    for body in bodies {
        let mut fixture = Fixture::of(&beside(&format!("fn on_request(req) {{ {body} }}")));
        let mut held = 0;
        for round in 0..10 {
            if let Err(fault) = fixture.request_hook(Hook::Request) {
                panic!("{fault}: {body}");
            }
            fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            fixture.host.lines.borrow_mut().clear();
            // The first calls fill caches.
            if round == 5 {
                held = fixture.host.memory.bytes();
            }
        }
        let more = fixture.host.memory.bytes() - held;
        assert!(more <= 0, "four calls left {more} bytes: {body}");
    }
}

#[test]
fn operations_are_counted() {
    for body in [
        "loop {}",
        "while true { 1; }",
        "for i in 0..1000000000 { let x = i; }",
        "loop { try { loop {} } catch {} }",
    ] {
        let why = ends(&format!("fn on_request(req) {{ {body} }}"));
        assert!(why.contains("max_operations"), "{body}: {why}");
    }
    all_end(&[
        "for i in range(0.0, 1.0, 0.000001) {}",
        "[0].pad(50000, 0); let a = []; a.pad(50000, 0); a.map(|x| x + 1)",
        "let a = []; a.pad(1000, 0); a.some(|x| a.some(|y| a.some(|z| false)));",
        "let a = []; a.pad(9000, 0); a.for_each(|x| { let y = 1; y += 1; });",
        "let a = []; a.pad(50000, 0); a.sort(|a, b| -1); loop { a.dedup(|x, y| false); }",
    ]);
}

#[test]
fn each_call_has_its_own_operations() {
    let mut fixture = Fixture::of("fn on_request(req) { let n = 0; while n < 1500 { n += 1; } }");
    for _ in 0..50 {
        fixture.run();
    }
}

#[test]
fn memory_is_bounded_however_it_grows() {
    all_end(&[
        "let m = #{}; let s = \"\"; s.pad(60000, \"x\"); let i = 0; loop { i += 1; m[`k${i}`] = s + i; }",
        "let m = #{}; let i = 0; loop { i += 1; m.set(`k${i}`, m); }",
        "let s = \"aaaaaaaa\"; loop { s += s; }",
        "let s = \"aaaaaaaa\"; loop { s = `${s}${s}${s}${s}`; }",
        "let s = \"aaaaaaaa\"; let a = []; loop { s = s + \"b\"; s.pad(50000, 'x'); a.push(s); s = s.sub_string(1); }",
        "let a = [1]; loop { a += a; }",
        "let a = [1]; loop { a.push(a); }",
        "let a = [1, 2]; loop { a = [a, a, a, a]; }",
        "let a = #{}; loop { a = #{a: a, b: a, c: a}; }",
        "let a = []; a.pad(90000, 1); let b = []; loop { b.push(a); }",
        "let a = []; a.pad(1000000000, \"x\");",
        "let a = []; let b = []; b.pad(9000, 1); a.pad(9000, b);",
        "let s = \"\"; s.pad(1000000000000, \"x\");",
        "let s = \"\"; s.pad(1000000000000, 'x');",
        "let b = blob(100000000000);",
        "let b = blob(90000); let a = #{}; let i = 0; loop { i += 1; b += 1; a[`k${i}`] = b; }",
        "let fs = []; let s = \"\"; s.pad(60000, \"y\"); loop { let t = s + fs.len(); fs.push(|| t); }",
        "let f = Fn(\"on_request\"); loop { f = f.curry(f); }",
        "let s = \"\"; s.pad(100000, \"x,\"); let a = []; loop { a.push(s.split(\",\")); }",
        "let s = \"\"; s.pad(60000, \"x\"); let t = s; s.replace(\"x\", t);",
        "let s = \"\"; s.pad(60000, \"x\"); let t = s; s.replace(\"\", t);",
        "let s = \"\"; s.pad(60000, \"a\"); let w = \"\"; w.pad(60000, \"$0\"); regex_replace(s, \"a+\", w);",
        "let s = \"\"; s.pad(60000, \"a\"); let w = \"\"; w.pad(600, \"b\"); regex_replace(s, \"a\", w);",
        "let s = \"[\"; s.pad(120000, \"{\\\"a\\\":1},\"); s += \"1]\"; let k = []; loop { k.push(parse_json(s)); }",
        "let s = \"\"; s.pad(60000, \"x\"); let i = 0; loop { i += 1; req.ctx[`k${i}`] = s + i; }",
        "let s = \"\"; s.pad(60000, \"x\"); let i = 0; loop { i += 1; req.query[`k${i}`] = s; }",
        "let s = \"\"; s.pad(1000, \"\\u0001\"); let a = []; a.pad(90000, s); to_json(a);",
        "let a = []; let s = \"\"; s.pad(60000, \"x\"); loop { try { loop { a.push(s + a.len()); } } catch {} }",
        "let s = \"\"; s.pad(100000, \"x\"); loop { req.body = s + \"y\"; req.json = [s, s]; }",
    ]);
}

#[test]
fn json_takes_no_more_memory_than_a_call_may() {
    let mut files = scripts(&[("s.rhai", "fn on_request(req) { req.json; }")]);
    files.max_body = 1024 * 1024;
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    // Every member becomes a map of its own, of hundreds of bytes.
    let body = format!("[{}0]", "{\"a\":1},".repeat(125_000));
    fixture.transaction.edits.request_body = Content::buffered(body.into_bytes());
    let before = fixture.host.watch();
    assert!(fixture.fault().contains("of memory"));
    assert!(fixture.host.max_held.get() - before < 32 * 1024 * 1024 + SLACK_BYTES);
}

#[test]
fn headers_are_bounded() {
    for body in [
        "let v = \"\"; v.pad(60000, \"x\"); let i = 0; loop { i += 1; req.headers[`h${i}`] = v; }",
        "let v = \"\"; v.pad(60000, \"x\"); loop { req.headers[\"h\"] = v; }",
        "loop { req.headers.add(\"h\", \"x\"); }",
    ] {
        let why = ends(&format!("fn on_request(req) {{ {body} }}"));
        assert!(why.contains("more headers"), "{body}: {why}");
    }
    ends("fn on_request(req) { let h = #{}; for i in 0..3000 { h[`h${i}`] = i; } respond(200, \"x\", h) }");
    ends(
        "fn on_request(req) { let v = \"\"; v.pad(100000, \"x\"); respond(200, \"x\", #{a: [v, v, v, v, v]}) }",
    );
}

#[test]
fn recursion_ends() {
    for text in [
        "fn on_request(req) { on_request(req) }",
        "fn f(n) { f(n + 1) } fn on_request(req) { f(1) }",
        "fn on_request(req) { let f = |f| f.call(f); f.call(f) }",
        "fn g(x) { [x].map(|y| [y].filter(|z| g(z))) } fn on_request(req) { g(1) }",
        "fn g() { this.g() } fn on_request(req) { let m = #{}; m.g() }",
    ] {
        ends(text);
    }
    all_end(&[
        "let s = \"\"; s.pad(60000, \"[\"); parse_json(s)",
        "let s = \"\"; s.pad(60000, \"{\\\"a\\\":\"); parse_json(s)",
    ]);
}

#[test]
fn values_too_deep_for_the_stack_end_the_call() {
    all_end(&[
        "let a = []; loop { a = [a]; }",
        "let a = []; loop { a = [take(a)]; }",
        "let a = #{}; loop { a = #{a: a}; }",
        "let a = #{}; loop { let b = #{}; b[\"x\"] = take(a); a = b; }",
        "let a = []; loop { let b = []; b.push(a); a = b; }",
        "let a = [[]]; loop { a.push([a.pop()]); }",
        "let c = req.ctx; c.a = []; loop { c.a = [c.a]; }",
        "let g = Fn(\"x\"); loop { g = Fn(\"x\").curry(take(g)); }",
        "let g = |x| x; loop { g = g.curry([take(g)]); }",
        "let x = 1; loop { let y = x; let f = || y; x = f; }",
        "let c = req.ctx; c.x = (); loop { let x = c.x; let f = || x; c.x = f; }",
        "let a = []; loop { try { loop { a = [a]; } } catch {} }",
        "let a = []; for i in 0..100 { a = [a]; } loop { let b = a; for j in 0..60 { b = [b]; } a = b; }",
        "let a = (0..10).reduce(|s, v| [s]); loop { a = [[[[[[[[a]]]]]]]]; }",
    ]);
    ends("fn f() { loop { this.x = [this.x]; } } fn on_request(req) { let a = #{x: 1}; a.f() }");
    ends("fn f() { loop { this = [this]; } } fn on_request(req) { let a = []; a.f() }");
    ends("fn f(a) { [a] } fn on_request(req) { let a = []; loop { a = f(a); } }");
}

#[test]
fn values_that_nest_within_bounds_work() {
    all_pass(&[
        "let a = []; for i in 0..120 { a = [a]; } let b = a; print(b); to_json(b); a == b; req.json = b; debug(b)",
        "let s = \"\"; s.pad(120, \"[\"); let t = \"\"; t.pad(120, \"]\"); to_json(parse_json(s + t))",
        "let g = Fn(\"x\"); for i in 0..100 { g = Fn(\"x\").curry(take(g)); } print(g); debug(g); [g]",
        "let x = 1; let fs = []; for i in 0..200 { fs.push(|| x); } let a = []; a.pad(9000, fs.len()); a.len()",
    ]);
}

#[test]
fn shared_values_within_values_work() {
    all_pass(&[
        "let c = req.ctx; c.me = c; print(c); to_json(c); debug(c); c == c; c in [c]",
        "req.ctx.me = req.ctx; req.ctx.me.me = req.ctx; to_json(req.ctx)",
        "let c = req.ctx; let a = [c]; a.push(c); a += [c]; a[0].x = a; print(a); a == a",
        "let c = req.ctx; c.list = []; c.list.push(c); c.list.push(c); print(c.list); c.list.len()",
        "let c = req.ctx; let m = #{x: c}; m.y = c; m.z = m; c.m = m; c.m.m = c; [m].index_of(m)",
        "let x = #{}; let f = |k| { x[k] = x; }; f.call(\"a\"); f.call(\"b\"); x == x; to_json(x)",
        "let x = [1]; let f = || x; let a = [1, 2].map(|v| x); a.push(1); a.push(a); let b = a; b[0].push(1)",
        "let x = [1]; let k = #{a: 1}.map(|v| x); k.b = k; k[\"c\"] = k; let z = [k]; z.push(k)",
        "let a = [1, 2].map(|v| req.ctx); a.push(1); a.push(a); req.ctx.a = a; let z = req.ctx; z.q = a; to_json(z)",
        "let x = [1]; let f = || x; let a = [1].map(|v| take(x)); a.push(1); let b = [a]; b.push(f.call())",
        "let x = [1]; let f = || x; let a = [1, 2].reduce(|s, v| x, 0); a.push(1); let q = [a]; q.push(a)",
        "let x = [1]; let b = [[1, 2].zip([3, 4], |p, q| x)]; b.push(2); b[0].push(3); b[0][0].push(3)",
        "let x = [1]; let f = || x; let z = [if true { x } else { 1 }, { x }, x ?? 1, () ?? x]; z.push(2); z += [z]",
        "let x = [1]; let g = || { return x; }; let m = #{}; m.f = g; let q = [m.f()]; q.push(1); m.q = call(g); m.w = m",
        "let x = [1]; let r = [[1].map(|i| x)]; r.insert(0, 1); r.pad(5, [1].map(|i| x)); r[0] = [1].map(|i| x); r.push(2); to_json(r)",
        "let c = req.ctx; let r = [[1].map(|v| c)]; c.r = r; r.push(1); c.r.push(c.r); r[0][0].z = r; to_json(c)",
        "let c = req.ctx; c.r = #{a: 1}.map(|v| c); switch c { 1 => 2, _ => 3 }; respond(200, c)",
        "let c = req.ctx; c.a = 1; try { throw c } catch (e) { let s = [e]; s.push(e); s.push(c); c.s = s; }",
        "let c = req.ctx; for x in [c, [c, #{k: c}]] { x = c; } let s = [c]; s += s; s += c; s.dedup()",
        "let x = 1; let f = || x; x = f; let a = [f, x]; a.push(x); a[1] = a; print(a); try { to_json(a); } catch {} x = 0",
        "let c = req.ctx; let f = Fn(\"id\").curry(c); let a = [f]; a.push(f); a.len()",
        "print([req, req.headers, || req, Fn(\"x\")])",
    ]);
}

#[test]
fn a_closure_that_can_be_reached_from_itself_leaks_nothing() {
    all_pass(
        &[
            "let fact = (); fact = |n| if n < 2 { 1 } else { n * fact.call(n - 1) }; fact = fact",
            "let big = []; big.pad(1000, 1); let f = || big; big = [f, big]",
            "let a = (); let b = || a; a = || b; a.len",
            "let c = req.ctx; let x = 1; let f = || { c.n = x; c }; f.call()",
        ]
        .map(|body| body.trim_end_matches(".len")),
    );
    // `ctx` outlives the call, and what its closures captured does not.
    for body in ["let h = 3; req.ctx.g = || h;", "let x = 1; req.ctx.f = [|| { x += 1; x }];"] {
        let why = ends(&format!("fn on_request(req) {{ {body} }}"));
        assert!(why.contains("cannot keep a closure"), "{why}");
    }
    all_pass(&["req.ctx.f = |a| a + 1; req.ctx.got = req.ctx.f.call(1)"]);
}

#[test]
fn closures_at_the_top_level_keep_what_they_captured() {
    let files = scripts(&[
        (
            "s.rhai",
            "const N = 5; const ADD = |x| x + 5; let k = 7; const GET = || k;
             fn on_request(req) {
                 import \"lib/x\" as x;
                 let n = 1; let f = || n;
                 req.ctx.got = [global::ADD.call(f.call()), global::GET.call(), x::GET];
             }",
        ),
        ("lib/x.rhai", "let k = [8]; export const GET = k;"),
    ]);
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    for _ in 0..3 {
        fixture.run();
        assert_eq!(fixture.got(), "[6,7,[8]]");
    }
}

#[test]
fn regular_expressions_are_bounded() {
    all_end(&[
        "let s = \"\"; s.pad(60000, \"(\"); regex_match(\"a\", s);",
        "let s = \"(a{1,100}){1,100}\"; loop { regex_match(\"a\", s); s += \"{1,9}\"; }",
        "let s = \"\"; s.pad(3000, \"(\"); let t = \"\"; t.pad(3000, \")\"); regex_match(\"a\", s + t);",
    ]);
}

#[test]
fn computed_function_names_do_not_fill_a_cache() {
    all_end(&[
        "let i = 0; loop { i += 1; try { call(`f${i}`); } catch {} }",
        "let i = 0; loop { i += 1; try { Fn(`f${i}`).call(1); } catch {} }",
        "let i = 0; loop { i += 1; let m = #{}; m[`kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk${i}`] = 1; }",
        "let i = 0; loop { i += 1; try { import `lib/${i}` as x; } catch {} }",
    ]);
    let body = "let i = 0; while i < 300 { i += 1; try { Fn(`f${i}${uuid()}`).call(1); } catch {} is_def_fn(`g${uuid()}`, 1); }";
    let mut fixture = Fixture::of(&format!("fn on_request(req) {{ {body} }}"));
    for _ in 0..30 {
        fixture.run();
    }
    let held = fixture.host.memory.bytes();
    for _ in 0..30 {
        fixture.run();
    }
    assert!(fixture.host.memory.bytes() - held < 1024 * 1024);
}

#[test]
fn deep_and_long_programs_do_not_compile_or_stay_within_limits() {
    let nested = |open: &str, middle: &str, close: &str, n: usize| {
        format!("fn on_request(req) {{ {}{middle}{} }}", open.repeat(n), close.repeat(n))
    };
    for text in [
        nested("(", "1", ")", 5000),
        nested("[", "", "]", 5000),
        nested("#{a:", "1", "}", 5000),
        nested("-", "1", "", 5000),
        nested("!", "true", "", 5000),
        nested("1 + (", "1", ")", 5000),
        nested("if true {", "", "}", 5000),
        nested("loop {", "", "}", 5000),
        nested("|x| ", "1", "", 5000),
        nested("f(", "1", ")", 5000),
        nested("`${", "1", "}`", 500),
        nested("switch 1 { 1 => ", "1", "}", 5000),
        nested("try {", "", "} catch {}", 5000),
        nested("if true { 1 } else ", "{ 2 }", "", 5000),
        nested("1 + ", "1", "", 5000),
        nested("a.b", "", ".b", 5000),
        nested("x = ", "1", "", 5000),
        format!(
            "fn on_request(req) {{ {} }}",
            (0..300).map(|i| format!("let v{i} = {i};")).collect::<String>()
        ),
        (0..300).map(|i| format!("fn f{i}() {{}}\n")).collect::<String>() + "fn on_request(req) {}",
    ] {
        let files = scripts(&[("s.rhai", &text)]);
        let host = Rc::new(TestHost::default());
        let engine = Engine::new(&files, host);
        if let Ok(program) = engine.program(&"s.rhai".into()) {
            assert!(program.has(Hook::Request));
            let mut fixture = Fixture::with(&files, &["s.rhai"]);
            // With any result.
            drop(fixture.request_hook(Hook::Request));
        }
        check(&files, &["s.rhai".into()]);
    }
}

#[test]
fn overflows_are_errors() {
    all_end(&[
        "let x = 9223372036854775807; x + 1",
        "let x = -9223372036854775807; x - 2",
        "let x = 9223372036854775807; x * x",
        "let x = 0; 1 / x",
        "let x = 0; 1 % x",
        "let x = -9223372036854775807 - 1; x / -1",
        "let x = 2; x ** 64",
        "1e300.to_int()",
        "parse_int(\"99999999999999999999\")",
        "parse_int(\"z\", 99)",
        "[1][-9223372036854775807 - 1]",
        "\"abc\"[99]",
        "for x in range(0, 10, 0) {}",
    ]);
    all_pass(&[
        "let a = [1, 2, 3]; a.extract(-100, 9223372036854775807); a.splice(-9223372036854775807, 9223372036854775807, [])",
        "let a = [1, 2]; a.drain(9223372036854775807, 9223372036854775807); a.truncate(-9223372036854775807); a.chop(-5)",
        "let b = blob(8); b.write_le(0, 9223372036854775807, 5); b.parse_le_int(-9223372036854775807, 9223372036854775807)",
        "let b = blob(3); b.write_utf8(1, 9223372036854775807, \"ééééé\"); b.as_string()",
        "let s = \"日本\"; s.sub_string(-9, 9223372036854775807); s.crop(-1, 1); s.truncate(-3); s.split(-9223372036854775807)",
        "for c in \"é\".chars(-5, 100) {} let x = 1; x << 70; x >> -70",
    ]);
}

#[test]
fn a_failed_call_leaves_nothing_to_the_next() {
    let mut fixture = Fixture::of(
        "fn deep(n) { if n == 0 { throw \"bottom\" } deep(n - 1) }
         fn on_request(req) { let a = 1; let b = 2; deep(20) }
         fn on_request_body(req) { deep_ok(20); is_def_var(\"a\") }
         fn deep_ok(n) { if n > 0 { deep_ok(n - 1) } }",
    );
    for _ in 0..40 {
        assert!(fixture.fault().ends_with("bottom"));
        if let Err(fault) = fixture.request_hook(Hook::RequestBody) {
            panic!("{fault}");
        }
    }
}

#[test]
fn a_native_function_that_panics_affects_no_later_call() {
    let mut fixture = Fixture::of(
        "fn on_request(req) { req.ctx.x = 1; let c = req.ctx; let f = || c; counter(\"a broken one\").add(1); f.call() }
         fn on_request_body(req) { req.headers[\"x\"] = \"1\"; req.ctx.got = req.ctx.x; }",
    );
    for _ in 0..3 {
        let run = std::panic::AssertUnwindSafe(|| fixture.request_hook(Hook::Request).is_ok());
        assert!(std::panic::catch_unwind(run).is_err());
        fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(fixture.request_hook(Hook::RequestBody).is_ok());
        assert_eq!(fixture.got(), "null");
        fixture.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
}
