//! The lines between the chunks of a body. RFC 9112 §7.1
//!
//! The one idea: only the size of a chunk matters; extensions and trailers are read over, within bounds, and mean
//! nothing here. As strict about line ends as the head is, since a body is framed by them.

use crate::http::reject::Reject;
use crate::limits::{CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX};

/// The line before a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLine {
    /// Bytes of the line, with its CRLF.
    pub line_length: usize,
    /// Bytes of data after it, then CRLF. 0 for the last chunk, which trailers follow (`trailer_length`).
    pub data_length: u64,
}

/// Reads the line before a chunk at the start of `bytes`; nothing if it has not ended yet.
///
/// # Errors
/// `Reject::ChunkInvalid` for anything but hexadecimal digits, perhaps extensions, and CRLF, within 256 bytes.
pub fn parse_chunk_line(bytes: &[u8]) -> Result<Option<ChunkLine>, Reject> {
    let window = bytes.get(..CHUNK_LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() == CHUNK_LINE_BYTES_MAX { Err(Reject::ChunkInvalid) } else { Ok(None) };
    };
    let text = window[..end].strip_suffix(b"\r").ok_or(Reject::ChunkInvalid)?;
    let starts_with_digit = text.first().is_some_and(u8::is_ascii_hexdigit); // httparse reads "" as 0
    if !starts_with_digit || text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Reject::ChunkInvalid);
    }
    match httparse::parse_chunk_size(&window[..=end]) {
        Ok(httparse::Status::Complete((line_length, data_length))) => Ok(Some(ChunkLine { line_length, data_length })),
        Ok(httparse::Status::Partial) | Err(_) => Err(Reject::ChunkInvalid),
    }
}

/// Bytes of the trailers at the start of `bytes`, with the blank line that ends them and the body; nothing if it has
/// not come yet.
///
/// # Errors
/// `Reject::HeadTooLarge` for trailers longer than a head may be, `Reject::LineEndingInvalid` for a bare CR or LF.
pub fn trailer_length(bytes: &[u8]) -> Result<Option<usize>, Reject> {
    let window = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    match super::blank_line_end(window)? {
        None if window.len() == HEAD_BYTES_MAX => Err(Reject::HeadTooLarge),
        end => Ok(end),
    }
}
