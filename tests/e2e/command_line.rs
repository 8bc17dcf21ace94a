//! The verbs as an administrator meets them: exit codes 0, 1 and 2, tables and JSON, no secrets.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::support::Finished;
use crate::support::client;
use crate::support::daemon::{Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, url_path};

/// The object of a user somewhere in a JSON answer.
fn user_in<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) if fields.get("username").is_some_and(|known| known == name) => Some(value),
        Value::Object(fields) => fields.values().find_map(|inner| user_in(inner, name)),
        Value::Array(items) => items.iter().find_map(|inner| user_in(inner, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Goal: accounts are added and listed with and without a running daemon, and no list shows a password or its hash.
#[test]
fn users_are_added_and_listed_beside_and_without_a_daemon() {
    let home = Home::new(&films::folder());
    for is_running in [false, true] {
        let daemon = is_running.then(|| home.start());
        let name = if is_running { "carl" } else { "bert" };
        let words = ["user", "add", name, "--role", "user", "--password-stdin"];
        home.run(&words, "a-third-long-one-77\n").succeeded();
        let listed = home.run(&["user", "list", "--json"], "").succeeded();
        let users: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(user_in(&users, name).expect(name)["role"], "user", "{users}");
        assert_eq!(user_in(&users, USER).expect(USER)["role"], "admin", "{users}");
        let table = home.run(&["user", "list"], "").succeeded();
        assert!(table.text().contains(name) && table.text().contains(USER), "{}", table.text());
        for text in [listed.everything(), table.everything()] {
            assert!(!text.contains("argon2") && !text.contains("a-third-long-one"), "{text}");
        }
        if let Some(daemon) = daemon {
            daemon.sign_in(name, "a-third-long-one-77");
        }
    }
}

/// Goal: a name that is taken is refused with a sentence that names it and exit code 1; its password stays.
#[test]
fn a_taken_name_is_refused() {
    let home = Home::new(&films::folder());
    let words = ["user", "add", USER, "--password-stdin"];
    let refused = home.run(&words, "some-other-long-one\n");
    assert_eq!(refused.code, Some(1), "{}", refused.everything());
    assert!(refused.stderr.contains(USER), "{}", refused.stderr);
    home.start().sign_in(USER, PASSWORD);
}

/// Goal: `token` prints a session token and nothing else, with which a player can stream.
#[test]
fn a_printed_token_plays_a_film() {
    let home = Home::new(&films::folder());
    let before = home.run(&["token", USER], "").succeeded();
    let daemon = home.start();
    let beside = home.run(&["token", USER], "").succeeded();
    for printed in [before, beside] {
        let text = printed.text();
        let token = text.trim();
        assert_eq!(token.split('.').count(), 3, "not a token");
        assert_eq!(text.lines().count(), 1);
        daemon.keep_secret(token);
        let path = format!("{}?token={token}", url_path(BIG_FILM));
        let answer = client::fetch(daemon.address, "GET", &path, &[("Range", "bytes=0-99")]);
        assert_eq!((answer.head.status, answer.body.len()), (206, 100));
    }
}

/// Goal: a token that the daemon would refuse is not printed: it signs with a key that this command does not find.
#[test]
fn a_token_of_another_key_is_refused() {
    let home = Home::new(&films::folder());
    home.start().stop();
    home.run(&["token", USER], "").succeeded();
    fs::write(home.state().join("jwt.kid"), "another").unwrap();
    let refused = home.run(&["token", USER], "");
    assert_eq!((refused.code, refused.text().as_str()), (Some(1), ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("another key"), "{}", refused.stderr);
}

/// What only prints, and so must bear with whoever reads it.
const PRINTING: [&[&str]; 6] = [
    &["user", "list"],
    &["user", "list", "--json"],
    &["token", USER],
    &["config", "show"],
    &["config", "sample"],
    &["--help"],
];

/// Goal: a reader that has seen enough (`| head`, `| true`) is no failure of ours.
#[test]
fn a_reader_that_went_away_is_no_failure() {
    let home = Home::new(&films::folder());
    for words in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = home.command(words).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let finished = Finished::from(child.wait_with_output().unwrap());
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{words:?}");
    }
}

/// Goal: an answer that could not be written is a failure, said in a sentence: a script must not go on with half a list.
#[test]
fn a_full_disk_under_the_output_is_a_failure() {
    let home = Home::new(&films::folder());
    for words in PRINTING.iter().filter(|words| **words != ["--help"]) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = home.command(words).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let finished = Finished::from(child.wait_with_output().unwrap());
        assert_eq!(finished.code, Some(1), "{words:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("No space left"), "{words:?}: {}", finished.stderr);
    }
}

/// Goal: a token for nobody is refused with a sentence.
#[test]
fn a_token_for_an_unknown_user_is_refused() {
    let home = Home::new(&films::folder());
    let refused = home.run(&["token", "nobody-here"], "");
    assert_eq!(refused.code, Some(1), "{}", refused.everything());
    assert!(refused.stderr.contains("nobody-here"), "{}", refused.stderr);
    assert_eq!(refused.text(), "");
}

/// Goal: `config show --origin` says for each key where it comes from.
#[test]
fn config_show_names_the_origin() {
    let home = Home::without_account(&films::folder());
    let shown = home.run(&["config", "show", "--origin"], "").succeeded().text();
    for origin in ["VIDEOS_PATH", "PORT", "REELWAY_LOG__FORMAT", "default"] {
        assert!(shown.contains(origin), "{origin} is not in\n{shown}");
    }
    assert!(shown.contains("head_timeout"), "{shown}");
}

/// Goal: `healthcheck` is 0 beside a daemon and 1, with a sentence, without.
#[test]
fn healthcheck_tells_whether_the_daemon_lives() {
    let home = Home::new(&films::folder());
    let mut daemon = home.start();
    let port = daemon.address.port().to_string();
    let home = home.set("PORT", &port);
    home.run(&["healthcheck"], "").succeeded();
    daemon.stop();
    let gone = home.run(&["healthcheck"], "");
    assert_eq!(gone.code, Some(1), "{}", gone.everything());
    assert!(!gone.stderr.trim().is_empty(), "it says why");
}

/// Goal: a mistyped command is exit code 2, help is 0 and the version is ours.
#[test]
fn usage_errors_are_exit_code_2() {
    let home = Home::without_account(&films::folder());
    for words in [
        &["sreve"][..],
        &["user"],
        &["user", "add"],
        &["serve", "--no-such-flag"],
        &["user", "add", "x", "--role", "king"],
    ] {
        let refused = home.run(words, "");
        assert_eq!(refused.code, Some(2), "{words:?}: {}", refused.everything());
    }
    assert!(home.run(&["--help"], "").succeeded().text().contains("serve"));
    let version = home.run(&["--version"], "").succeeded().text();
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

/// A home whose systemctl answers from the files of a folder: `show X` with X, `cat X` with X.cat; a reload fails.
fn home_with_units() -> (Home, PathBuf) {
    let home = Home::new(&films::folder());
    let (folder, program) = (home.path("units"), home.path("bin/systemctl"));
    fs::create_dir(&folder).unwrap();
    fs::create_dir(home.path("bin")).unwrap();
    let script = format!(
        "#!/bin/sh\ncd {} || exit 1\nfor unit; do :; done\ncase $1 in\n\
         show) [ ! -e late ] || exec sleep 60; cat \"$unit\" 2>/dev/null || echo LoadState=not-found ;;\n\
         cat) cat \"$unit.cat\" ;;\n\
         reload) echo \"Job for $unit failed.\" >&2; exit 1 ;;\nesac\n",
        folder.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", home.path("bin").display());
    (home.set("PATH", &path), folder)
}

/// Goal: a systemd that does not answer in time is not mistaken for one that has no such service.
#[test]
fn a_service_that_systemd_is_slow_about_is_not_said_to_be_missing() {
    let (home, units) = home_with_units();
    fs::write(units.join("late"), "").unwrap();
    let told = home.run(&["--unit", "reelway@3001", "library", "list"], "");
    assert_eq!(told.code, Some(1), "{}", told.everything());
    assert!(told.stderr.contains("has not said within 4 s how reelway@3001.service is"), "{}", told.stderr);
}

/// Goal: what is wrong with a unit that is there is told, and the doctor looks at it instead of saying that it is not there.
#[test]
fn a_unit_that_cannot_be_started_is_not_said_to_be_missing() {
    let (home, units) = home_with_units();
    for (unit, said) in [
        ("LoadState=masked\n", "reelway@3001.service is masked"),
        ("LoadState=bad-setting\nLoadError=no ExecStart\n", "cannot read reelway@3001.service (no ExecStart)"),
    ] {
        fs::write(units.join("reelway@3001.service"), unit).unwrap();
        let told = home.run(&["--unit", "reelway@3001", "library", "list"], "");
        assert_eq!(told.code, Some(1), "{}", told.everything());
        assert!(told.stderr.contains(said), "{}", told.stderr);
        let looked = home.run(&["--unit", "reelway@3001", "doctor", "--json"], "");
        let found: Value = serde_json::from_slice(&looked.stdout).unwrap_or_else(|_| panic!("{}", looked.everything()));
        assert!(found["findings"].as_array().is_some_and(|found| !found.is_empty()), "{found}");
    }
}

/// Goal: an instance that nobody has made gets no account, and one that is enabled does before it has ever run.
#[test]
fn an_instance_that_nobody_has_made_is_refused() {
    let (home, units) = home_with_units();
    let (service, socket) = (units.join("reelway@3010.service"), units.join("reelway@3010.socket"));
    let resting = "LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n";
    fs::write(&service, format!("{resting}StateDirectory=no-such-state-3010\n")).unwrap();
    fs::write(units.join("reelway@3010.service.cat"), "[Service]\n").unwrap();
    fs::write(&socket, resting).unwrap();
    let words = ["--unit", "reelway@3010", "user", "add", "bob", "--password-stdin"];
    let refused = home.run(&words, "a-third-long-one-77\n");
    assert_eq!(refused.code, Some(1), "{}", refused.everything());
    assert!(refused.stderr.contains("`systemctl enable --now reelway@3010.socket` makes it"), "{}", refused.stderr);
    for made in ["ActiveState=active\nUnitFileState=disabled\n", "ActiveState=inactive\nUnitFileState=enabled\n"] {
        fs::write(&socket, format!("LoadState=loaded\n{made}")).unwrap();
        home.run(&["--unit", "reelway@3010", "user", "list"], "").succeeded();
    }
    home.run(&words, "a-third-long-one-77\n").succeeded();
    fs::write(&socket, resting).unwrap();
    fs::write(&service, format!("{resting}Environment=STATE_DIRECTORY={}\n", home.state().display())).unwrap();
    home.run(&["--unit", "reelway@3010", "user", "list"], "").succeeded();
}

/// Goal: an instance that rests is told of with the folders and formats that its own variables give it.
#[test]
fn the_library_of_an_instance_is_read_with_its_variables() {
    let (home, units) = home_with_units();
    let home = home.unset("VIDEOS_PATH");
    let variables = home.path("default-3001");
    fs::write(&variables, format!("VIDEOS_PATH=\"{}\"\n", films::folder().display())).unwrap();
    let shown = format!(
        "LoadState=loaded\nActiveState=inactive\nUnitFileState=enabled\nEnvironmentFiles={} (ignore_errors=yes)\n",
        variables.display()
    );
    fs::write(units.join("reelway@3001.service"), shown).unwrap();
    fs::write(units.join("reelway@3001.service.cat"), "[Service]\n").unwrap();
    let scanned = home.run(&["--unit", "reelway@3001", "library", "scan", "--json"], "").succeeded();
    let status: Value = serde_json::from_slice(&scanned.stdout).unwrap();
    assert_eq!(status["roots"][0]["path"], films::folder().to_str().unwrap(), "{status}");
}

/// Goal: where the service cannot be told of a change, it is said that the change is stored all the same.
#[test]
fn a_reload_that_fails_leaves_no_doubt_about_what_is_stored() {
    let (home, units) = home_with_units();
    let home = home.unset("VIDEOS_PATH");
    let other = home.path("other");
    fs::create_dir(&other).unwrap();
    let films = films::folder();
    let roots = [("films", &films), ("other", &other)]
        .map(|(name, path)| format!("{{ name = \"{name}\", path = \"{}\" }}", path.display()));
    fs::write(home.configuration(), format!("[library]\nroots = [{}]\n", roots.join(", "))).unwrap();
    let shown = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nCanReload=yes\n";
    fs::write(units.join("reelway@3001.service"), shown).unwrap();
    fs::write(units.join("reelway@3001.service.cat"), "[Service]\n").unwrap();
    let told = home.run(&["--unit", "reelway@3001", "library", "remove", "other"], "");
    assert_eq!(told.code, Some(1), "{}", told.everything());
    assert!(told.stderr.contains("the change is stored, but") && told.stderr.contains("Job for"), "{}", told.stderr);
    let kept = fs::read_to_string(home.path("conf.d/library.toml")).unwrap();
    assert!(kept.contains("films") && !kept.contains("other"), "{kept}");
}
