//! The state as a verb finds it: the store, opened beside a running daemon or without one.
//!
//! SQLite lets two processes share a database (its lock is waited for), so a verb and the daemon do not get into each
//! other's way. Run by root, a verb first becomes the owner of the state directory: a file of root's would be one the
//! service cannot open.

use std::time::SystemTime;

use anyhow::Context;

use crate::config::Config;
use crate::store::{Store, Timestamp};
use crate::sys::process;

/// Opens the store of this configuration.
pub(super) fn open(config: &Config) -> anyhow::Result<Store> {
    let folder = &config.directories.state;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("could not make the state directory {}; set STATE_DIRECTORY", folder.display()))?;
    process::become_owner_of(folder)
        .with_context(|| format!("could not become the owner of the state directory {}", folder.display()))?;
    Ok(Store::open(&config.directories.database_file())?)
}

/// Now.
pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
