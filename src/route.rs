//! The whole API on a page: one table of paths, and of the methods, the role and the route that each has.
//!
//! A row is a path, its methods, and what each asks of its caller; HEAD works wherever GET does, and OPTIONS everywhere
//! (spec/API.md). [`resolve`] and [`TABLE`], which the test of every route and every role walks, are made of the same rows,
//! so neither can forget one. Reading the rows of `resolve` is reading the API.

mod answer;

pub use answer::answer;

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
    /// An end to this session.
    Logout,
    /// A new token for this session.
    Refresh,
    /// Who am I?
    Me,
    /// Another name or address for oneself.
    ChangeMe,
    /// Another password for oneself.
    ChangePassword,
    /// How one likes to watch.
    Preferences,
    /// To like it otherwise.
    SetPreferences,
    /// A token for a user, for whoever is the machine.
    MakeToken,
    /// The accounts.
    Users,
    /// A new account.
    AddUser,
    /// One account.
    User(Uuid),
    /// A change of one account.
    ChangeUser(Uuid),
    /// An end to one account.
    RemoveUser(Uuid),
    /// The session of this very request.
    Session,
    /// Who is signed in where.
    Sessions,
    /// An end to all of these sessions.
    EndSessions,
    /// One session.
    SessionOf(Uuid),
    /// An end to one session.
    EndSession(Uuid),
    /// Who is watching what.
    Streams,
    /// An end to all of that.
    StopStreams,
    /// One stream.
    Stream(Uuid),
    /// An end to one stream.
    StopStream(Uuid),
    /// The list of videos.
    Videos,
    /// One video.
    Video(Uuid),
    /// A link to one film, for somebody who is no user.
    MakeLink(Uuid),
    /// All films, as a list that players read.
    LibraryPlaylist,
    /// The bytes of the film that the token in the path is for.
    Shared,
    /// The bytes of a film, by its path.
    StreamPath(&'a str),
    /// The bytes of a film, by its id.
    StreamId(Uuid),
    /// Have the roots looked through.
    ScanLibrary,
    /// How far that is, or what came of it.
    LibraryStatus,
    /// Who did what.
    Audit,
    /// What is in force, and why.
    Configuration,
    /// Which methods a path has: OPTIONS on any of the above, or on the server as a whole.
    Options(&'static str),
}

/// Whether a route is about a JSON body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanting {
    /// It is not.
    Nothing,
    /// It may come with one.
    MayBe,
    /// It needs one.
    Needed,
}

/// What a request means, and what that asks of its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// What it means.
    pub route: Route<'a>,
    /// Who may take it.
    pub need: Need,
    /// Where it takes a token from.
    pub carriers: Carriers,
}

/// One path of the API with one of its methods.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The segments as a pattern: `["api", "videos", id]`.
    pub path: &'static str,
    /// GET stands for HEAD as well.
    pub method: Method,
    /// Who may take it.
    pub need: Need,
    /// Where it takes a token from.
    pub carriers: Carriers,
}

/// What the server can do somewhere. RFC 9110 §9.3.7
const ANY: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Makes `resolve` and `TABLE` of the rows. `id NAME` reads a segment as a UUID.
macro_rules! routes {
    ($target:ident: $($path:tt $(id $id:ident)? { $($method:ident $need:ident $carriers:ident => $route:expr;)+ })+) => {
        /// Every path with every method of its own, in the order of the table.
        pub const TABLE: &[Row] = &[$($(Row {
            path: stringify!($path),
            method: Method::$method,
            need: Need::$need,
            carriers: Carriers::$carriers,
        },)+)+];

        /// The route of a request.
        ///
        /// # Errors
        /// 404 for a path that is not in the table, 405 with `Allow` for a method that its row does not have.
        pub fn resolve<'a>(method: Method, $target: &'a Target<'_>) -> Result<Resolved<'a>, Reject> {
            if $target.is_server() {
                return Ok(options(ANY));
            }
            match $target.segments().as_slice() {
                $($path => {
                    $(let $id = uuid($id)?;)?
                    const ALLOW: &str = concat!($(allow!($method),)+ "OPTIONS");
                    match method {
                        $(allowed!($method) => Ok(Resolved {
                            route: $route,
                            need: Need::$need,
                            carriers: Carriers::$carriers,
                        }),)+
                        Method::Options => Ok(options(ALLOW)),
                        #[allow(unreachable_patterns, reason = "a path may have every method")]
                        _ => Err(Reject::MethodNotAllowed { allow: ALLOW }),
                    }
                })+
                _ => Err(Reject::NotFound),
            }
        }
    };
}

