//! What can be watched: the roots, their scan, and the index.
//!
//! A [`Library`] holds the open roots and the current [`Index`], an immutable snapshot that a scan swaps whole, so that
//! a reader takes no lock and the stream path asks no database. A film is reached by its path below a root, whether it
//! is indexed yet or not, or by its id, which is made from root and path and so is the same after a restart and on a
//! second machine.

pub mod index;
pub mod kept;
pub mod open;
mod root;
mod scan;
mod scan_state;
mod walker;

use std::collections::HashSet;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::http::media_type;
use crate::library::index::{Index, Sort, Video};
use crate::library::scan::Found;
use crate::limits;
use crate::log::messages;
use crate::store::{Store, Timestamp};
use crate::sys::file::Root;
use crate::sys::{Fault, process, wait};
pub use root::LibraryRoot;
pub use scan::is_passed_over;
pub use scan_state::{Absence, Failed, Missing, ScanState};

/// The ids of videos are UUIDs of version 5 in this namespace (RFC 9562 §5.5).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1e_7b6a_3c54_4d9b_9a57_26c5_8d1f_4c02);

/// Where a path of a URL may lead: a root and a path below it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Which root, 0-based, in the order of the configuration.
    pub root: usize,
    /// The root's name.
    pub root_name: &'a str,
    /// The open root.
    pub directory: Arc<Root>,
    /// The path below it, without a leading slash.
    pub path: &'a str,
}

/// The roots, the index, and how the last scan went.
#[derive(Debug)]
pub struct Library {
    roots: Vec<LibraryRoot>,
    /// Extensions that may be served, lower case.
    formats: Arc<[String]>,
    index: ArcSwap<Index>,
    state: ArcSwap<ScanState>,
    /// Whether somebody scans: two at once would undo each other's work.
    is_taken: AtomicBool,
    /// Held by whoever writes to the store what he has found: this library, or one that it came from or that came from it.
    storing: Arc<Mutex<()>>,
    /// Whether another library is in force, so that what a scan finds here is of no use.
    is_superseded: AtomicBool,
}

/// Whether a scan was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanStart {
    /// It was.
    Begun,
    /// One runs already.
    Running,
}

/// The right to scan, which one has at a time. Dropped, it is free again, whatever became of the scan.
struct Turn<'a>(&'a Library);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let state = self.0.scan_state();
        if state.is_scanning {
            self.0.state.store(Arc::new(ScanState { is_scanning: false, ..ScanState::clone(&state) }));
        }
        self.0.is_taken.store(false, Ordering::Release);
    }
}

impl Library {
    /// Opens the roots. One that cannot be opened, or whose disk does not answer in a moment, is logged and has no films until
    /// a scan finds it; the others serve.
    pub fn open(roots: impl IntoIterator<Item = (String, PathBuf)>, formats: &[String]) -> Library {
        let roots: Vec<_> = roots.into_iter().map(|(name, path)| LibraryRoot::new(name, path)).collect();
        root::look_at(&roots, limits::ROOT_START_PATIENCE);
        Library::of(roots, formats)
    }

    /// The library of other roots or formats, which knows of the films that are in both what is known here. It is to be scanned.
    #[must_use]
    pub fn changed(&self, roots: impl IntoIterator<Item = (String, PathBuf)>, formats: &[String]) -> Library {
        let same = |name: &str, path: &Path| self.roots.iter().position(|root| root.name == name && root.path == path);
        // Where each of our roots is in the other library.
        let mut places = vec![None; self.roots.len()];
        let roots = roots.into_iter().enumerate().map(|(number, (name, path))| match same(&name, &path) {
            Some(known) => {
                places[known] = Some(number);
                self.roots[known].same()
            }
            None => LibraryRoot::new(name, path),
        });
        let roots: Vec<_> = roots.collect();
        root::look_at(
            roots.iter().filter(|root| !self.roots.iter().any(|known| known.is(root))),
            limits::ROOT_START_PATIENCE,
        );
        let library = Library { storing: Arc::clone(&self.storing), ..Library::of(roots, formats) };
        let index = self.index();
        let known = index.search("", Sort::Title, false).into_iter();
        let moved = known.filter_map(|video| Some(Video { root: places[video.root]?, ..video.clone() }));
        let videos = moved.filter(|video| library.media_type(&video.path).is_some()).collect();
        library.index.store(Arc::new(Index::new(videos)));
        let before = self.scan_state();
        let mut state = ScanState { is_scanned: before.is_scanned, ..ScanState::clone(&library.scan_state()) };
        // What the last scan has found of a folder that is open all the same, a scan finds again, or not.
        let open = library.roots.iter().filter(|root| root.is_open() && self.roots.iter().any(|known| known.is(root)));
        let still = open.filter_map(|root| before.missing_roots.iter().find(|missing| missing.name == root.name));
        state.missing_roots.extend(still.cloned());
        library.state.store(Arc::new(state));
        library
    }

