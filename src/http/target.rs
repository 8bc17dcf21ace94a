//! What a request asks for: a path, decoded once, and a query, left as it came.
//!
//! The one idea: two readings of one path are how files escape, so a path that could be read twice is refused. What
//! comes out is UTF-8, starts with `/`, and has no `.` or `..` segment, no backslash, no control byte, and only the
//! slashes that the client wrote as slashes. A path that needs no decoding is borrowed.
//! RFC 9112 §3.2 (forms of a target), RFC 3986 §2.1 and §3.3; spec/HTTP.md, "Paths".

use std::borrow::Cow;
use std::net::Ipv6Addr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use smallvec::SmallVec;

use super::reject::Reject;
use super::request::Method;

/// A path and a query. Only the asterisk form (`OPTIONS *`) has a path that does not start with a slash: `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path, decoded once. A trailing slash is kept: it names another thing than the path without it.
    pub path: Cow<'a, str>,
    /// What follows the first `?`, not decoded.
    pub query: Option<&'a str>,
    /// Whether this is an absolute form with the scheme https.
    pub is_https: bool,
}

/// A target and the authority it came with, in absolute form.
pub(super) struct Located<'a> {
    pub(super) target: Target<'a>,
    pub(super) authority: Option<&'a str>,
}

impl Target<'_> {
    /// Whether this is the asterisk form: the server as a whole. RFC 9112 §3.2.4
    pub fn is_server(&self) -> bool {
        self.path == "*"
    }

    /// The segments of the path: none for `/`, and a last empty one for a path that ends with a slash, so that
    /// `/a/` does not match the route of `/a`.
    pub fn segments(&self) -> SmallVec<[&str; 8]> {
        let Some(path) = self.path.strip_prefix('/') else { return smallvec::smallvec![&*self.path] };
        let mut segments = SmallVec::new();
        let mut start = 0;
        for (at, _) in path.bytes().enumerate().filter(|(_, byte)| *byte == b'/') {
            segments.push(&path[start..at]);
            start = at + 1;
        }
        if !path.is_empty() {
            segments.push(&path[start..]);
        }
        segments
    }

    /// The value of the first pair of the query whose name is `name`, decoded as a form
    /// (`application/x-www-form-urlencoded`); a name without `=` has an empty value. Bytes that are not UTF-8 become
    /// U+FFFD.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query?.split('&').find_map(|pair| {
            let (pair_name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (!pair.is_empty() && decode_form(pair_name) == name).then(|| decode_form(value))
        })
    }
}

/// Reads the target of a request line.
///
/// # Errors
/// `Reject::TargetInvalid` for a form or a path that is not accepted.
pub(super) fn parse(method: Method, raw: &str) -> Result<Located<'_>, Reject> {
    if raw == "*" {
        let target = Target { path: Cow::Borrowed("*"), query: None, is_https: false };
        return match method {
            Method::Options => Ok(Located { target, authority: None }),
            _ => Err(invalid("* is for OPTIONS only")), // RFC 9112 §3.2.4
        };
    }
    if raw.starts_with('/') && is_plain_path(raw) {
        let target = Target { path: Cow::Borrowed(raw), query: None, is_https: false };
        return Ok(Located { target, authority: None });
    }
    if raw.contains('#') {
        return Err(invalid("a fragment (#) is not sent to a server; write it as %23"));
    }
    if raw.starts_with('/') {
        return Ok(Located { target: parse_path_and_query(raw, false)?, authority: None });
    }
    let Some((is_https, rest)) = split_scheme(raw) else {
        return Err(invalid("it must start with / or http://"));
    };
    let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_host_and_port(authority) {
        return Err(invalid("its authority must be host or host:port"));
    }
    Ok(Located { target: parse_path_and_query(path_and_query, is_https)?, authority: Some(authority) })
}

