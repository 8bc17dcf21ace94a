//! The library's routes and verbs: scans, what came of them, the configuration in force, and the file of the roots.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{Pattern, url_path};
use crate::support::slow_disk::leave_out;
use crate::support::{PATIENCE, eventually, scratch};

fn folder_with(films: &[&str]) -> TempDir {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    for film in films {
        write(folder.path(), film);
    }
    folder
}

fn write(folder: &Path, film: &str) {
    let path = folder.join(film);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    Pattern::of(film).write(&path, 5000);
}

/// Has the library scanned, and waits for what comes of it.
fn scan(daemon: &Daemon) -> Value {
    let mut client = Client::connect(daemon.address);
    let bearer = daemon.bearer();
    let begun = client.fetch("POST", "/api/library/scan", &[("Authorization", &bearer)]);
    assert!([200, 202].contains(&begun.head.status), "{begun:?}");
    eventually("the scan is over", PATIENCE, || {
        let status = daemon.fetch("GET", "/api/library/status", &[]).json();
        (status["state"] == "idle").then_some(status)
    })
}

/// Goal: a scan that is asked for sees what was added, changed and removed since the last one, and says what it left out.
#[test]
fn a_scan_says_what_has_come_changed_gone_and_was_left_out() {
    let films = folder_with(&["stays.mp4", "changes.mp4", "goes.mp4"]);
    let daemon = Home::new(films.path()).start();
    let first = daemon.fetch("GET", "/api/library/status", &[]).json();
    let name = films.path().file_name().unwrap().to_str().unwrap();
    let root = |found: usize| json!([{"name": name, "path": films.path(), "available": true, "found": found}]);
    let expected = json!({
        "state": "idle", "found": 3, "added": 3, "changed": 0, "removed": 0, "failed": [], "roots": root(3),
    });
    assert_eq!(first, expected);

    write(films.path(), "Series/comes.mkv");
    fs::write(films.path().join("changes.mp4"), "another").unwrap();
    fs::remove_file(films.path().join("goes.mp4")).unwrap();
    let deep = (0..40).fold(films.path().to_owned(), |path, number| path.join(number.to_string()));
    fs::create_dir_all(&deep).unwrap();
    let status = scan(&daemon);
    let numbers = ["found", "added", "changed", "removed"].map(|name| status[name].as_u64().unwrap());
    assert_eq!(numbers, [3, 1, 1, 1], "{status}");
    let failed = status["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 1, "{status}");
    assert!(failed[0]["path"].as_str().unwrap().ends_with("/31/32"), "{status}");
    assert_eq!(failed[0]["reason"], "too many folders below one another");
    let list = daemon.fetch("GET", "/api/videos?query=comes", &[]).json();
    assert_eq!(list["items"][0]["filename"], "comes.mkv", "what was found can be found");
}

/// Goal: a root that was away at the start is back after a scan, and one that goes is said to be away.
#[test]
fn a_root_that_comes_is_served_after_a_scan() {
    let films = folder_with(&["here.mp4"]);
    let late = films.path().with_extension("late");
    let daemon = Home::new(Path::new(&format!("{}:{}", films.path().display(), late.display()))).start();
    let availability = |status: &Value| {
        let roots = status["roots"].as_array().unwrap();
        roots.iter().map(|root| root["available"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(availability(&daemon.fetch("GET", "/api/library/status", &[]).json()), [true, false]);
    assert_eq!(daemon.fetch("HEAD", &url_path("late.mp4"), &[]).head.status, 404);
    write(&late, "late.mp4");
    assert_eq!(availability(&scan(&daemon)), [true, true]);
    assert_eq!(daemon.fetch("HEAD", &url_path("late.mp4"), &[]).head.status, 200);
    assert_eq!(daemon.health()["components"]["library"]["status"], "ok");
    fs::remove_dir_all(&late).unwrap();
    assert_eq!(availability(&scan(&daemon)), [true, false]);
    assert_eq!(daemon.health()["components"]["library"]["status"], "degraded");
}

/// Goal: a disk that is away while the folder it is mounted on is there is said to be away, once, and its films are not gone;
/// when they were deleted they are.
#[test]
fn the_empty_folder_of_a_disk_that_is_away_is_no_empty_library() {
    let place = folder_with(&[]);
    let (films, unplugged) = (place.path().join("films"), place.path().join("unplugged"));
    write(&films, "a.mp4");
    let home = Home::new(&films);
    home.start().stop();
    fs::rename(&films, &unplugged).unwrap();
    fs::create_dir(&films).unwrap();

    let daemon = home.start();
    let reason = format!("the root films ({}) is empty, and had films; nothing is mounted there", films.display());
    let status = scan(&daemon);
    let root = json!({"name": "films", "path": films, "available": false, "reason": reason, "found": 0});
    assert_eq!((&status["roots"][0], &status["removed"]), (&root, &json!(0)));
    let text = home.run(&["library", "status"], "").succeeded().text();
    assert!(text.contains(&format!("not available: {reason}\n")), "{text}");
    let list = home.run(&["library", "list"], "").succeeded().text();
    let words: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..3], ["films", "no", "0"]);
    assert_eq!(daemon.health()["components"]["library"]["status"], "degraded");
    assert_eq!(daemon.log.lines_with("library root is empty").len(), 1, "it is told once");

    fs::remove_dir(&films).unwrap();
    fs::rename(&unplugged, &films).unwrap();
    let back = scan(&daemon);
    assert_eq!((&back["roots"][0]["available"], &back["found"], &back["added"]), (&json!(true), &json!(1), &json!(0)));
    fs::remove_file(films.join("a.mp4")).unwrap();
    let emptied = scan(&daemon);
    assert_eq!((&emptied["roots"][0]["available"], &emptied["removed"]), (&json!(true), &json!(1)));
}

/// A disk in memory; dropping it takes it out.
pub struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    pub fn mounted_on(folder: &'a Path) -> Disk<'a> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "reelway-test"]).arg(folder).status();
        assert!(mounted.unwrap().success());
        Disk(folder)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Lazily, as one that is pulled out: the daemon has its folder open.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
        // No panic: that would end all tests when one has failed.
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.0.display());
        }
    }
}

