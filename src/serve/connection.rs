//! One accepted socket: request after request, until one side has had enough.
//!
//! ```text
//!   idle ──bytes──► reading a head ──whole──► exchange ──keep-alive──► idle
//!    │ 75 s, or drain     │ 10 s: 408            │ close: linger until the client has read it all
//!    ▼                    ▼                      ▼ reset
//! ```
//!
//! From each of these a restart may take it over as it stands (`handover`).

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::reject::Reject;
use crate::limits;
use crate::log::messages;
use crate::metrics;
use crate::serve::Phase;
use crate::serve::exchange::{self, Next};
use crate::serve::handover::{self, Left};
use crate::serve::idle::{Idle, Woken};
use crate::serve::inbox::Inbox;
use crate::serve::peer::{Ended, Peer, Watch};
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
    /// The connection is to be handed over, with what has come of a head.
    Halted,
}

/// Serves a connection to its end, or until it is handed over: what is left of it then. `left` is what the process before us
/// has left of it.
pub(super) async fn run(shard: &Shard, peer: &Peer<'_>, left: Option<Box<Left>>) -> Option<Left> {
    let mut inbox = Inbox::new(&shard.buffers);
    let mut turn = Turn::new();
    let mut phase = shard.phase.clone();
    let drain = pin!(phase.wait_for(|phase| *phase >= Phase::HandingOver));
    let timer = pin!(tokio::time::sleep(peer.patience.keep_alive.min(peer.patience.interval())));
    let mut idle = Idle::new(timer, drain);
    let mut next = match left {
        Some(left) => Box::pin(handover::resume(shard, peer, &mut inbox, *left, &mut turn)).await,
        None => {
            // Who comes for one range has sent its request by now, as a rule; then there is nothing to wait for.
            inbox.read_early(peer.socket);
            Next::KeepAlive { consumed: 0 }
        }
    };
    loop {
        match next {
            // Nothing was asked yet, or by the process before us.
            Next::KeepAlive { consumed: 0 } => {}
            Next::KeepAlive { consumed } => inbox.consume(consumed),
            // Most have read it by now, and are not waited for.
            Next::CloseAsAsked if peer.is_silent() && peer.has_everything() => return None,
            Next::Close | Next::CloseAsAsked => {
                drop(inbox);
                return Box::pin(linger(shard, peer)).await;
            }
            Next::Reset => {
                socket::reset_on_close(peer.socket);
                return None;
            }
            Next::Unanswered => return Some(Left::idle(inbox.pending())),
            Next::Halt { unsent, consumed } => {
                inbox.consume(consumed.unwrap_or_default());
                return Some(Left::answering(inbox.pending(), unsent));
            }
        }
        if peer.is_to_halt() {
            return Some(Left::idle(inbox.pending()));
        }
        turn.spend(limits::REQUEST_TURN_BYTES, shard.pump.engine).await;
        next = match head(shard, peer, &mut inbox, &mut idle).await {
            Ok(()) => {
                if idle.take_waited() {
                    turn = Turn::new(); // All others have had theirs.
                }
                exchange::run(shard, peer, &inbox, &mut turn).await
            }
            Err(Silence::Late) => exchange::refuse(shard, peer, inbox.pending(), &Reject::HeadTimeout).await,
            Err(Silence::Draining) => exchange::refuse(shard, peer, inbox.pending(), &Reject::Draining).await,
            Err(Silence::GivenUp(ended)) => {
                give_up(shard, peer, &ended);
                return None;
            }
            // A client may end its side and still be reading what it asked for.
            Err(Silence::Closed) => Next::CloseAsAsked,
            Err(Silence::Idle) => Next::Close,
            Err(Silence::Halted) => return Some(Left::idle(inbox.pending())),
        };
    }
}

