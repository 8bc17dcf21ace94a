//! The wire contract of spec/HTTP.md over real sockets: ranges, validators, refusals, limits, keep-alive, health.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::client::{self, Client, request};
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, Pattern, url_path};
use crate::support::scratch;

fn start() -> Daemon {
    Home::new(&films::folder()).start()
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

/// Goal: the tag of a film is the same after a restart, and on another machine with a copy of the film: nothing in it is of
/// the device, the inode or the process.
#[test]
fn validators_survive_a_restart_and_another_machine() {
    let folders = [(); 2].map(|()| tempfile::tempdir_in(scratch()).unwrap());
    let paths = folders.each_ref().map(|folder| folder.path().join("sub").join("film.mp4"));
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    for path in &paths {
        fs::create_dir(path.parent().unwrap()).unwrap();
        Pattern::of("film.mp4").write(path, 5000);
        fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    }
    let validators = |daemon: &Daemon| {
        let head = daemon.fetch("HEAD", &url_path("sub/film.mp4"), &[]).head;
        (head.field("etag").unwrap().to_owned(), head.field("last-modified").unwrap().to_owned())
    };
    let home = Home::new(folders[0].path());
    let mut daemon = home.start();
    let first = validators(&daemon);
    daemon.stop();
    assert_eq!(validators(&home.start()), first, "after a restart");
    assert_eq!(validators(&Home::new(folders[1].path()).start()), first, "on another machine");
}

/// Goal: `name/path` always works, a bare path is looked up in the order of the roots, and a first segment that names a root
/// tries that root first: so another root changes no URL.
#[test]
fn several_roots_are_looked_up_in_order_and_a_new_one_changes_no_url() {
    let parent = tempfile::tempdir_in(scratch()).unwrap();
    let root = |name: &str| parent.path().join(name);
    for (path, bytes) in [
        ("one/both.mp4", 1001),
        ("one/two/hidden.mp4", 1002),
        ("one/two/both.mp4", 1003),
        ("two/both.mp4", 1004),
        ("two/alone.mp4", 1005),
    ] {
        fs::create_dir_all(root(path).parent().unwrap()).unwrap();
        Pattern::of(path).write(&root(path), bytes);
    }
    let lengths = |daemon: &Daemon, paths: &[(&str, u64)]| {
        for (path, bytes) in paths {
            let head = daemon.fetch("HEAD", &url_path(path), &[]).head;
            assert_eq!((head.status, head.length()), (200, *bytes), "{path}");
        }
    };
    let alone = [("both.mp4", 1001), ("one/both.mp4", 1001), ("two/hidden.mp4", 1002), ("one/two/hidden.mp4", 1002)];
    lengths(&Home::new(&root("one")).start(), &alone);
    let both = Home::new(Path::new(&format!("{}:{}", root("one").display(), root("two").display()))).start();
    lengths(&both, &alone);
    // The name of a root is tried first, and what is not there is looked for below each root.
    lengths(&both, &[("two/both.mp4", 1004), ("one/two/both.mp4", 1003), ("alone.mp4", 1005), ("two/alone.mp4", 1005)]);
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
