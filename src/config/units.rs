//! Durations, sizes, rates and dates as they are written.
//!
//! Every number has its unit in the text. A bare number is refused with both readings as a hint: seconds taken for
//! milliseconds are the most expensive slip in a gateway's configuration.

use std::time::Duration;

use super::problems::{ValueError, quoted};
use crate::base::time;
use crate::plan::{Period, Rate};

/// The longest duration that makes sense anywhere: a year.
/// It also keeps sums of durations and instants from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Binary and decimal units, by their right names: `KB` is 1000 bytes.
const SIZE_UNITS: [(&str, u64); 6] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("KB", 1000), ("MB", 1_000_000)];

/// `"250ms"`, `"10s"`, `"5m"`, `"1h"`: at least a millisecond, at most a year.
///
/// # Errors
/// No unit or another one, zero, more than a year.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    let example = "write a whole number and a unit, \"250ms\", \"10s\", \"5m\" or \"1h\"";
    let (number, unit) = split(text);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if !number.is_empty() => {
            return Err(ValueError::new(
                format!("{} has no unit", quoted(text)),
                format!("write \"{number}s\" or \"{number}ms\""),
            ));
        }
        _ => return Err(ValueError::new(format!("{} is not a duration", quoted(text)), example)),
    };
    let Ok(number) = number.parse::<u64>() else {
        return Err(ValueError::new(format!("{} is not a duration", quoted(text)), example));
    };
    match number.checked_mul(unit_ms).map(Duration::from_millis) {
        Some(Duration::ZERO) => {
            Err(ValueError::new(format!("{} leaves no time at all", quoted(text)), "at least \"1ms\""))
        }
        Some(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(ValueError::new(format!("{} is too long", quoted(text)), "at most \"8760h\", a year")),
    }
}

/// A [`duration`] of whole seconds, or `"0s"`.
pub(super) fn seconds(text: &str) -> Result<Duration, ValueError> {
    if text == "0s" {
        return Ok(Duration::ZERO);
    }
    let found = duration(text)?;
    if found.subsec_nanos() == 0 {
        return Ok(found);
    }
    Err(ValueError::new(format!("{} has a part of a second", quoted(text)), "whole seconds count here"))
}

/// `"100/s"`, `"100/min"`, `"1000/hour"`, `"10000/day"`, and other usual words for the same periods.
///
/// # Errors
/// No period, zero, more than [`Rate::MAX_TOKENS`].
pub(super) fn rate(text: &str) -> Result<Rate, ValueError> {
    let example = "write \"100/s\", \"100/min\", \"1000/hour\" or \"10000/day\"";
    let not_a_rate = || ValueError::new(format!("{} is not a rate", quoted(text)), example);
    let (number, unit) = split(text);
    let period = match unit.strip_prefix('/') {
        Some("s" | "sec" | "second") => Period::Second,
        Some("m" | "min" | "minute") => Period::Minute,
        Some("h" | "hour") => Period::Hour,
        Some("d" | "day") => Period::Day,
        _ => return Err(not_a_rate()),
    };
    if number.is_empty() {
        return Err(not_a_rate());
    }
    match number.parse() {
        Ok(0) => Err(ValueError::new(
            format!("{} lets nothing through", quoted(text)),
            "at least 1; a route with `respond` refuses everything",
        )),
        Ok(tokens) if tokens <= Rate::MAX_TOKENS => Ok(Rate { tokens, period }),
        _ => Err(ValueError::new(format!("{} is too much", quoted(text)), "at most 1000000000")),
    }
}

/// A rate as it is written.
pub(super) fn show_rate(rate: Rate) -> String {
    let unit = match rate.period {
        Period::Second => "s",
        Period::Minute => "min",
        Period::Hour => "hour",
        Period::Day => "day",
    };
    format!("{}/{unit}", rate.tokens)
}

