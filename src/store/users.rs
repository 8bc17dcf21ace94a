//! Accounts: who may sign in, with what role, and how they like to watch.
//!
//! The one idea: a name belongs to one person however it is typed, so names are compared without regard to case, also
//! outside ASCII. Rows carry a `credential_version` that rises with every change of password, role or state.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::audit::{self, Audit};
use super::columns::{Id, Json, Word};
use super::{Fault, Store, Timestamp};

mod changes;

pub use changes::{Changed, UserChange};

/// Characters of a user's name, at most (spec/SEED.md 59).
const USERNAME_CHARACTERS_MAX: usize = 50;
/// Characters of an address, at most (spec/SEED.md 59).
const EMAIL_CHARACTERS_MAX: usize = 100;

/// An account. Serialised it is the `User` of spec/API.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Its id for ever.
    pub id: Uuid,
    /// As it was typed when the account was made.
    pub username: String,
    /// An address, if one was given.
    pub email: Option<String>,
    /// What it may do.
    pub role: Role,
    /// A disabled account may do nothing, at once.
    pub is_active: bool,
    /// How this person likes to watch.
    pub preferences: Preferences,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody last signed in with it.
    pub last_login: Option<Timestamp>,
    /// Rises with every change of password, role or state: what was proved under an older one is void.
    #[serde(skip)]
    pub credential_version: u32,
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Watch, and change what is one's own.
    User,
}

/// How a person likes to watch. What a row does not say is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preferences {
    /// Which rendition to take.
    pub quality: Quality,
    /// Bits a second a stream may take; no limit without it.
    pub max_bandwidth: Option<u64>,
    /// What the person watches on.
    pub device_type: Option<Device>,
}

/// Which rendition of a video is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Quality {
    /// The best that the connection sustains.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// 480 lines.
    #[serde(rename = "480p")]
    P480,
    /// 720 lines.
    #[serde(rename = "720p")]
    P720,
    /// 1080 lines.
    #[serde(rename = "1080p")]
    P1080,
}

/// What a person watches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A computer.
    Desktop,
    /// A telephone or tablet.
    Mobile,
    /// A television set, or the box beside it.
    Tv,
}

/// A password's hash in PHC form (`$argon2id$…`). It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// An account to be made.
#[derive(Clone)]
pub struct NewUser {
    /// Its id, from the caller.
    pub id: Uuid,
    /// 1 to 50 characters, without colons and control characters.
    pub username: String,
    /// An address of at most 100 characters.
    pub email: Option<String>,
    /// What it may do.
    pub role: Role,
    /// The hash of its password, in PHC form.
    pub password_hash: String,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewUser")
            .field("username", &self.username)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Why an account was not made, changed or removed.
#[derive(Clone, Debug, Error)]
pub enum UserError {
    /// Somebody has this name, perhaps typed differently.
    #[error("the user name {0} is taken; choose another")]
    NameTaken(String),
    /// Somebody has this address.
    #[error("the address {0} belongs to another user")]
    EmailTaken(String),
    /// The name or the address is not one we can keep.
    #[error("{0}")]
    Invalid(&'static str),
    /// Nobody would be left who may administer.
    #[error("this is the last administrator who may sign in; make another one first")]
    LastAdmin,
    /// The database failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Store {
    /// Makes an account, active and with default preferences.
    ///
    /// # Errors
    /// As [`UserError`] says.
    pub async fn user_add(&self, user: NewUser, audit: Audit, now: Timestamp) -> Result<User, UserError> {
        check(&user.username, user.email.as_deref())?;
        self.write(move |connection| {
            let added = add(connection, user, now)?;
            if added.is_ok() {
                audit::add(connection, &audit, now)?;
            }
            Ok(added)
        })
        .await?
    }

    /// The account of this name, typed in whatever case, and the hash its password must match.
    ///
    /// # Errors
    /// The database failed.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<(User, PasswordHash)>, Fault> {
        let name = name.to_owned();
        self.read(move |connection| {
            let Some(id) = id_by_name(connection, &name)? else { return Ok(None) };
            let mut statement = connection
                .prepare_cached(&format!("SELECT {COLUMNS}, users.password_hash FROM users WHERE users.id = ?1"))?;
            statement.query_row([id], |row| Ok((from_row(row, 0)?, PasswordHash(row.get(COLUMN_COUNT)?)))).optional()
        })
        .await
    }

