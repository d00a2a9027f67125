//! The header fields that report limits, in three dialects. Times are in seconds, rounded up.

use std::fmt::{self, Display, Write};

use super::report::ReportEntry;
use crate::plan::{Dialect, Period};

/// The largest integer of a structured field (RFC 9651, 3.3.1).
const MAX_SF_INTEGER: u64 = 999_999_999_999_999;

/// Gives `put` the name and value of each field by which `dialect` reports those of the entries that use it. The values
/// are written into `buffer`, which a caller may keep for the next response. Without such entries there are no fields.
pub(super) fn write(
    dialect: Dialect,
    entries: &[ReportEntry],
    buffer: &mut String,
    mut put: impl FnMut(&'static str, &str),
) {
    let of_dialect = || entries.iter().filter(|entry| entry.dialect == dialect);
    let Some(nearest) = ReportEntry::nearest(of_dialect()) else { return };
    let mut put = |name, value: &dyn Display| {
        buffer.clear();
        write!(buffer, "{value}").expect("a String takes all that is written");
        put(name, &*buffer);
    };
    match dialect {
        Dialect::XRateLimit => {
            put("X-RateLimit-Limit", &nearest.rule.burst());
            put("X-RateLimit-Remaining", &nearest.verdict.remaining);
            put("X-RateLimit-Reset", &nearest.reset_s());
        }
        Dialect::Ietf => {
            put("RateLimit-Policy", &IetfList { entries, write_member: write_policy });
            put("RateLimit", &IetfList { entries, write_member: write_service_limit });
        }
        Dialect::Kong => {
            for period in [Period::Second, Period::Minute, Period::Hour, Period::Day] {
                let of_period = of_dialect().filter(|entry| entry.rule.period() == period);
                let Some(nearest) = ReportEntry::nearest(of_period) else { continue };
                let (limit, remaining) = kong_names(period);
                put(limit, &nearest.rule.tokens());
                put(remaining, &nearest.remaining_of_rate());
            }
            put("RateLimit-Limit", &nearest.rule.tokens());
            put("RateLimit-Remaining", &nearest.remaining_of_rate());
            put("RateLimit-Reset", &nearest.reset_s());
        }
    }
}

impl ReportEntry {
    fn reset_s(&self) -> u64 {
        self.verdict.reset_ms.div_ceil(1_000)
    }

    /// The time in which the whole burst comes back: `burst` per that time is the rate.
    fn window_s(&self) -> u64 {
        self.rule.fill_ms().div_ceil(1_000)
    }

    /// Kong knows no burst: never more than the limit beside it.
    fn remaining_of_rate(&self) -> u64 {
        self.verdict.remaining.min(self.rule.tokens())
    }
}

fn kong_names(period: Period) -> (&'static str, &'static str) {
    match period {
        Period::Second => ("X-RateLimit-Limit-Second", "X-RateLimit-Remaining-Second"),
        Period::Minute => ("X-RateLimit-Limit-Minute", "X-RateLimit-Remaining-Minute"),
        Period::Hour => ("X-RateLimit-Limit-Hour", "X-RateLimit-Remaining-Hour"),
        Period::Day => ("X-RateLimit-Limit-Day", "X-RateLimit-Remaining-Day"),
    }
}

/// A structured list with one member per limit that reports in the IETF's dialect.
struct IetfList<'a> {
    entries: &'a [ReportEntry],
    write_member: fn(&ReportEntry, &mut fmt::Formatter<'_>) -> fmt::Result,
}

impl Display for IetfList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.entries.iter().filter(|entry| entry.dialect == Dialect::Ietf);
        for (index, entry) in members.enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            (self.write_member)(entry, f)?;
        }
        Ok(())
    }
}

/// The quota `q` and the seconds `w` in which it comes back (draft, section 3.1).
fn write_policy(entry: &ReportEntry, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write_sf_string(&entry.name, f)?;
    write!(f, ";q={};w={}", entry.rule.burst(), entry.window_s().min(MAX_SF_INTEGER))
}

