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
use crate::library::walker::Walkers;
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
    /// Who is in which folders: for this library, and those that it came from or that came from it.
    walkers: Arc<Walkers>,
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
        let walkers = Arc::<Walkers>::default();
        let roots: Vec<_> = roots.into_iter().map(|(name, path)| LibraryRoot::new(name, path, &walkers)).collect();
        root::look_at(&roots, limits::ROOT_START_PATIENCE);
        Library { walkers, ..Library::of(roots, formats) }
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
            None => LibraryRoot::new(name, path, &self.walkers),
        });
        let roots: Vec<_> = roots.collect();
        root::look_at(
            roots.iter().filter(|root| !self.roots.iter().any(|known| known.is(root))),
            limits::ROOT_START_PATIENCE,
        );
        let (storing, walkers) = (Arc::clone(&self.storing), Arc::clone(&self.walkers));
        let library = Library { storing, walkers, ..Library::of(roots, formats) };
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
            walkers: Arc::default(),
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
        let found = scan::walk(self, limits::ROOT_STALL_TIMEOUT, so_far);
        self.take_over(found, store, now);
    }

    /// Puts what was found in the place of what was known.
    fn take_over(&self, mut found: Found, store: &Store, now: Timestamp) {
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
        self.keep_unknown(&mut found);
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
            () if found.broken_roots.contains(&number) => Some(Absence::Unscanned),
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

    /// Films of roots that do not answer, or that nobody has asked, stay in the index: they are where they were, and may play.
    fn keep_unknown(&self, found: &mut Found) {
        if found.silent_roots.is_empty() && found.broken_roots.is_empty() {
            return;
        }
        let index = self.index();
        let seen: HashSet<Uuid> = found.videos.iter().map(|video| video.id).collect();
        let known = index.search("", Sort::Title, false).into_iter();
        let kept = known.filter(|video| found.is_unknown(video.root) && !seen.contains(&video.id));
        let kept: Vec<&Video> = kept.take(limits::VIDEOS_MAX.saturating_sub(seen.len())).collect();
        for video in kept {
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
mod tests;
