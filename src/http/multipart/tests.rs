//! The table `tests/vectors/multipart.txt`, byte for byte.

use super::{Boundary, response};
use crate::http::date;
use crate::http::range::{Selection, select};
use crate::http::request::Method;
use crate::http::response::{Envelope, Finished, Part};
use crate::http::vectors;

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/multipart.txt"));
const BOUNDARY: Boundary = Boundary(0x0123_4567_89ab_cdef);

fn finished(range: &str, size: u64, content_type: &str) -> Finished<&'static str> {
    let Selection::Parts(extents) = select(Some(range), size) else { panic!("{range} of {size} is several parts") };
    let envelope = Envelope { method: Method::Get, minor_version: 1, keep_alive: true, date: date::format(0) };
    response(&"film", content_type, size, &extents, BOUNDARY).finish(envelope, Vec::new())
}

/// The body as the table writes it: `$B` is the boundary, `[a-b]` the bytes a to b of the film.
fn written(finished: &Finished<&'static str>) -> String {
    let mut text = String::new();
    for part in &finished.parts {
        match part {
            Part::Bytes(bytes) => text.push_str(std::str::from_utf8(bytes).expect("delimiters are ASCII")),
            Part::Extent { file, extent } => {
                assert_eq!(*file, "film");
                text.push_str(&format!("[{}-{}]", extent.offset, extent.end() - 1));
            }
        }
    }
    text.replace(&BOUNDARY.to_string(), "$B").replace("\r\n", "¶")
}

#[test]
fn every_row_of_the_table_holds() {
    let rows = vectors::rows(TABLE, 6);
    assert!(rows.len() >= 5);
    for row in rows {
        let [rule, source, range, size, content_type, body] = row[..] else { unreachable!() };
        let finished = finished(&vectors::text(range), size.parse().expect("a size is a number"), content_type);
        assert_eq!(written(&finished), body, "{rule} ({source})");
    }
}

#[test]
fn the_head_announces_the_parts_and_no_range_of_its_own() {
    let finished = finished("bytes=0-0,2-2", 10, "video/mp4");
    let head = str::from_utf8(&finished.head).expect("a head is ASCII");
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    assert!(head.contains(&format!("\r\nContent-Type: multipart/byteranges; boundary={BOUNDARY}\r\n")), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", finished.length)), "{head}");
    assert!(!head.contains("Content-Range"), "{head}");
}

#[test]
fn boundaries_are_of_one_length_and_differ_in_each_bit() {
    let texts: Vec<String> = (0..128).map(|bit| Boundary::new(1 << bit).to_string()).collect();
    assert!(texts.iter().all(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())));
    let distinct: std::collections::BTreeSet<&String> = texts.iter().collect();
    assert_eq!(distinct.len(), 128);
}
