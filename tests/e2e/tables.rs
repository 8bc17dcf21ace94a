//! Every row of `tests/vectors` over a socket: what the grammar says of some bytes, the daemon does.
//!
//! The same tables are read by the unit tests of `src/http`, so a row that holds there and not here is a fault of `serve`.
//! One file a table; what the tables share stands here.

mod chunks;
mod conditions;
mod exchanges;
mod ranges;
mod requests;
mod rules;
mod targets;

#[path = "../vectors/reader.rs"]
pub mod vectors;

use crate::support::client::{Answer, Client, request};

/// A request that is always answered with 200.
fn probe() -> String {
    request("GET", "/health/live", &[])
}

/// The connection stands before the next message: another request is answered.
fn is_kept(client: &mut Client, rule: &str) {
    client.send(probe());
    let answer = client.answer("GET");
    assert_eq!((answer.head.status, answer.json()["status"].as_str()), (200, Some("ok")), "{rule}: the next answer");
}

/// The reason of a refusal: the last part of its type.
fn reason(answer: &Answer) -> String {
    let problem = answer.json();
    let kind = problem["type"].as_str().unwrap_or_else(|| panic!("no type in {problem}"));
    kind.rsplit(':').next().unwrap_or_default().to_owned()
}

/// Checks a refusal that ends the connection; the answer to HEAD has no body that could name the reason.
fn is_refused_and_closed(client: &mut Client, method: &str, expected: (u16, &str), rule: &str) {
    let answer = client.answer(method);
    assert_eq!(answer.head.status, expected.0, "{rule}: {:?}", answer.head);
    assert_eq!(answer.head.field("connection"), Some("close"), "{rule}: {:?}", answer.head);
    if method != "HEAD" {
        answer.is_problem(expected.0);
        assert_eq!(reason(&answer), expected.1, "{rule}");
    }
    client.expect_closed();
}
