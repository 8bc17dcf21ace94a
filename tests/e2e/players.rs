//! Real clients over every container: curl, wget, ffprobe, ffmpeg, mpv and VLC get each byte, frame and seek right.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::{Daemon, Home};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, LONG_FILM};
use crate::support::mpv::Mpv;
use crate::support::{program, run, scratch};

const PLAYER_PATIENCE: Duration = Duration::from_secs(60);

fn start() -> Daemon {
    Home::new(&films::folder()).start()
}

/// Every film of the folder.
fn all_names() -> impl Iterator<Item = &'static str> {
    films::names().chain([LONG_FILM, BIG_FILM])
}

/// curl with the token in a field.
fn curl(daemon: &Daemon, name: &str, options: &[&str]) -> Command {
    let mut curl = program("curl");
    curl.args(["-q", "-sS", "--fail", "--max-time", "50"]);
    curl.args(["-H", &format!("Authorization: {}", daemon.bearer())]);
    let url = format!("http://{}{}", daemon.address, films::url_path(name));
    curl.args(options).arg(url);
    curl
}

/// Goal: curl downloads every film whole, byte for byte.
#[test]
fn curl_gets_every_film_whole() {
    let daemon = start();
    for name in all_names() {
        let got = run(&mut curl(&daemon, name, &[]), PLAYER_PATIENCE).succeeded();
        let film = fs::read(films::folder().join(name)).unwrap();
        assert!(got.stdout == film, "{name} differs");
    }
}

/// Goal: each form of `curl -r` gives exactly the bytes it names, also of a film with spaces and accents in its path.
#[test]
fn curl_ranges_are_exact() {
    let daemon = start();
    for name in [BIG_FILM, "Série/S01/Épisode 1 – début.mkv"] {
        let film = fs::read(films::folder().join(name)).unwrap();
        let length = film.len();
        let cases = [
            ("0-0".to_owned(), 0..1),
            ("0-999".to_owned(), 0..1000),
            ("1000-2999".to_owned(), 1000..3000),
            (format!("{}-", length - 777), length - 777..length),
            (format!("100-{}", length * 2), 100..length),
            ("-1".to_owned(), length - 1..length),
            ("-4321".to_owned(), length - 4321..length),
            (format!("-{}", length * 2), 0..length),
        ];
        for (range, expected) in cases {
            let mut command = curl(&daemon, name, &["-r", &range, "-w", "%{stderr}%{http_code}"]);
            let got = run(&mut command, PLAYER_PATIENCE).succeeded();
            assert_eq!(got.stderr, "206", "{name} -r {range}");
            assert!(got.stdout == film[expected], "{name} -r {range} differs");
        }
    }
}

/// Goal: `curl -I` shows the true length and type, and no body follows.
#[test]
fn curl_head_tells_length_and_type() {
    let daemon = start();
    for (name, content_type) in [(BIG_FILM, "video/mp4"), ("Web film.webm", "video/webm")] {
        let got = run(&mut curl(&daemon, name, &["-I"]), PLAYER_PATIENCE).succeeded();
        let head = got.text().to_lowercase();
        let length = fs::metadata(films::folder().join(name)).unwrap().len();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        for line in [
            format!("content-length: {length}"),
            format!("content-type: {content_type}"),
            "accept-ranges: bytes".to_owned(),
        ] {
            assert!(head.contains(&line), "no {line} in {head}");
        }
    }
}

/// Puts the first `length` bytes of a film into `target`, as an interrupted download does.
fn interrupted(name: &str, target: &Path, length: usize) -> Vec<u8> {
    let film = fs::read(films::folder().join(name)).unwrap();
    fs::write(target, &film[..length]).unwrap();
    film
}

/// Goal: `curl -C -` resumes an interrupted download, asks only for the rest, and the whole is right.
#[test]
fn curl_resumes_an_interrupted_download() {
    let daemon = start();
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let target = folder.path().join("film");
    let half = BIG_FILM_BYTES / 2 + 1;
    let film = interrupted(BIG_FILM, &target, usize::try_from(half).unwrap());
    let before = daemon.ledger().sum("reelway_sent_bytes_total");
    let path = target.to_str().unwrap();
    let mut command = curl(&daemon, BIG_FILM, &["-C", "-", "-o", path]);
    run(&mut command, PLAYER_PATIENCE).succeeded();
    assert!(fs::read(&target).unwrap() == film, "the resumed file differs");
    let sent = daemon.ledger().sum("reelway_sent_bytes_total") - before;
    assert_eq!(sent, BIG_FILM_BYTES - half, "more than the rest was sent");
}

/// Goal: wget downloads whole films, and `wget -c` resumes one.
#[test]
fn wget_gets_and_resumes_films() {
    let daemon = start();
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let target = folder.path().join("film");
    for (name, is_resumed) in [("Moov last.mp4", false), (BIG_FILM, false), (BIG_FILM, true)] {
        let film = fs::read(films::folder().join(name)).unwrap();
        let kept = if is_resumed { film.len() / 3 } else { 0 };
        interrupted(name, &target, kept);
        let mut wget = program("wget");
        wget.args(["--no-config", "-nv", "--tries=1", "--timeout=30"]);
        wget.arg(format!("--header=Authorization: {}", daemon.bearer()));
        wget.args(if is_resumed { &["-c"][..] } else { &[] });
        wget.arg("-O").arg(&target);
        let url = format!("http://{}{}", daemon.address, films::url_path(name));
        run(wget.arg(url), PLAYER_PATIENCE).succeeded();
        assert!(fs::read(&target).unwrap() == film, "{name} differs");
    }
}

