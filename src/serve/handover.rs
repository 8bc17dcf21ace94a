//! What a connection leaves behind when the daemon is restarted, and how the next process goes on with it.
//!
//! The one idea: wherever a connection waits, and at each turn of a film, it is known what is left to be done, as plain values:
//! the bytes of its client that nobody has read, what of an answer the socket has not taken, and whose film that is. So a film
//! goes on in the same answer, and its client notices nothing.
//!
//! ```text
//!   idle, half a head, or a
//!   request not answered ──► Idle ───────┐                                ┌──► the loop of `connection`
//!   an answer, at a turn ──► Answering ──┼─ `note` ─ service manager ─────┼──► resume: the rest, then the loop
//!   a close, unread yet ───► Closing ────┘      (and the descriptors)     └──► linger
//! ```
//!
//! Bytes in a pipe of the cold path were not sent; the offset says what the socket took, and its options stay with it. A body
//! of a request that is being read is waited for, and so is the answer to a request that may not be asked twice. Films of
//! distant roots are opened again (`distant`). TLS, once it is here, is told apart in [`Left`]: a socket whose keys are in the
//! kernel is handed over like any other, one that is encrypted in user space is closed at the end of a record.

mod distant;
mod note;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::auth::Account;
use crate::http::response::{Finished, Part};
use crate::limits;
use crate::playback::{Key, Owner, Playing, Watcher};
use crate::serve::exchange::{self, Next};
use crate::serve::inbox::Inbox;
use crate::serve::peer::{Ended, Peer};
use crate::serve::shard::Shard;
use crate::serve::transfer::Turn;
use crate::session::Watching;
use crate::store::Fault;
use crate::stream::Film;
use crate::sys::descriptor::FileId;
use crate::sys::socket;

pub use distant::opened_again;
pub use note::{Found, Note, pack, unpack};

/// A connection that its shard has given up.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub socket: OwnedFd,
    /// What is left to be done on it.
    pub left: Left,
}

/// What is left to be done on a connection.
#[derive(Debug)]
pub enum Left {
    /// Requests are to be answered, when they come.
    Idle {
        /// Bytes of the next ones that were read.
        inbox: Vec<u8>,
    },
    /// An answer is on its way.
    Answering {
        /// What of it was not sent.
        unsent: Box<Unsent>,
        /// Bytes that were read of the requests after it.
        inbox: Vec<u8>,
    },
    /// All was said; the client has not read it yet.
    Closing,
}

/// What of an answer was not sent.
#[derive(Debug)]
pub struct Unsent {
    /// The rest of its head and of its parts.
    pub finished: Finished<Film>,
    /// Whose film it is, if it is one.
    pub plays: Option<Plays>,
    /// What it answers.
    pub asked: Asked,
}

/// Who watches a film that is on its way.
#[derive(Clone, Debug)]
pub struct Plays {
    /// The playback.
    pub key: Key,
    /// Who.
    pub watcher: Watcher,
    /// Of a caller by password: that of the user when the film was handed over. It was proved by no session that could be
    /// asked.
    pub credential_version: Option<u32>,
}

/// A request, as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The id that the client was told, or would be.
    pub request_id: Uuid,
    /// From where, if not from where the connection comes.
    pub client: Option<IpAddr>,
    /// Who asked, if that is known.
    pub user_id: Option<Uuid>,
    /// By which session.
    pub session_id: Option<Uuid>,
    /// For what, without secrets.
    pub path: String,
}

impl Left {
    pub(super) fn idle(inbox: &[u8]) -> Left {
        Left::Idle { inbox: inbox.to_vec() }
    }

    pub(super) fn answering(inbox: &[u8], unsent: Box<Unsent>) -> Left {
        let inbox = if unsent.finished.close { Vec::new() } else { inbox.to_vec() };
        Left::Answering { unsent, inbox }
    }

    pub(super) fn closing() -> Left {
        Left::Closing
    }

    /// What of an answer was not sent, if one is on its way.
    pub fn unsent(&self) -> Option<&Unsent> {
        match self {
            Left::Answering { unsent, .. } => Some(unsent),
            Left::Idle { .. } | Left::Closing => None,
        }
    }

    /// Who watches, if a film is on its way.
    pub fn plays_mut(&mut self) -> Option<&mut Plays> {
        match self {
            Left::Answering { unsent, .. } => unsent.plays.as_mut(),
            Left::Idle { .. } | Left::Closing => None,
        }
    }

    /// The films that it has bytes of.
    pub fn films(&self) -> impl Iterator<Item = &Film> {
        self.unsent().into_iter().flat_map(|unsent| &unsent.finished.parts).filter_map(|part| match part {
            Part::Extent { file, .. } => Some(file),
            Part::Bytes(_) => None,
        })
    }

    /// Those of them whose files are handed over with it.
    fn handed_films(&self) -> impl Iterator<Item = &Film> {
        self.films().filter(|film| !film.file.is_distant())
    }

    /// Bytes of answers that are left to be sent.
    pub fn bytes(&self) -> u64 {
        self.unsent().map_or(0, |unsent| unsent.finished.parts.iter().map(Part::length).sum())
    }
}

