//! Random programs: none panics, and all stay within their limits.

use proptest::prelude::*;

use super::*;

/// Templates of values and calls, which are nested into each other.
const LEAVES: &[&str] = &[
    "1",
    "-1",
    "0",
    "9223372036854775807",
    "2.5",
    "0.0",
    "true",
    "()",
    "\"\"",
    "\"text\"",
    "\"a,b\\r\\n\"",
    "'c'",
    "[]",
    "#{}",
    "a",
    "b",
    "c",
    "req",
    "req.headers",
    "req.ctx",
    "req.query",
    "req.path",
    "req.body",
    "req.json",
    "vars",
    "blob(3)",
    "0..5",
    "uuid()",
    "Fn(\"helper\")",
    "|x| x",
    "|x| a",
    "|| b",
    "|x, y| [x, c]",
    "req.headers[\"x-tag\"]",
];
const CALLS: &[&str] = &[
    "[_, _]",
    "#{k: _, l: _}",
    "(_ + _)",
    "(_ - _)",
    "(_ == _)",
    "(_ in _)",
    "(_ ?? _)",
    "(_)[_]",
    "_.len()",
    "`${_}${_}`",
    "(if _ == _ { _ } else { _ })",
    "helper(_, _)",
    "to_json(_)",
    "parse_json(_)",
    "sha256(_)",
    "respond(_, _)",
    "respond(200, _, _)",
    "redirect(_)",
    "regex_match(_, _)",
    "regex_replace(_, _, _)",
    "url_encode(_)",
    "url_decode(_)",
    "base64_encode(_)",
    "base64_decode(_)",
    "hmac_sha256(_, _)",
    "(_).map(_)",
    "(_).filter(_)",
    "(_).reduce(_)",
    "(_).sort(_)",
    "(_).split(_)",
    "(_).split(_, _)",
    "(_).to_string()",
    "type_of(_)",
    "take(a)",
    "(_).call(_)",
    "(_).curry(_)",
    "(_).keys()",
    "(_).values()",
    "(_).sub_string(_, _)",
    "(_).extract(_, _)",
    "(_).index_of(_)",
    "(_).contains(_)",
    "(_).to_chars()",
    "(_).to_upper()",
    "(_ * _)",
    "(_ << _)",
    "(_ ** _)",
    "(_ % _)",
    "counter(_)",
    "(_).all(_)",
    "(_).names()",
    "(_).as_string()",
    "(_).zip(_, _)",
    "(_).order_by(_)",
    "(switch _ { 1 => _, _ => _ })",
];
const STATEMENTS: &[&str] = &[
    "a = _;",
    "b = _;",
    "c = _;",
    "a += _;",
    "b.push(_);",
    "b[0] = _;",
    "b[_] = _;",
    "c.x = _;",
    "c[\"k\"] = _;",
    "c[_] = _;",
    "req.ctx.v = _;",
    "req.ctx[_] = _;",
    "req.ctx = _;",
    "req.headers[_] = _;",
    "req.headers[\"x\"] = _;",
    "req.headers.add(_, _);",
    "req.path = _;",
    "req.query = _;",
    "req.query.q = _;",
    "req.body = _;",
    "req.json = _;",
    "for i in _ { a = i; b = [b, i]; }",
    "while _ { b = [b]; a = _; }",
    "loop { c = #{c: c, v: _}; }",
    "log(_);",
    "print(_);",
    "try { _; } catch (e) { a = e; }",
    "let f = || a; a = f;",
    "b.pad(_, _);",
    "a.replace(_, _);",
    "c.mixin(_);",
    "b.insert(_, _);",
    "b.splice(_, _, _);",
    "return _;",
    "throw _;",
    "b += b;",
    "a = a + a;",
    "let a = _;",
    "b.dedup();",
    "loop { b.push(b); }",
    "loop { a = `${a}${a}x`; }",
    "c.remove(_);",
    "b.retain(_);",
    "vars.x = _;",
    "a.crop(_, _);",
];

/// Fills each hole of a template with the next choice.
fn fill(template: &str, choices: &mut impl Iterator<Item = usize>, depth: usize) -> String {
    let mut out = String::new();
    let bytes = template.as_bytes();
    for (at, c) in template.char_indices() {
        let in_word = |at: Option<usize>| {
            at.and_then(|at| bytes.get(at)).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        };
        // `_ =>` is the language's own.
        let is_hole = c == '_'
            && !in_word(at.checked_sub(1))
            && !in_word(Some(at + 1))
            && !(template[at + 1..].starts_with(" =>"));
        if !is_hole {
            out.push(c);
            continue;
        }
        let choice = choices.next().unwrap_or(0);
        match depth < 4 && choice % 2 == 1 {
            true => out.push_str(&fill(CALLS[choice / 2 % CALLS.len()], choices, depth + 1)),
            false => out.push_str(LEAVES[choice / 2 % LEAVES.len()]),
        }
    }
    out
}

fn program(choices: &[usize]) -> String {
    let mut choices = choices.iter().copied();
    let mut body = String::new();
    while let Some(choice) = choices.next() {
        body.push_str(&fill(STATEMENTS[choice % STATEMENTS.len()], &mut choices, 0));
        body.push('\n');
    }
    format!(
        "fn helper(x, y) {{ [x, y] }}\nfn on_request(req) {{ let a = \"s\"; let b = [1]; let c = #{{}};\n{body} }}"
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(3),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_program_panics_or_exceeds_its_limits(choices in proptest::collection::vec(0_usize..10_000, 1..60)) {
        let text = program(&choices);
        let mut files = scripts(&[("s.rhai", &text)]);
        files.max_operations = 4000;
        check(&files, &["s.rhai".into()]);
        let engine = Engine::new(&files, Rc::new(TestHost::default()));
        if engine.program(&"s.rhai".into()).is_ok() {
            let mut fixture = Fixture::with(&files, &["s.rhai"]);
            for _ in 0..2 {
                let before = fixture.host.watch();
                drop(fixture.request_hook(Hook::Request));
                let most = fixture.host.max_held.get() - before;
                prop_assert!(most < 16 * 1024 * 1024, "{} bytes: {}", most, text);
                for head in [fixture.request_head(), fixture.response_head()] {
                    let lines_are_whole = head.split_inclusive("\r\n").all(|line| {
                        let line = line.trim_end_matches("\r\n");
                        line.contains(": ") && !line.contains(['\r', '\n', '\0'])
                    });
                    prop_assert!(lines_are_whole, "{:?}: {}", head, text);
                }
                fixture.next("GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Tag: t\r\n\r\n");
            }
        }
    }
}

#[test]
fn most_random_programs_compile() {
    let mut state = 1_usize;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 10_000
    };
    let compiles = |text: &str| {
        let files = scripts(&[("s.rhai", text)]);
        Engine::new(&files, Rc::new(TestHost::default())).program(&"s.rhai".into()).is_ok()
    };
    let good = (0..100)
        .filter(|_| compiles(&program(&std::iter::repeat_with(&mut next).take(20).collect::<Vec<_>>())));
    let good = good.count();
    assert!(good > 50, "{good} of 100");
}
