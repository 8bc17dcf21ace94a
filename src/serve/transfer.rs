//! The pump: one extent of a film on its way to a socket, and no byte of it in user space.
//!
//! ```text
//!             ┌── hot ──  sendfile(2) in turns of 256 KiB ───────────────────────────────┐
//!  window ────┤ (preadv2 RWF_NOWAIT and cachestat say which)                             ├──► socket
//!  of 1 MiB   └── cold ─  engine: splice(2) file ─► pipe; the shard: splice(2) pipe ─────┘
//! ```
//!
//! The shard never waits for a disk: hot bytes are in memory, cold ones are waited for by the engine. A [`Transfer`] is
//! a plain value that says what is left, so it may be paused at any turn. A file that turns out shorter than promised
//! ends the connection; nothing is ever padded (DATAPATH.md §8, §9).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::Interest;

use crate::http::range::Extent;
use crate::limits;
use crate::metrics::{self, ShardCounters};
use crate::serve::peer::{Ended, Peer, Watch, lost};
use crate::serve::pipes::{Loan, Pipes};
use crate::stream::OpenVideo;
use crate::sys::engine::Engine;
use crate::sys::file::Residency;
use crate::sys::sendfile::{self, Follow};

/// What a shard lends to every transfer.
#[derive(Debug)]
pub(super) struct Pump {
    /// Who waits for the disk.
    pub engine: Engine,
    /// Pipes and permits for cold windows.
    pub pipes: Pipes,
    /// Where it is all counted.
    pub counters: Arc<ShardCounters>,
}

/// What is left of a connection's turn on its shard. Readiness of sockets costs no budget of tokio's, so a client that
/// always has another request ready, or always takes what we send, would otherwise never let go.
#[derive(Debug)]
pub(super) struct Turn {
    left: u64,
}

impl Turn {
    pub fn new() -> Turn {
        Turn { left: limits::TURN_BYTES }
    }

    /// Uses up `bytes` of the turn; when nothing is left, all others have theirs first.
    pub async fn spend(&mut self, bytes: u64, engine: Engine) {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            engine.turn().await;
            self.left = limits::TURN_BYTES;
        }
    }
}

/// An extent of a video, less what has been sent.
#[derive(Debug)]
pub(super) struct Transfer<'a> {
    video: &'a OpenVideo,
    /// The next byte to send.
    offset: u64,
    /// One past the last byte.
    end: u64,
    /// No more probes: a long response that was cold once.
    is_sticky: bool,
    length: u64,
}

/// Sends `bytes`, which may be a head that a body follows.
pub(super) async fn send_bytes(peer: &Peer<'_>, bytes: &[u8], follow: Follow) -> Result<(), Ended> {
    let (socket, mut watch) = (peer.socket, peer.watch());
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.try_io(Interest::WRITABLE, || sendfile::send_head(socket, &bytes[sent..], follow)) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                watch.writable().await?;
            }
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(())
}

