//! The header fields the daemon reads, and what the others say about the framing of the message.
//!
//! The one idea: a field that may stand once and stands twice is never resolved by taking the first or the last of
//! them, for somebody else would take the other. Where that decides who is asking or what the message is, the request
//! is refused; where it only refines the answer (ranges, dates), the field is as good as absent.
//! RFC 9110 §5.3 (order and repetition), §5.5 (values), §10.1; RFC 9112 §6, §9.3.

use super::Body;
use crate::http::forwarded::{Form, Trail};
use crate::http::reject::Reject;
use crate::http::target::is_host_and_port;

/// The fields the daemon reads, as they were written, without the white space around them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `host` or `host:port`; the authority of the target, where that has one. Missing only in HTTP/1.0.
    pub host: Option<&'a str>,
    /// `Range`, unless it is repeated or what `If-Range` says cannot be known.
    pub range: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// `If-Match`.
    pub if_match: Lines<'a>,
    /// `If-None-Match`.
    pub if_none_match: Lines<'a>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a str>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a str>,
    /// `Authorization`. Never repeated: that is refused.
    pub authorization: Option<&'a str>,
    /// `Cookie`. Never repeated: that is refused.
    pub cookie: Option<&'a str>,
    /// `Content-Type`. Never repeated: that is refused.
    pub content_type: Option<&'a str>,
    /// `Origin`. Never repeated: that is refused.
    pub origin: Option<&'a str>,
    /// `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// `X-Playback-Session-Id`, which Apple's players send with every request of one playback.
    pub playback_session_id: Option<&'a str>,
    /// Whether a proxy left a trace: `Via`, `Forwarded`, `X-Forwarded-…` or `X-Real-IP`, or an order to drop one of these
    /// (RFC 9110 §7.6.1). The peer is not the client then.
    pub is_forwarded: bool,
    /// Whom it says that it was handed on for.
    pub trail: Trail<'a>,
    /// Whether the body is compressed or otherwise coded: `Content-Encoding` with anything but `identity`.
    pub is_body_coded: bool,
}

/// The lines of a list field, in order: together they are one list (RFC 9110 §5.3). Bytes, because an entity tag may
/// hold any above 127. Four lines are kept, inline, and nobody sends five: a tag on a fifth is not found, which at worst
/// sends a film that the client has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines<'a> {
    lines: [&'a [u8]; 4],
    count: usize,
}

impl<'a> Lines<'a> {
    /// Whether the field was sent at all, even if it was empty.
    pub fn is_present(&self) -> bool {
        self.count > 0
    }

    /// The lines, in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.lines.into_iter().take(self.count)
    }

    fn push(&mut self, line: &'a [u8]) {
        if let Some(place) = self.lines.get_mut(self.count) {
            *place = line;
            self.count += 1;
        }
    }
}

/// What the fields say about the message itself.
pub(super) struct Framing {
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) body: Body,
}

/// Reads the fields of a head, as pairs of name and value, in order.
pub(super) fn read<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a [u8])>,
    minor_version: u8,
) -> Result<(Fields<'a>, Framing), Reject> {
    let mut seen = Seen::default();
    for (name, value) in pairs {
        seen.take(name, value)?;
    }
    let framing = seen.framing(minor_version)?;
    Ok((seen.fields(minor_version)?, framing))
}

/// What has been seen of a field that may stand once.
#[derive(Clone, Copy, Default)]
enum Single<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    Repeated,
}

impl<'a> Single<'a> {
    fn take(&mut self, value: &'a [u8]) {
        *self = match self {
            Single::Absent => Single::Once(value),
            Single::Once(_) | Single::Repeated => Single::Repeated,
        };
    }

    fn is_present(self) -> bool {
        !matches!(self, Single::Absent)
    }

