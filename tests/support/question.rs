//! A request whose answer is known before it is sent: status, fields, every byte, and what becomes of the connection.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::client::{Answer, Client, Head};
use super::films::Pattern;
use super::multipart::{content_range, pieces};

/// When every known film was last changed, as HTTP says it; and as the machine does.
pub const MODIFIED: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
const MODIFIED_SECONDS: u64 = 1_577_836_800;

/// A film whose bytes stand in memory.
pub struct Film {
    /// Its path below the root.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its Content-Type.
    pub content_type: &'static str,
}

/// Its name alone: nobody wants to read all of it.
impl fmt::Debug for Film {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl Film {
    /// Writes a patterned film below `folder`.
    pub fn write(folder: &Path, name: &str, content_type: &'static str, length: usize) -> Arc<Film> {
        let mut bytes = vec![0; length];
        Pattern::of(name).fill(0, &mut bytes);
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &bytes).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED_SECONDS);
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        Arc::new(Film { name: name.to_owned(), bytes, content_type })
    }

    /// Length, in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn slice(&self, first: u64, last: u64) -> &[u8] {
        &self.bytes[usize::try_from(first).unwrap()..=usize::try_from(last).unwrap()]
    }
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub struct Question {
    /// The request: its head, and its body if that does not wait to be asked for.
    pub bytes: Vec<u8>,
    /// What the daemon must say.
    pub expected: Expected,
}

/// What the daemon must say.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The status.
    pub status: u16,
    /// Fields and their values.
    pub fields: Vec<(&'static str, String)>,
    /// What follows the head.
    pub body: Body,
    /// Whether it is the answer to HEAD: the fields of the body, and no body.
    pub is_head: bool,
    /// What becomes of the connection.
    pub ending: Ending,
    /// Whether `100 Continue` may come before.
    pub may_continue: bool,
}

/// The body of an answer.
#[derive(Debug, Clone)]
pub enum Body {
    /// None, and no length of one: 204 and 304.
    Nothing,
    /// A JSON value whose `status` is `ok`.
    Well,
    /// A refusal.
    Problem,
    /// Bytes of a film, both positions included.
    Part(Arc<Film>, u64, u64),
    /// A whole film, which may be empty.
    Whole(Arc<Film>),
    /// Several ranges of a film, in this order.
    Several(Arc<Film>, Vec<(u64, u64)>),
}

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is kept.
    Kept,
    /// It is closed, and the answer says so.
    Closed,
    /// Either: the daemon says which.
    Either,
}

impl Expected {
    /// An answer that keeps the connection.
    pub fn new(status: u16, body: Body) -> Expected {
        let (fields, ending) = (Vec::new(), Ending::Kept);
        Expected { status, fields, body, is_head: false, ending, may_continue: false }
    }

    /// Reads an answer and compares; whether the connection is kept.
    pub fn check(&self, client: &mut Client) -> bool {
        let mut head = client.head();
        if head.status == 100 {
            assert!(self.may_continue, "100, though nobody asked: {self:?}");
            head = client.head();
        }
        assert!(head.field("date").is_some(), "no Date in {head:?}");
        assert_eq!(head.status, self.status, "{head:?}, and should be {self:?}");
        for (name, value) in &self.fields {
            assert_eq!(head.field(name), Some(value.as_str()), "{name} in {head:?}");
        }
        let closes = head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        match self.ending {
            Ending::Kept => assert!(!closes, "closed: {head:?}"),
            Ending::Closed => assert!(closes, "not closed: {head:?}"),
            Ending::Either => {}
        }
        self.check_body(client, head);
        !closes
    }

    fn check_body(&self, client: &mut Client, head: Head) {
        let (film, first, last) = match &self.body {
            Body::Nothing => {
                assert_eq!(head.field("content-length"), None, "{head:?}");
                return;
            }
            Body::Well | Body::Problem if self.is_head => {
                assert!(head.length() > 0, "{head:?}");
                return;
            }
            Body::Well => {
                let body = client.body(head.length());
                assert_eq!(Answer { head, body }.json()["status"], "ok");
                return;
            }
            Body::Problem => {
                let body = client.body(head.length());
                Answer { head, body }.is_problem(self.status);
                return;
            }
            Body::Several(film, ranges) => {
                let body = client.body(head.length());
                is_these_parts(&head, &body, film, ranges);
                return;
            }
            Body::Whole(film) if film.size() == 0 => {
                assert_eq!(head.length(), 0);
                return;
            }
            Body::Whole(film) => (film, 0, film.size() - 1),
            Body::Part(film, first, last) => {
                let range = format!("bytes {first}-{last}/{}", film.size());
                assert_eq!(head.field("content-range"), Some(range.as_str()), "{head:?}");
                (film, *first, *last)
            }
        };
        assert_eq!(head.length(), last - first + 1, "{head:?}");
        assert_eq!(head.field("content-type"), Some(film.content_type), "{head:?}");
        if !self.is_head {
            let body = client.body(head.length());
            assert!(body == film.slice(first, last), "wrong bytes of {} between {first} and {last}", film.name);
        }
    }
}

/// Checks that a body has exactly these ranges of a film, in this order.
fn is_these_parts(head: &Head, body: &[u8], film: &Film, ranges: &[(u64, u64)]) {
    let pieces = pieces(head.field("content-type").unwrap_or_default(), body);
    let found: Vec<(u64, u64)> = pieces.iter().map(|piece| (piece.first, piece.last)).collect();
    assert_eq!(found, ranges, "the parts of {head:?}");
    assert_eq!(head.field("content-range"), None, "it is for the parts only (RFC 9110 §15.3.7.2): {head:?}");
    for piece in pieces {
        assert_eq!((piece.size, piece.content_type.as_str()), (film.size(), film.content_type));
        assert!(piece.bytes == film.slice(piece.first, piece.last), "wrong bytes of {} in {piece:?}", film.name);
    }
}

/// Checks the body of any answer that claims to be of `film`, whatever was asked for.
pub fn is_of_film(head: &Head, body: &[u8], film: &Film) {
    let content_type = head.field("content-type").unwrap_or_default();
    match head.status {
        200 => assert!(body == film.bytes, "wrong bytes of {}: {head:?}", film.name),
        206 if content_type.starts_with("multipart/") => {
            let ranges: Vec<_> = pieces(content_type, body).iter().map(|piece| (piece.first, piece.last)).collect();
            is_these_parts(head, body, film, &ranges);
        }
        206 => {
            let (first, last, size) = content_range(head.field("content-range").unwrap_or_default());
            assert_eq!(size, film.size(), "{head:?}");
            assert!(body == film.slice(first, last), "wrong bytes of {}: {head:?}", film.name);
        }
        _ => panic!("{head:?} is not about bytes of {}", film.name),
    }
}