/// How a method of the table stands in `Allow`.
macro_rules! allow {
    (Get) => {
        "GET, HEAD, "
    };
    (Post) => {
        "POST, "
    };
    (Put) => {
        "PUT, "
    };
    (Patch) => {
        "PATCH, "
    };
    (Delete) => {
        "DELETE, "
    };
}

/// The methods of a request that a method of the table serves.
macro_rules! allowed {
    (Get) => {
        Method::Get | Method::Head
    };
    ($method:ident) => {
        Method::$method
    };
}

routes! { target:
    // Is it well?
    ["health"]                          { Get Public Fields => Route::Health(Probe::Whole); }
    ["health", "live"]                  { Get Public Fields => Route::Health(Probe::Live); }
    ["health", "ready"]                 { Get Public Fields => Route::Health(Probe::Ready); }
    ["metrics"]                         { Get AdminOrLoopback Fields => Route::Metrics; }
    // Who is asking.
    ["api", "auth", "login"]            { Post Public Fields => Route::Login; }
    ["api", "auth", "logout"]           { Post User Fields => Route::Logout; }
    ["api", "auth", "refresh"]          { Post User Fields => Route::Refresh; }
    ["api", "auth", "me"]               { Get User Fields => Route::Me; }
    ["api", "users"]                    {
        Get Admin Fields => Route::Users;
        Post Admin Fields => Route::AddUser;
    }
    ["api", "users", "me"]              { Patch User Fields => Route::ChangeMe; }
    ["api", "users", "me", "password"]  { Put User Fields => Route::ChangePassword; }
    ["api", "users", "me", "preferences"] {
        Get User Fields => Route::Preferences;
        Put User Fields => Route::SetPreferences;
    }
    ["api", "users", id] id id          {
        Get Admin Fields => Route::User(id);
        Patch Admin Fields => Route::ChangeUser(id);
        Delete Admin Fields => Route::RemoveUser(id);
    }
    ["api", "session"]                  { Get User Fields => Route::Session; }
    ["api", "sessions"]                 {
        Get User Fields => Route::Sessions;
        Delete User Fields => Route::EndSessions;
    }
    ["api", "sessions", id] id id       {
        Get User Fields => Route::SessionOf(id);
        Delete User Fields => Route::EndSession(id);
    }
    ["api", "streams"]                  {
        Get User Fields => Route::Streams;
        Delete User Fields => Route::StopStreams;
    }
    ["api", "streams", id] id id        {
        Get User Fields => Route::Stream(id);
        Delete User Fields => Route::StopStream(id);
    }
    // What there is.
    ["api", "videos"]                   { Get User Fields => Route::Videos; }
    ["api", "videos", id] id id         { Get UserOrGuest FieldsOrMediaQuery => Route::Video(id); }
    ["api", "videos", id, "link"] id id { Post User Fields => Route::MakeLink(id); }
    ["api", "library.m3u8"]             { Get User FieldsOrQuery => Route::LibraryPlaylist; }
    // The films.
    ["api", "stream", "video", _, ..]   {
        Get UserOrGuest FieldsOrQuery => Route::StreamPath(after(target, "/api/stream/video/")?);
    }
    ["api", "stream", id] id id         { Get UserOrGuest FieldsOrQuery => Route::StreamId(id); }
    ["stream", "video", _, ..]          {
        Get UserOrGuest FieldsOrQuery => Route::StreamPath(after(target, "/stream/video/")?);
    }
    ["s", _, _]                         { Get UserOrGuest Path => Route::Shared; }
    // The administrator.
    ["api", "library", "scan"]          { Post Admin Fields => Route::ScanLibrary; }
    ["api", "library", "status"]        { Get Admin Fields => Route::LibraryStatus; }
    ["api", "admin", "audit"]           { Get Admin Fields => Route::Audit; }
    ["api", "admin", "config"]          { Get Admin Fields => Route::Configuration; }
    ["api", "admin", "token"]           { Post Machine Fields => Route::MakeToken; }
}

