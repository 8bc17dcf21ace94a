//! STATE: whose it is, who may read it, whether there is room, and whether the database and the key can be used.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::finding::{Finding, note, problem, well};
use crate::cli::backup;
use crate::cli::machine;
use crate::cli::unit::{Name, Unit};
use crate::config::Config;
use crate::limits;
use crate::store::backup::{Contents, Original, schema_known};
use crate::store::unfinished_restore;
use crate::sys::account::Account;
use crate::sys::process;
use crate::sys::volume::{self, Room};

/// Below this the database cannot be written for long.
const FULL_BYTES: u64 = 16 * 1024 * 1024;
/// Below this it is time to make room.
const NEARLY_FULL_BYTES: u64 = 256 * 1024 * 1024;
/// A backup older than this is no longer of much use.
const BACKUP_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Files of the state that are looked at.
const FILES_MAX: usize = 10_000;

/// A file of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub owner: u32,
    /// Permission bits.
    pub mode: u32,
}

/// What is known of the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub name: Name,
    pub path: PathBuf,
    /// The name of the service's user, if there is a service.
    pub user: Option<String>,
    /// Number of that user, if it exists.
    pub user_number: Option<u32>,
    /// Whether systemd gives the folder, and all in it, to that user when it next starts the service, which does not run now.
    pub is_given_at_start: bool,
    /// Owner and mode of the folder.
    pub folder: Option<(u32, u32)>,
    /// Its files; none when it may not be read.
    pub files: Option<Vec<Entry>>,
    pub room: Option<Room>,
    /// None when there is no database.
    pub database: Option<Result<Contents, String>>,
    pub is_restore_unfinished: bool,
    /// The file of the signing key, and its length or what keeps the service's user from reading it; none when there is no
    /// file: it is made at the first start.
    pub key: Option<(PathBuf, Result<usize, String>)>,
    /// Since the last backup.
    pub backup_age: Option<Duration>,
    /// How long before the last write of the database the clock stands now.
    pub clock_behind: Option<Duration>,
    /// Whether somebody keeps the clock right; none when nobody says.
    pub is_clock_kept: Option<bool>,
}

pub(super) fn gather(config: &Config, name: &Name, service: &Unit) -> Facts {
    let path = config.directories.state.clone();
    let mut facts = Facts { name: name.clone(), path: path.clone(), ..Facts::default() };
    if service.is_installed() {
        let name = Some(service.get("User")).filter(|name| !name.is_empty()).unwrap_or("root").to_owned();
        facts.user_number = Account::named(&name).ok().flatten().map(|account| account.user);
        facts.user = Some(name);
        facts.is_given_at_start = !service.get("StateDirectory").is_empty() && service.process().is_none();
    }
    let clock = machine::output("timedatectl", &["show", "--property=NTPSynchronized", "--value"]);
    facts.is_clock_kept = clock.map(|text| text.trim() == "yes");
    let Ok(folder) = std::fs::metadata(&path) else { return facts };
    facts.folder = Some((folder.uid(), folder.mode() & 0o777));
    facts.room = volume::room(&path).ok();
    facts.files = files(&path);
    if facts.files.is_none() {
        return facts;
    }
    facts.is_restore_unfinished = unfinished_restore(&config.directories.database_file()).exists();
    facts.database = database(&config.directories.database_file(), &path);
    facts.key = handed_key(service).or_else(|| key(config));
    let age = |time: SystemTime| time.elapsed().unwrap_or_default();
    facts.backup_age = backup::last(config).ok().map(age);
    let written = std::fs::metadata(config.directories.database_file()).and_then(|found| found.modified());
    facts.clock_behind = written.ok().and_then(|time| time.duration_since(SystemTime::now()).ok());
    facts
}

fn files(folder: &Path) -> Option<Vec<Entry>> {
    let entries = std::fs::read_dir(folder).ok()?.take(FILES_MAX);
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let found = entry.metadata().ok()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Some(Entry { name, owner: found.uid(), mode: found.mode() & 0o777 })
    };
    Some(entries.filter_map(entry).collect())
}

/// Looks into the database as its owner, who may leave a log beside it.
fn database(file: &Path, state: &Path) -> Option<Result<Contents, String>> {
    if !file.exists() {
        return None;
    }
    let look = || Original::open(file).and_then(|original| original.contents()).map_err(|fault| fault.to_string());
    Some(process::as_owner_of(state, look).unwrap_or_else(|error| Err(error.to_string())))
}

