//! The pace of a connection, kept by its own shard: what its playback wishes, told to the kernel when it has changed.
//!
//! Who sends compares one word with the one before; only where they differ there is a system call. A connection that waits
//! is woken when its pace changes (`peer`), so that a film which is blocked on a full socket goes at the new one at once. TCP
//! then spreads the packets (`SO_MAX_PACING_RATE`), but lets a new connection begin with ten of them, so a playback that is
//! held to a pace also waits before an answer for what it was handed before.

use std::cell::Cell;

use crate::limits;
use crate::playback::pace::{Pace, Wish};
use crate::serve::peer::{Ended, Peer};
use crate::store::Timestamp;
use crate::sys::socket::{self, Acknowledged};

/// What a connection does of what was wished of it.
#[derive(Debug)]
pub(super) struct Pacer {
    wish: Cell<Wish>,
    /// Unsent bytes that it queues while it goes as it likes.
    not_sent_bytes: Cell<u32>,
}

impl Pacer {
    /// Of a new connection.
    pub fn new(not_sent_bytes: u32) -> Pacer {
        Pacer { wish: Cell::new(Wish::NONE), not_sent_bytes: Cell::new(not_sent_bytes) }
    }

    /// What was wished last.
    pub fn wish(&self) -> Wish {
        self.wish.get()
    }
}

impl Peer<'_> {
    /// So many bytes of a film were handed to the socket.
    pub fn sent(&self, count: u64) -> Result<(), Ended> {
        self.viewer.sent(count)?;
        self.keep_pace();
        Ok(())
    }

    /// Goes at the pace that is wished; what is no film goes as fast as it can.
    pub fn keep_pace(&self) {
        let kept = self.pacer.wish();
        match self.viewer.wish() {
            Some(wish) if wish == kept => {}
            Some(wish) => self.follow(wish, kept),
            None if kept.pace() == Pace::NONE => {}
            None => self.follow(Wish::NONE, kept),
        }
    }

    /// One film among many that are on their way: it queues less from now on.
    pub fn queue_less(&self) {
        if self.pacer.not_sent_bytes.get() > limits::NOT_SENT_BYTES_OF_MANY {
            self.pacer.not_sent_bytes.set(limits::NOT_SENT_BYTES_OF_MANY);
            if self.pacer.wish().pace() == Pace::NONE {
                socket::set_not_sent_bytes(self.socket, limits::NOT_SENT_BYTES_OF_MANY);
            }
        }
    }

    /// Waits until the playback may be sent more. The process after us does not wait for what this one has sent.
    pub async fn may_send(&self) -> Result<(), Ended> {
        loop {
            let Some(wait) = self.viewer.owes(Timestamp::now) else { return Ok(()) };
            let watch = self.watch_or_halt();
            tokio::select! {
                biased;
                ended = watch.broken() => return if let Ended::Halted = ended { Ok(()) } else { Err(ended) },
                () = tokio::time::sleep(wait.min(limits::PACE_WAIT_MAX)) => {}
            }
        }
    }

    /// Notes what TCP says about it for whoever looks at the playback.
    pub fn note(&self, seen: &Acknowledged) {
        self.viewer.acknowledged(seen.bytes);
        self.viewer.delivered(seen.delivery_rate, seen.retransmits);
    }

    #[cold]
    fn follow(&self, wish: Wish, kept: Wish) {
        self.pacer.wish.set(wish);
        if wish.pace() != kept.pace() {
            let bytes = wish.pace().bytes();
            socket::set_pace(self.socket, bytes);
            let part = bytes.map_or(u64::MAX, |bytes| bytes / limits::PACED_NOT_SENT_PART);
            let most = u64::from(self.pacer.not_sent_bytes.get());
            let least = u64::from(limits::PACED_NOT_SENT_BYTES_MIN).min(most);
            let not_sent_bytes = u32::try_from(part.clamp(least, most)).unwrap_or(self.pacer.not_sent_bytes.get());
            socket::set_not_sent_bytes(self.socket, not_sent_bytes);
        }
        if self.viewer.is_playing() && wish.asks_since(kept) {
            // Of a connection that is over the next call that sends will tell.
            let _ = socket::glance(self.socket).map(|seen| self.note(&seen));
        }
    }
}
