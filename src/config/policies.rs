//! Policies that a route may have of its own or take from `[defaults]`.

use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::edits::header_edits;
use super::problems::{Fault, Problems, quoted};
use super::section::{At, Section};
use super::units::Day;
use super::{address, auth, cors, rate_limit};
use crate::plan::{AuthMethod, Cors, Deprecated, HeaderEdits, HostHeader, IpRules, RateLimit, Require};

/// The policies of one table. `None`: not said here; a policy that is switched off says its empty value.
#[derive(Clone, Default)]
pub(super) struct Policies {
    timeout: Option<Option<Duration>>,
    host_header: Option<HostHeader>,
    request_headers: Option<HeaderEdits>,
    response_headers: Option<HeaderEdits>,
    deprecated: Option<Option<Deprecated>>,
    scripts: Option<Vec<Arc<str>>>,
    vars: Option<Vec<(Arc<str>, Arc<str>)>>,
    ip: Option<IpRules>,
    cors: Option<Option<Cors>>,
    auth: Option<Vec<AuthMethod>>,
    require: Option<Require>,
    rate_limits: Option<Vec<RateLimit>>,
}

impl Policies {
    /// Reads `[defaults]`, or a route; `jwts` are the names of all providers.
    pub fn read(section: &Section<'_>, jwts: &[&str], problems: &mut Problems) -> Policies {
        let mut edits = |key| section.has(key).then(|| header_edits(&section.section(key), problems));
        let request_headers = edits("request_headers");
        let response_headers = edits("response_headers");
        Policies {
            timeout: section.has("timeout").then(|| section.duration("timeout", problems)),
            host_header: section.text("host_header").map(|text| host_header(text, problems)),
            request_headers,
            response_headers,
            deprecated: section.has("deprecated").then(|| deprecated(section, problems)),
            scripts: section.has("scripts").then(|| names(section.texts("scripts"))),
            vars: section.has("vars").then(|| vars(section)),
            ip: section.has("ip").then(|| ip(&section.section("ip"), problems)),
            cors: section.has("cors").then(|| cors::cors(&section.section("cors"), problems)),
            auth: section.has("auth").then(|| auth::methods(section, jwts, problems)),
            require: section.has("require").then(|| auth::require(&section.section("require"), problems)),
            rate_limits: section.has("rate_limit").then(|| rate_limit::rate_limits(section, problems)),
        }
    }

    /// These, and what they do not say from `defaults`.
    pub fn or(self, defaults: &Policies) -> Policies {
        let defaults = defaults.clone();
        Policies {
            timeout: self.timeout.or(defaults.timeout),
            host_header: self.host_header.or(defaults.host_header),
            request_headers: self.request_headers.or(defaults.request_headers),
            response_headers: self.response_headers.or(defaults.response_headers),
            deprecated: self.deprecated.or(defaults.deprecated),
            scripts: self.scripts.or(defaults.scripts),
            vars: self.vars.or(defaults.vars),
            ip: self.ip.or(defaults.ip),
            cors: self.cors.or(defaults.cors),
            auth: self.auth.or(defaults.auth),
            require: self.require.or(defaults.require),
            rate_limits: self.rate_limits.or(defaults.rate_limits),
        }
    }

    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.flatten()
    }

    pub fn host_header(&self) -> HostHeader {
        self.host_header.clone().unwrap_or(HostHeader::Upstream)
    }

    pub fn request_headers(&self) -> HeaderEdits {
        self.request_headers.clone().unwrap_or_default()
    }

    pub fn response_headers(&self) -> HeaderEdits {
        self.response_headers.clone().unwrap_or_default()
    }

    pub fn deprecated(&self) -> Option<Deprecated> {
        self.deprecated.clone().flatten()
    }

    pub fn scripts(&self) -> Vec<Arc<str>> {
        self.scripts.clone().unwrap_or_default()
    }

    pub fn vars(&self) -> Vec<(Arc<str>, Arc<str>)> {
        self.vars.clone().unwrap_or_default()
    }

    pub fn ip(&self) -> IpRules {
        self.ip.clone().unwrap_or_default()
    }

    pub fn cors(&self) -> Option<Cors> {
        self.cors.clone().flatten()
    }

    pub fn auth(&self) -> Vec<AuthMethod> {
        self.auth.clone().unwrap_or_default()
    }

    /// What `route` requires of those whom its `auth` lets in.
    pub fn require(&self, route: &Section<'_>, problems: &mut Problems) -> Require {
        auth::required(route, &self.auth(), self.require.clone().unwrap_or_default(), problems)
    }

    /// The limits of `route`, whose name is `name`.
    pub fn rate_limits(&self, route: &Section<'_>, name: &str, problems: &mut Problems) -> Vec<RateLimit> {
        let limits = self.rate_limits.clone().unwrap_or_default();
        auth::check_limits(route, &self.auth(), &limits, problems);
        rate_limit::named(limits, name)
    }
}

fn names(texts: Vec<At<&str>>) -> Vec<Arc<str>> {
    texts.into_iter().map(|(name, _)| name.into()).collect()
}

fn ip(table: &Section<'_>, problems: &mut Problems) -> IpRules {
    IpRules {
        allow: address::networks(table.texts("allow"), problems),
        deny: address::networks(table.texts("deny"), problems),
    }
}

fn vars(section: &Section<'_>) -> Vec<(Arc<str>, Arc<str>)> {
    section.text_map("vars").into_iter().map(|((name, _), (value, _))| (name.into(), value.into())).collect()
}

fn host_header((text, span): At<&str>, problems: &mut Problems) -> HostHeader {
    match text {
        "upstream" => HostHeader::Upstream,
        "client" => HostHeader::Client,
        literal => {
            if let Err(why) = address::host_and_port(literal) {
                problems
                    .error(span, format!("`host_header` cannot be {}: {why}", quoted(literal)))
                    .with_hint("write \"upstream\", \"client\", or a host such as \"api.internal:8080\"");
            }
            HostHeader::Literal(literal.into())
        }
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
    Some(Deprecated {
        deprecation: since.map_or("true".into(), |day| format!("@{}", day.unix_seconds()).into()),
        sunset: sunset.map(|day| day.imf_fixdate().into()),
        link: table.text("link").and_then(|link| deprecation_link(link, problems)),
    })
}

fn day(table: &Section<'_>, key: &str, problems: &mut Problems) -> Option<Day> {
    let value = table.get(key)?;
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        _ => return None,
    };
    Day::parse(&text).map_err(|fault| problems.fault(value.span(), fault)).ok()
}

fn deprecation_link((text, span): At<&str>, problems: &mut Problems) -> Option<Arc<str>> {
    let starts = ["https://", "http://", "/"].iter().any(|start| text.starts_with(start));
    // What would end the URL between `<` and `>`, or is no part of one.
    let clean = text.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&b));
    if starts && clean {
        return Some(format!("<{text}>; rel=\"deprecation\"").into());
    }
    let hint = "write link = \"https://example.com/deprecations/v1\"";
    problems.fault(span, Fault::new(format!("`link` cannot be {}", quoted(text)), hint));
    None
}
