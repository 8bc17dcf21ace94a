//! The slots: a fixed number, each swapped whole, so that readers take no lock and never see half a session.
//!
//! Readers load one slot (arc-swap); only [`Slab::enter`] takes a lock, which two logins may meet on and no stream can.
//! The first bytes of a session's id hint at its slot, because they are random.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use uuid::Uuid;

use crate::auth::grant::Caller;
use crate::store::Timestamp;

/// A session in use.
#[derive(Debug)]
pub(super) struct Live {
    /// Whom its requests act for.
    pub caller: Caller,
    /// The generation of the one token that lives.
    pub generation: u32,
    /// When it ends.
    pub expires_at: Timestamp,
    last_activity: AtomicI64,
}

impl Live {
    pub fn new(caller: Caller, generation: u32, expires_at: Timestamp, last_activity: Timestamp) -> Live {
        Live { caller, generation, expires_at, last_activity: AtomicI64::new(last_activity.microseconds()) }
    }

    fn touch(&self, now: Timestamp) {
        // A second's precision suffices, and spares the line of memory that the other shards are reading.
        if now.microseconds() - self.last_activity.load(Ordering::Relaxed) > 1_000_000 {
            self.last_activity.store(now.microseconds(), Ordering::Relaxed);
        }
    }
}

/// A fixed number of slots for sessions.
#[derive(Debug)]
pub(super) struct Slab {
    slots: Box<[ArcSwapOption<Live>]>,
    entering: Mutex<()>,
}

impl Slab {
    pub fn new(capacity: usize) -> Slab {
        let slots = (0..capacity.max(1)).map(|_| ArcSwapOption::empty()).collect();
        Slab { slots, entering: Mutex::new(()) }
    }

    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The session of this id, touched, if it has a slot.
    pub fn find(&self, id: Uuid, now: Timestamp) -> Option<Arc<Live>> {
        let found = self.beginning_at_hint(id).find_map(|slot| {
            let live = slot.load();
            live.as_ref().filter(|live| live.caller.session_id == id).map(Arc::clone)
        })?;
        found.touch(now);
        Some(found)
    }

    /// Gives `live` the slot it has, else a free one, else that of an expired session, else the idlest one's.
    pub fn enter(&self, live: Arc<Live>, now: Timestamp) {
        // Poisoned only by a panic between two swaps, each of which is whole.
        let _entering = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        let id = live.caller.session_id;
        let best = self.beginning_at_hint(id).min_by_key(|slot| match slot.load().as_ref() {
            Some(held) if held.caller.session_id == id => (0, 0),
            None => (1, 0),
            Some(held) if held.expires_at <= now => (2, 0),
            Some(held) => (3, held.last_activity.load(Ordering::Relaxed)),
        });
        if let Some(slot) = best {
            slot.store(Some(live));
        }
    }

    /// All slots, beginning with the one the id hints at.
    fn beginning_at_hint(&self, id: Uuid) -> impl Iterator<Item = &ArcSwapOption<Live>> {
        let bytes = id.as_bytes();
        let hint = usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) % self.slots.len();
        let (before, after) = self.slots.split_at(hint);
        after.iter().chain(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Role;

    fn live(id: u128, last_activity: i64, expires_at: i64) -> Arc<Live> {
        let caller = Caller {
            user_id: Uuid::from_u128(9),
            username: "ann".into(),
            role: Role::User,
            session_id: Uuid::from_u128(id),
        };
        Arc::new(Live::new(
            caller,
            0,
            Timestamp::from_microseconds(expires_at),
            Timestamp::from_microseconds(last_activity),
        ))
    }

    fn count(slab: &Slab) -> usize {
        slab.slots.iter().filter(|slot| slot.load().is_some()).count()
    }

    fn holds(slab: &Slab, id: u128) -> bool {
        slab.find(Uuid::from_u128(id), Timestamp::from_microseconds(0)).is_some()
    }

    #[test]
    fn every_session_is_found_whatever_slot_its_id_hints_at() {
        let slab = Slab::new(64);
        let ids: Vec<u128> = (0..64).map(|index| index << 112 | index).collect();
        ids.iter().for_each(|id| slab.enter(live(*id, 0, i64::MAX), Timestamp::from_microseconds(0)));
        assert!(ids.iter().all(|id| holds(&slab, *id)));
        assert_eq!(count(&slab), 64);
        assert!(!holds(&slab, 77));
    }

    #[test]
    fn a_full_slab_lets_go_of_an_expired_session_first_and_then_of_the_idlest() {
        let slab = Slab::new(3);
        slab.enter(live(1, 10, i64::MAX), Timestamp::from_microseconds(0));
        slab.enter(live(2, 5, i64::MAX), Timestamp::from_microseconds(0));
        slab.enter(live(3, 30, 100), Timestamp::from_microseconds(0));
        slab.enter(live(4, 40, i64::MAX), Timestamp::from_microseconds(200));
        assert!(!holds(&slab, 3), "3 had expired");
        slab.enter(live(5, 50, i64::MAX), Timestamp::from_microseconds(200));
        assert!(!holds(&slab, 2), "2 was the idlest");
        assert!(holds(&slab, 1) && holds(&slab, 4) && holds(&slab, 5));
    }

    #[test]
    fn entering_a_session_again_replaces_it_in_its_slot() {
        let slab = Slab::new(2);
        slab.enter(live(1, 10, i64::MAX), Timestamp::from_microseconds(0));
        slab.enter(live(1, 20, i64::MAX), Timestamp::from_microseconds(0));
        assert_eq!(count(&slab), 1);
    }
}
