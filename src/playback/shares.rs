//! Each playback's share, and each of its connections': who asks for how much, and who is told.
//!
//! The keeper divides anew twice a second, and so does whoever begins a playback, before its first byte: then there is no
//! moment in which a newcomer goes as it likes. A connection that comes to a playback takes its part of what that has, and
//! the others have less from then on. The result lies in an atomic of each member; its own shard tells the kernel.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use uuid::Uuid;

use crate::limits;
use crate::playback::held::{Held, Member, Parties};
use crate::playback::pace::{self, Caps, Claim, Draw, Pace, Tab, Wish};
use crate::playback::{Key, Owner, Playbacks};
use crate::store::Timestamp;

/// How a playback is paced. Under the lock of its parties.
#[derive(Debug)]
pub(super) struct Pacing {
    /// Its user's `maxBandwidth`.
    own: Pace,
    /// What it has of all there is.
    pub pace: Pace,
    /// Whether the caps were thought to hold for it when that was divided; unknown while it was not.
    was_capped: Option<bool>,
    draw: Draw,
    tab: Tab,
    looks: u32,
}

impl Playbacks {
    /// A user changed what each of their streams may take, in bits a second.
    pub fn allow(&self, user_id: Uuid, max_bandwidth: Option<u64>, now: Timestamp) {
        // Whoever joins without knowing is seen here; see `Viewer::play`.
        fence(Ordering::SeqCst);
        let own = Pace::of_bits(max_bandwidth.unwrap_or(0));
        let theirs = self.all().filter(|held| held.key.owner == Owner::User(user_id));
        if theirs.fold(false, |is_any, held| is_any | held.allow(own)) {
            self.divide(now);
        }
    }

    /// Divides what there is among all that are held.
    pub(super) fn divide(&self, now: Timestamp) {
        // Of two who divide at once the later one would give the shares of a moment before.
        let _door = self.door();
        let all: Vec<Arc<Held>> = self.all().collect();
        let caps = self.bounds.load().caps;
        let claims: Vec<Claim> = all.iter().map(|held| held.claim(caps)).collect();
        for (held, pace) in all.iter().zip(pace::divide(caps, &claims)) {
            held.set_pace(pace, now);
        }
    }

    /// One connection more has a part in a playback, and its share before its first byte.
    pub(super) fn enter(&self, held: &Held, member: &Arc<Member>, now: Timestamp) {
        if held.enter(member, self.bounds.load().caps) {
            self.divide(now);
        }
    }

    /// What those playbacks of an owner owe that send nothing: the next one begins with it.
    pub(super) fn owed_by(&self, key: Key, now: Timestamp) -> Timestamp {
        let idle = self.all().filter(|held| held.key.owner == key.owner && held.connections() == 0);
        idle.map(|held| held.charged(now).clear_at()).max().unwrap_or(now)
    }
}

impl Pacing {
    pub fn new(max_bandwidth: Option<u64>, clear_at: Timestamp, now: Timestamp) -> Pacing {
        Pacing {
            own: Pace::of_bits(max_bandwidth.unwrap_or(0)),
            pace: Pace::NONE,
            was_capped: None,
            draw: Draw::UNKNOWN,
            tab: Tab::new(clear_at, now),
            looks: 0,
        }
    }
}

impl Pacing {
    /// It was sent so many bytes before, which are paid for.
    pub fn restored(&mut self, bytes: u64, now: Timestamp) {
        self.tab.charge(bytes, Pace::NONE, now);
    }
}

impl Held {
    /// How long its next answer has to wait for what it was handed before.
    pub fn owes(&self, now: Timestamp) -> Duration {
        self.charged(now).wait(now)
    }

    /// What it was handed, with what came since it was reckoned last.
    fn charged(&self, now: Timestamp) -> Tab {
        let mut parties = self.parties();
        parties.charge(self.bytes(), now);
        parties.pacing.tab
    }

    /// Its user's `maxBandwidth`, as it was said last.
    pub fn max_bandwidth(&self) -> Option<u64> {
        self.parties().pacing.own.bits()
    }

    fn allow(&self, own: Pace) -> bool {
        std::mem::replace(&mut self.parties().pacing.own, own) != own
    }

