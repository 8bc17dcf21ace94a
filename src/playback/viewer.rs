//! One connection's part in playbacks: it joins one for as long as a film is being sent over it.
//!
//! What it needs of a playback it keeps from range to range, so that the next range of the same film costs a compare and a
//! compare-and-swap, and nothing is allocated.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use crate::auth::presence::Shown;
use crate::playback::held::{Held, Join, Member};
use crate::playback::pace::Wish;
use crate::playback::{Key, Playbacks, Refused, Watcher};
use crate::store::Timestamp;

/// One connection, as far as it plays.
#[derive(Debug)]
pub struct Viewer<'a> {
    playbacks: &'a Playbacks,
    pub(super) part: RefCell<Option<Part>>,
    sends: Cell<bool>,
    /// Segments that TCP had to send again since the connection began, as far as they were noted.
    pub(super) retransmits: Cell<u32>,
}

/// What there is new for a connection that plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is to end.
    Told(Told),
    /// It is to go at another pace.
    Pace,
}

/// What a connection was told about its playback. It ends then; only its own shard ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Told {
    /// The playback, or the session it was begun with, was ended.
    Stopped = 1,
    /// A newer connection of the same player has taken its place, and this one does not come further.
    Superseded = 2,
    /// It paused for so long that it lost its slot, and all are taken now.
    Lost = 3,
}

/// Proof that a film may be sent, for as long as it lives.
#[derive(Debug)]
pub struct Playing<'a> {
    viewer: &'a Viewer<'a>,
    left: bool,
    _shown: Option<Shown>,
}

/// A playback with this connection among its members, until dropped.
#[derive(Debug)]
pub(super) struct Part {
    held: Arc<Held>,
    member: Arc<Member>,
}

