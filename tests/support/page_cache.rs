//! The page cache from outside: what makes a film hot or cold, and the proof that it is.
//!
//! preadv2(2) with RWF_NOWAIT is the daemon's own question, so it is the proof too. But asking about a missing page
//! starts reading it; hence the film is evicted once more afterwards and fincore(1), which only looks, has the last word.
//! Hot is what is locked in memory: some machines run a page-out daemon (DAMON) that evicts single pages at any time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IoSliceMut, Read};
use std::net::UdpSocket;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::{PATIENCE, eventually, program, run};

/// Evicts every page of a film, and proves it.
///
/// # Panics
/// If reading would still not wait for the disk after many attempts.
pub fn make_cold(path: &Path) {
    let length = path.metadata().unwrap().len();
    let what = format!("{} is cold (never so on a file system in memory)", path.display());
    eventually(&what, PATIENCE, || {
        // A read that somebody began before, like a daemon that was killed, may still bring pages in: hence again.
        evict_from(path, 0);
        let is_cold = [0, length / 2, length - 1].iter().all(|offset| !is_hot_at(path, *offset));
        is_cold.then_some(())
    });
    evict_from(path, 0);
}

/// Evicts the pages of a film from `offset` (a multiple of the page size) to its end, and waits until they are gone.
pub fn evict_from(path: &Path, offset: u64) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    eventually("the pages are evicted", PATIENCE, || {
        // Pages still being read cannot be dropped, so this is tried again until none is left.
        fadvise(&file, offset, None, Advice::DontNeed).unwrap();
        let is_done = offset > 0 || resident_bytes(path) == 0;
        if !is_done {
            let_go_of_what_was_received();
        }
        is_done.then_some(())
    });
}

/// Has every processor let go of pages that sockets have received and given back: what another processor allocated waits there
/// until something arrives, which may be never on a quiet machine (skb_attempt_defer_free() of net/core/skbuff.c, Linux 5.19).
fn let_go_of_what_was_received() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        // New threads are spread over the processors, and loopback delivers where the sender runs.
        for _ in 0..2 * processors {
            scope.spawn(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.send_to(&[0], socket.local_addr().unwrap()).unwrap();
            });
        }
    });
}

/// Whether the byte at `offset` can be read without waiting for the disk. A miss makes the kernel read that page.
pub fn is_hot_at(path: &Path, offset: u64) -> bool {
    let file = File::open(path).unwrap();
    fadvise(&file, 0, None, Advice::Random).unwrap();
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    match preadv2(&file, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
        Ok(count) => count == 1,
        Err(Errno::AGAIN) => false,
        Err(error) => panic!("preadv2 of {}: {error}", path.display()),
    }
}

/// Reads a film once, so that all its pages are in memory.
pub fn make_hot(path: &Path) {
    let mut file = File::open(path).unwrap();
    io::copy(&mut file.by_ref(), &mut io::sink()).unwrap();
    let length = path.metadata().unwrap().len();
    assert!(is_hot_at(path, 0) && is_hot_at(path, length - 1));
}

/// A film whose pages are locked in memory for as long as this value lives: mlock(2) in a small process of its own.
pub struct Locked {
    keeper: Child,
}

impl Locked {
    /// Reads the whole film and locks it. Where the right is missing (RLIMIT_MEMLOCK) it is only read.
    pub fn hot(path: &Path) -> Locked {
        const LOCK: &str = "import ctypes, os, sys; c = ctypes.CDLL(None, use_errno=True); \
            c.mmap.restype = ctypes.c_void_p; n = os.path.getsize(sys.argv[1]); \
            a = c.mmap(None, ctypes.c_size_t(n), 1, 1, os.open(sys.argv[1], os.O_RDONLY), ctypes.c_long(0)); \
            print(c.mlock(ctypes.c_void_p(a), ctypes.c_size_t(n)), flush=True); sys.stdin.read()";
        make_hot(path);
        let mut python = program("python3");
        python.args(["-c", LOCK]).arg(path);
        let mut keeper = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said.trim() != "0" {
            println!("{} cannot be locked in memory; see ulimit -l", path.display());
        }
        Locked { keeper }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Its standard input ends when we do, so it would end without this as well.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Brings a film into memory page by page, then evicts the single page at `hole` (a multiple of 4096).
pub fn make_hot_but_for_one_page(path: &Path, hole: u64) {
    evict_from(path, 0);
    let file = File::open(path).unwrap();
    // Read ahead would bring large folios, of which no single page can be evicted.
    fadvise(&file, 0, None, Advice::Random).unwrap();
    for offset in (0..path.metadata().unwrap().len()).step_by(4096) {
        file.read_at(&mut [0], offset).unwrap();
    }
    let page = std::num::NonZeroU64::new(4096);
    fadvise(&file, hole, page, Advice::DontNeed).unwrap();
}

/// How many bytes of a film are in memory.
fn resident_bytes(path: &Path) -> u64 {
    let mut fincore = program("fincore");
    fincore.args(["--bytes", "--raw", "--noheadings", "--output", "RES"]);
    let found = run(fincore.arg(path), PATIENCE).succeeded();
    found.text().trim().parse().unwrap()
}