/// Goal: the same for a disk that is taken out while the daemon runs and comes back as another device, and an empty disk in its
/// place is told apart from none.
#[test]
fn a_disk_may_come_back_as_another_device() {
    if !rustix::process::geteuid().is_root() {
        return leave_out("only root can mount", std::env::var_os("CI").is_some());
    }
    let place = folder_with(&[]);
    let films = place.path().join("films");
    fs::create_dir(&films).unwrap();
    let disk = Disk::mounted_on(&films);
    write(&films, "a.mp4");
    let home = Home::new(&films);
    let mut daemon = home.start();
    let reason = |status: &Value| status["roots"][0]["reason"].as_str().unwrap_or_default().to_owned();
    drop(disk);
    let away = scan(&daemon);
    assert_eq!(
        reason(&away),
        format!("the root films ({}) is empty, and had films; nothing is mounted there", films.display())
    );
    assert_eq!(away["removed"], 0);
    let disk = Disk::mounted_on(&films);
    write(&films, "a.mp4");
    let back = scan(&daemon);
    assert_eq!((&back["roots"][0]["available"], &back["found"], &back["added"]), (&json!(true), &json!(1), &json!(0)));
    daemon.stop();
    drop(disk);
    let _other = Disk::mounted_on(&films);
    let daemon = home.start();
    let other = scan(&daemon);
    assert_eq!(reason(&other), format!("the root films ({}) is empty, and had films", films.display()));
    assert_eq!(other["removed"], 0);
}

/// Goal: the configuration over the API is word for word what the command line prints.
#[test]
fn the_configuration_in_force_is_shown_with_its_origins() {
    let films = folder_with(&[]);
    let home = Home::new(films.path()).set("REELWAY_NET__STALL_TIMEOUT", "7m");
    let daemon = home.start();
    let shown = daemon.fetch("GET", "/api/admin/config", &[]).json();
    let printed = home.run(&["config", "show", "--origin", "--json"], "").succeeded().text();
    assert_eq!(shown, serde_json::from_str::<Value>(&printed).unwrap());
    assert_eq!(shown["net.stall_timeout"], json!({"value": 420, "origin": "environment REELWAY_NET__STALL_TIMEOUT"}));
}

