//! `reelway restore FILE`: a state as it was when it was backed up, with everybody signed out.
//!
//! The one idea: the state changes in one step, the renaming of a database that was looked at from end to end. Whatever is
//! wrong with the file is found before, and whoever kills us meets the old state or the new one. A log that cannot be folded
//! into an old, damaged database makes two steps of it: between them a file beside the database keeps it from being opened.
//!
//! What was revoked or shared since the backup is not in it, so all its sessions and links are ended; accounts and passwords
//! are those of the backup. The signing key of the state stays, for it may have been replaced for a reason; the one of the
//! backup is used where there is none. The keys before it would be good for nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use crate::cli::archive::{self, CONFIGURATION, Contents, KEY};
use crate::cli::backup::{folder_of, small};
use crate::cli::print;
use crate::cli::unit::Name;
use crate::config::{Config, Sources};
use crate::limits;
use crate::store::{self, Timestamp, backup};
use crate::sys::file::replace;
use crate::sys::process::{self, FileLock};

#[derive(Args)]
pub(super) struct RestoreVerb {
    /// What `reelway backup` has made; `-` is standard input
    file: PathBuf,
    /// Put the configuration of the backup in force as well; the one that is there is kept beside it
    #[arg(long)]
    config_too: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was done, for whoever asked.
#[derive(Default)]
struct Done {
    kept: Vec<PathBuf>,
    notes: Vec<String>,
}

pub(super) fn run(verb: RestoreVerb, config: &Config, sources: &Sources, service: &Name) -> anyhow::Result<()> {
    let RestoreVerb { file, config_too, json } = verb;
    // Before anything else, as whoever we are: the owner of the state may not enter the folder of the file.
    let from: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(&file).with_context(|| format!("could not open {}", file.display()))?),
    };
    let state = &config.directories.state;
    fs::metadata(state).with_context(|| {
        let state = state.display();
        format!("there is no state in {state}; make it: install -d -m 700 -o reelway -g reelway {state}")
    })?;
    let mut done = Done::default();
    let restored = process::as_owner_of(state, || restore_state(from, config, service, &mut done))?;
    let contents = restored.with_context(|| format!("{} was not restored", file.display()))?;
    configuration(&contents, config_too, sources, &mut done)?;
    print(&match json {
        true => {
            format!("{:#}\n", json!({"manifest": contents.manifest, "kept": texts(&done.kept), "notes": done.notes}))
        }
        false => sentence(&contents, &done, service),
    })
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn sentence(contents: &Contents, done: &Done, service: &Name) -> String {
    let manifest = &contents.manifest;
    let accounts = if manifest.users == 1 { "account" } else { "accounts" };
    let mut text = format!("restored the state of {}: {} {accounts}\n", manifest.created_at, manifest.users);
    text += "everybody has to sign in again, and links have to be made anew\n";
    done.kept.iter().for_each(|path| text += &format!("what was there is kept as {}\n", path.display()));
    done.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    text + &format!("now start the service: systemctl start {} {}\n", service.socket(), service.service())
}

/// Everything that is done as the owner of the state.
fn restore_state(from: impl Read, config: &Config, service: &Name, done: &mut Done) -> anyhow::Result<Contents> {
    let _lock = take_lock(&config.directories.state, service)?;
    let file = config.directories.database_file();
    let draft = Draft::of(&file)?;
    let contents = archive::read(from, &draft.file)?;
    draft.file.sync_all().context("could not keep its database")?;
    prepare(&draft.path, &contents)?;
    restore_key(&contents, config, done)?;
    swap(&draft, &file, done)?;
    Ok(contents)
}

