//! Films that were asked for a moment ago, kept open by a shard: a player asks for range after range of one film.
//!
//! A kept film is used only if its path still names this very file, unchanged: one call, and no close after it. Its way there
//! is in memory, because the open file holds it there, so the look waits for no disk; files of distant file systems are not
//! kept. One look serves all who ask within [`limits::FILM_LOOK_FOR`]: less than a request takes from one end of a cable to
//! the other. What nobody asks for is let go after a moment, so that a deleted film gives its space back.

use std::cell::RefCell;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;

use crate::library::Candidate;
use crate::library::open::OpenVideo;
use crate::limits;
use crate::sys::file::Root;

/// The films that one shard keeps open.
#[derive(Debug, Default)]
pub struct Kept {
    films: RefCell<Vec<Film>>,
}

#[derive(Debug)]
struct Film {
    /// The root that it was opened in: another library may have another of the same name.
    directory: Arc<Root>,
    path: CString,
    video: Arc<OpenVideo>,
    /// When it was looked at, and so when it was last asked for.
    looked: Instant,
}

impl Kept {
    /// The film that this candidate names, if it is kept and still the one.
    pub fn find(&self, candidate: &Candidate<'_>) -> Option<Arc<OpenVideo>> {
        let mut films = self.films.borrow_mut();
        let is_it = |film: &Film| {
            Arc::ptr_eq(&film.directory, &candidate.directory) && film.path.as_bytes() == candidate.path.as_bytes()
        };
        let index = films.iter().position(is_it)?;
        let film = &mut films[index];
        let now = Instant::now();
        if now.duration_since(film.looked) >= limits::FILM_LOOK_FOR {
            if !candidate.directory.names(&film.path, &film.video.file) {
                films.swap_remove(index);
                return None;
            }
            film.looked = now;
        }
        Some(Arc::clone(&film.video))
    }

    /// Keeps a film that was opened.
    pub fn keep(&self, directory: &Arc<Root>, path: CString, video: &Arc<OpenVideo>) {
        if video.file.is_distant() {
            return;
        }
        let mut films = self.films.borrow_mut();
        if films.len() >= limits::FILMS_KEPT_MAX
            && let Some(oldest) = (0..films.len()).min_by_key(|index| films[*index].looked)
        {
            films.swap_remove(oldest);
        }
        films.push(Film { directory: Arc::clone(directory), path, video: Arc::clone(video), looked: Instant::now() });
    }

    /// Lets go of those that nobody has asked for lately. Whether any is left.
    pub fn let_go(&self, now: Instant) -> bool {
        let mut films = self.films.borrow_mut();
        films.retain(|film| now.saturating_duration_since(film.looked) < limits::FILM_KEPT_FOR);
        !films.is_empty()
    }

    /// Lets go of all: descriptors are wanted elsewhere. Whether there was any.
    pub fn clear(&self) -> bool {
        !std::mem::take(&mut *self.films.borrow_mut()).is_empty()
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.films.borrow().is_empty()
    }
}
