//! `reelway backup` and `reelway restore`: what comes back, what does not, and what happens to whoever is interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client;
use crate::support::daemon::{Home, PASSWORD, USER};
use crate::support::{Finished, PATIENCE, films, program, run};

const BOB_PASSWORD: &str = "a-second-long-one-88";

/// Everything in a folder, by name.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().unwrap().is_file() && entry.file_name() != "lock")
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn back_up(home: &Home, name: &str) -> String {
    let file = home.path(name).to_str().unwrap().to_owned();
    home.run(&["backup", &file], "").succeeded();
    file
}

/// The names of the accounts, or what kept them from being listed.
fn accounts(home: &Home) -> Result<Vec<String>, String> {
    let listed = home.run(&["user", "list", "--json"], "");
    if listed.code != Some(0) {
        return Err(listed.stderr);
    }
    let users: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names = users["items"].as_array().unwrap().iter();
    let mut names: Vec<_> = names.map(|user| user["username"].as_str().unwrap().to_owned()).collect();
    names.sort();
    Ok(names)
}

/// Goal: a backup, made beside a running daemon or without one, is a private tar that brings accounts and key to an empty
/// state on another machine.
#[test]
fn a_backup_comes_back_on_an_empty_state() {
    let home = Home::new(&films::folder());
    home.start().stop();
    for is_running in [true, false] {
        let daemon = is_running.then(|| home.start());
        let name = if is_running { "beside.tar" } else { "without.tar" };
        let file = back_up(&home, name);
        drop(daemon);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let listed = run(program("tar").args(["-tf", &file]), PATIENCE).succeeded().text();
        for member in ["manifest.json", "reelway.db", "jwt.key", "jwt.previous", "config/reelway.toml"] {
            assert!(listed.lines().any(|line| line == member), "{member} is not in\n{listed}");
        }
        let other = Home::without_account(&films::folder());
        let told = other.run(&["restore", &file], "").succeeded().text();
        assert!(told.contains("1 account\n") && told.contains("systemctl start"), "{told}");
        assert_eq!(fs::read(other.state().join("jwt.key")).unwrap(), fs::read(home.state().join("jwt.key")).unwrap());
        other.start().sign_in(USER, PASSWORD);
    }
    let strays: Vec<_> = fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(strays.iter().all(|name| !name.to_string_lossy().contains("reelway-backup")), "{strays:?}");
}

/// Goal: a backup goes through a pipe, into another state.
#[test]
fn a_backup_goes_through_a_pipe() {
    let home = Home::new(&films::folder());
    let made = home.run(&["backup", "-"], "").succeeded();
    assert!(made.stderr.contains("backed up"), "{}", made.stderr);
    let file = home.path("piped.tar");
    fs::write(&file, &made.stdout).unwrap();
    let other = Home::without_account(&films::folder());
    let mut command = other.command(&["restore", "-"]);
    let finished: Finished = command.stdin(fs::File::open(&file).unwrap()).output().unwrap().into();
    finished.succeeded();
    assert_eq!(accounts(&other).unwrap(), [USER]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let failed: Finished = home.command(&["backup", "-"]).stdout(full).output().unwrap().into();
    assert!(failed.code == Some(1) && failed.stderr.contains("No space left"), "{}", failed.everything());
}

/// Goal: a backup taken while a thousand changes are made is the state of one moment: no change is half in it, and none that
/// was acknowledged before it began is missing.
#[test]
fn a_backup_among_a_thousand_writes_is_of_one_moment() {
    let home = Home::new(&films::folder());
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    let daemon = home.start();
    let list = daemon.fetch("GET", "/api/users?query=bob", &[]).json();
    let bob = format!("/api/users/{}", list["items"][0]["id"].as_str().unwrap());
    let (acknowledged, ended) = (AtomicI64::new(0), AtomicBool::new(false));
    let mut backups = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=1000 {
                let (bearer, body) = (daemon.bearer(), json!({"email": format!("{number}@example.org")}).to_string());
                let length = body.len().to_string();
                let mut client = client::Client::connect(daemon.address);
                let fields = [
                    ("Authorization", bearer.as_str()),
                    ("Content-Type", "application/json"),
                    ("Content-Length", &length),
                ];
                client.send(client::request("PATCH", &bob, &fields) + &body);
                assert_eq!(client.head().status, 200);
                acknowledged.store(number, Ordering::SeqCst);
            }
            ended.store(true, Ordering::SeqCst);
        });
        while !ended.load(Ordering::SeqCst) {
            let before = acknowledged.load(Ordering::SeqCst);
            let file = back_up(&home, &format!("{}.tar", backups.len()));
            backups.push((file, before, acknowledged.load(Ordering::SeqCst) + 1));
        }
    });
    assert!(backups.len() > 3, "the writes were over too soon: {backups:?}");
    let folder = tempfile::tempdir().unwrap();
    for (file, before, after) in &backups {
        let unpack = ["-xf", file, "-C", folder.path().to_str().unwrap(), "reelway.db"];
        run(program("tar").args(unpack), PATIENCE).succeeded();
        let database = Connection::open(folder.path().join("reelway.db")).unwrap();
        let text = |query: &str| database.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(text("PRAGMA integrity_check"), "ok");
        let email = "SELECT coalesce(email, '0@') FROM users WHERE username = 'bob'";
        let number: i64 = text(email).split('@').next().unwrap().parse().unwrap();
        // A change and its row in the trail are one transaction.
        let told: i64 = text("SELECT CAST(count(*) AS TEXT) FROM audit WHERE action = 'user_changed'").parse().unwrap();
        assert_eq!(told, number, "{file}: a change is half there");
        assert!((*before..=*after).contains(&number), "{file}: {number} is not in {before}..={after}");
    }
}

