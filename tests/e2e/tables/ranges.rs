//! `range.txt` and `multipart.txt` over a socket, and each byte is the right one.

use std::path::Path;

use super::vectors;
use crate::support::client::{Client, Head};
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{Pattern, url_path};
use crate::support::multipart;
use crate::support::scratch;

const RANGES: &str = include_str!("../../vectors/range.txt");
const PARTS: &str = include_str!("../../vectors/multipart.txt");
/// Films of the table are made as real files; longer ones are sparse files, of which nothing is read but the end.
const FULL_FILM_BYTES_MAX: u64 = 32 * 1024 * 1024;

fn film_of(size: u64, extension: &str) -> String {
    format!("film of {size} bytes.{extension}")
}

/// Makes the film unless it is there; whether it is longer than this file system allows.
fn make(folder: &Path, size: u64, extension: &str) -> bool {
    let name = film_of(size, extension);
    let path = folder.join(&name);
    if path.exists() {
        return true;
    }
    if size <= FULL_FILM_BYTES_MAX {
        Pattern::of(&name).write(&path, size);
        return true;
    }
    std::fs::File::create(path).unwrap().set_len(size).is_ok()
}

/// Asks for ranges of a film; the body is left to the caller.
fn ask(daemon: &Daemon, client: &mut Client, film: &str, ranges: &str) -> Head {
    let bearer = daemon.bearer();
    client.ask("GET", &url_path(film), &[("Authorization", &bearer), ("Range", ranges)]);
    let head = client.head();
    assert_eq!(head.field("accept-ranges"), Some("bytes"), "{ranges} of {film}: {head:?}");
    head
}

/// Goal: every row of the range table holds on one kept connection.
#[test]
fn every_range_of_the_table_is_sent_so_over_a_socket() {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let rows = vectors::rows(RANGES, 5);
    let sizes = || rows.iter().map(|row| row[3].parse::<u64>().unwrap());
    let too_long: Vec<u64> = sizes().filter(|size| !make(folder.path(), *size, "mp4")).collect();
    let daemon = Home::new(folder.path()).start();
    let mut client = Client::connect(daemon.address);
    let mut tried = 0;
    for row in &rows {
        let (rule, value, size) = (row[0], vectors::text(row[2]), row[3].parse::<u64>().unwrap());
        if !too_long.contains(&size) {
            check(&daemon, &mut client, (rule, &value, size, row[4]));
            tried += 1;
        }
    }
    assert!(tried >= rows.len() - 3, "{tried} of {} rows; no files of {too_long:?} bytes here", rows.len());
    assert_eq!(daemon.ledger().sum("reelway_panics_total"), 0);
}

fn check(daemon: &Daemon, client: &mut Client, (rule, value, size, expected): (&str, &str, u64, &str)) {
    let film = film_of(size, "mp4");
    let is_full = size <= FULL_FILM_BYTES_MAX;
    let pattern = Pattern::of(&film);
    let head = ask(daemon, client, &film, value);
    let place = format!("{rule}: {value} of {size}: {head:?}");
    let (status, ranges) = expected.split_once(' ').unwrap_or((expected, ""));
    assert_eq!(head.status.to_string(), status, "{place}");
    let ranges: Vec<(u64, u64)> = ranges.split(',').filter_map(positions).collect();
    match ranges[..] {
        [] if status == "416" => {
            let content_range = format!("bytes */{size}");
            assert_eq!(head.field("content-range"), Some(content_range.as_str()), "{place}");
            client.body(head.length());
        }
        [] => {
            assert_eq!(head.length(), size, "{place}");
            if is_full {
                client.expect(pattern, 0, size);
            } else {
                *client = Client::connect(daemon.address);
            }
        }
        [(first, last)] => {
            let content_range = format!("bytes {first}-{last}/{size}");
            assert_eq!(head.field("content-range"), Some(content_range.as_str()), "{place}");
            assert_eq!(head.length(), last - first + 1, "{place}");
            if is_full {
                client.expect(pattern, first, last - first + 1);
            } else {
                *client = Client::connect(daemon.address);
            }
        }
        _ => {
            assert_eq!(head.field("content-range"), None, "{place}");
            let body = client.body(head.length());
            let pieces = multipart::pieces(head.field("content-type").unwrap_or_default(), &body);
            let sent: Vec<(u64, u64)> = pieces.iter().map(|piece| (piece.first, piece.last)).collect();
            assert_eq!(sent, ranges, "{place}");
            for piece in pieces {
                assert_eq!((piece.size, piece.content_type.as_str()), (size, "video/mp4"), "{place}");
                pattern.compare(piece.first, piece.bytes);
            }
        }
    }
}

/// `a-b` as numbers.
fn positions(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Goal: every row of the multipart table is what comes over the socket, byte for byte.
#[test]
fn every_multipart_of_the_table_is_sent_so_over_a_socket() {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let rows = vectors::rows(PARTS, 6);
    let of = |row: &[&str]| (row[3].parse::<u64>().unwrap(), if row[4] == "video/mp4" { "mp4" } else { "mkv" });
    for row in &rows {
        let (size, extension) = of(row);
        make(folder.path(), size, extension);
    }
    let daemon = Home::new(folder.path()).start();
    let mut client = Client::connect(daemon.address);
    for row in &rows {
        let (size, extension) = of(row);
        let film = film_of(size, extension);
        let head = ask(&daemon, &mut client, &film, &vectors::text(row[2]));
        let content_type = head.field("content-type").unwrap_or_default();
        let boundary =
            content_type.strip_prefix("multipart/byteranges; boundary=").unwrap_or_else(|| panic!("{head:?}"));
        let expected = body_of_the_table(row[5], boundary, &film);
        assert_eq!((head.status, head.length()), (206, expected.len() as u64), "{}", row[0]);
        assert!(client.body(head.length()) == expected, "{}: the bodies differ", row[0]);
    }
}

/// A body of the table with its boundary and with the bytes of the film.
fn body_of_the_table(cell: &str, boundary: &str, film: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = cell;
    while let Some((text, after)) = rest.split_once('[') {
        let (range, after) = after.split_once(']').unwrap();
        let (first, last) = positions(range).unwrap();
        let mut bytes = vec![0; usize::try_from(last - first + 1).unwrap()];
        Pattern::of(film).fill(first, &mut bytes);
        body.extend(vectors::bytes(&text.replace("$B", boundary)));
        body.extend(bytes);
        rest = after;
    }
    body.extend(vectors::bytes(&rest.replace("$B", boundary)));
    body
}
