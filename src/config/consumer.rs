//! `[[consumer]]`, `[group.NAME]` and `[api_keys]`: known clients.
//!
//! Keys are hashed as they are read: the plan holds no API key in clear.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::problems::{Problems, TextSpan, ValueError, quoted};
use super::secret::secret_text;
use super::section::{At, Section};
use super::{Outside, edits, jwt, units};
use crate::auth::parse::api_key;
use crate::base::suggest::closest;
use crate::plan::{ApiKeyHash, ApiKeySettings, Consumer, ConsumerLimit, CredentialPlace, RoutePlan};

/// In bytes.
const MAX_NAME: usize = 128;
/// The names that a suggestion is chosen from, so that many wrong ones in a long file stay cheap.
const SUGGESTED_FROM: usize = 100;

/// `[api_keys]`: the header, then the query parameter if one is named.
pub(super) fn api_keys(root: &Section<'_>, problems: &mut Problems) -> ApiKeySettings {
    let section = root.section("api_keys");
    let header = match section.text("header") {
        Some((name, span)) => {
            problems.accept(span, key_header(name));
            name.to_ascii_lowercase()
        }
        None => ApiKeySettings::HEADER.to_owned(),
    };
    let query = section.text("query").map(|(name, span)| {
        if name.is_empty() {
            problems.error(span, "a query parameter without a name").with_hint("write query = \"api_key\"");
        }
        CredentialPlace::Query(name.into())
    });
    ApiKeySettings { from: [CredentialPlace::Header(header.into())].into_iter().chain(query).collect() }
}

/// # Errors
/// No field name, or a field of which the client's value is gone when credentials are read.
fn key_header(name: &str) -> Result<(), ValueError> {
    edits::editable(name)?;
    if jwt::may_hold_credential(&name.to_ascii_lowercase()) {
        return Ok(());
    }
    Err(ValueError::new(
        format!("{} cannot hold an API key: the gateway removes or writes this header", quoted(name)),
        "choose a header of its own, such as \"x-api-key\"",
    ))
}

/// All consumers in file order, with what replaces the rates of limits for each.
pub(super) fn consumers(
    root: &Section<'_>,
    outside: &dyn Outside,
    problems: &mut Problems,
) -> Vec<Arc<Consumer>> {
    let groups = groups(root, problems);
    let mut reader =
        ConsumerReader { groups: &groups, names: HashMap::new(), keys: HashMap::new(), outside, problems };
    let sections = root.sections("consumer");
    let consumers: Vec<_> = sections.iter().filter_map(|section| reader.consumer(section)).collect();
    report_unused_groups(root, &consumers, problems);
    consumers
}

/// A group with nothing but members needs no section.
fn groups<'a>(root: &Section<'a>, problems: &mut Problems) -> HashMap<&'a str, Vec<ConsumerLimit>> {
    let groups = root.section("group").entries().into_iter();
    let limits_of = |(name, _, value)| Some((name, limits(&Section::of(value)?, Some(name), problems)));
    groups.filter_map(limits_of).collect()
}

/// `limits = { NAME = "rate" }`, of a group or of a consumer.
fn limits(section: &Section<'_>, group: Option<&str>, problems: &mut Problems) -> Vec<ConsumerLimit> {
    let mut limits = Vec::new();
    for ((name, _), (rate, span)) in section.text_map("limits") {
        let rate = problems.accept(span, units::rate(rate));
        limits.extend(rate.map(|rate| ConsumerLimit {
            limit: name.into(),
            rate,
            group: group.map(Arc::from),
        }));
    }
    limits
}

/// One reader for all, as names and keys must be unique over all consumers.
struct ConsumerReader<'r> {
    groups: &'r HashMap<&'r str, Vec<ConsumerLimit>>,
    /// Each name and each key, with its place.
    names: HashMap<String, TextSpan>,
    keys: HashMap<ApiKeyHash, TextSpan>,
    outside: &'r dyn Outside,
    problems: &'r mut Problems,
}

