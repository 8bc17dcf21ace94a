//! Sign-ins: one row for each login on each device.
//!
//! The one idea: the row outlives the slot in memory. A session that rests or was evicted is woken from here; one that
//! was revoked is dead for good. Whether a row still counts is for the caller to say, who knows the time.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::columns::{Id, Word};
use super::users::{self, Device, User};
use super::{Fault, Store, Timestamp};

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

    /// At most `limit` sessions that could be used at `now`, and their users, the last seen first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sessions_live(&self, now: Timestamp, limit: usize) -> Result<Vec<(Session, User)>, Fault> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, {} FROM user_sessions JOIN users ON users.id = user_sessions.user_id
                 WHERE user_sessions.revoked_at IS NULL AND user_sessions.expires_at > ?1 AND users.is_active = 1
                 ORDER BY user_sessions.last_activity DESC LIMIT ?2",
                users::COLUMNS
            ))?;
            statement.query_map(params![now, limit], with_user)?.collect()
        })
        .await
    }

    /// Makes a session without a login: for a token made on the command line.
    ///
    /// # Errors
    /// The database failed, or there is no such user.
    pub async fn session_add(&self, session: NewSession, now: Timestamp) -> Result<Session, Fault> {
        self.write(move |connection| add(connection, &session, now)).await
    }
}

/// Inserts the row of a session that starts now.
pub(super) fn add(connection: &Connection, session: &NewSession, now: Timestamp) -> rusqlite::Result<Session> {
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO user_sessions (session_id, user_id, device, expires_at, created_at, last_activity)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5) RETURNING {COLUMNS}"
    ))?;
    let values = params![Id(session.id), Id(session.user_id), session.device.map(Word), session.expires_at, now];
    statement.query_row(values, from_row)
}

/// The columns that [`from_row`] reads.
const COLUMNS: &str = "user_sessions.session_id, user_sessions.user_id, user_sessions.device, \
     user_sessions.generation, user_sessions.expires_at, user_sessions.created_at, user_sessions.last_activity, \
     user_sessions.revoked_at";
/// How many they are.
const COLUMN_COUNT: usize = 8;

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
    })
}

fn with_user(row: &Row<'_>) -> rusqlite::Result<(Session, User)> {
    Ok((from_row(row)?, users::from_row(row, COLUMN_COUNT)?))
}
