//! `reelway doctor` beside a daemon that was started by hand: nothing to complain about, and then one thing after the other.
//!
//! What systemd has to do with it is planted on real machines, by tests/package/plants.sh.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::Finished;
use crate::support::daemon::{Home, USER};
use crate::support::films;

/// A home as an installed one is: nobody else may enter its state.
fn home(videos: &Path) -> Home {
    let home = Home::new(videos);
    fs::set_permissions(home.state(), Permissions::from_mode(0o700)).unwrap();
    home.start().stop();
    home
}

/// The ids of the findings of a level.
fn ids(finished: &Finished, level: &str) -> Vec<String> {
    let told: Value = serde_json::from_slice(&finished.stdout).unwrap_or_else(|_| panic!("{}", finished.everything()));
    let problems = told["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "problem");
    assert_eq!(told["healthy"], problems.clone().count() == 0, "{told}");
    assert_eq!(finished.code, Some(i32::from(told["healthy"] == false)), "{told}");
    assert!(problems.clone().all(|finding| finding["fix"].as_str().is_some_and(|fix| !fix.is_empty())), "{told}");
    let found = told["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == level);
    found.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
}

fn problems(home: &Home) -> Vec<String> {
    ids(&home.run(&["doctor", "--json"], ""), "problem")
}

/// Goal: there is no problem where there is none, with a daemon and without; and nobody's files are touched by looking.
#[test]
fn a_healthy_daemon_has_no_problem() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = home(&films::folder()).set("PORT", &free.to_string());
    let list = || {
        let entries =
            fs::read_dir(home.state()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm")).collect();
        names.sort();
        names
    };
    let before = list();
    assert_eq!(problems(&home), [""; 0]);
    assert_eq!(list(), before);
    let daemon = home.start();
    let looked = home.run(&["doctor", "--json"], "");
    assert_eq!(ids(&looked, "problem"), [""; 0]);
    let well = ids(&looked, "ok");
    for id in ["config.valid", "service.answers", "state.database", "library.films"] {
        assert!(well.iter().any(|known| known == id), "{id}: {well:?}");
    }
    drop(daemon);
    let table = home.run(&["doctor"], "").succeeded();
    assert!(table.text().contains("ok       config.valid"), "{}", table.text());
    assert!(ids(&home.run(&["doctor", "--json"], ""), "note").iter().any(|id| id == "backup.none"));
    home.run(&["backup", home.path("b.tar").to_str().unwrap()], "").succeeded();
    assert!(ids(&home.run(&["doctor", "--json"], ""), "ok").iter().any(|id| id == "backup.recent"));
}

/// Goal: each thing that is wrong with a state is found, alone, and gone once the advice was followed.
#[test]
fn each_fault_of_a_state_is_found() {
    let home = home(&films::folder());
    let state = home.state();
    let mode = |name: &str, mode| fs::set_permissions(state.join(name), Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    assert_eq!(problems(&home), ["state.mode"]);
    mode("", 0o700);
    mode("jwt.key", 0o644);
    assert_eq!(problems(&home), ["state.secrets"]);
    mode("jwt.key", 0o600);
    let key = fs::read(state.join("jwt.key")).unwrap();
    fs::write(state.join("jwt.key"), "short").unwrap();
    assert_eq!(problems(&home), ["state.key"]);
    fs::write(state.join("jwt.key"), key).unwrap();
    fs::write(state.join("reelway.db.restoring"), "").unwrap();
    mode("reelway.db.restoring", 0o600);
    assert_eq!(problems(&home), ["state.restore"]);
    fs::remove_file(state.join("reelway.db.restoring")).unwrap();
    assert_eq!(problems(&home), [""; 0]);
    let database = fs::read(state.join("reelway.db")).unwrap();
    fs::write(state.join("reelway.db"), vec![0x5a; 9000]).unwrap();
    assert_eq!(problems(&home), ["state.database"]);
    fs::write(state.join("reelway.db"), database).unwrap();
    home.run(&["user", "add", "bob", "--password-stdin"], "a-second-long-one-88\n").succeeded();
    let changed = rusqlite::Connection::open(state.join("reelway.db")).unwrap();
    changed.execute("UPDATE users SET is_active = 0 WHERE username = ?1", [USER]).unwrap();
    drop(changed);
    let looked = home.run(&["doctor", "--json"], "");
    assert_eq!(ids(&looked, "problem"), [""; 0], "whoever has followed the first steps has no administrator");
    assert!(ids(&looked, "note").contains(&"state.admin".to_owned()), "{}", looked.text());
    let emptied = rusqlite::Connection::open(state.join("reelway.db")).unwrap();
    emptied.execute("DELETE FROM users", []).unwrap();
    drop(emptied);
    assert_eq!(problems(&home), ["state.accounts"]);
}

/// Goal: what is wrong with the configuration and the library is found.
#[test]
fn each_fault_of_configuration_and_library_is_found() {
    let home = home(&films::folder());
    let file = home.path("doctor.toml");
    let look = |home: &Home, text: &str| {
        fs::write(&file, text).unwrap();
        ids(&home.run(&["doctor", "--json", "--config", file.to_str().unwrap()], ""), "problem")
    };
    assert_eq!(look(&home, "server.prot = 80"), ["config.invalid"]);
    let (other, new) = (home.path("other"), home.path("other/new"));
    fs::create_dir_all(&new).unwrap();
    fs::write(new.join("notes.txt"), "").unwrap();
    let films = films::folder();
    let (films, other) = (films.to_str().unwrap(), other.to_str().unwrap());
    for (roots, expected) in [
        (format!("{films}:{films}-missing"), &["library.missing"][..]),
        (other.to_owned(), &["library.formats"]),
        (format!("{films}:{other}:{other}/new"), &["library.formats", "library.formats", "library.twice"]),
        (format!("{films}/{}", films::BIG_FILM), &["library.file"]),
        (String::new(), &["library.none"]),
    ] {
        let home = home_with(&home, &roots);
        assert_eq!(ids(&home.run(&["doctor", "--json"], ""), "problem"), expected, "{roots}");
    }
}

/// A home of its own with these roots, and the state of a healthy one.
fn home_with(healthy: &Home, roots: &str) -> Home {
    let home = Home::without_account(Path::new(roots));
    fs::set_permissions(home.state(), Permissions::from_mode(0o700)).unwrap();
    for name in ["reelway.db", "jwt.key"] {
        fs::copy(healthy.state().join(name), home.state().join(name)).unwrap();
    }
    home
}

/// Goal: a stranger on the port is named, and a daemon that is stopped in its tracks is found.
#[test]
fn strangers_and_silence_are_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = home(&films::folder()).set("PORT", &port.to_string());
    let looked = home.run(&["doctor", "--json"], "");
    assert_eq!(ids(&looked, "problem"), ["service.port"]);
    assert!(looked.text().contains(&format!("(process {})", std::process::id())), "{}", looked.text());
    drop(listener);
    let daemon = home.start();
    fs::remove_file(home.path("run/admin.sock")).unwrap();
    assert_eq!(problems(&home), ["service.admin"]);
    daemon.signal(rustix::process::Signal::STOP);
    let found = problems(&home);
    assert!(found.contains(&"service.silent".to_owned()), "{found:?}");
    daemon.signal(rustix::process::Signal::CONT);
}

/// Goal: whoever names a service is told when there is none, instead of getting an answer about another.
#[test]
fn a_service_that_is_not_there_is_not_mistaken_for_another() {
    let home = home(&films::folder());
    for verb in [&["doctor"][..], &["user", "list"], &["library", "list"], &["healthcheck"], &["config", "show"]] {
        let told = home.run(&[&["--unit", "no-such@3001"], verb].concat(), "");
        assert_eq!(told.code, Some(1), "{}", told.everything());
        assert!(told.everything().contains("systemd has no no-such@3001.service"), "{}", told.everything());
    }
    assert_eq!(home.run(&["serve", "--unit", "reelway@3001"], "").code, Some(1));
}