/// Goal: after a restore accounts and passwords are those of the backup, and every session and link from before is dead,
/// also one that lived when the backup was made; the state from before is kept.
#[test]
fn a_restore_signs_everybody_out_and_keeps_what_was_there() {
    let home = Home::new(&films::folder());
    let mut daemon = home.start();
    let old_token = daemon.token.clone();
    home.run(&["link", films::BIG_FILM], "").succeeded();
    let file = back_up(&home, "backup.tar");
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    let bobs_token = daemon.sign_in("bob", BOB_PASSWORD);
    daemon.stop();
    let key = fs::read(home.state().join("jwt.key")).unwrap();
    let told = home.run(&["restore", &file, "--json"], "").succeeded();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let kept = told["kept"][0].as_str().unwrap().to_owned();
    assert!(kept.contains("reelway.db.before-restore-"), "{told}");
    assert_eq!(fs::read(home.state().join("jwt.key")).unwrap(), key);

    let restored = Connection::open(home.state().join("reelway.db")).unwrap();
    let count = |query: &str| restored.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM links"), 0);
    assert_eq!(count("SELECT count(*) FROM user_sessions WHERE revoked_at IS NULL"), 0);
    assert!(count("SELECT count(*) FROM user_sessions") > 0, "the session was not in the backup");
    drop(restored);
    let daemon = home.start();
    for token in [old_token, bobs_token] {
        daemon.keep_secret(&token);
        let bearer = format!("Bearer {token}");
        let answer = client::fetch(daemon.address, "GET", "/api/auth/me", &[("Authorization", &bearer)]);
        assert_eq!(answer.head.status, 401);
    }
    let audit = daemon.fetch("GET", "/api/admin/audit", &[]).json();
    assert!(audit["items"].as_array().unwrap().iter().any(|row| row["action"] == "restored"), "{audit}");
    drop(daemon);
    assert_eq!(accounts(&home).unwrap(), [USER]);
    // And back again.
    fs::rename(kept, home.state().join("reelway.db")).unwrap();
    assert_eq!(accounts(&home).unwrap(), [USER, "bob"]);
}

/// Goal: beside a running daemon nothing is restored, and the answer says what to stop.
#[test]
fn a_restore_beside_a_daemon_is_refused() {
    let home = Home::new(&films::folder());
    let file = back_up(&home, "backup.tar");
    let daemon = home.start();
    let refused = home.run(&["restore", &file], "");
    assert_eq!(refused.code, Some(1), "{}", refused.everything());
    assert!(refused.stderr.contains("systemctl stop reelway.socket reelway.service"), "{}", refused.stderr);
    daemon.sign_in(USER, PASSWORD);
}

