//! Reading typed values out of one table. A value of the wrong kind is skipped here: the schema's check has
//! already reported it.
//!
//! So readers treat absent and wrong alike, and take the default; a file with errors is not run anyway.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::{Problems, TextSpan, ValueError, quoted};
use super::{schema, units};
use crate::base::suggest::closest;
use crate::plan::Keyword;

/// A value with its place in the text.
pub(super) type TomlValue<'a> = Spanned<DeValue<'a>>;

/// Something read, with its place.
/// Bytes of the file's text.
pub(super) type At<T> = (T, TextSpan);

/// One table of the file, or the absence of one, which reads as all defaults.
#[derive(Clone)]
pub(super) struct Section<'a> {
    table: Option<&'a DeTable<'a>>,
    /// Its header, where a missing key is reported.
    pub span: TextSpan,
}

impl<'a> Section<'a> {
    pub fn new(table: &'a DeTable<'a>, span: TextSpan) -> Section<'a> {
        Section { table: Some(table), span }
    }

    /// A table that is not there.
    pub fn absent() -> Section<'a> {
        Section { table: None, span: 0..0 }
    }

    /// A value that is a table.
    pub fn of(value: &'a TomlValue<'a>) -> Option<Section<'a>> {
        value.get_ref().as_table().map(|table| Section::new(table, value.span()))
    }

    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    pub fn get(&self, key: &str) -> Option<&'a TomlValue<'a>> {
        self.table?.get(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The place of `key`'s value, or of the section where it is missing.
    pub fn span_of(&self, key: &str) -> TextSpan {
        self.get(key).map_or(self.span.clone(), Spanned::span)
    }

    /// Whether an unknown key of this section looks like a slip of `key`, so that a missing `key` need not be
    /// reported as well.
    /// One slip then makes one problem, not two.
    pub fn misspells(&self, schema_section: &str, key: &str) -> bool {
        self.table.is_some_and(|table| {
            table.keys().any(|found| schema::meant(schema_section, found.get_ref()) == Some(key))
        })
    }

    /// Whether `key` is missing and has to be reported.
    pub fn lacks(&self, schema_section: &str, key: &str) -> bool {
        !self.has(key) && !self.misspells(schema_section, key)
    }

    /// The table under `key`.
    pub fn section(&self, key: &str) -> Section<'a> {
        self.get(key).and_then(Section::of).unwrap_or_else(Section::absent)
    }

    /// The tables under `key`, which is a list of tables.
    pub fn sections(&self, key: &str) -> Vec<Section<'a>> {
        let items = self.get(key).and_then(|value| value.get_ref().as_array());
        items.map(|items| items.iter().filter_map(Section::of).collect()).unwrap_or_default()
    }

    /// What the table holds, in the file's order.
    pub fn entries(&self) -> Vec<(&'a str, TextSpan, &'a TomlValue<'a>)> {
        let Some(table) = self.table else { return Vec::new() };
        let mut entries: Vec<_> =
            table.iter().map(|(name, value)| (&**name.get_ref(), name.span(), value)).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    /// The strings of a `{ name = "value" }` under `key`, in the file's order.
    pub fn text_pairs(&self, key: &str) -> Vec<(Arc<str>, Arc<str>)> {
        let pairs = self.text_map(key).into_iter();
        pairs.map(|((name, _), (value, _))| (name.into(), value.into())).collect()
    }

    /// Like [`Section::text_pairs`], with the places of names and values.
    pub fn text_map(&self, key: &str) -> Vec<(At<&'a str>, At<&'a str>)> {
        let entries = self.section(key).entries().into_iter();
        entries.filter_map(|(name, span, value)| Some(((name, span), text_of(value)?))).collect()
    }

    pub fn text(&self, key: &str) -> Option<At<&'a str>> {
        self.get(key).and_then(text_of)
    }

    /// One string or a list of them; empty where the key is not there.
    pub fn texts(&self, key: &str) -> Vec<At<&'a str>> {
        match self.get(key).map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Array(items))) => items.iter().filter_map(text_of).collect(),
            Some((value, _)) => text_of(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The strings of [`Section::texts`], as they are.
    pub fn strings(&self, key: &str) -> Vec<Arc<str>> {
        self.texts(key).into_iter().map(|(text, _)| text.into()).collect()
    }

    /// The string under `key` as `parse` reads it; an error is reported, and read as not there.
    ///
    /// # Errors
    /// None of its own: what `parse` refuses is noted at the value's place.
    pub fn parsed<T>(
        &self,
        key: &str,
        problems: &mut Problems,
        parse: impl FnOnce(&'a str) -> Result<T, ValueError>,
    ) -> Option<T> {
        let (text, span) = self.text(key)?;
        problems.accept(span, parse(text))
    }

    /// Each string of [`Section::texts`] as `parse` reads it; those with errors are reported and left out.
    pub fn parsed_list<T>(
        &self,
        key: &str,
        problems: &mut Problems,
        parse: impl Fn(&'a str) -> Result<T, ValueError>,
    ) -> Vec<T> {
        let texts = self.texts(key).into_iter();
        texts.filter_map(|(text, span)| problems.accept(span, parse(text))).collect()
    }

    /// `None` also for a value that is no boolean.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key)?.get_ref().as_bool()
    }

    /// A whole number; one out of range is reported, and read as not there.
    /// TOML's digits may be in another radix and longer than 64 bits.
    pub fn integer(&self, key: &str, range: RangeInclusive<i64>, problems: &mut Problems) -> Option<i64> {
        whole_number(key, self.get(key)?, &range, problems)
    }

    /// The whole numbers of a list; those out of range are reported and left out. `None` where the key is not there.
    pub fn integers(
        &self,
        key: &str,
        range: RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<Vec<i64>> {
        let items = self.get(key)?.get_ref().as_array()?;
        Some(items.iter().filter_map(|item| whole_number(key, item, &range, problems)).collect())
    }

    /// A number from 0 to 1; one out of range is reported, and read as not there.
    pub fn fraction(&self, key: &str, problems: &mut Problems) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            DeValue::Integer(digits) => {
                i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(|n| n as f64)
            }
            _ => return None,
        };
        let fraction = number.filter(|number| (0.0..=1.0).contains(number));
        if fraction.is_none() {
            problems
                .error(value.span(), format!("`{key}` is out of range"))
                .with_hint("from 0 to 1, such as 0.5");
        }
        fraction
    }

    /// A duration of at least a millisecond; anything else is reported, and read as not there.
    pub fn duration(&self, key: &str, problems: &mut Problems) -> Option<Duration> {
        self.parsed(key, problems, units::duration)
    }

    /// A duration of whole seconds, or of none; anything else is reported, and read as not there.
    pub fn seconds(&self, key: &str, problems: &mut Problems) -> Option<Duration> {
        self.parsed(key, problems, units::seconds)
    }

    /// A size in bytes; one out of range is reported, and read as not there.
    pub fn size(&self, key: &str, range: RangeInclusive<u64>, problems: &mut Problems) -> Option<u64> {
        let (text, span) = self.text(key)?;
        let size = problems.accept(span.clone(), units::size(text))?;
        if !range.contains(&size) {
            let (from, to) = (units::show_size(*range.start()), units::show_size(*range.end()));
            problems
                .error(span, format!("`{key}` is out of range: {}", quoted(text)))
                .with_hint(format!("from \"{from}\" to \"{to}\""));
            return None;
        }
        Some(size)
    }

    /// A setting that is one of its words; another is reported with the nearest, and read as not there.
    pub fn keyword<K: Keyword>(&self, key: &str, problems: &mut Problems) -> Option<K> {
        self.choice(key, K::WORDS, problems)
    }

    /// One of some words; another is reported with the nearest, and read as not there.
    pub fn choice<T: Clone>(&self, key: &str, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let (text, span) = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
        if found.is_none() {
            let known = || words.iter().map(|(word, _)| *word);
            let hint = match closest(text, known()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => {
                    format!("one of {}", known().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", "))
                }
            };
            problems.error(span, format!("`{key}` cannot be {}", quoted(text))).with_hint(hint);
        }
        found
    }
}

/// A whole number in its range, or a problem at its place.
fn whole_number(
    key: &str,
    value: &TomlValue<'_>,
    range: &RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<i64> {
    let digits = value.get_ref().as_integer()?;
    let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok().filter(|n| range.contains(n));
    if number.is_none() {
        problems.error(value.span(), format!("`{key}` is out of range: {digits}")).with_hint(format!(
            "from {} to {}",
            range.start(),
            range.end()
        ));
    }
    number
}

/// A string with its place.
pub(super) fn text_of<'a>(value: &'a TomlValue<'a>) -> Option<At<&'a str>> {
    value.get_ref().as_str().map(|text| (text, value.span()))
}
