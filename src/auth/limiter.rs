//! How often a name and a password may be tried: counted before the hash, in memory of a fixed size.
//!
//! Each attempt takes one from the cell of its name and one from the cell of its address; a right password gives both
//! back. A cell is a single number, the moment at which it will be full again (GCRA, the generic cell rate algorithm), so
//! counting is one compare-and-swap. Cells are found by a keyed hash: names are the attacker's choice, and nobody can choose
//! two that meet. What meets by chance is limited together, which at worst asks somebody to wait.
//!
//! An attacker can empty the cell of a name, but not lock its owner out: from an address at which nothing has failed an
//! attempt is admitted all the same. Ours and not governor's, because that cannot give an attempt back.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::limits;
use crate::store::Timestamp;

/// The cells of all names and addresses.
#[derive(Debug)]
pub struct Limiter {
    names: Box<[Cell]>,
    addresses: Box<[Cell]>,
    secret: RandomState,
    /// Attempts that may fail at once before the next one is refused.
    burst: AtomicI64,
}

/// When it will be full again, in microseconds since 1970. In the past: nothing is missing.
#[derive(Debug)]
struct Cell(AtomicI64);

/// An attempt that may be made. It counts as a failure unless it is told that it succeeded.
#[derive(Debug)]
#[must_use]
pub struct Attempt<'a> {
    name: Option<&'a Cell>,
    address: &'a Cell,
}

/// How long one attempt takes to come back, in microseconds.
const REFILL: i64 = limits::LOGIN_REFILL.as_micros() as i64;

impl Limiter {
    /// A limiter that refuses the attempt number `failures_max` in a row.
    pub fn new(failures_max: u32) -> Limiter {
        let cells = |count: usize| (0..count).map(|_| Cell(AtomicI64::new(i64::MIN))).collect();
        Limiter {
            names: cells(limits::LOGIN_NAME_CELLS),
            addresses: cells(limits::LOGIN_ADDRESS_CELLS),
            secret: RandomState::new(),
            burst: AtomicI64::new(burst(failures_max)),
        }
    }

    /// From now on it refuses the attempt number `failures_max` in a row.
    pub fn set_failures_max(&self, failures_max: u32) {
        self.burst.store(burst(failures_max), Ordering::Relaxed);
    }

    /// Takes an attempt for this name from this address, before its password is hashed.
    ///
    /// # Errors
    /// How long to wait until one is there.
    pub fn admit(&self, name: &str, address: IpAddr, now: Timestamp) -> Result<Attempt<'_>, Duration> {
        let now = now.microseconds();
        let (name, address) = (self.name(name), self.address(address));
        let is_untouched = address.0.load(Ordering::Relaxed) <= now;
        let burst = self.burst.load(Ordering::Relaxed);
        address.take(burst, now)?;
        match name.take(burst, now) {
            Ok(()) => Ok(Attempt { name: Some(name), address }),
            // The owner comes from an address at which nothing has failed.
            Err(_) if is_untouched => Ok(Attempt { name: None, address }),
            Err(wait) => {
                address.give_back();
                Err(wait)
            }
        }
    }

    /// A name is one person's however it is typed.
    fn name(&self, name: &str) -> &Cell {
        cell(&self.names, self.secret.hash_one(name.to_lowercase()))
    }

    /// A house has one IPv4 address, or 64 bits of IPv6.
    fn address(&self, address: IpAddr) -> &Cell {
        let network = match address.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        cell(&self.addresses, self.secret.hash_one((address.to_canonical().is_ipv4(), network)))
    }
}

/// How many may fail before the next one is refused.
fn burst(failures_max: u32) -> i64 {
    i64::from(failures_max.max(2)) - 1
}

fn cell(cells: &[Cell], hash: u64) -> &Cell {
    &cells[(hash % cells.len() as u64) as usize]
}

