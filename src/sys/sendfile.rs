//! The zero-copy calls: a head by `send(2)`, hot bytes by `sendfile(2)`, cold ones by `splice(2)` through a [`Pipe`].
//!
//! None of these functions waits: the sockets are non-blocking, and every one answers `WouldBlock` instead. Short
//! counts are the normal case; the count returned is the truth and the caller keeps the offset. Zero from
//! [`send_file`] means that the file ends here, whatever its size was when it was opened (sendfile(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags};
use nix::sys::socket::MsgFlags;

use crate::sys::file::MediaFile;

/// What follows the bytes of a [`send_head`] call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Body bytes follow at once: the kernel may wait for them and fill a segment.
    Body,
    /// Nothing follows soon: send what there is. `MSG_MORE` here would delay it by 200 ms (DATAPATH.md §8).
    Nothing,
}

/// Sends bytes of a head, or of a small body. Returns how many the socket took.
///
/// # Errors
/// `WouldBlock` when the socket is full; what send(2) says when the peer is gone. No SIGPIPE.
pub fn send_head(socket: &impl AsFd, bytes: &[u8], follow: Follow) -> io::Result<usize> {
    let mut flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    if follow == Follow::Body {
        flags |= MsgFlags::from_bits_retain(libc::MSG_MORE);
    }
    Ok(nix::sys::socket::send(socket.as_fd().as_raw_fd(), bytes, flags)?)
}

/// Sends at most `length` bytes of the file at `offset` from the page cache to the socket. Returns how many it took.
///
/// # Errors
/// `WouldBlock` when the socket is full; what sendfile(2) says otherwise.
pub fn send_file(socket: &impl AsFd, file: &MediaFile, offset: u64, length: u64) -> io::Result<usize> {
    let mut position = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Ok(nix::sys::sendfile::sendfile64(socket, file.hot(), Some(&mut position), length)?)
}

/// Whether an error of a call that joins a file and a socket is the file's: the disk failed, or the kernel had no memory
/// for its pages. All others are the socket's.
pub fn is_of_the_file(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::ENOMEM | libc::EOVERFLOW | libc::EINVAL))
}

/// A pipe that carries one window of a cold file from the disk to a socket: page references, never a copy.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    _counted: Counted,
}

impl Pipe {
    /// Makes a pipe of `capacity` bytes if the kernel grants it; `open` counts it for as long as it lives.
    ///
    /// # Errors
    /// What pipe2(2) says: EMFILE when there are no descriptors left.
    pub fn new(capacity: usize, open: &Arc<AtomicUsize>) -> io::Result<Pipe> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        // Past fs.pipe-user-pages-soft the size is refused; the pipe then stays as small as it is (pipe(7)).
        let _ = nix::fcntl::fcntl(&write, FcntlArg::F_SETPIPE_SZ(i32::try_from(capacity).unwrap_or(i32::MAX)));
        let capacity = usize::try_from(nix::fcntl::fcntl(&write, FcntlArg::F_GETPIPE_SZ)?).unwrap_or(0);
        Ok(Pipe { read, write, capacity, _counted: Counted::new(open) })
    }

    /// Bytes this pipe really holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Fills the pipe with at most `length` bytes of the file at `offset`, waiting for the disk. Not for a shard: a
    /// ring or a thread of the engine does it. Returns how many went in; 0 at the end of the file.
    ///
    /// # Errors
    /// What splice(2) says; EIO from a failing disk.
    pub fn fill_waiting(&self, file: &MediaFile, offset: u64, length: usize) -> io::Result<usize> {
        let mut position = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = SpliceFFlags::SPLICE_F_MOVE;
        Ok(nix::fcntl::splice(file.cold(), Some(&mut position), &self.write, None, length, flags)?)
    }

    /// Moves at most `length` bytes from the pipe to the socket. Returns how many the socket took.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full; what splice(2) says otherwise.
    pub fn drain(&self, socket: &impl AsFd, length: usize, follow: Follow) -> io::Result<usize> {
        let mut flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        if follow == Follow::Body {
            flags |= SpliceFFlags::SPLICE_F_MORE;
        }
        Ok(nix::fcntl::splice(&self.read, None, socket, None, length, flags)?)
    }

    /// The end that the ring fills.
    pub(super) fn write_end(&self) -> &OwnedFd {
        &self.write
    }
}

/// One in a count of living things, until dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