/// What ffprobe says about a file or URL, without its name.
fn probed(source: &str) -> Value {
    let mut ffprobe = program("ffprobe");
    ffprobe.args(["-v", "error", "-show_format", "-show_streams", "-of", "json"]);
    let found = run(ffprobe.arg(source), PLAYER_PATIENCE).succeeded();
    assert_eq!(found.stderr, "", "ffprobe complains about {source}");
    let mut found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let format = found["format"].as_object_mut().unwrap();
    assert!(format.remove("filename").is_some());
    found
}

/// Goal: ffprobe finds the same streams, duration and size over HTTP as in the file, for every container.
#[test]
fn ffprobe_sees_the_same_streams_as_in_the_file() {
    let daemon = start();
    for name in films::names() {
        let path = films::folder().join(name);
        let from_file = probed(path.to_str().unwrap());
        assert!(from_file["streams"].as_array().unwrap().len() >= 2, "{name}");
        assert_eq!(probed(&daemon.film_url(name)), from_file, "{name}");
    }
}

/// The hash of every decoded frame, after seeking to `start` seconds.
fn frames(source: &str, start: &str) -> String {
    let mut ffmpeg = program("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-ss", start, "-i", source]);
    ffmpeg.args(["-map", "0", "-f", "framemd5", "-"]);
    let found = run(&mut ffmpeg, PLAYER_PATIENCE).succeeded();
    assert_eq!(found.stderr, "", "ffmpeg complains about {source}");
    found.text()
}

/// Goal: ffmpeg decodes the same frames over HTTP as from the file, from the start and after a seek.
#[test]
fn ffmpeg_decodes_the_same_frames_as_from_the_file() {
    let daemon = start();
    for name in films::names() {
        let path = films::folder().join(name);
        for start in ["0", "2"] {
            let from_file = frames(path.to_str().unwrap(), start);
            let lines = from_file.lines().filter(|line| !line.starts_with('#'));
            assert!(lines.count() > 40, "{name} has hardly any frames");
            let over_http = frames(&daemon.film_url(name), start);
            assert!(over_http == from_file, "{name} differs from {start} s on");
        }
    }
}

/// Goal: mpv plays each container from start to end and from the middle, without a word of complaint.
#[test]
fn mpv_plays_every_container() {
    let daemon = start();
    for name in films::names() {
        for start in ["0", "2"] {
            let mut mpv = program("mpv");
            mpv.args(["--no-config", "--vo=null", "--ao=null", "--untimed"]);
            mpv.args(["--ao-null-untimed", "--no-input-terminal", "--msg-level=all=warn"]);
            mpv.arg(format!("--start={start}")).arg(daemon.film_url(name));
            let played = run(&mut mpv, PLAYER_PATIENCE).succeeded();
            let said = played.everything();
            assert!(!said.contains("rror") && !said.contains("ailed"), "{name} from {start} s: {said}");
        }
    }
}

/// Goal: somebody who watches with mpv seeks forth and back in a film bigger than any buffer; each seek asks again and
/// plays on from there.
#[test]
fn mpv_seeks_forth_and_back_and_plays_on() {
    let daemon = start();
    let mut mpv = Mpv::start();
    mpv.play(&daemon.film_url(LONG_FILM));
    let mut requests = daemon.ledger().sum("reelway_requests_total");
    for target in [30.0, 5.0, 20.0] {
        mpv.seek(target);
        let position = mpv.position();
        assert!((target - 0.5..target + 5.0).contains(&position), "{position} instead of {target}");
        let now = daemon.ledger().sum("reelway_requests_total");
        // One of them is the question for the counters itself.
        assert!(now > requests + 1, "the seek to {target} s asked nothing");
        requests = now;
    }
    assert_eq!(mpv.quit(), Some(0));
}

/// Goal: VLC plays an MP4 with its index at the end and an MKV, from the start and after a seek: a picture appears and
/// nothing is wrong.
#[test]
fn vlc_plays_and_seeks() {
    let daemon = start();
    for (name, start) in [("Moov last.mp4", "0"), (LONG_FILM, "25"), ("Série/S01/Épisode 1 – début.mkv", "2")] {
        let home = tempfile::tempdir().unwrap();
        let mut vlc = as_nobody(program("cvlc"), home.path());
        vlc.args(["-vv", "--ignore-config", "--no-media-library", "--vout", "dummy"]);
        vlc.args(["--aout", "dummy", "--play-and-exit", "--run-time", "3"]);
        vlc.args(["--start-time", start]).arg(daemon.film_url(name));
        let said = run(&mut vlc, PLAYER_PATIENCE).succeeded().everything();
        assert!(said.contains("Received first picture"), "{name}: no picture:\n{said}");
        let answers: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).collect();
        assert!(answers.iter().any(|answer| answer.starts_with("206")), "{name}: no range was asked for");
        // It asks past the end on purpose, to learn the length from the 416 (spec/PLAYERS.md 3.1).
        let is_good = |answer: &&str| ["200", "206", "416"].iter().any(|status| answer.starts_with(status));
        assert!(answers.iter().all(is_good), "{name} from {start} s: {answers:?}");
    }
}

/// VLC refuses to run as root; the tests often do.
pub fn as_nobody(command: Command, home: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let mut command = command;
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home).current_dir(home);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(home, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