/// Those that fit into `capacity` descriptors together with their films and a note, films before all others; and those that
/// do not.
pub fn fitting(mut connections: Vec<Connection>, capacity: usize) -> (Vec<Connection>, Vec<Connection>) {
    connections.sort_by_key(|connection| connection.left.films().next().is_none());
    let mut room = capacity.saturating_sub(1);
    let mut films: HashSet<FileId> = HashSet::new();
    connections.into_iter().partition(|connection| {
        let own: HashSet<FileId> = connection.left.handed_films().map(|film| film.file.id()).collect();
        let needed = 1 + own.difference(&films).count();
        let fits = needed <= room;
        if fits {
            room -= needed;
            films.extend(own);
        }
        fits
    })
}

/// The descriptors of the films of connections, each once, without those of distant roots.
pub fn files(connections: &[Connection]) -> Vec<BorrowedFd<'_>> {
    let mut known: HashSet<FileId> = HashSet::new();
    let films = connections.iter().flat_map(|connection| connection.left.handed_films());
    films.filter(|film| known.insert(film.file.id())).map(|film| film.file.hot()).collect()
}

/// Goes on with a connection that the process before us has left.
pub(super) async fn resume(shard: &Shard, peer: &Peer<'_>, inbox: &mut Inbox<'_>, left: Left, turn: &mut Turn) -> Next {
    let unsent = match left {
        Left::Closing => return Next::Close,
        Left::Idle { inbox: bytes } => {
            inbox.put(&bytes);
            return Next::KeepAlive { consumed: 0 };
        }
        Left::Answering { unsent, inbox: bytes } => {
            inbox.put(&bytes);
            unsent
        }
    };
    let Unsent { mut finished, plays, asked } = *unsent;
    match rest(shard, peer, plays.as_ref(), &mut finished, turn).await {
        Ok(()) if finished.close => Next::Close,
        Ok(()) => Next::KeepAlive { consumed: 0 },
        Err(Ended::Halted) => {
            let consumed = (!finished.close).then_some(0);
            Next::Halt { unsent: Box::new(Unsent { finished, plays, asked }), consumed }
        }
        Err(ended) => asked.cut(shard, peer, ended, &finished.parts),
    }
}

/// Sends the rest of an answer, if whoever watches still may.
async fn rest(
    shard: &Shard,
    peer: &Peer<'_>,
    plays: Option<&Plays>,
    finished: &mut Finished<Film>,
    turn: &mut Turn,
) -> Result<(), Ended> {
    let playing = match plays {
        // On the heap: what is waited for here each connection would hold for as long as it lives.
        Some(plays) => Some(Box::pin(take_part(shard, peer, plays)).await?),
        None => None,
    };
    peer.keep_pace();
    let sent = exchange::send(shard, peer, finished, turn).await;
    if let Some(playing) = playing {
        playing.leave(shard.now());
    }
    sent
}

/// Takes part in the playback again, which was restored with its slot.
async fn take_part<'a>(shard: &Shard, peer: &'a Peer<'a>, plays: &Plays) -> Result<Playing<'a>, Ended> {
    let watcher = ask(shard, peer, plays).await?;
    let playing = peer.viewer.play(plays.key, &watcher, shard.now()).map_err(|_| Ended::LostSlot)?;
    // Of a connection that is over the next call that sends will tell.
    let _ = socket::glance(peer.socket).map(|seen| peer.viewer.retransmitted_before(seen.retransmits));
    // What was ended between the two has found nothing to stop.
    ask(shard, peer, plays).await?;
    Ok(playing)
}

/// Asks who may go on watching, for as long as the connection is there and this process is.
async fn ask(shard: &Shard, peer: &Peer<'_>, plays: &Plays) -> Result<Watcher, Ended> {
    let watch = peer.watch_or_halt();
    let answer = tokio::select! {
        biased;
        ended = watch.broken() => return Err(ended),
        answer = until_answered(limits::RESUME_PATIENCE, async || may_watch(shard, plays).await) => answer,
    };
    answer.map_err(|fault| Ended::Unasked(Box::new(fault)))?.ok_or(Ended::Stopped)
}

/// Asks the database again for as long as it fails, and no longer than `patience`.
async fn until_answered<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(Fault::Stopped) => return Err(Fault::Stopped),
            Err(error) if begun.elapsed() < patience => {
                tracing::debug!(%error, "who may go on watching could not be looked up; it is tried again");
                tokio::time::sleep(limits::RESUME_RETRY_INTERVAL).await;
            }
            answer => return answer,
        }
    }
}

/// Whoever was let in by the process before us, or nobody if that ended meanwhile: the session, the link, or the password.
///
/// # Errors
/// The database failed: who it is, is not known.
async fn may_watch(shard: &Shard, plays: &Plays) -> Result<Option<Watcher>, Fault> {
    let services = &shard.state.services;
    let Plays { key, watcher, credential_version } = plays;
    match key.owner {
        Owner::Link(link_id) => Ok(services.guests.has(link_id).then(|| watcher.clone())),
        Owner::User(user_id) if Account::is_by_password(watcher.session_id) => {
            let user = services.store.user_by_id(user_id).await?;
            let same = user.filter(|user| user.is_active && Some(user.credential_version) == *credential_version);
            Ok(same.map(|user| Watcher { max_bandwidth: user.preferences.max_bandwidth, ..watcher.clone() }))
        }
        Owner::User(user_id) => {
            Ok(match services.sessions.watching(watcher.session_id, user_id, shard.now()).await? {
                Watching::By(account) => {
                    let (max_bandwidth, sign) = (account.max_bandwidth, account.presence.sign());
                    Some(Watcher { max_bandwidth, sign, ..watcher.clone() })
                }
                Watching::Beyond => Some(watcher.clone()),
                Watching::Over => None,
            })
        }
    }
}
