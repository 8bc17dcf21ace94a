//! What this very process may see of a path: whoever it acts as, in whatever sandbox it is.
//!
//! It is run as the service, by way of a verb that is not listed (`reelway look PATH FORMAT...`), and says what it saw as JSON.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::http::media_type;
use crate::library::is_passed_over;
use crate::limits;
use crate::sys::file;

/// What was seen of a folder that is to be a library root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Sight {
    /// What is in the way, if the folder itself cannot be read.
    pub obstacle: Option<Obstacle>,
    /// Films that were looked at: all, or a sample of a big library. What a scan would take for one is one.
    pub films: usize,
    /// Other files that were seen meanwhile.
    pub others: usize,
    /// How many of the films and folders in it may not be read.
    pub unreadable_count: usize,
    /// The first of these.
    pub unreadable: Vec<PathBuf>,
}

/// What keeps somebody from a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "at")]
pub(in crate::cli) enum Obstacle {
    /// This is not there.
    Missing(PathBuf),
    /// This is no folder.
    NotAFolder(PathBuf),
    /// What is in this folder cannot be reached.
    NotSearchable(PathBuf),
    /// This folder, the last on the way, cannot be listed.
    NotReadable(PathBuf),
    /// This failed for another reason: its disk, or a server.
    Failed(PathBuf, String),
}

impl Sight {
    /// Whether the folder and all in it that was looked at can be read.
    pub fn is_clear(&self) -> bool {
        self.obstacle.is_none() && self.unreadable_count == 0
    }
}

/// Looks at the folder at `path`, an absolute path without links, for films of these formats (`video.supported_formats`).
pub(in crate::cli) fn look(path: &Path, formats: &[String]) -> Sight {
    let mut sight = Sight { obstacle: obstacle(path), ..Sight::default() };
    if sight.obstacle.is_none() {
        sight.sample(path, formats);
    }
    sight
}

/// The first thing on the way to `path` that is in it.
fn obstacle(path: &Path) -> Option<Obstacle> {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    for folder in ancestors {
        match std::fs::metadata(folder) {
            Ok(found) if !found.is_dir() => return Some(Obstacle::NotAFolder(folder.to_owned())),
            Ok(_) => {}
            Err(error) => return Some(because(&error, folder, Obstacle::Missing, Obstacle::NotSearchable)),
        }
        if let Err(error) = file::ensure_searchable(folder) {
            // The folder itself has to be listed as well: one thing to be said about it.
            let denied = if folder == path { Obstacle::NotReadable } else { Obstacle::NotSearchable };
            return Some(because(&error, folder, Obstacle::Missing, denied));
        }
    }
    // Listing it is what a scan does; a server may refuse that although the mode would allow it.
    let listed = file::ensure_readable(path).and_then(|()| std::fs::read_dir(path).map(drop));
    listed.err().map(|error| because(&error, path, Obstacle::Missing, Obstacle::NotReadable))
}

fn because(
    error: &std::io::Error,
    at: &Path,
    missing: fn(PathBuf) -> Obstacle,
    denied: fn(PathBuf) -> Obstacle,
) -> Obstacle {
    match error.kind() {
        ErrorKind::NotFound => missing(at.to_owned()),
        ErrorKind::PermissionDenied => denied(at.to_owned()),
        _ => Obstacle::Failed(at.to_owned(), error.to_string()),
    }
}

impl Sight {
    /// Looks into the folder, level by level, until enough was seen.
    fn sample(&mut self, root: &Path, formats: &[String]) {
        let is_film = |name: &str| {
            let extension = media_type::extension(name).unwrap_or_default();
            formats.iter().any(|format| format.eq_ignore_ascii_case(extension))
        };
        let mut folders = std::collections::VecDeque::from([root.to_owned()]);
        let mut entries_left = limits::ACCESS_ENTRIES_MAX;
        while let Some(folder) = folders.pop_front() {
            let Ok(entries) = file::ensure_searchable(&folder).and_then(|()| std::fs::read_dir(&folder)) else {
                self.add_unreadable(folder);
                continue;
            };
            for entry in entries.flatten() {
                if entries_left == 0 {
                    return;
                }
                entries_left -= 1;
                let (path, name) = (entry.path(), entry.file_name());
                if is_passed_over(&name) {
                    continue;
                }
                let name = name.to_string_lossy();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push_back(path),
                    Ok(kind) if kind.is_file() && is_film(&name) => {
                        self.films += 1;
                        if file::ensure_readable(&path).is_err() {
                            self.add_unreadable(path);
                        }
                    }
                    Ok(kind) if kind.is_file() => self.others += 1,
                    Ok(_) => {}
                    Err(_) => self.add_unreadable(path),
                }
            }
        }
    }

    fn add_unreadable(&mut self, path: PathBuf) {
        self.unreadable_count += 1;
        if self.unreadable.len() < limits::ACCESS_NAMED_MAX {
            self.unreadable.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_the_first_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("films/Series")).unwrap();
        std::fs::write(path("films/a.mp4"), "x").unwrap();
        std::fs::write(path("films/Series/b.mkv"), "x").unwrap();
        std::fs::write(path("films/.hidden.mkv"), "x").unwrap();
        std::fs::write(path("films/notes.txt"), "x").unwrap();
        std::fs::create_dir(path("films/lost+found")).unwrap();
        std::fs::write(path("films/lost+found/c.mp4"), "x").unwrap();
        std::fs::write(path("films/old.AVI"), "x").unwrap();
        let look = |path: &Path| look(path, &["mp4", "mkv"].map(str::to_owned));
        let seen = look(&path("films"));
        assert!(seen.is_clear(), "{seen:?}");
        assert_eq!((seen.films, seen.others), (2, 2), "of the formats that are served, and what a scan passes over");
        assert_eq!(look(&path("no/such")).obstacle, Some(Obstacle::Missing(path("no"))));
        assert_eq!(look(&path("films/a.mp4/x")).obstacle, Some(Obstacle::NotAFolder(path("films/a.mp4"))));
        let text = serde_json::to_string(&look(&path("no/such"))).unwrap();
        assert_eq!(serde_json::from_str::<Sight>(&text).unwrap(), look(&path("no/such")), "as it is told");
    }
}
