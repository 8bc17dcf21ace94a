//! Whoever has a share link: all links, in memory, found by a hash of their token.
//!
//! A link that is over lets nobody in any more, but stays known for a while, because a film outlives the link that began it.
//! One whose maker is gone or disabled is not known.
//!
//! The table is swapped whole where links change, which is rare, so that finding one takes no lock and asks no database.
//! A play is one client within 24 hours, counted once it was sent a mebibyte; what is less adds up for the link, or a client
//! that calls itself something else for each piece would never be counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use uuid::Uuid;

use crate::auth::guest::{self, Guest};
use crate::limits;
use crate::store::{Fault, Link, Played, Store, Timestamp};

/// The links that are known.
#[derive(Debug)]
pub struct Guests {
    store: Store,
    links: ArcSwap<Links>,
    /// How many readings of the store were begun, and which of those that ended was begun last.
    begun: AtomicU64,
    ended: Mutex<u64>,
}

/// All links at one moment.
#[derive(Debug, Default)]
struct Links {
    by_mark: HashMap<String, Arc<Entry>>,
    by_id: HashMap<Uuid, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    guest: Arc<Guest>,
    plays: Mutex<Plays>,
}

#[derive(Debug, Default)]
struct Plays {
    count: u32,
    /// Clients that were counted, and when.
    clients: Vec<(u64, Timestamp)>,
    /// What clients were sent that are not counted.
    uncounted: Vec<(u64, u64)>,
    /// What clients were sent that nobody remembers any more.
    scattered: u64,
}

/// What came of sending to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing new.
    Goes,
    /// It is a play, to be noted.
    Counted(Played),
    /// It would be one too many.
    UsedUp,
}

impl Guests {
    /// None yet.
    pub fn new(store: Store) -> Guests {
        Guests { store, links: ArcSwap::default(), begun: AtomicU64::new(0), ended: Mutex::new(0) }
    }

    /// Reads the links. What is known of the plays of one that was there stays.
    ///
    /// # Errors
    /// The database failed; all stays as it was.
    pub async fn load(&self, now: Timestamp) -> Result<(), Fault> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let rows = self.store.links_known(limits::PLAY_COUNTED_FOR, now).await?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever began later has seen all that this one saw, and perhaps more.
        if *ended < number {
            *ended = number;
            let known = self.links.load();
            self.links.store(Arc::new(Links::new(&rows, &known)));
        }
        Ok(())
    }

    /// Whom a token lets in at `now`.
    pub fn find(&self, token: &str, now: Timestamp) -> Option<Arc<Guest>> {
        let links = self.links.load();
        let entry = links.by_mark.get(&guest::mark(token)).filter(|entry| now < entry.guest.expires_at)?;
        Some(Arc::clone(&entry.guest))
    }

    /// Whether what plays by the link may go on: also when the link is over by now, but not without its maker.
    pub fn has(&self, link_id: Uuid) -> bool {
        self.entry(link_id).is_some()
    }

    /// Whether a client may play by this link: it has played lately, or there is a play left.
    pub fn admits(&self, guest: &Guest, client: u64, now: Timestamp) -> bool {
        let Some(max) = guest.max_plays else { return true };
        let Some(entry) = self.entry(guest.link_id) else { return false };
        let plays = entry.plays();
        plays.count < max || plays.knows(client, now)
    }

    /// A client was sent so many bytes by a link.
    pub fn sent(&self, link_id: Uuid, client: u64, bytes: u64, now: Timestamp) -> Sent {
        let Some(entry) = self.entry(link_id) else { return Sent::Goes };
        let mut plays = entry.plays();
        if plays.knows(client, now) || !plays.is_a_play(client, bytes) {
            return Sent::Goes;
        }
        if entry.guest.max_plays.is_some_and(|max| plays.count >= max) {
            return Sent::UsedUp;
        }
        plays.note(client, now);
        Sent::Counted(Played { link_id, client, at: now, plays: plays.count })
    }

    /// Writes plays down.
    ///
    /// # Errors
    /// The database failed: memory still knows them.
    pub async fn written_behind(&self, played: Vec<Played>) -> Result<(), Fault> {
        if played.is_empty() { Ok(()) } else { self.store.links_played(played, limits::PLAY_COUNTED_FOR).await }
    }

    fn entry(&self, link_id: Uuid) -> Option<Arc<Entry>> {
        self.links.load().by_id.get(&link_id).map(Arc::clone)
    }
}

