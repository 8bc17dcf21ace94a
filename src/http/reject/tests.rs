//! Every refusal, as a problem document with the fields of its status.

use super::{Challenge, Credential, Reject, Running};
use crate::http::date;
use crate::http::request::Method;
use crate::http::response::{Envelope, Part, phrase};

const REQUEST_ID: &str = "7f1f2a0e-6f5c-4d5e-9a0b-0123456789ab";

/// One of each variant.
fn all() -> Vec<Reject> {
    use Reject::*;
    let unauthorized = |credential, challenge| Unauthorized { credential, challenge };
    vec![
        RequestLineInvalid,
        LineEndingInvalid,
        FieldNameInvalid,
        FieldValueInvalid,
        FieldRepeated { name: "Host" },
        HostMissing,
        HostInvalid,
        LengthInvalid,
        LengthsDiffer,
        LengthWithEncoding,
        EncodingInvalid,
        EncodingUnknown,
        ChunkInvalid,
        TargetInvalid { why: "two slashes in a row are not allowed in a path" },
        TargetTooLong,
        HeadTooLarge,
        TooManyFields,
        VersionUnsupported,
        MethodUnknown,
        ExpectationFailed,
        HeadTimeout,
        unauthorized(Credential::Missing, Challenge::Bearer),
        unauthorized(Credential::Invalid, Challenge::BearerOrBasic),
        unauthorized(Credential::Password, Challenge::Bearer),
        Forbidden,
        NotFound,
        MethodNotAllowed { allow: "GET, HEAD" },
        RangeNotSatisfiable { size: 1234 },
        PreconditionFailed,
        Misdirected,
        ParameterInvalid { name: "limit", why: "it must be 1 to 200" },
        BodyTimeout,
        BodyIncomplete,
        BodyCoded,
        LengthRequired,
        BodyTooLarge,
        NotJson,
        BadJson { why: "missing field `username` at line 1 column 2".to_owned() },
        Busy { retry_after_seconds: 7 },
        Draining,
        TooManyConnections,
        StorageFull,
        Internal,
        TooManyAttempts { retry_after_seconds: 3 },
        SessionsPlaying { sessions: vec![running()] },
        StreamsBusy { streams: vec![running()] },
        StreamsReached { streams: Vec::new() },
        StreamConnections,
        SessionsFull,
        ForeignOrigin,
        SessionNeeded,
        LinkUsedUp,
        LinksFull,
        unauthorized(Credential::Link, Challenge::Bearer),
        WrongPassword,
        Conflict { why: "the name is taken" },
    ]
}

fn running() -> Running {
    let id = Some(REQUEST_ID.to_owned());
    Running { session_id: id, stream_id: None, video_id: None, client: None }
}

/// The head and the body of the answer to a GET.
fn answer(reject: &Reject) -> (String, serde_json::Value) {
    let envelope = Envelope { method: Method::Get, minor_version: 1, keep_alive: true, date: date::format(0) };
    let finished = reject.response::<()>(REQUEST_ID).finish(envelope, Vec::new());
    assert_eq!(finished.close, reject.closes(), "{reject:?}");
    let [Part::Bytes(body)] = &finished.parts[..] else { panic!("{:?}", finished.parts) };
    let head = String::from_utf8(finished.head.clone()).expect("a head is ASCII");
    (head, serde_json::from_slice(body).expect("the body is JSON"))
}

fn has(head: &str, line: &str) -> bool {
    head.split("\r\n").any(|found| found == line)
}

#[test]
fn every_refusal_is_a_problem_document() {
    for reject in all() {
        let (head, problem) = answer(&reject);
        let status = reject.status();
        assert!((400..600).contains(&status) && !phrase(status).is_empty(), "{reject:?}");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} {}\r\n", phrase(status))), "{head}");
        assert!(has(&head, "Content-Type: application/problem+json"), "{head}");
        assert!(has(&head, "X-Content-Type-Options: nosniff") && has(&head, "Cache-Control: no-store"), "{head}");
        let mut expected = serde_json::json!({
            "type": format!("urn:reelway:problem:{}", reject.reason()),
            "title": reject.title(),
            "status": status,
            "detail": reject.detail(),
            "requestId": REQUEST_ID,
        });
        for (name, running) in [("streams", reject.streams()), ("sessions", reject.sessions())] {
            if let Some(running) = running {
                expected[name] = serde_json::json!(running);
            }
        }
        assert_eq!(problem, expected, "{reject:?}");
    }
}