impl ConsumerReader<'_> {
    /// A consumer's own rate wins over those of its groups; of groups, the first named one.
    fn consumer(&mut self, section: &Section<'_>) -> Option<Arc<Consumer>> {
        let name = self.name(section);
        let mut words = |key| section.parsed_list(key, self.problems, word);
        let (groups, permissions) = (words("groups"), words("permissions"));
        let keys = section.texts("api_keys").into_iter();
        let api_keys = keys.filter_map(|at| self.api_key(at)).collect();
        let mut all = limits(section, None, self.problems);
        for replaced in groups.iter().filter_map(|group| self.groups.get(&**group)).flatten() {
            if !all.iter().any(|own: &ConsumerLimit| own.limit == replaced.limit) {
                all.push(replaced.clone());
            }
        }
        Some(Arc::new(Consumer { name: name?, groups, permissions, api_keys, limits: all }))
    }

    fn name(&mut self, section: &Section<'_>) -> Option<Arc<str>> {
        let Some((name, span)) = section.text("name") else {
            if section.lacks("consumer", "name") {
                self.problems
                    .error(section.span.clone(), "a consumer without `name`")
                    .with_hint("write name = \"alice\"");
            }
            return None;
        };
        self.problems.accept(span.clone(), word(name));
        if let Some(first) = self.names.insert(name.to_owned(), span.clone()) {
            self.problems
                .error(span, format!("consumer {} is given twice", quoted(name)))
                .with_related(first, "first here")
                .with_hint("rename one of the two, or make one of them");
        }
        Some(name.into())
    }

    /// `None`: it was reported.
    fn api_key(&mut self, at: At<&str>) -> Option<ApiKeyHash> {
        let span = at.1.clone();
        let text = secret_text(at, self.outside, self.problems)?;
        let hint = "write \"env:NAME\", \"file:PATH\", \"sha256:HEX\", or a long random key";
        let hash = api_key(&text).map_err(|why| ValueError::new(why, hint));
        let hash = self.problems.accept(span.clone(), hash)?;
        if let Some(first) = self.keys.insert(hash, span.clone()) {
            self.problems
                .error(span, "this API key is given twice, so it would not say who is calling")
                .with_related(first, "first here")
                .with_hint("give every consumer keys of its own");
        }
        Some(hash)
    }
}

/// The name of a consumer, a group or a permission. Upstreams read them in headers, groups with commas between.
fn word(text: &str) -> Result<Arc<str>, ValueError> {
    let fits = text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if fits && (1..=MAX_NAME).contains(&text.len()) {
        return Ok(text.into());
    }
    Err(ValueError::new(
        format!("{} is not a name that can be sent in a header", quoted(text)),
        format!("1 to {MAX_NAME} letters, digits or signs, without blanks and commas"),
    ))
}

fn report_unused_groups(root: &Section<'_>, consumers: &[Arc<Consumer>], problems: &mut Problems) {
    let known: HashSet<&str> =
        consumers.iter().flat_map(|consumer| &consumer.groups).map(|group| &**group).collect();
    for (name, span, _) in root.section("group").entries() {
        if !known.contains(name) {
            problems.warning(span, format!("no consumer is in group {}", quoted(name))).with_hint(
                nearest(name, &known).unwrap_or("name it in the `groups` of one, or leave it out".into()),
            );
        }
    }
}

/// Warns of every replacement rate whose limit no route has.
pub(super) fn report_unknown_limits(root: &Section<'_>, routes: &[Arc<RoutePlan>], problems: &mut Problems) {
    let known: HashSet<&str> =
        routes.iter().flat_map(|route| &route.rate_limits).map(|limit| &*limit.name).collect();
    // Those of routes that could not be read.
    let routes = root.sections("route").into_iter().chain([root.section("defaults")]);
    let written =
        routes.flat_map(|route| route.sections("rate_limit")).filter_map(|limit| limit.text("name"));
    let known: HashSet<&str> = known.into_iter().chain(written.map(|(name, _)| name)).collect();
    let groups = root.section("group").entries().into_iter();
    let sections =
        root.sections("consumer").into_iter().chain(groups.filter_map(|(.., value)| Section::of(value)));
    for ((name, span), _) in sections.flat_map(|section| section.text_map("limits")) {
        if !known.contains(name) {
            problems.warning(span, format!("no route has a rate limit {}", quoted(name))).with_hint(
                nearest(name, &known).unwrap_or("a limit goes by the `name` in its `rate_limit`".into()),
            );
        }
    }
}

fn nearest(name: &str, known: &HashSet<&str>) -> Option<String> {
    let near = closest(name, known.iter().copied().take(SUGGESTED_FROM));
    near.map(|near| format!("did you mean `{near}`?"))
}
