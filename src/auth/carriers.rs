//! Where a request may carry its credential: the Authorization field, the cookie, and, on media routes, the query.
//!
//! A player cannot set fields, so media routes take `?token=`, and every route a name and a password (RFC 7617), which
//! players make of `http://name:password@host/`. Other routes refuse a token in the query, because URLs end up in histories
//! and logs (spec/API.md, "Who is asking"). A browser sends the cookie, and a password it knows, whoever's page asks it to:
//! what changes something by them must show by its `Origin` that the page was ours.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::auth::{BAD_PASSWORD, BAD_TOKEN};
use crate::http::reject::Reject;
use crate::http::request::{Method, Request};

/// The cookie's name.
pub const COOKIE: &str = "reelway";

/// Which carriers a route accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriers {
    /// The Authorization field, and the cookie.
    Fields,
    /// These, and `?token=`, with a token of any kind.
    FieldsOrQuery,
    /// The same, but in the query only a token for one film.
    FieldsOrMediaQuery,
    /// The second segment of the path, with a token for one film, and nothing else.
    Path,
}

/// What a request carries to prove who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried<'a> {
    /// A session's token.
    Token(Cow<'a, str>),
    /// A token for one film.
    Media(Cow<'a, str>),
    /// Either of these.
    Any(Cow<'a, str>),
    /// A name and a password.
    Password(Basic),
}

/// A name and a password. Its `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Basic(…)")
    }
}

/// The credential of `request`, if it carries one where `carriers` allows.
///
/// # Errors
/// 401 when the Authorization field is there and is neither `Bearer TOKEN` nor `Basic NAME-AND-PASSWORD`: a caller who
/// presents a credential is judged by it, and never taken for somebody else. 403 for a change by cookie or password from a
/// page that is not ours.
pub fn carried<'a>(request: &'a Request<'_>, carriers: Carriers) -> Result<Option<Carried<'a>>, Reject> {
    let changes_nothing = matches!(request.method, Method::Get | Method::Head | Method::Options);
    let origin = request.fields.origin;
    let is_ours = |origin| is_own_origin(origin, request.fields.host);
    if carriers == Carriers::Path {
        return Ok(request.target.segments().get(1).map(|token| Carried::Media(Cow::Borrowed(*token))));
    }
    if let Some(field) = request.fields.authorization {
        let (scheme, credential) = scheme(field).ok_or(BAD_TOKEN)?;
        if scheme.eq_ignore_ascii_case("basic") {
            let basic = basic(credential);
            // A program has no origin; a page that has one must be ours.
            let is_allowed = changes_nothing || origin.is_none_or(is_ours);
            return if is_allowed {
                basic.map(|basic| Some(Carried::Password(basic)))
            } else {
                Err(Reject::ForeignOrigin)
            };
        }
        // The scheme in any case (RFC 6750 §2.1, RFC 9110 §11.1).
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty();
        return if is_bearer { Ok(Some(Carried::Token(Cow::Borrowed(credential)))) } else { Err(BAD_TOKEN) };
    }
    match (carriers, request.target.query_value("token")) {
        (Carriers::FieldsOrQuery, Some(token)) => return Ok(Some(Carried::Any(token))),
        (Carriers::FieldsOrMediaQuery, Some(token)) => return Ok(Some(Carried::Media(token))),
        (Carriers::Fields | Carriers::Path, _) | (_, None) => {}
    }
    let Some(token) = request.fields.cookie.and_then(cookie) else { return Ok(None) };
    if changes_nothing || origin.is_some_and(is_ours) {
        Ok(Some(Carried::Token(Cow::Borrowed(token))))
    } else {
        Err(Reject::ForeignOrigin)
    }
}

/// The two parts of an Authorization field: scheme, spaces, credential (RFC 9110 §11.4).
fn scheme(field: &str) -> Option<(&str, &str)> {
    let space = field.bytes().position(|byte| byte == b' ')?;
    Some((&field[..space], field[space..].trim_ascii()))
}

/// base64(name ":" password), UTF-8; the first colon divides (RFC 7617 §2).
fn basic(encoded: &str) -> Result<Basic, Reject> {
    let decoded = BASE64_STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = decoded.as_ref().and_then(|text| text.split_once(':'));
    let parts =
        parts.filter(|(name, password)| !name.is_empty() && !password.is_empty() && !name.contains(char::is_control));
    let basic = parts.map(|(name, password)| Basic { name: name.to_owned(), password: password.to_owned() });
    basic.ok_or(BAD_PASSWORD)
}

/// Whether a page of this origin came from the host that is asked now (RFC 6454 §6.2). The port of the scheme may be left out.
fn is_own_origin(origin: &str, host: Option<&str>) -> bool {
    let (Some((scheme, authority)), Some(host)) = (origin.split_once("://"), host) else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let [authority, host] = [authority, host].map(|text| text.strip_suffix(port).unwrap_or(text));
    authority.eq_ignore_ascii_case(host)
}