/// What remains, `r`, and the seconds until it is the whole quota again, `t` (draft, section 4.1).
fn write_service_limit(entry: &ReportEntry, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write_sf_string(&entry.name, f)?;
    write!(f, ";r={};t={}", entry.verdict.remaining, entry.reset_s().min(MAX_SF_INTEGER))
}

/// A structured string (RFC 9651, 4.1.6). What it cannot hold becomes `_`: a name cannot break the field.
fn write_sf_string(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            ' '..='~' => f.write_char(c)?,
            _ => f.write_char('_')?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Rule, Verdict};

    /// An entry whose dialect [`written`] sets.
    fn entry(name: &str, rule: Rule, remaining: u64, reset_ms: u64, retry_after_ms: u64) -> ReportEntry {
        let verdict = Verdict { allowed: retry_after_ms == 0, remaining, reset_ms, retry_after_ms };
        ReportEntry { name: name.into(), dialect: Dialect::Ietf, rule, verdict }
    }

    fn minutely(tokens: u64) -> Rule {
        Rule::token_bucket(tokens, Period::Minute, tokens)
    }

    fn hourly(tokens: u64) -> Rule {
        Rule::token_bucket(tokens, Period::Hour, tokens)
    }

    fn written(dialect: Dialect, mut entries: Vec<ReportEntry>) -> Vec<String> {
        let mut lines = Vec::new();
        entries.iter_mut().for_each(|entry| entry.dialect = dialect);
        write(dialect, &entries, &mut String::new(), |name, value| lines.push(format!("{name}: {value}")));
        lines
    }

    #[test]
    fn x_ratelimit_reports_the_limit_nearest_to_exhaustion() {
        let entries = vec![
            entry("long", hourly(1_000), 300, 2_520_000, 0),
            entry("short", minutely(100), 20, 48_000, 0),
        ];
        let expected = ["X-RateLimit-Limit: 100", "X-RateLimit-Remaining: 20", "X-RateLimit-Reset: 48"];
        assert_eq!(written(Dialect::XRateLimit, entries), expected);
    }

    #[test]
    fn ietf_reports_all_limits_as_structured_lists() {
        let entries = vec![
            entry("api", minutely(100), 20, 47_001, 0),
            entry("slow \"x\\é\r\n", Rule::token_bucket(10, Period::Second, 25), 0, 2_500, 100),
        ];
        let expected = [
            r#"RateLimit-Policy: "api";q=100;w=60, "slow \"x\\___";q=25;w=3"#,
            r#"RateLimit: "api";r=20;t=48, "slow \"x\\___";r=0;t=3"#,
        ];
        assert_eq!(written(Dialect::Ietf, entries), expected);
    }

    #[test]
    fn kong_reports_one_limit_per_period_and_the_nearest() {
        let entries = vec![
            entry("a", minutely(100), 20, 48_000, 0),
            entry("b", hourly(1_000), 100, 3_000_000, 0),
            entry("c", minutely(10), 9, 6_000, 0),
        ];
        let expected = [
            "X-RateLimit-Limit-Minute: 100",
            "X-RateLimit-Remaining-Minute: 20",
            "X-RateLimit-Limit-Hour: 1000",
            "X-RateLimit-Remaining-Hour: 100",
            "RateLimit-Limit: 1000",
            "RateLimit-Remaining: 100",
            "RateLimit-Reset: 3000",
        ];
        assert_eq!(written(Dialect::Kong, entries), expected);
    }

    #[test]
    fn without_limits_there_are_no_fields() {
        for dialect in [Dialect::XRateLimit, Dialect::Ietf, Dialect::Kong] {
            assert!(written(dialect, vec![]).is_empty());
        }
    }

    #[test]
    fn a_refusal_is_nearer_than_any_remainder_and_the_longest_wait_is_nearest() {
        let entries = [
            entry("left", minutely(100), 1, 59_400, 0),
            entry("soon", minutely(100), 0, 60_000, 600),
            entry("late", hourly(10), 0, 3_600_000, 1_001),
        ];
        let nearest = ReportEntry::nearest(entries.iter()).unwrap();
        assert_eq!((&*nearest.name, nearest.verdict.retry_after_ms), ("late", 1_001));
        assert!(ReportEntry::nearest([].iter()).is_none());
    }
}
