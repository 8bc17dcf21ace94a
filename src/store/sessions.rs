//! Sign-ins: one row for each login on each device.
//!
//! The one idea: the row outlives the slot in memory. A session that rests or was evicted is woken from here; one that
//! was revoked is dead for good. Whether a row still counts is for the caller to say, who knows the time.

use std::net::IpAddr;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::audit::{self, Audit};
use super::columns::{Id, Word};
use super::users::{self, Device, User};
use super::{Fault, Store, Timestamp};
use crate::limits;

/// A session to be made.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id, from the caller: random, because the token names it.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// What they watch on, if they said so.
    pub device: Option<Device>,
    /// When its token ends.
    pub expires_at: Timestamp,
    /// The address that the login came from; none on the command line.
    pub client: Option<IpAddr>,
}

/// One login on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id for ever.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// What they watch on, if they said so.
    pub device: Option<Device>,
    /// How often its token was refreshed: the n of `<uuid>.<n>`.
    pub generation: u32,
    /// When its token ends.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last seen doing something.
    pub last_activity: Timestamp,
    /// When it was ended for good, if it was.
    pub revoked_at: Option<Timestamp>,
    /// Bytes of films that it was sent.
    pub bytes_streamed: u64,
    /// The address that the login came from.
    pub client: Option<IpAddr>,
}

/// What a login needs to know to find room for its session.
#[derive(Clone, Debug)]
pub struct Room {
    /// How many sessions one user may have.
    pub max_per_user: usize,
    /// What memory knows better than the rows of this user's sessions.
    pub held: Vec<Held>,
    /// The version of the credentials that were proved: a change meanwhile makes the proof void.
    pub credential_version: u32,
}

/// A session in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The session.
    pub id: Uuid,
    /// When it last did something.
    pub last_activity: Timestamp,
    /// Whether it plays: then no login signs it out.
    pub is_playing: bool,
}

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// There is a session.
    SignedIn {
        /// The new one.
        session: Session,
        /// Those that were ended to make room for it.
        signed_out: Vec<Uuid>,
    },
    /// The user has as many sessions as may be, and all of them play. Nothing was written.
    AllPlaying(Vec<Session>),
    /// The user is gone or disabled, or has other credentials by now. Nothing was written.
    UserGone,
}

/// What a session did, to be written behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The session.
    pub id: Uuid,
    /// When it last did something.
    pub last_activity: Timestamp,
    /// Bytes of films that it was sent, in all.
    pub bytes_streamed: u64,
}

