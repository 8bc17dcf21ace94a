//! One thread of a process, stopped, while the others run on: ptrace(2), by a small program, so that the product needs no hook.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::program;

/// Stops the thread until its standard input ends; then, or when it dies, the kernel lets the thread go on.
const STOP: &str = "\
import ctypes, os, sys
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
thread = int(sys.argv[1])
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, thread, 0, 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, WALL)
print('stopped', flush=True)
sys.stdin.read()
";

/// A stopped thread, until dropped.
pub struct Stopped(Child);

impl Stopped {
    /// Stops the thread of this name of a process.
    pub fn thread(process: u32, name: &str) -> Stopped {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let found = tasks
            .map(|entry| entry.unwrap().path())
            .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|found| found.trim_end() == name));
        let thread = found.unwrap_or_else(|| panic!("no thread is called {name}"));
        let mut python = program("python3");
        python.args(["-c", STOP]).arg(thread.file_name().unwrap());
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "stopped", "the thread {name} could not be stopped");
        Stopped(child)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
