//! Several ranges of a small file as a whole answer, read by a second reader: the parts are those that were asked for.

use super::Input;
use crate::http::date;
use crate::http::multipart::{Boundary, response};
use crate::http::range::{Extent, Selection, select};
use crate::http::request::Method;
use crate::http::response::{Envelope, Part};
use crate::multipart::pieces;

/// Input: the size of a file, a boundary, the field, and after a 0 the beginning of the file's bytes.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let size = u64::from(input.short() % 4096);
    let random = u128::from(input.short()) << 64;
    let Ok(field) = std::str::from_utf8(input.until_zero()) else { return };
    let Selection::Parts(extents) = select(Some(field), size) else { return };
    // The file begins with what the fuzzer wants in it, such as the delimiter of another answer.
    let mut file: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let given = input.0.len().min(file.len());
    file[..given].copy_from_slice(&input.0[..given]);
    let boundary = Boundary::new(random);
    if file.windows(32).any(|window| window == boundary.to_string().as_bytes()) {
        return; // 128 random bits do not meet by chance, only in a fuzzer.
    }

    let answer = response(&(), "video/mp4", size, &extents, boundary);
    let envelope = Envelope { method: Method::Get, minor_version: 1, keep_alive: true, date: date::format(0) };
    let announced = answer.length();
    let finished = answer.finish(envelope, Vec::new());
    let mut body = Vec::new();
    for part in &finished.parts {
        match part {
            Part::Bytes(bytes) => body.extend_from_slice(bytes),
            Part::Extent { extent, .. } => body.extend_from_slice(bytes_of(&file, *extent)),
        }
    }
    assert_eq!((announced, finished.length), (body.len() as u64, body.len() as u64));
    let head = std::str::from_utf8(&finished.head).expect("a head is ASCII");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    assert!(!head.contains("Content-Range"), "RFC 9110 §15.3.7.2");
    let content_type =
        head.split("\r\n").find_map(|line| line.strip_prefix("Content-Type: ")).expect("there is a type");
    let parts = pieces(content_type, &body);
    assert_eq!(parts.len(), extents.len());
    for (part, extent) in parts.iter().zip(&extents) {
        assert_eq!((part.content_type.as_str(), part.size), ("video/mp4", size));
        assert_eq!((part.first, part.last), (extent.offset, extent.end() - 1));
        assert_eq!(part.bytes, bytes_of(&file, *extent));
    }
}

fn bytes_of(file: &[u8], extent: Extent) -> &[u8] {
    let at = |position: u64| usize::try_from(position).expect("the file is small");
    &file[at(extent.offset)..at(extent.end())]
}
