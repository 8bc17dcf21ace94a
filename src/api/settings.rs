//! What is in force: the configuration and what follows from it, as one snapshot that a reload swaps whole.
//!
//! The one idea: whoever answers a request loads it once, takes no lock, and never sees half of a change. What goes on when it
//! changes (a film that plays, a connection) keeps what it began with.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::auth::token::Signer;
use crate::config::Config;
use crate::http::cors;
use crate::library::Library;

/// A configuration in force.
#[derive(Debug)]
pub struct Settings {
    /// The values.
    pub config: Config,
    /// Roots and index.
    pub library: Arc<Library>,
    /// Which pages of other sites may read films.
    pub cors: cors::Policy,
    /// Signs and verifies tokens.
    pub signer: Signer,
    /// How often it was replaced: what a shard remembers of an older one is worth nothing.
    pub generation: u64,
}

/// The settings in force.
#[derive(Debug)]
pub struct InForce(ArcSwap<Settings>);

impl InForce {
    /// These, until they are replaced.
    pub fn new(settings: Settings) -> InForce {
        InForce(ArcSwap::from_pointee(settings))
    }

    /// Those of now.
    pub fn load(&self) -> Guard<Arc<Settings>> {
        self.0.load()
    }

    /// Puts others in force.
    pub fn replace(&self, settings: Settings) {
        self.0.store(Arc::new(settings));
    }
}
