//! Who asks everything: makes questions by dice, of every kind that the contract knows, each with its answer.
//!
//! The answers follow from spec/HTTP.md by a model that is written for being read, and shares nothing with the daemon:
//! each condition and each range is chosen together with what it means.

use std::path::Path;
use std::sync::Arc;

use super::daemon::Daemon;
use super::dice::Dice;
use super::films::url_path;
use super::question::{Body, Ending, Expected, Film, MODIFIED, Question};
use super::ranges::{self, Selected};

/// A day before and a day after the films were changed.
const EARLIER: &str = "Tue, 31 Dec 2019 00:00:00 GMT";
const LATER: &str = "Thu, 02 Jan 2020 00:00:00 GMT";
/// One password in so many questions: a hash costs 40 ms.
const PASSWORDS: u64 = 2000;

/// Whoever asks a daemon about its films.
pub struct Asker {
    /// The films, each with its ETag.
    pub films: Vec<(Arc<Film>, String)>,
    root: String,
    token: String,
}

impl Asker {
    /// Writes films of many lengths into `folder`: nothing, a byte, less than a page, several windows.
    pub fn write_films(folder: &Path) -> Vec<Arc<Film>> {
        let film = |name, content_type, length| Film::write(folder, name, content_type, length);
        vec![
            film("film.mp4", "video/mp4", 10_000),
            film("Été/Épisode 1 – début.webm", "video/webm", 70_000),
            film("a+b;c=d&e.mp4", "video/mp4", 300_001),
            film("one byte.mp4", "video/mp4", 1),
            film("empty.mp4", "video/mp4", 0),
            film("long.mp4", "video/mp4", 2_500_007),
        ]
    }

    /// Somebody who knows what `films` in `folder` are called and tagged.
    pub fn new(daemon: &Daemon, folder: &Path, films: Vec<Arc<Film>>) -> Asker {
        let tagged = films.into_iter().map(|film| {
            let head = daemon.fetch("HEAD", &url_path(&film.name), &[]).head;
            assert_eq!((head.length(), head.field("last-modified")), (film.size(), Some(MODIFIED)));
            let etag = head.field("etag").unwrap().to_owned();
            (film, etag)
        });
        let root = folder.file_name().unwrap().to_str().unwrap().to_owned();
        Asker { films: tagged.collect(), root, token: daemon.token.clone() }
    }

    /// A question that keeps the connection, or may.
    pub fn question(&self, dice: &mut Dice) -> Question {
        match dice.below(20) {
            0 => self.wrong_method(dice),
            1 => self.missing(dice),
            2 | 3 => health(dice),
            4 | 5 => login(dice),
            _ => self.film(dice),
        }
    }

    /// A question about a film or a range of it, in any spelling, under any condition.
    pub fn film(&self, dice: &mut Dice) -> Question {
        // The long film is for being cut into turns; too often it would only cost time.
        let last = self.films.len() - usize::from(!dice.one_in(20));
        let (film, etag) = &self.films[dice.index(last)];
        let mut head = Text::new(if dice.one_in(6) { "HEAD" } else { "GET" });
        let is_head = head.method == "HEAD";
        let is_known = head.credential(dice, &self.token);
        let path = self.film_path(dice, &film.name);
        head.path(dice, &path);
        let selected = if dice.one_in(4) { Selected::Whole } else { head.ranges(dice, film.size()) };
        let condition = if dice.one_in(4) { head.conditions(dice, etag) } else { Condition::Proceed(true) };
        let mut expected = match (is_known, condition) {
            (false, _) => Expected::new(401, Body::Problem),
            (true, Condition::Failed) => Expected::new(412, Body::Problem),
            (true, Condition::NotModified) => Expected::new(304, Body::Nothing),
            (true, Condition::Proceed(range_applies)) => {
                answer(film, if range_applies && !is_head { selected } else { Selected::Whole })
            }
        };
        if matches!(expected.status, 200 | 206 | 304) {
            expected.fields.push(("etag", etag.clone()));
            expected.fields.push(("last-modified", MODIFIED.to_owned()));
            expected.fields.push(("accept-ranges", "bytes".to_owned()));
        }
        expected.is_head = is_head;
        head.unwanted_body(dice);
        head.asked(dice, expected)
    }

