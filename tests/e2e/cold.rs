//! The data path as the kernel sees it: hot by sendfile, cold by the ring, never through user space, and nobody who
//! asks for hot bytes waits for somebody else's disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, COLD_FILM_BYTES, COLD_FILMS, ColdFilms, MIB, Pattern};
use crate::support::multipart;
use crate::support::page_cache::{self, Locked};
use crate::support::slow_disk::SlowDisk;
use crate::support::trace::{Call, Trace};
use crate::support::{PATIENCE, eventually};

/// A disk so slow that one blocking read of a shard (the kernel reads 1 to 8 MiB ahead) lasts half a second and more.
const SLOW_BYTES_PER_SECOND: u64 = 4 * 1000 * 1000;

/// Length of a hot request beside cold films.
const HOT_RANGE_BYTES: u64 = 16 * 1024;

/// Streams one whole film and compares every byte.
fn stream_whole(daemon: &Daemon, name: &str, length: u64) {
    let mut client = Client::connect(daemon.address);
    assert_eq!(daemon.ask_film(&mut client, name, None).length(), length);
    client.expect(Pattern::of(name), 0, length);
}

/// Checks that bodies left by sendfile or splice alone: as many bytes as were asked for, none through user memory.
fn left_by_zero_copy(calls: &[Call], name: &str, length: u64) {
    let zero_copy: u64 = calls.iter().map(Call::zero_copy_bytes).sum();
    let copied: u64 = calls.iter().map(Call::copied_bytes).sum();
    assert_eq!(zero_copy, length, "bytes sent by sendfile and splice");
    // What is left are heads, the sign-in, the health and the metrics.
    assert!(copied > 0 && copied < 64 * 1024, "{copied} bytes were copied to sockets");
    for call in calls {
        assert!(!call.reads_file_data(name), "file data in user space: {call:?}");
        assert!(!call.fills_pipe_from_memory(), "a pipe filled from user space: {call:?}");
    }
    let asks = calls.iter().filter(|call| call.name == "preadv2" && call.arguments.contains(name));
    assert!(asks.count() > 0, "nobody asked whether the film is hot");
}

/// Goal: a hot film leaves by sendfile alone, and no byte of it enters user space.
#[test]
fn a_hot_film_leaves_by_sendfile_only() {
    let home = Home::new(&films::folder());
    let trace = Trace::into(home.path("trace"));
    let home = home.wrapped_by(trace.wrapper());
    let mut daemon = home.start();
    let _hot = Locked::hot(&films::folder().join(BIG_FILM));
    let before = daemon.ledger();
    stream_whole(&daemon, BIG_FILM, BIG_FILM_BYTES);
    let after = daemon.ledger();
    assert!(after.hot_windows() >= before.hot_windows() + BIG_FILM_BYTES / MIB);
    assert_eq!(after.cold_windows(), before.cold_windows());
    daemon.stop();
    let calls = trace.calls();
    left_by_zero_copy(&calls, BIG_FILM, BIG_FILM_BYTES);
    let spliced = calls.iter().filter(|call| call.name == "splice" && call.zero_copy_bytes() > 0);
    assert_eq!(spliced.count(), 0, "hot bytes need no pipe");
}

/// Goal: each part of several ranges leaves by sendfile as well; only the lines between them come from memory.
#[test]
fn several_ranges_of_a_hot_film_leave_by_sendfile_only() {
    const PARTS: u64 = 16;
    const PART_BYTES: u64 = 40_000;
    let home = Home::new(&films::folder());
    let trace = Trace::into(home.path("trace"));
    let home = home.wrapped_by(trace.wrapper());
    let mut daemon = home.start();
    let _hot = Locked::hot(&films::folder().join(BIG_FILM));
    let ranges: Vec<String> = (0..PARTS)
        .map(|part| (part * MIB, part * MIB + PART_BYTES - 1))
        .map(|(first, last)| format!("{first}-{last}"))
        .collect();
    let mut client = Client::connect(daemon.address);
    let head = daemon.ask_film(&mut client, BIG_FILM, Some(&format!("bytes={}", ranges.join(","))));
    let body = client.body(head.length());
    let pieces = multipart::pieces(head.field("content-type").unwrap(), &body);
    assert_eq!(pieces.len() as u64, PARTS);
    for piece in pieces {
        Pattern::of(BIG_FILM).compare(piece.first, piece.bytes);
    }
    daemon.stop();
    left_by_zero_copy(&trace.calls(), BIG_FILM, PARTS * PART_BYTES);
}

