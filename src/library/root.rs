//! A root: a folder of films as configured, its open descriptor, and how to look whether it is there.
//!
//! A disk of a server that is away does not answer at all, for hours perhaps, and whoever asks it cannot be stopped. So it is
//! asked on a thread of its own, at most one for each root: who wants to know waits for a while, and finds the root missing
//! when there is no answer.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::library::scan_state::Absence;
use crate::library::walker::{Walker, Walkers};
use crate::log::messages;
use crate::sys::Fault;
use crate::sys::descriptor::FileId;
use crate::sys::file::{self, Root};

/// A folder of films, as configured, and its open descriptor.
#[derive(Debug)]
pub struct LibraryRoot {
    /// The name that begins its URLs.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its descriptor; empty when it could not be opened: a disk that is not there. Each scan looks again.
    directory: ArcSwapOption<Root>,
    /// Where the answer of its disk comes. The same root of another library waits for the same one.
    asked: Arc<Mutex<Option<Receiver<Answer>>>>,
    /// Which folder it was when films were found in it last, as far as this process knows.
    films_in: Arc<Mutex<Option<FileId>>>,
    /// Who is in the folders of its path, for whichever library.
    pub(super) walker: Arc<Walker>,
}

/// What its disk says: the folder, which is the one that we know if it is the same.
type Answer = Result<Arc<Root>, Fault>;

/// Opens the folder of each of `roots` again if another one stands there now: a disk that was mounted, or has gone. One that
/// does not answer before `patience` is over is missing, too. One whose walk is stuck stays as it is: it would not answer either.
pub(super) fn look_at<'a>(roots: impl IntoIterator<Item = &'a LibraryRoot>, patience: Duration) {
    let roots: Vec<&LibraryRoot> = roots.into_iter().filter(|root| !root.walker.is_stuck()).collect();
    let deadline = Instant::now() + patience;
    roots.iter().for_each(|root| root.ask());
    roots.iter().for_each(|root| root.hear(deadline));
}

impl LibraryRoot {
    /// A root that nobody has looked at.
    pub(super) fn new(name: String, path: PathBuf, walkers: &Walkers) -> LibraryRoot {
        LibraryRoot {
            name,
            directory: ArcSwapOption::empty(),
            asked: Arc::default(),
            films_in: Arc::default(),
            walker: walkers.of(&path),
            path,
        }
    }

    /// The same root for another library.
    pub(super) fn same(&self) -> LibraryRoot {
        LibraryRoot {
            name: self.name.clone(),
            path: self.path.clone(),
            directory: ArcSwapOption::new(self.open()),
            asked: Arc::clone(&self.asked),
            films_in: Arc::clone(&self.films_in),
            walker: Arc::clone(&self.walker),
        }
    }

    /// Whether it is the same root as `other`, of whichever library.
    pub(super) fn is(&self, other: &LibraryRoot) -> bool {
        Arc::ptr_eq(&self.asked, &other.asked)
    }

    /// Its folder, if that is there.
    pub fn open(&self) -> Option<Arc<Root>> {
        self.directory.load_full()
    }

    pub(super) fn is_open(&self) -> bool {
        self.directory.load().is_some()
    }

    /// Why it is not open.
    pub(super) fn absence(&self) -> Absence {
        // Whoever holds it waits for an answer.
        let is_answered = self.asked.try_lock().is_ok_and(|asked| asked.is_none());
        // One that is stuck is not asked.
        if is_answered && !self.walker.is_stuck() { Absence::Missing } else { Absence::Silent }
    }

    /// Films were found in its folder.
    pub(super) fn note_films(&self) {
        *self.films_in.lock().unwrap_or_else(PoisonError::into_inner) = self.open().and_then(|folder| folder.id());
    }

