//! `reelway backup FILE`: what cannot be made again, in one file.
//!
//! The one idea: whoever runs this owns the file, and whoever owns the state reads the database. So root stays root for the
//! file, and is the state's owner only while what lies in the state is opened, and the database closed, which may leave a log
//! beside it. What is opened by its name again, as SQLite does, lies where nobody else can put another thing under that name:
//! never beside the file, whose folder may be anybody's. The file has its name only once it is whole and on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Cursor, ErrorKind, IsTerminal, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use crate::cli::archive::{self, CONFIGURATION, DATABASE, KEY, Manifest, Member, PREVIOUS_KEYS, SMALL_BYTES_MAX};
use crate::cli::print;
use crate::config::{Config, Loaded};
use crate::store::Timestamp;
use crate::store::backup::{Contents, Original};
use crate::sys::process;

/// Where copies are made: folders that stay on a disk and that everybody shares, so that nobody can move what is another's.
const SCRATCH_FOLDERS: [&str; 2] = ["/var/tmp", "/tmp"];

/// The file of the state whose time is the one of the last backup.
const NOTE: &str = "backup.last";

#[derive(Args)]
pub(super) struct BackupVerb {
    /// The file to make, a tar; `-` is standard output
    file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(BackupVerb { file, force, json }: BackupVerb, loaded: &Loaded) -> anyhow::Result<()> {
    let mut target = Target::open(&file, force)?;
    let mut made = make(&mut target, loaded).with_context(|| format!("no backup was made of {}", state(loaded)))?;
    let kept_mode = target.keep().with_context(|| format!("no backup was made at {}", file.display()))?;
    if kept_mode.is_some_and(|mode| mode & 0o077 != 0) {
        let file = file.display();
        made.1.push(format!(
            "{file} is not private: its file system gives it to others too, and the signing key is in it"
        ));
    }
    note(&loaded.config);
    let told = match json {
        true => format!("{:#}\n", json!({"file": file.to_string_lossy(), "manifest": made.0, "notes": made.1})),
        false => sentence(&file, &made),
    };
    // Where the backup went to standard output, nothing else may.
    if file.as_os_str() == "-" {
        eprint!("{told}");
        return Ok(());
    }
    print(&told)
}

/// When the last backup of this state was made, if one was.
pub(super) fn last(config: &Config) -> io::Result<std::time::SystemTime> {
    fs::metadata(config.directories.state.join(NOTE))?.modified()
}

fn state(loaded: &Loaded) -> String {
    loaded.config.directories.state.display().to_string()
}

fn sentence(file: &Path, (manifest, notes): &(Manifest, Vec<String>)) -> String {
    let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    let (file, users, schema) = (file.display(), manifest.users, manifest.schema);
    let accounts = if users == 1 { "account" } else { "accounts" };
    format!("{notes}backed up to {file}: {users} {accounts}, schema {schema}\n")
}

/// Puts everything into `target`. What it holds, and what it does not.
fn make(target: &mut Target, loaded: &Loaded) -> anyhow::Result<(Manifest, Vec<String>)> {
    let config = &loaded.config;
    let (contents, database) = copy_database(config, &target.scratch.0.join(DATABASE))?;
    let mut members = vec![Member::new(DATABASE, 0o600, Content::File(database))?];
    let mut notes = Vec::new();
    members.extend(keys(config, &mut notes)?);
    members.extend(configuration(loaded)?);
    let now = Timestamp::now();
    let made_by = (env!("CARGO_PKG_VERSION"), contents.schema, contents.users);
    let made_at = (now.to_rfc3339(), u64::try_from(now.seconds()).unwrap_or(0));
    let manifest = archive::write(target, made_by, made_at, members)?;
    Ok((manifest, notes))
}

/// A consistent copy of the database, open.
fn copy_database(config: &Config, copy: &Path) -> anyhow::Result<(Contents, File)> {
    let file = config.directories.database_file();
    // SQLite's own words for this would be about an owner and a mode.
    match fs::metadata(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "there is no database {}: the daemon has not run yet, or its STATE_DIRECTORY is another",
                file.display()
            )
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{} is not for us; run this as root", file.display()));
        }
        Ok(_) => {}
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    let original = process::as_owner_of(folder, || Original::open(&file))??;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy)?;
    let copied = original.copy_to(copy);
    // What is closed may be removed or made beside it.
    process::as_owner_of(folder, || drop(original))?;
    Ok((copied?, File::open(copy)?))
}

/// The signing keys that lie in files.
fn keys(config: &Config, notes: &mut Vec<String>) -> anyhow::Result<Vec<Member<Content>>> {
    let state = &config.directories.state;
    let key = config.auth.jwt_key_file.clone().unwrap_or_else(|| state.join("jwt.key"));
    let mut members = Vec::new();
    for (name, path) in [(KEY, key), (PREVIOUS_KEYS, state.join("jwt.previous"))] {
        // What is in the state is its owner's, who may have put a link there to what root alone may read.
        let read = match path.starts_with(state) {
            true => process::as_owner_of(state, || small(&path)).and_then(|read| read),
            false => small(&path),
        };
        match read {
            Ok((_, bytes)) => members.push(Member::new(name, 0o600, Content::Bytes(Cursor::new(bytes)))?),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if name == KEY {
                    let path = path.display();
                    notes.push(format!("{path} is not there: a key that systemd hands over is not in the backup"));
                }
            }
            Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
        }
    }
    Ok(members)
}

