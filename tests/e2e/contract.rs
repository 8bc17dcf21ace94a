//! The wire contract of spec/HTTP.md over real sockets: ranges, validators, refusals, limits, keep-alive, health.

use std::fs;
use std::path::Path;

use crate::support::client::{self, Client, request};
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, Pattern, url_path};
use crate::support::scratch;

fn start() -> Daemon {
    Home::new(&films::folder()).start()
}

/// One row of tests/vectors/range.txt: `rule | RFC | Range value | size | expected`.
struct RangeRow {
    rule: String,
    value: String,
    size: u64,
    expected: Expected,
}

/// What a row expects of a server that sends single ranges.
enum Expected {
    Whole,
    Part { first: u64, last: u64 },
    Unsatisfiable,
}

/// Films of the table are made as real files; longer ones are the unit tests' affair.
const TABLE_FILM_BYTES_MAX: u64 = 32 * 1024 * 1024;

fn range_rows() -> Vec<RangeRow> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/range.txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.filter_map(range_row).collect()
}

/// A row, or none if it is about several parts or a size that is no file of a test.
fn range_row(line: &str) -> Option<RangeRow> {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [rule, _, value, size, expected] = columns[..] else {
        panic!("five columns: {line}");
    };
    let size = size.parse().ok().filter(|size| *size <= TABLE_FILM_BYTES_MAX)?;
    let (status, range) = expected.split_once(' ').unwrap_or((expected, ""));
    let expected = match status {
        "200" => Expected::Whole,
        "416" => Expected::Unsatisfiable,
        "206" => {
            let (first, last) = range.trim().split_once('-')?;
            Expected::Part { first: first.parse().ok()?, last: last.parse().ok()? }
        }
        _ => panic!("expected is 200, 206 or 416: {line}"),
    };
    Some(RangeRow { rule: rule.to_owned(), value: expanded(value), size, expected })
}

/// What a value of the table stands for: `{TEXT*N}` is TEXT N times, `\t` a tab, `\s` a space.
fn expanded(value: &str) -> String {
    let value = value.replace("\\t", "\t").replace("\\s", " ");
    let Some((before, rest)) = value.split_once('{') else { return value };
    let (repeated, after) = rest.split_once('}').unwrap_or_else(|| panic!("no closing brace: {value}"));
    let (text, count) = repeated.rsplit_once('*').unwrap_or_else(|| panic!("no count: {value}"));
    format!("{before}{}{}", text.repeat(count.parse().unwrap()), expanded(after))
}

/// Goal: every row of the range table holds over a socket, on one kept connection, and each byte is the right one.
#[test]
fn ranges_answer_as_the_table_says() {
    let rows = range_rows();
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    for row in &rows {
        let path = folder.path().join(film_of(row.size));
        if !path.exists() {
            Pattern::of(&film_of(row.size)).write(&path, row.size);
        }
    }
    let daemon = Home::new(folder.path()).start();
    let mut client = Client::connect(daemon.address);
    for row in &rows {
        check_range(&daemon, &mut client, row);
    }
    assert!(rows.len() >= 40, "only {} rows of the table could be tried", rows.len());
    let after = daemon.ledger();
    assert_eq!(after.sum("reelway_panics_total"), 0);
}

fn film_of(size: u64) -> String {
    format!("film of {size} bytes.mp4")
}

fn check_range(daemon: &Daemon, client: &mut Client, row: &RangeRow) {
    let film = film_of(row.size);
    let pattern = Pattern::of(&film);
    let bearer = daemon.bearer();
    let fields = [("Authorization", bearer.as_str()), ("Range", row.value.as_str())];
    client.ask("GET", &url_path(&film), &fields);
    let head = client.head();
    let place = format!("{}: {} of {}: {head:?}", row.rule, row.value, row.size);
    assert_eq!(head.field("accept-ranges"), Some("bytes"), "{place}");
    match row.expected {
        Expected::Whole => {
            assert_eq!((head.status, head.length()), (200, row.size), "{place}");
            client.expect(pattern, 0, row.size);
        }
        Expected::Part { first, last } => {
            let content_range = format!("bytes {first}-{last}/{}", row.size);
            assert_eq!((head.status, head.length()), (206, last - first + 1), "{place}");
            assert_eq!(head.field("content-range"), Some(content_range.as_str()), "{place}");
            client.expect(pattern, first, last - first + 1);
        }
        Expected::Unsatisfiable => {
            let content_range = format!("bytes */{}", row.size);
            assert_eq!(head.status, 416, "{place}");
            assert_eq!(head.field("content-range"), Some(content_range.as_str()), "{place}");
            client.body(head.length());
        }
    }
}

