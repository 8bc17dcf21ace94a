//! When the machine is kept awake, and for how long.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// A service that keeps the machine awake, as systemd would listen for it.
struct Service {
    _folder: tempfile::TempDir,
    listener: UnixListener,
    power: Power,
}

impl Service {
    fn new() -> Service {
        let folder = tempfile::tempdir().unwrap();
        let awake_socket = folder.path().join("awake.sock");
        let listener = UnixListener::bind(&awake_socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        Service { _folder: folder, listener, power: Power { keep_awake: true, awake_socket } }
    }

    /// Who has connected since the last question.
    fn connected(&self) -> Option<UnixStream> {
        let (connection, _) = self.listener.accept().ok()?;
        connection.set_nonblocking(true).unwrap();
        Some(connection)
    }
}

const STEP: Duration = Duration::from_millis(500);

#[test]
fn one_connection_is_held_from_the_first_film_until_a_moment_after_the_last() {
    let service = Service::new();
    let (mut awake, begin) = (Awake::new(), Instant::now());
    awake.look(&service.power, false, begin);
    assert!(service.connected().is_none(), "nothing plays");
    awake.look(&service.power, true, begin);
    let connection = service.connected().expect("a film plays");
    // Zapping: for a moment nothing is open.
    awake.look(&service.power, false, begin + STEP);
    awake.look(&service.power, true, begin + 2 * STEP);
    awake.look(&service.power, false, begin + 2 * STEP + limits::AWAKE_GRACE - STEP);
    assert!(!has_ended(&connection), "the moment is not over");
    assert!(service.connected().is_none(), "one connection is enough");
    awake.look(&service.power, false, begin + 2 * STEP + limits::AWAKE_GRACE);
    assert!(has_ended(&connection), "nothing plays any more");
    awake.look(&service.power, true, begin + 10 * STEP);
    let again = service.connected().expect("the next film plays");
    drop(awake);
    assert!(has_ended(&again), "it goes with the daemon");
}

#[test]
fn whoever_says_no_is_asked_for_nothing_and_a_change_of_mind_counts_at_once() {
    let mut service = Service::new();
    let (mut awake, begin) = (Awake::new(), Instant::now());
    service.power.keep_awake = false;
    awake.look(&service.power, true, begin);
    assert!(service.connected().is_none());
    service.power.keep_awake = true;
    awake.look(&service.power, true, begin + STEP);
    let connection = service.connected().expect("now it is wanted");
    service.power.keep_awake = false;
    awake.look(&service.power, true, begin + 2 * STEP);
    assert!(has_ended(&connection));
}

#[test]
fn an_inhibitor_that_ends_is_noticed_and_asked_for_again_after_a_while() {
    let service = Service::new();
    let (mut awake, begin) = (Awake::new(), Instant::now());
    awake.look(&service.power, true, begin);
    drop(service.connected().expect("a film plays"));
    awake.look(&service.power, true, begin + STEP);
    assert!(matches!(awake.hold, Hold::Failed(_)), "{awake:?}");
    awake.look(&service.power, true, begin + 2 * STEP);
    assert!(service.connected().is_none(), "a service that fails is left alone for a while");
    awake.look(&service.power, true, begin + STEP + limits::AWAKE_RETRY_INTERVAL);
    assert!(service.connected().is_some());
}

#[test]
fn without_such_a_service_everything_goes_on_and_one_that_comes_is_found() {
    let mut service = Service::new();
    let there = std::mem::replace(&mut service.power.awake_socket, PathBuf::from("/nonexistent/awake.sock"));
    let (mut awake, begin) = (Awake::new(), Instant::now());
    awake.look(&service.power, true, begin);
    assert!(matches!(awake.hold, Hold::Failed(_)) && !awake.has_complained, "{awake:?}");
    service.power.awake_socket = there;
    awake.look(&service.power, true, begin + limits::AWAKE_RETRY_INTERVAL);
    assert!(service.connected().is_some());
}
