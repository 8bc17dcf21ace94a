//! The data plane: from an accepted socket to the last byte the kernel has sent.
//!
//! The path of a byte is one way: `shard` accepts, `connection` keeps a socket (`idle` between two requests),
//! `exchange` answers one, `transfer` pumps its film (`hot` knows what is in memory, `pace` how fast it may go). A
//! handler returns a value; only this room touches sockets. Read `exchange` first.

mod admission;
mod body;
mod connection;
mod deadline;
mod exchange;
mod hot;
mod idle;
mod inbox;
mod pace;
mod peer;
mod pipes;
pub mod shard;
mod transfer;

use std::sync::Arc;

use crate::api::Services;
use crate::limits;
use crate::serve::admission::Connections;

/// What all shards share.
#[derive(Debug)]
pub struct State {
    /// What the handlers work with.
    pub services: Services,
    /// Who is connected, and how many may be.
    connections: Connections,
    /// The same at the admin socket, which has places of its own: an administrator comes in when all others are taken.
    admins: Connections,
}

impl State {
    /// The state of a daemon that is about to serve.
    pub fn new(services: Services) -> Arc<State> {
        let net = &services.config.net;
        let connections = Connections::new(net.connections_max, net.connections_per_address);
        let admins = Connections::new(limits::ADMIN_CONNECTIONS_MAX, limits::ADMIN_CONNECTIONS_MAX);
        Arc::new(State { services, connections, admins })
    }
}

/// What the shards are doing. Only ever moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepting and answering.
    Serving,
    /// No new connections; current responses are finished.
    Draining,
    /// Time is up: what is left is cut.
    Ended,
}
