//! What belongs to the process as a whole: its descriptors, its heap, its lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use nix::unistd::{Gid, Uid};

use crate::sys::Fault;
use crate::sys::account::Account;

/// Raises the soft limit of open descriptors to the hard one, and returns it. A connection with a film takes three.
///
/// # Errors
/// What setrlimit(2) says; the daemon then goes on with what it has.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Takes so many more descriptors and gives them back: proof that they could be had.
///
/// # Errors
/// What fcntl(2) says when there are fewer: EMFILE.
pub fn try_descriptors(count: usize) -> io::Result<()> {
    let stderr = io::stderr();
    (0..count).map(|_| stderr.as_fd().try_clone_to_owned()).collect::<io::Result<Vec<_>>>().map(drop)
}

/// Keeps big blocks, such as the 19 MiB of a password hash, out of the heap, so that they go back to the system when
/// they are freed. Left alone, glibc raises its threshold after the first such block and never lets go (mallopt(3)).
pub fn give_big_blocks_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt(3) takes two integers and is called before any other thread exists.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 256 * 1024) };
    }
}

/// Gives memory that was freed back to the system, as after a scan of a big library (malloc_trim(3)).
pub fn give_freed_memory_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim(3) takes an integer, is thread-safe, and touches only memory that nobody holds.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Run by root, becomes the user and group that own `folder`, with the other groups of that user: films may be for one of
/// these. Run by anybody else, does nothing.
///
/// # Errors
/// What setgid(2) or setuid(2) say.
pub fn become_owner_of(folder: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(folder)?;
    if nix::unistd::geteuid().is_root() && owner.uid() != 0 {
        let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
        let groups = Account::numbered(owner.uid(), owner.gid()).groups.into_iter().chain([owner.gid()]);
        nix::unistd::setgroups(&groups.map(Gid::from_raw).collect::<Vec<_>>())?;
        nix::unistd::setgid(group)?;
        nix::unistd::setuid(user)?;
    }
    Ok(())
}

/// Does `act` as the user and group that own `folder`, and is root again afterwards; run by anybody else, just does it.
///
/// All threads act as that user meanwhile. What it makes is the user's; what is open stays open.
///
/// # Errors
/// What stat(2), setegid(2) or seteuid(2) say; then nothing was done, or it was and root cannot be had back.
pub fn as_owner_of<T>(folder: &Path, act: impl FnOnce() -> T) -> io::Result<T> {
    let owner = std::fs::metadata(folder)?;
    let user = owner.uid();
    if !is_root() || user == 0 {
        return Ok(act());
    }
    let own_groups = nix::unistd::getgroups()?;
    let groups: Vec<_> = Account::numbered(user, owner.gid()).groups.into_iter().map(Gid::from_raw).collect();
    nix::unistd::setgroups(&groups)?;
    nix::unistd::setegid(Gid::from_raw(owner.gid()))?;
    nix::unistd::seteuid(Uid::from_raw(user))?;
    let done = act();
    nix::unistd::seteuid(Uid::from_raw(0))?;
    nix::unistd::setegid(Gid::from_raw(0))?;
    nix::unistd::setgroups(&own_groups)?;
    Ok(done)
}

/// Opens a regular file to be read. A FIFO put in its place holds nobody (open(2), O_NONBLOCK), and is refused.
///
/// # Errors
/// What open(2) says; EINVAL in words when it is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Run by root, gives `path` to the user and group that own `folder`; run by anybody else, does nothing.
///
/// # Errors
/// What chown(2) says.
pub fn give_to_owner_of(folder: &Path, path: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(folder)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// While it lives, a terminal does not show what is typed.
#[derive(Debug)]
pub struct Silence {
    terminal: OwnedFd,
    before: Termios,
}

impl Silence {
    /// Silences the terminal behind `input`.
    ///
    /// # Errors
    /// ENOTTY when it is none.
    pub fn begin(input: &impl AsFd) -> io::Result<Silence> {
        let terminal = input.as_fd().try_clone_to_owned()?;
        let before = termios::tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing to be done about a terminal that has gone.
        let _ = termios::tcsetattr(&self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// A file or folder that this process has locked against others like it, until dropped (flock(2)).
#[derive(Debug)]
pub struct FileLock(#[allow(dead_code, reason = "held, never read: dropping it frees the lock")] Flock<File>);

impl FileLock {
    /// Takes the lock file at `path`, which is made if it is missing, or `None` when another process holds it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn take(path: &Path) -> Result<Option<FileLock>, Fault> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        match file.and_then(|file| lock(file, FlockArg::LockExclusiveNonblock)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            locked => locked.map(Some).map_err(|error| Fault::new(format!("take the lock {}", path.display()), error)),
        }
    }

    /// Locks the folder at `path` itself, waiting for whoever holds it. Leaves no file behind.
    ///
    /// # Errors
    /// When there is no such folder, or it may not be read.
    pub fn of_folder(path: &Path) -> Result<FileLock, Fault> {
        File::open(path)
            .and_then(|folder| lock(folder, FlockArg::LockExclusive))
            .map_err(|error| Fault::new(format!("lock the folder {}", path.display()), error))
    }
}

fn lock(file: File, how: FlockArg) -> io::Result<FileLock> {
    Flock::lock(file, how).map(FileLock).map_err(|(_, errno)| errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_freed_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = FileLock::take(&path).unwrap();
        assert!(first.is_some());
        assert!(FileLock::take(&path).unwrap().is_none());
        drop(first);
        assert!(FileLock::take(&path).unwrap().is_some());
    }
}
