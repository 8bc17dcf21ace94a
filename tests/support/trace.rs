//! System calls of a daemon, seen by strace(1): the only witness that no byte passed through user space.
//!
//! strace runs as a detached grandchild (`-D`), so that the daemon itself stays the child of the test and is ended by
//! its own handle. One file a thread (`-ff`), so no call is torn in two lines; `-yy` names what each descriptor is.

use std::fs;
use std::path::{Path, PathBuf};

use super::{PATIENCE, eventually, program};

/// Calls that move or read bytes, or open and look at files.
const WATCHED: &str = "trace=read,pread64,readv,preadv,preadv2,write,writev,pwrite64,pwritev,pwritev2,send,sendto,\
                       sendmsg,sendmmsg,sendfile,splice,tee,vmsplice,copy_file_range,mmap,openat,openat2,statx";

/// Where a trace is written.
pub struct Trace {
    folder: PathBuf,
    watched: &'static str,
    /// Characters of a string that are shown.
    shown: &'static str,
}

/// One system call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Name of the call.
    pub name: String,
    /// The arguments as strace prints them.
    pub arguments: String,
    /// What it returned; -1 for errors.
    pub result: i64,
    /// How long it took.
    pub seconds: f64,
    /// The thread that made it.
    pub thread: u32,
}

impl Call {
    /// The first argument, with what the descriptor is.
    fn first_argument(&self) -> &str {
        self.arguments.split(", ").next().unwrap_or_default()
    }

    /// Bytes that went from kernel memory straight to a TCP socket.
    pub fn zero_copy_bytes(&self) -> u64 {
        let is_to_socket = match self.name.as_str() {
            "sendfile" => self.first_argument().contains("<TCP"),
            // The source of a splice is its first argument: a pipe, when the target is a socket.
            "splice" => self.first_argument().contains("<pipe:") && self.arguments.contains("<TCP"),
            _ => false,
        };
        if is_to_socket { self.result.max(0).unsigned_abs() } else { 0 }
    }

    /// Bytes that went from user memory to a TCP socket.
    pub fn copied_bytes(&self) -> u64 {
        let is_write = matches!(
            self.name.as_str(),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "send" | "sendto" | "sendmsg" | "sendmmsg"
        );
        if is_write && self.first_argument().contains("<TCP") { self.result.max(0).unsigned_abs() } else { 0 }
    }

    /// Whether it brings bytes of the file `name` into user memory: more than the one-byte question "hot or cold?".
    pub fn reads_file_data(&self, name: &str) -> bool {
        let is_about_file = self.arguments.contains(name);
        match self.name.as_str() {
            "read" | "pread64" | "readv" | "preadv" | "mmap" | "copy_file_range" => is_about_file && self.result > 0,
            "preadv2" => is_about_file && self.result > 1,
            _ => false,
        }
    }

    /// Whether it brings bytes of user memory into a pipe, and so perhaps to a socket.
    pub fn fills_pipe_from_memory(&self) -> bool {
        match self.name.as_str() {
            "vmsplice" => true,
            // The log is a pipe as well; it is descriptor 2.
            "write" | "writev" => self.first_argument().contains("<pipe:") && !self.arguments.starts_with("2<"),
            _ => false,
        }
    }
}

impl Trace {
    /// A trace into a new folder.
    pub fn into(folder: PathBuf) -> Trace {
        fs::create_dir(&folder).unwrap();
        Trace { folder, watched: WATCHED, shown: "0" }
    }

    /// The same of every call, with the beginning of what it carries.
    pub fn of_everything(folder: PathBuf) -> Trace {
        Trace { watched: "trace=all", shown: "32", ..Trace::into(folder) }
    }

    /// The words before a command that trace it.
    pub fn wrapper(&self) -> Vec<String> {
        // Looked up here, so that a missing strace is named.
        drop(program("strace"));
        let prefix = self.folder.join("thread");
        let words = ["strace", "-D", "-q", "-ff", "--seccomp-bpf", "-T", "-yy"];
        let rest = ["-s", self.shown, "-e", self.watched, "-e", "signal=none", "-o"];
        let mut all: Vec<String> = words.into_iter().chain(rest).map(str::to_owned).collect();
        all.push(prefix.to_str().unwrap().to_owned());
        all
    }

    /// All calls, once the daemon has ended and strace has written its last line.
    pub fn calls(&self) -> Vec<Call> {
        eventually("strace has written everything", PATIENCE, || {
            let texts = self.texts();
            let is_whole =
                |(_, text): &(u32, String)| text.lines().next_back().is_some_and(|line| line.starts_with("+++ "));
            (!texts.is_empty() && texts.iter().all(is_whole)).then(|| {
                let lines =
                    texts.iter().flat_map(|(thread, text)| text.lines().filter_map(|line| parse(line, *thread)));
                lines.collect()
            })
        })
    }

    fn texts(&self) -> Vec<(u32, String)> {
        let files = fs::read_dir(&self.folder).unwrap();
        files.map(|file| text_of(&file.unwrap().path())).collect()
    }
}

fn text_of(path: &Path) -> (u32, String) {
    let thread = path.extension().unwrap().to_str().unwrap();
    let bytes = fs::read(path).unwrap();
    (thread.parse().unwrap(), String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads `name(arguments) = result <seconds>`; other lines (signals, the end of a thread) are none.
fn parse(line: &str, thread: u32) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, outcome) = rest.rsplit_once(" = ")?;
    let (outcome, seconds) = outcome.rsplit_once('<')?;
    let result = outcome.split([' ', '<']).next()?;
    let result = match result.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok()?,
        None => result.parse().ok()?,
    };
    Some(Call {
        name: name.to_owned(),
        arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
        result,
        seconds: seconds.strip_suffix('>')?.parse().ok()?,
        thread,
    })
}
