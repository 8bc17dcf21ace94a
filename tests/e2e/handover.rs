//! A restart that nobody notices: every connection goes on in the next daemon, in the same answer, byte for byte.
//!
//! support/manager.rs pretends to be the service manager that keeps the connections in between.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::pump_faults::raise_descriptor_limit;
use crate::support::client::{self, Client, Ending, request};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{COLD_FILM_BYTES, COLD_FILMS, ColdFilms, MIB, Pattern, url_path};
use crate::support::fuse::Distant;
use crate::support::manager::Manager;
use crate::support::multipart::pieces;
use crate::support::stopped::Stopped;
use crate::support::without_ring::WithoutRing;
use crate::support::{PATIENCE, eventually, scratch};

mod who_goes_on;

/// A film of a folder of the test's own.
const FILM: &str = "film.mp4";
const FILM_BYTES: u64 = 48 * MIB;
/// Restarts while films play.
const RESTARTS: u64 = 5;

fn folder() -> TempDir {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    Pattern::of(FILM).write(&folder.path().join(FILM), FILM_BYTES);
    folder
}

/// A service manager that listens and keeps descriptors, for daemons of this home.
fn manager_of(home: Home) -> Manager {
    let mut manager = Manager::new(home.set("FDSTORE", "4096"));
    manager.listen("127.0.0.1:0");
    manager
}

fn manager(films: &Path) -> Manager {
    manager_of(Home::new(films))
}

/// Ends a daemon, and starts the next one, which goes on.
fn restart(manager: &Manager, mut daemon: Daemon) -> Daemon {
    daemon.stop();
    next(manager, &daemon)
}

fn next(manager: &Manager, before: &Daemon) -> Daemon {
    let mut next = manager.start_signed_out();
    next.token.clone_from(&before.token);
    next.keep_secret(&before.token);
    assert_eq!(manager.stored(), Vec::<String>::new(), "the manager holds nothing open any more");
    next
}

/// How many connections a daemon has resumed, and how many were lost, as its log says.
fn resumed(daemon: &Daemon) -> (u64, u64) {
    let event = daemon.log.wait_for("resumed");
    let number = |name: &str| event["metadata"][name].as_u64().unwrap_or_else(|| panic!("{event}"));
    (number("connections"), number("lost"))
}

/// A daemon has resumed so many and lost none. One more may be there: the last one that signed in or asked something, on its way
/// to its end.
fn expect_resumed(daemon: &Daemon, count: u64) {
    let (connections, lost) = resumed(daemon);
    assert!((count..=count + 1).contains(&connections) && lost == 0, "{connections} resumed, {lost} lost");
}

/// (id, video, start, bytes) of each stream, in this order.
fn streams(daemon: &Daemon) -> Vec<(String, String, String, u64)> {
    let answer = daemon.fetch("GET", "/api/streams", &[]).json();
    let text = |stream: &Value, name: &str| stream[name].as_str().unwrap_or_else(|| panic!("{stream}")).to_owned();
    let mut streams: Vec<_> = { answer["items"].as_array().unwrap().iter() }
        .map(|stream| {
            let bytes = stream["bytesStreamed"].as_u64().unwrap_or_else(|| panic!("{stream}"));
            (text(stream, "streamId"), text(stream, "videoId"), text(stream, "startTime"), bytes)
        })
        .collect();
    streams.sort();
    streams
}

/// A client that has asked for all of a film, and has read the head.
fn viewer(daemon: &Daemon, name: &str) -> Client {
    let mut client = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut client, name, None);
    client
}

