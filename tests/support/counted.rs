//! How often a daemon asks for memory, thread by thread: a small library between it and the C library's allocator.
//!
//! Loaded by LD_PRELOAD into the real binary, so that every allocation is seen, whoever makes it.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{compile_preloaded, scratch};

const SOURCE: &str = include_str!("counted.c");

/// The compiled library, and the file it counts in; dropping it removes both.
pub struct Counted {
    folder: TempDir,
}

impl Counted {
    /// Compiles it.
    pub fn new() -> Counted {
        fs::create_dir_all(scratch()).unwrap();
        let counted = Counted { folder: tempfile::tempdir_in(scratch()).unwrap() };
        fs::write(counted.path("counted.c"), SOURCE).unwrap();
        compile_preloaded(&counted.path("counted.c"), &counted.path("counted.so"), &["-fno-builtin"]);
        counted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The words before a command whose allocations are counted.
    pub fn wrapper(&self) -> Vec<String> {
        let (library, rows) = (self.path("counted.so"), self.path("rows"));
        let preload = format!("LD_PRELOAD={}", library.display());
        vec!["env".to_owned(), preload, format!("ALLOCATIONS_COUNTED_IN={}", rows.display())]
    }

    /// How often this thread has asked for memory.
    pub fn asked_by(&self, thread: u32) -> u64 {
        let bytes = fs::read(self.path("rows")).unwrap();
        let numbers: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
        let rows = numbers.chunks_exact(2);
        rows.filter(|row| row[0] == u64::from(thread)).map(|row| row[1]).sum()
    }
}