/// Goal: several ranges of a cold film come through the ring, part by part, and each byte is the right one.
#[test]
fn several_ranges_of_a_cold_film_arrive_through_the_ring() {
    let films = ColdFilms::alone();
    let daemon = Home::new(&films.folder).start();
    let name = ColdFilms::name(0);
    films.make_cold();
    let mut client = Client::connect(daemon.address);
    // Backwards, so that no part is read ahead by the one before it.
    let ranges = "bytes=60000000-62999999,40000000-40000000,20000000-22999999,0-99";
    let head = daemon.ask_film(&mut client, &name, Some(ranges));
    let body = client.body(head.length());
    let pieces = multipart::pieces(head.field("content-type").unwrap(), &body);
    let sent: Vec<(u64, usize)> = pieces.iter().map(|piece| (piece.first, piece.bytes.len())).collect();
    assert_eq!(sent, [(60_000_000, 3_000_000), (40_000_000, 1), (20_000_000, 3_000_000), (0, 100)]);
    for piece in pieces {
        Pattern::of(&name).compare(piece.first, piece.bytes);
    }
    let (ring, threads) = daemon.ledger().cold_windows();
    assert!(ring >= 4 && threads == 0, "cold windows: {ring} by the ring, {threads} by threads");
}

/// Goal: a cold film leaves by splice from pipes the ring filled, and no byte of it enters user space.
#[test]
fn a_cold_film_leaves_by_splice_and_sendfile_only() {
    let films = ColdFilms::alone();
    let home = Home::new(&films.folder);
    let trace = Trace::into(home.path("trace"));
    let home = home.wrapped_by(trace.wrapper());
    let mut daemon = home.start();
    let name = ColdFilms::name(0);
    films.make_cold();
    stream_whole(&daemon, &name, COLD_FILM_BYTES);
    let (ring, threads) = daemon.ledger().cold_windows();
    assert!(ring > 0 && threads == 0, "cold windows: {ring} by the ring, {threads} by threads");
    daemon.stop();
    let calls = trace.calls();
    left_by_zero_copy(&calls, &name, COLD_FILM_BYTES);
    let spliced = calls.iter().filter(|call| call.name == "splice").map(Call::zero_copy_bytes);
    assert!(spliced.sum::<u64>() > 0, "cold bytes come out of a pipe");
    // The file goes into the pipe by a kernel worker, which strace does not see; a splice of ours would block.
    let filled = calls.iter().filter(|call| call.name == "splice" && call.arguments.contains(&name));
    assert_eq!(filled.count(), 0, "a thread of the daemon read the cold film itself");
}

/// Goal: a window of which only the first and the last byte were asked for before is cold: what lies between would be
/// read by the thread that serves everybody.
#[test]
fn a_window_whose_ends_alone_are_in_memory_is_cold() {
    let films = ColdFilms::alone();
    let daemon = Home::new(&films.folder).start();
    let name = ColdFilms::name(0);
    let film = films.folder.join(&name);
    let mut client = Client::connect(daemon.address);
    let mut fetch = |first: u64, length: u64| {
        let range = format!("bytes={first}-{}", first + length - 1);
        daemon.ask_film(&mut client, &name, Some(&range));
        client.expect(Pattern::of(&name), first, length);
    };
    films.make_cold();
    for first in [7 * MIB, 21 * MIB, 35 * MIB] {
        fetch(first, 1);
        fetch(first + MIB - 1, 1);
        let middle = first + MIB / 2;
        assert!(!page_cache::is_hot_at(&film, middle), "read-ahead brought the middle as well: {middle}");
        let (before, _) = daemon.ledger().cold_windows();
        fetch(first, MIB);
        assert_eq!(daemon.ledger().cold_windows(), (before + 1, 0), "the window at {first}");
    }
}

