//! By chance, a great many times: requests right and wrong, whole and in pieces, and connections that end anywhere. What
//! is right is answered to the byte, what is wrong by the grammar or not at all, and the daemon is afterwards as before.
//!
//! One session is one connection, and everything in it follows from its seed. `REELWAY_SEED` is the seed of the first
//! session, the next has the next number; `REELWAY_RANDOM_REQUESTS` says how many requests there are. When a session
//! fails, its own seed and one request meet it again.

mod broken;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::support::client::{self, Client, request};
use crate::support::daemon::{Daemon, Home};
use crate::support::dice::Dice;
use crate::support::question::{Ending, Question};
use crate::support::questions::Asker;
use crate::support::scratch;

/// Requests of a run, unless `REELWAY_RANDOM_REQUESTS` says otherwise.
const REQUESTS: u64 = 100_000;
/// Connections that are busy at once.
const THREADS: usize = 4;
/// Connections that send something wrong and then wait for what comes, each for its time-out.
const PATIENT: u64 = 60;
/// A head and a quiet connection have so long; a body has 30 s, and a closed connection lingers for 2 s.
const TIMEOUT: &str = "5s";
const LONGEST_WAIT: Duration = Duration::from_secs(45);
/// What the second half may leave in memory beyond the first: the allocator's fragments, not a leak. Measured: 4 KiB; a
/// leak of 100 bytes a request would be 5 MiB.
const GROWTH_KIB_MAX: u64 = 1024;
/// What an honest client is told sooner or later. So many requests meet all of it.
const STATUSES: [u16; 17] = [200, 204, 206, 304, 400, 401, 404, 405, 411, 412, 414, 415, 416, 417, 431, 501, 505];
const REQUESTS_THAT_MEET_ALL: u64 = 20_000;

/// A daemon, who asks it, and how often it gave which answer.
struct Scene {
    daemon: Daemon,
    asker: Asker,
    answers: Mutex<BTreeMap<u16, u64>>,
}

/// What one session is about, told when it fails.
struct Told {
    seed: u64,
    sent: Vec<u8>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Told { seed, sent } = self;
            eprintln!("REELWAY_SEED={seed} REELWAY_RANDOM_REQUESTS=1 meets it again; sent: {}", broken::shown(sent));
        }
    }
}

