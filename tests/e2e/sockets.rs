//! What a socket may do to a server: come in pieces, come all at once, go away at any moment, be slow, be many. Whoever is
//! honest notices nothing of it, and nothing stays behind.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tempfile::TempDir;

use crate::support::client::{Client, request};
use crate::support::daemon::{Daemon, Holdings, Home, PASSWORD, USER};
use crate::support::dice::Dice;
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, MIB, Pattern, url_path};
use crate::support::question::{Ending, Question};
use crate::support::questions::Asker;
use crate::support::{PATIENCE, eventually, scratch};

/// A daemon with real films, and what it holds before anybody came.
fn start(home: Home) -> (Daemon, Holdings) {
    let daemon = home.start();
    let before = daemon.holdings_at_rest();
    (daemon, before)
}

fn home() -> Home {
    Home::new(&films::folder())
}

/// The body of a sign-in.
fn credentials() -> String {
    json!({"username": USER, "password": PASSWORD}).to_string()
}

/// The head of a sign-in whose body is framed by `framing`.
fn sign_in(framing: (&str, &str)) -> String {
    request("POST", "/api/auth/login", &[("Content-Type", "application/json"), framing])
}

/// The same body in chunks of seven bytes.
fn chunked(body: &str) -> String {
    let chunk = |bytes: &[u8]| format!("{:x}\r\n{}\r\n", bytes.len(), std::str::from_utf8(bytes).unwrap());
    let chunks: String = body.as_bytes().chunks(7).map(chunk).collect();
    chunks + "0\r\nTrailer: 1\r\n\r\n"
}

/// Reads the answer to a sign-in: 200 and a token.
fn is_signed_in(daemon: &Daemon, client: &mut Client) {
    let answer = client.answer("POST");
    assert_eq!(answer.head.status, 200, "{:?}", answer.head);
    daemon.keep_secret(answer.json()["token"].as_str().unwrap());
}

/// A question about a range of the big film.
fn ranged(daemon: &Daemon, range: &str) -> String {
    let bearer = daemon.bearer();
    request("GET", &url_path(BIG_FILM), &[("Authorization", &bearer), ("Range", range)])
}

/// Goal: a request may be cut anywhere: its two halves, the first read before the second comes, are one request.
#[test]
fn a_request_may_be_cut_after_any_byte() {
    let daemon = home().start();
    let text = ranged(&daemon, "bytes=123-4567");
    for cut in 1..text.len() {
        let mut client = Client::connect(daemon.address);
        client.send(&text[..cut]);
        client.wait_until_read();
        assert!(!client.has_answer(), "answered after {cut} bytes");
        client.send(&text[cut..]);
        let head = client.head();
        assert_eq!((head.status, head.length()), (206, 4445), "cut after {cut} bytes");
        client.expect(Pattern::of(BIG_FILM), 123, 4445);
        client.ask("GET", "/health/live", &[]);
        assert_eq!(client.answer("GET").head.status, 200, "cut after {cut} bytes");
    }
}

/// Goal: requests that come one byte at a time, each read before the next comes, are answered like any other: without a
/// body, with one by length, and with one in chunks.
#[test]
fn requests_may_come_one_byte_at_a_time() {
    let daemon = home().start();
    let bytewise = |text: &str| {
        let mut client = Client::connect(daemon.address);
        for byte in text.bytes() {
            assert!(!client.has_answer(), "answered before all of {text:?} had come");
            client.send([byte]);
            client.wait_until_read();
        }
        client
    };
    let mut client = bytewise(&ranged(&daemon, "bytes=123-4567"));
    assert_eq!(client.head().length(), 4445);
    client.expect(Pattern::of(BIG_FILM), 123, 4445);
    let body = credentials();
    let length = body.len().to_string();
    is_signed_in(&daemon, &mut bytewise(&(sign_in(("Content-Length", &length)) + &body)));
    is_signed_in(&daemon, &mut bytewise(&(sign_in(("Transfer-Encoding", "chunked")) + &chunked(&body))));
}

/// A daemon, whoever knows all answers of it, and the films they are about.
fn known() -> (Daemon, Asker, TempDir) {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let known = Asker::write_films(folder.path());
    let daemon = Home::new(folder.path()).start();
    let asker = Asker::new(&daemon, folder.path(), known);
    (daemon, asker, folder)
}