/// Goal: eight evicted films at once arrive byte for byte through the ring.
#[test]
fn eight_cold_films_at_once_arrive_through_the_ring() {
    let films = ColdFilms::alone();
    let daemon = Home::new(&films.folder).start();
    films.make_cold();
    let before = daemon.ledger();
    std::thread::scope(|scope| {
        for index in 0..COLD_FILMS {
            let daemon = &daemon;
            scope.spawn(move || stream_whole(daemon, &ColdFilms::name(index), COLD_FILM_BYTES));
        }
    });
    let after = daemon.ledger();
    let (ring, threads) = after.cold_windows();
    assert!(ring >= before.cold_windows().0 + COLD_FILMS as u64, "{ring} cold windows");
    assert_eq!(threads, 0, "the ring was there, but threads were used");
    let sent = after.sum("reelway_sent_bytes_total") - before.sum("reelway_sent_bytes_total");
    assert_eq!(sent, COLD_FILMS as u64 * COLD_FILM_BYTES);
}

/// Goal: once somebody has watched, fifty more ranges ask the database nothing and find every window hot.
#[test]
fn fifty_warm_ranges_make_no_database_call() {
    let daemon = Home::new(&films::folder()).start();
    let _hot = Locked::hot(&films::folder().join(BIG_FILM));
    let mut client = Client::connect(daemon.address);
    ask_hot_range(&daemon, &mut client, 0);
    let before = daemon.ledger();
    for number in 0..50 {
        ask_hot_range(&daemon, &mut client, number);
    }
    // New connections are no reason to ask the database either.
    ask_hot_range(&daemon, &mut Client::connect(daemon.address), 50);
    let after = daemon.ledger();
    assert_eq!(after.store_calls(), before.store_calls());
    assert_eq!(after.cold_windows(), before.cold_windows());
    assert!(after.hot_windows() >= before.hot_windows() + 51);
}

/// Asks for one of many small ranges of the hot film, compares it, and tells how long it took.
fn ask_hot_range(daemon: &Daemon, client: &mut Client, number: u64) -> Duration {
    let places = (BIG_FILM_BYTES - HOT_RANGE_BYTES) / 4096;
    // A prime far from the number of places walks all over the film.
    let offset = number * 2_654_435_761 % places * 4096;
    let range = format!("bytes={offset}-{}", offset + HOT_RANGE_BYTES - 1);
    let start = Instant::now();
    let head = daemon.ask_film(client, BIG_FILM, Some(&range));
    client.expect(Pattern::of(BIG_FILM), offset, head.length());
    start.elapsed()
}

/// How long hot requests took, shortest first.
struct Delays(Vec<Duration>);

impl Delays {
    /// Asks for hot ranges, on enough connections to meet every shard, for `period` and at least 200 times.
    fn measured(daemon: &Daemon, period: Duration) -> Delays {
        let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(daemon.address)).collect();
        let end = Instant::now() + period;
        let mut delays = Vec::new();
        while Instant::now() < end || delays.len() < 200 {
            let number = delays.len();
            let turn = number % clients.len();
            delays.push(ask_hot_range(daemon, &mut clients[turn], number as u64));
        }
        delays.sort();
        Delays(delays)
    }

    /// The delay that `percent` of the requests did not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }

    fn told(&self) -> String {
        let (half, most, all) = (self.percentile(50), self.percentile(95), self.percentile(100));
        format!("{} requests: p50 {half:?}, p95 {most:?}, longest {all:?}", self.0.len())
    }
}

/// Both folders as two roots of one library.
fn hot_and_cold_roots(films: &ColdFilms) -> String {
    format!("{}:{}", films::folder().display(), films.folder.display())
}

