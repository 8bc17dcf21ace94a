//! The real binary in a home of its own: state, cache, runtime folder, one account, a port chosen by the kernel.
//!
//! A `Home` outlives its daemons, so that a test can restart one. A `Daemon` is ended by its own handle when dropped,
//! and then its whole log is searched for the password and every token that was ever issued: they may never appear.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{self, Answer, Client, Head};
use super::films::url_path;
use super::ledger::Ledger;
use super::unit::{self, Unit};
use super::{Finished, PATIENCE, eventually, exit_code, scratch};

/// The account every home has.
pub const USER: &str = "ann";
/// Its password; no other text may contain it.
pub const PASSWORD: &str = "open-sesame-7Qx-31";

/// Folders, environment and account of a daemon. A clone has the same folders.
#[derive(Clone)]
pub struct Home {
    directory: Arc<TempDir>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl Home {
    /// A new home that serves the films in `videos`, with the account `USER`.
    pub fn new(videos: &Path) -> Home {
        let home = Home::without_account(videos);
        home.add_user(USER, PASSWORD);
        home
    }

    /// A new home without accounts.
    pub fn without_account(videos: &Path) -> Home {
        fs::create_dir_all(scratch()).unwrap();
        let directory = Arc::new(tempfile::tempdir_in(scratch()).unwrap());
        let mut environment = Vec::new();
        for (name, folder) in [("STATE", "state"), ("CACHE", "cache"), ("RUNTIME", "run")] {
            let path = directory.path().join(folder);
            fs::create_dir(&path).unwrap();
            environment.push((format!("{name}_DIRECTORY"), path.to_str().unwrap().to_owned()));
        }
        let home = Home { directory, environment, wrapper: Vec::new() };
        fs::write(home.configuration(), "").unwrap();
        home.set("VIDEOS_PATH", videos.to_str().unwrap())
            .set("PORT", "0")
            .set("REELWAY_SERVER__HOST", "127.0.0.1")
            // All tests come from one address, and many of them with a wrong password.
            .set("REELWAY_AUTH__LOGIN_FAILURES_MAX", "1000000")
            // And all films are one user's, many of them at once.
            .set("REELWAY_VIDEO__MAX_CONCURRENT_STREAMS", "1000")
            .set("REELWAY_VIDEO__MAX_STREAMS_PER_USER", "1000")
            .set("REELWAY_LOG__FORMAT", "json")
    }

    /// Adds or replaces an environment variable.
    pub fn set(mut self, name: &str, value: &str) -> Home {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes an environment variable.
    pub fn unset(mut self, name: &str) -> Home {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// Adds or replaces environment variables.
    pub fn set_many(self, variables: &[(&str, &str)]) -> Home {
        variables.iter().fold(self, |home, (name, value)| home.set(name, value))
    }

    /// Words to put before the command of the daemon, after those already there.
    pub fn wrapped_by<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Home {
        self.wrapper.extend(words.into_iter().map(Into::into));
        self
    }

    /// The folder of the state.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The configuration file of this home, empty at first, so that the one of the machine is never read.
    pub fn configuration(&self) -> PathBuf {
        self.path("empty.toml")
    }

    /// A free place for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `reelway ARGUMENTS` in this home, with nothing of the environment of the tests and nothing of /etc.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_reelway")), arguments)
    }

    fn prepared(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).env_clear();
        if !arguments.contains(&"--config") {
            command.arg("--config").arg(self.configuration());
        }
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory.path());
        command
    }

    /// Runs a verb to its end, with `input` on its standard input.
    pub fn run(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // A verb that fails before it reads closes the pipe: its exit code tells, not ours.
        let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
        child.wait_with_output().unwrap().into()
    }

    /// `reelway user add`, as administrator.
    pub fn add_user(&self, name: &str, password: &str) {
        let words = ["user", "add", name, "--role", "admin", "--password-stdin"];
        self.run(&words, &format!("{password}\n")).succeeded();
    }

    /// Starts the daemon, waits until it listens and knows its films, and signs `USER` in.
    pub fn start(&self) -> Daemon {
        let mut daemon = self.start_signed_out();
        daemon.token = daemon.sign_in(USER, PASSWORD);
        daemon
    }

