//! Small files that are written whole or not at all, also when the power goes: a draft beside the place, on the disk before it
//! takes the place, and the folder on the disk after that (rename(2), fsync(2)).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Puts a file with these bytes and permission bits at `path`, in place of what is there: of a link, too, and not of what that
/// leads to. Folders that are missing are made.
///
/// # Errors
/// What the file system says. What was there is there still, unless it was the last step that failed.
pub fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(folder)?;
    for parent in missing.iter().filter_map(|folder| folder.parent()) {
        sync_folder(parent)?;
    }
    // A name that begins with a dot is read by nobody.
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        // One of this number was killed, if there was any.
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode & 0o777)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    written.inspect_err(|_| {
        // What is left of it is in nobody's way.
        let _ = fs::remove_file(&draft);
    })?;
    sync_folder(folder)
}

/// Has the names in a folder on the disk. Of a name alone the folder is the one we are in.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            entries.collect::<Vec<_>>()
        };
        let path = folder.path().join("conf.d/a.toml");
        for (mode, bytes) in [(0o644, "first"), (0o4600, "second, and longer")] {
            replace(&path, mode, bytes.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode & 0o777);
            assert_eq!(names(path.parent().unwrap()), ["a.toml"], "no draft is left");
        }
        // Whoever was killed has left a draft of the same number.
        fs::write(path.with_file_name(format!(".a.toml.{}", std::process::id())), "left").unwrap();
        replace(&path, 0o600, b"third").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(path.parent().unwrap()).len()), ("third", 1));
        // A folder gives its place to no file.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, 0o600, b"x").is_err());
        assert_eq!(names(folder.path()).len(), 2, "no draft is left of a failure either");
    }
}
