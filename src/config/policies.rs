//! Policies of routes: each is read from the route that has it, or else from `[defaults]`.
//!
//! A policy of the route replaces the default as a whole and is never merged with it: what holds for a route can then
//! be read in one place. `false`, or an empty list, switches a default off.

use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::edits::header_edits;
use super::problems::{Problems, ValueError, quoted};
use super::section::Section;
use super::{address, auth, cors, rate_limit, units, upstream};
use crate::base::time::imf_fixdate;
use crate::http::hygiene::is_token;
use crate::plan::{Deprecated, HostHeader, IpRules, RoutePlan};

/// A route's section in front of `[defaults]`.
/// `defaults` reads as an absent section where the file has none.
#[derive(Clone, Copy)]
pub(super) struct Layers<'r, 'a> {
    pub route: &'r Section<'a>,
    pub defaults: &'r Section<'a>,
}

impl<'r, 'a> Layers<'r, 'a> {
    /// The section that says what `key` is: one of the route's own replaces the default as a whole.
    fn of(&self, key: &str) -> &'r Section<'a> {
        if self.route.has(key) { self.route } else { self.defaults }
    }

    /// The table under `key`; one that is switched off reads as one that is not there.
    fn table(&self, key: &str) -> Section<'a> {
        self.of(key).section(key)
    }
}

/// Reads all policies into a route that matches nothing yet; `jwts` are the names of all providers. What a policy
/// needs of the others is left to [`check`].
pub(super) fn read(layers: Layers<'_, '_>, jwts: &[&str], problems: &mut Problems) -> RoutePlan {
    RoutePlan {
        ip: ip(&layers.table("ip"), problems),
        cors: cors::cors(&layers.table("cors"), problems),
        auth: auth::methods(layers.of("auth"), jwts, problems),
        require: auth::require(&layers.table("require"), problems),
        rate_limits: rate_limit::rate_limits(layers.of("rate_limit"), problems),
        request_headers: header_edits(&layers.table("request_headers"), problems),
        response_headers: header_edits(&layers.table("response_headers"), problems),
        deprecated: deprecated(layers.of("deprecated"), problems),
        timeout: layers.of("timeout").duration("timeout", problems),
        max_inflight: upstream::max_inflight(layers.of("max_inflight"), problems),
        upgrade: upgrade(layers.of("upgrade"), problems),
        scripts: layers.of("scripts").strings("scripts"),
        vars: layers.of("vars").text_pairs("vars"),
        ..RoutePlan::default()
    }
}

/// Holds the policies of a route, which has its name by now, against each other.
pub(super) fn check(section: &Section<'_>, route: &mut RoutePlan, problems: &mut Problems) {
    let require = std::mem::take(&mut route.require);
    route.require = auth::required(section, &route.auth, require, problems);
    auth::check_limits(section, &route.auth, &route.rate_limits, problems);
    rate_limit::name_all(&mut route.rate_limits, &route.name);
}

/// Which `Host` the upstream gets: a policy that is part of a route's action.
pub(super) fn host_header(layers: Layers<'_, '_>, problems: &mut Problems) -> HostHeader {
    const KEY: &str = "host_header";
    let read = |text: &str| match text {
        "upstream" => Ok(HostHeader::Upstream),
        "client" => Ok(HostHeader::Client),
        literal => {
            address::host_and_port(literal).map(|_| HostHeader::Literal(literal.into())).map_err(|why| {
                let hint = "write \"upstream\", \"client\", or a host such as \"api.internal:8080\"";
                ValueError::new(format!("`{KEY}` cannot be {}: {why}", quoted(literal)), hint)
            })
        }
    };
    layers.of(KEY).parsed(KEY, problems, read).unwrap_or_default()
}

/// The protocols that a route passes upgrades to: WebSocket alone where nothing is said.
/// An empty list passes none. Names are compared in lower case (RFC 9110, 7.8).
fn upgrade(section: &Section<'_>, problems: &mut Problems) -> Vec<Arc<str>> {
    const KEY: &str = "upgrade";
    if !section.has(KEY) {
        return vec!["websocket".into()];
    }
    section.parsed_list(KEY, problems, |text| {
        let is_protocol =
            text.split('/').count() <= 2 && text.split('/').all(|part| is_token(part.as_bytes()));
        let name = text.to_ascii_lowercase();
        match (is_protocol, name.as_str()) {
            (false, _) => Err(ValueError::new(
                format!("{} is no protocol", quoted(text)),
                "write a name such as \"websocket\", or a name with a version such as \"foo/2\"",
            )),
            (true, "h2c") => Err(ValueError::new(
                "`h2c` is never passed on: its tunnel would carry requests past every route".to_owned(),
                "leave it out; RFC 9113 has made this upgrade obsolete",
            )),
            (true, name) => Ok(name.into()),
        }
    })
}

/// Both may be given; the decider asks `deny` first.
/// An empty `allow` is refused: it reads as nobody, and a list that a template left empty must not let everybody in.
fn ip(table: &Section<'_>, problems: &mut Problems) -> IpRules {
    if table.get("allow").and_then(|value| value.get_ref().as_array()).is_some_and(|list| list.is_empty()) {
        problems
            .error(table.span_of("allow"), "`allow` is an empty list, which would let nobody in")
            .with_hint("name networks; leave the key out to let all in, or deny all: deny = [\"0.0.0.0/0\", \"::/0\"]");
    }
    IpRules {
        allow: address::networks(table.texts("allow"), problems),
        deny: address::networks(table.texts("deny"), problems),
    }
}

/// `true`, or a table with dates and a link; `false` and the empty table switch it off.
fn deprecated(section: &Section<'_>, problems: &mut Problems) -> Option<Deprecated> {
    let table = section.section("deprecated");
    if !table.is_present() {
        let on = section.flag("deprecated").unwrap_or(false);
        return on.then(|| Deprecated { deprecation: "true".into(), sunset: None, link: None });
    }
    if table.entries().is_empty() {
        return None;
    }
    let since = day(&table, "since", problems);
    let sunset = day(&table, "sunset", problems);
    if let (Some(since), Some(sunset)) = (since, sunset)
        && sunset < since
    {
        problems
            .error(table.span_of("sunset"), "`sunset` is before `since`")
            .with_hint("a route is deprecated first, and gone later")
            .with_related(table.span_of("since"), "deprecated from here on");
    }
    let date = |day: Duration| String::from_utf8_lossy(&imf_fixdate(day.as_secs())).into();
    Some(Deprecated {
        deprecation: since.map_or("true".into(), |day| format!("@{}", day.as_secs()).into()),
        sunset: sunset.map(date),
        link: table.parsed("link", problems, deprecation_link),
    })
}

/// A day, by its beginning since 1970.
/// TOML has dates of its own, so both spellings are taken; the time of a day is not.
fn day(table: &Section<'_>, key: &str, problems: &mut Problems) -> Option<Duration> {
    let value = table.get(key)?;
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        _ => return None,
    };
    problems.accept(value.span(), units::day(&text))
}

/// The value of `Link` (RFC 8288, 3) with the URL in it.
fn deprecation_link(text: &str) -> Result<Arc<str>, ValueError> {
    let starts = ["https://", "http://", "/"].iter().any(|start| text.starts_with(start));
    // What would end the URL between `<` and `>`, or is no part of one.
    let clean = text.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&b));
    if starts && clean {
        return Ok(format!("<{text}>; rel=\"deprecation\"").into());
    }
    let hint = "write link = \"https://example.com/deprecations/v1\"";
    Err(ValueError::new(format!("`link` cannot be {}", quoted(text)), hint))
}