impl Links {
    fn new(rows: &[Link], known: &Links) -> Links {
        let mut links = Links::default();
        for row in rows {
            let entry = known.by_id.get(&row.made.id).map_or_else(|| Arc::new(Entry::new(row)), Arc::clone);
            links.by_mark.insert(row.made.mark.clone(), Arc::clone(&entry));
            links.by_id.insert(row.made.id, entry);
        }
        links
    }
}

impl Entry {
    fn new(row: &Link) -> Entry {
        let made = &row.made;
        let guest = Guest {
            link_id: made.id,
            user_id: made.user_id,
            video_id: made.video_id,
            expires_at: made.expires_at,
            max_plays: made.max_plays,
        };
        let plays = Plays { count: row.plays, clients: row.clients.clone(), ..Plays::default() };
        Entry { guest: Arc::new(guest), plays: Mutex::new(plays) }
    }

    fn plays(&self) -> MutexGuard<'_, Plays> {
        self.plays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plays {
    /// Whether this client was counted lately.
    fn knows(&self, client: u64, now: Timestamp) -> bool {
        let is_recent = |at: &Timestamp| at.plus(limits::PLAY_COUNTED_FOR) > now;
        self.clients.iter().any(|(known, at)| *known == client && is_recent(at))
    }

    /// Adds up what a client that was not counted is sent. Whether that is a play by now.
    fn is_a_play(&mut self, client: u64, bytes: u64) -> bool {
        let index = self.uncounted.iter().position(|(known, _)| *known == client).unwrap_or_else(|| {
            if self.uncounted.len() >= limits::PLAYERS_PER_LINK_MAX {
                self.scattered += self.uncounted.remove(0).1;
            }
            self.uncounted.push((client, 0));
            self.uncounted.len() - 1
        });
        self.uncounted[index].1 += bytes;
        let all = self.scattered + self.uncounted.iter().map(|(_, bytes)| bytes).sum::<u64>();
        self.uncounted[index].1 >= limits::PLAY_BYTES || all >= limits::SCATTERED_PLAY_BYTES
    }

    fn note(&mut self, client: u64, now: Timestamp) {
        self.count += 1;
        self.clients.retain(|(known, at)| *known != client && at.plus(limits::PLAY_COUNTED_FOR) > now);
        if self.clients.len() >= limits::PLAYERS_PER_LINK_MAX {
            self.clients.remove(0);
        }
        self.clients.push((client, now));
        self.uncounted.clear();
        self.scattered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_microseconds(1_700_000_000_000_000).plus(std::time::Duration::from_secs(hours * 3600))
    }

    fn plays() -> Plays {
        Plays::default()
    }

    #[test]
    fn a_client_is_counted_after_a_mebibyte_and_once_a_day() {
        let mut plays = plays();
        assert!(!plays.is_a_play(1, MIB - 1));
        assert!(plays.is_a_play(1, 1));
        plays.note(1, at(0));
        assert!(plays.knows(1, at(23)) && !plays.knows(2, at(23)) && !plays.knows(1, at(24)));
        assert!(!plays.is_a_play(2, MIB / 2), "another begins anew");
        plays.note(2, at(25));
        assert_eq!((plays.count, plays.clients.len()), (2, 1), "who played long ago is forgotten");
    }

    #[test]
    fn a_client_with_a_name_for_each_piece_is_counted_as_well() {
        let mut plays = plays();
        let pieces = (0..).take_while(|piece| !plays.is_a_play(*piece, MIB / 4)).count() as u64;
        assert_eq!((pieces + 1) * (MIB / 4), limits::SCATTERED_PLAY_BYTES);
        let mut plays = super::Plays::default();
        let many = limits::PLAYERS_PER_LINK_MAX as u64 * 3;
        assert!((0..many).all(|piece| !plays.is_a_play(piece, 1000)));
        assert_eq!(plays.uncounted.len(), limits::PLAYERS_PER_LINK_MAX);
        assert_eq!(plays.scattered, 1000 * (many - limits::PLAYERS_PER_LINK_MAX as u64), "nothing is lost");
    }
}