    fn of(roots: Vec<LibraryRoot>, formats: &[String]) -> Library {
        let missing = roots.iter().filter(|root| !root.is_open());
        let missing_roots = missing.map(|root| Missing { name: root.name.clone(), why: root.absence() }).collect();
        Library {
            roots,
            formats: formats.iter().map(|format| format.to_ascii_lowercase()).collect(),
            index: ArcSwap::default(),
            state: ArcSwap::from_pointee(ScanState { missing_roots, ..ScanState::default() }),
            is_taken: AtomicBool::new(false),
            storing: Arc::default(),
            is_superseded: AtomicBool::new(false),
        }
    }

    /// Another library that came from this one is in force: a scan that runs here ends soon, and leaves the store alone.
    pub fn supersede(&self) {
        self.is_superseded.store(true, Ordering::Release);
    }

    fn is_superseded(&self) -> bool {
        self.is_superseded.load(Ordering::Acquire)
    }

    /// The index as it is now. It does not change under its reader.
    pub fn index(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// How far the scan is that runs, or how the last one went.
    pub fn scan_state(&self) -> Arc<ScanState> {
        self.state.load_full()
    }

    /// The roots, in the order of the configuration.
    pub fn roots(&self) -> &[LibraryRoot] {
        &self.roots
    }

    /// The media type of a path if this library serves such files.
    pub fn media_type(&self, path: &str) -> Option<&'static str> {
        media_type_among(&self.formats, path)
    }