/// A thousand questions that keep the connection.
fn thousand(asker: &Asker, seed: u64) -> Vec<Question> {
    let mut dice = Dice::new(seed);
    let any = std::iter::repeat_with(|| asker.question(&mut dice));
    any.filter(|question| question.expected.ending == Ending::Kept).take(1000).collect()
}

/// Goal: a thousand requests in one write, of all methods and ranges, are answered in their order and to the byte, be they
/// read as they come, or only when the daemon can send no more.
#[test]
fn a_thousand_pipelined_requests_are_answered_in_order() {
    let (daemon, asker, _folder) = known();
    let before = daemon.holdings_at_rest();
    for reads_at_the_end in [false, true] {
        let questions = thousand(&asker, 1 + u64::from(reads_at_the_end));
        let bytes: Vec<u8> = questions.iter().flat_map(|question| question.bytes.iter().copied()).collect();
        let mut client = Client::connect_narrow(daemon.address);
        let mut sender = client.sender();
        let asked_before = daemon.ledger().sum("reelway_requests_total");
        std::thread::scope(|scope| {
            // Whoever does not read is not read in the end: the write ends when the answers are taken.
            scope.spawn(move || sender.write_all(&bytes).unwrap());
            if reads_at_the_end {
                eventually("nothing moves any more", PATIENCE, || {
                    let looks = [(); 2].map(|()| {
                        // Not a wait for something: the time in which something could move.
                        std::thread::sleep(Duration::from_millis(100));
                        daemon.ledger().sum("reelway_sent_bytes_total")
                    });
                    (looks[0] == looks[1]).then_some(())
                });
                let answered = daemon.ledger().sum("reelway_requests_total") - asked_before;
                assert!(answered < 1000, "all was answered at once: nobody had to wait");
            }
            for question in &questions {
                assert!(question.expected.check(&mut client));
            }
        });
        assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
    }
    daemon.expect_holdings(&before);
}

/// A phase of a connection, and how a client gets there; it is reset then.
type Phase = (&'static str, fn(&Daemon) -> Client);

/// Connects, sends, and waits until that was read.
fn sent(daemon: &Daemon, text: &str) -> Client {
    let mut client = Client::connect(daemon.address);
    client.send(text);
    client.wait_until_read();
    client
}

/// A viewer whose kernel can take little, in the middle of the big film.
fn viewer(daemon: &Daemon) -> Client {
    let mut viewer = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut viewer, BIG_FILM, None);
    viewer.expect(Pattern::of(BIG_FILM), 0, 100_000);
    viewer
}

/// A viewer whose whole answer the daemon has queued, and who has read none of it.
fn queued(daemon: &Daemon, connection: &str) -> Client {
    let mut viewer = Client::connect_narrow(daemon.address);
    let bearer = daemon.bearer();
    let fields = [("Authorization", bearer.as_str()), ("Range", "bytes=-700000"), ("Connection", connection)];
    viewer.ask("GET", &url_path(BIG_FILM), &fields);
    assert_eq!(viewer.head().length(), 700_000);
    eventually("the kernel has all of it", PATIENCE, || (daemon.ledger().sum("reelway_transfers") == 0).then_some(()));
    viewer
}

