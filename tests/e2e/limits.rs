//! Real players against the limits: each plays and seeks as it likes with one playback allowed, and meets none; two viewers do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::players::as_nobody;
use crate::support::client;
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, LONG_FILM, url_path};
use crate::support::mpv::Mpv;
use crate::support::{PATIENCE, eventually, exit_code, program, run, scratch};

const PLAYER_PATIENCE: Duration = Duration::from_secs(90);
const SEEKS: usize = 20;

/// Where to seek to, in seconds of a film of forty: to and fro, near and far.
fn places() -> impl Iterator<Item = u32> {
    (0..SEEKS as u32).map(|number| 2 + (number * 17) % 33)
}

/// A daemon that lets each user play one film, and tells in its log of each refusal.
fn start() -> Daemon {
    Home::new(&films::folder())
        .set("REELWAY_VIDEO__MAX_STREAMS_PER_USER", "1")
        .set("REELWAY_VIDEO__MAX_CONCURRENT_STREAMS", "1")
        .set("REELWAY_LOG__LEVEL", "debug")
        .start()
}

/// What a player did must have asked for ranges, all under one playback, and have been refused none.
fn expect_no_limit(daemon: &Daemon, player: &str) {
    let refused = daemon.log.lines_with("\"status\":429");
    assert!(refused.is_empty(), "{player} met a limit: {refused:#?}");
    let streams = daemon.fetch("GET", "/api/streams", &[]).json();
    assert_eq!(streams["items"].as_array().unwrap().len(), 1, "{player}: {streams}");
}

fn requests(daemon: &Daemon) -> u64 {
    daemon.ledger().sum("reelway_requests_total")
}

/// Goal: mpv plays, seeks twenty times and ends.
#[test]
fn mpv_meets_no_limit_of_one() {
    let daemon = start();
    let mut mpv = Mpv::start();
    mpv.play(&daemon.film_url(LONG_FILM));
    let before = requests(&daemon);
    places().for_each(|seconds| mpv.seek(f64::from(seconds)));
    assert!(requests(&daemon) - before >= SEEKS as u64 / 2, "the seeks asked for nothing");
    assert_eq!(mpv.quit(), Some(0));
    expect_no_limit(&daemon, "mpv");
}

/// Goal: VLC does, told by its remote control.
#[test]
fn vlc_meets_no_limit_of_one() {
    let daemon = start();
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("vlc");
    let mut command = as_nobody(program("vlc"), home.path());
    command.args(["-I", "oldrc", "--rc-fake-tty", "--ignore-config", "--no-media-library"]);
    command.args(["--vout", "dummy", "--aout", "dummy", "--rc-unix"]).arg(&socket).arg(daemon.film_url(LONG_FILM));
    let mut vlc = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut control = eventually("VLC listens", PLAYER_PATIENCE, || UnixStream::connect(&socket).ok());
    control.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut time = |command: &str| -> Option<u32> {
        control.write_all(command.as_bytes()).unwrap();
        let mut said = [0; 4096];
        let count = control.read(&mut said).unwrap();
        let text = String::from_utf8_lossy(&said[..count]).into_owned();
        text.split_whitespace().rev().find_map(|word| word.trim_start_matches('>').parse().ok())
    };
    eventually("it plays", PLAYER_PATIENCE, || time("get_time\n").filter(|seconds| *seconds > 0));
    for seconds in places() {
        let at = |found: &u32| (seconds.saturating_sub(3)..=seconds + 8).contains(found);
        time(&format!("seek {seconds}\nget_time\n"));
        eventually("VLC is there", PLAYER_PATIENCE, || time("get_time\n").filter(at));
    }
    let _ = control.write_all(b"quit\n");
    exit_code(&mut vlc, PATIENCE).expect("VLC ends");
    expect_no_limit(&daemon, "VLC");
}

/// A viewer at GStreamer's playbin, the player of many desktops: plays, seeks to each argument, and waits until it is there.
pub const PLAYBIN: &str = "
import sys, gi
gi.require_version('Gst', '1.0')
from gi.repository import Gst
Gst.init(None)
playbin = Gst.ElementFactory.make('playbin', None)
for sink in ('video-sink', 'audio-sink'):
    playbin.set_property(sink, Gst.ElementFactory.make('fakesink', None))
