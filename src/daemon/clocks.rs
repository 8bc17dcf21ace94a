//! What the clocks say of one another: that the machine has slept, or that its clock was set.
//!
//! Time-outs of connections are reckoned by a clock that stands still while the machine sleeps, so that none is taken for
//! stalled because of it. Sessions, tokens and playbacks live by the calendar, which jumps: a night counts for a token, and
//! must not count as a pause of a film.

use std::time::{Duration, Instant};

use crate::limits;
use crate::store::Timestamp;
use crate::sys::clock;

/// The clocks at one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// What people's clocks show; it is set now and then.
    pub calendar: Timestamp,
    /// Goes on evenly while the machine is awake.
    pub awake: Instant,
    /// How long the machine has slept since it was started.
    pub slept: Duration,
}

/// What has happened between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Time went by.
    None,
    /// The machine has slept for so long.
    Slept(Duration),
    /// The calendar was set, by so many seconds.
    Set(i64),
}

/// The clocks at the look before.
#[derive(Debug)]
pub(super) struct Clocks(Reading);

impl Reading {
    /// What they say now.
    pub fn now() -> Reading {
        // The calendar first: after a sleep between the calls it is the one of before, and the next look tells.
        Reading { calendar: Timestamp::now(), awake: Instant::now(), slept: clock::slept() }
    }
}

impl Clocks {
    /// Begins with this reading.
    pub fn new(reading: Reading) -> Clocks {
        Clocks(reading)
    }

    /// What has happened until this reading, since the one before.
    pub fn news(&mut self, reading: Reading) -> News {
        let before = std::mem::replace(&mut self.0, reading);
        let slept = reading.slept.saturating_sub(before.slept);
        if slept >= limits::CLOCK_JUMP_MIN {
            return News::Slept(slept);
        }
        let passed = reading.awake.duration_since(before.awake) + slept;
        let shown = reading.calendar.microseconds() - before.calendar.microseconds();
        let set = shown.saturating_sub(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX));
        if set.unsigned_abs() >= limits::CLOCK_JUMP_MIN.as_micros() as u64 {
            return News::Set((set as f64 / 1e6).round() as i64);
        }
        News::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIGHT: u64 = 8 * 3600 * 1000;

    /// Milliseconds by which the calendar, the even clock and the sleep have gone on since the look before, and what is told.
    const LOOKS: &[(i64, u64, u64, News)] = &[
        (500, 500, 0, News::None),
        // The clocks are not read at one moment, and a calendar is slewed.
        (480, 510, 1, News::None),
        (500, 500, 999, News::None),
        (NIGHT as i64 + 500, 500, NIGHT, News::Slept(Duration::from_millis(NIGHT))),
        (500, 500, 0, News::None),
        // It slept between the calls: the calendar of before, then the night.
        (500, 500, NIGHT, News::Slept(Duration::from_millis(NIGHT))),
        (NIGHT as i64 + 500, 500, 0, News::Set(8 * 3600)),
        (1500, 500, 1000, News::Slept(Duration::from_secs(1))),
        // The keeper waited for a disk.
        (120_000, 120_000, 0, News::None),
        // NTP, or somebody.
        (3_600_500, 500, 0, News::Set(3600)),
        (-7_199_500, 500, 0, News::Set(-7200)),
        (500, 500, 0, News::None),
    ];

    #[test]
    fn a_sleep_and_a_clock_that_was_set_are_told_once_and_by_their_length() {
        let begin = Reading { calendar: Timestamp::now(), awake: Instant::now(), slept: Duration::from_secs(77) };
        let (mut clocks, mut reading) = (Clocks::new(begin), begin);
        for (index, (calendar, awake, slept, expected)) in LOOKS.iter().enumerate() {
            let shown = reading.calendar.microseconds() + calendar * 1000;
            reading = Reading {
                calendar: Timestamp::from_microseconds(shown),
                awake: reading.awake + Duration::from_millis(*awake),
                slept: reading.slept + Duration::from_millis(*slept),
            };
            assert_eq!(clocks.news(reading), *expected, "look {index}");
        }
    }

    #[test]
    fn the_clocks_of_this_machine_have_no_news_from_one_call_to_the_next() {
        let mut clocks = Clocks::new(Reading::now());
        assert_eq!(clocks.news(Reading::now()), News::None);
    }
}
