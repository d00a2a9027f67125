//! Every key of the configuration in one table, and the check of a file's shape against it.

use std::collections::HashMap;
use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

use super::problems::{Problem, Problems, quoted};
use super::section::Value;
use Kind::*;

/// What a key's value looks like. A section is named by the path that stands before its keys in [`SCHEMA`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
    /// A number with a fraction.
    Number,
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

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// From the root, with dots; `NAME` stands for a name that the user chooses.
    pub path: &'static str,
    pub kind: Kind,
    /// `false`: part of the contract, refused as "not supported yet".
    pub supported: bool,
}

const fn on(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, supported: true }
}

const fn later(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, supported: false }
}

/// All keys. To turn one on: `later` becomes `on` here, and its reader reads it.
pub const SCHEMA: &[Key] = &[
    on("server", Table("server")),
    on("server.listen", Texts),
    on("server.shards", IntegerOrWord),
    on("server.pin_cores", Flag),
    on("server.driver", Text),
    on("server.trusted_proxies", List),
    on("server.drain_timeout", Duration),
    later("server.cache_bytes", Size),
    on("server.limits", Table("server.limits")),
    on("server.limits.header_bytes", Size),
    on("server.limits.header_count", Integer),
    on("server.limits.body_bytes", Size),
    on("server.limits.header_timeout", Duration),
    on("server.limits.body_timeout", Duration),
    on("server.limits.keepalive_timeout", Duration),
    on("server.limits.max_connections", Integer),
    on("admin", Table("admin")),
    on("admin.listen", Text),
    on("store", Table("store")),
    on("store.url", Text),
    on("store.timeout", Duration),
    on("store.key_prefix", Text),
    on("log", Table("log")),
    on("log.access", Text),
    on("log.target", Text),
    on("log.level", Text),
    on("scripts", Table("scripts")),
    on("scripts.dir", Text),
    on("scripts.max_operations", Integer),
    on("scripts.max_time", Duration),
    on("scripts.max_body", Size),
    on("scripts.on_error", Text),
    on("scripts.env", List),
    on("upstream", Named("upstream.NAME")),
    on("upstream.NAME.targets", Targets("upstream.NAME.targets")),
    on("upstream.NAME.targets.url", Text),
    on("upstream.NAME.targets.weight", Integer),
    on("upstream.NAME.balance", Text),
    on("upstream.NAME.hash_on", Text),
    on("upstream.NAME.connect_timeout", Duration),
    on("upstream.NAME.response_timeout", Duration),
    on("upstream.NAME.idle_timeout", Duration),
    on("upstream.NAME.keepalive", Integer),
    on("upstream.NAME.keepalive_idle", Duration),
    later("upstream.NAME.retry", Table("upstream.NAME.retry")),
    later("upstream.NAME.breaker", Table("upstream.NAME.breaker")),
    later("upstream.NAME.health", Table("upstream.NAME.health")),
    on("consumer", Tables("consumer")),
    on("consumer.name", Text),
    on("consumer.groups", List),
    on("consumer.permissions", List),
    on("consumer.api_keys", List),
    on("consumer.limits", TextMap),
    on("group", Named("group.NAME")),
    on("group.NAME.limits", TextMap),
    on("api_keys", Table("api_keys")),
    on("api_keys.header", Text),
    on("api_keys.query", Text),
    on("jwt", Named("jwt.NAME")),
    on("jwt.NAME.algorithms", List),
    on("jwt.NAME.secret", Text),
    on("jwt.NAME.public_key", Text),
    on("jwt.NAME.jwks", Text),
    on("jwt.NAME.issuer", Text),
    on("jwt.NAME.audience", Texts),
    on("jwt.NAME.leeway", Duration),
    on("jwt.NAME.from", List),
    on("jwt.NAME.consumer_claim", Text),
    on("jwt.NAME.forward", Flag),
    on("jwt.NAME.headers", TextMap),
    on("defaults", Table("defaults")),
    on("defaults.timeout", DurationOrOff),
    on("defaults.host_header", Text),
    on("defaults.request_headers", TableOrOff("route.request_headers")),
    on("defaults.response_headers", TableOrOff("route.response_headers")),
    on("defaults.deprecated", TableOrFlag("route.deprecated")),
    on("defaults.scripts", List),
    on("defaults.vars", TextMap),
    on("defaults.ip", TableOrOff("route.ip")),
    on("defaults.cors", TableOrOff("route.cors")),
    on("defaults.auth", List),
    on("defaults.require", TableOrOff("route.require")),
    on("defaults.rate_limit", Tables("route.rate_limit")),
    later("defaults.cache", Table("route.cache")),
    on("route", Tables("route")),
    on("route.name", Text),
    on("route.host", Texts),
    on("route.path", Texts),
    on("route.method", Texts),
    on("route.headers", TextMap),
    on("route.query", TextMap),
    on("route.priority", Integer),
    on("route.upstream", Text),
    on("route.respond", Table("route.respond")),
    on("route.respond.status", Integer),
    on("route.respond.body", Text),
    on("route.respond.content_type", Text),
    on("route.redirect", Table("route.redirect")),
    on("route.redirect.to", Text),
    on("route.redirect.status", Integer),
    on("route.strip_prefix", Flag),
    on("route.rewrite", Text),
    on("route.host_header", Text),
    on("route.timeout", DurationOrOff),
    on("route.request_headers", TableOrOff("route.request_headers")),
    on("route.request_headers.set", TextMap),
    on("route.request_headers.add", TextMap),
    on("route.request_headers.remove", List),
    on("route.response_headers", TableOrOff("route.response_headers")),
    on("route.response_headers.set", TextMap),
    on("route.response_headers.add", TextMap),
    on("route.response_headers.remove", List),
    on("route.deprecated", TableOrFlag("route.deprecated")),
    on("route.deprecated.since", Date),
    on("route.deprecated.sunset", Date),
    on("route.deprecated.link", Text),
    on("route.scripts", List),
    on("route.vars", TextMap),
    on("route.ip", TableOrOff("route.ip")),
    on("route.cors", TableOrOff("route.cors")),
    on("route.auth", List),
    on("route.require", TableOrOff("route.require")),
    on("route.rate_limit", Tables("route.rate_limit")),
    on("route.ip.allow", List),
    on("route.ip.deny", List),
    on("route.cors.origins", List),
    on("route.cors.methods", List),
    on("route.cors.headers", List),
    on("route.cors.expose", List),
    on("route.cors.credentials", Flag),
    on("route.cors.max_age", Duration),
    on("route.require.groups", List),
    on("route.require.permissions", List),
    on("route.require.scopes", List),
    on("route.require.claims", TextMap),
    on("route.rate_limit.name", Text),
    on("route.rate_limit.rate", Text),
    on("route.rate_limit.burst", Integer),
    on("route.rate_limit.by", Text),
    on("route.rate_limit.mode", Text),
    on("route.rate_limit.algorithm", Text),
    on("route.rate_limit.on_store_failure", Text),
    on("route.rate_limit.headers", Text),
    on("route.rate_limit.dry_run", Flag),
    on("route.rate_limit.before_auth", Flag),
    later("route.cache", Table("route.cache")),
];

