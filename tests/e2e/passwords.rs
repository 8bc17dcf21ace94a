//! A name and a password with every request: what players make of `http://name:password@host/`.

use serde_json::json;

use crate::limits::PLAYBIN;
use crate::players::as_nobody;
use crate::support::client::{self, Answer, Client};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, url_path};
use crate::support::{PATIENCE, program, run};

const BOB_PASSWORD: &str = "a-second-long-one-88";

fn home() -> Home {
    let home = Home::new(&films::folder());
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    home
}

/// `Basic` of a name and a password, as curl makes it.
fn basic(name: &str, password: &str) -> String {
    let script = "import base64,sys; print(base64.b64encode(':'.join(sys.argv[1:]).encode()).decode())";
    let mut python = program("python3");
    let encoded = run(python.args(["-c", script, name, password]), PATIENCE).succeeded().text();
    format!("Basic {}", encoded.trim())
}

fn piece(daemon: &Daemon, authorization: &str) -> Answer {
    let fields = [("Range", "bytes=0-9"), ("Authorization", authorization)];
    client::fetch(daemon.address, "GET", &url_path(BIG_FILM), &fields)
}

/// Goal: curl, ffprobe, mpv, VLC and GStreamer play with name and password in the URL, and are told to try where they wait for a 401.
#[test]
fn players_sign_in_by_name_and_password() {
    let daemon = home().start();
    daemon.keep_secret(BOB_PASSWORD);
    let challenge = client::fetch(daemon.address, "GET", &url_path(BIG_FILM), &[]);
    challenge.is_problem(401);
    let offered: Vec<_> = challenge.head.fields("www-authenticate").collect();
    assert_eq!(offered, ["Bearer realm=\"reelway\"", "Basic realm=\"reelway\""]);
    let elsewhere = client::fetch(daemon.address, "GET", "/api/auth/me", &[]);
    assert_eq!(elsewhere.head.fields("www-authenticate").count(), 1, "a page's own requests make no browser ask");

    let name = films::names().find(|name| name.ends_with(".mp4")).unwrap();
    let url = format!("http://bob:{BOB_PASSWORD}@{}{}", daemon.address, url_path(name));
    let seconds = std::time::Duration::from_secs(60);
    let mut curl = program("curl");
    let got = run(
        curl.args(["-sf", "-r", "0-99", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"]).arg(&url),
        seconds,
    );
    assert_eq!(got.succeeded().text(), "206 100");
    let mut ffprobe = program("ffprobe");
    ffprobe.args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]).arg(&url);
    run(&mut ffprobe, seconds).succeeded();
    let mut mpv = program("mpv");
    mpv.args(["--no-config", "--vo=null", "--ao=null", "--untimed", "--really-quiet"]).arg(&url);
    run(&mut mpv, seconds).succeeded();
    let folder = tempfile::tempdir().unwrap();
    let mut vlc = as_nobody(program("cvlc"), folder.path());
    vlc.args(["-vv", "--ignore-config", "--no-media-library", "--vout", "dummy", "--aout", "dummy"]);
    let said = run(vlc.args(["--play-and-exit", "--run-time", "3"]).arg(&url), seconds).succeeded().everything();
    assert!(said.contains("Received first picture"), "{said}");
    let mut gstreamer = program("/usr/bin/python3");
    let said = run(gstreamer.args(["-c", PLAYBIN]).arg(&url).arg("2"), seconds).succeeded().text();
    assert_eq!(said.trim(), "done");
}

/// Goal: a right password is hashed once for many ranges, a wrong one once for many tries; both are felt at once when the
/// password changes.
#[test]
fn a_password_is_hashed_once_and_forgotten_when_it_changes() {
    let home = home().set("REELWAY_AUTH__LOGIN_FAILURES_MAX", "10");
    let daemon = home.start();
    let right = basic("bob", BOB_PASSWORD);
    let hundred = || (0..100).map(|_| piece(&daemon, &right).head.status).collect::<Vec<_>>();
    assert_eq!(hundred(), [206; 100]);
    let new = basic("bob", "the-third-one-is-99");
    let wrong: Vec<u16> = (0..100).map(|_| piece(&daemon, &new).head.status).collect();
    assert_eq!(wrong, [401; 100], "more than ten wrong ones that were looked at would be 429");
    let me = client::fetch(daemon.address, "GET", "/api/auth/me", &[("Authorization", &right)]).json();
    let place = format!("/api/users/{}", me["id"].as_str().unwrap());
    let change = |body| {
        let bearer = daemon.bearer();
        Client::connect(daemon.address).fetch_json("PATCH", &place, &[("Authorization", &bearer)], &body).head.status
    };
    assert_eq!(change(json!({"password": "the-third-one-is-99"})), 200);
    assert_eq!((piece(&daemon, &right).head.status, piece(&daemon, &new).head.status), (401, 206));
    assert_eq!(change(json!({"isActive": false})), 200);
    assert_eq!(piece(&daemon, &new).head.status, 401);
    assert_eq!(change(json!({"isActive": true})), 200);
    assert_eq!(piece(&daemon, &new).head.status, 206);
}

/// Goal: callers by password have a session that is no login: it is nobody's fourth, and has no token to refresh or end.
#[test]
fn callers_by_password_share_a_session_that_is_no_login() {
    let daemon = home().start();
    let authorization = basic("bob", BOB_PASSWORD);
    let fields = [("Authorization", authorization.as_str())];
    let session = || client::fetch(daemon.address, "GET", "/api/session", &fields).json()["sessionId"].clone();
    assert_eq!(session(), session());
    for path in ["/api/auth/logout", "/api/auth/refresh"] {
        client::fetch(daemon.address, "POST", path, &fields).is_problem(403);
    }
    let list = client::fetch(daemon.address, "GET", "/api/sessions", &fields).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 0);
    let wish = json!({"quality": "480p"});
    let put = |origin: &str| {
        let fields = [("Authorization", authorization.as_str()), ("Origin", origin)];
        Client::connect(daemon.address).fetch_json("PUT", "/api/users/me/preferences", &fields, &wish).head.status
    };
    assert_eq!((put("http://evil.example"), put("http://films.local")), (403, 200));
    let admin = basic(USER, PASSWORD);
    assert_eq!(client::fetch(daemon.address, "GET", "/api/users", &[("Authorization", &admin)]).head.status, 200);
    assert_eq!(client::fetch(daemon.address, "GET", "/api/users", &fields).head.status, 403);
}
