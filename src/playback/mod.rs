//! Who is watching what: one viewer, one film, and any number of connections, as one slot of a fixed number.
//!
//! The one idea: limits count playbacks, never sockets, because a player holds two or three for one film and drops one with
//! every seek. A slot is *held* while its playback is open or lingers, so whoever asks for the next range of a film joins a
//! held playback by one compare-and-swap; a lock is taken only where a playback begins or ends, and where what there is is
//! divided among them ([`pace`]).
//!
//! ```text
//!          first GET that sends a body       no connection sends        30 s, or it gives way
//!   (free) ──────────────────────────► open ───────────────────► lingering ──────────────► (free)
//!                                       │  ◄─────────────────────     │
//!                                       │         the next range
//!                                       └── 15 min without a byte: (free). The connection stays, and its next byte asks anew.
//! ```
//!
//! Whoever ends a playback from outside (an administrator, the end of its session) only sets a flag and wakes its
//! connections; each is ended by its own shard (spec/API.md, "A playback").

mod held;
pub mod pace;
mod restore;
mod shares;
mod sweep;
#[cfg(test)]
mod tests;
mod viewer;

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use fnv::FnvHasher;
use uuid::Uuid;

use crate::auth::presence::Sign;
use crate::limits;
use crate::playback::held::{Held, Join};
use crate::playback::pace::{Caps, Pace};
use crate::store::Timestamp;

pub use restore::Kept;
pub use viewer::{News, Playing, Told, Viewer};

/// All playbacks there are.
#[derive(Debug)]
pub struct Playbacks {
    slots: Box<[Slot]>,
    bounds: ArcSwap<Bounds>,
    /// [`Bounds::connections_max`], which every range is held to.
    connections_max: AtomicUsize,
    /// Taken where a playback begins or ends, and where their paces are divided. Holds what the sessions of those that ended
    /// have not been told yet.
    door: Mutex<Vec<Streamed>>,
}

/// What an administrator chose.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Playbacks in all: `video.max_concurrent_streams`.
    pub playbacks_max: usize,
    /// Of one user: `video.max_streams_per_user`.
    pub per_user_max: usize,
    /// Connections of one playback that send at once: `net.connections_per_playback`.
    pub connections_max: usize,
    /// Without a byte for so long a playback gives its slot back: `sessions.max_inactivity`.
    pub pause: Duration,
    /// How fast it all may go: `net.pacing_…`.
    pub caps: Caps,
}

#[derive(Debug, Default)]
struct Slot {
    mark: AtomicU64,
    held: ArcSwapOption<Held>,
}

/// Whose limit a playback counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A user's own.
    User(Uuid),
    /// That of a share link.
    Link(Uuid),
}

/// What makes two requests one playback: the same owner, the same film, the same player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose.
    pub owner: Owner,
    /// Of which film.
    pub video: Uuid,
    /// On which player, as [`Player::number`] has it.
    pub player: u64,
}

/// How a player is known again. Apple's send a name of their own with every request of one playback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Player<'a> {
    /// By that name.
    Named(&'a str),
    /// By its session: one login on one device.
    Session(Uuid),
    /// By where it is and what it calls itself, if it has no session of its own.
    Place(IpAddr, Option<&'a str>),
}

impl Player<'_> {
    /// A number to compare it by, among the players of one owner.
    pub fn number(&self) -> u64 {
        match self {
            Player::Session(id) => {
                let (high, low) = id.as_u64_pair(); // Random already.
                high ^ low
            }
            Player::Named(name) => fnv(&[b"named", name.as_bytes()]),
            Player::Place(address, name) => {
                let name = name.unwrap_or("-").as_bytes();
                match address {
                    IpAddr::V4(address) => fnv(&[&address.octets(), name]),
                    IpAddr::V6(address) => fnv(&[&address.octets(), name]),
                }
            }
        }
    }
}

