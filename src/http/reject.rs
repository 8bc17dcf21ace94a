//! A "no" to the client: its status, its reason, and what the client can do about it.
//!
//! The one idea: one variant for each pair of status and reason. The reason is a stable word for metrics and for
//! programs, the detail (`Display`) a sentence for people, and the body a problem document (RFC 9457). Nothing here
//! says more than the client may know: the same words for an unknown user and a wrong password, and no path of the
//! machine.

use serde::Serialize;

use super::response::{Response, phrase};
use crate::limits::{FIELDS_MAX, HEAD_BYTES_MAX, JSON_BODY_BYTES_MAX, RETRY_AFTER_SECONDS, TARGET_BYTES_MAX};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each variant says what it means")]
pub enum Reject {
    // The grammar. RFC 9112
    #[error("The request line must be: method, space, target, space, HTTP/1.1.")]
    RequestLineInvalid,
    #[error("Every line of a request head must end with CR LF; a CR or LF alone is not accepted.")]
    LineEndingInvalid,
    #[error("A field must be on one line, its name a token directly followed by a colon; no space before either.")]
    FieldNameInvalid,
    #[error("A field value must not contain control characters.")]
    FieldValueInvalid,
    #[error("The field {name} is repeated; send it once.")]
    FieldRepeated { name: &'static str },
    #[error("An HTTP/1.1 request must have a Host field.")]
    HostMissing,
    #[error("The Host field must be host or host:port.")]
    HostInvalid,
    #[error("The Content-Length field must be decimal digits.")]
    LengthInvalid,
    #[error("Two Content-Length fields differ; send one.")]
    LengthsDiffer,
    #[error("A request must not have both Content-Length and Transfer-Encoding; send one of them.")]
    LengthWithEncoding,
    #[error("The Transfer-Encoding field must be exactly: chunked, once, and in HTTP/1.1.")]
    EncodingInvalid,
    #[error("This transfer coding is not known; send the body plain or chunked.")]
    EncodingUnknown,
    #[error("A chunk must be its size in hexadecimal digits, CR LF, so many bytes, CR LF; and few extensions.")]
    ChunkInvalid,
    #[error("The request target is not accepted: {why}.")]
    TargetInvalid { why: &'static str },
    #[error("The request target is longer than {TARGET_BYTES_MAX} bytes; shorten it.")]
    TargetTooLong,
    #[error("The request head is longer than {HEAD_BYTES_MAX} bytes; send fewer or shorter fields.")]
    HeadTooLarge,
    #[error("The request head has more than {FIELDS_MAX} fields; send fewer.")]
    TooManyFields,
    #[error("This server speaks HTTP/1.1 and HTTP/1.0 only.")]
    VersionUnsupported,
    #[error("This method is not known; use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.")]
    MethodUnknown,
    #[error("Only the expectation 100-continue can be met; leave the Expect field out.")]
    ExpectationFailed,
    #[error("The request head did not arrive in time; send it at once.")]
    HeadTimeout,

    // Who is asking.
    #[error("{}", credential.advice())]
    Unauthorized { credential: Credential, challenge: Challenge },
    #[error("You are not allowed to do this; ask an administrator.")]
    Forbidden,
    #[error(
        "A page of another site must not change anything here; open a page of this server, or send a token instead."
    )]
    ForeignOrigin,
    #[error("Too many wrong passwords; try again in {retry_after_seconds} s.")]
    TooManyAttempts { retry_after_seconds: u32 },
    #[error("All of your sessions are playing; stop one or sign out of it first.")]
    SessionsPlaying { sessions: Vec<Running> },
    #[error("The current password is wrong; nothing was changed.")]
    WrongPassword,
    #[error("This needs a session of its own; send a token from /api/auth/login instead of name and password.")]
    SessionNeeded,
    #[error("This link has been played as often as it may; ask whoever gave it to you for another.")]
    LinkUsedUp,
    #[error("There are as many links as there may be; wait until some have ended.")]
    LinksFull,

