//! `[upstream.NAME]`: targets and how they are used.
//!
//! An upstream is named by its index in the plan from here on; file order is kept, so that indices are stable to read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::problems::{Problems, TextSpan, ValueError, quoted};
use super::section::{At, Section, TomlValue, text_of};
use super::{address, breaker, health, retry};
use crate::base::suggest::closest;
use crate::http::hygiene::is_token;
use crate::plan::{Balance, HashOn, TargetPlan, UpstreamPlan};

const SECTION: &str = "upstream.NAME";
const MAX_KEEPALIVE: i64 = 65_535;
const MAX_INFLIGHT: i64 = 1_000_000;
const MAX_WEIGHT: i64 = 65_535;
/// The names that a suggestion is chosen from, so that many wrong ones in a long file stay cheap.
const SUGGESTED_FROM: usize = 1000;

/// The upstreams by name, and which of them routes use.
pub(super) struct UpstreamNames<'a> {
    index: HashMap<&'a str, usize>,
    /// In file order: name, place, used.
    all: Vec<(&'a str, TextSpan, bool)>,
}

impl UpstreamNames<'_> {
    /// The index of the upstream that a route names, which counts it as used; an unknown one is reported.
    pub fn index_of(&mut self, name: &str, span: TextSpan, problems: &mut Problems) -> Option<usize> {
        if let Some(index) = self.index.get(name) {
            self.all[*index].2 = true;
            return Some(*index);
        }
        let known = self.all.iter().take(SUGGESTED_FROM).map(|(known, ..)| *known);
        let hint = match closest(name, known) {
            Some(known) => {
                // That one is used, only misspelt.
                self.all[self.index[known]].2 = true;
                format!("did you mean `{known}`?")
            }
            None => format!("add a section `[upstream.{name}]` with its `targets`"),
        };
        problems.error(span, format!("there is no upstream {}", quoted(name))).with_hint(hint);
        None
    }

    /// Warns of every upstream that no route uses.
    pub fn report_unused(&self, problems: &mut Problems) {
        for (name, span, _) in self.all.iter().filter(|(.., used)| !used) {
            problems
                .warning(span.clone(), format!("upstream {} is never used", quoted(name)))
                .with_hint("name it in a route's `upstream`, or remove it");
        }
    }
}

/// All upstreams in file order. One with problems keeps its place, so that routes still find it.
pub(super) fn upstreams<'a>(
    root: &Section<'a>,
    problems: &mut Problems,
) -> (Vec<Arc<UpstreamPlan>>, UpstreamNames<'a>) {
    let mut names = UpstreamNames { index: HashMap::new(), all: Vec::new() };
    let mut upstreams = Vec::new();
    for (name, span, value) in root.section("upstream").entries() {
        names.index.insert(name, upstreams.len());
        let section = Section::of(value);
        // What is not a table was probably meant as something else: it is not reported as unused as well.
        names.all.push((name, span.clone(), section.is_none()));
        if name.is_empty() || name.chars().any(char::is_control) {
            problems
                .error(span, format!("{} is not a name for an upstream", quoted(name)))
                .with_hint("give it one that can be shown on one line");
        }
        let section = section.unwrap_or_else(Section::absent);
        upstreams.push(Arc::new(upstream(name, &section, problems)));
    }
    (upstreams, names)
}

/// Timeouts by default: 2 s to connect, 30 s to a response's head, 60 s without a byte.
fn upstream(name: &str, section: &Section<'_>, problems: &mut Problems) -> UpstreamPlan {
    let seconds = Duration::from_secs;
    UpstreamPlan {
        name: name.into(),
        targets: targets(name, section, problems),
        balance: balance(section, problems),
        connect_timeout: section.duration("connect_timeout", problems).unwrap_or(seconds(2)),
        response_timeout: section.duration("response_timeout", problems).unwrap_or(seconds(30)),
        idle_timeout: section.duration("idle_timeout", problems).unwrap_or(seconds(60)),
        keepalive: section.integer("keepalive", 0..=MAX_KEEPALIVE, problems).unwrap_or(256) as usize,
        keepalive_idle: section.duration("keepalive_idle", problems).unwrap_or(seconds(60)),
        max_inflight: max_inflight(section, problems),
        retry: retry::retry(section, problems),
        breaker: breaker::breaker(section, problems),
        health: health::health(section, problems),
    }
}

