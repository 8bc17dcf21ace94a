//! Share links and media tokens: what they open, for how long, how often, and that they open nothing else.

use std::fs::File;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{self, Answer, Client};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, MIB, Pattern, url_path};
use crate::support::{PATIENCE, eventually, program, run, scratch};

const BOB_PASSWORD: &str = "a-second-long-one-88";
const SOON: Duration = Duration::from_secs(5);

/// A home with a user `bob`, and the films `one.mp4` and `two.mp4`.
fn home(films: &TempDir) -> Home {
    for name in ["one.mp4", "two.mp4"] {
        Pattern::of(name).write(&films.path().join(name), 3 * MIB);
    }
    File::create(films.path().join("long.mp4")).unwrap().set_len(64 * MIB).unwrap();
    let home = Home::new(films.path());
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    home
}

fn folder() -> TempDir {
    tempfile::tempdir_in(scratch()).unwrap()
}

pub fn ask(daemon: &Daemon, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut client = Client::connect(daemon.address);
    match body {
        Some(body) => client.fetch_json(method, path, &[("Authorization", &bearer)], body),
        None => client.fetch(method, path, &[("Authorization", &bearer)]),
    }
}

fn video_id(daemon: &Daemon, name: &str) -> String {
    let list = daemon.fetch("GET", "/api/videos", &[]).json();
    let video = list["items"].as_array().unwrap().iter().find(|video| video["filename"] == name);
    video.unwrap_or_else(|| panic!("{name} is not in {list}"))["id"].as_str().unwrap().to_owned()
}

/// A link: its token and its path.
pub fn link(daemon: &Daemon, maker: &str, name: &str, body: Option<&Value>) -> (String, String) {
    let path = format!("/api/videos/{}/link", video_id(daemon, name));
    let answer = ask(daemon, maker, "POST", &path, body);
    assert_eq!(answer.head.status, 201, "{}", answer.json());
    let made = answer.json();
    let (token, url) = (made["token"].as_str().unwrap().to_owned(), made["url"].as_str().unwrap());
    assert!(made["expiresAt"].as_str().unwrap().ends_with('Z'));
    let path = url.strip_prefix("http://films.local").unwrap_or_else(|| panic!("{url}"));
    assert_eq!(path, format!("/s/{token}/{name}"));
    daemon.keep_secret(&token);
    (token, path.to_owned())
}

/// A range of whatever `path` names, as a player of this name.
fn play(daemon: &Daemon, path: &str, player: &str, range: &str) -> Answer {
    client::fetch(daemon.address, "GET", path, &[("User-Agent", player), ("Range", range)])
}

/// Goal: whoever has a link plays the film with real players, by its own path and by `?token=`, sees what it is, and opens
/// nothing else: no other film, no list, no account.
#[test]
fn a_link_opens_one_film_and_nothing_else() {
    let films = folder();
    let daemon = home(&films).start();
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let (token, path) = link(&daemon, &bob, "one.mp4", None);
    let whole = client::fetch(daemon.address, "GET", &path, &[]);
    assert_eq!((whole.head.status, whole.head.field("content-type")), (200, Some("video/mp4")));
    assert_eq!(whole.head.field("cache-control"), Some("private, max-age=0, must-revalidate"));
    Pattern::of("one.mp4").compare(0, &whole.body);
    let part = play(&daemon, &format!("{}?token={token}", url_path("one.mp4")), "mpv", "bytes=100-199");
    assert_eq!(part.head.status, 206);
    Pattern::of("one.mp4").compare(100, &part.body);
    let id = video_id(&daemon, "one.mp4");
    for (path, status) in [
        (format!("/api/stream/{id}?token={token}"), 200),
        (format!("/api/videos/{id}?token={token}"), 200),
        (format!("/s/{token}/any%20name.mkv"), 200),
        (format!("{}?token={token}", url_path("two.mp4")), 404),
        (format!("{}?token={token}", url_path("none.mp4")), 404),
        (format!("/api/stream/{}?token={token}", video_id(&daemon, "two.mp4")), 404),
        (format!("/api/videos/{}?token={token}", video_id(&daemon, "two.mp4")), 404),
        (format!("/api/videos?token={token}"), 401),
        (format!("/api/auth/me?token={token}"), 401),
        (format!("/api/library.m3u8?token={token}"), 403),
        ("/s/0123456789abcdef0123456789abcdef/one.mp4".to_owned(), 401),
        ("/s/nonsense/one.mp4".to_owned(), 401),
        (format!("/s/{}/one.mp4", daemon.token), 401),
        (format!("/s/{token}"), 404),
    ] {
        let answer = client::fetch(daemon.address, "GET", &path, &[]);
        assert_eq!(answer.head.status, status, "{path}");
    }
    let as_bearer = ask(&daemon, &token, "GET", &url_path("one.mp4"), None);
    as_bearer.is_problem(401);
    let dead = client::fetch(daemon.address, "GET", "/s/0123456789abcdef0123456789abcdef/x.mp4", &[]);
    assert!(dead.head.fields("www-authenticate").all(|scheme| !scheme.starts_with("Basic")), "a guest has no password");
    let by_session = client::fetch(daemon.address, "GET", &format!("/api/videos/{id}?token={bob}"), &[]);
    by_session.is_problem(401);
}

