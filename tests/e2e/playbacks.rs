//! Playbacks: what counts as one, what the limits refuse, who gives way, and how one is stopped.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{self, Answer, Client};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{MIB, url_path};
use crate::support::{eventually, scratch};

const BOB_PASSWORD: &str = "a-second-long-one-88";
/// What is to happen within a second has happened after this.
const SOON: Duration = Duration::from_secs(5);

/// A folder of films so long that no socket swallows one.
fn long_films(count: usize) -> TempDir {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    (0..count).for_each(|index| make_long(&folder.path().join(name(index))));
    folder
}

fn make_long(path: &Path) {
    File::create(path).unwrap().set_len(64 * MIB).unwrap();
}

fn name(index: usize) -> String {
    format!("film-{index}.mp4")
}

/// A home with an administrator and a user `bob`, and these limits.
fn home(folder: &TempDir, in_all: usize, per_user: usize) -> Home {
    let home = Home::new(folder.path())
        .set("REELWAY_VIDEO__MAX_CONCURRENT_STREAMS", &in_all.to_string())
        .set("REELWAY_VIDEO__MAX_STREAMS_PER_USER", &per_user.to_string());
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    home
}

/// A player that has begun film `index` and reads no further.
fn watch(daemon: &Daemon, token: &str, index: usize) -> Client {
    let mut client = Client::connect_narrow(daemon.address);
    let answer = try_watch(&mut client, token, index);
    assert_eq!(answer.unwrap_or_else(|no| panic!("{}", no.json())), 206);
    client
}

/// Asks for a film; its head is left, or the refusal given.
fn try_watch(client: &mut Client, token: &str, index: usize) -> Result<u16, Answer> {
    client.ask("GET", &url_path(&name(index)), &[("Authorization", &format!("Bearer {token}")), ("Range", "bytes=0-")]);
    let head = client.head();
    if head.status == 206 {
        return Ok(206);
    }
    let body = client.body(head.length());
    Err(Answer { head, body })
}

fn ask(daemon: &Daemon, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut client = Client::connect(daemon.address);
    match body {
        Some(body) => client.fetch_json(method, path, &[("Authorization", &bearer)], body),
        None => client.fetch(method, path, &[("Authorization", &bearer)]),
    }
}

fn streams(daemon: &Daemon, token: &str) -> Vec<Value> {
    let answer = ask(daemon, token, "GET", "/api/streams", None);
    assert_eq!(answer.head.status, 200, "{:?}", answer.head);
    answer.json()["items"].as_array().unwrap().clone()
}

/// Waits until the daemon has cut the film of this player.
fn expect_cut(client: &mut Client, what: &str) {
    let begun = Instant::now();
    client.wait_at_most(SOON);
    let (bytes, _) = client.rest();
    assert!((bytes.len() as u64) < 64 * MIB, "{what}: the film came whole");
    assert!(begun.elapsed() < SOON, "{what}: it took {:?}", begun.elapsed());
}

/// Goal: two films of one user are too many where one is allowed, the refusal says so and names the one that runs, any
/// number of connections of one film is not, and the next film takes its place as soon as nothing is sent of the first.
#[test]
fn one_user_plays_as_many_films_as_may_be_over_as_many_connections_as_they_like() {
    let films = long_films(3);
    let daemon = home(&films, 8, 1).start();
    let first = watch(&daemon, &daemon.token, 0);
    let more: Vec<Client> = (0..5).map(|_| watch(&daemon, &daemon.token, 0)).collect();
    let refused = try_watch(&mut Client::connect(daemon.address), &daemon.token, 1).unwrap_err();
    refused.is_problem(429);
    let problem = refused.json();
    assert_eq!(problem["title"], "Maximum concurrent streams reached", "{problem}");
    assert!(refused.head.field("retry-after").is_some());
    let running = streams(&daemon, &daemon.token);
    assert_eq!((running.len(), &running[0]["connections"]), (1, &json!(6)), "{running:?}");
    assert_eq!(problem["streams"][0]["streamId"], running[0]["streamId"]);
    assert_eq!(problem["streams"][0]["videoId"], running[0]["videoId"]);
    // Somebody else is not concerned, nor is what is no film.
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let bobs = watch(&daemon, &bob, 1);
    let head = daemon.fetch("HEAD", &url_path(&name(1)), &[]);
    assert_eq!(head.head.status, 200, "a question about a film is no playback");
    drop((first, more));
    let next = eventually("the next film plays", SOON, || {
        let mut client = Client::connect_narrow(daemon.address);
        try_watch(&mut client, &daemon.token, 1).ok().map(|_| client)
    });
    let own = streams(&daemon, &bob);
    assert_eq!(own.len(), 1, "a user sees their own: {own:?}");
    drop((next, bobs));
}

