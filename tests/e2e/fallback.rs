//! A machine that forbids io_uring: one clear line, a degraded health, and films that still arrive and stall nobody.

use crate::cold::hot_requests_beside_a_slow_disk;
use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::films::{COLD_FILM_BYTES, ColdFilms, Pattern};
use crate::support::without_ring::WithoutRing;

/// Goal: without io_uring the daemon says so once, in the log and in /health, and a cold film arrives byte for byte by
/// threads.
#[test]
fn without_io_uring_threads_bring_the_cold_film() {
    let films = ColdFilms::alone();
    let machine = WithoutRing::new();
    let daemon = Home::new(&films.folder).wrapped_by(machine.wrapper()).start();
    let health = daemon.health();
    assert_eq!(health["components"]["ring"]["status"], "degraded", "{health}");
    assert_eq!(health["status"], "degraded", "{health}");
    let lines = daemon.log.lines_with("io_uring");
    assert_eq!(lines.len(), 1, "one line says so: {lines:?}");
    films.make_cold();
    let before = daemon.ledger();
    assert_eq!(before.sum("reelway_ring"), 0);
    let mut client = Client::connect(daemon.address);
    let name = ColdFilms::name(0);
    let length = daemon.ask_film(&mut client, &name, None).length();
    assert_eq!(length, COLD_FILM_BYTES);
    client.expect(Pattern::of(&name), 0, length);
    let (ring, threads) = daemon.ledger().cold_windows();
    assert!(threads > before.cold_windows().1, "no window was brought by a thread");
    assert_eq!(ring, 0);
}

/// Goal: threads that wait for a slow disk delay no hot request either.
#[test]
fn without_io_uring_hot_requests_never_wait_for_a_slow_disk() {
    hot_requests_beside_a_slow_disk(&WithoutRing::new().wrapper());
}
