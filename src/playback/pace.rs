//! How fast films may be sent, and how what there is is divided among those who watch: as water finds its level.
//!
//! ```text
//!   net.pacing_total ──► users and links that play, each up to net.pacing_per_user
//!                         └──► their streams, each up to its user's maxBandwidth
//!                               └──► a stream's connections that send
//! ```
//!
//! What one cannot use, or does not, goes to the others; nobody who takes all of its share gets less than an equal one. Pure:
//! values in, values out. Who asks and who is told stands in `shares`; the kernel keeps the pace of each socket
//! (`SO_MAX_PACING_RATE`, socket(7); without the fq scheduler TCP paces by itself, DATAPATH.md §5).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::limits;
use crate::playback::Owner;
use crate::store::Timestamp;

/// How fast: bytes a second, or as fast as it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pace(u64);

/// What an administrator allows to those who watch from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Of one user, or one link: `net.pacing_per_user`.
    pub per_user: Pace,
    /// Of all together: `net.pacing_total`.
    pub total: Pace,
    /// Whether they hold in the house as well: `net.pacing_lan`.
    pub with_lan: bool,
}

/// What is wished of a connection: a pace, and a number that changes when somebody wants to know how it gets on. One word, so
/// that who sends asks with one load whether there is anything new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish(u64);

/// What a stream would have of what there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub owner: Owner,
    /// Its user's `maxBandwidth`.
    pub own: Pace,
    /// What it takes, by [`Draw::claim`].
    pub draw: Pace,
    /// Whether anything comes through; who stands still holds nothing that others could use.
    pub flows: bool,
    /// Whether the caps hold for it.
    pub is_capped: bool,
}

/// What a stream has taken at the last looks, in bytes a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw([u64; limits::PACE_DRAW_LOOKS]);

/// What a playback was handed, against what it may be: a player that comes on a new connection for each range, or asks over
/// many at once, would get the first packets of each before TCP begins to pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tab {
    /// Bytes of it that are accounted for, and when that was.
    charged: u64,
    charged_at: Timestamp,
    /// When what it was handed would have been sent at its pace.
    clear_at: Timestamp,
}

/// One of those among whom something is divided.
#[derive(Clone, Copy, Debug)]
struct Want {
    /// What it may have at most.
    most: u64,
    /// What it takes.
    draw: u64,
    flows: bool,
}

impl Pace {
    /// As fast as it goes. Leaves a byte of a [`Wish`] free.
    pub const NONE: Pace = Pace(u64::MAX >> 8);

    /// So many bits a second; 0 is as fast as it goes.
    pub fn of_bits(bits: u64) -> Pace {
        if bits == 0 { Pace::NONE } else { Pace::of_bytes(bits / 8) }
    }

    /// So many bytes a second, or the least there is.
    fn of_bytes(bytes: u64) -> Pace {
        Pace(bytes.clamp(limits::PACE_BYTES_MIN, Pace::NONE.0))
    }

    /// Bytes a second, if it is held to any.
    pub fn bytes(self) -> Option<u64> {
        (self != Pace::NONE).then_some(self.0)
    }

    /// Bits a second, if it is held to any.
    pub fn bits(self) -> Option<u64> {
        self.bytes().map(|bytes| bytes.saturating_mul(8))
    }

    /// Its share when it is divided among so many.
    pub(super) fn among(self, count: usize) -> Pace {
        self.bytes().map_or(Pace::NONE, |bytes| Pace::of_bytes(bytes / count.max(1) as u64))
    }

    /// How long so many bytes take.
    fn time_of(self, bytes: u64) -> Duration {
        let microseconds = |pace| u128::from(bytes) * 1_000_000 / u128::from(pace);
        let taken = self.bytes().map_or(0, microseconds);
        Duration::from_micros(u64::try_from(taken).unwrap_or(u64::MAX)).min(limits::PACE_DEBT_MAX)
    }
}

impl Caps {
    /// None at all.
    pub const NONE: Caps = Caps { per_user: Pace::NONE, total: Pace::NONE, with_lan: false };

    /// Whether there are any.
    pub(super) fn are_none(&self) -> bool {
        self.per_user == Pace::NONE && self.total == Pace::NONE
    }
}

impl Wish {
    /// Go as you like.
    pub const NONE: Wish = Wish(Pace::NONE.0 << 8);

    /// How fast it is to go.
    pub fn pace(self) -> Pace {
        Pace(self.0 >> 8)
    }

    /// Whether somebody wants to know how it gets on, who did not when `before` was wished.
    pub fn asks_since(self, before: Wish) -> bool {
        (self.0 ^ before.0) & 0xff != 0
    }

    pub(super) fn with_pace(self, pace: Pace) -> Wish {
        Wish(pace.0 << 8 | self.0 & 0xff)
    }