/// Goal: a link lives as long as was said, also over a restart that nobody announced, and what cannot be is refused.
#[test]
fn a_link_lives_as_long_as_was_said() {
    let films = folder();
    let home = home(&films);
    let mut daemon = home.start();
    let (short, long) = (json!({"expiresIn": 2}), json!({"expiresIn": 86400, "maxPlays": 5}));
    let (_, short) = link(&daemon, &daemon.token, "one.mp4", Some(&short));
    let (_, long) = link(&daemon, &daemon.token, "one.mp4", Some(&long));
    assert_eq!(play(&daemon, &short, "mpv", "bytes=0-9").head.status, 206);
    eventually("it has ended", SOON, || (play(&daemon, &short, "mpv", "bytes=0-9").head.status == 401).then_some(()));
    daemon.signal(Signal::KILL);
    daemon.wait(PATIENCE);
    let daemon = home.start();
    let statuses = [&short, &long].map(|path| play(&daemon, path, "mpv", "bytes=0-9").head.status);
    assert_eq!(statuses, [401, 206]);
    let path = format!("/api/videos/{}/link", video_id(&daemon, "one.mp4"));
    for refused in
        [json!({"expiresIn": 0}), json!({"expiresIn": 2_592_001}), json!({"maxPlays": 0}), json!({"plays": 1})]
    {
        ask(&daemon, &daemon.token, "POST", &path, Some(&refused)).is_problem(400);
    }
    let nothing = format!("/api/videos/{}/link", uuid::Uuid::nil());
    ask(&daemon, &daemon.token, "POST", &nothing, None).is_problem(404);
}

/// Goal: a link that may be played once is played by one client, as often as it likes within a day, and by no other: not by
/// a second one, not after a kill -9, and not by one that takes another name for each piece.
#[test]
fn a_link_is_played_as_often_as_was_said() {
    let films = folder();
    let home = home(&films);
    let mut daemon = home.start();
    let once = json!({"maxPlays": 1});
    let (_, path) = link(&daemon, &daemon.token, "one.mp4", Some(&once));
    assert_eq!(play(&daemon, &path, "looks", "bytes=0-99").head.status, 206, "a look is no play");
    assert_eq!(play(&daemon, &path, "first", "bytes=0-").head.status, 206);
    eventually("it was counted", SOON, || {
        let second = play(&daemon, &path, "second", "bytes=0-9");
        (second.head.status == 403).then(|| second.is_problem(403))
    });
    assert_eq!(play(&daemon, &path, "first", "bytes=0-").head.status, 206, "who has played may play again");
    std::thread::sleep(Duration::from_secs(1)); // What is written behind is never more than a second old.
    daemon.signal(Signal::KILL);
    daemon.wait(PATIENCE);
    let daemon = home.start();
    assert_eq!(play(&daemon, &path, "second", "bytes=0-9").head.status, 403);
    assert_eq!(play(&daemon, &path, "first", "bytes=0-9").head.status, 206);

    let (_, path) = link(&daemon, &daemon.token, "long.mp4", Some(&once));
    let piece = MIB / 2;
    let refused = (0..200).find(|index| {
        let range = format!("bytes={}-{}", index * piece, (index + 1) * piece - 1);
        std::thread::sleep(Duration::from_millis(20));
        play(&daemon, &path, &format!("name {index}"), &range).head.status == 403
    });
    assert!(refused.is_some_and(|index| index < 128), "the whole film was taken in pieces: {refused:?}");
}

