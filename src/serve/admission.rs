//! How many connections there may be, in all and from one address, and who gives way when there are as many.
//!
//! The lock is taken when a connection comes and when it goes, and when a player has been paused for a while and when it
//! plays on, never for a request. The tables have an entry for every address that is connected and for every paused
//! connection, so they are bounded by the connections themselves.
//!
//! A paused player keeps its connection for hours, unless somebody else needs it: then the longest paused one is told, and
//! its own shard ends it (spec/HTTP.md, "Messages").

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// The connections of the whole process.
#[derive(Debug)]
pub(super) struct Connections {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    connections_max: usize,
    per_address_max: usize,
    /// Seats that are taken, without those that were told to give way and are leaving.
    count: usize,
    by_address: HashMap<IpAddr, usize>,
    /// The paused ones, the longest paused first.
    paused: BTreeMap<(Instant, u64), Arc<Notify>>,
    /// Seats that were given to somebody else before their connection was gone.
    leaving: HashSet<u64>,
    /// The number of the next seat.
    next_seat: u64,
}

/// One admitted connection, until dropped.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    connections: &'a Connections,
    address: IpAddr,
    number: u64,
}

/// A seat whose player is paused, until dropped.
#[derive(Debug)]
pub(super) struct Pause<'a> {
    seat: &'a Seat<'a>,
    since: Instant,
    told: Arc<Notify>,
}

impl Connections {
    pub fn new(connections_max: usize, per_address_max: usize) -> Connections {
        Connections { held: Mutex::new(Held { connections_max, per_address_max, ..Held::default() }) }
    }

    /// From now on there may be so many. Who has a seat keeps it.
    pub fn set_max(&self, connections_max: usize, per_address_max: usize) {
        let mut held = self.held();
        (held.connections_max, held.per_address_max) = (connections_max, per_address_max);
    }

    /// A seat for a connection from `address`, if there is one, or if a paused player gives way.
    pub fn admit(&self, address: IpAddr) -> Option<Seat<'_>> {
        let mut held = self.held();
        let of_address = held.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= held.per_address_max || (held.count >= held.connections_max && !held.send_one_away()) {
            return None;
        }
        Some(self.seated(&mut held, address))
    }

    /// A seat for a connection that had one in the process before: nobody who comes meanwhile takes it, and it is one of as
    /// many as there could be there.
    pub fn readmit(&self, address: IpAddr) -> Seat<'_> {
        self.seated(&mut self.held(), address)
    }

    fn seated(&self, held: &mut Held, address: IpAddr) -> Seat<'_> {
        held.count += 1;
        *held.by_address.entry(address).or_default() += 1;
        held.next_seat += 1;
        Seat { connections: self, address, number: held.next_seat }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Tells the longest paused connection to end. Whether there was one.
    fn send_one_away(&mut self) -> bool {
        let Some(((_, number), told)) = self.paused.pop_first() else { return false };
        let is_new = self.leaving.insert(number);
        assert!(is_new, "a seat is given to somebody else once");
        self.count -= 1;
        told.notify_one();
        true
    }
}

impl Seat<'_> {
    /// Notes that the player has not come further since `since`. Whoever was told before to give way is told again at once.
    pub fn pause(&self, since: Instant) -> Pause<'_> {
        let told = Arc::new(Notify::new());
        let mut held = self.connections.held();
        if held.leaving.contains(&self.number) {
            told.notify_one();
        } else {
            held.paused.insert((since, self.number), Arc::clone(&told));
        }
        Pause { seat: self, since, told }
    }
}

impl Pause<'_> {
    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Waits until it must give way.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    /// The player reads again. Whether it still has its seat: one that was told to give way has lost it.
    pub fn end(self) -> bool {
        self.remove()
    }

    fn remove(&self) -> bool {
        self.seat.connections.held().paused.remove(&(self.since, self.seat.number)).is_some()
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut held = self.connections.held();
        if !held.leaving.remove(&self.number) {
            held.count -= 1;
        }
        if let Some(count) = held.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_in_all_and_by_address_and_come_back() {
        let connections = Connections::new(3, 2);
        let [one, two] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first = connections.admit(one);
        let second = connections.admit(one);
        assert!(first.is_some() && second.is_some());
        assert!(connections.admit(one).is_none(), "two from one address");
        let third = connections.admit(two);
        assert!(third.is_some());
        assert!(connections.admit(two).is_none(), "three in all");
        drop(second);
        assert!(connections.admit(two).is_some());
        drop((first, third));
        assert!(connections.held.lock().unwrap().by_address.is_empty());
    }

    #[test]
    fn who_had_a_seat_before_a_restart_has_one_whoever_came_meanwhile() {
        let connections = Connections::new(1, 1);
        let address = IpAddr::from([127, 0, 0, 1]);
        let newcomer = connections.admit(address);
        let resumed = connections.readmit(address);
        assert!(newcomer.is_some() && connections.admit([127, 0, 0, 2].into()).is_none());
        drop((newcomer, resumed));
        let held = connections.held();
        assert_eq!((held.count, held.by_address.len()), (0, 0));
    }

    #[test]
    fn the_longest_paused_gives_way_and_only_when_there_is_no_seat() {
        let connections = Connections::new(2, 9);
        let address = IpAddr::from([127, 0, 0, 1]);
        let start = Instant::now();
        let [first, second] = [connections.admit(address).unwrap(), connections.admit(address).unwrap()];
        assert!(connections.admit(address).is_none(), "nobody is paused");
        let shorter = first.pause(start + std::time::Duration::from_secs(1));
        let longer = second.pause(start);
        let third = connections.admit(address).expect("the longest paused gives way");
        assert!(!longer.end(), "its seat is taken, even if it reads again by now");
        assert!(shorter.end());
        assert!(connections.admit(address).is_none(), "nobody is paused any more");
        drop(second);
        assert!(connections.admit(address).is_none(), "the seat of one who gave way is not given twice");
        let again = first.pause(start);
        let fourth = connections.admit(address).expect("the next one gives way");
        drop(again);
        drop((first, third, fourth));
        let held = connections.held();
        assert_eq!((held.count, held.paused.len(), held.leaving.len(), held.by_address.len()), (0, 0, 0, 0));
    }

    #[test]
    fn who_was_told_and_pauses_again_is_told_again_and_counted_once() {
        let connections = Connections::new(1, 9);
        let address = IpAddr::from([127, 0, 0, 1]);
        let seat = connections.admit(address).unwrap();
        let pause = seat.pause(Instant::now());
        let next = connections.admit(address).expect("the paused one gives way");
        drop(pause); // As if it had not heard.
        let again = seat.pause(Instant::now());
        assert!(connections.admit(address).is_none(), "it has no seat to give any more");
        assert!(!again.end());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let again = seat.pause(Instant::now());
        runtime.block_on(async {
            let told = tokio::time::timeout(std::time::Duration::from_secs(5), again.told()).await;
            told.expect("it is told at once");
        });
        drop(again);
        drop((seat, next));
        let held = connections.held();
        assert_eq!((held.count, held.paused.len(), held.leaving.len(), held.by_address.len()), (0, 0, 0, 0));
    }

    #[test]
    fn who_plays_on_is_paused_no_more() {
        let connections = Connections::new(1, 9);
        let seat = connections.admit(IpAddr::from([127, 0, 0, 1])).unwrap();
        drop(seat.pause(Instant::now()));
        assert!(connections.admit(IpAddr::from([127, 0, 0, 2])).is_none());
    }
}
