//! What a cold fill needs: a permit, so that one hung disk cannot take every worker, and a pipe from the pool.
//!
//! Both are waited for in order (tokio's semaphores are fair), the permit first: whoever waits for a hung disk's permit
//! must not hold a pipe. The permit is given back when the pipe is full, so a slow client holds none; it holds its pipe
//! for at most [`limits::PIPE_PATIENCE`].

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits;
use crate::sys::file;
use crate::sys::sendfile::Pipe;

/// The pipes and permits of one shard.
#[derive(Debug)]
pub(super) struct Pipes {
    at_rest: RefCell<Vec<Arc<Pipe>>>,
    allowed: Semaphore,
    fills: Semaphore,
    fills_by_root: Box<[Semaphore]>,
    open: Arc<AtomicUsize>,
}

/// The right to let the engine wait for a disk.
#[derive(Debug)]
pub(super) struct FillPermit<'a> {
    _of_shard: SemaphorePermit<'a>,
    _of_root: Option<SemaphorePermit<'a>>,
}

/// A pipe on loan. Dropped, it is closed, and the room for it goes to the next; [`Loan::give_back`] keeps it.
#[derive(Debug)]
pub(super) struct Loan<'a> {
    pub pipe: Arc<Pipe>,
    pipes: &'a Pipes,
    _allowed: SemaphorePermit<'a>,
}

impl Pipes {
    /// The pool of one of `shards` shards, for a library of `roots` roots; `open` counts the pipes of the process.
    pub fn new(shards: usize, roots: usize, open: Arc<AtomicUsize>) -> Pipes {
        Pipes {
            at_rest: RefCell::default(),
            allowed: Semaphore::new((limits::PIPES_MAX / shards.max(1)).max(1)),
            fills: Semaphore::new(limits::FILLS_PER_SHARD_MAX),
            fills_by_root: (0..roots).map(|_| Semaphore::new(limits::FILLS_PER_ROOT_MAX)).collect(),
            open,
        }
    }

    /// Waits for the right to fill from the disk of this root.
    pub async fn permit(&self, root: usize) -> io::Result<FillPermit<'_>> {
        let of_root = match self.fills_by_root.get(root) {
            Some(fills) => Some(acquire(fills).await?),
            None => None,
        };
        Ok(FillPermit { _of_shard: acquire(&self.fills).await?, _of_root: of_root })
    }

    /// Waits for an empty pipe, and, when the process has no descriptors left, for somebody to give some back.
    ///
    /// # Errors
    /// EMFILE when nobody does within half a minute.
    pub async fn borrow(&self) -> io::Result<Loan<'_>> {
        let allowed = acquire(&self.allowed).await?;
        let rested = self.at_rest.borrow_mut().pop();
        let pipe = match rested {
            Some(pipe) => pipe,
            None => self.make().await?,
        };
        Ok(Loan { pipe, pipes: self, _allowed: allowed })
    }

    async fn make(&self) -> io::Result<Arc<Pipe>> {
        let deadline = Instant::now() + limits::PIPE_RETRY_TIMEOUT;
        loop {
            match Pipe::new(limits::PIPE_BYTES, &self.open) {
                Err(error) if file::is_exhaustion(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
                made => return made.map(Arc::new),
            }
        }
    }
}

impl Loan<'_> {
    /// Gives back a pipe that has been drained. Only an empty one: what is left in it would be another film's.
    pub fn give_back(self) {
        self.pipes.at_rest.borrow_mut().push(Arc::clone(&self.pipe));
    }
}

async fn acquire(semaphore: &Semaphore) -> io::Result<SemaphorePermit<'_>> {
    semaphore.acquire().await.map_err(|_| io::Error::other("the pool is closed"))
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

    #[test]
    fn one_hung_root_leaves_permits_to_the_others() {
        let pipes = Pipes::new(2, 2, Arc::default());
        let hung: Vec<_> = (0..limits::FILLS_PER_ROOT_MAX).map(|_| ready(pipes.permit(0)).unwrap()).collect();
        assert!(ready(pipes.permit(0)).is_none(), "root 0 has its half");
        assert!(ready(pipes.permit(1)).is_some(), "root 1 goes on");
        drop(hung);
        assert!(ready(pipes.permit(0)).is_some());
    }

    #[test]
    fn pipes_are_bounded_kept_when_given_back_and_closed_when_dropped() {
        let open = Arc::<AtomicUsize>::default();
        let pipes = Pipes::new(limits::PIPES_MAX / 2, 1, Arc::clone(&open));
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