impl<'a> Transfer<'a> {
    pub fn new(video: &'a OpenVideo, extent: Extent) -> Transfer<'a> {
        Transfer { video, offset: extent.offset, end: extent.end(), is_sticky: false, length: extent.length }
    }

    /// Sends `head`, then the extent, all of it or as far as it goes.
    pub async fn run(&mut self, peer: &Peer<'_>, head: &[u8], turn: &mut Turn, pump: &Pump) -> Result<(), Ended> {
        if self.offset == self.end {
            return send_bytes(peer, head, Follow::Nothing).await;
        }
        let begun = Instant::now();
        let mut watch = peer.watch();
        let mut residency = self.look();
        // The head may wait for the body only if the body follows at once.
        let follow = if residency == Residency::Hot { Follow::Body } else { Follow::Nothing };
        send_bytes(peer, head, follow).await?;
        if begun.elapsed() > limits::PIPE_PATIENCE {
            residency = self.look();
        }
        loop {
            match residency {
                Residency::Hot => self.send_hot(peer, &mut watch, turn, pump).await?,
                Residency::Cold => self.send_cold(peer, &mut watch, turn, pump).await?,
            }
            if self.offset == self.end {
                return Ok(());
            }
            residency = self.look();
        }
    }

    /// Whether the next window can be sent without waiting for a disk.
    fn look(&self) -> Residency {
        if self.is_sticky {
            return Residency::Cold;
        }
        self.video.file.residency(self.offset, self.window())
    }

    /// Bytes of the next window.
    fn window(&self) -> u64 {
        limits::WINDOW_BYTES.min(self.end - self.offset)
    }

    /// Sends a window from the page cache, or the part of it for which the probe can still be believed.
    async fn send_hot(
        &mut self,
        peer: &Peer<'_>,
        watch: &mut Watch<'_>,
        turn: &mut Turn,
        pump: &Pump,
    ) -> Result<(), Ended> {
        metrics::add(&pump.counters.hot_windows, 1);
        let window_end = self.offset + self.window();
        while self.offset < window_end {
            let length = turn.left.min(window_end - self.offset);
            let file = &self.video.file;
            let send = || sendfile::send_file(peer.socket, file, self.offset, length);
            match peer.socket.try_io(Interest::WRITABLE, send) {
                Ok(0) => return Err(Ended::Truncated),
                Ok(count) => self.advance(count, peer, turn, pump).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited_since = Instant::now();
                    watch.writable().await?;
                    if waited_since.elapsed() > limits::PIPE_PATIENCE {
                        // Long enough for these pages to have been evicted: look again.
                        return Ok(());
                    }
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    /// Lets the engine fetch a window into a pipe, and drains the pipe into the socket.
    async fn send_cold(
        &mut self,
        peer: &Peer<'_>,
        watch: &mut Watch<'_>,
        turn: &mut Turn,
        pump: &Pump,
    ) -> Result<(), Ended> {
        self.is_sticky = self.length > limits::STICKY_COLD_BYTES_MIN;
        // A client that does not read must not make us read its film from the disk.
        watch.writable().await?;
        let (loan, filled) = self.fill(pump).await?;
        metrics::add(&pump.counters.cold_windows, 1);
        let mut left = filled;
        // For the whole window, not for each wait: a trickling client would keep the pipe for ever.
        let give_up = tokio::time::Instant::now() + limits::PIPE_PATIENCE;
        while left > 0 {
            let is_last = self.offset + left as u64 >= self.end;
            let follow = if is_last { Follow::Nothing } else { Follow::Body };
            match peer.socket.try_io(Interest::WRITABLE, || loan.pipe.drain(peer.socket, left, follow)) {
                Ok(0) => return Err(Ended::Disk(io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(count) => {
                    left -= count;
                    self.advance(count, peer, turn, pump).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Ok(ready) = tokio::time::timeout_at(give_up, watch.writable()).await {
                        ready?;
                    } else {
                        // The pipe is wanted elsewhere. What was in it is hot by now, and we know what was sent.
                        drop(loan);
                        self.is_sticky = false;
                        return watch.writable().await;
                    }
                }
                Err(error) => return Err(lost(error)),
            }
        }
        loan.give_back();
        turn.spend(turn.left, pump.engine).await;
        Ok(())
    }

    /// Fills a pipe with the next window. Waits for a permit, a pipe and the disk, in this order.
    async fn fill<'p>(&self, pump: &'p Pump) -> Result<(Loan<'p>, usize), Ended> {
        let permit = pump.pipes.permit(self.video.root).await.map_err(Ended::Disk)?;
        let loan = pump.pipes.borrow().await.map_err(Ended::Disk)?;
        let length = usize::try_from(self.window()).unwrap_or(usize::MAX).min(loan.pipe.capacity());
        let file = Arc::clone(&self.video.file);
        let filled = pump.engine.fill(file, Arc::clone(&loan.pipe), self.offset, length).await;
        drop(permit);
        match filled {
            Ok(0) => Err(Ended::Truncated),
            Ok(count) => Ok((loan, count)),
            Err(error) => Err(Ended::Disk(error)),
        }
    }

    /// Notes `count` bytes as sent, unless the connection was told to end.
    async fn advance(&mut self, count: usize, peer: &Peer<'_>, turn: &mut Turn, pump: &Pump) -> Result<(), Ended> {
        metrics::add(&pump.counters.sent_bytes, count as u64);
        self.offset += count as u64;
        peer.viewer.sent(count as u64)?;
        turn.spend(count as u64, pump.engine).await;
        Ok(())
    }
}
