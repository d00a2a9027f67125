//! What a response says of the limits that its request met, in three dialects. Times are in seconds, rounded up.

use std::fmt::{self, Write};

use super::bucket::Verdict;
use super::rule::{Period, Rule};
pub use crate::plan::Dialect;

/// The largest integer of a structured field (RFC 9651, 3.3.1).
const SF_INTEGER_MAX: u64 = 999_999_999_999_999;

/// Where a request stands with one limit.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The limit's name in the configuration.
    pub name: &'a str,
    pub rule: Rule,
    pub verdict: Verdict,
}

impl Standing<'_> {
    /// Of several, the one that a client will feel first: a refusal before all, the longest wait first; then the
    /// smallest part of the burst left, the later reset first. `None` only of none.
    pub fn nearest<'s, 'a>(standings: &'s [Standing<'a>]) -> Option<&'s Standing<'a>> {
        standings.iter().reduce(|a, b| if b.is_nearer_than(a) { b } else { a })
    }

    fn is_nearer_than(&self, other: &Standing<'_>) -> bool {
        let left = self.verdict.remaining.saturating_mul(other.rule.burst());
        let other_left = other.verdict.remaining.saturating_mul(self.rule.burst());
        (self.verdict.retry_after_ms, other_left, self.verdict.reset_ms)
            > (other.verdict.retry_after_ms, left, other.verdict.reset_ms)
    }

    /// For `Retry-After`: at least 1 of a refusal, 0 otherwise.
    pub fn retry_after_s(&self) -> u64 {
        self.verdict.retry_after_ms.div_ceil(1_000)
    }

    fn reset_s(&self) -> u64 {
        self.verdict.reset_ms.div_ceil(1_000)
    }

    /// The time in which the whole burst comes back: `burst` per that time is the rate.
    fn window_s(&self) -> u64 {
        self.rule.fill_ms().div_ceil(1_000)
    }
}

