//! The machine stays awake while a film plays: as long as one connection to reelway-awake.socket is open.
//!
//! The one idea: behind that socket systemd-inhibit(1) runs for each connection, as its own small unit, so that this process
//! needs no privilege and no D-Bus, and the inhibitor goes with the connection, however this process ends. Where there is no
//! such socket nothing is kept awake, and nothing else is different.
//!
//! ```text
//!              a film is open                    none for AWAKE_GRACE
//!   Nothing ──────────────────► Held ──────────────────────────────────► Nothing
//!      │  refused, or nobody      │ the other side has ended
//!      └───────► Failed ◄─────────┘      (asked again after AWAKE_RETRY_INTERVAL)
//! ```

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use crate::config::Power;
use crate::limits;
use crate::log::messages;
use crate::sys::unix;

/// What keeps the machine awake; dropped, nothing does.
#[derive(Debug)]
pub(super) struct Awake {
    hold: Hold,
    /// When a film was last seen to be open.
    played: Option<Instant>,
    /// Whether it was said that the machine may sleep while this film plays.
    has_complained: bool,
}

#[derive(Debug)]
enum Hold {
    Nothing,
    Held(UnixStream),
    Failed(Instant),
}

impl Awake {
    /// Nothing plays yet.
    pub fn new() -> Awake {
        Awake { hold: Hold::Nothing, played: None, has_complained: false }
    }

    /// One look: `is_playing` says whether a film is open now. Never waits.
    pub fn look(&mut self, power: &Power, is_playing: bool, now: Instant) {
        if is_playing {
            self.played = Some(now);
        }
        let played_lately = self.played.is_some_and(|played| now.duration_since(played) < limits::AWAKE_GRACE);
        let is_wanted = power.keep_awake && played_lately;
        let hold = std::mem::replace(&mut self.hold, Hold::Nothing);
        self.hold = match (hold, is_wanted) {
            (Hold::Nothing, true) => self.connected(&power.awake_socket, now),
            (Hold::Failed(since), true) if now.duration_since(since) >= limits::AWAKE_RETRY_INTERVAL => {
                self.connected(&power.awake_socket, now)
            }
            (Hold::Failed(since), true) => Hold::Failed(since),
            (Hold::Held(connection), true) if has_ended(&connection) => {
                self.complain("the inhibitor has ended; journalctl -u 'reelway-awake@*' says why");
                Hold::Failed(now)
            }
            (Hold::Held(connection), true) => Hold::Held(connection),
            (Hold::Held(_), false) => {
                tracing::info!(name: messages::SLEEP_ALLOWED, "no film plays: the machine may sleep");
                self.calmed()
            }
            (Hold::Nothing | Hold::Failed(_), false) => self.calmed(),
        };
    }

    fn connected(&mut self, socket: &Path, now: Instant) -> Hold {
        match unix::connect_at_once(socket) {
            Ok(connection) => {
                tracing::info!(name: messages::AWAKE_WHILE_PLAYING, "a film plays: the machine is kept awake");
                Hold::Held(connection)
            }
            // Nobody has set it up: a server that never sleeps, or a daemon started by hand.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::debug!(socket = %socket.display(), "nothing keeps the machine awake here");
                Hold::Failed(now)
            }
            Err(error) => {
                self.complain(&format!("{} cannot be reached: {error}", socket.display()));
                Hold::Failed(now)
            }
        }
    }

    /// Once for each film, not for each look.
    fn complain(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::warn!(name: messages::SLEEP_NOT_PREVENTED, reason, "the machine may sleep although a film plays");
        }
    }

    fn calmed(&mut self) -> Hold {
        self.has_complained = false;
        Hold::Nothing
    }
}

/// Whether the other side has closed. It never says anything.
fn has_ended(mut connection: &UnixStream) -> bool {
    match connection.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}

#[cfg(test)]
#[path = "awake/tests.rs"]
mod tests;
