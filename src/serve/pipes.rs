//! What a cold fill needs: a permit, so that one hung disk cannot take every worker, and a pipe from the pool.
//!
//! Both are waited for in order (tokio's semaphores are fair), the permit first: whoever waits for a hung disk's permit
//! must not hold a pipe. The permit is given back when the pipe is full, so a slow client holds none; it holds its pipe
//! for at most [`limits::PIPE_PATIENCE`], and when somebody waits for one not longer than
//! [`limits::PIPE_PATIENCE_WANTED`]: behind a thousand clients that do not read, the next waits well under a second.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits;
use crate::sys::file::{self, Root};
use crate::sys::sendfile::Pipe;

/// The pipes and permits of one shard.
#[derive(Debug)]
pub(super) struct Pipes {
    at_rest: RefCell<Vec<Arc<Pipe>>>,
    allowed: Arc<Semaphore>,
    fills: Arc<Semaphore>,
    /// Of those that were asked for. A reload brings others and lets go of some.
    fills_by_root: RefCell<Vec<(Weak<Root>, Arc<Semaphore>)>>,
    /// Of films whose root is not known any more: all together have what one root has.
    fills_without_root: Arc<Semaphore>,
    fills_per_root: usize,
    open: Arc<AtomicUsize>,
    /// How many wait for a pipe.
    waiting: Cell<usize>,
    /// Told whenever there is one more of them.
    wanted: Notify,
}

/// The right to let the engine wait for a disk. The engine keeps it until the disk has answered, also when nobody asks any
/// more: those that wait for a hung disk are counted for as long as they do.
#[derive(Debug)]
pub(super) struct FillPermit {
    _of_shard: OwnedSemaphorePermit,
    _of_root: OwnedSemaphorePermit,
}

/// A pipe on loan. Dropped, it is closed, and the room for it goes to the next; [`Loan::give_back`] keeps it.
#[derive(Debug)]
pub(super) struct Loan<'a> {
    pub pipe: Arc<Pipe>,
    pipes: &'a Pipes,
    allowed: Allowed,
}

/// The room for one pipe, for whoever holds the pipe.
pub(super) type Allowed = Arc<OwnedSemaphorePermit>;

impl Pipes {
    /// The pool of one of `shards` shards; `open` counts the pipes of the process.
    pub fn new(shards: usize, open: Arc<AtomicUsize>) -> Pipes {
        let pipes = (limits::PIPES_MAX / shards.max(1)).max(2);
        // A fill holds a pipe: a hung root must leave half of these, too.
        let fills_per_root = limits::FILLS_PER_ROOT_MAX.min(pipes / 2);
        Pipes {
            at_rest: RefCell::default(),
            allowed: Arc::new(Semaphore::new(pipes)),
            fills: Arc::new(Semaphore::new(limits::FILLS_PER_SHARD_MAX)),
            fills_by_root: RefCell::default(),
            fills_without_root: Arc::new(Semaphore::new(fills_per_root)),
            fills_per_root,
            open,
            waiting: Cell::new(0),
            wanted: Notify::new(),
        }
    }

    /// Waits for the right to fill from the disk of this root.
    pub async fn permit(&self, root: Option<&Arc<Root>>) -> io::Result<FillPermit> {
        let fills = root.map_or_else(|| Arc::clone(&self.fills_without_root), |root| self.fills_of(root));
        let of_root = acquire(&fills).await?;
        Ok(FillPermit { _of_shard: acquire(&self.fills).await?, _of_root: of_root })
    }

    fn fills_of(&self, root: &Arc<Root>) -> Arc<Semaphore> {
        let mut known = self.fills_by_root.borrow_mut();
        // A weak pointer keeps its address from being another's.
        if let Some((_, fills)) = known.iter().find(|(of, _)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(root))) {
            return Arc::clone(fills);
        }
        known.retain(|(of, _)| of.strong_count() > 0);
        let fills = Arc::new(Semaphore::new(self.fills_per_root));
        known.push((Arc::downgrade(root), Arc::clone(&fills)));
        fills
    }

    /// Waits for an empty pipe, and, when the process has no descriptors left, for somebody to give some back.
    ///
    /// # Errors
    /// EMFILE when nobody does within half a minute.
    pub async fn borrow(&self) -> io::Result<Loan<'_>> {
        let allowed = match Arc::clone(&self.allowed).try_acquire_owned() {
            Ok(allowed) => allowed,
            Err(_) => {
                let _waiting = Waiting::new(self);
                acquire(&self.allowed).await?
            }
        };
        let rested = self.at_rest.borrow_mut().pop();
        let pipe = match rested {
            Some(pipe) => pipe,
            None => self.make().await?,
        };
        Ok(Loan { pipe, pipes: self, allowed: Arc::new(allowed) })
    }

    async fn make(&self) -> io::Result<Arc<Pipe>> {
        let deadline = Instant::now() + limits::PIPE_RETRY_TIMEOUT;
        loop {
            match Pipe::new(limits::PIPE_BYTES, &self.open) {
                Err(error) if file::is_exhaustion(&error) && Instant::now() < deadline => {
                    let _waiting = Waiting::new(self);
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
                made => return made.map(Arc::new),
            }
        }
    }
}

/// One who waits for a pipe, until dropped.
struct Waiting<'a>(&'a Pipes);