    /// What is the matter with its folder, in which there is nothing, although films are known of this root.
    ///
    /// The folder that a disk is mounted on is there without the disk as well, and is empty then. So an empty folder is believed
    /// only if it is the very one in which this process has found films: somebody has deleted them. Any other one is the place
    /// of a disk that is away. Of two mistakes this is the one that costs less: whoever deletes all films while the daemon rests
    /// is told so until there is anything in the folder again, or the root is removed; the other one forgets a disk.
    pub(super) fn emptiness(&self) -> Option<Absence> {
        let folder = self.open()?;
        let films_in = *self.films_in.lock().unwrap_or_else(PoisonError::into_inner);
        if films_in.is_some() && films_in == folder.id() {
            return None;
        }
        Some(if folder.is_mount() { Absence::Empty } else { Absence::Unmounted })
    }

    /// Asks its disk, unless somebody waits for that already.
    fn ask(&self) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // An answer that nobody has heard is an old one.
        let is_waiting = |answers: &Receiver<Answer>| matches!(answers.try_recv(), Err(TryRecvError::Empty));
        if asked.as_ref().is_some_and(is_waiting) {
            return;
        }
        let (known, path) = (self.open(), self.path.clone());
        let (told, answers) = mpsc::channel();
        let look = move || {
            let found = Root::open(&path);
            let answer = found.map(|now| known.filter(|known| known.is_same(&now)).unwrap_or_else(|| Arc::new(now)));
            // Nobody may wait any more.
            let _ = told.send(answer);
        };
        // Without a thread there is no answer, which is heard.
        let _ = std::thread::Builder::new().name("root".into()).spawn(look);
        *asked = Some(answers);
    }

    /// Waits for its disk until `deadline`.
    fn hear(&self, deadline: Instant) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answers) = asked.take() else { return };
        match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(folder)) => self.directory.store(Some(folder)),
            Ok(Err(fault)) if file::is_exhaustion(&fault.cause) => {}
            Ok(Err(fault)) => self.miss(&fault),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                *asked = Some(answers);
                self.miss(&"its disk does not answer");
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => self.miss(&"there is no thread to look for it"),
        }
    }

    fn miss(&self, error: &dyn std::fmt::Display) {
        tracing::warn!(name: messages::ROOT_MISSING, root = self.name, %error, "library root is not available");
        self.directory.store(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its disk does not answer until the one who gets this does.
    fn hang(root: &LibraryRoot) -> mpsc::Sender<Answer> {
        let (answer, answers) = mpsc::channel();
        *root.asked.lock().unwrap() = Some(answers);
        answer
    }

    #[test]
    fn a_root_that_does_not_answer_is_missing_and_there_when_it_does_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = |name: &str| LibraryRoot::new(name.into(), folder.path().into(), &Walkers::default());
        let (first, last) = (root("first"), root("last"));
        // So many that to wait for one after the other would take minutes, whatever else this machine does.
        let hung: Vec<LibraryRoot> = (0..100).map(|number| root(&number.to_string())).collect();
        look_at([&hung[0]], Duration::from_secs(60));
        let known = hung[0].open().expect("it was there once");
        let answers: Vec<_> = hung.iter().map(hang).collect();
        let begun = Instant::now();
        let patience = Duration::from_secs(2);
        look_at([&first].into_iter().chain(&hung).chain([&last]), patience);
        assert!(begun.elapsed() < 50 * patience, "they are waited for together");
        assert!(first.is_open() && last.is_open() && !hung.iter().any(LibraryRoot::is_open));
        let (hung, answer) = (&hung[0], &answers[0]);
        // The disk comes back, and is asked by another library: no second thread waits for it meanwhile.
        let same = hung.same();
        same.ask();
        answer.send(Ok(Arc::clone(&known))).unwrap();
        same.hear(Instant::now() + Duration::from_secs(60));
        assert!(Arc::ptr_eq(&same.open().unwrap(), &known), "it is the folder that was there before");
        // An answer that nobody has heard is not believed later.
        *same.asked.lock().unwrap() = Some(mpsc::channel().1);
        std::fs::remove_dir(folder.path()).unwrap();
        look_at([&same], Duration::from_secs(60));
        assert!(!same.is_open());
    }
}