    fn claim(&self, caps: Caps) -> Claim {
        let mut parties = self.parties();
        let is_capped = parties.is_capped(caps);
        parties.pacing.was_capped = Some(is_capped);
        let Pacing { own, pace, draw, .. } = parties.pacing;
        let flows = parties.members.iter().any(|member| member.flows());
        Claim { owner: self.key.owner, own, draw: draw.claim(pace), flows, is_capped }
    }

    fn set_pace(&self, pace: Pace, now: Timestamp) {
        let mut parties = self.parties();
        parties.charge(self.bytes(), now);
        let before = std::mem::replace(&mut parties.pacing.pace, pace);
        if before != pace {
            parties.pacing.tab.change(before, pace, now);
        }
        parties.share();
    }

    /// Takes a connection among the members. Whether all has to be divided anew: it is the first, or the caps held for none
    /// of the others.
    fn enter(&self, member: &Arc<Member>, caps: Caps) -> bool {
        let mut parties = self.parties();
        parties.members.push(Arc::clone(member));
        if caps.are_none() && parties.pacing.was_capped.is_none() {
            parties.pacing.pace = parties.pacing.own;
            parties.pacing.was_capped = Some(false);
        }
        parties.share();
        parties.pacing.was_capped != Some(parties.is_capped(caps))
    }
}

impl Parties {
    /// Whether the caps hold: unless all of its connections are in the house. Without any it is as it was.
    fn is_capped(&self, caps: Caps) -> bool {
        let is_known = self.pacing.was_capped.filter(|_| self.members.is_empty());
        !caps.are_none()
            && is_known.unwrap_or_else(|| caps.with_lan || self.members.iter().any(|member| !member.is_near))
    }

    /// Each connection's part of the playback's share. One that stands still has what it would have as one more.
    fn share(&self) {
        let flowing = self.members.iter().filter(|member| member.flows()).count();
        for member in &self.members {
            member.wish_pace(self.pacing.pace.among(flowing + usize::from(!member.flows())));
        }
    }

    fn charge(&mut self, bytes: u64, now: Timestamp) {
        let pace = self.pacing.pace;
        self.pacing.tab.charge(bytes, pace, now);
    }

    /// Notes who comes further, and what the playback takes: so many bytes a second. Now and then asks for more.
    pub fn note_flow(&mut self, rate: u64) {
        self.pacing.looks = self.pacing.looks.wrapping_add(1);
        let asks = self.pacing.looks.is_multiple_of(limits::LOOKS_A_QUESTION);
        let flowing = self.members.iter().filter(|member| member.look(asks)).count();
        match flowing {
            0 => self.pacing.draw = Draw::UNKNOWN,
            _ => self.pacing.draw.note(rate),
        }
    }

    /// Bytes a second that arrive, as TCP has it, of the connections that send.
    pub fn delivery_rate(&self) -> u64 {
        let flowing = self.members.iter().filter(|member| member.flows());
        flowing.map(|member| member.delivery_rate.load(Ordering::Relaxed)).sum()
    }
}

impl Member {
    /// What is wished of it.
    pub fn wish(&self) -> Wish {
        Wish::of_word(self.wish.load(Ordering::Relaxed))
    }

    /// Whether anything came through lately, or it is new.
    fn flows(&self) -> bool {
        self.still_looks.load(Ordering::Relaxed) < limits::PACE_STILL_LOOKS
    }

    /// Wishes another pace of it, and wakes it if it is waiting. Under the lock of the parties.
    fn wish_pace(&self, pace: Pace) {
        let wish = self.wish();
        if wish.pace() != pace {
            self.wish.store(wish.with_pace(pace).word(), Ordering::Relaxed);
            self.wake();
        }
    }

    /// Looks whether it has come further. Whether it flows; if so it may be asked how it gets on.
    fn look(&self, asks: bool) -> bool {
        let come = self.come();
        let is_still = self.seen.swap(come, Ordering::Relaxed) == come;
        let still_looks = if is_still { self.still_looks.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
        self.still_looks.store(still_looks, Ordering::Relaxed);
        if asks && self.flows() {
            self.wish.store(self.wish().asking().word(), Ordering::Relaxed);
        }
        self.flows()
    }
}

#[cfg(test)]
mod tests;
