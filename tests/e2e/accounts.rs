//! Signing in and out, sessions and accounts over HTTP: what ends what, and that it stays ended.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{self, Answer, Client};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, url_path};
use crate::support::{PATIENCE, eventually};

const BOB_PASSWORD: &str = "a-second-long-one-88";

/// A home with an administrator and a user `bob`.
fn home() -> Home {
    let home = Home::new(&films::folder());
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    home
}

/// One request with this token.
fn ask(daemon: &Daemon, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut client = Client::connect(daemon.address);
    match body {
        Some(body) => client.fetch_json(method, path, &[("Authorization", &bearer)], body),
        None => client.fetch(method, path, &[("Authorization", &bearer)]),
    }
}

/// Whether a token opens the API and a film.
fn lives(daemon: &Daemon, token: &str) -> bool {
    let me = ask(daemon, token, "GET", "/api/auth/me", None).head.status;
    let range = [("Range", "bytes=0-9"), ("Authorization", &format!("Bearer {token}"))];
    let film = client::fetch(daemon.address, "GET", &url_path(BIG_FILM), &range).head.status;
    match (me, film) {
        (200, 206) => true,
        (401, 401) => false,
        other => panic!("{other:?}"),
    }
}

fn session_of(daemon: &Daemon, token: &str) -> Value {
    let answer = ask(daemon, token, "GET", "/api/session", None);
    assert_eq!(answer.head.status, 200, "{:?}", answer.head);
    answer.json()
}

fn bob_id(daemon: &Daemon) -> String {
    let list = daemon.fetch("GET", "/api/users?query=bob", &[]).json();
    list["items"][0]["id"].as_str().unwrap().to_owned()
}

/// Goal: a session that was signed out is over for good, on every carrier, and after a restart that nobody announced.
#[test]
fn a_session_that_was_signed_out_never_lives_again() {
    let home = home();
    let mut daemon = home.start();
    let (gone, kept) = (daemon.sign_in("bob", BOB_PASSWORD), daemon.sign_in("bob", BOB_PASSWORD));
    let answer = ask(&daemon, &gone, "POST", "/api/auth/logout", None);
    assert_eq!(answer.head.status, 204, "{:?}", answer.head);
    assert!(answer.head.field("set-cookie").unwrap().contains("Max-Age=0"), "the browser forgets it too");
    daemon.signal(Signal::KILL);
    daemon.wait(PATIENCE);
    let daemon = home.start();
    assert!(!lives(&daemon, &gone) && lives(&daemon, &kept));
    let cookie = format!("reelway={gone}");
    let by_cookie = client::fetch(daemon.address, "GET", "/api/auth/me", &[("Cookie", &cookie)]);
    assert_eq!(by_cookie.head.status, 401);
    let in_query = client::fetch(daemon.address, "GET", &format!("{}?token={gone}", url_path(BIG_FILM)), &[]);
    assert_eq!(in_query.head.status, 401);
}

/// Goal: a refresh gives a new token of the same session, and the old one is dead, also after kill -9.
#[test]
fn a_refreshed_token_takes_the_place_of_the_old_one() {
    let home = home();
    let mut daemon = home.start();
    let old = daemon.sign_in("bob", BOB_PASSWORD);
    let before = session_of(&daemon, &old);
    let answer = ask(&daemon, &old, "POST", "/api/auth/refresh", None);
    assert_eq!(answer.head.status, 200, "{:?}", answer.head);
    assert_eq!(answer.head.field("cache-control"), Some("no-store"));
    let new = answer.json()["token"].as_str().unwrap().to_owned();
    daemon.keep_secret(&new);
    assert_eq!(answer.json()["sessionId"], before["sessionId"]);
    assert!(!lives(&daemon, &old) && lives(&daemon, &new));
    assert_eq!(ask(&daemon, &old, "POST", "/api/auth/refresh", None).head.status, 401);
    daemon.signal(Signal::KILL);
    daemon.wait(PATIENCE);
    let daemon = home.start();
    assert!(!lives(&daemon, &old) && lives(&daemon, &new));
}

