//! Where a path is mounted: from /proc/self/mountinfo (proc(5)) and /etc/fstab (fstab(5)), read as texts.

use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// Its type, as mount(8) names it.
    pub kind: String,
    /// The disk, or the server and its folder.
    pub source: String,
    /// How it was mounted.
    pub options: String,
    /// How /etc/fstab mounts it, if that does.
    pub listed: Option<Listed>,
}

/// A line of /etc/fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Listed {
    /// The options of the line.
    pub options: String,
}

/// What says who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Permissions {
    /// Each file has an owner, a group and a mode.
    Files,
    /// The mount options hold for all files: FAT and its kin.
    Mount,
    /// A server decides.
    Server,
}

impl Mount {
    /// The mount that `path`, an absolute path without links, is in.
    pub fn of(path: &Path) -> Option<Mount> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let fstab = std::fs::read_to_string("/etc/fstab").unwrap_or_default();
        find(path, &mounts, &fstab)
    }

    /// A folder at or above `path` on which fstab(5) says that something is mounted, where nothing is.
    pub fn missing_above(path: &Path) -> Option<PathBuf> {
        let read = |table| std::fs::read_to_string(table).unwrap_or_default();
        missing_above(path, &read("/proc/self/mountinfo"), &read("/etc/fstab"))
    }

    /// Who decides who may read.
    pub fn permissions(&self) -> Permissions {
        match self.kind.as_str() {
            "vfat" | "msdos" | "exfat" | "ntfs" | "ntfs3" | "fuseblk" | "fuse.exfat" => Permissions::Mount,
            "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "ceph" | "afs" | "fuse.sshfs" | "fuse.glusterfs"
            | "fuse.rclone" | "davfs" | "fuse.davfs2" => Permissions::Server,
            _ => Permissions::Files,
        }
    }

    /// Whether the machine starts without it: a disk that may be away, or that somebody mounts by hand.
    pub fn may_be_away(&self) -> bool {
        let word = |word: &str| self.listed.as_ref().is_some_and(|listed| listed.has(word));
        self.listed.is_none()
            || ["nofail", "noauto", "x-systemd.automount"].into_iter().any(word)
            || self.permissions() == Permissions::Server
    }

    /// Whether it is there for every machine: nothing has to wait for it.
    pub fn is_root(&self) -> bool {
        self.point == Path::new("/")
    }

    /// The name of its unit: `/mnt/films` is `mnt-films.mount` (systemd.unit(5), "String escaping").
    pub fn unit(&self) -> String {
        format!("{}.mount", escape(&self.point.to_string_lossy()))
    }
}

impl Listed {
    fn has(&self, word: &str) -> bool {
        self.options.split(',').any(|option| option == word)
    }
}

fn find(path: &Path, mounts: &str, fstab: &str) -> Option<Mount> {
    // Of two at one point the later one covers the other; an automount point is covered by what it mounts.
    let found = mounts.lines().filter_map(mount).filter(|mount| path.starts_with(&mount.point));
    let mut mount =
        found.filter(|mount| mount.kind != "autofs").fold(None, |best: Option<Mount>, next| match best {
            Some(best) if best.point.as_os_str().len() > next.point.as_os_str().len() => Some(best),
            _ => Some(next),
        })?;
    let entry = fstab.lines().filter_map(entry).find(|(point, _)| *point == mount.point);
    mount.listed = entry.map(|(_, options)| Listed { options: options.to_owned() });
    Some(mount)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let point = before.split(' ').nth(4)?;
    let options = before.split(' ').nth(5)?;
    let mut after = after.split(' ');
    let (kind, source, more) = (after.next()?, after.next()?, after.next().unwrap_or_default());
    Some(Mount {
        point: PathBuf::from(unescape(point)),
        kind: kind.to_owned(),
        source: unescape(source),
        options: format!("{options},{more}"),
        listed: None,
    })
}

