//! What goes wrong below the pump: a disk that fails, a disk that never answers, pipes that are all taken, a thousand viewers
//! who do not read. Memory and threads stay bounded, other streams go on, and slots come back.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::support::client::{Client, Ending};
use crate::support::daemon::{Daemon, Home};
use crate::support::failing_disk::{self, FailingDisk};
use crate::support::films::{MIB, Pattern};
use crate::support::fuse::Distant;
use crate::support::slow_disk::leave_out;
use crate::support::without_ring::WithoutRing;
use crate::support::{PATIENCE, eventually, page_cache, scratch};

/// A film on this machine's own disk.
const SOUND: &str = "sound.mp4";
const SOUND_BYTES: u64 = 16 * MIB;

/// A folder with the film `SOUND`.
fn sound_folder() -> TempDir {
    fs::create_dir_all(scratch()).unwrap();
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    Pattern::of(SOUND).write(&folder.path().join(SOUND), SOUND_BYTES);
    folder
}

/// A home that serves the films of both folders, with one shard.
fn home_of(first: &Path, second: &Path) -> Home {
    let roots = format!("{}:{}", first.display(), second.display());
    Home::new(Path::new(&roots)).set("REELWAY_SERVER__SHARDS", "1")
}

/// Watches the whole of `SOUND` from the disk.
fn sound_film_plays_cold(daemon: &Daemon, folder: &TempDir) {
    page_cache::make_cold(&folder.path().join(SOUND));
    sound_film_plays(daemon);
}

/// Watches the whole of `SOUND`, on a connection of its own.
fn sound_film_plays(daemon: &Daemon) {
    let mut client = Client::connect(daemon.address);
    daemon.ask_film(&mut client, SOUND, None);
    client.expect(Pattern::of(SOUND), 0, SOUND_BYTES);
}

/// Threads of a daemon, the kernel's workers of its ring included.
fn threads(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/task", daemon.process())).unwrap().count()
}

/// Private memory of a daemon, in bytes (proc_pid_smaps(5)).
fn private_bytes(daemon: &Daemon) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", daemon.process())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// Lets this process have as many sockets as it may.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Goal: where the disk fails a film ends by a reset, after only right bytes; it is counted and said, whoever watches another
/// film sees it whole, and nothing stays behind. By the ring and by threads.
#[test]
fn a_disk_that_fails_ends_its_own_film_only() {
    let machine = WithoutRing::new();
    for wrapper in [Vec::new(), machine.wrapper()] {
        let disk = match FailingDisk::new() {
            Ok(disk) => disk,
            Err(reason) => return leave_out(&reason, is_ci()),
        };
        let folder = sound_folder();
        let home = home_of(folder.path(), &disk.folder).wrapped_by(disk.wrapper()).wrapped_by(wrapper);
        let daemon = home.start();
        let before = daemon.holdings_at_rest();
        let mut other = Client::connect_narrow(daemon.address);
        daemon.ask_film(&mut other, SOUND, None);
        other.expect(Pattern::of(SOUND), 0, MIB);
        disk.fail();
        for round in 1..=3 {
            let mut viewer = Client::connect(daemon.address);
            assert_eq!(daemon.ask_film(&mut viewer, failing_disk::FILM, None).length(), failing_disk::FILM_BYTES);
            let (received, ending) = viewer.expect_until_end(Pattern::of(failing_disk::FILM), 0);
            assert_eq!(ending, Ending::Reset, "after {received} bytes");
            assert!(received < failing_disk::FILM_BYTES, "the disk did not fail");
            assert_eq!(daemon.ledger().sum("reelway_faults_total"), round);
        }
        eventually("the log says so", PATIENCE, || {
            (daemon.log.lines_with("film could not be read").len() == 3).then_some(())
        });
        sound_film_plays(&daemon);
        other.expect(Pattern::of(SOUND), MIB, SOUND_BYTES - MIB);
        drop(other);
        daemon.expect_holdings(&before);
        assert_eq!(daemon.ledger().sum("reelway_streams_open"), 0);
    }
}

/// How many watch films of a root that hangs.
const HANGING: usize = 40;
/// What a root that hangs may cost in threads: four that open, eight of each of two shards that read, one that closes, and the
/// kernel's spare ones.
const THREADS_MORE_MAX: usize = 24;

/// Lets a root answer again, also where a test ends in the middle: nobody can end a process that waits for it.
struct Answers<'a>(&'a Distant);

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        self.0.delay("NOTHING", 0);
    }
}

