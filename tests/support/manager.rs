//! A pretend service manager: it passes listening sockets, hears what it is told, keeps descriptors, and passes them on.
//!
//! It does what systemd does, and no more: the sockets are its own and outlive the daemon; what is stored under a name is
//! passed to the next daemon and kept until that forgets it; a stored connection whose peer hung up is let go
//! (sd_notify(3), sd_listen_fds(3), sd_pid_notify_with_fds(3)).

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tempfile::TempDir;

use super::daemon::{Daemon, Home, PASSWORD, USER};
use super::{PATIENCE, program};

/// Descriptors of one message (unix(7), SCM_MAX_FD).
const PER_MESSAGE_MAX: usize = 253;

/// The service manager of one home.
pub struct Manager {
    home: Home,
    sockets: Vec<(String, OwnedFd)>,
    heard: Arc<Heard>,
    folder: TempDir,
}

/// What it was told so far.
#[derive(Default)]
struct Heard {
    said: Mutex<Said>,
    grew: Condvar,
}

#[derive(Default)]
struct Said {
    messages: Vec<String>,
    stored: Vec<(String, OwnedFd)>,
    /// The ends of barriers, while it answers none.
    barriers: Option<Vec<OwnedFd>>,
    is_over: bool,
}

impl Manager {
    /// A manager for the daemons of `home`, which it keeps.
    pub fn new(home: Home) -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = Arc::new(Heard::default());
        let (socket, listener) = (UnixDatagram::bind(&path).unwrap(), Arc::clone(&heard));
        std::thread::spawn(move || listener.listen(&socket));
        let home = home.set("NOTIFY_SOCKET", path.to_str().unwrap());
        Manager { home, sockets: Vec::new(), heard, folder }
    }

    /// Listens on `address` for the daemons, as a socket unit does; `[::]:0` for both families. Where that is.
    pub fn listen(&mut self, address: &str) -> SocketAddr {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        self.pass("reelway", listener);
        address
    }

    /// The same at a path of the file system.
    pub fn listen_at(&mut self, path: &Path) {
        self.pass("reelway", UnixListener::bind(path).unwrap());
    }

    /// Passes a descriptor under a name, before those that daemons have stored.
    pub fn pass(&mut self, name: &str, descriptor: impl Into<OwnedFd>) {
        self.sockets.push((name.to_owned(), descriptor.into()));
    }

    /// The home of its daemons.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Adds or replaces an environment variable of the daemons that are started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.home = self.home.clone().set(name, value);
    }

    /// Starts a daemon, waits until it is ready and knows its films, and signs `USER` in.
    pub fn start(&self) -> Daemon {
        let mut daemon = self.start_signed_out();
        daemon.token = daemon.sign_in(USER, PASSWORD);
        daemon
    }

    /// The same without signing in.
    pub fn start_signed_out(&self) -> Daemon {
        let before = self.messages().len();
        let daemon = self.home.followed(self.spawn());
        self.wait_for_after(before, "READY=1");
        daemon
    }

    /// Starts `reelway serve` with what is to be passed to it, and waits for nothing.
    pub fn spawn(&self) -> Child {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let command = self.home.serve_command();
        let mut python = program("python3");
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/launch.py"));
        python.arg(command.get_program()).args(command.get_args());
        copy_surroundings(&command, &mut python);
        python.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = python.spawn().unwrap();
        drop(python); // With its copy of the other end: a launcher that fails is noticed.
        self.hand_over(ours);
        child
    }

    /// Everything it was told, a message each, as its lines.
    pub fn messages(&self) -> Vec<String> {
        self.heard.said.lock().unwrap().messages.clone()
    }

    /// The last line of STATUS=.
    pub fn status(&self) -> Option<String> {
        let messages = self.messages();
        let lines =
            messages.iter().rev().flat_map(|message| message.lines().filter(|line| line.starts_with("STATUS=")));
        { lines }.next().map(|line| line["STATUS=".len()..].to_owned())
    }

    /// Waits until some message holds `line`, such as `READY=1`. That message.
    pub fn wait_for(&self, line: &str) -> String {
        self.wait_for_after(0, line)
    }

    /// The same among the messages after the first `skipped`.
    pub fn wait_for_after(&self, skipped: usize, line: &str) -> String {
        let is_it = |message: &String| message.lines().any(|other| other == line);
        let found = |said: &Said| said.messages.iter().skip(skipped).find(|message| is_it(message)).cloned();
        self.wait_until(&format!("a message with {line:?}"), found)
    }

    /// Waits until the status contains `text`. The whole of it.
    pub fn wait_for_status(&self, text: &str) -> String {
        let last = |said: &Said| {
            let lines = said.messages.iter().rev().flat_map(|message| message.lines());
            let status = { lines }.find_map(|line| line.strip_prefix("STATUS="))?;
            status.contains(text).then(|| status.to_owned())
        };
        self.wait_until(&format!("a status with {text:?}"), last)
    }

    fn wait_until<T>(&self, what: &str, found: impl Fn(&Said) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.heard.said.lock().unwrap();
        loop {
            if let Some(found) = found(&said) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never told: {what}; but: {:#?}", said.messages);
            said = self.heard.grew.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Tells it something as a daemon would, with a descriptor.
    pub fn tell(&self, text: &str, descriptor: impl Into<OwnedFd>) {
        let (socket, descriptor) = (UnixDatagram::unbound().unwrap(), descriptor.into());
        socket.connect(self.notify_path()).unwrap();
        send(&socket, text.as_bytes(), &[descriptor.as_fd()]);
    }

    /// The names of what is stored, one a descriptor.
    pub fn stored(&self) -> Vec<String> {
        let said = self.heard.said.lock().unwrap();
        said.stored.iter().map(|(name, _)| name.clone()).collect()
    }

    /// How many of these are regular files.
    pub fn stored_files(&self) -> usize {
        let said = self.heard.said.lock().unwrap();
        let is_file = |descriptor: &OwnedFd| {
            let status = rustix::fs::fstat(descriptor).unwrap();
            rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile
        };
        said.stored.iter().filter(|(_, descriptor)| is_file(descriptor)).count()
    }

    /// From now on barriers are answered, or not.
    pub fn answer_barriers(&self, answers: bool) {
        self.heard.said.lock().unwrap().barriers = (!answers).then(Vec::new);
    }

    /// Forgets what is stored, as systemd does when a service is stopped and not started again.
    pub fn forget(&self) {
        self.heard.said.lock().unwrap().stored.clear();
    }

    fn hand_over(&self, mut launcher: UnixStream) {
        let mut said = self.heard.said.lock().unwrap();
        said.stored.retain(|(_, descriptor)| !is_hung_up(descriptor.as_fd()));
        let passed: Vec<(&str, BorrowedFd<'_>)> = { self.sockets.iter().chain(&said.stored) }
            .map(|(name, descriptor)| (name.as_str(), descriptor.as_fd()))
            .collect();
        let names: Vec<&str> = passed.iter().map(|(name, _)| *name).collect();
        let descriptors: Vec<BorrowedFd<'_>> = passed.iter().map(|(_, descriptor)| *descriptor).collect();
        launcher.set_read_timeout(Some(PATIENCE)).unwrap();
        launcher.write_all(format!("{}\n", serde_json::json!(names)).as_bytes()).unwrap();
        for some in descriptors.chunks(PER_MESSAGE_MAX) {
            launcher.read_exact(&mut [0]).unwrap();
            send(&launcher, b"\n", some);
        }
    }

    fn notify_path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Poisoned when the test has ended in the middle of a look.
        self.heard.said.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        // Wakes the thread, which then ends; without it, it ends with the test.
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"", self.notify_path()));
    }
}

