//! Unix time: written as the dates that HTTP and logs use, read from a date, and counted so that it never goes back.
//! All is UTC, and nothing here reads a clock.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant, UNIX_EPOCH};

use httpdate::HttpDate;

/// 9999-12-31T23:59:59Z. Later times are written as this one: all formats here have four digits for the year.
const LAST_SECOND: u64 = 253_402_300_799;

const SECONDS_PER_DAY: u64 = 86_400;
/// From 1 March of the year 0 to 1 January 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7), from seconds since 1970.
pub fn imf_fixdate(unix_s: u64) -> [u8; 29] {
    thread_local! {
        /// The second written last: all answers that a shard gives within a second have the same `Date`.
        static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
    }
    let (last_s, last) = LAST.get();
    if unix_s == last_s {
        return last;
    }
    // `HttpDate` panics past the year 9999.
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(unix_s.min(LAST_SECOND)));
    let mut out = [0; 29];
    write!(&mut out[..], "{date}").expect("an IMF-fixdate has 29 bytes");
    LAST.set((unix_s, out));
    out
}

/// `1994-11-06T08:49:37.000Z` (RFC 3339), from milliseconds since 1970.
pub fn rfc3339_ms(unix_ms: u64) -> [u8; 24] {
    let civil = CivilTime::from_unix(unix_ms / 1000);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    put(&mut out, 0, 4, civil.year);
    put(&mut out, 5, 2, civil.month);
    put(&mut out, 8, 2, civil.day);
    put_clock(&mut out, 11, &civil);
    put_ms(&mut out, unix_ms);
    out
}

/// Rewrites the milliseconds of what `rfc3339_ms` wrote for the same second.
pub fn put_ms(rfc3339: &mut [u8; 24], unix_ms: u64) {
    put(rfc3339, 20, 3, (unix_ms % 1000) as u32);
}

/// `06/Nov/1994:08:49:37 +0000`, the date of the Common Log Format, from seconds since 1970.
pub fn common_log(unix_s: u64) -> [u8; 26] {
    let civil = CivilTime::from_unix(unix_s);
    let mut out = *b"00/Jan/0000:00:00:00 +0000";
    put(&mut out, 0, 2, civil.day);
    put_name(&mut out, 3, civil.month_name());
    put(&mut out, 7, 4, civil.year);
    put_clock(&mut out, 12, &civil);
    out
}

/// The second since 1970 at which a day begins; `None`: there is no such day, or it is not in the years 1970 to 9999.
pub fn day_start(year: u32, month: u32, day: u32) -> Option<u64> {
    // Years that begin in March have the leap day at their end, so that it moves none of their months.
    let (year_from_march, month_from_march) = match month {
        1 | 2 => (u64::from(year.checked_sub(1)?), month + 9),
        _ => (u64::from(year), month.checked_sub(3)?),
    };
    let leap_days = year_from_march / 4 - year_from_march / 100 + year_from_march / 400;
    let day_of_year = (153 * u64::from(month_from_march) + 2) / 5 + u64::from(day.checked_sub(1)?);
    let days = (365 * year_from_march + leap_days + day_of_year).checked_sub(DAYS_BEFORE_1970)?;
    let unix_s = days * SECONDS_PER_DAY;
    // A day that does not exist, such as 31 June, is counted as one of the next month.
    let civil = CivilTime::from_unix(unix_s);
    ((civil.year, civil.month, civil.day) == (year, month, day)).then_some(unix_s)
}

/// A second, taken apart in the Gregorian calendar.
struct CivilTime {
    year: u32,
    /// 1 to 12.
    month: u32,
    /// 1 to 31.
    day: u32,
    second_of_day: u32,
}

impl CivilTime {
    /// Counts in 400-year eras that start on 1 March, so that the leap day is the last of its year
    /// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
    fn from_unix(unix_s: u64) -> CivilTime {
        let unix_s = unix_s.min(LAST_SECOND);
        let since_year_0 = unix_s / SECONDS_PER_DAY + DAYS_BEFORE_1970;
        let era = since_year_0 / 146_097;
        let day_of_era = since_year_0 % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        // All are small: the second was capped at the year 9999.
        CivilTime {
            year: year as u32,
            month: month as u32,
            day: day as u32,
            second_of_day: (unix_s % SECONDS_PER_DAY) as u32,
        }
    }

    fn month_name(&self) -> &'static [u8; 3] {
        MONTHS[self.month as usize - 1]
    }
}

/// Writes `hh:mm:ss` at `at`, keeping the colons of the template.
fn put_clock(out: &mut [u8], at: usize, civil: &CivilTime) {
    put(out, at, 2, civil.second_of_day / 3600);
    put(out, at + 3, 2, civil.second_of_day / 60 % 60);
    put(out, at + 6, 2, civil.second_of_day % 60);
}

