//! Nobody gets out of the library: no spelling of a path, no link, no file that is none, and no change at the wrong moment.
//!
//! Canaries, films by their names, lie in the folders above the library and behind every trap in it. What is served at
//! all is compared, so a canary that sang would be heard; and honest films whose names look like the attacks are served.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mkfifoat, mknodat, renameat_with};
use tempfile::TempDir;

use crate::support::client::{Answer, Client, request};
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{Pattern, url_path};
use crate::support::scratch;

/// What no answer may contain.
const CANARY: &str = "the canary sings: this file lies outside of every library";
/// And of /etc/passwd, on every machine.
const PASSWD: &str = "root:x:0:0";
const FILM_BYTES: u64 = 5000;
/// A path as an attacker writes it is not longer than this many folders up; the library lies deeper than that.
const DEPTH_MAX: usize = 8;

/// Names of films that look like what is refused, and are not: nobody may take them for it (RFC 3986 §3.3).
const HONEST: [&str; 14] = [
    "film.mp4",
    "folder/film.mp4",
    "..x.mp4",
    "..mp4",
    "...mp4",
    "a..b.mp4",
    "….mp4",
    "...../film.mp4",
    ".../film.mp4",
    "..;/film.mp4",
    "%2e%2e.mp4",
    "%2e%2e%2ffilm.mp4",
    "．．.mp4",
    "‥.mp4",
];

/// A library with canaries above it, in a folder of its own.
struct Mine {
    folder: TempDir,
    root: PathBuf,
}

impl Mine {
    fn new() -> Mine {
        let folder = tempfile::tempdir_in(scratch()).unwrap();
        let root = folder.path().join("outside/further/films");
        fs::create_dir_all(&root).unwrap();
        for place in root.ancestors().skip(1).take(3) {
            for name in ["canary.mp4", "canary.txt"] {
                fs::write(place.join(name), CANARY).unwrap();
            }
        }
        for name in HONEST {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            Pattern::of(name).write(&path, FILM_BYTES);
        }
        Mine { folder, root }
    }

    fn canary(&self) -> PathBuf {
        self.folder.path().join("canary.mp4")
    }

    /// The honest films are served to the byte.
    fn check_honest(&self, daemon: &Daemon) {
        for name in HONEST {
            let answer = daemon.fetch("GET", &url_path(name), &[]);
            assert_eq!((answer.head.status, answer.head.length()), (200, FILM_BYTES), "{name}");
            Pattern::of(name).compare(0, &answer.body);
        }
    }
}

/// Checks that an answer is a refusal that tells nothing of what lies outside.
fn is_refused(answer: &Answer, question: &str) {
    let status = answer.head.status;
    assert!(matches!(status, 400 | 404 | 414), "{status} for {question}: {:?}", answer.head);
    let text = format!("{:?}{}", answer.head, String::from_utf8_lossy(&answer.body));
    assert!(!text.contains(CANARY) && !text.contains(PASSWD), "{question} gave {text}");
}

/// Two dots, in the spellings of dotdotpwn and of those who decode twice, or too much.
const DOTS: [&str; 16] = [
    "..",
    "%2e%2e",
    ".%2e",
    "%2E.",
    "%252e%252e",
    "%25252e%25252e",
    "%c0%ae%c0%ae",
    "%e0%80%ae%e0%80%ae",
    "%f0%80%80%ae%f0%80%80%ae",
    "%uff0e%uff0e",
    "%u002e%u002e",
    "%ef%bc%8e%ef%bc%8e",
    "．．",
    "..;",
    "...",
    "..%00",
];
/// A slash, in theirs.
const SLASHES: [&str; 18] = [
    "/",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "%252f",
    "%255c",
    "%c0%af",
    "%c1%9c",
    "%e0%80%af",
    "//",
    "/./",
    "%u2215",
    "%u2216",
    ";/",
    "%00/",
    "....//",
    "%ef%bc%8f",
];
/// What stands behind them.
const GOALS: [&str; 9] = [
    "canary.mp4",
    "canary.txt",
    "canary.mp4%00.mp4",
    "canary.mp4?",
    "canary.mp4#",
    "canary.mp4;.mp4",
    "etc/passwd",
    "etc/passwd%00.mp4",
    "etc/passwd/x.mp4",
];
/// What stands before them.
const STARTS: [&str; 5] = ["/stream/video/", "/api/stream/video/", "/", "/api/stream/", "/stream/video/films/"];
const FOLDERS: [&str; 3] = ["", "folder/", "folder/film.mp4/"];
const FORMS: [&str; 3] = ["", "http://films.local", "HTTP://films.local:80"];

