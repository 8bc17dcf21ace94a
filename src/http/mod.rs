//! The HTTP/1.1 grammar: bytes in, values out.
//!
//! The one idea: everything a client can write is turned, once, into a value that cannot be wrong (`Request`, `Target`,
//! `Selection`, `Verdict`) or into a `Reject`; everything we say is composed in a `Response`. Nothing in this room
//! opens a file, owns a socket, reads a clock, logs or counts: time comes in as an argument. So the whole room is
//! tested from the tables of `tests/vectors`, which the end-to-end tests and the fuzzer read as well.
//!
//! ```text
//! bytes -> request -> target            who asks for what       RFC 9112, RFC 3986
//!             `-> fields -> conditional whether to send it      RFC 9110 §13
//!                      |-> range        which bytes of it       RFC 9110 §14
//!                      `-> forwarded    whom a proxy asks for   RFC 7239
//! response, multipart, reject           what we say             RFC 9110 §15, RFC 2046 §5.1, RFC 9457
//! cors                                  who may read it         Fetch §3.2
//! date, media_type                      small tables            RFC 9110 §5.6.7, RFC 6266
//! ```
//!
//! The contract is `spec/HTTP.md`; a rule from an RFC carries its section.

pub mod conditional;
pub mod cors;
pub mod date;
pub mod forwarded;
pub mod media_type;
pub mod multipart;
pub mod range;
pub mod reject;
pub mod request;
pub mod response;
pub mod target;

/// The reader of the tables in `tests/vectors`.
#[cfg(test)]
#[path = "../../tests/vectors/reader.rs"]
pub(crate) mod vectors;

/// Second readings of the grammar, to hold the first one to.
#[cfg(test)]
#[path = "../../tests/support/models.rs"]
pub(crate) mod models;
