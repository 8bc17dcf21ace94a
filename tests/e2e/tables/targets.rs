//! `target.txt` over a socket: the path that the daemon has understood stands in its log, under the id of the answer.

use super::{is_kept, is_refused_and_closed, vectors};
use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::{PATIENCE, eventually, films};

const TABLE: &str = include_str!("../../vectors/target.txt");

/// Goal: every row: a target is decoded as the table says, or refused, and what is named https is misdirected.
#[test]
fn every_target_of_the_table_is_read_so_over_a_socket() {
    let daemon = Home::new(&films::folder()).set("REELWAY_LOG__LEVEL", "debug").start();
    let rows = vectors::rows(TABLE, 5);
    let mut client = Client::connect(daemon.address);
    for row in &rows {
        let (rule, raw, path) = (row[0], vectors::bytes(row[2]), row[3]);
        client.send([b"GET ", raw.as_slice(), b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        if path == "400" {
            is_refused_and_closed(&mut client, "GET", (400, "target_invalid"), rule);
            client = Client::connect(daemon.address);
            continue;
        }
        let answer = client.answer("GET");
        let is_https = raw.to_ascii_lowercase().starts_with(b"https:");
        // Nothing of the table is there, or only for who is signed in, so every answer is a refusal with an id.
        let statuses: &[u16] = if is_https { &[421] } else { &[401, 404] };
        assert!(statuses.contains(&answer.head.status), "{rule}: {:?}", answer.head);
        let request_id = answer.json()["requestId"].as_str().unwrap().to_owned();
        let line = eventually("the refusal is in the log", PATIENCE, || daemon.log.lines_with(&request_id).pop());
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["metadata"]["path"], vectors::text(path), "{rule}: {line}");
        is_kept(&mut client, rule);
    }
    assert!(rows.len() > 80);
}
