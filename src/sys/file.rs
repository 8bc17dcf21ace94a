//! Library roots and the files in them: opened below their root only, regular files only, one proof each.
//!
//! A [`Root`] is a descriptor of a directory; paths are resolved against it by `openat2(2)`, which refuses symbolic
//! links and everything that would leave the root, in the kernel and without a race. A [`MediaFile`] exists only for a
//! regular file, so nobody asks again. It has up to two open file descriptions, because read-ahead state is kept per
//! description (DATAPATH.md §8): the *hot* one is advised RANDOM, so that sending from the page cache never starts a
//! disk read on the shard, and the *cold* one, opened at the first miss, reads ahead as usual.

use std::ffi::CStr;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use nix::fcntl::{AtFlags, OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::sys::statfs::{self, FsType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;
use crate::sys::Fault;
use crate::sys::closer::Closer;
use crate::sys::descriptor::{self, FileId};

mod replace;

pub use replace::replace;

/// How a file of the library is opened. O_NONBLOCK so that a FIFO put in a film's place cannot hold us (open(2)).
const MEDIA_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);
/// Never outside the root, never through a link (openat2(2)).
const MEDIA_RESOLVE: ResolveFlag =
    ResolveFlag::RESOLVE_BENEATH.union(ResolveFlag::RESOLVE_NO_MAGICLINKS).union(ResolveFlag::RESOLVE_NO_SYMLINKS);

/// An open directory below which films are found.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    opens: Arc<Semaphore>,
    is_local: bool,
    closer: Arc<Closer>,
}

impl Root {
    /// Opens the directory at `path`; the path itself may contain links, which an administrator wrote.
    ///
    /// # Errors
    /// A [`Fault`] when it does not exist or is no directory. Whether it may be read, reading it tells.
    pub fn open(path: &Path) -> Result<Root, Fault> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = nix::fcntl::open(path, flags, Mode::empty())
            .map_err(|errno| Fault::new(format!("open the library root {}", path.display()), errno))?;
        let is_local = nix::sys::statfs::fstatfs(&directory).is_ok_and(|found| is_local(found.filesystem_type()));
        Ok(Root {
            directory,
            opens: Arc::new(Semaphore::new(limits::OPENS_PER_ROOT_MAX)),
            is_local,
            closer: Arc::default(),
        })
    }

    /// Whether it is the same directory as `other`.
    pub fn is_same(&self, other: &Root) -> bool {
        let identity =
            |root: &Root| nix::sys::stat::fstat(&root.directory).map(|status| (status.st_dev, status.st_ino));
        identity(self).is_ok_and(|own| identity(other) == Ok(own))
    }

    /// Which directory it is. Asks nobody.
    pub fn id(&self) -> Option<FileId> {
        descriptor::known(&self.directory).ok().map(|known| known.id)
    }

    /// Whether something is mounted right here. Asks nobody.
    pub fn is_mount(&self) -> bool {
        descriptor::known(&self.directory).is_ok_and(|known| known.is_mount)
    }

    /// Opens `path` below this root if the kernel can do so from its caches alone. Never waits for a disk.
    ///
    /// # Errors
    /// Otherwise what openat2(2) says.
    pub fn open_cached(&self, path: &CStr) -> io::Result<Cached> {
        if !self.is_local {
            return Ok(Cached::Distant);
        }
        // nix does not name RESOLVE_CACHED yet (Linux 5.12). What is mounted below a root may be distant as well.
        let cached = ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED) | ResolveFlag::RESOLVE_NO_XDEV;
        match self.open_resolving(path, MEDIA_RESOLVE | cached) {
            Ok(descriptor) => Ok(Cached::Open(descriptor)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Cached::Unknown),
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => Ok(Cached::Distant),
            Err(error) => Err(error),
        }
    }

    /// Whether `path` below this root still names `file`, and nothing about it was changed since it was opened.
    ///
    /// Links on the way need no thought: what is sent is the file that is open, which was found without any.
    pub fn names(&self, path: &CStr, file: &MediaFile) -> bool {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT;
        let found = nix::sys::stat::fstatat(&self.directory, path, flags);
        found.is_ok_and(|status| Identity::of(&status) == file.identity)
    }

    /// Opens `path` below this root and waits for the disk. Not for a shard.
    ///
    /// # Errors
    /// What openat2(2) says; a symbolic link on the way is ELOOP, a path that leaves the root EXDEV.
    pub fn open_waiting(&self, path: &CStr) -> io::Result<OwnedFd> {
        self.open_resolving(path, MEDIA_RESOLVE)
    }

    /// The same for a film that another process has sent a part of: nothing, if it is not of this size and time any more. Not
    /// for a shard.
    ///
    /// # Errors
    /// What openat2(2) and fstat(2) say.
    pub fn open_again(&self, path: &CStr, size: u64, modified_ns: i128) -> io::Result<Option<OwnedFd>> {
        let file = self.open_waiting(path)?;
        let status = nix::sys::stat::fstat(&file)?;
        let modified = i128::from(status.st_mtime) * 1_000_000_000 + i128::from(status.st_mtime_nsec);
        let is_same = u64::try_from(status.st_size) == Ok(size) && modified == modified_ns;
        Ok(is_same.then_some(file))
    }

    fn open_resolving(&self, path: &CStr, resolve: ResolveFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new().flags(MEDIA_FLAGS).resolve(resolve);
        Ok(nix::fcntl::openat2(&self.directory, path, how)?)
    }

    /// Waits for the right to let somebody wait for this root's disk. Kept by whoever waits, until the kernel is done.
    pub(super) async fn permit(&self) -> io::Result<OwnedSemaphorePermit> {
        Arc::clone(&self.opens).acquire_owned().await.map_err(io::Error::other)
    }

    /// Who closes its files, if it is distant.
    pub(super) fn closer(&self) -> &Arc<Closer> {
        &self.closer
    }

    /// The flags and the resolution rules of [`Root::open_waiting`], for the ring to use, which stays on the file system
    /// of the root.
    pub(super) fn how() -> (u64, u64) {
        (MEDIA_FLAGS.bits() as u64, (MEDIA_RESOLVE | ResolveFlag::RESOLVE_NO_XDEV).bits())
    }
}

