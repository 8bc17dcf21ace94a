//! One accepted socket: request after request, until one side has had enough.
//!
//! ```text
//!   idle ──bytes──► reading a head ──whole──► exchange ──keep-alive──► idle
//!    │ 75 s, or drain     │ 10 s: 408            │ close: linger until the client has read it all
//!    ▼                    ▼                      ▼ reset
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::reject::Reject;
use crate::limits;
use crate::serve::Phase;
use crate::serve::deadline::Progress;
use crate::serve::exchange::{self, Next};
use crate::serve::inbox::{Content, Inbox};
use crate::serve::shard::Shard;
use crate::serve::transfer;
use crate::sys::socket;

/// Why no further request comes.
enum Silence {
    /// The client closed, or the connection broke.
    Closed,
    /// Nothing came for as long as a connection is kept, or the daemon is draining.
    Idle,
    /// A head was begun and not ended in time.
    Late,
}

/// Serves a connection to its end.
pub(super) async fn run(shard: &Shard, socket: &TcpStream, peer: SocketAddr) {
    let mut inbox = Inbox::new(&shard.buffers);
    loop {
        let next = match head(shard, socket, &mut inbox).await {
            Ok(()) => exchange::run(shard, socket, peer.ip(), inbox.pending()).await,
            Err(Silence::Late) => exchange::refuse(shard, socket, &Reject::HeadTimeout).await,
            Err(Silence::Closed) => return,
            Err(Silence::Idle) => Next::Close,
        };
        match next {
            Next::KeepAlive { consumed } => inbox.consume(consumed),
            Next::Close => {
                drop(inbox);
                return linger(shard, socket).await;
            }
            Next::Reset => return socket::reset_on_close(socket),
        }
    }
}

/// Reads until a whole head, or one that is certain to be refused, stands in the inbox.
async fn head(shard: &Shard, socket: &TcpStream, inbox: &mut Inbox<'_>) -> Result<(), Silence> {
    if inbox.content() == Content::Empty {
        first_bytes(shard, socket, inbox).await?;
    }
    if inbox.content() == Content::Ready {
        return Ok(());
    }
    let rest = async {
        while inbox.content() != Content::Ready {
            read(socket, inbox).await?;
        }
        Ok(())
    };
    timeout(shard.head_timeout, rest).await.unwrap_or(Err(Silence::Late))
}

/// Waits for the first byte of a request. What we sent last may still be on its way to a paused player: its time does
/// not run before that has been acknowledged.
async fn first_bytes(shard: &Shard, socket: &TcpStream, inbox: &mut Inbox<'_>) -> Result<(), Silence> {
    let mut phase = shard.phase.clone();
    let mut progress = Progress::new(Instant::now());
    loop {
        tokio::select! {
            biased;
            read = timeout(shard.keep_alive_timeout, read(socket, inbox)) => match read {
                Ok(read) => return read,
                Err(_) if !has_unacknowledged(socket) => return Err(Silence::Idle),
                Err(_) => {
                    let judged = transfer::judge(socket, &mut progress, &shard.pump.patience);
                    judged.map_err(|_| Silence::Closed)?;
                }
            },
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return Err(Silence::Idle),
        }
    }
}

/// Waits for bytes and takes them.
async fn read(socket: &TcpStream, inbox: &mut Inbox<'_>) -> Result<(), Silence> {
    loop {
        socket.readable().await.map_err(|_| Silence::Closed)?;
        match inbox.read(socket) {
            Ok(0) => return Err(Silence::Closed),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Silence::Closed),
        }
    }
}

/// Ends our side and waits until the client has read everything: a close with bytes unread on our side would reset the
/// connection, and the kernel gives up a closed socket's paused reader after minutes (RFC 9112 §9.6).
async fn linger(shard: &Shard, socket: &TcpStream) {
    if socket::end_sending(socket).is_err() {
        return;
    }
    let mut progress = Progress::new(Instant::now());
    let mut quiet = Duration::ZERO;
    let mut discarded = 0;
    let mut scratch = [0_u8; 1024];
    while quiet < limits::LINGER_TIMEOUT && discarded < limits::LINGER_BYTES_MAX {
        let step = limits::LINGER_TIMEOUT / 4;
        match timeout(step, socket.readable()).await {
            Ok(Ok(())) => match socket.try_read(&mut scratch) {
                Ok(0) => return,
                Ok(count) => discarded += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            },
            Ok(Err(_)) => return,
            Err(_) if has_unacknowledged(socket) => {
                if transfer::judge(socket, &mut progress, &shard.pump.patience).is_err() {
                    return socket::reset_on_close(socket);
                }
            }
            Err(_) => quiet += step,
        }
    }
}

fn has_unacknowledged(socket: &TcpStream) -> bool {
    socket::acknowledged(socket).is_ok_and(|seen| seen.outstanding > 0)
}