/// Goal: eight films that are read at different speeds, one of them not at all, an answer of several ranges, a range with
/// requests behind it, an idle connection and half a head live through five restarts; nobody who comes meanwhile is refused; the
/// streams stay the same; and in the end nothing is left over.
fn everything_goes_on(wrapper: &[String]) {
    let films = ColdFilms::alone();
    let manager = manager_of(Home::new(&films.folder).wrapped_by(wrapper.iter().cloned()));
    let daemon = manager.start();
    let before = daemon.holdings_at_rest();
    films.make_cold();

    let mut viewers: Vec<(Client, String, u64)> =
        (0..COLD_FILMS).map(ColdFilms::name).map(|name| (viewer(&daemon, &name), name, 0)).collect();
    let mut others = Others::ask(&daemon);
    let shown = eventually("all films play", PATIENCE, || Some(streams(&daemon)).filter(|all| all.len() == COLD_FILMS));

    let is_over = AtomicBool::new(false);
    let mut daemon = thread::scope(|scope| {
        let mut daemon = daemon;
        let (address, manager, is_over) = (daemon.address, &manager, &is_over);
        let knocking = scope.spawn(move || knock(address, is_over));
        for round in 0..RESTARTS {
            let restarting = scope.spawn(move || restart(manager, daemon));
            // Each reads while the daemon goes and the next one comes, the first not at all.
            for (index, (client, name, offset)) in viewers.iter_mut().enumerate() {
                let length = index as u64 * MIB * 5 / 4 + if index > 0 { round * 1000 + 7 } else { 0 };
                client.expect(Pattern::of(name), *offset, length);
                *offset += length;
            }
            others.read_some();
            daemon = restarting.join().unwrap();
            let now = streams(&daemon);
            assert_eq!(now.len(), COLD_FILMS, "{now:?}");
            for (now, before) in now.iter().zip(&shown) {
                assert_eq!((&now.0, &now.1, &now.2), (&before.0, &before.1, &before.2), "the same stream");
                assert!(now.3 >= before.3, "{now:?} was {before:?}");
            }
            others.use_idle();
        }
        is_over.store(true, Ordering::Relaxed);
        let answered = knocking.join().unwrap();
        println!("{answered} requests were answered during {RESTARTS} restarts");
        assert!(answered >= RESTARTS);
        daemon
    });
    let (connections, lost) = resumed(&daemon);
    assert!(connections >= COLD_FILMS as u64 + 4, "only {connections} were resumed");
    println!("{connections} connections were resumed, {lost} lost");
    others.end();
    for (mut client, name, offset) in viewers {
        client.expect(Pattern::of(&name), offset, COLD_FILM_BYTES - offset);
        // And the connection serves the next request.
        assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
    }
    daemon.expect_holdings(&before);
    daemon.stop();
}

/// Asks again and again, each time on a new connection, until it is over. How often it was answered.
fn knock(address: std::net::SocketAddr, is_over: &AtomicBool) -> u64 {
    let mut answered = 0;
    while !is_over.load(Ordering::Relaxed) {
        assert_eq!(client::fetch(address, "GET", "/health/live", &[]).head.status, 200);
        answered += 1;
    }
    answered
}

/// Connections that are in the middle of something else than a whole film.
struct Others {
    /// Several ranges in one answer: its head's type, and what came of its body.
    multipart: (Client, String, u64, Vec<u8>),
    /// A range with two requests behind it, of which nothing was read yet.
    pipelined: Client,
    idle: Client,
    half_a_head: Client,
}

/// The ranges that are asked for of the second film, in one request.
const RANGES: [(u64, u64); 3] = [(0, 6 * MIB), (10 * MIB, 11 * MIB + 3), (20 * MIB, 27 * MIB)];
/// And of the third, with requests behind it.
const PIPELINED: u64 = 9 * MIB;

