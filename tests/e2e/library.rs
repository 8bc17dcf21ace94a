//! The library's routes and verbs: scans, what came of them, the configuration in force, and the file of the roots.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{Pattern, url_path};
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
