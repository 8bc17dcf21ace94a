//! The thread that walks the folders of a root: one for each path at most, left to itself when it does not go on.
//!
//! A folder may open and say nothing when it is read: its server has gone meanwhile. Whoever waits for that cannot be stopped. So
//! the thread puts what it finds into a [`Bag`] step by step, and whoever waits for it takes that away when there was no step for
//! too long; the thread ends when it misses it. Until then nobody begins another walk of this path, of whichever library, also
//! if the root was removed and added again meanwhile. How long a walk takes in all is of no matter: a disk may be large and slow.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::library::scan::Found;
use crate::limits;
use crate::sys::Fault;

/// What is found, until it is taken away.
#[derive(Debug)]
pub(super) struct Bag(Mutex<Option<Found>>);

/// The bag was taken away: nobody waits any more.
#[derive(Debug)]
pub(super) struct GivenUp;

impl Bag {
    /// Notes what one more step has found.
    ///
    /// # Errors
    /// When nobody waits for it any more.
    pub fn step(&self, note: impl FnOnce(&mut Found)) -> Result<(), GivenUp> {
        let mut bag = self.lock();
        let found = bag.as_mut().ok_or(GivenUp)?;
        found.steps += 1;
        note(found);
        Ok(())
    }

    /// Poisoned only by a panic in the middle of a note, of which the rest is whole.
    fn lock(&self) -> MutexGuard<'_, Option<Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a walk has ended for whoever waited.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of the root was looked at.
    Whole,
    /// There was no thread for it, or it has panicked: in words.
    Broken(String),
    /// It does not go on.
    Silent {
        /// Whether that was found just now.
        is_new: bool,
    },
    /// Nobody wants to know any more.
    Unwanted,
}

/// Who walks which path. A walk keeps its walker for as long as it lasts.
#[derive(Debug, Default)]
pub(super) struct Walkers(Mutex<HashMap<PathBuf, Weak<Walker>>>);

impl Walkers {
    /// The walker of a path.
    pub fn of(&self, path: &Path) -> Arc<Walker> {
        let mut walkers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        walkers.retain(|_, walker| walker.strong_count() > 0);
        if let Some(walker) = walkers.get(path).and_then(Weak::upgrade) {
            return walker;
        }
        let walker = Arc::default();
        walkers.insert(path.to_owned(), Arc::downgrade(&walker));
        walker
    }
}

/// Whether a thread walks a root.
#[derive(Debug, Default)]
pub(super) struct Walker {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Free,
    Walking,
    /// It did not go on, and has not ended.
    Stuck,
}

/// The end of the thread, however it ends.
struct Leave(Arc<Walker>);

impl Drop for Leave {
    fn drop(&mut self) {
        *self.0.lock() = Stage::Free;
        self.0.changed.notify_all();
    }
}

/// How far a walk was when it was seen to go on last.
struct Pace {
    steps: usize,
    since: Instant,
}

impl Pace {
    /// Whether there was no step for as long as `patience`, now that there are so many.
    fn stands_still(&mut self, steps: usize, now: Instant, patience: Duration) -> bool {
        if steps != self.steps {
            *self = Pace { steps, since: now };
        }
        now.duration_since(self.since) >= patience
    }
}

impl Walker {
    /// Whether a walk that did not go on has not ended yet.
    pub fn is_stuck(&self) -> bool {
        *self.lock() == Stage::Stuck
    }

    /// Has `work` done on a thread, which adds to `found`, as long as it takes a step every `patience`. `goes_on` is told now and
    /// then how far it is, and says whether somebody still wants to know.
    pub fn watch(
        self: &Arc<Self>,
        found: Found,
        patience: Duration,
        work: impl FnOnce(Arc<Bag>) -> Result<(), GivenUp> + Send + 'static,
        mut goes_on: impl FnMut(&Found) -> bool,
    ) -> (Found, End) {
        if let Err(is_new) = self.begin(patience) {
            return (found, End::Silent { is_new });
        }
        let bag = Arc::new(Bag(Mutex::new(Some(found))));
        let (leave, shared) = (Leave(Arc::clone(self)), Arc::clone(&bag));
        let walk = move || {
            let _leave = leave;
            // Without anybody who waits there is nobody to tell.
            let _ = work(shared);
        };
        let thread = std::thread::Builder::new().name("walk".into()).spawn(walk);
        let end = match thread {
            Err(error) => End::Broken(Fault::new("start a thread for it", error).to_string()),
            Ok(thread) => match self.attend(&bag, patience, &mut goes_on) {
                // It has said that it is over, so this is a moment.
                End::Whole if thread.join().is_err() => End::Broken("reelway made a mistake (a panic)".into()),
                end => end,
            },
        };
        let found = bag.lock().take().unwrap_or_default();
        (found, end)
    }

    /// Takes the turn of this root. Otherwise somebody else's walk does not go on, and whether that is new.
    fn begin(&self, patience: Duration) -> Result<(), bool> {
        // The walk of another library that nobody wants any more ends at its next step.
        let mut stage = self.wait(patience);
        match *stage {
            Stage::Free => {
                *stage = Stage::Walking;
                Ok(())
            }
            Stage::Walking => {
                *stage = Stage::Stuck;
                Err(true)
            }
            Stage::Stuck => Err(false),
        }
    }