impl Store {
    /// The session of this id and its user, whether it is alive or not: look at `expires_at`, `revoked_at` and the
    /// user's `is_active`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn session(&self, id: Uuid) -> Result<Option<(Session, User)>, Fault> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, {} FROM user_sessions JOIN users ON users.id = user_sessions.user_id
                 WHERE user_sessions.session_id = ?1",
                users::COLUMNS
            ))?;
            statement.query_row([Id(id)], with_user).optional()
        })
        .await
    }

    /// At most `limit` sessions of a user, or of everybody, that could be used at `now`, and their users, the last seen first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sessions_live(
        &self,
        user_id: Option<Uuid>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Session, User)>, Fault> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, {} FROM user_sessions JOIN users ON users.id = user_sessions.user_id
                 WHERE user_sessions.revoked_at IS NULL AND user_sessions.expires_at > ?1 AND users.is_active = 1
                     AND (?3 IS NULL OR user_sessions.user_id = ?3)
                 ORDER BY user_sessions.last_activity DESC LIMIT ?2",
                users::COLUMNS
            ))?;
            statement.query_map(params![now, limit, user_id.map(Id)], with_user)?.collect()
        })
        .await
    }

    /// Makes a session without a login: for a token made on the command line.
    ///
    /// # Errors
    /// The database failed, or there is no such user.
    pub async fn session_add(&self, session: NewSession, audit: Audit, now: Timestamp) -> Result<Session, Fault> {
        self.write(move |connection| {
            audit::add(connection, &audit, now)?;
            add(connection, &session, now)
        })
        .await
    }

    /// Somebody has signed in: the session, the account's `last_login`, and the end of the user's idlest session where
    /// there are as many as there may be; all or nothing.
    ///
    /// # Errors
    /// The database failed.
    pub async fn login_recorded(
        &self,
        session: NewSession,
        room: Room,
        audit: Audit,
        now: Timestamp,
    ) -> Result<Login, Fault> {
        self.write(move |connection| {
            let user = connection
                .prepare_cached(&format!("SELECT {} FROM users WHERE users.id = ?1", users::COLUMNS))?
                .query_row([Id(session.user_id)], |row| users::from_row(row, 0))
                .optional()?;
            if !user.is_some_and(|user| user.is_active && user.credential_version == room.credential_version) {
                return Ok(Login::UserGone);
            }
            let mut sessions = live_of(connection, session.user_id, now)?;
            let mut signed_out = Vec::new();
            while sessions.len() >= room.max_per_user.max(1) {
                let Some(idlest) = idlest(&sessions, &room.held) else { return Ok(Login::AllPlaying(sessions)) };
                let session = sessions.swap_remove(idlest);
                revoke(connection, session.id, now)?;
                signed_out.push(session.id);
            }
            forget_ended(connection, now)?;
            connection
                .prepare_cached("UPDATE users SET last_login = ?2 WHERE id = ?1")?
                .execute(params![Id(session.user_id), now])?;
            audit::add(connection, &audit, now)?;
            Ok(Login::SignedIn { session: add(connection, &session, now)?, signed_out })
        })
        .await
    }

    /// Raises the generation of a session's token, if it is still `generation`: of two that refresh the same token one does,
    /// and the older tokens are dead. `None` when it is another by now, or the session is over.
    ///
    /// # Errors
    /// The database failed.
    pub async fn session_refreshed(
        &self,
        id: Uuid,
        generation: u32,
        expires_at: Timestamp,
        audit: Audit,
        now: Timestamp,
    ) -> Result<Option<Session>, Fault> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "UPDATE user_sessions SET generation = generation + 1, expires_at = ?3, last_activity = ?4
                 WHERE session_id = ?1 AND generation = ?2 AND revoked_at IS NULL AND expires_at > ?4
                 RETURNING {COLUMNS}"
            ))?;
            let refreshed = statement.query_row(params![Id(id), generation, expires_at, now], from_row).optional()?;
            if refreshed.is_some() {
                audit::add(connection, &audit, now)?;
            }
            Ok(refreshed)
        })
        .await
    }

    /// Ends a session for good. Whether it was alive.
    ///
    /// # Errors
    /// The database failed: it goes on.
    pub async fn session_revoked(&self, id: Uuid, audit: Audit, now: Timestamp) -> Result<bool, Fault> {
        self.write(move |connection| {
            let was_alive = revoke(connection, id, now)?;
            if was_alive {
                audit::add(connection, &audit, now)?;
            }
            Ok(was_alive)
        })
        .await
    }

    /// Ends all sessions of a user, or of everybody. Returns those that it ended.
    ///
    /// # Errors
    /// The database failed: all go on.
    pub async fn sessions_revoked_of(
        &self,
        user_id: Option<Uuid>,
        audit: Audit,
        now: Timestamp,
    ) -> Result<Vec<Uuid>, Fault> {
        self.write(move |connection| {
            let ended = revoke_all(connection, user_id, None, now)?;
            audit::add(connection, &audit, now)?;
            Ok(ended)
        })
        .await
    }

    /// Notes what sessions did. Only ever raises what a row says, and passes over sessions that are gone.
    ///
    /// # Errors
    /// The database failed: none was noted.
    pub async fn sessions_touched(&self, touched: Vec<Touched>) -> Result<(), Fault> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE user_sessions SET last_activity = max(last_activity, ?2), bytes_streamed = max(bytes_streamed, ?3)
                 WHERE session_id = ?1",
            )?;
            for session in touched {
                let bytes = i64::try_from(session.bytes_streamed).unwrap_or(i64::MAX);
                statement.execute(params![Id(session.id), session.last_activity, bytes])?;
            }
            Ok(())
        })
        .await
    }
}