const PHASES: [Phase; 20] = [
    ("before any byte", |daemon| Client::connect(daemon.address)),
    ("after an empty line", |daemon| sent(daemon, "\r\n")),
    ("in the request line", |daemon| sent(daemon, "GET /hea")),
    ("in a field", |daemon| sent(daemon, "GET /health HTTP/1.1\r\nHost: films.lo")),
    ("before the last byte of a head", |daemon| sent(daemon, "GET /health HTTP/1.1\r\nHost: a\r\n\r")),
    ("after the head, before the answer", |daemon| {
        let mut client = Client::connect(daemon.address);
        client.send(ranged(daemon, "bytes=0-"));
        client
    }),
    ("while a password is hashed", |daemon| {
        let body = r#"{"username": "ann", "password": "not this one, surely"}"#;
        sent(daemon, &(sign_in(("Content-Length", &body.len().to_string())) + body))
    }),
    ("in a body by length", |daemon| sent(daemon, &(sign_in(("Content-Length", "1000")) + "{\"user"))),
    ("in the line before a chunk", |daemon| sent(daemon, &(sign_in(("Transfer-Encoding", "chunked")) + "5"))),
    ("in a chunk", |daemon| sent(daemon, &(sign_in(("Transfer-Encoding", "chunked")) + "ff\r\n{\"user"))),
    ("in a trailer", |daemon| sent(daemon, &(sign_in(("Transfer-Encoding", "chunked")) + "2\r\n{}\r\n0\r\nTra"))),
    ("in a body that is not wanted", |daemon| sent(daemon, &request("GET", "/health", &[("Content-Length", "1000")]))),
    ("while it is told to continue", |daemon| {
        let fields = [("Content-Type", "application/json"), ("Content-Length", "2"), ("Expect", "100-continue")];
        let mut client = sent(daemon, &request("POST", "/api/auth/login", &fields));
        assert_eq!(client.head().status, 100);
        client
    }),
    ("in the middle of a film", |daemon| {
        let mut client = Client::connect(daemon.address);
        daemon.ask_film(&mut client, BIG_FILM, None);
        client.expect(Pattern::of(BIG_FILM), 0, 3 * MIB);
        client
    }),
    ("while paused", |daemon| {
        let viewer = viewer(daemon);
        // Longer than a pump spins, so that the daemon waits for the socket.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(daemon.ledger().sum("reelway_transfers"), 1);
        viewer
    }),
    ("after its own end, in the middle of a film", |daemon| {
        let mut viewer = viewer(daemon);
        viewer.finish_sending();
        viewer
    }),
    ("with another request waiting behind a film", |daemon| {
        let mut viewer = viewer(daemon);
        viewer.ask("GET", "/health", &[]);
        viewer
    }),
    ("after the last byte", |daemon| {
        let mut client = Client::connect(daemon.address);
        assert_eq!(client.fetch("GET", "/health", &[]).head.status, 200);
        client
    }),
    ("while the last bytes are queued", |daemon| queued(daemon, "keep-alive")),
    ("while a closed connection lingers", |daemon| queued(daemon, "close")),
];

/// Goal: a connection may be reset in any phase, and nothing stays behind: no descriptor, connection, transfer or task.
#[test]
fn a_reset_in_any_phase_leaves_nothing_behind() {
    let (daemon, before) = start(home());
    for (phase, reach) in PHASES {
        for _ in 0..3 {
            reach(&daemon).reset();
        }
        println!("{phase}");
        daemon.expect_holdings(&before);
    }
    // The refused client's connection lingers as well; by then it has been told all.
    let mut client = Client::connect(daemon.address);
    client.send("BAD\r\n\r\n");
    client.answer("GET").is_problem(400);
    client.reset();
    daemon.expect_holdings(&before);
    let ledger = daemon.ledger();
    for name in ["reelway_panics_total", "reelway_faults_total", "reelway_stalled_total"] {
        assert_eq!(ledger.sum(name), 0, "{name}");
    }
}

/// Asks as an honest client does, once for health and once for a MiB; how long the slower of the two took.
fn honest(daemon: &Daemon, number: u64) -> Duration {
    let start = Instant::now();
    assert_eq!(daemon.fetch("GET", "/health/live", &[]).head.status, 200);
    let health = start.elapsed();
    let start = Instant::now();
    let first = number * MIB % (BIG_FILM_BYTES - MIB);
    let mut client = Client::connect(daemon.address);
    daemon.ask_film(&mut client, BIG_FILM, Some(&format!("bytes={first}-{}", first + MIB - 1)));
    client.expect(Pattern::of(BIG_FILM), first, MIB);
    health.max(start.elapsed())
}

/// So long may an honest client wait on a busy machine; by far less than any time-out.
const HONEST_WAIT_MAX: Duration = Duration::from_secs(2);

