//! A machine that sleeps: a small library between a daemon and its clocks, which lets any time pass while it is asleep.
//!
//! Loaded by LD_PRELOAD into the real binary. The calendar and the clock of the time since boot jump, the one that stands
//! still during suspend does not: what Linux shows to a process after a real night (clock_gettime(2)).

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{compile_preloaded, scratch};

const SOURCE: &str = include_str!("asleep.c");

/// The compiled library, and the file with the time slept; dropping it removes both.
pub struct Asleep {
    folder: TempDir,
}

impl Asleep {
    /// Compiles it. So far nobody has slept.
    pub fn new() -> Asleep {
        fs::create_dir_all(scratch()).unwrap();
        let asleep = Asleep { folder: tempfile::tempdir_in(scratch()).unwrap() };
        fs::write(asleep.path("asleep.c"), SOURCE).unwrap();
        fs::write(asleep.path("seconds"), 0_i64.to_ne_bytes()).unwrap();
        compile_preloaded(&asleep.path("asleep.c"), &asleep.path("asleep.so"), &[]);
        asleep
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The words before a command that lives on this machine.
    pub fn wrapper(&self) -> Vec<String> {
        let (library, seconds) = (self.path("asleep.so"), self.path("seconds"));
        let preload = format!("LD_PRELOAD={}", library.display());
        vec!["env".to_owned(), preload, format!("ASLEEP_SECONDS_IN={}", seconds.display())]
    }

    /// From now on the machine has slept for so long in all.
    pub fn slept(&self, seconds: i64) {
        // In place: it is mapped by those who live on the machine.
        let file = fs::File::options().write(true).open(self.path("seconds")).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}