/// Reads until a whole head, or one that is certain to be refused, stands in the inbox.
async fn head<Drain: Future>(
    shard: &Shard,
    peer: &Peer<'_>,
    inbox: &mut Inbox<'_>,
    idle: &mut Idle<'_, Drain>,
) -> Result<(), Silence> {
    loop {
        if inbox.pending().is_empty() {
            first_bytes(shard, peer, inbox, idle).await?;
        }
        if inbox.has_head() {
            return Ok(());
        }
        // Few heads come in pieces, so only those have a timer of their own, and it is on the heap.
        let read = Box::pin(rest_of_head(shard, peer, inbox)).await;
        // What looked like a beginning was an empty line in two pieces: still nothing has begun.
        if read.is_err() || !inbox.pending().is_empty() {
            return read;
        }
    }
}

async fn rest_of_head(shard: &Shard, peer: &Peer<'_>, inbox: &mut Inbox<'_>) -> Result<(), Silence> {
    let rest = async {
        while !inbox.has_head() && !inbox.pending().is_empty() {
            read(peer.socket, inbox).await?;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        read = timeout(peer.patience.head, rest) => read.unwrap_or(Err(Silence::Late)),
        () = halted(peer) => Err(Silence::Halted),
        () = shard.drain_patience() => Err(Silence::Draining),
    }
}

/// Waits until the connection is to be handed over.
async fn halted(peer: &Peer<'_>) {
    match peer.halt {
        Some(halt) => halt.due().await,
        None => std::future::pending().await,
    }
}

/// Waits for the first byte of a request. What we sent last may still be on its way to a paused player: its time does
/// not run before that has been acknowledged.
async fn first_bytes<Drain: Future>(
    shard: &Shard,
    peer: &Peer<'_>,
    inbox: &mut Inbox<'_>,
    idle: &mut Idle<'_, Drain>,
) -> Result<(), Silence> {
    idle.begin();
    // Made at the first look: most requests come sooner.
    let mut watch: Option<Watch<'_>> = None;
    while inbox.pending().is_empty() {
        match inbox.read(peer.socket) {
            Ok(0) => return Err(Silence::Closed),
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Silence::Closed),
        }
        let woken = match &watch {
            None => idle.woken(peer.socket).await,
            Some(watch) => tokio::select! {
                biased;
                ended = watch.told() => return Err(Silence::GivenUp(ended)),
                woken = idle.woken(peer.socket) => woken,
            },
        };
        match woken {
            Woken::Readable(ready) => ready.map_err(|_| Silence::Closed)?,
            Woken::Draining if peer.halt.is_some() && shard.is_handing_over() => return Err(Silence::Halted),
            Woken::Draining => return Err(Silence::Idle),
            Woken::Time => {
                let now = Instant::now();
                let watch = watch.get_or_insert_with(|| peer.watch_since(idle.since()));
                if peer.unacknowledged() > 0 {
                    watch.judge().map_err(Silence::GivenUp)?;
                    idle.begin(); // What we sent was on its way until now.
                } else if now.duration_since(idle.since()) >= peer.patience.keep_alive {
                    return Err(Silence::Idle);
                } else {
                    watch.plays_on().map_err(Silence::GivenUp)?;
                }
                let end = idle.since() + peer.patience.keep_alive;
                idle.look_at(end.min(now + peer.patience.interval()));
            }
        }
    }
    watch.map_or(Ok(()), |mut watch| watch.plays_on()).map_err(Silence::GivenUp)
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
/// [`limits::LINGER_TIMEOUT`] to close its side. What it says meanwhile is thrown away, for
/// [`limits::LINGER_TALK_TIMEOUT`]; then nobody listens any more. What is left, if the client is to be waited for by the process
/// after us.
pub(super) async fn linger(shard: &Shard, peer: &Peer<'_>) -> Option<Left> {
    // Our end counts as unacknowledged until the client has it; of a client that has everything and is gone, nobody waits
    // for that.
    let mut awaits = if peer.unacknowledged() == 0 { Awaits::TheirEnd } else { Awaits::TheirReading };
    if socket::end_sending(peer.socket).is_err() {
        return None;
    }
    let (mut watch, mut talk) = (peer.watch(), Talk::new());
    let mut pause = Duration::from_millis(5);
    loop {
        match awaits {
            Awaits::TheirReading if peer.unacknowledged() == 0 => {
                awaits = Awaits::TheirEnd;
                talk.heard = Instant::now();
            }
            Awaits::TheirReading => {
                if let Err(ended) = watch.judge() {
                    give_up(shard, peer, &ended);
                    return None;
                }
                pause = (pause * 2).min(peer.patience.interval());
            }
            Awaits::TheirEnd if talk.is_over() || talk.heard.elapsed() >= limits::LINGER_TIMEOUT => return None,
            Awaits::TheirEnd => pause = (pause * 2).min(limits::LINGER_TIMEOUT / 4),
        }
        // Its end comes soon, or it is not waited for.
        watch.may_halt = matches!(awaits, Awaits::TheirReading);
        tokio::select! {
            biased;
            ended = watch.told() => {
                if let Ended::Halted = ended {
                    return Some(Left::closing());
                }
                give_up(shard, peer, &ended);
                return None;
            }
            () = talk.listen(shard, peer.socket, pause) => {}
        }
    }
}

/// What a connection that is closed on our side waits for.
enum Awaits {
    /// The client has not acknowledged all of our bytes.
    TheirReading,
    /// It has, and has not closed its side.
    TheirEnd,
}

/// What a client says that is not to be answered.
struct Talk {
    turn: Turn,
    /// When it last said something, or at first when we began to listen.
    heard: Instant,
    /// When it began to talk.
    since: Option<Instant>,
    /// Whether it has ended its side, or the connection broke.
    is_ended: bool,
}

impl Talk {
    fn new() -> Talk {
        Talk { turn: Turn::new(), heard: Instant::now(), since: None, is_ended: false }
    }

    /// Whether nobody listens any more.
    fn is_over(&self) -> bool {
        self.is_ended || self.since.is_some_and(|since| since.elapsed() >= limits::LINGER_TALK_TIMEOUT)
    }

    /// Throws away what comes within `patience`.
    async fn listen(&mut self, shard: &Shard, socket: &TcpStream, patience: Duration) {
        // After its end a socket is readable for ever, so then only time passes.
        if self.is_over() {
            return tokio::time::sleep(patience).await;
        }
        let Ok(ready) = timeout(patience, socket.readable()).await else { return };
        match ready.and_then(|()| discard(socket)) {
            Ok(0) => self.is_ended = true,
            Ok(count) => {
                self.heard = Instant::now();
                self.since.get_or_insert(self.heard);
                self.turn.spend(count as u64, shard.pump.engine).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.is_ended = true,
        }
    }
}

/// Ends the connection of a client that has not taken what it asked for, so that it cannot take what came for the whole.
fn give_up(shard: &Shard, peer: &Peer<'_>, ended: &Ended) {
    let (counters, client_ip) = (&shard.pump.counters, peer.address);
    match ended {
        Ended::Stalled => {
            metrics::add(&counters.stalled, 1);
            tracing::info!(name: messages::CLIENT_STALLED, %client_ip, "client stalled before the end of its answer");
        }
        Ended::GaveWay => {
            metrics::add(&counters.gave_way, 1);
            tracing::info!(name: messages::CLIENT_GAVE_WAY, %client_ip, "paused client gave way to another");
        }
        Ended::Gone
        | Ended::Stopped
        | Ended::Superseded
        | Ended::LostSlot
        | Ended::Truncated
        | Ended::Disk(_)
        | Ended::Unasked(_)
        | Ended::Halted => {
            tracing::debug!(%client_ip, ?ended, "client went away")
        }
    }
    socket::reset_on_close(peer.socket);
}

/// Takes what has come and forgets it. 0 at the end.
fn discard(socket: &TcpStream) -> io::Result<usize> {
    socket.try_io(Interest::READABLE, || socket::discard(socket, limits::LINGER_PIECE_BYTES))
}
