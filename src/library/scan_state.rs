//! How far a scan is, or what the last one came to: a snapshot that is swapped whole.

use std::path::Path;

use crate::library::scan::Found;

/// What the scan that runs, or the last one, has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanState {
    /// Whether a scan runs now.
    pub is_scanning: bool,
    /// Whether the first scan has been finished.
    pub is_scanned: bool,
    /// Videos found; so far, while a scan runs.
    pub found: usize,
    /// Of these, by root, 0-based.
    pub found_by_root: Vec<usize>,
    /// Videos that were not known, or not there, before; known when the scan is over.
    pub added: usize,
    /// Videos whose size or time has changed; known when the scan is over.
    pub changed: usize,
    /// Videos that were there before and are no more; known when the scan is over.
    pub removed: usize,
    /// Roots of which it cannot be said now what is in them.
    pub missing_roots: Vec<Missing>,
    /// Files and folders that could not be read, or were left out.
    pub skipped: usize,
    /// The first of them, at most [`crate::limits::SCAN_FAILURES_LISTED_MAX`].
    pub failed: Vec<Failed>,
    /// Why the index is not in the store, when the store failed.
    pub store_fault: Option<String>,
}

/// A root of which it cannot be said now what is in it. What was known of its films stays, for when it is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// What is the matter.
    pub why: Absence,
}

/// What is the matter with a root that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Its folder is not there, or cannot be read.
    Missing,
    /// Its disk does not answer.
    Silent,
    /// It was not looked through to the end, for a reason that is not its own.
    Unscanned,
    /// Its folder is empty, nothing is mounted there, and films are known that were in it.
    Unmounted,
    /// The same, where something is mounted.
    Empty,
}

impl Absence {
    /// A sentence about the root of this name and path, without a full stop.
    pub fn sentence(self, name: &str, path: &Path) -> String {
        let path = path.display();
        match self {
            Absence::Missing => format!("the root {name} ({path}) is not available"),
            Absence::Silent => format!("the root {name} ({path}) does not answer"),
            Absence::Unscanned => format!("the root {name} ({path}) could not be looked through; the log says why"),
            Absence::Unmounted => format!("the root {name} ({path}) is empty, and had films; nothing is mounted there"),
            Absence::Empty => format!("the root {name} ({path}) is empty, and had films"),
        }
    }
}

/// A file or folder that is left out of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Where it is, for people to read: what is not UTF-8 in it is replaced.
    pub path: String,
    /// Why, in words.
    pub reason: String,
}

impl ScanState {
    /// What is the matter with the root of this name, if it is missing.
    pub fn absence(&self, name: &str) -> Option<Absence> {
        self.missing_roots.iter().find(|missing| missing.name == name).map(|missing| missing.why)
    }

    /// A scan begins. What is known of the roots stays until it is known better.
    pub(super) fn begun(&self) -> ScanState {
        ScanState {
            is_scanning: true,
            is_scanned: self.is_scanned,
            missing_roots: self.missing_roots.clone(),
            ..ScanState::default()
        }
    }

    /// The scan has found so much.
    pub(super) fn so_far(&self, found: &Found) -> ScanState {
        ScanState {
            found: found.videos.len(),
            found_by_root: found.by_root.clone(),
            skipped: found.skipped,
            failed: found.failed.clone(),
            ..self.clone()
        }
    }
}
