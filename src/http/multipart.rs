//! Several ranges in one answer: `multipart/byteranges`. RFC 9110 §14.6, RFC 2046 §5.1.1
//!
//! ```text
//! --BOUNDARY CRLF  Content-Type: …  Content-Range: bytes a-b/SIZE  CRLF CRLF   bytes in memory
//! the bytes a to b                                                             an extent of the file
//! CRLF --BOUNDARY …                                                            and so on for each part
//! CRLF --BOUNDARY-- CRLF                                                       the end
//! ```
//!
//! The one idea: a `Response` is a list of parts already, so the delimiters are small parts between extents of the file,
//! and the kernel moves the bytes of each extent as it moves those of a single range.

use std::fmt::{self, Display, Write as _};

use super::range::Extent;
use super::response::{Part, Response};

/// What stands between the parts. It must not occur in them, so it is made of 128 random bits for each answer: whoever
/// made the film cannot have put it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary(u128);

impl Boundary {
    /// From 128 random bits.
    pub fn new(random: u128) -> Boundary {
        Boundary(random)
    }
}

/// 32 hexadecimal digits: they need no quotes in the field (RFC 2046 §5.1.1).
impl Display for Boundary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// The 206 with `extents` of `file`, which has `size` bytes of the media type `content_type`. The handler adds what it
/// knows of the file (validators, caching), but no `Content-Range` and no `Content-Type`: these are in the parts
/// (RFC 9110 §15.3.7.2).
pub fn response<F: Clone>(
    file: &F,
    content_type: &str,
    size: u64,
    extents: &[Extent],
    boundary: Boundary,
) -> Response<F> {
    let response = Response::new(206)
        .field("X-Content-Type-Options", "nosniff")
        .field("Content-Type", format_args!("multipart/byteranges; boundary={boundary}"));
    let mut delimiter_start = "";
    let response = extents.iter().fold(response, |response, extent| {
        let content_range = extent.content_range(size);
        let delimiter = written(format_args!(
            "{delimiter_start}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n"
        ));
        delimiter_start = "\r\n";
        response.part(delimiter).part(Part::Extent { file: file.clone(), extent: *extent })
    });
    response.part(written(format_args!("\r\n--{boundary}--\r\n")))
}

/// A text as a part.
fn written<F>(text: fmt::Arguments<'_>) -> Part<F> {
    let mut bytes = String::with_capacity(160);
    let _ = bytes.write_fmt(text); // Writing into memory does not fail.
    Part::Bytes(bytes.into_bytes().into())
}

#[cfg(test)]
mod tests;
