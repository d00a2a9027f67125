//! Hosts, paths and templates of routes as they are written.
//!
//! Literals are brought into the normal form of request paths here, once; at run time matching is a comparison of
//! bytes. What no request can have after normalisation is an error, because such a route would never match.

use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::address;
use super::problems::{ValueError, quoted};
use super::schema::not_supported_yet;
use crate::http::head::Method;
use crate::http::path::normalise;
use crate::plan::{HostPattern, PathPattern, Piece, Segment, Tail, Template};

/// What a bare `*` captures as.
/// So that a rewrite can name what `*` has matched: `{rest}`.
pub(super) const REST: &str = "rest";

/// A host; `None` for `*`, which is any.
///
/// # Errors
/// Ports, and `*` anywhere but as the whole first label.
pub(super) fn host(text: &str) -> Result<Option<HostPattern>, ValueError> {
    let error = |hint: String| ValueError::new(format!("{} is not a host", quoted(text)), hint);
    if text == "*" {
        return Ok(None);
    }
    let (name, is_wildcard) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    if name.contains('*') {
        return Err(error("`*` stands for whole labels at the front: \"*.example.com\"".to_string()));
    }
    let (name, port) = address::host_and_port(name).map_err(error)?;
    if port.is_some() {
        return Err(error("write it without a port; routes match on every listener".to_string()));
    }
    Ok(Some(if is_wildcard { HostPattern::Wildcard(name.into()) } else { HostPattern::Exact(name.into()) }))
}

/// A path: `/x`, `/x/*`, `/x/{id}`, `/x/{*rest}`.
///
/// # Errors
/// No leading slash, a capture that is no whole segment, a name given twice, a tail that is not last.
pub(super) fn path(text: &str) -> Result<PathPattern, ValueError> {
    if text.starts_with('~') {
        return Err(not_supported_yet("a regular expression as a path"));
    }
    let Some(inner) = text.strip_prefix('/') else {
        return Err(ValueError::new(
            format!("{} does not start with `/`", quoted(text)),
            format!("write \"/{text}\"").replace("//", "/"),
        ));
    };
    let mut segments = Vec::new();
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut tail = Tail::Exact;
    let mut parts = inner.split('/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match pattern_part(part, last)
            .map_err(|why| ValueError::new(format!("{}: {}", quoted(text), why.message), why.hint))?
        {
            PatternPart::Segment(segment) => segments.push(segment),
            PatternPart::Tail(found) => tail = found,
        }
        let name = match (last, &tail, segments.last()) {
            (_, Tail::Any, _) => REST.into(),
            (_, Tail::Capture(name), _) => name.clone(),
            (_, Tail::Exact, Some(Segment::Capture(name))) => name.clone(),
            _ => continue,
        };
        if names.contains(&name) {
            return Err(ValueError::new(
                format!("{} captures `{name}` twice", quoted(text)),
                "give each capture its own name (`*` captures as `rest`)",
            ));
        }
        names.push(name);
    }
    Ok(PathPattern { text: text.into(), segments, tail })
}

/// The names that a path captures, in order.
pub(super) fn captures(path: &PathPattern) -> impl Iterator<Item = &str> {
    let tail = match &path.tail {
        Tail::Exact => None,
        Tail::Any => Some(REST),
        Tail::Capture(name) => Some(&**name),
    };
    let segments = path.segments.iter().filter_map(|segment| match segment {
        Segment::Capture(name) => Some(&**name),
        Segment::Literal(_) => None,
    });
    segments.chain(tail)
}

/// What stands between two slashes of a pattern.
enum PatternPart {
    Segment(Segment),
    Tail(Tail),
}

fn pattern_part(part: &str, last: bool) -> Result<PatternPart, ValueError> {
    if let Some(inner) = part.strip_prefix("{*").and_then(|part| part.strip_suffix('}')) {
        if !last {
            return Err(ValueError::new(
                "`{*name}` takes everything below it",
                "put it at the end of the path",
            ));
        }
        return Ok(PatternPart::Tail(Tail::Capture(capture_name(inner)?)));
    }
    if let Some(inner) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        return Ok(PatternPart::Segment(Segment::Capture(capture_name(inner)?)));
    }
    match part {
        "*" if last => Ok(PatternPart::Tail(Tail::Any)),
        _ if part.contains('*') => Err(ValueError::new(
            "`*` is the whole last segment or nothing",
            "write \"/x/*\", or `{name}` for one segment",
        )),
        _ if part.contains(['{', '}']) => {
            Err(ValueError::new("a capture is a whole segment", "write \"/x/{name}/y\""))
        }
        _ => Ok(PatternPart::Segment(Segment::Literal(literal(part)?.into()))),
    }
}

/// The names of variables in scripts, where captures are `req.params.NAME`.
fn capture_name(name: &str) -> Result<Arc<str>, ValueError> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(name.into());
    }
    Err(ValueError::new(
        format!("{} is not a name for a capture", quoted(name)),
        "letters, digits and `_`, not starting with a digit",
    ))
}

