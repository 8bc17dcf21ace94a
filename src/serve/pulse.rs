//! A sign of life of one thread: it notes the time now and then, and somebody else sees for how long it has not.
//!
//! On a shard a task of its own does it, by a timer: where the thread does not come back to its tasks, because it waits for
//! something or turns in a circle, that one does not run either.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When a thread showed life last.
#[derive(Debug)]
pub struct Pulse {
    /// What its thread is called.
    pub name: String,
    began: Instant,
    /// Milliseconds since `began`.
    last: AtomicU64,
}

/// What a thread is asked to do about its pulse.
#[derive(Clone, Debug)]
pub struct Beats {
    /// Where it shows life.
    pub pulse: Arc<Pulse>,
    /// How often.
    pub interval: Duration,
}

impl Pulse {
    /// That of a thread which is about to begin, `now`.
    pub fn new(name: impl Into<String>, now: Instant) -> Pulse {
        Pulse { name: name.into(), began: now, last: AtomicU64::new(0) }
    }

    /// It lives.
    pub fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        self.last.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// It waits for another thread, which is watched itself: until it beats again its silence means nothing.
    pub fn rest(&self) {
        self.last.store(u64::MAX, Ordering::Relaxed);
    }

    /// For how long nothing was heard of it. The time in which the machine is suspended does not count (CLOCK_MONOTONIC).
    pub fn silence(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        now.saturating_duration_since(self.began).saturating_sub(last)
    }
}

impl Beats {
    /// Shows life for as long as it is polled.
    pub async fn keep(&self) -> Infallible {
        loop {
            self.pulse.beat(Instant::now());
            tokio::time::sleep(self.interval).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_beat() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pulse = Pulse::new("a thread", start);
        assert_eq!(pulse.silence(at(7)), Duration::from_secs(7), "it has never shown life");
        pulse.beat(at(7));
        assert_eq!(pulse.silence(at(7)), Duration::ZERO);
        assert_eq!(pulse.silence(at(12)), Duration::from_secs(5));
    }

    #[test]
    fn who_rests_is_not_silent_until_it_has_shown_life_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pulse = Pulse::new("a thread", start);
        pulse.rest();
        assert_eq!(pulse.silence(at(1_000_000)), Duration::ZERO);
        pulse.beat(at(1_000_000));
        assert_eq!(pulse.silence(at(1_000_007)), Duration::from_secs(7));
    }
}
