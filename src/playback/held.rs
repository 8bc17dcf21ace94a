//! One playback that holds a slot: its count of connections, and who of them is to be told what.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::playback::pace::Wish;
use crate::playback::shares::Pacing;
use crate::playback::viewer::{News, Told};
use crate::playback::{Kept, Key, Stream, Streamed, Watcher};
use crate::store::Timestamp;

/// Set in the state of a playback that has lost its slot, for good: whoever joins later begins another.
const CLOSED: u32 = 1 << 31;

/// A playback.
#[derive(Debug)]
pub(super) struct Held {
    pub id: Uuid,
    pub key: Key,
    pub watcher: Watcher,
    pub started: Timestamp,
    /// How many connections send, and [`CLOSED`].
    state: AtomicU32,
    /// When the last connection that sent left, in microseconds.
    lingers_since: AtomicI64,
    /// Until when nobody may take its slot, in microseconds, because a connection of the process before is about to join.
    awaited_until: AtomicI64,
    bytes: AtomicU64,
    /// What of `bytes` the session was told.
    noted: AtomicU64,
    /// Segments that TCP had to send again.
    retransmits: AtomicU64,
    /// Met only by the connections of this one viewer, where they come and go, and by the keeper.
    parties: Mutex<Parties>,
}

/// The connections of a playback, and what the keeper has seen of it.
#[derive(Debug)]
pub(super) struct Parties {
    /// In the order in which they came.
    pub members: Vec<Arc<Member>>,
    /// Bytes at the last look, and when they last rose.
    pub seen: Option<(u64, Timestamp)>,
    /// When the keeper looked last.
    pub looked: Option<Timestamp>,
    /// Bytes a second, smoothed.
    pub rate: f64,
    /// How fast it may go.
    pub pacing: Pacing,
}

/// One connection's part in a playback.
#[derive(Debug)]
pub(super) struct Member {
    /// Whose token or link it came with.
    pub session_id: Uuid,
    /// Whether its client is in the house.
    pub is_near: bool,
    /// Bytes handed over and bytes acknowledged: it comes further when either rises.
    pub sent: AtomicU64,
    pub acknowledged: AtomicU64,
    /// Whether it sends right now.
    pub sends: AtomicBool,
    /// What the keeper saw of its progress, and when that last rose.
    pub progress: Mutex<(u64, Timestamp)>,
    /// The [`Wish`] of it.
    pub wish: AtomicU64,
    /// How far it had come at the last look, and for how many looks it has come no further.
    pub seen: AtomicU64,
    pub still_looks: AtomicU8,
    /// Bytes a second that arrive, as TCP has it.
    pub delivery_rate: AtomicU64,
    told: AtomicU8,
    wake: Notify,
}

/// What came of joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// One connection more.
    Joined,
    /// As many send as there may be.
    Full,
    /// It has lost its slot.
    Closed,
}

impl Held {
    /// A playback that one connection has joined, of an owner whose last ones were handed what takes until `clear_at`.
    pub fn new(key: Key, watcher: Watcher, clear_at: Timestamp, now: Timestamp) -> Held {
        let pacing = Pacing::new(watcher.max_bandwidth, clear_at, now);
        Held {
            id: Uuid::new_v4(),
            key,
            watcher,
            started: now,
            state: AtomicU32::new(1),
            lingers_since: AtomicI64::new(now.microseconds()),
            awaited_until: AtomicI64::new(i64::MIN),
            bytes: AtomicU64::new(0),
            noted: AtomicU64::new(0),
            retransmits: AtomicU64::new(0),
            parties: Mutex::new(Parties { members: Vec::new(), seen: None, looked: None, rate: 0.0, pacing }),
        }
    }

    /// A playback of the process before, which no connection has joined yet; `until` then one is awaited, if any is.
    pub fn restored(kept: &Kept, until: Option<Timestamp>, now: Timestamp) -> Held {
        let held = Held::new(kept.key, kept.watcher.clone(), now, now);
        held.parties().pacing.restored(kept.bytes, now);
        held.awaited_until.store(until.map_or(i64::MIN, |until| until.microseconds()), Ordering::Relaxed);
        Held {
            id: kept.id,
            started: kept.started,
            state: AtomicU32::new(0),
            bytes: AtomicU64::new(kept.bytes),
            noted: AtomicU64::new(kept.bytes),
            retransmits: AtomicU64::new(kept.retransmits),
            ..held
        }
    }

    /// What of it a process can leave to the next.
    pub fn kept(&self) -> Kept {
        Kept {
            id: self.id,
            key: self.key,
            watcher: Watcher { max_bandwidth: self.max_bandwidth(), ..self.watcher.clone() },
            started: self.started,
            bytes: self.bytes(),
            retransmits: self.retransmits.load(Ordering::Relaxed),
        }
    }

