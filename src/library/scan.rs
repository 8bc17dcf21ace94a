//! The scan: walks the roots and lists what can be played. Follows no link, as opening does not either.
//!
//! Each root is walked on a thread of its own, one after the other: see `walker.rs`. The walk begins at the root's open
//! descriptor, not at its path, where another folder may stand by now: what is judged afterwards is the folder that was
//! walked, also when its disk was unmounted meanwhile.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::DirEntry;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::http::media_type;
use crate::library::index::Video;
use crate::library::walker::{Bag, End, GivenUp};
use crate::library::{Failed, Library, LibraryRoot, video_id};
use crate::limits;
use crate::log::messages;
use crate::store::FoundVideo;
use crate::store::Timestamp;
use crate::sys::file::{self, Root};

/// What a scan has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub videos: Vec<Video>,
    /// Roots that cannot be read, 0-based: their films are not gone, they are out of reach.
    pub unreadable_roots: Vec<usize>,
    /// Roots of which some folder could not be read: what was not found there is not gone either.
    pub partial_roots: Vec<usize>,
    /// Roots whose walk did not go on, or has not since an earlier scan: what was not found there is where it was.
    pub silent_roots: Vec<usize>,
    /// Roots that we did not look through to the end, for a reason of our own: as with those that are silent.
    pub broken_roots: Vec<usize>,
    /// Roots with nothing in them, not even a file that is no film.
    pub empty_roots: Vec<usize>,
    /// Entries that could not be read, whose names are not UTF-8, or that came after the last one there is room for.
    pub skipped: usize,
    /// The first of these.
    pub failed: Vec<Failed>,
    /// How many videos each root has.
    pub by_root: Vec<usize>,
    /// Entries looked at: a walk goes on as long as this grows.
    pub steps: usize,
}

/// The walk of one root.
struct Walk {
    /// Which, 0-based.
    root: usize,
    root_name: String,
    /// The root's path as configured, for people.
    root_path: PathBuf,
    /// The root, kept open for the walk.
    directory: Arc<Root>,
    formats: Arc<[String]>,
    bag: Arc<Bag>,
}

/// Walks all roots of `library`, and tells `progress` now and then how far it is. One whose walk does not go on for `patience` is
/// left to itself.
pub(super) fn walk(library: &Library, patience: Duration, mut progress: impl FnMut(&Found)) -> Found {
    let mut found = Found { by_root: vec![0; library.roots().len()], ..Found::default() };
    let open = library.roots().iter().enumerate().filter_map(|(number, root)| Some((number, root, root.open()?)));
    for (number, root, directory) in open {
        let (root_name, root_path, formats) = (root.name.clone(), root.path.clone(), Arc::clone(&library.formats));
        let work = move |bag| Walk { root: number, root_name, root_path, directory, formats, bag }.whole();
        let (so_far, end) = root.walker.watch(found, patience, work, |found| {
            progress(found);
            !library.is_superseded()
        });
        found = so_far;
        if end == End::Unwanted {
            break;
        }
        found.walked(number, root, end, patience);
    }
    found
}

impl Walk {
    fn whole(&self) -> Result<(), GivenUp> {
        self.folder(&self.top(), "", 0)
    }

