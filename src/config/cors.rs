//! `cors` of a route: which pages of other origins may use it.

use std::sync::Arc;

use super::address;
use super::problems::{Problems, ValueError, quoted};
use super::section::{At, Section};
use crate::http::hygiene::is_token;
use crate::plan::{Cors, Origin};

const ANY: &str = "*";
/// The methods where none are given: those that APIs use.
/// They are listed rather than `*`, which has no meaning with credentials.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// `None`: switched off by `false` or an empty table.
pub(super) fn cors(table: &Section<'_>, problems: &mut Problems) -> Option<Cors> {
    if table.entries().is_empty() {
        return None;
    }
    let methods = names(table, "methods", problems);
    let cors = Cors {
        origins: origins(table, problems),
        methods: if methods.is_empty() { METHODS.map(Into::into).to_vec() } else { methods },
        headers: names(table, "headers", problems),
        expose: names(table, "expose", problems),
        credentials: table.flag("credentials").unwrap_or(false),
        max_age: table.seconds("max_age", problems),
    };
    if cors.credentials {
        report_stars(table, problems);
    }
    Some(cors)
}

/// No list or an empty one is an error: CORS that allows nobody is written `cors = false`.
fn origins(table: &Section<'_>, problems: &mut Problems) -> Vec<Origin> {
    if table.lacks("route.cors", "origins")
        || table.get("origins").is_some_and(|value| value.get_ref().as_array().is_some_and(|a| a.is_empty()))
    {
        problems
            .error(table.span_of("origins"), "`cors` without `origins`")
            .with_hint("write origins = [\"https://app.example.com\"]; cors = false switches it off");
    }
    table.parsed_list("origins", problems, origin)
}

/// `"https://app.example.com"`, `"https://*.example.com"` or `"*"`, as browsers write an origin (RFC 6454, 6.2).
fn origin(text: &str) -> Result<Origin, ValueError> {
    let error = |hint: String| ValueError::new(format!("{} is not an origin", quoted(text)), hint);
    let example = || "write \"https://app.example.com\", \"https://*.example.com\" or \"*\"".to_owned();
    if text == ANY {
        return Ok(Origin::Any);
    }
    let (scheme, authority) = text.split_once("://").ok_or_else(|| error(example()))?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme {
        return Err(error(example()));
    }
    if let Some((authority, _)) = authority.split_once('/') {
        return Err(error(format!("an origin has no path: write \"{scheme}://{authority}\"")));
    }
    let scheme = scheme.to_ascii_lowercase();
    let (below, host) = match authority.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, authority),
    };
    let (host, port) = address::host_and_port(host).map_err(error)?;
    if matches!((&*scheme, port), ("https", Some(443)) | ("http", Some(80))) {
        return Err(error("browsers leave the default port out: leave it out here too".to_owned()));
    }
    let host = port.map_or(host.clone(), |port| format!("{host}:{port}"));
    Ok(match below {
        true => Origin::Below { scheme: format!("{scheme}://").into(), domain: format!(".{host}").into() },
        false => Origin::Exact(format!("{scheme}://{host}").into()),
    })
}

/// Methods or field names: both are tokens, and `*` is one too.
fn names(table: &Section<'_>, key: &str, problems: &mut Problems) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    for (text, span) in table.texts(key) {
        if !is_token(text.as_bytes()) {
            problems
                .error(span, format!("`{key}` cannot be {}", quoted(text)))
                .with_hint("write each name as a string of its own");
        } else if key == "methods" && text != text.to_ascii_uppercase() {
            problems
                .error(
                    span,
                    format!("{}: methods are case-sensitive, and this one is never sent", quoted(text)),
                )
                .with_hint(format!("write \"{}\"", text.to_ascii_uppercase()));
        }
        names.push(text.into());
    }
    names
}

/// With credentials, browsers refuse `*` as an origin, and take it for a name in the other lists (Fetch, 3.3.5).
fn report_stars(table: &Section<'_>, problems: &mut Problems) {
    for key in ["origins", "methods", "headers", "expose"] {
        let star: Option<At<&str>> = table.texts(key).into_iter().find(|(text, _)| *text == ANY);
        if let Some((_, span)) = star {
            problems
                .error(span, format!("`*` in `{key}` together with `credentials`"))
                .with_related(table.span_of("credentials"), "credentials here")
                .with_hint(format!("browsers refuse it: name the {key}, or leave `credentials` out"));
        }
    }
}