    /// One connection more sends.
    pub fn join(&self, connections_max: usize) -> Join {
        let step = |state: u32| (state & CLOSED == 0 && (state as usize) < connections_max).then(|| state + 1);
        match self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, step) {
            Ok(_) => Join::Joined,
            Err(state) if state & CLOSED != 0 => Join::Closed,
            Err(_) => Join::Full,
        }
    }

    /// One connection less sends.
    pub fn leave(&self, now: Timestamp) {
        // Before it counts as idle: whoever sees it idle must see since when.
        self.lingers_since.fetch_max(now.microseconds(), Ordering::Relaxed);
        self.awaited_until.store(i64::MIN, Ordering::Relaxed);
        self.state.fetch_sub(1, Ordering::AcqRel);
    }

    /// Connections that send.
    pub fn connections(&self) -> usize {
        (self.state.load(Ordering::Acquire) & !CLOSED) as usize
    }

    /// When the last connection that sent left.
    pub fn lingers_since(&self) -> Timestamp {
        Timestamp::from_microseconds(self.lingers_since.load(Ordering::Relaxed))
    }

    /// Whether its slot may be taken by somebody else: nobody sends, and nobody is awaited.
    pub fn may_give_way(&self, now: Timestamp) -> bool {
        self.connections() == 0 && now.microseconds() >= self.awaited_until.load(Ordering::Relaxed)
    }

    /// Whatever is reckoned from a moment before now is reckoned from now on.
    pub fn begin_anew(&self, now: Timestamp) {
        // That moment may lie ahead, if the clock was set back.
        self.lingers_since.store(now.microseconds(), Ordering::Relaxed);
        self.awaited_until.store(i64::MIN, Ordering::Relaxed);
        let mut parties = self.parties();
        parties.seen = Some((self.bytes(), now));
        parties.looked = Some(now);
        parties.members.iter().for_each(|member| member.begin_anew(now));
    }

    /// Whether it has lost its slot.
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// It loses its slot. The caller clears that, under the door's lock.
    pub fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// The same, unless a connection sends. Whether it did.
    pub fn close_if_idle(&self) -> bool {
        self.state.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// So many bytes of the film were handed over.
    pub fn sent(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    /// Bytes of the film that were handed over.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// TCP had to send so many segments again.
    pub fn retransmitted(&self, count: u64) {
        self.retransmits.fetch_add(count, Ordering::Relaxed);
    }

    /// What the session was sent since this was asked last.
    pub fn streamed(&self) -> Streamed {
        let bytes = self.bytes();
        let noted = self.noted.swap(bytes, Ordering::Relaxed);
        Streamed { key: self.key, session_id: self.watcher.session_id, bytes: bytes.saturating_sub(noted) }
    }

    /// Whether nobody has a part in it but the sessions that `is_theirs` names.
    pub fn is_all_of(&self, is_theirs: impl Fn(Uuid) -> bool) -> bool {
        let parties = self.parties();
        match parties.members.as_slice() {
            [] => is_theirs(self.watcher.session_id),
            members => members.iter().all(|member| is_theirs(member.session_id)),
        }
    }

    /// Tells the connections of these sessions to end. Whether there was one that sends.
    pub fn tell_stopped(&self, is_theirs: impl Fn(Uuid) -> bool) -> bool {
        let parties = self.parties();
        let theirs = parties.members.iter().filter(|member| is_theirs(member.session_id));
        theirs.fold(false, |is_any, member| {
            member.tell(Told::Stopped);
            is_any | member.is_sending()
        })
    }

    /// As others see it.
    pub fn seen(&self) -> Stream {
        let parties = self.parties();
        Stream {
            id: self.id,
            owner: self.key.owner,
            user_id: self.watcher.user_id,
            session_id: self.watcher.session_id,
            video_id: self.key.video,
            started: self.started,
            bytes: self.bytes(),
            rate: parties.rate,
            pace: parties.pacing.pace,
            delivery_rate: parties.delivery_rate(),
            retransmits: self.retransmits.load(Ordering::Relaxed),
            connections: self.connections(),
            client: self.watcher.client,
        }
    }

    /// Poisoned only by a panic of a reader.
    pub fn parties(&self) -> MutexGuard<'_, Parties> {
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    pub fn new(session_id: Uuid, is_near: bool, now: Timestamp) -> Member {
        Member {
            session_id,
            is_near,
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            sends: AtomicBool::new(false),
            progress: Mutex::new((0, now)),
            wish: AtomicU64::new(Wish::NONE.word()),
            seen: AtomicU64::new(0),
            still_looks: AtomicU8::new(0),
            delivery_rate: AtomicU64::new(0),
            told: AtomicU8::new(0),
            wake: Notify::new(),
        }
    }

    /// So many bytes were handed over. Only its own shard says so, so they need not be added in one step.
    pub fn note_sent(&self, count: u64) {
        self.sent.store(self.sent.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Whether it sends right now.
    pub fn is_sending(&self) -> bool {
        self.sends.load(Ordering::Relaxed)
    }

    /// How far it has come.
    pub fn come(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) + self.acknowledged.load(Ordering::Relaxed)
    }

    /// Since when it has not come further, as far as the keeper has seen. One that sends nothing has nothing to come for.
    pub fn silent_since(&self, now: Timestamp) -> Timestamp {
        let come = self.come();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.0 != come || !self.is_sending() {
            *progress = (come, now);
        }
        progress.1
    }

    /// It is as if it had come further just now.
    fn begin_anew(&self, now: Timestamp) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = (self.come(), now);
    }

    /// Tells its shard to end it. What was told first stands.
    pub fn tell(&self, what: Told) {
        let _ = self.told.compare_exchange(0, what as u8, Ordering::AcqRel, Ordering::Acquire);
        self.wake();
    }

    /// There is something new for it.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// What it was told, if it was.
    pub fn told(&self) -> Option<Told> {
        match self.told.load(Ordering::Acquire) {
            0 => None,
            told if told == Told::Superseded as u8 => Some(Told::Superseded),
            _ => Some(Told::Stopped),
        }
    }

    /// Waits until it is told, or is to go at another pace than that of `kept`.
    pub async fn listen(&self, kept: Wish) -> News {
        loop {
            if let Some(told) = self.told() {
                return News::Told(told);
            }
            if self.wish().pace() != kept.pace() {
                return News::Pace;
            }
            self.wake.notified().await;
        }
    }
}
