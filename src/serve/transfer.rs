//! The pump: one extent of a film on its way to a socket, and no byte of it in user space.
//!
//! ```text
//!             ┌── hot ──  sendfile(2), as far as the turn and the page cache go ─────────┐
//!  extent ────┤ (`hot` remembers which)                                                  ├──► socket
//!             └── cold ─  engine: splice(2) file ─► pipe; the shard: splice(2) pipe ─────┘
//!                         in windows of 1 MiB
//! ```
//!
//! The shard never waits for a disk: hot bytes are in memory, cold ones are waited for by the engine. A [`Transfer`] is
//! a plain value that says what is left, so it may be paused at any turn. A file that turns out shorter than promised
//! ends the connection; nothing is ever padded (DATAPATH.md §8, §9).

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::Interest;

use crate::http::range::Extent;
use crate::limits;
use crate::metrics::{self, ShardCounters};
use crate::serve::hot::Hot;
use crate::serve::peer::{Ended, Peer, Watch, lost};
use crate::serve::pipes::{Loan, Pipes};
use crate::stream::Film;
use crate::sys::engine::Engine;
use crate::sys::sendfile::{self, Follow};
use crate::sys::socket::Corked;

/// What a shard lends to every transfer.
#[derive(Debug)]
pub(super) struct Pump {
    /// Who waits for the disk.
    pub engine: Engine,
    /// Pipes and permits for cold windows.
    pub pipes: Pipes,
    /// What is in the page cache.
    pub hot: Hot,
    /// When somebody last asked for little.
    pub little_asked: Cell<Option<Instant>>,
    /// Where it is all counted.
    pub counters: Arc<ShardCounters>,
}

impl Pump {
    /// Bytes of a turn that begins at `now`.
    fn turn_bytes(&self, now: Instant) -> u64 {
        let since = self.little_asked.get().map(|asked| now.saturating_duration_since(asked));
        let is_alone = since.is_none_or(|since| since >= limits::SHORT_TURNS_FOR);
        if is_alone { limits::LONG_TURN_BYTES } else { limits::TURN_BYTES }
    }
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

/// An extent of a film, less what has been sent.
#[derive(Debug)]
pub(super) struct Transfer<'a> {
    film: &'a Film,
    /// The next byte to send.
    offset: u64,
    /// One past the last byte.
    end: u64,
    /// What is known of the bytes from `offset` on.
    ahead: Ahead,
    /// Since when.
    looked: Instant,
    length: u64,
}

/// Where the next bytes of a film are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    /// Nobody has looked, or not lately.
    Unknown,
    /// In the page cache, up to the byte before this one.
    Hot { until: u64 },
    /// On the disk.
    Cold,
}

