//! Who waits for the disk: the ring, or, where io_uring is forbidden, a few threads.
//!
//! Both do the same three things, so nothing above this file knows which one runs: open a file whose folder is not in
//! memory, fill a pipe from a cold file, and let the others have their turn. Neither ever blocks the shard.

use std::ffi::CString;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crate::sys::file::{Cached, MediaFile, Root};
use crate::sys::ring;
use crate::sys::sendfile::Pipe;

/// The engine of every shard of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring: kernel workers wait.
    Ring,
    /// No io_uring: threads of tokio's blocking pool wait.
    Threads,
}

impl Engine {
    /// The best engine this kernel allows, and why it is not the ring if it is not.
    pub fn choose() -> (Engine, Option<io::Error>) {
        match ring::probe() {
            Ok(()) => (Engine::Ring, None),
            Err(reason) => (Engine::Threads, Some(reason)),
        }
    }

    /// As a label of metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Ring => "ring",
            Engine::Threads => "threads",
        }
    }

    /// Runs `future` to its end on this thread, as a shard.
    ///
    /// # Errors
    /// When the ring, or the runtime's epoll or threads, cannot be made.
    pub fn block_on<F: Future>(self, future: F) -> io::Result<F::Output> {
        match self {
            Engine::Ring => ring::block_on(future),
            Engine::Threads => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(limits::FILLS_PER_SHARD_MAX + 2 * limits::OPENS_PER_ROOT_MAX)
                    .build()?;
                let output = tokio::task::LocalSet::new().block_on(&runtime, future);
                // A thread may hang on a dead disk; the process is ending and does not wait for it.
                runtime.shutdown_timeout(Duration::from_millis(100));
                Ok(output)
            }
        }
    }

    /// Lets every other task of this shard run once.
    pub async fn turn(self) {
        match self {
            Engine::Ring => ring::turn().await,
            Engine::Threads => tokio::task::yield_now().await,
        }
    }

    /// Opens the regular file at `path` below `root`: from the kernel's caches at once, else by whoever waits for the
    /// disk. `None` when it is something else than a regular file.
    ///
    /// # Errors
    /// As [`Root::open_waiting`]; `TimedOut` when the disk does not answer, or is far behind with closing.
    pub async fn open(self, root: &Arc<Root>, path: CString) -> io::Result<Option<MediaFile>> {
        let may_be_local = match root.open_cached(&path)? {
            Cached::Open(descriptor) => return MediaFile::admit(descriptor),
            Cached::Unknown => true,
            Cached::Distant => false,
        };
        let opening = async {
            if self == Engine::Ring && may_be_local {
                match ring::open(Arc::clone(root), path.clone(), root.permit().await?).await {
                    // Something is mounted on the way.
                    Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {}
                    opened => return opened.and_then(MediaFile::admit),
                }
            }
            let (permit, root) = (root.permit().await?, Arc::clone(root));
            if root.closer().is_behind() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let open = move || MediaFile::admit_distant(root.open_waiting(&path)?, &root);
            waiting(permit, open).await
        };
        tokio::time::timeout(limits::OPEN_TIMEOUT, opening).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Fills `pipe` with at most `length` bytes of `file` at `offset`. Returns how many; 0 at the end of the file. `permit`
    /// is kept until the disk has answered, whether or not anybody still asks.
    ///
    /// # Errors
    /// What splice(2) says.
    pub async fn fill(
        self,
        file: Arc<MediaFile>,
        pipe: Arc<Pipe>,
        offset: u64,
        length: usize,
        permit: impl Send + Unpin + 'static,
    ) -> io::Result<usize> {
        match self {
            Engine::Ring => ring::fill(file, pipe, offset, length, permit).await,
            Engine::Threads => waiting(permit, move || pipe.fill_waiting(&file, offset, length)).await,
        }
    }
}

/// Does `work`, which may wait, on a thread that keeps `permit` until it is done, whether or not anybody still asks.
async fn waiting<T: Send + 'static>(
    permit: impl Send + 'static,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let work = move || {
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::Interrupted)))
}