    /// A question after which the daemon closes, whatever stands behind it.
    pub fn last(&self, dice: &mut Dice) -> Question {
        let refused = |status, text: &str| {
            let expected = Expected { ending: Ending::Closed, ..Expected::new(status, Body::Problem) };
            Question { bytes: text.as_bytes().to_vec(), expected }
        };
        match dice.below(12) {
            0 => refused(400, "GET /health HTTP/1.1\r\n\r\n"),
            1 => refused(400, "GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            2 => refused(400, "GET /health HTTP/1.1\nHost: a\n\n"),
            3 => refused(400, "GET /health HTTP/1.1\r\nHost: a\r\nRange : bytes=0-0\r\n\r\n"),
            4 => refused(400, "GET /stream/video/../film.mp4 HTTP/1.1\r\nHost: a\r\n\r\n"),
            5 => refused(501, "BREW /health HTTP/1.1\r\nHost: a\r\n\r\n"),
            6 => refused(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            7 => refused(417, "GET /health HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\n\r\n"),
            8 => refused(414, &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8193))),
            9 => refused(431, &format!("GET /health HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(101))),
            10 => {
                let mut question = self.film(dice);
                let text = String::from_utf8(question.bytes).unwrap();
                question.bytes = text.replacen("\r\n", "\r\nConnection: close\r\n", 1).into_bytes();
                question.expected.ending = Ending::Closed;
                question
            }
            _ => {
                let text = format!("GET /stream/video/film.mp4?token={} HTTP/1.0\r\n\r\n", self.token);
                let body = Body::Whole(Arc::clone(&self.films[0].0));
                let expected = Expected { ending: Ending::Closed, ..Expected::new(200, body) };
                Question { bytes: text.into_bytes(), expected }
            }
        }
    }

    /// A path of a film in one of its spellings.
    fn film_path(&self, dice: &mut Dice, name: &str) -> String {
        let path = url_path(name);
        match dice.below(4) {
            0 | 1 => path,
            2 => path.replacen("/api/stream/video/", "/stream/video/", 1),
            _ => path.replacen("/api/stream/video/", &format!("/stream/video/{}/", self.root), 1),
        }
    }

    fn wrong_method(&self, dice: &mut Dice) -> Question {
        let method = *dice.pick(&["OPTIONS", "POST", "PUT", "PATCH", "DELETE"]);
        let mut head = Text::new(method);
        let is_server = method == "OPTIONS" && dice.one_in(2);
        if is_server {
            head.target = "*".to_owned();
        } else {
            head.path(dice, &url_path("film.mp4"));
        }
        let mut expected = match method {
            "OPTIONS" => Expected::new(204, Body::Nothing),
            _ => Expected::new(405, Body::Problem),
        };
        let allow = if is_server { "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" } else { "GET, HEAD, OPTIONS" };
        expected.fields.push(("allow", allow.to_owned()));
        head.unwanted_body(dice);
        head.asked(dice, expected)
    }

    fn missing(&self, dice: &mut Dice) -> Question {
        let mut head = Text::new("GET");
        head.bearer(&self.token);
        let paths =
            ["/", "/api/nothing", "/stream/video/none.mp4", "/stream/video/film.mp4/x.mp4", "/stream/video/film"];
        let path = *dice.pick(&paths);
        head.path(dice, path);
        let expected = Expected::new(404, Body::Problem);
        head.unwanted_body(dice);
        head.asked(dice, expected)
    }
}

fn health(dice: &mut Dice) -> Question {
    let mut head = Text::new(if dice.one_in(4) { "HEAD" } else { "GET" });
    head.path(dice, "/health/live");
    let expected = Expected { is_head: head.method == "HEAD", ..Expected::new(200, Body::Well) };
    head.asked(dice, expected)
}

/// A sign-in that fails, by length or in chunks.
fn login(dice: &mut Dice) -> Question {
    let mut head = Text::new("POST");
    head.path(dice, "/api/auth/login");
    let (status, content_type, body) = match dice.below(PASSWORDS / 10) {
        0 => (401, "application/json", r#"{"username": "ann", "password": "not this one, surely"}"#),
        1..50 => (415, "text/plain", "{}"),
        50..80 => (400, "application/json", r#"{"username": "ann"}"#),
        80..110 => (400, "application/json; charset=utf-8", ""),
        110..140 => (400, "application/json", "[1, 2"),
        140..170 => (400, "application/json", "\u{0}\u{1}GET / HTTP/1.1\r\n\r\n"),
        _ => {
            let expected = Expected::new(411, Body::Problem);
            return head.asked(dice, expected);
        }
    };
    let mut expected = Expected::new(status, Body::Problem);
    head.field("Content-Type", content_type);
    if dice.one_in(8) {
        // It does not wait for the answer, so nobody knows whether there is one (RFC 9110 §10.1.1).
        head.field("Expect", "100-continue");
        expected.may_continue = true;
        expected.ending = Ending::Either;
    }
    head.body(dice, body.as_bytes());
    head.asked(dice, expected)
}

/// The answer to a question about a film that nothing speaks against.
fn answer(film: &Arc<Film>, selected: Selected) -> Expected {
    let whole = || Expected::new(200, Body::Whole(Arc::clone(film)));
    match selected {
        Selected::Whole => whole(),
        Selected::Nothing => {
            let mut expected = Expected::new(416, Body::Problem);
            expected.fields.push(("content-range", format!("bytes */{}", film.size())));
            expected
        }
        Selected::Parts(parts) => match parts[..] {
            [(first, last)] => Expected::new(206, Body::Part(Arc::clone(film), first, last)),
            _ => Expected::new(206, Body::Several(Arc::clone(film), parts)),
        },
    }
}

/// What the conditions of a request come to; whether the range is to be honoured.
enum Condition {
    Proceed(bool),
    NotModified,
    Failed,
}

/// A head while it is being written.
struct Text {
    method: &'static str,
    target: String,
    query: String,
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Text {
    fn new(method: &'static str) -> Text {
        Text { method, target: String::new(), query: String::new(), fields: Vec::new(), body: Vec::new() }
    }

    fn field(&mut self, name: &'static str, value: impl Into<String>) {
        self.fields.push((name, value.into()));
    }

    fn bearer(&mut self, token: &str) {
        self.field("Authorization", format!("Bearer {token}"));
    }

    /// In origin form, or in absolute form.
    fn path(&mut self, dice: &mut Dice, path: &str) {
        let authority = *dice.pick(&["", "", "", "http://films.local", "HTTP://127.0.0.1:80"]);
        self.target = format!("{authority}{path}{}", self.query);
    }

    /// Says who is asking; whether that is enough.
    fn credential(&mut self, dice: &mut Dice, token: &str) -> bool {
        match dice.below(20) {
            0 => return false,
            1 => {
                self.bearer(&token.to_ascii_lowercase());
                return false;
            }
            2..=4 => self.query = format!("?x=y&token={token}"),
            5 => self.field("Cookie", format!("a=b; reelway={token}")),
            _ => self.bearer(token),
        }
        true
    }

    /// A set of ranges for a film of `size` bytes, and what it comes to.
    fn ranges(&mut self, dice: &mut Dice, size: u64) -> Selected {
        let (value, selected) = ranges::any(dice, size);
        self.field("Range", value);
        selected
    }

    /// One or two conditions, and what they come to in the order of RFC 9110 §13.2.2.
    fn conditions(&mut self, dice: &mut Dice, etag: &str) -> Condition {
        let weak = format!("W/{etag}");
        let list = format!("\"a,b\", {etag}, \"c\"");
        let other = "\"other\"".to_owned();
        let strong = [(etag.to_owned(), true), (list.clone(), true), ("*".to_owned(), true), (weak.clone(), false)];
        let any = [
            (etag.to_owned(), true),
            (list, true),
            ("*".to_owned(), true),
            (weak.clone(), true),
            (other.clone(), false),
        ];
        let current = [
            (etag.to_owned(), true),
            (MODIFIED.to_owned(), true),
            (weak, false),
            (other, false),
            (LATER.to_owned(), false),
        ];
        let [mut matches, mut unmodified, mut none_matches, mut modified, mut is_current] = [None; 5];
        for _ in 0..=dice.below(2) {
            match dice.below(5) {
                0 if matches.is_none() => matches = Some(self.condition(dice, "If-Match", &strong)),
                1 if unmodified.is_none() => {
                    let dates = [(MODIFIED.to_owned(), true), (LATER.to_owned(), true), (EARLIER.to_owned(), false)];
                    unmodified = Some(self.condition(dice, "If-Unmodified-Since", &dates));
                }
                2 if none_matches.is_none() => none_matches = Some(self.condition(dice, "If-None-Match", &any)),
                3 if modified.is_none() => {
                    let dates = [(MODIFIED.to_owned(), false), (LATER.to_owned(), false), (EARLIER.to_owned(), true)];
                    modified = Some(self.condition(dice, "If-Modified-Since", &dates));
                }
                4 if is_current.is_none() => is_current = Some(self.condition(dice, "If-Range", &current)),
                _ => {}
            }
        }
        if !matches.or(unmodified).unwrap_or(true) {
            Condition::Failed
        } else if none_matches.or(modified.map(|modified| !modified)).unwrap_or(false) {
            Condition::NotModified
        } else {
            Condition::Proceed(is_current.unwrap_or(true))
        }
    }

    fn condition(&mut self, dice: &mut Dice, name: &'static str, values: &[(String, bool)]) -> bool {
        let (value, meaning) = dice.pick(values);
        self.field(name, value.as_str());
        *meaning
    }

    /// A body that nobody wants, now and then.
    fn unwanted_body(&mut self, dice: &mut Dice) {
        if dice.one_in(10) {
            let length = usize::try_from(*dice.pick(&[0_u64, 1, 100, 5000])).unwrap();
            self.body(dice, &vec![b'x'; length]);
        }
    }

    /// A body, by length or in chunks.
    fn body(&mut self, dice: &mut Dice, body: &[u8]) {
        if dice.one_in(2) {
            self.field("Content-Length", body.len().to_string());
            self.body = body.to_vec();
            return;
        }
        self.field("Transfer-Encoding", "chunked");
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + dice.index(rest.len()));
            let extension = *dice.pick(&["", "", ";a=b", ";c=\"d\""]);
            self.body.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
            self.body.extend_from_slice(chunk);
            self.body.extend_from_slice(b"\r\n");
            rest = after;
        }
        self.body.extend_from_slice(dice.pick(&["0\r\n\r\n", "000\r\nTrailer: 1\r\n\r\n"]).as_bytes());
    }

    /// The whole request: its fields in any order and case, with others among them that mean nothing.
    fn asked(mut self, dice: &mut Dice, expected: Expected) -> Question {
        self.field("Host", "films.local");
        for (name, value) in [("User-Agent", "Lavf/61.7.100"), ("Accept", "*/*"), ("X-Anything", "a:b, \"c\";d=\u{e9}")]
        {
            if dice.one_in(3) {
                self.field(name, value);
            }
        }
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        while !self.fields.is_empty() {
            let (name, value) = self.fields.swap_remove(dice.index(self.fields.len()));
            let name = match dice.below(4) {
                0 => name.to_ascii_lowercase(),
                1 => name.to_ascii_uppercase(),
                _ => name.to_owned(),
            };
            let (before, after) = dice.pick(&[(" ", ""), (" ", ""), ("", ""), ("\t ", " \t")]);
            text += &format!("{name}:{before}{value}{after}\r\n");
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        Question { bytes, expected }
    }
}