/// FNV-1a: the same in every release, because a restart hands these numbers over and the plays of links are noted with them.
fn fnv(pieces: &[&[u8]]) -> u64 {
    let mut hasher = FnvHasher::default();
    pieces.iter().for_each(|piece| hasher.write(piece));
    hasher.finish()
}

/// Who wants to watch.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// The user; of a share link, who made it, if that was one.
    pub user_id: Option<Uuid>,
    /// The session, or the link.
    pub session_id: Uuid,
    /// Where from.
    pub client: IpAddr,
    /// Whether that is in the house, and no proxy stands between.
    pub is_near: bool,
    /// Bits a second that each stream may take, if the user has said so.
    pub max_bandwidth: Option<u64>,
    /// Shown while a film is being sent: its session sees by it that it plays.
    pub sign: Sign,
}

/// One playback, as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Its name.
    pub id: Uuid,
    /// Whose limit it counts against.
    pub owner: Owner,
    /// The user; of a share link, who made it, if that was one.
    pub user_id: Option<Uuid>,
    /// The session that began it, or the link.
    pub session_id: Uuid,
    /// The film.
    pub video_id: Uuid,
    /// When it began.
    pub started: Timestamp,
    /// Bytes of the film that were handed to its connections.
    pub bytes: u64,
    /// Bytes a second, over the last seconds.
    pub rate: f64,
    /// How fast it may go.
    pub pace: Pace,
    /// Bytes a second that arrive, as TCP has it, over its connections that send.
    pub delivery_rate: u64,
    /// Segments that TCP had to send again.
    pub retransmits: u64,
    /// Connections that send right now; none while it lingers.
    pub connections: usize,
    /// Where it was begun from.
    pub client: IpAddr,
}

/// Why there is no playback to be had.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// As many are open as there may be. With those of the same owner.
    Busy(Vec<Stream>),
    /// As many of this owner are open as there may be: these.
    Reached(Vec<Stream>),
    /// As many connections send this one film to this one player as there may be.
    Connections,
}

/// Bytes that a playback was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// Which one.
    pub key: Key,
    /// Its session, or its link.
    pub session_id: Uuid,
    /// How many.
    pub bytes: u64,
}

impl Playbacks {
    /// None yet.
    pub fn new(bounds: Bounds) -> Playbacks {
        let count = bounds.playbacks_max.max(limits::PLAYBACK_SLOTS_MIN);
        let slots = (0..count).map(|_| Slot::default()).collect();
        let connections_max = AtomicUsize::new(bounds.connections_max);
        Playbacks { slots, bounds: ArcSwap::from_pointee(bounds), connections_max, door: Mutex::default() }
    }

    /// From now on these are the bounds. What is held stays; how fast it may go is divided anew.
    pub fn set_bounds(&self, bounds: Bounds, now: Timestamp) {
        self.connections_max.store(bounds.connections_max, Ordering::Relaxed);
        self.bounds.store(Arc::new(bounds));
        self.divide(now);
    }

    /// How many connections of one playback may send at once.
    fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// How many playbacks there can be at most, whatever the bounds say.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// All that are held, the oldest first.
    pub fn streams(&self) -> Vec<Stream> {
        let mut streams: Vec<_> = self.all().map(|held| held.seen()).collect();
        streams.sort_by_key(|stream| (stream.started, stream.id));
        streams
    }

    /// How many are held.
    pub fn count(&self) -> usize {
        self.all().count()
    }

    /// Whether any of them is open: a connection sends, or waits for its player to read on.
    pub fn is_any_open(&self) -> bool {
        self.slots.iter().any(|slot| slot.held.load().as_ref().is_some_and(|held| held.connections() > 0))
    }

    /// How many of them a session has begun.
    pub fn count_of(&self, session_id: Uuid) -> usize {
        self.all().filter(|held| held.watcher.session_id == session_id).count()
    }