/// Goal: all three stream routes give the same bytes, and the id route takes its id from the list of videos.
#[test]
fn the_three_stream_routes_give_the_same_film() {
    let daemon = start();
    let list = daemon.fetch("GET", "/api/videos", &[]).json();
    let videos = list["items"].as_array().unwrap();
    assert_eq!(videos.len(), films::names().count() + 2, "{list}");
    let big = videos.iter().find(|video| video["filename"] == BIG_FILM);
    let big = big.unwrap_or_else(|| panic!("{BIG_FILM} is not in {list}"));
    assert_eq!(big["size"], BIG_FILM_BYTES);
    let id = big["id"].as_str().unwrap();
    let one = daemon.fetch("GET", &format!("/api/videos/{id}"), &[]).json();
    assert_eq!(one["id"], big["id"]);
    let paths = [
        format!("/api/stream/video/{BIG_FILM}"),
        format!("/stream/video/{BIG_FILM}"),
        format!("/stream/video/films/{BIG_FILM}"),
        format!("/api/stream/{id}"),
        big["streamUrl"].as_str().unwrap().to_owned(),
    ];
    for path in paths {
        let answer = daemon.fetch("GET", &path, &[("Range", "bytes=7000000-7099999")]);
        assert_eq!(answer.head.status, 206, "{path}: {:?}", answer.head);
        assert_eq!(answer.body.len(), 100_000, "{path}");
        Pattern::of(BIG_FILM).compare(7_000_000, &answer.body);
    }
}

/// Goal: a client that has the film already gets 304, one that insists on another version gets 412, and a range for
/// another version becomes the whole film.
#[test]
fn validators_decide_between_304_412_and_the_bytes() {
    let daemon = start();
    let path = url_path(BIG_FILM);
    let plain = daemon.fetch("HEAD", &path, &[]);
    let etag = plain.head.field("etag").unwrap().to_owned();
    let modified = plain.head.field("last-modified").unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "a strong ETag: {etag}");
    let weak = format!("W/{etag}");
    let status = |fields: &[(&str, &str)]| daemon.fetch("HEAD", &path, fields).head.status;
    assert_eq!(status(&[("If-None-Match", &etag)]), 304);
    assert_eq!(status(&[("If-None-Match", &weak)]), 304);
    assert_eq!(status(&[("If-None-Match", "\"other\"")]), 200);
    assert_eq!(status(&[("If-Modified-Since", &modified)]), 304);
    assert_eq!(status(&[("If-Match", &etag)]), 200);
    assert_eq!(status(&[("If-Match", "\"other\"")]), 412);
    let range = ("Range", "bytes=5-9");
    let mut client = Client::connect(daemon.address);
    let bearer = daemon.bearer();
    for (validator, expected) in [(etag.as_str(), 206), ("\"other\"", 200), (weak.as_str(), 200)] {
        let fields = [("Authorization", bearer.as_str()), range, ("If-Range", validator)];
        client.ask("GET", &path, &fields);
        let head = client.head();
        assert_eq!(head.status, expected, "If-Range: {validator}");
        let offset = if expected == 206 { 5 } else { 0 };
        client.expect(Pattern::of(BIG_FILM), offset, head.length());
    }
}

/// Goal: HEAD tells what GET would send, and sends nothing; Range does not matter to it.
#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let daemon = start();
    let mut client = Client::connect(daemon.address);
    let bearer = daemon.bearer();
    let path = url_path(BIG_FILM);
    for range in [None, Some(("Range", "bytes=0-9"))] {
        let mut fields = vec![("Authorization", bearer.as_str())];
        fields.extend(range);
        let head = client.fetch("HEAD", &path, &fields).head;
        assert_eq!((head.status, head.length()), (200, BIG_FILM_BYTES));
        for (name, value) in
            [("content-type", "video/mp4"), ("accept-ranges", "bytes"), ("x-content-type-options", "nosniff")]
        {
            assert_eq!(head.field(name), Some(value), "{name}");
        }
        for name in ["etag", "last-modified", "date", "cache-control"] {
            assert!(head.field(name).is_some(), "{name}");
        }
    }
    // Had a body followed, this answer would be read from its middle.
    assert_eq!(client.fetch("GET", "/health", &[]).head.status, 200);
}