impl Cell {
    /// Takes one, if fewer than `burst` are missing.
    fn take(&self, burst: i64, now: i64) -> Result<(), Duration> {
        let full = burst.saturating_mul(REFILL);
        let next = |full_at: i64| {
            let then = missing(full_at, now, full) + REFILL;
            (then <= full).then_some(now.saturating_add(then))
        };
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(full_at) => {
                let then = missing(full_at, now, full) + REFILL;
                Err(Duration::from_micros((then - full).unsigned_abs()))
            }
        }
    }

    fn give_back(&self) {
        self.0.fetch_sub(REFILL, Ordering::Relaxed);
    }
}

/// What is missing of `full` now. More than all cannot be: the clock went back, and that must lock nobody out.
fn missing(full_at: i64, now: i64, full: i64) -> i64 {
    Some(full_at.saturating_sub(now)).filter(|missing| (0..=full).contains(missing)).unwrap_or(0)
}

impl Attempt<'_> {
    /// The password was right: nothing was tried.
    pub fn succeeded(self) {
        self.address.give_back();
        if let Some(name) = self.name {
            name.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000)
    }

    fn from(last: u8) -> IpAddr {
        [192, 168, 1, last].into()
    }

    /// How many of `count` wrong attempts are admitted.
    fn fail(limiter: &Limiter, count: usize, name: &str, address: IpAddr, now: i64) -> usize {
        (0..count).filter(|_| limiter.admit(name, address, at(now)).is_ok()).count()
    }

    #[test]
    fn the_tenth_failure_in_a_row_is_refused_and_told_when_to_come_again() {
        let limiter = Limiter::new(10);
        assert_eq!(fail(&limiter, 64, "ann", from(1), 100), 9);
        let wait = limiter.admit("ANN", from(1), at(100)).unwrap_err();
        assert_eq!(wait, limits::LOGIN_REFILL);
        let refill = limits::LOGIN_REFILL.as_secs() as i64;
        assert_eq!(fail(&limiter, 9, "ann", from(1), 100 + refill), 1);
        assert_eq!(fail(&limiter, 64, "ann", from(1), 100 + 100 * refill), 9, "time heals");
    }

    #[test]
    fn a_right_password_is_not_counted() {
        let limiter = Limiter::new(10);
        for _ in 0..1000 {
            limiter.admit("ann", from(1), at(100)).unwrap().succeeded();
        }
        assert_eq!(fail(&limiter, 64, "ann", from(1), 100), 9);
    }

    #[test]
    fn many_names_from_one_address_are_one_attacker() {
        let limiter = Limiter::new(10);
        let admitted: usize = (0..64).map(|index| fail(&limiter, 1, &format!("user{index}"), from(1), 100)).sum();
        assert_eq!(admitted, 9);
        let one_house = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let admitted: usize = (0..64).map(|last| fail(&limiter, 1, &format!("x{last}"), one_house(last), 100)).sum();
        assert_eq!(admitted, 9, "a house has 64 bits of IPv6 addresses");
    }

    #[test]
    fn an_attacker_cannot_lock_the_owner_out_from_elsewhere() {
        let limiter = Limiter::new(10);
        assert_eq!(fail(&limiter, 64, "ann", from(1), 100), 9);
        let owner = limiter.admit("ann", from(2), at(100)).expect("nothing has failed there");
        owner.succeeded();
        assert_eq!(fail(&limiter, 64, "ann", from(3), 100), 1, "but nobody guesses on from there");
        limiter.admit("ann", from(2), at(100)).expect("and the owner still comes in").succeeded();
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        let limiter = Limiter::new(10);
        assert_eq!(fail(&limiter, 64, "ann", from(1), 1_000_000), 9);
        assert_eq!(fail(&limiter, 64, "ann", from(1), 100), 9);
    }

    #[test]
    fn parallel_attempts_are_counted_before_any_of_them_fails() {
        let limiter = Limiter::new(10);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| fail(&limiter, 100, "ann", from(1), 100))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 9);
    }
}
