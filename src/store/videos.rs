//! What the library's scan found, remembered: ids, sizes, and since when each video has been there.
//!
//! The one idea: a scan is compared with the rows, and only what differs is written. Ten thousand unchanged films cost
//! reads and no fsync. A video that is gone keeps its row (its history, its place in playlists) and is unavailable.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::columns::Id;
use super::{Fault, Store, Timestamp};

/// A playable file that a scan has found.
#[derive(Clone, Debug)]
pub struct FoundVideo {
    /// Its id, from the caller: the same for the same root and path.
    pub id: Uuid,
    /// The name of the library root it is in.
    pub root: String,
    /// Its path below the root: any bytes, as Linux has them.
    pub path: Vec<u8>,
    /// The last part of its path, for people to read.
    pub filename: String,
    /// What it is called until somebody says otherwise.
    pub title: String,
    /// The container format, as spec/HTTP.md names it.
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// When the file was last changed.
    pub modified: Timestamp,
}

/// What a scan has changed in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Since when each video that was found has been known.
    pub known_since: HashMap<Uuid, Timestamp>,
    /// Videos that were not known, or not there, before.
    pub added: usize,
    /// Videos whose size, time or format has changed.
    pub changed: usize,
    /// Videos that are no longer there.
    pub removed: usize,
}

/// What the row of a video was like before a scan.
enum Before {
    /// There was none, or the file was not there.
    Absent,
    /// The file was another.
    Other,
    /// As it is now.
    Same,
}

impl Store {
    /// Remembers what a scan of the roots `scanned` has found, in one transaction: new videos get a row, changed ones
    /// are brought up to date, and videos of these roots that were not found become unavailable.
    ///
    /// # Errors
    /// The database failed; then nothing of the scan is remembered.
    pub async fn videos_sync(
        &self,
        scanned: Vec<String>,
        found: Vec<FoundVideo>,
        now: Timestamp,
    ) -> Result<Synced, Fault> {
        self.write(move |connection| {
            let mut synced = Synced { known_since: HashMap::with_capacity(found.len()), ..Synced::default() };
            for video in &found {
                let (known_since, before) = remember(connection, video, now)?;
                synced.known_since.insert(video.id, known_since);
                match before {
                    Before::Absent => synced.added += 1,
                    Before::Other => synced.changed += 1,
                    Before::Same => {}
                }
            }
            for root in &scanned {
                synced.removed += forget_missing(connection, root, &synced.known_since, now)?;
            }
            Ok(synced)
        })
        .await
    }

    /// The names of the roots in which the last scans have found videos.
    ///
    /// # Errors
    /// The database failed.
    pub async fn roots_with_videos(&self) -> Result<HashSet<String>, Fault> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT DISTINCT root FROM videos WHERE available = 1")?;
            select.query_map([], |row| row.get(0))?.collect()
        })
        .await
    }
}

/// Writes the row of `video` if it is new or has changed. Since when it has been known, and what it was like before.
fn remember(connection: &Connection, video: &FoundVideo, now: Timestamp) -> rusqlite::Result<(Timestamp, Before)> {
    let size = i64::try_from(video.size).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT created_at, available, file_size = ?2 AND modified_at = ?3 AND format = ?4 FROM videos WHERE id = ?1",
    )?;
    let values = params![Id(video.id), size, video.modified, video.format];
    let row = statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    match row {
        Some((known_since, true, true)) => return Ok((known_since, Before::Same)),
        Some((known_since, was_available, _)) => {
            // The title stays: somebody may have given the video a better one.
            let mut statement = connection.prepare_cached(
                "UPDATE videos SET file_size = ?2, modified_at = ?3, format = ?4, available = 1, updated_at = ?5
                 WHERE id = ?1",
            )?;
            statement.execute(params![Id(video.id), size, video.modified, video.format, now])?;
            return Ok((known_since, if was_available { Before::Other } else { Before::Absent }));
        }
        None => {}
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO videos
             (id, root, path_bytes, file_path, filename, title, format, file_size, modified_at, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)",
    )?;
    let readable_path = String::from_utf8_lossy(&video.path);
    statement.execute(params![
        Id(video.id),
        video.root,
        video.path,
        readable_path,
        video.filename,
        video.title,
        video.format,
        size,
        video.modified,
        now
    ])?;
    Ok((now, Before::Absent))
}

/// Marks the videos of `root` that are not among `found` as unavailable. How many these are.
fn forget_missing(
    connection: &Connection,
    root: &str,
    found: &HashMap<Uuid, Timestamp>,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    let mut select = connection.prepare_cached("SELECT id FROM videos WHERE root = ?1 AND available = 1")?;
    let mut missing = Vec::new();
    for id in select.query_map([root], |row| row.get::<_, Id>(0))? {
        let Id(id) = id?;
        if !found.contains_key(&id) {
            missing.push(id);
        }
    }
    let mut update = connection.prepare_cached("UPDATE videos SET available = 0, updated_at = ?2 WHERE id = ?1")?;
    for id in &missing {
        update.execute(params![Id(*id), now])?;
    }
    Ok(missing.len())
}