/// Goal: two guests of one link play at once, the third is told so, and the last two places are not for guests.
#[test]
fn a_link_plays_twice_at_once() {
    let films = folder();
    let daemon = home(&films).set("REELWAY_VIDEO__MAX_CONCURRENT_STREAMS", "5").start();
    let begin = |path: &str, player: &str| {
        let mut client = Client::connect_narrow(daemon.address);
        client.ask("GET", path, &[("User-Agent", player)]);
        let head = client.head();
        (head.status, client)
    };
    let (_, path) = link(&daemon, &daemon.token, "long.mp4", None);
    let (one, two, third) = (begin(&path, "one"), begin(&path, "two"), begin(&path, "three"));
    assert_eq!([one.0, two.0, third.0], [200, 200, 429]);
    assert_eq!(begin(&path, "two").0, 200, "a second connection of the same");
    let (_, other) = link(&daemon, &daemon.token, "long.mp4", None);
    let three = begin(&other, "one");
    assert_eq!((three.0, begin(&other, "two").0), (200, 429), "two of five are left for the house");
    let own = ["one.mp4", "long.mp4"].map(|name| {
        let mut client = Client::connect_narrow(daemon.address);
        daemon.ask_film(&mut client, name, Some("bytes=0-"));
        client
    });
    drop((one, two, three, own));
}

/// Goal: the links of somebody who is disabled are dead at once, and what is played by them is cut; those of others live.
#[test]
fn links_go_with_who_made_them() {
    let films = folder();
    let daemon = home(&films).start();
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let (_, path) = link(&daemon, &bob, "long.mp4", None);
    let (_, others) = link(&daemon, &daemon.token, "long.mp4", None);
    let mut client = Client::connect_narrow(daemon.address);
    client.ask("GET", &path, &[]);
    assert_eq!(client.head().status, 200);
    let list = daemon.fetch("GET", "/api/users?query=bob", &[]).json();
    let account = format!("/api/users/{}", list["items"][0]["id"].as_str().unwrap());
    let change = |body: Value| assert_eq!(ask(&daemon, &daemon.token, "PATCH", &account, Some(&body)).head.status, 200);
    change(json!({"password": "yet-another-long-one-99"}));
    assert_eq!(client.body(MIB).len() as u64, MIB, "another password is nobody's end but his sessions'");
    change(json!({"isActive": false}));
    client.wait_at_most(SOON);
    let (bytes, _) = client.rest();
    assert!((bytes.len() as u64) < 63 * MIB, "the film came whole");
    assert_eq!(play(&daemon, &path, "mpv", "bytes=0-9").head.status, 401);
    assert_eq!(play(&daemon, &others, "mpv", "bytes=0-9").head.status, 206);
    change(json!({"isActive": true}));
    assert_eq!(play(&daemon, &path, "mpv", "bytes=0-9").head.status, 206, "and live again with him");
    assert_eq!(ask(&daemon, &daemon.token, "DELETE", &account, None).head.status, 204);
    assert_eq!(play(&daemon, &path, "mpv", "bytes=0-9").head.status, 401);
}

/// Plays a film by a link that is over while it plays.
pub fn play_beyond_the_end(daemon: &Daemon, name: &str) -> Client {
    let (_, path) = link(daemon, &daemon.token, name, Some(&json!({"expiresIn": 5})));
    let mut client = Client::connect_narrow(daemon.address);
    client.ask("GET", &path, &[]);
    assert_eq!(client.head().status, 200);
    eventually("it has ended", PATIENCE, || (play(daemon, &path, "mpv", "bytes=0-9").head.status == 401).then_some(()));
    client
}

/// Goal: a film outlives the link that began it: neither another link nor a change of some account ends it.
#[test]
fn a_film_outlives_its_link() {
    let films = folder();
    let daemon = home(&films).start();
    let mut client = play_beyond_the_end(&daemon, "long.mp4");
    link(&daemon, &daemon.token, "one.mp4", None);
    let list = daemon.fetch("GET", "/api/users?query=bob", &[]).json();
    let account = format!("/api/users/{}", list["items"][0]["id"].as_str().unwrap());
    let change = json!({"isActive": false});
    assert_eq!(ask(&daemon, &daemon.token, "PATCH", &account, Some(&change)).head.status, 200);
    assert_eq!(client.body(64 * MIB).len() as u64, 64 * MIB);
    assert_eq!(daemon.ledger().sum("reelway_stopped_total"), 0);
}