impl Route<'_> {
    /// Whether the route is about a JSON body.
    pub fn body(&self) -> Wanting {
        match self {
            Route::Login
            | Route::ChangeMe
            | Route::ChangePassword
            | Route::SetPreferences
            | Route::AddUser
            | Route::MakeToken
            | Route::ChangeUser(_) => Wanting::Needed,
            Route::MakeLink(_) => Wanting::MayBe,
            Route::Health(_)
            | Route::Metrics
            | Route::Logout
            | Route::Refresh
            | Route::Me
            | Route::Preferences
            | Route::Users
            | Route::User(_)
            | Route::RemoveUser(_)
            | Route::Session
            | Route::Sessions
            | Route::EndSessions
            | Route::SessionOf(_)
            | Route::EndSession(_)
            | Route::Streams
            | Route::StopStreams
            | Route::Stream(_)
            | Route::StopStream(_)
            | Route::Videos
            | Route::Video(_)
            | Route::LibraryPlaylist
            | Route::Shared
            | Route::StreamPath(_)
            | Route::StreamId(_)
            | Route::ScanLibrary
            | Route::LibraryStatus
            | Route::Audit
            | Route::Configuration
            | Route::Options(_) => Wanting::Nothing,
        }
    }
}

fn options<'a>(allow: &'static str) -> Resolved<'a> {
    Resolved { route: Route::Options(allow), need: Need::Public, carriers: Carriers::Fields }
}

/// Whether films are there, whatever the method: pages of other sites may be allowed to read them, and why not.
pub fn is_media(target: &Target<'_>) -> bool {
    let is_below =
        |prefix: &str| target.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_below("/api/stream") || is_below("/stream/video") || (is_shared(target) && target.segments().len() == 3)
}

/// Whether the path carries a token.
pub fn is_shared(target: &Target<'_>) -> bool {
    target.path == "/s" || target.path.starts_with("/s/")
}

/// The path as a log may show it: without a token.
pub fn shown<'a>(target: &'a Target<'_>) -> &'a str {
    if is_shared(target) { "/s/…" } else { &target.path }
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
        resolve(request.method, &request.target).map(|found| format!("{:?}", found.route)).map_err(|no| no.status())
    }

    #[test]
    fn a_token_in_the_path_is_not_shown() {
        let head = "GET /s/secret/film.mp4 HTTP/1.1\r\nHost: a\r\n\r\n";
        let Ok(Parsed::Complete { request, .. }) = parse(head.as_bytes()) else { panic!("no request") };
        assert_eq!(shown(&request.target), "/s/…");
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
            ("GET /s/abc/film.mp4", Ok("Shared".into())),
            ("GET /s/abc", Err(404)),
            ("POST /s/abc/film.mp4", Err(405)),
            ("POST /api/library/scan", Ok("ScanLibrary".into())),
            ("GET /api/library/scan", Err(405)),
            ("GET /api/library/status", Ok("LibraryStatus".into())),
            ("GET /api/library", Err(404)),
            ("GET /api/admin/config", Ok("Configuration".into())),
            ("GET /api/library.m3u8?token=x", Ok("LibraryPlaylist".into())),
            (&format!("POST /api/videos/{id}/link"), Ok(format!("MakeLink({id})"))),
            ("DELETE /api/stream/video/a.mp4", Err(405)),
            ("OPTIONS /api/auth/login", Ok("Options(\"POST, OPTIONS\")".into())),
            ("OPTIONS /stream/video/a", Ok("Options(\"GET, HEAD, OPTIONS\")".into())),
            ("OPTIONS *", Ok("Options(\"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\")".into())),
            ("PATCH /api/users/me", Ok("ChangeMe".into())),
            ("GET /api/users/me", Err(405)),
            (&format!("DELETE /api/users/{id}"), Ok(format!("RemoveUser({id})"))),
            (&format!("PUT /api/users/{id}"), Err(405)),
            ("DELETE /api/sessions", Ok("EndSessions".into())),
            (&format!("OPTIONS /api/sessions/{id}"), Ok("Options(\"GET, HEAD, DELETE, OPTIONS\")".into())),
            ("OPTIONS /*", Err(404)),
            ("GET /", Err(404)),
            ("GET /API/videos", Err(404)),
        ] {
            assert_eq!(resolved(line), expected, "{line}");
        }
    }
}
