//! What the end-to-end tests share: a daemon of their own, films, a small HTTP client, the page cache, traces.
//!
//! The one idea: a test owns everything it starts (a `Home`, a `Daemon`, temporary folders) and dropping the owner
//! ends and removes it, so tests run side by side and leave nothing behind. Every wait has a deadline.

pub mod asleep;
pub mod client;
pub mod counted;
pub mod daemon;
pub mod dice;
pub mod failing_disk;
pub mod films;
pub mod fuse;
pub mod journal;
pub mod ledger;
pub mod manager;
pub mod mpv;
pub mod multipart;
pub mod page_cache;
pub mod question;
pub mod questions;
pub mod ranges;
pub mod slow_disk;
pub mod stopped;
pub mod trace;
pub mod unit;
pub mod unread;
pub mod without_ring;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that should take milliseconds: the machine may be busy, the answer may not.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition nobody announces. It is never what makes a test pass.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The folder for everything tests write: below `target`, hence on a real disk whose pages can be evicted.
pub fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Looks until `look` has an answer, and returns it.
///
/// # Panics
/// After `patience`, naming `what` was awaited.
pub fn eventually<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// A command for a program the tests need.
///
/// # Panics
/// If it is not installed: a real client that was not run proves nothing, so its absence is a failure and not a skip.
pub fn program(name: &str) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    assert!(found, "the program {name} is missing; scripts/test installs everything the tests need");
    Command::new(name)
}

/// Compiles a library of C that is loaded into a program before its own (ld.so(8), LD_PRELOAD).
pub fn compile_preloaded(source: &Path, library: &Path, flags: &[&str]) {
    let mut compiler = program("cc");
    compiler.args(["-Wall", "-Werror", "-O1", "-fPIC", "-shared"]).args(flags).arg("-o").arg(library).arg(source);
    run(&mut compiler, Duration::from_secs(60)).succeeded();
}

/// What a program that was waited for left behind.
pub struct Finished {
    /// Exit code, or none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error as text.
    pub stderr: String,
}

impl Finished {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Both outputs, for messages and for scanning.
    pub fn everything(&self) -> String {
        format!("{}{}", self.text(), self.stderr)
    }

    /// The same value, if the program succeeded.
    ///
    /// # Panics
    /// With everything it printed, if it did not.
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "a program failed:\n{}", self.everything());
        self
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Finished {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end and collects both outputs.
///
/// # Panics
/// If it cannot be started or is still running after `patience`; it is killed then.
pub fn run(command: &mut Command, patience: Duration) -> Finished {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    let stdout = drained(child.stdout.take().unwrap());
    let stderr = drained(child.stderr.take().unwrap());
    let code =
        exit_code(&mut child, patience).unwrap_or_else(|| panic!("{command:?} was still running after {patience:?}"));
    Finished {
        code,
        stdout: stdout.join().unwrap(),
        stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
    }
}

/// The exit code of a child (inner none: a signal ended it), or none if it had to be killed after `patience`.
pub fn exit_code(child: &mut Child, patience: Duration) -> Option<Option<i32>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code());
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Reads a pipe to its end on a thread of its own, so that a program never blocks on a full one.
fn drained(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}
