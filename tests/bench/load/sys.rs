//! The system calls, as functions that say what they do.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

fn checked(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// CPU seconds of a process: all its threads, those that have ended and the kernel's workers of its rings included.
pub fn cpu_seconds(process: i32) -> io::Result<f64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write what their pointers name, and these outlive them.
    unsafe {
        match libc::clock_getcpuclockid(process, &raw mut clock) {
            0 => checked(libc::clock_gettime(clock, &raw mut time))?,
            error => return Err(io::Error::from_raw_os_error(error)),
        };
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// A connection to this machine that never waits; it may still be on its way.
pub fn connect(port: u16) -> io::Result<OwnedFd> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: the descriptor is new and ours; the address is a whole sockaddr_in.
    unsafe {
        let fd = checked(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0))?;
        let fd = OwnedFd::from_raw_fd(fd);
        let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        match checked(libc::connect(fd.as_raw_fd(), (&raw const name).cast(), size)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(fd),
        }
    }
}

/// Sends what it takes; `None` when it takes nothing now.
pub fn send(fd: &impl AsRawFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    // SAFETY: the pointer and the length are those of a slice.
    let count = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    now_or_later(count)
}

/// Whether only whole segments are sent for now (tcp(7), TCP_CORK).
pub fn cork(fd: &impl AsRawFd, is_corked: bool) -> io::Result<()> {
    let value = libc::c_int::from(is_corked);
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value outlives the call.
    unsafe {
        checked(libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_CORK, (&raw const value).cast(), size))?
    };
    Ok(())
}

/// Takes what has come; `None` when nothing has.
pub fn receive(fd: &impl AsRawFd, bytes: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: the pointer and the length are those of a slice.
    let count = unsafe { libc::recv(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    now_or_later(count)
}

/// Throws away up to `most` bytes that have come; TCP drops them without a copy (tcp(7), MSG_TRUNC).
pub fn discard(fd: &OwnedFd, most: usize) -> io::Result<Option<usize>> {
    // SAFETY: with MSG_TRUNC TCP writes nothing, so there need be no buffer.
    let count = unsafe { libc::recv(fd.as_raw_fd(), std::ptr::null_mut(), most, libc::MSG_TRUNC) };
    now_or_later(count)
}

/// Where `wanted` begins in `bytes`.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // SAFETY: both pointers and lengths are those of slices.
    let place =
        unsafe { libc::memmem(bytes.as_ptr().cast(), bytes.len(), wanted.as_ptr().cast(), wanted.len()) }.cast::<u8>();
    (!place.is_null()).then(|| place.addr() - bytes.as_ptr().addr())
}

fn now_or_later(count: isize) -> io::Result<Option<usize>> {
    match usize::try_from(count) {
        Ok(count) => Ok(Some(count)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        },
    }
}

/// A set of descriptors that are watched.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: the descriptor is new and ours.
        unsafe { Ok(Epoll(OwnedFd::from_raw_fd(checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?))) }
    }

    /// Watches `fd`, edge-triggered, in both directions, under this number.
    pub fn watch(&self, fd: &impl AsRawFd, number: usize) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: number as u64 };
        // SAFETY: the event outlives the call.
        unsafe { checked(libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event))? };
        Ok(())
    }

    /// The numbers of those that are ready, after at most so many milliseconds.
    pub fn wait(&self, milliseconds: i32, ready: &mut Vec<usize>) -> io::Result<()> {
        const EVENTS: usize = 256;
        let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; EVENTS];
        // SAFETY: the kernel writes at most EVENTS whole events.
        let answer = unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr().cast(), EVENTS as libc::c_int, milliseconds)
        };
        ready.clear();
        match checked(answer) {
            Ok(count) => {
                // SAFETY: so many were written.
                ready.extend(
                    events.iter().take(count as usize).map(|event| unsafe { event.assume_init().u64 } as usize),
                );
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Sends up to `length` bytes of a file from `offset` on; `None` when the socket takes nothing now.
pub fn send_file(socket: &impl AsRawFd, file: &impl AsRawFd, offset: u64, length: u64) -> io::Result<Option<usize>> {
    let mut place = offset as libc::off_t;
    // SAFETY: the kernel moves `place` on, which outlives the call.
    let count = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut place, length as usize) };
    now_or_later(count)
}
