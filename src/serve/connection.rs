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
use crate::serve::inbox::Inbox;
use crate::serve::shard::Shard;
use crate::serve::transfer::{self, Turn};
use crate::sys::socket;

/// Why no further request comes.
enum Silence {
    /// The client has closed its side, or the connection broke.
    Closed,
    /// Nothing came for as long as a connection is kept, or the daemon is draining.
    Idle,
    /// A head was begun and not ended in time.
    Late,
    /// A head was begun, and the daemon is draining.
    Draining,
}

/// Serves a connection to its end.
pub(super) async fn run(shard: &Shard, socket: &TcpStream, peer: SocketAddr) {
    let mut inbox = Inbox::new(&shard.buffers);
    let mut turn = Turn::new();
    loop {
        let next = match head(shard, socket, &mut inbox).await {
            Ok(()) => exchange::run(shard, socket, peer.ip(), inbox.pending(), &mut turn).await,
            Err(Silence::Late) => exchange::refuse(shard, socket, peer.ip(), &Reject::HeadTimeout).await,
            Err(Silence::Draining) => exchange::refuse(shard, socket, peer.ip(), &Reject::Draining).await,
            // A client may end its side and still be reading what it asked for.
            Err(Silence::Closed | Silence::Idle) => Next::Close,
        };
        match next {
            Next::KeepAlive { consumed } => inbox.consume(consumed),
            Next::Close => {
                drop(inbox);
                return linger(shard, socket).await;
            }
            Next::Reset => return socket::reset_on_close(socket),
        }
        turn.spend(limits::REQUEST_TURN_BYTES, shard.pump.engine).await;
    }
}

/// Reads until a whole head, or one that is certain to be refused, stands in the inbox.
async fn head(shard: &Shard, socket: &TcpStream, inbox: &mut Inbox<'_>) -> Result<(), Silence> {
    if inbox.pending().is_empty() {
        first_bytes(shard, socket, inbox).await?;
    }
    if inbox.has_head() {
        return Ok(());
    }
    let rest = async {
        while !inbox.has_head() {
            read(socket, inbox).await?;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        read = timeout(shard.head_timeout, rest) => read.unwrap_or(Err(Silence::Late)),
        () = drained_patience(shard) => Err(Silence::Draining),
    }
}

/// Waits until the daemon drains, and then a moment longer: what has begun to arrive may be on its way.
async fn drained_patience(shard: &Shard) {
    let _ = shard.phase.clone().wait_for(|phase| *phase >= Phase::Draining).await;
    tokio::time::sleep(limits::DRAIN_HEAD_PATIENCE).await;
}

/// Waits for the first byte of a request. What we sent last may still be on its way to a paused player: its time does
/// not run before that has been acknowledged.
async fn first_bytes(shard: &Shard, socket: &TcpStream, inbox: &mut Inbox<'_>) -> Result<(), Silence> {
    let mut phase = shard.phase.clone();
    let mut progress = Progress::new(Instant::now());
    while inbox.pending().is_empty() {
        tokio::select! {
            biased;
            read = timeout(shard.keep_alive_timeout, read(socket, inbox)) => match read {
                Ok(read) => read?,
                Err(_) if unacknowledged(socket) == 0 => return Err(Silence::Idle),
                Err(_) => {
                    let judged = transfer::judge(socket, &mut progress, &shard.pump.patience);
                    judged.map_err(|_| Silence::Closed)?;
                }
            },
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return Err(Silence::Idle),
        }
    }
    Ok(())
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
///
/// While bytes of ours are on their way the client has the time that a film has. After that it has
/// [`limits::LINGER_TIMEOUT`] to close its side, whatever it still says.
pub(super) async fn linger(shard: &Shard, socket: &TcpStream) {
    // Our end counts as unacknowledged until the client has it; of a client that has everything and is gone, nobody waits
    // for that.
    let is_all_read = unacknowledged(socket) == 0;
    if socket::end_sending(socket).is_err() {
        return;
    }
    let mut progress = Progress::new(Instant::now());
    let mut deadline = None;
    let mut pause = Duration::from_millis(5);
    let mut is_ended = false;
    let mut discarded = 0;
    loop {
        if !is_all_read && unacknowledged(socket) > 0 {
            if transfer::judge(socket, &mut progress, &shard.pump.patience).is_err() {
                return socket::reset_on_close(socket);
            }
        } else if is_ended || Instant::now() >= *deadline.get_or_insert(Instant::now() + limits::LINGER_TIMEOUT) {
            return;
        }
        // After its end a socket is readable for ever, so then only time passes.
        pause = (pause * 2).min(limits::LINGER_TIMEOUT / 4);
        if is_ended {
            tokio::time::sleep(pause).await;
        } else if let Ok(ready) = timeout(pause, socket.readable()).await {
            match ready.and_then(|()| discard(socket)) {
                Ok(0) => is_ended = true,
                Ok(count) => discarded += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if discarded > limits::LINGER_BYTES_MAX {
                return;
            }
        }
    }
}

/// Reads and forgets. 0 at the end.
fn discard(socket: &TcpStream) -> io::Result<usize> {
    socket.try_read(&mut [0_u8; 1024])
}

/// Bytes of ours that the client has not acknowledged; none when the connection is over.
fn unacknowledged(socket: &TcpStream) -> u64 {
    socket::acknowledged(socket).map_or(0, |seen| seen.outstanding)
}
