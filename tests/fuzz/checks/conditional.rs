//! Preconditions of any text, against RFC 9110 §13.2.2 written down a second time.

use super::Input;
use crate::http::conditional::{ETag, Validators, Verdict, evaluate};
use crate::http::date;
use crate::http::request::{Method, Parsed, parse};

/// Sun, 06 Nov 1994 08:49:37 GMT, the date of the examples of RFC 9110 §5.6.7.
const NOW: i64 = 784_111_777;

/// Input: the method, the age of the file (seconds, negative ones too), then lines of fields. In them a `$` stands for the
/// tag of the file with its quotes, and a `&` for its date.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let method = if input.byte() % 2 == 0 { "GET" } else { "HEAD" };
    let age = i64::from(input.byte() as i8);
    let validators = Validators { etag: ETag::new(10, 784_000_000_123_456_789, 7), modified: NOW - age };
    let tag = validators.etag.to_string();
    let last_modified = date::format(validators.last_modified(NOW)).to_string();
    let mut head = format!("{method} / HTTP/1.1\r\nHost: a\r\n").into_bytes();
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for line in input.0.split(|byte| *byte == b'\n').take(16) {
        const NAMES: [&str; 6] =
            ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"];
        let Some((first, value)) = line.split_first() else { continue };
        let name = NAMES[usize::from(*first) % NAMES.len()];
        let mut text = Vec::new();
        for byte in value {
            match byte {
                b'$' => text.extend_from_slice(tag.as_bytes()),
                b'&' => text.extend_from_slice(last_modified.as_bytes()),
                byte => text.push(*byte),
            }
        }
        head.extend_from_slice(format!("{name}: ").as_bytes());
        head.extend_from_slice(&text);
        head.extend_from_slice(b"\r\n");
        fields.push((name.as_bytes().to_vec(), text.trim_ascii().to_vec()));
    }
    head.extend_from_slice(b"\r\n");
    let Ok(Parsed::Complete { request, .. }) = parse(&head) else { return };
    let verdict = evaluate(request.method, &request.fields, &validators, NOW);
    let ours = match verdict {
        Verdict::PreconditionFailed => 412,
        Verdict::NotModified => 304,
        Verdict::Proceed { range_applies: true } if request.fields.range.is_some() => 206,
        Verdict::Proceed { .. } => 200,
    };
    assert_eq!(ours, model(request.method, &fields, &tag, &validators), "{:?}", String::from_utf8_lossy(&head));
}

/// The status by the steps of the section, with fields that were split by hand.
fn model(method: Method, fields: &[(Vec<u8>, Vec<u8>)], tag: &str, validators: &Validators) -> u16 {
    let all = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(field, _)| field == name.as_bytes()).map(|(_, value)| value.as_slice()).collect()
    };
    // A field that may stand once is as good as absent when it stands twice or is no text.
    let one = |name: &str| match all(name)[..] {
        [value] => std::str::from_utf8(value).ok(),
        _ => None,
    };
    let modified = validators.last_modified(NOW);
    let (if_match, if_none_match) = (all("If-Match"), all("If-None-Match"));
    if !if_match.is_empty() {
        if !matches(&if_match, tag, false) {
            return 412;
        }
    } else if one("If-Unmodified-Since").and_then(date::parse).is_some_and(|bound| modified > bound) {
        return 412;
    }
    if !if_none_match.is_empty() {
        if matches(&if_none_match, tag, true) {
            return 304;
        }
    } else if one("If-Modified-Since").and_then(date::parse).is_some_and(|bound| modified <= bound) {
        return 304;
    }
    if method != Method::Get || one("Range").is_none() {
        return 200;
    }
    if all("If-Range").is_empty() {
        return 206;
    }
    let Some(validator) = one("If-Range") else { return 200 };
    let is_tag = validator.starts_with('"') || validator.starts_with("W/");
    let is_date = date::parse(validator) == Some(validators.modified) && NOW - validators.modified > 1;
    if (is_tag && validator == tag) || (!is_tag && is_date) { 206 } else { 200 }
}

/// Whether a list of tags has ours: a `*` alone, or a member. A line that goes wrong ends there, and a fifth line is not
/// looked at.
fn matches(lines: &[&[u8]], tag: &str, is_weak_allowed: bool) -> bool {
    let lines = &lines[..lines.len().min(4)];
    if lines == [b"*"] {
        return true;
    }
    lines.iter().any(|line| {
        let mut rest = String::from_utf8_lossy(line).into_owned();
        loop {
            rest = rest.trim_start_matches([',', ' ', '\t']).to_owned();
            let is_weak = rest.starts_with("W/");
            let opaque = if is_weak { &rest[2..] } else { rest.as_str() };
            if !opaque.starts_with('"') {
                return false;
            }
            let Some(end) = opaque[1..].find('"') else { return false };
            let (member, after) = opaque.split_at(end + 2);
            if !(after.is_empty() || after.starts_with([',', ' ', '\t'])) {
                return false;
            }
            if member == tag && (is_weak_allowed || !is_weak) {
                return true;
            }
            rest = after.to_owned();
        }
    })
}