impl Heard {
    fn listen(&self, socket: &UnixDatagram) {
        let mut text = vec![0; 64 * 1024];
        loop {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE_MAX))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut text)];
            let received = recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
            let length = received.unwrap().bytes;
            let mut descriptors = Vec::new();
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    descriptors.extend(some);
                }
            }
            let mut said = self.said.lock().unwrap();
            if said.is_over {
                return;
            }
            said.take(String::from_utf8_lossy(&text[..length]).into_owned(), descriptors);
            self.grew.notify_all();
        }
    }
}

impl Said {
    fn take(&mut self, message: String, descriptors: Vec<OwnedFd>) {
        let value =
            |name: &str| message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned);
        let name = value("FDNAME").unwrap_or_else(|| "stored".to_owned());
        if value("BARRIER").is_some() {
            // Whoever waits hears that its end was closed.
            if let Some(kept) = &mut self.barriers {
                kept.extend(descriptors);
            }
        } else if value("FDSTORE").is_some() {
            self.stored.extend(descriptors.into_iter().map(|descriptor| (name.clone(), descriptor)));
        } else if value("FDSTOREREMOVE").is_some() {
            self.stored.retain(|(stored, _)| *stored != name);
        }
        self.messages.push(message);
    }
}

fn send(socket: &impl AsFd, text: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    sendmsg(socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::empty()).unwrap();
}

/// Whether the peer of a connection is gone: systemd lets go of such a descriptor (EPOLLHUP, EPOLLERR).
fn is_hung_up(descriptor: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(descriptor, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&now)).unwrap() > 0
}

/// Gives `to` the environment and the folder of `from`.
fn copy_surroundings(from: &Command, to: &mut Command) {
    to.env_clear();
    for (name, value) in from.get_envs() {
        to.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = from.get_current_dir() {
        to.current_dir(folder);
    }
}
