//! The whole API on a page: one `match` on the path's segments, and what each route needs.
//!
//! A row is a path, a [`Route`], and the methods it has; HEAD works wherever GET does (spec/API.md).

use uuid::Uuid;

use crate::api::health::Probe;
use crate::auth::carriers::Carriers;
use crate::auth::grant::Need;
use crate::http::reject::Reject;
use crate::http::request::Method;
use crate::http::target::Target;

/// What a target means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// Is the daemon well?
    Health(Probe),
    /// The counters.
    Metrics,
    /// A name and a password for a token.
    Login,
    /// Who am I?
    Me,
    /// The list of videos.
    Videos,
    /// One video.
    Video(Uuid),
    /// The bytes of a film, by its path.
    StreamPath(&'a str),
    /// The bytes of a film, by its id.
    StreamId(Uuid),
    /// Which methods a path has: OPTIONS on any of the above, or on the server as a whole.
    Options(&'static str),
}

const READ: &str = "GET, HEAD, OPTIONS";
const POST: &str = "POST, OPTIONS";
/// What the server can do somewhere. RFC 9110 §9.3.7
const ANY: &str = "GET, HEAD, POST, OPTIONS";

/// The route of a request.
///
/// # Errors
/// 404 for a path that is not in the table, 405 with `Allow` for a method that its row does not have.
pub fn resolve<'a>(method: Method, target: &'a Target<'_>) -> Result<Route<'a>, Reject> {
    if target.is_server() {
        return Ok(Route::Options(ANY));
    }
    let (route, allow) = match target.segments().as_slice() {
        ["health"] => (Route::Health(Probe::Whole), READ),
        ["health", "live"] => (Route::Health(Probe::Live), READ),
        ["health", "ready"] => (Route::Health(Probe::Ready), READ),
        ["metrics"] => (Route::Metrics, READ),
        ["api", "auth", "login"] => (Route::Login, POST),
        ["api", "auth", "me"] => (Route::Me, READ),
        ["api", "videos"] => (Route::Videos, READ),
        ["api", "videos", id] => (Route::Video(uuid(id)?), READ),
        ["api", "stream", "video", _, ..] => (Route::StreamPath(after(target, "/api/stream/video/")?), READ),
        ["api", "stream", id] => (Route::StreamId(uuid(id)?), READ),
        ["stream", "video", _, ..] => (Route::StreamPath(after(target, "/stream/video/")?), READ),
        _ => return Err(Reject::NotFound),
    };
    match method {
        Method::Options => Ok(Route::Options(allow)),
        Method::Get | Method::Head if allow == READ => Ok(route),
        Method::Post if allow == POST => Ok(route),
        Method::Get | Method::Head | Method::Post | Method::Put | Method::Patch | Method::Delete => {
            Err(Reject::MethodNotAllowed { allow })
        }
    }
}

/// Whether films are there, whatever the method: pages of other sites may be allowed to read them, and why not.
pub fn is_media(target: &Target<'_>) -> bool {
    matches!(target.segments().as_slice(), ["api", "stream", ..] | ["stream", "video", ..])
}

impl Route<'_> {
    /// What the route asks of its caller.
    pub fn need(&self) -> Need {
        match self {
            Route::Health(_) | Route::Login | Route::Options(_) => Need::Public,
            Route::Metrics => Need::AdminOrLoopback,
            Route::Me | Route::Videos | Route::Video(_) | Route::StreamPath(_) | Route::StreamId(_) => Need::User,
        }
    }

    /// Where the route takes a token from: media routes also from the query, for players that can set no field.
    pub fn carriers(&self) -> Carriers {
        match self {
            Route::StreamPath(_) | Route::StreamId(_) => Carriers::FieldsOrQuery,
            Route::Health(_)
            | Route::Metrics
            | Route::Login
            | Route::Me
            | Route::Videos
            | Route::Video(_)
            | Route::Options(_) => Carriers::Fields,
        }
    }
}

/// Only as we write it, in small letters or capitals (Apple's): braces, `urn:uuid:` or no dashes would give one video many
/// addresses.
fn uuid(segment: &str) -> Result<Uuid, Reject> {
    let is_plain = segment.len() == uuid::fmt::Hyphenated::LENGTH;
    Uuid::try_parse(segment).ok().filter(|_| is_plain).ok_or(Reject::NotFound)
}

fn after<'a>(target: &'a Target<'_>, prefix: &str) -> Result<&'a str, Reject> {
    target.path.strip_prefix(prefix).ok_or(Reject::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{Parsed, parse};

    /// `Some` of the route's `Debug` text, or `None` with the status of the refusal.
    fn resolved(line: &str) -> Result<String, u16> {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Ok(Parsed::Complete { request, .. }) = parse(head.as_bytes()) else { panic!("no request: {line}") };
        resolve(request.method, &request.target).map(|route| format!("{route:?}")).map_err(|no| no.status())
    }

    #[test]
    fn every_row_is_reached_and_nothing_else() {
        let id = "00000000-0000-0000-0000-000000000001";
        for (line, expected) in [
            ("GET /health", Ok("Health(Whole)".to_owned())),
            ("HEAD /health/live", Ok("Health(Live)".into())),
            ("GET /health/ready", Ok("Health(Ready)".into())),
            ("GET /health/nothing", Err(404)),
            ("GET /metrics", Ok("Metrics".into())),
            ("POST /api/auth/login", Ok("Login".into())),
            ("GET /api/auth/login", Err(405)),
            ("GET /api/auth/me", Ok("Me".into())),
            ("GET /api/videos?query=x", Ok("Videos".into())),
            (&format!("GET /api/videos/{id}"), Ok(format!("Video({id})"))),
            ("GET /api/videos/nonsense", Err(404)),
            (
                "GET /api/stream/00000000-0000-0000-0000-00000000000A",
                Ok("StreamId(00000000-0000-0000-0000-00000000000a)".into()),
            ),
            ("GET /api/stream/00000000000000000000000000000001", Err(404)),
            ("GET /api/stream/%7B00000000-0000-0000-0000-000000000001%7D", Err(404)),
            ("GET /api/stream/urn:uuid:00000000-0000-0000-0000-000000000001", Err(404)),
            ("GET /api/stream/video/a/b%20c.mp4", Ok("StreamPath(\"a/b c.mp4\")".into())),
            ("HEAD /stream/video/a.mp4?token=x", Ok("StreamPath(\"a.mp4\")".into())),
            (&format!("GET /api/stream/{id}"), Ok(format!("StreamId({id})"))),
            ("GET /api/stream/video", Err(404)),
            ("DELETE /api/stream/video/a.mp4", Err(405)),
            ("OPTIONS /api/auth/login", Ok("Options(\"POST, OPTIONS\")".into())),
            ("OPTIONS /stream/video/a", Ok("Options(\"GET, HEAD, OPTIONS\")".into())),
            ("OPTIONS *", Ok("Options(\"GET, HEAD, POST, OPTIONS\")".into())),
            ("OPTIONS /*", Err(404)),
            ("GET /", Err(404)),
            ("GET /API/videos", Err(404)),
        ] {
            assert_eq!(resolved(line), expected, "{line}");
        }
    }
}