/// Goal: whatever is wrong with a backup is said in a sentence, and the state stays byte for byte what it was.
#[test]
fn what_is_no_whole_backup_changes_nothing() {
    let home = Home::new(&films::folder());
    home.start().stop();
    let whole = fs::read(back_up(&home, "whole.tar")).unwrap();
    let before = contents(&home.state());
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let database = whole.windows(15).position(|window| window == b"SQLite format 3").unwrap();
    let key = whole.windows(8).rposition(|window| window == b"jwt.key\0").unwrap();
    let newer = {
        let unpacked = tempfile::tempdir().unwrap();
        let folder = unpacked.path().to_str().unwrap();
        run(program("tar").args(["-xf", home.path("whole.tar").to_str().unwrap(), "-C", folder]), PATIENCE).succeeded();
        let manifest = unpacked.path().join("manifest.json");
        let mut value: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
        value["schema"] = json!(99);
        fs::write(&manifest, value.to_string()).unwrap();
        let file = home.path("newer.tar");
        let names = ["manifest.json", "reelway.db", "jwt.key", "jwt.previous", "config/reelway.toml"];
        run(program("tar").args(["-cf", file.to_str().unwrap(), "-C", folder]).args(names), PATIENCE).succeeded();
        fs::read(file).unwrap()
    };
    for (what, bytes, word) in [
        ("garbage", vec![0x5a; 4000], "no backup"),
        ("empty", Vec::new(), "empty"),
        ("cut off in the database", whole[..database + 5000].to_vec(), "reelway.db"),
        ("cut off before the key", whole[..key].to_vec(), "cut off"),
        ("another byte in the database", changed(database + 6000), "checksum"),
        ("a newer schema", newer, "99"),
    ] {
        let file = home.path("bad.tar");
        fs::write(&file, bytes).unwrap();
        let refused = home.run(&["restore", file.to_str().unwrap()], "");
        assert_eq!(refused.code, Some(1), "{what}: {}", refused.everything());
        assert!(refused.stderr.contains(word), "{what}: {}", refused.stderr);
        assert_eq!(contents(&home.state()), before, "{what}");
    }
    let missing = home.run(&["restore", "nowhere.tar"], "");
    assert!(missing.code == Some(1) && missing.stderr.contains("nowhere.tar"), "{}", missing.stderr);
}

