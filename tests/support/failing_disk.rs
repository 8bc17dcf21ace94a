//! A disk that fails: a file system in a file whose end is cut off while it is mounted, so that the kernel answers EIO for what
//! lay there (loop(4)).
//!
//! It is mounted in a mount namespace that only the daemon has, so it is gone with the daemon, however that ends.

use std::fs::{self, File};
use std::path::PathBuf;

use tempfile::TempDir;

use super::films::{MIB, Pattern};
use super::{PATIENCE, program, run, scratch};

/// The film on it.
pub const FILM: &str = "on-the-failing-disk.mp4";
/// Its length.
pub const FILM_BYTES: u64 = 48 * MIB;
/// Where the disk fails from, in the file that holds it. The film begins before that, and ends behind it.
const FAILS_FROM: u64 = 24 * MIB;

/// The disk; dropping it removes it.
pub struct FailingDisk {
    /// Where the daemon finds it.
    pub folder: PathBuf,
    image: PathBuf,
    _place: TempDir,
}

impl FailingDisk {
    /// Makes one that is still well.
    ///
    /// # Errors
    /// A sentence that says why this machine cannot.
    pub fn new() -> Result<FailingDisk, String> {
        fs::create_dir_all(scratch()).unwrap();
        let place = tempfile::tempdir_in(scratch()).unwrap();
        let (content, folder) = (place.path().join("content"), place.path().join("disk"));
        fs::create_dir(&content).unwrap();
        fs::create_dir(&folder).unwrap();
        Pattern::of(FILM).write(&content.join(FILM), FILM_BYTES);
        let image = place.path().join("image");
        let mut make = program("mkfs.ext4");
        make.args(["-q", "-O", "^has_journal", "-m", "0", "-d"]).arg(&content).arg(&image).arg("64M");
        run(&mut make, PATIENCE).succeeded();
        fs::remove_dir_all(&content).unwrap();
        let disk = FailingDisk { folder, image, _place: place };
        let words = disk.wrapper();
        let tried = run(program(&words[0]).args(&words[1..]).arg("true"), PATIENCE);
        if tried.code == Some(0) { Ok(disk) } else { Err(tried.everything()) }
    }

    /// The words before a command that has this disk.
    pub fn wrapper(&self) -> Vec<String> {
        let (image, folder) = (self.image.display(), self.folder.display());
        let mount = format!("mount -t ext4 -o loop,ro '{image}' '{folder}' && exec \"$@\"");
        ["unshare", "--mount", "sh", "-c", &mount, "sh"].map(str::to_owned).to_vec()
    }

    /// From now on it cannot be read from a place within the film on.
    pub fn fail(&self) {
        File::options().write(true).open(&self.image).unwrap().set_len(FAILS_FROM).unwrap();
    }
}
