//! Roots that are not this machine's own: whoever answers for them may take his time, and only his viewers wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::fuse::Distant;
use crate::support::slow_disk::leave_out;

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
    let distant = match Distant::mounted_in(place.path()) {
        Ok(distant) => distant,
        Err(reason) => return leave_out(&reason, std::env::var_os("CI").is_some()),
    };
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
