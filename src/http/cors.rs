//! Which pages of other sites may read films: cross-origin resource sharing. Fetch §3.2 (fetch.spec.whatwg.org)
//!
//! The one idea: whatever a page of another origin shows of a film it must have a token for, and it sends that by itself
//! (in the URL or in `Authorization`). So we never send `Access-Control-Allow-Credentials`: the cookie of a user who is
//! signed in here is of no use to a foreign page. Only media routes are shared; the API is for our own pages.

use super::response::Response;

/// The methods that a foreign page may use.
const METHODS: &str = "GET, HEAD, OPTIONS";
/// The fields that it may send: those of players and of validators. `*` would not cover Authorization.
const REQUEST_FIELDS: &str = "Authorization, Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, \
                              If-Range, Content-Type, Accept-Encoding";
/// The fields that it may read, beside those that anyone may (Fetch §2.2.2).
const RESPONSE_FIELDS: &str = "Accept-Ranges, Content-Range, Date, ETag, Retry-After, WWW-Authenticate";
/// Seconds that a browser remembers the answer to a preflight. Chromium takes two hours at most.
const PREFLIGHT_SECONDS: u32 = 7200;

/// Who may read films.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Only our own pages: no field is sent.
    Off,
    /// The pages of every origin.
    Anyone,
    /// The pages of these origins, as browsers write them: `https://tv.example`, in small letters, without a default port.
    Origins(Vec<String>),
}

impl Policy {
    /// From the origins of the configuration; `*` is everyone.
    pub fn new(origins: &[String]) -> Policy {
        match origins {
            [] => Policy::Off,
            origins if origins.iter().any(|origin| origin == "*") => Policy::Anyone,
            origins => Policy::Origins(origins.to_vec()),
        }
    }

    /// Adds to the answer with a film, for a page of `origin`, what lets the page read it and a Cast device show it.
    #[must_use]
    pub fn film<F>(&self, response: Response<F>, origin: Option<&str>) -> Response<F> {
        match self {
            Policy::Off => response,
            Policy::Anyone | Policy::Origins(_) => {
                self.answer(response.field("Cross-Origin-Resource-Policy", "cross-origin"), origin)
            }
        }
    }

    /// Adds to any other answer of a media route, such as a refusal, what lets the page read why.
    #[must_use]
    pub fn answer<F>(&self, response: Response<F>, origin: Option<&str>) -> Response<F> {
        match self.allowed(origin) {
            Some(allowed) => self
                .varied(response)
                .field("Access-Control-Allow-Origin", allowed)
                .field("Access-Control-Expose-Headers", RESPONSE_FIELDS),
            None => self.varied(response),
        }
    }

    /// Adds to the answer to OPTIONS what a browser asks before it lets the page send its fields. Fetch §3.2.2
    #[must_use]
    pub fn preflight<F>(&self, response: Response<F>, origin: Option<&str>) -> Response<F> {
        match self.allowed(origin) {
            Some(allowed) => self
                .varied(response)
                .field("Access-Control-Allow-Origin", allowed)
                .field("Access-Control-Allow-Methods", METHODS)
                .field("Access-Control-Allow-Headers", REQUEST_FIELDS)
                .field("Access-Control-Max-Age", PREFLIGHT_SECONDS),
            None => self.varied(response),
        }
    }

    /// The value of `Access-Control-Allow-Origin` for a page of `origin`.
    fn allowed<'a>(&self, origin: Option<&'a str>) -> Option<&'a str> {
        match self {
            Policy::Off => None,
            Policy::Anyone => origin.map(|_| "*"),
            Policy::Origins(origins) => origin.filter(|origin| origins.iter().any(|known| known == origin)),
        }
    }

    /// Where the answer depends on the origin, a cache must know. RFC 9110 §12.5.5
    fn varied<F>(&self, response: Response<F>) -> Response<F> {
        match self {
            Policy::Off | Policy::Anyone => response,
            Policy::Origins(_) => response.field("Vary", "Origin"),
        }
    }
}

#[cfg(test)]
mod tests;
