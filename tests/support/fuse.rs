//! A library root that somebody else answers for, as late as is asked for: NFS, SMB or mergerfs on a bad day.
//!
//! `fuse.py` speaks the protocol of linux/fuse.h. It needs root and /dev/fuse.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;

use super::slow_disk::leave_out;
use super::{PATIENCE, eventually, program};

/// A mounted file system; dropping it unmounts it.
pub struct Distant {
    /// Where it is mounted. Any file whose name ends in `.mp4` is there.
    pub folder: PathBuf,
    delays: PathBuf,
    server: Child,
}

impl Distant {
    /// Mounts one in `folder`, or none with the reason printed, where the machine may be one that cannot: a developer's.
    ///
    /// # Panics
    /// With the reason, if the environment has CI: what nobody runs there nobody runs at all.
    pub fn if_possible(folder: &Path) -> Option<Distant> {
        Distant::mounted_in(folder).map_err(|reason| leave_out(&reason, std::env::var_os("CI").is_some())).ok()
    }

    /// Mounts one in `folder`, or says why this machine cannot.
    fn mounted_in(folder: &Path) -> Result<Distant, String> {
        let (mount, delays) = (folder.join("distant"), folder.join("delays"));
        std::fs::create_dir(&mount).unwrap();
        std::fs::write(&delays, "").unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fuse.py");
        let mut python = program("python3");
        python.arg(script).args([&mount, &delays]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = python.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() == "mounted" {
            return Ok(Distant { folder: mount, delays, server });
        }
        let said = server.wait_with_output().unwrap();
        Err(String::from_utf8_lossy(&said.stderr).lines().last().unwrap_or("it said nothing").to_owned())
    }

    /// From now on answers to requests of this kind (`OPEN`, `GETATTR`, `FLUSH` …) are so many seconds late.
    pub fn delay(&self, request: &str, seconds: u32) {
        std::fs::write(&self.delays, format!("{request}={seconds}\n")).unwrap();
    }

    /// From now on such requests are answered with this error.
    pub fn fail(&self, request: &str, error: Errno) {
        std::fs::write(&self.delays, format!("{request}=-{}\n", error.raw_os_error())).unwrap();
    }
}

impl Drop for Distant {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.delays, "");
        // By force, because containers and services that were started meanwhile have copies of the mount for as long as they run.
        let unmounted = Command::new("umount").args(["--force", "--lazy"]).arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.folder.display());
        }
        eventually("the file system ends", PATIENCE, || self.server.try_wait().unwrap().map(drop));
    }
}
