//! What a hot range costs in steady state, in numbers that no clock is needed for: calls of the kernel and allocations.
//!
//! The real daemon with one shard, one viewer who is signed in, one connection that is kept. The viewer asks for the next
//! range when the thread of the shard sleeps, so that every range takes the same way through the loop, on a busy machine too.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::counted::Counted;
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{MIB, Pattern};
use crate::support::page_cache::Locked;
use crate::support::trace::Trace;
use crate::support::{PATIENCE, scratch};

/// What a hundred hot ranges of 64 KiB may cost: the calls of the shard's thread. What is neither here nor in
/// [`CALLS_OF_A_LOOK`] is never called. Lower it when a call is spared; raising it needs a reason in the commit. Beside a tracer
/// a range takes longer than one look at its path is good for.
const CALLS_OF_A_HUNDRED: &[(&str, u64)] = &[
    ("recvfrom", 100),
    ("newfstatat", 100),
    ("sendto", 100),
    ("sendfile", 100),
    ("epoll_wait", 100),
    ("io_uring_enter", 100),
];
/// What one look at the page cache costs, and for how long it is good for a block of the film.
const CALLS_OF_A_LOOK: &[(&str, u64)] = &[("preadv2", 2), ("cachestat", 1)];
const LOOK_IS_GOOD_FOR: Duration = Duration::from_millis(100);
const BLOCK_BYTES: u64 = MIB;

const FILM: &str = "film.mp4";
const FILM_BYTES: u64 = 4 * MIB;
const RANGE_BYTES: u64 = 64 * 1024;
/// Until what is remembered is remembered, and what is made once is made.
const WARM_UP_RANGES: u64 = 200;
/// Calls of all ranges together that may be about something else: a timer, the question that begins the count.
const OTHERS: u64 = 20;

/// A folder with the film, which is hot for as long as the other value lives.
fn hot_film() -> (TempDir, Locked) {
    fs::create_dir_all(scratch()).unwrap();
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let path = folder.path().join(FILM);
    Pattern::of(FILM).write(&path, FILM_BYTES);
    let hot = Locked::hot(&path);
    (folder, hot)
}

/// One viewer in steady state.
struct Viewer<'a> {
    daemon: &'a Daemon,
    client: Client,
    shard: u32,
    asked: u64,
}

impl Viewer<'_> {
    fn new(daemon: &Daemon) -> Viewer<'_> {
        let shard = thread_of(daemon, "shard 0");
        let mut viewer = Viewer { daemon, client: Client::connect(daemon.address), shard, asked: 0 };
        viewer.watch(WARM_UP_RANGES);
        viewer
    }

    /// So many ranges, one after the other.
    fn watch(&mut self, ranges: u64) {
        for _ in 0..ranges {
            let first = self.asked * RANGE_BYTES % FILM_BYTES;
            self.asked += 1;
            let range = format!("bytes={first}-{}", first + RANGE_BYTES - 1);
            assert_eq!(self.daemon.ask_film(&mut self.client, FILM, Some(&range)).length(), RANGE_BYTES);
            self.client.read_at_most(RANGE_BYTES);
            self.wait_until_it_sleeps();
        }
    }

    /// Waits until the shard waits for us.
    fn wait_until_it_sleeps(&self) {
        let path = format!("/proc/{}/task/{}/stat", self.daemon.process(), self.shard);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&path).unwrap();
            // The name in parentheses may contain anything; the state follows it (proc(5)).
            if text.rsplit_once(") ").unwrap().1.starts_with('S') {
                return;
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: the shard sleeps");
            std::thread::yield_now();
        }
    }

    /// Asks for something that stands out in a trace.
    fn mark(&mut self) {
        assert_eq!(self.client.fetch("GET", MARK, &[]).head.status, 200);
        self.wait_until_it_sleeps();
    }
}

const MARK: &str = "/health/live";

/// The thread of a daemon that has this name.
fn thread_of(daemon: &Daemon, name: &str) -> u32 {
    let folder = format!("/proc/{}/task", daemon.process());
    let threads = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named =
        |entry: &fs::DirEntry| fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == name);
    let found = { threads }.find(named).unwrap_or_else(|| panic!("no thread is called {name}"));
    found.file_name().to_str().unwrap().parse().unwrap()
}

/// Goal: a hot range makes the calls of the table and no others, however many were asked for before.
#[test]
fn a_hot_range_makes_the_calls_of_the_table() {
    const RANGES: u64 = 500;
    let (folder, _hot) = hot_film();
    let home = Home::new(folder.path()).set("REELWAY_SERVER__SHARDS", "1");
    let trace = Trace::of_everything(home.path("trace"));
    let home = home.wrapped_by(trace.wrapper());
    let mut daemon = home.start();
    let mut viewer = Viewer::new(&daemon);
    let shard = viewer.shard;
    let begun = Instant::now();
    viewer.mark();
    viewer.watch(RANGES);
    viewer.mark();
    let looks = (begun.elapsed().as_millis() / LOOK_IS_GOOD_FOR.as_millis() + 1) as u64 * (FILM_BYTES / BLOCK_BYTES);
    drop(viewer);
    daemon.stop();
    let calls = trace.calls();
    let mut of_shard = calls.iter().filter(|call| call.thread == shard);
    let is_mark = |call: &&crate::support::trace::Call| call.arguments.contains(MARK);
    assert!({ of_shard.by_ref() }.any(|call| is_mark(&call)), "the first mark is not in the trace");
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for call in of_shard.take_while(|call| !is_mark(call)) {
        *counts.entry(known_as(&call.name)).or_default() += 1;
    }
    let all: u64 = counts.values().sum();
    println!("{:.2} calls a hot range of 64 KiB", all as f64 / RANGES as f64);
    for (name, count) in &counts {
        println!("{:>8.2} {name}", *count as f64 / RANGES as f64);
    }
    for (name, count) in counts {
        let of = |table: &[(&str, u64)]| table.iter().find(|(known, _)| *known == name).map_or(0, |(_, calls)| *calls);
        let most = of(CALLS_OF_A_HUNDRED) * RANGES / 100 + of(CALLS_OF_A_LOOK) * looks + OTHERS;
        assert!(count <= most, "{RANGES} hot ranges made {count} calls of {name}; {most} are the most");
    }
}

/// The name of a call. strace before 6.5 does not know cachestat(2).
fn known_as(name: &str) -> &str {
    if name == "syscall_0x1c3" { "cachestat" } else { name }
}

/// Goal: a hot range allocates nothing: with a token, with its playback counted, on a connection that is kept.
#[test]
fn a_hot_range_allocates_nothing() {
    const RANGES: u64 = 1000;
    let (folder, _hot) = hot_film();
    let counted = Counted::new();
    let home = Home::new(folder.path()).set("REELWAY_SERVER__SHARDS", "1").wrapped_by(counted.wrapper());
    let daemon = home.start();
    let mut viewer = Viewer::new(&daemon);
    let before = counted.asked_by(viewer.shard);
    assert!(before > 0, "nothing is counted");
    viewer.watch(RANGES);
    let asked = counted.asked_by(viewer.shard) - before;
    println!("{asked} allocations of {RANGES} hot ranges");
    assert_eq!(asked, 0);
}