/// Whether this, which starts with a slash, is a path alone, with nothing in it to decode or to refuse: what most requests
/// have, seen in one pass. Anything else has to be looked at more closely.
fn is_plain_path(raw: &str) -> bool {
    let mut after_slash = false;
    for byte in raw.bytes() {
        let is_slash = byte == b'/';
        // A dot, or another slash, behind a slash may be a segment that is refused.
        if !(is_slash || PLAIN[usize::from(byte)]) || (after_slash && matches!(byte, b'/' | b'.')) {
            return false;
        }
        after_slash = is_slash;
    }
    true
}

/// The bytes of a name that mean themselves wherever they stand: `unreserved` of RFC 3986 §2.3.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    plain
};

/// Whether `text` is `host` or `host:port`, as both `Host` and an authority must be. RFC 9110 §7.2, RFC 3986 §3.2.2
pub(super) fn is_host_and_port(text: &str) -> bool {
    let (host_is_valid, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let host = text.bytes().take_while(|byte| *byte != b':').count();
            let (host, port) = text.split_at(host);
            (is_registered_name(host), port)
        }
    };
    host_is_valid && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Digits up to 65535; none is allowed by RFC 3986 §3.2.3.
fn is_port(text: &str) -> bool {
    text.is_empty() || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

/// `reg-name` with at least one character; an IPv4 address is one too. RFC 3986 §3.2.2
fn is_registered_name(text: &str) -> bool {
    let is_allowed = |byte: u8| PLAIN[usize::from(byte)] || b"!$&'()*+,;=%".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed) && has_whole_escapes(text.as_bytes())
}

/// Whether it is `https://` rather than `http://`, and what follows; a scheme is case-insensitive. RFC 3986 §3.1
fn split_scheme(raw: &str) -> Option<(bool, &str)> {
    [(false, "http://"), (true, "https://")].into_iter().find_map(|(is_https, scheme)| {
        let (start, rest) = raw.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some((is_https, rest))
    })
}

fn parse_path_and_query(raw: &str, is_https: bool) -> Result<Target<'_>, Reject> {
    let (path, query) = match raw.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (raw, None),
    };
    let path = if path.is_empty() { "/" } else { path }; // http://host is http://host/. RFC 9112 §3.2.1
    Ok(Target { path: decode_path(path)?, query, is_https })
}

/// Decodes a path that starts with `/`, once, and refuses one that somebody could decode into another.
fn decode_path(raw: &str) -> Result<Cow<'_, str>, Reject> {
    if !has_whole_escapes(raw.as_bytes()) {
        return Err(invalid("a % must be followed by two hexadecimal digits"));
    }
    if has_escaped_slash(raw.as_bytes()) {
        return Err(invalid("an encoded slash (%2F) is not a slash of the path")); // One segment or two?
    }
    let path = percent_decode(raw.as_bytes()).decode_utf8().map_err(|_| invalid("the path, decoded, must be UTF-8"))?;
    if path.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(invalid("control characters are not allowed in a path"));
    }
    if path.contains('\\') {
        return Err(invalid("a backslash is not allowed in a path"));
    }
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(invalid("a path must not have . or .. segments; resolve them first")),
            "" if segments.peek().is_some() => return Err(invalid("two slashes in a row are not allowed in a path")),
            _ => {}
        }
    }
    Ok(path)
}

/// Whether each `%` is followed by two hexadecimal digits. RFC 3986 §2.1
fn has_whole_escapes(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

fn has_escaped_slash(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|escape| escape.eq_ignore_ascii_case(b"%2f"))
}

fn decode_form(raw: &str) -> Cow<'_, str> {
    if !raw.contains('+') {
        return percent_decode(raw.as_bytes()).decode_utf8_lossy();
    }
    let spaced = raw.replace('+', " ");
    Cow::Owned(percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned())
}

fn invalid(why: &'static str) -> Reject {
    Reject::TargetInvalid { why }
}

/// What may stand in a path as it is (RFC 3986 §3.3, less what shells and playlists would stumble over).
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A path as it stands in a URL: what [`Target`] decodes to `path` again.
pub fn encode_path(path: &str) -> impl std::fmt::Display {
    utf8_percent_encode(path, IN_PATH)
}

#[cfg(test)]
mod tests;
