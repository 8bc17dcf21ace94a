//! The head of a request. The only door to `httparse`.
//!
//! The one idea: `httparse` knows the characters, this file knows what they mean, and a head that two parsers could
//! read differently is refused: whoever stands before us must see the same requests as we do. `parse` gives one verdict
//! on the bytes read so far: not yet, this request, or no. A no is given as early as it is certain, and the connection
//! cannot be kept after it, for nobody knows where the next request begins.
//! RFC 9112 §2 to §7 and §9.3; spec/HTTP.md, "Messages".

use std::mem::MaybeUninit;

use crate::limits::{EMPTY_LINES_MAX, FIELDS_MAX, HEAD_BYTES_MAX, TARGET_BYTES_MAX};

use super::reject::Reject;
use super::target::{self, Target};

mod chunk;
mod fields;

pub use chunk::{ChunkDecoder, Piece};
pub use fields::{Fields, Lines};

/// What the bytes read so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one lives on the stack while a request is read; a box would allocate")]
pub enum Parsed<'a> {
    /// The beginning of a head: read more.
    Partial,
    /// A request, whose head is the first `head_length` bytes. A body, or the next request, follows.
    Complete {
        /// The request.
        request: Request<'a>,
        /// Bytes of its head, with empty lines before it and the blank line after it.
        head_length: usize,
    },
}

/// A request without its body, borrowed from the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is to be done.
    pub method: Method,
    /// With what.
    pub target: Target<'a>,
    /// The minor version of HTTP/1, 0 or 1.
    pub minor_version: u8,
    /// Whether the client lets the connection stay. RFC 9112 §9.3
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body. RFC 9110 §10.1.1
    pub expects_continue: bool,
    /// How the end of the body is known.
    pub body: Body,
    /// The fields the daemon reads.
    pub fields: Fields<'a>,
}

/// The methods the daemon knows. RFC 9110 §9, RFC 5789
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its RFC says")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// How the end of a body is known. RFC 9112 §6.3
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, up to an empty one: see `ChunkDecoder`.
    Chunked,
}

/// The end of the last line of a head, and the empty line after it.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Whether a head may end in `bytes`, of which the first `known` do not end one. Cheaper than parsing, and enough to know
/// that parsing will come to an end.
pub fn ends_a_head(bytes: &[u8], known: usize) -> bool {
    // An empty line may have begun in what is known.
    let new = bytes.get(known.saturating_sub(HEAD_END.len() - 1)..).unwrap_or_default();
    new.ends_with(HEAD_END) || memchr::memmem::find(new, HEAD_END).is_some()
}

/// Reads the head at the start of `bytes`, which may hold more than it: nothing after the blank line is looked at.
///
/// # Errors
/// A `Reject` as soon as no continuation of `bytes` could be accepted. The connection closes after it.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Reject> {
    parse_after(0, bytes)
}

/// Reads the head at the start of `bytes`, before which `empty_lines` have been passed over already.
///
/// # Errors
/// As `parse`.
pub fn parse_after(empty_lines: usize, bytes: &[u8]) -> Result<Parsed<'_>, Reject> {
    let window = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let skipped = empty_lines_length(window, EMPTY_LINES_MAX.saturating_sub(empty_lines))?;
    let rest = window.get(skipped..).unwrap_or_default();
    refuse_long_method(rest)?;
    refuse_long_target(rest)?;
    let end = blank_line_end(rest)?;
    let head = &rest[..end.unwrap_or(rest.len())];

    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut raw = httparse::Request::new(&mut []);
    let status = raw.parse_with_uninit_headers(head, &mut slots).map_err(|error| explain(error, head))?;
    match (status, raw) {
        (
            httparse::Status::Complete(length),
            httparse::Request { method: Some(method), path: Some(target), version: Some(version), headers },
        ) => {
            let request = interpret(method, target, version, headers)?;
            Ok(Parsed::Complete { request, head_length: skipped + length })
        }
        _ if window.len() == HEAD_BYTES_MAX => Err(Reject::HeadTooLarge),
        _ => Ok(Parsed::Partial),
    }
}

impl Method {
    /// The method as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
        }
    }

    /// Methods are case-sensitive. RFC 9110 §9.1
    fn parse(token: &str) -> Result<Method, Reject> {
        const ALL: [Method; 7] =
            [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Options];
        ALL.into_iter().find(|method| method.as_str() == token).ok_or(Reject::MethodUnknown)
    }
}

