//! What we say: a head, and a body made of small buffers and extents of files.
//!
//! The one idea: a handler composes a `Response` and touches no socket; `finish` adds the fields that depend on the
//! connection and writes the bytes to send. The length of the body is the sum of its parts, so it cannot differ from
//! what is announced, and no value of a field can end the field. What all answers with one film share is written once
//! ([`FieldLines`]), and a head is written into a used buffer, so a film's answer allocates nothing.
//! RFC 9112 §4, §6, §9; RFC 9110 §6.6, §8.6, §15.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use serde::Serialize;
use smallvec::SmallVec;

use super::date::Date;
use super::range::Extent;
use super::request::{Method, Request};

/// The interim answer to `Expect: 100-continue`. RFC 9110 §15.2.1
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// On everything but media: nothing we say is to be framed, sniffed, run, kept, or read by another site
/// (spec/SEED.md 104).
const SECURITY_FIELDS: [(&str, &str); 7] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("X-XSS-Protection", "1; mode=block"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
];

/// Fields as they stand in a head, each with the end of its line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldLines(Vec<u8>);

impl FieldLines {
    /// Adds a field. Whatever could end the value (CR, LF) or is not for a field (controls, beyond ASCII) becomes `?`,
    /// so that a name on the disk or a word of the client cannot write a field of its own. RFC 9110 §5.5
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Display) -> FieldLines {
        self.push(name, value);
        self
    }

    fn push(&mut self, name: &'static str, value: impl Display) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        // Writing into memory does not fail; a Display that gives up leaves a shorter value.
        let _ = write!(Visible { head: &mut self.0 }, "{value}");
        self.0.extend_from_slice(b"\r\n");
    }
}

/// A piece of a body. `F` is how `serve` names an open file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<F> {
    /// Bytes in memory.
    Bytes(Cow<'static, [u8]>),
    /// Bytes of a file, which the kernel moves.
    Extent {
        /// The open file.
        file: F,
        /// Where in it.
        extent: Extent,
    },
}

impl<F> Part<F> {
    /// Bytes of this part.
    pub fn length(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Extent { extent, .. } => extent.length,
        }
    }
}

/// A response while it is being composed.
#[derive(Debug)]
pub struct Response<F> {
    status: u16,
    /// What was written before this request came.
    shared: Option<Arc<FieldLines>>,
    lines: FieldLines,
    /// The one extent that is sent, and the size of its file.
    content_range: Option<(Extent, u64)>,
    parts: SmallVec<[Part<F>; 1]>,
    close: bool,
}

/// What the last fields of a head depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The method answered.
    pub method: Method,
    /// The client's minor version of HTTP/1.
    pub minor_version: u8,
    /// Whether client and server both let the connection stay.
    pub keep_alive: bool,
    /// Now.
    pub date: Date,
}

impl Envelope {
    /// For the answer to `request`.
    pub fn of(request: &Request<'_>, date: Date) -> Envelope {
        Envelope { method: request.method, minor_version: request.minor_version, keep_alive: request.keep_alive, date }
    }

    /// For the answer to bytes that are no request, or none yet, and may have begun with a `method`: the connection closes.
    pub fn without_request(method: Option<Method>, date: Date) -> Envelope {
        Envelope { method: method.unwrap_or(Method::Get), minor_version: 1, keep_alive: false, date }
    }
}

/// A response ready to be sent.
#[derive(Debug)]
pub struct Finished<F> {
    /// The status code.
    pub status: u16,
    /// The head, with the blank line after it.
    pub head: Vec<u8>,
    /// The body to send after it; none for HEAD.
    pub parts: SmallVec<[Part<F>; 1]>,
    /// Bytes of `parts`.
    pub length: u64,
    /// Whether the connection ends after it. The head says so.
    pub close: bool,
}

impl<F> Response<F> {
    /// A bare response: no field, no body.
    pub fn new(status: u16) -> Self {
        let (shared, content_range) = (None, None);
        Response { status, shared, lines: FieldLines::default(), content_range, parts: SmallVec::new(), close: false }
    }

    /// No body: 204, or the answer to OPTIONS.
    pub fn empty(status: u16) -> Self {
        Self::new(status).security_fields()
    }

    /// An extent of a film of `size` bytes, with 206, or all of it, with 200. `shared` is what the handler knows of the
    /// file (type, validators). Several extents are a `multipart::response`.
    pub fn media(status: u16, file: F, extent: Extent, size: u64, shared: Arc<FieldLines>) -> Self {
        let mut response = Self::new(status).part(Part::Extent { file, extent });
        response.shared = Some(shared);
        response.content_range = (status == 206).then_some((extent, size));
        response
    }