    /// Ends the playback of this name. Whether there was one.
    pub fn stop(&self, id: Uuid) -> bool {
        self.stop_where(|held, _| held.id == id)
    }

    /// Ends what these sessions play.
    pub fn stop_sessions(&self, ids: &[Uuid]) -> bool {
        self.stop_where(|_, session_id| ids.contains(&session_id))
    }

    /// Ends what this user plays; but not what the session `except` plays.
    pub fn stop_user(&self, user_id: Uuid, except: Option<Uuid>) -> bool {
        self.stop_where(|held, session_id| held.key.owner == Owner::User(user_id) && Some(session_id) != except)
    }

    /// Ends what all users play; guests go on.
    pub fn stop_users(&self) -> bool {
        self.stop_where(|held, _| matches!(held.key.owner, Owner::User(_)))
    }

    /// Ends the playback of this key.
    pub fn stop_key(&self, key: Key) -> bool {
        self.stop_where(|held, _| held.key == key)
    }

    /// Ends what guests play by links that are over, as `is_over` knows.
    pub fn stop_links(&self, is_over: impl Fn(Uuid) -> bool) -> bool {
        self.stop_where(|held, _| matches!(held.key.owner, Owner::Link(link_id) if is_over(link_id)))
    }

    /// Ends the part in each playback of the sessions that `is_over` names; of a playback that has no other, all of it. Whether
    /// there was any.
    fn stop_where(&self, is_over: impl Fn(&Held, Uuid) -> bool) -> bool {
        // Whoever calls has made it known before that a session is over: who joined without knowing is seen here.
        fence(Ordering::SeqCst);
        let mut door = self.door();
        let mut is_any = false;
        for slot in &self.slots {
            let Some(held) = slot.held.load_full() else { continue };
            let is_over = |session_id| is_over(&held, session_id);
            if held.is_all_of(is_over) {
                // In this order: who joins before is told, and who comes after begins another.
                held.close();
                slot.clear(&mut door);
                is_any = true;
            }
            is_any |= held.tell_stopped(is_over);
        }
        is_any
    }

    /// The playback of this key, joined: one that is held, or a new one, if there is a slot for it.
    fn join(&self, key: Key, watcher: &Watcher, now: Timestamp) -> Result<Arc<Held>, Refused> {
        if let Some(joined) = self.join_held(key) {
            return joined;
        }
        let mut door = self.door();
        // Somebody else may have been quicker.
        if let Some(joined) = self.join_held(key) {
            return joined;
        }
        let clear_at = self.owed_by(key, now);
        let slot = self.make_room(key, &mut door, now)?;
        let held = Arc::new(Held::new(key, watcher.clone(), clear_at, now));
        slot.held.store(Some(Arc::clone(&held)));
        slot.mark.store(key.mark(), Ordering::Release);
        Ok(held)
    }

    fn join_held(&self, key: Key) -> Option<Result<Arc<Held>, Refused>> {
        let held = self.find(key)?;
        match held.join(self.connections_max()) {
            Join::Joined => Some(Ok(held)),
            Join::Full => Some(Err(Refused::Connections)),
            Join::Closed => None,
        }
    }

    /// All slots, from the one on where a playback of this key would be put if it were free.
    fn slots_from(&self, key: Key) -> impl Iterator<Item = &Slot> {
        let hint = key.mark() as usize % self.slots.len().max(1);
        let (before, from) = self.slots.split_at(hint);
        from.iter().chain(before)
    }

    /// The playback of this key, if it is held. A look over the marks; no lock.
    fn find(&self, key: Key) -> Option<Arc<Held>> {
        let mark = key.mark();
        let marked = self.slots_from(key).filter(|slot| slot.mark.load(Ordering::Acquire) == mark);
        marked.filter_map(|slot| slot.held.load_full()).find(|held| held.key == key)
    }