/// The keys by section and name; the root's section is empty.
static SECTIONS: LazyLock<HashMap<&'static str, Vec<(&'static str, &'static Key)>>> = LazyLock::new(|| {
    let mut sections: HashMap<&str, Vec<(&str, &Key)>> = HashMap::new();
    for key in SCHEMA {
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        sections.entry(section).or_default().push((name, key));
    }
    sections
});

fn keys(section: &str) -> &'static [(&'static str, &'static Key)] {
    SECTIONS.get(section).map_or(&[], Vec::as_slice)
}

fn find(section: &str, name: &str) -> Option<&'static Key> {
    keys(section).iter().find(|(known, _)| *known == name).map(|(_, key)| *key)
}

/// The key of the section that was probably meant by an unknown `name`.
pub fn meant(section: &str, name: &str) -> Option<&'static str> {
    match find(section, name) {
        Some(_) => None,
        None => closest(name, keys(section).iter().map(|(known, _)| *known)),
    }
}

/// Notes every key that is unknown, not supported yet, or of the wrong kind; readers may then skip those.
pub(super) fn check<'a>(root: &'a DeTable<'a>, problems: &mut Problems) {
    check_table(root, "", problems);
}

fn check_table<'a>(table: &'a DeTable<'a>, section: &'static str, problems: &mut Problems) {
    for (name, value) in table {
        match find(section, name.get_ref()) {
            Some(key) if key.supported => check_value(name.get_ref(), key.kind, value, problems),
            Some(_) => {
                let message = format!("{} is not supported yet", quoted(name.get_ref()));
                problems
                    .error(name.span(), message)
                    .with_hint("this version does not have it; leave it out until one does");
            }
            None => unknown(section, name.get_ref(), name.span(), problems),
        }
    }
}

