//! The table `tests/vectors/request.txt`, and what holds for every cut and every mutation of its rows.

use proptest::prelude::*;

use super::{Body, Method, Parsed, Request, parse};
use crate::http::vectors;

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/request.txt"));
const EXCHANGES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/exchange.txt"));

/// The words of the table that must all be there.
fn strict_words(request: &Request<'_>, rest: usize) -> Vec<String> {
    let mut words = vec!["ok".to_owned(), request.method.as_str().to_owned(), request.target.path.clone().into_owned()];
    words.extend((request.minor_version == 0).then(|| "http/1.0".to_owned()));
    words.extend((!request.keep_alive).then(|| "close".to_owned()));
    words.extend(request.expects_continue.then(|| "continue".to_owned()));
    match request.body {
        Body::None => {}
        Body::Length(length) => words.push(format!("length={length}")),
        Body::Chunked => words.push("chunked".to_owned()),
    }
    words.extend((rest > 0).then(|| format!("rest={rest}")));
    words
}

/// Whether `word` is about a field, and holds; nothing if it is one of the strict words.
fn field_word_holds(request: &Request<'_>, word: &str) -> Option<bool> {
    let fields = &request.fields;
    let (name, expected) = word.split_once('=').unwrap_or((word, ""));
    let found = match name {
        "host" => fields.host,
        "range" => fields.range,
        "if-range" => fields.if_range,
        "authorization" => fields.authorization,
        "cookie" => fields.cookie,
        "agent" => fields.user_agent,
        "playback" => fields.playback_session_id,
        "content-type" => fields.content_type,
        "query" => request.target.query,
        "if-match-lines" => return Some(fields.if_match.iter().count().to_string() == expected),
        "if-none-match-lines" => return Some(fields.if_none_match.iter().count().to_string() == expected),
        "forwarded" => return Some(fields.is_forwarded),
        _ => return None,
    };
    let expected = String::from_utf8(vectors::bytes(expected)).expect("a word is text");
    Some(found == (expected != "-").then_some(&*expected))
}

fn row_holds(bytes: &[u8], expected: &str) -> bool {
    match parse(bytes) {
        Ok(Parsed::Partial) => expected == "partial",
        Err(reject) => expected == format!("{} {}", reject.status(), reject.reason()) && reject.closes(),
        Ok(Parsed::Complete { request, head_length }) => {
            let says_forwarded = expected.split(' ').any(|word| word == "forwarded");
            let mut strict = Vec::new();
            for word in expected.split(' ') {
                match field_word_holds(&request, word) {
                    Some(true) => {}
                    Some(false) => return false,
                    None => strict.push(String::from_utf8(vectors::bytes(word)).expect("a word is text")),
                }
            }
            strict == strict_words(&request, bytes.len() - head_length) && says_forwarded == request.fields.is_forwarded
        }
    }
}

#[test]
fn every_row_of_the_table_holds() {
    let rows = vectors::rows(TABLE, 4);
    assert!(rows.len() >= 60);
    for row in rows {
        let [rule, source, bytes, expected] = row[..] else { unreachable!() };
        let bytes = vectors::bytes(bytes);
        assert!(row_holds(&bytes, expected), "{rule} ({source}): expected {expected}, got {:?}", parse(&bytes));
    }
}

/// The exchanges are held over sockets; here, the first head of each is what its first answer says: a request, or none.
#[test]
fn first_head_of_every_exchange_is_read_as_its_answer_says() {
    let refusals = ["400", "408", "414", "417", "431", "501", "505"];
    let rows = vectors::rows(EXCHANGES, 5);
    for row in rows {
        let [rule, source, _, sent, expected] = row[..] else { unreachable!() };
        let sent = sent
            .replace(" >> ", "")
            .replace("FIN", "")
            .replace("$LOGIN", "")
            .replace("$AUTH", "Authorization: Bearer x.y.z¶");
        let first = sent.split(" << ").next().unwrap_or_default();
        let bytes = vectors::bytes(&first.replace("$ETAG", "\"x\"").replace("$TOKEN", "x.y.z"));
        let status = expected.split(' ').next().unwrap_or_default();
        match parse(&bytes) {
            Ok(Parsed::Complete { request, .. }) => {
                let has_body = request.body != Body::None;
                assert!(!refusals.contains(&status) || has_body, "{rule} ({source}) is read");
            }
            Ok(Parsed::Partial) => assert!(["408", "ended"].contains(&status), "{rule} ({source}) is not whole"),
            Err(reject) => assert_eq!(reject.status().to_string(), status, "{rule} ({source})"),
        }
    }
}

/// However the network cuts a head, its parts are never taken for another request: each shorter beginning of an
/// accepted head is partial, and each beginning of a refused one is partial or refused.
#[test]
fn beginning_of_a_head_is_never_another_request() {
    for row in vectors::rows(TABLE, 4) {
        let bytes = vectors::bytes(row[2]);
        let head_length = match parse(&bytes) {
            Ok(Parsed::Complete { head_length, .. }) => head_length,
            Ok(Parsed::Partial) | Err(_) => bytes.len(),
        };
        let is_accepted = row[3].starts_with("ok");
        for length in (0..head_length).step_by(1 + head_length / 500) {
            match parse(&bytes[..length]) {
                Ok(Parsed::Partial) => {}
                Err(_) if !is_accepted => {}
                other => panic!("{}: {length} bytes of {head_length} are {other:?}", row[0]),
            }
        }
    }
}

