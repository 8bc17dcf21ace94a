//! The journal: fields that an administrator can ask for, and a journal that stands still and stalls nobody.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::client::request;
use crate::support::daemon::{Home, PASSWORD};
use crate::support::films::{self, BIG_FILM, Pattern, url_path};
use crate::support::journal::{Journal, Logging};
use crate::support::ledger::Ledger;
use crate::support::{PATIENCE, eventually};

/// Requests whose refusals fill the socket, the queue before it, and more: 10 or 512 datagrams, and 1024 records.
const REFUSED: usize = 4000;

/// Has the daemon log so many lines that those which nobody reads find no room: the lines dropped.
fn flood(daemon: &Logging) -> u64 {
    let mut client = daemon.connect();
    let refused = request("GET", "/no/such/thing", &[]);
    for _ in 0..REFUSED / 100 {
        client.send(refused.repeat(100));
        (0..100).for_each(|_| assert_eq!(client.answer("GET").head.status, 404));
    }
    lines_dropped(daemon)
}

fn lines_dropped(daemon: &Logging) -> u64 {
    Ledger::of(&daemon.connect().fetch("GET", "/metrics", &[])).sum("reelway_log_lines_dropped_total")
}

/// Goal: an entry says by its fields what happened, to whom and from where, has a message id, and holds no secret; and
/// standard error stays empty.
#[test]
fn an_entry_has_the_fields_of_its_event() {
    let journal = Journal::new();
    let daemon = journal.start(&journal.home(Home::new(&films::folder())));
    let answer = daemon.sign_in().json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let (token, session, user) = (text(&answer["token"]), text(&answer["sessionId"]), text(&answer["user"]["id"]));
    let entry = journal.wait_for(|entry| entry["MESSAGE"].starts_with("signed in"));
    assert_eq!(entry["MESSAGE"], "signed in username=ann client_ip=127.0.0.1");
    for (name, value) in [
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "reelway"),
        ("USER", &user),
        ("SESSION", &session),
        ("PEER", "127.0.0.1"),
        ("USERNAME", "ann"),
        ("CODE_FILE", "src/api/audit.rs"),
    ] {
        assert_eq!(entry.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(entry["MESSAGE_ID"].len(), 32);
    assert_eq!(entry["REQUEST_ID"].len(), 36);

    let refused = daemon.connect().fetch_json(
        "POST",
        "/api/auth/login",
        &[],
        &serde_json::json!({"username": "ann", "password": "x"}),
    );
    assert_eq!(refused.head.status, 401);
    let failed = journal.wait_for(|entry| entry["MESSAGE"].starts_with("sign-in failed"));
    assert_eq!((failed["USER"].as_str(), failed["PEER"].as_str()), (user.as_str(), "127.0.0.1"));
    assert_ne!(failed["MESSAGE_ID"], entry["MESSAGE_ID"]);

    let bearer = format!("Bearer {token}");
    let signed_out = daemon.connect().fetch("POST", "/api/auth/logout", &[("Authorization", &bearer)]);
    assert_eq!(signed_out.head.status, 204);
    let (_, stderr) = daemon.stop();
    assert_eq!(stderr, "");
    let entries = journal.entries();
    let ended = entries.last().unwrap();
    assert!(ended["MESSAGE"].starts_with("stopped"), "what was logged last is flushed: {ended:?}");
    assert!(entries.iter().any(|entry| entry["MESSAGE"].starts_with("signed out") && entry["SESSION"] == session));
    for value in entries.iter().flat_map(|entry| entry.values()) {
        assert!(!value.contains(PASSWORD) && !value.contains(&token), "a secret is in the journal");
    }
}

/// Goal: while the journal stands still, films and requests go on as ever, and what finds no room is counted; when it reads
/// again, how many lines are missing is told once, and all others are there.
#[test]
fn a_journal_that_stands_still_stalls_nobody_and_hears_what_it_missed() {
    let journal = Journal::new();
    let home = Home::new(&films::folder()).set("REELWAY_LOG__LEVEL", "debug");
    let daemon = journal.start(&journal.home(home));
    let token = daemon.sign_in().json()["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    journal.stand_still(true);
    let start = Instant::now();
    let dropped = flood(&daemon);
    assert!(dropped > 0, "the queue was never full");
    let mut client = daemon.connect();
    for index in 0..200_u64 {
        let range = format!("bytes={}-{}", index * 4096, index * 4096 + 4095);
        client.ask("GET", &url_path(BIG_FILM), &[("Authorization", &bearer), ("Range", &range)]);
        assert_eq!(client.head().status, 206);
        client.expect(Pattern::of(BIG_FILM), index * 4096, 4096);
    }
    daemon.sign_in();
    let took = start.elapsed();
    // A single wait for the journal would last until the test gives up.
    assert!(took < PATIENCE / 2, "requests took {took:?} while the journal stood still");
    let dropped = lines_dropped(&daemon);

    journal.stand_still(false);
    let told = journal.wait_for(|entry| entry["MESSAGE"].starts_with("lines of the log were dropped"));
    assert_eq!(told["LINES"], dropped.to_string());
    assert_eq!(told["PRIORITY"], "4");
    daemon.stop();
    let entries = journal.entries();
    let with = |text: &str| entries.iter().filter(|entry| entry["MESSAGE"].starts_with(text)).count();
    assert_eq!(with("lines of the log were dropped"), 1);
    // The refusals that were told, and the lines that were not: the flood, and little else besides.
    let known = with("request refused") as u64 + dropped;
    assert!((REFUSED as u64..REFUSED as u64 + 100).contains(&known), "{known} lines of {REFUSED} are accounted for");
}

/// Goal: a journal that reads nothing holds neither the end of the daemon nor the start of the next one.
#[test]
fn a_journal_that_stands_still_holds_neither_end_nor_start() {
    let journal = Journal::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::new(&films::folder()).set("REELWAY_LOG__LEVEL", "debug").set("PORT", &port.to_string());
    let home = journal.home(home);
    let daemon = journal.start(&home);
    let address = daemon.address;
    journal.stand_still(true);
    assert!(flood(&daemon) > 0, "the queue was never full");
    let (took, _) = daemon.stop();
    assert!(took < Duration::from_secs(5), "it took {took:?} to end");

    // What the first one sent fills the socket still.
    let mut daemon = Logging::of(&home);
    daemon.address = address;
    eventually("the next daemon serves", PATIENCE, || std::net::TcpStream::connect(address).ok());
    assert_eq!(daemon.connect().fetch("GET", "/health", &[]).head.status, 200);
    daemon.sign_in();
    daemon.stop();
}

/// Goal: where the journal has no socket the lines come to standard error, and that is said once.
#[test]
fn without_a_journal_lines_are_written_to_standard_error() {
    let journal = Journal::without_socket();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = journal.home(Home::new(&films::folder()).set("PORT", &port.to_string()));
    let mut daemon = Logging::of(&home);
    daemon.address.set_port(port);
    eventually("it serves", PATIENCE, || std::net::TcpStream::connect(daemon.address).ok());
    daemon.sign_in();
    let (_, stderr) = daemon.stop();
    assert_eq!(stderr.matches("the journal's socket is not to be had").count(), 1, "{stderr}");
    for text in [
        "INFO listening address=127.0.0.1:",
        "INFO signed in request_id=",
        " username=ann",
        "INFO stopped drained=true",
    ] {
        assert!(stderr.contains(text), "{text} is missing: {stderr}");
    }
}

/// Goal: `$JOURNAL_STREAM` that names another file, as whoever is started by a service inherits it, changes nothing: lines go
/// to standard error, and nothing to the journal.
#[test]
fn standard_error_that_is_not_the_journal_gets_the_lines() {
    let journal = Journal::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::new(&films::folder()).set("PORT", &port.to_string());
    let home = journal.home(home).wrapped_by(["env", "JOURNAL_STREAM=8:1"]);
    let mut daemon = Logging::of(&home);
    daemon.address.set_port(port);
    eventually("it serves", PATIENCE, || std::net::TcpStream::connect(daemon.address).ok());
    let (_, stderr) = daemon.stop();
    assert!(stderr.contains("INFO listening address=127.0.0.1:"), "{stderr}");
    assert!(!stderr.contains("journal"), "{stderr}");
    assert!(journal.entries().is_empty(), "{:?}", journal.entries());
}
