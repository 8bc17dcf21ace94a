//! `exchange.txt`: whole exchanges, each on a connection of its own.

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use super::{is_kept, reason, vectors};
use crate::support::client::{Answer, Client};
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{Pattern, url_path};
use crate::support::scratch;

const TABLE: &str = include_str!("../../vectors/exchange.txt");
const FILM: &str = "film.mp4";
const FILM_BYTES: u64 = 10_000;
/// 48 bytes, and nobody's password.
const LOGIN: &str = r#"{"username": "nobody", "password": "wrong-0000"}"#;
const EXTENSIONS: [&str; 13] =
    ["m4v", "mkv", "webm", "avi", "mov", "ts", "m2ts", "mpg", "ogv", "flv", "vtt", "srt", "jpg"];

/// The films that the table speaks of.
fn films() -> TempDir {
    let parent = tempfile::tempdir_in(scratch()).unwrap();
    let root = parent.path().join("films");
    fs::create_dir_all(root.join("Series/S01")).unwrap();
    let others = EXTENSIONS.iter().map(|extension| format!("film.{extension}"));
    for name in
        others.chain([FILM.to_owned(), "OTHER.MP4".to_owned(), "film.txt".to_owned(), "Series/S01/Eé.mkv".to_owned()])
    {
        Pattern::of(&name).write(&root.join(&name), FILM_BYTES);
    }
    parent
}

/// Goal: every row.
#[test]
fn every_exchange_of_the_table_goes_so_over_a_socket() {
    let films = films();
    let root = films.path().join("films");
    let rows = vectors::rows(TABLE, 5);
    let mut by_settings: BTreeMap<&str, Vec<&Vec<&'static str>>> = BTreeMap::new();
    for row in &rows {
        by_settings.entry(row[2]).or_default().push(row);
    }
    for (settings, rows) in by_settings {
        let mut home = Home::new(&root);
        for (name, value) in settings.split(',').filter_map(|setting| setting.split_once('=')) {
            home = home.set(&format!("REELWAY_NET__{}", name.to_uppercase()), value);
        }
        let daemon = home.start();
        // A film that the index does not know, since it came after the scan.
        Pattern::of("later.mp4").write(&root.join("later.mp4"), FILM_BYTES);
        for row in rows {
            Exchange::new(&daemon, row).run();
        }
        fs::remove_file(root.join("later.mp4")).unwrap();
    }
    assert!(rows.len() > 80);
}

struct Exchange<'a> {
    rule: &'static str,
    daemon: &'a Daemon,
    client: Client,
    sent: &'static str,
    expected: Vec<&'static str>,
    /// The methods of the requests, in order: the answer to HEAD has no body.
    methods: Vec<String>,
}

impl<'a> Exchange<'a> {
    fn new(daemon: &'a Daemon, row: &[&'static str]) -> Exchange<'a> {
        let client = Client::connect(daemon.address);
        let expected = row[4].split(" & ").collect();
        Exchange { rule: row[0], daemon, client, sent: row[3], expected, methods: Vec::new() }
    }

    fn run(mut self) {
        self.expected.reverse();
        let mut rest = self.sent;
        loop {
            let next = [" >> ", " << "].into_iter().filter_map(|mark| rest.find(mark).map(|at| (at, mark))).min();
            let piece = next.map_or(rest, |(at, _)| &rest[..at]);
            self.send(piece);
            match next {
                None => break,
                Some((at, " >> ")) => {
                    self.client.wait_until_read_or_ended();
                    rest = &rest[at + 4..];
                }
                Some((at, _)) => {
                    self.read_one();
                    rest = &rest[at + 4..];
                }
            }
        }
        while self.expected.len() > 1 {
            self.read_one();
        }
        match self.expected.pop() {
            Some("kept") => is_kept(&mut self.client, self.rule),
            Some("closed" | "ended") => self.client.expect_closed(),
            other => panic!("{}: {other:?} is no end", self.rule),
        }
    }

    /// Sends a piece, with what its words stand for.
    fn send(&mut self, piece: &str) {
        if piece.trim() == "FIN" {
            return self.client.finish_sending();
        }
        let etag = if piece.contains("$ETAG") { self.etag() } else { String::new() };
        let piece = piece
            .replace("$AUTH", &format!("Authorization: {}¶", self.daemon.bearer()))
            .replace("$TOKEN", &self.daemon.token)
            .replace("$ETAG", &etag);
        // The body is JSON, whose braces mean something else in a cell.
        let bytes: Vec<Vec<u8>> = piece.split("$LOGIN").map(vectors::bytes).collect();
        let bytes = bytes.join(LOGIN.as_bytes());
        self.methods.extend(methods(&bytes));
        // Whoever was refused early may have lost the connection by now; the answer tells.
        let _ = self.client.try_send(bytes);
    }

    fn etag(&self) -> String {
        self.daemon.fetch("HEAD", &url_path(FILM), &[]).head.field("etag").unwrap().to_owned()
    }

    fn read_one(&mut self) {
        let expected = self.expected.pop().unwrap();
        let is_interim = expected.starts_with("100");
        if is_interim {
            return assert_eq!(self.client.head().status, 100, "{}", self.rule);
        }
        let method = if self.methods.is_empty() { "GET".to_owned() } else { self.methods.remove(0) };
        let answer = self.client.answer(&method);
        let mut words = expected.split(' ');
        let status = words.next().unwrap();
        assert_eq!(answer.head.status.to_string(), status, "{}: {:?}", self.rule, answer.head);
        assert!(answer.head.field("date").is_some(), "{}: {:?}", self.rule, answer.head);
        for word in words {
            let word = word.replace("\\s", " ");
            assert!(holds(&answer, &word), "{}: {word} does not hold of {:?}", self.rule, answer.head);
        }
    }
}

/// The methods of the requests that begin in these bytes.
fn methods(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let is_request_line = |line: &&str| line.contains(" HTTP/1.");
    // A body stands directly before the next request line, so the method is looked for in its last word.
    let method = |line: &str| {
        let known = ["HEAD", "GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"];
        let before = line.split(' ').next().unwrap_or_default();
        known.into_iter().find(|method| before.ends_with(method)).unwrap_or("GET").to_owned()
    };
    text.split("\r\n").filter(is_request_line).map(method).collect()
}

/// Whether a word of the table holds of an answer.
fn holds(answer: &Answer, word: &str) -> bool {
    let head = &answer.head;
    if word == "nothing" {
        return answer.body.is_empty();
    }
    if let Some(name) = word.strip_prefix('+') {
        return head.field(name).is_some();
    }
    if let Some(name) = word.strip_prefix('-') {
        return head.field(name).is_none();
    }
    let at = word.find(['=', '~']).unwrap_or_else(|| panic!("{word} is no word of the table"));
    let (name, value) = (&word[..at], &word[at + 1..]);
    match (name, &word[at..=at]) {
        ("problem", "=") => {
            answer.is_problem(head.status);
            reason(answer) == value
        }
        ("bytes", "=") => {
            let (first, last) = value.split_once('-').unwrap();
            let (first, last) = (first.parse::<u64>().unwrap(), last.parse::<u64>().unwrap());
            Pattern::of(FILM).compare(first, &answer.body);
            answer.body.len() as u64 == last - first + 1
        }
        (name, "~") => head.field(name).is_some_and(|found| found.contains(value)),
        (name, _) => head.field(name) == Some(value),
    }
}
