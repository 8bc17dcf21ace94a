//! The real binary and real clients: what somebody with curl, mpv, VLC or a TV meets, and what the kernel sees.
//!
//! Every test starts its own daemon (support/daemon.rs) and ends it by its own handle; nothing leaves loopback.
//! Reading order: contract, messages, sockets, random, traversal (the wire), routes, roles, shapes, tokens, accounts, passwords, proxies (the API), players,
//! cold, pacing, steady (the data path), fallback, faults, pump_faults, timeouts, admission, descriptors, lifecycle, manager, handover, kills,
//! laptop, command_line, backup, doctor, regressions, distant, journal; harness tests the tools.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that meets the unexpected ends there, with the place; clippy.toml covers only #[test] functions"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod admin;
mod admission;
mod backup;
mod cold;
mod command_line;
mod contract;
mod descriptors;
mod distant;
mod doctor;
mod fallback;
mod faults;
mod handover;
mod harness;
mod journal;
mod kills;
mod laptop;
mod leaks;
mod library;
mod lifecycle;
mod limits;
mod links;
mod manager;
mod messages;
mod pacing;
mod passwords;
mod playbacks;
mod players;
mod proxies;
mod pump_faults;
mod random;
mod regressions;
mod roles;
mod routes;
mod shapes;
mod sockets;
mod steady;
mod tables;
mod timeouts;
mod tokens;
mod traversal;
