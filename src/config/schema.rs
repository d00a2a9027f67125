//! Every key of the configuration in one table.
//!
//! Readers never look for unknown keys or wrong kinds of values: `shape` does it for all of them by this table. A key
//! that is missing here cannot be written, even if a reader would read it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::problems::ValueError;
use super::section::Section;
use crate::base::suggest::closest;
use ValueKind::*;

/// What a key's value looks like. A section is named by the path that stands before its keys in [`SCHEMA`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// Anything: the key is not supported yet.
    Later,
    /// A string.
    Text,
    /// A string, or a list of at least one.
    Texts,
    /// A list of strings, which may be empty.
    List,
    /// `{ name = "value" }`, any names.
    TextMap,
    Flag,
    Integer,
    /// A number, or `false`.
    IntegerOrOff,
    /// A list of whole numbers, which may be empty.
    Integers,
    /// A number from 0 to 1.
    Fraction,
    /// `"250ms"`, `"10s"`, `"5m"`, `"1h"`.
    Duration,
    /// A duration, or `false`.
    DurationOrOff,
    /// `"16KiB"`, `"1MiB"`.
    Size,
    /// A number, or a word such as `"auto"`.
    IntegerOrWord,
    /// A date, as a string or as TOML's own.
    Date,
    /// A string, or a list of at least one; a table is a listener with settings, which is not supported yet.
    Listeners,
    /// A target, or a list of them; each a string or a table of this section.
    Targets(&'static str),
    /// A table of this section.
    Table(&'static str),
    /// A table of this section, or `false`.
    TableOrOff(&'static str),
    /// A table of this section, or `true`, or `false`.
    TableOrFlag(&'static str),
    /// Tables by name, each of this section.
    Named(&'static str),
    /// `[[…]]`: a list of tables of this section.
    Tables(&'static str),
}

/// What a key is to the readers.
/// Decides whether `[defaults]` may have the key, and whether an error in it hides what a route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyRole {
    Plain,
    /// A policy of routes, which `[defaults]` may have for all of them.
    Policy,
    /// It decides which requests a route matches.
    Matching,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeySpec {
    /// From the root, with dots; `NAME` stands for a name that the user chooses.
    pub path: &'static str,
    pub kind: ValueKind,
    role: KeyRole,
}

const fn key(path: &'static str, kind: ValueKind) -> KeySpec {
    KeySpec { path, kind, role: KeyRole::Plain }
}

/// A key of the contract that is not built yet, refused as "not supported yet".
const fn later(path: &'static str) -> KeySpec {
    key(path, Later)
}

impl KeySpec {
    const fn policy(self) -> KeySpec {
        KeySpec { role: KeyRole::Policy, ..self }
    }

    const fn matching(self) -> KeySpec {
        KeySpec { role: KeyRole::Matching, ..self }
    }
}

/// All keys. To build one that is [`later`], give it its kind here; its reader then reads it.
/// Order has no meaning but in hints that list the keys of a section.
const SCHEMA: &[KeySpec] = &[
    later("include"),
    key("server", Table("server")),
    key("server.listen", Listeners),
    key("server.shards", IntegerOrWord),
    key("server.pin_cores", Flag),
    key("server.driver", Text),
    key("server.trusted_proxies", List),
    later("server.drain_delay"),
    key("server.drain_timeout", Duration),
    later("server.cache_bytes"),
    later("server.http2"),
    key("server.limits", Table("server.limits")),
    key("server.limits.header_bytes", Size),
    key("server.limits.header_count", Integer),
    key("server.limits.body_bytes", Size),
    key("server.limits.header_timeout", Duration),
    key("server.limits.body_timeout", Duration),
    key("server.limits.min_rate", Size),
    key("server.limits.keepalive_timeout", Duration),
    key("server.limits.max_connections", Integer),
    later("server.limits.h2_streams"),
    later("server.limits.h2_resets"),
    later("server.limits.h2_header_bytes"),
    key("admin", Table("admin")),
    key("admin.listen", Text),
    key("admin.hosts", List),
    key("admin.token", Text),
    later("errors"),
    key("store", Table("store")),
    key("store.url", Text),
    key("store.timeout", Duration),
    key("store.key_prefix", Text),
    key("log", Table("log")),
    key("log.access", Text),
    key("log.target", Text),
    key("log.level", Text),
    later("log.format"),
    later("log.fields"),
    later("log.access_sample"),
    later("metrics"),
    key("scripts", Table("scripts")),
    key("scripts.dir", Text),
    later("scripts.compile"),
    key("scripts.max_operations", Integer),
    key("scripts.max_time", Duration),
    key("scripts.max_body", Size),
    key("scripts.on_error", Text),
    key("scripts.env", List),
    key("upstream", Named("upstream.NAME")),
    key("upstream.NAME.targets", Targets("upstream.NAME.targets")),
    key("upstream.NAME.targets.url", Text),
    key("upstream.NAME.targets.weight", Integer),
    key("upstream.NAME.balance", Text),
    key("upstream.NAME.hash_on", Text),
    key("upstream.NAME.connect_timeout", Duration),
    key("upstream.NAME.response_timeout", Duration),
    key("upstream.NAME.idle_timeout", Duration),
    key("upstream.NAME.keepalive", Integer),
    key("upstream.NAME.keepalive_idle", Duration),
    key("upstream.NAME.retry", Table("upstream.NAME.retry")),
    key("upstream.NAME.retry.attempts", Integer),
    key("upstream.NAME.retry.on", List),
    key("upstream.NAME.retry.budget", Fraction),
    key("upstream.NAME.breaker", TableOrOff("upstream.NAME.breaker")),
    key("upstream.NAME.breaker.failures", Integer),
    key("upstream.NAME.breaker.failure_status", Integers),
    key("upstream.NAME.breaker.open_for", Duration),
    key("upstream.NAME.breaker.half_open", Integer),
    key("upstream.NAME.breaker.max_ejected", Fraction),
    key("upstream.NAME.health", Table("upstream.NAME.health")),
    key("upstream.NAME.health.path", Text),
    key("upstream.NAME.health.interval", Duration),
    key("upstream.NAME.health.timeout", Duration),
    key("upstream.NAME.health.healthy", Integer),
    key("upstream.NAME.health.unhealthy", Integer),
    key("upstream.NAME.health.status", Text),
    key("upstream.NAME.health.panic", Text),
    later("upstream.NAME.health.grpc"),
    key("upstream.NAME.max_inflight", Integer),
    later("upstream.NAME.protocol"),
    later("upstream.NAME.max_streams"),
    later("upstream.NAME.tls"),
    key("consumer", Tables("consumer")),
    key("consumer.name", Text),
    key("consumer.groups", List),
    key("consumer.permissions", List),
    key("consumer.api_keys", List),
    later("consumer.basic"),
    later("consumer.certificates"),
    later("consumer.aws_keys"),
    key("consumer.limits", TextMap),
    key("group", Named("group.NAME")),
    key("group.NAME.limits", TextMap),
    key("api_keys", Table("api_keys")),
    key("api_keys.header", Text),
    key("api_keys.query", Text),
    key("jwt", Named("jwt.NAME")),
    key("jwt.NAME.algorithms", List),
    key("jwt.NAME.secret", Text),
    key("jwt.NAME.public_key", Text),
    key("jwt.NAME.jwks", Text),
    key("jwt.NAME.issuer", Text),
    key("jwt.NAME.audience", Texts),
    key("jwt.NAME.leeway", Duration),
    key("jwt.NAME.from", List),
    key("jwt.NAME.consumer_claim", Text),
    later("jwt.NAME.consumer"),
    later("jwt.NAME.require_exp"),
    key("jwt.NAME.forward", Flag),
    key("jwt.NAME.headers", TextMap),
    later("ext_auth"),
    later("tls"),
    key("defaults", Table("defaults")),
    key("route", Tables("route")),
    key("route.name", Text),
    key("route.host", Texts).matching(),
    key("route.path", Texts).matching(),
    key("route.method", Texts).matching(),
    key("route.headers", TextMap).matching(),
    key("route.query", TextMap).matching(),
    later("route.cookies").matching(),
    key("route.priority", Integer).matching(),
    key("route.upstream", Text),
    later("route.split"),
    key("route.respond", Table("route.respond")),
    key("route.respond.status", Integer),
    key("route.respond.body", Text),
    key("route.respond.content_type", Text),
    key("route.redirect", Table("route.redirect")),
    key("route.redirect.to", Text),
    key("route.redirect.status", Integer),
    later("route.lambda"),
    later("route.lambda_authorizer").policy(),
    later("route.mirror").policy(),
    key("route.max_inflight", IntegerOrOff).policy(),
    key("route.upgrade", List).policy(),
    later("route.grpc_web").policy(),
    key("route.strip_prefix", Flag),
    key("route.rewrite", Text),
    key("route.host_header", Text).policy(),
    key("route.timeout", DurationOrOff).policy(),
    key("route.request_headers", TableOrOff("route.request_headers")).policy(),
    key("route.request_headers.set", TextMap),
    key("route.request_headers.add", TextMap),
    key("route.request_headers.remove", List),
    key("route.response_headers", TableOrOff("route.response_headers")).policy(),
    key("route.response_headers.set", TextMap),
    key("route.response_headers.add", TextMap),
    key("route.response_headers.remove", List),
    key("route.deprecated", TableOrFlag("route.deprecated")).policy(),
    key("route.deprecated.since", Date),
    key("route.deprecated.sunset", Date),
    key("route.deprecated.link", Text),
    key("route.scripts", List).policy(),
    key("route.vars", TextMap).policy(),
    key("route.ip", TableOrOff("route.ip")).policy(),
    key("route.cors", TableOrOff("route.cors")).policy(),
    key("route.auth", List).policy(),
    key("route.require", TableOrOff("route.require")).policy(),
    key("route.rate_limit", Tables("route.rate_limit")).policy(),
    key("route.ip.allow", List),
    key("route.ip.deny", List),
    key("route.cors.origins", List),
    key("route.cors.methods", List),
    key("route.cors.headers", List),
    key("route.cors.expose", List),
    key("route.cors.credentials", Flag),
    key("route.cors.max_age", Duration),
    key("route.require.groups", List),
    key("route.require.permissions", List),
    key("route.require.scopes", List),
    key("route.require.claims", TextMap),
    key("route.rate_limit.name", Text),
    key("route.rate_limit.rate", Text),
    key("route.rate_limit.burst", Integer),
    key("route.rate_limit.by", Text),
    key("route.rate_limit.mode", Text),
    key("route.rate_limit.algorithm", Text),
    key("route.rate_limit.on_store_failure", Text),
    key("route.rate_limit.headers", Text),
    key("route.rate_limit.dry_run", Flag),
    key("route.rate_limit.before_auth", Flag),
    later("route.cache").policy(),
];

/// The section that has the policies of routes.
const DEFAULTS: &str = "defaults";

/// The keys by section and name; the root's section is empty.
/// Built once: a configuration may have thousands of tables, and each looks its keys up here.
static SECTIONS: LazyLock<HashMap<&'static str, Vec<(&'static str, &'static KeySpec)>>> =
    LazyLock::new(|| {
        let mut sections: HashMap<&str, Vec<(&str, &KeySpec)>> = HashMap::new();
        for key in SCHEMA {
            let (section, name) = section_and_name(key);
            sections.entry(section).or_default().push((name, key));
            if key.role == KeyRole::Policy {
                sections.entry(DEFAULTS).or_default().push((name, key));
            }
        }
        sections
    });

fn section_and_name(key: &KeySpec) -> (&'static str, &'static str) {
    key.path.rsplit_once('.').unwrap_or(("", key.path))
}

/// The keys of a section, by name.
pub(super) fn keys(section: &str) -> &'static [(&'static str, &'static KeySpec)] {
    SECTIONS.get(section).map_or(&[], Vec::as_slice)
}

/// `None`: no such key in this section.
pub(super) fn find(section: &str, name: &str) -> Option<&'static KeySpec> {
    keys(section).iter().find(|(known, _)| *known == name).map(|(_, key)| *key)
}

/// The key of the section that was probably meant by an unknown `name`; of two that are as near, one that is built.
pub(super) fn meant(section: &str, name: &str) -> Option<&'static str> {
    let names = |later| {
        let keys = keys(section).iter().filter(move |(_, key)| (key.kind == Later) == later);
        keys.map(|(known, _)| *known)
    };
    match find(section, name) {
        Some(_) => None,
        None => closest(name, names(false).chain(names(true))),
    }
}

/// Whether everything in a route's table that decides what it matches can be read: a key that is misspelt, or whose
/// value is of the wrong kind, would let the route seem to match more than was meant.
/// Such a route is left out of the search for unreachable ones, which would blame others for it.
pub(super) fn has_all_that_matches(route: &Section<'_>) -> bool {
    keys("route").iter().filter(|(_, key)| key.role == KeyRole::Matching).all(|(name, key)| {
        let is_read = match key.kind {
            Texts => !route.texts(name).is_empty(),
            TextMap => route.section(name).is_present(),
            _ => key.kind != Later,
        };
        (is_read || !route.has(name)) && !route.misspells("route", name)
    })
}

/// The section that has a key of this name, for a key that is written under the wrong header: a route's, if there is one,
/// since most keys are; else the first.
pub(super) fn section_with(name: &str) -> Option<&'static str> {
    let mut sections = SCHEMA.iter().map(section_and_name).filter(|(_, last)| *last == name);
    let first = sections.clone().next();
    sections.find(|(section, _)| *section == "route").or(first).map(|(section, _)| section)
}

/// The error about a part of the contract that is not built yet; `what` is quoted or a noun.
pub(super) fn not_supported_yet(what: &str) -> ValueError {
    let hint = "this version does not have it; leave it out until one does";
    ValueError::new(format!("{what} is not supported yet"), hint)
}

/// The full paths of all keys, those of `[defaults]` too.
#[cfg(test)]
pub(super) fn paths() -> Vec<String> {
    let path = |section: &str, name: &str| {
        if section.is_empty() { name.into() } else { format!("{section}.{name}") }
    };
    SECTIONS
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |(name, _)| path(section, name)))
        .collect()
}