/// Goal: two hundred connections that trickle their heads keep nobody waiting, and are all told 408 by their time-out.
#[test]
fn slow_heads_keep_nobody_waiting() {
    const SLOW: usize = 200;
    let (daemon, before) = start(home().set("REELWAY_NET__HEAD_TIMEOUT", "3s"));
    let mut slow: Vec<Client> = (0..SLOW).map(|_| Client::connect(daemon.address)).collect();
    let start = Instant::now();
    for client in &mut slow {
        client.send("GET /health HTTP/1.1\r\nHost: a\r\nX-Long: ");
    }
    for number in 0..20 {
        // Each says another byte before each honest request; the refused ones may have been cut by then.
        for client in &mut slow {
            let _ = client.try_send("x");
        }
        let waited = honest(&daemon, number);
        assert!(waited < HONEST_WAIT_MAX, "an honest client waited {waited:?}");
    }
    for client in &mut slow {
        client.answer("GET").is_problem(408);
    }
    let told = start.elapsed();
    assert!((Duration::from_millis(2500)..PATIENCE).contains(&told), "408 after {told:?}");
    drop(slow);
    daemon.expect_holdings(&before);
}

/// Goal: fifty viewers who read slowly keep nobody waiting, and each gets every byte.
#[test]
fn slow_readers_keep_nobody_waiting() {
    const SLOW: u64 = 50;
    const LENGTH: u64 = 4 * MIB;
    const SIP: u64 = 1000;
    let (daemon, before) = start(home());
    let first = |number: u64| number * 400_000;
    let mut slow: Vec<Client> = (0..SLOW)
        .map(|number| {
            let mut viewer = Client::connect_narrow(daemon.address);
            let range = format!("bytes={}-{}", first(number), first(number) + LENGTH - 1);
            daemon.ask_film(&mut viewer, BIG_FILM, Some(&range));
            viewer
        })
        .collect();
    let mut seen = 0;
    for round in 0..30 {
        for (number, viewer) in (0..).zip(&mut slow) {
            viewer.expect(Pattern::of(BIG_FILM), first(number) + seen, SIP);
        }
        seen += SIP;
        let waited = honest(&daemon, round);
        assert!(waited < HONEST_WAIT_MAX, "an honest client waited {waited:?}");
    }
    assert_eq!(daemon.ledger().sum("reelway_transfers"), SLOW, "they had all been sent: nobody was slow");
    for (number, viewer) in (0..).zip(&mut slow) {
        viewer.expect(Pattern::of(BIG_FILM), first(number) + seen, LENGTH - seen);
    }
    drop(slow);
    daemon.expect_holdings(&before);
}

/// Private memory of a daemon, in KiB (proc_pid_smaps(5)).
fn anonymous_kib(daemon: &Daemon) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", daemon.process())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    value.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Goal: a thousand idle connections cost a descriptor and little memory each, can all be used, and leave nothing behind.
#[test]
fn a_thousand_idle_connections_cost_little_and_stay_usable() {
    const IDLE: usize = 1000;
    const BYTES_MAX: u64 = 64 * 1024;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let (daemon, before) = start(home());
    let (memory, files) = (anonymous_kib(&daemon), daemon.open_files().len());
    let mut idle: Vec<Client> = (0..IDLE).map(|_| Client::connect(daemon.address)).collect();
    // Half of them have asked before; what a request needs must be given back after it.
    for client in idle.iter_mut().step_by(2) {
        assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
    }
    eventually("all are accepted, and nobody else is there", PATIENCE, || {
        // The one who asks this is a connection, too, and may be seen to leave.
        let accepted = daemon.ledger().sum("reelway_connections") > IDLE as u64;
        (accepted && daemon.open_files().len() <= files + IDLE).then_some(())
    });
    let bytes = (anonymous_kib(&daemon).saturating_sub(memory)) * 1024 / IDLE as u64;
    println!("{bytes} bytes for each of {IDLE} idle connections");
    assert!(bytes <= BYTES_MAX, "{bytes} bytes for an idle connection");
    for (number, client) in (0..).zip(&mut idle) {
        let first = number * 7919;
        daemon.ask_film(client, BIG_FILM, Some(&format!("bytes={first}-{}", first + 999)));
        client.expect(Pattern::of(BIG_FILM), first, 1000);
    }
    drop(idle);
    daemon.expect_holdings(&before);
}
