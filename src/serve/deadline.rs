//! Whether a peer that does not read is dead, or only paused.
//!
//! Progress is what the peer has *acknowledged*, not whether the socket is writable (spec/HTTP.md, "Messages"). A
//! paused player closes its window and still answers probes: it may stay for hours. A peer from which nothing at all is
//! heard for minutes is gone. Pure: the time and TCP's figures are given.

use std::time::{Duration, Instant};

use crate::config::Net;
use crate::limits;
use crate::sys::socket::Acknowledged;

/// How long to wait for a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Without any sign of life.
    pub stall: Duration,
    /// Without progress, but alive.
    pub pause: Duration,
    /// For a head of a request to arrive.
    pub head: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
}

impl Patience {
    /// As an administrator chose it.
    pub fn of(net: &Net) -> Patience {
        let Net { stall_timeout, pause_timeout, head_timeout, keep_alive_timeout, .. } = *net;
        Patience { stall: stall_timeout, pause: pause_timeout, head: head_timeout, keep_alive: keep_alive_timeout }
    }

    /// Without progress, but alive, until it is paused and gives way where there are too many.
    pub fn paused_after(&self) -> Duration {
        limits::PAUSED_AFTER.min(self.stall)
    }

    /// How often to look.
    pub fn interval(&self) -> Duration {
        (self.stall.min(self.pause) / 4).clamp(Duration::from_millis(100), Duration::from_secs(15))
    }
}

/// So many questions a dead peer has left unanswered. One alone may be lost, and a living peer passes over a probe that
/// comes within 0.5 s of the last (`net.ipv4.tcp_invalid_ratelimit`).
const UNANSWERED_MIN: u8 = 2;

/// How far a peer has come, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    acknowledged_bytes: u64,
    since: Instant,
}

/// What is to be done about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It reads, or may yet.
    Wait,
    /// Nothing was heard of it for too long.
    Dead,
    /// It has been paused for too long.
    PausedTooLong,
}

impl Progress {
    pub fn new(now: Instant) -> Progress {
        Progress { acknowledged_bytes: 0, since: now }
    }

    /// When the peer last came further.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Judges what TCP says now.
    pub fn judge(&mut self, seen: Acknowledged, now: Instant, patience: &Patience) -> Verdict {
        if seen.bytes > self.acknowledged_bytes {
            *self = Progress { acknowledged_bytes: seen.bytes, since: now };
            return Verdict::Wait;
        }
        let silent = now.duration_since(self.since);
        if silent >= patience.stall && seen.last_heard >= patience.stall && seen.unanswered >= UNANSWERED_MIN {
            Verdict::Dead
        } else if silent >= patience.pause {
            Verdict::PausedTooLong
        } else {
            Verdict::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        stall: Duration::from_secs(300),
        pause: Duration::from_secs(4 * 3600),
        head: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
    };

    /// Looks at (seconds since the start, bytes acknowledged, seconds since anything was heard); the last verdict.
    fn last_verdict(looks: &[(u64, u64, u64)]) -> Verdict {
        last_verdict_of(looks, UNANSWERED_MIN)
    }

    /// The same for a peer that has left so many questions unanswered.
    fn last_verdict_of(looks: &[(u64, u64, u64)], unanswered: u8) -> Verdict {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let mut verdict = Verdict::Wait;
        for (at, bytes, last_heard) in looks {
            let last_heard = Duration::from_secs(*last_heard);
            let seen =
                Acknowledged { bytes: *bytes, last_heard, unanswered, outstanding: 1, ..Acknowledged::default() };
            verdict = progress.judge(seen, start + Duration::from_secs(*at), &PATIENCE);
        }
        verdict
    }

    #[test]
    fn a_paused_player_lives_as_long_as_it_answers_probes() {
        assert_eq!(last_verdict(&[(10, 500, 0), (3600, 500, 60), (4 * 3600, 500, 110)]), Verdict::Wait);
        assert_eq!(last_verdict(&[(10, 500, 0), (4 * 3600 + 10, 500, 110)]), Verdict::PausedTooLong);
    }

    #[test]
    fn a_peer_that_is_not_heard_of_is_dead() {
        assert_eq!(last_verdict(&[(10, 500, 0), (309, 500, 299)]), Verdict::Wait);
        assert_eq!(last_verdict(&[(10, 500, 0), (310, 500, 300)]), Verdict::Dead);
    }

    #[test]
    fn a_peer_that_was_asked_nothing_since_it_answered_is_not_dead() {
        assert_eq!(last_verdict_of(&[(10, 500, 0), (310, 500, 300)], 1), Verdict::Wait);
        assert_eq!(last_verdict_of(&[(10, 500, 0), (4 * 3600 + 10, 500, 300)], 0), Verdict::PausedTooLong);
    }

    #[test]
    fn a_peer_that_never_acknowledged_has_its_time_too() {
        // An idle keep-alive connection was last heard of long before this response began.
        assert_eq!(last_verdict(&[(15, 0, 400)]), Verdict::Wait);
        assert_eq!(last_verdict(&[(300, 0, 700)]), Verdict::Dead);
    }

    #[test]
    fn a_trickle_is_progress() {
        let trickle: Vec<_> = (1..100).map(|step| (step * 299, step, 1)).collect();
        assert_eq!(last_verdict(&trickle), Verdict::Wait);
    }
}
