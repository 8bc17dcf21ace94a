//! Under a service manager: its sockets, what it is told, what it asks for (support/manager.rs pretends to be one).

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::{self, Client, request};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, MIB, Pattern};
use crate::support::manager::Manager;
use crate::support::stopped::Stopped;
use crate::support::{PATIENCE, eventually, exit_code};

/// A manager of a home with films and an account.
fn manager() -> Manager {
    Manager::new(Home::new(&films::folder()))
}

/// The same port on IPv4.
fn over_ipv4(address: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

/// Goal: whoever comes while no daemon runs waits in the manager's socket, and is answered by the one that is started for it;
/// it says that it is ready only when it answers, and takes the passed socket instead of the configured address.
#[test]
fn who_came_before_the_daemon_is_answered_by_it() {
    let mut manager = manager();
    let address = manager.listen("127.0.0.1:0");
    let mut early: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    for client in &mut early {
        client.send(request("GET", "/health/live", &[]));
    }
    assert!(manager.messages().is_empty(), "nobody runs yet");
    let mut daemon = manager.start();
    assert_eq!(daemon.address, address);
    for client in &mut early {
        assert_eq!(client.answer("GET").head.status, 200);
    }
    let ready = manager.wait_for("READY=1");
    assert!(ready.lines().any(|line| line.starts_with("STATUS=")), "{ready}");
    // The environment of the home sets host and port, which have no effect then.
    let replaced = daemon.log.wait_for("systemd passes the sockets to listen on, so these settings have no effect");
    assert_eq!(replaced["metadata"]["options"], "server.host, server.port");
    daemon.stop();
    // The socket is the manager's and outlives the daemon: who comes now waits, and is not refused.
    let mut later = Client::connect(address);
    later.send(request("GET", "/health/live", &[]));
    let mut next = manager.start_signed_out();
    assert_eq!(later.answer("GET").head.status, 200);
    next.stop();
}

/// Goal: at the moment of READY=1 the daemon answers: a request that is sent then never meets a closed door.
#[test]
fn ready_means_that_it_answers() {
    let mut manager = manager();
    let address = manager.listen("127.0.0.1:0");
    let child = manager.spawn();
    manager.wait_for("READY=1");
    assert_eq!(client::fetch(address, "GET", "/health/ready", &[]).head.status, 200);
    drop(manager.home().followed(child));
}

/// Goal: an IPv4 client of a socket for both families is the same client as at a socket for its own: on this machine, in the
/// log, and in the list of streams.
#[test]
fn an_ipv4_client_of_a_dual_stack_socket_keeps_its_address() {
    let mut manager = manager();
    let address = manager.listen("[::]:0");
    let mut daemon = manager.start();
    daemon.address = over_ipv4(address);
    // Only this machine may read the counters without a token.
    assert_eq!(client::fetch(daemon.address, "GET", "/metrics", &[]).head.status, 200);
    let mut viewer = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut viewer, BIG_FILM, None);
    viewer.expect(Pattern::of(BIG_FILM), 0, MIB);
    let streams = daemon.fetch("GET", "/api/streams", &[]).json();
    assert_eq!(streams["items"][0]["client"], "127.0.0.1", "{streams}");
    // And from IPv6 it is another.
    let other = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()));
    assert_eq!(client::fetch(other, "GET", "/health/live", &[]).head.status, 200);
    drop(viewer);
    daemon.stop();
}

/// Goal: connections have what ours have, also those that waited in a passed socket before the daemon could say so: an answer's
/// last piece is not held back (TCP_NODELAY).
#[test]
fn connections_of_a_passed_socket_are_like_our_own() {
    let mut manager = manager();
    let address = manager.listen("127.0.0.1:0");
    let mut early = Client::connect(address);
    let mut daemon = manager.start();
    assert_eq!(early.fetch("GET", "/health/live", &[]).head.status, 200);
    let listening = daemon.log.wait_for("listening");
    assert_eq!(listening["metadata"]["notsent_lowat"], 1_048_576);
    assert_eq!(listening["metadata"]["congestion_control"], "cubic");
    let port = address.port();
    let sockets = crate::support::run(
        crate::support::program("ss").args(["-tinoO", "state", "established", &format!("sport = :{port}")]),
        PATIENCE,
    );
    let text = sockets.succeeded().text();
    assert!(text.contains("timer:(keepalive"), "no keep-alive on the early connection: {text}");
    drop(early);
    daemon.stop();
}