    /// Where `path` may lead, best first: below the root its first segment names, then below each root in order
    /// (spec/HTTP.md, "Paths"). Adding a root so changes no URL.
    pub fn candidates<'a>(&'a self, path: &'a str) -> SmallVec<[Candidate<'a>; 4]> {
        let named = path.split_once('/').and_then(|(first, rest)| {
            let index = self.roots.iter().position(|root| root.name == first)?;
            self.candidate(index, rest)
        });
        let bare = (0..self.roots.len()).filter_map(|index| self.candidate(index, path));
        named.into_iter().chain(bare).collect()
    }

    /// Where a video of the index is.
    pub fn locate<'a>(&'a self, video: &'a Video) -> Option<Candidate<'a>> {
        self.candidate(video.root, &video.path)
    }

    fn candidate<'a>(&'a self, root: usize, path: &'a str) -> Option<Candidate<'a>> {
        let LibraryRoot { name, .. } = self.roots.get(root)?;
        Some(Candidate { root, root_name: name, directory: self.roots[root].open()?, path })
    }

    /// Scans on a thread of its own, unless a scan runs.
    ///
    /// # Errors
    /// When the system has no thread for us.
    pub fn start_scan(self: &Arc<Self>, store: &Store, now: Timestamp) -> Result<ScanStart, Fault> {
        let Some(turn) = self.take_turn() else { return Ok(ScanStart::Running) };
        // The thread takes it over.
        std::mem::forget(turn);
        let (library, store) = (Arc::clone(self), store.clone());
        let scan = move || {
            let turn = Turn(&library);
            turn.0.scan_in_turn(&store, now);
            drop(turn);
            process::give_freed_memory_back();
        };
        match std::thread::Builder::new().name("scan".into()).spawn(scan) {
            Ok(_) => Ok(ScanStart::Begun),
            Err(error) => {
                drop(Turn(self));
                Err(Fault::new("start the scan", error))
            }
        }
    }

    /// Scans all roots and swaps the index, unless a scan runs. Walks folders, so it belongs on a thread of its own.
    ///
    /// The store remembers when each video was first seen. When it fails the index serves all the same, with the
    /// files' own times.
    pub fn scan(&self, store: &Store, now: Timestamp) {
        if let Some(turn) = self.take_turn() {
            turn.0.scan_in_turn(store, now);
        }
    }

    /// The right to scan, if nobody has it. From here on the state says that a scan runs.
    fn take_turn(&self) -> Option<Turn<'_>> {
        self.is_taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        self.state.store(Arc::new(self.scan_state().begun()));
        Some(Turn(self))
    }

    fn scan_in_turn(&self, store: &Store, now: Timestamp) {
        root::look_at(&self.roots, limits::ROOT_SCAN_PATIENCE);
        let so_far = |found: &Found| self.state.store(Arc::new(self.scan_state().so_far(found)));
        let mut found = scan::walk(self, limits::ROOT_STALL_TIMEOUT, so_far);
        let missing_roots = self.missing(&found, store);
        self.say_empty(&missing_roots);
        let mut state = ScanState { missing_roots, ..self.scan_state().so_far(&found) };
        let whole = self
            .roots
            .iter()
            .enumerate()
            .filter(|(number, root)| state.absence(&root.name).is_none() && !found.partial_roots.contains(number));
        let whole_roots = whole.map(|(_, root)| root.name.clone()).collect();
        // Whoever comes from us waits here, so that his word is the last.
        let storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_superseded() {
            return;
        }
        match wait::block_on(store.videos_sync(whole_roots, found.rows(self), now)) {
            Ok(synced) => {
                (state.added, state.changed, state.removed) = (synced.added, synced.changed, synced.removed);
                found.remember(&synced.known_since);
            }
            Err(fault) => {
                tracing::error!(
                    name: messages::LIBRARY_NOT_STORED, error = %fault,
                    "library could not be written to the store"
                );
                state.store_fault = Some(fault.to_string());
            }
        }
        drop(storing);
        self.keep_silent(&mut found);
        (state.found, state.found_by_root) = (found.videos.len(), std::mem::take(&mut found.by_root));
        let index = Index::new(found.videos);
        let videos = index.len();
        self.index.store(Arc::new(index));
        let ScanState { skipped, added, changed, removed, .. } = state;
        self.state.store(Arc::new(ScanState { is_scanned: true, is_scanning: false, ..state }));
        tracing::info!(name: messages::LIBRARY_SCANNED, videos, added, changed, removed, skipped, "library scanned");
    }

    /// The roots of which a scan cannot say what is in them.
    fn missing(&self, found: &Found, store: &Store) -> Vec<Missing> {
        let with_films = (!found.empty_roots.is_empty()).then(|| wait::block_on(store.roots_with_videos()));
        // A store that does not say may know of some.
        let had_films = |name: &String| !matches!(&with_films, Some(Ok(roots)) if !roots.contains(name));
        let why = |number: usize, root: &LibraryRoot| match () {
            () if !root.is_open() => Some(root.absence()),
            () if found.silent_roots.contains(&number) => Some(Absence::Silent),
            () if found.unreadable_roots.contains(&number) => Some(Absence::Missing),
            () if found.empty_roots.contains(&number) && had_films(&root.name) => root.emptiness(),
            () => None,
        };
        let mut missing = Vec::new();
        for (number, root) in self.roots.iter().enumerate() {
            missing.extend(why(number, root).map(|why| Missing { name: root.name.clone(), why }));
            if found.by_root[number] > 0 {
                root.note_films();
            }
        }
        missing
    }

    /// Tells of roots that are empty now: once, as it is so until somebody does something.
    fn say_empty(&self, missing: &[Missing]) {
        let before = self.scan_state();
        let is_new = |missing: &&Missing| before.absence(&missing.name) != Some(missing.why);
        for Missing { name, why } in missing.iter().filter(is_new) {
            if let Some(root) = self.roots.iter().find(|root| root.name == *name)
                && matches!(why, Absence::Unmounted | Absence::Empty)
            {
                tracing::warn!(
                    name: messages::ROOT_EMPTY, root = name, path = %root.path.display(), error = why.sentence(name, &root.path),
                    "library root is empty; its films are not forgotten"
                );
            }
        }
    }

    /// Films of roots that do not answer stay in the index: they are where they were, and may play.
    fn keep_silent(&self, found: &mut Found) {
        if found.silent_roots.is_empty() {
            return;
        }
        let index = self.index();
        let seen: HashSet<Uuid> = found.videos.iter().map(|video| video.id).collect();
        let known = index.search("", Sort::Title, false).into_iter();
        let kept = known.filter(|video| found.silent_roots.contains(&video.root) && !seen.contains(&video.id));
        for video in kept.take(limits::VIDEOS_MAX.saturating_sub(seen.len())) {
            found.by_root[video.root] += 1;
            found.videos.push(video.clone());
        }
    }
}

