//! By this a session knows that a film is being sent to it: its own half is the [`Presence`], and each film on its way shows
//! a [`Shown`]. Nobody counts, so nobody can forget to count down.

use std::sync::{Arc, Weak};

/// A session's half.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<()>);

/// What makes a [`Shown`], while the session is there.
#[derive(Clone, Debug, Default)]
pub struct Sign(Weak<()>);

/// A film's half, for as long as it is being sent.
#[derive(Debug)]
pub struct Shown {
    _half: Arc<()>,
}

impl Presence {
    /// For the films of the session.
    pub fn sign(&self) -> Sign {
        Sign(Arc::downgrade(&self.0))
    }

    /// Whether a film is being sent.
    pub fn is_shown(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Sign {
    /// Shows that a film is being sent; if the session is there to see it.
    pub fn show(&self) -> Option<Shown> {
        self.0.upgrade().map(|half| Shown { _half: half })
    }
}

/// Two sessions are not told apart by who plays with them.
impl PartialEq for Presence {
    fn eq(&self, _other: &Presence) -> bool {
        true
    }
}

impl Eq for Presence {}
