//! `request.txt` over a socket.

use reelway::http::request::{Body, Parsed, Request, parse};

use super::{is_kept, is_refused_and_closed, vectors};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::films;

const TABLE: &str = include_str!("../../vectors/request.txt");

/// What only a refusal of the grammar has for a status: any other says that the request was understood.
const REFUSALS: [u16; 7] = [400, 408, 414, 417, 431, 501, 505];

/// Goal: every row: a request is answered as one, a refusal names its reason and ends the connection, and the beginning of
/// a request is answered with nothing.
#[test]
fn every_request_of_the_table_is_read_so_over_a_socket() {
    let daemon = Home::new(&films::folder()).start();
    let rows = vectors::rows(TABLE, 4);
    for row in &rows {
        let (rule, bytes, expected) = (row[0], vectors::bytes(row[2]), row[3]);
        let mut client = Client::connect(daemon.address);
        client.send(&bytes);
        match expected.split_once(' ') {
            None => {
                assert_eq!(expected, "partial", "{rule}");
                client.finish_sending();
                client.expect_closed();
            }
            Some(("ok", _)) => is_answered(&mut client, &bytes, rule),
            Some((status, reason)) => {
                let method = if bytes.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
                is_refused_and_closed(&mut client, method, (status.parse().unwrap(), reason), rule);
            }
        }
    }
    assert!(rows.len() > 150);
    assert_eq!(daemon.ledger().sum("reelway_panics_total"), 0);
}

/// Goal: a HEAD that is refused has no body, whatever it is refused for (RFC 9110 §9.3.2).
#[test]
fn no_refusal_of_a_head_has_a_body() {
    let daemon = Home::new(&films::folder()).start();
    let mut tried = 0;
    for row in vectors::rows(TABLE, 4) {
        let bytes = vectors::bytes(row[2]);
        let Some(rest) = bytes.strip_prefix(b"GET ") else { continue };
        let bytes = [b"HEAD ", rest].concat();
        let Err(reject) = parse(&bytes) else { continue };
        let mut client = Client::connect(daemon.address);
        client.send(&bytes);
        is_refused_and_closed(&mut client, "HEAD", (reject.status(), reject.reason()), row[0]);
        tried += 1;
    }
    assert!(tried > 50, "only {tried} rows are refused");
}

/// An accepted request is answered, and the connection goes on or ends as the request says.
fn is_answered(client: &mut Client, bytes: &[u8], rule: &str) {
    let Ok(Parsed::Complete { request, head_length }) = parse(bytes) else { panic!("{rule}: no request") };
    let after = &bytes[head_length..];
    let body_length = match request.body {
        Body::None => 0,
        Body::Length(length) => length,
        Body::Chunked => 5,
    };
    let can_end = body_length <= 64 && !request.expects_continue;
    if can_end {
        finish_body(client, &request, after, body_length);
    }
    is_understood(client, &request, rule);
    if !request.keep_alive || !can_end {
        client.expect_closed();
    } else if let Some(next) = after.get(body_length as usize..).filter(|next| !next.is_empty()) {
        // What follows is a request of its own.
        let Ok(Parsed::Complete { request: next, .. }) = parse(next) else { panic!("{rule}: nothing follows") };
        is_understood(client, &next, rule);
        is_kept(client, rule);
    } else {
        is_kept(client, rule);
    }
}

/// Sends what the row leaves out of a body.
fn finish_body(client: &mut Client, request: &Request<'_>, there: &[u8], length: u64) {
    let missing = (length as usize).saturating_sub(there.len());
    match request.body {
        Body::None => {}
        Body::Length(_) => client.send(vec![b'x'; missing]),
        Body::Chunked if there.is_empty() => client.send("0\r\n\r\n"),
        Body::Chunked => {}
    }
}

fn is_understood(client: &mut Client, request: &Request<'_>, rule: &str) {
    let answer = client.answer(request.method.as_str());
    let status = answer.head.status;
    assert!(!REFUSALS.contains(&status), "{rule} is refused: {:?}", answer.head);
    assert!(answer.head.field("date").is_some(), "{rule}: {:?}", answer.head);
    let is_closed = answer.head.field("connection") == Some("close");
    assert!(request.keep_alive || is_closed, "{rule} asked to close: {:?}", answer.head);
}

/// Goal: what a daemon says of a row does not depend on how its bytes arrive: here with a pause before the last.
#[test]
fn a_pause_before_the_last_byte_changes_nothing() {
    let daemon: Daemon = Home::new(&films::folder()).start();
    for row in vectors::rows(TABLE, 4) {
        let bytes = vectors::bytes(row[2]);
        let Some((status, reason)) = row[3].split_once(' ').filter(|(status, _)| *status != "ok") else { continue };
        let Some((last, before)) = bytes.split_last() else { continue };
        let mut client = Client::connect(daemon.address);
        client.send(before);
        client.wait_until_read_or_ended();
        // It may have been refused already.
        let _ = client.try_send([*last]);
        let method = if bytes.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
        is_refused_and_closed(&mut client, method, (status.parse().unwrap(), reason), row[0]);
    }
}