/// The key that systemd hands over, from where it looks for one that the unit names without a path (systemd.exec(5),
/// LoadCredential=); it wins over those of files.
fn handed_key(service: &Unit) -> Option<(PathBuf, Result<usize, String>)> {
    let folders = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"].iter().filter(|_| service.is_installed());
    let path = folders.map(|folder| Path::new(folder).join("reelway.jwt-key")).find(|path| path.exists())?;
    // It is systemd who reads it, and it is for root.
    let read = backup::small(&path).ok()?;
    Some((path, Ok(length(&read.1))))
}

/// Bytes of a key, which may end with a newline.
fn length(bytes: &[u8]) -> usize {
    bytes.strip_suffix(b"\n").unwrap_or(bytes).len()
}

/// Reads the key as the service does.
fn key(config: &Config) -> Option<(PathBuf, Result<usize, String>)> {
    let state = &config.directories.state;
    let configured = config.auth.jwt_key_file.clone();
    let path = configured.clone().unwrap_or_else(|| state.join("jwt.key"));
    if configured.is_none() && !path.exists() {
        return None;
    }
    let read = process::as_owner_of(state, || backup::small(&path)).and_then(|read| read);
    Some((path, read.map(|(_, bytes)| length(&bytes)).map_err(|error| error.to_string())))
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let path = facts.path.display();
    if let (Some(user), None) = (&facts.user, facts.user_number) {
        let fix = "systemd-sysusers, which makes it from /usr/lib/sysusers.d/reelway.conf";
        found.push(problem("state.user", format!("the user {user} of the service does not exist"), fix));
    }
    found.extend(clock(facts));
    let Some((owner, mode)) = facts.folder else {
        found.push(note("state.none", format!("there is no {path} yet: it is made at the first start")));
        return found;
    };
    let is_foreign = facts.user_number.is_some_and(|number| number != owner);
    // As after an account was made before the first start (systemd.exec(5), StateDirectory=).
    let is_given_soon = is_foreign && facts.is_given_at_start;
    if is_foreign {
        found.push(foreign(facts, owner));
    }
    if mode & 0o077 != 0 && !is_given_soon {
        let fix = format!("chmod 700 {path}");
        found.push(problem("state.mode", format!("others may enter {path} (mode {mode:04o})"), fix));
    }
    found.extend(room(facts));
    let Some(files) = &facts.files else {
        found.push(note("state.unseen", format!("what is in {path} was not looked at")).advise("run this as root"));
        return found;
    };
    if !is_given_soon {
        found.extend(owners(facts, files, owner));
    }
    found.extend(database_found(facts));
    found.extend(key_found(facts));
    found.extend(backups(facts));
    found
}

/// A state that is not the service's.
fn foreign(facts: &Facts, owner: u32) -> Finding {
    let (path, user) = (facts.path.display(), facts.user.as_deref().unwrap_or_default());
    let fix = format!("chown -R {user}: {path}");
    let why = format!("it belongs to user number {owner}");
    if facts.is_given_at_start {
        let what = format!("{path} does not belong to {user}: systemd sees to that at the next start");
        return note("state.owner", what).because(why).advise(fix);
    }
    problem("state.owner", format!("{path} does not belong to {user}"), fix).because(why)
}

fn owners(facts: &Facts, files: &[Entry], owner: u32) -> Vec<Finding> {
    let path = facts.path.display();
    let mut found = Vec::new();
    let strange: Vec<&str> = files.iter().filter(|file| file.owner != owner).map(|file| file.name.as_str()).collect();
    if !strange.is_empty() {
        let fix = format!("chown --reference={path} {path}/*");
        let what = format!("files in {path} belong to somebody else: {}", strange.join(", "));
        found.push(problem("state.files", what, fix).because("the service cannot write them"));
    }
    let is_secret = |name: &str| name.starts_with("jwt.") && name != "jwt.kid" || name.starts_with("reelway.db");
    let open = |file: &&Entry| is_secret(&file.name) && file.mode & 0o077 != 0;
    let open: Vec<&str> = files.iter().filter(open).map(|file| file.name.as_str()).collect();
    if !open.is_empty() {
        let names: Vec<_> = open.iter().map(|name| format!("{path}/{name}")).collect();
        let fix = format!("chmod 600 {}", names.join(" "));
        let what = format!("others may read secrets: {}", open.join(", "));
        found.push(problem("state.secrets", what, fix).because("whoever reads the signing key can make tokens"));
    }
    found
}

