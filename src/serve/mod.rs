//! The data plane: from an accepted socket to the last byte the kernel has sent.
//!
//! The path of a byte is one way: `shard` accepts, `connection` keeps a socket (`idle` between two requests),
//! `exchange` answers one, `transfer` pumps its film (`hot` knows what is in memory, `pace` how fast it may go). A
//! handler returns a value; only this room touches sockets. What a restart leaves to the next process, and how that goes
//! on, is in `handover`. Read `exchange` first.

mod admission;
mod body;
mod connection;
mod deadline;
mod exchange;
mod halt;
pub mod handover;
mod hot;
mod idle;
mod inbox;
mod pace;
mod peer;
mod pipes;
pub mod pulse;
pub mod shard;
mod transfer;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::Services;
use crate::config::Net;
use crate::limits;
use crate::serve::admission::Connections;
use crate::serve::handover::Connection;

/// What all shards share.
#[derive(Debug)]
pub struct State {
    /// What the handlers work with.
    pub services: Services,
    /// Who is connected, and how many may be.
    connections: Connections,
    /// The same at the admin socket, which has places of its own: an administrator comes in when all others are taken.
    admins: Connections,
    /// Connections that the shards have given up, to be handed over.
    given_up: Mutex<Vec<Connection>>,
    /// Shards that serve no more.
    shards_left: AtomicUsize,
    /// Connections that were cut because time or room was up.
    cut: AtomicUsize,
}

impl State {
    /// The state of a daemon that is about to serve.
    pub fn new(services: Services) -> Arc<State> {
        let settings = services.settings();
        let net = &settings.config.net;
        let connections = Connections::new(net.connections_max, net.connections_per_address);
        let admins = Connections::new(limits::ADMIN_CONNECTIONS_MAX, limits::ADMIN_CONNECTIONS_MAX);
        let (given_up, shards_left, cut) = Default::default();
        drop(settings);
        Arc::new(State { services, connections, admins, given_up, shards_left, cut })
    }

    /// From now on there may be so many connections; those that are there stay.
    pub fn set_connections_max(&self, net: &Net) {
        self.connections.set_max(net.connections_max, net.connections_per_address);
    }

    /// How many shards serve no more. They may still wait for a disk before their threads end.
    pub fn shards_left(&self) -> usize {
        self.shards_left.load(Ordering::Acquire)
    }

    /// How many connections were cut because time or room was up.
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::Acquire)
    }

    /// So many more are cut.
    pub fn add_cut(&self, connections: usize) {
        self.cut.fetch_add(connections, Ordering::Release);
    }

    /// A shard serves no more, with so many connections that are not at their end.
    fn leave(&self, connections: usize) {
        self.add_cut(connections);
        self.shards_left.fetch_add(1, Ordering::Release);
    }

    /// What the shards have given up since this was asked last.
    pub fn take_given_up(&self) -> Vec<Connection> {
        std::mem::take(&mut *self.given_up.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn give_up(&self, connection: Connection) {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// What the shards are doing. Only ever moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepting and answering.
    Serving,
    /// No new connections; short responses are finished, and then the process after us is given what there is.
    HandingOver,
    /// No new connections; current responses are finished.
    Draining,
    /// Time is up: what is left is cut.
    Ended,
}
