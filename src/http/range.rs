//! Which bytes of a file a `Range` field selects. RFC 9110 §14; spec/HTTP.md, "Ranges".
//!
//! The one idea: a `Range` that is not understood is as good as none, so there is no error here, only a `Selection`.
//! Extents lie within the file and are never empty, save the whole of an empty file. The work is bounded by the length
//! of the field and by `RANGES_ASKED_MAX`, and nothing is allocated for what a player asks.

use std::fmt::{self, Display};

use smallvec::SmallVec;

use crate::limits::{RANGES_ASKED_MAX, RANGES_MAX};

/// What to send of a file of known size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives on the stack while a request is answered; a box would allocate"
)]
pub enum Selection {
    /// The whole file: 200.
    Whole,
    /// One extent: 206 with `Content-Range`.
    Part(Extent),
    /// Nothing of what was asked for exists: 416.
    Unsatisfiable,
    /// 2 to `RANGES_MAX` extents, that neither overlap nor touch, in the order they were asked for: 206
    /// multipart/byteranges.
    Parts(Extents),
}

/// Inline for as many as one answer may have; a field that asks for more, to be joined, takes memory of its own.
type Extents = SmallVec<[Extent; RANGES_MAX]>;

/// A run of bytes within a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Position of its first byte.
    pub offset: u64,
    /// Number of bytes. Never 0, except for the whole of an empty file.
    pub length: u64,
}

impl Extent {
    /// All of a file of `size` bytes.
    pub fn whole(size: u64) -> Extent {
        Extent { offset: 0, length: size }
    }

    /// The position after its last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// The value of `Content-Range` for this part of a file of `size` bytes. RFC 9110 §14.4
    pub fn content_range(&self, size: u64) -> impl Display + use<> {
        ContentRange { first: self.offset, last: self.end().saturating_sub(1), size }
    }
}

/// Selects from a file of `size` bytes what `range`, the value of its `Range` field, asks for.
pub fn select(range: Option<&str>, size: u64) -> Selection {
    let Some(set) = range.and_then(set_of_bytes) else { return Selection::Whole };
    // What players ask for, as a rule.
    if let Some(spec) = parse_spec(set) {
        return spec.within(size).map_or(Selection::Unsatisfiable, Selection::Part);
    }
    let Some(specs) = parse(set) else { return Selection::Whole };
    let satisfiable = specs.iter().filter_map(|spec| spec.within(size)).collect();
    let extents = coalesce(satisfiable);
    match extents.as_slice() {
        [] => Selection::Unsatisfiable,
        [one] => Selection::Part(*one),
        several if several.len() <= RANGES_MAX => Selection::Parts(extents),
        _ => Selection::Whole,
    }
}

/// One element of the set, before the size of the file is known. Numbers beyond 64 bits are `u64::MAX`: no file is as
/// long, so they behave as infinitely large.
#[derive(Clone, Copy)]
enum Spec {
    /// `first-last`, or `first-` with the last one infinitely large.
    Between { first: u64, last: u64 },
    /// `-length`.
    Suffix { length: u64 },
}

impl Spec {
    /// What there is of it in a file of `size` bytes. RFC 9110 §14.1.2
    fn within(self, size: u64) -> Option<Extent> {
        let (offset, end) = match self {
            Spec::Between { first, last } => (first, last.saturating_add(1).min(size)),
            Spec::Suffix { length } => (size.saturating_sub(length), size),
        };
        (offset < end).then(|| Extent { offset, length: end - offset })
    }
}

/// The set of a `Range` field in bytes; nothing for another unit, where the field is to be ignored (RFC 9110 §14.2).
fn set_of_bytes(field: &str) -> Option<&str> {
    const UNIT: &str = "bytes=";
    let (unit, set) = field.split_at_checked(UNIT.len())?;
    unit.eq_ignore_ascii_case(UNIT).then_some(set)
}

/// The elements of a set, or nothing where the field is to be ignored: wrong syntax, an empty set, or more than
/// `RANGES_ASKED_MAX` elements, which nobody sends who wants to see a film (RFC 9110 §14.2).
fn parse(set: &str) -> Option<SmallVec<[Spec; RANGES_MAX]>> {
    let mut specs = SmallVec::new();
    for element in set.split(',') {
        let element = element.trim_matches([' ', '\t']);
        if element.is_empty() {
            continue; // A recipient ignores empty elements of a list. RFC 9110 §5.6.1.2
        }
        if specs.len() == RANGES_ASKED_MAX {
            return None;
        }
        specs.push(parse_spec(element)?);
    }
    (!specs.is_empty()).then_some(specs)
}

/// `first-last`, `first-` or `-length`. RFC 9110 §14.1.1
fn parse_spec(element: &str) -> Option<Spec> {
    let dash = element.bytes().position(|byte| byte == b'-')?;
    let (first, last) = (&element[..dash], &element[dash + 1..]);
    if first.is_empty() {
        return Some(Spec::Suffix { length: parse_number(last)? });
    }
    let first = parse_number(first)?;
    let last = if last.is_empty() { u64::MAX } else { parse_number(last)? };
    (first <= last).then_some(Spec::Between { first, last })
}

/// Digits only, at least one; saturates.
fn parse_number(digits: &str) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// Joins extents that overlap or touch. Each result stands where the first of its parts was asked for, as RFC 9110
/// §15.3.7.2 recommends: a player asks for the index before the film.
fn coalesce(extents: Extents) -> Extents {
    let mut by_offset: SmallVec<[(usize, Extent); RANGES_MAX]> = extents.into_iter().enumerate().collect();
    by_offset.sort_unstable_by_key(|(place, extent)| (extent.offset, *place));
    let mut joined: SmallVec<[(usize, Extent); RANGES_MAX]> = SmallVec::new();
    for (place, extent) in by_offset {
        match joined.last_mut() {
            Some((earlier, before)) if extent.offset <= before.end() => {
                *earlier = place.min(*earlier);
                before.length = before.end().max(extent.end()) - before.offset;
            }
            _ => joined.push((place, extent)),
        }
    }
    joined.sort_unstable_by_key(|(place, _)| *place);
    joined.into_iter().map(|(_, extent)| extent).collect()
}

struct ContentRange {
    first: u64,
    last: u64,
    size: u64,
}

impl Display for ContentRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "bytes {}-{}/{}", self.first, self.last, self.size)
    }
}

#[cfg(test)]
mod tests;
