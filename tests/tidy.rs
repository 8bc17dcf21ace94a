//! The law of the house, as an ordinary test: imports point down the page, each dependency has one door, `unsafe` one
//! room, and no file is longer than one sitting.
//!
//! It reads the sources as text. A line that breaks a law is printed with what to do about it.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod messages;

use std::fs;
use std::path::{Path, PathBuf};

/// Each dependency and the only places that may name it (DESIGN.md §3). A place is a file, or a folder with a slash.
const DOORS: &[(&str, &[&str])] = &[
    ("anyhow", &["cli/"]),
    ("arc_swap", &["api/settings.rs", "auth/remembered.rs", "library/", "playback/", "session/", "store/"]),
    ("argon2", &["auth/password.rs"]),
    ("aws_lc_rs", &["cli/archive.rs"]),
    ("base64", &["auth/carriers.rs", "serve/handover/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("figment", &["config/"]),
    ("fnv", &["library/open.rs", "playback/mod.rs"]),
    ("getrandom", &["auth/keys.rs"]),
    ("libc", &["sys/"]),
    ("percent_encoding", &["http/"]),
    ("serde_json", &["api/", "cli/", "config/", "http/", "log.rs", "log/", "serve/handover/", "store/columns.rs"]),
    ("thiserror", &["auth/", "cli/client.rs", "daemon/", "http/", "store/"]),
    ("tar", &["cli/archive.rs"]),
    ("time", &["log/json.rs", "store/timestamp.rs"]),
    ("tokio", &["daemon/", "serve/", "api/health.rs", "auth/password.rs", "playback/held.rs", "store/", "sys/"]),
    ("httparse", &["http/request.rs", "http/request/"]),
    ("httpdate", &["http/date.rs"]),
    ("io_uring", &["sys/ring.rs"]),
    ("ipnet", &["config/prefix.rs"]),
    ("itoa", &["http/response.rs"]),
    ("jsonwebtoken", &["auth/token.rs", "auth/token/"]),
    ("memchr", &["http/request.rs"]),
    ("nix", &["sys/"]),
    ("prometheus_client", &["metrics.rs"]),
    ("rusqlite", &["store/"]),
    ("rusqlite_migration", &["store/"]),
    ("socket2", &["sys/descriptor.rs", "sys/socket.rs"]),
    ("strsim", &["config/"]),
    ("systemd", &["sys/systemd.rs"]),
    ("tokio_uring", &["sys/ring.rs"]),
    ("toml", &["config/"]),
    ("tracing_appender", &["log.rs", "log/"]),
    ("tracing_journald", &["log.rs", "log/"]),
    ("tracing_subscriber", &["log.rs", "log/"]),
];

/// Dependencies that are words of the language rather than rooms of their own: any file may use them.
const EVERYWHERE: &[&str] = &["serde", "smallvec", "tracing", "uuid"];

/// Lines of a file, tests in the same file included.
const LINES_MAX: usize = 600;

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file, as its path below `src` and its text.
fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = source_root();
    let mut found = Vec::new();
    collect(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// The rooms in the order of lib.rs.
fn rooms() -> Vec<String> {
    let map = fs::read_to_string(source_root().join("lib.rs")).unwrap();
    map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.split(';').next()).map(str::to_owned).collect()
}

/// The room of a file: `serve/shard.rs` and `serve.rs` are both in `serve`.
fn room(file: &str) -> &str {
    let first = file.split('/').next().unwrap();
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The lines of a file that are code: no comments, and none of an inline `mod tests`, which may use what it likes.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "mod tests {")
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// The code of a file with each `use` declaration on one line, at the number of its first line.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for (number, line) in code(text) {
        match found.last_mut().filter(|_| is_open) {
            Some((_, statement)) => statement.push_str(line.trim()),
            None => found.push((number, line.to_owned())),
        }
        let statement = found.last().map_or("", |(_, statement)| statement).trim_start();
        let declares = statement.starts_with("use ") || statement.starts_with("pub use ");
        is_open = declares && !statement.ends_with(';');
    }
    found
}