/// Goal: a user's fourth session signs out the one that was idle for longest, and no other.
#[test]
fn a_fourth_session_signs_out_the_idlest() {
    let daemon = home().start();
    let tokens: Vec<String> = (0..3).map(|_| daemon.sign_in("bob", BOB_PASSWORD)).collect();
    // To the second: the first two are used again once a second has passed since their login.
    eventually("two sessions are fresher than the third", PATIENCE, || {
        lives(&daemon, &tokens[0]);
        lives(&daemon, &tokens[1]);
        let last = |token: &str| {
            let list = daemon.fetch("GET", "/api/sessions", &[]).json();
            let id = token_session(token);
            let found = list["items"].as_array().unwrap().iter().find(|item| item["sessionId"] == id.as_str()).cloned();
            found.unwrap()["activity"]["lastActivity"].as_str().unwrap().to_owned()
        };
        (last(&tokens[0]) > last(&tokens[2]) && last(&tokens[1]) > last(&tokens[2])).then_some(())
    });
    let fourth = daemon.sign_in("bob", BOB_PASSWORD);
    let alive: Vec<bool> = tokens.iter().chain([&fourth]).map(|token| lives(&daemon, token)).collect();
    assert_eq!(alive, [true, true, false, true]);
}

/// The session that a token names.
fn token_session(token: &str) -> String {
    use std::process::Command;
    let script = "import sys,base64,json; p=sys.argv[1].split('.')[1]; \
                  print(json.loads(base64.urlsafe_b64decode(p+'='*(-len(p)%4)))['session_id'].split('.')[0])";
    let output = Command::new("python3").args(["-c", script, token]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Goal: another password, another role and a disabled account end the sessions that were there, at once.
#[test]
fn a_change_of_credentials_ends_what_was_proved_before() {
    let daemon = home().start();
    let id = bob_id(&daemon);
    let place = format!("/api/users/{id}");
    let mut password = BOB_PASSWORD.to_owned();
    for change in [
        json!({"password": "the-third-one-is-99"}),
        json!({"role": "admin"}),
        json!({"role": "user"}),
        json!({"isActive": false}),
    ] {
        let token = daemon.sign_in("bob", &password);
        let answer = ask(&daemon, &daemon.token, "PATCH", &place, Some(&change));
        assert_eq!(answer.head.status, 200, "{change}: {:?}", answer.head);
        assert!(!lives(&daemon, &token), "{change}");
        if let Some(new) = change["password"].as_str() {
            password = new.to_owned();
        }
    }
    let credentials = json!({"username": "bob", "password": password});
    let disabled = client::post(daemon.address, "/api/auth/login", &credentials);
    let unknown = client::post(daemon.address, "/api/auth/login", &json!({"username": "x", "password": password}));
    disabled.is_problem(401);
    assert_eq!(disabled.json()["detail"], unknown.json()["detail"], "nobody learns that the account is there");
    let old = client::post(daemon.address, "/api/auth/login", &json!({"username": "bob", "password": BOB_PASSWORD}));
    old.is_problem(401);
}

/// Goal: one's own new password ends one's other sessions and not this one; a wrong current one changes nothing.
#[test]
fn a_new_password_of_ones_own_ends_the_other_sessions() {
    let daemon = home().start();
    let (this, other) = (daemon.sign_in("bob", BOB_PASSWORD), daemon.sign_in("bob", BOB_PASSWORD));
    let change = |current: &str, new: &str| {
        ask(&daemon, &this, "PUT", "/api/users/me/password", Some(&json!({"current": current, "new": new})))
    };
    change("not-it-at-all", "the-third-one-is-99").is_problem(403);
    assert!(lives(&daemon, &other));
    change(BOB_PASSWORD, "").is_problem(400);
    assert_eq!(change(BOB_PASSWORD, "the-third-one-is-99").head.status, 204);
    assert!(lives(&daemon, &this) && !lives(&daemon, &other));
    daemon.sign_in("bob", "the-third-one-is-99");
}

/// Goal: a user sees and ends their own sessions only; another's is as good as missing, and an administrator sees all.
#[test]
fn a_user_sees_and_ends_their_own_sessions_only() {
    let daemon = home().start();
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let admins = session_of(&daemon, &daemon.token)["sessionId"].as_str().unwrap().to_owned();
    let bobs = session_of(&daemon, &bob)["sessionId"].as_str().unwrap().to_owned();
    let count =
        |token: &str| ask(&daemon, token, "GET", "/api/sessions", None).json()["items"].as_array().unwrap().len();
    assert_eq!((count(&bob), count(&daemon.token)), (1, 2));
    let first = daemon.fetch("GET", "/api/sessions?limit=1", &[]).json();
    let rest = daemon.fetch("GET", &format!("/api/sessions?cursor={}", first["next"].as_str().unwrap()), &[]).json();
    assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (1, 1));
    assert_ne!(first["items"][0]["sessionId"], rest["items"][0]["sessionId"]);
    for method in ["GET", "DELETE"] {
        ask(&daemon, &bob, method, &format!("/api/sessions/{admins}"), None).is_problem(404);
    }
    assert_eq!(ask(&daemon, &daemon.token, "DELETE", &format!("/api/sessions/{bobs}"), None).head.status, 204);
    assert!(!lives(&daemon, &bob) && lives(&daemon, &daemon.token));
    ask(&daemon, &daemon.token, "DELETE", &format!("/api/sessions/{bobs}"), None).is_problem(404);
    let again = daemon.sign_in("bob", BOB_PASSWORD);
    assert_eq!(ask(&daemon, &again, "DELETE", "/api/sessions", None).head.status, 204);
    assert!(!lives(&daemon, &again) && lives(&daemon, &daemon.token), "only one's own");
}

/// Goal: what a session did is written behind within a second and survives kill -9: last activity and bytes.
#[test]
fn what_a_session_did_survives_a_kill() {
    let home = home();
    let mut daemon = home.start();
    let range = [("Range", "bytes=0-99999")];
    assert_eq!(daemon.fetch("GET", &url_path(BIG_FILM), &range).body.len(), 100_000);
    eventually("the session knows what it was sent", PATIENCE, || {
        (session_of(&daemon, &daemon.token)["activity"]["bytesStreamed"] == 100_000).then_some(())
    });
    let database = home.state().join("reelway.db");
    eventually("the store has what was sent", PATIENCE, || {
        let query = "SELECT max(bytes_streamed) FROM user_sessions";
        let script = "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
        let mut python = std::process::Command::new("python3");
        let output = python.args(["-c", script]).arg(&database).arg(query).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).trim() == "100000").then_some(())
    });
    let token = daemon.token.clone();
    daemon.signal(Signal::KILL);
    daemon.wait(PATIENCE);
    let daemon = home.start();
    assert_eq!(session_of(&daemon, &token)["activity"]["bytesStreamed"], 100_000);
}