/// What the kernel's caches know of a path.
#[derive(Debug)]
pub enum Cached {
    /// It is open.
    Open(OwnedFd),
    /// Nothing: the disk must be asked.
    Unknown,
    /// It is, or may be, on a file system that asks somebody else (NFS, SMB, FUSE) whenever a file is opened, looked at
    /// or closed. None of that is for a shard.
    Distant,
}

/// Whether the kernel alone answers for a file system of this kind, once a path's folders are in memory.
fn is_local(kind: FsType) -> bool {
    /// Those that nix does not name: ZFS, exFAT, NTFS (ntfs3), bcachefs (their sources, and statfs(2)).
    const UNNAMED: [FsType; 4] = [FsType(0x2fc1_2fc1), FsType(0x2011_bab0), FsType(0x7366_746e), FsType(0xca45_1a4e)];
    const NAMED: [FsType; 9] = [
        statfs::EXT4_SUPER_MAGIC, // ext2 and ext3 have the same number.
        statfs::BTRFS_SUPER_MAGIC,
        statfs::XFS_SUPER_MAGIC,
        statfs::F2FS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
        statfs::OVERLAYFS_SUPER_MAGIC,
        statfs::MSDOS_SUPER_MAGIC,
        statfs::ISOFS_SUPER_MAGIC,
        statfs::UDF_SUPER_MAGIC,
    ];
    NAMED.contains(&kind) || UNNAMED.contains(&kind)
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Whether this process may read the file or folder at `path`, as the user it acts as.
///
/// # Errors
/// EACCES when it may not; what else access(2) says.
pub fn ensure_readable(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::eaccess(path, nix::unistd::AccessFlags::R_OK)?)
}

/// Whether this process may search the folder at `path`: reach what is in it by name.
///
/// # Errors
/// EACCES when it may not; what else access(2) says.
pub fn ensure_searchable(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::eaccess(path, nix::unistd::AccessFlags::X_OK)?)
}

/// Whether an error of opening a path only says that there is no such film: a link (ELOOP) and a way out of the root
/// (EXDEV) are none, a device without a driver (ENXIO, ENODEV) is none (openat2(2)).
pub fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOENT
                | libc::ENOTDIR
                | libc::ELOOP
                | libc::EXDEV
                | libc::ENAMETOOLONG
                | libc::ENXIO
                | libc::ENODEV
                | libc::EISDIR
        )
    )
}

/// Whether an error says that this process or the system has no descriptors or memory left for now.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// What a look at the page cache said about a window of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// The bytes asked about are in memory: sending them waits for nobody.
    Hot,
    /// They are not, or nobody can tell: the disk may be needed.
    Cold,
}

