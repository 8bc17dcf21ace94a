//! The table `tests/vectors/conditional.txt`, and the tag itself.

use super::{ETag, Validators, Verdict, evaluate};
use crate::http::date;
use crate::http::request::{Parsed, parse};
use crate::http::vectors;

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/conditional.txt"));

/// Sun, 06 Nov 1994 08:49:37 GMT, the date of the examples of RFC 9110 §5.6.7.
const NOW: i64 = 784_111_777;

fn etag() -> ETag {
    ETag::new(104_857_600, 784_000_000_123_456_789, 0x00ab_cdef_0123_4567)
}

/// The head of the request of one row.
fn head(method: &str, fields: &str, validators: &Validators) -> Vec<u8> {
    let date = |seconds| date::format(seconds).to_string();
    let last_modified = validators.last_modified(NOW);
    let fields = vectors::conditional_fields(fields, &validators.etag.to_string(), last_modified, date);
    let mut head = format!("{method} /film.mp4 HTTP/1.1\r\nHost: a\r\n").into_bytes();
    head.extend_from_slice(&fields);
    head.extend_from_slice(if fields.is_empty() { b"\r\n" } else { b"\r\n\r\n" });
    head
}

#[test]
fn every_row_of_the_table_holds() {
    let rows = vectors::rows(TABLE, 6);
    assert!(rows.len() >= 40);
    for row in rows {
        let [rule, source, method, age, fields, expected] = row[..] else { unreachable!() };
        let age: i64 = age.parse().expect("an age is a number");
        let validators = Validators { etag: etag(), modified: NOW - age };
        let head = head(method, fields, &validators);
        let request = match parse(&head) {
            Ok(Parsed::Complete { request, .. }) => request,
            other => panic!("{rule}: {other:?}"),
        };
        let status = match evaluate(request.method, &request.fields, &validators, NOW) {
            Verdict::Proceed { range_applies: true } if request.fields.range.is_some() => "206",
            Verdict::Proceed { .. } => "200",
            Verdict::NotModified => "304",
            Verdict::PreconditionFailed => "412",
        };
        assert_eq!(status, expected, "{rule} ({source}): {method} {fields}");
    }
}

#[test]
fn tag_changes_with_each_thing_it_is_made_of() {
    let tags = [
        ETag::new(1, 2, 3),
        ETag::new(2, 2, 3),
        ETag::new(1, 3, 3),
        ETag::new(1, -2, 3),
        ETag::new(1, 2, 4),
        ETag::new(0x12, 0x3, 4),
        ETag::new(0x1, 0x23, 4),
    ];
    let mut written: Vec<String> = tags.iter().map(ETag::to_string).collect();
    written.sort_unstable();
    written.dedup();
    assert_eq!(written.len(), tags.len());
}

#[test]
fn longest_tag_is_a_strong_tag_that_matches_itself_inline() {
    let longest = ETag::new(u64::MAX, -1, u64::MAX);
    let written = longest.to_string();
    assert!(written.len() <= 72, "{written}");
    assert!(written.starts_with('"') && written.ends_with('"'));
    assert!(written[1..written.len() - 1].bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'));
    assert!(longest.is(written.as_bytes()));
    assert!(!longest.is(written.trim_matches('"').as_bytes()));
}

#[test]
fn last_modified_is_never_ahead_of_the_answer() {
    let validators = |modified| Validators { etag: etag(), modified };
    assert_eq!(validators(NOW + 60).last_modified(NOW), NOW);
    assert_eq!(validators(NOW - 60).last_modified(NOW), NOW - 60);
}
