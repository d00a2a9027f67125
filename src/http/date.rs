//! Moments as text: HTTP's IMF-fixdate and RFC 3339 with milliseconds.

/// The last second that four digits of year can write, 9999-12-31T23:59:59Z: later ones are written as it.
const LAST_S: u64 = 253_402_300_799;

/// Seconds since 1970 as an IMF-fixdate (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn imf_fixdate(unix_s: u64) -> [u8; 29] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let moment = Moment::of(unix_s);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[moment.weekday]);
    digits(&mut text[5..7], moment.day);
    text[8..11].copy_from_slice(MONTHS[moment.month as usize - 1]);
    digits(&mut text[12..16], moment.year);
    moment.time(&mut text[17..25]);
    text
}

/// Milliseconds since 1970 in RFC 3339's form: `1994-11-06T08:49:37.123Z`.
pub fn rfc3339_ms(unix_ms: u64) -> [u8; 24] {
    let moment = Moment::of(unix_ms / 1000);
    let mut text = *b"1970-01-01T00:00:00.000Z";
    digits(&mut text[0..4], moment.year);
    digits(&mut text[5..7], moment.month);
    digits(&mut text[8..10], moment.day);
    moment.time(&mut text[11..19]);
    digits(&mut text[20..23], unix_ms % 1000);
    text
}

/// A second of UTC in the Gregorian calendar.
struct Moment {
    year: u64,
    /// 1 to 12.
    month: u64,
    /// 1 to 31.
    day: u64,
    /// 0 is Thursday, the day of 1970-01-01.
    weekday: usize,
    second_of_day: u64,
}

impl Moment {
    /// Years here begin in March, so that the leap day is the last of a year and a month's start is a linear
    /// function of its number.
    fn of(unix_s: u64) -> Moment {
        const DAYS_PER_ERA: u64 = 146_097;
        /// From 0000-03-01 to 1970-01-01.
        const EPOCH: u64 = 719_468;
        let unix_s = unix_s.min(LAST_S);
        let days = unix_s / 86_400;
        let (era, day) = ((days + EPOCH) / DAYS_PER_ERA, (days + EPOCH) % DAYS_PER_ERA);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let march_month = (5 * day + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Moment {
            year: era * 400 + year + u64::from(month <= 2),
            month,
            day: day - (153 * march_month + 2) / 5 + 1,
            weekday: (days % 7) as usize,
            second_of_day: unix_s % 86_400,
        }
    }

    /// `08:49:37`.
    fn time(&self, text: &mut [u8]) {
        digits(&mut text[0..2], self.second_of_day / 3600);
        digits(&mut text[3..5], self.second_of_day / 60 % 60);
        digits(&mut text[6..8], self.second_of_day % 60);
    }
}

/// Fills `text` with the last digits of `number`.
fn digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_written_in_both_forms() {
        let table = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT", "2000-02-28T23:59:59"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT", "2000-03-01T00:00:00"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT", "2100-02-28T23:59:59"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT", "2026-12-31T23:59:59"),
            (LAST_S, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59"),
        ];
        for (unix_s, imf, rfc3339) in table {
            assert_eq!(std::str::from_utf8(&imf_fixdate(unix_s)).unwrap(), imf);
            let ms = rfc3339_ms(unix_s * 1000 + 42);
            assert_eq!(std::str::from_utf8(&ms).unwrap(), format!("{rfc3339}.042Z"));
        }
    }

    #[test]
    fn moments_beyond_the_year_9999_are_written_as_its_end() {
        assert_eq!(imf_fixdate(u64::MAX), imf_fixdate(LAST_S));
        assert!(rfc3339_ms(u64::MAX).starts_with(b"9999-12-31T23:59:59."));
    }

    #[test]
    fn every_day_follows_the_one_before_it() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000u64 {
            let moment = Moment::of(days * 86_400);
            assert_eq!((moment.year, moment.month, moment.day), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
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
}
