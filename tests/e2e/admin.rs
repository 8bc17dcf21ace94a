//! The admin socket, and the verbs over it and without a daemon: the same words, the same answers, in force at once.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{self, Client};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, url_path};
use crate::support::{PATIENCE, eventually, program, run};

const BOB_PASSWORD: &str = "a-second-long-one-88";
const NEWER: &str = "yet-another-long-one-99";

fn json_of(home: &Home, words: &[&str], input: &str) -> Value {
    let finished = home.run(words, input).succeeded();
    serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{words:?}: {error} in {}", finished.text()))
}

fn login(daemon: &Daemon, name: &str, password: &str) -> u16 {
    let answer = client::post(daemon.address, "/api/auth/login", &json!({"username": name, "password": password}));
    if answer.head.status == 200 {
        daemon.keep_secret(answer.json()["token"].as_str().unwrap());
    }
    answer.head.status
}

/// Goal: each verb for accounts does the same beside a daemon and without one, says the same, and what it did is there.
#[test]
fn verbs_for_accounts_are_the_same_beside_and_without_a_daemon() {
    let mut said = Vec::new();
    for is_running in [false, true] {
        let home = Home::new(&films::folder());
        let daemon = is_running.then(|| home.start());
        let mut words = Vec::new();
        let mut say = |arguments: &[&str], input: &str| {
            let finished = home.run(arguments, input);
            words.push((arguments.join(" "), finished.code, finished.text(), finished.stderr.clone()));
        };
        say(&["user", "add", "bob", "--email", "bob@home", "--password-stdin"], &format!("{BOB_PASSWORD}\n"));
        say(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n"));
        say(&["user", "add", "", "--password-stdin"], &format!("{BOB_PASSWORD}\n"));
        say(&["user", "add", "eve", "--password-stdin"], "\n");
        say(&["user", "role", "bob", "--role", "admin"], "");
        say(&["user", "passwd", "bob", "--password-stdin"], &format!("{NEWER}\n"));
        say(&["user", "disable", "bob"], "");
        say(&["token", "bob"], "");
        say(&["user", "enable", "bob"], "");
        say(&["user", "remove", USER], "");
        say(&["user", "remove", "bob"], "");
        say(&["user", "remove", "bob"], "");
        say(&["user", "disable", "nobody"], "");
        say(&["token", "nobody"], "");
        say(&["sessions", "end", "nonsense"], "");
        say(&["streams", "list"], "");
        say(&["link", "no film"], "");
        let users = json_of(&home, &["user", "list", "--json"], "");
        assert_eq!(users["items"].as_array().unwrap().len(), 1, "{users}");
        said.push(words);
        drop(daemon);
    }
    assert_eq!(said[0], said[1]);
    let codes: Vec<_> = said[0].iter().map(|(_, code, ..)| code.unwrap()).collect();
    assert_eq!(codes, [0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 0, 1], "{said:#?}");
    for (words, code, stdout, stderr) in &said[0] {
        assert_eq!(code == &Some(0), stderr.is_empty(), "{words}: {stderr}");
        assert!(!stdout.contains("long-one") && !stderr.contains("long-one"), "{words}: {stdout}{stderr}");
    }
}

/// Goal: what a verb changes beside a daemon is in force at once: the old password opens nothing, not even where it was
/// remembered, the session is over, and its film is cut.
#[test]
fn what_a_verb_changes_is_in_force_at_once() {
    let home = Home::new(&films::folder());
    let daemon = home.start();
    let basic = || {
        let mut curl = program("curl");
        curl.args(["-q", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-u", &format!("bob:{BOB_PASSWORD}")]);
        curl.arg(format!("http://{}/api/auth/me", daemon.address));
        run(&mut curl, PATIENCE).text()
    };
    assert_eq!(basic(), "401");
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    assert_eq!(basic(), "200", "a name that was refused before is one now");
    let token = daemon.sign_in("bob", BOB_PASSWORD);
    let mut film = Client::connect_narrow(daemon.address);
    film.ask("GET", &url_path(BIG_FILM), &[("Authorization", &format!("Bearer {token}"))]);
    assert_eq!(film.head().status, 200);
    let listed = home.run(&["streams", "list"], "").succeeded().text();
    assert!(listed.contains("bob") && listed.contains("big") && listed.contains("127.0.0.1"), "{listed}");
    let listed = home.run(&["sessions", "list"], "").succeeded().text();
    assert!(listed.contains("bob") && listed.contains(USER), "{listed}");
    home.run(&["user", "passwd", "bob", "--password-stdin"], &format!("{NEWER}\n")).succeeded();
    daemon.keep_secret(NEWER);
    assert_eq!(
        (basic().as_str(), login(&daemon, "bob", BOB_PASSWORD), login(&daemon, "bob", NEWER)),
        ("401", 401, 200)
    );
    film.wait_at_most(Duration::from_secs(5));
    let (bytes, _) = film.rest();
    assert!((bytes.len() as u64) < films::BIG_FILM_BYTES, "the film came whole");
    let sessions = json_of(&home, &["sessions", "list", "--json"], "");
    let own = sessions["items"].as_array().unwrap().iter().find(|session| session["client"].is_string()).unwrap();
    home.run(&["sessions", "end", own["sessionId"].as_str().unwrap()], "").succeeded();
    let after = json_of(&home, &["sessions", "list", "--json"], "");
    assert_eq!(after["items"].as_array().unwrap().len() + 1, sessions["items"].as_array().unwrap().len());
}

/// Goal: `link` prints an address that plays, by path and by id, beside a daemon and before one.
#[test]
fn a_printed_link_plays_a_film() {
    let home = Home::new(&films::folder());
    let before = home.run(&["link", BIG_FILM], "").succeeded().text();
    let daemon = home.start();
    let host = daemon.address.to_string();
    let beside = json_of(&home, &["link", BIG_FILM, "--plays", "1", "--expires", "1h", "--host", &host, "--json"], "");
    assert!(beside["url"].as_str().unwrap().starts_with(&format!("http://{host}/s/")), "{beside}");
    for url in [before.trim(), beside["url"].as_str().unwrap()] {
        let path = url.splitn(4, '/').nth(3).unwrap();
        daemon.keep_secret(path.split('/').nth(1).unwrap());
        let answer = client::fetch(daemon.address, "GET", &format!("/{path}"), &[("Range", "bytes=0-99")]);
        assert_eq!((answer.head.status, answer.body.len()), (206, 100), "{url}");
    }
}

/// Goal: the socket is for root and who runs the daemon: nobody else gets to it, and whoever does is a stranger there.
#[test]
fn the_socket_is_for_the_machine_only() {
    let home = Home::new(&films::folder());
    let mut daemon = home.start();
    let socket = home.path("run").join("admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o7777, 0o600);
    let mut curl = program("curl");
    curl.args(["-q", "-sS", "-w", " %{http_code}", "--unix-socket"]).arg(&socket).arg("http://localhost/api/users");
    let answer = run(&mut curl, PATIENCE).succeeded().text();
    assert!(answer.ends_with(" 200") && answer.contains(USER), "{answer}");
    // A token is judged by what it is, here as elsewhere; and a film is sent to somebody.
    for (path, field, status) in [
        ("/api/users", "Authorization: Bearer nonsense", "401"),
        ("/api/auth/me", "X-Nothing: 0", "403"),
        (url_path(BIG_FILM).as_str(), "Range: bytes=0-9", "403"),
    ] {
        let mut curl = program("curl");
        curl.args(["-q", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", field, "--unix-socket"]).arg(&socket);
        let answer = run(curl.arg(format!("http://localhost{path}")), PATIENCE).succeeded().text();
        assert_eq!(answer, status, "{path} {field}");
    }
    if rustix::process::geteuid().is_root() {
        let ask = |mode: u32| {
            fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).unwrap();
            let script = "import os, socket; os.setgroups([]); os.setgid(65534); os.setuid(65534); \
                          s = socket.socket(socket.AF_UNIX); s.connect('admin.sock'); \
                          s.sendall(b'GET /api/users HTTP/1.0\\r\\n\\r\\n'); print(s.recv(100)[:12])";
            // Begun in the socket's folder, so that it need not come through those above.
            Command::new("python3").args(["-c", script]).current_dir(home.path("run")).output().unwrap()
        };
        let refused = ask(0o600);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("PermissionError"), "{refused:?}");
        let stranger = ask(0o666);
        assert!(String::from_utf8_lossy(&stranger.stdout).contains("HTTP/1.1 401"), "{stranger:?}");
    }
    daemon.stop();
    assert!(!socket.exists(), "it goes with the daemon");
}

/// Goal: a socket that a killed daemon left is replaced; a daemon that finds the state in use leaves the other's alone.
#[test]
fn a_socket_that_was_left_is_replaced() {
    let home = Home::new(&films::folder());
    let mut daemon = home.start();
    daemon.signal(Signal::KILL);
    daemon.wait(PATIENCE);
    let socket = home.path("run").join("admin.sock");
    assert!(socket.exists(), "it was left");
    home.run(&["user", "list"], "").succeeded();
    let daemon = home.start();
    let second = run(&mut home.serve_command(), PATIENCE);
    assert_eq!(second.code, Some(1), "{}", second.everything());
    assert!(second.stderr.contains("another reelway"), "{}", second.stderr);
    UnixStream::connect(&socket).expect("the first one still listens");
    home.run(&["user", "list"], "").succeeded();
    assert_eq!(login(&daemon, USER, PASSWORD), 200);
}

/// Goal: a daemon that cannot be talked to is told apart from none: a verb that would write beside it says what to do.
#[test]
fn a_daemon_elsewhere_is_not_passed_over() {
    let home = Home::new(&films::folder());
    let _daemon = home.start();
    let elsewhere = home.path("elsewhere");
    let mut command = home.command(&["user", "list"]);
    let refused = run(command.env("RUNTIME_DIRECTORY", &elsewhere), Duration::from_secs(60));
    assert_eq!(refused.code, Some(1), "{}", refused.everything());
    assert!(refused.stderr.contains("RUNTIME_DIRECTORY"), "{}", refused.stderr);
}

/// Goal: the daemon of another state is nobody to talk to, and its socket is left alone by who comes later, file or socket.
#[test]
fn a_daemon_of_another_state_is_no_daemon_of_ours() {
    let (first, second) = (Home::new(&films::folder()), Home::without_account(&films::folder()));
    let _daemon = first.start();
    let second = second.set("RUNTIME_DIRECTORY", first.path("run").to_str().unwrap());
    second.run(&["user", "add", "zoe", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    let listed = first.run(&["user", "list"], "").succeeded().text();
    assert!(!listed.contains("zoe"), "{listed}");
    let mut other = second.start_signed_out();
    assert!(!other.log.lines_with("no admin socket").is_empty());
    other.stop();
    first.run(&["user", "role", "ANN", "--role", "admin"], "").succeeded();
    assert!(first.path("run").join("admin.sock").exists());
}

/// Goal: a path longer than the address of a socket, and a runtime folder that cannot be, stop nobody.
#[test]
fn any_runtime_folder_will_do() {
    let home = Home::new(&films::folder());
    let long = home.path(&"x".repeat(180));
    let home = home.set("RUNTIME_DIRECTORY", long.to_str().unwrap());
    let daemon = home.start();
    home.run(&["user", "list"], "").succeeded();
    assert!(long.join("admin.sock").exists());
    drop(daemon);
    fs::remove_file(long.join("admin.sock")).unwrap();
    fs::write(long.join("admin.sock"), "somebody's").unwrap();
    drop(home.start());
    assert_eq!(fs::read(long.join("admin.sock")).unwrap(), b"somebody's");
    fs::write(home.path("file"), "").unwrap();
    let none = home.path("file").join("below");
    let home = home.set("RUNTIME_DIRECTORY", none.to_str().unwrap());
    let daemon = home.start();
    assert!(!daemon.log.lines_with("no admin socket").is_empty());
    assert_eq!(daemon.fetch("GET", &url_path(BIG_FILM), &[("Range", "bytes=0-9")]).head.status, 206);
}

/// Goal: run by root over the state of somebody else, a verb leaves no file that its owner cannot open.
#[test]
fn a_verb_of_root_leaves_no_file_of_roots() {
    if !rustix::process::geteuid().is_root() {
        return; // Who is not root leaves none.
    }
    let owner = 65_534;
    let outside = tempfile::tempdir().unwrap();
    chown(outside.path(), Some(owner), Some(owner)).unwrap();
    let mut home = Home::without_account(&films::folder());
    for folder in ["state", "cache", "run"] {
        let path = outside.path().join(folder);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        let name = if folder == "run" { "RUNTIME".to_owned() } else { folder.to_uppercase() };
        home = home.set(&format!("{name}_DIRECTORY"), path.to_str().unwrap());
    }
    home.add_user(USER, PASSWORD);
    home.run(&["token", USER], "").succeeded();
    let files: Vec<_> =
        fs::read_dir(outside.path().join("state")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(
        files.iter().any(|file| file.ends_with("reelway.db")) && files.iter().any(|file| file.ends_with("jwt.key"))
    );
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().uid(), owner, "{}", file.display());
    }
}

/// Goal: verbs that come at the same moment wait for one another, and a daemon that starts meanwhile is found.
#[test]
fn verbs_at_the_same_moment_wait_for_one_another() {
    let home = Home::new(&films::folder());
    let names: Vec<String> = (0..6).map(|index| format!("user-{index}")).collect();
    let daemon = std::thread::scope(|scope| {
        for name in &names {
            let home = &home;
            scope
                .spawn(move || home.run(&["user", "add", name, "--password-stdin"], &format!("{NEWER}\n")).succeeded());
        }
        scope.spawn(|| home.start()).join().unwrap()
    });
    daemon.keep_secret(NEWER);
    let listed = eventually("all are there", PATIENCE, || {
        let users = json_of(&home, &["user", "list", "--json"], "");
        (users["items"].as_array().unwrap().len() == names.len() + 1).then_some(users)
    });
    assert!(listed["next"].is_null());
}