/// The files of the configuration in force.
fn configuration(loaded: &Loaded) -> anyhow::Result<Vec<Member<Content>>> {
    let member = |path: &PathBuf| {
        let (mode, bytes) = small(path).with_context(|| format!("could not read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_drop_in = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "conf.d");
        let name =
            if is_drop_in { format!("{CONFIGURATION}conf.d/{name}") } else { format!("{CONFIGURATION}reelway.toml") };
        Ok(Member::new(name, mode, Content::Bytes(Cursor::new(bytes)))?)
    };
    loaded.files.iter().map(member).collect()
}

/// Mode and bytes of a file that is small.
pub(super) fn small(path: &Path) -> io::Result<(u32, Vec<u8>)> {
    let file = process::open_regular(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > SMALL_BYTES_MAX {
        let length = metadata.len();
        return Err(io::Error::other(format!("it has {length} bytes, and more than {SMALL_BYTES_MAX} make no sense")));
    }
    let mut bytes = Vec::new();
    file.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok((metadata.permissions().mode() & 0o777, bytes))
}

/// Leaves the time in the state, for `reelway doctor`. The backup is good without it.
fn note(config: &Config) {
    let folder = &config.directories.state;
    let written = process::as_owner_of(folder, || fs::write(folder.join(NOTE), Timestamp::now().to_rfc3339() + "\n"));
    if let Err(error) = written.and_then(|written| written) {
        eprintln!("reelway: the backup is made, but its time could not be noted in {}: {error}", folder.display());
    }
}

enum Content {
    File(File),
    Bytes(Cursor<Vec<u8>>),
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::File(file) => file.read(buffer),
            Content::Bytes(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Content {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        match self {
            Content::File(file) => file.seek(position),
            Content::Bytes(bytes) => bytes.seek(position),
        }
    }
}

/// Where the backup goes, and a folder of our own for the copy of the database.
struct Target {
    scratch: Scratch,
    /// None for standard output.
    place: Option<Place>,
}

struct Place {
    /// Beside the file, for it gets its name by a link.
    folder: Scratch,
    draft: File,
    path: PathBuf,
    replaces: bool,
}

impl Target {
    fn open(path: &Path, replaces: bool) -> anyhow::Result<Target> {
        if path.as_os_str() == "-" {
            if io::stdout().is_terminal() {
                bail!("a backup is no text for a terminal; write `reelway backup FILE`, or pipe it somewhere");
            }
            return Ok(Target { scratch: Scratch::private()?, place: None });
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => bail!("{} is a folder; name a file in it", path.display()),
            Ok(found) if replaces && !found.is_file() => bail!("{} is no regular file; name another", path.display()),
            Ok(_) if !replaces => bail!("{} is there already; name another file, or add --force", path.display()),
            Ok(_) | Err(_) => {}
        }
        let folder = Scratch::make(folder_of(path))?;
        let draft = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.draft())?;
        let place = Place { folder, draft, path: path.to_owned(), replaces };
        Ok(Target { scratch: Scratch::private()?, place: Some(place) })
    }

    /// Gives the file its name, durably: its mode then, if it is a file.
    fn keep(self) -> io::Result<Option<u32>> {
        let Some(Place { folder, draft, path, replaces }) = &self.place else { return Ok(None) };
        draft.sync_all()?;
        let link = if *replaces { Err(ErrorKind::Unsupported.into()) } else { fs::hard_link(folder.draft(), path) };
        match link {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
            // A stick with FAT knows no links; there, and to replace a file, it is renamed.
            Err(_) => fs::rename(folder.draft(), path)?,
        }
        File::open(folder_of(path))?.sync_all()?;
        Ok(Some(draft.metadata()?.mode()))
    }
}

impl Write for &mut Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.place {
            Some(place) => place.draft.write(bytes),
            None => io::stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Some(place) => place.draft.flush(),
            None => io::stdout().flush(),
        }
    }
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether nobody but root can move or replace what others have made in this folder (inode(7), the sticky bit).
fn is_safe(folder: &Path) -> bool {
    let is_kept = |mode: u32| mode & 0o1000 != 0 || mode & 0o022 == 0;
    fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == 0 && is_kept(found.mode()))
}

/// A folder for nobody else, which goes with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn make(folder: &Path) -> anyhow::Result<Scratch> {
        let path = folder.join(format!(".reelway-backup.{}", Uuid::new_v4()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("could not write in {}", folder.display()))?;
        Ok(Scratch(path))
    }

    /// One whose name can mean nothing else as long as it lives.
    fn private() -> anyhow::Result<Scratch> {
        let folder = SCRATCH_FOLDERS.iter().map(Path::new).find(|folder| is_safe(folder));
        Scratch::make(
            folder.context("neither /var/tmp nor /tmp is a folder of root's with mode 1777, which a copy needs")?,
        )
    }

    fn draft(&self) -> PathBuf {
        self.0.join("backup.tar")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing that is in it is of use to anybody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