/// The media type of a path where files of these formats are served.
fn media_type_among(formats: &[String], path: &str) -> Option<&'static str> {
    let extension = media_type::extension(path)?;
    let is_wanted =
        !media_type::is_video(extension) || formats.iter().any(|format| format.eq_ignore_ascii_case(extension));
    media_type::of_extension(extension).filter(|_| is_wanted)
}

/// The id of the video at `path` below the root of this name.
pub fn video_id(root_name: &str, path: &[u8]) -> Uuid {
    let mut name = SmallVec::<[u8; 512]>::from_slice(root_name.as_bytes());
    name.push(b'/');
    name.extend_from_slice(path);
    Uuid::new_v5(&NAMESPACE, &name)
}

/// A path of a URL as the kernel wants it. `None` for one with a NUL byte, which no file has.
pub fn kernel_path(path: &str) -> Option<CString> {
    CString::new(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(folder: &std::path::Path) -> Library {
        let roots = ["films", "shows", "gone"].map(|name| (name.to_owned(), folder.join(name)));
        std::fs::create_dir_all(folder.join("films/shows")).unwrap();
        std::fs::create_dir_all(folder.join("shows")).unwrap();
        Library::open(roots, &["mp4".into(), "MKV".into()])
    }

    fn missing(name: &str) -> Missing {
        Missing { name: name.to_owned(), why: Absence::Missing }
    }

    #[test]
    fn a_first_segment_that_names_a_root_tries_that_root_first() {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path());
        let places = |path: &'static str| -> Vec<(String, String)> {
            let found = library.candidates(path);
            found.iter().map(|place| (place.root_name.to_owned(), place.path.to_owned())).collect()
        };
        let pair = |root: &str, path: &str| (root.to_owned(), path.to_owned());
        assert_eq!(places("a.mp4"), [pair("films", "a.mp4"), pair("shows", "a.mp4")]);
        assert_eq!(
            places("shows/a.mp4"),
            [pair("shows", "a.mp4"), pair("films", "shows/a.mp4"), pair("shows", "shows/a.mp4")]
        );
        assert_eq!(places("gone/a.mp4"), [pair("films", "gone/a.mp4"), pair("shows", "gone/a.mp4")]);
    }

    #[test]
    fn only_wanted_formats_have_a_media_type() {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path());
        assert_eq!(library.media_type("a/b.MP4"), Some("video/mp4"));
        assert!(library.media_type("b.mkv").is_some());
        assert_eq!(library.media_type("b.avi"), None, "avi is a format, but not a wanted one");
        assert!(library.media_type("b.srt").is_some(), "subtitles go with any film");
        assert_eq!(library.media_type("b.exe"), None);
        assert_eq!(library.media_type("mp4"), None);
        assert_eq!(library.scan_state().missing_roots, [missing("gone")]);
    }

    #[test]
    fn a_library_with_other_roots_keeps_what_is_known_of_those_in_both() {
        let folder = tempfile::tempdir().unwrap();
        let before = library(folder.path());
        let video = |root: usize, name: &str, path: &str| Video {
            id: video_id(name, path.as_bytes()),
            root,
            path: path.to_owned(),
            title: path.to_owned(),
            size: 1,
            modified: Timestamp::from_microseconds(0),
            added_at: Timestamp::from_microseconds(0),
        };
        let known = vec![video(0, "films", "a.mp4"), video(1, "shows", "b.mp4"), video(1, "shows", "c.mkv")];
        before.index.store(Arc::new(Index::new(known)));
        // The first root is gone, the second has become the second after a new one, and mkv is no format any more.
        let roots = ["new", "shows"].map(|name| (name.to_owned(), folder.path().join(name)));
        let after = before.changed(roots, &["mp4".to_owned()]);
        let index = after.index();
        assert_eq!(index.len(), 1);
        let kept = index.by_id(video_id("shows", b"b.mp4")).expect("it is in both");
        let place = after.locate(kept).expect("its root is there");
        assert_eq!((place.root_name, place.root), ("shows", 1));
        assert!(
            Arc::ptr_eq(&place.directory, &before.roots()[1].open().unwrap()),
            "a folder that stays is not opened again"
        );
        assert_eq!(after.scan_state().missing_roots, [missing("new")]);
    }

    #[test]
    fn an_id_is_made_from_root_and_path_alone() {
        assert_eq!(video_id("films", b"a.mp4"), video_id("films", b"a.mp4"));
        assert_ne!(video_id("films", b"a.mp4"), video_id("shows", b"a.mp4"));
        assert_ne!(video_id("films", b"a.mp4"), video_id("films", b"b.mp4"));
    }

    #[test]
    fn one_scan_runs_at_a_time_and_its_end_is_seen_whatever_becomes_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let library = Arc::new(library(folder.path()));
        let store = Store::open(&folder.path().join("reelway.db")).unwrap();
        let now = Timestamp::from_microseconds(1);
        let turn = library.take_turn().unwrap();
        assert!(library.scan_state().is_scanning);
        assert_eq!(library.start_scan(&store, now).unwrap(), ScanStart::Running);
        library.scan(&store, now);
        assert!(!library.scan_state().is_scanned, "nobody scans beside another");
        drop(turn);
        assert!(!library.scan_state().is_scanning);
        library.scan(&store, now);
        let state = library.scan_state();
        assert!(state.is_scanned && !state.is_scanning, "{state:?}");
        store.close();
    }

    #[test]
    fn a_library_that_is_superseded_undoes_nothing_in_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let before = library(folder.path());
        std::fs::write(folder.path().join("shows/a.mp4"), "x").unwrap();
        let store = Store::open(&folder.path().join("reelway.db")).unwrap();
        let roots = ["films", "shows"].map(|name| (name.to_owned(), folder.path().join(name)));
        let after = before.changed(roots, &["mp4".to_owned()]);
        before.supersede();
        after.scan(&store, Timestamp::from_microseconds(1));
        assert_eq!(after.scan_state().added, 1);
        // As a scan does that began before the reload and finds other things, or the same at another time.
        std::fs::write(folder.path().join("shows/b.mp4"), "x").unwrap();
        std::fs::remove_file(folder.path().join("shows/a.mp4")).unwrap();
        before.scan(&store, Timestamp::from_microseconds(2));
        let state = before.scan_state();
        assert!(!state.is_scanned && !state.is_scanning && before.index().is_empty(), "{state:?}");
        std::fs::write(folder.path().join("shows/a.mp4"), "x").unwrap();
        after.scan(&store, Timestamp::from_microseconds(3));
        let ScanState { added, changed, removed, .. } = *after.scan_state();
        assert_eq!((added, removed), (1, 0), "b.mp4 is new, a.mp4 never left ({changed} changed)");
        store.close();
    }

    #[test]
    fn what_is_found_is_stored_by_one_library_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let before = library(folder.path());
        let store = Store::open(&folder.path().join("reelway.db")).unwrap();
        let after = Arc::new(before.changed([], &["mp4".to_owned()]));
        let storing = before.storing.lock().unwrap();
        after.start_scan(&store, Timestamp::from_microseconds(1)).unwrap();
        std::thread::yield_now();
        assert!(after.storing.try_lock().is_err() && !after.scan_state().is_scanned);
        drop(storing);
        while !after.scan_state().is_scanned {
            std::thread::yield_now();
        }
        store.close();
    }

    #[test]
    fn an_empty_folder_is_a_disk_that_is_away_unless_films_were_found_in_that_very_folder() {
        let folder = tempfile::tempdir().unwrap();
        let [disk, unplugged] = ["films", "unplugged"].map(|name| folder.path().join(name));
        let library = library(folder.path());
        std::fs::remove_dir(disk.join("shows")).unwrap();
        let store = Store::open(&folder.path().join("reelway.db")).unwrap();
        let scan = |library: &Library, seconds: i64| {
            library.scan(&store, Timestamp::from_microseconds(seconds * 1_000_000));
            let state = library.scan_state();
            (state.absence("films"), state.found, state.added, state.removed)
        };
        assert_eq!(scan(&library, 1), (None, 0, 0, 0), "one in which there never were any is just empty");
        std::fs::write(disk.join("a.mp4"), "x").unwrap();
        assert_eq!(scan(&library, 2), (None, 1, 1, 0));
        let away = (Some(Absence::Unmounted), 0, 0, 0);
        std::fs::rename(&disk, &unplugged).unwrap();
        std::fs::create_dir(&disk).unwrap();
        assert_eq!(scan(&library, 3), away);
        assert_eq!(scan(&library, 4), away, "it stays away");
        let restarted = self::library(folder.path());
        std::fs::remove_dir(disk.join("shows")).unwrap();
        assert_eq!(scan(&restarted, 5), away, "also for a daemon that has never seen it");
        std::fs::remove_dir(&disk).unwrap();
        std::fs::rename(&unplugged, &disk).unwrap();
        for library in [&library, &restarted] {
            assert_eq!(scan(library, 6), (None, 1, 0, 0), "it is back, and nothing in it is new");
        }
        std::fs::remove_file(disk.join("a.mp4")).unwrap();
        assert_eq!(scan(&library, 7), (None, 0, 0, 1), "somebody has deleted them");
        assert_eq!(scan(&self::library(folder.path()), 8), (None, 0, 0, 0), "which is remembered");
        store.close();
    }

    #[test]
    fn a_folder_with_anything_in_it_is_believed_to_have_no_films() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("reelway.db")).unwrap();
        let film = folder.path().join("films/a.mp4");
        let before = library(folder.path());
        std::fs::write(&film, "x").unwrap();
        before.scan(&store, Timestamp::from_microseconds(1));
        std::fs::remove_file(&film).unwrap();
        let after = library(folder.path());
        after.scan(&store, Timestamp::from_microseconds(2));
        let state = after.scan_state();
        assert_eq!((state.absence("films"), state.removed), (None, 1), "the folder 'shows' is in it");
        store.close();
    }

    #[test]
    fn a_scan_sees_a_disk_that_has_come_and_one_that_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path());
        let store = Store::open(&folder.path().join("reelway.db")).unwrap();
        let scan = |seconds: i64| {
            library.scan(&store, Timestamp::from_microseconds(seconds * 1_000_000));
            library.scan_state()
        };
        assert!(library.candidates("gone/a.mp4").iter().all(|place| place.root_name != "gone"));
        std::fs::create_dir(folder.path().join("gone")).unwrap();
        std::fs::write(folder.path().join("gone/a.mp4"), "x").unwrap();
        let state = scan(1);
        assert_eq!((state.missing_roots.len(), state.found, state.added), (0, 1, 1));
        assert_eq!(state.found_by_root, [0, 0, 1]);
        assert!(library.candidates("gone/a.mp4").iter().any(|place| place.root_name == "gone"));
        std::fs::write(folder.path().join("gone/a.mp4"), "longer").unwrap();
        assert_eq!(scan(2).changed, 1);
        std::fs::remove_dir_all(folder.path().join("gone")).unwrap();
        let state = scan(3);
        assert_eq!((state.missing_roots.clone(), state.found, state.removed), (vec![missing("gone")], 0, 0));
        assert!(library.candidates("a.mp4").iter().all(|place| place.root_name != "gone"), "it is not read any more");
        store.close();
    }
}