/// How many requests may be in flight at once; `None`: any number.
pub(super) fn max_inflight(section: &Section<'_>, problems: &mut Problems) -> Option<usize> {
    section.integer("max_inflight", 1..=MAX_INFLIGHT, problems).map(|most| most as usize)
}

fn targets(name: &str, section: &Section<'_>, problems: &mut Problems) -> Vec<TargetPlan> {
    let Some(value) = section.get("targets") else {
        if section.is_present() && !section.misspells(SECTION, "targets") {
            problems
                .error(section.span.clone(), format!("upstream {} has no `targets`", quoted(name)))
                .with_hint("add targets = [\"http://127.0.0.1:3001\"]");
        }
        return Vec::new();
    };
    let targets: Vec<TargetPlan> = match value.get_ref() {
        DeValue::Array(items) => items.iter().filter_map(|item| target(item, problems)).collect(),
        _ => target(value, problems).into_iter().collect(),
    };
    if !targets.is_empty() && targets.iter().all(|target| target.weight == 0) {
        problems
            .error(
                value.span(),
                format!("no target of upstream {} gets requests: all have weight 0", quoted(name)),
            )
            .with_hint("leave one its weight; `respond` on the route can say that it is out of service");
    }
    targets
}

/// A target: a URL, or `{ url = …, weight = … }`.
fn target(value: &TomlValue<'_>, problems: &mut Problems) -> Option<TargetPlan> {
    let (url, weight): (At<&str>, u32) = match (text_of(value), Section::of(value)) {
        (Some(url), _) => (url, 1),
        (None, Some(section)) => {
            let weight = section.integer("weight", 0..=MAX_WEIGHT, problems).unwrap_or(1);
            let Some(url) = section.text("url") else {
                if section.lacks("upstream.NAME.targets", "url") {
                    problems
                        .error(value.span(), "a target without `url`")
                        .with_hint("write { url = \"http://127.0.0.1:3001\", weight = 3 }");
                }
                return None;
            };
            (url, weight as u32)
        }
        (None, None) => return None,
    };
    let (address, authority) = problems.accept(url.1, address::target(url.0))?;
    Some(TargetPlan { url: url.0.into(), weight, address, authority })
}

/// Round robin by default.
fn balance(section: &Section<'_>, problems: &mut Problems) -> Balance {
    let hash_on = section.parsed("hash_on", problems, hash_on).unwrap_or(HashOn::Ip);
    let chosen = section.keyword("balance", problems);
    if section.has("hash_on") && section.text("balance").is_none_or(|(text, _)| text != "hash") {
        problems
            .warning(section.span_of("hash_on"), "`hash_on` does nothing without `balance = \"hash\"`")
            .with_hint("add balance = \"hash\", or leave `hash_on` out");
    }
    match chosen.unwrap_or(Balance::RoundRobin) {
        Balance::Hash(_) => Balance::Hash(hash_on),
        chosen => chosen,
    }
}

/// # Errors
/// An unknown kind, no name, a name that no field or cookie can have.
fn hash_on(text: &str) -> Result<HashOn, ValueError> {
    let example = "write \"ip\", \"consumer\", \"path\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"";
    let error = |why: &str| ValueError::new(format!("`hash_on`: {} {why}", quoted(text)), example);
    match text.split_once(':') {
        None if text == "ip" => Ok(HashOn::Ip),
        None if text == "path" => Ok(HashOn::Path),
        None if text == "consumer" => Ok(HashOn::Consumer),
        Some(("header" | "cookie" | "query", "")) => Err(error("has no name")),
        Some(("header" | "cookie", name)) if !is_token(name.as_bytes()) => {
            Err(error("has a name that none can have"))
        }
        Some(("header", name)) => Ok(HashOn::Header(name.to_ascii_lowercase().into())),
        Some(("cookie", name)) => Ok(HashOn::Cookie(name.into())),
        Some(("query", name)) => Ok(HashOn::Query(name.into())),
        _ => Err(error("is not known")),
    }
}