/// Goal: a file that is there is not overwritten unless asked for, a folder never, and a full disk leaves nothing behind.
#[test]
fn a_backup_overwrites_nothing_and_leaves_no_half_file() {
    let home = Home::new(&films::folder());
    let file = home.path("there.tar");
    fs::write(&file, "precious").unwrap();
    let path = file.to_str().unwrap();
    let refused = home.run(&["backup", path], "");
    assert!(refused.code == Some(1) && refused.stderr.contains("--force"), "{}", refused.everything());
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let folder = home.run(&["backup", "."], "");
    assert!(folder.code == Some(1) && folder.stderr.contains("folder"), "{}", folder.everything());
    home.run(&["backup", path, "--force"], "").succeeded();
    Home::without_account(&films::folder()).run(&["restore", path], "").succeeded();

    let small = home.path("small");
    fs::create_dir(&small).unwrap();
    let backup = home.command(&["backup", small.join("x.tar").to_str().unwrap()]);
    let mut script = Command::new("unshare");
    let mounted =
        "mount -t tmpfs -o size=64k none \"$1\" && cd / && shift && \"$@\"; echo \"code $?\"; ls -A \"$SMALL\"";
    let namespaces = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    script.args([namespaces, "sh", "-c", mounted, "sh"]).arg(&small).env("SMALL", &small);
    script.arg(backup.get_program()).args(backup.get_args());
    script.envs(backup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let finished = run(&mut script, PATIENCE);
    assert_eq!(finished.text(), "code 1\n", "{}", finished.stderr);
    assert!(finished.stderr.contains("full") || finished.stderr.contains("No space"), "{}", finished.stderr);
}

/// Goal: the configuration comes back only when asked for; otherwise what differs is named.
#[test]
fn the_configuration_comes_back_when_asked_for() {
    let home = Home::new(&films::folder());
    let (folder, state) = (home.path("etc"), home.state());
    fs::create_dir_all(folder.join("conf.d")).unwrap();
    let (main, drop_in) = (folder.join("reelway.toml"), folder.join("conf.d/10.toml"));
    fs::write(&main, "video.max_streams_per_user = 4\n").unwrap();
    fs::write(&drop_in, "sessions.capacity = 65\n").unwrap();
    let config = ["--config", main.to_str().unwrap()];
    let file = home.path("with.tar");
    home.run(&[&["backup", file.to_str().unwrap()], &config[..]].concat(), "").succeeded();
    fs::write(&main, "video.max_streams_per_user = 5\n").unwrap();
    fs::remove_file(&drop_in).unwrap();
    fs::write(folder.join("conf.d/20.toml"), "").unwrap();
    let restore = [&["restore", file.to_str().unwrap()], &config[..]].concat();
    let told = home.run(&restore, "").succeeded().text();
    for named in ["reelway.toml is another", "10.toml is another", "20.toml is not in the backup"] {
        assert!(told.contains(named), "{named}: {told}");
    }
    assert!(fs::read_to_string(&main).unwrap().contains("= 5") && !drop_in.exists());
    home.run(&[&restore[..], &["--config-too"]].concat(), "").succeeded();
    assert!(fs::read_to_string(&main).unwrap().contains("= 4") && drop_in.exists());
    let kept = contents(&folder).into_iter().find(|(name, _)| name.starts_with("reelway.toml.before-restore-"));
    assert!(kept.is_some_and(|(_, text)| text.ends_with(b"= 5\n")), "the old one is gone");
    assert!(state.join("reelway.db").exists());
}

/// The calls that change a file or make a change last.
const CALLS: [&str; 9] =
    ["rename", "renameat", "link", "linkat", "unlink", "unlinkat", "fsync", "fdatasync", "pwrite64"];

/// Runs a restore again and again, killed each time before another call that changes a file, and looks at what is left.
fn kill_everywhere(home: &Home, file: &str, old: &BTreeMap<String, Vec<u8>>, mut look: impl FnMut(&str)) {
    for call in CALLS {
        for number in 1.. {
            put(&home.state(), old);
            if !restore_killed_at(home, file, call, number) {
                break;
            }
            assert!(number < 500, "it changes files for ever");
            let place = format!("killed before {call} {number}");
            look(&place);
            home.run(&["restore", file], "").succeeded();
            assert_eq!(accounts(home).unwrap(), [USER], "{place}, and restored again");
        }
    }
}

/// Runs a restore that is killed before a call of this kind. Whether it came that far.
fn restore_killed_at(home: &Home, file: &str, call: &str, number: u32) -> bool {
    let restore = home.command(&["restore", file]);
    let mut strace = program("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
    strace.arg(restore.get_program()).args(restore.get_args()).env_clear();
    strace.envs(restore.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.current_dir(home.path("."));
    run(&mut strace, PATIENCE).code != Some(0)
}

fn put(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for name in contents(folder).keys() {
        fs::remove_file(folder.join(name)).unwrap();
    }
    files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
}

/// Goal: whenever a restore is killed, the next start has the old accounts or the new ones, all of them; and restoring again
/// works. The old state has a log that was not folded in, as a killed daemon leaves it.
#[test]
fn a_killed_restore_leaves_the_old_state_or_the_new_one() {
    let home = Home::new(&films::folder());
    let file = back_up(&home, "backup.tar");
    let mut daemon = home.start();
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    daemon.signal(Signal::KILL);
    daemon.wait(PATIENCE);
    let old = contents(&home.state());
    assert!(old["reelway.db-wal"].len() > 1000, "bob is to be in the log");
    let mut seen = Vec::new();
    kill_everywhere(&home, &file, &old, |place| {
        let found = accounts(&home).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert!(found == [USER] || found == [USER, "bob"], "{place}: {found:?}");
        seen.push(found.len());
    });
    assert!(seen.contains(&1) && seen.contains(&2), "it was not killed on both sides of the change: {seen:?}");
}

/// Goal: the same over a damaged database with a log: it is never opened half replaced, and a restore mends it.
#[test]
fn a_killed_restore_over_a_damaged_state_starts_nothing_else() {
    let home = Home::new(&films::folder());
    let file = back_up(&home, "backup.tar");
    let mut daemon = home.start();
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    daemon.signal(Signal::KILL);
    daemon.wait(PATIENCE);
    let mut old = contents(&home.state());
    old.insert("reelway.db".to_owned(), vec![0x5a; 8192]);
    let mut refusals = Vec::new();
    kill_everywhere(&home, &file, &old, |place| match accounts(&home) {
        Ok(found) => assert_eq!(found, [USER], "{place}"),
        Err(error) => refusals.push(error),
    });
    for word in ["damaged", "cut off"] {
        assert!(refusals.iter().any(|error| error.contains(word)), "nobody said '{word}': {refusals:?}");
    }
}

/// Goal: what stands in a key's place cannot hold the one who makes a backup.
#[test]
fn a_fifo_in_the_place_of_a_key_holds_nobody() {
    let home = Home::new(&films::folder());
    let key = home.state().join("jwt.previous");
    let _ = fs::remove_file(&key);
    run(program("mkfifo").arg(&key), PATIENCE).succeeded();
    let failed = home.run(&["backup", home.path("x.tar").to_str().unwrap()], "");
    assert!(failed.code == Some(1) && failed.stderr.contains("no regular file"), "{}", failed.everything());
    assert!(!home.path("x.tar").exists());
}