/// Our pair among `name=value; name=value` (RFC 6265 §5.4).
fn cookie(field: &str) -> Option<&str> {
    field.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{Parsed, parse};

    fn found(head: &str, carriers: Carriers) -> Result<Option<String>, Reject> {
        let head = head.replace('\n', "\r\n") + "\r\n";
        let Ok(Parsed::Complete { request, .. }) = parse(head.as_bytes()) else { panic!("not a request: {head}") };
        carried(&request, carriers).map(|carried| {
            carried.map(|carried| match carried {
                Carried::Token(token) | Carried::Media(token) | Carried::Any(token) => token.into_owned(),
                Carried::Password(Basic { name, password }) => format!("{name} + {password}"),
            })
        })
    }

    #[test]
    fn a_token_is_found_only_where_its_route_allows() {
        use Carriers::{Fields, FieldsOrQuery};
        let some = |token: &str| Ok(Some(token.to_owned()));
        for (head, carriers, expected) in [
            ("GET / HTTP/1.1\nHost: a\n", FieldsOrQuery, Ok(None)),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer abc\n", Fields, some("abc")),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: bEARER  abc\n", Fields, some("abc")),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Basic abc\n", Fields, Err(BAD_PASSWORD)),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: bAsic  YW5uOmE6Yg==\n", Fields, some("ann + a:b")),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Basic YW5u\n", Fields, Err(BAD_PASSWORD)),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Basic OmI=\n", Fields, Err(BAD_PASSWORD)),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Basic YW4Kbjpi\n", Fields, Err(BAD_PASSWORD)),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Basic /zpi\n", Fields, Err(BAD_PASSWORD)),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Digest YW5uOmI=\n", Fields, Err(BAD_TOKEN)),
            ("PUT / HTTP/1.1\nHost: a\nAuthorization: Basic YW5uOmI=\n", Fields, some("ann + b")),
            ("PUT / HTTP/1.1\nHost: a\nAuthorization: Basic YW5uOmI=\nOrigin: http://a\n", Fields, some("ann + b")),
            (
                "PUT / HTTP/1.1\nHost: a\nAuthorization: Basic YW5uOmI=\nOrigin: http://b\n",
                Fields,
                Err(Reject::ForeignOrigin),
            ),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer\n", Fields, Err(BAD_TOKEN)),
            ("GET /?token=abc HTTP/1.1\nHost: a\n", FieldsOrQuery, some("abc")),
            ("GET /?token=abc HTTP/1.1\nHost: a\n", Fields, Ok(None)),
            ("GET /?token=q HTTP/1.1\nHost: a\nAuthorization: Bearer f\n", FieldsOrQuery, some("f")),
            ("GET / HTTP/1.1\nHost: a\nCookie: x=1; reelway=abc\n", Fields, some("abc")),
            ("HEAD / HTTP/1.1\nHost: a\nCookie: reelway=abc\n", Fields, some("abc")),
            ("POST / HTTP/1.1\nHost: a\nCookie: reelway=abc\n", Fields, Err(Reject::ForeignOrigin)),
            ("PUT / HTTP/1.1\nHost: a\nCookie: reelway=abc\nOrigin: null\n", Fields, Err(Reject::ForeignOrigin)),
            ("PUT / HTTP/1.1\nHost: a\nCookie: reelway=abc\nOrigin: http://b\n", Fields, Err(Reject::ForeignOrigin)),
            ("PUT / HTTP/1.1\nHost: a\nCookie: reelway=abc\nOrigin: http://a.b\n", Fields, Err(Reject::ForeignOrigin)),
            ("PUT / HTTP/1.1\nHost: a\nCookie: reelway=abc\nOrigin: http://a:81\n", Fields, Err(Reject::ForeignOrigin)),
            ("PUT / HTTP/1.1\nHost: a\nCookie: reelway=abc\nOrigin: file://a\n", Fields, Err(Reject::ForeignOrigin)),
            ("PUT / HTTP/1.1\nHost: a\nCookie: reelway=abc\nOrigin: http://A\n", Fields, some("abc")),
            ("PUT / HTTP/1.1\nHost: a:443\nCookie: reelway=abc\nOrigin: https://a\n", Fields, some("abc")),
            ("PUT / HTTP/1.1\nHost: a:3000\nCookie: reelway=abc\nOrigin: http://a:3000\n", Fields, some("abc")),
            ("PUT / HTTP/1.1\nHost: a\nCookie: x=1\nOrigin: http://b\n", Fields, Ok(None)),
            ("GET / HTTP/1.1\nHost: a\nCookie: xreelway=abc\n", Fields, Ok(None)),
        ] {
            assert_eq!(found(head, carriers), expected, "{head}");
        }
    }
}
