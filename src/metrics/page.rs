//! The Prometheus text format, version 0.0.4: families, samples and labels written to a page.

use std::fmt::{Display, Write};

use super::histogram::{Histogram, Scale};
use super::names::MetricFamily;

/// Enough for a small configuration; the page grows beyond it.
const INITIAL_BYTES: usize = 16 * 1024;

/// The page as it grows. Writing to a String does not fail.
pub(super) struct TextPage {
    text: String,
}

impl TextPage {
    pub fn new() -> TextPage {
        TextPage { text: String::with_capacity(INITIAL_BYTES) }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// Writes a family's HELP and TYPE: once for each family, before its samples.
    pub fn family(&mut self, family: &MetricFamily) {
        let MetricFamily { name, kind, help } = family;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
    }

    /// Writes a family of one sample without labels; nothing at all where the value is not known.
    pub fn single(&mut self, family: &MetricFamily, value: Option<impl Display>) {
        if let Some(value) = value {
            self.family(family);
            self.sample(family.name, "", &[], value);
        }
    }

    /// Writes one sample. `suffix` is that of a histogram's series, or empty.
    pub fn sample(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        for (number, (label, text)) in labels.iter().enumerate() {
            self.text.push(if number == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.escaped(text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// Writes a histogram's buckets, sum and count.
    pub fn histogram<S: Scale>(
        &mut self,
        family: &MetricFamily,
        labels: &[(&str, &str)],
        histogram: &Histogram<S>,
    ) {
        let mut with_bound = labels.to_vec();
        with_bound.push(("le", "+Inf"));
        let last = with_bound.len() - 1;
        for (bound, count) in histogram.cumulative() {
            with_bound[last].1 = bound;
            self.sample(family.name, "_bucket", &with_bound, count);
        }
        with_bound[last].1 = "+Inf";
        self.sample(family.name, "_bucket", &with_bound, histogram.count());
        self.sample(family.name, "_sum", labels, histogram.sum());
        self.sample(family.name, "_count", labels, histogram.count());
    }

    /// A label's value: backslash, quote and line feed are escaped.
    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            }
        }
    }
}