    /// `reelway serve` behind the words of `wrapped_by`, for a daemon that may refuse to start.
    pub fn serve_command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_reelway");
        let mut words = self.wrapper.iter().map(String::as_str);
        match words.next() {
            None => match Unit::installed() {
                Some(unit) => self.in_unit(&unit),
                None => self.prepared(Command::new(program), &["serve"]),
            },
            Some(first) => {
                let rest: Vec<&str> = words.chain([program, "serve"]).collect();
                self.prepared(Command::new(first), &rest)
            }
        }
    }

    /// The installed `reelway serve` in the sandbox of its unit.
    fn in_unit(&self, unit: &Unit) -> Command {
        let mut command = unit.command(self.directory.path(), &self.environment);
        command.args(["/usr/bin/reelway", "--config"]).arg(self.configuration()).arg("serve");
        command
    }

    /// Starts the daemon and waits until it listens and knows its films.
    pub fn start_signed_out(&self) -> Daemon {
        let mut command = self.serve_command();
        let unit = unit::name_of(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut daemon = self.followed(command.stderr(Stdio::piped()).spawn().unwrap());
        if let Some(unit) = unit {
            daemon.process = unit::main_process(&unit);
        }
        daemon
    }

    /// The daemon that a child is, once it listens and knows its films. Its standard error must be a pipe.
    pub fn followed(&self, mut child: Child) -> Daemon {
        let log = Log::follow(child.stderr.take().unwrap());
        let mut daemon = Daemon {
            process: child.id(),
            child,
            log,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: String::new(),
            secrets: Mutex::new(vec![PASSWORD.to_owned()]),
            _home: Arc::clone(&self.directory),
        };
        let listening = daemon.log.wait_for("listening");
        let address = listening["metadata"]["address"].as_str();
        daemon.address =
            address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {listening}"));
        daemon.log.wait_for("library scanned");
        daemon
    }
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    /// The daemon itself: the child, or what that has systemd run.
    process: u32,
    /// Everything it logged.
    pub log: Arc<Log>,
    /// Where it listens.
    pub address: SocketAddr,
    /// A session token of `USER`.
    pub token: String,
    secrets: Mutex<Vec<String>>,
    /// Its folders stay for as long as it may use them.
    _home: Arc<TempDir>,
}

impl Daemon {
    /// Signs a user in over HTTP.
    pub fn sign_in(&self, username: &str, password: &str) -> String {
        self.keep_secret(password);
        let credentials = json!({"username": username, "password": password});
        let answer = client::post(self.address, "/api/auth/login", &credentials);
        assert_eq!(answer.head.status, 200, "{}", answer.json());
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        self.keep_secret(&token);
        token
    }

    /// Remembers a text that may not appear in the log.
    pub fn keep_secret(&self, secret: &str) {
        self.secrets.lock().unwrap().push(secret.to_owned());
    }

    /// The value of an Authorization field for `USER`.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// The URL of a film, with the token in the query, as players get it.
    pub fn film_url(&self, name: &str) -> String {
        let (address, token) = (self.address, &self.token);
        format!("http://{address}{}?token={token}", url_path(name))
    }

    /// One request with the token, on a connection of its own.
    pub fn fetch(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let bearer = self.bearer();
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(fields);
        client::fetch(self.address, method, path, &all)
    }

    /// Asks for a film or a range of it on `client` and reads the head; the body is left to the caller.
    pub fn ask_film(&self, client: &mut Client, name: &str, range: Option<&str>) -> Head {
        let bearer = self.bearer();
        let mut fields = vec![("Authorization", bearer.as_str())];
        fields.extend(range.map(|range| ("Range", range)));
        client.ask("GET", &url_path(name), &fields);
        let head = client.head();
        let expected = if range.is_some() { 206 } else { 200 };
        assert_eq!(head.status, expected, "{name} {range:?}: {head:?}");
        head
    }