/// A root that answers nothing of one kind, beside one that is well, and viewers of both.
fn beside_a_root_that_hangs(request: &str, wrapper: &[String]) {
    let place = tempfile::tempdir().unwrap();
    let Some(distant) = Distant::if_possible(place.path()) else { return };
    let folder = sound_folder();
    let daemon = home_of(folder.path(), &distant.folder).wrapped_by(wrapper.to_vec()).start();
    sound_film_plays_cold(&daemon, &folder);
    let (before, threads_before) = (daemon.holdings_at_rest(), threads(&daemon));
    distant.delay(request, 3600);
    let answers = Answers(&distant);
    let bearer = daemon.bearer();
    let fields = [("Authorization", bearer.as_str()), ("Range", "bytes=0-2097151")];
    let mut viewers: Vec<Client> = (0..HANGING)
        .map(|number| {
            let mut viewer = Client::connect(daemon.address);
            viewer.ask("GET", &format!("/api/stream/video/distant-{number}.mp4"), &fields);
            viewer
        })
        .collect();
    if request == "FLUSH" {
        // They see their films; it is only then that it hangs.
        for viewer in &mut viewers {
            assert_eq!(viewer.head().length(), 2 * MIB);
            assert!(viewer.body(2 * MIB).iter().all(|byte| *byte == 0xab));
        }
        viewers.clear();
    }
    for _ in 0..3 {
        sound_film_plays_cold(&daemon, &folder);
        let more = threads(&daemon).saturating_sub(threads_before);
        assert!(more <= THREADS_MORE_MAX, "{request} hangs, and there are {more} threads more");
    }
    // Half of them say that they go, and half of them just do.
    for (number, viewer) in viewers.into_iter().enumerate() {
        if number % 2 == 0 { viewer.reset() } else { drop(viewer) }
    }
    // The root still hangs.
    eventually("the slots come back", PATIENCE, || {
        let ledger = daemon.ledger();
        let held = ["reelway_streams_open", "reelway_transfers"].map(|name| ledger.sum(name));
        (held == [0, 0] && ledger.sum("reelway_connections") <= 1).then_some(())
    });
    sound_film_plays_cold(&daemon, &folder);
    drop(answers);
    daemon.expect_holdings(&before);
    let mut late = Client::connect(daemon.address);
    daemon.ask_film(&mut late, "distant-0.mp4", Some("bytes=0-99"));
    assert_eq!(late.body(100), [0xab; 100]);
}

/// Goal: a root that never answers when a film is opened costs a few threads, stops no other root, and its viewers give their
/// places back when they go, though it still hangs.
#[test]
fn a_root_that_never_opens_stops_nobody_else() {
    beside_a_root_that_hangs("OPEN", &[]);
}

/// Goal: the same of a root that never answers when a film is read.
#[test]
fn a_root_that_never_reads_stops_nobody_else() {
    beside_a_root_that_hangs("READ", &[]);
}

/// Goal: the same of a root that never answers when a film is closed.
#[test]
fn a_root_that_never_closes_stops_nobody_else() {
    beside_a_root_that_hangs("FLUSH", &[]);
}

/// Goal: the same where threads wait for the disks.
#[test]
fn without_io_uring_a_root_that_hangs_stops_nobody_else() {
    let machine = WithoutRing::new();
    for request in ["OPEN", "READ", "FLUSH"] {
        beside_a_root_that_hangs(request, &machine.wrapper());
    }
}

/// A film that is nothing but a hole: its windows are cold, and cost no disk.
const HOLE: &str = "hole.mp4";
/// Apart from one another by more than any disk reads ahead.
const APART_BYTES: u64 = 16 * MIB;

/// Goal: viewers of cold films who do not read, many more than there are pipes, do not keep an honest viewer of another cold
/// film waiting: a full pipe is not kept from who wants one. When all of them are gone at once, so is all they held.
#[test]
fn pipes_that_nobody_empties_are_kept_from_nobody() {
    const UNREAD: u64 = 300;
    raise_descriptor_limit();
    let folder = sound_folder();
    File::create(folder.path().join(HOLE)).unwrap().set_len(UNREAD * APART_BYTES).unwrap();
    let daemon = Home::new(folder.path()).set("REELWAY_SERVER__SHARDS", "1").start();
    let before = daemon.holdings_at_rest();
    page_cache::make_cold(&folder.path().join(SOUND));
    let bearer = daemon.bearer();
    let unread: Vec<Client> = (0..UNREAD)
        .map(|number| {
            let mut viewer = Client::connect_narrow(daemon.address);
            let range = format!("bytes={}-{}", number * APART_BYTES, (number + 1) * APART_BYTES - 1);
            let fields = [("Authorization", bearer.as_str()), ("Range", range.as_str())];
            viewer.ask("GET", &format!("/api/stream/video/{HOLE}"), &fields);
            viewer
        })
        .collect();
    // The first window of each goes into its socket, the second fills a pipe.
    eventually("their second windows come", PATIENCE, || (daemon.ledger().cold_windows().0 > UNREAD).then_some(()));
    let start = Instant::now();
    let mut honest = Client::connect(daemon.address);
    daemon.ask_film(&mut honest, SOUND, None);
    honest.expect(Pattern::of(SOUND), 0, 1);
    let waited = start.elapsed();
    println!("the first byte of a cold film behind {UNREAD} who do not read: {waited:?}");
    assert!(waited < Duration::from_secs(5), "an honest viewer waited {waited:?}");
    honest.expect(Pattern::of(SOUND), 1, SOUND_BYTES - 1);
    assert!(daemon.ledger().sum("reelway_pipes") <= 32);
    drop(honest);
    unread.into_iter().for_each(Client::reset);
    daemon.expect_holdings(&before);
    assert!(daemon.ledger().sum("reelway_pipes") <= 32);
}

