//! Roots that are not this machine's own: whoever answers for them may take his time, and only his viewers wait.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde_json::{Value, json};

use crate::library::Disk;
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::films::Pattern;
use crate::support::fuse::Distant;
use crate::support::{PATIENCE, eventually};

/// How late the distant side is.
const LATE_SECONDS: u32 = 2;

/// The longest that a request for something else took while `during` ran; one shard serves both.
fn longest_beside(daemon: &Daemon, during: impl FnOnce()) -> Duration {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            let mut client = Client::connect(daemon.address);
            let mut longest = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let start = Instant::now();
                let answer = client.fetch("GET", "/health/live", &[]);
                assert_eq!(answer.head.status, 200);
                longest = longest.max(start.elapsed());
            }
            longest
        });
        during();
        is_over.store(true, Ordering::Relaxed);
        measuring.join().unwrap()
    })
}

/// Goal: a file system that is slow to look up, open, describe or close a film delays nobody on the same shard.
#[test]
fn a_distant_root_that_is_late_stops_nobody_else() {
    let place = tempfile::tempdir().unwrap();
    let Some(distant) = Distant::if_possible(place.path()) else { return };
    let daemon = Home::new(&distant.folder).set("REELWAY_SERVER__SHARDS", "1").start();
    let before = daemon.holdings_at_rest();
    for request in ["LOOKUP", "OPEN", "GETATTR", "READ", "FLUSH"] {
        distant.delay(request, LATE_SECONDS);
        let start = Instant::now();
        let longest = longest_beside(&daemon, || {
            let mut viewer = Client::connect(daemon.address);
            daemon.ask_film(&mut viewer, "film.mp4", Some("bytes=0-65535"));
            assert_eq!(viewer.body(65536), [0xab; 65536]);
            // Closed by now, or about to be: whoever closes it is late as well.
            drop(viewer);
            let late = Duration::from_secs(u64::from(LATE_SECONDS));
            std::thread::sleep(late.saturating_sub(start.elapsed()) + Duration::from_millis(200));
        });
        assert!(longest < Duration::from_secs(1), "{request} was late, and somebody else waited {longest:?}");
    }
    distant.delay("NOTHING", 0);
    daemon.expect_holdings(&before);
}

/// Lets a distant side answer again, before whoever waits for it is ended: nobody can end him otherwise.
struct Answering<'a>(&'a Distant);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.delay("NOTHING", 0);
    }
}

/// Has the library scanned: the status, and how long it took.
fn scan(daemon: &Daemon, patience: Duration) -> (Value, Duration) {
    let begun = Instant::now();
    assert_eq!(daemon.fetch("POST", "/api/library/scan", &[]).head.status, 202);
    let status = eventually("the scan is over", patience, || {
        let status = daemon.fetch("GET", "/api/library/status", &[]).json();
        (status["state"] == "idle").then_some(status)
    });
    (status, begun.elapsed())
}

/// The films that are listed.
fn listed(daemon: &Daemon) -> Vec<String> {
    let list = daemon.fetch("GET", "/api/videos", &[]).json();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["filename"].as_str().unwrap().to_owned()).collect()
}

/// How many threads of this name there are.
fn threads(daemon: &Daemon, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process())).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim() == name).count()
}

