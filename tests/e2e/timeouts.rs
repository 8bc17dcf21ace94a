//! How long the daemon waits for whom: the dead are given up soon, the paused late, the idle are sent away, and nobody
//! who may still read loses a byte (spec/HTTP.md, "Messages").

use std::time::{Duration, Instant};

use crate::support::client::{Client, Ending};
use crate::support::daemon::{Daemon, Holdings, Home};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, MIB, Pattern};
use crate::support::{PATIENCE, eventually};

/// What a viewer has seen before the test begins. The kernel can queue a few MiB more, and no whole film.
const SEEN_BYTES: u64 = MIB;

/// A daemon with one time-out changed, and what it holds before anybody came.
fn start(name: &str, value: &str) -> (Daemon, Holdings) {
    let daemon = Home::new(&films::folder()).set(&format!("REELWAY_NET__{name}"), value).start();
    let before = daemon.holdings_at_rest();
    (daemon, before)
}

/// A viewer who has begun to watch, and reads no further by itself.
fn viewer_of(daemon: &Daemon) -> Client {
    let mut viewer = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut viewer, BIG_FILM, None);
    viewer.expect(Pattern::of(BIG_FILM), 0, SEEN_BYTES);
    viewer
}

fn plays_to_the_end(viewer: &mut Client) {
    viewer.expect(Pattern::of(BIG_FILM), SEEN_BYTES, BIG_FILM_BYTES - SEEN_BYTES);
}

fn stalled(daemon: &Daemon) -> u64 {
    daemon.ledger().sum("reelway_stalled_total")
}

/// Waits until a viewer is given up; how long that took.
fn given_up(daemon: &Daemon) -> Duration {
    let start = Instant::now();
    eventually("the viewer is given up", PATIENCE, || (stalled(daemon) == 1).then_some(()));
    start.elapsed()
}

/// Goal: a viewer whose network is gone is given up after `net.stall_timeout`, counted, and leaves nothing behind.
#[test]
fn a_dead_viewer_is_given_up() {
    let (daemon, before) = start("STALL_TIMEOUT", "1s");
    let viewer = viewer_of(&daemon);
    viewer.fall_silent();
    given_up(&daemon);
    daemon.expect_holdings(&before);
    drop(viewer);
    assert_eq!(stalled(&daemon), 1);
}

/// Goal: a viewer whose network is back before the time is up sees the rest of the film.
#[test]
fn a_viewer_who_was_silent_for_a_moment_goes_on() {
    let (daemon, _) = start("STALL_TIMEOUT", "20s");
    let mut viewer = viewer_of(&daemon);
    viewer.fall_silent();
    // Not a wait for something: the silence is what is being tested.
    std::thread::sleep(Duration::from_secs(1));
    viewer.come_back();
    plays_to_the_end(&mut viewer);
    assert_eq!(stalled(&daemon), 0);
}

/// Goal: a paused player is not dead: its kernel still answers, so `net.stall_timeout` does not end it, and it gets
/// every byte when it plays on.
#[test]
fn a_paused_viewer_outlives_the_stall_timeout() {
    let (daemon, _) = start("STALL_TIMEOUT", "1s");
    let mut viewer = viewer_of(&daemon);
    // Not a wait for something: the pause is what is being tested.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!((stalled(&daemon), daemon.ledger().sum("reelway_transfers")), (0, 1));
    plays_to_the_end(&mut viewer);
}

/// Goal: a pause longer than `net.pause_timeout` ends the connection with a reset, so that nobody takes what came for
/// the whole film; it is counted and leaves nothing behind.
#[test]
fn a_pause_too_long_is_ended() {
    let (daemon, before) = start("PAUSE_TIMEOUT", "1s");
    let mut viewer = viewer_of(&daemon);
    assert!(given_up(&daemon) >= Duration::from_millis(500), "it was given up while it still read");
    daemon.expect_holdings(&before);
    let (received, ending) = viewer.expect_until_end(Pattern::of(BIG_FILM), SEEN_BYTES);
    assert!(received < BIG_FILM_BYTES - SEEN_BYTES, "the film had been sent whole: nothing was cut");
    assert_eq!(ending, Ending::Reset);
}