/// Goal: a proxy of this machine may come by a path: a passed Unix socket is served as the network is.
#[test]
fn a_passed_unix_socket_is_served() {
    let mut manager = manager();
    manager.listen("127.0.0.1:0");
    let path = manager.home().path("http.sock");
    manager.listen_at(&path);
    let mut daemon = manager.start();
    let mut proxy = UnixStream::connect(&path).unwrap();
    proxy.set_read_timeout(Some(PATIENCE)).unwrap();
    let film = format!("{}?token={}", films::url_path(BIG_FILM), daemon.token);
    let fields = [("Range", "bytes=1000-66535"), ("Connection", "close")];
    proxy.write_all(request("GET", &film, &fields).as_bytes()).unwrap();
    let mut answer = Vec::new();
    proxy.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 206 "), "{}", String::from_utf8_lossy(&answer[..200.min(answer.len())]));
    let mut expected = vec![0; 65536];
    Pattern::of(BIG_FILM).fill(1000, &mut expected);
    assert!(answer.ends_with(&expected), "the bytes of the film");
    daemon.stop();
}

/// Goal: what is passed as `reelway` and is no listener is refused with a sentence that the manager shows; what is passed
/// under another name is let go, and the daemon serves.
#[test]
fn what_is_no_listener_is_refused_or_let_go() {
    let mut manager = manager();
    manager.listen("127.0.0.1:0");
    manager.pass("something", std::fs::File::open("/dev/null").unwrap());
    let mut daemon = manager.start_signed_out();
    daemon.log.wait_for("something passed by systemd is not for us; it is closed");
    daemon.stop();
    manager.pass("reelway", std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut child = manager.spawn();
    assert_eq!(exit_code(&mut child, PATIENCE), Some(Some(1)));
    manager.wait_for_status("no socket to listen on");
}

/// Goal: a start that fails tells the manager why, in one line: whether it is the configuration, or the state.
#[test]
fn a_failed_start_says_why() {
    let mut manager = manager();
    manager.listen("127.0.0.1:0");
    manager.set("REELWAY_SERVER__PORT", "300000");
    let mut child = manager.spawn();
    assert_eq!(exit_code(&mut child, PATIENCE), Some(Some(1)));
    let status = manager.wait_for_status("REELWAY_SERVER__PORT");
    assert!(!status.contains('\n'), "{status}");
    manager.set("REELWAY_SERVER__PORT", "0");
    std::fs::write(manager.home().state().join("reelway.db"), "no database, but long enough to be taken for one")
        .unwrap();
    let mut child = manager.spawn();
    assert_eq!(exit_code(&mut child, PATIENCE), Some(Some(1)));
    manager.wait_for_status("reelway.db");
    assert!(!manager.messages().iter().any(|message| message.contains("READY=1")), "it was never ready");
}

/// Goal: the status is a sentence about now: what to do first, films, streams and people, what is wrong, what a stop waits for.
#[test]
fn the_status_says_how_it_goes() {
    let mut manager = Manager::new(Home::without_account(&films::folder()));
    manager.listen("127.0.0.1:0");
    let mut daemon = manager.start_signed_out();
    assert_eq!(manager.status().as_deref(), Some("Nobody has an account yet: sudo reelway user add NAME"));
    manager.home().add_user(USER, PASSWORD);
    let status = manager.wait_for_status("Serving ");
    assert!(status.ends_with(" films"), "{status}");
    daemon.token = daemon.sign_in(USER, PASSWORD);
    assert_eq!(daemon.fetch("GET", "/api/streams", &[]).head.status, 200);
    manager.wait_for_status("nobody is watching, 1 signed in");
    let mut viewer = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut viewer, BIG_FILM, None);
    viewer.expect(Pattern::of(BIG_FILM), 0, MIB);
    manager.wait_for_status("; 1 stream to 1 person, 1 signed in");
    daemon.signal(Signal::TERM);
    let stopping = manager.wait_for("STOPPING=1");
    assert!(stopping.contains("STATUS=Draining: 1 answer left"), "{stopping}");
    viewer.expect(Pattern::of(BIG_FILM), MIB, BIG_FILM_BYTES - MIB);
    viewer.expect_closed();
    drop(viewer);
    assert_eq!(daemon.wait(PATIENCE), Some(0));
}