/// Goal: the playlist of the library plays in real players; its tokens open one film each, outlive a refresh, and end with
/// the session.
#[test]
fn the_playlist_plays_and_ends_with_its_session() {
    let daemon = Home::new(&films::folder()).start();
    let own = daemon.sign_in(USER, PASSWORD);
    let answer = client::fetch(daemon.address, "GET", &format!("/api/library.m3u8?token={own}"), &[]);
    assert_eq!(answer.head.field("content-type"), Some("audio/x-mpegurl; charset=utf-8"));
    // As it was asked for, so the addresses are.
    let text = String::from_utf8(answer.body).unwrap().replace("films.local", &daemon.address.to_string());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "#EXTM3U");
    let entries: Vec<(&str, &str)> = lines[1..].chunks(2).map(|pair| (pair[0], pair[1])).collect();
    assert_eq!(entries.len(), films::names().count() + 2, "{text}");
    for (_, url) in &entries {
        daemon.keep_secret(url.split('/').nth(4).unwrap());
    }
    let url = |title: &str| entries.iter().find(|(info, _)| info.ends_with(&format!(",{title}"))).unwrap().1;
    for title in ["Moov last", "Épisode 1 – début"] {
        let mut ffprobe = program("ffprobe");
        ffprobe.args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", url(title)]);
        let found = run(&mut ffprobe, Duration::from_secs(30)).succeeded().text();
        assert!(found.trim().parse::<f64>().is_ok_and(|seconds| seconds > 3.0), "{title}: {found}");
    }
    let path = url("big").strip_prefix(&format!("http://{}", daemon.address)).unwrap();
    let token = path.split('/').nth(2).unwrap();
    let by_query =
        |name: &str| play(&daemon, &format!("{}?token={token}", url_path(name)), "x", "bytes=5-9").head.status;
    assert_eq!((by_query(BIG_FILM), by_query("Old film.avi")), (206, 404));
    ask(&daemon, token, "GET", "/api/auth/me", None).is_problem(401);
    let refreshed = ask(&daemon, &own, "POST", "/api/auth/refresh", None);
    let newer = refreshed.json()["token"].as_str().unwrap().to_owned();
    daemon.keep_secret(&newer);
    assert_eq!(play(&daemon, path, "x", "bytes=5-9").head.status, 206, "a refresh ends no playlist");
    assert_eq!(ask(&daemon, &newer, "POST", "/api/auth/logout", None).head.status, 204);
    assert_eq!(play(&daemon, path, "x", "bytes=5-9").head.status, 401);
    let basic = run(
        program("curl")
            .args(["-sS", "-o", "-", "-w", "%{http_code}", "-u", &format!("{USER}:{PASSWORD}")])
            .arg(format!("http://{}/api/library.m3u8", daemon.address)),
        PATIENCE,
    );
    assert!(basic.text().ends_with("403") && basic.text().contains("session_needed"), "{}", basic.text());
}

/// Goal: with `net.shared_cache` a cache may keep what a link shows, until the link ends, and links that count are refused.
#[test]
fn a_shared_cache_may_keep_what_a_link_shows() {
    let films = folder();
    let home = home(&films);
    let daemon = home.start();
    let (_, counted) = link(&daemon, &daemon.token, "one.mp4", Some(&json!({"maxPlays": 3})));
    drop(daemon);
    let daemon = home.set("REELWAY_NET__SHARED_CACHE", "true").start();
    let (_, path) = link(&daemon, &daemon.token, "one.mp4", Some(&json!({"expiresIn": 1000})));
    let answer = play(&daemon, &path, "x", "bytes=0-9");
    let caching = answer.head.field("cache-control").unwrap();
    let seconds =
        caching.strip_prefix("public, s-maxage=").and_then(|rest| rest.split(',').next()?.parse::<i64>().ok());
    assert!(seconds.is_some_and(|seconds| (980..=1000).contains(&seconds)), "{caching}");
    assert_eq!(answer.head.field("x-accel-buffering"), None);
    let private = daemon.fetch("GET", &url_path("one.mp4"), &[("Range", "bytes=0-9")]);
    assert!(private.head.field("cache-control").unwrap().starts_with("private"));
    play(&daemon, &counted, "x", "bytes=0-9").is_problem(403);
    let path = format!("/api/videos/{}/link", video_id(&daemon, "one.mp4"));
    ask(&daemon, &daemon.token, "POST", &path, Some(&json!({"maxPlays": 1}))).is_problem(400);
}