    /// The root's descriptor as a path (proc_pid_fd(5)).
    fn top(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_fd().as_raw_fd()))
    }

    /// A path of the walk, as people know it.
    fn shown(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(self.top()) {
            Ok(below) if !below.as_os_str().is_empty() => self.root_path.join(below),
            _ => self.root_path.clone(),
        }
    }

    fn folder(&self, folder: &Path, below: &str, depth: usize) -> Result<(), GivenUp> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) if depth <= limits::FOLDER_DEPTH_MAX => entries,
            Ok(_) => return self.skip(folder, &"too many folders below one another"),
            Err(error) => return self.unreadable(folder, depth, &error),
        };
        let mut is_empty = true;
        for entry in entries {
            is_empty = false;
            self.bag.step(|_| ())?;
            match entry {
                Ok(entry) => self.entry(&entry, below, depth)?,
                // The listing ends here: what comes behind is out of reach.
                Err(error) => return self.unreadable(folder, depth, &error),
            }
        }
        if is_empty && depth == 0 {
            self.bag.step(|found| found.empty_roots.push(self.root))?;
        }
        Ok(())
    }

    fn unreadable(&self, folder: &Path, depth: usize, error: &std::io::Error) -> Result<(), GivenUp> {
        let shown = self.shown(folder);
        let path = shown.display();
        if depth == 0 {
            tracing::warn!(
                name: messages::ROOT_UNREADABLE, root = self.root_name, %path, %error,
                "library root cannot be read; may the service user enter it?"
            );
            self.bag.step(|found| found.unreadable_roots.push(self.root))?;
        } else {
            tracing::warn!(
                name: messages::FOLDER_UNREADABLE, %path, %error,
                "folder of the library cannot be read"
            );
            self.bag.step(|found| found.partial_roots.push(self.root))?;
        }
        self.skip(folder, error)
    }

    fn entry(&self, entry: &DirEntry, below: &str, depth: usize) -> Result<(), GivenUp> {
        let name = entry.file_name();
        if is_passed_over(&name) {
            return Ok(());
        }
        let Some(name) = name.to_str() else {
            return self.skip(&entry.path(), &"its name is not UTF-8");
        };
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => self.folder(&entry.path(), &path, depth + 1),
            Ok(kind) if kind.is_file() => self.admit(entry, path),
            Ok(_) => Ok(()), // A link, a FIFO, a device: never served.
            Err(error) => self.failed(entry, &error),
        }
    }

    fn admit(&self, entry: &DirEntry, path: String) -> Result<(), GivenUp> {
        let is_video = media_type::extension(&path).is_some_and(media_type::is_video);
        if !is_video || super::media_type_among(&self.formats, &path).is_none() {
            return Ok(());
        }
        match self.video(entry, path) {
            Ok(video) => self.bag.step(|found| match found.videos.len() {
                limits::VIDEOS_MAX.. => found.skip(&self.shown(&entry.path()), &"the index is full"),
                _ => {
                    found.by_root[self.root] += 1;
                    found.videos.push(video);
                }
            }),
            Err(error) => self.failed(entry, &error),
        }
    }

    /// The video of an entry, if it could be played: what may not be read is found here rather than by whoever presses play.
    fn video(&self, entry: &DirEntry, path: String) -> std::io::Result<Video> {
        let metadata = entry.metadata()?;
        file::ensure_readable(&entry.path())?;
        let modified = Timestamp::from_microseconds(metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1000);
        Ok(Video {
            id: video_id(&self.root_name, path.as_bytes()),
            root: self.root,
            title: title(&path),
            path,
            size: metadata.len(),
            modified,
            added_at: modified,
        })
    }

    /// Leaves an entry out. What is closed to us is no film to anybody; whatever else fails is the disk, and the film is there.
    /// Also one that was listed and cannot be found: a disk mounted below the root may just have gone, and if somebody deleted
    /// it, the next scan says so.
    fn failed(&self, entry: &DirEntry, error: &std::io::Error) -> Result<(), GivenUp> {
        if error.kind() != ErrorKind::PermissionDenied {
            self.bag.step(|found| found.partial_roots.push(self.root))?;
        }
        self.skip(&entry.path(), error)
    }

    fn skip(&self, path: &Path, reason: &dyn std::fmt::Display) -> Result<(), GivenUp> {
        let path = self.shown(path);
        self.bag.step(|found| found.skip(&path, reason))
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

/// `Series/Some_Film.2019.mkv` -> `Some Film 2019`.
fn title(path: &str) -> String {
    let filename = path.rsplit('/').next().unwrap_or(path);
    let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
    let spaced = stem.replace(['_', '.'], " ");
    let title = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if title.is_empty() { filename.to_owned() } else { title }
}

impl Found {
    /// The walk of a root has ended so.
    pub fn walked(&mut self, number: usize, root: &LibraryRoot, end: End, patience: Duration) {
        let path = root.path.display();
        match end {
            End::Whole | End::Unwanted => {}
            End::Broken(error) => {
                self.broken_roots.push(number);
                tracing::error!(
                    name: messages::ROOT_UNSCANNED, root = root.name, %path, error,
                    "library root could not be looked through"
                );
            }
            End::Silent { is_new } => {
                self.silent_roots.push(number);
                // Once for each walk that does not go on, not once for each scan that finds it so.
                if is_new {
                    tracing::warn!(
                        name: messages::ROOT_SILENT, root = root.name, %path, seconds = patience.as_secs(),
                        "library root does not answer"
                    );
                }
            }
        }
    }

    /// Whether films of this root may be where they were, though they were not found.
    pub fn is_unknown(&self, root: usize) -> bool {
        self.silent_roots.contains(&root) || self.broken_roots.contains(&root)
    }

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

    const PATIENCE: Duration = Duration::from_secs(60);

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
        let mut found: Vec<_> = walk(&library, PATIENCE, |_| {})
            .videos
            .into_iter()
            .map(|video| (video.path, video.title, video.size))
            .collect();
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
        let found = walk(&library, PATIENCE, |_| {});
        assert_eq!((found.videos.len(), found.by_root), (1, vec![1]));
        assert_eq!(found.skipped, limits::SCAN_FAILURES_LISTED_MAX + 3);
        assert_eq!(found.failed.len(), limits::SCAN_FAILURES_LISTED_MAX);
        assert!(found.failed.iter().all(|failed| failed.reason == "its name is not UTF-8"));
    }
}
