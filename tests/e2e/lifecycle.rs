//! Starting and ending: drain on SIGTERM, its limits, one daemon a state, durable accounts, honest refusals to start.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::process::{Signal, geteuid};

use crate::support::client::{Client, request};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, MIB, Pattern};
use crate::support::{PATIENCE, eventually, program, run, scratch};

/// A viewer in the middle of the film: the kernel cannot have queued what is left of it.
fn viewer_of(daemon: &Daemon) -> Client {
    let mut viewer = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut viewer, BIG_FILM, None);
    viewer.expect(Pattern::of(BIG_FILM), 0, MIB);
    viewer
}

fn wait_until_refused(daemon: &Daemon) {
    eventually("new connections are refused", PATIENCE, || TcpStream::connect(daemon.address).err());
}

/// Goal: SIGTERM lets the film in flight finish, takes nobody new, closes who is idle at once, and ends with 0.
#[test]
fn sigterm_drains_and_ends_with_zero() {
    let mut daemon = Home::new(&films::folder()).start();
    let mut idle = Client::connect(daemon.address);
    assert_eq!(idle.fetch("GET", "/health", &[]).head.status, 200);
    let mut viewer = viewer_of(&daemon);
    daemon.signal(Signal::TERM);
    wait_until_refused(&daemon);
    idle.expect_closed();
    viewer.expect(Pattern::of(BIG_FILM), MIB, BIG_FILM_BYTES - MIB);
    viewer.expect_closed();
    drop(viewer);
    assert_eq!(daemon.wait(PATIENCE), Some(0));
}

/// Goal: a client that had begun to ask when the drain began is answered: not ready, draining, and come back later; then
/// its connection ends. Who only held a connection open is sent away at once, though a film still runs.
#[test]
fn a_draining_daemon_says_so_and_keeps_nobody() {
    let mut daemon = Home::new(&films::folder()).start();
    let mut idle = Client::connect(daemon.address);
    assert_eq!(idle.fetch("GET", "/health/ready", &[]).head.status, 200);
    let mut asking = Client::connect(daemon.address);
    let (begun, rest) = ("GET /health/ready HTTP/1.1\r\nHost: a\r\nX-Unfi", "nished: no\r\n\r\n");
    // Behind a whole request, so that its answer proves that the half one has been read too.
    asking.send(request("GET", "/health/ready", &[]) + begun);
    assert_eq!(asking.answer("GET").head.status, 200);
    let mut viewer = viewer_of(&daemon);
    daemon.signal(Signal::TERM);
    wait_until_refused(&daemon);
    let start = Instant::now();
    idle.expect_closed();
    assert!(start.elapsed() < Duration::from_secs(5), "an idle connection was kept for {:?}", start.elapsed());
    asking.send(rest);
    let answer = asking.answer("GET");
    assert_eq!((answer.head.status, answer.json()["status"].as_str()), (503, Some("draining")));
    assert_eq!(answer.head.field("connection"), Some("close"));
    assert!(answer.head.field("retry-after").is_some(), "no Retry-After in {:?}", answer.head);
    asking.expect_closed();
    viewer.expect(Pattern::of(BIG_FILM), MIB, BIG_FILM_BYTES - MIB);
    viewer.expect_closed();
    drop((asking, viewer));
    assert_eq!(daemon.wait(PATIENCE), Some(0));
}

