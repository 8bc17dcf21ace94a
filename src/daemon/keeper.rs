//! The keeper: what has to be done now and then, beside the requests.
//!
//! Playbacks that are over give their slots back. What sessions did is written behind, and those that do nothing are put to
//! rest. The service manager is told how it goes. It runs on a thread of its own, because it waits for the disk, and looks
//! twice a second, so that what it writes is never more than a second old.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::daemon::laptop::Laptop;
use crate::daemon::status::Status;
use crate::daemon::{block_on, now};
use crate::limits;
use crate::log::messages;
use crate::playback::{Owner, Streamed};
use crate::serve::State;
use crate::serve::pulse::Beats;
use crate::session::guests::Sent;
use crate::store::Timestamp;
use crate::sys::Fault;

/// The keeper's thread. Ending it writes what is left.
pub(super) struct Keeper {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread for us.
    pub fn start(state: &Arc<State>, status: &Arc<Status>, beats: Option<Beats>) -> Result<Keeper, Fault> {
        let (state, status) = (Arc::clone(state), Arc::clone(status));
        let (end, ended) = mpsc::channel();
        let run = move || {
            let (mut complained, mut laptop, mut looks) = (false, Laptop::new(), 0_u32);
            while ended.recv_timeout(limits::KEEPER_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = laptop.look(&state);
                look_after(&state, &status, now, beats.as_ref(), &mut complained);
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(limits::KEEPER_LOOKS_FOR_ACCOUNTS) {
                    waiting(beats.as_ref(), || status.look_for_accounts(&state));
                }
                status.tell(&state);
                if let Some(Beats { pulse, .. }) = &beats {
                    pulse.beat(Instant::now());
                }
            }
            look_after(&state, &status, now(), beats.as_ref(), &mut complained);
        };
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(run);
        Ok(Keeper { end, thread: thread.map_err(|error| Fault::new("start the keeper", error))? })
    }

    /// Writes what is left, and ends the thread.
    pub fn end(self) {
        drop(self.end);
        // A panic of it was reported by the panic hook; there is nothing left to do about it.
        let _ = self.thread.join();
    }
}

/// Has the store do something. Its threads are watched by themselves, and who waits behind several slow commits is not stuck.
fn waiting<T>(beats: Option<&Beats>, work: impl FnOnce() -> T) -> T {
    if let Some(Beats { pulse, .. }) = beats {
        pulse.rest();
    }
    let done = work();
    if let Some(Beats { pulse, .. }) = beats {
        pulse.beat(Instant::now());
    }
    done
}

/// One look. A fault is told once, until it is over: the next look tries again.
fn look_after(state: &State, status: &Status, now: Timestamp, beats: Option<&Beats>, complained: &mut bool) {
    let services = &state.services;
    let mut played = Vec::new();
    for Streamed { key, session_id, bytes } in services.playbacks.swept(now) {
        match key.owner {
            Owner::User(_) => services.sessions.streamed(session_id, bytes, now),
            Owner::Link(link_id) => match services.guests.sent(link_id, key.player, bytes, now) {
                Sent::Goes => {}
                Sent::Counted(play) => played.push(play),
                // Two have begun at once, and there was one play left.
                Sent::UsedUp => drop(services.playbacks.stop_key(key)),
            },
        }
    }
    let rested = services.sessions.put_to_rest(now, services.settings().config.sessions.timeout);
    let write = async {
        services.guests.written_behind(played).await?;
        services.sessions.written_behind(rested).await
    };
    let written = waiting(beats, || block_on(write));
    status.note_store(written.as_ref().err().map(ToString::to_string));
    match written {
        Ok(_) => *complained = false,
        Err(error) if *complained => tracing::debug!(%error, "activity of sessions could not be written"),
        Err(error) => {
            *complained = true;
            tracing::warn!(
                name: messages::ACTIVITY_NOT_WRITTEN, %error,
                "activity of sessions could not be written; it is tried again"
            );
        }
    }
}