/// The full paths of the keys that are not supported yet.
#[cfg(test)]
pub(super) fn paths_of_later_keys() -> Vec<String> {
    let is_later = |path: &String| {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        find(section, name).is_some_and(|key| key.kind == Later)
    };
    paths().into_iter().filter(is_later).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_the_key_that_was_meant() {
        for (section, word, want) in [
            ("route", "upstrem", Some("upstream")),
            ("route", "uptsream", Some("upstream")),
            ("route", "Path", Some("path")),
            ("route", "methods", Some("method")),
            ("route", "strip_prefx", Some("strip_prefix")),
            ("server", "drain", Some("drain_timeout")),
            ("admin", "listen_on", Some("listen")),
            ("", "upstreams", Some("upstream")),
            ("route", "upstream", None),
            ("route", "completely_else", None),
        ] {
            assert_eq!(meant(section, word), want, "{word} in [{section}]");
        }
    }

    #[test]
    fn every_section_has_keys_and_every_key_is_there_once() {
        for key in SCHEMA {
            let (Table(s) | TableOrOff(s) | TableOrFlag(s) | Named(s) | Tables(s) | Targets(s)) = key.kind
            else {
                continue;
            };
            assert!(!keys(s).is_empty(), "{}", key.path);
        }
        let mut paths: Vec<_> = SCHEMA.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), SCHEMA.len(), "each key once");
    }
}
