//! Many messages on one connection: none is lost, none taken for another, however they are cut (RFC 9112 §6, §9.3).

use serde_json::json;

use crate::support::client::{Client, request};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films;

fn start() -> Daemon {
    Home::new(&films::folder()).start()
}

/// The body of a sign-in.
fn credentials() -> String {
    json!({"username": USER, "password": PASSWORD}).to_string()
}

/// Reads the answer to a sign-in: 200 and a token.
fn is_signed_in(daemon: &Daemon, client: &mut Client) {
    let answer = client.answer("POST");
    assert_eq!(answer.head.status, 200, "{:?}", answer.head);
    daemon.keep_secret(answer.json()["token"].as_str().unwrap());
}

fn is_well(client: &mut Client) {
    let answer = client.answer("GET");
    assert_eq!((answer.head.status, answer.json()["status"].as_str()), (200, Some("ok")));
}

/// Goal: a body in chunks ends where its last chunk says: the request behind it, in the same segment, is answered next.
#[test]
fn a_request_behind_a_chunked_body_is_answered_next() {
    let daemon = start();
    let mut client = Client::connect(daemon.address);
    let mut text = "POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n"
        .to_owned();
    for chunk in credentials().as_bytes().chunks(7) {
        text += &format!("{:x};extension=1\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap());
    }
    text += "0\r\nTrailer: 1\r\n\r\n";
    client.send(text + &request("GET", "/health", &[]));
    is_signed_in(&daemon, &mut client);
    is_well(&mut client);
    client.ask("GET", "/health", &[]);
    is_well(&mut client);
}

/// Goal: a client that asks first whether its body is wanted is told to go on, and then answered.
#[test]
fn who_expects_100_continue_gets_it() {
    let daemon = start();
    let mut client = Client::connect(daemon.address);
    let body = credentials();
    let length = body.len().to_string();
    let fields =
        [("Content-Type", "application/json"), ("Content-Length", length.as_str()), ("Expect", "100-continue")];
    client.ask("POST", "/api/auth/login", &fields);
    assert_eq!(client.head().status, 100);
    client.send(&body);
    is_signed_in(&daemon, &mut client);
    client.ask("GET", "/health", &[]);
    is_well(&mut client);
}

/// Goal: where no body is wanted nobody is told to send one: the answer comes instead; another expectation is 417.
#[test]
fn an_expectation_that_is_not_met_is_answered_at_once() {
    let daemon = start();
    for (expectation, path, status) in [("100-continue", "/api/nothing", 404), ("a-miracle", "/api/auth/login", 417)] {
        let mut client = Client::connect(daemon.address);
        let fields = [("Content-Type", "application/json"), ("Content-Length", "2"), ("Expect", expectation)];
        client.ask("POST", path, &fields);
        client.answer("POST").is_problem(status);
    }
}
