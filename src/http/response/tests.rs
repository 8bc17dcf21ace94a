//! What a response looks like on the wire.

use std::sync::Arc;

use serde_json::json;

use super::{CONTINUE, Envelope, FieldLines, Finished, Part, Response, phrase};
use crate::http::date;
use crate::http::range::Extent;
use crate::http::request::{Method, Parsed, Request, parse};

const NOW: i64 = 784_111_777;

fn envelope(method: Method, minor_version: u8, keep_alive: bool) -> Envelope {
    Envelope { method, minor_version, keep_alive, date: date::format(NOW) }
}

fn head<F>(finished: &Finished<F>) -> &str {
    str::from_utf8(&finished.head).expect("a head is ASCII")
}

/// The values of a field, in order.
fn values<'a, F>(finished: &'a Finished<F>, name: &str) -> Vec<&'a str> {
    let lines = head(finished).split("\r\n").skip(1);
    lines.filter_map(|line| line.split_once(": ")).filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
}

fn film() -> Response<&'static str> {
    Response::media(206, "film", Extent { offset: 5, length: 1000 }, 5000, lines())
}

/// What a handler knows of a film.
fn lines() -> Arc<FieldLines> {
    Arc::new(FieldLines::default().field("X-Content-Type-Options", "nosniff").field("Content-Type", "video/mp4"))
}

#[test]
fn whole_head_of_a_film() {
    let finished = film().finish(envelope(Method::Get, 1, true), Vec::new());
    let expected = "HTTP/1.1 206 Partial Content\r\n\
        X-Content-Type-Options: nosniff\r\n\
        Content-Type: video/mp4\r\n\
        Content-Range: bytes 5-1004/5000\r\n\
        Content-Length: 1000\r\n\
        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    assert_eq!(head(&finished), expected);
    assert_eq!((finished.status, finished.length, finished.close), (206, 1000, false));
    let [Part::Extent { file: "film", extent: Extent { offset: 5, length: 1000 } }] = finished.parts[..] else {
        panic!("{:?}", finished.parts)
    };
    let used = Vec::with_capacity(1000);
    let place = used.as_ptr();
    let finished = film().finish(envelope(Method::Get, 1, true), used);
    assert!(finished.head.as_ptr() == place && !finished.parts.spilled(), "a film's answer allocates nothing");
}

#[test]
fn head_request_announces_the_length_and_sends_nothing() {
    let finished = film().finish(envelope(Method::Head, 1, true), Vec::new());
    assert_eq!(values(&finished, "Content-Length"), ["1000"]);
    assert!(finished.parts.is_empty());
    assert_eq!(finished.length, 0);
}

#[test]
fn length_is_the_sum_of_the_parts() {
    let response = Response::<u8>::new(206)
        .part(Part::Bytes(b"--boundary".into()))
        .part(Part::Extent { file: 1, extent: Extent { offset: 0, length: 90 } })
        .part(Part::Bytes(b"--".into()));
    assert_eq!(response.length(), 102);
    let finished = response.finish(envelope(Method::Get, 1, true), Vec::new());
    assert_eq!(values(&finished, "Content-Length"), ["102"]);
    assert_eq!((finished.length, finished.parts.len()), (102, 3));
}

#[test]
fn empty_file_has_a_length_of_zero() {
    let finished =
        Response::media(200, (), Extent::whole(0), 0, lines()).finish(envelope(Method::Get, 1, true), Vec::new());
    assert_eq!(values(&finished, "Content-Length"), ["0"]);
}

#[test]
fn responses_without_a_body_announce_none() {
    for status in [204, 304] {
        let finished = Response::<()>::new(status)
            .part(Part::Bytes(b"never sent".into()))
            .finish(envelope(Method::Get, 1, true), Vec::new());
        assert!(values(&finished, "Content-Length").is_empty(), "{status}");
        assert!(finished.parts.is_empty() && finished.length == 0, "{status}");
    }
    let finished = Response::<()>::empty(200).finish(envelope(Method::Get, 1, true), Vec::new());
    assert_eq!(values(&finished, "Content-Length"), ["0"]);
}