impl Dialect {
    /// Gives each field, name and value, to `put`. The values are written into `buffers`, which a caller may keep for
    /// the next response. Nothing is said of no limits.
    pub fn write(
        self,
        standings: &[Standing<'_>],
        buffers: &mut String,
        mut put: impl FnMut(&'static str, &str),
    ) {
        let Some(nearest) = Standing::nearest(standings) else { return };
        let mut put = |name, value: &dyn fmt::Display| {
            buffers.clear();
            write!(buffers, "{value}").expect("a String takes all that is written");
            put(name, &*buffers);
        };
        match self {
            Dialect::XRateLimit => {
                put("X-RateLimit-Limit", &nearest.rule.burst());
                put("X-RateLimit-Remaining", &nearest.verdict.remaining);
                put("X-RateLimit-Reset", &nearest.reset_s());
            }
            Dialect::Ietf => {
                put("RateLimit-Policy", &List(standings, policy));
                put("RateLimit", &List(standings, service_limit));
            }
            Dialect::Kong => {
                for period in [Period::Second, Period::Minute, Period::Hour, Period::Day] {
                    let mut of_period = standings.iter().filter(|standing| standing.rule.period() == period);
                    let Some(first) = of_period.next() else { continue };
                    let nearest = of_period.fold(first, |a, b| if b.is_nearer_than(a) { b } else { a });
                    let (limit, remaining) = kong_names(period);
                    put(limit, &nearest.rule.tokens());
                    put(remaining, &nearest.verdict.remaining.min(nearest.rule.tokens()));
                }
                put("RateLimit-Limit", &nearest.rule.tokens());
                put("RateLimit-Remaining", &nearest.verdict.remaining.min(nearest.rule.tokens()));
                put("RateLimit-Reset", &nearest.reset_s());
            }
        }
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

/// Writes one member of a list.
type Member = fn(&Standing<'_>, &mut fmt::Formatter<'_>) -> fmt::Result;

/// A structured list of one member per limit.
struct List<'a>(&'a [Standing<'a>], Member);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, standing) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            self.1(standing, f)?;
        }
        Ok(())
    }
}

/// The quota `q` and the seconds `w` in which it comes back (draft, section 3.1).
fn policy(standing: &Standing<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    sf_string(standing.name, f)?;
    write!(f, ";q={};w={}", standing.rule.burst(), standing.window_s().min(SF_INTEGER_MAX))
}

/// What remains, `r`, and the seconds until it is the whole quota again, `t` (draft, section 4.1).
fn service_limit(standing: &Standing<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    sf_string(standing.name, f)?;
    write!(f, ";r={};t={}", standing.verdict.remaining, standing.reset_s().min(SF_INTEGER_MAX))
}

/// A structured string (RFC 9651, 4.1.6). What it cannot hold becomes `_`: a name cannot break the field.
fn sf_string(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    fn standing(name: &str, rule: Rule, remaining: u64, reset_ms: u64, retry_after_ms: u64) -> Standing<'_> {
        let verdict = Verdict { allowed: retry_after_ms == 0, remaining, reset_ms, retry_after_ms };
        Standing { name, rule, verdict }
    }

    fn minutely(tokens: u64) -> Rule {
        Rule::token_bucket(tokens, Period::Minute, tokens)
    }

    fn hourly(tokens: u64) -> Rule {
        Rule::token_bucket(tokens, Period::Hour, tokens)
    }

    fn written(dialect: Dialect, standings: &[Standing<'_>]) -> Vec<String> {
        let mut lines = Vec::new();
        dialect.write(standings, &mut String::new(), |name, value| lines.push(format!("{name}: {value}")));
        lines
    }

    #[test]
    fn x_ratelimit_tells_of_the_limit_nearest_to_exhaustion() {
        let standings = [
            standing("long", hourly(1_000), 300, 2_520_000, 0),
            standing("short", minutely(100), 20, 48_000, 0),
        ];
        let expected = ["X-RateLimit-Limit: 100", "X-RateLimit-Remaining: 20", "X-RateLimit-Reset: 48"];
        assert_eq!(written(Dialect::XRateLimit, &standings), expected);
    }

    #[test]
    fn ietf_tells_of_all_limits_as_structured_lists() {
        let standings = [
            standing("api", minutely(100), 20, 47_001, 0),
            standing("slow \"x\\é\r\n", Rule::token_bucket(10, Period::Second, 25), 0, 2_500, 100),
        ];
        let expected = [
            r#"RateLimit-Policy: "api";q=100;w=60, "slow \"x\\___";q=25;w=3"#,
            r#"RateLimit: "api";r=20;t=48, "slow \"x\\___";r=0;t=3"#,
        ];
        assert_eq!(written(Dialect::Ietf, &standings), expected);
    }

    #[test]
    fn kong_tells_of_one_limit_per_period_and_of_the_nearest() {
        let standings = [
            standing("a", minutely(100), 20, 48_000, 0),
            standing("b", hourly(1_000), 100, 3_000_000, 0),
            standing("c", minutely(10), 9, 6_000, 0),
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
        assert_eq!(written(Dialect::Kong, &standings), expected);
    }

    #[test]
    fn nothing_is_told_of_no_limits() {
        for dialect in [Dialect::XRateLimit, Dialect::Ietf, Dialect::Kong] {
            assert!(written(dialect, &[]).is_empty());
        }
    }

    #[test]
    fn a_refusal_is_nearer_than_any_remainder_and_the_longest_wait_is_nearest() {
        let standings = [
            standing("left", minutely(100), 1, 59_400, 0),
            standing("soon", minutely(100), 0, 60_000, 600),
            standing("late", hourly(10), 0, 3_600_000, 1_001),
        ];
        let nearest = Standing::nearest(&standings).unwrap();
        assert_eq!((nearest.name, nearest.retry_after_s()), ("late", 2));
        assert!(Standing::nearest(&[]).is_none());
    }
}