    /// A free slot for a playback of this key; one that lingers may have to give way for it.
    fn make_room(&self, key: Key, door: &mut Vec<Streamed>, now: Timestamp) -> Result<&Slot, Refused> {
        let owner = key.owner;
        let own_max = match owner {
            Owner::User(_) => self.bounds.load().per_user_max,
            Owner::Link(_) => limits::PLAYBACKS_PER_LINK_MAX,
        };
        let is_own = |held: &Held| held.key.owner == owner;
        if self.all().filter(|held| is_own(held)).count() >= own_max {
            // There may be more than there should be, since the bound was lowered.
            while self.all().filter(|held| is_own(held)).count() > own_max {
                self.take_lingering(is_own, door, now).ok_or_else(|| Refused::Reached(self.of(owner)))?;
            }
            return self.take_lingering(is_own, door, now).ok_or_else(|| Refused::Reached(self.of(owner)));
        }
        if let Owner::Link(_) = owner {
            // A guest never takes the last places: they are for the people of the house.
            let open = self.all().filter(|held| held.connections() > 0).count();
            if open + limits::PLAYBACKS_KEPT_FROM_GUESTS >= self.playbacks_max() {
                return Err(Refused::Busy(self.of(owner)));
            }
        }
        // There may be more than there should be, since the bound was lowered.
        while self.count() >= self.playbacks_max() {
            self.take_lingering(|_| true, door, now).ok_or_else(|| Refused::Busy(self.of(owner)))?;
        }
        let free = self.slots_from(key).find(|slot| slot.held.load().is_none());
        free.ok_or_else(|| Refused::Busy(self.of(owner)))
    }

    fn playbacks_max(&self) -> usize {
        self.bounds.load().playbacks_max.min(self.slots.len())
    }

    /// Frees the slot of the one that has lingered longest, among those that `may_go`.
    fn take_lingering(
        &self,
        may_go: impl Fn(&Held) -> bool,
        door: &mut Vec<Streamed>,
        now: Timestamp,
    ) -> Option<&Slot> {
        loop {
            let held = self.slots.iter().filter_map(|slot| Some((slot, slot.held.load_full()?)));
            let lingering = held.filter(|(_, held)| may_go(held) && held.may_give_way(now));
            let (slot, held) = lingering.min_by_key(|(_, held)| held.lingers_since())?;
            // Or its next range has just come; then it is another's turn to go.
            if held.close_if_idle() {
                slot.clear(door);
                return Some(slot);
            }
        }
    }

    /// The running streams of this owner.
    fn of(&self, owner: Owner) -> Vec<Stream> {
        let mut streams = self.streams();
        streams.retain(|stream| stream.owner == owner);
        streams
    }

    fn all(&self) -> impl Iterator<Item = Arc<Held>> {
        self.slots.iter().filter_map(|slot| slot.held.load_full())
    }

    /// Poisoned only by a panic between two steps, each of which leaves the slots whole.
    fn door(&self) -> MutexGuard<'_, Vec<Streamed>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Frees the slot of a playback that is closed. What its session was sent since the last look goes to `unnoted`.
    fn clear(&self, unnoted: &mut Vec<Streamed>) {
        self.mark.store(0, Ordering::Release);
        if let Some(held) = self.held.swap(None) {
            let streamed = held.streamed();
            match unnoted.iter_mut().find(|noted| noted.key == streamed.key) {
                Some(noted) => noted.bytes += streamed.bytes,
                None => unnoted.push(streamed),
            }
        }
    }
}

impl Key {
    /// Eight bytes to look for. Two keys may share them: who finds a mark compares the keys. Never 0, which marks nothing.
    fn mark(&self) -> u64 {
        let owner = match self.owner {
            Owner::User(id) => id.as_u64_pair().1,
            Owner::Link(id) => !id.as_u64_pair().1,
        };
        let video = self.video.as_u64_pair().1;
        (owner ^ video.rotate_left(21) ^ self.player.rotate_left(42)) | 1
    }
}
