//! How many connections there may be, in all and from one address.
//!
//! The lock is taken when a connection comes and when it goes, never for a request. The map has an entry for every
//! address that is connected, so it is bounded by the connections themselves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// The connections of the whole process.
#[derive(Debug)]
pub(super) struct Connections {
    connections_max: usize,
    per_address_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One admitted connection, until dropped.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    connections: &'a Connections,
    address: IpAddr,
}

impl Connections {
    pub fn new(connections_max: usize, per_address_max: usize) -> Connections {
        Connections { connections_max, per_address_max, held: Mutex::default() }
    }

    /// A seat for a connection from `address`, if there is one.
    pub fn admit(&self, address: IpAddr) -> Option<Seat<'_>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = held.by_address.get(&address).copied().unwrap_or(0);
        if held.count >= self.connections_max || of_address >= self.per_address_max {
            return None;
        }
        held.count += 1;
        held.by_address.insert(address, of_address + 1);
        Some(Seat { connections: self, address })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut held = self.connections.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.count -= 1;
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
}
