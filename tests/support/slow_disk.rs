//! A slow disk on demand: a cgroup whose processes read at a few MB/s, as from an old or busy hard disk.
//!
//! On a fast SSD a shard that waits for the disk looks almost like one that does not. Throttled, one blocking read
//! lasts longer than any scheduling noise. Version 1 (`blkio.throttle.read_bps_device`) and version 2 (`io.max`);
//! both need root. Documentation/admin-guide/cgroup-v1/blkio-controller.rst, cgroup-v2.rst.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A throttled group; dropping it lifts the limit and removes it.
pub struct SlowDisk {
    group: PathBuf,
    limit_file: &'static str,
    unlimited: String,
}

impl SlowDisk {
    /// Makes a group that reads `bytes_per_second` from the disk that holds `path`.
    ///
    /// # Errors
    /// A sentence that says why this machine cannot.
    pub fn new(path: &Path, bytes_per_second: u64) -> Result<SlowDisk, String> {
        let disk = disk_of(path)?;
        let version_1 = Path::new("/sys/fs/cgroup/blkio");
        if version_1.join("blkio.throttle.read_bps_device").exists() {
            let limit_file = "blkio.throttle.read_bps_device";
            let limit = format!("{disk} {bytes_per_second}");
            return SlowDisk::make(version_1, limit_file, &limit, format!("{disk} 0"));
        }
        let limit = format!("{disk} rbps={bytes_per_second}");
        let unlimited = format!("{disk} rbps=max");
        SlowDisk::make(Path::new("/sys/fs/cgroup"), "io.max", &limit, unlimited)
    }

    /// The same, or none with the reason printed, where the machine may be one that cannot: a developer's.
    ///
    /// # Panics
    /// With the reason, if the environment has CI: what nobody runs there nobody runs at all.
    pub fn if_possible(path: &Path, bytes_per_second: u64) -> Option<SlowDisk> {
        SlowDisk::new(path, bytes_per_second)
            .map_err(|reason| leave_out(&reason, std::env::var_os("CI").is_some()))
            .ok()
    }

    fn make(root: &Path, limit_file: &'static str, limit: &str, unlimited: String) -> Result<SlowDisk, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = root.join(format!("reelway-e2e-{}-{number}", std::process::id()));
        fs::create_dir(&group).map_err(|error| format!("cannot make the cgroup {}: {error}", group.display()))?;
        let disk = SlowDisk { group, limit_file, unlimited };
        fs::write(disk.group.join(limit_file), limit)
            .map_err(|error| format!("cannot write {limit:?} to {limit_file}: {error}"))?;
        Ok(disk)
    }

    /// The words before a command that put it into the group.
    pub fn wrapper(&self) -> Vec<String> {
        let members = self.group.join("cgroup.procs");
        let join = format!("echo $$ > {} && exec \"$@\"", members.display());
        ["sh", "-c", &join, "sh"].map(str::to_owned).to_vec()
    }

    /// Lifts the limit; reads that wait in it go on at once.
    pub fn lift(&self) {
        fs::write(self.group.join(self.limit_file), &self.unlimited).unwrap();
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // A group that was only half made has no limit to lift.
        let _ = fs::write(self.group.join(self.limit_file), &self.unlimited);
        let deadline = Instant::now() + PATIENCE;
        // Its last process may still be ending; the kernel does not announce when a group becomes empty.
        while fs::remove_dir(&self.group).is_err() {
            if Instant::now() > deadline {
                eprintln!("{} could not be removed", self.group.display());
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Says why a test is left out.
///
/// # Panics
/// If it `is_required`.
pub fn leave_out(reason: &str, is_required: bool) {
    assert!(
        !is_required,
        "CI is set, so this test is not left out, and this machine cannot make the disk it needs: {reason}; run as root, \
         where the disk's cgroup can be throttled and /dev/fuse is, or unset CI to leave the test out"
    );
    println!("left out, because this machine cannot make the disk it needs: {reason}");
}

/// `major:minor` of the whole disk that holds `path`; limits cannot be set on a partition.
fn disk_of(path: &Path) -> Result<String, String> {
    let device = path.metadata().map_err(|error| error.to_string())?.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let known = fs::canonicalize(format!("/sys/dev/block/{number}"))
        .map_err(|_| format!("{} is not on a block device ({number})", path.display()))?;
    if !known.join("partition").exists() {
        return Ok(number);
    }
    let whole = known.parent().ok_or("a partition without a disk")?;
    fs::read_to_string(whole.join("dev")).map(|text| text.trim().to_owned()).map_err(|error| error.to_string())
}
