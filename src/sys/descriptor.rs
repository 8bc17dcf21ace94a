//! What a descriptor is that another process has left us: a connection, a film, or a note in sealed memory.
//!
//! The one idea: each says itself what it is, so nothing depends on the order in which they come. A socket has a cookie that
//! no other has while the machine runs (socket(7), `SO_COOKIE`), a file its device and inode, and a note is memory that
//! nobody can write any more (memfd_create(2), file sealing). No question here waits for a disk or another machine.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::SFlag;
use socket2::SockRef;

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A socket.
    Socket {
        /// As [`cookie`] has it.
        cookie: u64,
    },
    /// A note that [`note`] made.
    Note,
    /// Another regular file.
    File(FileId),
    /// Anything else.
    Other,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The number of its device.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What the kernel knows of an open file without asking anybody else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub id: FileId,
    pub mode: SFlag,
    pub size: u64,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
    /// Whether it is where something is mounted; a kernel before 5.8 does not say, and so says no.
    pub is_mount: bool,
}

/// No note is changed after it was made, not even by who made it.
const SEALS: SealFlag =
    SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_SEAL);

/// What `descriptor` is.
///
/// # Errors
/// What statx(2) and getsockopt(2) say.
pub fn kind(descriptor: &impl AsFd) -> io::Result<Kind> {
    let known = known(descriptor)?;
    Ok(if known.mode == SFlag::S_IFSOCK {
        Kind::Socket { cookie: cookie(descriptor)? }
    } else if known.mode != SFlag::S_IFREG {
        Kind::Other
    } else if is_sealed(descriptor) {
        Kind::Note
    } else {
        Kind::File(known.id)
    })
}

/// The number of a socket that no other socket has while the machine runs.
///
/// # Errors
/// What getsockopt(2) says.
pub fn cookie(socket: &impl AsFd) -> io::Result<u64> {
    SockRef::from(socket).cookie()
}

/// Bytes in memory that nobody can change, behind a descriptor.
///
/// # Errors
/// What memfd_create(2), write(2) and fcntl(2) say.
pub fn note(bytes: &[u8]) -> io::Result<OwnedFd> {
    let memory = memfd_create(c"reelway-handover", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut memory = File::from(memory);
    memory.write_all(bytes)?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(memory.into())
}

/// The bytes of a [`note`].
///
/// # Errors
/// `FileTooLarge` when there are more than `bytes_max`; what pread(2) says.
pub fn read_note(descriptor: OwnedFd, bytes_max: usize) -> io::Result<Vec<u8>> {
    let length = known(&descriptor)?.size;
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max);
    let mut bytes = Vec::with_capacity(length.ok_or(io::ErrorKind::FileTooLarge)?);
    // Whoever wrote it has left the position, which all descriptors of it share, at its end.
    let memory = File::from(descriptor);
    let mut memory = &memory;
    io::Seek::rewind(&mut memory)?;
    memory.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether all seals of a note are there. A film in memory (tmpfs) has none of the first three.
fn is_sealed(descriptor: &impl AsFd) -> bool {
    let seals = fcntl(descriptor, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    seals.is_ok_and(|seals| seals.contains(SEALS))
}

/// What is known of an open file, however old that is: its server may be gone (statx(2), `AT_STATX_DONT_SYNC`).
pub(super) fn known(descriptor: &impl AsFd) -> io::Result<Known> {
    let mut status = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let number = descriptor.as_fd().as_raw_fd();
    // SAFETY: statx(2) reads an empty path, which ends with its zero, and writes one struct statx, which `status` is; both
    // outlive the call.
    let answer = unsafe { libc::statx(number, c"".as_ptr(), flags, libc::STATX_BASIC_STATS, status.as_mut_ptr()) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all fields are plain integers, and zeroed before the call.
    let status = unsafe { status.assume_init() };
    Ok(Known {
        id: FileId { device: libc::makedev(status.stx_dev_major, status.stx_dev_minor), inode: status.stx_ino },
        mode: SFlag::from_bits_truncate(status.stx_mode.into()) & SFlag::S_IFMT,
        size: status.stx_size,
        modified: (status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec.into()),
        changed: (status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec.into()),
        is_mount: status.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::BorrowedFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn each_descriptor_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        std::fs::write(&path, "film").unwrap();
        let file = File::open(&path).unwrap();
        let found = file.metadata().unwrap();
        assert_eq!(kind(&file).unwrap(), Kind::File(FileId { device: found.dev(), inode: found.ino() }));
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let twin = one.try_clone().unwrap();
        assert_eq!(kind(&one).unwrap(), Kind::Socket { cookie: cookie(&twin).unwrap() }, "two descriptors, one socket");
        assert_ne!(kind(&one).unwrap(), kind(&other).unwrap());
        assert_eq!(kind(&File::open(folder.path()).unwrap()).unwrap(), Kind::Other);
        assert_eq!(kind(&note(b"x").unwrap()).unwrap(), Kind::Note);
        let unsealed = memfd_create(c"film", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert!(matches!(kind(&unsealed).unwrap(), Kind::File(_)), "a film in memory is no note");
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_nobody_can_write_it() {
        let written = note(b"what was done").unwrap();
        let borrowed: BorrowedFd<'_> = written.as_fd();
        assert!(nix::unistd::write(borrowed, b"!").is_err());
        let twin = written.try_clone().unwrap();
        assert_eq!(read_note(written, 13).unwrap(), b"what was done");
        assert!(read_note(twin, 12).is_err(), "it is longer than is allowed");
    }
}
