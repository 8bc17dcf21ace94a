//! What can go wrong with the database, said so that the reader knows what to do.
//!
//! The one idea: the errors of SQLite are sorted here, once, into the few kinds that are answered differently: busy is
//! 503, a full disk is 507, and a file that cannot be trusted stops the start.

use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};
use thiserror::Error;

/// The database failed us. Each message names the file and what helps.
#[derive(Clone, Debug, Error)]
pub enum Fault {
    /// Too much waits already, or another process holds the database: later it will work.
    #[error("the database {} is busy: too much waits for it, or another program holds it; try again in a moment", file.display())]
    Busy {
        /// The database.
        file: PathBuf,
    },
    /// There is no room for what was to be written. Nothing of it was; reading goes on.
    #[error("the disk that holds the database {} is full: make room on it, then try again", file.display())]
    DiskFull {
        /// The database.
        file: PathBuf,
    },
    /// The file is no database, or damaged.
    #[error(
        "the database {} is damaged ({detail}): move it away and put a backup in its place, or start with a new one",
        file.display()
    )]
    Corrupt {
        /// The database.
        file: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// The file was written by a later release.
    #[error(
        "the database {} has schema {found}, but this reelway knows only schemas up to {known}: install the newer \
         release again, or put back the backup {}.before-{found}",
        file.display(), file.display()
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its schema version.
        found: i64,
        /// The latest that we know.
        known: i64,
    },
    /// The file cannot be opened, read or written as it must be.
    #[error("could not open the database {}: {reason}", file.display())]
    Open {
        /// The database.
        file: PathBuf,
        /// Why, and what helps.
        reason: String,
    },
    /// The store was closed: the daemon is ending.
    #[error("the database is closed because reelway is stopping; try again once it has started")]
    Stopped,
    /// Anything else: most likely a mistake of ours.
    #[error("the database {} failed ({reason}): if this happens again, please report it", file.display())]
    Other {
        /// The database.
        file: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

impl Fault {
    /// Sorts an error of SQLite about `file`.
    pub(super) fn of(file: &Path, error: &rusqlite::Error) -> Fault {
        let file_owned = file.to_owned();
        let rusqlite::Error::SqliteFailure(failure, _) = error else {
            return Fault::other(file, error.to_string());
        };
        match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Fault::Busy { file: file_owned },
            ErrorCode::DiskFull => Fault::DiskFull { file: file_owned },
            // The index of the write-ahead log could not be enlarged: what ENOSPC becomes there.
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => {
                Fault::DiskFull { file: file_owned }
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Fault::corrupt(file, error.to_string()),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly => {
                Fault::open(file, format!("{error}; look at the owner and mode of the file and of its folder"))
            }
            _ => Fault::other(file, error.to_string()),
        }
    }

    pub(super) fn corrupt(file: &Path, detail: String) -> Fault {
        Fault::Corrupt { file: file.to_owned(), detail }
    }

    pub(super) fn open(file: &Path, reason: String) -> Fault {
        Fault::Open { file: file.to_owned(), reason }
    }

    pub(super) fn other(file: &Path, reason: String) -> Fault {
        Fault::Other { file: file.to_owned(), reason }
    }
}
