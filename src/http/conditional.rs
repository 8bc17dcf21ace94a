//! Whether to send what was asked for: the preconditions of a request, against the validators of a file.
//!
//! The one idea: `evaluate` is the precedence of RFC 9110 §13.2.2, step by step, and says nothing about how to answer.
//! A field that is not understood never makes a stale answer look fresh: an unreadable tag matches nothing, an
//! unreadable date is as good as none, and an unreadable `If-Range` takes the range with it.

use std::fmt::{self, Display, Write as _};

use smallvec::SmallVec;

use super::date;
use super::request::{Fields, Lines, Method};

/// What identifies the bytes of a file at this moment. From the descriptor that will be sent (spec/HTTP.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validators {
    /// The entity tag.
    pub etag: ETag,
    /// Time of the last modification, in whole seconds since 1970.
    pub modified: i64,
}

impl Validators {
    /// The second that `Last-Modified` names at `now_seconds`: never later than the answer itself, even if the clock
    /// of whoever wrote the file is ahead of ours. RFC 9110 §8.8.2.1
    pub fn last_modified(&self, now_seconds: i64) -> i64 {
        self.modified.min(now_seconds)
    }
}

/// A strong entity tag. Built from what is the same after a reboot, a remount and on a second node: no device or inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ETag {
    size: u64,
    modified_ns: i128,
    path_hash: u64,
}

impl ETag {
    /// The tag of a file of `size` bytes, last modified `modified_ns` nanoseconds after 1970, whose path below its root
    /// hashes to `path_hash`, by a hash without a random seed.
    pub fn new(size: u64, modified_ns: i128, path_hash: u64) -> ETag {
        ETag { size, modified_ns, path_hash }
    }

    /// Whether `quoted`, an opaque-tag with its quotes, is this tag.
    fn is(&self, quoted: &[u8]) -> bool {
        // Two 64-bit numbers and one of 128 bits in hexadecimal, two dashes, two quotes: 68 bytes at most.
        let mut own: SmallVec<[u8; 72]> = SmallVec::new();
        std::io::Write::write_fmt(&mut own, format_args!("{self}")).is_ok() && own.as_slice() == quoted
    }
}

/// As it stands in the field, with its quotes.
impl Display for ETag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_char('"')?;
        write!(formatter, "{:x}-{:x}-{:016x}", self.size, self.modified_ns, self.path_hash)?;
        formatter.write_char('"')
    }
}

/// What the preconditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answer the request.
    Proceed {
        /// Whether a `Range`, if there is one, is to be honoured.
        range_applies: bool,
    },
    /// 304: the client has it already.
    NotModified,
    /// 412: the file is not the one the client means.
    PreconditionFailed,
}

/// Evaluates the preconditions in `fields` for a file that exists. `now_seconds` since 1970. RFC 9110 §13.2.2
pub fn evaluate(method: Method, fields: &Fields<'_>, validators: &Validators, now_seconds: i64) -> Verdict {
    let reads = matches!(method, Method::Get | Method::Head);

    // Steps 1 and 2: is it the file the client means?
    if fields.if_match.is_present() {
        if !lists(&fields.if_match, validators.etag, Comparison::Strong) {
            return Verdict::PreconditionFailed;
        }
    } else if let Some(bound) = fields.if_unmodified_since.and_then(date::parse)
        && validators.last_modified(now_seconds) > bound
    {
        return Verdict::PreconditionFailed;
    }

    // Steps 3 and 4: does the client have it already?
    if fields.if_none_match.is_present() {
        if lists(&fields.if_none_match, validators.etag, Comparison::Weak) {
            return if reads { Verdict::NotModified } else { Verdict::PreconditionFailed };
        }
    } else if reads
        && let Some(bound) = fields.if_modified_since.and_then(date::parse)
        && validators.last_modified(now_seconds) <= bound
    {
        return Verdict::NotModified;
    }

    // Step 5. Range is defined for GET alone (RFC 9110 §14.2), and If-Range without it means nothing.
    let range_applies =
        method == Method::Get && fields.if_range.is_none_or(|field| is_current(field, validators, now_seconds));
    Verdict::Proceed { range_applies }
}

/// Whether `If-Range` names the file as it is now: by a strong tag, or by a date that equals `Last-Modified` and is old
/// enough that the file cannot have changed twice within it. RFC 9110 §13.1.5, §8.8.2.2
fn is_current(field: &str, validators: &Validators, now_seconds: i64) -> bool {
    if field.starts_with('"') || field.starts_with("W/") {
        return validators.etag.is(field.as_bytes());
    }
    let is_old_enough = now_seconds.saturating_sub(validators.modified) > 1;
    is_old_enough && date::parse(field) == Some(validators.modified)
}

/// RFC 9110 §8.8.3.2. Our own tags are strong, so only the client's side can be weak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A tag with `W/` never matches.
    Strong,
    /// `W/` is ignored.
    Weak,
}

/// Whether a list field is `*` or has `etag` among its members. RFC 9110 §13.1.1, §13.1.2
fn lists(lines: &Lines<'_>, etag: ETag, comparison: Comparison) -> bool {
    let mut values = lines.iter();
    if let (Some(b"*"), None) = (values.next(), values.next()) {
        return true;
    }
    lines.iter().any(|line| line_lists(line, etag, comparison))
}

/// Reads one line tag by tag. A comma may stand within the quotes, so it cannot be split first; what is not a tag ends
/// the line, for nobody can say where the next member begins.
fn line_lists(line: &[u8], etag: ETag, comparison: Comparison) -> bool {
    let mut rest = skip_separators(line);
    while !rest.is_empty() {
        let (is_weak, tag) = match rest.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        let Some(end) = quoted_length(tag) else { return false };
        let (quoted, after) = tag.split_at(end);
        if !matches!(after.first(), None | Some(b',' | b' ' | b'\t')) {
            return false;
        }
        if etag.is(quoted) && !(is_weak && comparison == Comparison::Strong) {
            return true;
        }
        rest = skip_separators(after);
    }
    false
}

/// Bytes of the opaque-tag at the start of `tag`, both quotes included.
fn quoted_length(tag: &[u8]) -> Option<usize> {
    let inside = tag.strip_prefix(b"\"")?;
    Some(inside.iter().position(|byte| *byte == b'"')? + 2)
}

fn skip_separators(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'));
    start.map_or(&[], |start| &text[start..])
}

#[cfg(test)]
mod tests;