/// `"512B"`, `"16KiB"`, `"1MiB"`, `"1GiB"`, and decimal `"16KB"`, `"1MB"`; `"0"` needs no unit.
///
/// # Errors
/// No unit or another one, more than 64 bits hold. Ranges are the caller's.
pub(super) fn size(text: &str) -> Result<u64, ValueError> {
    let (number, unit) = split(text);
    let not_a_size = || {
        ValueError::new(
            format!("{} is not a size", quoted(text)),
            "write a whole number and a unit, B, KiB, MiB, GiB, KB or MB: \"16KiB\"",
        )
    };
    if unit.is_empty() && number.parse() == Ok(0u64) {
        return Ok(0);
    }
    if unit.is_empty() && !number.is_empty() {
        let hint = format!("write \"{number}B\" or \"{number}KiB\"");
        return Err(ValueError::new(format!("{} has no unit", quoted(text)), hint));
    }
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(not_a_size)?;
    let number: u64 = number.parse().map_err(|_| not_a_size())?;
    number
        .checked_mul(*bytes)
        .ok_or_else(|| ValueError::new(format!("{} is too much", quoted(text)), "at most 16 EiB"))
}

/// A size in the largest binary unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// `2027-01-31`: the day's beginning (UTC), since 1 January 1970.
pub(super) fn day(text: &str) -> Result<Duration, ValueError> {
    let error = |what| ValueError::new(format!("{} is not {what}", quoted(text)), "write \"2027-01-31\"");
    let number = |digits: usize, part: &str| -> Option<u32> {
        (part.len() == digits && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let parts: Vec<&str> = text.splitn(4, '-').collect();
    let [year, month, day] = parts[..] else { return Err(error("a date")) };
    let (Some(year), Some(month), Some(day)) = (number(4, year), number(2, month), number(2, day)) else {
        return Err(error("a date"));
    };
    let start = time::day_start(year, month, day).map(Duration::from_secs);
    start.ok_or_else(|| error("a day that exists (from 1970 on)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_never_zero() {
        for (text, ms) in
            [("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("007s", 7000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "s", "10", "1.5s", "-1s", " 1s", "1 s", "1d", "1M", "0s", "8761h", "99999999999999999999s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("10").unwrap_err().hint, "write \"10s\" or \"10ms\"");
    }

    #[test]
    fn seconds_are_whole_and_may_be_none() {
        assert_eq!(seconds("0s"), Ok(Duration::ZERO));
        assert_eq!(seconds("2000ms"), Ok(Duration::from_secs(2)));
        for text in ["", "0", "1500ms", "-1s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_a_number_and_a_period() {
        for (text, tokens, period, shown) in [
            ("100/s", 100, Period::Second, "100/s"),
            ("1/second", 1, Period::Second, "1/s"),
            ("100/min", 100, Period::Minute, "100/min"),
            ("100/m", 100, Period::Minute, "100/min"),
            ("1000/hour", 1000, Period::Hour, "1000/hour"),
            ("1000/h", 1000, Period::Hour, "1000/hour"),
            ("10000/day", 10_000, Period::Day, "10000/day"),
            ("1000000000/d", Rate::MAX_TOKENS, Period::Day, "1000000000/day"),
        ] {
            assert_eq!(rate(text), Ok(Rate { tokens, period }), "{text}");
            assert_eq!(show_rate(rate(text).unwrap()), shown);
        }
        for text in
            ["", "100", "/s", "100/", "100/ms", "100 /s", "-1/s", "1.5/s", "0/s", "1000000001/s", "1r/s"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_a_unit_binary_or_decimal() {
        for (text, bytes) in [
            ("0", 0),
            ("0B", 0),
            ("512B", 512),
            ("16KiB", 16384),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("16KB", 16000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "16", "16K", "16kib", "1.5MiB", "-1B", "1 MiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(show_size(16384), "16KiB");
        assert_eq!(show_size(1001), "1001B");
    }

    #[test]
    fn days_become_unix_seconds() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("1994-11-06", 784_080_000),
            ("2000-02-29", 951_782_400),
            ("2026-12-31", 1_798_675_200),
            ("2027-01-31", 1_801_353_600),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(day(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "2027", "2027-1-31", "2027-13-01", "2027-02-29", "2027-00-10", "1969-12-31", "2027-01-31-"]
        {
            assert!(day(text).is_err(), "{text}");
        }
    }
}
