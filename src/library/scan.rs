//! The scan: walks the roots and lists what can be played. Follows no link, as opening does not either.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::DirEntry;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use uuid::Uuid;

use crate::http::media_type;
use crate::library::index::Video;
use crate::library::{Failed, Library, video_id};
use crate::limits;
use crate::log::messages;
use crate::store::FoundVideo;
use crate::store::Timestamp;
use crate::sys::file;

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
    /// The first of these.
    pub failed: Vec<Failed>,
    /// How many videos each root has.
    pub by_root: Vec<usize>,
}

/// A walk: what it walks, and what it has found.
struct Walk<'a, P> {
    library: &'a Library,
    found: Found,
    /// Is told now and then how far this is.
    progress: P,
    told: Instant,
}

/// Walks all roots of `library`, and tells `progress` now and then how far it is.
pub(super) fn walk(library: &Library, progress: impl FnMut(&Found)) -> Found {
    let found = Found { by_root: vec![0; library.roots().len()], ..Found::default() };
    let mut walk = Walk { library, found, progress, told: Instant::now() };
    for (number, root) in library.roots().iter().enumerate().filter(|(_, root)| root.is_open()) {
        walk.folder(number, &root.path, "", 0);
    }
    walk.found
}

impl<P: FnMut(&Found)> Walk<'_, P> {
    fn folder(&mut self, root: usize, folder: &Path, below: &str, depth: usize) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) if depth <= limits::FOLDER_DEPTH_MAX => entries,
            Ok(_) => return self.found.skip(folder, &"too many folders below one another"),
            Err(error) if depth == 0 => {
                let (name, path) = (&self.library.roots()[root].name, folder.display());
                tracing::warn!(
                    name: messages::ROOT_UNREADABLE, root = name, %path, %error,
                    "library root cannot be read; may the service user enter it?"
                );
                self.found.unreadable_roots.push(root);
                return self.found.skip(folder, &error);
            }
            Err(error) => {
                tracing::warn!(
                    name: messages::FOLDER_UNREADABLE, path = %folder.display(), %error,
                    "folder of the library cannot be read"
                );
                self.found.partial_roots.push(root);
                return self.found.skip(folder, &error);
            }
        };
        for entry in entries {
            if self.library.is_superseded() {
                return;
            }
            match entry {
                Ok(entry) => self.entry(root, &entry, below, depth),
                Err(error) => self.found.skip(folder, &error),
            }
            self.tell();
        }
    }

    fn entry(&mut self, root: usize, entry: &DirEntry, below: &str, depth: usize) {
        let name = entry.file_name();
        if is_passed_over(&name) {
            return;
        }
        let Some(name) = name.to_str() else {
            return self.found.skip(&entry.path(), &"its name is not UTF-8");
        };
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => self.folder(root, &entry.path(), &path, depth + 1),
            Ok(kind) if kind.is_file() => self.admit(root, entry, path),
            Ok(_) => {} // A link, a FIFO, a device: never served.
            Err(error) => self.found.skip(&entry.path(), &error),
        }
    }

    fn admit(&mut self, root: usize, entry: &DirEntry, path: String) {
        let is_video = media_type::extension(&path).is_some_and(media_type::is_video);
        if !is_video || self.library.media_type(&path).is_none() {
            return;
        }
        match video(self.library, root, entry, path) {
            Ok(_) if self.found.videos.len() >= limits::VIDEOS_MAX => {
                self.found.skip(&entry.path(), &"the index is full");
            }
            Ok(video) => {
                self.found.by_root[root] += 1;
                self.found.videos.push(video);
            }
            Err(error) => self.found.skip(&entry.path(), &error),
        }
    }

    fn tell(&mut self) {
        if self.told.elapsed() >= limits::SCAN_PROGRESS_INTERVAL {
            self.told = Instant::now();
            (self.progress)(&self.found);
        }
    }
}

/// Whether nobody keeps films under such a name: the trash of a desktop, the thumbnails of a NAS, and what a file system keeps
/// for itself, which is closed to all but root.
pub fn is_passed_over(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".") || OF_FILE_SYSTEMS.contains(&name)
}

/// Folders at the top of a disk: of ext4, NTFS and FAT, and of a Synology NAS.
const OF_FILE_SYSTEMS: [&[u8]; 4] = [b"lost+found", b"System Volume Information", b"$RECYCLE.BIN", b"@eaDir"];

/// The video of an entry, if it could be played: what may not be read is found here rather than by whoever presses play.
fn video(library: &Library, root: usize, entry: &DirEntry, path: String) -> std::io::Result<Video> {
    let metadata = entry.metadata()?;
    file::ensure_readable(&entry.path())?;
    let modified = Timestamp::from_microseconds(metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1000);
    Ok(Video {
        id: video_id(&library.roots()[root].name, path.as_bytes()),
        root,
        title: title(&path),
        path,
        size: metadata.len(),
        modified,
        added_at: modified,
    })
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
        if self.failed.len() < limits::SCAN_FAILURES_LISTED_MAX {
            self.failed.push(Failed { path: path.display().to_string(), reason: reason.to_string() });
        }
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
        std::fs::create_dir_all(root.join("lost+found")).unwrap();
        for (path, size) in [
            ("film.mp4", 3),
            ("Series/S01/É_1.mkv", 5),
            ("notes.txt", 1),
            ("film.srt", 1),
            (".trash.mp4", 1),
            ("lost+found/x.mp4", 1),
        ] {
            std::fs::write(root.join(path), vec![0; size]).unwrap();
        }
        std::fs::write(folder.path().join("outside.mp4"), "x").unwrap();
        std::os::unix::fs::symlink("../outside.mp4", root.join("link.mp4")).unwrap();
        std::os::unix::fs::symlink(".", root.join("loop")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo.mp4"), nix::sys::stat::Mode::S_IRWXU).unwrap();

        let library = Library::open([("root".to_owned(), root)], &["mp4".into(), "mkv".into()]);
        let mut found: Vec<_> =
            walk(&library, |_| {}).videos.into_iter().map(|video| (video.path, video.title, video.size)).collect();
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

    #[test]
    fn what_is_left_out_is_named_up_to_a_bound_and_counted_beyond() {
        use std::os::unix::ffi::OsStringExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("good.mp4"), "x").unwrap();
        for number in 0..limits::SCAN_FAILURES_LISTED_MAX + 3 {
            let name = [b"\xe9", format!("{number}.mp4").as_bytes()].concat();
            std::fs::write(folder.path().join(std::ffi::OsString::from_vec(name)), "x").unwrap();
        }
        let library = Library::open([("root".to_owned(), folder.path().to_owned())], &["mp4".into()]);
        let found = walk(&library, |_| {});
        assert_eq!((found.videos.len(), found.by_root), (1, vec![1]));
        assert_eq!(found.skipped, limits::SCAN_FAILURES_LISTED_MAX + 3);
        assert_eq!(found.failed.len(), limits::SCAN_FAILURES_LISTED_MAX);
        assert!(found.failed.iter().all(|failed| failed.reason == "its name is not UTF-8"));
    }
}