/// Goal: it is not told again and again what it knows: a daemon at rest is silent.
#[test]
fn a_status_that_stays_is_told_once() {
    let mut manager = manager();
    manager.listen("127.0.0.1:0");
    let mut daemon = manager.start_signed_out();
    manager.wait_for_status("Serving ");
    daemon.stop();
    let messages = manager.messages();
    let lines = messages.iter().flat_map(|message| message.lines()).filter(|line| line.starts_with("STATUS="));
    let lines: Vec<&str> = lines.collect();
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{lines:#?}");
}

/// Goal: a root that is not there is named with its place.
#[test]
fn a_missing_root_is_named() {
    let mut manager = Manager::new(Home::new(&films::folder()));
    manager.listen("127.0.0.1:0");
    let gone = manager.home().path("gone");
    manager.set("VIDEOS_PATH", gone.to_str().unwrap());
    let mut daemon = manager.start_signed_out();
    let expected = format!("Degraded: the root gone ({}) is not available", gone.display());
    assert_eq!(manager.wait_for_status("Degraded"), expected);
    daemon.stop();
}

/// A watchdog for tests: a stopped thread is found within this, and a busy machine is not taken for one.
const WATCHDOG: Duration = Duration::from_secs(6);

fn watched_manager() -> Manager {
    let mut manager = manager();
    manager.listen("127.0.0.1:0");
    manager.set("REELWAY_SERVER__SHARDS", "2");
    manager.set("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string());
    manager
}

fn fed(manager: &Manager) -> usize {
    manager.messages().iter().filter(|message| message.as_str() == "WATCHDOG=1").count()
}

/// Goal: a shard that is stopped, while all else runs, has the restart asked for within the time of the watchdog; the journal
/// says which thread it was, the status too, and the watchdog is fed no more.
#[test]
fn a_stopped_shard_is_found_and_named() {
    let manager = watched_manager();
    let daemon = manager.start_signed_out();
    manager.wait_for("WATCHDOG=1");
    let begun = Instant::now();
    let stopped = Stopped::thread(daemon.process(), "shard 1");
    let trigger = manager.wait_for("WATCHDOG=trigger");
    assert!(begun.elapsed() < WATCHDOG + Duration::from_secs(1), "found after {:?}", begun.elapsed());
    assert!(trigger.contains("STATUS=Stuck: nothing was heard of shard 1 for "), "{trigger}");
    let event = daemon.log.wait_for("a thread is stuck");
    assert_eq!((event["level"].as_str(), event["metadata"]["thread"].as_str()), (Some("error"), Some("shard 1")));
    let before = fed(&manager);
    let messages = manager.messages().len();
    manager.wait_for_after(messages, "WATCHDOG=trigger");
    assert_eq!(fed(&manager), before, "nobody feeds it while a thread is stuck");
    // One that goes on after all is no more stuck, and is not complained of twice.
    drop(stopped);
    manager.wait_for_after(messages, "WATCHDOG=1");
    assert_eq!(daemon.log.lines_with("a thread is stuck").len(), 1);
}

/// Goal: the main thread and the keeper are watched as well, but may wait for a disk as the store may: for longer than the
/// watchdog waits for a shard nobody is restarted because of them.
#[test]
fn a_store_that_waits_for_a_disk_is_not_taken_for_stuck() {
    let manager = watched_manager();
    let mut daemon = manager.start_signed_out();
    let stopped = ["store-writer", "keeper"].map(|name| Stopped::thread(daemon.process(), name));
    let before = fed(&manager);
    eventually("the watchdog is fed all the same", PATIENCE, || (fed(&manager) >= before + 6).then_some(()));
    assert!(!manager.messages().iter().any(|message| message.contains("WATCHDOG=trigger")));
    drop(stopped);
    daemon.stop();
}

/// Goal: a store that stays silent for longer than the slowest disk is found and named.
#[test]
#[ignore = "takes more than two minutes, because a disk may take two: cargo nextest run --run-ignored all"]
fn a_stopped_store_is_found_and_named() {
    let manager = watched_manager();
    let daemon = manager.start_signed_out();
    let _stopped = Stopped::thread(daemon.process(), "store-writer");
    let patience = Duration::from_secs(120) + WATCHDOG + PATIENCE;
    let trigger = eventually("the restart is asked for", patience, || {
        manager.messages().into_iter().find(|message| message.contains("WATCHDOG=trigger"))
    });
    assert!(trigger.contains("store-writer"), "{trigger}");
    assert_eq!(daemon.log.wait_for("a thread is stuck")["metadata"]["thread"], "store-writer");
}

/// Goal: where nobody listens nobody is fed.
#[test]
fn without_a_watchdog_nobody_is_fed() {
    let mut manager = manager();
    manager.listen("127.0.0.1:0");
    let mut daemon = manager.start_signed_out();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process())).unwrap();
    let names: Vec<String> =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap()).collect();
    assert!(!names.iter().any(|name| name.trim() == "watchdog"), "{names:?}");
    daemon.stop();
    assert_eq!(fed(&manager), 0);
}