#[test]
fn connection_says_what_the_client_cannot_assume() {
    for (minor_version, keep_alive, closing, expected) in [
        (1, true, false, None),
        (1, false, false, Some("close")),
        (1, true, true, Some("close")),
        (0, true, false, Some("keep-alive")),
        (0, false, false, Some("close")),
        (0, true, true, Some("close")),
    ] {
        let response = if closing { film().closing() } else { film() };
        let finished = response.finish(envelope(Method::Get, minor_version, keep_alive), Vec::new());
        assert_eq!(values(&finished, "Connection"), Vec::from_iter(expected));
        assert_eq!(finished.close, expected == Some("close"));
    }
}

#[test]
fn no_value_writes_a_field_of_its_own() {
    let finished = Response::<()>::new(200)
        .field("X-Name", "a\r\nSet-Cookie: b=c\r\n\r\n<html>\0\u{7f}\u{85}é\tz")
        .finish(envelope(Method::Get, 1, true), Vec::new());
    assert_eq!(values(&finished, "X-Name"), ["a??Set-Cookie: b=c????<html>????\tz"]);
    assert!(values(&finished, "Set-Cookie").is_empty());
    assert_eq!(head(&finished).matches("\r\n\r\n").count(), 1);
}

#[test]
fn json_is_written_with_its_type_and_the_security_fields() {
    let finished = Response::<()>::json(201, &json!({"name": "é"})).finish(envelope(Method::Post, 1, true), Vec::new());
    assert!(head(&finished).starts_with("HTTP/1.1 201 Created\r\n"));
    let [Part::Bytes(body)] = &finished.parts[..] else { panic!("{:?}", finished.parts) };
    assert_eq!(&**body, "{\"name\":\"é\"}".as_bytes());
    for (name, value) in [
        ("Content-Type", "application/json"),
        ("Content-Length", "13"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("X-XSS-Protection", "1; mode=block"),
        ("Content-Security-Policy", "default-src 'none'"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cache-Control", "no-store"),
    ] {
        assert_eq!(values(&finished, name), [value], "{name}");
    }
}

#[test]
fn what_cannot_be_json_is_500() {
    let not_json = std::collections::BTreeMap::from([(vec![1], 1)]);
    assert_eq!(Response::<()>::json(200, &not_json).status(), 500);
}

#[test]
fn media_carry_nosniff_and_nothing_that_breaks_a_tv() {
    let finished = film().finish(envelope(Method::Get, 1, true), Vec::new());
    for name in ["X-Frame-Options", "Content-Security-Policy", "Cross-Origin-Resource-Policy", "Cache-Control"] {
        assert!(values(&finished, name).is_empty(), "{name}");
    }
}

#[test]
fn envelope_repeats_what_the_request_says() {
    let read = |bytes| match parse(bytes) {
        Ok(Parsed::Complete { request, .. }) => request,
        other => panic!("{other:?}"),
    };
    let request: Request<'_> = read(b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(Envelope::of(&request, date::format(NOW)), envelope(Method::Head, 0, true));
    assert!(!Envelope::without_request(None, date::format(NOW)).keep_alive);
}

#[test]
fn interim_answer_is_a_whole_head_and_unknown_phrases_are_empty() {
    assert!(CONTINUE.starts_with(b"HTTP/1.1 100 ") && CONTINUE.ends_with(b"\r\n\r\n"));
    assert_eq!(phrase(206), "Partial Content");
    assert_eq!(phrase(299), "");
    assert!(
        Response::<()>::new(299)
            .finish(envelope(Method::Get, 1, true), Vec::new())
            .head
            .starts_with(b"HTTP/1.1 299 \r\n")
    );
}