fn room(facts: &Facts) -> Vec<Finding> {
    let (path, mut found) = (facts.path.display(), Vec::new());
    let Some(room) = facts.room else { return found };
    let mebibytes = room.free_bytes / 1024 / 1024;
    if room.is_read_only {
        let fix = format!("mount -o remount,rw $(findmnt -n -o TARGET -T {path}); dmesg says why it became so");
        found.push(problem("state.readonly", format!("the disk of {path} cannot be written"), fix));
    } else if room.free_bytes < FULL_BYTES || !room.has_free_files {
        let what = format!("the disk of {path} is full: {mebibytes} MiB are free");
        let why = "nobody can sign in, and nothing of what is watched is remembered";
        found.push(
            problem("state.full", what, format!("make room: df -hi {path}; journalctl --vacuum-size=100M"))
                .because(why),
        );
    } else if room.free_bytes < NEARLY_FULL_BYTES {
        found.push(note("state.nearlyfull", format!("the disk of {path} is nearly full: {mebibytes} MiB are free")));
    }
    found
}

fn database_found(facts: &Facts) -> Vec<Finding> {
    if facts.is_restore_unfinished {
        let fix = format!("{} restore FILE, once more, with the service stopped", facts.name.program());
        return vec![problem("state.restore", "a restore was cut off, and nothing starts until it is done", fix)];
    }
    match &facts.database {
        None => vec![note("state.fresh", "there is no database yet: it is made at the first start")],
        Some(Err(error)) => {
            let (socket, service, program) = (facts.name.socket(), facts.name.service(), facts.name.program());
            let fix = format!("systemctl stop {socket} {service}; {program} restore FILE");
            vec![problem("state.database", "the database cannot be used", fix).because(error.clone())]
        }
        Some(Ok(contents)) => {
            let mut found = Vec::new();
            let (schema, known) = (contents.schema, schema_known());
            if schema < known {
                found.push(note(
                    "state.schema",
                    format!("the database has schema {schema}; the next start makes it {known}"),
                ));
            }
            let accounts = if contents.users == 1 { "account" } else { "accounts" };
            let program = facts.name.program();
            if contents.users == 0 {
                let fix = format!("{program} user add NAME");
                found.push(problem("state.accounts", "nobody has an account, so nobody may watch", fix));
            } else if contents.admins == 0 {
                // Root does all of it here, and a household may want no more.
                let what = format!("no administrator may sign in ({} {accounts})", contents.users);
                let why =
                    "over HTTP only one may change accounts, have the library looked through and stop others' streams";
                let fix = format!(
                    "if you want one: {program} user add NAME --role admin; \
                     or of an account that is there: {program} user role NAME --role admin"
                );
                found.push(note("state.admin", what).because(why).advise(fix));
            }
            found.push(well(
                "state.database",
                format!("the database is whole: {} {accounts}, schema {schema}", contents.users),
            ));
            found
        }
    }
}

fn key_found(facts: &Facts) -> Vec<Finding> {
    let Some((path, read)) = &facts.key else { return Vec::new() };
    let path = path.display();
    match read {
        Err(error) => {
            let fix = format!("make it readable for the service's user, or remove auth.jwt_key_file: ls -l {path}");
            vec![problem("state.key", format!("the signing key {path} cannot be read"), fix).because(error.clone())]
        }
        Ok(length) if *length < limits::JWT_KEY_BYTES_MIN => {
            let fix = format!("head -c 32 /dev/urandom | base64 > {path}");
            let least = limits::JWT_KEY_BYTES_MIN;
            vec![problem("state.key", format!("the signing key {path} has {length} bytes; it takes {least}"), fix)]
        }
        Ok(_) => Vec::new(),
    }
}

fn backups(facts: &Facts) -> Vec<Finding> {
    let advice = format!("{} backup FILE, on another disk", facts.name.program());
    match facts.backup_age {
        // There is nothing to lose yet.
        None if facts.database.is_none() => Vec::new(),
        None => vec![note("backup.none", "no backup was ever made").advise(advice)],
        Some(age) if age > BACKUP_AGE_MAX => {
            let days = age.as_secs() / 86_400;
            vec![note("backup.old", format!("the last backup is {days} days old")).advise(advice)]
        }
        Some(age) => vec![well("backup.recent", format!("the last backup is {} days old", age.as_secs() / 86_400))],
    }
}

