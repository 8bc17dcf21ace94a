//! What each policy says to each page.

use super::Policy;
use crate::http::date;
use crate::http::request::Method;
use crate::http::response::{Envelope, Response};

/// The fields that a policy added to an empty answer.
fn added(add: impl Fn(Response<u8>) -> Response<u8>) -> Vec<String> {
    let envelope = Envelope { method: Method::Get, minor_version: 1, keep_alive: true, date: date::format(0) };
    let head = add(Response::new(200)).finish(envelope, Vec::new()).head;
    let head = String::from_utf8(head).expect("a head is ASCII");
    let own = ["HTTP/1.1", "Content-Length", "Date"];
    head.split("\r\n")
        .filter(|line| !line.is_empty() && !own.iter().any(|own| line.starts_with(own)))
        .map(str::to_owned)
        .collect()
}

fn allowed(fields: &[String]) -> Option<&str> {
    fields.iter().find_map(|field| field.strip_prefix("Access-Control-Allow-Origin: "))
}

fn listed() -> Policy {
    Policy::new(&["https://tv.example".to_owned(), "http://192.168.1.9:8080".to_owned()])
}

#[test]
fn off_by_default_and_then_nothing_is_said() {
    let off = Policy::new(&[]);
    for origin in [None, Some("https://tv.example")] {
        assert!(added(|response| off.film(response, origin)).is_empty());
        assert!(added(|response| off.answer(response, origin)).is_empty());
        assert!(added(|response| off.preflight(response, origin)).is_empty());
    }
}

#[test]
fn only_listed_origins_are_allowed_byte_for_byte() {
    for (origin, is_allowed) in [
        ("https://tv.example", true),
        ("http://192.168.1.9:8080", true),
        ("http://tv.example", false),
        ("https://tv.example:8443", false),
        ("https://tv.example.evil", false),
        ("https://eviltv.example", false),
        ("HTTPS://TV.EXAMPLE", false),
        ("null", false),
        ("", false),
    ] {
        let fields = added(|response| listed().film(response, Some(origin)));
        assert_eq!(allowed(&fields), is_allowed.then_some(origin), "{origin}");
        assert!(fields.contains(&"Vary: Origin".to_owned()), "a cache must know, whoever asked: {fields:?}");
    }
}

#[test]
fn an_answer_without_an_origin_still_varies() {
    assert_eq!(added(|response| listed().answer(response, None)), ["Vary: Origin"]);
    assert_eq!(added(|response| listed().preflight(response, None)), ["Vary: Origin"]);
}

#[test]
fn everyone_is_a_star_and_never_with_credentials() {
    let anyone = Policy::new(&["https://tv.example".to_owned(), "*".to_owned()]);
    let fields = added(|response| anyone.film(response, Some("https://any.example")));
    assert_eq!(allowed(&fields), Some("*"));
    for fields in [fields, added(|response| anyone.preflight(response, Some("null")))] {
        assert!(!fields.iter().any(|field| field.contains("Credentials")), "{fields:?}");
    }
}

#[test]
fn a_film_may_be_shown_by_other_sites_and_its_range_read() {
    let fields = added(|response| listed().film(response, Some("https://tv.example")));
    assert!(fields.contains(&"Cross-Origin-Resource-Policy: cross-origin".to_owned()));
    let exposed = fields.iter().find_map(|field| field.strip_prefix("Access-Control-Expose-Headers: ")).unwrap_or("");
    assert!(["Accept-Ranges", "Content-Range", "ETag"].iter().all(|name| exposed.contains(name)), "{exposed}");
}

#[test]
fn a_preflight_allows_what_players_send() {
    let fields = added(|response| listed().preflight(response, Some("https://tv.example")));
    let value = |name: &str| fields.iter().find_map(|field| field.strip_prefix(name)).unwrap_or("").to_owned();
    let asked = value("Access-Control-Allow-Headers: ");
    for name in ["Authorization", "Range", "If-Range", "Content-Type", "Accept-Encoding"] {
        assert!(asked.split(", ").any(|allowed| allowed == name), "{name} in {asked}");
    }
    assert_eq!(value("Access-Control-Allow-Methods: "), "GET, HEAD, OPTIONS");
    assert!(value("Access-Control-Max-Age: ").parse::<u32>().is_ok());
}