fn unknown(section: &'static str, name: &str, span: super::Span, problems: &mut Problems) {
    let hint = match meant(section, name) {
        Some(known) => format!("did you mean `{known}`?"),
        None => match SCHEMA.iter().find_map(|key| section_of(key, name)) {
            Some(other) => format!("`{name}` is a key of {}", header(other)),
            None => {
                let known: Vec<_> =
                    keys(section).iter().filter(|(_, k)| k.supported).map(|(n, _)| *n).collect();
                format!("known here: {}", known.join(", "))
            }
        },
    };
    problems.error(span, format!("unknown key {}", quoted(name))).with_hint(hint);
}

/// The section of `key`, if `name` is its last part.
fn section_of(key: &Key, name: &str) -> Option<&'static str> {
    let (section, last) = key.path.rsplit_once('.').unwrap_or(("", key.path));
    (last == name).then_some(section)
}

/// How a section's header is written.
fn header(section: &str) -> String {
    match section.split('.').next() {
        Some("") | None => "the top of the file, before any section".to_string(),
        Some(list @ ("route" | "consumer")) => section.replacen(list, &format!("`[[{list}]]`"), 1),
        Some(_) => format!("`[{section}]`"),
    }
}

fn check_value<'a>(name: &str, kind: Kind, value: &'a Value<'a>, problems: &mut Problems) {
    use DeValue as V;
    match (kind, value.get_ref()) {
        (Table(s) | TableOrOff(s) | TableOrFlag(s), V::Table(table)) => check_table(table, s, problems),
        (Named(s), V::Table(tables)) => {
            for (own_name, value) in tables {
                match value.get_ref() {
                    V::Table(table) => check_table(table, s, problems),
                    found => {
                        wrong_kind(own_name.get_ref(), Table(s), found, value.span(), problems)
                            .with_hint(format!("write `[{name}.NAME]` above its keys"));
                    }
                }
            }
        }
        (Tables(s), V::Array(items)) => {
            for item in items.iter() {
                check_value(name, Table(s), item, problems);
            }
        }
        (Targets(s), V::Array(items)) if !items.is_empty() => {
            for item in items.iter() {
                match item.get_ref() {
                    V::String(_) => {}
                    _ => check_value(name, Table(s), item, problems),
                }
            }
        }
        (Targets(s), V::Table(table)) => check_table(table, s, problems),
        (Texts, V::Array(items)) if items.is_empty() => {
            problems
                .error(value.span(), format!("`{name}` is an empty list"))
                .with_hint("name at least one, or leave the key out");
        }
        (Texts | List, V::Array(items)) => {
            for item in items.iter() {
                check_value(name, Text, item, problems);
            }
        }
        (TextMap, V::Table(entries)) => {
            for (name, value) in entries {
                check_value(name.get_ref(), Text, value, problems);
            }
        }
        (kind, found) if accepts(kind, found) => {}
        (kind, found) => {
            wrong_kind(name, kind, found, value.span(), problems);
        }
    }
}