impl Others {
    fn ask(daemon: &Daemon) -> Others {
        let ranges: Vec<String> = RANGES.iter().map(|(first, end)| format!("{first}-{}", end - 1)).collect();
        let mut client = Client::connect_narrow(daemon.address);
        let head = daemon.ask_film(&mut client, &ColdFilms::name(1), Some(&format!("bytes={}", ranges.join(","))));
        let content_type = head.field("content-type").unwrap().to_owned();
        let multipart = (client, content_type, head.length(), Vec::new());

        let mut pipelined = Client::connect_narrow(daemon.address);
        let bearer = daemon.bearer();
        let range = format!("bytes=0-{}", PIPELINED - 1);
        let film = url_path(&ColdFilms::name(2));
        let part = |range: &str| request("GET", &film, &[("Authorization", &bearer), ("Range", range)]);
        pipelined.send(part(&range) + &request("GET", "/health/live", &[]) + &part("bytes=100-199"));

        let mut idle = Client::connect(daemon.address);
        assert_eq!(idle.fetch("GET", "/health/live", &[]).head.status, 200);
        let mut half_a_head = Client::connect(daemon.address);
        half_a_head.send("GET /health/live HTTP/1.1\r\nHost: fil");
        half_a_head.wait_until_read();
        Others { multipart, pipelined, idle, half_a_head }
    }

    fn read_some(&mut self) {
        let (client, _, length, body) = &mut self.multipart;
        body.extend(client.body((*length - body.len() as u64).min(2 * MIB + 13)));
    }

    fn use_idle(&mut self) {
        assert_eq!(self.idle.fetch("GET", "/health/live", &[]).head.status, 200);
    }

    /// Reads the rest of everything.
    fn end(self) {
        let Others { multipart: (mut client, content_type, length, mut body), mut pipelined, mut half_a_head, .. } =
            self;
        body.extend(client.body(length - body.len() as u64));
        let pattern = Pattern::of(&ColdFilms::name(1));
        let found = pieces(&content_type, &body);
        assert_eq!(found.iter().map(|piece| (piece.first, piece.last + 1)).collect::<Vec<_>>(), RANGES);
        found.iter().for_each(|piece| pattern.compare(piece.first, piece.bytes));

        let pattern = Pattern::of(&ColdFilms::name(2));
        let head = pipelined.head();
        assert_eq!((head.status, head.length()), (206, PIPELINED));
        pipelined.expect(pattern, 0, PIPELINED);
        assert_eq!(pipelined.answer("GET").head.status, 200);
        let last = pipelined.answer("GET");
        assert_eq!(last.head.status, 206);
        pattern.compare(100, &last.body);

        half_a_head.send("ms.local\r\n\r\n");
        assert_eq!(half_a_head.answer("GET").head.status, 200);
    }
}

#[test]
fn everything_goes_on_over_five_restarts() {
    everything_goes_on(&[]);
}

/// Goal: the same where threads wait for the disk.
#[test]
fn everything_goes_on_over_five_restarts_without_io_uring() {
    everything_goes_on(&WithoutRing::new().wrapper());
}

/// Goal: whoever leaves between the two daemons is gone, and what was theirs is free.
#[test]
fn who_leaves_in_between_leaves_nothing_behind() {
    let films = folder();
    let manager = manager(films.path());
    let mut daemon = manager.start();
    let before = daemon.holdings_at_rest();
    let [left, reset, mut stays] = [(); 3].map(|()| viewer(&daemon, FILM));
    daemon.stop();
    assert_eq!(manager.stored().len(), 1 + 1 + 3, "a note, a film, and three connections");
    let is_asked = |message: &String| message.starts_with("EXTEND_TIMEOUT_USEC=");
    assert!(manager.messages().iter().any(is_asked), "a stop has the time that it may need");
    drop(left);
    reset.reset();
    let mut after = next(&manager, &daemon);
    let (connections, lost) = resumed(&after);
    assert_eq!(connections + lost, 3);
    stays.expect(Pattern::of(FILM), 0, FILM_BYTES);
    drop(stays);
    after.expect_holdings(&before);
    eventually("their stream ends with them", PATIENCE, || {
        let answer = after.fetch("GET", "/api/streams", &[]).json();
        answer["items"].as_array().unwrap().iter().all(|stream| stream["connections"] == 0).then_some(())
    });
    after.stop();
}