/// Goal: a root that opens and then says nothing when it is read holds up no other. Its films stay, the status names it, no
/// scan waits for it twice and no thread more is stuck in it, and it is back by itself once it answers.
#[test]
fn a_root_that_hangs_while_it_is_read_is_left_out_of_the_scan_until_it_answers() {
    let place = tempfile::tempdir().unwrap();
    let Some(distant) = Distant::if_possible(place.path()) else { return };
    let local = place.path().join("local");
    std::fs::create_dir(&local).unwrap();
    let roots = format!("{}:{}", distant.folder.display(), local.display());
    let home = Home::new(Path::new(&roots));
    let daemon = home.start();
    assert_eq!(listed(&daemon), ["film.mp4"]);

    let answering = Answering(&distant);
    distant.delay("READDIR", 3600);
    Pattern::of("new.mp4").write(&local.join("new.mp4"), 5000);
    // The limit is half a minute.
    let (status, took) = scan(&daemon, 3 * PATIENCE);
    assert!(took >= Duration::from_secs(25), "a disk may take a while: {took:?}");
    let told = format!("the root distant ({}) does not answer", distant.folder.display());
    let root = json!({
        "name": "distant", "path": distant.folder, "available": false, "reason": told, "found": 1,
    });
    assert_eq!(status["roots"][0], root);
    assert_eq!((&status["found"], &status["added"], &status["removed"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!(listed(&daemon), ["film.mp4", "new.mp4"]);
    assert_eq!(daemon.health()["components"]["library"]["status"], "degraded");
    let text = home.run(&["library", "status"], "").succeeded().text();
    assert!(text.contains(&format!("not available: {told}\n")), "{text}");

    for _ in 0..3 {
        let (status, took) = scan(&daemon, PATIENCE);
        assert_eq!(status["roots"][0], root);
        assert!(took < Duration::from_secs(20), "it was waited for again: {took:?}");
    }
    assert_eq!(threads(&daemon, "walk"), 1);
    assert_eq!(daemon.log.lines_with("library root does not answer").len(), 1, "it is told once");

    drop(answering);
    eventually("nobody is stuck", PATIENCE, || (threads(&daemon, "walk") == 0).then_some(()));
    let (status, _) = scan(&daemon, PATIENCE);
    assert_eq!(status["roots"][0], json!({"name": "distant", "path": distant.folder, "available": true, "found": 1}));
    assert_eq!((&status["added"], &status["removed"]), (&json!(0), &json!(0)));
}

/// Goal: films of a folder of which the disk fails while it is listed, or while a film is looked at, are not gone: the disk is
/// being pulled out, or its server has forgotten us.
#[test]
fn a_disk_that_fails_while_it_is_read_loses_no_film() {
    let place = tempfile::tempdir().unwrap();
    let Some(distant) = Distant::if_possible(place.path()) else { return };
    let daemon = Home::new(&distant.folder).start();
    for (request, error, is_available) in
        [("READDIR", Errno::IO, false), ("LOOKUP", Errno::IO, true), ("LOOKUP", Errno::NOENT, true)]
    {
        distant.fail(request, error);
        let (status, _) = scan(&daemon, PATIENCE);
        let root = &status["roots"][0];
        assert_eq!((&root["available"], &root["found"]), (&json!(is_available), &json!(0)), "{request}");
        assert_eq!(status["removed"], 0, "{request}: {status}");
        assert!(!status["failed"].as_array().unwrap().is_empty(), "{request}: {status}");
        distant.delay("NOTHING", 0);
        let (status, _) = scan(&daemon, PATIENCE);
        let root = &status["roots"][0];
        assert_eq!((&root["available"], &root["found"]), (&json!(true), &json!(1)), "{request}");
        assert_eq!((&status["added"], &status["removed"]), (&json!(0), &json!(0)), "{request}");
    }
}

/// Goal: films of disks that are unmounted while they are scanned, as those that are pulled out, are not gone: neither of the one
/// that is being looked through, nor of the one that comes next.
#[test]
fn a_disk_that_is_unmounted_while_it_is_scanned_loses_no_film() {
    let place = tempfile::tempdir().unwrap();
    let Some(distant) = Distant::if_possible(place.path()) else { return };
    let next = place.path().join("next");
    std::fs::create_dir(&next).unwrap();
    let disk = Disk::mounted_on(&next);
    Pattern::of("next.mp4").write(&next.join("next.mp4"), 5000);
    let roots = format!("{}:{}", distant.folder.display(), next.display());
    let daemon = Home::new(Path::new(&roots)).start();
    assert_eq!(listed(&daemon), ["film.mp4", "next.mp4"]);

    let answering = Answering(&distant);
    distant.delay("LOOKUP", 3600);
    assert_eq!(daemon.fetch("POST", "/api/library/scan", &[]).head.status, 202);
    eventually("the walk has begun", PATIENCE, || (threads(&daemon, "walk") == 1).then_some(()));
    let unmounted = Command::new("umount").arg("--lazy").arg(&distant.folder).status().unwrap();
    assert!(unmounted.success());
    drop(disk);
    drop(answering);
    let status = eventually("the scan is over", PATIENCE, || {
        let status = daemon.fetch("GET", "/api/library/status", &[]).json();
        (status["state"] == "idle").then_some(status)
    });
    assert_eq!((&status["found"], &status["removed"]), (&json!(2), &json!(0)), "{status}");

    // Now it is seen that they are away.
    let (status, _) = scan(&daemon, PATIENCE);
    assert_eq!((&status["found"], &status["removed"]), (&json!(0), &json!(0)), "{status}");
    for root in status["roots"].as_array().unwrap() {
        assert_eq!(root["available"], false, "{status}");
    }
}