/// Goal: no spelling of a way up leads out of the library: dots and slashes plain, encoded, encoded twice, overlong, wide
/// and of other systems; one to eight folders up; from every start.
#[test]
fn no_spelling_of_a_path_leads_out_of_the_library() {
    let mine = Mine::new();
    let daemon = Home::new(&mine.root).start();
    let bearer = daemon.bearer();
    let mut client = Client::connect(daemon.address);
    let mut count: usize = 0;
    for dots in DOTS {
        for slash in SLASHES {
            for depth in 1..=DEPTH_MAX {
                for goal in GOALS {
                    // The rest walks on with the count, so that each meets each of the others, if not all at once.
                    let (start, folder, form) = (count % 5, count / 5 % 3, count / 15 % 3);
                    count += 1;
                    let up = format!("{dots}{slash}").repeat(depth);
                    let path = format!("{}{}{}{up}{goal}", FORMS[form], STARTS[start], FOLDERS[folder]);
                    client.ask("GET", &path, &[("Authorization", &bearer)]);
                    let answer = client.answer("GET");
                    is_refused(&answer, &path);
                    if answer.head.field("connection") == Some("close") {
                        client = Client::connect(daemon.address);
                    }
                }
            }
        }
    }
    println!("{count} paths");
    mine.check_honest(&daemon);
    assert_eq!(daemon.ledger().sum("reelway_panics_total"), 0);
}

/// Goal: ways that are written whole, and are no film either: roots of the machine, links of /proc, doubled and empty
/// segments, NUL, ends cut off.
#[test]
fn no_path_of_the_machine_is_one_of_the_library() {
    let mine = Mine::new();
    let daemon = Home::new(&mine.root).start();
    let outside = mine.folder.path().to_str().unwrap();
    let long = "../".repeat(2600);
    for path in [
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "file:///etc/passwd",
        "/proc/self/root/etc/passwd",
        "//film.mp4",
        "./../canary.mp4",
        "./film.mp4",
        "folder/./film.mp4",
        "folder//film.mp4",
        "folder/../film.mp4",
        "folder/..",
        "folder/",
        "film.mp4/",
        "film.mp4/.",
        "film.mp4/..",
        "film.mp4/../film.mp4",
        "film.mp4%00",
        "film.mp4%00.mp4",
        "film%00.mp4",
        "film.mp4%0a",
        "film.mp4%20",
        "film.mp4.",
        "film.mp4::$DATA",
        "film.mp4~1",
        "~/film.mp4",
        "~root/film.mp4",
        "*.mp4",
        "fil?.mp4",
        "C:\\canary.mp4",
        "\\\\films\\canary.mp4",
        "canary.mp4",
        "",
        ".",
        "..",
        &long,
        &format!("{outside}/canary.mp4"),
        &format!("/{outside}/canary.mp4"),
    ] {
        for start in STARTS {
            let answer = daemon.fetch("GET", &format!("{start}{path}"), &[]);
            is_refused(&answer, path);
            answer.is_problem(answer.head.status);
        }
    }
    mine.check_honest(&daemon);
}

