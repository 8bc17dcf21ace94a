//! reelway: your films, straight from the SSD to the screen.
//!
//! The map of the house. The rooms stand in one order, and imports point down this page only (`tests/tidy.rs` checks
//! it), so reading the list is reading the architecture: what a person types, how the parts are put together, how
//! bytes are served, what is known and remembered, the pure grammars, and the doors to the kernel.

// Answers of commands go through `cli::print`, which survives a closed pipe; everything else is a log event.
#![deny(clippy::print_stdout)]

// What a person types: one file a verb. All but serve and config are clients of the API, over the admin socket.
pub mod cli;

// Assembly: configuration -> sockets -> lock -> admin socket -> store -> keys -> library -> shards -> drain -> exit.
pub mod daemon;

// The data plane, read first: shard, connection, exchange (one request, top-down), transfer (the pump), pace, deadline.
pub mod serve;

// The whole API on a page: one match on path and method, and what each route needs.
pub mod route;

// JSON handlers, one file a resource; each returns a Response value and touches no socket.
pub mod api;

// The media handler: file -> conditional -> range -> extent.
pub mod stream;

// What can be watched: roots, their scan, and the index, an immutable snapshot that is swapped whole; what is open of it.
pub mod library;

// Who is watching what: slots, their limits, who gives way, and how fast it may go.
pub mod playback;

// Who is signed in: a slab of fixed capacity over the store's rows.
pub mod session;

// Who is asking: passwords, tokens, the key, the carriers of a credential, and what a caller may do.
pub mod auth;

// SQLite: one writer thread, one reader thread, one file an aggregate.
pub mod store;

// Grammar, bytes in and values out: request, target, range, conditional, response, reject.
pub mod http;

// The option table, its layers, and where each value came from.
pub mod config;

// Counters that a shard owns, summed when somebody asks.
pub mod metrics;

// Events to the journal with their fields, or to stderr as text or JSON, never waiting for whoever reads them.
pub mod log;

// The doors to the kernel, the only unsafe: ring, engine, file, closer, sendfile, socket, unix, process.
pub mod sys;

// Every capacity and time-out, with its unit, cost and reason. Numbers only, so every room may read them.
pub mod limits;
