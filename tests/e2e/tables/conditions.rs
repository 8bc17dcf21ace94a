//! `conditional.txt` over a socket: a film of each age, and each request in the same second as its age.

use std::fs::File;
use std::time::{Duration, SystemTime};

use reelway::http::date;

use super::vectors;
use crate::support::client::{Answer, Client};
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{Pattern, url_path};
use crate::support::scratch;

const TABLE: &str = include_str!("../../vectors/conditional.txt");
const FILM: &str = "film.mp4";
const FILM_BYTES: u64 = 1000;

/// Goal: every row, with the tag and the date that the daemon itself gave.
#[test]
fn every_condition_of_the_table_decides_over_a_socket() {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let path = folder.path().join(FILM);
    Pattern::of(FILM).write(&path, FILM_BYTES);
    let film = File::options().write(true).open(&path).unwrap();
    let daemon = Home::new(folder.path()).start();
    let mut client = Client::connect(daemon.address);
    let rows = vectors::rows(TABLE, 6);
    for row in &rows {
        let [rule, _, method, age, fields, expected] = row[..] else { unreachable!() };
        let age: i64 = age.parse().unwrap();
        // The clock may strike between the film's age and the answer; then the row is tried again.
        let answer = (0..10).find_map(|_| ask(&daemon, &mut client, &film, (method, age, fields)));
        let answer = answer.unwrap_or_else(|| panic!("{rule}: no second is long enough"));
        // Films are read only; the grammar also knows what a PUT would mean.
        let expected = if method == "PUT" { "405" } else { expected };
        assert_eq!(answer.head.status.to_string(), expected, "{rule}: {:?}", answer.head);
        match answer.head.status {
            206 => {
                assert!(
                    answer.head.field("content-range").is_some_and(|range| range.starts_with("bytes 0-0/")),
                    "{rule}"
                );
                Pattern::of(FILM).compare(0, &answer.body);
            }
            200 if method == "GET" => {
                assert_eq!(answer.body.len() as u64, FILM_BYTES, "{rule}");
                Pattern::of(FILM).compare(0, &answer.body);
            }
            _ if method == "HEAD" => assert!(answer.body.is_empty(), "{rule}"),
            304 => assert!(answer.body.is_empty(), "{rule}"),
            status => answer.is_problem(status),
        }
    }
    assert!(rows.len() > 70);
}

/// Makes the film so old and asks; nothing if the clock struck in between.
fn ask(daemon: &Daemon, client: &mut Client, film: &File, row: (&str, i64, &str)) -> Option<Answer> {
    let (method, age, fields) = row;
    let second = now();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(second - age).unwrap());
    film.set_modified(modified).unwrap();
    let bearer = daemon.bearer();
    let head = client.fetch("HEAD", &url_path(FILM), &[("Authorization", &bearer)]).head;
    let etag = head.field("etag").unwrap().to_owned();
    let last_modified = date::parse(head.field("last-modified").unwrap()).unwrap();
    let fields = vectors::conditional_fields(fields, &etag, last_modified, |seconds| date::format(seconds).to_string());
    let head = format!("{method} {} HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\n", url_path(FILM));
    let end: &[u8] = if fields.is_empty() { b"\r\n" } else { b"\r\n\r\n" };
    client.send([head.as_bytes(), &fields, end].concat());
    let answer = client.answer(method);
    (now() == second).then_some(answer)
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
