//! The note that goes with the descriptors: which of them is what, and what is left to be done, as JSON with a version.
//!
//! Whoever reads it may be an older or a newer release, and what it says was written by a process that is gone, so nothing in
//! it is believed before it was looked at: lengths are bounded, and what does not fit together is left out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::auth::presence::Sign;
use crate::http::range::Extent;
use crate::http::response::{Finished, Part};
use crate::library::open::OpenVideo;
use crate::library::{Library, LibraryRoot};
use crate::limits;
use crate::playback::{Kept, Key, Owner, Watcher};
use crate::serve::handover::{Asked, Connection, Left, Plays, Unsent};
use crate::store::Timestamp;
use crate::stream::Film;
use crate::sys::descriptor::{self, FileId};
use crate::sys::file::MediaFile;
use crate::sys::socket;

/// Of what is written here. It changes whenever an older release would misread it.
const VERSION: u32 = 1;

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Note {
    version: u32,
    /// When it was written, in microseconds since 1970: of two the later one counts.
    pub written_at: i64,
    playbacks: Vec<PlaybackRow>,
    pub(super) films: Vec<FilmRow>,
    connections: Vec<ConnectionRow>,
}

/// Only this much is read before the version is known.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlaybackRow {
    id: Uuid,
    watches: WatchesRow,
    started: i64,
    bytes: u64,
    retransmits: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct WatchesRow {
    owner: OwnerRow,
    video: Uuid,
    player: u64,
    user_id: Option<Uuid>,
    session_id: Uuid,
    client: IpAddr,
    is_near: bool,
    max_bandwidth: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
enum OwnerRow {
    User(Uuid),
    Link(Uuid),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FilmRow {
    device: u64,
    inode: u64,
    pub root: String,
    pub path: String,
    pub is_distant: bool,
    /// By these a distant one is known again.
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub modified_ns: i64,
}

impl FilmRow {
    /// Which file it was.
    pub fn id(&self) -> FileId {
        FileId { device: self.device, inode: self.inode }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ConnectionRow {
    cookie: u64,
    left: LeftRow,
}

#[derive(Debug, Serialize, Deserialize)]
enum LeftRow {
    Idle { inbox: Bytes },
    Answering { inbox: Bytes, unsent: Box<UnsentRow> },
    Closing,
}

#[derive(Debug, Serialize, Deserialize)]
struct UnsentRow {
    status: u16,
    head: Bytes,
    parts: Vec<PartRow>,
    close: bool,
    plays: Option<PlaysRow>,
    request_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    user_id: Option<Uuid>,
    asked_by: Option<Uuid>,
    path: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlaysRow {
    watches: WatchesRow,
    credential_version: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
enum PartRow {
    Bytes(Bytes),
    /// `film` counts the rows of films from 0.
    Extent {
        film: usize,
        offset: u64,
        length: u64,
    },
}

/// Bytes, in base64.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD_NO_PAD.decode(text).map(Bytes).map_err(de::Error::custom)
    }
}

/// Writes down what is left of `connections`, and the playbacks there are.
///
/// # Errors
/// When a socket has no cookie, or, in words, when the note cannot be written.
pub fn pack(connections: &[Connection], playbacks: &[Kept], now: Timestamp) -> Result<Vec<u8>, String> {
    let mut films = Films::default();
    let row = |connection: &Connection, films: &mut Films| {
        let cookie = descriptor::cookie(&connection.socket).map_err(|error| error.to_string())?;
        Ok::<_, String>(ConnectionRow { cookie, left: left_row(&connection.left, films) })
    };
    let connections = connections.iter().map(|connection| row(connection, &mut films)).collect::<Result<_, _>>()?;
    let playbacks = playbacks.iter().map(playback_row).collect();
    let note = Note { version: VERSION, written_at: now.microseconds(), playbacks, films: films.rows, connections };
    let written = serde_json::to_vec(&note).map_err(|error| error.to_string())?;
    let is_short = written.len() <= limits::HANDOVER_NOTE_BYTES_MAX;
    is_short.then_some(written).ok_or_else(|| "there is more to write down than is allowed".to_owned())
}

/// Reads a note.
///
/// # Errors
/// Why it cannot be used, in words.
pub fn unpack(bytes: &[u8]) -> Result<Note, String> {
    let unreadable = |error| format!("the note cannot be read: {error}");
    let Versioned { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if version != VERSION {
        return Err(format!("the note has version {version}, and this release reads {VERSION}"));
    }
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// What a note and the descriptors have come to.
#[derive(Debug, Default)]
pub struct Found {
    /// Connections to go on with.
    pub connections: Vec<Connection>,
    /// Playbacks to restore first.
    pub playbacks: Vec<Kept>,
    /// Connections of which something is missing. Their clients left, or are told by a reset.
    pub lost: usize,
}

impl Note {
    /// Puts together what it says with the sockets, by their cookies, and the files. Sockets of which it says nothing are
    /// reset.
    pub fn assemble(
        self,
        mut sockets: HashMap<u64, OwnedFd>,
        files: HashMap<FileId, OwnedFd>,
        library: &Library,
    ) -> Found {
        let films = opened(&self.films, files, library);
        let mut found = Found { playbacks: self.playbacks.into_iter().map(kept).collect(), ..Found::default() };
        for ConnectionRow { cookie, left } in self.connections {
            let socket = sockets.remove(&cookie);
            match (socket, left_of(left, &films)) {
                (Some(socket), Some(left)) => found.connections.push(Connection { socket, left }),
                (socket, _) => {
                    found.lost += 1;
                    // In the middle of an answer, perhaps: it must not be taken for whole.
                    socket.iter().for_each(socket::reset_on_close);
                }
            }
        }
        sockets.values().for_each(socket::reset_on_close);
        found
    }
}

/// The films of a note while it is written.
#[derive(Default)]
struct Films {
    rows: Vec<FilmRow>,
}

impl Films {
    /// The number of the row of this film.
    fn row(&mut self, film: &Film) -> usize {
        let FileId { device, inode } = film.file.id();
        let is_it = |row: &FilmRow| {
            (row.device, row.inode) == (device, inode) && *row.root == *film.root_name && *row.path == *film.path
        };
        self.rows.iter().position(is_it).unwrap_or_else(|| {
            let (root, path, is_distant) = (film.root_name.to_string(), film.path.to_string(), film.file.is_distant());
            let (size, modified_ns) = (film.file.size(), i64::try_from(film.file.modified_ns()).unwrap_or(0));
            self.rows.push(FilmRow { device, inode, root, path, is_distant, size, modified_ns });
            self.rows.len() - 1
        })
    }
}

/// The films of these rows, as far as their files are there. A file needs no name any more, nor a root.
fn opened(rows: &[FilmRow], mut files: HashMap<FileId, OwnedFd>, library: &Library) -> Vec<Option<Film>> {
    let mut admitted: HashMap<FileId, Arc<MediaFile>> = HashMap::new();
    let open = |row: &FilmRow| {
        let id = FileId { device: row.device, inode: row.inode };
        // A root may have been renamed or taken out of the configuration meanwhile; its films go on without.
        let root = library.roots().iter().find(|root| root.name == row.root).and_then(LibraryRoot::open);
        if let Some(descriptor) = files.remove(&id) {
            let file = MediaFile::left(descriptor, row.is_distant, root.as_deref()).ok().flatten()?;
            admitted.insert(id, Arc::new(file));
        }
        let file = Arc::clone(admitted.get(&id)?);
        let media_type = library.media_type(&row.path).unwrap_or("application/octet-stream");
        Some(Arc::new(OpenVideo::new(root, &row.root, &row.path, media_type, file)))
    };
    rows.iter().map(open).collect()
}

fn left_row(left: &Left, films: &mut Films) -> LeftRow {
    match left {
        Left::Idle { inbox } => LeftRow::Idle { inbox: Bytes(inbox.clone()) },
        Left::Closing => LeftRow::Closing,
        Left::Answering { unsent, inbox } => {
            let Unsent { finished, plays, asked } = &**unsent;
            let part = |part: &Part<Film>| match part {
                Part::Bytes(bytes) => PartRow::Bytes(Bytes(bytes.to_vec())),
                Part::Extent { file, extent } => {
                    PartRow::Extent { film: films.row(file), offset: extent.offset, length: extent.length }
                }
            };
            let unsent = UnsentRow {
                status: finished.status,
                head: Bytes(finished.head.clone()),
                parts: finished.parts.iter().map(part).collect(),
                close: finished.close,
                plays: plays.as_ref().map(|plays| PlaysRow {
                    watches: watches_row(&plays.key, &plays.watcher),
                    credential_version: plays.credential_version,
                }),
                request_id: asked.request_id,
                client: asked.client,
                user_id: asked.user_id,
                asked_by: asked.session_id,
                path: asked.path.clone(),
            };
            LeftRow::Answering { inbox: Bytes(inbox.clone()), unsent: Box::new(unsent) }
        }
    }
}

/// What a row says; nothing if it cannot be.
fn left_of(row: LeftRow, films: &[Option<Film>]) -> Option<Left> {
    let inbox_of = |Bytes(inbox): Bytes| (inbox.len() <= limits::HEAD_BYTES_MAX).then_some(inbox);
    match row {
        LeftRow::Idle { inbox } => Some(Left::Idle { inbox: inbox_of(inbox)? }),
        LeftRow::Closing => Some(Left::Closing),
        LeftRow::Answering { inbox, unsent } => {
            Some(Left::Answering { inbox: inbox_of(inbox)?, unsent: Box::new(unsent_of(*unsent, films)?) })
        }
    }
}

fn unsent_of(row: UnsentRow, films: &[Option<Film>]) -> Option<Unsent> {
    let mut left = limits::HANDOVER_ANSWER_BYTES_MAX.checked_sub(row.head.0.len())?;
    let part = |part: PartRow| match part {
        PartRow::Bytes(Bytes(bytes)) => {
            left = left.checked_sub(bytes.len())?;
            Some(Part::Bytes(bytes.into()))
        }
        PartRow::Extent { film, offset, length } => {
            let file = Arc::clone(films.get(film)?.as_ref()?);
            offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok())?;
            Some(Part::Extent { file, extent: Extent { offset, length } })
        }
    };
    let parts: Vec<Part<Film>> = row.parts.into_iter().map(part).collect::<Option<_>>()?;
    let has_film = parts.iter().any(|part| matches!(part, Part::Extent { .. }));
    let plays = row.plays.map(|row| {
        let (key, watcher) = watches(row.watches);
        Plays { key, watcher, credential_version: row.credential_version }
    });
    // No film without somebody who may watch it.
    if has_film && plays.is_none() {
        return None;
    }
    let length = parts.iter().map(Part::length).fold(0, u64::saturating_add);
    let finished = Finished { status: row.status, head: row.head.0, parts: parts.into(), length, close: row.close };
    let UnsentRow { request_id, client, user_id, asked_by: session_id, path, .. } = row;
    Some(Unsent { finished, plays, asked: Asked { request_id, client, user_id, session_id, path } })
}

fn playback_row(kept: &Kept) -> PlaybackRow {
    PlaybackRow {
        id: kept.id,
        watches: watches_row(&kept.key, &kept.watcher),
        started: kept.started.microseconds(),
        bytes: kept.bytes,
        retransmits: kept.retransmits,
    }
}

fn kept(row: PlaybackRow) -> Kept {
    let (key, watcher) = watches(row.watches);
    let PlaybackRow { id, started, bytes, retransmits, .. } = row;
    Kept { id, key, watcher, started: Timestamp::from_microseconds(started), bytes, retransmits }
}

fn watches_row(key: &Key, watcher: &Watcher) -> WatchesRow {
    WatchesRow {
        owner: match key.owner {
            Owner::User(id) => OwnerRow::User(id),
            Owner::Link(id) => OwnerRow::Link(id),
        },
        video: key.video,
        player: key.player,
        user_id: watcher.user_id,
        session_id: watcher.session_id,
        client: watcher.client,
        is_near: watcher.is_near,
        max_bandwidth: watcher.max_bandwidth,
    }
}

fn watches(row: WatchesRow) -> (Key, Watcher) {
    let owner = match row.owner {
        OwnerRow::User(id) => Owner::User(id),
        OwnerRow::Link(id) => Owner::Link(id),
    };
    let WatchesRow { video, player, user_id, session_id, client, is_near, max_bandwidth, .. } = row;
    let watcher = Watcher { user_id, session_id, client, is_near, max_bandwidth, sign: Sign::default() };
    (Key { owner, video, player }, watcher)
}
