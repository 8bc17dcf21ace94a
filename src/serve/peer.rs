//! The other end of a connection, and how long it is waited for.
//!
//! The one idea: every wait for a peer goes through a [`Watch`], which asks TCP now and then whether the peer came further
//! (`deadline`), and lets a paused player give way when somebody else needs its seat (`admission`). A connection is ended
//! here, by its own shard, and by nobody else.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use tokio::net::TcpStream;

use crate::serve::admission::{Pause, Seat};
use crate::serve::deadline::{Patience, Progress, Verdict};
use crate::sys::{sendfile, socket};

/// A connected client.
#[derive(Debug)]
pub(super) struct Peer<'a> {
    /// The connection.
    pub socket: &'a TcpStream,
    /// Where it comes from.
    pub address: IpAddr,
    /// How long it may take.
    pub patience: Patience,
    /// Bytes of films that were handed to the connection since it began.
    pub film_bytes: Cell<u64>,
    /// What it would give way with; none if it was not admitted.
    pub seat: Option<&'a Seat<'a>>,
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
    /// The file is shorter than the length we promised.
    Truncated,
    /// The disk failed.
    Disk(io::Error),
}

/// A peer while it is waited for.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    peer: &'a Peer<'a>,
    progress: Progress,
    pause: Option<Pause<'a>>,
}

impl<'a> Peer<'a> {
    /// Its time begins now.
    pub fn watch(&'a self) -> Watch<'a> {
        Watch { peer: self, progress: Progress::new(Instant::now()), pause: None }
    }

    /// Bytes of ours that it has not acknowledged; none when the connection is over.
    pub fn unacknowledged(&self) -> u64 {
        socket::acknowledged(self.socket).map_or(0, |seen| seen.outstanding)
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
        let ready = tokio::time::timeout(self.peer.patience.interval(), ready);
        let ready = tokio::select! {
            biased;
            () = self.told() => return Err(Ended::GaveWay),
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

    /// Waits until the peer must give way: for ever, unless it is paused.
    pub async fn told(&self) {
        match &self.pause {
            Some(pause) => pause.told().await,
            None => std::future::pending().await,
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
