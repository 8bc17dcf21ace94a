//! The connections of a restart: on the way out they are given to the service manager, on the way in they are taken from it.
//!
//! ```text
//!   SIGTERM ─► shards halt (5 s) ─► note + descriptors ─► service manager ─► exit … start ─► taken, forgotten, resumed
//!                                        │ does not take them
//!                                        └─► they go on here, as a drain has it
//! ```
//!
//! What is stored has one name, so that one word has the service manager forget it: until then it holds every connection open
//! (systemd.service(5), `FileDescriptorStoreMax=`).

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use crate::auth::Account;
use crate::daemon::signals::{Either, Signals};
use crate::daemon::{block_on, now};
use crate::limits;
use crate::log::messages;
use crate::playback::{Key, Owner};
use crate::serve::handover::{self, Connection, Found, Note};
use crate::serve::{Phase, State};
use crate::sys::descriptor::{self, FileId, Kind};
use crate::sys::systemd::{self, Passed};
use crate::sys::{Fault, socket};

/// Under which everything is stored.
const NAME: &str = "handover";

/// What came of handing over.
pub(super) enum Outcome {
    /// The service manager has what there was.
    Done,
    /// A second signal wants us to end at once.
    Cut,
    /// The service manager takes nothing: these connections are still ours.
    Refused(Vec<Connection>),
}

/// Whether there is anybody to hand connections to.
pub(super) fn is_possible() -> bool {
    systemd::store_capacity() > 0
}

/// Has `shards` shards give up their connections, and gives these to the service manager.
pub(super) fn hand_over(
    signals: &mut Signals,
    state: &Arc<State>,
    phase: &watch::Sender<Phase>,
    shards: usize,
) -> Outcome {
    let is_busy = || state.shards_left() < shards;
    // What takes longer than short responses do is left to the process after us, or told so, as by a drain, and cut then. A
    // shard that has something to cut leaves at once, unless it waits for a disk.
    for (next, patience) in [
        (Phase::HandingOver, limits::HANDOVER_PATIENCE),
        (Phase::Draining, 2 * limits::DRAIN_PATIENCE),
        (Phase::Ended, limits::DRAIN_PATIENCE),
    ] {
        let begun = Instant::now();
        let _ = phase.send(next);
        if signals.wait_while(patience, is_busy) {
            break;
        }
        if begun.elapsed() < patience {
            return Outcome::Cut;
        }
    }
    let cut = state.cut();
    if cut > 0 {
        tracing::warn!(
            name: messages::HAND_OVER_FAILED, connections = cut,
            "connections that were not finished in time end"
        );
    }
    let (connections, left_out) = handover::fitting(state.take_given_up(), systemd::store_capacity());
    if !left_out.is_empty() {
        tracing::warn!(
            name: messages::HAND_OVER_FAILED, connections = left_out.len(),
            "more connections than FileDescriptorStoreMax= allows; they end"
        );
        left_out.iter().for_each(|connection| socket::reset_on_close(&connection.socket));
        state.add_cut(left_out.len());
    }
    store(signals, state, connections)
}

/// Stores on a thread of its own, so that a second signal is heard meanwhile.
fn store(signals: &mut Signals, state: &Arc<State>, mut connections: Vec<Connection>) -> Outcome {
    let films = films(&connections);
    let bytes: u64 = connections.iter().map(|connection| connection.left.bytes()).sum();
    tracing::info!(name: messages::HANDED_OVER, connections = connections.len(), films, bytes, "handing over");
    let (told, stored) = oneshot::channel();
    let state = Arc::clone(state);
    let work = move || {
        note_credentials(&state, &mut connections);
        let given = give(&state, &connections);
        let _ = told.send((connections, given));
    };
    if let Err(error) = std::thread::Builder::new().name("handover".into()).spawn(work) {
        tracing::error!(
            name: messages::HAND_OVER_FAILED, %error,
            "connections could not be handed over: there is no thread for it"
        );
        return Outcome::Cut;
    }
    match signals.wait(async { tokio::time::timeout(limits::HANDOVER_PATIENCE_MAX, stored).await }) {
        Either::Signal => Outcome::Cut,
        Either::Other(Err(_)) => {
            // Whoever has them still may store them yet, so nobody else may go on with them here.
            tracing::error!(
                name: messages::HAND_OVER_FAILED,
                "connections could not be handed over: the database or the service manager does not answer; they end"
            );
            Outcome::Cut
        }
        Either::Other(Ok(Ok((_, Ok(()))))) => Outcome::Done,
        Either::Other(Ok(Ok((connections, Err(reason))))) => {
            // Whatever of it was stored must not be resumed by anybody else.
            systemd::forget_stored(NAME);
            tracing::warn!(name: messages::HAND_OVER_FAILED, reason, "connections could not be handed over; they are drained");
            Outcome::Refused(connections)
        }
        // It panicked, which was told.
        Either::Other(Ok(Err(_))) => Outcome::Cut,
    }
}

/// Over how many a film is on its way.
fn films(connections: &[Connection]) -> usize {
    connections.iter().filter(|connection| connection.left.films().next().is_some()).count()
}