    /// The account of this id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn user_by_id(&self, id: Uuid) -> Result<Option<User>, Fault> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM users WHERE users.id = ?1"))?;
            statement.query_row([Id(id)], |row| from_row(row, 0)).optional()
        })
        .await
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn users(&self) -> Result<Vec<User>, Fault> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM users ORDER BY users.username"))?;
            statement.query_map([], |row| from_row(row, 0))?.collect()
        })
        .await
    }
}

/// The columns that [`from_row`] reads.
pub(super) const COLUMNS: &str = "users.id, users.username, users.email, users.role, users.is_active, \
     users.streaming_preferences, users.created_at, users.last_login, users.credential_version";
/// How many they are.
pub(super) const COLUMN_COUNT: usize = 9;

/// The account whose [`COLUMNS`] stand in `row` from index `first` on.
pub(super) fn from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get::<_, Id>(first)?.0,
        username: row.get(first + 1)?,
        email: row.get(first + 2)?,
        role: row.get::<_, Word<Role>>(first + 3)?.0,
        is_active: row.get(first + 4)?,
        preferences: row.get::<_, Json<Preferences>>(first + 5)?.0,
        created_at: row.get(first + 6)?,
        last_login: row.get(first + 7)?,
        credential_version: row.get(first + 8)?,
    })
}

/// Whether a name and an address can be kept.
fn check(name: &str, email: Option<&str>) -> Result<(), UserError> {
    if !(1..=USERNAME_CHARACTERS_MAX).contains(&name.chars().count()) {
        return Err(UserError::Invalid("a user name has 1 to 50 characters"));
    }
    // A name with a colon could never sign in by Basic: the colon ends it. RFC 7617 §2
    if name.contains(|character: char| character == ':' || character.is_control()) || name.trim() != name {
        return Err(UserError::Invalid(
            "a user name has no colon, no control character, and no space at its beginning or end",
        ));
    }
    if !(1..=EMAIL_CHARACTERS_MAX).contains(&email.map_or(1, |email| email.chars().count())) {
        return Err(UserError::Invalid("an e-mail address has 1 to 100 characters; leave it out if there is none"));
    }
    Ok(())
}

/// Runs on the writer, so nobody can take the name between the look and the insertion.
fn add(connection: &Connection, user: NewUser, now: Timestamp) -> rusqlite::Result<Result<User, UserError>> {
    if id_by_name(connection, &user.username)?.is_some() {
        return Ok(Err(UserError::NameTaken(user.username)));
    }
    if let Some(email) = &user.email {
        let mut statement = connection.prepare_cached("SELECT 1 FROM users WHERE email = ?1")?;
        if statement.exists([email])? {
            return Ok(Err(UserError::EmailTaken(email.clone())));
        }
    }
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO users (id, username, email, password_hash, role, streaming_preferences, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING {COLUMNS}"
    ))?;
    let values = params![
        Id(user.id),
        user.username,
        user.email,
        user.password_hash,
        Word(user.role),
        Json(Preferences::default()),
        now
    ];
    statement.query_row(values, |row| from_row(row, 0)).map(Ok)
}

/// The id of the account that has this name in whatever case. SQLite folds ASCII only, so a name with other letters
/// is looked for among all of them: a household has few.
fn id_by_name(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    if name.is_ascii() {
        let mut statement = connection.prepare_cached("SELECT id FROM users WHERE username = ?1")?;
        return statement.query_row([name], |row| row.get(0)).optional();
    }
    let folded = name.to_lowercase();
    let mut statement = connection.prepare_cached("SELECT id, username FROM users")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_str()?.to_lowercase() == folded {
            return row.get(0).map(Some);
        }
    }
    Ok(None)
}