/// Goal: a changed value that waits for a restart is shown as that, beside the one in force: more films at once than there are
/// slots for, and what only a restart changes at all.
#[test]
fn what_waits_for_a_restart_is_shown_beside_what_is_in_force() {
    let films = folder_with(&[]);
    let home = Home::new(films.path()).unset("REELWAY_VIDEO__MAX_CONCURRENT_STREAMS");
    let mut daemon = home.start();
    let mut reloads = 0;
    let mut after = |streams: u32, sessions: u32| {
        let text = format!("[video]\nmax_concurrent_streams = {streams}\n[sessions]\ncapacity = {sessions}\n");
        fs::write(home.configuration(), text).unwrap();
        daemon.signal(rustix::process::Signal::HUP);
        reloads += 1;
        eventually("it is read", PATIENCE, || {
            (daemon.log.lines_with("the configuration is in force").len() == reloads).then_some(())
        });
        let shown = daemon.fetch("GET", "/api/admin/config", &[]).json();
        ["video.max_concurrent_streams", "sessions.capacity"].map(|key| {
            let row = shown[key].as_object().unwrap();
            (row["value"].as_u64().unwrap(), row.get("afterRestart").map(|waiting| waiting.as_u64().unwrap()))
        })
    };
    assert_eq!(after(100, 64), [(100, None), (64, None)]);
    // There are 256 slots.
    assert_eq!(after(1000, 80), [(256, Some(1000)), (64, Some(80))]);
    assert_eq!(after(1000, 90), [(256, Some(1000)), (64, Some(90))], "it waits still");
    assert_eq!(after(200, 64), [(200, None), (64, None)], "nothing waits any more");
    assert_eq!(after(1000, 80), [(256, Some(1000)), (64, Some(80))]);
    daemon.stop();
    let daemon = home.start();
    let shown = daemon.fetch("GET", "/api/admin/config", &[]).json();
    let row = &shown["video.max_concurrent_streams"];
    assert_eq!((&row["value"], row.get("afterRestart")), (&json!(1000), None));
}

/// A home without roots, so that files say which there are.
fn bare_home() -> Home {
    Home::new(Path::new("/nowhere")).set("VIDEOS_PATH", "")
}

/// The roots in force, as name and path.
fn roots(home: &Home) -> Vec<(String, String)> {
    let shown = home.run(&["config", "show", "--json"], "").succeeded().text();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let roots = shown["library.roots"]["value"].as_array().unwrap();
    roots.iter().map(|root| (text(&root["name"]), text(&root["path"]))).collect()
}

/// Goal: a folder that was added is served by the next daemon under its name, and one that was removed is not; the roots of
/// other files stay.
#[test]
fn a_folder_is_added_and_removed_by_one_command_each() {
    let (films, shows) = (folder_with(&["a.mp4", "b.mkv"]), folder_with(&["s.mp4"]));
    let (films, shows) = (films.path().to_str().unwrap(), shows.path().to_str().unwrap());
    let home = bare_home();
    fs::create_dir(home.path("conf.d")).unwrap();
    fs::write(
        home.path("conf.d/first.toml"),
        format!("[library]\nroots = [{{ name = \"old\", path = \"{films}\" }}]\n"),
    )
    .unwrap();
    let added = home.run(&["library", "add", shows, "--name", "My shows", "--json"], "").succeeded();
    let added: Value = serde_json::from_str(&added.text()).unwrap();
    assert_eq!(added, json!({"name": "My shows", "path": shows, "inForce": false, "found": null}));
    let pair = |name: &str, path: &str| (name.to_owned(), path.to_owned());
    assert_eq!(roots(&home), [pair("old", films), pair("My shows", shows)]);

    let mut daemon = home.start();
    assert_eq!(daemon.fetch("HEAD", &url_path("My shows/s.mp4"), &[]).head.status, 200);
    let list = home.run(&["library", "list"], "").succeeded().text();
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["old", "yes", "2", films]);
    assert_eq!(lines[2], ["My", "shows", "yes", "1", shows]);
    let again = home.run(&["library", "add", shows], "").succeeded().text();
    assert!(again.starts_with("added 'My shows'"), "adding it again looks again: {again}");
    assert_eq!(roots(&home).len(), 2);
    let removed = home.run(&["library", "remove", "old"], "").succeeded().text();
    assert!(removed.contains("its films are still in") && removed.contains("start the daemon anew"), "{removed}");
    assert_eq!(roots(&home), [pair("My shows", shows)]);
    daemon.stop();
    let daemon = home.start();
    assert_eq!(daemon.fetch("HEAD", &url_path("old/a.mp4"), &[]).head.status, 404);
    assert!(Path::new(films).join("a.mp4").exists());
}