/// Whether a single value is of the kind; what is in lists and tables is looked at one by one.
fn accepts(kind: Kind, value: &DeValue<'_>) -> bool {
    use DeValue as V;
    match value {
        V::String(_) => {
            matches!(kind, Text | Texts | Duration | DurationOrOff | Size | IntegerOrWord | Date | Targets(_))
        }
        V::Integer(_) => matches!(kind, Integer | Number | IntegerOrWord),
        V::Float(_) => kind == Number,
        V::Boolean(true) => matches!(kind, Flag | TableOrFlag(_)),
        V::Boolean(false) => matches!(kind, Flag | TableOrFlag(_) | TableOrOff(_) | DurationOrOff),
        V::Datetime(_) => kind == Date,
        V::Array(_) | V::Table(_) => false,
    }
}

fn wrong_kind<'p>(
    name: &str,
    kind: Kind,
    found: &DeValue<'_>,
    span: super::Span,
    problems: &'p mut Problems,
) -> &'p mut Problem {
    let (wanted, example) = match kind {
        Text => ("a string", format!("write {name} = \"…\"")),
        Texts => ("a string or a list of strings", format!("write {name} = [\"…\", \"…\"]")),
        List => ("a list of strings", format!("write {name} = [\"…\"]")),
        TextMap => ("a table of strings", format!("write {name} = {{ name = \"value\" }}")),
        Flag => ("true or false", format!("write {name} = true")),
        Integer => ("a whole number", "write it without quotes, unit or fraction".to_string()),
        Number => ("a number", "write it without quotes".to_string()),
        Duration | DurationOrOff => ("a duration", format!("write \"{}\"", number_or(found, "10") + "s")),
        Size => ("a size", format!("write \"{}\"", number_or(found, "64Ki") + "B")),
        IntegerOrWord => ("a whole number or a word", format!("write {name} = 2 or {name} = \"auto\"")),
        Date => ("a date", format!("write {name} = \"2027-01-31\"")),
        Targets(_) => {
            ("a target or a list of at least one", format!("write {name} = [\"http://127.0.0.1:3001\"]"))
        }
        Table(_) => ("a table", format!("write {name} = {{ … }}, or a section of its own")),
        TableOrOff(_) => {
            ("a table or false", format!("write {name} = {{ … }}, or {name} = false to switch it off"))
        }
        TableOrFlag(_) => ("a table, true or false", format!("write {name} = {{ … }} or {name} = true")),
        Named(_) => ("tables by name", format!("write `[{name}.NAME]` above its keys")),
        Tables(section) => ("a list of tables", format!("write `[[{section}]]` above its keys")),
    };
    let found = found.type_str();
    let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
    problems
        .error(span, format!("{} must be {wanted}, not {article} {found}", quoted(name)))
        .with_hint(example)
}

fn number_or(found: &DeValue<'_>, example: &str) -> String {
    match found {
        DeValue::Integer(number) if number.radix() == 10 => number.to_string(),
        _ => example.to_string(),
    }
}

/// The word nearest to `word`, if it is near enough to be a slip: one edit in three letters, or a part left off.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SHORTEST_PART: usize = 3;
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let rank = |known: &str| {
        let shorter = word.len().min(known.len());
        let is_part = shorter >= SHORTEST_PART && (known.starts_with(word) || word.starts_with(known));
        let is_near = known.len().abs_diff(word.len()) <= 2 * limit;
        let edits = is_near.then(|| distance(word, known)).filter(|edits| *edits <= limit);
        edits.or(is_part.then_some(limit + 1))
    };
    known
        .filter_map(|known| Some((rank(known)?, known)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, known)| known)
}

/// Edits that make `a` into `b`: letters put in, taken out, changed, or two neighbours swapped. The length of
/// both is bounded, so that a hostile key costs nothing.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let a: Vec<char> = a.chars().take(LONGEST).flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().take(LONGEST).flat_map(char::to_lowercase).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
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
    fn every_section_named_by_a_supported_key_has_keys_and_every_key_a_section() {
        for key in SCHEMA {
            let (Table(s) | TableOrOff(s) | TableOrFlag(s) | Named(s) | Tables(s) | Targets(s)) = key.kind
            else {
                continue;
            };
            assert_eq!(!keys(s).is_empty(), key.supported, "{}", key.path);
        }
        let mut paths: Vec<_> = SCHEMA.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), SCHEMA.len(), "each key once");
    }
}