/// Goal: with as many films running as the server may send, a further viewer reads "Server busy" and the list of their own
/// streams; whoever lingers gives way.
#[test]
fn a_server_with_all_places_taken_is_busy() {
    let films = long_films(4);
    let daemon = home(&films, 2, 2).start();
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let [first, second] = [0, 1].map(|index| watch(&daemon, &daemon.token, index));
    let refused = try_watch(&mut Client::connect(daemon.address), &bob, 2).unwrap_err();
    refused.is_problem(429);
    assert_eq!(refused.json()["title"], "Server busy");
    assert_eq!(refused.json()["streams"], json!([]), "those of others are nobody's business");
    drop(first);
    let bobs = eventually("bob plays", SOON, || {
        let mut client = Client::connect_narrow(daemon.address);
        try_watch(&mut client, &bob, 2).ok().map(|_| client)
    });
    assert_eq!(streams(&daemon, &daemon.token).len(), 2);
    drop((second, bobs));
}

/// Goal: zapping through twenty films within ten seconds, on new connections and on one, meets no limit of one.
#[test]
fn zapping_through_twenty_films_meets_no_limit() {
    let films = long_films(20);
    let daemon = home(&films, 1, 1).start();
    let mut kept = Client::connect(daemon.address);
    let bearer = daemon.bearer();
    let begun = Instant::now();
    for index in 0..20 {
        // The last film's connection is dropped as a player drops it: a moment after the next one's request, at worst.
        let mut client = Client::connect_narrow(daemon.address);
        try_watch(&mut client, &daemon.token, index).unwrap_or_else(|no| panic!("film {index}: {}", no.json()));
        client.reset();
        let gone = || streams(&daemon, &daemon.token).iter().all(|stream| stream["connections"] == 0).then_some(());
        eventually("its connection is gone", SOON, gone);
        let range = [("Authorization", bearer.as_str()), ("Range", "bytes=5-9")];
        let answer = kept.fetch("GET", &url_path(&name((index + 1) % 20)), &range);
        assert_eq!(answer.head.status, 206, "film {index} on a kept connection");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "twenty films took {:?}", begun.elapsed());
}

/// Goal: a stream shows what the contract says, and what was sent over it.
#[test]
fn a_stream_shows_who_watches_what_and_how_fast() {
    let films = long_films(1);
    let daemon = home(&films, 8, 3).start();
    let me = daemon.fetch("GET", "/api/auth/me", &[]).json();
    let mut client = watch(&daemon, &daemon.token, 0);
    let mut taken = 0;
    let stream = eventually("a rate", SOON, || {
        taken += client.body(256 * 1024).len();
        let stream = streams(&daemon, &daemon.token).remove(0);
        (stream["rate"].as_f64().unwrap() > 0.0).then_some(stream)
    });
    assert_eq!(stream["userId"], me["id"]);
    assert_eq!(stream["client"], "127.0.0.1");
    assert!(stream["bytesStreamed"].as_u64().unwrap() >= taken as u64, "{stream}");
    assert!(stream["position"].is_null() && stream["startTime"].as_str().unwrap().ends_with('Z'), "{stream}");
    let id = stream["streamId"].as_str().unwrap();
    let one = ask(&daemon, &daemon.token, "GET", &format!("/api/streams/{id}"), None).json();
    assert_eq!((&one["streamId"], &one["videoId"]), (&stream["streamId"], &stream["videoId"]));
    let session = ask(&daemon, &daemon.token, "GET", "/api/session", None).json();
    assert_eq!(session["activity"]["streamsCount"], 1);
    let noted = || {
        let session = ask(&daemon, &daemon.token, "GET", "/api/session", None).json();
        (session["activity"]["bytesStreamed"].as_u64().unwrap() >= taken as u64).then_some(())
    };
    eventually("the session knows what it was sent, in the middle of a film", SOON, noted);
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    ask(&daemon, &bob, "GET", &format!("/api/streams/{id}"), None).is_problem(404);
    ask(&daemon, &bob, "DELETE", &format!("/api/streams/{id}"), None).is_problem(404);
}

