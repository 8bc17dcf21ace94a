//! The doors to the kernel, and the only room where `unsafe` may stand.
//!
//! Every public function here is safe to call with any values. What a file holds: [`ring`] the io_uring runtime and
//! its operations, [`engine`] who waits for the disk (the ring, or threads where there is no ring), [`mod@file`]
//! library roots and the files in them, `closer` who closes those that are distant, [`sendfile`] the zero-copy calls
//! and pipes, [`descriptor`] what one is that another process has left us, [`socket`] listeners and what TCP knows about a
//! peer, [`unix`] sockets of the machine itself, [`account`] its users, [`process`] what belongs to the process as a whole,
//! [`clock`] how long the machine has slept, [`systemd`] the service manager, [`volume`] how full a
//! disk is, [`wait`] for other threads.
#![allow(unsafe_code)] // The one place of the crate; every block names the contract it keeps.

pub mod account;
pub mod clock;
mod closer;
pub mod descriptor;
pub mod engine;
pub mod file;
pub mod process;
pub mod ring;
pub mod sendfile;
pub mod socket;
pub mod systemd;
pub mod unix;
pub mod volume;
pub mod wait;

use std::fmt;
use std::io;

/// The machine failed us: which operation, on what, and the kernel's reason. Logged once, where it is handled.
#[derive(Debug)]
pub struct Fault {
    /// What was attempted, as a verb and its object: `open the library root /srv/films`.
    pub operation: String,
    /// What the kernel said.
    pub cause: io::Error,
}

impl Fault {
    /// A fault of `operation`, for which the kernel gave `cause`.
    pub fn new(operation: impl Into<String>, cause: impl Into<io::Error>) -> Fault {
        Fault { operation: operation.into(), cause: cause.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "could not {}: {}", self.operation, self.cause)
    }
}

// The cause is in the sentence, so it is not offered a second time as a source.
impl std::error::Error for Fault {}