fn missing_above(path: &Path, mounts: &str, fstab: &str) -> Option<PathBuf> {
    let is_mounted = |point: &Path| mounts.lines().filter_map(mount).any(|mount| mount.point == point);
    let promised = fstab.lines().filter_map(entry).map(|(point, _)| point);
    let mut above = promised.filter(|point| point != Path::new("/") && path.starts_with(point));
    above.find(|point| !is_mounted(point))
}

/// A line of fstab: where to, and the options. Swap has no place.
fn entry(line: &str) -> Option<(PathBuf, &str)> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let (_source, point, _kind) = (words.next()?, words.next()?, words.next()?);
    point.starts_with('/').then(|| (PathBuf::from(unescape(point)), words.next().unwrap_or("defaults")))
}

/// `\040` is a space there.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(path: &str) -> String {
    let inner: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let joined = inner.join("/");
    let mut escaped = String::new();
    for (index, byte) in joined.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if index == 0 => escaped.push_str("\\x2e"),
            byte if byte.is_ascii_alphanumeric() || b":_.".contains(&byte) => escaped.push(char::from(byte)),
            byte => escaped += &format!("\\x{byte:02x}"),
        }
    }
    if escaped.is_empty() { "-".to_owned() } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:2 / /home rw - ext4 /dev/sda2 rw
40 22 0:50 / /mnt/nas rw - autofs systemd-1 rw,fd=44
41 40 0:51 / /mnt/nas rw - nfs4 server:/films rw,vers=4.2
50 22 8:17 / /media/ann/My\\040Disk rw,nosuid - vfat /dev/sdb1 rw,fmask=0077
60 22 8:18 / /mnt/film rw - xfs /dev/sdc1 rw
";
    const FSTAB: &str = "\
# <file system> <mount point> <type> <options>
/dev/sda1 / ext4 errors=remount-ro 0 1
UUID=1-2 /home ext4 defaults 0 2
server:/films /mnt/nas nfs4 x-systemd.automount 0 0
LABEL=x /mnt/film xfs nofail 0 2
";

    #[test]
    fn the_nearest_mount_above_a_path_is_found() {
        for (path, point, kind, permissions, may_be_away, unit) in [
            ("/srv/films", "/", "ext4", Permissions::Files, false, "-.mount"),
            ("/home/ann/Videos", "/home", "ext4", Permissions::Files, false, "home.mount"),
            ("/homes/ann", "/", "ext4", Permissions::Files, false, "-.mount"),
            ("/mnt/nas/a", "/mnt/nas", "nfs4", Permissions::Server, true, "mnt-nas.mount"),
            ("/mnt/film", "/mnt/film", "xfs", Permissions::Files, true, "mnt-film.mount"),
            ("/mnt/films", "/", "ext4", Permissions::Files, false, "-.mount"),
            (
                "/media/ann/My Disk/x",
                "/media/ann/My Disk",
                "vfat",
                Permissions::Mount,
                true,
                "media-ann-My\\x20Disk.mount",
            ),
        ] {
            let mount = find(Path::new(path), MOUNTS, FSTAB).unwrap();
            assert_eq!((mount.point.to_str().unwrap(), mount.kind.as_str()), (point, kind), "{path}");
            assert_eq!((mount.permissions(), mount.may_be_away()), (permissions, may_be_away), "{path}");
            assert_eq!(mount.unit(), unit, "{path}");
        }
        assert_eq!(find(Path::new("/x"), "", ""), None);
    }

    #[test]
    fn what_is_promised_and_not_mounted_is_found() {
        let fstab = "UUID=1 none swap sw 0 0\nLABEL=x /mnt/my\\011films xfs nofail 0 2\n".to_owned() + FSTAB;
        let missing = |path: &str, mounts: &str| missing_above(Path::new(path), mounts, &fstab);
        assert_eq!(missing("/mnt/my\tfilms/new", MOUNTS), Some("/mnt/my\tfilms".into()));
        assert_eq!(missing("/mnt/film/new", MOUNTS), None);
        assert_eq!(missing("/mnt/film/new", ""), Some("/mnt/film".into()));
        assert_eq!(missing("/srv/films", ""), None, "without / nobody would ask");
    }
}
