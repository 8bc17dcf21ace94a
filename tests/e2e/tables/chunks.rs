//! `chunk.txt` over a socket: as the body of a sign-in, which reads it to its end and finds no JSON there.

use super::{is_kept, is_refused_and_closed, probe, reason, vectors};
use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::films;

const TABLE: &str = include_str!("../../vectors/chunk.txt");
const HEAD: &str = "POST /api/auth/login HTTP/1.1\r\nHost: films.local\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";

/// Goal: every row, with the head and apart from it: a body is read to its end and not one byte further, a wrong one is
/// refused and ends the connection, and half of one is half.
#[test]
fn every_body_of_the_table_is_read_so_over_a_socket() {
    let daemon = Home::new(&films::folder()).start();
    let rows = vectors::rows(TABLE, 4);
    for (row, is_apart) in rows.iter().flat_map(|row| [(row, false), (row, true)]) {
        let (rule, body, expected) = (row[0], vectors::bytes(row[2]), row[3]);
        let mut client = Client::connect(daemon.address);
        if is_apart {
            client.send(HEAD);
            client.wait_until_read();
            client.send(&body);
        } else {
            client.send([HEAD.as_bytes(), &body].concat());
        }
        match expected.split_once(' ') {
            None => {
                assert_eq!(expected, "partial", "{rule}");
                client.finish_sending();
                // A size beyond what a sign-in may have needs no data to be refused.
                let is_too_long = rule == "size_of_sixteen_digits_is_partial";
                let refusal = if is_too_long { (413, "body_too_large") } else { (400, "body_incomplete") };
                is_refused_and_closed(&mut client, "POST", refusal, rule);
            }
            Some(("ok", data_and_rest)) => {
                let rest = data_and_rest.split_once(" rest=").map_or(0, |(_, rest)| rest.parse::<usize>().unwrap());
                let answer = client.answer("POST");
                assert_eq!((answer.head.status, reason(&answer).as_str()), (400, "bad_json"), "{rule}");
                // What follows the body is the beginning of another request.
                let next = &probe()[..];
                let begun = &body[body.len() - rest..];
                assert!(next.as_bytes().starts_with(begun), "{rule}: the rest of a row is the beginning of a probe");
                client.send(&next[rest..]);
                assert_eq!(client.answer("GET").head.status, 200, "{rule}: the next answer");
                is_kept(&mut client, rule);
            }
            Some((status, reason)) => {
                is_refused_and_closed(&mut client, "POST", (status.parse().unwrap(), reason), rule);
            }
        }
    }
    assert!(rows.len() > 60);
}