/// Goal: DELETE of a stream cuts it within a second, be its player reading or not, and its place is free at once.
#[test]
fn a_stream_that_is_stopped_is_cut_and_leaves_its_place() {
    let films = long_films(2);
    let daemon = home(&films, 1, 1).start();
    let mut paused = watch(&daemon, &daemon.token, 0);
    let mut also = watch(&daemon, &daemon.token, 0);
    let id = streams(&daemon, &daemon.token)[0]["streamId"].as_str().unwrap().to_owned();
    let path = format!("/api/streams/{id}");
    assert_eq!(ask(&daemon, &daemon.token, "DELETE", &path, None).head.status, 204);
    let next = watch(&daemon, &daemon.token, 1);
    expect_cut(&mut paused, "a paused one");
    expect_cut(&mut also, "its second connection");
    ask(&daemon, &daemon.token, "DELETE", &path, None).is_problem(404);
    // The trail is written behind: nothing is lost with a stream that was stopped.
    eventually("it is in the trail", SOON, || {
        let rows = daemon.fetch("GET", "/api/admin/audit", &[]).json();
        rows["items"].as_array().unwrap().iter().any(|row| row["action"] == "stream_stopped").then_some(())
    });
    drop(next);
}

/// Goal: whatever ends a session stops what it plays, within a second: logout, DELETE by an administrator, disabling, another
/// password, removal; for callers by password as well. The session that changes its own password plays on.
#[test]
fn a_film_ends_with_the_session_that_plays_it() {
    let films = long_films(2);
    let daemon = home(&films, 100, 100).set_many(&[("REELWAY_SESSIONS__MAX_PER_USER", "100")]).start();
    let list = daemon.fetch("GET", "/api/users?query=bob", &[]).json();
    let bob_path = format!("/api/users/{}", list["items"][0]["id"].as_str().unwrap());
    let admin = &daemon.token;

    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let (mut gone, other) = (watch(&daemon, &bob, 0), daemon.sign_in("bob", BOB_PASSWORD));
    let mut stays = watch(&daemon, &other, 0);
    assert_eq!(ask(&daemon, &bob, "POST", "/api/auth/logout", None).head.status, 204);
    expect_cut(&mut gone, "logout");
    assert_eq!(stays.body(MIB).len() as u64, MIB, "another session of the same user plays on");

    let session = ask(&daemon, &other, "GET", "/api/session", None).json()["sessionId"].clone();
    let path = format!("/api/sessions/{}", session.as_str().unwrap());
    assert_eq!(ask(&daemon, admin, "DELETE", &path, None).head.status, 204);
    expect_cut(&mut stays, "DELETE of the session");

    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let (mut by_token, mut by_password) = (watch(&daemon, &bob, 0), Client::connect_narrow(daemon.address));
    let basic = format!("Basic {}", base64(&format!("bob:{BOB_PASSWORD}")));
    by_password.ask("GET", &url_path(&name(1)), &[("Authorization", &basic)]);
    assert_eq!(by_password.head().status, 200);
    let change = json!({"isActive": false});
    assert_eq!(ask(&daemon, admin, "PATCH", &bob_path, Some(&change)).head.status, 200);
    expect_cut(&mut by_token, "disabled, by token");
    expect_cut(&mut by_password, "disabled, by password");
    assert_eq!(ask(&daemon, admin, "PATCH", &bob_path, Some(&json!({"isActive": true}))).head.status, 200);

    let [bob, other] = [(); 2].map(|()| daemon.sign_in("bob", BOB_PASSWORD));
    let (mut own, mut others) = (watch(&daemon, &bob, 0), watch(&daemon, &other, 1));
    let passwords = json!({"current": BOB_PASSWORD, "new": "yet-another-long-one-99"});
    assert_eq!(ask(&daemon, &bob, "PUT", "/api/users/me/password", Some(&passwords)).head.status, 204);
    expect_cut(&mut others, "another password, another session");
    assert_eq!(own.body(MIB).len() as u64, MIB, "who changed the password plays on");
    assert_eq!(ask(&daemon, admin, "DELETE", &bob_path, None).head.status, 204);
    expect_cut(&mut own, "removed");
    eventually("all places are free", SOON, || streams(&daemon, admin).is_empty().then_some(()));
}