    /// Its text; nothing if it is repeated or not text.
    fn text(self) -> Option<&'a str> {
        match self {
            Single::Once(value) => str::from_utf8(value).ok(),
            Single::Absent | Single::Repeated => None,
        }
    }

    /// Its text; nothing if it is not text; refused if it is repeated.
    fn text_once(self, name: &'static str) -> Result<Option<&'a str>, Reject> {
        if let Single::Repeated = self { Err(Reject::FieldRepeated { name }) } else { Ok(self.text()) }
    }
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Encoding {
    #[default]
    Absent,
    /// One field, and its value is `chunked`.
    Chunked,
    /// Not so that everybody reads it: several fields, empty members of the list, or something after `chunked`.
    Malformed,
    /// Another coding, perhaps before `chunked`.
    Other,
}

/// The fields of a head while it is being read.
#[derive(Default)]
struct Seen<'a> {
    host: Single<'a>,
    range: Single<'a>,
    if_range: Single<'a>,
    if_match: Lines<'a>,
    if_none_match: Lines<'a>,
    if_modified_since: Single<'a>,
    if_unmodified_since: Single<'a>,
    authorization: Single<'a>,
    cookie: Single<'a>,
    content_type: Single<'a>,
    origin: Single<'a>,
    user_agent: Single<'a>,
    playback_session_id: Single<'a>,
    is_forwarded: bool,
    trail: Trail<'a>,
    length: Option<u64>,
    encoding: Encoding,
    is_body_coded: bool,
    asks_to_close: bool,
    asks_to_keep: bool,
    expects_continue: bool,
}

/// Bytes of the longest name that is looked at; a longer one is none of ours.
const NAME_BYTES_MAX: usize = 32;