/// Every name that follows `prefix` in `line`: `crate::a` and `crate::{a, b::c}` give `a` and `a`, `b`.
fn names_after(line: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (position, _) in line.match_indices(prefix) {
        let rest = &line[position + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for character in list.chars() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(word(std::mem::take(&mut item).trim())),
                        _ if depth == 0 => item.push(character),
                        _ => {}
                    }
                }
                names.push(word(item.trim()));
            }
            None => names.push(word(rest)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn imports_point_down_the_page() {
    let rooms = rooms();
    let place = |room: &str| rooms.iter().position(|other| other == room);
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let here = room(&file);
        let Some(own_place) = place(here) else { continue };
        let depth = file.matches('/').count() + usize::from(!file.ends_with("/mod.rs"));
        for (number, line) in statements(&text) {
            let line = line.as_str();
            let mut named = names_after(line, "crate::");
            // `super::` leaves the room when there are as many as the file is deep.
            named.extend(names_after(line, &"super::".repeat(depth.max(1))).into_iter().filter(|name| {
                depth >= 1 && line.matches("super::").count() >= depth && place(name).is_some() && name != here
            }));
            for name in named {
                match place(&name) {
                    Some(other) if other < own_place => broken.push(format!(
                        "src/{file}:{number}: `{here}` uses `{name}`, which stands above it in lib.rs. Move what both \
                         need further down, or let `{name}` call `{here}`."
                    )),
                    Some(_) => {}
                    None => broken.push(format!("src/{file}:{number}: `{name}` is no room of lib.rs.")),
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn each_dependency_has_one_door() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        // A room of ours may be called as what it is the door to: where it is imported, that is what the name means.
        let ours: Vec<String> =
            statements(&text).iter().flat_map(|(_, line)| names_after(line, "crate::sys::")).collect();
        for (number, line) in statements(&text).into_iter().filter(|_| !is_test_file(&file)) {
            let line = line.as_str();
            for (dependency, doors) in
                DOORS.iter().filter(|(dependency, _)| !ours.iter().any(|name| name == dependency))
            {
                let is_named = names_after(line, "use ").iter().any(|name| name == dependency)
                    || line.match_indices(&format!("{dependency}::")).any(|(position, _)| {
                        let before = line[..position].chars().next_back();
                        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                    });
                let is_a_door =
                    doors.iter().any(|door| file == *door || (door.ends_with('/') && file.starts_with(door)));
                if is_named && !is_a_door {
                    broken.push(format!(
                        "src/{file}:{number}: {dependency} is used in {} only; add a function there.",
                        doors.join(" and ")
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_dependency_has_a_row() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for line in dependencies.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, _)) = line.split_once(" = ") else { continue };
        let name = name.replace('-', "_");
        let has_row = DOORS.iter().any(|(dependency, _)| *dependency == name) || EVERYWHERE.contains(&name.as_str());
        assert!(has_row, "{name}: say in DOORS which file is its door");
    }
}

#[test]
fn unsafe_stands_in_sys_only() {
    for (file, text) in sources() {
        if room(&file) == "sys" {
            continue;
        }
        for (number, line) in code(&text) {
            assert!(
                !line.contains("unsafe ") && !line.contains("allow(unsafe_code)"),
                "src/{file}:{number}: unsafe belongs in sys, behind a safe function"
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_is_read_in_one_sitting() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "src/{file}: begin with `//!`: what this file is, and its one idea");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "src/{file} has {lines} lines; split it into files of one idea each");
    }
}

#[test]
fn the_grammar_is_pure() {
    for (file, text) in sources().into_iter().filter(|(file, _)| room(file) == "http" && !is_test_file(file)) {
        for (number, line) in code(&text) {
            for impure in ["std::fs", "TcpStream", "UdpSocket", "std::thread", "std::env", "::now(", "tracing", "tokio"]
            {
                assert!(!line.contains(impure), "src/{file}:{number}: http is bytes in, values out; no {impure} here");
            }
        }
    }
}

#[test]
fn the_laws_find_what_they_look_for() {
    assert_eq!(names_after("use crate::serve::shard;", "crate::"), ["serve"]);
    assert_eq!(names_after("use crate::{api, http::{range, date}, limits};", "crate::"), ["api", "http", "limits"]);
    assert_eq!(names_after("fn f() -> crate::sys::Fault { crate::api::g() }", "crate::"), ["sys", "api"]);
    assert_eq!(room("serve/shard.rs"), "serve");
    assert_eq!(room("route.rs"), "route");
    assert!(rooms().len() > 10, "lib.rs lists the rooms, one `pub mod` a line");
    let code: Vec<_> = code("use a;\n// use b;\nmod tests {\nuse c;").collect();
    assert_eq!(code, [(1, "use a;")]);
    let statements = statements("use crate::{\n    api,\n    http,\n};\nfn f() {}");
    assert_eq!(statements, [(1, "use crate::{api,http,};".to_owned()), (5, "fn f() {}".to_owned())]);
    assert_eq!(names_after(&statements[0].1, "crate::"), ["api", "http"]);
}