/// A manager whose home is configured by its file, which begins with the films and nothing else.
fn configured_manager() -> Manager {
    let home = Home::new(&films::folder()).unset("VIDEOS_PATH").unset("REELWAY_VIDEO__MAX_STREAMS_PER_USER");
    let mut manager = Manager::new(home);
    manager.listen("127.0.0.1:0");
    configure(&manager, &roots(&[&films::folder()]));
    manager
}

fn configure(manager: &Manager, text: &str) {
    std::fs::write(manager.home().configuration(), text).unwrap();
}

fn roots(folders: &[&Path]) -> String {
    let rows = folders.iter().map(|folder| {
        let name = folder.file_name().unwrap().to_str().unwrap();
        format!("[[library.roots]]\nname = {name:?}\npath = {folder:?}\n")
    });
    rows.collect()
}

/// Asks for a reload and waits until it is over: what was told then.
fn reload(manager: &Manager, daemon: &Daemon) -> String {
    let before = manager.messages().len();
    daemon.signal(Signal::HUP);
    let reloading = manager.wait_for_after(before, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let over = manager.messages().iter().position(|message| *message == reloading).unwrap() + 1;
    manager.wait_for_after(over, "READY=1")
}

/// Goal: a configuration that is wrong is refused with its file and line, the one before stays, the status says so; a film that
/// plays meanwhile has all its bytes. The next good one clears that.
#[test]
fn a_broken_configuration_is_refused_and_cuts_nothing() {
    let manager = configured_manager();
    let mut daemon = manager.start();
    let mut viewer = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut viewer, BIG_FILM, None);
    viewer.expect(Pattern::of(BIG_FILM), 0, MIB);
    configure(&manager, &format!("[video]\nmax_streams_per_user = \"many\"\n{}", roots(&[&films::folder()])));
    let ready = reload(&manager, &daemon);
    let place = format!(
        "STATUS=Degraded: the changed configuration is refused: {}:2:",
        manager.home().configuration().display()
    );
    assert!(ready.contains(&place), "{ready}");
    let refused = daemon.log.wait_for("the configuration is refused; the one before stays in force");
    assert_eq!(refused["level"], "error");
    assert_eq!(daemon.fetch("GET", "/api/streams", &[]).head.status, 200);
    configure(&manager, &roots(&[&films::folder()]));
    let ready = reload(&manager, &daemon);
    assert!(ready.contains("STATUS=Serving "), "{ready}");
    viewer.expect(Pattern::of(BIG_FILM), MIB, BIG_FILM_BYTES - MIB);
    drop(viewer);
    daemon.stop();
}

