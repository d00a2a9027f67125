//! Captures of a path, prefix stripping and templates.

use super::*;
use crate::plan::{Piece, Template};
use crate::route::edit::{expand, strip_prefix};

/// The captures of a path under one pattern, the part before the tail, and the path with it stripped.
fn captured(pattern: &str, path: &str) -> (Vec<(String, String)>, usize, String) {
    let mut captures = Captures::default();
    let found = get(path).find(&table([route(pattern)]), &mut captures);
    assert_eq!(found, Found::Route(0), "{pattern} {path}");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let spans = captures.iter(path.as_bytes()).map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut stripped = Vec::new();
    strip_prefix(path.as_bytes(), &captures, &mut stripped);
    (spans, captures.prefix_len(), text(&stripped))
}

#[test]
fn captures_prefix_and_stripped_path() {
    for (pattern, path, spans, prefix_len, stripped) in [
        ("/api/users/*", "/api/users/42", "rest=42", 10, "/42"),
        ("/api/users/*", "/api/users", "rest=", 10, "/"),
        ("/api/users/*", "/api/users/", "rest=", 10, "/"),
        ("/api/users/*", "/api/users/4/2/", "rest=4/2/", 10, "/4/2/"),
        ("/api/users/*", "/api/users//2", "rest=/2", 10, "//2"),
        ("/*", "/", "rest=", 0, "/"),
        ("/*", "/a/b", "rest=a/b", 0, "/a/b"),
        ("/{*all}", "/a%2Fb", "all=a%2Fb", 0, "/a%2Fb"),
        ("/{v}/users/{id}/*", "/v1/users/42/x/y", "v=v1 id=42 rest=x/y", 12, "/x/y"),
        ("/{v}/users/{id}", "/v1/users/42", "v=v1 id=42", 12, "/"),
        ("/x", "/x", "", 2, "/"),
    ] {
        let (got, prefix, got_stripped) = captured(pattern, path);
        let got: Vec<String> = got.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            (got.join(" ").as_str(), prefix, &*got_stripped),
            (spans, prefix_len, stripped),
            "{pattern} {path}"
        );
    }
}

#[test]
fn captures_do_not_outlive_the_next_look_up() {
    let table = table([route("/a/{id}"), route("/b")]);
    let mut captures = Captures::default();
    get("/a/1").find(&table, &mut captures);
    assert_eq!(captures.get("id", b"/a/1"), Some(&b"1"[..]));
    assert_eq!(captures.get("other", b"/a/1"), None);
    for path in ["/b", "/none", "*"] {
        get(path).find(&table, &mut captures);
        assert_eq!(captures.get("id", path.as_bytes()), None, "{path}");
    }
}

#[test]
fn a_template_is_filled_with_captures_and_cannot_name_another_host() {
    let text = |text: &str| Piece::Text(text.into());
    let capture = |name: &str| Piece::Capture(name.into());
    for (path, template, expected) in [
        ("/old/a/b", vec![text("/new/"), capture("rest")], "/new/a/b"),
        ("/old", vec![text("/new/"), capture("rest"), text("?x=1")], "/new/?x=1"),
        ("/old/a%20b", vec![text("https://x.com/"), capture("rest")], "https://x.com/a%20b"),
        ("/old/a", vec![text("/"), capture("none"), text("x")], "/x"),
        ("/old//evil.com", vec![text("/"), capture("rest")], "/evil.com"),
        ("/old/\\evil.com", vec![text("/"), capture("rest")], "/evil.com"),
        ("/old///evil.com", vec![capture("rest")], "/evil.com"),
        ("/old//a", vec![text("//cdn.com/"), capture("rest")], "//cdn.com//a"),
        ("/old//a", vec![text("/b/"), capture("rest")], "/b//a"),
    ] {
        let mut captures = Captures::default();
        get(path).find(&table([route("/old/*")]), &mut captures);
        let mut out = b"//kept ".to_vec();
        expand(&Template(template), path.as_bytes(), &captures, &mut out);
        assert_eq!(str::from_utf8(&out[7..]), Ok(expected), "{path}");
        assert!(out.starts_with(b"//kept "));
    }
}
