//! Names and passwords that were checked lately: a player sends them with every range, and a hash takes 40 ms.
//!
//! What was proved is remembered under a keyed hash of name and password, for minutes, in a fixed number of slots; so is
//! that a password was wrong, because a player goes on asking with it. Slots are swapped whole (arc-swap), so two people
//! never meet on a lock. A change of a user's credentials forgets what was proved with the older ones, and a proof that was
//! under way meanwhile is not remembered (the epoch tells).

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::auth::Account;
use crate::auth::token::KeyedHash;
use crate::limits;
use crate::store::Timestamp;

/// What is remembered.
#[derive(Debug)]
pub struct Remembered {
    slots: Box<[ArcSwapOption<Entry>]>,
    places: RandomState,
    proofs: KeyedHash,
    epoch: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    proof: String,
    until: Timestamp,
    epoch: u64,
    /// Whom it proved; nobody for a wrong password.
    account: Option<Arc<Account>>,
}

/// A name and a password, as what they are remembered under.
#[derive(Debug)]
pub struct Proof {
    place: usize,
    text: String,
    /// What was known when the check began.
    epoch: u64,
}

/// Slots that one proof may have.
const WAYS: usize = 4;

impl Remembered {
    /// Nothing is remembered yet.
    ///
    /// # Errors
    /// When the system has no randomness for the key.
    pub fn new() -> std::io::Result<Remembered> {
        Ok(Remembered {
            slots: (0..limits::PASSWORDS_REMEMBERED_MAX).map(|_| ArcSwapOption::empty()).collect(),
            places: RandomState::new(),
            proofs: KeyedHash::random()?,
            epoch: AtomicU64::new(0),
        })
    }

    /// What this name and password are remembered under. `scope` is what else the proof holds for: the client's address.
    pub fn proof(&self, name: &str, password: &str, scope: &str) -> Proof {
        // No name has a control character, so none of the three can be taken for a part of another.
        let text = self.proofs.of(&format!("{name}\0{scope}\0{password}"));
        let sets = self.slots.len() / WAYS;
        let place = (self.places.hash_one(&text) % sets as u64) as usize * WAYS;
        Proof { place, text, epoch: self.epoch.load(Ordering::Acquire) }
    }

    /// Whom the password proved lately: `Some(None)` when it was wrong, `None` when it must be checked.
    pub fn look(&self, proof: &Proof, now: Timestamp) -> Option<Option<Arc<Account>>> {
        self.ways(proof).iter().find_map(|slot| {
            let entry = slot.load();
            let entry = entry
                .as_ref()
                .filter(|entry| !proof.text.is_empty() && entry.proof == proof.text && now < entry.until)?;
            // Any change may have made a wrong password right.
            let is_current = entry.account.is_some() || entry.epoch == proof.epoch;
            is_current.then(|| entry.account.clone())
        })
    }

    /// Remembers what was found, unless credentials have changed since the check began.
    pub fn note(&self, proof: &Proof, account: Option<Arc<Account>>, now: Timestamp) {
        let until = now.plus(limits::PASSWORD_REMEMBERED);
        let entry = Arc::new(Entry { proof: proof.text.clone(), until, epoch: proof.epoch, account });
        let first_to_end = self.ways(proof).iter().min_by_key(|slot| match slot.load().as_ref() {
            Some(held) if held.proof == proof.text => (0, Timestamp::from_microseconds(0)),
            None => (1, Timestamp::from_microseconds(0)),
            Some(held) => (2, held.until),
        });
        let Some(slot) = first_to_end else { return };
        slot.store(Some(Arc::clone(&entry)));
        // Whoever changes credentials raises the epoch first and looks at the slots then: one of the two sees the other.
        if self.epoch.load(Ordering::SeqCst) != proof.epoch {
            slot.rcu(|held| held.clone().filter(|held| !Arc::ptr_eq(held, &entry)));
        }
    }

    /// The credentials of this user have changed: what was proved with the older ones proves nothing any more.
    pub fn forget(&self, user_id: uuid::Uuid) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for slot in &self.slots {
            let is_theirs = |entry: &Arc<Entry>| entry.account.as_ref().is_some_and(|held| held.user_id == user_id);
            slot.rcu(|held| held.clone().filter(|entry| !is_theirs(entry)));
        }
    }

    fn ways(&self, proof: &Proof) -> &[ArcSwapOption<Entry>] {
        &self.slots[proof.place..proof.place + WAYS]
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::Role;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000)
    }

    fn account(user: u128) -> Option<Arc<Account>> {
        Some(Arc::new(Account::for_test(Uuid::from_u128(user), Uuid::nil(), Role::User)))
    }

    #[test]
    fn what_was_proved_is_remembered_for_minutes_and_for_nothing_else() {
        let remembered = Remembered::new().unwrap();
        let proof = remembered.proof("ann", "secret", "10.0.0.1");
        assert_eq!(remembered.look(&proof, at(0)), None);
        remembered.note(&proof, account(1), at(0));
        assert_eq!(remembered.look(&proof, at(1)), Some(account(1)));
        for (name, password, scope) in
            [("ann", "secret2", "10.0.0.1"), ("bob", "secret", "10.0.0.1"), ("ann", "secret", "10.0.0.2")]
        {
            assert_eq!(remembered.look(&remembered.proof(name, password, scope), at(1)), None);
        }
        let life = limits::PASSWORD_REMEMBERED.as_secs() as i64;
        assert_eq!(remembered.look(&proof, at(life)), None);
    }

    #[test]
    fn a_wrong_password_is_remembered_until_anything_changes() {
        let remembered = Remembered::new().unwrap();
        let proof = remembered.proof("ann", "wrong", "");
        remembered.note(&proof, None, at(0));
        assert_eq!(remembered.look(&proof, at(1)), Some(None));
        remembered.forget(Uuid::from_u128(2));
        assert_eq!(remembered.look(&remembered.proof("ann", "wrong", ""), at(1)), None, "it may be right by now");
    }

    #[test]
    fn a_change_of_credentials_is_felt_at_once_also_by_a_check_under_way() {
        let remembered = Remembered::new().unwrap();
        let proof = remembered.proof("ann", "secret", "");
        remembered.note(&proof, account(1), at(0));
        remembered.forget(Uuid::from_u128(2));
        let again = remembered.proof("ann", "secret", "");
        assert_eq!(remembered.look(&again, at(1)), Some(account(1)), "somebody else's change");
        remembered.forget(Uuid::from_u128(1));
        assert_eq!(remembered.look(&again, at(1)), None);
        remembered.note(&again, account(1), at(1));
        assert_eq!(remembered.look(&again, at(1)), None, "it was proved with the older credentials");
    }

    #[test]
    fn a_full_memory_forgets_what_would_end_first() {
        let remembered = Remembered::new().unwrap();
        for number in 0..10 * limits::PASSWORDS_REMEMBERED_MAX as i64 {
            let proof = remembered.proof(&format!("user{number}"), "secret", "");
            remembered.note(&proof, account(1), at(number));
            assert_eq!(remembered.look(&proof, at(number)), Some(account(1)), "{number}");
        }
    }
}
