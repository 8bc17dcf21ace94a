//! Who closes the files of a distant root: one thread a root, however late whoever answers for it is.
//!
//! close(2) of a file that somebody else answers for waits for him (FUSE_FLUSH; NFS writes back). A thread for each file would
//! be as many threads as there were viewers, so the files of a root queue up for one, which exists while there are any. The
//! queue is bounded where files are opened: a root that is too far behind opens none; only those that are open by then come on
//! top.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;

/// The files of one root that are to be closed.
#[derive(Debug, Default)]
pub(super) struct Closer {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    descriptors: VecDeque<OwnedFd>,
    /// Whether a thread is at work, or is about to be.
    has_thread: bool,
}

impl Closer {
    /// Closes `descriptors` by and by, on a thread of this shard's; where there is no runtime, on one of its own.
    pub fn close(self: &Arc<Closer>, descriptors: impl IntoIterator<Item = OwnedFd>) {
        let mut queue = self.queue();
        queue.descriptors.extend(descriptors);
        if !queue.has_thread {
            let closer = Arc::clone(self);
            // It waits for the lock first. Where there is no thread to be had the next file asks again.
            let work = move || while closer.close_one() {};
            queue.has_thread = match tokio::runtime::Handle::try_current() {
                Ok(runtime) => {
                    runtime.spawn_blocking(work);
                    true
                }
                Err(_) => std::thread::Builder::new().name("closer".into()).spawn(work).is_ok(),
            };
        }
    }

    /// Whether so many wait that no more may come.
    pub fn is_behind(&self) -> bool {
        self.queue().descriptors.len() >= 2 * limits::CLOSES_PER_ROOT_MAX
    }

    /// Whether there was one.
    fn close_one(&self) -> bool {
        let next = {
            let mut queue = self.queue();
            let next = queue.descriptors.pop_front();
            queue.has_thread = next.is_some();
            next
        };
        // Here it waits, and nobody waits for the lock meanwhile.
        next.map(drop).is_some()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    /// So many descriptors, and the other ends, which see that they are closed.
    fn pairs(count: usize) -> (Vec<UnixStream>, Vec<OwnedFd>) {
        let pairs = (0..count).map(|_| UnixStream::pair().unwrap());
        pairs.map(|(here, there)| (here, OwnedFd::from(there))).unzip()
    }

    fn is_closed(mut end: &UnixStream) -> bool {
        end.set_nonblocking(true).unwrap();
        end.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    #[test]
    fn all_are_closed_and_the_next_ones_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let closer = Arc::new(Closer::default());
            for count in [1, 2 * limits::CLOSES_PER_ROOT_MAX, 1] {
                let (ends, descriptors) = pairs(count);
                closer.close(descriptors);
                let deadline = Instant::now() + Duration::from_secs(10);
                while !ends.iter().all(is_closed) {
                    assert!(Instant::now() < deadline, "not all are closed");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                assert!(!closer.is_behind());
            }
        });
    }

    /// A socket that lingers closes as a file of a distant root does: late.
    #[test]
    fn nobody_waits_for_a_late_close_where_there_is_no_runtime() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut late = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _unread = listener.accept().unwrap();
        late.set_nonblocking(true).unwrap();
        while std::io::Write::write(&mut late, &[0; 65536]).is_ok() {}
        late.set_nonblocking(false).unwrap();
        socket2::SockRef::from(&late).set_linger(Some(Duration::from_secs(2))).unwrap();
        let begun = Instant::now();
        Arc::new(Closer::default()).close([late.into()]);
        assert!(begun.elapsed() < Duration::from_secs(1), "the caller waited");
    }

    #[test]
    fn behind_is_who_has_as_many_as_there_may_be() {
        let (closer, (_ends, descriptors)) = (Closer::default(), pairs(2 * limits::CLOSES_PER_ROOT_MAX));
        for (number, descriptor) in descriptors.into_iter().enumerate() {
            assert!(!closer.is_behind(), "{number} are too many");
            closer.queue().descriptors.push_back(descriptor);
        }
        assert!(closer.is_behind());
    }
}
