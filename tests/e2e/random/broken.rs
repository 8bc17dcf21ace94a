//! What is no request any more, or never was one; and what may be answered to it: well-formed responses, then the end.

use std::sync::Arc;

use crate::support::client::{Ending, Head};
use crate::support::dice::Dice;
use crate::support::question::{Film, is_of_film};

/// What a request is spoilt with: what frames messages, and what other parsers stumbled over.
const SPOILS: [&str; 16] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    ":",
    "%2e%2e%2f",
    "\r\n\r\n",
    "Content-Length: 7\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Range: bytes=0-,0-,0-,0-,0-\r\n",
    "ffffffffffffffff\r\n",
    "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
];

/// Spoils `bytes` in one to four places.
pub fn spoil(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = dice.index(bytes.len());
        let end = (at + 1 + dice.index(24)).min(bytes.len());
        match dice.below(9) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = dice.byte(),
            2 => bytes.insert(at, dice.byte()),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let span = bytes[at..end].to_vec();
                let again = 1 + dice.index(40);
                drop(bytes.splice(at..at, span.repeat(again)));
            }
            5 => bytes.truncate(at),
            6 => bytes[at..end].reverse(),
            7 => drop(bytes.splice(at..at, dice.pick(&SPOILS).bytes())),
            _ => drop(bytes.splice(at..at, vec![*dice.pick(b"A /:%,;=0\"\r\n"); 1 + dice.index(20_000)])),
        }
    }
}

/// Bytes without any sense: of all values, of those of text, or of words.
pub fn garbage(dice: &mut Dice) -> Vec<u8> {
    let length_max = if dice.one_in(10) { 20_000 } else { 600 };
    let length = 1 + dice.index(length_max);
    let mut bytes: Vec<u8> = match dice.below(3) {
        0 => (0..length).map(|_| dice.byte()).collect(),
        1 => (0..length).map(|_| *dice.pick(b"GET /:=-,.%09 HTTP\r\n\r\n\r\n")).collect(),
        _ => (0..length / 8).flat_map(|_| dice.pick(&SPOILS).bytes()).collect(),
    };
    if dice.one_in(3) {
        drop(bytes.splice(0..0, *b"GET /stream/video/film.mp4 HTTP/1.1\r\nHost: a\r\n"));
    }
    bytes
}

/// Checks what was answered to `sent`: whole responses, each well-formed, and not a byte besides. Where it is bytes of a
/// film they are the right ones.
pub fn judge(sent: &[u8], received: &[u8], ending: Ending, films: &[(Arc<Film>, String)]) {
    // Even `HEAD` without a target, which is refused, is HEAD.
    let may_be_head = sent.windows(4).any(|four| four == b"HEAD");
    let mut rest = received;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("a head without end, {ending:?}: {:?}", shown(rest)));
        let head = well_formed(&rest[..end + 2]);
        rest = &rest[end + 4..];
        let is_bodiless = matches!(head.status, 100 | 204 | 304);
        // To HEAD comes a length without a body; then the next response follows, or the end.
        if is_bodiless || (may_be_head && (rest.is_empty() || rest.starts_with(b"HTTP/1.1 "))) {
            continue;
        }
        let length = usize::try_from(head.length()).unwrap();
        let body = rest.get(..length).unwrap_or_else(|| panic!("{} of {length} bytes, {ending:?}", rest.len()));
        rest = &rest[length..];
        if let Some((film, _)) = films.iter().find(|(_, etag)| head.field("etag") == Some(etag)) {
            is_of_film(&head, body, film);
        }
    }
}

/// Reads a head strictly: a status line and fields of visible characters, each line with its end, `Date` and a length.
fn well_formed(text: &[u8]) -> Head {
    let is_visible = text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t'));
    assert!(is_visible, "{:?}", shown(text));
    let text = std::str::from_utf8(text).unwrap();
    let mut lines = text.strip_suffix("\r\n").unwrap_or(text).split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|line| line.split_once(' '));
    let status: u16 = status.and_then(|(code, _)| code.parse().ok()).unwrap_or_else(|| panic!("{status_line:?}"));
    assert!((100..600).contains(&status), "{status_line:?}");
    let fields = lines.map(|line| {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}"));
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(is_token), "{line:?}");
        (name.to_owned(), value.trim().to_owned())
    });
    let head = Head::new(status, fields.collect());
    assert!(status == 100 || head.field("date").is_some(), "no Date in {head:?}");
    assert_ne!(status, 500, "the daemon is at fault: {head:?}");
    head
}

/// The beginning of some bytes, as text.
pub fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(2000)].escape_ascii().to_string()
}