    // What is asked for.
    #[error("There is nothing at this address.")]
    NotFound,
    #[error("This method is not allowed here; use one of: {allow}.")]
    MethodNotAllowed { allow: &'static str },
    #[error("The range begins at or past the end of the file, which has {size} bytes.")]
    RangeNotSatisfiable { size: u64 },
    #[error("The file is not the one named by If-Match or If-Unmodified-Since; ask for it anew.")]
    PreconditionFailed,
    #[error("This cannot be: {why}.")]
    Conflict { why: &'static str },
    #[error("The parameter {name} is not accepted: {why}.")]
    ParameterInvalid { name: &'static str, why: &'static str },

    #[error("This connection is not encrypted, so nothing named https is here; ask for it by http.")]
    Misdirected,

    // The body.
    #[error("The connection was ended in the middle of the body; send it whole.")]
    BodyIncomplete,
    #[error("The body is compressed or otherwise coded; send it as it is, without Content-Encoding.")]
    BodyCoded,
    #[error("The body did not arrive in time; send it at once.")]
    BodyTimeout,
    #[error("A body must come with its length; send Content-Length or Transfer-Encoding: chunked.")]
    LengthRequired,
    #[error("The body is longer than {JSON_BODY_BYTES_MAX} bytes; send a shorter one.")]
    BodyTooLarge,
    #[error("The body must be JSON; send Content-Type: application/json.")]
    NotJson,
    #[error("The body is not what is expected here: {why}.")]
    BadJson { why: String },

    // Who watches.
    #[error("Server busy: it sends as many films as it may; stop one, or try again in {RETRY_AFTER_SECONDS} s.")]
    StreamsBusy { streams: Vec<Running> },
    #[error("Maximum concurrent streams reached: stop one of yours, or try again in {RETRY_AFTER_SECONDS} s.")]
    StreamsReached { streams: Vec<Running> },
    #[error(
        "This player has as many connections for this film as it may; close some, or try again in {RETRY_AFTER_SECONDS} s."
    )]
    StreamConnections,
    #[error("All sessions that this server can keep are playing; try again in {RETRY_AFTER_SECONDS} s.")]
    SessionsFull,

    // The state of the server.
    #[error("The server is busy; try again in {retry_after_seconds} s.")]
    Busy { retry_after_seconds: u32 },
    #[error("The server is shutting down; try again in {RETRY_AFTER_SECONDS} s.")]
    Draining,
    #[error("The server has as many connections as it may; close some, or try again in {RETRY_AFTER_SECONDS} s.")]
    TooManyConnections,
    #[error("The server has no room left to store this; free space on its disk.")]
    StorageFull,
    #[error("The server failed; its log has the details under this requestId.")]
    Internal,
}

/// What of the caller's is running, and so in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The session, where it is sessions that there are too many of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The stream, where it is streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// The film of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_id: Option<String>,
    /// Where it runs.
    pub client: Option<String>,
}

/// What is wrong with the proof of who is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// There is none.
    Missing,
    /// It is not valid: forged, expired, revoked, or not accepted here.
    Invalid,
    /// It is a name and a password, and not somebody's.
    Password,
    /// It is a link, and not valid or over.
    Link,
}

impl Credential {
    fn advice(self) -> &'static str {
        match self {
            Credential::Missing => {
                "This needs a sign-in; send Authorization: Bearer with a token from /api/auth/login."
            }
            Credential::Password => "Wrong name or password.",
            Credential::Link => "This link is not valid or has ended; ask whoever gave it to you for another.",
            Credential::Invalid => "The token is not valid or has expired; sign in again.",
        }
    }
}

/// Which proofs a 401 asks for. RFC 9110 §11.6.1
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A token.
    Bearer,
    /// A token, or name and password: for players, which know nothing else.
    BearerOrBasic,
}

/// The challenge of a token. A scheme is never alone: RFC 6750 §3.
const BEARER: &str = "Bearer realm=\"reelway\"";

/// The body of a refusal. RFC 9457 §3
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<&'a [Running]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<&'a [Running]>,
}