/// Which of these sessions did nothing for longest and plays nothing.
fn idlest(sessions: &[Session], held: &[Held]) -> Option<usize> {
    let last_activity = |session: &Session| match held.iter().find(|held| held.id == session.id) {
        Some(held) if held.is_playing => None,
        Some(held) => Some(held.last_activity.max(session.last_activity)),
        None => Some(session.last_activity),
    };
    let ranked = sessions.iter().enumerate().filter_map(|(index, session)| Some((last_activity(session)?, index)));
    ranked.min().map(|(_, index)| index)
}

/// The sessions of a user that could be used at `now`.
fn live_of(connection: &Connection, user_id: Uuid, now: Timestamp) -> rusqlite::Result<Vec<Session>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM user_sessions WHERE user_id = ?1 AND revoked_at IS NULL AND expires_at > ?2"
    ))?;
    statement.query_map(params![Id(user_id), now], from_row)?.collect()
}

fn revoke(connection: &Connection, id: Uuid, now: Timestamp) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "UPDATE user_sessions SET revoked_at = ?2 WHERE session_id = ?1 AND revoked_at IS NULL AND expires_at > ?2",
    )?;
    Ok(statement.execute(params![Id(id), now])? > 0)
}

/// Ends all sessions of a user, or of everybody, but `kept`.
pub(super) fn revoke_all(
    connection: &Connection,
    user_id: Option<Uuid>,
    kept: Option<Uuid>,
    now: Timestamp,
) -> rusqlite::Result<Vec<Uuid>> {
    let mut statement = connection.prepare_cached(
        "UPDATE user_sessions SET revoked_at = ?3
         WHERE (?1 IS NULL OR user_id = ?1) AND session_id IS NOT ?2 AND revoked_at IS NULL AND expires_at > ?3
         RETURNING session_id",
    )?;
    let ended = statement.query_map(params![user_id.map(Id), kept.map(Id), now], |row| row.get::<_, Id>(0))?;
    ended.map(|id| id.map(|id| id.0)).collect()
}

/// Rows of sessions that ended long ago are of no use to anybody.
fn forget_ended(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("DELETE FROM user_sessions WHERE expires_at < ?1 OR revoked_at < ?1")?;
    statement.execute([now.minus(limits::ENDED_SESSIONS_KEPT)]).map(drop)
}

/// Inserts the row of a session that starts now.
pub(super) fn add(connection: &Connection, session: &NewSession, now: Timestamp) -> rusqlite::Result<Session> {
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO user_sessions (session_id, user_id, device, expires_at, created_at, last_activity, client)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) RETURNING {COLUMNS}"
    ))?;
    let client = session.client.map(|address| address.to_string());
    let device = session.device.map(Word);
    let values = params![Id(session.id), Id(session.user_id), device, session.expires_at, now, client];
    statement.query_row(values, from_row)
}

/// The columns that [`from_row`] reads.
const COLUMNS: &str = "user_sessions.session_id, user_sessions.user_id, user_sessions.device, \
     user_sessions.generation, user_sessions.expires_at, user_sessions.created_at, user_sessions.last_activity, \
     user_sessions.revoked_at, user_sessions.bytes_streamed, user_sessions.client";
/// How many they are.
const COLUMN_COUNT: usize = 10;

fn from_row(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get::<_, Id>(0)?.0,
        user_id: row.get::<_, Id>(1)?.0,
        device: row.get::<_, Option<Word<Device>>>(2)?.map(|word| word.0),
        generation: row.get(3)?,
        expires_at: row.get(4)?,
        created_at: row.get(5)?,
        last_activity: row.get(6)?,
        revoked_at: row.get(7)?,
        bytes_streamed: row.get::<_, i64>(8)?.unsigned_abs(),
        client: address(row, 9)?,
    })
}

fn address(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<IpAddr>> {
    let text: Option<String> = row.get(index)?;
    let parse = |text: String| {
        text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
    };
    text.map(parse).transpose()
}

fn with_user(row: &Row<'_>) -> rusqlite::Result<(Session, User)> {
    Ok((from_row(row)?, users::from_row(row, COLUMN_COUNT)?))
}