fn give(state: &State, connections: &[Connection]) -> Result<(), String> {
    let services = &state.services;
    let note = handover::pack(connections, &services.playbacks.kept(), now())?;
    let note = descriptor::note(&note).map_err(|error| error.to_string())?;
    let mut files: Vec<BorrowedFd<'_>> = vec![note.as_fd()];
    files.extend(handover::files(connections));
    let sockets: Vec<BorrowedFd<'_>> = connections.iter().map(|connection| connection.socket.as_fd()).collect();
    systemd::store(NAME, &files, &sockets, limits::HANDOVER_STORE_PATIENCE).map_err(|error| error.to_string())
}

/// Callers by password have no session that the next process could ask: it compares their credentials with those of now. Those
/// that a process before us has noted stay: we may not have compared them yet.
fn note_credentials(state: &State, connections: &mut [Connection]) {
    let mut known = HashMap::new();
    for plays in connections.iter_mut().filter_map(|connection| connection.left.plays_mut()) {
        if let Owner::User(user_id) = plays.key.owner
            && Account::is_by_password(plays.watcher.session_id)
            && plays.credential_version.is_none()
        {
            plays.credential_version = *known.entry(user_id).or_insert_with(|| {
                let user = block_on(state.services.store.user_by_id(user_id)).ok().flatten();
                user.map(|user| user.credential_version)
            });
        }
    }
}

/// What the process before us has stored, until it is resumed.
pub(super) struct Inherited(Vec<OwnedFd>);

impl Inherited {
    /// Takes it from what the service manager has passed.
    pub fn of(passed: &mut Vec<Passed>) -> Inherited {
        Inherited(passed.extract_if(.., |passed| passed.name == NAME).map(|passed| passed.descriptor).collect())
    }

    /// Restores the playbacks. The connections to go on with.
    pub fn resume(self, state: &State) -> Vec<Connection> {
        if self.0.is_empty() {
            return Vec::new();
        }
        // From here on nobody but us holds them open, and they end with us: whatever goes wrong with them now goes wrong once,
        // and not at every start.
        systemd::forget_stored(NAME);
        let found = self.found(state);
        let Found { connections, playbacks, lost } = match found {
            Ok(found) => found,
            Err(reason) => {
                tracing::warn!(
                    name: messages::HAND_OVER_FAILED, reason,
                    "connections of the process before could not be resumed"
                );
                return Vec::new();
            }
        };
        let awaited = connections.iter().filter_map(|connection| connection.left.unsent()?.plays.as_ref());
        let awaited: HashSet<Key> = awaited.map(|plays| plays.key).collect();
        for kept in &playbacks {
            state.services.playbacks.restore(kept, awaited.contains(&kept.key), now());
        }
        let films = films(&connections);
        tracing::info!(name: messages::TAKEN_OVER, connections = connections.len(), films, lost, "resumed");
        connections
    }

    fn found(self, state: &State) -> Result<Found, String> {
        let Sorted { notes, sockets, mut files } = Sorted::of(self.0);
        let read = |note| {
            let bytes = descriptor::read_note(note, limits::HANDOVER_NOTE_BYTES_MAX);
            handover::unpack(&bytes.map_err(|error| Fault::new("read the note", error).to_string())?)
        };
        let mut read: Vec<Result<Note, String>> = notes.into_iter().map(read).collect();
        // More than one is there only if an earlier process was killed before it had forgotten its own.
        read.sort_by_key(|note| note.as_ref().map_or(i64::MIN, |note| note.written_at));
        match read.pop().unwrap_or_else(|| Err("there is no note with them".to_owned())) {
            Ok(note) => {
                let settings = state.services.settings();
                files.extend(handover::opened_again(&note, &settings.library));
                Ok(note.assemble(sockets, files, &settings.library))
            }
            Err(reason) => {
                sockets.values().for_each(socket::reset_on_close);
                Err(reason)
            }
        }
    }
}

/// Descriptors by what they are.
struct Sorted {
    notes: Vec<OwnedFd>,
    sockets: HashMap<u64, OwnedFd>,
    files: HashMap<FileId, OwnedFd>,
}

impl Sorted {
    fn of(descriptors: Vec<OwnedFd>) -> Sorted {
        let mut sorted = Sorted { notes: Vec::new(), sockets: HashMap::new(), files: HashMap::new() };
        for descriptor in descriptors {
            match descriptor::kind(&descriptor) {
                Ok(Kind::Note) => sorted.notes.push(descriptor),
                Ok(Kind::Socket { cookie }) => drop(sorted.sockets.insert(cookie, descriptor)),
                Ok(Kind::File(id)) => drop(sorted.files.insert(id, descriptor)),
                Ok(Kind::Other) => {}
                Err(error) => tracing::debug!(%error, "nobody knows what was stored"),
            }
        }
        sorted
    }
}

/// `connections` in turn to each of so many shards.
pub(super) fn spread(connections: Vec<Connection>, shards: usize) -> Vec<Vec<Connection>> {
    let mut by_shard: Vec<Vec<Connection>> = (0..shards).map(|_| Vec::new()).collect();
    for (number, connection) in connections.into_iter().enumerate() {
        by_shard[number % shards].push(connection);
    }
    by_shard
}
