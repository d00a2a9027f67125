//! `cors` of a route: what pages of other origins may do.

use std::sync::Arc;

use super::problems::{Fault, Problems, quoted};
use super::section::{At, Section};
use super::{address, edits};
use crate::plan::{Cors, Origin};

const ANY: &str = "*";
/// What a page may use where nothing is said: the methods that APIs have.
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

fn origins(table: &Section<'_>, problems: &mut Problems) -> Vec<Origin> {
    let texts = table.texts("origins");
    let is_missing = !table.has("origins") && !table.misspells("route.cors", "origins");
    if is_missing
        || table.get("origins").is_some_and(|value| value.get_ref().as_array().is_some_and(|a| a.is_empty()))
    {
        problems
            .error(table.span_of("origins"), "`cors` without `origins`")
            .with_hint("write origins = [\"https://app.example.com\"]; cors = false switches it off");
    }
    let mut origins = Vec::new();
    for (text, span) in texts {
        match origin(text) {
            Ok(origin) => origins.push(origin),
            Err(fault) => problems.fault(span, fault),
        }
    }
    origins
}

/// `"https://app.example.com"`, `"https://*.example.com"` or `"*"`, as browsers write an origin (RFC 6454, 6.2).
fn origin(text: &str) -> Result<Origin, Fault> {
    let fault = |hint: String| Fault::new(format!("{} is not an origin", quoted(text)), hint);
    let example = || "write \"https://app.example.com\", \"https://*.example.com\" or \"*\"".to_owned();
    if text == ANY {
        return Ok(Origin::Any);
    }
    let (scheme, authority) = text.split_once("://").ok_or_else(|| fault(example()))?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme {
        return Err(fault(example()));
    }
    if let Some((authority, _)) = authority.split_once('/') {
        return Err(fault(format!("an origin has no path: write \"{scheme}://{authority}\"")));
    }
    let scheme = scheme.to_ascii_lowercase();
    let (below, host) = match authority.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, authority),
    };
    let (host, port) = address::host_and_port(host).map_err(fault)?;
    if matches!((&*scheme, port), ("https", Some(443)) | ("http", Some(80))) {
        return Err(fault("browsers leave the default port out: leave it out here too".to_owned()));
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
        if !edits::is_token(text) {
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

/// Where credentials go along, browsers refuse any origin, and take a `*` in a list for a name.
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