/// Goal: a film goes on although its folder is gone by the time the next daemon starts.
#[test]
fn a_film_goes_on_without_its_folder() {
    let films = folder();
    let manager = manager(films.path());
    let mut daemon = manager.start();
    let mut client = viewer(&daemon, FILM);
    client.expect(Pattern::of(FILM), 0, MIB);
    daemon.stop();
    let elsewhere = films.path().with_extension("elsewhere");
    fs::rename(films.path(), &elsewhere).unwrap();
    let mut after = next(&manager, &daemon);
    assert_eq!(resumed(&after), (1, 0));
    client.expect(Pattern::of(FILM), MIB, FILM_BYTES - MIB);
    after.stop();
    fs::rename(elsewhere, films.path()).unwrap();
}

/// Goal: a film whose disk does not answer is handed over like any other, without waiting for it, and goes on once it does; its
/// file is not kept by the service manager, which would wait where it closes it.
#[test]
fn a_film_that_waits_for_its_disk_is_handed_over_at_once() {
    let place = tempfile::tempdir().unwrap();
    let Some(distant) = Distant::if_possible(place.path()) else { return };
    let machine = WithoutRing::new();
    for wrapper in [Vec::new(), machine.wrapper()] {
        let manager = manager_of(Home::new(&distant.folder).wrapped_by(wrapper));
        let mut daemon = manager.start();
        distant.delay("READ", 3600);
        let mut client = Client::connect(daemon.address);
        let head = daemon.ask_film(&mut client, "film.mp4", Some("bytes=0-2097151"));
        assert_eq!(head.length(), 2 * MIB);
        let begun = Instant::now();
        daemon.signal(Signal::TERM);
        let event = daemon.log.wait_for("handing over");
        assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
        assert_eq!(event["metadata"]["films"], 1, "{event}");
        daemon.log.wait_for("stopped");
        // A process that waits for such a disk can be ended by nobody.
        distant.delay("NOTHING", 0);
        assert_eq!(daemon.wait(PATIENCE), Some(0));
        assert!(manager.stored().len() >= 2, "a note and a connection");
        assert_eq!(manager.stored_files(), 1, "the note alone");
        let mut after = next(&manager, &daemon);
        assert_eq!(resumed(&after).1, 0);
        assert!(client.body(2 * MIB).iter().all(|byte| *byte == 0xab));
        assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
        after.stop();
    }
}

/// Goal: who asks for a film whose disk does not answer is not cut: its request is handed over as it came, and answered by the
/// next daemon, with the request behind it.
#[test]
fn a_request_whose_disk_does_not_answer_is_answered_by_the_next_daemon() {
    let place = tempfile::tempdir().unwrap();
    let Some(distant) = Distant::if_possible(place.path()) else { return };
    let manager = manager_of(Home::new(&distant.folder));
    let mut daemon = manager.start();
    distant.delay("OPEN", 3600);
    let mut client = Client::connect(daemon.address);
    // In one piece: what comes later is read after the answer.
    let film = request("GET", &url_path("film.mp4"), &[("Authorization", &daemon.bearer())]);
    client.send(film + &request("GET", "/health/live", &[]));
    client.wait_until_read();
    daemon.signal(Signal::TERM);
    let event = daemon.log.wait_for("handing over");
    assert_eq!((&event["metadata"]["connections"], &event["metadata"]["films"]), (&1.into(), &0.into()), "{event}");
    assert_eq!(daemon.log.wait_for("stopped")["metadata"]["drained"], true);
    distant.delay("NOTHING", 0);
    assert_eq!(daemon.wait(PATIENCE), Some(0));
    let mut after = next(&manager, &daemon);
    assert_eq!(resumed(&after), (1, 0));
    let film = client.answer("GET");
    assert_eq!(film.head.status, 200, "{}", String::from_utf8_lossy(&film.body));
    assert!(film.body.len() as u64 == 4 * MIB && film.body.iter().all(|byte| *byte == 0xab));
    assert_eq!(client.answer("GET").head.status, 200);
    after.stop();
}