playbin.set_property('uri', sys.argv[1])
bus = playbin.get_bus()
def settled():
    message = bus.timed_pop_filtered(30 * Gst.SECOND, Gst.MessageType.ASYNC_DONE | Gst.MessageType.ERROR)
    assert message and message.type == Gst.MessageType.ASYNC_DONE, message and message.parse_error()
playbin.set_state(Gst.State.PAUSED)
settled()
for place in sys.argv[2:]:
    assert playbin.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH | Gst.SeekFlags.ACCURATE, int(place) * Gst.SECOND)
    settled()
    ok, position = playbin.query_position(Gst.Format.TIME)
    assert ok and abs(position / Gst.SECOND - int(place)) < 1, (place, position)
playbin.set_state(Gst.State.NULL)
print('done')
";

/// Goal: GStreamer does.
#[test]
fn gstreamer_meets_no_limit_of_one() {
    let daemon = start();
    // Debian's own, which finds Debian's modules.
    let mut command = program("/usr/bin/python3");
    command.args(["-c", PLAYBIN]).arg(daemon.film_url(LONG_FILM)).args(places().map(|seconds| seconds.to_string()));
    let said = run(&mut command, PLAYER_PATIENCE).succeeded().text();
    assert_eq!(said.trim(), "done");
    expect_no_limit(&daemon, "GStreamer");
}

/// Goal: ffmpeg does: it begins at twenty places, each time anew.
#[test]
fn ffmpeg_meets_no_limit_of_one() {
    let daemon = start();
    for seconds in places() {
        let mut ffmpeg = program("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-ss", &seconds.to_string(), "-i", &daemon.film_url(LONG_FILM)]);
        ffmpeg.args(["-frames:v", "3", "-f", "null", "-"]);
        let said = run(&mut ffmpeg, PLAYER_PATIENCE).succeeded();
        assert_eq!(said.stderr, "", "from {seconds} s");
    }
    expect_no_limit(&daemon, "ffmpeg");
}

/// A page that plays a film, seeks to each place, and tells by asking for a picture how it went.
const PAGE: &str = "<!doctype html><video muted></video><script>
const video = document.querySelector('video'), places = [PLACES];
const tell = word => { new Image().src = 'http://REPORT/' + word; };
video.onerror = () => tell('error-' + video.error.code + '-' + encodeURIComponent(video.error.message));
const next = () => { places.length ? video.currentTime = places.shift() : tell('done'); };
video.onseeked = next;
video.onplaying = () => { video.onplaying = null; next(); };
video.src = 'FILM';
video.play().catch(error => tell('refused-' + encodeURIComponent(error.message)));
</script>";

