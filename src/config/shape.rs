//! The check of a file's shape against the schema: unknown keys, keys that are not supported yet, and values of the
//! wrong kind. Readers may then skip those.

use toml::de::{DeTable, DeValue};

use super::problems::{Problem, Problems, TextSpan, quoted};
use super::schema::{ValueKind, find, keys, meant, not_supported_yet, section_with};
use super::section::TomlValue;
use ValueKind::*;

/// Notes every key that is unknown or not supported yet, and every value of the wrong kind.
pub(super) fn check<'a>(root: &'a DeTable<'a>, problems: &mut Problems) {
    check_table(root, "", problems);
}

/// One level; tables below are checked as the values that they are.
fn check_table<'a>(table: &'a DeTable<'a>, section: &'static str, problems: &mut Problems) {
    for (name, value) in table {
        match find(section, name.get_ref()) {
            Some(key) if key.kind == Later => {
                problems.value_error(name.span(), not_supported_yet(&quoted(name.get_ref())));
            }
            Some(key) => check_value(name.get_ref(), key.kind, value, problems),
            None => unknown(section, name.get_ref(), name.span(), problems),
        }
    }
}

/// The hint is a similar key of this section, else the section that has this key, else all keys that may be here.
fn unknown(section: &'static str, name: &str, span: TextSpan, problems: &mut Problems) {
    let hint = match meant(section, name) {
        Some(known) => format!("did you mean `{known}`?"),
        None => match section_with(name) {
            Some(other) => format!("`{name}` is a key of {}", header(other)),
            None => {
                let known: Vec<_> =
                    keys(section).iter().filter(|(_, k)| k.kind != Later).map(|(n, _)| *n).collect();
                format!("known here: {}", known.join(", "))
            }
        },
    };
    problems.error(span, format!("unknown key {}", quoted(name))).with_hint(hint);
}

/// How a section's header is written.
fn header(section: &str) -> String {
    match section.split('.').next() {
        Some("") | None => "the top of the file, before any section".to_string(),
        Some(list @ ("route" | "consumer")) => section.replacen(list, &format!("`[[{list}]]`"), 1),
        Some(_) => format!("`[{section}]`"),
    }
}

/// Elements of lists and tables are reported one by one, each at its own place.
fn check_value<'a>(name: &str, kind: ValueKind, value: &'a TomlValue<'a>, problems: &mut Problems) {
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
        (Listeners, V::Array(items)) if !items.is_empty() => {
            for item in items.iter() {
                let kind = if item.get_ref().as_table().is_some() { Listeners } else { Text };
                check_value(name, kind, item, problems);
            }
        }
        (Listeners, V::Table(_)) => {
            problems.value_error(value.span(), not_supported_yet("a listener with settings of its own"));
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
        (Texts | Listeners, V::Array(items)) if items.is_empty() => {
            problems
                .error(value.span(), format!("`{name}` is an empty list"))
                .with_hint("name at least one, or leave the key out");
        }
        (Texts | List, V::Array(items)) => {
            for item in items.iter() {
                check_value(name, Text, item, problems);
            }
        }
        (Integers, V::Array(items)) => {
            for item in items.iter() {
                check_value(name, Integer, item, problems);
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
fn accepts(kind: ValueKind, value: &DeValue<'_>) -> bool {
    use DeValue as V;
    match value {
        V::String(_) => {
            matches!(
                kind,
                Text | Texts
                    | Listeners
                    | Duration
                    | DurationOrOff
                    | Size
                    | IntegerOrWord
                    | Date
                    | Targets(_)
            )
        }
        V::Integer(_) => matches!(kind, Integer | IntegerOrOff | IntegerOrWord | Fraction),
        V::Float(_) => kind == Fraction,
        V::Boolean(true) => matches!(kind, Flag | TableOrFlag(_)),
        V::Boolean(false) => {
            matches!(kind, Flag | TableOrFlag(_) | TableOrOff(_) | DurationOrOff | IntegerOrOff)
        }
        V::Datetime(_) => kind == Date,
        V::Array(_) | V::Table(_) => false,
    }
}

/// The example repeats the number that was written, so that it can be pasted.
fn wrong_kind<'p>(
    name: &str,
    kind: ValueKind,
    found: &DeValue<'_>,
    span: TextSpan,
    problems: &'p mut Problems,
) -> &'p mut Problem {
    let (wanted, example) = match kind {
        Text => ("a string", format!("write {name} = \"…\"")),
        Later => ("left out", "this version does not have it".to_string()),
        Texts | Listeners => ("a string or a list of strings", format!("write {name} = [\"…\", \"…\"]")),
        List => ("a list of strings", format!("write {name} = [\"…\"]")),
        TextMap => ("a table of strings", format!("write {name} = {{ name = \"value\" }}")),
        Flag => ("true or false", format!("write {name} = true")),
        Integer => ("a whole number", "write it without quotes, unit or fraction".to_string()),
        IntegerOrOff => {
            ("a whole number or false", format!("write {name} = 1000, or {name} = false to switch it off"))
        }
        Integers => ("a list of whole numbers", format!("write {name} = [500, 502]")),
        Fraction => ("a number from 0 to 1", format!("write {name} = 0.5")),
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
