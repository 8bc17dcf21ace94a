//! The slots: a fixed number, each swapped whole, so that readers take no lock and never see half a session.
//!
//! ```text
//!   marks   │ 7f3a… │ 0000… │ c912… │ …   eight bytes of each id, side by side: a look passes over 64 in one breath
//!   slots   │ Live  │   –   │ Live  │ …   swapped whole (arc-swap)
//! ```
//!
//! The first bytes of a session's id hint at its slot, because they are random. Readers compare marks and load one slot;
//! only [`Slab::enter`] and [`Slab::remove`] take a lock, which two logins may meet on and no stream can.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use uuid::Uuid;

use crate::auth::grant::Account;
use crate::store::Timestamp;

/// A session in use.
#[derive(Debug)]
pub(super) struct Live {
    /// Whom its requests act for.
    pub account: Arc<Account>,
    /// When it ends.
    pub expires_at: Timestamp,
    last_activity: AtomicI64,
    bytes_streamed: AtomicU64,
    /// What of these two the store knows.
    written: (AtomicI64, AtomicU64),
}

impl Live {
    pub fn new(account: Arc<Account>, expires_at: Timestamp, last_activity: Timestamp, bytes_streamed: u64) -> Live {
        let last_activity = last_activity.microseconds();
        Live {
            account,
            expires_at,
            last_activity: AtomicI64::new(last_activity),
            bytes_streamed: AtomicU64::new(bytes_streamed),
            written: (AtomicI64::new(last_activity), AtomicU64::new(bytes_streamed)),
        }
    }

    /// The same session with a newer token.
    pub fn refreshed(&self, generation: u32, expires_at: Timestamp) -> Live {
        let account = Account { generation, ..Account::clone(&self.account) };
        Live::new(Arc::new(account), expires_at, self.last_activity(), self.bytes_streamed())
    }

    pub fn last_activity(&self) -> Timestamp {
        Timestamp::from_microseconds(self.last_activity.load(Ordering::Relaxed))
    }

    pub fn bytes_streamed(&self) -> u64 {
        self.bytes_streamed.load(Ordering::Relaxed)
    }

    /// Whether a film is being sent to it. One that only lingers was active a moment ago, so that of those without a film it
    /// gives way last.
    pub fn is_playing(&self) -> bool {
        self.account.presence.is_shown()
    }

    /// It did something.
    pub fn touch(&self, now: Timestamp) {
        // A second's precision suffices, and spares the line of memory that the other shards are reading.
        if now.microseconds() - self.last_activity.load(Ordering::Relaxed) > 1_000_000 {
            self.last_activity.fetch_max(now.microseconds(), Ordering::Relaxed);
        }
    }

    /// It was sent so many bytes of films.
    pub fn streamed(&self, bytes: u64, now: Timestamp) {
        self.bytes_streamed.fetch_add(bytes, Ordering::Relaxed);
        self.touch(now);
    }

    /// Its activity, if the store does not know it yet. The caller writes it.
    pub fn unwritten(&self) -> Option<(Timestamp, u64)> {
        let (last_activity, bytes) = (self.last_activity(), self.bytes_streamed());
        let was_active = self.written.0.swap(last_activity.microseconds(), Ordering::Relaxed);
        let was_bytes = self.written.1.swap(bytes, Ordering::Relaxed);
        (was_active != last_activity.microseconds() || was_bytes != bytes).then_some((last_activity, bytes))
    }

    /// What was to be written was not: it is unwritten again.
    pub fn forget_written(&self) {
        self.written.0.store(i64::MIN, Ordering::Relaxed);
    }
}

/// What came of entering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It has a slot.
    Here,
    /// A session was ended meanwhile: its row has to be read again.
    Void,
    /// All slots belong to sessions that play.
    AllPlaying,
}

/// A fixed number of slots for sessions.
#[derive(Debug)]
pub(super) struct Slab {
    marks: Box<[AtomicU64]>,
    slots: Box<[ArcSwapOption<Live>]>,
    /// How often a session was ended, or anything else that makes a row read before worth nothing. Raised under the lock.
    ended: AtomicU64,
    lock: Mutex<()>,
}

impl Slab {
    pub fn new(capacity: usize) -> Slab {
        let capacity = capacity.max(1);
        Slab {
            marks: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
            slots: (0..capacity).map(|_| ArcSwapOption::empty()).collect(),
            ended: AtomicU64::new(0),
            lock: Mutex::new(()),
        }
    }

    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The session of this id, touched, if it has a slot.
    pub fn find(&self, id: Uuid, now: Timestamp) -> Option<Arc<Live>> {
        let found = self.look(id)?;
        found.touch(now);
        Some(found)
    }