/// Goal: a request that may have changed something and has no answer in time is cut, and not asked a second time; the log counts
/// it and does not say that all was drained, and whoever else is connected goes on.
#[test]
fn a_change_that_is_not_answered_in_time_is_cut_and_said_so() {
    let films = folder();
    let manager = manager(films.path());
    let mut daemon = manager.start();
    let mut viewer = viewer(&daemon, FILM);
    let stopped = Stopped::thread(daemon.process(), "store-writer");
    let mut client = Client::connect(daemon.address);
    let body = format!("{{\"username\": \"{USER}\", \"password\": \"{PASSWORD}\"}}");
    let length = body.len().to_string();
    let fields = [("Content-Type", "application/json"), ("Content-Length", length.as_str())];
    client.send(request("POST", "/api/auth/login", &fields) + &body);
    client.wait_until_read();
    daemon.signal(Signal::TERM);
    let event = daemon.log.wait_for("connections that were not finished in time end");
    assert_eq!(event["metadata"]["connections"], 1, "{event}");
    client.expect_closed();
    drop(stopped);
    assert_eq!(daemon.log.wait_for("stopped")["metadata"]["drained"], false);
    assert_eq!(daemon.wait(PATIENCE), Some(0));
    let mut after = next(&manager, &daemon);
    assert_eq!(resumed(&after), (1, 0));
    viewer.expect(Pattern::of(FILM), 0, FILM_BYTES);
    after.stop();
}

/// Goal: a thousand connections between two requests, more than fit into one message, go on as well.
#[test]
fn a_thousand_idle_connections_go_on() {
    const IDLE: u64 = 1000;
    raise_descriptor_limit();
    let films = folder();
    let manager = manager_of(Home::new(films.path()).set("REELWAY_NET__CONNECTIONS_PER_ADDRESS", "5000"));
    let mut daemon = manager.start();
    let mut clients: Vec<Client> = (0..IDLE).map(|_| Client::connect(daemon.address)).collect();
    for client in &mut clients {
        assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
    }
    daemon = restart(&manager, daemon);
    expect_resumed(&daemon, IDLE);
    for client in &mut clients {
        assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
    }
    assert!(daemon.ledger().sum("reelway_connections_resumed_total") >= IDLE);
    daemon.stop();
}

/// Goal: where the service manager keeps fewer descriptors than there are, films go on, and idle connections end as they do in a
/// drain.
#[test]
fn films_come_first_where_there_is_no_room_for_all() {
    let films = folder();
    let mut manager = manager(films.path());
    manager.set("FDSTORE", "3");
    let mut daemon = manager.start();
    let mut idle: Vec<Client> = (0..3).map(|_| Client::connect(daemon.address)).collect();
    for client in &mut idle {
        assert_eq!(client.fetch("GET", "/health/live", &[]).head.status, 200);
    }
    let mut film = viewer(&daemon, FILM);
    daemon.stop();
    assert_eq!(manager.stored().len(), 3, "a note, a film, and its connection");
    idle.iter_mut().for_each(Client::expect_closed);
    let mut after = next(&manager, &daemon);
    film.expect(Pattern::of(FILM), 0, FILM_BYTES);
    after.stop();
}

/// Goal: an answer that closes its connection does so in the next daemon as well, and one whose end is unread is waited for.
#[test]
fn a_connection_that_is_to_be_closed_is_closed_after_the_last_byte() {
    let films = folder();
    let manager = manager(films.path());
    let daemon = manager.start();
    let bearer = daemon.bearer();
    let closing = [("Authorization", bearer.as_str()), ("Connection", "close"), ("Range", "bytes=0-20000000")];
    let mut film = Client::connect_narrow(daemon.address);
    film.ask("GET", &url_path(FILM), &closing);
    assert_eq!(film.head().status, 206);
    // All of it lies in the socket, and nobody reads.
    let mut unread = Client::connect_narrow(daemon.address);
    let short = [("Authorization", bearer.as_str()), ("Connection", "close"), ("Range", "bytes=0-499999")];
    unread.ask("GET", &url_path(FILM), &short);
    eventually("it was all sent", PATIENCE, || (daemon.ledger().sum("reelway_transfers") == 1).then_some(()));
    let mut daemon = restart(&manager, daemon);
    expect_resumed(&daemon, 2);
    assert_eq!(film.expect_until_end(Pattern::of(FILM), 0), (20_000_001, Ending::Closed));
    let head = unread.head();
    assert_eq!((head.status, head.length()), (206, 500_000));
    assert_eq!(unread.expect_until_end(Pattern::of(FILM), 0), (500_000, Ending::Closed));
    daemon.stop();
}

