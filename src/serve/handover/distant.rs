//! Films of distant roots over a restart: they are opened again by their names.
//!
//! Nobody is handed their files. Whoever closes one waits for its file system (FUSE_FLUSH), and one that is asked whether it can
//! be read waits as well (FUSE_POLL): the service manager does both with what it keeps, and must not wait for a server that
//! is gone. Here a thread a root waits, and all others for these only a moment.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Instant;

use crate::library::{self, Library};
use crate::limits;
use crate::log::messages;
use crate::serve::handover::Note;
use crate::sys::descriptor::FileId;
use crate::sys::file::Root;

/// A film to be opened.
struct Sought {
    was: FileId,
    path: String,
    size: u64,
    modified_ns: i64,
}

/// The files of a note's distant films, as far as they can be opened in time and are still the same.
pub fn opened_again(note: &Note, library: &Library) -> HashMap<FileId, OwnedFd> {
    let mut by_root: HashMap<&str, Vec<Sought>> = HashMap::new();
    for row in note.films.iter().filter(|row| row.is_distant) {
        let (path, size, modified_ns) = (row.path.clone(), row.size, row.modified_ns);
        by_root.entry(&row.root).or_default().push(Sought { was: row.id(), path, size, modified_ns });
    }
    let (told, opened) = mpsc::channel();
    let mut sought_count = 0;
    for (name, sought) in by_root {
        let Some(root) = library.roots().iter().find(|root| root.name == name) else { continue };
        let (directory, place, told) = (root.open(), root.path.clone(), told.clone());
        sought_count += sought.len();
        let work = move || {
            // One that did not answer at the start may do so by now.
            let directory = directory.or_else(|| Root::open(&place).ok().map(Into::into));
            for film in sought {
                let file = directory.as_deref().and_then(|directory| film.open(directory));
                // Nobody waits any more: it is closed here, where that may be late.
                let _ = told.send((film.was, file));
            }
        };
        // Without a thread its films are missing.
        drop(std::thread::Builder::new().name("reopen".into()).spawn(work));
    }
    drop(told);
    let deadline = Instant::now() + limits::HANDOVER_REOPEN_PATIENCE;
    let mut files = HashMap::new();
    while let Ok((was, file)) = opened.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        files.extend(file.map(|file| (was, file)));
    }
    if files.len() < sought_count {
        tracing::warn!(
            name: messages::HAND_OVER_FAILED, films = sought_count - files.len(),
            "films of distant roots could not be opened again; their connections end"
        );
    }
    files
}

impl Sought {
    fn open(&self, root: &Root) -> Option<OwnedFd> {
        let path = library::kernel_path(&self.path)?;
        root.open_again(&path, self.size, i128::from(self.modified_ns)).ok().flatten()
    }
}