impl<'a> Seen<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), Reject> {
        self.is_forwarded |= is_trace_of_a_proxy(name.as_bytes());
        let mut buffer = [0; NAME_BYTES_MAX];
        let Some(name_lower) = buffer.get_mut(..name.len()) else { return Ok(()) };
        name_lower.copy_from_slice(name.as_bytes());
        name_lower.make_ascii_lowercase();
        match &*name_lower {
            b"host" => self.host.take(value),
            b"range" => self.range.take(value),
            b"if-range" => self.if_range.take(value),
            b"if-match" => self.if_match.push(value),
            b"if-none-match" => self.if_none_match.push(value),
            b"if-modified-since" => self.if_modified_since.take(value),
            b"if-unmodified-since" => self.if_unmodified_since.take(value),
            b"authorization" => self.authorization.take(value),
            b"cookie" => self.cookie.take(value),
            b"content-type" => self.content_type.take(value),
            b"origin" => self.origin.take(value),
            b"user-agent" => self.user_agent.take(value),
            b"x-playback-session-id" => self.playback_session_id.take(value),
            b"forwarded" => self.trail.take(Form::Pairs, value),
            b"x-forwarded-for" => self.trail.take(Form::Address, value),
            b"content-length" => self.take_length(value)?,
            b"content-encoding" => {
                self.is_body_coded |= members(value).any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
            }
            b"transfer-encoding" => self.take_encoding(value),
            b"connection" => self.take_connection(value),
            b"expect" => self.take_expectation(value)?,
            _ => {}
        }
        Ok(())
    }

    /// The same length twice is one length; a list of them is not digits. RFC 9112 §6.3
    fn take_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        let length = parse_length(value)?;
        match self.length.replace(length) {
            Some(earlier) if earlier != length => Err(Reject::LengthsDiffer),
            _ => Ok(()),
        }
    }

    /// A list may have empty members, and may go on in another field; but somebody before us may compare the whole value,
    /// or look at the last field only, and then see no chunks. RFC 9112 §6.1, §6.3, §11.2
    fn take_encoding(&mut self, value: &[u8]) {
        let is_plain = self.encoding == Encoding::Absent && value.eq_ignore_ascii_case(b"chunked");
        for coding in members(value) {
            self.encoding = match (self.encoding, coding.eq_ignore_ascii_case(b"chunked")) {
                (Encoding::Absent, true) => Encoding::Chunked,
                (Encoding::Absent | Encoding::Other, _) => Encoding::Other,
                // Chunked is not the last coding, or stands twice: nobody knows where the body ends.
                (Encoding::Chunked | Encoding::Malformed, _) => Encoding::Malformed,
            };
        }
        if matches!(self.encoding, Encoding::Absent | Encoding::Chunked) && !is_plain {
            self.encoding = Encoding::Malformed;
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in members(value) {
            self.asks_to_close |= option.eq_ignore_ascii_case(b"close");
            self.asks_to_keep |= option.eq_ignore_ascii_case(b"keep-alive");
            self.is_forwarded |= is_trace_of_a_proxy(option);
        }
    }

    fn take_expectation(&mut self, value: &[u8]) -> Result<(), Reject> {
        for expectation in members(value) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(Reject::ExpectationFailed);
            }
            self.expects_continue = true;
        }
        Ok(())
    }

    fn framing(&self, minor_version: u8) -> Result<Framing, Reject> {
        let is_old = minor_version == 0;
        let keep_alive = !self.asks_to_close && (!is_old || self.asks_to_keep);
        // An HTTP/1.0 client does not know what 100 means. RFC 9110 §10.1.1
        let expects_continue = self.expects_continue && !is_old;
        Ok(Framing { keep_alive, expects_continue, body: self.body(is_old)? })
    }

    /// RFC 9112 §6.1 and §6.3. Where `Transfer-Encoding` is in doubt there is no safe reading.
    fn body(&self, is_old: bool) -> Result<Body, Reject> {
        match (self.encoding, self.length) {
            (Encoding::Absent, None) => Ok(Body::None),
            (Encoding::Absent, Some(length)) => Ok(Body::Length(length)),
            (Encoding::Chunked | Encoding::Malformed | Encoding::Other, Some(_)) => Err(Reject::LengthWithEncoding),
            (Encoding::Chunked | Encoding::Malformed | Encoding::Other, None) if is_old => Err(Reject::EncodingInvalid),
            (Encoding::Other, None) => Err(Reject::EncodingUnknown),
            (Encoding::Malformed, None) => Err(Reject::EncodingInvalid),
            (Encoding::Chunked, None) => Ok(Body::Chunked),
        }
    }

    fn fields(&self, minor_version: u8) -> Result<Fields<'a>, Reject> {
        let if_range = self.if_range.text();
        // A condition that cannot be read is not met: without its range, the whole file is the safe answer.
        let range = self.range.text().filter(|_| if_range.is_some() || !self.if_range.is_present());
        Ok(Fields {
            host: self.valid_host(minor_version)?,
            range,
            if_range,
            if_match: self.if_match,
            if_none_match: self.if_none_match,
            if_modified_since: self.if_modified_since.text(),
            if_unmodified_since: self.if_unmodified_since.text(),
            authorization: self.authorization.text_once("Authorization")?,
            cookie: self.cookie.text_once("Cookie")?,
            content_type: self.content_type.text_once("Content-Type")?,
            origin: self.origin.text_once("Origin")?,
            user_agent: self.user_agent.text(),
            playback_session_id: self.playback_session_id.text(),
            is_forwarded: self.is_forwarded,
            trail: self.trail,
            is_body_coded: self.is_body_coded,
        })
    }

    /// RFC 9112 §3.2
    fn valid_host(&self, minor_version: u8) -> Result<Option<&'a str>, Reject> {
        match self.host {
            Single::Absent if minor_version == 0 => Ok(None),
            Single::Absent => Err(Reject::HostMissing),
            Single::Repeated => Err(Reject::FieldRepeated { name: "Host" }),
            Single::Once(value) => {
                let host = str::from_utf8(value).ok().filter(|host| is_host_and_port(host));
                host.map(Some).ok_or(Reject::HostInvalid)
            }
        }
    }
}

/// Digits only. A number beyond 64 bits is a length like any other, only one that nobody will receive.
/// RFC 9110 §8.6
fn parse_length(value: &[u8]) -> Result<u64, Reject> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Reject::LengthInvalid);
    }
    let add = |length: u64, digit: &u8| length.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    value.iter().try_fold(0, add).ok_or(Reject::BodyTooLarge)
}

/// Whether only a proxy sends a field of this name.
fn is_trace_of_a_proxy(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    let names: [&[u8]; 3] = [b"forwarded", b"x-real-ip", b"via"];
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
        || name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// The members of a list of tokens; empty ones are skipped. RFC 9110 §5.6.1
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}
