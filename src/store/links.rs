//! Share links, and who has played them.
//!
//! The one idea: the daemon has all links in memory, so this is read where it starts and where the links change,
//! and never for a request. Plays are written behind.

use std::time::Duration;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::audit::{self, Audit};
use super::columns::Id;
use super::{Fault, Store, Timestamp};
use crate::limits;

/// A link to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// Its id.
    pub id: Uuid,
    /// A hash of its token.
    pub mark: String,
    /// Who makes it; none for the command line of the machine.
    pub user_id: Option<Uuid>,
    /// What it shows.
    pub video_id: Uuid,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How often it may be played.
    pub max_plays: Option<u32>,
}

/// A link that was made, and not taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it was made with.
    pub made: NewLink,
    /// How often it was played.
    pub plays: u32,
    /// Who has played it lately, and when.
    pub clients: Vec<(u64, Timestamp)>,
}

/// A play to be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// Of this link.
    pub link_id: Uuid,
    /// By this client.
    pub client: u64,
    /// When.
    pub at: Timestamp,
    /// How often the link was played by then.
    pub plays: u32,
}

impl Store {
    /// Makes a link, unless there are as many as may be. Whether it did.
    ///
    /// # Errors
    /// The database failed: there is no link.
    pub async fn link_add(&self, link: NewLink, audit: Audit, now: Timestamp) -> Result<bool, Fault> {
        self.write(move |connection| {
            // Those that are over make room. The latest of them are kept: films may be on their way by them.
            let mut forget = connection.prepare_cached(
                "DELETE FROM links WHERE expires_at <= ?1 OR id IN
                 (SELECT id FROM links WHERE expires_at <= ?2 ORDER BY expires_at DESC LIMIT -1 OFFSET ?3)",
            )?;
            forget.execute(params![now.minus(limits::ENDED_LINKS_KEPT), now, limits::ENDED_LINKS_MAX as i64])?;
            let count: i64 =
                connection.query_row("SELECT count(*) FROM links WHERE expires_at > ?1", [now], |row| row.get(0))?;
            if count >= limits::LINKS_MAX as i64 {
                return Ok(false);
            }
            let mut statement = connection.prepare_cached(
                "INSERT INTO links (id, mark, user_id, video_id, created_at, expires_at, max_plays)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            statement.execute(params![
                Id(link.id),
                link.mark,
                link.user_id.map(Id),
                Id(link.video_id),
                now,
                link.expires_at,
                link.max_plays
            ])?;
            audit::add(connection, &audit, now)?;
            Ok(true)
        })
        .await
    }

    /// All links that live at `now` or were over lately, and whose makers may sign in, with who has played them since `within`
    /// ago.
    ///
    /// # Errors
    /// The database failed.
    pub async fn links_known(&self, within: Duration, now: Timestamp) -> Result<Vec<Link>, Fault> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT links.id, mark, user_id, video_id, expires_at, max_plays, plays
                 FROM links LEFT JOIN users ON users.id = links.user_id
                 WHERE expires_at > ?1 AND (links.user_id IS NULL OR users.is_active)",
            )?;
            let links = statement.query_map([now.minus(limits::ENDED_LINKS_KEPT)], |row| {
                let made = NewLink {
                    id: row.get::<_, Id>(0)?.0,
                    mark: row.get(1)?,
                    user_id: row.get::<_, Option<Id>>(2)?.map(|id| id.0),
                    video_id: row.get::<_, Id>(3)?.0,
                    expires_at: row.get(4)?,
                    max_plays: row.get(5)?,
                };
                let clients = clients(connection, made.id, now.minus(within))?;
                Ok(Link { made, plays: row.get(6)?, clients })
            })?;
            links.collect()
        })
        .await
    }

    /// Notes plays. Those of links that are gone are passed over.
    ///
    /// # Errors
    /// The database failed: none was noted.
    pub async fn links_played(&self, played: Vec<Played>, within: Duration) -> Result<(), Fault> {
        self.write(move |connection| {
            for Played { link_id, client, at, plays } in played {
                let mut count =
                    connection.prepare_cached("UPDATE links SET plays = max(plays, ?2) WHERE id = ?1 AND ?2 > 0")?;
                if count.execute(params![Id(link_id), plays])? == 0 {
                    continue;
                }
                connection
                    .prepare_cached("DELETE FROM link_plays WHERE link_id = ?1 AND at <= ?2")?
                    .execute(params![Id(link_id), at.minus(within)])?;
                connection
                    .prepare_cached("INSERT OR REPLACE INTO link_plays (link_id, client, at) VALUES (?1, ?2, ?3)")?
                    .execute(params![Id(link_id), client.cast_signed(), at])?;
            }
            Ok(())
        })
        .await
    }
}

fn clients(connection: &Connection, link_id: Uuid, since: Timestamp) -> rusqlite::Result<Vec<(u64, Timestamp)>> {
    let mut statement =
        connection.prepare_cached("SELECT client, at FROM link_plays WHERE link_id = ?1 AND at > ?2 ORDER BY at")?;
    let rows = statement
        .query_map(params![Id(link_id), since], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))?;
    rows.collect()
}
