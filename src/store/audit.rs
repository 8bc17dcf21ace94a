//! The audit trail: who did what to accounts, sessions and streams, for an administrator to look up.
//!
//! The one idea: a row is written in the transaction of what it is about, so that neither is there without the other. The
//! trail is bounded: the oldest rows go. It never holds a password or a token.

use std::net::IpAddr;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::columns::{Id, Word};
use super::{Fault, Store, Timestamp, writer};
use crate::limits;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// Somebody signed in.
    Login,
    /// Somebody tried to, with a wrong name or password.
    LoginFailed,
    /// Somebody signed out.
    Logout,
    /// A token was refreshed.
    Refresh,
    /// An account was made.
    UserAdded,
    /// An account was changed: name, address, role, state or preferences.
    UserChanged,
    /// An account was removed.
    UserRemoved,
    /// A password was changed.
    PasswordChanged,
    /// A session was ended by its user or an administrator.
    SessionEnded,
    /// A token was made on the command line.
    TokenMade,
    /// A share link was made.
    LinkMade,
    /// A stream was stopped by its user or an administrator.
    StreamStopped,
    /// The configuration was read again, and is in force.
    ConfigReloaded,
    /// The database came back from a backup, and all sessions and links were ended.
    Restored,
}

/// What the trail is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// What was done.
    pub action: AuditAction,
    /// The user who did it; none for the command line of the machine, and for who is not known.
    pub actor: Option<Uuid>,
    /// What it was done to: an id, or the name that was tried.
    pub subject: Option<String>,
    /// The address that the request came from; none for the command line.
    pub client: Option<IpAddr>,
}

/// One row of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Its number: later rows have higher ones.
    pub id: i64,
    /// When it was done.
    pub at: Timestamp,
    /// What was done.
    pub action: AuditAction,
    /// The user who did it.
    pub actor: Option<Uuid>,
    /// What it was done to.
    pub subject: Option<String>,
    /// The address that the request came from.
    pub client: Option<String>,
}

impl Audit {
    /// What the command line of this machine did.
    pub fn by_machine(action: AuditAction, subject: Uuid) -> Audit {
        Audit { action, actor: None, subject: Some(subject.to_string()), client: None }
    }
}

impl Store {
    /// Notes what has no transaction of its own.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_noted(&self, audit: Audit, now: Timestamp) -> Result<(), Fault> {
        self.write(move |connection| add(connection, &audit, now)).await
    }

    /// Notes it a moment later, and not at all where too much waits: for what nobody must wait for, or may flood.
    pub fn audit_noted_later(&self, audit: Audit, now: Timestamp) {
        let (reply, _nobody_waits) = oneshot::channel();
        let job = writer::job(move |connection| add(connection, &audit, now), reply);
        if let Err(error) = self.0.writer.send(job) {
            tracing::debug!(%error, "audit row dropped");
        }
    }

    /// At most `limit` rows that are older than the row `before`, or the newest, the newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_rows(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRow>, Fault> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, at, action, actor, subject, client FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            statement.query_map(params![before.unwrap_or(i64::MAX), limit], from_row)?.collect()
        })
        .await
    }
}

/// Writes a row, and lets the oldest go.
pub(super) fn add(connection: &Connection, audit: &Audit, now: Timestamp) -> rusqlite::Result<()> {
    let subject: Option<String> =
        audit.subject.as_ref().filter(|subject| !subject.is_empty()).map(|text| text.chars().take(200).collect());
    let mut statement = connection
        .prepare_cached("INSERT INTO audit (at, action, actor, subject, client) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let client = audit.client.map(|address| address.to_string());
    statement.execute(params![now, Word(audit.action), audit.actor.map(Id), subject, client])?;
    let oldest_kept = connection.last_insert_rowid() - limits::AUDIT_ROWS_MAX;
    connection.prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([oldest_kept]).map(drop)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        id: row.get(0)?,
        at: row.get(1)?,
        action: row.get::<_, Word<AuditAction>>(2)?.0,
        actor: row.get::<_, Option<Id>>(3)?.map(|id| id.0),
        subject: row.get(4)?,
        client: row.get(5)?,
    })
}
