//! RUNTIME/admin.sock: where the command line talks to the daemon. Root and who runs the daemon need no password there.
//!
//! It is made while STATE/lock is held, so that no other daemon of this state can be behind it. Without it the daemon serves
//! all the same: films matter more than the command line.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::sys::{Fault, unix};

/// The socket, until dropped; if there could be one.
pub(super) struct AdminSocket(Option<(PathBuf, UnixListener)>);

/// Where the socket of this configuration is.
pub(crate) fn path(config: &Config) -> PathBuf {
    config.directories.runtime.join("admin.sock")
}

impl AdminSocket {
    /// Listens, or says why not.
    pub fn open(config: &Config) -> AdminSocket {
        let path = path(config);
        match listen(&path) {
            Ok(listener) => AdminSocket(Some((path, listener))),
            Err(error) => {
                let socket = path.display();
                tracing::warn!(%socket, %error, "no admin socket: the command line cannot talk to this daemon");
                AdminSocket(None)
            }
        }
    }

    /// A handle of it for a shard.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn listener(&self) -> Result<Option<UnixListener>, Fault> {
        let listener = self.0.as_ref().map(|(_, listener)| listener.try_clone()).transpose();
        listener.map_err(|error| Fault::new("share the admin socket", error))
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.0 {
            // Somebody may have removed it before.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    unix::listen(path)
}
