//! The scan: walks the roots and lists what can be played. Follows no link, as opening does not either.

use std::collections::HashMap;
use std::fs::DirEntry;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use uuid::Uuid;

use crate::http::media_type;
use crate::library::index::Video;
use crate::library::{Library, video_id};
use crate::limits;
use crate::log::messages;
use crate::store::FoundVideo;
use crate::store::Timestamp;

/// What a scan has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub videos: Vec<Video>,
    /// Roots that cannot be read, 0-based: their films are not gone, they are out of reach.
    pub unreadable_roots: Vec<usize>,
    /// Roots of which some folder could not be read: what was not found there is not gone either.
    pub partial_roots: Vec<usize>,
    /// Entries that could not be read, whose names are not UTF-8, or that came after the last one there is room for.
    pub skipped: usize,
}

/// Walks all roots of `library`.
pub(super) fn walk(library: &Library) -> Found {
    let mut found = Found::default();
    for (number, root) in library.roots().iter().enumerate().filter(|(_, root)| root.directory.is_some()) {
        walk_folder(library, number, &root.path, "", 0, &mut found);
    }
    found
}

fn walk_folder(library: &Library, root: usize, folder: &Path, below: &str, depth: usize, found: &mut Found) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) if depth <= limits::FOLDER_DEPTH_MAX => entries,
        Ok(_) => return found.skip(folder, &"too many folders below one another"),
        Err(error) if depth == 0 => {
            let (name, path) = (&library.roots()[root].name, folder.display());
            tracing::warn!(
                name: messages::ROOT_UNREADABLE, root = name, %path, %error,
                "library root cannot be read; may the service user enter it?"
            );
            return found.unreadable_roots.push(root);
        }
        Err(error) => {
            tracing::warn!(
                name: messages::FOLDER_UNREADABLE, path = %folder.display(), %error,
                "folder of the library cannot be read"
            );
            found.partial_roots.push(root);
            return found.skip(folder, &error);
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.skip(folder, &error);
                continue;
            }
        };
        let name = entry.file_name();
        // Hidden: the trash of a desktop, the thumbnails of a NAS.
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let Some(name) = name.to_str() else {
            found.skip(&entry.path(), &"its name is not UTF-8");
            continue;
        };
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk_folder(library, root, &entry.path(), &path, depth + 1, found),
            Ok(kind) if kind.is_file() => admit(library, root, &entry, path, found),
            Ok(_) => {} // A link, a FIFO, a device: never served.
            Err(error) => found.skip(&entry.path(), &error),
        }
    }
}

fn admit(library: &Library, root: usize, entry: &DirEntry, path: String, found: &mut Found) {
    let is_video = media_type::extension(&path).is_some_and(media_type::is_video);
    if !is_video || library.media_type(&path).is_none() {
        return;
    }
    if found.videos.len() >= limits::VIDEOS_MAX {
        return found.skip(&entry.path(), &"the index is full");
    }
    let metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return found.skip(&entry.path(), &error),
    };
    let modified = Timestamp::from_microseconds(metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1000);
    found.videos.push(Video {
        id: video_id(&library.roots()[root].name, path.as_bytes()),
        root,
        title: title(&path),
        path,
        size: metadata.len(),
        modified,
        added_at: modified,
    });
}

/// `Series/Some_Film.2019.mkv` -> `Some Film 2019`.
fn title(path: &str) -> String {
    let filename = path.rsplit('/').next().unwrap_or(path);
    let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
    let spaced = stem.replace(['_', '.'], " ");
    let title = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if title.is_empty() { filename.to_owned() } else { title }
}

impl Found {
    fn skip(&mut self, path: &Path, reason: &dyn std::fmt::Display) {
        tracing::debug!(path = %path.display(), reason = %reason, "left out of the library");
        self.skipped += 1;
    }

    /// The rows for the store.
    pub fn rows(&self, library: &Library) -> Vec<FoundVideo> {
        let row = |video: &Video| FoundVideo {
            id: video.id,
            root: library.roots()[video.root].name.clone(),
            path: video.path.clone().into_bytes(),
            filename: video.filename().to_owned(),
            title: video.title.clone(),
            format: media_type::extension(&video.path).unwrap_or_default().to_ascii_lowercase(),
            size: video.size,
            modified: video.modified,
        };
        self.videos.iter().map(row).collect()
    }

    /// Takes over when each video was first seen.
    pub fn remember(&mut self, first_seen: &HashMap<Uuid, Timestamp>) {
        for video in &mut self.videos {
            if let Some(added_at) = first_seen.get(&video.id) {
                video.added_at = *added_at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_playable_files_that_can_be_opened_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("Series/S01")).unwrap();
        for (path, size) in
            [("film.mp4", 3), ("Series/S01/É_1.mkv", 5), ("notes.txt", 1), ("film.srt", 1), (".trash.mp4", 1)]
        {
            std::fs::write(root.join(path), vec![0; size]).unwrap();
        }
        std::fs::write(folder.path().join("outside.mp4"), "x").unwrap();
        std::os::unix::fs::symlink("../outside.mp4", root.join("link.mp4")).unwrap();
        std::os::unix::fs::symlink(".", root.join("loop")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo.mp4"), nix::sys::stat::Mode::S_IRWXU).unwrap();

        let library = Library::open([("root".to_owned(), root)], &["mp4".into(), "mkv".into()]);
        let mut found: Vec<_> =
            walk(&library).videos.into_iter().map(|video| (video.path, video.title, video.size)).collect();
        found.sort();
        assert_eq!(found, [("Series/S01/É_1.mkv".into(), "É 1".into(), 5), ("film.mp4".into(), "film".to_owned(), 3)]);
    }

    #[test]
    fn a_title_is_the_name_without_its_extension_and_its_dots() {
        for (path, expected) in
            [("Some_Film.2019.mkv", "Some Film 2019"), ("a/b/c.mp4", "c"), ("__.mp4", "__.mp4"), ("É  x.mp4", "É x")]
        {
            assert_eq!(title(path), expected);
        }
    }
}