    /// The session of this id, if it has a slot.
    pub fn look(&self, id: Uuid) -> Option<Arc<Live>> {
        let mark = mark(id);
        let hint = self.hint(id);
        let load = |index: usize| {
            let is_marked = self.marks[index].load(Ordering::Acquire) == mark;
            is_marked.then(|| self.slots[index].load_full()).flatten().filter(|live| live.account.session_id == id)
        };
        (hint..self.slots.len()).chain(0..hint).find_map(load)
    }

    /// All sessions that have a slot.
    pub fn all(&self) -> impl Iterator<Item = Arc<Live>> {
        self.slots.iter().filter_map(ArcSwapOption::load_full)
    }

    /// How often a session was ended so far: see [`Slab::enter_unless_ended`].
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Gives `live` a slot, unless a session was ended since `ended` was read: what the row said before may be void then.
    pub fn enter_unless_ended(&self, live: Arc<Live>, ended: u64, now: Timestamp) -> Entered {
        let _guard = self.lock();
        if self.ended() == ended { self.put(live, now) } else { Entered::Void }
    }

    /// Gives `live` the slot it has, else a free one, else that of an expired session, else that of the idlest without a
    /// playback.
    pub fn enter(&self, live: Arc<Live>, now: Timestamp) -> Entered {
        let _guard = self.lock();
        self.put(live, now)
    }

    /// Whether there is a slot for one more.
    pub fn has_room(&self, now: Timestamp) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.load().as_ref().is_none_or(|held| held.expires_at <= now || !held.is_playing()))
    }

    fn put(&self, live: Arc<Live>, now: Timestamp) -> Entered {
        let id = live.account.session_id;
        let hint = self.hint(id);
        let rank = |index: usize| match self.slots[index].load().as_ref() {
            Some(held) if held.account.session_id == id => Some((0, 0)),
            None => Some((1, 0)),
            Some(held) if held.expires_at <= now => Some((2, 0)),
            Some(held) if held.is_playing() => None,
            Some(held) => Some((3, held.last_activity.load(Ordering::Relaxed))),
        };
        let ranked = (hint..self.slots.len()).chain(0..hint).filter_map(|index| Some((rank(index)?, index)));
        let Some((_, index)) = ranked.min_by_key(|(rank, _)| *rank) else { return Entered::AllPlaying };
        self.slots[index].store(Some(live));
        self.marks[index].store(mark(id), Ordering::Release);
        Entered::Here
    }

    /// Puts what `newer` makes of a session in its place, if it has a slot. Whoever has read its row before finds that the
    /// row is worth nothing.
    pub fn replace(&self, id: Uuid, newer: impl FnOnce(&Live) -> Live) {
        let _guard = self.lock();
        self.ended.fetch_add(1, Ordering::SeqCst);
        let mut slots = self.slots.iter();
        let held = slots.find_map(|slot| Some((slot, slot.load_full().filter(|live| live.account.session_id == id)?)));
        if let Some((slot, live)) = held {
            slot.store(Some(Arc::new(newer(&live))));
        }
    }

    /// Frees the slots of the sessions that `is_over` names. Their rows are not this room's concern.
    pub fn rest(&self, is_over: impl Fn(&Live) -> bool) -> Vec<Arc<Live>> {
        let _guard = self.lock();
        self.take(is_over)
    }

    /// Frees the slots of the sessions that `is_ended` names, which are ended for good: whoever has read the row of one
    /// before finds that it is worth nothing.
    pub fn end(&self, is_ended: impl Fn(&Live) -> bool) -> Vec<Arc<Live>> {
        let _guard = self.lock();
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.take(is_ended)
    }

    fn take(&self, is_taken: impl Fn(&Live) -> bool) -> Vec<Arc<Live>> {
        let mut taken = Vec::new();
        for (mark, slot) in self.marks.iter().zip(&self.slots) {
            if slot.load().as_ref().is_some_and(|live| is_taken(live)) {
                mark.store(0, Ordering::Release);
                taken.extend(slot.swap(None));
            }
        }
        taken
    }

    /// Poisoned only by a panic between two swaps, each of which is whole.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, id: Uuid) -> usize {
        let bytes = id.as_bytes();
        usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) % self.slots.len()
    }
}

/// Eight bytes of an id. Two ids may share them: who finds a mark compares the ids.
fn mark(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

#[cfg(test)]
#[path = "slab/tests.rs"]
mod tests;
