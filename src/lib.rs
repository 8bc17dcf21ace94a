//! reelway: your films, straight from the SSD to the screen.
//!
//! The map of the house. The rooms stand in one order, and imports point down this page only (`tests/tidy.rs` checks
//! it), so reading the list is reading the architecture: what a person types, how the parts are put together, how
//! bytes are served, what they mean, what is remembered, the pure grammars, and the doors to the kernel.

// What a person types.
//pub mod cli; //     one file a verb: serve, user, token, config, healthcheck
//pub mod daemon; //  assembly: configuration -> lock -> store -> sockets -> shards -> drain -> exit

// How bytes are served. Read `serve::exchange` first: it follows a request from the socket to sendfile.
//pub mod serve; //   the data plane: shard, connection, exchange, transfer (the pump), deadline
//pub mod route; //   one match on path and method: the whole API on a page
//pub mod api; //     JSON handlers, one file a resource; each returns a Response and touches no socket
//pub mod stream; //  the media handler: file -> conditional -> range -> extents

// What is known and remembered.
//pub mod library; // roots, their scan, and the index: an immutable snapshot, swapped whole
//pub mod session; // who is signed in: a slab of fixed capacity over the store's rows
//pub mod auth; //    passwords, tokens, keys, and what a caller may do
//pub mod store; //   SQLite: one writer, one reader, one file an aggregate

// Grammar and tables.
//pub mod http; //    bytes in, values out: request, target, range, conditional, response, reject
//pub mod config; //  the option table, its layers, and where each value came from
pub mod limits;
pub mod log; //     events to stderr, as text or JSON, never waiting for whoever reads them
pub mod metrics; // counters a shard owns, summed when somebody asks //  every capacity and time-out, with its unit, cost and reason

// The kernel.
pub mod sys; //     the only unsafe: ring, engine, file, sendfile, socket, process