/// Goal: a session that plays is not signed out by a further login: the idlest other is; when all play the login is refused
/// with their list, until one of them plays no more; and a slab full of players refuses with 503.
#[test]
fn a_session_that_plays_is_not_signed_out() {
    let films = long_films(3);
    let limits = [("REELWAY_SESSIONS__MAX_PER_USER", "2"), ("REELWAY_SESSIONS__CAPACITY", "3")];
    let daemon = home(&films, 100, 100).set_many(&limits).start();
    let playing = daemon.sign_in("bob", BOB_PASSWORD);
    let film = watch(&daemon, &playing, 0);
    let idle = daemon.sign_in("bob", BOB_PASSWORD);
    let third = daemon.sign_in("bob", BOB_PASSWORD);
    let status = |token: &str| ask(&daemon, token, "GET", "/api/auth/me", None).head.status;
    assert_eq!([&playing, &idle, &third].map(|token| status(token)), [200, 401, 200]);
    let other = watch(&daemon, &third, 1);
    let login = |name: &str, password: &str| {
        client::post(daemon.address, "/api/auth/login", &json!({"username": name, "password": password}))
    };
    let refused = login("bob", BOB_PASSWORD);
    refused.is_problem(429);
    assert!(refused.head.field("retry-after").is_some());
    assert_eq!(refused.json()["sessions"].as_array().unwrap().len(), 2, "{}", refused.json());
    let admins = watch(&daemon, &daemon.token, 2);
    login(USER, PASSWORD).is_problem(503);
    other.reset();
    eventually("the one that plays no more is signed out", SOON, || {
        let answer = login("bob", BOB_PASSWORD);
        (answer.head.status == 200).then(|| daemon.keep_secret(answer.json()["token"].as_str().unwrap()))
    });
    assert_eq!([&playing, &third].map(|token| status(token)), [200, 401]);
    drop((film, admins));
}

/// Goal: a film that is paused for `sessions.max_inactivity` gives its place to somebody else, keeps its connection, and takes
/// a place again with its next byte; if there is none then, it is cut.
#[test]
fn a_paused_film_gives_its_place_and_takes_one_again() {
    let films = long_films(2);
    let daemon = home(&films, 1, 1).set("REELWAY_SESSIONS__MAX_INACTIVITY", "1s").start();
    let mut paused = watch(&daemon, &daemon.token, 0);
    let count = |wanted: usize| {
        eventually("so many streams", SOON, || (streams(&daemon, &daemon.token).len() == wanted).then_some(()));
    };
    count(0);
    assert_eq!(paused.body(8 * MIB).len() as u64, 8 * MIB, "it plays on");
    let stream = streams(&daemon, &daemon.token).remove(0);
    assert_eq!((&stream["connections"], &stream["client"]), (&json!(1), &json!("127.0.0.1")), "{stream}");
    count(0);
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let mut bobs = watch(&daemon, &bob, 1);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| bobs.body(32 * MIB).len());
        expect_cut(&mut paused, "there is no place for it now");
        reading.join().unwrap();
    });
}

/// Goal: of more connections than a player has use for, those that stand still are ended after ten seconds, until there are
/// twelve; one that reads, however old, and the newest never are.
#[test]
fn superseded_connections_are_ended_and_those_that_read_are_not() {
    let films = long_films(1);
    let daemon = home(&films, 8, 3).start();
    let mut reading = watch(&daemon, &daemon.token, 0);
    let mut silent: Vec<Client> = (0..14).map(|_| watch(&daemon, &daemon.token, 0)).collect();
    let ended = || daemon.ledger().sum("reelway_superseded_total");
    assert_eq!(ended(), 0);
    eventually("three too many are ended", Duration::from_secs(40), || {
        reading.body(8 * 1024);
        (ended() >= 3).then_some(())
    });
    for _ in 0..20 {
        reading.body(8 * 1024);
    }
    assert_eq!(ended(), 3, "twelve are not too many");
    assert_eq!(silent[13].body(2 * MIB).len() as u64, 2 * MIB, "the newest plays on");
    assert_eq!(streams(&daemon, &daemon.token)[0]["connections"], 12);
}

/// Goal: a range storm over many connections leaves no slot and no session behind in the counters, once the daemon has had
/// the time of a linger.
#[test]
fn the_counters_know_what_is_open_and_what_lingers() {
    let films = long_films(1);
    let daemon = home(&films, 8, 3).start();
    let client = watch(&daemon, &daemon.token, 0);
    let ledger = daemon.ledger();
    assert_eq!((ledger.sum("reelway_streams"), ledger.sum("reelway_streams_open")), (1, 1));
    drop(client);
    eventually("it lingers", SOON, || {
        let ledger = daemon.ledger();
        ((ledger.sum("reelway_streams"), ledger.sum("reelway_streams_open")) == (1, 0)).then_some(())
    });
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}
