//! A connection between two requests: what it waits for, kept from request to request.
//!
//! The one idea: the timer and the ear for the end of the daemon are made once a connection, and the timer is not set anew
//! by each request: when it goes off, it is asked how long the connection has really been idle. So the next request costs
//! one look at a socket.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What ends a wait.
#[derive(Debug)]
pub(super) enum Woken {
    /// Bytes have come, or the end of the stream, or the connection broke.
    Readable(io::Result<()>),
    /// It is time to look how the connection stands.
    Time,
    /// The daemon drains, or hands its connections over.
    Draining,
}

/// The wait of one connection.
pub(super) struct Idle<'a, Drain: Future> {
    timer: Pin<&'a mut Sleep>,
    drain: Pin<&'a mut Drain>,
    is_draining: bool,
    since: Instant,
    has_waited: bool,
}

impl<'a, Drain: Future> Idle<'a, Drain> {
    /// Waits with `timer`, which says when to look first, and until `drain`.
    pub fn new(timer: Pin<&'a mut Sleep>, drain: Pin<&'a mut Drain>) -> Idle<'a, Drain> {
        Idle { timer, drain, is_draining: false, since: Instant::now(), has_waited: false }
    }

    /// It is idle from now on.
    pub fn begin(&mut self) {
        self.since = Instant::now();
    }

    /// Since when it has been idle.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether others were let run since this was asked last.
    pub fn take_waited(&mut self) -> bool {
        std::mem::take(&mut self.has_waited)
    }

    /// Looks again at `at`.
    pub fn look_at(&mut self, at: Instant) {
        self.timer.as_mut().reset(at.into());
    }

    /// Waits. Whoever is told that it is time says when the next time is.
    pub async fn woken(&mut self, socket: &TcpStream) -> Woken {
        poll_fn(|context| {
            if let Poll::Ready(ready) = socket.poll_read_ready(context) {
                return Poll::Ready(Woken::Readable(ready));
            }
            self.has_waited = true;
            // Not polled again after its end.
            if self.is_draining || self.drain.as_mut().poll(context).is_ready() {
                self.is_draining = true;
                return Poll::Ready(Woken::Draining);
            }
            self.timer.as_mut().poll(context).map(|()| Woken::Time)
        })
        .await
    }
}