fn take_lock(state: &Path, service: &Name) -> anyhow::Result<FileLock> {
    let deadline = Instant::now() + limits::STATE_LOCK_START_PATIENCE;
    loop {
        if let Some(lock) = FileLock::take(&state.join("lock"))? {
            return Ok(lock);
        }
        ensure!(
            Instant::now() < deadline,
            "a daemon uses the state in {}; stop it first: systemctl stop {} {}",
            state.display(),
            service.socket(),
            service.service()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A database that has not got its name yet. Goes when it never gets it.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn of(database: &Path) -> anyhow::Result<Draft> {
        let path = beside(database, ".restored");
        // One that was left by somebody who was killed, and what SQLite had begun with it.
        for left in [path.clone(), beside(&path, "-journal"), beside(&path, "-wal"), beside(&path, "-shm")] {
            remove_if_there(&left)?;
        }
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = made.with_context(|| format!("could not write {}; is this run as root?", path.display()))?;
        Ok(Draft { path, file })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After it got its name there is none of this one.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(beside(&self.path, "-journal"));
    }
}

/// Looks at a database from end to end, and signs everybody out of it.
fn prepare(draft: &Path, contents: &Contents) -> anyhow::Result<()> {
    let known = backup::schema_known();
    let schema = contents.manifest.schema;
    ensure!(
        schema <= known,
        "its database has schema {schema}, but this reelway knows only schemas up to {known}: install reelway {} or later",
        contents.manifest.version
    );
    let found = backup::examine(draft)?;
    ensure!(found.schema == schema, "its database has schema {}, but its manifest says {schema}", found.schema);
    backup::sign_everybody_out(draft, Timestamp::now())?;
    Ok(File::open(draft)?.sync_all()?)
}

/// Puts the key where there is none. A state that goes on without it makes one of its own, so this may be done first.
fn restore_key(contents: &Contents, config: &Config, done: &mut Done) -> anyhow::Result<()> {
    let Some((_, key)) = contents.small.get(KEY) else { return Ok(()) };
    if let Some(path) = &config.auth.jwt_key_file {
        done.notes.push(format!("the signing key is the one of auth.jwt_key_file, {}", path.display()));
        return Ok(());
    }
    let path = config.directories.state.join("jwt.key");
    if path.exists() {
        if small(&path).ok().is_none_or(|(_, own)| own != *key) {
            done.notes.push(format!("the signing key {} stays as it was, not as it is in the backup", path.display()));
        }
        return Ok(());
    }
    replace(&path, 0o600, key).with_context(|| format!("could not write {}", path.display()))
}

/// Lets the draft take the place of the database, which is kept under another name.
fn swap(draft: &Draft, file: &Path, done: &mut Done) -> anyhow::Result<()> {
    let logs = ["-wal", "-journal"].map(|ending| (beside(file, ending), ending));
    let has_log = || logs.iter().any(|(log, _)| log.exists());
    let unfinished = store::unfinished_restore(file);
    let suffix = format!(".before-restore-{}", file_time(Timestamp::now()));
    let has_old = file.exists();
    // An old log would be read as the new database's.
    let is_folded = has_old && !unfinished.exists() && backup::fold_log(file).is_ok() && !has_log();
    if !is_folded && has_log() {
        replace(&unfinished, 0o600, b"reelway restore\n")?;
        for (log, ending) in logs.iter().filter(|(log, _)| log.exists()) {
            // Where SQLite looks for it, when somebody opens the database that is kept.
            let aside = beside(file, &format!("{suffix}{ending}"));
            fs::rename(log, &aside)?;
            done.kept.push(aside);
        }
    }
    if !is_folded {
        remove_if_there(&beside(file, "-shm"))?;
    }
    let folder = File::open(folder_of(file))?;
    if has_old {
        let aside = beside(file, &suffix);
        fs::hard_link(file, &aside).with_context(|| format!("could not keep the database as {}", aside.display()))?;
        done.kept.push(aside);
        folder.sync_all()?;
    }
    fs::rename(&draft.path, file)?;
    folder.sync_all()?;
    remove_if_there(&unfinished)?;
    Ok(folder.sync_all()?)
}

/// Says how the configuration of the backup differs from the one that is there, or puts it there.
fn configuration(contents: &Contents, wanted: bool, sources: &Sources, done: &mut Done) -> anyhow::Result<()> {
    let main = sources.working_directory.join(sources.file.as_ref().unwrap_or(&sources.default_file));
    let suffix = format!(".before-restore-{}", file_time(Timestamp::now()));
    let members = contents.small.iter().filter_map(|(name, file)| Some((name.strip_prefix(CONFIGURATION)?, file)));
    for (name, (mode, bytes)) in members {
        let path = if name == "reelway.toml" { main.clone() } else { main.with_file_name(name) };
        if small(&path).is_ok_and(|(_, own)| own == *bytes) {
            continue;
        }
        if !wanted {
            let path = path.display();
            done.notes.push(format!("{path} is another than in the backup; --config-too puts that one in force"));
            continue;
        }
        let failed = || format!("the state is restored, but not the configuration {}", path.display());
        if path.exists() {
            let aside = beside(&path, &suffix);
            fs::copy(&path, &aside).with_context(failed)?;
            done.kept.push(aside);
        }
        // Whoever made the archive does not get to say who may write there.
        replace(&path, *mode & 0o644, bytes).with_context(failed)?;
    }
    if let Ok(entries) = fs::read_dir(main.with_file_name("conf.d")) {
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_other = |name: &String| {
            name.ends_with(".toml") && !contents.small.contains_key(&format!("{CONFIGURATION}conf.d/{name}"))
        };
        for name in names.filter(is_other) {
            done.notes.push(format!("conf.d/{name} is not in the backup, and stays in force"));
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A time as a part of a file's name, without what a shell minds.
fn file_time(now: Timestamp) -> String {
    now.to_rfc3339().replace([':', '-', 'Z'], "")
}

/// `path` with `suffix` after its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