impl<'a> Viewer<'a> {
    /// A connection that plays nothing yet.
    pub fn new(playbacks: &'a Playbacks) -> Viewer<'a> {
        Viewer { playbacks, part: RefCell::new(None), sends: Cell::new(false), retransmits: Cell::new(0) }
    }

    /// Takes part in the playback of this key for the response that is about to be sent.
    ///
    /// # Errors
    /// A [`Refused`] when there is no slot for it.
    pub fn play(&'a self, key: Key, watcher: &Watcher, now: Timestamp) -> Result<Playing<'a>, Refused> {
        if !self.goes_on(key, watcher)? {
            let held = self.playbacks.join(key, watcher, now)?;
            // First, so that the connection is not counted twice.
            drop(self.part.take());
            *self.part.borrow_mut() = Some(Part::of(self.playbacks, held, watcher, now));
        }
        self.set_sending(true);
        // Whoever asks after this whether its session is over is told so, or is told to stop.
        fence(Ordering::SeqCst);
        Ok(Playing { viewer: self, left: false, _shown: watcher.sign.show() })
    }

    /// Whether the last response on this connection was of the same playback, which is joined again then.
    fn goes_on(&self, key: Key, watcher: &Watcher) -> Result<bool, Refused> {
        let part = self.part.borrow();
        let is_same = |part: &&Part| {
            let is_same_place = part.member.session_id == watcher.session_id && part.member.is_near == watcher.is_near;
            part.held.key == key && is_same_place && part.member.told().is_none()
        };
        let Some(part) = part.as_ref().filter(is_same) else { return Ok(false) };
        match part.held.join(self.playbacks.connections_max()) {
            Join::Joined => Ok(true),
            Join::Full => Err(Refused::Connections),
            Join::Closed => Ok(false),
        }
    }

    /// So many bytes of the film were handed to the connection.
    ///
    /// # Errors
    /// What the connection was told, when it is to end.
    pub fn sent(&self, count: u64) -> Result<(), Told> {
        let is_closed = {
            let part = self.part.borrow();
            let Some(part) = part.as_ref().filter(|_| self.sends.get()) else { return Ok(()) };
            part.member.note_sent(count);
            part.held.sent(count);
            part.member.told().map_or(Ok(()), Err)?;
            part.held.is_closed()
        };
        if is_closed { self.ask_anew(Timestamp::now()) } else { Ok(()) }
    }

    /// It was paused until its slot was gone, and plays on: it takes a slot again, if there is one.
    pub(super) fn ask_anew(&self, now: Timestamp) -> Result<(), Told> {
        let Some((key, watcher)) = self.played() else { return Ok(()) };
        let held = self.playbacks.join(key, &watcher, now).map_err(|_| Told::Lost)?;
        let part = Part::of(self.playbacks, held, &watcher, now);
        part.member.sends.store(true, Ordering::Relaxed);
        *self.part.borrow_mut() = Some(part);
        Ok(())
    }

    /// The client has acknowledged so many bytes since the connection began.
    pub fn acknowledged(&self, bytes: u64) {
        if let Some(part) = self.part.borrow().as_ref() {
            part.member.acknowledged.store(bytes, Ordering::Relaxed);
        }
    }

    /// Whether a film is being sent over it.
    pub fn is_playing(&self) -> bool {
        self.sends.get()
    }

    /// What is wished of the connection, if it plays.
    pub fn wish(&self) -> Option<Wish> {
        self.part.borrow().as_ref().filter(|_| self.sends.get()).map(|part| part.member.wish())
    }

    /// How long it has to wait before it sends more of its film, if it has to: at the pace of the playback, what that was
    /// handed before is still on its way. Asks for the time only if there is a pace.
    pub fn owes(&self, now: impl FnOnce() -> Timestamp) -> Option<Duration> {
        let part = self.part.borrow();
        let part = part.as_ref().filter(|part| self.sends.get() && part.member.wish().pace().bytes().is_some())?;
        Some(part.held.owes(now())).filter(|wait| !wait.is_zero())
    }

    /// TCP says that so many bytes a second arrive, and that it has sent so many segments again since the connection began.
    pub fn delivered(&self, rate: u64, retransmits: u32) {
        if let Some(part) = self.part.borrow().as_ref() {
            part.member.delivery_rate.store(rate, Ordering::Relaxed);
            part.held.retransmitted(retransmits.saturating_sub(self.retransmits.replace(retransmits)).into());
        }
    }

    /// Waits for news of the playback, of which the connection keeps the pace of `kept`: for ever, unless it plays.
    pub async fn news(&self, kept: Wish) -> News {
        let member = self.part.borrow().as_ref().filter(|_| self.sends.get()).map(|part| Arc::clone(&part.member));
        match member {
            Some(member) => member.listen(kept).await,
            None => std::future::pending().await,
        }
    }

    fn set_sending(&self, sends: bool) {
        self.sends.set(sends);
        if let Some(part) = self.part.borrow().as_ref() {
            part.member.sends.store(sends, Ordering::Relaxed);
        }
    }
}

impl Playing<'_> {
    /// The response was sent, or cut: the connection sends nothing of the film any more.
    pub fn leave(mut self, now: Timestamp) {
        self.end(now);
    }

    fn end(&mut self, now: Timestamp) {
        if !std::mem::replace(&mut self.left, true) {
            self.viewer.set_sending(false);
            if let Some(part) = self.viewer.part.borrow().as_ref() {
                part.held.leave(now);
            }
        }
    }
}

impl Drop for Playing<'_> {
    /// For a task that ends in the middle; who ends in order knows the time.
    fn drop(&mut self) {
        if !self.left {
            self.end(Timestamp::now());
        }
    }
}

impl Part {
    fn of(playbacks: &Playbacks, held: Arc<Held>, watcher: &Watcher, now: Timestamp) -> Part {
        let member = Arc::new(Member::new(watcher.session_id, watcher.is_near, now));
        playbacks.enter(&held, &member, now);
        Part { held, member }
    }

    /// Its playback, and who watches over this connection.
    pub fn played(&self) -> (Key, Watcher) {
        let Member { session_id, is_near, .. } = *self.member;
        let max_bandwidth = self.held.max_bandwidth();
        (self.held.key, Watcher { session_id, is_near, max_bandwidth, ..self.held.watcher.clone() })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.held.parties().members.retain(|member| !Arc::ptr_eq(member, &self.member));
    }
}
