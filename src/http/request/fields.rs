//! The header fields the daemon reads, and what the others say about the framing of the message.
//!
//! The one idea: a field that may stand once and stands twice is never resolved by taking the first or the last of
//! them, for somebody else would take the other. Where that decides who is asking or what the message is, the request
//! is refused; where it only refines the answer (ranges, dates), the field is as good as absent.
//! RFC 9110 §5.3 (order and repetition), §5.5 (values), §10.1; RFC 9112 §6, §9.3.

use super::Body;
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
    /// Whether a proxy left a trace: `Forwarded`, `X-Forwarded-…` or `X-Real-IP`. The peer is not the client then.
    pub is_forwarded: bool,
}

/// The lines of a list field, in order: together they are one list (RFC 9110 §5.3). Bytes, because an entity tag may
/// hold any above 127. At most four lines are kept, inline; nobody sends five.
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

    fn push(&mut self, name: &'static str, line: &'a [u8]) -> Result<(), Reject> {
        *self.lines.get_mut(self.count).ok_or(Reject::FieldRepeated { name })? = line;
        self.count += 1;
        Ok(())
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
    length: Option<u64>,
    has_encoding: bool,
    chunked_count: usize,
    has_other_encoding: bool,
    asks_to_close: bool,
    asks_to_keep: bool,
    expects_continue: bool,
}

/// Bytes of the longest name that is looked at; a longer one is none of ours.
const NAME_BYTES_MAX: usize = 32;

impl<'a> Seen<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), Reject> {
        let mut buffer = [0; NAME_BYTES_MAX];
        let Some(name_lower) = buffer.get_mut(..name.len()) else { return Ok(()) };
        name_lower.copy_from_slice(name.as_bytes());
        name_lower.make_ascii_lowercase();
        match &*name_lower {
            b"host" => self.host.take(value),
            b"range" => self.range.take(value),
            b"if-range" => self.if_range.take(value),
            b"if-match" => self.if_match.push("If-Match", value)?,
            b"if-none-match" => self.if_none_match.push("If-None-Match", value)?,
            b"if-modified-since" => self.if_modified_since.take(value),
            b"if-unmodified-since" => self.if_unmodified_since.take(value),
            b"authorization" => self.authorization.take(value),
            b"cookie" => self.cookie.take(value),
            b"content-type" => self.content_type.take(value),
            b"origin" => self.origin.take(value),
            b"user-agent" => self.user_agent.take(value),
            b"x-playback-session-id" => self.playback_session_id.take(value),
            b"forwarded" | b"x-real-ip" => self.is_forwarded = true,
            b"content-length" => self.take_length(value)?,
            b"transfer-encoding" => self.take_encoding(value),
            b"connection" => self.take_connection(value),
            b"expect" => self.take_expectation(value)?,
            other => self.is_forwarded |= other.starts_with(b"x-forwarded-"),
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

    fn take_encoding(&mut self, value: &[u8]) {
        self.has_encoding = true;
        for coding in members(value) {
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked_count += 1;
            } else {
                self.has_other_encoding = true;
            }
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in members(value) {
            self.asks_to_close |= option.eq_ignore_ascii_case(b"close");
            self.asks_to_keep |= option.eq_ignore_ascii_case(b"keep-alive");
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
        match (self.has_encoding, self.length) {
            (true, Some(_)) => Err(Reject::LengthWithEncoding),
            (true, None) if is_old => Err(Reject::EncodingInvalid),
            (true, None) if self.has_other_encoding => Err(Reject::EncodingUnknown),
            (true, None) if self.chunked_count == 1 => Ok(Body::Chunked),
            (true, None) => Err(Reject::EncodingInvalid),
            (false, Some(length)) => Ok(Body::Length(length)),
            (false, None) => Ok(Body::None),
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

/// The members of a list of tokens; empty ones are skipped. RFC 9110 §5.6.1
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}