/// Goal: what cannot be added is refused with a sentence, and nothing is stored.
#[test]
fn what_cannot_be_added_is_refused_and_nothing_is_stored() {
    let films = folder_with(&["a.mp4"]);
    let path = films.path().to_str().unwrap();
    let home = bare_home();
    let film = format!("{path}/a.mp4");
    for (arguments, code, expected) in [
        (vec!["library", "add"], 2, "Usage"),
        (vec!["library", "add", "/nowhere/at/all"], 1, "could not find /nowhere/at/all"),
        (vec!["library", "add", &film], 1, "is no folder"),
        (vec!["library", "add", path, "--name", "a/b"], 1, "a name must be one part of a path"),
        (vec!["library", "remove", "films"], 1, "there is no library 'films'"),
    ] {
        let refused = home.run(&arguments, "");
        assert_eq!(refused.code, Some(code), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{arguments:?}: {}", refused.stderr);
        assert!(!home.path("conf.d/library.toml").exists(), "{arguments:?}");
    }
    let home = home.set("VIDEOS_PATH", path);
    let refused = home.run(&["library", "add", path], "");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("VIDEOS_PATH is set in the environment"), "{}", refused.stderr);
}

/// Goal: a folder that the service's user may not read is not stored; the way to open it is told word for word.
#[test]
fn a_folder_that_the_service_may_not_read_is_explained_and_not_stored() {
    if !rustix::process::geteuid().is_root() {
        return leave_out("only root can look as somebody else", std::env::var_os("CI").is_some());
    }
    // Somewhere that everybody may enter.
    let films = tempfile::tempdir_in("/tmp").unwrap();
    write(films.path(), "a.mp4");
    fs::set_permissions(films.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = films.path().to_str().unwrap();
    let home = bare_home();
    std::os::unix::fs::chown(home.state(), Some(65534), Some(65534)).unwrap();
    let refused = home.run(&["library", "add", path], "");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let told = [
        format!("nobody may not list {path} (it is for root:root, mode 0700)."),
        format!("setfacl -R -m u:nobody:rX -m d:u:nobody:rX {path}"),
        format!("reelway library add --fix {path}"),
    ];
    for sentence in told {
        assert!(refused.stderr.contains(&sentence), "{sentence} is not in {}", refused.stderr);
    }
    assert!(!home.path("conf.d/library.toml").exists());
    // Valid again: as soon as it is open it is stored.
    fs::set_permissions(films.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let added = home.run(&["library", "add", path], "").succeeded().text();
    assert!(added.contains(": 1 film; the service takes this over when it starts"), "{added}");
}

/// Goal: a scan by command says what has come, with a daemon and without, and programs get it as JSON.
#[test]
fn a_scan_by_command_says_what_came_of_it() {
    let films = folder_with(&["a.mp4"]);
    let home = Home::new(films.path());
    let text = home.run(&["library", "scan"], "").succeeded().text();
    assert_eq!(text, "1 film: 1 new, 0 changed, 0 gone\n", "without a daemon");
    assert_eq!(home.run(&["library", "status"], "").succeeded().text(), "not scanned yet\n");
    let daemon = home.start();
    write(films.path(), "b.mp4");
    let scanned = home.run(&["library", "scan", "--json"], "").succeeded().text();
    let scanned: Value = serde_json::from_str(&scanned).unwrap();
    assert_eq!(scanned, daemon.fetch("GET", "/api/library/status", &[]).json());
    assert_eq!((&scanned["found"], &scanned["added"]), (&json!(2), &json!(1)));
    fs::remove_file(films.path().join("a.mp4")).unwrap();
    home.run(&["library", "scan"], "").succeeded();
    let text = home.run(&["library", "status"], "").succeeded().text();
    assert_eq!(text, "1 film: 0 new, 0 changed, 1 gone\n");
}
