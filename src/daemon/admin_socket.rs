//! RUNTIME/admin.sock: where the command line talks to the daemon. Root and who runs the daemon need no password there.
//!
//! It is made while STATE/lock is held, so that no other daemon of this state can be behind it. Without it the daemon serves
//! all the same: films matter more than the command line.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::config::Config;
use crate::log::messages;
use crate::sys::Fault;
use crate::sys::unix::{self, Listening};

/// The socket, until dropped; if there could be one.
pub(super) struct AdminSocket(Option<Listening>);

/// Where the socket of this configuration is.
pub(crate) fn path(config: &Config) -> PathBuf {
    config.directories.runtime.join("admin.sock")
}

impl AdminSocket {
    /// Listens, or says why not.
    pub fn open(config: &Config) -> AdminSocket {
        let path = path(config);
        let listening = unix::listen(&path).inspect_err(|error| {
            let socket = path.display();
            tracing::warn!(
                name: messages::ADMIN_SOCKET_MISSING, %socket, %error,
                "no admin socket: the command line cannot talk to this daemon"
            );
        });
        AdminSocket(listening.ok())
    }

    /// A handle of it for a shard.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn listener(&self) -> Result<Option<UnixListener>, Fault> {
        let listener = self.0.as_ref().map(|listening| listening.listener.try_clone()).transpose();
        listener.map_err(|error| Fault::new("share the admin socket", error))
    }
}
