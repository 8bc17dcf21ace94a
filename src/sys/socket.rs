//! Listeners, and what TCP knows about a peer.
//!
//! Options are set once on the listener and inherited by every connection (measured, DATAPATH.md §5), so accepting
//! costs no further call. There is no TCP_USER_TIMEOUT: it would end players that are merely paused.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::socket::MsgFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::limits;
use crate::sys::Fault;

/// The state of a connection that was reset, or closed by both sides (linux/tcp_states.h).
const TCP_CLOSE: u8 = 7;
/// The state of a connection whose peer has ended its side.
const TCP_CLOSE_WAIT: u8 = 8;

/// Opens a listener on `address`. Several may share one address, each served by its own shard (SO_REUSEPORT).
///
/// `congestion_control` is a name of tcp(7), or `system` for what the system chose; one that is not allowed to us is
/// left alone, and [`congestion_control`] tells which one is in force. A connection queues `not_sent_bytes` that are not sent
/// yet, and no more.
///
/// # Errors
/// EADDRINUSE, EACCES for a low port, EADDRNOTAVAIL for an address this machine does not have.
pub fn listen(
    address: SocketAddr,
    wanted_congestion_control: &str,
    not_sent_bytes: u32,
) -> Result<std::net::TcpListener, Fault> {
    open_listener(address, wanted_congestion_control, not_sent_bytes)
        .map_err(|error| Fault::new(format!("listen on {address}"), error))
}

/// Whether nobody listens on `address`. Port 0 is always free.
///
/// # Errors
/// EADDRINUSE when somebody does, even a process of the same user that would share the port with us.
pub fn ensure_free(address: SocketAddr) -> Result<(), Fault> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())
    };
    bind().map_err(|error| Fault::new(format!("listen on {address}"), error))
}

fn open_listener(
    address: SocketAddr,
    wanted_congestion_control: &str,
    not_sent_bytes: u32,
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // IPv4 has listeners of its own; without this `::` would take their port as well (ipv6(7)).
        socket.set_only_v6(true)?;
    }
    tune(&socket, wanted_congestion_control, not_sent_bytes)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// Gives a listener, for the connections that come from now on, or a connection, what [`listen`] gives a listener.
///
/// # Errors
/// What setsockopt(2) says; that a congestion control is not to be had is none.
pub fn tune(socket: &impl AsFd, wanted_congestion_control: &str, not_sent_bytes: u32) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(not_sent_bytes)?;
    if wanted_congestion_control != "system" {
        // EPERM when tcp_allowed_congestion_control does not list it, ENOENT when the kernel has no such module.
        let _ = socket.set_tcp_congestion(wanted_congestion_control.as_bytes());
    }
    // A paused player's machine may vanish without a word: keep-alive probes find out (tcp(7)).
    socket.set_keepalive(true)
}

/// A listener that somebody else has opened.
#[derive(Debug)]
pub enum Opened {
    /// For clients of the network.
    Tcp(std::net::TcpListener),
    /// For clients of this machine.
    Unix(UnixListener),
}

/// Takes a descriptor for the listener that it is, and makes accepting from it wait for nothing.
///
/// # Errors
/// ENOTSOCK when it is no socket, EINVAL when it is none that accepts streams.
pub fn adopt(descriptor: OwnedFd) -> io::Result<Opened> {
    let socket = Socket::from(descriptor);
    if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    socket.set_nonblocking(true)?;
    match socket.domain()? {
        Domain::IPV4 | Domain::IPV6 => Ok(Opened::Tcp(socket.into())),
        Domain::UNIX => Ok(Opened::Unix(OwnedFd::from(socket).into())),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

/// The name of the congestion control that connections of this listener will use.
pub fn congestion_control(listener: &impl AsFd) -> String {
    let name = SockRef::from(listener).tcp_congestion().unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

/// The bytes that connections of this listener will queue unsent (tcp(7), `TCP_NOTSENT_LOWAT`).
pub fn not_sent_bytes(listener: &impl AsFd) -> u32 {
    SockRef::from(listener).tcp_notsent_lowat().unwrap_or_default()
}

/// From now on the connection queues so many bytes unsent.
pub fn set_not_sent_bytes(socket: &impl AsFd, bytes: u32) {
    // Fails on a Unix socket, which has no such queue, and on one that is gone already.
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(bytes);
}

/// From now on the kernel spreads what the connection sends over the time it takes at so many bytes a second; without a
/// number it sends as fast as its congestion control lets it, which goes on pacing by what that finds (socket(7),
/// `SO_MAX_PACING_RATE`; net/core/sock.c).
pub fn set_pace(socket: &impl AsFd, bytes_per_second: Option<u64>) {
    let rate = bytes_per_second
        .map_or(libc::c_ulong::MAX, |bytes| libc::c_ulong::try_from(bytes).unwrap_or(libc::c_ulong::MAX));
    // SAFETY: setsockopt(2) reads `size_of_val(&rate)` bytes of `rate`, which outlives the call. The kernel takes an
    // unsigned long, and all ones for no limit (Linux 4.20).
    let _ = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const rate).cast(),
            size_of_val(&rate) as libc::socklen_t,
        )
    };
}

