//! A machine without io_uring: a small program that forbids io_uring_setup(2) by seccomp and then becomes the daemon.
//!
//! Hardened kernels and container runtimes do exactly this, so the daemon meets the real error and no switch of ours.

use std::time::Duration;

use tempfile::TempDir;

use super::{program, run, scratch};

const SOURCE: &str = include_str!("without_ring.c");

/// The compiled wrapper; dropping it removes the program.
pub struct WithoutRing {
    folder: TempDir,
}

impl WithoutRing {
    /// Compiles it.
    pub fn new() -> WithoutRing {
        std::fs::create_dir_all(scratch()).unwrap();
        let folder = tempfile::tempdir_in(scratch()).unwrap();
        let source = folder.path().join("without_ring.c");
        std::fs::write(&source, SOURCE).unwrap();
        let wrapper = WithoutRing { folder };
        let mut compiler = program("cc");
        compiler.args(["-Wall", "-Werror", "-O1", "-o", &wrapper.wrapper()[0]]);
        run(compiler.arg(&source), Duration::from_secs(60)).succeeded();
        wrapper
    }

    /// The words before a command that keep it from io_uring.
    pub fn wrapper(&self) -> Vec<String> {
        vec![self.folder.path().join("without-ring").to_str().unwrap().to_owned()]
    }
}
