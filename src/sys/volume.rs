//! How much room a file system has (statvfs(3)).

use std::io;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

/// Room on a file system, as somebody who is not root finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can be written.
    pub free_bytes: u64,
    /// Bytes of all of it.
    pub total_bytes: u64,
    /// Whether another file can be made; file systems that do not count files always say so.
    pub has_free_files: bool,
    /// Whether it is mounted so that nothing can be written.
    pub is_read_only: bool,
}

/// The room of the file system that `path` is on.
///
/// # Errors
/// What statvfs(3) says.
pub fn room(path: &Path) -> io::Result<Room> {
    let found = statvfs(path)?;
    Ok(Room {
        free_bytes: found.blocks_available().saturating_mul(found.fragment_size()),
        total_bytes: found.blocks().saturating_mul(found.fragment_size()),
        has_free_files: found.files() == 0 || found.files_available() > 0,
        is_read_only: found.flags().contains(FsFlags::ST_RDONLY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_has_room_and_a_missing_one_none() {
        let folder = tempfile::tempdir().unwrap();
        let found = room(folder.path()).unwrap();
        assert!(found.free_bytes > 0 && found.free_bytes <= found.total_bytes && !found.is_read_only);
        assert!(room(&folder.path().join("missing")).is_err());
    }
}
