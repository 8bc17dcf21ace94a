//! The other end of a connection, and how long it is waited for.
//!
//! The one idea: every wait for a peer goes through a [`Watch`], which asks TCP now and then whether the peer came further
//! (`deadline`), lets a paused player give way when somebody else needs its seat (`admission`), and hears when its playback
//! is stopped, or is to go at another pace (`playback`, `pace`). A connection is ended here, by its own shard, and by nobody
//! else.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::limits;
use crate::playback::{News, Told, Viewer};
use crate::serve::admission::{Pause, Seat};
use crate::serve::deadline::{Patience, Progress, Verdict};
use crate::serve::halt::Halt;
use crate::serve::pace::Pacer;
use crate::store::Fault;
use crate::sys::{sendfile, socket};

/// A connected client.
#[derive(Debug)]
pub(super) struct Peer<'a> {
    /// The connection.
    pub socket: &'a TcpStream,
    /// Where it comes from.
    pub address: IpAddr,
    /// Whether it is the machine itself: root, or who runs the daemon, at the admin socket.
    pub is_machine: bool,
    /// How long it may take.
    pub patience: Patience,
    /// Its part in playbacks.
    pub viewer: Viewer<'a>,
    /// Its pace.
    pub pacer: Pacer,
    /// What it would give way with; none if it was not admitted.
    pub seat: Option<&'a Seat<'a>>,
    /// By what it hears that it is to be handed over; none if it never is.
    pub halt: Option<&'a Halt>,
}

/// Why a response did not reach its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// The peer closed or reset the connection.
    Gone,
    /// The peer showed no sign of life, or paused for too long.
    Stalled,
    /// The peer was paused, and somebody else needed its seat.
    GaveWay,
    /// Its playback was stopped, or the session it was begun with is over.
    Stopped,
    /// A newer connection of the same player has taken its place.
    Superseded,
    /// It was paused until its playback had lost its slot, and there is none for it now.
    LostSlot,
    /// The file is shorter than the length we promised.
    Truncated,
    /// The disk failed.
    Disk(io::Error),
    /// It was handed over, and the database does not say whether it may go on. Boxed, because it is rare and the others are small.
    Unasked(Box<Fault>),
    /// Nothing is wrong: the process after us sends the rest.
    Halted,
}

/// A peer while it is waited for.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    peer: &'a Peer<'a>,
    progress: Progress,
    pause: Option<Pause<'a>>,
    /// Whether the wait may end because the connection is to be handed over: whatever is left to do is known then.
    pub may_halt: bool,
}