/// Goal: Chromium does, as a page of another site, with the token in the address.
#[test]
fn chromium_meets_no_limit_of_one() {
    let daemon = start();
    let home = tempfile::tempdir_in(scratch()).unwrap();
    let reports = TcpListener::bind("127.0.0.1:0").unwrap();
    let list: Vec<String> = places().map(|seconds| seconds.to_string()).collect();
    let page = PAGE.replace("PLACES", &list.join(",")).replace("FILM", &daemon.film_url(LONG_FILM));
    let page = page.replace("REPORT", &reports.local_addr().unwrap().to_string());
    fs::write(home.path().join("page.html"), page).unwrap();
    let mut command = program("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    command.args(["--autoplay-policy=no-user-gesture-required", "--mute-audio", "--remote-debugging-port=0"]);
    command.arg(format!("--user-data-dir={}", home.path().join("profile").display()));
    command.arg(format!("file://{}", home.path().join("page.html").display()));
    let _chromium = Ended::at_last(&mut command, home.path());
    assert_eq!(report(&reports), "/done");
    expect_no_limit(&daemon, "Chromium");
}

/// What the page tells first.
fn report(reports: &TcpListener) -> String {
    reports.set_nonblocking(true).unwrap();
    let mut stream = eventually("the page tells how it went", PLAYER_PATIENCE, || reports.accept().ok()).0;
    stream.set_nonblocking(false).unwrap();
    let mut said = [0; 2048];
    let count = stream.read(&mut said).unwrap();
    let line = String::from_utf8_lossy(&said[..count]).into_owned();
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A program with children of its own, which all end with this value.
struct Ended(std::process::Child);

impl Ended {
    fn at_last(command: &mut Command, home: &Path) -> Ended {
        use std::os::unix::process::CommandExt;
        command.env("HOME", home).env("XDG_RUNTIME_DIR", home).process_group(0);
        Ended(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // The whole group, which is ours: it was made for this command.
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::KILL,
        );
        let _ = self.0.wait();
    }
}

/// Goal: two viewers at once are one too many: the second one's player is refused with words, and plays once the first ends.
#[test]
fn two_viewers_are_one_too_many() {
    let daemon = start();
    let mut first = Mpv::start();
    first.play(&daemon.film_url(LONG_FILM));
    let second = daemon.sign_in(USER, PASSWORD);
    let url = format!("http://{}{}?token={second}", daemon.address, url_path("Fast start.mp4"));
    let probe = || {
        let mut ffprobe = program("ffprobe");
        ffprobe.args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", &url]);
        run(&mut ffprobe, PLAYER_PATIENCE)
    };
    let refused = probe();
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("429") || refused.stderr.contains("4XX"), "{}", refused.stderr);
    let bearer = format!("Bearer {second}");
    let answer = client::fetch(daemon.address, "GET", &url_path(BIG_FILM), &[("Authorization", &bearer)]);
    answer.is_problem(429);
    assert_eq!(answer.json()["title"], "Maximum concurrent streams reached");
    assert_eq!(first.quit(), Some(0));
    eventually("the second one plays", PLAYER_PATIENCE, || (probe().code == Some(0)).then_some(()));
}

/// Twenty films, each one of forty seconds.
fn many_films() -> TempDir {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let film = films::folder().join(LONG_FILM);
    (0..20).for_each(|index| fs::hard_link(&film, folder.path().join(format!("film {index}.mp4"))).unwrap());
    folder
}

/// Goal: mpv zaps through twenty films in ten seconds, waiting for a picture of each, and meets no limit of one.
#[test]
fn mpv_zaps_through_twenty_films() {
    let films = many_films();
    let daemon = Home::new(films.path())
        .set("REELWAY_VIDEO__MAX_STREAMS_PER_USER", "1")
        .set("REELWAY_VIDEO__MAX_CONCURRENT_STREAMS", "1")
        .set("REELWAY_LOG__LEVEL", "debug")
        .start();
    let mut mpv = Mpv::start();
    let begun = Instant::now();
    (0..20).for_each(|index| mpv.play(&daemon.film_url(&format!("film {index}.mp4"))));
    let took = begun.elapsed();
    assert_eq!(mpv.quit(), Some(0));
    expect_no_limit(&daemon, "mpv");
    println!("twenty films in {took:?}");
}

/// Goal: a player that was paused for longer than every time-out, until its connection was ended, its playback and its
/// session had left the memory, plays on where it was.
#[test]
fn a_player_paused_for_longer_than_everything_plays_on() {
    let timeouts = ["NET__STALL_TIMEOUT", "NET__PAUSE_TIMEOUT", "NET__KEEP_ALIVE_TIMEOUT"];
    let mut home = Home::new(&films::folder())
        .set("REELWAY_VIDEO__MAX_STREAMS_PER_USER", "1")
        .set("REELWAY_SESSIONS__TIMEOUT", "1s")
        .set("REELWAY_SESSIONS__MAX_INACTIVITY", "1s");
    for name in timeouts {
        home = home.set(&format!("REELWAY_{name}"), "2s");
    }
    let daemon = home.start();
    let mut mpv = Mpv::start();
    mpv.play(&daemon.film_url(LONG_FILM));
    mpv.pause(true);
    let before = mpv.position();
    // Asked without being anybody, which wakes no session.
    let is_over = || {
        let ledger = daemon.ledger();
        let left = ["reelway_streams", "reelway_sessions", "reelway_transfers"].map(|name| ledger.sum(name));
        (left == [0, 0, 0]).then_some(())
    };
    eventually("everything of it has left the memory", Duration::from_secs(60), is_over);
    mpv.pause(false);
    let beyond = before + 12.0;
    eventually("it plays on", PLAYER_PATIENCE, || (mpv.position() > beyond).then_some(()));
    let ledger = daemon.ledger();
    assert_eq!((ledger.sum("reelway_streams"), ledger.sum("reelway_sessions")), (1, 1));
    assert_eq!(mpv.quit(), Some(0));
}