/// Makes the coming `close` throw away what is queued and reset the connection: the client must not take a truncated
/// film for a whole one.
pub fn reset_on_close(socket: &impl AsFd) {
    // Fails only on a socket that is gone already.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Whether an error says that this machine does not have the address, or its family: IPv6 may be off.
pub fn is_without_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// A socket that fills its segments before it sends them, until dropped (tcp(7), `TCP_CORK`): sixteen small parts then cost
/// one segment and not sixteen. What lies there for 200 ms is sent all the same.
#[derive(Debug)]
pub struct Corked<'a, Socket: AsFd>(&'a Socket);

impl<'a, Socket: AsFd> Corked<'a, Socket> {
    /// Corks `socket`.
    pub fn new(socket: &'a Socket) -> Corked<'a, Socket> {
        // Fails only on a socket that is gone already.
        let _ = SockRef::from(socket).set_tcp_cork(true);
        Corked(socket)
    }
}

impl<Socket: AsFd> Drop for Corked<'_, Socket> {
    fn drop(&mut self) {
        let _ = SockRef::from(self.0).set_tcp_cork(false);
    }
}

/// Ends our side of the connection: the peer reads what is queued, and then the end (shutdown(2)).
///
/// # Errors
/// ENOTCONN when the peer is gone.
pub fn end_sending(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).shutdown(std::net::Shutdown::Write)
}

/// Takes bytes that have arrived. 0 at the end of the stream.
///
/// # Errors
/// `WouldBlock` when nothing has arrived; what recv(2) says otherwise.
pub fn receive(socket: &impl AsFd, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(nix::sys::socket::recv(socket.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT)?)
}

/// Looks at bytes that have arrived, and leaves them there. 0 at the end of the stream.
///
/// # Errors
/// `WouldBlock` when nothing has arrived; what recv(2) says otherwise.
pub fn peek(socket: &impl AsFd, bytes: &mut [u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    Ok(nix::sys::socket::recv(socket.as_fd().as_raw_fd(), bytes, flags)?)
}

/// Takes up to `most` bytes that have arrived and forgets them; not one is copied. 0 at the end of the stream.
///
/// # Errors
/// `WouldBlock` when nothing has arrived; what recv(2) says otherwise.
pub fn discard(socket: &impl AsFd, most: usize) -> io::Result<usize> {
    // SAFETY: with MSG_TRUNC TCP drops the bytes instead of writing them (tcp(7)), so no buffer is needed.
    let count = unsafe {
        libc::recv(socket.as_fd().as_raw_fd(), std::ptr::null_mut(), most, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// What TCP knows about the peer's progress (tcp(7), `TCP_INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Bytes acknowledged since the connection began.
    pub bytes: u64,
    /// Time since the peer last acknowledged anything, be it only a probe of its closed window.
    pub last_heard: Duration,
    /// Probes and retransmissions since then. TCP asks a closed window at intervals that double up to 120 s, so a silence
    /// in which nobody asked says nothing about the peer.
    pub unanswered: u8,
    /// Bytes we sent, or queued, that it has not acknowledged yet.
    pub outstanding: u64,
    /// Whether it has ended its side: it may still read.
    pub has_ended: bool,
    /// Bytes a second that arrived, when that was measured last.
    pub delivery_rate: u64,
    /// Segments that were sent again since the connection began.
    pub retransmits: u32,
}

/// Asks TCP how far the peer has come.
///
/// # Errors
/// What getsockopt(2) says; `NotConnected` when the connection is over: what was queued then is nobody's any more.
pub fn acknowledged(socket: &impl AsFd) -> io::Result<Acknowledged> {
    match glance(socket) {
        Ok(seen) => Ok(Acknowledged { outstanding: unacknowledged(socket)?, ..seen }),
        // A Unix socket: its peer is this machine, so it is there for as long as it has not closed.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Ok(Acknowledged { outstanding: unacknowledged(socket)?, ..Acknowledged::default() })
        }
        Err(error) => Err(error),
    }
}

/// The same for one call less: without what is outstanding.
///
/// # Errors
/// As [`acknowledged`]; EOPNOTSUPP for a Unix socket.
pub fn glance(socket: &impl AsFd) -> io::Result<Acknowledged> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `length` bytes, the size of `info`, and both pointers outlive the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all fields are plain integers, zeroed before the call; an older kernel leaves the newer ones zero.
    let info = unsafe { info.assume_init() };
    if info.tcpi_state == TCP_CLOSE {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(Acknowledged {
        bytes: info.tcpi_bytes_acked,
        last_heard: Duration::from_millis(u64::from(info.tcpi_last_ack_recv)),
        unanswered: info.tcpi_probes.max(info.tcpi_retransmits),
        outstanding: 0,
        has_ended: info.tcpi_state == TCP_CLOSE_WAIT,
        delivery_rate: info.tcpi_delivery_rate,
        retransmits: info.tcpi_total_retrans,
    })
}

/// Bytes that we sent, or queued, and that the peer has not acknowledged, or read, yet.
///
/// # Errors
/// What ioctl(2) says.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<u64> {
    let mut outstanding: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int (tcp(7), unix(7)), and `outstanding` is one.
    if unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut outstanding) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(outstanding).unwrap_or(0))
}