impl<'a> Peer<'a> {
    /// Its time begins now.
    pub fn watch(&'a self) -> Watch<'a> {
        self.watch_since(Instant::now())
    }

    /// Its time began then.
    pub fn watch_since(&'a self, since: Instant) -> Watch<'a> {
        Watch { peer: self, progress: Progress::new(since), pause: None, may_halt: false }
    }

    /// The same for a wait that may halt.
    pub fn watch_or_halt(&'a self) -> Watch<'a> {
        Watch { may_halt: true, ..self.watch() }
    }

    /// Whether the connection is to be handed over as soon as it is known what is left to do.
    pub fn is_to_halt(&self) -> bool {
        self.halt.is_some_and(Halt::is_due)
    }

    /// Bytes of ours that it has not acknowledged; none when the connection is over.
    pub fn unacknowledged(&self) -> u64 {
        socket::acknowledged(self.socket).map_or(0, |seen| seen.outstanding)
    }

    /// Whether nothing of what it said is unread, as far as is known: a close would then not reset the connection before it has
    /// read our last byte. Costs a call only if something has come.
    pub fn is_silent(&self) -> bool {
        match self.socket.try_io(Interest::READABLE, || socket::peek(self.socket, &mut [0])) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Whether it has acknowledged all that we sent.
    pub fn has_everything(&self) -> bool {
        socket::unacknowledged(self.socket).is_ok_and(|bytes| bytes == 0)
    }

    /// How often to look how far it has come.
    fn look_interval(&self) -> Duration {
        let interval = self.patience.interval();
        if self.viewer.is_playing() { interval.min(limits::PLAYING_LOOK_INTERVAL) } else { interval }
    }
}

impl From<Told> for Ended {
    fn from(told: Told) -> Ended {
        match told {
            Told::Stopped => Ended::Stopped,
            Told::Superseded => Ended::Superseded,
            Told::Lost => Ended::LostSlot,
        }
    }
}

impl Watch<'_> {
    /// Waits until the socket takes bytes again, for as long as its peer lives and keeps its seat.
    pub async fn writable(&mut self) -> Result<(), Ended> {
        while !self.is_ready(self.peer.socket.writable()).await? {
            self.judge()?;
        }
        Ok(())
    }

    /// Waits until the peer says something, for as long as it lives and keeps its seat. While it owes us nothing but words
    /// it is not judged: whoever waits for these has a time-out of its own.
    pub async fn readable(&mut self) -> Result<(), Ended> {
        while !self.is_ready(self.peer.socket.readable()).await? {
            if self.peer.unacknowledged() > 0 { self.judge()? } else { self.plays_on()? }
        }
        Ok(())
    }

    /// Waits for `ready` until it is time to look at the peer again. Whether it came.
    async fn is_ready(&mut self, ready: impl Future<Output = io::Result<()>>) -> Result<bool, Ended> {
        let ready = tokio::time::timeout(self.peer.look_interval(), ready);
        let ready = tokio::select! {
            biased;
            ended = self.told() => return Err(ended),
            ready = ready => ready,
        };
        let Ok(ready) = ready else { return Ok(false) };
        self.plays_on()?;
        ready.map_err(lost)?;
        Ok(true)
    }

    /// Whether the peer still deserves to be waited for. One that has not come further for a while is paused.
    pub fn judge(&mut self) -> Result<(), Ended> {
        let seen = socket::acknowledged(self.peer.socket).map_err(lost)?;
        self.peer.note(&seen);
        let now = Instant::now();
        match self.progress.judge(seen, now, &self.peer.patience) {
            Verdict::Wait => {}
            Verdict::Dead | Verdict::PausedTooLong => return Err(Ended::Stalled),
        }
        let since = self.progress.since();
        let is_noted = self.pause.as_ref().is_some_and(|pause| pause.since() == since);
        if !is_noted {
            self.plays_on()?;
            let is_paused = now.duration_since(since) >= self.peer.patience.paused_after();
            self.pause = self.peer.seat.filter(|_| is_paused).map(|seat| seat.pause(since));
        }
        Ok(())
    }

    /// Waits until the connection must end: for ever, unless the peer is paused or plays. Why.
    pub async fn told(&self) -> Ended {
        let gives_way = async {
            match &self.pause {
                Some(pause) => pause.told().await,
                None => std::future::pending().await,
            }
        };
        let told = async {
            loop {
                match self.peer.viewer.news(self.peer.pacer.wish()).await {
                    News::Told(told) => return told.into(),
                    News::Pace => self.peer.keep_pace(),
                }
            }
        };
        let halted = async {
            match self.peer.halt.filter(|_| self.may_halt) {
                Some(halt) => halt.due().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            told = told => told,
            () = gives_way => Ended::GaveWay,
            () = halted => Ended::Halted,
        }
    }

    /// Waits until the connection has broken or must end, while it is not the peer that is waited for. A peer that has only
    /// ended its side may still read.
    pub async fn broken(&self) -> Ended {
        tokio::select! {
            biased;
            ended = self.told() => ended,
            _ = self.peer.socket.ready(Interest::ERROR) => Ended::Gone,
        }
    }

    /// The same while it is a disk that is waited for: who has ended its side is not kept for what does not come.
    pub async fn over(&self) -> Ended {
        let has_left = async {
            loop {
                tokio::time::sleep(limits::HALF_CLOSED_PATIENCE).await;
                if socket::glance(self.peer.socket).is_ok_and(|seen| seen.has_ended) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            ended = self.broken() => ended,
            () = has_left => Ended::Gone,
        }
    }

    /// The peer came further, so it is not paused any more; unless it was told to give way before.
    pub fn plays_on(&mut self) -> Result<(), Ended> {
        if self.pause.take().is_none_or(Pause::end) { Ok(()) } else { Err(Ended::GaveWay) }
    }
}

/// What an error of sending means.
pub(super) fn lost(error: io::Error) -> Ended {
    if sendfile::is_of_the_file(&error) { Ended::Disk(error) } else { Ended::Gone }
}