/// Sends what is left of `bytes` after the first `sent`, which may be a head that a body follows. Whether it had to wait for
/// the peer.
pub(super) async fn send_bytes<'a>(
    peer: &'a Peer<'_>,
    bytes: &[u8],
    sent: &mut usize,
    follow: Follow,
    watch: impl Fn() -> Watch<'a>,
) -> Result<bool, Ended> {
    let socket = peer.socket;
    let mut watching = None;
    while *sent < bytes.len() {
        match socket.try_io(Interest::WRITABLE, || sendfile::send_head(socket, &bytes[*sent..], follow)) {
            Ok(count) => *sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                watching.get_or_insert_with(&watch).writable().await?;
            }
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(watching.is_some())
}

/// Sends a head. What of it could not be sent is left in it.
pub(super) async fn send_head(peer: &Peer<'_>, head: &mut Vec<u8>, follow: Follow) -> Result<bool, Ended> {
    let mut sent = 0;
    let has_waited = send_bytes(peer, head, &mut sent, follow, || peer.watch_or_halt()).await;
    if has_waited.is_err() {
        head.drain(..sent);
    }
    has_waited
}

impl<'a> Transfer<'a> {
    /// Nothing is sent yet; it is known by now whether that needs a disk.
    pub fn new(film: &'a Film, extent: Extent, pump: &Pump) -> Transfer<'a> {
        let (offset, end, length) = (extent.offset, extent.end(), extent.length);
        let looked = Instant::now();
        let ahead = Ahead::Unknown;
        let mut transfer = Transfer { film, offset, end, ahead, looked, length };
        transfer.look(looked, pump);
        transfer
    }

    /// Sends the head before it, which may wait for the body only if the body follows at once.
    pub async fn begin(&mut self, peer: &Peer<'_>, head: &mut Vec<u8>) -> Result<(), Ended> {
        let follow = if let Ahead::Hot { .. } = self.ahead { Follow::Body } else { Follow::Nothing };
        // Not by `send_head`: a future within a future costs each range a hundred instructions.
        let mut sent = 0;
        match send_bytes(peer, head, &mut sent, follow, || peer.watch_or_halt()).await {
            Ok(has_waited) => {
                if has_waited {
                    self.doubt();
                }
                Ok(())
            }
            Err(ended) => {
                head.drain(..sent);
                Err(ended)
            }
        }
    }

    /// What of the extent was not sent.
    pub fn left(&self) -> Extent {
        Extent { offset: self.offset, length: self.end - self.offset }
    }

    /// Sends the extent, all of it or as far as it goes. `is_alone`: it is the whole body.
    pub async fn run(&mut self, peer: &Peer<'_>, turn: &mut Turn, pump: &Pump, is_alone: bool) -> Result<(), Ended> {
        let (mut watch, mut corked) = (None, None);
        while self.offset < self.end {
            match self.ahead {
                Ahead::Unknown => self.look(Instant::now(), pump),
                Ahead::Hot { until } => {
                    if is_alone && self.end - self.offset > limits::TURN_BYTES {
                        // Full segments from turn to turn: a tenth of the cost of a long answer.
                        corked.get_or_insert_with(|| Corked::new(peer.socket));
                    }
                    self.send_hot(until, peer, &mut watch, turn, pump).await?;
                }
                Ahead::Cold => {
                    corked = None; // What is there must not wait for the disk.
                    let watch = watch.get_or_insert_with(|| peer.watch_or_halt());
                    // On the heap: it is small beside a window, and each connection would hold it for as long as it lives.
                    Box::pin(self.send_cold(peer, watch, turn, pump)).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks how much can be sent without waiting for a disk.
    fn look(&mut self, now: Instant, pump: &Pump) {
        let length = pump.turn_bytes(now).min(self.end - self.offset);
        self.looked = now;
        self.ahead = match pump.hot.length_from(&self.film.file, self.offset, length, now) {
            0 => Ahead::Cold,
            length => Ahead::Hot { until: self.offset + length },
        };
    }

    /// The peer was waited for: if that was long enough for pages to have been evicted, they are looked at again.
    fn doubt(&mut self) {
        if self.looked.elapsed() > limits::PIPE_PATIENCE {
            self.ahead = Ahead::Unknown;
        }
    }

    /// Bytes of the next window.
    fn window(&self) -> u64 {
        limits::WINDOW_BYTES.min(self.end - self.offset)
    }

    /// Sends from the page cache until there is nothing more that is known to be hot.
    async fn send_hot<'p>(
        &mut self,
        until: u64,
        peer: &'p Peer<'_>,
        watch: &mut Option<Watch<'p>>,
        turn: &mut Turn,
        pump: &Pump,
    ) -> Result<(), Ended> {
        let begun = self.offset;
        while self.offset < until && self.ahead != Ahead::Unknown {
            let send = || sendfile::send_file(peer.socket, &self.film.file, self.offset, until - self.offset);
            match peer.socket.try_io(Interest::WRITABLE, send) {
                Ok(0) => return Err(Ended::Truncated),
                Ok(count) => self.advance(count, peer, turn, pump).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    watch.get_or_insert_with(|| peer.watch_or_halt()).writable().await?;
                    self.doubt();
                }
                Err(error) => return Err(lost(error)),
            }
        }
        metrics::add(&pump.counters.hot_windows, (self.offset - begun).div_ceil(limits::WINDOW_BYTES));
        self.ahead = Ahead::Unknown;
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
        // A long response that was cold once is not looked at any more.
        if self.length <= limits::STICKY_COLD_BYTES_MIN {
            self.ahead = Ahead::Unknown;
        }
        // A client that does not read must not make us read its film from the disk.
        watch.writable().await?;
        let (loan, filled) = tokio::select! {
            biased;
            filled = self.fill(pump) => filled?,
            // A disk may hang for hours; who has gone does not wait for it.
            ended = watch.over() => return Err(ended),
        };
        metrics::add(&pump.counters.cold_windows, 1);
        let mut left = filled;
        // For the whole window, not for each wait: a trickling client would keep the pipe for ever.
        let full_since = tokio::time::Instant::now();
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
                    let is_given_up = tokio::select! {
                        biased;
                        ready = watch.writable() => ready.map(|()| false)?,
                        () = loan.is_given_up(full_since) => true,
                    };
                    if is_given_up {
                        // The pipe is wanted elsewhere. What was in it is hot by now, and we know what was sent.
                        drop(loan);
                        self.ahead = Ahead::Unknown;
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
        let permit = pump.pipes.permit(self.film.root.as_ref()).await.map_err(Ended::Disk)?;
        let loan = pump.pipes.borrow().await.map_err(Ended::Disk)?;
        let length = usize::try_from(self.window()).unwrap_or(usize::MAX).min(loan.pipe.capacity());
        let file = Arc::clone(&self.film.file);
        let held = (permit, loan.allowed());
        match pump.engine.fill(file, Arc::clone(&loan.pipe), self.offset, length, held).await {
            Ok(0) => Err(Ended::Truncated),
            Ok(count) => Ok((loan, count)),
            Err(error) => Err(Ended::Disk(error)),
        }
    }

    /// Notes `count` bytes as sent, unless the connection was told to end, or to halt before the others.
    async fn advance(&mut self, count: usize, peer: &Peer<'_>, turn: &mut Turn, pump: &Pump) -> Result<(), Ended> {
        metrics::add(&pump.counters.sent_bytes, count as u64);
        self.offset += count as u64;
        peer.sent(count as u64)?;
        turn.spend(count as u64, pump.engine).await;
        // What is sent at once is sent; of the rest it is known by now where it begins.
        if self.offset < self.end && peer.is_to_halt() { Err(Ended::Halted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn turns_are_short_while_anybody_asks_for_little() {
        let pump = Pump {
            engine: Engine::Threads,
            pipes: Pipes::new(1, Arc::default()),
            hot: Hot::default(),
            little_asked: Cell::default(),
            counters: Arc::default(),
        };
        let now = Instant::now();
        assert_eq!(pump.turn_bytes(now), limits::LONG_TURN_BYTES);
        pump.little_asked.set(Some(now));
        assert_eq!(pump.turn_bytes(now), limits::TURN_BYTES);
        let later = now + limits::SHORT_TURNS_FOR;
        assert_eq!(pump.turn_bytes(later - Duration::from_millis(1)), limits::TURN_BYTES);
        assert_eq!(pump.turn_bytes(later), limits::LONG_TURN_BYTES);
    }
}
