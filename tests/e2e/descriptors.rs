//! Too few descriptors: a daemon that cannot serve does not start, and one that has run out waits instead of spinning,
//! and goes on when there are some again.

use std::cmp::Ordering;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{self, Client};
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, COLD_FILM_BYTES, ColdFilms, Pattern};
use crate::support::{PATIENCE, eventually, program};

/// Enough to start one shard and to serve some.
const FEW: usize = 64;

/// A home whose daemon may have so many descriptors and cannot raise that.
fn limited(home: Home, descriptors: usize) -> Home {
    drop(program("prlimit"));
    home.wrapped_by(["prlimit", &format!("--nofile={descriptors}:{descriptors}")])
}

/// What became of a daemon that was started.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    Serves,
}

/// A daemon that may have refused to start, ended when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a daemon with two shards and so many descriptors, and waits until it has ended or answers.
fn fate_with(home: Home, descriptors: usize) -> Fate {
    let log = home.path(&format!("log-{descriptors}"));
    let home = limited(home.set("REELWAY_SERVER__SHARDS", "2"), descriptors);
    let mut command = home.serve_command();
    let stderr = fs::File::create(&log).unwrap();
    let mut started = Started(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap());
    eventually("the daemon has ended or answers", PATIENCE, || {
        let said = fs::read_to_string(&log).unwrap();
        match started.0.try_wait().unwrap() {
            Some(status) => {
                assert_eq!(status.code(), Some(1), "with {descriptors} descriptors: {said}");
                let sentence = said.lines().last().unwrap_or_default();
                assert!(sentence.starts_with("reelway: could not "), "with {descriptors} descriptors: {said}");
                Some(Fate::Refused)
            }
            None => serves(&said).then_some(Fate::Serves),
        }
    })
}

/// Whether the daemon that said this answers, on each of its shards: which one a connection meets is the kernel's choice.
fn serves(said: &str) -> bool {
    let events = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let address = { events }.find_map(|event| event["metadata"]["address"].as_str()?.parse().ok());
    let answers = |address| {
        let mut client = Client::try_connect(address).ok()?;
        client.try_send(client::request("GET", "/health/live", &[("Connection", "close")])).ok()?;
        client.try_head().ok()
    };
    address.is_some_and(|address| (0..16).all(|_| answers(address).is_some_and(|head| head.status == 200)))
}

/// Goal: with ever more descriptors the daemon refuses with a sentence, then serves: it is never there without serving,
/// wherever it runs out. Every count is tried, because what started the tests may have left some open in them.
#[test]
fn a_daemon_that_cannot_serve_does_not_start() {
    let fates: Vec<Fate> = (8..=64).map(|count| fate_with(Home::without_account(&films::folder()), count)).collect();
    assert_eq!((fates.first(), fates.last()), (Some(&Fate::Refused), Some(&Fate::Serves)), "{fates:?}");
    assert!(fates.is_sorted_by_key(|fate| *fate == Fate::Serves), "{fates:?}");
}

/// A daemon of one shard with few descriptors.
fn start_with_few(home: Home) -> Daemon {
    limited(home.set("REELWAY_SERVER__SHARDS", "1"), FEW).start()
}

/// Connections without a request, so many that the daemon has `left` descriptors to give.
fn crowd(daemon: &Daemon, left: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    let mut seen = None;
    eventually("the descriptors are taken", PATIENCE, || {
        let open = daemon.open_files().len();
        // Seen twice in a row: nobody is being accepted or closed.
        let is_settled = seen.replace(open) == Some(open);
        match open.cmp(&(FEW - left)) {
            Ordering::Equal if is_settled => return Some(()),
            Ordering::Less if is_settled => clients.push(Client::connect(daemon.address)),
            Ordering::Greater if is_settled => drop(clients.pop()),
            Ordering::Less | Ordering::Equal | Ordering::Greater => return None,
        }
        seen = None;
        None
    });
    clients
}

/// Goal: connections that cannot be accepted are waited for, not asked for again and again; it is said once, and served
/// again as soon as somebody leaves.
#[test]
fn a_daemon_out_of_descriptors_waits_and_recovers() {
    let daemon = start_with_few(Home::new(&films::folder()));
    let before = daemon.holdings_at_rest();
    let crowd = crowd(&daemon, 0);
    let outside: Vec<Client> = (0..5).map(|_| Client::connect(daemon.address)).collect();
    daemon.log.wait_for("connections cannot be accepted");
    let (busy_before, start) = (processor_time(&daemon), Instant::now());
    // Not a wait for something: what it does while it cannot do anything is what is being tested.
    std::thread::sleep(Duration::from_secs(2));
    let busy = processor_time(&daemon) - busy_before;
    assert!(busy < Duration::from_secs(1), "it was busy for {busy:?} of {:?}", start.elapsed());
    assert_eq!(daemon.log.lines_with("connections cannot be accepted").len(), 1, "{}", daemon.log.text());
    drop((crowd, outside));
    assert_eq!(daemon.fetch("HEAD", &films::url_path(BIG_FILM), &[]).head.length(), BIG_FILM_BYTES);
    daemon.expect_holdings(&before);
}

/// Processor time of a daemon so far, its own and the kernel's for it (proc(5)). A tick is 10 ms on every Linux.
fn processor_time(daemon: &Daemon) -> Duration {
    let text = fs::read_to_string(format!("/proc/{}/stat", daemon.process())).unwrap();
    // The name in parentheses may contain anything; what follows is numbers.
    let numbers = text.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = numbers.skip(11).take(2).map(|number| number.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Goal: a cold film that finds a descriptor for itself and none for its pipe waits, and then arrives whole.
#[test]
fn a_cold_film_without_descriptors_waits_and_arrives_whole() {
    let films = ColdFilms::alone();
    let daemon = start_with_few(Home::new(&films.folder));
    let name = ColdFilms::name(0);
    films.make_cold();
    // One is for the film.
    let mut crowd = crowd(&daemon, 1);
    let mut viewer = crowd.pop().unwrap();
    assert_eq!(daemon.ask_film(&mut viewer, &name, None).length(), COLD_FILM_BYTES);
    // Not a wait for something: for a moment there is nothing to be had.
    std::thread::sleep(Duration::from_secs(1));
    assert!(!viewer.has_answer(), "the film needed no pipe: it was not cold");
    drop(crowd);
    viewer.expect(Pattern::of(&name), 0, COLD_FILM_BYTES);
    let (ring, threads) = daemon.ledger().cold_windows();
    assert!(ring > 0 && threads == 0, "cold windows: {ring} by the ring, {threads} by threads");
}
