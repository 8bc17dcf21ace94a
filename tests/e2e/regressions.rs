//! Faults that a review found, each a rule it broke: who talks without end, at the wrong moment, or no longer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{self, Client, request};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, MIB, Pattern, url_path};
use crate::support::page_cache::Locked;
use crate::support::{PATIENCE, eventually, program, scratch};

/// Somebody who sends one request again and again without pause, and reads the answers as fast as they come.
struct Flood {
    stream: TcpStream,
    answered_bytes: Arc<AtomicU64>,
    threads: [JoinHandle<()>; 2],
}

impl Flood {
    fn begin(address: SocketAddr, request: &str) -> Flood {
        let stream = TcpStream::connect(address).unwrap();
        let many = request.repeat(MIB as usize / request.len());
        let answered_bytes = Arc::<AtomicU64>::default();
        let (mut sender, mut reader) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let counter = Arc::clone(&answered_bytes);
        let threads = [
            // Both go on until the connection ends.
            std::thread::spawn(move || while sender.write_all(many.as_bytes()).is_ok() {}),
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 * 1024];
                while let Ok(count @ 1..) = reader.read(&mut buffer) {
                    counter.fetch_add(count as u64, Ordering::Relaxed);
                }
            }),
        ];
        let flood = Flood { stream, answered_bytes, threads };
        eventually("the flood is answered", PATIENCE, || (flood.answered_bytes() > MIB).then_some(()));
        flood
    }

    fn answered_bytes(&self) -> u64 {
        self.answered_bytes.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Goal: a client that pipelines without end has its turn like everybody: on the same shard another is answered within a
/// second, whatever the first one asks for.
#[test]
fn pipelining_without_end_keeps_nobody_waiting() {
    let daemon = Home::new(&films::folder()).set("REELWAY_SERVER__SHARDS", "1").start();
    let _hot = Locked::hot(&films::folder().join(BIG_FILM));
    let bearer = daemon.bearer();
    let range = [("Authorization", bearer.as_str()), ("Range", "bytes=0-4095")];
    for question in [request("GET", "/health/live", &[]), request("GET", &url_path(BIG_FILM), &range)] {
        let flood = Flood::begin(daemon.address, &question);
        for _ in 0..20 {
            let (start, before) = (Instant::now(), flood.answered_bytes());
            assert_eq!(client::fetch(daemon.address, "GET", "/health/live", &[]).head.status, 200);
            assert!(start.elapsed() < Duration::from_secs(1), "{:?} behind {question}", start.elapsed());
            eventually("the flood goes on", PATIENCE, || (flood.answered_bytes() > before).then_some(()));
        }
        flood.end();
    }
}

/// Goal: a chunked body that breaks the grammar, or is too long, is refused when that is known, not after the 30 s
/// that a body may take. The head has been read by then: it asks whether to go on, and is told so.
#[test]
fn a_chunk_that_cannot_be_read_is_refused_at_once() {
    let daemon = Home::new(&films::folder()).start();
    for (chunk, status) in [("zz\r\n", 400), ("fffffff\r\n", 413)] {
        let mut client = Client::connect(daemon.address);
        let fields =
            [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"), ("Expect", "100-continue")];
        client.ask("POST", "/api/auth/login", &fields);
        assert_eq!(client.head().status, 100);
        let start = Instant::now();
        client.send(chunk);
        client.answer("POST").is_problem(status);
        client.expect_closed();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?} for {chunk:?}", start.elapsed());
    }
}

/// Goal: who has ended its side after the request, and pauses longer than connections are kept, gets every byte.
#[test]
fn who_ends_its_side_first_gets_every_byte() {
    /// More than the viewer's kernel takes without being read, and few enough for ours to queue.
    const TAIL_BYTES: u64 = 700_000;
    let daemon = Home::new(&films::folder()).set("REELWAY_NET__KEEP_ALIVE_TIMEOUT", "1s").start();
    let before = daemon.holdings_at_rest();
    let mut viewer = Client::connect_narrow(daemon.address);
    let head = daemon.ask_film(&mut viewer, BIG_FILM, Some(&format!("bytes=-{TAIL_BYTES}")));
    assert_eq!(head.length(), TAIL_BYTES);
    viewer.finish_sending();
    eventually("the kernel has all of it", PATIENCE, || (daemon.ledger().sum("reelway_transfers") == 0).then_some(()));
    // Not a wait for something: longer than the time-out, and than anything that lingers.
    std::thread::sleep(Duration::from_secs(6));
    let connections = daemon.ledger().sum("reelway_connections");
    assert_eq!(connections, 2, "closed: the kernel has the rest alone, and gives up whoever pauses after minutes");
    viewer.expect(Pattern::of(BIG_FILM), BIG_FILM_BYTES - TAIL_BYTES, TAIL_BYTES);
    viewer.expect_closed();
    drop(viewer);
    daemon.expect_holdings(&before);
}

/// Goal: empty lines before a request mean nothing, also when they come long before it (RFC 9112 §2.2).
#[test]
fn empty_lines_before_a_request_mean_nothing() {
    let daemon = Home::new(&films::folder()).start();
    let mut client = Client::connect(daemon.address);
    for _ in 0..3 {
        client.send("\r\n\r\n");
        // Not a wait for something: the lines are to be read before the request comes.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
    }
}

/// Goal: the CRLF that some clients send after a body is no head that has begun: `net.head_timeout` does not run.
#[test]
fn an_empty_line_after_a_body_starts_no_clock() {
    let daemon = Home::new(&films::folder()).set("REELWAY_NET__HEAD_TIMEOUT", "1s").start();
    let mut client = Client::connect(daemon.address);
    sign_in(&daemon, &mut client, &[]);
    client.send("\r\n");
    // Not a wait for something: the silence is what is being tested.
    std::thread::sleep(Duration::from_secs(3));
    assert!(!client.has_answer(), "{:?}", client.head());
    assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
}

/// Signs in on this connection and checks the answer.
fn sign_in(daemon: &Daemon, client: &mut Client, fields: &[(&str, &str)]) {
    let credentials = json!({"username": USER, "password": PASSWORD});
    let answer = client.fetch_json("POST", "/api/auth/login", fields, &credentials);
    assert_eq!(answer.head.status, 200, "{fields:?}");
    daemon.keep_secret(answer.json()["token"].as_str().unwrap());
}

/// Goal: where nobody is asked who he is, credentials of any kind change nothing.
#[test]
fn foreign_credentials_do_not_matter_where_none_are_needed() {
    let daemon = Home::new(&films::folder()).start();
    for credentials in ["Basic xyz", "Digest username=\"ann\"", "Bearer not-a-token"] {
        let fields = [("Authorization", credentials)];
        for path in ["/health", "/health/live", "/health/ready"] {
            let answer = client::fetch(daemon.address, "GET", path, &fields);
            assert_eq!(answer.head.status, 200, "{credentials} for {path}");
        }
        sign_in(&daemon, &mut Client::connect(daemon.address), &fields);
    }
}

/// A write lease on a file, held by a small process of its own until dropped (fcntl(2), F_SETLEASE).
struct Lease {
    holder: Child,
}

impl Lease {
    fn on(path: &Path) -> Lease {
        // The kernel asks for a lease back by SIGIO, which would end whoever does not expect it.
        const HOLD: &str = "import fcntl, signal, sys; signal.signal(signal.SIGIO, signal.SIG_IGN); \
            f = open(sys.argv[1], 'r+b'); fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK); \
            print('held', flush=True); sys.stdin.read()";
        let mut python = program("python3");
        python.args(["-c", HOLD]).arg(path);
        let mut holder = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let lease = Lease { holder };
        assert_eq!(said.trim(), "held");
        lease
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Its standard input ends when we do, so it would end without this as well.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Goal: a film on which another program holds a lease (a file server, mostly) is busy, not broken: 503 at once with the
/// time to come back, and it plays once the lease is given up.
#[test]
fn a_film_under_a_lease_is_busy_until_it_is_released() {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let film = folder.path().join("leased.mp4");
    Pattern::of("leased.mp4").write(&film, 100_000);
    let daemon = Home::new(folder.path()).start();
    let lease = Lease::on(&film);
    let start = Instant::now();
    let refused = daemon.fetch("GET", &url_path("leased.mp4"), &[]);
    refused.is_problem(503);
    let seconds = refused.head.field("retry-after").and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "Retry-After in {:?}", refused.head);
    // The kernel would keep whoever waits for 45 s (lease-break-time).
    assert!(start.elapsed() < Duration::from_secs(5), "it waited for {:?}", start.elapsed());
    drop(lease);
    let answer = daemon.fetch("GET", &url_path("leased.mp4"), &[]);
    assert_eq!((answer.head.status, answer.head.length()), (200, 100_000));
    Pattern::of("leased.mp4").compare(0, &answer.body);
}

/// Goal: who goes on talking after a refusal, however slowly, does not keep the connection.
#[test]
fn a_trickle_after_a_refusal_is_cut() {
    let daemon = Home::new(&films::folder()).start();
    let before = daemon.holdings_at_rest();
    let mut client = Client::connect(daemon.address);
    client.send("BAD\r\n\r\n");
    client.answer("GET").is_problem(400);
    let start = Instant::now();
    while client.try_send("x").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(25), "the trickle was listened to");
        // Not a wait for something: the pace of the trickle.
        std::thread::sleep(Duration::from_millis(300));
    }
    daemon.expect_holdings(&before);
}