/// Bytes of a page of this machine: 4 KiB as a rule, 16 KiB on some ARM kernels.
fn page_bytes() -> u64 {
    static PAGE_BYTES: OnceLock<u64> = OnceLock::new();
    *PAGE_BYTES.get_or_init(|| {
        let found = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        found.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0).unwrap_or(4096)
    })
}

/// The same number on every architecture, as all calls since Linux 5.1.
const SYS_CACHESTAT: libc::c_long = 451;

/// struct cachestat_range of linux/mman.h.
#[repr(C)]
struct CachestatRange {
    offset: u64,
    length: u64,
}

/// struct cachestat of linux/mman.h: counts of pages.
#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    /// Dirty, in writeback, evicted, recently evicted: of no interest here.
    _others: [u64; 4],
}

/// An open regular file, with the size and time it had when it was opened.
#[derive(Debug)]
pub struct MediaFile {
    descriptors: ManuallyDrop<Descriptors>,
    size: u64,
    modified_ns: i128,
    identity: Identity,
    number: u64,
    /// Who closes it, if it is distant.
    closer: Option<Arc<Closer>>,
}

/// How many were admitted: the number of the next.
static ADMITTED: AtomicU64 = AtomicU64::new(0);

/// Which file it is, and when anything about it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(status: &FileStat) -> Identity {
        Identity {
            device: status.st_dev,
            inode: status.st_ino,
            size: status.st_size,
            modified: (status.st_mtime, status.st_mtime_nsec),
            changed: (status.st_ctime, status.st_ctime_nsec),
        }
    }
}

#[derive(Debug)]
struct Descriptors {
    hot: OwnedFd,
    cold: OnceLock<OwnedFd>,
}