impl<'a> Waiting<'a> {
    fn new(pipes: &'a Pipes) -> Waiting<'a> {
        pipes.waiting.set(pipes.waiting.get() + 1);
        pipes.wanted.notify_one();
        Waiting(pipes)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

impl Loan<'_> {
    /// Waits until this pipe, which is full since `since`, is to be given up.
    pub async fn is_given_up(&self, since: Instant) {
        tokio::time::sleep_until(since + limits::PIPE_PATIENCE_WANTED).await;
        let wanted = async {
            while self.pipes.waiting.get() == 0 {
                self.pipes.wanted.notified().await;
            }
        };
        // Either is reason enough.
        let _ = tokio::time::timeout_at(since + limits::PIPE_PATIENCE, wanted).await;
    }

    /// What the engine keeps for as long as it fills the pipe.
    pub fn allowed(&self) -> Allowed {
        Arc::clone(&self.allowed)
    }

    /// Gives back a pipe that has been drained. Only an empty one: what is left in it would be another film's.
    pub fn give_back(self) {
        self.pipes.at_rest.borrow_mut().push(Arc::clone(&self.pipe));
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.map_err(|_| io::Error::other("the pool is closed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::Ordering;
    use std::task::{Context, Poll, Waker};

    fn ready<T>(future: impl Future<Output = io::Result<T>>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result.unwrap()),
            Poll::Pending => None,
        }
    }

    fn roots() -> [Arc<Root>; 2] {
        ["/", "/"].map(|path| Arc::new(Root::open(std::path::Path::new(path)).unwrap()))
    }

    #[test]
    fn one_hung_root_leaves_permits_to_the_others() {
        let (pipes, [zero, one]) = (Pipes::new(2, Arc::default()), roots());
        let hung: Vec<_> = (0..limits::FILLS_PER_ROOT_MAX).map(|_| ready(pipes.permit(Some(&zero))).unwrap()).collect();
        assert!(ready(pipes.permit(Some(&zero))).is_none(), "root 0 has its half");
        assert!(ready(pipes.permit(Some(&one))).is_some(), "root 1 goes on");
        drop(hung);
        assert!(ready(pipes.permit(Some(&zero))).is_some());
    }

    #[test]
    fn films_without_a_root_have_permits_and_leave_half_of_them() {
        let (pipes, [zero, _]) = (Pipes::new(2, Arc::default()), roots());
        let hung: Vec<_> = (0..limits::FILLS_PER_ROOT_MAX).map(|_| ready(pipes.permit(None)).unwrap()).collect();
        assert!(ready(pipes.permit(None)).is_none());
        assert!(ready(pipes.permit(Some(&zero))).is_some());
        drop(hung);
        assert!(ready(pipes.permit(None)).is_some());
    }

    #[test]
    fn a_root_that_is_gone_is_forgotten_and_its_place_is_nobody_elses() {
        let (pipes, [zero, one]) = (Pipes::new(2, Arc::default()), roots());
        let hung: Vec<_> = (0..limits::FILLS_PER_ROOT_MAX).map(|_| ready(pipes.permit(Some(&zero))).unwrap()).collect();
        drop(zero);
        assert!(ready(pipes.permit(Some(&one))).is_some(), "a new root waits for no old one");
        assert_eq!(pipes.fills_by_root.borrow().len(), 1);
        drop(hung);
    }

    #[test]
    fn one_hung_root_leaves_pipes_to_the_others_however_many_shards_share_them() {
        for shards in 1..=limits::SHARDS_MAX {
            let (pipes, [zero, one]) = (Pipes::new(shards, Arc::default()), roots());
            let mut hung = Vec::new();
            while let Some(permit) = ready(pipes.permit(Some(&zero))) {
                hung.push((permit, ready(pipes.borrow()).unwrap()));
            }
            assert!(!hung.is_empty(), "{shards} shards: nobody is served");
            assert!(ready(pipes.permit(Some(&one))).is_some(), "{shards} shards: root 1 has a permit");
            assert!(ready(pipes.borrow()).is_some(), "{shards} shards: root 1 has a pipe");
        }
    }

    #[test]
    fn a_full_pipe_is_given_up_soon_only_when_somebody_waits_for_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let pipes = Pipes::new(limits::PIPES_MAX, Arc::default());
            let (loan, _other) = (pipes.borrow().await.unwrap(), pipes.borrow().await.unwrap());
            let moment = limits::PIPE_PATIENCE_WANTED * 3;
            let since = Instant::now();
            let given_up = tokio::time::timeout(moment, loan.is_given_up(since)).await;
            assert!(given_up.is_err(), "nobody wants it");
            let wants_it = async {
                tokio::time::sleep(moment).await;
                pipes.borrow().await
            };
            let since = Instant::now();
            tokio::select! {
                () = loan.is_given_up(since) => {}
                _ = wants_it => panic!("two are this shard's share"),
            }
            assert!(since.elapsed() < limits::PIPE_PATIENCE, "it was wanted, and kept for {:?}", since.elapsed());
            let given_up = tokio::time::timeout(moment, loan.is_given_up(Instant::now())).await;
            assert!(given_up.is_err(), "who wanted it has gone");
            loan.is_given_up(since - limits::PIPE_PATIENCE).await;
        });
    }

    #[test]
    fn pipes_are_bounded_kept_when_given_back_and_closed_when_dropped() {
        let open = Arc::<AtomicUsize>::default();
        let pipes = Pipes::new(limits::PIPES_MAX / 2, Arc::clone(&open));
        let first = ready(pipes.borrow()).unwrap();
        let second = ready(pipes.borrow()).unwrap();
        assert!(ready(pipes.borrow()).is_none(), "two are this shard's share");
        first.give_back();
        drop(second);
        assert_eq!(open.load(Ordering::Relaxed), 1);
        let again = ready(pipes.borrow()).unwrap();
        assert_eq!(open.load(Ordering::Relaxed), 1, "the one at rest serves again");
        assert!(again.pipe.capacity() > 0);
    }
}
