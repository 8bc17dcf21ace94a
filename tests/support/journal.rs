//! A pretend journal: a socket where tracing-journald looks for it, in a mount namespace of the daemon's own, and standard
//! error that `$JOURNAL_STREAM` names, as systemd connects it.
//!
//! It reads the journal's native protocol, and stops reading when a test says so, as a journald that hangs. Needs root.
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use super::client::{self, Answer, Client};
use super::daemon::{Home, PASSWORD, USER};
use super::{PATIENCE, exit_code, scratch};

/// The fields of one entry.
pub type Entry = BTreeMap<String, String>;

/// How long the reader waits for an entry before it looks whether it is to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// What puts the socket of the folder $0 where the journal has its own, and says that standard error is the journal.
const WRAPPER: &str = r#"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal &&
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@""#;

/// The journal of one daemon.
pub struct Journal {
    folder: TempDir,
    kept: Arc<Kept>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Kept {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    is_still: bool,
    is_over: bool,
}

impl Journal {
    /// A journal that reads.
    pub fn new() -> Journal {
        let mut journal = Journal::without_socket();
        let socket = UnixDatagram::bind(journal.folder.path().join("socket")).unwrap();
        socket.set_read_timeout(Some(LOOK_INTERVAL)).unwrap();
        let kept = Arc::clone(&journal.kept);
        journal.reader = Some(thread::spawn(move || read(&socket, &kept)));
        journal
    }

    /// A machine whose journal is not to be had.
    pub fn without_socket() -> Journal {
        fs::create_dir_all(scratch()).unwrap();
        Journal { folder: tempfile::tempdir_in(scratch()).unwrap(), kept: Arc::default(), reader: None }
    }

    /// A home whose daemons are connected to this journal.
    pub fn home(&self, home: Home) -> Home {
        let folder = self.folder.path().to_str().unwrap();
        home.set("REELWAY_LOG__FORMAT", "text").wrapped_by([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            WRAPPER,
            folder,
        ])
    }

    /// Starts a daemon of such a home and waits until it has told this journal where it listens.
    pub fn start(&self, home: &Home) -> Logging {
        let mut logging = Logging::of(home);
        let listening = self.wait_for(|entry| entry["MESSAGE"].starts_with("listening"));
        logging.address = listening["ADDRESS"].parse().unwrap();
        self.wait_for(|entry| entry["MESSAGE"].starts_with("library scanned"));
        logging
    }

    /// From now on it reads nothing, or goes on.
    pub fn stand_still(&self, is_still: bool) {
        self.kept.state.lock().unwrap().is_still = is_still;
        self.kept.changed.notify_all();
    }

    /// All entries so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.kept.state.lock().unwrap().entries.clone()
    }

    /// Waits for an entry.
    ///
    /// # Panics
    /// After `PATIENCE`, with all that there are.
    pub fn wait_for(&self, is_it: impl Fn(&Entry) -> bool) -> Entry {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.kept.state.lock().unwrap();
        loop {
            if let Some(entry) = state.entries.iter().find(|entry| is_it(entry)) {
                return entry.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such entry: {:#?}", state.entries);
            state = self.kept.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let mut state = self.kept.state.lock().unwrap();
        (state.is_over, state.is_still) = (true, false);
        drop(state);
        self.kept.changed.notify_all();
        if let Some(reader) = self.reader.take().map(JoinHandle::join).filter(|_| !thread::panicking()) {
            reader.unwrap();
        }
    }
}

fn read(socket: &UnixDatagram, kept: &Kept) {
    let mut datagram = vec![0; 256 * 1024];
    loop {
        let state = kept.state.lock().unwrap();
        let state = kept.changed.wait_while(state, |state| state.is_still).unwrap();
        if state.is_over {
            return;
        }
        drop(state);
        match socket.recv(&mut datagram) {
            // Whoever connects sends an empty one to see whether somebody is there.
            Ok(0) => {}
            Ok(length) => {
                kept.state.lock().unwrap().entries.push(parse(&datagram[..length]));
                kept.changed.notify_all();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("the pretend journal: {error}"),
        }
    }
}

/// An entry as it is sent: `NAME=value` and a newline, or the name, a newline, 64 bits of length, the value, and a newline.
fn parse(mut bytes: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(&bytes[..end]).unwrap();
        bytes = &bytes[end + 1..];
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let (length, rest) = bytes.split_at(8);
                let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
                let value = String::from_utf8(rest[..length].to_vec()).unwrap();
                assert_eq!(rest[length], b'\n', "{line}: a value ends with a newline");
                bytes = &rest[length + 1..];
                (line, value)
            }
        };
        let is_name =
            name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_')) && !name.starts_with('_');
        assert!(is_name, "{name}: the journal drops such a field");
        assert_eq!(entry.insert(name.to_owned(), value), None, "{name} is there twice");
    }
    assert!(bytes.is_empty(), "an entry ends with a newline");
    entry
}

/// A daemon that logs to a pretend journal; dropping it kills it.
pub struct Logging {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Logging {
    /// Starts it, and waits for nothing.
    pub fn of(home: &Home) -> Logging {
        let mut command = home.serve_command();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Logging { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }

    /// Signs `USER` in: the answer.
    pub fn sign_in(&self) -> Answer {
        let answer = client::post(self.address, "/api/auth/login", &json!({"username": USER, "password": PASSWORD}));
        assert_eq!(answer.head.status, 200, "{}", answer.json());
        answer
    }

    /// A connection to it.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Asks it to end: how long it took, and what it wrote to standard error.
    ///
    /// # Panics
    /// When it does not, or not properly.
    pub fn stop(mut self) -> (Duration, String) {
        let start = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let code = exit_code(&mut self.child, PATIENCE).expect("it ends");
        let took = start.elapsed();
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(code, Some(0), "{text}");
        (took, text)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
