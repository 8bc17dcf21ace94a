//! What of the playbacks outlives the process: a restart hands them over, with their names, their beginnings and what they
//! were sent, so that whoever looks at the list sees the same streams, and no limit is forgotten.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use crate::limits;
use crate::playback::held::Held;
use crate::playback::{Key, Playbacks, Viewer, Watcher};
use crate::store::Timestamp;

/// A playback without its connections.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name.
    pub id: Uuid,
    /// What makes requests part of it.
    pub key: Key,
    /// Who began it.
    pub watcher: Watcher,
    /// When it began.
    pub started: Timestamp,
    /// Bytes of the film that were handed to its connections.
    pub bytes: u64,
    /// Segments that TCP had to send again.
    pub retransmits: u64,
}

impl Playbacks {
    /// All that are held, the oldest first.
    pub fn kept(&self) -> Vec<Kept> {
        let mut all: Vec<_> = self.all().map(|held| held.kept()).collect();
        all.sort_by_key(|kept| (kept.started, kept.id));
        all
    }

    /// Takes a slot for a playback of the process before, if one is free. Until its connections come it lingers, from `now` on;
    /// while one `is_awaited`, for a moment, it gives way to nobody.
    pub fn restore(&self, kept: &Kept, is_awaited: bool, now: Timestamp) -> bool {
        let _door = self.door();
        if self.find(kept.key).is_some() {
            return false;
        }
        if self.count() >= self.playbacks_max() {
            return false;
        }
        let Some(slot) = self.slots_from(kept.key).find(|slot| slot.held.load().is_none()) else { return false };
        let until = is_awaited.then(|| now.plus(limits::PLAYBACK_AWAITED_FOR));
        slot.held.store(Some(Arc::new(Held::restored(kept, until, now))));
        slot.mark.store(kept.key.mark(), Ordering::Release);
        true
    }
}

impl Viewer<'_> {
    /// Of which playback a film was sent last over this connection, and to whom.
    pub fn played(&self) -> Option<(Key, Watcher)> {
        self.part.borrow().as_ref().map(|part| part.played())
    }

    /// So many segments had to be sent again over this connection in the process before, which has counted them.
    pub fn retransmitted_before(&self, count: u32) {
        self.retransmits.set(count);
    }
}