/// Goal: 100,000 random requests: no crash, no hang over a time-out, no wrong byte, and memory and descriptors are flat.
#[test]
fn random_requests_break_nothing_and_leave_nothing_behind() {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("REELWAY_SEED").unwrap_or_else(|| since_1970.as_secs() * 1_000_000);
    let requests = number("REELWAY_RANDOM_REQUESTS").unwrap_or(REQUESTS);
    println!("REELWAY_SEED={seed} REELWAY_RANDOM_REQUESTS={requests}");
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let films = folder.path().join("films");
    fs::create_dir(&films).unwrap();
    let known = Asker::write_films(&films);
    let home = Home::new(&films);
    let home = home.set("REELWAY_NET__HEAD_TIMEOUT", TIMEOUT).set("REELWAY_NET__KEEP_ALIVE_TIMEOUT", TIMEOUT);
    let daemon = home.start();
    let asker = Asker::new(&daemon, &films, known);
    let scene = Scene { daemon, asker, answers: Mutex::default() };
    let (before, start) = (scene.daemon.holdings_at_rest(), Instant::now());
    let (next, asked) = (AtomicU64::new(seed), AtomicU64::new(0));
    let mut memory = Vec::new();
    for half in 1..=2 {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while asked.load(Ordering::Relaxed) < requests * half / 2 {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        asked.fetch_add(session(&scene, seed), Ordering::Relaxed);
                    }
                });
            }
            if half == 1 {
                scope.spawn(|| patient_sessions(&scene, seed));
            }
        });
        scene.daemon.expect_holdings(&before);
        memory.push(memory_kib(&scene.daemon));
        println!("{} requests after {:?}: {:?} KiB", asked.load(Ordering::Relaxed), start.elapsed(), memory.last());
    }
    let answers = scene.answers.lock().unwrap();
    println!("answers by status: {answers:?}");
    let missing: Vec<_> = STATUSES.iter().filter(|status| !answers.contains_key(status)).collect();
    assert!(missing.is_empty() || requests < REQUESTS_THAT_MEET_ALL, "never asked for: {missing:?}");
    assert!(memory[1].0 <= memory[0].0 + GROWTH_KIB_MAX, "anonymous and resident memory, in KiB: {memory:?}");
    is_well(&scene.daemon);
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The daemon answers, has met no panic, and has nothing to complain about.
fn is_well(daemon: &Daemon) {
    assert_eq!(client::fetch(daemon.address, "GET", "/health", &[]).json()["status"], "ok");
    let ledger = daemon.ledger();
    for name in ["reelway_panics_total", "reelway_faults_total", "reelway_truncated_total", "reelway_stalled_total"] {
        assert_eq!(ledger.sum(name), 0, "{name}");
    }
    let complaints = daemon.log.lines_with("\"level\":\"error\"");
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// Anonymous memory and all resident memory of a daemon (proc_pid_smaps(5)).
fn memory_kib(daemon: &Daemon) -> (u64, u64) {
    let path = format!("/proc/{}/smaps_rollup", daemon.process());
    let text = fs::read_to_string(path).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (value("Anonymous:"), value("Rss:"))
}

/// One connection; how many requests it made.
fn session(scene: &Scene, seed: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let mut told = Told { seed, sent: Vec::new() };
    let address = scene.daemon.address;
    let client = if dice.one_in(20) { Client::connect_narrow(address) } else { Client::connect(address) };
    match dice.below(20) {
        0..6 => honest(scene, &mut dice, client, &mut told),
        6 => asks_first(&mut dice, client, &mut told),
        7..13 => wrong(scene, &mut dice, client, &mut told),
        13..16 => senseless(scene, &mut dice, client, &mut told),
        _ => cut_short(scene, &mut dice, client, &mut told),
    }
}

/// Sends some bytes in pieces of any size. The daemon may have closed.
fn send_in_pieces(dice: &mut Dice, client: &mut Client, bytes: &[u8]) -> bool {
    let piece_max = *dice.pick(&[usize::MAX, usize::MAX, 2000, 300, 40]);
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = if piece_max == usize::MAX { rest.len() } else { (1 + dice.index(piece_max)).min(rest.len()) };
        if client.try_send(&rest[..length]).is_err() {
            return false;
        }
        rest = &rest[length..];
    }
    true
}

/// Questions at once and one after another, every answer known; perhaps one at the end that closes, perhaps with the
/// client's own end before the answers.
fn honest(scene: &Scene, dice: &mut Dice, mut client: Client, told: &mut Told) -> u64 {
    let mut asked = 0;
    let batches = 1 + dice.below(4);
    for batch in 1..=batches {
        let mut questions: Vec<Question> = (0..=dice.below(8)).map(|_| scene.asker.question(dice)).collect();
        let is_last = batch == batches;
        if is_last && dice.one_in(3) {
            questions.push(scene.asker.last(dice));
            // Never to be answered: the one before it closes.
            questions.extend(dice.one_in(2).then(|| scene.asker.question(dice)));
        }
        let bytes: Vec<u8> = questions.iter().flat_map(|question| question.bytes.iter().copied()).collect();
        told.sent.extend_from_slice(&bytes);
        let may_close = questions.iter().any(|question| question.expected.ending != Ending::Kept);
        assert!(send_in_pieces(dice, &mut client, &bytes) || may_close, "the daemon closed before it had answered");
        let ends = is_last && dice.one_in(2);
        if ends {
            client.finish_sending();
        }
        for question in &questions {
            asked += 1;
            *scene.answers.lock().unwrap().entry(question.expected.status).or_default() += 1;
            if !question.expected.check(&mut client) {
                client.expect_closed();
                return asked;
            }
        }
        if ends {
            client.expect_closed();
        }
    }
    asked
}

