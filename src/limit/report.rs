//! What a response reports of the limits that counted its request.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::bucket::Verdict;
use super::headers;
use super::rule::Rule;
use crate::http::fields::Fields;
use crate::plan::Dialect;

/// The limits that counted one request, in the order in which they did.
///
/// Kept from request to request for its room; costs nothing where a route has no limits.
#[derive(Default)]
pub struct LimitReport {
    entries: Vec<ReportEntry>,
    /// How long the request has waited for the store, over all its limits.
    pub waited: Duration,
    /// Room for one field's value.
    value: RefCell<String>,
}

/// One limit's verdict, and how the response reports it.
pub(super) struct ReportEntry {
    /// The limit's name in the configuration.
    pub(super) name: Rc<str>,
    pub(super) dialect: Dialect,
    pub(super) rule: Rule,
    pub(super) verdict: Verdict,
}

impl LimitReport {
    /// Forgets the request before, keeps the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.waited = Duration::ZERO;
    }

    /// Adds one limit's verdict. A limit without a dialect (`headers = "none"`) is not reported.
    pub fn add(&mut self, name: Rc<str>, dialect: Option<Dialect>, rule: Rule, verdict: Verdict) {
        if let Some(dialect) = dialect {
            self.entries.push(ReportEntry { name, dialect, rule, verdict });
        }
    }

    /// Writes the fields into a response, in place of those of the same name.
    pub fn write_to(&self, fields: &mut Fields) {
        if self.entries.is_empty() {
            return;
        }
        for dialect in [Dialect::XRateLimit, Dialect::Ietf, Dialect::Kong] {
            let set = |name: &str, value: &str| fields.set(name.as_bytes(), value.as_bytes());
            headers::write(dialect, &self.entries, &mut self.value.borrow_mut(), set);
        }
    }
}

impl ReportEntry {
    /// Of several, the limit that refuses the client first: a refusal before all others, the longest wait first; then
    /// the smallest part of the burst left, and of equal ones the later reset. `None` only of none.
    pub(super) fn nearest<'a>(entries: impl Iterator<Item = &'a ReportEntry>) -> Option<&'a ReportEntry> {
        entries.reduce(|a, b| if b.is_nearer_than(a) { b } else { a })
    }

    /// Parts of bursts are compared crosswise: a/b > c/d as a*d > c*b.
    fn is_nearer_than(&self, other: &ReportEntry) -> bool {
        let left = self.verdict.remaining.saturating_mul(other.rule.burst());
        let other_left = other.verdict.remaining.saturating_mul(self.rule.burst());
        (self.verdict.retry_after_ms, other_left, self.verdict.reset_ms)
            > (other.verdict.retry_after_ms, left, other.verdict.reset_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Period;

    fn verdict(remaining: u64) -> Verdict {
        Verdict { allowed: true, remaining, reset_ms: 1_000, retry_after_ms: 0 }
    }

    fn written(report: &LimitReport) -> Vec<(String, String)> {
        let mut fields = Fields::default();
        report.write_to(&mut fields);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.iter().map(|field| (text(field.name), text(field.value))).collect()
    }

    #[test]
    fn each_dialect_reports_its_own_limits() {
        let rule = Rule::token_bucket(10, Period::Second, 10);
        let mut report = LimitReport::default();
        report.add("a".into(), Some(Dialect::XRateLimit), rule, verdict(7));
        report.add("b".into(), None, rule, verdict(1));
        report.add("c".into(), Some(Dialect::Ietf), rule, verdict(3));
        let expected = [
            ("X-RateLimit-Limit", "10"),
            ("X-RateLimit-Remaining", "7"),
            ("X-RateLimit-Reset", "1"),
            ("RateLimit-Policy", "\"c\";q=10;w=1"),
            ("RateLimit", "\"c\";r=3;t=1"),
        ];
        let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(written(&report), expected);
        report.clear();
        assert!(written(&report).is_empty());
    }
}