/// Goal: what can change does so at once: how many films one user may play, what the log says, which pages may read, how long a
/// connection may be idle; what needs a restart is named and stays; the audit trail has a row.
#[test]
fn what_can_change_changes_at_once_and_the_rest_is_named() {
    let manager = configured_manager();
    let mut daemon = manager.start();
    let mut old = Client::connect(daemon.address);
    assert_eq!(old.fetch("GET", "/health/live", &[]).head.status, 200);
    let sections = "[server]\nport = 4444\n[sessions]\ncapacity = 8\n[video]\nmax_streams_per_user = 1\n\
                    [net]\nkeep_alive_timeout = \"1s\"\ncors_origins = [\"*\"]\n[log]\nlevel = \"debug\"\n";
    configure(&manager, &format!("{sections}{}", roots(&[&films::folder()])));
    reload(&manager, &daemon);
    let later = daemon.log.wait_for("takes effect after a restart");
    assert_eq!(later["metadata"]["options"], "sessions.capacity", "the port is the environment's, as it was");
    let changed = daemon.log.wait_for("the configuration is in force");
    let changed = changed["metadata"]["changed"].as_str().unwrap();
    assert!(changed.contains("video.max_streams_per_user") && !changed.contains("sessions.capacity"), "{changed}");
    // One film for one user.
    let mut viewer = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut viewer, BIG_FILM, None);
    viewer.expect(Pattern::of(BIG_FILM), 0, MIB);
    let other = films::url_path(films::LONG_FILM);
    assert_eq!(daemon.fetch("GET", &other, &[("User-Agent", "another")]).head.status, 429);
    // Any page.
    let answer =
        daemon.fetch("GET", &films::url_path(BIG_FILM), &[("Range", "bytes=0-9"), ("Origin", "http://a.example")]);
    assert_eq!(answer.head.field("access-control-allow-origin"), Some("*"));
    // A new connection is closed after a second; one of before keeps what it began with.
    let mut new = Client::connect(daemon.address);
    assert_eq!(new.fetch("GET", "/health/live", &[]).head.status, 200);
    new.expect_closed();
    assert_eq!(old.fetch("GET", "/health/live", &[]).head.status, 200);
    assert!(!daemon.log.lines_with("\"level\":\"debug\"").is_empty(), "the log has another level");
    let shown = daemon.fetch("GET", "/api/admin/config", &[]).json();
    assert_eq!(shown["video.max_streams_per_user"]["value"], 1, "{shown}");
    assert_eq!(shown["sessions.capacity"]["value"], 64, "what is not in force is not shown as if it were");
    eventually("the audit trail has a row", PATIENCE, || {
        let audit = daemon.fetch("GET", "/api/admin/audit", &[]).json();
        (audit["items"][0]["action"] == "config_reloaded").then_some(())
    });
    drop(viewer);
    daemon.stop();
}

/// Goal: a root that is added can be watched, one that is removed cannot any more, and a film that plays from it plays on.
#[test]
fn roots_come_and_go_without_cutting_a_film() {
    let manager = configured_manager();
    let more = manager.home().path("more");
    std::fs::create_dir(&more).unwrap();
    std::fs::write(more.join("new.mp4"), vec![7; 1000]).unwrap();
    let mut daemon = manager.start();
    let mut viewer = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut viewer, BIG_FILM, None);
    viewer.expect(Pattern::of(BIG_FILM), 0, MIB);
    assert_eq!(daemon.fetch("GET", &films::url_path("new.mp4"), &[]).head.status, 404);
    configure(&manager, &roots(&[&more]));
    reload(&manager, &daemon);
    assert_eq!(daemon.fetch("GET", &films::url_path("new.mp4"), &[]).body, vec![7; 1000]);
    assert_eq!(daemon.fetch("GET", &films::url_path(BIG_FILM), &[]).head.status, 404);
    eventually("the list has the new film only", PATIENCE, || {
        let listed = daemon.fetch("GET", "/api/videos", &[]).json();
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        (items.len() == 1 && items[0]["filename"] == "new.mp4").then_some(())
    });
    viewer.expect(Pattern::of(BIG_FILM), MIB, BIG_FILM_BYTES - MIB);
    drop(viewer);
    daemon.stop();
}

/// Goal: the signing key is replaced without a restart: what the one before has signed is good for another day, and new tokens
/// are signed by the new one.
#[test]
fn the_signing_key_is_replaced_by_a_reload() {
    let manager = configured_manager();
    let mut daemon = manager.start();
    let name = |token: &str| token.split('.').next().unwrap().to_owned();
    let before = daemon.token.clone();
    std::fs::write(manager.home().state().join("jwt.key"), "another key, of more than thirty-two bytes").unwrap();
    reload(&manager, &daemon);
    assert_eq!(daemon.fetch("GET", "/api/streams", &[]).head.status, 200, "nobody is signed out");
    let after = daemon.sign_in(USER, PASSWORD);
    assert_ne!(name(&before), name(&after), "the header names the key");
    daemon.token = after;
    assert_eq!(daemon.fetch("GET", "/api/streams", &[]).head.status, 200);
    // A key that cannot be one is refused, and the one before signs on.
    std::fs::write(manager.home().state().join("jwt.key"), "short").unwrap();
    let ready = reload(&manager, &daemon);
    assert!(ready.contains("is refused: the signing key"), "{ready}");
    assert_eq!(daemon.fetch("GET", "/api/streams", &[]).head.status, 200);
    daemon.stop();
}
