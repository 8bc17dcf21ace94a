//! A laptop: awake while a film plays, and a night of sleep that nobody is made to feel.

use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::asleep::Asleep;
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{MIB, url_path};
use crate::support::{PATIENCE, eventually, scratch};

const FILM_BYTES: u64 = 64 * MIB;

fn make_film(folder: &Path, name: &str) {
    File::create(folder.join(name)).unwrap().set_len(FILM_BYTES).unwrap();
}

fn films(names: &[&str]) -> TempDir {
    std::fs::create_dir_all(scratch()).unwrap();
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    names.iter().for_each(|name| make_film(folder.path(), name));
    folder
}

/// A player that has begun a film and reads no further.
fn watch(daemon: &Daemon, name: &str) -> Client {
    let mut client = Client::connect_narrow(daemon.address);
    daemon.ask_film(&mut client, name, Some("bytes=0-"));
    client
}

/// The connections of each stream, the oldest first.
fn connections(daemon: &Daemon) -> Vec<u64> {
    let answer = daemon.fetch("GET", "/api/streams", &[]);
    assert_eq!(answer.head.status, 200, "{:?}", answer.head);
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|stream| stream["connections"].as_u64().unwrap()).collect()
}

fn videos(daemon: &Daemon) -> usize {
    let answer = daemon.fetch("GET", "/api/videos", &[]);
    answer.json()["items"].as_array().map_or(0, Vec::len)
}

/// Waits until the daemon has said that the machine slept for so long.
fn wait_for_sleep(daemon: &Daemon, seconds: u64) {
    eventually("the sleep is seen", PATIENCE, || {
        let lines = daemon.log.lines_with("the machine has slept");
        let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        { events }.find(|event| event["metadata"]["seconds"] == seconds)
    });
}

/// Goal: after a night of sleep the film that was paused still has its place, as has the one between two ranges; the token is
/// good; what came to the library meanwhile is found; and the film goes on to its last byte over the same connection.
#[test]
fn a_night_of_sleep_ends_nothing_and_finds_what_is_new() {
    let folder = films(&["paused.mp4", "between.mp4"]);
    let asleep = Asleep::new();
    let daemon = Home::new(folder.path()).wrapped_by(asleep.wrapper()).start();
    let mut paused = watch(&daemon, "paused.mp4");
    drop(watch(&daemon, "between.mp4"));
    eventually("the second film lingers", PATIENCE, || (connections(&daemon) == [1, 0]).then_some(()));
    make_film(folder.path(), "new.mp4");

    let night = 8 * 3600;
    asleep.slept(night);
    wait_for_sleep(&daemon, 8 * 3600);
    // By the time the keeper looks again it has done all there was to do at the look before.
    asleep.slept(night + 60);
    wait_for_sleep(&daemon, 60);

    assert_eq!(connections(&daemon), [1, 0], "{}", daemon.log.text());
    eventually("the new film is found", PATIENCE, || (videos(&daemon) == 3).then_some(()));
    assert_eq!(paused.body(FILM_BYTES).len() as u64, FILM_BYTES);
}

/// Goal: a token is good for as long as it says by the calendar, asleep or awake, and no longer.
#[test]
fn a_sleep_longer_than_a_token_ends_it() {
    let folder = films(&["film.mp4"]);
    let asleep = Asleep::new();
    let daemon = Home::new(folder.path()).wrapped_by(asleep.wrapper()).start();
    asleep.slept(23 * 3600);
    wait_for_sleep(&daemon, 23 * 3600);
    assert_eq!(daemon.fetch("GET", "/api/videos", &[]).head.status, 200);
    asleep.slept(25 * 3600);
    wait_for_sleep(&daemon, 2 * 3600);
    assert_eq!(daemon.fetch("GET", "/api/videos", &[]).head.status, 401);
}

/// Where systemd would listen for reelway-awake@.service.
struct Inhibitors(UnixListener);

impl Inhibitors {
    fn listen(home: &Home) -> Inhibitors {
        let listener = UnixListener::bind(home.path("awake.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        Inhibitors(listener)
    }

    fn taken(&self) -> Option<UnixStream> {
        self.0.accept().ok().map(|(connection, _)| connection)
    }
}

/// Waits until the daemon lets go.
fn wait_until_released(connection: &UnixStream) {
    use std::io::Read;
    connection.set_nonblocking(false).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = connection;
    assert_eq!(connection.read(&mut [0; 1]).unwrap(), 0, "the daemon says nothing there");
}

fn with_inhibitors() -> (TempDir, Inhibitors, Home) {
    let folder = films(&["film.mp4"]);
    let home = Home::new(folder.path());
    let socket = home.path("awake.sock");
    let home = home.set("REELWAY_POWER__AWAKE_SOCKET", socket.to_str().unwrap());
    (folder, Inhibitors::listen(&home), home)
}

/// Goal: nothing is held while nobody watches, whatever else they ask; one connection while films are sent, however many; and
/// it is let go soon after the last of them.
#[test]
fn the_machine_is_kept_awake_while_films_are_sent_and_no_longer() {
    let (_folder, inhibitors, home) = with_inhibitors();
    let daemon = home.start();
    assert_eq!(daemon.fetch("HEAD", &url_path("film.mp4"), &[]).head.status, 200);
    assert_eq!(videos(&daemon), 1);
    let first = watch(&daemon, "film.mp4");
    let held = eventually("the machine is kept awake", PATIENCE, || inhibitors.taken());
    daemon.log.wait_for("a film plays: the machine is kept awake");
    assert_eq!(daemon.log.lines_with("kept awake").len(), 1);
    let second = watch(&daemon, "film.mp4");
    drop(first);
    eventually("one connection is left", PATIENCE, || (connections(&daemon) == [1]).then_some(()));
    drop(second);
    wait_until_released(&held);
    daemon.log.wait_for("no film plays: the machine may sleep");
    assert!(inhibitors.taken().is_none(), "one is enough");
    assert_eq!(daemon.log.lines_with("the machine ").len(), 2);
}

/// Goal: an inhibitor goes with the daemon, however that ends.
#[test]
fn an_inhibitor_goes_with_a_daemon_that_is_killed() {
    let (_folder, inhibitors, home) = with_inhibitors();
    let mut daemon = home.start();
    let _player = watch(&daemon, "film.mp4");
    let held = eventually("the machine is kept awake", PATIENCE, || inhibitors.taken());
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.wait(Duration::from_secs(10)), None);
    wait_until_released(&held);
}
