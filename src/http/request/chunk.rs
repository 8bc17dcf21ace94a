//! The body in chunks, decoded as it comes. RFC 9112 §7.1
//!
//! ```text
//!            ┌──────────────────── CRLF ◄──────────────────┐
//!            ▼                                             │
//!   Size ─► [Padding ─► Extension] ─► size > 0 ─► Data ────┘
//!                                     size = 0 ─► trailers, an empty line ─► Ended
//! ```
//!
//! The one idea: a decoder takes the bytes in whatever pieces the network made of them, says which of them are data, and
//! takes none that belongs to the next request. Extensions and trailers are read over and mean nothing here, within
//! bounds. As strict about line ends as the head is, since a body is framed by them.

use super::is_token;
use crate::http::reject::Reject;
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, HEAD_BYTES_MAX};

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkDecoder {
    state: State,
    /// Bytes of extensions read over so far, of all chunks.
    extension_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size {
        size: u64,
        digits: usize,
    },
    /// In white space after a size, which only an extension may follow. RFC 9112 §7.1.1
    Padding {
        size: u64,
    },
    /// In an extension.
    Extension {
        size: u64,
    },
    /// Before the LF that ends the line of a size.
    SizeEnd {
        size: u64,
    },
    /// In the data of a chunk, of which `left` bytes are to come.
    Data {
        left: u64,
    },
    /// Before the CR and the LF that end the data of a chunk.
    DataCr,
    DataLf,
    /// In the name of a trailer, or at the beginning of the line that ends the body: bytes of all trailers so far, and of
    /// the name.
    Name {
        bytes: usize,
        name: usize,
    },
    /// In the value of a trailer.
    Value {
        bytes: usize,
    },
    /// Before the LF that ends a trailer.
    ValueEnd {
        bytes: usize,
    },
    /// Before the LF that ends the body.
    LastLf {
        bytes: usize,
    },
    /// After the body.
    Ended,
}

/// What the next bytes of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// So many bytes of the input have been taken: framing, and then the data, if any.
    pub consumed: usize,
    /// The data among them.
    pub data: &'a [u8],
}

impl ChunkDecoder {
    /// Before the first chunk.
    pub fn new() -> ChunkDecoder {
        ChunkDecoder { state: State::Size { size: 0, digits: 0 }, extension_bytes: 0 }
    }

    /// Whether the body has ended: nothing that follows belongs to it.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Bytes of data that the current chunk still has.
    pub fn promised(&self) -> u64 {
        if let State::Data { left } = self.state { left } else { 0 }
    }

    /// Takes bytes from the beginning of `input`, up to and with the first stretch of data. It takes all of them, unless
    /// it has found data or the end of the body; call it again with the rest.
    ///
    /// # Errors
    /// `Reject::ChunkInvalid` for anything but hexadecimal digits, perhaps extensions, and CRLF around each chunk, and
    /// `Reject::HeadTooLarge` for trailers longer than a head may be. The decoder is of no use after that.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Piece<'a>, Reject> {
        for (at, byte) in input.iter().enumerate() {
            if let State::Data { left } = self.state {
                let there = &input[at..];
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(there.len());
                self.state =
                    if left == length as u64 { State::DataCr } else { State::Data { left: left - length as u64 } };
                return Ok(Piece { consumed: at + length, data: &there[..length] });
            }
            if self.is_ended() {
                return Ok(Piece { consumed: at, data: &[] });
            }
            self.state = self.after(*byte)?;
        }
        Ok(Piece { consumed: input.len(), data: &[] })
    }

    /// The state after a byte of the framing.
    fn after(&mut self, byte: u8) -> Result<State, Reject> {
        match (self.state, byte) {
            (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                if digits == CHUNK_SIZE_DIGITS_MAX {
                    return Err(Reject::ChunkInvalid); // Sixteen digits fill 64 bits; a further one would wrap.
                }
                Ok(State::Size { size: (size << 4) | hexadecimal(byte), digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(Reject::ChunkInvalid),
            (State::Size { size, .. } | State::Padding { size }, b' ' | b'\t') => {
                self.extended(State::Padding { size })
            }
            (State::Size { size, .. } | State::Padding { size }, b';') => self.extended(State::Extension { size }),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Extension { size }, byte) if is_text(byte) => self.extended(State::Extension { size }),
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Name { bytes: 0, name: 0 }),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (
                State::Name { bytes, .. }
                | State::Value { bytes }
                | State::ValueEnd { bytes }
                | State::LastLf { bytes },
                _,
            ) if bytes == HEAD_BYTES_MAX => Err(Reject::HeadTooLarge),
            (State::Name { bytes, name: 0 }, b'\r') => Ok(State::LastLf { bytes: bytes + 1 }),
            (State::Name { bytes, name: 1.. }, b':') => Ok(State::Value { bytes: bytes + 1 }),
            (State::Name { bytes, name }, byte) if is_token(byte) => {
                Ok(State::Name { bytes: bytes + 1, name: name + 1 })
            }
            (State::Value { bytes }, b'\r') => Ok(State::ValueEnd { bytes: bytes + 1 }),
            (State::Value { bytes }, byte) if is_text(byte) => Ok(State::Value { bytes: bytes + 1 }),
            (State::ValueEnd { bytes }, b'\n') => Ok(State::Name { bytes: bytes + 1, name: 0 }),
            (State::LastLf { .. }, b'\n') => Ok(State::Ended),
            (
                State::Size { .. }
                | State::Padding { .. }
                | State::Extension { .. }
                | State::SizeEnd { .. }
                | State::Data { .. }
                | State::DataCr
                | State::DataLf
                | State::Name { .. }
                | State::Value { .. }
                | State::ValueEnd { .. }
                | State::LastLf { .. }
                | State::Ended,
                _,
            ) => Err(Reject::ChunkInvalid),
        }
    }

    /// Counts a byte of an extension. RFC 9112 §7.1.1 asks to bound them.
    fn extended(&mut self, state: State) -> Result<State, Reject> {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX { Err(Reject::ChunkInvalid) } else { Ok(state) }
    }
}

impl Default for ChunkDecoder {
    fn default() -> ChunkDecoder {
        ChunkDecoder::new()
    }
}

/// The value of a hexadecimal digit.
fn hexadecimal(digit: u8) -> u64 {
    char::from(digit).to_digit(16).map_or(0, u64::from)
}

/// What may stand on a line: no controls but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests;