/// Goal: what changes something by cookie must come from a page of ours; a token in a field need not.
#[test]
fn a_page_of_another_site_changes_nothing() {
    let daemon = home().start();
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let cookie = format!("reelway={bob}");
    let own = "http://films.local"; // As the client of the tests says in Host.
    let wish = json!({"quality": "720p"});
    let put = |fields: &[(&str, &str)]| {
        Client::connect(daemon.address).fetch_json("PUT", "/api/users/me/preferences", fields, &wish)
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        put(&[("Cookie", &cookie), ("Origin", origin)]).is_problem(403);
    }
    put(&[("Cookie", &cookie)]).is_problem(403);
    assert_eq!(ask(&daemon, &bob, "GET", "/api/users/me/preferences", None).json()["quality"], "auto");
    assert_eq!(put(&[("Cookie", &cookie), ("Origin", own)]).head.status, 200);
    assert_eq!(ask(&daemon, &bob, "GET", "/api/users/me/preferences", None).json()["quality"], "720p");
    let bearer = format!("Bearer {bob}");
    assert_eq!(put(&[("Authorization", &bearer), ("Origin", "http://evil.example")]).head.status, 200);
}

/// Goal: the last administrator stays, and the trail tells an administrator what was done, with no secret in it.
#[test]
fn the_last_administrator_stays_and_the_trail_tells() {
    let daemon = home().start();
    let me = daemon.fetch("GET", "/api/auth/me", &[]).json();
    let place = format!("/api/users/{}", me["id"].as_str().unwrap());
    ask(&daemon, &daemon.token, "DELETE", &place, None).is_problem(409);
    ask(&daemon, &daemon.token, "PATCH", &place, Some(&json!({"isActive": false}))).is_problem(409);
    ask(&daemon, &daemon.token, "PATCH", &place, Some(&json!({"role": "user"}))).is_problem(409);
    let wrong = json!({"username": "bob", "password": "certainly-not-it"});
    client::post(daemon.address, "/api/auth/login", &wrong).is_problem(401);
    let bob = format!("/api/users/{}", bob_id(&daemon));
    assert_eq!(ask(&daemon, &daemon.token, "DELETE", &bob, None).head.status, 204);
    ask(&daemon, &daemon.token, "GET", &bob, None).is_problem(404);
    eventually("the trail has all of it", PATIENCE, || {
        let trail = daemon.fetch("GET", "/api/admin/audit", &[]);
        let text = String::from_utf8(trail.body.clone()).unwrap();
        assert!(![PASSWORD, BOB_PASSWORD, "certainly-not-it"].iter().any(|secret| text.contains(secret)));
        let actions: Vec<_> =
            trail.json()["items"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
        let wanted = ["user_added", "login", "login_failed", "user_removed"];
        wanted.iter().all(|action| actions.contains(&json!(action))).then_some(())
    });
    let pages = daemon.fetch("GET", "/api/admin/audit?limit=1", &[]).json();
    let next =
        daemon.fetch("GET", &format!("/api/admin/audit?limit=1&cursor={}", pages["next"].as_str().unwrap()), &[]);
    assert_ne!(next.json()["items"][0]["id"], pages["items"][0]["id"]);
    assert_eq!(me["username"], USER);
}

/// Goal: the tenth wrong password in a row is refused unseen, for a name that is there and for one that is not, and tells
/// when to come again; from another address its owner still signs in.
#[test]
fn wrong_passwords_are_limited_and_lock_nobody_out() {
    let home = home().set("REELWAY_AUTH__LOGIN_FAILURES_MAX", "10");
    let daemon = home.start_signed_out();
    let login = |client: &mut Client, name: &str, password: &str| {
        let credentials = json!({"username": name, "password": password});
        client.fetch_json("POST", "/api/auth/login", &[], &credentials)
    };
    let mut attacker = Client::connect(daemon.address);
    let statuses: Vec<u16> =
        (0..10).map(|number| login(&mut attacker, "bob", &format!("guess-{number}")).head.status).collect();
    assert_eq!(statuses, [[401; 9].as_slice(), &[429]].concat());
    let refused = login(&mut attacker, "bob", BOB_PASSWORD);
    refused.is_problem(429);
    let wait: u64 = refused.head.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=31).contains(&wait), "{wait} s");
    login(&mut attacker, USER, PASSWORD).is_problem(429);
    let mut owner = Client::connect_from([127, 0, 0, 2].into(), daemon.address);
    let signed_in = login(&mut owner, "bob", BOB_PASSWORD);
    assert_eq!(signed_in.head.status, 200, "{:?}", signed_in.head);
    daemon.keep_secret(signed_in.json()["token"].as_str().unwrap());
    let mut other = Client::connect_from([127, 0, 0, 3].into(), daemon.address);
    let unknown: Vec<u16> = (0..10).map(|_| login(&mut other, "nobody-at-all", "x").head.status).collect();
    assert_eq!(unknown, statuses, "a name that is not there is counted like one that is");
}

/// Goal: 64 wrong passwords at once cost one hash's memory at a time, and delay nobody who asks for something else.
#[test]
fn a_storm_of_wrong_passwords_delays_nobody() {
    let daemon = home().start();
    let before = peak_kib(&daemon);
    let storm: Vec<_> = (0..64)
        .map(|number| {
            let address = daemon.address;
            std::thread::spawn(move || {
                let credentials = json!({"username": "bob", "password": format!("guess-{number}")});
                client::post(address, "/api/auth/login", &credentials).head.status
            })
        })
        .collect();
    for _ in 0..50 {
        let begun = std::time::Instant::now();
        let piece = daemon.fetch("GET", &url_path(BIG_FILM), &[("Range", "bytes=0-9")]);
        assert_eq!(piece.head.status, 206);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }
    let statuses: Vec<u16> = storm.into_iter().map(|attempt| attempt.join().unwrap()).collect();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
    assert!(statuses.contains(&401), "{statuses:?}");
    let grown = peak_kib(&daemon).saturating_sub(before);
    assert!(grown < 64 * 1024, "the peak of memory has grown by {grown} KiB");
}

/// The most memory that the daemon ever had, in KiB (proc_pid_status(5), VmHWM).
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