/// Puts everything that is not a film into the library, under the names of films; the names.
fn set_traps(mine: &Mine) -> Vec<String> {
    let (root, canary) = (&mine.root, mine.canary());
    let path = |name: &str| root.join(name);
    let mut traps = vec!["missing.mp4".to_owned(), "film.mp4/x.mp4".to_owned()];
    for (name, target) in [
        ("absolute.mp4", canary.to_str().unwrap()),
        ("relative.mp4", "../canary.mp4"),
        ("beside.mp4", "film.mp4"),
        ("to-a-link.mp4", "relative.mp4"),
        ("to-itself.mp4", "to-itself.mp4"),
        ("to-nothing.mp4", "nowhere.mp4"),
        ("passwd.mp4", "/etc/passwd"),
        ("process.mp4", "/proc/self/exe"),
        ("standard-input.mp4", "/proc/self/fd/0"),
        ("zero.mp4", "/dev/zero"),
        (" .mp4", "../canary.mp4"),
        ("\u{200b}.mp4", "../canary.mp4"),
        ("film.mp4\u{a0}.mp4", "../canary.mp4"),
        (".hidden.mp4", "../canary.mp4"),
        ("folder/up.mp4", "../../canary.mp4"),
    ] {
        symlink(target, path(name)).unwrap();
        traps.push(name.to_owned());
    }
    for (name, target, below) in [
        ("up", "..", "canary.mp4"),
        ("far-up", "../..", "canary.mp4"),
        ("here", ".", "film.mp4"),
        ("whole", mine.folder.path().to_str().unwrap(), "canary.mp4"),
        ("to-a-link", "up", "canary.mp4"),
        ("linked.mp4", "..", "canary.mp4"),
        ("self", "self", "film.mp4"),
        ("one", "other", "film.mp4"),
        ("other", "one", "film.mp4"),
        ("machine", "/proc/self/root", "etc/passwd"),
        ("process", "/proc/self/cwd", "canary.mp4"),
        ("descriptors", "/proc/self/fd", "0.mp4"),
        ("folder/back", "../folder", "film.mp4"),
    ] {
        symlink(target, path(name)).unwrap();
        traps.extend([format!("{name}/{below}"), format!("{name}/{name}/{below}"), name.to_owned()]);
    }
    mkfifoat(CWD, path("fifo.mp4"), Mode::RUSR | Mode::WUSR).unwrap();
    drop(UnixListener::bind(path("socket.mp4")).unwrap());
    fs::create_dir_all(path("directory.mp4/inner.mkv")).unwrap();
    fs::write(path("notes.txt"), CANARY).unwrap();
    fs::write(path("no-extension"), CANARY).unwrap();
    for name in ["fifo.mp4", "socket.mp4", "directory.mp4", "directory.mp4/inner.mkv", "notes.txt", "no-extension"] {
        traps.push(name.to_owned());
    }
    for (name, kind, device) in [
        ("null.mp4", FileType::CharacterDevice, makedev(1, 3)),
        ("zeroes.mp4", FileType::CharacterDevice, makedev(1, 5)),
        ("terminal.mp4", FileType::CharacterDevice, makedev(5, 0)),
        ("disk.mp4", FileType::BlockDevice, makedev(7, 0)),
    ] {
        match mknodat(CWD, path(name), kind, Mode::RUSR | Mode::WUSR, device) {
            Ok(()) => traps.push(name.to_owned()),
            Err(error) => {
                println!("left out: {name}, because a device needs root and a file system that has them: {error}")
            }
        }
    }
    traps
}

