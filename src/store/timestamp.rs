//! A moment, as the database keeps it: microseconds since 1970 UTC.
//!
//! The one idea: a timestamp always has an RFC 3339 form, because it is held to the years 1 to 9999 when it is made.
//! The store never looks at a clock; whoever calls it brings `now`.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 0001-01-01T00:00:00Z.
const MICROSECONDS_MIN: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z.
const MICROSECONDS_MAX: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The moment this many microseconds after 1970; the nearest one we can write when that is out of range (the
    /// times of files may be anything).
    pub fn from_microseconds(microseconds: i64) -> Timestamp {
        Timestamp(microseconds.clamp(MICROSECONDS_MIN, MICROSECONDS_MAX))
    }

    /// What the system's clock says. For the edges of the program; below them `now` is handed on.
    pub fn now() -> Timestamp {
        Timestamp::from(SystemTime::now())
    }

    /// Microseconds since 1970; negative before it.
    pub fn microseconds(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down: what a JWT calls NumericDate (RFC 7519 §2).
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The moment `duration` later.
    pub fn plus(self, duration: Duration) -> Timestamp {
        let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_microseconds(self.0.saturating_add(microseconds))
    }

    /// The moment `duration` earlier.
    pub fn minus(self, duration: Duration) -> Timestamp {
        let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_microseconds(self.0.saturating_sub(microseconds))
    }

    /// As in `2026-05-20T18:30:00.25Z` (RFC 3339 §5.6), with as many digits of the second as it has.
    pub fn to_rfc3339(self) -> String {
        // Neither fallback is reached, because the year has four digits.
        let moment = UtcDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000);
        moment.unwrap_or(UtcDateTime::UNIX_EPOCH).format(&Rfc3339).unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let microseconds = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_microseconds(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => microseconds(after),
            Err(before) => -microseconds(before.duration()),
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timestamp_has_a_four_digit_year() {
        for (microseconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_250_000, "1970-01-01T00:00:01.25Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (i64::MIN, "0001-01-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Timestamp::from_microseconds(microseconds).to_rfc3339(), text);
        }
    }

    #[test]
    fn system_times_before_1970_are_negative() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_micros(1_500_000);
        let timestamp = Timestamp::from(before);
        assert_eq!((timestamp.microseconds(), timestamp.seconds()), (-1_500_000, -2));
        assert_eq!(timestamp.plus(Duration::from_secs(2)).microseconds(), 500_000);
        assert_eq!(timestamp.plus(Duration::MAX), Timestamp::from_microseconds(i64::MAX));
    }
}
