//! Where a request may carry its token: the Authorization field, the cookie, and, on media routes, the query.
//!
//! A player cannot set fields, so media routes take `?token=`; every other route refuses it there, because URLs end up
//! in histories and logs (spec/API.md, "Who is asking"). The cookie is taken from requests that change nothing; what
//! changes something by cookie must first prove its origin.

use std::borrow::Cow;

use crate::auth::BAD_TOKEN;
use crate::http::reject::Reject;
use crate::http::request::{Method, Request};

/// The cookie's name.
pub const COOKIE: &str = "reelway";

/// Which carriers a route accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriers {
    /// The Authorization field, and the cookie.
    Fields,
    /// These, and `?token=`.
    FieldsOrQuery,
}

/// The token of `request`, if it carries one where `carriers` allows.
///
/// # Errors
/// 401 when the Authorization field is there and is not `Bearer TOKEN`: a caller who presents a credential is judged
/// by it, and never taken for somebody else. 403 for a change by cookie from a page that is not ours.
pub fn token<'a>(request: &'a Request<'_>, carriers: Carriers) -> Result<Option<Cow<'a, str>>, Reject> {
    if let Some(field) = request.fields.authorization {
        return bearer(field).map(|token| Some(Cow::Borrowed(token))).ok_or(BAD_TOKEN);
    }
    if carriers == Carriers::FieldsOrQuery
        && let Some(token) = request.target.query_value("token")
    {
        return Ok(Some(token));
    }
    let Some(token) = request.fields.cookie.and_then(cookie) else { return Ok(None) };
    let changes_nothing = matches!(request.method, Method::Get | Method::Head | Method::Options);
    let is_ours = || request.fields.origin.is_some_and(|origin| is_own_origin(origin, request.fields.host));
    if changes_nothing || is_ours() { Ok(Some(Cow::Borrowed(token))) } else { Err(Reject::ForeignOrigin) }
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

/// `Bearer` SP token; the scheme in any case (RFC 6750 §2.1, RFC 9110 §11.1).
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
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
        token(&request, carriers).map(|token| token.map(Cow::into_owned))
    }

    #[test]
    fn a_token_is_found_only_where_its_route_allows() {
        use Carriers::{Fields, FieldsOrQuery};
        let some = |token: &str| Ok(Some(token.to_owned()));
        for (head, carriers, expected) in [
            ("GET / HTTP/1.1\nHost: a\n", FieldsOrQuery, Ok(None)),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer abc\n", Fields, some("abc")),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: bEARER  abc\n", Fields, some("abc")),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Basic abc\n", Fields, Err(BAD_TOKEN)),
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