/// A literal segment, in the normal form of a request's path.
fn literal(part: &str) -> Result<String, ValueError> {
    let normal = normal_form(part)?;
    if normal.is_empty() && !part.is_empty() {
        return Err(ValueError::new(
            "dot segments are resolved before a request is matched",
            "write the path without `.` and `..` segments",
        ));
    }
    Ok(normal)
}

/// What requests with this segment are matched by: unreserved octets decoded, escapes in upper case; a dot segment
/// becomes empty.
fn normal_form(part: &str) -> Result<String, ValueError> {
    let mut normal = Vec::new();
    match normalise(format!("/{part}").as_bytes(), Method::Get, &mut normal) {
        // A `?` would have begun a query.
        Ok(target) if target.path_len == normal.len() => {
            Ok(String::from_utf8_lossy(&normal[1..]).into_owned())
        }
        _ => Err(impossible_in_requests(part)),
    }
}

/// Why no request has this segment, and what to write instead.
fn impossible_in_requests(part: &str) -> ValueError {
    /// What a path cannot hold unescaped; `%` begins the escapes that are there.
    const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'?').add(b'\\');
    if !has_whole_escapes(part) {
        return ValueError::new(
            format!("{} has a `%` without two hexadecimal digits", quoted(part)),
            "write `%25` for a percent sign",
        );
    }
    if part.contains("%00") {
        return ValueError::new("an escaped NUL is refused in every request", "leave `%00` out");
    }
    ValueError::new(
        format!("{} has characters that no path can have", quoted(part)),
        format!("write \"{}\"", utf8_percent_encode(part, ESCAPED)),
    )
}

/// Whether two hexadecimal digits follow every `%` (RFC 3986, 2.1).
fn has_whole_escapes(text: &str) -> bool {
    let is_whole = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    text.split('%').skip(1).all(is_whole)
}

/// `rewrite`: a path with captures anywhere in it.
/// Captures are put in as they came; only the fixed text can be checked here.
pub(super) fn rewrite(text: &str) -> Result<Template, ValueError> {
    if !text.starts_with('/') {
        return Err(ValueError::new(
            format!("{} does not start with `/`", quoted(text)),
            format!("write \"/{text}\""),
        ));
    }
    if text.contains(['?', '#']) {
        return Err(ValueError::new(
            format!("{} is more than a path", quoted(text)),
            "the request's query is kept; a rewrite changes the path alone",
        ));
    }
    let template = template(text)?;
    let explained = |why: ValueError| ValueError::new(format!("`rewrite`: {}", why.message), why.hint);
    for segment in text.split('/').filter(|segment| !segment.contains('{')) {
        literal(segment).map_err(explained)?;
    }
    for piece in &template.0 {
        let Piece::Text(text) = piece else { continue };
        for part in text.split('/') {
            normal_form(part).map_err(explained)?;
        }
    }
    Ok(template)
}

/// `redirect.to`: a path or an absolute URL, with captures after the host.
pub(super) fn redirect(text: &str) -> Result<Template, ValueError> {
    let error = |message: &str, hint: &str| ValueError::new(format!("{} {message}", quoted(text)), hint);
    let after_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match after_scheme {
        Some(rest) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            if authority.contains('{') {
                // Otherwise a link to this gateway could lead to any host: an open redirect.
                return Err(error(
                    "lets the request choose the host",
                    "captures may stand after the host only",
                ));
            }
            address::host_and_port(authority).map_err(|why| error("has no valid host", &why))?;
        }
        None if text.starts_with("//") => {
            return Err(error("leads to another host", "write \"https://HOST/…\" if that is meant"));
        }
        None if !text.starts_with('/') => {
            return Err(error(
                "is neither a path nor a URL",
                "write \"/new/{rest}\" or \"https://example.com/{rest}\"",
            ));
        }
        None => {}
    }
    let template = template(text)?;
    // RFC 3986, 2: unreserved and reserved characters, and what begins an escape.
    let is_url_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?#[]%".contains(&b);
    for piece in &template.0 {
        let Piece::Text(text) = piece else { continue };
        if !text.bytes().all(is_url_byte) || !has_whole_escapes(text) {
            return Err(error(
                "is no valid URL",
                "percent-encode what is not: `%20` for a space, `%25` for `%`",
            ));
        }
    }
    Ok(template)
}