fn put(out: &mut [u8], at: usize, digits: usize, mut number: u32) {
    for place in out[at..at + digits].iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn put_name(out: &mut [u8], at: usize, name: &[u8; 3]) {
    out[at..at + 3].copy_from_slice(name);
}

/// Unix time that never goes back: a token bucket would be filled twice for the same time.
#[derive(Clone, Copy, Debug)]
pub struct ForwardClock {
    anchor: Instant,
    anchor_unix_ms: u64,
}

impl ForwardClock {
    /// How far the system's clock must be ahead before it is followed: then it was set, or the machine was suspended.
    const STEP_MS: u64 = 1_000;

    /// `unix_ms` is what the system's clock says `now`.
    pub fn new(now: Instant, unix_ms: u64) -> ForwardClock {
        ForwardClock { anchor: now, anchor_unix_ms: unix_ms }
    }

    pub fn unix_ms(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.anchor).as_millis();
        self.anchor_unix_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Follows the system's clock where that is ahead by more than [`ForwardClock::STEP_MS`].
    pub fn correct(&mut self, now: Instant, system_unix_ms: u64) {
        if system_unix_ms > self.unix_ms(now).saturating_add(Self::STEP_MS) {
            *self = ForwardClock::new(now, system_unix_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<const N: usize>(bytes: [u8; N]) -> String {
        String::from_utf8(bytes.to_vec()).expect("dates are ASCII")
    }

    #[test]
    fn known_instants_are_written_in_all_three_formats() {
        let table = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000"),
            (
                784111777,
                "Sun, 06 Nov 1994 08:49:37 GMT",
                "1994-11-06T08:49:37.000Z",
                "06/Nov/1994:08:49:37 +0000",
            ),
            (
                951782400,
                "Tue, 29 Feb 2000 00:00:00 GMT",
                "2000-02-29T00:00:00.000Z",
                "29/Feb/2000:00:00:00 +0000",
            ),
            (
                1709251199,
                "Thu, 29 Feb 2024 23:59:59 GMT",
                "2024-02-29T23:59:59.000Z",
                "29/Feb/2024:23:59:59 +0000",
            ),
            (
                1709251200,
                "Fri, 01 Mar 2024 00:00:00 GMT",
                "2024-03-01T00:00:00.000Z",
                "01/Mar/2024:00:00:00 +0000",
            ),
            (
                4107542400,
                "Mon, 01 Mar 2100 00:00:00 GMT",
                "2100-03-01T00:00:00.000Z",
                "01/Mar/2100:00:00:00 +0000",
            ),
            (
                LAST_SECOND,
                "Fri, 31 Dec 9999 23:59:59 GMT",
                "9999-12-31T23:59:59.000Z",
                "31/Dec/9999:23:59:59 +0000",
            ),
        ];
        for (unix_s, imf, rfc, common) in table {
            assert_eq!(text(imf_fixdate(unix_s)), imf);
            assert_eq!(text(rfc3339_ms(unix_s * 1000)), rfc);
            assert_eq!(text(common_log(unix_s)), common);
        }
    }

    #[test]
    fn milliseconds_are_three_digits_and_can_be_rewritten_alone() {
        let mut time = rfc3339_ms(784_111_777_007);
        assert_eq!(text(time), "1994-11-06T08:49:37.007Z");
        put_ms(&mut time, 784_111_777_999);
        assert_eq!(text(time), "1994-11-06T08:49:37.999Z");
    }

    #[test]
    fn times_past_the_year_9999_are_written_as_its_last_second() {
        assert_eq!(text(imf_fixdate(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&text(rfc3339_ms(u64::MAX))[..20], "9999-12-31T23:59:59.");
    }

    #[test]
    fn every_day_of_five_centuries_follows_the_one_before_it() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..500 * 365 {
            let civil = CivilTime::from_unix(days * 86_400 + 86_399);
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day));
            assert_eq!(day_start(year, month, day), Some(days * 86_400));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn days_that_do_not_exist_or_cannot_be_written_have_no_beginning() {
        for (year, month, day) in [
            (2027, 0, 10),
            (2027, 13, 1),
            (2027, 1, 0),
            (2027, 1, 32),
            (2027, 2, 29),
            (2100, 2, 29),
            (2027, 6, 31),
            (1969, 12, 31),
            (0, 1, 1),
            (10_000, 1, 1),
            (u32::MAX, u32::MAX, u32::MAX),
        ] {
            assert_eq!(day_start(year, month, day), None, "{year}-{month}-{day}");
        }
        assert_eq!(day_start(9999, 12, 31), Some(LAST_SECOND + 1 - 86_400));
    }

    #[test]
    fn the_forward_clock_follows_jumps_forward_only() {
        let now = Instant::now();
        let mut clock = ForwardClock::new(now, 1_000_000);
        let later = now + Duration::from_millis(500);
        assert_eq!(clock.unix_ms(later), 1_000_500);
        clock.correct(later, 5_000);
        clock.correct(later, 1_001_400);
        assert_eq!(clock.unix_ms(later), 1_000_500);
        clock.correct(later, 9_000_000);
        assert_eq!(clock.unix_ms(later), 9_000_000);
    }
}