    /// Waits for the thread, as long as it goes on.
    fn attend(&self, bag: &Bag, patience: Duration, goes_on: &mut impl FnMut(&Found) -> bool) -> End {
        let mut pace = Pace { steps: 0, since: Instant::now() };
        loop {
            if *self.wait(limits::SCAN_PROGRESS_INTERVAL.min(patience)) == Stage::Free {
                return End::Whole;
            }
            let bag = bag.lock();
            let Some(found) = &*bag else { return End::Unwanted };
            if !goes_on(found) {
                return End::Unwanted;
            }
            if pace.stands_still(found.steps, Instant::now(), patience) {
                break;
            }
        }
        let mut stage = self.lock();
        if *stage == Stage::Free {
            return End::Whole;
        }
        *stage = Stage::Stuck;
        End::Silent { is_new: true }
    }

    /// Waits until nobody walks, or for so long. A walk that is stuck is not waited for.
    fn wait(&self, patience: Duration) -> MutexGuard<'_, Stage> {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |stage| *stage == Stage::Walking);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Nobody panics with it.
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// For walks that go on, however slow this machine is.
    const PATIENCE: Duration = Duration::from_secs(300);
    /// For one that does not.
    const SHORT: Duration = Duration::from_millis(300);

    fn step(bag: &Bag) -> Result<(), GivenUp> {
        bag.step(|found| found.by_root[0] += 1)
    }

    fn begun() -> Found {
        Found { by_root: vec![0], ..Found::default() }
    }

    #[test]
    fn a_walk_that_goes_on_may_take_longer_than_anybody_waits_for_a_step() {
        let begun = Instant::now();
        let mut pace = Pace { steps: 0, since: begun };
        for (second, steps, expected) in
            [(200, 0, false), (400, 1, false), (699, 1, false), (900, 2, false), (1199, 2, false), (1200, 2, true)]
        {
            let still = pace.stands_still(steps, begun + Duration::from_secs(second), PATIENCE);
            assert_eq!(still, expected, "after {second} seconds");
        }
    }

    #[test]
    fn whoever_waits_is_told_how_far_a_walk_is() {
        let walker = Arc::new(Walker::default());
        let (told, looks) = mpsc::channel();
        let work = move |bag: Arc<Bag>| {
            for _ in 0..2 {
                step(&bag)?;
                while looks.recv().unwrap() < bag.lock().as_ref().unwrap().steps {}
            }
            Ok(())
        };
        let (found, end) = walker.watch(begun(), PATIENCE, work, |found| {
            told.send(found.steps).unwrap();
            true
        });
        assert_eq!((found.by_root[0], end), (2, End::Whole));
    }

    #[test]
    fn a_walk_that_stands_still_is_left_alone_until_it_has_ended() {
        let walker = Arc::new(Walker::default());
        let (release, held) = mpsc::channel::<()>();
        let (told, ended) = mpsc::channel();
        let work = move |bag: Arc<Bag>| {
            let _ = held.recv();
            let after = step(&bag);
            told.send(after.is_err()).unwrap();
            after
        };
        let found = Found { by_root: vec![1], ..Found::default() };
        let (found, end) = walker.watch(found, SHORT, work, |_| true);
        assert_eq!((found.by_root[0], end), (1, End::Silent { is_new: true }), "what it had found is there");
        // Nobody begins another, and nobody waits for this one again.
        let since = Instant::now();
        let (found, end) = walker.watch(found, PATIENCE, |_| panic!("a second thread"), |_| true);
        assert_eq!((found.by_root[0], end), (1, End::Silent { is_new: false }));
        assert!(since.elapsed() < PATIENCE && walker.is_stuck());
        release.send(()).unwrap();
        assert!(ended.recv().unwrap(), "what it finds later is not wanted, and it ends");
        while walker.is_stuck() {
            std::thread::yield_now();
        }
        let (found, end) = walker.watch(found, PATIENCE, |bag| step(&bag), |_| true);
        assert_eq!((found.by_root[0], end), (2, End::Whole), "it has come back");
    }

    #[test]
    fn another_library_waits_for_a_walk_that_nobody_wants_any_more() {
        let walker = Arc::new(Walker::default());
        let work = |bag: Arc<Bag>| {
            while step(&bag).is_ok() {
                std::thread::yield_now();
            }
            Ok(())
        };
        let (_, end) = walker.watch(begun(), PATIENCE, work, |_| false);
        assert_eq!(end, End::Unwanted);
        let (found, end) = walker.watch(begun(), PATIENCE, |bag| step(&bag), |_| true);
        assert_eq!((found.by_root[0], end), (1, End::Whole));
    }

    #[test]
    fn a_walk_that_panics_has_not_seen_all() {
        let walker = Arc::new(Walker::default());
        let work = |bag: Arc<Bag>| {
            step(&bag)?;
            panic!("a bug");
        };
        let (found, end) = walker.watch(begun(), PATIENCE, work, |_| true);
        assert!(matches!((found.by_root[0], &end), (1, End::Broken(why)) if why.contains("panic")), "{end:?}");
        assert!(!walker.is_stuck());
    }
}