/// Goal: a thousand viewers who do not read cost some memory and no thread, an honest one is served meanwhile, and their places
/// come back when they go.
#[test]
fn a_thousand_viewers_who_do_not_read_cost_little_and_starve_nobody() {
    const UNREAD: u64 = 1000;
    const BYTES_MAX: u64 = 64 * 1024;
    raise_descriptor_limit();
    let folder = sound_folder();
    let daemon = Home::new(folder.path()).set("REELWAY_NET__CONNECTIONS_PER_PLAYBACK", "5000").start();
    sound_film_plays_cold(&daemon, &folder);
    let (before, memory, threads_before) = (daemon.holdings_at_rest(), private_bytes(&daemon), threads(&daemon));
    let unread: Vec<Client> = (0..UNREAD)
        .map(|_| {
            let mut viewer = Client::connect_narrow(daemon.address);
            daemon.ask_film(&mut viewer, SOUND, None);
            viewer
        })
        .collect();
    eventually("they are all being sent to", PATIENCE, || {
        (daemon.ledger().sum("reelway_transfers") == UNREAD).then_some(())
    });
    let bytes = private_bytes(&daemon).saturating_sub(memory) / UNREAD;
    let more = threads(&daemon).saturating_sub(threads_before);
    println!("{bytes} bytes and {more} threads more for {UNREAD} viewers who do not read");
    assert!(bytes <= BYTES_MAX, "{bytes} bytes for a viewer who does not read");
    assert!(more <= THREADS_MORE_MAX, "{more} threads more");
    let start = Instant::now();
    let mut honest = Client::connect(daemon.address);
    daemon.ask_film(&mut honest, SOUND, None);
    honest.expect(Pattern::of(SOUND), 0, SOUND_BYTES);
    assert!(start.elapsed() < Duration::from_secs(10), "an honest viewer waited {:?}", start.elapsed());
    drop(honest);
    unread.into_iter().for_each(Client::reset);
    daemon.expect_holdings(&before);
    assert_eq!(daemon.ledger().sum("reelway_streams_open"), 0);
}

/// Goal: who has ended its side after the request for a cold film gets every byte: it has not gone.
#[test]
fn who_ends_its_side_gets_every_byte_of_a_cold_film() {
    let folder = sound_folder();
    let daemon = Home::new(folder.path()).start();
    page_cache::make_cold(&folder.path().join(SOUND));
    let bearer = daemon.bearer();
    let mut viewer = Client::connect(daemon.address);
    viewer.ask("GET", &format!("/api/stream/video/{SOUND}"), &[("Authorization", &bearer)]);
    viewer.finish_sending();
    assert_eq!(viewer.head().length(), SOUND_BYTES);
    viewer.expect(Pattern::of(SOUND), 0, SOUND_BYTES);
    viewer.expect_closed();
    assert!(daemon.ledger().cold_windows().0 > 0, "no window was cold");
}

/// Goal: storms of viewers who reset their connections while the disk is asked for their films leave nothing behind, and the
/// next one is served.
#[test]
fn storms_of_resets_while_the_disk_is_asked_leave_nothing_behind() {
    const ROUNDS: u64 = 10;
    const VIEWERS: u64 = 50;
    let folder = sound_folder();
    File::create(folder.path().join(HOLE)).unwrap().set_len(ROUNDS * VIEWERS * MIB * 2).unwrap();
    let daemon = Home::new(folder.path()).start();
    let before = daemon.holdings_at_rest();
    let bearer = daemon.bearer();
    for round in 0..ROUNDS {
        let asked = daemon.ledger().cold_windows().0;
        let viewers: Vec<Client> = (0..VIEWERS)
            .map(|number| {
                let range = format!("bytes={}-", (round * VIEWERS + number) * 2 * MIB);
                let mut viewer = Client::connect(daemon.address);
                let fields = [("Authorization", bearer.as_str()), ("Range", range.as_str())];
                viewer.ask("GET", &format!("/api/stream/video/{HOLE}"), &fields);
                viewer
            })
            .collect();
        // Of some the disk has answered by then, of others not.
        eventually("the disk is asked", PATIENCE, || (daemon.ledger().cold_windows().0 > asked).then_some(()));
        viewers.into_iter().for_each(Client::reset);
    }
    daemon.expect_holdings(&before);
    let after = daemon.ledger();
    assert_eq!((after.sum("reelway_panics_total"), after.sum("reelway_faults_total")), (0, 0));
    assert!(after.sum("reelway_pipes") <= 32);
    sound_film_plays_cold(&daemon, &folder);
}
