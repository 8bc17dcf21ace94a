//! Copies of the database, and databases that come back.
//!
//! The one idea: a copy is one transaction of a reader, so it is whole whoever writes meanwhile, and it is one file without a
//! log, so it may be carried anywhere. What comes back is believed only after a look at all of it, and nobody is signed in by
//! it: what was revoked since the copy was made is not in it. <https://sqlite.org/backup.html>

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};

use super::columns::Word;
use super::{AuditAction, Fault, Timestamp, connection, migrations};

/// A database that may be in use, open for a copy or a look.
#[derive(Debug)]
pub struct Original {
    connection: Connection,
    file: std::path::PathBuf,
}

/// What a look at a database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The steps of the schema that it has behind it.
    pub schema: i64,
    /// Accounts.
    pub users: i64,
    /// Administrators who may sign in.
    pub admins: i64,
}

impl Original {
    /// Opens the database at `file`, so that it cannot be written. Beside it may appear its log and index: be who owns it.
    ///
    /// # Errors
    /// As [`super::Store::open`], and [`Fault::Open`] when there is none.
    pub fn open(file: &Path) -> Result<Original, Fault> {
        connection::refuse_unfinished(file)?;
        let connection = connection::open_for_reading(file)?;
        migrations::check_origin(&connection, file)?;
        Ok(Original { connection, file: file.to_owned() })
    }

    /// What it holds.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] when its structure is damaged; otherwise what SQLite says.
    pub fn contents(&self) -> Result<Contents, Fault> {
        connection::check_whole(&self.connection, &self.file)?;
        contents(&self.connection).map_err(|error| Fault::of(&self.file, &error))
    }

    /// Copies all of it, as it is at one moment, to `copy`, which is new or an empty file; then looks whether that is whole.
    ///
    /// # Errors
    /// [`Fault::DiskFull`] and [`Fault::Corrupt`] as they say; otherwise what SQLite says.
    pub fn copy_to(&self, copy: &Path) -> Result<Contents, Fault> {
        let fault = |error| Fault::of(copy, &error);
        let mut destination = Connection::open(copy).map_err(fault)?;
        // All pages in one step are one transaction of a reader: nobody waits for it, and no write makes it begin anew.
        let step = Backup::new(&self.connection, &mut destination).and_then(|backup| backup.step(-1)).map_err(fault)?;
        if step != StepResult::Done {
            return Err(Fault::Busy { file: self.file.clone() });
        }
        destination.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(fault)?;
        // The damage is the original's.
        connection::check_whole(&destination, &self.file)?;
        let contents = contents(&destination).map_err(fault)?;
        destination.close().map_err(|(_, error)| fault(error))?;
        Ok(contents)
    }
}

/// The schema that this program brings a database to.
pub fn schema_known() -> i64 {
    migrations::STEPS.len() as i64
}

/// Looks at all of a database that somebody brings, which nobody else has open.
///
/// # Errors
/// [`Fault::Corrupt`], [`Fault::Newer`] and [`Fault::Open`], for another program's, as they say.
pub fn examine(file: &Path) -> Result<Contents, Fault> {
    let connection = connection::open_for_reading(file)?;
    migrations::check_origin(&connection, file)?;
    let fault = |error| Fault::of(file, &error);
    let finding: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(fault)?;
    if finding != "ok" {
        return Err(Fault::corrupt(file, finding));
    }
    let orphans: i64 =
        connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).map_err(fault)?;
    if orphans > 0 {
        return Err(Fault::corrupt(file, format!("{orphans} rows belong to nobody")));
    }
    contents(&connection).map_err(fault)
}

/// Ends all sessions and links of a database that nobody has open, and notes that it was restored.
///
/// # Errors
/// What SQLite says; then nothing was changed.
pub fn sign_everybody_out(file: &Path, now: Timestamp) -> Result<(), Fault> {
    let end = || {
        let mut connection = open_alone(file)?;
        let transaction = connection.transaction()?;
        transaction.execute("UPDATE user_sessions SET revoked_at = ?1 WHERE revoked_at IS NULL", params![now])?;
        // Older schemas have no links, and no trail.
        if has_table(&transaction, "links")? {
            transaction.execute("DELETE FROM links", [])?;
        }
        if has_table(&transaction, "audit")? {
            let row = params![now, Word(AuditAction::Restored)];
            transaction.execute("INSERT INTO audit (at, action) VALUES (?1, ?2)", row)?;
        }
        transaction.commit()?;
        connection.close().map_err(|(_, error)| error)
    };
    end().map_err(|error| Fault::of(file, &error))
}

/// Folds the log of a database that nobody has open into its file, so that the one file is the whole database.
///
/// # Errors
/// When it is damaged, or not a database.
pub fn fold_log(file: &Path) -> Result<(), Fault> {
    let fold = || {
        let connection = open_alone(file)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    fold().map_err(|error| Fault::of(file, &error))
}

fn open_alone(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection::settle(&connection)?;
    connection.busy_timeout(Duration::ZERO)?;
    connection::make_durable(&connection)?;
    Ok(connection)
}

fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection.table_exists(None, name)
}

fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    let schema = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if !has_table(connection, "users")? {
        return Ok(Contents { schema, users: 0, admins: 0 });
    }
    let counts = "SELECT count(*), count(*) FILTER (WHERE role = 'admin' AND is_active = 1) FROM users";
    connection.query_row(counts, [], |row| Ok(Contents { schema, users: row.get(0)?, admins: row.get(1)? }))
}