/// Goal: a head that has begun and never ends is told that the daemon drains, and keeps it from ending for a few
/// seconds, not for as long as films may go on.
#[test]
fn a_head_that_never_ends_does_not_keep_the_daemon() {
    let home = Home::new(&films::folder()).set("REELWAY_SERVER__DRAIN_TIMEOUT", "10m");
    let mut daemon = home.set("REELWAY_NET__HEAD_TIMEOUT", "5m").start();
    let mut asking = Client::connect(daemon.address);
    // Behind a whole request, so that its answer proves that the half one has been read too.
    asking.send(request("GET", "/health/ready", &[]) + "GET /health HT");
    assert_eq!(asking.answer("GET").head.status, 200);
    daemon.signal(Signal::TERM);
    let start = Instant::now();
    let answer = asking.answer("GET");
    answer.is_problem(503);
    assert!(answer.json()["type"].as_str().unwrap().ends_with("draining"), "{}", answer.json());
    assert_eq!(answer.head.field("connection"), Some("close"));
    assert_eq!(daemon.wait(Duration::from_secs(15)), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
}

/// Goal: a body that never comes does not keep a draining daemon, whether somebody wants it or not.
#[test]
fn a_body_that_never_comes_does_not_keep_the_daemon() {
    for (line, status) in [("PUT /nothing", 404), ("POST /api/auth/login", 503)] {
        let mut daemon = Home::new(&films::folder()).start();
        let mut client = Client::connect(daemon.address);
        client
            .send(format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n"));
        client.wait_until_read();
        daemon.signal(Signal::TERM);
        let start = Instant::now();
        client.answer("PUT").is_problem(status);
        assert_eq!(daemon.wait(PATIENCE), Some(0));
        assert!(start.elapsed() < Duration::from_secs(15), "{line}: it took {:?}", start.elapsed());
    }
}

/// Goal: a player that has paused does not keep the daemon from ending longer than the limit.
#[test]
fn the_drain_ends_at_its_limit() {
    let home = Home::new(&films::folder()).set("REELWAY_SERVER__DRAIN_TIMEOUT", "1s");
    let mut daemon = home.start();
    let mut viewer = viewer_of(&daemon);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(Duration::from_secs(15)), Some(0), "{}", daemon.log.text());
    let (received, _) = viewer.expect_until_end(Pattern::of(BIG_FILM), MIB);
    assert!(received < BIG_FILM_BYTES - MIB, "the film had been sent whole: nothing was cut");
}

/// Goal: somebody in a hurry sends SIGTERM twice, and is not kept waiting for a paused player.
#[test]
fn a_second_sigterm_ends_at_once() {
    let mut daemon = Home::new(&films::folder()).set("REELWAY_SERVER__DRAIN_TIMEOUT", "10m").start();
    let _viewer = viewer_of(&daemon);
    daemon.signal(Signal::TERM);
    wait_until_refused(&daemon);
    daemon.signal(Signal::TERM);
    daemon.wait(Duration::from_secs(15));
}

/// Goal: Ctrl-C ends an idle daemon like SIGTERM does.
#[test]
fn sigint_ends_with_zero() {
    let mut daemon = Home::new(&films::folder()).start();
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait(PATIENCE), Some(0));
}

/// Goal: a second daemon on the same state refuses with a sentence that names it, and the first goes on.
#[test]
fn a_second_daemon_on_the_same_state_refuses() {
    let home = Home::new(&films::folder());
    let daemon = home.start();
    let second = run(&mut home.command(&["serve"]), PATIENCE);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains(home.state().to_str().unwrap()), "{}", second.stderr);
    assert_eq!(daemon.health()["status"], "ok");
}

/// Goal: a second daemon on the same port refuses, though its state is its own: the kernel would let it take half of
/// the first one's connections. The first goes on.
#[test]
fn a_second_daemon_on_the_same_port_refuses() {
    let daemon = Home::new(&films::folder()).start();
    let port = daemon.address.port().to_string();
    let another = Home::new(&films::folder()).set("PORT", &port);
    let second = run(&mut another.command(&["serve"]), PATIENCE);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("Address already in use") && second.stderr.contains(&port), "{}", second.stderr);
    for _ in 0..20 {
        assert_eq!(daemon.fetch("GET", "/api/auth/me", &[]).head.status, 200);
    }
}