fn clock(facts: &Facts) -> Vec<Finding> {
    // A second or two are what two clocks of one machine may differ by.
    if let Some(behind) = facts.clock_behind.filter(|behind| *behind > Duration::from_secs(3600)) {
        let hours = behind.as_secs() / 3600;
        let what = format!("the clock stands {hours} hours before the last write of the database");
        let fix = "timedatectl set-ntp true";
        return vec![
            problem("clock.behind", what, fix).because("tokens made since then are of the future, and are refused"),
        ];
    }
    match facts.is_clock_kept {
        Some(false) => {
            let what = "nobody keeps the clock right: tokens end too early or too late where it is wrong";
            vec![note("clock.free", what).advise("timedatectl set-ntp true")]
        }
        Some(true) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::marked;
    use super::*;

    fn entry(name: &str, owner: u32, mode: u32) -> Entry {
        Entry { name: name.to_owned(), owner, mode }
    }

    fn healthy() -> Facts {
        Facts {
            name: Name::default(),
            path: "/var/lib/reelway".into(),
            user: Some("reelway".into()),
            user_number: Some(990),
            is_given_at_start: false,
            folder: Some((990, 0o700)),
            files: Some(vec![
                entry("reelway.db", 990, 0o600),
                entry("jwt.key", 990, 0o600),
                entry("jwt.kid", 990, 0o644),
            ]),
            room: Some(Room { free_bytes: 1 << 33, total_bytes: 1 << 34, has_free_files: true, is_read_only: false }),
            database: Some(Ok(Contents { schema: schema_known(), users: 2, admins: 1 })),
            is_restore_unfinished: false,
            key: Some(("/var/lib/reelway/jwt.key".into(), Ok(44))),
            backup_age: Some(Duration::from_secs(86_400)),
            clock_behind: None,
            is_clock_kept: Some(true),
        }
    }

    #[test]
    fn each_fault_of_a_state_has_its_finding() {
        assert_eq!(marked(&judge(&healthy())), [""; 0]);
        type Spoil = fn(&mut Facts);
        let cases: [(Spoil, &[&str]); 23] = [
            (|facts| (facts.folder, facts.is_given_at_start) = (Some((0, 0o755)), true), &["state.owner"]),
            (|facts| facts.user_number = None, &["!state.user"]),
            (|facts| facts.folder = Some((0, 0o700)), &["!state.owner", "!state.files"]),
            (|facts| facts.folder = Some((990, 0o755)), &["!state.mode"]),
            (|facts| facts.folder = None, &["state.none"]),
            (|facts| facts.files = None, &["state.unseen"]),
            (|facts| facts.files = Some(vec![entry("reelway.db-wal", 0, 0o600)]), &["!state.files"]),
            (|facts| facts.files = Some(vec![entry("jwt.key", 990, 0o640)]), &["!state.secrets"]),
            (|facts| facts.files = Some(vec![entry("reelway.db", 990, 0o604)]), &["!state.secrets"]),
            (|facts| facts.room.as_mut().unwrap().free_bytes = 1024, &["!state.full"]),
            (|facts| facts.room.as_mut().unwrap().has_free_files = false, &["!state.full"]),
            (|facts| facts.room.as_mut().unwrap().free_bytes = 100 << 20, &["state.nearlyfull"]),
            (|facts| facts.room.as_mut().unwrap().is_read_only = true, &["!state.readonly"]),
            (|facts| facts.database = Some(Err("damaged".into())), &["!state.database"]),
            (|facts| facts.database = None, &["state.fresh"]),
            (|facts| facts.database = Some(Ok(Contents { schema: 1, users: 1, admins: 1 })), &["state.schema"]),
            (
                |facts| facts.database = Some(Ok(Contents { schema: schema_known(), users: 1, admins: 0 })),
                &["state.admin"],
            ),
            (
                |facts| facts.database = Some(Ok(Contents { schema: schema_known(), users: 0, admins: 0 })),
                &["!state.accounts"],
            ),
            (|facts| facts.is_restore_unfinished = true, &["!state.restore"]),
            (|facts| facts.key = Some(("/k".into(), Ok(31))), &["!state.key"]),
            (|facts| facts.key = Some(("/k".into(), Err("Permission denied".into()))), &["!state.key"]),
            (|facts| facts.backup_age = None, &["backup.none"]),
            (|facts| facts.clock_behind = Some(Duration::from_secs(86_400)), &["!clock.behind"]),
        ];
        for (change, expected) in cases {
            let mut facts = healthy();
            change(&mut facts);
            assert_eq!(marked(&judge(&facts)), expected);
        }
    }

    #[test]
    fn every_problem_says_what_to_do() {
        let mut facts = healthy();
        facts.folder = Some((0, 0o755));
        let fixes: Vec<_> = judge(&facts).into_iter().filter_map(|finding| finding.fix).collect();
        assert!(fixes.contains(&"chown -R reelway: /var/lib/reelway".to_owned()), "{fixes:?}");
        assert!(fixes.contains(&"chmod 700 /var/lib/reelway".to_owned()), "{fixes:?}");
    }
}