impl MediaFile {
    /// Admits an open descriptor if it is a regular file; `None` for a FIFO, a device, a socket or a directory.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn admit(descriptor: OwnedFd) -> io::Result<Option<MediaFile>> {
        let status = nix::sys::stat::fstat(&descriptor)?;
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Ok(None);
        }
        // Advice only: without it a marker crossed by sendfile would submit read-ahead from the shard.
        let _ = nix::fcntl::posix_fadvise(&descriptor, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
        Ok(Some(MediaFile {
            descriptors: ManuallyDrop::new(Descriptors { hot: descriptor, cold: OnceLock::new() }),
            size: u64::try_from(status.st_size).unwrap_or(0),
            modified_ns: i128::from(status.st_mtime) * 1_000_000_000 + i128::from(status.st_mtime_nsec),
            identity: Identity::of(&status),
            number: ADMITTED.fetch_add(1, Ordering::Relaxed),
            closer: None,
        }))
    }

    /// The same for a file of a distant file system: all that asks for it is done now, and closing it will be done by
    /// the thread of its root. Not for a shard.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn admit_distant(descriptor: OwnedFd, root: &Root) -> io::Result<Option<MediaFile>> {
        let mut admitted = MediaFile::admit(descriptor)?;
        if let Some(file) = &mut admitted {
            file.closer = Some(Arc::clone(root.closer()));
            file.cold();
        }
        Ok(admitted)
    }

    /// The same for one that another process has opened and left us: what is known of it without asking anybody, because
    /// whoever answers for it may be gone by now. `root` is where it was found, if that is there.
    ///
    /// # Errors
    /// What statx(2) says.
    pub fn left(descriptor: OwnedFd, is_distant: bool, root: Option<&Root>) -> io::Result<Option<MediaFile>> {
        let known = descriptor::known(&descriptor)?;
        if known.mode != SFlag::S_IFREG {
            return Ok(None);
        }
        let cold = OnceLock::new();
        if is_distant {
            // To open it once more would ask. Sent from the one that is open it is not read ahead; that is all.
            let _ = descriptor.try_clone().map(|twin| cold.set(twin));
        }
        let FileId { device, inode } = known.id;
        let (modified, changed) = (known.modified, known.changed);
        let size = i64::try_from(known.size).unwrap_or(i64::MAX);
        Ok(Some(MediaFile {
            descriptors: ManuallyDrop::new(Descriptors { hot: descriptor, cold }),
            size: known.size,
            modified_ns: i128::from(modified.0) * 1_000_000_000 + i128::from(modified.1),
            identity: Identity { device, inode, size, modified, changed },
            number: ADMITTED.fetch_add(1, Ordering::Relaxed),
            closer: is_distant.then(|| root.map_or_else(Arc::default, |root| Arc::clone(root.closer()))),
        }))
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        FileId { device: self.identity.device, inode: self.identity.inode }
    }

    /// Whether asking anything about it may wait for another machine.
    pub fn is_distant(&self) -> bool {
        self.closer.is_some()
    }

    /// A number that no other open file of this process has, or had.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Size in bytes when the file was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Time of the last modification when the file was opened, in nanoseconds since 1970.
    pub fn modified_ns(&self) -> i128 {
        self.modified_ns
    }

    /// The description to send from when the bytes are hot.
    pub fn hot(&self) -> BorrowedFd<'_> {
        self.descriptors.hot.as_fd()
    }

    /// The description to fill pipes from, which reads ahead. Opened at the first call, from the very same inode.
    pub fn cold(&self) -> BorrowedFd<'_> {
        if let Some(cold) = self.descriptors.cold.get() {
            return cold.as_fd();
        }
        // Through proc(5) we reach the inode that is open, whatever its path names by now. Without /proc the hot
        // description serves: slower, for want of read-ahead, and just as right.
        let link = format!("/proc/self/fd/{}", self.descriptors.hot.as_raw_fd());
        match nix::fcntl::open(link.as_str(), MEDIA_FLAGS, Mode::empty()) {
            Ok(cold) => self.descriptors.cold.get_or_init(|| cold).as_fd(),
            Err(_) => self.hot(),
        }
    }

    /// Whether the `length` bytes at `offset`, at most one window, can be sent without waiting for a disk.
    ///
    /// Two questions, because neither call answers both. Single bytes are asked for by `preadv2(RWF_NOWAIT)`, which
    /// does not count pages that are still being read; `cachestat(2)` counts the pages of the whole window, so that one
    /// page evicted from its middle is not overlooked (it stopped a shard for as long as the disk took). `cachestat` is
    /// new (Linux 6.5) and, since 6.14, only for files that we own or may write; without it more single bytes are asked
    /// for, evenly spread, and a hole between two of them may cost the shard one read of a page.
    ///
    /// A file system that cannot answer (EOPNOTSUPP) makes every window cold, and so does an end of file where bytes
    /// were promised.
    pub fn residency(&self, offset: u64, length: u64) -> Residency {
        let Some(last) = offset.checked_add(length.saturating_sub(1)) else { return Residency::Cold };
        let is_hot = self.has_cached(last)
            && (length <= limits::SINGLE_PROBE_BYTES_MAX || self.has_cached(offset))
            && self.is_without_hole(offset, last);
        if is_hot { Residency::Hot } else { Residency::Cold }
    }

    /// Whether all pages between the two bytes are in the page cache. The last one is known to be.
    fn is_without_hole(&self, offset: u64, last: u64) -> bool {
        let pages = last / page_bytes() - offset / page_bytes() + 1;
        if pages == 1 {
            return true;
        }
        match self.cached_pages(offset, last) {
            Some(cached) => cached >= pages,
            None => {
                let stride = ((last - offset) / limits::SPREAD_PROBES).max(page_bytes());
                let mut places = std::iter::successors(Some(offset), |at| at.checked_add(stride));
                places.by_ref().take_while(|at| *at < last).all(|at| self.has_cached(at))
            }
        }
    }

    /// How many of the pages from the one of `offset` to the one of `last` are in the page cache; `None` where
    /// cachestat(2) does not say.
    fn cached_pages(&self, offset: u64, last: u64) -> Option<u64> {
        /// Set once the kernel has said that it has no such call.
        static IS_MISSING: AtomicBool = AtomicBool::new(false);
        if IS_MISSING.load(Ordering::Relaxed) {
            return None;
        }
        let range = CachestatRange { offset, length: last - offset + 1 };
        let mut counts = Cachestat::default();
        // SAFETY: cachestat(2) reads `range` and writes `counts`, which have the layout of struct cachestat_range and
        // struct cachestat (linux/mman.h) and outlive the call; the descriptor is open for as long as `self` lives.
        let answer = unsafe {
            libc::syscall(SYS_CACHESTAT, self.descriptors.hot.as_raw_fd(), &raw const range, &raw mut counts, 0_u32)
        };
        if answer != 0 {
            let is_missing = io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS);
            IS_MISSING.fetch_or(is_missing, Ordering::Relaxed);
            return None;
        }
        Some(counts.cached)
    }

    /// Evicts it from the page cache, for tests.
    #[cfg(test)]
    pub fn evict(&self) {
        nix::fcntl::posix_fadvise(self.hot(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    }

    /// Reads so many bytes, and nothing ahead of them, into the page cache, for tests.
    #[cfg(test)]
    pub fn fetch(&self, offset: i64, length: usize) {
        assert_eq!(nix::sys::uio::pread(self.hot(), &mut vec![0; length], offset).unwrap(), length);
    }

    fn has_cached(&self, offset: u64) -> bool {
        let Ok(offset) = libc::off_t::try_from(offset) else { return false };
        let mut byte = 0_u8;
        let vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: preadv2(2) writes at most one byte into `byte`, which outlives the call; `vector` is one valid
        // iovec, as the count says; the descriptor is open for as long as `self` lives.
        let got =
            unsafe { libc::preadv2(self.descriptors.hot.as_raw_fd(), &raw const vector, 1, offset, libc::RWF_NOWAIT) };
        got == 1
    }
}

impl Drop for MediaFile {
    fn drop(&mut self) {
        // SAFETY: taken here only, and a value is dropped once; nothing reads the field afterwards.
        let Descriptors { hot, cold } = unsafe { ManuallyDrop::take(&mut self.descriptors) };
        if let Some(closer) = &self.closer {
            closer.close(std::iter::once(hot).chain(cold.into_inner()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn open(root: &Root, path: &CStr) -> io::Result<Option<MediaFile>> {
        MediaFile::admit(root.open_waiting(path)?)
    }

    #[test]
    fn only_regular_files_below_the_root_are_admitted() {
        let folder = tempfile::tempdir().unwrap();
        let root_path = folder.path().join("root");
        std::fs::create_dir_all(root_path.join("inside")).unwrap();
        std::fs::write(folder.path().join("canary.mp4"), "outside").unwrap();
        std::fs::write(root_path.join("inside/film.mp4"), "film").unwrap();
        symlink("../canary.mp4", root_path.join("link.mp4")).unwrap();
        symlink("inside", root_path.join("folder")).unwrap();
        nix::unistd::mkfifo(&root_path.join("fifo.mp4"), Mode::S_IRWXU).unwrap();
        let root = Root::open(&root_path).unwrap();

        assert_eq!(open(&root, c"inside/film.mp4").unwrap().unwrap().size(), 4);
        assert!(open(&root, c"fifo.mp4").unwrap().is_none(), "a FIFO is no film");
        assert!(open(&root, c"inside").unwrap().is_none(), "a folder is no film");
        for outside in [c"link.mp4", c"folder/film.mp4", c"../canary.mp4", c"/etc/hostname", c"missing.mp4"] {
            assert!(open(&root, outside).is_err(), "{outside:?} must not open");
        }
    }

    #[test]
    fn a_file_just_written_is_hot_and_past_its_end_is_cold() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("film.mp4"), vec![1_u8; 300_000]).unwrap();
        let file = open(&Root::open(folder.path()).unwrap(), c"film.mp4").unwrap().unwrap();
        assert_eq!(file.residency(0, 300_000), Residency::Hot);
        assert_eq!(file.residency(0, 300_001), Residency::Cold);
        assert_eq!(file.residency(u64::MAX - 1, 1), Residency::Cold);
    }

    #[test]
    fn one_page_missing_in_the_middle_makes_a_window_cold() {
        // On a disk: the temporary folder may be in memory, where nothing is ever evicted.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = folder.path().join("film.mp4");
        std::fs::write(&path, vec![1_u8; 1 << 20]).unwrap();
        let file = open(&Root::open(folder.path()).unwrap(), c"film.mp4").unwrap().unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        assert_eq!(file.residency(0, 1 << 20), Residency::Hot);
        // All is evicted, and all but 64 KiB read again: the spread of 16 probes comes by that hole, and cachestat
        // counts its pages. The hot description reads nothing ahead.
        file.evict();
        for (from, to) in [(0, 512 << 10), (576 << 10, 1 << 20)] {
            file.fetch(from as i64, to - from);
        }
        assert_eq!(file.residency(0, 1 << 20), Residency::Cold);
        assert_eq!(file.residency(0, 256 << 10), Residency::Hot);
    }

    #[test]
    fn the_cold_description_is_the_same_file_even_when_its_name_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        std::fs::write(&path, "film").unwrap();
        let file = open(&Root::open(folder.path()).unwrap(), c"film.mp4").unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut bytes = [0_u8; 4];
        let cold = file.cold();
        assert_ne!(cold.as_raw_fd(), file.hot().as_raw_fd());
        assert_eq!(nix::sys::uio::pread(cold, &mut bytes, 0).unwrap(), 4);
        assert_eq!(&bytes, b"film");
    }
}
