//! The table `tests/vectors/target.txt`, and the readings of a target that is accepted.

use proptest::prelude::*;

use super::{Target, encode_path, is_host_and_port, parse};
use crate::http::models::target::read;
use crate::http::reject::Reject;
use crate::http::request::Method;
use crate::http::vectors;

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/target.txt"));

fn text(cell: &str) -> String {
    String::from_utf8(vectors::bytes(cell)).expect("a cell is text")
}

fn target(raw: &str) -> Target<'_> {
    parse(Method::Get, raw).unwrap_or_else(|reject| panic!("{raw}: {reject}")).target
}

#[test]
fn every_row_of_the_table_holds() {
    let rows = vectors::rows(TABLE, 5);
    assert!(rows.len() >= 50);
    for row in rows {
        let [rule, source, raw, path, query] = row[..] else { unreachable!() };
        let raw = text(raw);
        match parse(Method::Get, &raw) {
            Err(reject) => {
                assert!(matches!(reject, Reject::TargetInvalid { .. }), "{rule}: {reject:?}");
                assert_eq!(path, "400", "{rule} ({source}): {raw} is refused: {reject}");
            }
            Ok(located) => {
                assert_eq!(located.target.path, text(path), "{rule} ({source}): {raw}");
                assert_eq!(located.target.query, (query != "-").then_some(query), "{rule} ({source}): {raw}");
            }
        }
    }
}

#[test]
fn only_what_is_encoded_is_copied() {
    use std::borrow::Cow;
    assert!(matches!(target("/stream/video/film.mp4?a=%20").path, Cow::Borrowed(_)));
    assert!(matches!(target("/a%20b").path, Cow::Owned(_)));
}

#[test]
fn segments_keep_a_trailing_slash_apart() {
    assert!(target("/").segments().is_empty());
    assert_eq!(target("/health").segments().as_slice(), ["health"]);
    assert_eq!(target("/health/").segments().as_slice(), ["health", ""]);
    assert_eq!(target("/a/b%20c/d").segments().as_slice(), ["a", "b c", "d"]);
    let asterisk = parse(Method::Options, "*").expect("* is for OPTIONS").target;
    assert_eq!(asterisk.segments().as_slice(), ["*"]);
}

#[test]
fn query_values_are_those_of_a_form() {
    let target = target("/a?token=x.y.z&q=E%C3%A9+b%2Bc&flag&empty=&q=second&%6eame=v&=nameless&&bad=%zz&latin=%E9");
    let cases = [
        ("token", Some("x.y.z")),
        ("q", Some("Eé b+c")),
        ("flag", Some("")),
        ("empty", Some("")),
        ("name", Some("v")),
        ("", Some("nameless")),
        ("bad", Some("%zz")),
        ("latin", Some("\u{fffd}")),
        ("Token", None),
        ("oken", None),
        ("missing", None),
    ];
    for (name, value) in cases {
        assert_eq!(target.query_value(name).as_deref(), value, "{name}");
    }
    assert_eq!(super::Target { query: None, ..target }.query_value("token"), None);
}

#[test]
fn authority_comes_with_the_absolute_form_only() {
    let authority = |raw| parse(Method::Get, raw).expect("it is accepted").authority;
    assert_eq!(authority("http://b:80/x"), Some("b:80"));
    assert_eq!(authority("hTTps://[::1]"), Some("[::1]"));
    assert_eq!(authority("/x"), None);
}

#[test]
fn host_is_a_name_or_an_address_and_perhaps_a_port() {
    for host in ["a", "a.b", "a:1", "a:", "1.2.3.4:65535", "[::1]", "[2001:db8::1]:80", "a_b-c", "a%20b"] {
        assert!(is_host_and_port(host), "{host}");
    }
    for host in ["", ":1", "a:65536", "a:-1", "a:+1", "a:1:2", "[::1", "::1", "[::1]x", "[]", "[v1.a]", "[::1%25eth0]"]
    {
        assert!(!is_host_and_port(host), "{host}");
    }
    for host in ["a b", "a/b", "a@b", "a?b", "a#b", "a\\b", "é", "a%2", "a\0", "a\"b"] {
        assert!(!is_host_and_port(host), "{host}");
    }
}

/// Targets of the pieces that decide, and others.
fn raw_target() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "/", "/", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", "%00", "%25", "%C3%A9", "%c0%ae", "%", "%zz", "?", "#", "a",
            ".mp4", "//", "%7f", "%20", "+", ";", "é", "%e9", "%F0%9F%8E%AC",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn a_second_reading_agrees(raw in raw_target()) {
        let ours = parse(Method::Get, &raw).ok().map(|located| {
            (located.target.path.into_owned(), located.target.query.map(str::to_owned))
        });
        prop_assert_eq!(ours, read(&raw));
    }

    #[test]
    fn a_path_that_is_printed_is_read_again(segments in prop::collection::vec("[^/\\\\\\p{Cc}]{1,12}", 1..6)) {
        let path = format!("/{}", segments.join("/"));
        let is_resolved = !segments.iter().any(|segment| segment == "." || segment == "..");
        let printed = encode_path(&path).to_string();
        match parse(Method::Get, &printed) {
            Ok(located) => prop_assert_eq!(&*located.target.path, path.as_str()),
            Err(reject) => prop_assert!(!is_resolved, "{printed}: {reject}"),
        }
    }
}
