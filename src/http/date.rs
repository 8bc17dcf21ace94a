//! Dates as HTTP writes them. The only door to `httpdate`.
//!
//! The one idea: outside this file a time is a count of seconds since 1970, UTC. All three forms of a date are read;
//! the first (`Sun, 06 Nov 1994 08:49:37 GMT`) is written. RFC 9110 §5.6.7.

use std::fmt::{self, Display};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use httpdate::HttpDate;

/// The last second the four-digit year of an HTTP date can name, 9999-12-31T23:59:59Z.
const SECONDS_MAX: u64 = 253_402_300_799;

/// A date as HTTP writes it: 29 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date([u8; 29]);

impl Date {
    /// The bytes of the value of a field.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// `seconds` since 1970 as an HTTP date, written without allocating. A time the format cannot name (before 1970, after
/// 9999: files with a broken mtime exist) becomes the nearest one it can.
pub fn format(seconds: i64) -> Date {
    let seconds = u64::try_from(seconds).unwrap_or(0).min(SECONDS_MAX);
    let mut text = [b' '; 29];
    // Every date of four digits has 29 bytes.
    let _ = write!(&mut text[..], "{}", HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
    Date(text)
}

/// The date that was written last: all answers of a second have the same.
#[derive(Debug, Clone, Copy)]
pub struct Latest {
    seconds: i64,
    date: Date,
}

impl Default for Latest {
    fn default() -> Latest {
        Latest { seconds: 0, date: format(0) }
    }
}

impl Latest {
    /// As [`format()`].
    pub fn format(&mut self, seconds: i64) -> Date {
        if self.seconds != seconds {
            *self = Latest { seconds, date: format(seconds) };
        }
        self.date
    }
}

/// The seconds since 1970 that `text` names, or nothing if it is not a date in one of the three forms. A leap second is the
/// second before it, as in the time of the system.
pub fn parse(text: &str) -> Option<i64> {
    parse_common(text).or_else(|| parse_common(&text.replacen(":60 ", ":59 ", 1))).or_else(|| parse_old(text))
}

/// What `httpdate` knows: years from 1970, minutes of 60 seconds.
fn parse_common(text: &str) -> Option<i64> {
    let date: HttpDate = text.parse().ok()?;
    let since_epoch = SystemTime::from(date).duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_secs()).ok()
}

/// A date of the years 1600 to 1969, by the same day 400 years later: the calendar repeats itself, days of the week
/// included.
fn parse_old(text: &str) -> Option<i64> {
    const CYCLE_SECONDS: i64 = 146_097 * 24 * 60 * 60;
    let year = text.split(' ').find(|word| word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number = year.parse::<u32>().ok().filter(|year| (1600..1970).contains(year))?;
    parse_common(&text.replacen(year, &(number + 400).to_string(), 1)).map(|seconds| seconds - CYCLE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::{Latest, format, parse};

    #[test]
    fn three_forms_name_the_same_second() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_the_first_form_and_reads_back() {
        assert_eq!(format(784_111_777).to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
        for seconds in [0, 1, 951_782_400, 1_700_000_000, 253_402_300_799] {
            assert_eq!(parse(&format(seconds).to_string()), Some(seconds));
        }
    }

    #[test]
    fn the_latest_is_the_one_that_was_asked_for() {
        let mut latest = Latest::default();
        for seconds in [0, 784_111_777, 784_111_777, 784_111_778, 784_111_777, -1] {
            assert_eq!(latest.format(seconds), format(seconds));
        }
    }

    #[test]
    fn times_the_format_cannot_name_become_the_nearest() {
        assert_eq!(format(-1).to_string(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(format(i64::MIN).to_string(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(format(i64::MAX).to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn valid_dates_that_nobody_sends_are_dates() {
        for (text, seconds) in [
            ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_799),
            ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
            ("Fri, 01 Jan 1960 00:00:00 GMT", -315_619_200),
            ("Sat, 01 Jan 1600 00:00:00 GMT", -11_676_096_000),
            ("Fri Jan  1 00:00:00 1960", -315_619_200),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
        for wrong in ["Thu, 01 Jan 1960 00:00:00 GMT", "Sat, 31 Dec 2016 23:60:00 GMT", "Sat, 31 Dec 2016 23:59:61 GMT"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_date_is_nothing() {
        for text in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMTé",
            "1994-11-06T08:49:37Z",
            "784111777",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