/// Goal: symlinks of every kind, loops, FIFOs, sockets, devices, folders and foreign types are 404 at once, whatever they
/// are called, and are in no list; the films beside them are served.
#[test]
fn what_is_not_a_film_is_404() {
    let mine = Mine::new();
    let traps = set_traps(&mine);
    let daemon = Home::new(&mine.root).start();
    let before = daemon.holdings_at_rest();
    for name in &traps {
        for method in ["GET", "HEAD"] {
            let start = Instant::now();
            let answer = daemon.fetch(method, &url_path(name), &[("Range", "bytes=0-99")]);
            assert_eq!(answer.head.status, 404, "{name}: {:?}", answer.head);
            is_refused(&answer, name);
            assert!(start.elapsed() < Duration::from_secs(5), "{name} kept it for {:?}", start.elapsed());
        }
    }
    let list = daemon.fetch("GET", "/api/videos?limit=200", &[]).json();
    // Whoever begins a name with a dot wants it in no list (spec of ls); it is served all the same.
    let listed = HONEST.iter().filter(|name| !name.split('/').any(|segment| segment.starts_with('.')));
    assert_eq!(list["items"].as_array().unwrap().len(), listed.count(), "{list}");
    mine.check_honest(&daemon);
    daemon.expect_holdings(&before);
    // No link and no special file was even a film for the scan, and none is held open.
    let open = daemon.open_files();
    assert!(!open.iter().any(|file| file.ends_with(".mp4") || file == "/etc/passwd"), "{open:#?}");
}

/// Asks again and again for a film that is being swapped with something else; how often it was there, and how often not.
fn race(daemon: &Daemon, name: &str, length: u64, is_over: &AtomicBool) -> (u64, u64) {
    let mut client = Client::connect(daemon.address);
    let bearer = daemon.bearer();
    let text = request("GET", &url_path(name), &[("Authorization", &bearer)]);
    let (mut found, mut missing) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        client.send(&text);
        let answer = client.answer("GET");
        if answer.head.status == 200 {
            assert_eq!(answer.head.length(), length, "{:?}", String::from_utf8_lossy(&answer.body));
            Pattern::of(name).compare(0, &answer.body);
            found += 1;
        } else {
            is_refused(&answer, name);
            missing += 1;
        }
    }
    (found, missing)
}

/// Swaps two paths for as long as the others ask, about two seconds; how often.
fn swap(left: &Path, right: &Path, is_over: &AtomicBool) -> u64 {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        renameat_with(CWD, left, CWD, right, RenameFlags::EXCHANGE).unwrap();
        count += 1;
    }
    is_over.store(true, Ordering::Relaxed);
    count
}

/// Goal: a folder, and a film, that become a link to the outside in the very moment in which they are opened give the
/// film or nothing: between looking and opening there is no gap (openat2, not a check before).
#[test]
fn no_change_at_the_wrong_moment_leads_out_of_the_library() {
    let mine = Mine::new();
    let outside = mine.folder.path().to_str().unwrap();
    fs::create_dir(mine.root.join("swapped")).unwrap();
    Pattern::of("swapped/canary.mp4").write(&mine.root.join("swapped/canary.mp4"), FILM_BYTES);
    Pattern::of("lone.mp4").write(&mine.root.join("lone.mp4"), FILM_BYTES);
    symlink(outside, mine.root.join("link")).unwrap();
    symlink(mine.canary(), mine.root.join("link.mp4")).unwrap();
    let daemon = Home::new(&mine.root).start();
    for (name, left, right) in [("swapped/canary.mp4", "swapped", "link"), ("lone.mp4", "lone.mp4", "link.mp4")] {
        let is_over = AtomicBool::new(false);
        let (swaps, seen) = std::thread::scope(|scope| {
            let askers = [(); 3].map(|()| scope.spawn(|| race(&daemon, name, FILM_BYTES, &is_over)));
            let swaps = swap(&mine.root.join(left), &mine.root.join(right), &is_over);
            (swaps, askers.map(|asker| asker.join().unwrap()))
        });
        println!("{name}: {swaps} swaps; there and not there: {seen:?}");
        for (found, missing) in seen {
            assert!(found > 0 && missing > 0, "nobody raced: {found} times there, {missing} times not, {swaps} swaps");
        }
    }
    assert_eq!(daemon.ledger().sum("reelway_panics_total"), 0);
}
