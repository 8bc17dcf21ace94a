//! Who goes on watching over a restart, and who does not: whatever lets somebody in may have ended in between.

use std::path::Path;

use super::{FILM, FILM_BYTES, expect_resumed, folder, manager_of, next, viewer};
use crate::links::{link, play_beyond_the_end};
use crate::support::client::{Client, Ending};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{Pattern, url_path};
use crate::support::manager::Manager;

/// Goal: whoever may not watch any more when the next daemon comes does not go on: a session that was ended in between, and a
/// caller by password whose password is another one by now. Others go on.
#[test]
fn who_may_not_watch_any_more_does_not_go_on() {
    let films = folder();
    let manager = manager_with(films.path(), &["bob", "eve"]);
    let mut daemon = manager.start();
    let ask = |daemon: &Daemon, authorization: &str| {
        let mut client = Client::connect_narrow(daemon.address);
        client.ask("GET", &url_path(FILM), &[("Authorization", authorization)]);
        assert_eq!(client.head().status, 200);
        client
    };
    let mut signed_in = viewer(&daemon, FILM);
    let bob = daemon.sign_in("bob", "a-second-long-one-88");
    let mut ended = ask(&daemon, &format!("Bearer {bob}"));
    // ann:… and eve:…, as curl makes it.
    let by_password = |name: &str, password: &str| format!("Basic {}", base64(&format!("{name}:{password}")));
    let mut changed = ask(&daemon, &by_password("eve", "a-second-long-one-88"));
    let mut unchanged = ask(&daemon, &by_password(USER, PASSWORD));
    daemon.stop();
    manager.home().run(&["user", "passwd", "bob", "--password-stdin"], "another-long-one-99\n").succeeded();
    manager.home().run(&["user", "passwd", "eve", "--password-stdin"], "another-long-one-99\n").succeeded();
    let mut after = next(&manager, &daemon);
    expect_resumed(&after, 4);
    for client in [&mut ended, &mut changed] {
        let (bytes, ending) = client.expect_until_end(Pattern::of(FILM), 0);
        assert!(bytes < FILM_BYTES, "all of it came");
        assert_eq!(ending, Ending::Reset, "it must not be taken for whole");
    }
    for client in [&mut signed_in, &mut unchanged] {
        client.expect(Pattern::of(FILM), 0, FILM_BYTES);
    }
    assert_eq!(after.ledger().sum("reelway_stopped_total"), 2);
    after.stop();
}

/// Goal: a film goes on whose link was over before the restart, also when another link was made meanwhile; one whose link went
/// with its maker does not.
#[test]
fn a_film_outlives_its_link_over_a_restart() {
    let films = folder();
    let manager = manager_with(films.path(), &["bob", "eve"]);
    let mut daemon = manager.start();
    let [disabled, removed] = ["bob", "eve"].map(|maker| {
        let token = daemon.sign_in(maker, "a-second-long-one-88");
        let (_, path) = link(&daemon, &token, FILM, None);
        let mut client = Client::connect_narrow(daemon.address);
        client.ask("GET", &path, &[]);
        assert_eq!(client.head().status, 200);
        client
    });
    let mut over = play_beyond_the_end(&daemon, FILM);
    link(&daemon, &daemon.token, FILM, None);
    daemon.stop();
    manager.home().run(&["user", "disable", "bob"], "").succeeded();
    manager.home().run(&["user", "remove", "eve"], "").succeeded();
    let mut after = next(&manager, &daemon);
    for mut client in [disabled, removed] {
        let (bytes, ending) = client.expect_until_end(Pattern::of(FILM), 0);
        assert!(bytes < FILM_BYTES && ending == Ending::Reset, "{bytes} bytes, {ending:?}");
    }
    over.expect(Pattern::of(FILM), 0, FILM_BYTES);
    assert_eq!(after.ledger().sum("reelway_stopped_total"), 2);
    after.stop();
}

/// A film that eve watches by her password.
fn watched_by_eve(daemon: &Daemon) -> Client {
    let mut client = Client::connect_narrow(daemon.address);
    let eve = format!("Basic {}", base64("eve:a-second-long-one-88"));
    client.ask("GET", &url_path(FILM), &[("Authorization", &eve)]);
    assert_eq!(client.head().status, 200);
    client
}

/// Eve's row cannot be read from now on, or can again.
fn spoil(manager: &Manager, is_spoilt: bool) {
    let preferences = if is_spoilt { r#"{"quality": "none that is known"}"# } else { "{}" };
    let database = rusqlite::Connection::open(manager.home().state().join("reelway.db")).unwrap();
    let change = "UPDATE users SET streaming_preferences = ?1 WHERE username = 'eve'";
    assert_eq!(database.execute(change, [preferences]).unwrap(), 1);
}

/// A service manager for daemons that know these users beside ann.
fn manager_with(films: &Path, names: &[&str]) -> Manager {
    let home = Home::new(films);
    for name in names {
        home.run(&["user", "add", name, "--password-stdin"], "a-second-long-one-88\n").succeeded();
    }
    manager_of(home)
}

/// Goal: a film waits while the database cannot say whether it may go on, and may be handed over once more before it can.
#[test]
fn a_film_waits_for_a_database_that_fails() {
    let films = folder();
    let manager = manager_with(films.path(), &["eve"]);
    let mut daemon = manager.start();
    let mut client = watched_by_eve(&daemon);
    daemon.stop();
    spoil(&manager, true);
    let mut waiting = next(&manager, &daemon);
    waiting.stop();
    assert_eq!(manager.stored().len(), 1 + 1 + 1, "a note, a film, and its connection");
    spoil(&manager, false);
    let mut after = next(&manager, &waiting);
    client.expect(Pattern::of(FILM), 0, FILM_BYTES);
    after.stop();
}

/// Goal: a film that the database says nothing about for seconds is cut, and the log says why: nobody has stopped it. Others go on.
#[test]
fn a_film_that_nothing_is_said_about_is_cut_and_not_stopped() {
    let films = folder();
    let manager = manager_with(films.path(), &["eve"]);
    let mut daemon = manager.start();
    let mut other = viewer(&daemon, FILM);
    let mut client = watched_by_eve(&daemon);
    daemon.stop();
    spoil(&manager, true);
    let mut after = next(&manager, &daemon);
    let (bytes, ending) = client.expect_until_end(Pattern::of(FILM), 0);
    assert!(bytes < FILM_BYTES && ending == Ending::Reset, "{bytes} bytes, {ending:?}");
    other.expect(Pattern::of(FILM), 0, FILM_BYTES);
    let event = after.log.wait_for("film was not resumed, because the database did not say whether it may go on");
    assert!(event["metadata"]["error"].as_str().unwrap().contains("reelway.db"), "{event}");
    let ledger = after.ledger();
    assert_eq!((ledger.sum("reelway_stopped_total"), ledger.sum("reelway_faults_total")), (0, 1));
    after.stop();
}

fn base64(text: &str) -> String {
    let mut encoder = crate::support::program("base64");
    let mut child =
        encoder.arg("-w0").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}
