//! `req.headers` and `res.headers`.

use super::messages::RESPONSE;
use super::*;

#[test]
fn headers_are_read_set_added_and_removed_in_any_case() {
    let mut fixture = Fixture::of(
        r#"fn on_request(req) {
            let h = req.headers;
            req.ctx.got = [h["X-TAG"], h["none"], h.all("x-tag"), "x-tag" in h, "no" in h, h.names()];
            h["x-tag"] = "c";
            h.add("X-New", 7);
            req.headers["x-other"] = true;
            h.remove("host-hint");
        }"#,
    );
    fixture.run();
    assert_eq!(fixture.got(), r#"["a",null,["a","b"],true,false,["host","x-tag"]]"#);
    assert_eq!(fixture.request_head(), "Host: shop.example\r\nX-Tag: c\r\nX-New: 7\r\nx-other: true\r\n");
}

#[test]
fn no_value_adds_a_line_to_a_head() {
    for value in [
        r#""a\r\nx: y""#,
        r#""a\nb""#,
        r#""a\rb""#,
        r#""\x00""#,
        r#""a\x00b""#,
        r#""\x01""#,
        r#""a\x7fb""#,
        r#""a\x1bb""#,
        "[1]",
        "#{}",
        "blob(3)",
        "|x| x",
    ] {
        for statement in [
            format!(r#"req.headers["x-a"] = {value};"#),
            format!(r#"req.headers.add("x-a", {value});"#),
            format!(r#"return respond(200, "x", #{{"x-a": {value}}});"#),
        ] {
            // An array is a list of values there.
            if value == "[1]" && statement.contains("respond") {
                continue;
            }
            let mut fixture = Fixture::of(&format!("fn on_request(req) {{ {statement} }}"));
            let before = fixture.request_head();
            assert!(fixture.request_hook(Hook::Request).is_err(), "{statement}");
            assert_eq!(fixture.request_head(), before, "{statement}");
        }
    }
}

#[test]
fn no_name_adds_a_line_to_a_head() {
    for name in [
        "", " ", "a b", "a:b", "a\\r\\nb", "a\\nb", "a\\x00", "é", "x-a ", " x-a", "(x)", "a/b", "a\\tb",
        "a,b",
    ] {
        for statement in [
            format!(r#"req.headers["{name}"] = "v";"#),
            format!(r#"req.headers.add("{name}", "v");"#),
            format!(r#"req.headers.remove("{name}");"#),
            format!(r#"return respond(200, "x", #{{"{name}": "v"}});"#),
        ] {
            let mut fixture = Fixture::of(&format!("fn on_request(req) {{ {statement} }}"));
            assert!(fixture.request_hook(Hook::Request).is_err(), "{statement}");
        }
        // To look one up is no error.
        assert_eq!(value_of(&format!(r#"req.headers["{name}"]"#)), Ok("null".to_owned()), "{name}");
    }
}

#[test]
fn names_with_underscores_and_other_token_characters_are_names() {
    let mut fixture = Fixture::of(r#"fn on_request(req) { req.headers["X_a!#$%&'*+-.^`|~9"] = " v w\t"; }"#);
    fixture.run();
    assert!(fixture.request_head().ends_with("X_a!#$%&'*+-.^`|~9: v w\r\n"), "{}", fixture.request_head());
}

#[test]
fn scripts_cannot_change_headers_of_the_gateway_or_of_a_connection() {
    const BOTH: [&str; 11] = [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "keep-alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Proxy-Connection",
        "X-Request-Id",
        "proxy-authenticate",
        "proxy-authorization",
    ];
    for name in
        BOTH.iter().chain(&["Host", "Expect", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"])
    {
        let mut fixture = Fixture::of(&format!("fn on_request(req) {{ req.headers[\"{name}\"] = \"1\"; }}"));
        // These two concern the connection to a proxy or the whole way, depending on the recipient.
        if name.starts_with("proxy-auth") {
            continue;
        }
        let fault = fixture.fault();
        assert!(fault.contains("cannot be changed by a script"), "{name}: {fault}");
    }
    for name in BOTH.iter().take(9) {
        let mut fixture =
            Fixture::of(&format!("fn on_response(req, res) {{ res.headers.add(\"{name}\", 1); }}"));
        fixture.respond(RESPONSE);
        assert!(fixture.response_hook(Hook::Response).is_err(), "{name}");
    }
    for name in BOTH.iter().take(8) {
        let text = format!("fn on_request(req) {{ respond(200, \"x\", #{{\"{name}\": \"1\"}}) }}");
        assert!(Fixture::of(&text).request_hook(Hook::Request).is_err(), "{name}");
    }
}

#[test]
fn unit_removes_all_fields_of_a_name() {
    let mut fixture = Fixture::of(
        r#"fn on_request(req) { req.headers["X-TAG"] = (); req.headers["none"] = (); req.headers.remove("no"); }"#,
    );
    fixture.run();
    assert_eq!(fixture.request_head(), "Host: shop.example\r\n");
}

#[test]
fn an_empty_value_is_a_value() {
    let mut fixture = Fixture::of(
        r#"fn on_request(req) { req.headers["x-e"] = ""; req.ctx.got = [req.headers["x-e"], "x-e" in req.headers]; }"#,
    );
    fixture.run();
    assert_eq!(fixture.got(), r#"["",true]"#);
}