    pub(super) fn asking(self) -> Wish {
        Wish(self.0 & !0xff | self.0.wrapping_add(1) & 0xff)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn of_word(word: u64) -> Wish {
        Wish(word)
    }
}

/// Whether a client is in the house: on this machine, on its link, or in a private network (RFC 1918, 3927, 4193, 4291).
pub fn is_near(client: IpAddr) -> bool {
    match client.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// The pace of each stream. One that stands still is given what it would get if it were one more, so that it begins modestly.
pub(super) fn divide(caps: Caps, claims: &[Claim]) -> Vec<Pace> {
    let mut paces: Vec<Pace> = claims.iter().map(|claim| claim.own).collect();
    if caps.are_none() {
        return paces;
    }
    let mut owners: HashMap<Owner, Vec<usize>> = HashMap::new();
    for (index, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.is_capped) {
        owners.entry(claim.owner).or_default().push(index);
    }
    let of = |indices: &[usize]| -> Vec<Want> { indices.iter().map(|index| Want::of(&claims[*index])).collect() };
    let owners: Vec<Vec<usize>> = owners.into_values().collect();
    let wants: Vec<Want> = owners.iter().map(|indices| Want::of_all(&of(indices), caps.per_user.0)).collect();
    for (indices, share) in owners.iter().zip(shares(caps.total.0, &wants)) {
        for (index, share) in indices.iter().zip(shares(share, &of(indices))) {
            paces[*index] = Pace::of_bytes(share);
        }
    }
    paces
}

/// What each gets of `whole`.
fn shares(whole: u64, wants: &[Want]) -> Vec<u64> {
    let flowing = |measure: fn(&Want) -> u64| wants.iter().filter(|want| want.flows).map(measure);
    // While there is enough for all, nobody is held to what it takes now.
    let is_enough = level(whole, flowing(|want| want.draw)) == Pace::NONE.0;
    let measure: fn(&Want) -> u64 = if is_enough { |want| want.most } else { |want| want.draw };
    let reached = level(whole, flowing(measure));
    let with_one_more = level(whole, flowing(measure).chain([Pace::NONE.0]));
    let share = |want: &Want| if want.flows { measure(want).min(reached) } else { want.most.min(with_one_more) };
    wants.iter().map(share).collect()
}

/// How high `whole` stands when it is poured into vessels of these sizes; [`Pace::NONE`] when it fills them all.
fn level(whole: u64, sizes: impl Iterator<Item = u64>) -> u64 {
    let mut sizes: Vec<u64> = sizes.collect();
    sizes.sort_unstable();
    let (mut left, count) = (whole, sizes.len());
    for (index, size) in sizes.into_iter().enumerate().filter(|_| whole != Pace::NONE.0) {
        let share = left / (count - index) as u64;
        if size > share {
            return share;
        }
        left -= size;
    }
    Pace::NONE.0
}

impl Want {
    fn of(claim: &Claim) -> Want {
        Want { most: claim.own.0, draw: claim.draw.min(claim.own).0, flows: claim.flows }
    }

    /// What an owner of these wants, who may have so much.
    fn of_all(wants: &[Want], most: u64) -> Want {
        let sum = |measure: fn(&Want) -> u64| {
            let flowing = wants.iter().filter(|want| want.flows).map(measure);
            flowing.fold(0, u64::saturating_add).min(most)
        };
        let flows = wants.iter().any(|want| want.flows);
        Want { most: if flows { sum(|want| want.most) } else { most }, draw: sum(|want| want.draw), flows }
    }
}

impl Draw {
    /// Nothing is known yet: it is taken for somebody who takes all of its share.
    pub const UNKNOWN: Draw = Draw([Pace::NONE.0; limits::PACE_DRAW_LOOKS]);

    /// It took so many bytes a second since the last look.
    pub fn note(&mut self, rate: u64) {
        self.0.rotate_right(1);
        self.0[0] = rate;
    }

    /// What it would take: without end, if it takes about all of `pace`; else a little more than it did.
    pub fn claim(&self, pace: Pace) -> Pace {
        let peak = self.0.into_iter().max().unwrap_or(Pace::NONE.0);
        if peak >= pace.0 / 4 * 3 { Pace::NONE } else { Pace::of_bytes(peak + peak / 2) }
    }
}

impl Tab {
    /// Of a playback that was sent nothing yet, and may be at `clear_at`.
    pub fn new(clear_at: Timestamp, now: Timestamp) -> Tab {
        Tab { charged: 0, charged_at: now, clear_at }
    }

    /// It was handed so many bytes in all, what came new of them at this pace.
    pub fn charge(&mut self, bytes: u64, pace: Pace, now: Timestamp) {
        if now < self.charged_at {
            // The clock was set back: what is owed stays the same.
            self.clear_at = now.plus(self.owed(self.charged_at));
            self.charged_at = now;
        }
        let begun = self.clear_at.max(self.charged_at);
        let taken = pace.time_of(bytes.saturating_sub(self.charged));
        (self.charged, self.charged_at) = (bytes, now);
        self.clear_at = begun.plus(taken).min(now.plus(limits::PACE_DEBT_MAX));
    }

    /// Its pace changes: what it owes is so many bytes, whatever time these take now.
    pub fn change(&mut self, from: Pace, to: Pace, now: Timestamp) {
        if let Some(bytes) = from.bytes() {
            let owed = self.owed(now).as_secs_f64() * bytes as f64;
            self.clear_at = now.plus(to.time_of(owed as u64));
        }
    }

    /// How long what it was handed will take yet.
    fn owed(&self, now: Timestamp) -> Duration {
        let microseconds = self.clear_at.microseconds().saturating_sub(now.microseconds());
        Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
    }

    /// How long the next answer has to wait.
    pub fn wait(&self, now: Timestamp) -> Duration {
        self.owed(now).saturating_sub(limits::PACE_AHEAD)
    }

    /// When what it was handed would have been sent.
    pub fn clear_at(&self) -> Timestamp {
        self.clear_at
    }
}

#[cfg(test)]
mod tests;