/// Cuts a text at its `{captures}`.
fn template(text: &str) -> Result<Template, ValueError> {
    let unpaired = || {
        ValueError::new(format!("{} has an unpaired brace", quoted(text)), "a capture is written `{name}`")
    };
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(unpaired)?;
        if before.contains('}') {
            return Err(unpaired());
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        if let Some(name) = name.strip_prefix('*') {
            let hint = format!("the `*` is for `path`; here write `{{{name}}}`");
            return Err(ValueError::new(format!("{} has a `*` in a capture", quoted(text)), hint));
        }
        pieces.push(Piece::Capture(capture_name(name)?));
        rest = after;
    }
    if rest.contains('}') {
        return Err(unpaired());
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(Template(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lit(text: &str) -> Segment {
        Segment::Literal(text.into())
    }

    fn cap(name: &str) -> Segment {
        Segment::Capture(name.into())
    }

    #[test]
    fn paths_are_cut_at_slashes_and_normalised_like_requests() {
        for (text, segments, tail) in [
            ("/", vec![lit("")], Tail::Exact),
            ("/*", vec![], Tail::Any),
            ("/x", vec![lit("x")], Tail::Exact),
            ("/x/", vec![lit("x"), lit("")], Tail::Exact),
            ("/x//y", vec![lit("x"), lit(""), lit("y")], Tail::Exact),
            ("/x/*", vec![lit("x")], Tail::Any),
            ("/x/{id}", vec![lit("x"), cap("id")], Tail::Exact),
            ("/{a}/{b}/{*more}", vec![cap("a"), cap("b")], Tail::Capture("more".into())),
            ("/%7euser/a%2fb", vec![lit("~user"), lit("a%2Fb")], Tail::Exact),
            ("/caf%c3%a9", vec![lit("caf%C3%A9")], Tail::Exact),
            ("/a[1]|b", vec![lit("a[1]|b")], Tail::Exact),
        ] {
            let pattern = path(text).unwrap();
            assert_eq!((pattern.segments, pattern.tail), (segments, tail), "{text}");
        }
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused_with_what_to_write() {
        for (text, hint) in [
            ("", "write \"/\""),
            ("x", "write \"/x\""),
            ("/a b", "write \"a%20b\""),
            ("/café", "write \"caf%C3%A9\""),
            ("/a?b", "write \"a%3Fb\""),
            ("/100%", "write `%25` for a percent sign"),
            ("/%00", "leave `%00` out"),
            ("/%2", "write `%25` for a percent sign"),
            ("/%é1", "write `%25` for a percent sign"),
            ("/a/../b", "write the path without `.` and `..` segments"),
            ("/a/%2e", "write the path without `.` and `..` segments"),
            ("/*.png", "write \"/x/*\", or `{name}` for one segment"),
            ("/*/x", "write \"/x/*\", or `{name}` for one segment"),
            ("/{*rest}/x", "put it at the end of the path"),
            ("/v{n}", "write \"/x/{name}/y\""),
            ("/{}", "letters, digits and `_`, not starting with a digit"),
            ("/{1a}", "letters, digits and `_`, not starting with a digit"),
            ("/{a}/{a}", "give each capture its own name (`*` captures as `rest`)"),
            ("/{rest}/*", "give each capture its own name (`*` captures as `rest`)"),
        ] {
            assert_eq!(path(text).unwrap_err().hint, hint, "{text}");
        }
    }

    #[test]
    fn a_literal_after_a_capture_is_not_taken_for_a_second_capture() {
        let pattern = path("/{id}/x/y").unwrap();
        assert_eq!(captures(&pattern).collect::<Vec<_>>(), ["id"]);
        assert_eq!(captures(&path("/{a}/{*b}").unwrap()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(captures(&path("/a/*").unwrap()).collect::<Vec<_>>(), ["rest"]);
    }

    #[test]
    fn hosts_are_exact_or_wildcards_in_lower_case() {
        assert_eq!(host("API.example.com"), Ok(Some(HostPattern::Exact("api.example.com".into()))));
        assert_eq!(host("*.Example.com"), Ok(Some(HostPattern::Wildcard("example.com".into()))));
        assert_eq!(host("[::1]"), Ok(Some(HostPattern::Exact("[::1]".into()))));
        assert_eq!(host("*"), Ok(None));
        for text in [
            "", "a.*.com", "*a.com", "**", "*.", "a:80", "[::1]:80", "a.", "a..b", "a b", "http://a", "é.com",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn templates_are_text_and_captures() {
        let text = |text: &str| Piece::Text(text.into());
        let cap = |name: &str| Piece::Capture(name.into());
        assert_eq!(rewrite("/v2/{id}.{ext}").unwrap().0, [text("/v2/"), cap("id"), text("."), cap("ext")]);
        assert_eq!(rewrite("/").unwrap().0, [text("/")]);
        assert_eq!(
            redirect("https://a.com:81/{rest}?x=1").unwrap().0,
            [text("https://a.com:81/"), cap("rest"), text("?x=1")]
        );
        for bad in [
            "", "x", "{rest}", "/{", "/}", "/{a", "/a}b{c}", "/{*a}", "/{}", "/a?b", "/a#b", "/a b", "/../a",
            "/%zz",
        ] {
            assert!(rewrite(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "x",
            "{rest}",
            "//evil.com",
            "https://{sub}.a.com/",
            "https:///x",
            "https://a:b/",
            "/a b",
            "ftp://a",
        ] {
            assert!(redirect(bad).is_err(), "{bad}");
        }
    }
}