/// Goal: a request whose body is still coming is waited for, answered by the daemon that began it, and its connection goes on;
/// a second SIGTERM does not wait for it.
#[test]
fn a_body_that_is_coming_is_waited_for_and_a_second_sigterm_waits_for_nothing() {
    let films = folder();
    let manager = manager(films.path());
    let daemon = manager.start();
    let body = format!("{{\"username\": \"{USER}\", \"password\": \"{PASSWORD}\"}}");
    let half = |client: &mut Client| {
        let length = body.len().to_string();
        let fields = [("Content-Type", "application/json"), ("Content-Length", length.as_str())];
        client.send(request("POST", "/api/auth/login", &fields));
        client.send(&body[..10]);
        client.wait_until_read();
    };
    let mut client = Client::connect(daemon.address);
    half(&mut client);
    daemon.signal(Signal::TERM);
    daemon.log.wait_for("draining");
    client.send(&body[10..]);
    let answer = client.answer("POST");
    assert_eq!(answer.head.status, 200);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let mut before = daemon;
    before.keep_secret(&token);
    assert_eq!(before.wait(PATIENCE), Some(0));
    let mut daemon = next(&manager, &before);
    daemon.keep_secret(&token);
    let whoami = client.fetch("GET", "/api/streams", &[("Authorization", &format!("Bearer {token}"))]);
    assert_eq!(whoami.head.status, 200, "the same connection, and the session that was made on it");

    let mut late = Client::connect(daemon.address);
    half(&mut late);
    let begun = Instant::now();
    daemon.signal(Signal::TERM);
    daemon.log.wait_for("draining");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(PATIENCE), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
}

/// Goal: where the service manager does not answer, films are finished by the daemon that began them, as without it, and no
/// other daemon goes on with them a second time.
#[test]
fn a_service_manager_that_does_not_answer_leaves_the_drain() {
    let films = folder();
    let manager = manager(films.path());
    let mut daemon = manager.start();
    let mut client = viewer(&daemon, FILM);
    client.expect(Pattern::of(FILM), 0, MIB);
    manager.answer_barriers(false);
    daemon.signal(Signal::TERM);
    daemon.log.wait_for("connections could not be handed over; they are drained");
    client.expect(Pattern::of(FILM), MIB, FILM_BYTES - MIB);
    // As after any answer of a daemon that drains.
    client.expect_closed();
    assert_eq!(daemon.wait(PATIENCE), Some(0));
    eventually("the manager was told to forget", PATIENCE, || manager.stored().is_empty().then_some(()));
}

/// Goal: what cannot be understood keeps no daemon from starting: it says so once, and closes what nobody knows.
#[test]
fn what_cannot_be_understood_is_closed_and_told_once() {
    let films = folder();
    let mut manager = manager(films.path());
    let (stranger, mut other_end) = UnixStream::pair().unwrap();
    manager.pass("handover", stranger);
    manager.pass("handover", fs::File::open(films.path().join(FILM)).unwrap());
    let mut daemon = manager.start();
    daemon.log.wait_for("connections of the process before could not be resumed");
    assert_eq!(daemon.log.lines_with("could not be resumed").len(), 1);
    let mut all = viewer(&daemon, FILM);
    all.expect(Pattern::of(FILM), 0, FILM_BYTES);
    drop(all);
    daemon.stop();
    // The manager of this test has a copy of its own, which ends with it.
    drop(manager);
    assert_eq!(std::io::Read::read(&mut other_end, &mut [0]).unwrap(), 0);
}
