//! Unix sockets: a listener for the machine itself, and who is at the other end (unix(7)).
//!
//! A path may be longer than the 108 bytes of an address: it is reached through the folder's descriptor then, and
//! `/proc/self/fd`.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::connect as socket_connect;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, socket, sockopt};

/// Bytes of a path in an address, less the zero at its end.
const PATH_BYTES_MAX: usize = 107;

/// A listener with its place in the file system, which goes with it.
#[derive(Debug)]
pub struct Listening {
    /// The listener.
    pub listener: UnixListener,
    path: PathBuf,
    /// Which file was made: another may stand there by the time this one goes.
    file: (u64, u64),
}

impl Drop for Listening {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Somebody may have removed it between the look and now.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, for its owner only. A socket that was left there is replaced.
///
/// # Errors
/// EADDRINUSE when somebody listens there, EEXIST when something else than a socket is there; when the folder is missing or
/// not ours.
pub fn listen(path: &Path) -> io::Result<Listening> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ErrorKind::AlreadyExists.into()),
        Ok(_) if connect(path).is_ok() => return Err(ErrorKind::AddrInUse.into()),
        Ok(_) | Err(_) => {}
    }
    // Made under another name, so that the one who knocks never finds a socket with a mode too wide, or nobody behind it.
    let draft = path.with_extension(format!("sock.{}", std::process::id()));
    remove_stale(&draft)?;
    let listener = at(&draft, |address| UnixListener::bind(address))?;
    let prepared = fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))
        .and_then(|()| listener.set_nonblocking(true))
        .and_then(|()| fs::rename(&draft, path));
    prepared.inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })?;
    let file = identity(path)?;
    Ok(Listening { listener, path: path.to_owned(), file })
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Connects to whoever listens at `path`.
///
/// # Errors
/// ENOENT and ECONNREFUSED when nobody does, EACCES when it is not for us.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    at(path, |address| UnixStream::connect(address))
}

/// The same, without waiting for the listener when its queue is full. The stream does not block either.
///
/// # Errors
/// As [`connect`]; EAGAIN when the queue is full.
pub fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    at(path, |address| Ok(socket_connect(stream.as_raw_fd(), &UnixAddr::new(address)?)?))?;
    Ok(UnixStream::from(stream))
}

/// Where a listener is, for a person: its path, or `@` and its name.
pub fn shown(listener: &UnixListener) -> String {
    let Ok(address) = listener.local_addr() else { return String::new() };
    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
        (None, None) => "a socket without a name".to_owned(),
    }
}

/// The user at the other end, as it was when it connected.
///
/// # Errors
/// What getsockopt(2) says.
pub fn peer_user(stream: &impl AsFd) -> io::Result<u32> {
    Ok(getsockopt(stream, sockopt::PeerCredentials)?.uid())
}

/// The user that this process acts as.
pub fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The same descriptor as what the shards serve. Nothing that is done with it asks what it is.
pub fn as_stream(stream: UnixStream) -> TcpStream {
    TcpStream::from(OwnedFd::from(stream))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Does something with an address for `path` that is short enough.
fn at<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return act(path);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidFilename.into());
    };
    let folder = File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    act(&short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_for_its_owner_and_replaces_one_that_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        assert_eq!(connect(&path).unwrap_err().kind(), ErrorKind::NotFound);
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let listening = listen(&path).unwrap();
        let listener = &listening.listener;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let client = connect(&path).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (served, _) = listener.accept().unwrap();
        assert_eq!([peer_user(&client).unwrap(), peer_user(&served).unwrap()], [own_user(); 2]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left behind");
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(listening);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it goes with its listener");
    }

    #[test]
    fn what_is_no_socket_or_another_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "somebody's").unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::remove_file(&path).unwrap();
        let first = listen(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = listen(&path).unwrap();
        drop(first);
        assert!(connect(&path).is_ok(), "the other one's is left alone");
        drop(second);
    }

    #[test]
    fn who_may_not_wait_connects_at_once_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("awake.sock");
        assert_eq!(connect_at_once(&path).unwrap_err().kind(), ErrorKind::NotFound);
        let listening = listen(&path).unwrap();
        nix::sys::socket::listen(&listening.listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        let mut connected = Vec::new();
        // Nobody accepts: the short queue of the listener is full in the end.
        let refusal = loop {
            match connect_at_once(&path) {
                Ok(stream) => connected.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(refusal.kind(), ErrorKind::WouldBlock);
        assert!(!connected.is_empty());
        drop(listening);
    }

    #[test]
    fn a_path_longer_than_an_address_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(150));
        fs::create_dir(&long).unwrap();
        let path = long.join("admin.sock");
        let _listener = listen(&path).unwrap();
        connect(&path).unwrap();
    }
}