    /// A text, a page, or anything else in memory.
    pub fn text(status: u16, content_type: &str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self::new(status).security_fields().field("Content-Type", content_type).part(Part::Bytes(body.into()))
    }

    /// `value` as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        Self::serialized(status, "application/json", value)
    }

    /// A refusal. RFC 9457 §3
    pub(super) fn problem(status: u16, value: &impl Serialize) -> Self {
        Self::serialized(status, "application/problem+json", value)
    }

    /// Only a map whose keys are not text cannot be written as JSON: a mistake of ours, never of a client.
    fn serialized(status: u16, content_type: &'static str, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::text(status, content_type, body),
            Err(_) => Self::empty(500),
        }
    }

    /// Adds a field, as [`FieldLines::field`] does.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Display) -> Self {
        self.lines.push(name, value);
        self
    }

    /// Adds fields that are written already.
    #[must_use]
    pub fn lines(mut self, lines: FieldLines) -> Self {
        self.lines.0.extend_from_slice(&lines.0);
        self
    }

    /// Adds a piece of the body.
    #[must_use]
    pub fn part(mut self, part: Part<F>) -> Self {
        self.parts.push(part);
        self
    }

    /// Ends the connection after this response.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The file of which the body has bytes, if it has any.
    pub fn file(&self) -> Option<&F> {
        self.parts.iter().find_map(|part| match part {
            Part::Extent { file, extent } if extent.length > 0 => Some(file),
            Part::Extent { .. } | Part::Bytes(_) => None,
        })
    }

    /// Bytes of the body.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(Part::length).sum()
    }

    /// Writes the head into `used`, a buffer that nobody needs any more: status, fields, `Content-Range`, `Content-Length`,
    /// `Date`, `Connection` where the client needs to be told, and the blank line.
    ///
    /// 204 and 304 have no body and announce no length (RFC 9110 §8.6). The answer to HEAD announces the length that
    /// GET would have, and has no body.
    pub fn finish(mut self, envelope: Envelope, used: Vec<u8>) -> Finished<F> {
        let mut head = used;
        head.clear();
        write_status(&mut head, self.status);
        if let Some(shared) = &self.shared {
            head.extend_from_slice(&shared.0);
        }
        head.extend_from_slice(&self.lines.0);
        if let Some((extent, size)) = self.content_range {
            write_content_range(&mut head, extent, size);
        }
        let is_bodiless = matches!(self.status, 204 | 304);
        if !is_bodiless {
            head.extend_from_slice(b"Content-Length: ");
            write_number(&mut head, self.length());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"Date: ");
        head.extend_from_slice(envelope.date.as_bytes());
        let close = self.close || !envelope.keep_alive;
        head.extend_from_slice(match (close, envelope.minor_version) {
            (true, _) => b"\r\nConnection: close\r\n\r\n",
            (false, 0) => b"\r\nConnection: keep-alive\r\n\r\n", // HTTP/1.0 closes unless told. RFC 9112 §9.3
            (false, _) => b"\r\n\r\n",
        });
        if is_bodiless || envelope.method == Method::Head {
            self.parts.clear();
        }
        Finished { status: self.status, length: self.length(), head, parts: self.parts, close }
    }

    fn security_fields(self) -> Self {
        SECURITY_FIELDS.into_iter().fold(self, |response, (name, value)| response.field(name, value))
    }
}

/// The reason phrase of a status. RFC 9110 §15
pub fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "", // A phrase may be empty. RFC 9112 §4
    }
}

/// The status line. RFC 9112 §4
fn write_status(head: &mut Vec<u8>, status: u16) {
    head.extend_from_slice(b"HTTP/1.1 ");
    write_number(head, status.into());
    head.push(b' ');
    head.extend_from_slice(phrase(status).as_bytes());
    head.extend_from_slice(b"\r\n");
}

/// What [`Extent::content_range`] shows, without going through a formatter.
fn write_content_range(head: &mut Vec<u8>, extent: Extent, size: u64) {
    head.extend_from_slice(b"Content-Range: bytes ");
    write_number(head, extent.offset);
    head.push(b'-');
    write_number(head, extent.end().saturating_sub(1));
    head.push(b'/');
    write_number(head, size);
    head.extend_from_slice(b"\r\n");
}

fn write_number(head: &mut Vec<u8>, number: u64) {
    head.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a text as the visible ASCII it has.
struct Visible<'a> {
    head: &'a mut Vec<u8>,
}

impl fmt::Write for Visible<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let visible = |character: char| if matches!(character, ' '..='~' | '\t') { character as u8 } else { b'?' };
        self.head.extend(text.chars().map(visible));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