    /// The counters of this moment.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&client::fetch(self.address, "GET", "/metrics", &[]))
    }

    /// GET /health.
    pub fn health(&self) -> Value {
        client::fetch(self.address, "GET", "/health", &[]).json()
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        let process = i32::try_from(self.process).ok().and_then(Pid::from_raw);
        process.unwrap_or_else(|| panic!("{} is no process", self.process))
    }

    /// Waits until it has ended by itself: the exit code, or none if a signal ended it.
    pub fn wait(&mut self, patience: Duration) -> Option<i32> {
        let code = exit_code(&mut self.child, patience);
        let code = code.unwrap_or_else(|| panic!("the daemon was still running after {patience:?}"));
        // What systemd-run says of a service that a signal ended.
        code.filter(|code| self.process == self.child.id() || *code != 255)
    }

    /// Asks it to end, and checks that it does so properly.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait(PATIENCE), Some(0), "{}", self.log.text());
    }

    /// What it holds now.
    pub fn holdings(&self) -> Holdings {
        let ledger = self.ledger();
        let open = self.open_files();
        let pipes = ledger.sum("reelway_pipes");
        let pipe_descriptors = open.iter().filter(|name| name.starts_with("pipe:")).count() as u64;
        Holdings {
            files: (open.len() as u64) - pipe_descriptors,
            // Both ends of each counted pipe; what is left is the log's.
            other_pipe_descriptors: pipe_descriptors.saturating_sub(2 * pipes),
            connections: ledger.sum("reelway_connections"),
            transfers: ledger.sum("reelway_transfers"),
        }
    }

    /// What it holds once it is at rest: nothing is on its way and only the asking connection is open.
    pub fn holdings_at_rest(&self) -> Holdings {
        eventually("the daemon is at rest", PATIENCE, || {
            let (first, second) = (self.holdings(), self.holdings());
            (first == second && first.transfers == 0 && first.connections <= 1).then_some(first)
        })
    }

    /// Waits until it holds no more than it did.
    ///
    /// # Panics
    /// After `PATIENCE`, with the open files: something leaked.
    pub fn expect_holdings(&self, before: &Holdings) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.holdings();
            if now.is_within(before) {
                return;
            }
            let open = self.open_files();
            assert!(Instant::now() < deadline, "leaked: {before:?} became {now:?}; open: {open:#?}");
        }
    }

    /// What its descriptors point to, as /proc shows them.
    pub fn open_files(&self) -> Vec<String> {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.process())).unwrap();
        // A descriptor may be closed between listing and looking.
        folder
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill. Until it is waited for, no other has its number.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process(self.pid(), Signal::KILL);
        }
        let _ = self.child.wait();
        self.log.wait_for_end();
        let text = self.log.text();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{text}");
            return;
        }
        for secret in self.secrets.lock().unwrap().iter() {
            assert!(!text.contains(secret.as_str()), "a secret is in the log");
        }
        assert!(!text.contains("panicked"), "the daemon panicked:\n{text}");
    }
}

/// Descriptors and work of a daemon at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    files: u64,
    other_pipe_descriptors: u64,
    connections: u64,
    transfers: u64,
}

impl Holdings {
    fn is_within(&self, before: &Holdings) -> bool {
        self.files <= before.files
            && self.other_pipe_descriptors <= before.other_pipe_descriptors
            && self.connections <= before.connections
            && self.transfers <= before.transfers
    }
}

/// The lines a daemon wrote to standard error.
#[derive(Default)]
pub struct Log {
    written: Mutex<Written>,
    grew: Condvar,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    is_ended: bool,
}

impl Log {
    fn follow(stderr: std::process::ChildStderr) -> Arc<Log> {
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                writer.written.lock().unwrap().lines.push(line);
                writer.grew.notify_all();
            }
            writer.written.lock().unwrap().is_ended = true;
            writer.grew.notify_all();
        });
        log
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.written.lock().unwrap().lines.join("\n")
    }

    /// The lines that contain `text`.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let written = self.written.lock().unwrap();
        let lines = written.lines.iter();
        lines.filter(|line| line.contains(text)).cloned().collect()
    }

    /// Waits for the first event with this message.
    ///
    /// # Panics
    /// After `PATIENCE`, or when the daemon ends before: with everything it logged.
    pub fn wait_for(&self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut written = self.written.lock().unwrap();
        loop {
            let events = written.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(event) = { events }.find(|event| event["message"] == message) {
                return event;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !written.is_ended && !left.is_zero(),
                "the daemon never logged {message:?}:\n{}",
                written.lines.join("\n")
            );
            written = self.grew.wait_timeout(written, left).unwrap().0;
        }
    }

    fn wait_for_end(&self) {
        let written = self.written.lock().unwrap();
        let running = |written: &mut Written| !written.is_ended;
        // Without this the last lines could be missed; a stuck pipe must not hang the tests, though.
        let ended = self.grew.wait_timeout_while(written, PATIENCE, running);
        drop(ended.unwrap());
    }
}
