//! What is in force: the configuration and what follows from it, as one snapshot that a reload swaps whole.
//!
//! The one idea: whoever answers a request loads it once, takes no lock, and never sees half of a change. What goes on when it
//! changes (a film that plays, a connection) keeps what it began with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
pub struct InForce {
    settings: ArcSwap<Settings>,
    generation: AtomicU64,
}

impl InForce {
    /// These, until they are replaced.
    pub fn new(settings: Settings) -> InForce {
        InForce { generation: AtomicU64::new(settings.generation), settings: ArcSwap::from_pointee(settings) }
    }

    /// Those of now.
    pub fn load(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// How often they were replaced: these, or newer ones by now.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts others in force.
    pub fn replace(&self, settings: Settings) {
        let generation = settings.generation;
        self.settings.store(Arc::new(settings));
        // Only now: who is told of a generation has its settings, or newer ones.
        self.generation.store(generation, Ordering::Release);
    }
}
