//! The functions that scripts can call.

use super::*;

fn gives(table: &[(&str, &str)]) {
    for (expression, value) in table {
        assert_eq!(value_of(expression).as_deref(), Ok(*value), "{expression}");
    }
}

fn fails(table: &[(&str, &str)]) {
    for (expression, why) in table {
        let error = value_of(expression).expect_err(expression);
        assert!(error.contains(why), "{expression}: {error}");
    }
}

#[test]
fn digests_are_those_of_the_standards() {
    gives(&[
        // FIPS 180-4's examples.
        (r#"sha256("abc")"#, r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#),
        (r#"sha256("")"#, r#""e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#),
        ("sha256(blob(0))", r#""e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#),
        // RFC 4231: 4.2, 4.3, 4.4 and 4.7.
        (
            r#"hmac_sha256(blob(20, 0x0b), "Hi There")"#,
            r#""b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7""#,
        ),
        (
            r#"hmac_sha256("Jefe", "what do ya want for nothing?")"#,
            r#""5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843""#,
        ),
        (
            "hmac_sha256(blob(20, 0xaa), blob(50, 0xdd))",
            r#""773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe""#,
        ),
        (
            r#"hmac_sha256(blob(131, 0xaa), "Test Using Larger Than Block-Size Key - Hash Key First")"#,
            r#""60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54""#,
        ),
        (r#"secure_eq("abc", "abc")"#, "true"),
        (r#"secure_eq("abc", "abd") || secure_eq("abc", "ab") || secure_eq("", "a")"#, "false"),
    ]);
    fails(&[
        ("sha256(1)", "takes a string or a blob"),
        ("sha256(())", "takes a string or a blob"),
        ("hmac_sha256(1, \"a\")", "takes a string or a blob"),
        ("hmac_sha256(\"a\", [])", "takes a string or a blob"),
    ]);
}

#[test]
fn base64_is_that_of_rfc_4648() {
    for (text, encoded) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(value_of(&format!("base64_encode({text:?})")), Ok(format!("{encoded:?}")));
        assert_eq!(value_of(&format!("base64_decode({encoded:?})")), Ok(format!("{text:?}")));
    }
    gives(&[
        ("base64_encode(blob(3, 255))", r#""////""#),
        (r#"type_of(base64_decode("////"))"#, r#""blob""#),
    ]);
    fails(&[
        (r#"base64_decode("Zg")"#, "base64_decode"),
        (r#"base64_decode("Z g=")"#, "base64_decode"),
        (r#"base64_decode("Zh==")"#, "base64_decode"),
        (r#"base64_decode("----")"#, "base64_decode"),
        ("base64_encode(1)", "takes a string or a blob"),
    ]);
}

#[test]
fn urls_are_escaped_and_back() {
    gives(&[
        (r#"url_encode("a b/é&=?#%-._~")"#, r#""a%20b%2F%C3%A9%26%3D%3F%23%25-._~""#),
        (r#"url_encode("\r\n")"#, r#""%0D%0A""#),
        (r#"url_decode("a%20b%2F%C3%A9+")"#, r#""a b/é+""#),
        (r#"url_decode("100%")"#, r#""100%""#),
        (r#"url_decode(url_encode("ü%&x"))"#, r#""ü%&x""#),
    ]);
    fails(&[(r#"url_decode("%ff")"#, "url_decode")]);
}

#[test]
fn json_is_written_and_read() {
    gives(&[
        (
            r#"to_json(#{b: [1, 2.5, true, ()], a: "x\"\n"})"#,
            r#""{\"a\":\"x\\\"\\n\",\"b\":[1,2.5,true,null]}""#,
        ),
        ("to_json(())", r#""null""#),
        ("to_json([])", r#""[]""#),
        (r#"to_json("é")"#, r#""\"é\"""#),
        (r#"#{c: "x"[0]}.to_json()"#, r#""{\"c\":\"x\"}""#),
        (r#"to_json(#{f: 0.0 / 0.0})"#, r#""{\"f\":null}""#),
        (
            r#"parse_json("[1, -2, 2.5, 1e3, \"x\", null, true, {}]")"#,
            r#"[1,-2,2.5,1000.0,"x",null,true,{}]"#,
        ),
        (r#"parse_json("{\"a\": 1, \"a\": 2}").a"#, "2"),
        (r#"type_of(parse_json("9223372036854775807"))"#, r#""i64""#),
        (r#"type_of(parse_json("9223372036854775808"))"#, r#""f64""#),
        (r#"parse_json(to_json(#{a: [#{}]}))"#, r#"{"a":[{}]}"#),
    ]);
    fails(&[
        (r#"parse_json("")"#, "parse_json"),
        (r#"parse_json("{a: 1}")"#, "parse_json"),
        (r#"parse_json("[1] [2]")"#, "parse_json"),
        (r#"parse_json("NaN")"#, "parse_json"),
    ]);
}

#[test]
fn regular_expressions_match_and_replace() {
    gives(&[
        (r#"regex_match("order-123", "^order-\\d+$")"#, "true"),
        (r#"regex_match("xorder-1", "^order")"#, "false"),
        (r##"regex_replace("a1b22", "\\d+", "#")"##, r##""a#b#""##),
        (r#"regex_replace("john smith", "(\\w+) (\\w+)", "$2, $1")"#, r#""smith, john""#),
        (r#"regex_replace("aé", "", "-")"#, r#""-a-é-""#),
        (r#"regex_replace("abc", "x", "y")"#, r#""abc""#),
        (r#"regex_replace("abc", "b", "$$")"#, r#""a$c""#),
    ]);
    fails(&[
        (r#"regex_match("a", "(")"#, "no regular expression"),
        (r#"regex_match("a", "(a)\\1")"#, "no regular expression"),
        (r#"regex_match("a", "((a{1,200}){1,200}){1,200}")"#, "too large for a regular expression"),
    ]);
}

#[test]
fn ids_and_time_come_from_the_host() {
    gives(&[
        (
            "[uuid(), uuid()]",
            r#"["00000000-0000-4000-8000-000000000001","00000000-0000-4000-8000-000000000002"]"#,
        ),
        ("now()", "1700000000"),
        ("now_rfc3339()", r#""2023-11-14T22:13:20.500Z""#),
    ]);
}

#[test]
fn only_listed_variables_of_the_environment_are_read() {
    gives(&[(r#"env("GREETING")"#, r#""hello""#)]);
    fails(&[
        (r#"env("PATH")"#, "may not read"),
        (r#"env("")"#, "may not read"),
        (r#"env("greeting")"#, "may not read"),
    ]);
    let mut files = scripts(&[("s.rhai", r#"fn on_request(req) { req.ctx.got = env("ABSENT"); }"#)]);
    files.env.push("ABSENT".into());
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    fixture.run();
    assert_eq!(fixture.got(), "null");
}

#[test]
fn counters_add_up() {
    gives(&[(r#"let c = counter("hits"); c.add(2); counter("hits").add(3); c.value"#, "5")]);
    fails(&[
        (r#"counter("")"#, "1 to 128 bytes"),
        (r#"counter("a\nb")"#, "1 to 128 bytes"),
        (r#"let s = "x"; s.pad(129, "x"); counter(s)"#, "1 to 128 bytes"),
        (r#"counter("one too many").add(1)"#, "no room"),
    ]);
}

#[test]
fn vars_are_the_routes_and_read_only() {
    gives(&[
        ("vars.brand", r#""acme""#),
        ("vars.other", "null"),
        (r#""brand" in vars"#, "true"),
        (r#"let f = || vars["brand"]; f.call()"#, r#""acme""#),
        (r#"let v = vars; v.brand = "x"; v.clear(); vars.brand"#, r#""acme""#),
        (r#"[vars].map(|v| { v.brand = "x"; v.clear() }); vars.brand"#, r#""acme""#),
    ]);
    for statement in [
        "vars = #{}",
        r#"vars.brand = "x""#,
        r#"vars["new"] = "x""#,
        r#"vars.set("brand", "x")"#,
        r#"vars.remove("brand")"#,
        "vars.clear()",
        "take(vars)",
        "vars.mixin(#{a: 1})",
        "vars += #{a: 1}",
        "vars.brand += \"x\"",
        "vars.drain(|x| true)",
        "vars.retain(|x| false)",
        r#"vars.brand.make_upper()"#,
        r#"vars.brand.replace("a", "b")"#,
    ] {
        let text = format!("fn on_request(req) {{ try {{ {statement}; }} catch {{}} req.ctx.got = vars; }}");
        let mut fixture = Fixture::of(&text);
        for _ in 0..2 {
            fixture.run();
            assert_eq!(fixture.got(), r#"{"brand":"acme"}"#, "{statement}");
        }
    }
}

#[test]
fn lines_carry_script_route_and_request() {
    let mut fixture = Fixture::of(
        "fn on_request(req) {\n log(\"a\"); log(2.5); log(1); log([1]); print(#{x: 1});\n debug(\"d\");\n}",
    );
    fixture.run();
    let lines = fixture.host.lines.borrow();
    let texts: Vec<&str> =
        lines.iter().map(|line| line.strip_prefix("s.rhai users id-1: ").expect("prefix")).collect();
    assert_eq!(texts, ["a", "2.5", "1", "[1]", "#{\"x\": 1}", "3:2: \"d\""]);
}

/// Status, head and body of what `on_request` answers.
fn answer(expression: &str) -> Result<(u16, String, String), String> {
    let mut fixture = Fixture::of(&format!("fn on_request(req) {{ {expression} }}"));
    match fixture.request_hook(Hook::Request) {
        Ok(HookOutcome::Answer(ScriptAnswer::Own)) => {
            let body = fixture.transaction.edits.response_body.take_changed().expect("a body");
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok((fixture.transaction.response.status(), fixture.response_head(), body))
        }
        Ok(HookOutcome::Answer(ScriptAnswer::Denied(detail))) => Err(format!("denied: {detail}")),
        Ok(HookOutcome::Continue) => Err("no answer".to_owned()),
        Err(fault) => Err(fault.message),
    }
}

#[test]
fn a_response_has_the_type_of_its_body() {
    for (expression, status, head, body) in [
        ("respond(204)", 204, "", ""),
        ("respond(200, ())", 200, "", ""),
        (r#"respond(200, "")"#, 200, "", ""),
        (r#"respond(418, "tea")"#, 418, "Content-Type: text/plain; charset=utf-8\r\n", "tea"),
        ("return respond(400, #{a: 1});", 400, "Content-Type: application/json\r\n", r#"{"a":1}"#),
        ("respond(200, [1, ()])", 200, "Content-Type: application/json\r\n", "[1,null]"),
        ("respond(200, blob(2, 65))", 200, "Content-Type: text/plain; charset=utf-8\r\n", "AA"),
        (
            r#"respond(200, "<p>", #{"content-type": "text/html", "x-n": 1, "Set-Cookie": ["a=1", "b=2"]})"#,
            200,
            "Content-Type: text/html\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nx-n: 1\r\n",
            "<p>",
        ),
    ] {
        let (got_status, mut got_head, got_body) = answer(expression).expect(expression);
        got_head = got_head.replace("content-type", "Content-Type");
        let sorted = |head: &str| {
            let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!((got_status, &*got_body), (status, body), "{expression}");
        assert_eq!(sorted(&got_head), sorted(head), "{expression}");
    }
}

#[test]
fn invalid_replies_are_refused() {
    for expression in [
        "respond(99, \"x\")",
        "respond(100)",
        "respond(600)",
        "respond(-200)",
        "respond(200, 1)",
        "respond(200, 2.5)",
        "respond(204, \"x\")",
        "respond(304, \"x\")",
        "respond(200, |x| x)",
        "redirect(\"/\", 200)",
        "redirect(\"/\", 304)",
        "redirect(\"\")",
        "redirect(\"/a b\")",
        "redirect(\"/\\r\\nX: y\")",
        "redirect(\"/\\x00\")",
    ] {
        let error = answer(expression).expect_err(expression);
        assert!(error != "no answer" && !error.starts_with("denied"), "{expression}: {error}");
    }
}

#[test]
fn redirects_and_denials_have_their_status_and_head() {
    assert_eq!(answer(r#"redirect("/new")"#), Ok((302, "Location: /new\r\n".into(), String::new())));
    assert_eq!(
        answer(r#"redirect("https://x.example/?a=b#c", 308)"#),
        Ok((308, "Location: https://x.example/?a=b#c\r\n".into(), String::new()))
    );
    assert_eq!(answer("deny()"), Err("denied: ".to_owned()));
    assert_eq!(answer(r#"deny("no\nway")"#), Err("denied: no\nway".to_owned()));
}

#[test]
fn a_reply_that_is_not_returned_has_no_effect() {
    assert_eq!(answer("respond(200); 1"), Err("no answer".to_owned()));
    assert_eq!(answer("let r = respond(200);"), Err("no answer".to_owned()));
}

#[test]
fn strings_are_replaced_and_split_as_in_the_language() {
    gives(&[
        (r#"let s = "aXbX"; s.replace("X", "--"); s"#, r#""a--b--""#),
        (r#"let s = "aXb"; s.replace("X", ""); s"#, r#""ab""#),
        (r#"let s = "aXb"; s.replace('X', 'y'); s"#, r#""ayb""#),
        (r#"let s = "aXb"; s.replace("X", 'y'); s.replace('a', "zz"); s"#, r#""zzyb""#),
        (r#""a,b,,c".split(",")"#, r#"["a","b","","c"]"#),
        (r#""a,b,c".split(',', 2)"#, r#"["a","b,c"]"#),
        (r#""a,b,c".split(",", 0)"#, r#"["a,b,c"]"#),
        (r#""a,b,c".split_rev(",")"#, r#"["c","b","a"]"#),
        (r#""a,b,c".split_rev(",", 2)"#, r#"["c","a,b"]"#),
        (r#"" a  b ".split()"#, r#"["a","b"]"#),
        (r#""".split(",")"#, r#"[""]"#),
        (r#""héé".to_chars()"#, r#"["h","é","é"]"#),
        (r#""abc".split(1)"#, r#"["a","bc"]"#),
    ]);
}
