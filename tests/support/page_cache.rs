//! The page cache from outside: what makes a film hot or cold, and the proof that it is.
//!
//! preadv2(2) with RWF_NOWAIT is the daemon's own question, so it is the proof too. But asking about a missing page
//! starts reading it; hence the film is evicted once more afterwards and fincore(1), which only looks, has the last word.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::{PATIENCE, eventually, program, run};

/// Evicts every page of a film, and proves it.
///
/// # Panics
/// If pages stay, or if reading would still not wait for the disk.
pub fn make_cold(path: &Path) {
    evict_from(path, 0);
    let length = path.metadata().unwrap().len();
    for offset in [0, length / 2, length - 1] {
        assert!(
            !is_hot_at(path, offset),
            "{} is still hot at {offset}; is it on a file system in memory?",
            path.display()
        );
    }
    evict_from(path, 0);
}

/// Evicts the pages of a film from `offset` (a multiple of the page size) to its end, and waits until they are gone.
pub fn evict_from(path: &Path, offset: u64) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    eventually("the pages are evicted", PATIENCE, || {
        // Pages still being read cannot be dropped, so this is tried again until none is left.
        fadvise(&file, offset, None, Advice::DontNeed).unwrap();
        (offset > 0 || resident_bytes(path) == 0).then_some(())
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

/// How many bytes of a film are in memory.
fn resident_bytes(path: &Path) -> u64 {
    let mut fincore = program("fincore");
    fincore.args(["--bytes", "--raw", "--noheadings", "--output", "RES"]);
    let found = run(fincore.arg(path), PATIENCE).succeeded();
    found.text().trim().parse().unwrap()
}
