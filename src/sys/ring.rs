//! io_uring: the only door to tokio-uring and to the io-uring crate.
//!
//! The ring is for files, never for sockets: a socket operation that is dropped in flight would swallow the client's
//! next bytes. Every operation here has exactly one completion and *owns* (by `Arc`) all that the kernel may still
//! touch, so a future may be dropped at any time. `UnsubmittedOneshot` is a safe function that takes any submission;
//! we treat it as unsafe and build submissions in this file only (DEPENDENCIES.md, the eight rules).

use std::ffi::CString;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use io_uring::{IoUring, Probe, cqueue, opcode, types};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use crate::limits;
use crate::sys::file::{MediaFile, Root};
use crate::sys::sendfile::Pipe;

/// COOP_TASKRUN spares an interrupt a completion (18-40 % of a small request's CPU); DEFER_TASKRUN would hang.
fn builder() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_coop_taskrun().setup_taskrun_flag().setup_cqsize(limits::RING_ENTRIES * 2);
    builder
}

/// Whether this kernel lets us have the ring we want, with every operation we use.
///
/// # Errors
/// EPERM under seccomp or `kernel.io_uring_disabled`, ENOSYS without io_uring, `Unsupported` on a kernel that is too
/// old. The caller then uses threads.
pub fn probe() -> io::Result<()> {
    let ring: IoUring = builder().build(limits::RING_ENTRIES)?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known)?;
    for (operation, name) in [(opcode::Splice::CODE, "SPLICE"), (opcode::OpenAt2::CODE, "OPENAT2")] {
        if !known.is_supported(operation) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("io_uring without {name}")));
        }
    }
    Ok(())
}

/// Runs `future` to its end on this thread, with a ring and tokio's readiness and timers.
///
/// # Errors
/// When the ring cannot be made: EMFILE, ENOMEM, and all that [`probe`] may say.
pub fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let mut settings = tokio_uring::builder();
    settings.entries(limits::RING_ENTRIES).uring_builder(&builder());
    Ok(tokio_uring::Runtime::new(&settings)?.block_on(future))
}

/// Lets every other task of this shard run once.
///
/// Not `yield_now()`: submissions leave only when the thread parks, so a stream that yields that way starves the ring
/// for ever (DATAPATH.md §6). Waiting on the ring ourselves makes the thread park.
pub async fn turn() {
    // An error here would mean that the ring is gone; the next fill says so.
    let _ = tokio_uring::no_op().await;
}

/// Fills `pipe` with at most `length` bytes of `file` at `offset`; a kernel worker waits for the disk.
/// Returns how many went in; 0 at the end of the file. `permit` is held until the kernel is done, also when the caller has
/// gone.
///
/// # Errors
/// What splice(2) says.
pub async fn fill(
    file: Arc<MediaFile>,
    pipe: Arc<Pipe>,
    offset: u64,
    length: usize,
    permit: impl Unpin + 'static,
) -> io::Result<usize> {
    let position = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let from = types::Fd(file.cold().as_raw_fd());
    let to = types::Fd(pipe.write_end().as_raw_fd());
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let entry = opcode::Splice::new(from, position, to, -1, length).flags(libc::SPLICE_F_MOVE).build();
    let count = UnsubmittedOneshot::new((file, pipe, permit), Completion::new(), entry).submit().await?;
    Ok(count as usize)
}

/// Opens `path` below `root` by a kernel worker, for when its folder is not in memory. `permit` is held until the kernel
/// is done, also when the caller has gone.
///
/// # Errors
/// As [`Root::open_waiting`], and EXDEV also for what is mounted below the root.
pub async fn open(root: Arc<Root>, path: CString, permit: OwnedSemaphorePermit) -> io::Result<OwnedFd> {
    // In a task of its own, which nobody can drop: the descriptor that arrives always finds an owner.
    let opening = tokio_uring::spawn(async move {
        let (flags, resolve) = Root::how();
        let how = Box::new(types::OpenHow::new().flags(flags).resolve(resolve));
        let directory = types::Fd(root.as_fd().as_raw_fd());
        let entry = opcode::OpenAt2::new(directory, path.as_ptr(), &raw const *how).build();
        let operation = UnsubmittedOneshot::new((root, path, how), Completion::new(), entry);
        let descriptor = operation.submit().await;
        drop(permit);
        let descriptor = descriptor?;
        // SAFETY: OPENAT2 completed with a new descriptor that nobody else has seen (io_uring_enter(2)).
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    });
    opening.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::Interrupted)))
}

/// Turns a completion into a count or an error, and gives back what the kernel was lent.
struct Completion<Lent>(std::marker::PhantomData<Lent>);

impl<Lent> Completion<Lent> {
    fn new() -> Self {
        Completion(std::marker::PhantomData)
    }
}

impl<Lent> OneshotOutputTransform for Completion<Lent> {
    type Output = io::Result<i32>;
    type StoredData = Lent;

    fn transform_oneshot_output(self, _lent: Lent, entry: cqueue::Entry) -> io::Result<i32> {
        match entry.result() {
            errno if errno < 0 => Err(io::Error::from_raw_os_error(-errno)),
            result => Ok(result),
        }
    }
}