/// Goal: a root that may not be read is no root without films: the log and /health name it, and the others serve.
#[test]
fn a_root_that_may_not_be_read_is_said() {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let locked = folder.path().join("locked-root");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let roots = format!("{}:{}", films::folder().display(), locked.display());
    let mut home = Home::new(Path::new(&roots));
    if geteuid().is_root() {
        // Root may read everything by two capabilities; without them it is like anybody else.
        home = home.wrapped_by(["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]);
    }
    let daemon = home.start();
    let health = daemon.health();
    let library = &health["components"]["library"];
    assert_eq!((&health["status"], &library["status"]), (&"degraded".into(), &"degraded".into()), "{health}");
    assert!(library["detail"].as_str().unwrap().contains("locked-root"), "{health}");
    let warnings = daemon.log.lines_with("locked-root");
    assert!(warnings.iter().any(|line| line.contains("cannot be read")), "{}", daemon.log.text());
    assert_eq!(daemon.fetch("HEAD", &films::url_path(BIG_FILM), &[]).head.length(), BIG_FILM_BYTES);
    // Whoever is not root could not remove it otherwise.
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
}

/// Goal: an account that `user add` acknowledged survives the daemon's sudden death.
#[test]
fn an_acknowledged_account_survives_kill_9() {
    let home = Home::new(&films::folder());
    let mut daemon = home.start();
    home.add_user("bob", "another-long-one-55");
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.wait(PATIENCE), None);
    drop(daemon);
    let daemon = home.start();
    daemon.sign_in("bob", "another-long-one-55");
}

/// Goal: a token from before a restart is still good after it: nobody signs in again because of an upgrade.
#[test]
fn a_token_survives_a_restart() {
    let home = Home::new(&films::folder());
    let mut daemon = home.start();
    let token = daemon.token.clone();
    daemon.stop();
    let mut daemon = home.start_signed_out();
    daemon.keep_secret(&token);
    daemon.token = token;
    assert_eq!(daemon.fetch("GET", "/api/auth/me", &[]).json()["username"], USER);
}

/// Goal: a mistake in the configuration keeps the daemon from starting, and says where it is and what was meant.
#[test]
fn a_configuration_error_names_file_line_and_nearest_key() {
    let home = Home::new(&films::folder());
    let file = home.path("reelway.toml");
    fs::write(&file, "[server]\nshards = 1\nprot = 3000\n").unwrap();
    let path = file.to_str().unwrap();
    for words in [["serve", "--config", path], ["config", "check", "--config"]] {
        let mut command = home.command(&words);
        if words[0] == "config" {
            command.arg(path);
        }
        let refused = run(&mut command, PATIENCE);
        assert_eq!(refused.code, Some(1), "{words:?}: {}", refused.everything());
        let said = refused.everything();
        assert!(said.contains(path), "no file: {said}");
        assert!(said.contains(":3") || said.contains("line 3"), "no line: {said}");
        assert!(said.contains("prot") && said.contains("port"), "no nearest key: {said}");
    }
}

/// Goal: an unknown variable of ours in the environment is a mistake as well.
#[test]
fn an_unknown_environment_key_is_an_error() {
    let home = Home::new(&films::folder()).set("REELWAY_SERVER__PROT", "3000");
    let refused = run(&mut home.command(&["serve"]), PATIENCE);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("REELWAY_SERVER__PROT"), "{}", refused.stderr);
    assert!(refused.stderr.to_lowercase().contains("port"), "{}", refused.stderr);
}

/// Goal: many sockets and files need no settings by the administrator: the soft limit is raised to the hard one.
#[test]
fn the_limit_of_descriptors_is_raised() {
    drop(program("prlimit"));
    let home = Home::new(&films::folder()).wrapped_by(["prlimit", "--nofile=256:4096"]);
    let daemon = home.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.process())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["4096", "4096"], "{line}");
}

/// Goal: the files of the state are for their owner alone: the signing key above all.
#[test]
fn the_signing_key_is_private() {
    let home = Home::new(&films::folder());
    let _daemon = home.start();
    let mode = fs::metadata(home.state().join("jwt.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for file in fs::read_dir(home.state()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let is_there = bytes.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes());
        assert!(!is_there, "the password is on disk");
    }
}

/// Goal: where the suite is told to run in the sandbox of the installed unit, its daemons do: as the user of the unit, with
/// no new privileges, and with its filter of system calls. Elsewhere they run as whoever runs the tests.
#[test]
fn told_to_run_in_the_installed_unit_it_does() {
    let daemon = Home::new(&films::folder()).start();
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process())).unwrap();
    let first_of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or_else(|| panic!("no {name} in {status}"))
    };
    if env::var_os("E2E_UNIT").is_none() {
        assert_eq!(first_of("Uid:"), geteuid().as_raw().to_string());
        return;
    }
    let user = run(program("id").args(["-u", "reelway"]), PATIENCE);
    assert_eq!(first_of("Uid:"), String::from_utf8_lossy(&user.stdout).trim());
    assert_eq!((first_of("NoNewPrivs:"), first_of("Seccomp:")), ("1", "2"));
}