/// What a head of valid characters means.
fn interpret<'a>(
    method: &str,
    raw_target: &'a str,
    minor_version: u8,
    headers: &[httparse::Header<'a>],
) -> Result<Request<'a>, Reject> {
    let method = Method::parse(method)?;
    let located = target::parse(method, raw_target)?;
    let (mut fields, framing) = fields::read(headers.iter().map(|header| (header.name, header.value)), minor_version)?;
    if located.authority.is_some() {
        fields.host = located.authority; // It wins over Host. RFC 9112 §3.2.2
    }
    Ok(Request {
        method,
        target: located.target,
        minor_version,
        keep_alive: framing.keep_alive,
        expects_continue: framing.expects_continue,
        body: framing.body,
        fields,
    })
}

/// The method of the request that `bytes` begin with, even if the rest of it is not to be understood: the answer to HEAD
/// has no body, whatever it says (RFC 9110 §9.3.2).
pub fn method(bytes: &[u8]) -> Option<Method> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let word = bytes.get(start..)?.split(|byte| matches!(byte, b' ' | b'\r')).next()?;
    Method::parse(str::from_utf8(word).ok()?).ok()
}

/// Bytes of the empty lines before a request line: at most so many, for old clients that end a body with one.
/// RFC 9112 §2.2
fn empty_lines_length(bytes: &[u8], lines_max: usize) -> Result<usize, Reject> {
    if !matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Ok(0);
    }
    let expected = b"\r\n".iter().cycle().take(2 * lines_max);
    let length = bytes.iter().zip(expected).take_while(|(byte, expected)| byte == expected).count();
    match bytes.get(length) {
        // Half an empty line: the other half may still come.
        None => Ok(length),
        Some(_) if length % 2 == 1 => Err(Reject::LineEndingInvalid),
        Some(b'\r' | b'\n') => Err(Reject::RequestLineInvalid),
        Some(_) => Ok(length),
    }
}

/// Bytes of the longest method that is waited for: ours have seven at most.
const METHOD_BYTES_MAX: usize = 32;

/// A word that is longer than any method is none of ours. RFC 9112 §3
fn refuse_long_method(head: &[u8]) -> Result<(), Reject> {
    match head.iter().take(METHOD_BYTES_MAX + 1).take_while(|byte| is_token(**byte)).count() {
        ..=METHOD_BYTES_MAX => Ok(()),
        _ => Err(Reject::MethodUnknown),
    }
}

/// The target is what follows the first space; it need not have ended to be too long.
fn refuse_long_target(head: &[u8]) -> Result<(), Reject> {
    if head.len() <= TARGET_BYTES_MAX {
        return Ok(());
    }
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    match line.split(|byte| *byte == b' ').nth(1) {
        Some(target) if target.len() > TARGET_BYTES_MAX => Err(Reject::TargetTooLong),
        _ => Ok(()),
    }
}

/// The position after the first blank line, if it is there yet. Lines end with CRLF and nothing else: a parser that
/// took a bare LF or CR for an end would see other fields than one that did not. RFC 9112 §2.2, §11.2
fn blank_line_end(bytes: &[u8]) -> Result<Option<usize>, Reject> {
    let mut line = 0;
    while let Some(length) = memchr::memchr2(b'\r', b'\n', &bytes[line..]) {
        match &bytes[line + length..] {
            [b'\r', b'\n', ..] => line += length + 2,
            [b'\r'] => return Ok(None),
            _ => return Err(Reject::LineEndingInvalid),
        }
        if length == 0 {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// The reason behind an error of `httparse`.
fn explain(error: httparse::Error, head: &[u8]) -> Reject {
    match error {
        httparse::Error::Version => explain_version(head),
        httparse::Error::HeaderName => Reject::FieldNameInvalid,
        httparse::Error::HeaderValue => Reject::FieldValueInvalid,
        httparse::Error::TooManyHeaders => Reject::TooManyFields,
        httparse::Error::NewLine => Reject::LineEndingInvalid,
        httparse::Error::Token | httparse::Error::Status => Reject::RequestLineInvalid,
    }
}

/// A character of a method or of a field's name. RFC 9110 §5.6.2
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A version that exists but is not ours (HTTP/2 and its preface, HTTP/3, a later HTTP/1) is 505, anything else 400.
/// RFC 9110 §15.6.6
fn explain_version(head: &[u8]) -> Reject {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some([b'2'..=b'9', ..] | [b'1', b'.', b'2'..=b'9']) => Reject::VersionUnsupported,
        _ => Reject::RequestLineInvalid,
    }
}

#[cfg(test)]
mod tests;