/// Goal: a connection without a request is closed after `net.keep_alive_timeout`, whether it had one before or not.
#[test]
fn an_idle_connection_is_closed() {
    let (daemon, before) = start("KEEP_ALIVE_TIMEOUT", "1s");
    for requests in [0, 1] {
        let mut client = Client::connect(daemon.address);
        for _ in 0..requests {
            assert_eq!(client.fetch("GET", "/health", &[]).head.status, 200);
        }
        let start = Instant::now();
        client.expect_closed();
        let waited = start.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&waited), "{waited:?}, {requests}");
    }
    daemon.expect_holdings(&before);
}

/// Goal: each request gives the connection its whole time again.
#[test]
fn a_connection_in_use_is_kept() {
    let (daemon, _) = start("KEEP_ALIVE_TIMEOUT", "1s");
    let mut client = Client::connect(daemon.address);
    for _ in 0..6 {
        assert_eq!(client.fetch("GET", "/health", &[]).head.status, 200);
        // Not a wait for something: together these pauses are longer than the time-out, and each is shorter.
        std::thread::sleep(Duration::from_millis(400));
    }
}

/// Goal: who pauses while the last bytes are queued gets all of them, however long that is after
/// `net.keep_alive_timeout`; with `Connection: close` and without.
#[test]
fn queued_bytes_outlive_the_keep_alive_timeout() {
    /// More than the viewer's kernel takes without being read, and few enough for ours to queue.
    const TAIL_BYTES: u64 = 700_000;
    let (daemon, before) = start("KEEP_ALIVE_TIMEOUT", "1s");
    let mut viewers = ["close", "keep-alive"].map(|connection| {
        let mut viewer = Client::connect_narrow(daemon.address);
        let (path, bearer) = (films::url_path(BIG_FILM), daemon.bearer());
        let range = format!("bytes=-{TAIL_BYTES}");
        viewer.ask("GET", &path, &[("Authorization", &bearer), ("Range", &range), ("Connection", connection)]);
        assert_eq!(viewer.head().length(), TAIL_BYTES);
        viewer
    });
    eventually("the kernel has all of it", PATIENCE, || (daemon.ledger().sum("reelway_transfers") == 0).then_some(()));
    // Not a wait for something: longer than the time-out and than a closed connection lingers (2 s).
    std::thread::sleep(Duration::from_secs(4));
    for viewer in &mut viewers {
        viewer.expect(Pattern::of(BIG_FILM), BIG_FILM_BYTES - TAIL_BYTES, TAIL_BYTES);
        viewer.expect_closed();
    }
    drop(viewers);
    daemon.expect_holdings(&before);
}

/// Goal: who sends without end after the last request, and does not read, is not listened to for ever: after ten seconds
/// nothing more is taken.
#[test]
fn an_endless_upload_behind_the_last_answer_is_not_listened_to() {
    let (daemon, before) = start("STALL_TIMEOUT", "300s");
    let mut viewer = Client::connect_narrow(daemon.address);
    let (path, bearer) = (films::url_path(BIG_FILM), daemon.bearer());
    viewer.ask("GET", &path, &[("Authorization", &bearer), ("Range", "bytes=0-499999"), ("Connection", "close")]);
    let mut sender = viewer.sender();
    sender.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let start = Instant::now();
    let piece = vec![b'x'; 64 * 1024];
    while std::io::Write::write(&mut sender, &piece).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(25), "the upload was listened to");
    }
    assert!(start.elapsed() >= Duration::from_secs(8), "it was cut after {:?}", start.elapsed());
    // What it asked for is still there.
    assert_eq!(viewer.head().length(), 500_000);
    viewer.expect(Pattern::of(BIG_FILM), 0, 500_000);
    drop((viewer, sender));
    daemon.expect_holdings(&before);
}

/// Goal: `net.head_timeout` is for the whole head: who sends a byte now and then gains nothing by it.
#[test]
fn a_trickling_head_is_408() {
    let (daemon, before) = start("HEAD_TIMEOUT", "1s");
    let mut client = Client::connect(daemon.address);
    let start = Instant::now();
    client.send("GET /health HTTP/1.1\r\nHost: a\r\nX-Long: ");
    while !client.has_answer() {
        assert!(start.elapsed() < PATIENCE, "the head was awaited for ever");
        // Not a wait for something: the pace of the trickle.
        std::thread::sleep(Duration::from_millis(100));
        client.send("x");
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    client.answer("GET").is_problem(408);
    client.expect_closed();
    drop(client);
    daemon.expect_holdings(&before);
}
