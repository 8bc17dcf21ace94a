//! Changes of an account, and its end.
//!
//! The one idea: what a change makes void is ended in the same transaction. Another password, role or state raises the
//! account's `credential_version` and ends its sessions; and there is always an administrator left who may sign in.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{COLUMNS, Preferences, Role, User, UserError, check, from_row, id_by_name};
use crate::store::audit::{self, Audit};
use crate::store::columns::{Id, Json, Word};
use crate::store::{Store, Timestamp, sessions};

/// What is to change of an account; `None` leaves it as it is.
#[derive(Clone, Default)]
pub struct UserChange {
    /// The name to sign in with.
    pub username: Option<String>,
    /// An address; `Some(None)` takes it away.
    pub email: Option<Option<String>>,
    /// What it may do.
    pub role: Option<Role>,
    /// Whether it may do anything.
    pub is_active: Option<bool>,
    /// The hash of a new password, in PHC form.
    pub password_hash: Option<String>,
    /// How this person likes to watch.
    pub preferences: Option<Preferences>,
    /// The session that a new password does not end: the one it was changed from.
    pub kept_session: Option<Uuid>,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The account as it is now.
    pub user: User,
    /// The sessions that the change has ended.
    pub ended: Vec<Uuid>,
    /// Whether it is another password, role or state: whoever came in by the old ones is out.
    pub is_void: bool,
}

impl Store {
    /// Changes an account. `None` when there is no such one.
    ///
    /// # Errors
    /// As [`UserError`] says; nothing has changed then.
    pub async fn user_changed(
        &self,
        id: Uuid,
        change: UserChange,
        audit: Audit,
        now: Timestamp,
    ) -> Result<Option<Changed>, UserError> {
        if let Some(username) = &change.username {
            check(username, None)?;
        }
        if let Some(email) = &change.email {
            check("name", email.as_deref())?;
        }
        self.write(move |connection| {
            let Some(user) = by_id(connection, id)? else { return Ok(Ok(None)) };
            if let Err(error) = allowed(connection, &user, &change)? {
                return Ok(Err(error));
            }
            let changed = apply(connection, user, change, now)?;
            audit::add(connection, &audit, now)?;
            Ok(Ok(Some(changed)))
        })
        .await?
    }

    /// Removes an account with everything that is its own. Whether there was one.
    ///
    /// # Errors
    /// As [`UserError`] says; the account is still there then.
    pub async fn user_removed(&self, id: Uuid, audit: Audit, now: Timestamp) -> Result<bool, UserError> {
        self.write(move |connection| {
            let Some(user) = by_id(connection, id)? else { return Ok(Ok(false)) };
            if is_last_admin(connection, &user)? {
                return Ok(Err(UserError::LastAdmin));
            }
            connection.prepare_cached("DELETE FROM users WHERE id = ?1")?.execute([Id(id)])?;
            audit::add(connection, &audit, now)?;
            Ok(Ok(true))
        })
        .await?
    }

    /// At most `limit` accounts by name, from the one after `after` on; of which `query` is part of the name or the
    /// address, in whatever case of ASCII.
    ///
    /// # Errors
    /// The database failed.
    pub async fn users_page(
        &self,
        query: Option<String>,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<User>, crate::store::Fault> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM users
                 WHERE (?1 IS NULL OR instr(lower(username), lower(?1)) OR instr(lower(ifnull(email, '')), lower(?1)))
                     AND (?2 IS NULL OR username > ?2)
                 ORDER BY users.username LIMIT ?3"
            ))?;
            statement.query_map(params![query, after, limit], |row| from_row(row, 0))?.collect()
        })
        .await
    }
}

fn by_id(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<User>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM users WHERE users.id = ?1"))?;
    statement.query_row([Id(id)], |row| from_row(row, 0)).optional()
}

/// Whether the account may be changed so. Runs on the writer, so nothing changes between this look and the change.
fn allowed(connection: &Connection, user: &User, change: &UserChange) -> rusqlite::Result<Result<(), UserError>> {
    let own_id = user.id.to_string();
    if let Some(name) = &change.username
        && id_by_name(connection, name)?.is_some_and(|id| id != own_id)
    {
        return Ok(Err(UserError::NameTaken(name.clone())));
    }
    if let Some(Some(email)) = &change.email {
        let mut statement = connection.prepare_cached("SELECT 1 FROM users WHERE email = ?1 AND id <> ?2")?;
        if statement.exists(params![email, own_id])? {
            return Ok(Err(UserError::EmailTaken(email.clone())));
        }
    }
    let steps_down = change.role == Some(Role::User) || change.is_active == Some(false);
    Ok(if steps_down && is_last_admin(connection, user)? { Err(UserError::LastAdmin) } else { Ok(()) })
}

/// Whether nobody else could sign in as an administrator.
fn is_last_admin(connection: &Connection, user: &User) -> rusqlite::Result<bool> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM users WHERE role = 'admin' AND is_active = 1 AND id <> ?1")?;
    Ok(user.role == Role::Admin && user.is_active && !statement.exists([Id(user.id)])?)
}

fn apply(connection: &Connection, user: User, change: UserChange, now: Timestamp) -> rusqlite::Result<Changed> {
    let is_another_role = change.role.is_some_and(|role| role != user.role);
    let is_another_state = change.is_active.is_some_and(|is_active| is_active != user.is_active);
    let is_void = is_another_role || is_another_state || change.password_hash.is_some();
    let kept = change.kept_session.filter(|_| !is_another_role && !is_another_state);
    let ended = if is_void { sessions::revoke_all(connection, Some(user.id), kept, now)? } else { Vec::new() };
    let mut statement = connection.prepare_cached(&format!(
        "UPDATE users SET username = ?2, email = ?3, role = ?4, is_active = ?5, streaming_preferences = ?6,
             password_hash = ifnull(?7, password_hash), credential_version = credential_version + ?8
         WHERE id = ?1 RETURNING {COLUMNS}"
    ))?;
    let values = params![
        Id(user.id),
        change.username.unwrap_or(user.username),
        change.email.unwrap_or(user.email),
        Word(change.role.unwrap_or(user.role)),
        change.is_active.unwrap_or(user.is_active),
        Json(change.preferences.unwrap_or(user.preferences)),
        change.password_hash,
        is_void
    ];
    Ok(Changed { user: statement.query_row(values, |row| from_row(row, 0))?, ended, is_void })
}