/// A refusal is final: what has been refused stays refused, however it goes on.
#[test]
fn more_bytes_never_turn_a_no_into_a_yes() {
    for row in vectors::rows(TABLE, 4) {
        let mut bytes = vectors::bytes(row[2]);
        if parse(&bytes).is_err() {
            bytes.extend_from_slice(b"\r\nHost: a\r\n\r\n");
            assert!(parse(&bytes).is_err(), "{}", row[0]);
        }
    }
}

#[test]
fn method_is_known_even_where_the_rest_is_not_to_be_understood() {
    for (bytes, expected) in [
        ("HEAD /a//b HTTP/1.1\r\n", Some(Method::Head)),
        ("\r\n\r\nHEAD / ", Some(Method::Head)),
        ("HEAD", Some(Method::Head)),
        ("HEAD\r\n", Some(Method::Head)),
        ("GET / HTTP/9.9", Some(Method::Get)),
        (" HEAD /", None),
        ("HEA", None),
        ("HEADER /", None),
        ("head /", None),
        ("", None),
        ("\r\n", None),
    ] {
        assert_eq!(super::method(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

/// No bytes whatever reach a panic, and what is accepted keeps the invariants of a request.
#[test]
fn mutated_heads_do_no_harm() {
    let mut state = 7_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let heads: Vec<Vec<u8>> =
        vectors::rows(TABLE, 4).iter().map(|row| vectors::bytes(row[2])).filter(|head| head.len() < 1_000).collect();
    let bytes_that_matter = b"\r\n \t:,%/?#*\\\0\x7f\xff\xc3GHT01.@[]\"=-";
    let mut accepted = 0;
    for _ in 0..40_000 {
        let mut head = heads[random(heads.len())].clone();
        for _ in 0..=random(3) {
            let at = random(head.len() + 1);
            match random(3) {
                0 => head.insert(at, bytes_that_matter[random(bytes_that_matter.len())]),
                1 if at < head.len() => head[at] = bytes_that_matter[random(bytes_that_matter.len())],
                _ => head.truncate(at),
            }
        }
        if let Ok(Parsed::Complete { request, head_length }) = parse(&head) {
            accepted += 1;
            assert!(head_length <= head.len() && head[..head_length].ends_with(b"\r\n\r\n"));
            assert!(request.target.path.starts_with('/') || request.method == Method::Options);
            assert!(!request.target.segments().iter().any(|segment| [".", ".."].contains(segment)));
            assert!(request.fields.host.is_some() || request.minor_version == 0);
        }
    }
    assert!(accepted > 1_000, "the mutations are mild enough to be accepted at times: {accepted}");
}

#[test]
fn ordinary_head_is_borrowed_whole() {
    let bytes = b"GET /api/stream/video/film.mp4?token=x HTTP/1.1\r\nHost: a\r\nRange: bytes=0-\r\n\r\n";
    match parse(bytes) {
        Ok(Parsed::Complete { request, .. }) => {
            assert!(matches!(request.target.path, std::borrow::Cow::Borrowed(_)));
            assert!(!request.target.segments().spilled());
        }
        other => panic!("{other:?}"),
    }
}

/// A head of valid parts, and what it means.
#[derive(Debug, Clone)]
struct Printed {
    method: &'static str,
    path: String,
    host: String,
    range: Option<String>,
    agent: Option<String>,
    length: Option<u64>,
    is_closing: bool,
    others: Vec<(String, String)>,
}

fn printed() -> impl Strategy<Value = Printed> {
    let value = || prop::string::string_regex("[!-~]([ -~]{0,30}[!-~])?").expect("a regex");
    (
        prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        "(/[a-z0-9~!$&'()*+,;=:@_-]{1,9}){1,4}",
        "[a-z][a-z0-9.-]{0,20}(:[1-9][0-9]{0,3})?",
        prop::option::of(value()),
        prop::option::of(value()),
        prop::option::of(any::<u64>()),
        any::<bool>(),
        prop::collection::vec(("x-[a-z0-9-]{1,20}", value()), 0..8),
    )
        .prop_map(|(method, path, host, range, agent, length, is_closing, others)| Printed {
            method,
            path,
            host,
            range,
            agent,
            length,
            is_closing,
            others,
        })
}

impl Printed {
    fn head(&self) -> String {
        let mut lines = vec![format!("{} {} HTTP/1.1", self.method, self.path)];
        lines.extend(self.others.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.push(format!("Host: {}", self.host));
        lines.extend(self.range.iter().map(|range| format!("rAnGe:{range}")));
        lines.extend(self.agent.iter().map(|agent| format!("User-Agent:\t {agent} ")));
        lines.extend(self.length.iter().map(|length| format!("Content-Length: {length}")));
        lines.extend(self.is_closing.then(|| "Connection: close".to_owned()));
        lines.join("\r\n") + "\r\n\r\n"
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(printed in printed(), rest in prop::collection::vec(any::<u8>(), 0..20)) {
        let head = printed.head();
        let bytes = [head.as_bytes(), &rest].concat();
        let Ok(Parsed::Complete { request, head_length }) = parse(&bytes) else { panic!("{head}") };
        prop_assert_eq!(head_length, head.len());
        prop_assert_eq!((request.method.as_str(), &*request.target.path), (printed.method, printed.path.as_str()));
        prop_assert_eq!(request.fields.host, Some(printed.host.as_str()));
        prop_assert_eq!(request.fields.range, printed.range.as_deref());
        prop_assert_eq!(request.fields.user_agent, printed.agent.as_deref());
        prop_assert_eq!(request.keep_alive, !printed.is_closing);
        prop_assert_eq!(request.body, printed.length.map_or(Body::None, Body::Length));
    }
}