/// A sign-in without password that waits to be asked for its body.
fn asks_first(dice: &mut Dice, mut client: Client, told: &mut Told) -> u64 {
    let body = *dice.pick(&["{}", "[", "{\"username\": \"ann\"}"]);
    let length = body.len().to_string();
    let fields = [("Content-Type", "application/json"), ("Content-Length", &length), ("Expect", "100-continue")];
    told.sent = request("POST", "/api/auth/login", &fields).into_bytes();
    assert!(send_in_pieces(dice, &mut client, &told.sent));
    assert_eq!(client.head().status, 100);
    client.send(body);
    client.answer("POST").is_problem(400);
    assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
    2
}

/// Requests, spoilt.
fn spoilt(scene: &Scene, dice: &mut Dice) -> (Vec<u8>, u64) {
    let count = 1 + dice.below(4);
    let mut bytes: Vec<u8> = (0..count).flat_map(|_| scene.asker.question(dice).bytes).collect();
    broken::spoil(dice, &mut bytes);
    (bytes, count)
}

/// Spoilt requests, then our end: well-formed answers, then the daemon's.
fn wrong(scene: &Scene, dice: &mut Dice, client: Client, told: &mut Told) -> u64 {
    let (bytes, count) = spoilt(scene, dice);
    told.sent = bytes;
    is_answered_or_closed(scene, dice, client, &told.sent);
    count
}

/// Bytes that never were a request.
fn senseless(scene: &Scene, dice: &mut Dice, client: Client, told: &mut Told) -> u64 {
    told.sent = broken::garbage(dice);
    is_answered_or_closed(scene, dice, client, &told.sent);
    1
}

fn is_answered_or_closed(scene: &Scene, dice: &mut Dice, mut client: Client, bytes: &[u8]) {
    if send_in_pieces(dice, &mut client, bytes) {
        client.try_finish_sending();
    }
    let (received, ending) = client.rest();
    broken::judge(bytes, &received, ending, &scene.asker.films);
}

/// Requests of any kind that end with a reset: in the middle of what is sent, or of what is answered.
fn cut_short(scene: &Scene, dice: &mut Dice, mut client: Client, told: &mut Told) -> u64 {
    if dice.one_in(2) {
        let (mut bytes, count) = spoilt(scene, dice);
        bytes.truncate(dice.index(bytes.len() + 1));
        told.sent = bytes;
        send_in_pieces(dice, &mut client, &told.sent);
        client.reset();
        return count;
    }
    let question = scene.asker.film(dice);
    told.sent.clone_from(&question.bytes);
    client.send(&question.bytes);
    if dice.one_in(2) {
        let head = client.head();
        if !question.expected.is_head && head.field("content-length").is_some() {
            client.body(dice.below(head.length() + 1));
        }
    }
    client.reset();
    1
}

/// Many connections that send something wrong and do not end: each is answered and ended by its time-out.
fn patient_sessions(scene: &Scene, seed: u64) {
    let begin = |number| {
        let mut dice = Dice::new(!seed ^ number);
        let bytes = if dice.one_in(4) { broken::garbage(&mut dice) } else { spoilt(scene, &mut dice).0 };
        let mut client = Client::connect(scene.daemon.address);
        client.wait_at_most(LONGEST_WAIT);
        send_in_pieces(&mut dice, &mut client, &bytes);
        (client, Told { seed, sent: bytes })
    };
    let sessions: Vec<(Client, Told)> = (0..PATIENT).map(begin).collect();
    for (mut client, told) in sessions {
        let (received, ending) = client.rest();
        broken::judge(&told.sent, &received, ending, &scene.asker.films);
    }
}