#[test]
fn reason_is_a_word_of_its_own_and_detail_a_sentence() {
    let mut reasons = Vec::new();
    for reject in all() {
        let (reason, detail) = (reject.reason(), reject.detail());
        assert!(reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{reason}");
        assert!(detail.ends_with('.') && detail.starts_with(|first: char| first.is_ascii_uppercase()), "{detail}");
        reasons.push(reason);
    }
    let count = reasons.len();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), count);
}

#[test]
fn statuses_carry_their_fields() {
    let unauthorized = |credential, challenge| Reject::Unauthorized { credential, challenge };
    for (reject, lines) in [
        (unauthorized(Credential::Missing, Challenge::Bearer), vec!["WWW-Authenticate: Bearer realm=\"reelway\""]),
        (
            unauthorized(Credential::Invalid, Challenge::BearerOrBasic),
            vec![
                "WWW-Authenticate: Bearer realm=\"reelway\", error=\"invalid_token\"",
                "WWW-Authenticate: Basic realm=\"reelway\"",
            ],
        ),
        (unauthorized(Credential::Password, Challenge::Bearer), vec!["WWW-Authenticate: Bearer realm=\"reelway\""]),
        (Reject::MethodNotAllowed { allow: "GET, HEAD" }, vec!["Allow: GET, HEAD"]),
        (Reject::RangeNotSatisfiable { size: 1234 }, vec!["Content-Range: bytes */1234", "Accept-Ranges: bytes"]),
        (Reject::Busy { retry_after_seconds: 7 }, vec!["Retry-After: 7"]),
        (Reject::Draining, vec!["Retry-After: 5", "Connection: close"]),
        (Reject::TooManyConnections, vec!["Retry-After: 5", "Connection: close"]),
    ] {
        let (head, _) = answer(&reject);
        for line in lines {
            assert!(has(&head, line), "{line} is not in {head}");
        }
    }
}

#[test]
fn fields_of_other_statuses_are_absent() {
    let (head, _) = answer(&Reject::NotFound);
    for name in ["WWW-Authenticate", "Allow", "Content-Range", "Retry-After", "Connection"] {
        assert!(!head.contains(&format!("\r\n{name}:")), "{name}");
    }
    let (head, _) = answer(&Reject::Unauthorized { credential: Credential::Missing, challenge: Challenge::Bearer });
    assert!(!head.contains("Basic"), "a browser would ask for a password that this route does not take: {head}");
}

#[test]
fn the_limits_of_streams_have_their_words_and_name_what_runs() {
    let id = REQUEST_ID.to_owned();
    let running = Running { session_id: None, stream_id: Some(id.clone()), video_id: Some(id), client: None };
    let (head, problem) = answer(&Reject::StreamsReached { streams: vec![running] });
    assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n") && has(&head, "Retry-After: 5"), "{head}");
    assert_eq!(problem["title"], "Maximum concurrent streams reached");
    assert_eq!(problem["streams"][0]["streamId"], REQUEST_ID);
    let (_, problem) = answer(&Reject::StreamsBusy { streams: Vec::new() });
    assert_eq!(problem["title"], "Server busy");
    assert_eq!(problem["streams"], serde_json::json!([]));
}

#[test]
fn every_401_has_a_challenge_and_every_429_and_503_a_time() {
    for reject in all() {
        let (head, _) = answer(&reject);
        assert_eq!(head.contains("\r\nWWW-Authenticate: "), reject.status() == 401, "{reject:?}");
        assert_eq!(head.contains("\r\nRetry-After: "), matches!(reject.status(), 429 | 503), "{reject:?}");
    }
}