/// Streams all cold films piece by piece while `during` runs, and until it has ended; what it returned, and how many
/// cold bytes had arrived by then.
fn beside_cold_films<T>(daemon: &Daemon, during: impl FnOnce() -> T, after: impl FnOnce()) -> (T, u64) {
    let (received, is_over) = (&AtomicU64::new(0), &AtomicBool::new(false));
    std::thread::scope(|scope| {
        for index in 0..COLD_FILMS {
            scope.spawn(move || {
                let name = ColdFilms::name(index);
                let mut client = Client::connect(daemon.address);
                daemon.ask_film(&mut client, &name, None);
                for offset in (0..COLD_FILM_BYTES).step_by(MIB as usize) {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    client.expect(Pattern::of(&name), offset, MIB);
                    received.fetch_add(MIB, Ordering::Relaxed);
                }
            });
        }
        // The threads must end even if `during` panics, or the scope would wait for the whole slow films.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("all cold films are on their way", PATIENCE, || {
                (daemon.ledger().sum("reelway_transfers") >= COLD_FILMS as u64).then_some(())
            });
            during()
        }));
        is_over.store(true, Ordering::Relaxed);
        let received = received.load(Ordering::Relaxed);
        after();
        match result {
            Ok(result) => (result, received),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Goal: eight cold films from the disk as it is do not noticeably delay hot requests, compared with the same run
/// without them.
#[test]
fn hot_requests_beside_cold_films_stay_quick() {
    let films = ColdFilms::alone();
    let daemon = Home::new(Path::new(&hot_and_cold_roots(&films))).start();
    let _hot = Locked::hot(&films::folder().join(BIG_FILM));
    let alone = Delays::measured(&daemon, Duration::from_millis(500));
    films.make_cold();
    // As long as the films last, which no fixed time would tell: hence no wait for eight at once, only for the end.
    let beside = std::thread::scope(|scope| {
        let streams: Vec<_> = (0..COLD_FILMS)
            .map(|index| {
                let daemon = &daemon;
                scope.spawn(move || stream_whole(daemon, &ColdFilms::name(index), COLD_FILM_BYTES))
            })
            .collect();
        let beside = Delays::measured(&daemon, Duration::from_millis(500));
        streams.into_iter().for_each(|stream| stream.join().unwrap());
        beside
    });
    let (ring, _) = daemon.ledger().cold_windows();
    assert!(ring > 0, "the films were not cold");
    println!("alone: {}\nbeside eight cold films: {}", alone.told(), beside.told());
    let bound = alone.percentile(95) * 20 + Duration::from_millis(100);
    assert!(beside.percentile(95) < bound, "p95 {:?}, bound {bound:?}", beside.percentile(95));
}

/// Goal: the same on a disk so slow that a single wait of a shard would show: no hot request waits for it.
#[test]
fn hot_requests_never_wait_for_a_slow_disk() {
    hot_requests_beside_a_slow_disk(&[]);
}

/// Measures hot requests with and without eight films that come from a throttled disk; `wrapper` may change the machine.
pub fn hot_requests_beside_a_slow_disk(wrapper: &[String]) {
    let films = ColdFilms::alone();
    let Some(disk) = slow_disk(&films) else { return };
    let home = Home::new(Path::new(&hot_and_cold_roots(&films)));
    let home = home.wrapped_by(disk.wrapper()).wrapped_by(wrapper.to_vec());
    let daemon = home.start();
    let _hot = Locked::hot(&films::folder().join(BIG_FILM));
    let alone = Delays::measured(&daemon, Duration::from_secs(1));
    films.make_cold();
    let start = Instant::now();
    let measure = || Delays::measured(&daemon, Duration::from_secs(4));
    let (beside, received) = beside_cold_films(&daemon, measure, || disk.lift());
    println!("alone: {}\nbeside a slow disk: {}", alone.told(), beside.told());
    expect_slow(received, start.elapsed());
    assert!(beside.percentile(50) < alone.percentile(50) * 5 + Duration::from_millis(50), "{}", beside.told());
    assert!(beside.percentile(95) < alone.percentile(95) * 5 + Duration::from_millis(150), "{}", beside.told());
    // Every wait for this disk lasts longer: eight films queue for it, and 4 MB/s are all it gives.
    assert!(beside.percentile(100) < Duration::from_secs(1), "{}", beside.told());
}

/// Goal: a window that is in memory but for one page in its middle is no reason to stop a shard: whoever asks for it
/// waits for the disk, and nobody else does. Page-out takes single pages, so a look at the ends of a window is no proof.
#[test]
fn a_hole_in_a_hot_window_stops_nobody_else() {
    let films = ColdFilms::alone();
    let Some(disk) = slow_disk(&films) else { return };
    let home = Home::new(Path::new(&hot_and_cold_roots(&films)));
    let holed = home.path("holed");
    std::fs::create_dir(&holed).unwrap();
    let holed_film = holed.join("holed.mp4");
    Pattern::of("holed.mp4").write(&holed_film, 4 * MIB);
    let roots = format!("{}:{}", hot_and_cold_roots(&films), holed.display());
    let daemon = home.set("VIDEOS_PATH", &roots).wrapped_by(disk.wrapper()).start();
    let _hot = Locked::hot(&films::folder().join(BIG_FILM));
    films.make_cold();
    page_cache::make_hot_but_for_one_page(&holed_film, 4096);
    let measure = || {
        let mut client = Client::connect(daemon.address);
        // Its first and its last page are in memory, the one between is behind all cold films.
        daemon.ask_film(&mut client, "holed.mp4", Some("bytes=0-12287"));
        let delays = Delays::measured(&daemon, Duration::from_secs(2));
        disk.lift();
        client.expect(Pattern::of("holed.mp4"), 0, 12_288);
        delays
    };
    let (beside, _) = beside_cold_films(&daemon, measure, || disk.lift());
    println!("beside a hole: {}", beside.told());
    assert!(beside.percentile(100) < Duration::from_secs(1), "a shard waited for the hole: {}", beside.told());
}

/// The disk must really have been slow, or the measurement says nothing.
fn expect_slow(received: u64, elapsed: Duration) {
    let most = SLOW_BYTES_PER_SECOND as f64 * elapsed.as_secs_f64() * 2.0 + (8 * MIB) as f64;
    assert!((received as f64) < most, "{received} cold bytes in {elapsed:?}: the disk was not slow");
}

/// A disk as slow as these tests need it, where the machine can do that.
fn slow_disk(films: &ColdFilms) -> Option<SlowDisk> {
    SlowDisk::if_possible(&films.folder, SLOW_BYTES_PER_SECOND)
}

/// Goal: the structural proof: while the disk is slow, no call of a thread that serves sockets waits for it.
#[test]
fn no_call_of_a_shard_waits_for_the_disk() {
    let films = ColdFilms::alone();
    let Some(disk) = slow_disk(&films) else { return };
    let home = Home::new(Path::new(&hot_and_cold_roots(&films)));
    let trace = Trace::into(home.path("trace"));
    let home = home.wrapped_by(disk.wrapper()).wrapped_by(trace.wrapper());
    let mut daemon = home.start();
    let _hot = Locked::hot(&films::folder().join(BIG_FILM));
    films.make_cold();
    let start = Instant::now();
    let measure = || Delays::measured(&daemon, Duration::from_secs(3));
    let (_, received) = beside_cold_films(&daemon, measure, || disk.lift());
    expect_slow(received, start.elapsed());
    assert!(daemon.ledger().cold_windows().0 > 0, "no window was cold");
    daemon.stop();
    let calls = trace.calls();
    let shards: Vec<u32> = calls.iter().filter(|call| call.zero_copy_bytes() > 0).map(|call| call.thread).collect();
    assert!(!shards.is_empty(), "no thread sent anything");
    for call in calls.iter().filter(|call| shards.contains(&call.thread)) {
        assert!(call.seconds < 0.4, "a shard waited: {call:?}");
    }
}