impl Reject {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.status_and_reason().0
    }

    /// The reason as a word of snake_case, for metrics, logs and programs. It never changes its meaning.
    pub fn reason(&self) -> &'static str {
        self.status_and_reason().1
    }

    /// The reason as a sentence that says what to do.
    pub fn detail(&self) -> String {
        self.to_string()
    }

    /// The reason in two or three words. What has no words of its own has those of its status (RFC 9457 §4.2.1).
    pub fn title(&self) -> &'static str {
        match self {
            // Programs know these by their words (spec/API.md, "A playback").
            Reject::StreamsBusy { .. } => "Server busy",
            Reject::StreamsReached { .. } => "Maximum concurrent streams reached",
            _ => phrase(self.status()),
        }
    }

    fn streams(&self) -> Option<&[Running]> {
        match self {
            Reject::StreamsBusy { streams } | Reject::StreamsReached { streams } => Some(streams),
            _ => None,
        }
    }

    fn sessions(&self) -> Option<&[Running]> {
        match self {
            Reject::SessionsPlaying { sessions } => Some(sessions),
            _ => None,
        }
    }

    /// The same to a player, which knows no token: a 401 offers it to send name and password.
    pub fn to_player(&self) -> Reject {
        match self {
            Reject::Unauthorized { credential, .. } => {
                Reject::Unauthorized { credential: *credential, challenge: Challenge::BearerOrBasic }
            }
            other => other.clone(),
        }
    }

    /// Whether the connection ends with this answer: after a head or a body whose end nobody knows, after a time-out,
    /// and where there is no room for the connection itself.
    pub fn closes(&self) -> bool {
        use Reject::*;
        match self {
            RequestLineInvalid
            | LineEndingInvalid
            | FieldNameInvalid
            | FieldValueInvalid
            | FieldRepeated { .. }
            | HostMissing
            | HostInvalid
            | LengthInvalid
            | LengthsDiffer
            | LengthWithEncoding
            | EncodingInvalid
            | EncodingUnknown
            | ChunkInvalid
            | TargetInvalid { .. }
            | TargetTooLong
            | HeadTooLarge
            | TooManyFields
            | VersionUnsupported
            | MethodUnknown
            | ExpectationFailed
            | HeadTimeout
            | BodyIncomplete
            | BodyTimeout
            | BodyTooLarge
            | Draining
            | TooManyConnections => true,
            Unauthorized { .. }
            | Forbidden
            | ForeignOrigin
            | WrongPassword
            | SessionNeeded
            | LinkUsedUp
            | LinksFull
            | TooManyAttempts { .. }
            | SessionsPlaying { .. }
            | StreamsBusy { .. }
            | StreamsReached { .. }
            | StreamConnections
            | SessionsFull
            | Conflict { .. }
            | NotFound
            | MethodNotAllowed { .. }
            | RangeNotSatisfiable { .. }
            | PreconditionFailed
            | ParameterInvalid { .. }
            | Misdirected
            | BodyCoded
            | LengthRequired
            | NotJson
            | BadJson { .. }
            | Busy { .. }
            | StorageFull
            | Internal => false,
        }
    }

    /// The answer: a problem document, with the fields that belong to its status. `request_id` is a UUID.
    pub fn response<F>(&self, request_id: &str) -> Response<F> {
        let (status, reason) = self.status_and_reason();
        let problem = Problem {
            r#type: format!("urn:reelway:problem:{reason}"),
            title: self.title(),
            status,
            detail: self.detail(),
            request_id,
            streams: self.streams(),
            sessions: self.sessions(),
        };
        let response = Response::problem(status, &problem);
        let response = self.add_fields(response);
        if self.closes() { response.closing() } else { response }
    }

    fn add_fields<F>(&self, response: Response<F>) -> Response<F> {
        match self {
            Reject::Unauthorized { credential, challenge } => {
                // A client that sent nothing is told no error. RFC 6750 §3.1
                let response = match credential {
                    Credential::Missing | Credential::Password | Credential::Link => {
                        response.field("WWW-Authenticate", BEARER)
                    }
                    Credential::Invalid => {
                        response.field("WWW-Authenticate", format_args!("{BEARER}, error=\"invalid_token\""))
                    }
                };
                match challenge {
                    Challenge::Bearer => response,
                    Challenge::BearerOrBasic => response.field("WWW-Authenticate", "Basic realm=\"reelway\""),
                }
            }
            Reject::BodyCoded => response.field("Accept-Encoding", "identity"), // RFC 9110 §12.5.3
            Reject::MethodNotAllowed { allow } => response.field("Allow", allow),
            Reject::RangeNotSatisfiable { size } => {
                response.field("Accept-Ranges", "bytes").field("Content-Range", format_args!("bytes */{size}"))
            } // RFC 9110 §14.4
            _ => match self.retry_after_seconds() {
                Some(seconds) => response.field("Retry-After", seconds),
                None => response,
            },
        }
    }

    /// When it makes sense to come again. RFC 9110 §10.2.3
    fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Reject::Busy { retry_after_seconds } | Reject::TooManyAttempts { retry_after_seconds } => {
                Some(*retry_after_seconds)
            }
            _ if matches!(self.status(), 429 | 503) => Some(RETRY_AFTER_SECONDS),
            _ => None,
        }
    }

    fn status_and_reason(&self) -> (u16, &'static str) {
        match self {
            Reject::RequestLineInvalid => (400, "request_line_invalid"),
            Reject::LineEndingInvalid => (400, "line_ending_invalid"),
            Reject::FieldNameInvalid => (400, "field_name_invalid"),
            Reject::FieldValueInvalid => (400, "field_value_invalid"),
            Reject::FieldRepeated { .. } => (400, "field_repeated"),
            Reject::HostMissing => (400, "host_missing"),
            Reject::HostInvalid => (400, "host_invalid"),
            Reject::LengthInvalid => (400, "length_invalid"),
            Reject::LengthsDiffer => (400, "lengths_differ"),
            Reject::LengthWithEncoding => (400, "length_with_encoding"),
            Reject::EncodingInvalid => (400, "encoding_invalid"),
            Reject::ChunkInvalid => (400, "chunk_invalid"),
            Reject::TargetInvalid { .. } => (400, "target_invalid"),
            Reject::ParameterInvalid { .. } => (400, "parameter_invalid"),
            Reject::BadJson { .. } => (400, "bad_json"),
            Reject::BodyIncomplete => (400, "body_incomplete"),
            Reject::Unauthorized { credential: Credential::Missing, .. } => (401, "credential_missing"),
            Reject::Unauthorized { credential: Credential::Invalid, .. } => (401, "credential_invalid"),
            Reject::Unauthorized { credential: Credential::Password, .. } => (401, "bad_login"),
            Reject::Unauthorized { credential: Credential::Link, .. } => (401, "bad_link"),
            Reject::Forbidden => (403, "forbidden"),
            Reject::ForeignOrigin => (403, "foreign_origin"),
            Reject::WrongPassword => (403, "wrong_password"),
            Reject::SessionNeeded => (403, "session_needed"),
            Reject::LinkUsedUp => (403, "link_used_up"),
            Reject::LinksFull => (429, "links_full"),
            Reject::NotFound => (404, "not_found"),
            Reject::MethodNotAllowed { .. } => (405, "method_not_allowed"),
            Reject::HeadTimeout => (408, "head_timeout"),
            Reject::BodyTimeout => (408, "body_timeout"),
            Reject::Conflict { .. } => (409, "conflict"),
            Reject::LengthRequired => (411, "length_required"),
            Reject::PreconditionFailed => (412, "precondition_failed"),
            Reject::BodyTooLarge => (413, "body_too_large"),
            Reject::TargetTooLong => (414, "target_too_long"),
            Reject::NotJson => (415, "not_json"),
            Reject::BodyCoded => (415, "body_coded"),
            Reject::RangeNotSatisfiable { .. } => (416, "range_not_satisfiable"),
            Reject::ExpectationFailed => (417, "expectation_failed"),
            Reject::Misdirected => (421, "misdirected"),
            Reject::HeadTooLarge => (431, "head_too_large"),
            Reject::TooManyFields => (431, "too_many_fields"),
            Reject::Internal => (500, "internal"),
            Reject::TooManyAttempts { .. } => (429, "too_many_attempts"),
            Reject::SessionsPlaying { .. } => (429, "sessions_playing"),
            Reject::StreamsBusy { .. } => (429, "streams_busy"),
            Reject::StreamsReached { .. } => (429, "streams_reached"),
            Reject::StreamConnections => (429, "stream_connections"),
            Reject::EncodingUnknown => (501, "encoding_unknown"),
            Reject::MethodUnknown => (501, "method_unknown"),
            Reject::Busy { .. } => (503, "busy"),
            Reject::Draining => (503, "draining"),
            Reject::SessionsFull => (503, "sessions_full"),
            Reject::TooManyConnections => (503, "too_many_connections"),
            Reject::VersionUnsupported => (505, "version_unsupported"),
            Reject::StorageFull => (507, "storage_full"),
        }
    }
}

#[cfg(test)]
mod tests;
