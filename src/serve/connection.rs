//! One accepted socket: request after request, until one side has had enough.
//!
//! ```text
//!   idle ──bytes──► reading a head ──whole──► exchange ──keep-alive──► idle
//!    │ 75 s, or drain     │ 10 s: 408            │ close: linger until the client has read it all
//!    ▼                    ▼                      ▼ reset
//! ```

use std::io;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::reject::Reject;
use crate::limits;
use crate::metrics;
use crate::serve::Phase;
use crate::serve::exchange::{self, Next};
use crate::serve::inbox::Inbox;
use crate::serve::peer::{Ended, Peer};
use crate::serve::shard::Shard;
use crate::serve::transfer::Turn;
use crate::sys::socket;

/// Why no further request comes.
enum Silence {
    /// The client has closed its side, or the connection broke.
    Closed,
    /// Nothing came for as long as a connection is kept, or the daemon is draining.
    Idle,
    /// The client has not taken what it asked for last, and is not waited for any more.
    GivenUp(Ended),
    /// A head was begun and not ended in time.
    Late,
    /// A head was begun, and the daemon is draining.
    Draining,
}

/// Serves a connection to its end.
pub(super) async fn run(shard: &Shard, peer: &Peer<'_>) {
    let mut inbox = Inbox::new(&shard.buffers);
    let mut turn = Turn::new();
    loop {
        let next = match head(shard, peer, &mut inbox).await {
            Ok(()) => exchange::run(shard, peer, &inbox, &mut turn).await,
            Err(Silence::Late) => exchange::refuse(shard, peer, inbox.pending(), &Reject::HeadTimeout).await,
            Err(Silence::Draining) => exchange::refuse(shard, peer, inbox.pending(), &Reject::Draining).await,
            Err(Silence::GivenUp(ended)) => return give_up(shard, peer, &ended),
            // A client may end its side and still be reading what it asked for.
            Err(Silence::Closed | Silence::Idle) => Next::Close,
        };
        match next {
            Next::KeepAlive { consumed } => inbox.consume(consumed),
            Next::Close => {
                drop(inbox);
                return linger(shard, peer).await;
            }
            Next::Reset => return socket::reset_on_close(peer.socket),
        }
        turn.spend(limits::REQUEST_TURN_BYTES, shard.pump.engine).await;
    }
}

/// Reads until a whole head, or one that is certain to be refused, stands in the inbox.
async fn head(shard: &Shard, peer: &Peer<'_>, inbox: &mut Inbox<'_>) -> Result<(), Silence> {
    if inbox.pending().is_empty() {
        first_bytes(shard, peer, inbox).await?;
    }
    if inbox.has_head() {
        return Ok(());
    }
    let rest = async {
        while !inbox.has_head() {
            read(peer.socket, inbox).await?;
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
async fn first_bytes(shard: &Shard, peer: &Peer<'_>, inbox: &mut Inbox<'_>) -> Result<(), Silence> {
    let mut phase = shard.phase.clone();
    let mut watch = peer.watch();
    while inbox.pending().is_empty() {
        tokio::select! {
            biased;
            read = timeout(shard.keep_alive_timeout, read(peer.socket, inbox)) => match read {
                Ok(read) => read?,
                Err(_) if peer.unacknowledged() == 0 => return Err(Silence::Idle),
                Err(_) => watch.judge().map_err(Silence::GivenUp)?,
            },
            () = watch.told() => return Err(Silence::GivenUp(Ended::GaveWay)),
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
/// [`limits::LINGER_TIMEOUT`] to close its side, or [`limits::LINGER_TALK_TIMEOUT`] if it goes on talking.
pub(super) async fn linger(shard: &Shard, peer: &Peer<'_>) {
    // Our end counts as unacknowledged until the client has it; of a client that has everything and is gone, nobody waits
    // for that.
    let is_all_read = peer.unacknowledged() == 0;
    if socket::end_sending(peer.socket).is_err() {
        return;
    }
    let (mut watch, mut turn) = (peer.watch(), Turn::new());
    let mut heard = Instant::now();
    let mut all_read_since = None;
    let mut pause = Duration::from_millis(5);
    let mut is_ended = false;
    loop {
        if !is_all_read && peer.unacknowledged() > 0 {
            if let Err(ended) = watch.judge() {
                return give_up(shard, peer, &ended);
            }
            heard = Instant::now();
        } else {
            let talks_since = all_read_since.get_or_insert_with(Instant::now);
            let talks_too_long = talks_since.elapsed() >= limits::LINGER_TALK_TIMEOUT;
            if is_ended || talks_too_long || heard.elapsed() >= limits::LINGER_TIMEOUT {
                return;
            }
        }
        // After its end a socket is readable for ever, so then only time passes.
        pause = (pause * 2).min(limits::LINGER_TIMEOUT / 4);
        let readable = async { if is_ended { std::future::pending().await } else { peer.socket.readable().await } };
        let ready = tokio::select! {
            biased;
            () = watch.told() => return give_up(shard, peer, &Ended::GaveWay),
            ready = timeout(pause, readable) => ready,
        };
        match ready.map(|ready| ready.and_then(|()| discard(peer.socket))) {
            Ok(Ok(0)) => is_ended = true,
            Ok(Ok(count)) => {
                heard = Instant::now();
                turn.spend(count as u64, shard.pump.engine).await;
            }
            Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return,
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Ends the connection of a client that has not taken what it asked for, so that it cannot take what came for the whole.
fn give_up(shard: &Shard, peer: &Peer<'_>, ended: &Ended) {
    let counters = &shard.pump.counters;
    let counter = if matches!(ended, Ended::GaveWay) { &counters.gave_way } else { &counters.stalled };
    metrics::add(counter, 1);
    tracing::info!(client_ip = %peer.address, ended = ?ended, "client did not take the end of its answer");
    socket::reset_on_close(peer.socket);
}

/// Takes what has come and forgets it. 0 at the end.
fn discard(socket: &TcpStream) -> io::Result<usize> {
    socket.try_io(Interest::READABLE, || socket::discard(socket, limits::LINGER_PIECE_BYTES))
}
