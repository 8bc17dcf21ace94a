//! Tokens that were proved lately: a player sends the same one with every range, and to prove it again costs as much as all
//! else that is done for a small range.
//!
//! Remembered is only that we signed it and until when it lives; whether its session lives is asked every time, so that what
//! is revoked is dead at once. One for each shard, so nobody waits for anybody.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::{Claims, MediaClaims};

/// Tokens remembered by a shard. Each takes about 900 bytes, and its place from whichever had it before.
const PLACES: usize = 64;

/// What a token said.
#[derive(Clone, Debug)]
pub enum Said {
    /// A session's.
    Session(Arc<Claims>),
    /// One for a film.
    Media(MediaClaims),
}

/// What was proved of a token, in seconds since 1970.
#[derive(Clone, Debug)]
pub struct Proof {
    /// What it said.
    pub said: Said,
    /// Good from then on,
    pub from: u64,
    /// and until then, inclusive.
    pub until: u64,
}

/// The memory of one shard.
#[derive(Debug)]
pub struct Proved {
    places: RefCell<Box<[Option<Entry>]>>,
    /// Of the keys by which all of it was proved.
    generation: Cell<u64>,
}

struct Entry {
    token: Box<str>,
    proof: Proof,
}

impl Default for Proved {
    fn default() -> Proved {
        Proved { places: RefCell::new((0..PLACES).map(|_| None).collect()), generation: Cell::new(0) }
    }
}

impl Proved {
    /// Forgets what was proved by the keys of another generation: they may be none of ours any more.
    pub fn keep_only(&self, generation: u64) {
        if self.generation.replace(generation) != generation {
            self.places.borrow_mut().fill_with(|| None);
        }
    }

    /// What a token said, if it was proved before and is good at `now`.
    pub fn look(&self, token: &str, now: u64) -> Option<Said> {
        let places = self.places.borrow();
        let entry = places[place(token)?].as_ref().filter(|entry| is_same(&entry.token, token))?;
        (entry.proof.from <= now && now <= entry.proof.until).then(|| entry.proof.said.clone())
    }

    /// Remembers what was proved.
    pub fn note(&self, token: &str, proof: Proof) {
        if let Some(place) = place(token) {
            self.places.borrow_mut()[place] = Some(Entry { token: token.into(), proof });
        }
    }
}

/// The end of a token is its signature, and so as good as random.
fn place(token: &str) -> Option<usize> {
    let end = token.as_bytes().last_chunk::<8>()?;
    let mixed = u64::from_le_bytes(*end).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Some((mixed >> 58) as usize % PLACES)
}

/// In a time that does not tell how much of it is right.
fn is_same(known: &str, token: &str) -> bool {
    let differ = |(one, other): (u8, u8)| one ^ other;
    known.len() == token.len() && known.bytes().zip(token.bytes()).map(differ).fold(0, |all, one| all | one) == 0
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Entry(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn proof(until: u64) -> Proof {
        let id = Uuid::nil();
        Proof {
            said: Said::Media(MediaClaims { sub: id, session: id, video: id, iat: 10, exp: until }),
            from: 10,
            until,
        }
    }

    #[test]
    fn a_token_is_remembered_as_it_was_and_for_as_long_as_it_is_good() {
        let proved = Proved::default();
        proved.note("head.claims.signature", proof(20));
        let is_known = |token, now| proved.look(token, now).is_some();
        assert!(is_known("head.claims.signature", 10) && is_known("head.claims.signature", 20));
        assert!(!is_known("head.claims.signature", 9) && !is_known("head.claims.signature", 21));
        assert!(!is_known("hEad.claims.signature", 15) && !is_known("ead.claims.signature", 15) && !is_known("x", 15));
    }

    #[test]
    fn what_older_keys_have_proved_is_forgotten() {
        let proved = Proved::default();
        proved.keep_only(0);
        proved.note("head.claims.signature", proof(20));
        proved.keep_only(0);
        assert!(proved.look("head.claims.signature", 15).is_some());
        proved.keep_only(1);
        assert!(proved.look("head.claims.signature", 15).is_none());
    }

    #[test]
    fn the_memory_is_as_big_as_it_is() {
        let proved = Proved::default();
        for number in 0..1000 {
            proved.note(&format!("token-{number:08x}"), proof(20));
        }
        let known = (0..1000).filter(|number| proved.look(&format!("token-{number:08x}"), 15).is_some()).count();
        assert!((1..=PLACES).contains(&known), "{known}");
        assert!(proved.look("token-000003e7", 15).is_some(), "the last one is there");
    }
}