/// Goal: a known path with a wrong method says which are right; an unknown method is 501.
#[test]
fn a_wrong_method_is_405_with_allow() {
    let daemon = start();
    let paths = [url_path(BIG_FILM), "/api/videos".to_owned(), "/health".to_owned()];
    for path in paths {
        let answer = daemon.fetch("DELETE", &path, &[]);
        answer.is_problem(405);
        let allow = answer.head.field("allow").unwrap_or_default();
        assert!(allow.contains("GET") && allow.contains("HEAD"), "{path}: Allow: {allow}");
    }
    daemon.fetch("BREW", "/health", &[]).is_problem(501);
}

/// Goal: three requests sent at once are answered in order, and the connection is still good afterwards.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let daemon = start();
    let mut client = Client::connect(daemon.address);
    let bearer = daemon.bearer();
    let ranges = [(100, 50_000), (9_000_000, 1_500_000), (0, 1)];
    let text: String = ranges
        .iter()
        .map(|(offset, length)| {
            let range = format!("bytes={offset}-{}", offset + length - 1);
            request("GET", &url_path(BIG_FILM), &[("Authorization", &bearer), ("Range", &range)])
        })
        .collect();
    client.send(text);
    for (offset, length) in ranges {
        let head = client.head();
        assert_eq!((head.status, head.length()), (206, length));
        client.expect(Pattern::of(BIG_FILM), offset, length);
    }
    assert_eq!(client.fetch("GET", "/health", &[]).head.status, 200);
}

/// Goal: a client that half-closes after its request still gets its answer, and then the end.
#[test]
fn a_half_closed_client_still_gets_its_film() {
    let daemon = start();
    let mut client = Client::connect(daemon.address);
    let bearer = daemon.bearer();
    client.ask("GET", &url_path(BIG_FILM), &[("Authorization", &bearer)]);
    client.finish_sending();
    assert_eq!(client.head().length(), BIG_FILM_BYTES);
    client.expect(Pattern::of(BIG_FILM), 0, BIG_FILM_BYTES);
    client.expect_closed();
}

/// Goal: an HTTP/1.0 client and one that says `Connection: close` get the whole film and then the end.
#[test]
fn http_1_0_and_close_end_after_the_response() {
    let daemon = start();
    let path = url_path(BIG_FILM);
    let token = &daemon.token;
    for text in [
        format!("GET {path}?token={token} HTTP/1.0\r\n\r\n"),
        format!("GET {path}?token={token} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ] {
        let mut client = Client::connect(daemon.address);
        client.send(text);
        let head = client.head();
        assert_eq!((head.status, head.field("connection")), (200, Some("close")));
        client.expect(Pattern::of(BIG_FILM), 0, BIG_FILM_BYTES);
        client.expect_closed();
    }
}

/// Goal: a head over 16 KiB is 431, framing that two parsers could read differently is 400, and both end the connection.
#[test]
fn heads_too_long_or_ambiguous_are_refused() {
    let daemon = start();
    let long = format!("GET /health HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(17 * 1024));
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9 * 1024));
    let cases = [
        (431, long.as_str()),
        (414, target.as_str()),
        (400, "GET /health HTTP/1.1\r\n\r\n"),
        (400, "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, "GET /health HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"),
        (400, "POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"),
        (400, "POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ];
    for (status, text) in cases {
        let mut client = Client::connect(daemon.address);
        client.send(text);
        let head = client.head();
        assert_eq!(head.status, status, "{}", &text[..text.len().min(120)]);
        client.body(head.length());
        client.expect_closed();
    }
}

/// Goal: a client that never finishes its head is told so after the time-out and does not keep its connection.
#[test]
fn a_slow_head_is_408() {
    let home = Home::new(&films::folder()).set("REELWAY_NET__HEAD_TIMEOUT", "1s");
    let daemon = home.start();
    let mut client = Client::connect(daemon.address);
    client.send("GET /health HTTP/1.1\r\nHost: a\r\n");
    let head = client.head();
    assert_eq!(head.status, 408);
    client.body(head.length());
    client.expect_closed();
}

/// Goal: /health tells state, version and parts, the metrics are for loopback, and a proxied caller is not loopback.
#[test]
fn health_is_public_and_metrics_are_for_loopback() {
    let daemon = start();
    let health = daemon.health();
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptime"].as_f64().is_some(), "{health}");
    for part in ["store", "library", "ring"] {
        assert_eq!(health["components"][part]["status"], "ok", "{health}");
    }
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(client::fetch(daemon.address, "GET", path, &[]).head.status, 200, "{path}");
    }
    let proxied = [("X-Forwarded-For", "203.0.113.9")];
    let refused = client::fetch(daemon.address, "GET", "/metrics", &proxied).head.status;
    assert!(refused == 401 || refused == 403, "{refused}");
    assert_eq!(daemon.ledger().sum("reelway_ring"), 1);
}
