//! What the keeper does about playbacks twice a second: it frees the slots of those that are over, tells superseded
//! connections to end, sees how fast the others go, and divides what there is among them.

use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crate::playback::held::{Held, Member, Parties};
use crate::playback::viewer::Told;
use crate::playback::{Playbacks, Streamed};
use crate::store::Timestamp;

/// How a playback stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is open, or lingers and may.
    Holds,
    /// It has lingered for long enough.
    Lingered,
    /// It is open, and nothing was sent for too long.
    Paused,
}

impl Playbacks {
    /// Looks at all playbacks. What their sessions were sent since the last look.
    pub fn swept(&self, now: Timestamp) -> Vec<Streamed> {
        let mut streamed = std::mem::take(&mut *self.door());
        for slot in &self.slots {
            let Some(held) = slot.held.load_full() else { continue };
            streamed.push(held.streamed());
            let standing = held.look(now, self.bounds.load().pause);
            if standing == Standing::Holds {
                continue;
            }
            let mut door = self.door();
            let is_still_there = slot.held.load().as_ref().is_some_and(|there| Arc::ptr_eq(there, &held));
            let is_over = match standing {
                Standing::Holds => false,
                Standing::Lingered => held.close_if_idle(),
                Standing::Paused => {
                    held.close();
                    true
                }
            };
            if is_still_there && is_over {
                slot.clear(&mut door);
            }
        }
        self.divide(now);
        streamed.retain(|streamed| streamed.bytes > 0);
        streamed
    }

    /// The calendar has jumped to `now`, because the machine slept or its clock was set: nobody has paused or lingered
    /// meanwhile, and nobody does for longer because of it. To be said before the next look.
    pub fn jumped(&self, now: Timestamp) {
        self.all().for_each(|held| held.begin_anew(now));
    }
}

impl Held {
    fn look(&self, now: Timestamp, pause: Duration) -> Standing {
        let mut parties = self.parties();
        let bytes = self.bytes();
        if let Some(fresh) = parties.note_rate(bytes, now) {
            parties.note_flow(fresh as u64);
        }
        let (seen, since) = parties.seen.unwrap_or((0, self.started));
        let since = if bytes > seen { now } else { since };
        parties.seen = Some((bytes, since));
        parties.tell_superseded(now);
        if self.connections() == 0 {
            let lingered = self.lingers_since().plus(limits::PLAYBACK_LINGER) <= now;
            return if lingered { Standing::Lingered } else { Standing::Holds };
        }
        if since.plus(pause) <= now { Standing::Paused } else { Standing::Holds }
    }
}

impl Parties {
    /// Smooths the rate over a few seconds. That since the last look, if there was one.
    fn note_rate(&mut self, bytes: u64, now: Timestamp) -> Option<f64> {
        let looked = self.looked.replace(now)?;
        let seconds = (now.microseconds() - looked.microseconds()) as f64 / 1e6;
        if seconds <= 0.0 {
            return None;
        }
        let fresh = bytes.saturating_sub(self.seen.map_or(0, |(seen, _)| seen)) as f64 / seconds;
        let weight = 1.0 - (-seconds / limits::PLAYBACK_RATE_SMOOTHING.as_secs_f64()).exp();
        self.rate += (fresh - self.rate) * weight;
        Some(fresh)
    }

    /// Where more connections send than a player has use for, those that do not come further are told to end, the oldest
    /// first, and never the newest.
    fn tell_superseded(&mut self, now: Timestamp) {
        let is_counted = |member: &Member| member.is_sending() && member.told().is_none();
        let count = self.members.iter().filter(|member| is_counted(member)).count();
        let mut too_many = count.saturating_sub(limits::CONNECTIONS_PER_PLAYER);
        let newest = self.members.iter().rposition(|member| is_counted(member));
        for (index, member) in self.members.iter().enumerate() {
            // Each is looked at, whatever their number: by that their progress is noted.
            let is_stuck = member.silent_since(now).plus(limits::SUPERSEDED_AFTER) <= now;
            if too_many > 0 && is_stuck && is_counted(member) && Some(index) != newest {
                member.tell(Told::Superseded);
                too_many -= 1;
            }
        }
    }
}
