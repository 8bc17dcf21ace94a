//! The bytes a client has sent and we have not yet consumed.
//!
//! An idle connection has no buffer. One is borrowed from the shard when bytes arrive and goes back when all of them
//! are consumed; what is pipelined behind a request stays in it. A film that plays holds one, so it is as small as heads are;
//! a longer head gets a larger one, and none is longer than that (431).

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::http::reject::Reject;
use crate::http::request::{self, Parsed};
use crate::limits;
use crate::sys::socket;

/// Buffers at rest, for whoever reads next on this shard.
#[derive(Debug, Default)]
pub(super) struct Buffers(RefCell<Vec<Box<[u8]>>>);

/// Buffers at rest, for the head of the next answer: it is sent before anybody else needs one, as a rule.
#[derive(Debug, Default)]
pub(super) struct Heads(RefCell<Vec<Vec<u8>>>);

impl Heads {
    /// A buffer.
    pub fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a buffer back, if it was one and is no larger than heads are.
    pub fn put(&self, buffer: Vec<u8>) {
        let mut buffers = self.0.borrow_mut();
        if buffers.len() < limits::HEAD_BUFFERS_KEPT_MAX && (1..=limits::HEAD_BUFFER_BYTES).contains(&buffer.capacity())
        {
            buffers.push(buffer);
        }
    }
}

/// The unconsumed bytes of one connection.
#[derive(Debug)]
pub(super) struct Inbox<'a> {
    buffers: &'a Buffers,
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    /// Empty lines passed over since the last request.
    skipped: usize,
    /// How many of the unconsumed bytes have been looked at, and from how many on it is worth to look again although
    /// nothing of note has come: looking at each byte of a head that trickles would cost the square of its length.
    looked_at: usize,
    look_again_at: usize,
}

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        let rested = self.0.borrow_mut().pop();
        rested.unwrap_or_else(|| vec![0; limits::READ_BUFFER_BYTES].into_boxed_slice())
    }

    fn put(&self, buffer: Box<[u8]>) {
        let mut buffers = self.0.borrow_mut();
        if buffers.len() < limits::READ_BUFFERS_KEPT_MAX && buffer.len() == limits::READ_BUFFER_BYTES {
            buffers.push(buffer);
        }
    }
}

impl<'a> Inbox<'a> {
    pub fn new(buffers: &'a Buffers) -> Inbox<'a> {
        Inbox { buffers, buffer: None, start: 0, end: 0, skipped: 0, looked_at: 0, look_again_at: 0 }
    }

    /// The unconsumed bytes.
    pub fn pending(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    /// What stands here.
    pub fn parse(&self) -> Result<Parsed<'_>, Reject> {
        request::parse_after(self.skipped, self.pending())
    }

    /// Whether a whole head stands here, or one that is certain to be refused.
    pub fn has_head(&mut self) -> bool {
        let pending = self.pending();
        let (length, looked_at) = (pending.len(), self.looked_at.min(pending.len()));
        if request::ends_a_head(pending, looked_at) {
            return true;
        }
        // The end of a line, or what is allowed nowhere.
        let decides = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        let has_news = pending[looked_at..].iter().any(decides);
        let enters = |lengths: Range<usize>| looked_at < lengths.end && length >= lengths.start;
        let may_be_too_long = enters(METHOD_TOO_LONG) || enters(TARGET_TOO_LONG);
        let is_full = length >= limits::HEAD_BYTES_MAX;
        if !has_news && !may_be_too_long && !is_full && length < self.look_again_at {
            return false;
        }
        (self.looked_at, self.look_again_at) = (length, length + LOOK_AGAIN_BYTES + length / 8);
        is_full || self.parse().is_err()
    }

    /// Reads what has arrived, without waiting. 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has; what recv(2) says otherwise.
    pub fn read(&mut self, socket: &TcpStream) -> io::Result<usize> {
        let space = self.space();
        let mut taken = None;
        let read = socket.try_io(Interest::READABLE, || {
            let count = socket::receive(socket, space)?;
            taken = Some(count);
            // What was asked for and did not come is not there yet: to say so spares the next look its call (epoll(7), Q9).
            if (1..space.len()).contains(&count) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        });
        let read = taken.map_or(read, Ok);
        self.fill(read.as_ref().copied().unwrap_or(0));
        read
    }

    /// Takes what came with the connection, if anything did. Whether that was its end, the next read tells.
    pub fn read_early(&mut self, socket: &TcpStream) {
        let count = socket::receive(socket, self.space()).unwrap_or(0);
        self.fill(count);
    }

    /// Takes bytes that another process has read, at most [`limits::HEAD_BYTES_MAX`] in all.
    pub fn put(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            let space = self.space();
            let count = left.len().min(space.len());
            assert!(count > 0, "more bytes than an inbox holds");
            space[..count].copy_from_slice(&left[..count]);
            left = &left[count..];
            self.fill(count);
        }
    }

    /// Where the next bytes go.
    fn space(&mut self) -> &mut [u8] {
        let buffer = self.buffer.get_or_insert_with(|| self.buffers.take());
        if self.start > 0 {
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == buffer.len() && buffer.len() < limits::HEAD_BYTES_MAX {
            let mut larger = vec![0; limits::HEAD_BYTES_MAX].into_boxed_slice();
            larger[..self.end].copy_from_slice(&buffer[..self.end]);
            self.buffers.put(std::mem::replace(buffer, larger));
        }
        &mut buffer[self.end..]
    }

    /// Counts `count` bytes that were put there.
    fn fill(&mut self, count: usize) {
        self.end += count;
        self.skip_empty_lines();
    }

    /// Empty lines before a request line mean nothing (RFC 9112 §2.2); alone they are no head that has begun.
    fn skip_empty_lines(&mut self) {
        while self.skipped < limits::EMPTY_LINES_MAX && self.pending().starts_with(b"\r\n") {
            self.start += 2;
            self.skipped += 1;
            (self.looked_at, self.look_again_at) = (0, 0);
        }
        self.rest();
    }

    /// Forgets the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        (self.skipped, self.looked_at, self.look_again_at) = (0, 0, 0);
        self.skip_empty_lines();
    }

    /// Gives the buffer back when there is nothing in it.
    fn rest(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if let Some(buffer) = self.buffer.take() {
                self.buffers.put(buffer);
            }
        }
    }
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        self.consume(usize::MAX - self.start);
    }
}

/// Bytes that must come, without the end of a line among them, before a head is looked at again.
const LOOK_AGAIN_BYTES: usize = 64;
/// Where a method may become longer than any, and a target behind it too long.
const METHOD_TOO_LONG: Range<usize> = 0..64;
const TARGET_TOO_LONG: Range<usize> = limits::TARGET_BYTES_MAX..limits::TARGET_BYTES_MAX + METHOD_TOO_LONG.end;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::vectors;

    const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/request.txt"));

    /// Puts bytes into an inbox in pieces, and says at how many bytes it first had a head.
    fn first_head_at(bytes: &[u8], piece_length: usize) -> Option<usize> {
        let buffers = Buffers::default();
        let mut inbox = Inbox::new(&buffers);
        let mut at = 0;
        while at < bytes.len() {
            let space = inbox.space();
            let count = piece_length.min(bytes.len() - at).min(space.len());
            space[..count].copy_from_slice(&bytes[at..at + count]);
            inbox.fill(count);
            at += count;
            if !inbox.pending().is_empty() && inbox.has_head() {
                return Some(at);
            }
        }
        None
    }

    #[test]
    fn a_head_is_seen_however_it_is_cut_and_never_too_soon() {
        for row in vectors::rows(TABLE, 4) {
            let bytes = vectors::bytes(row[2]);
            let is_decided = !matches!(request::parse(&bytes), Ok(Parsed::Partial));
            for piece_length in [1, 2, 3, 7, 64, 1000, 8000, 9000, 20_000] {
                let seen_at = first_head_at(&bytes, piece_length);
                assert_eq!(seen_at.is_some(), is_decided, "{} in pieces of {piece_length}: {seen_at:?}", row[0]);
                let before = seen_at.unwrap_or(0).saturating_sub(piece_length);
                let is_early = matches!(request::parse(&bytes[..before]), Ok(Parsed::Complete { .. }));
                assert!(!is_early, "{} in pieces of {piece_length} was whole before {seen_at:?}", row[0]);
            }
        }
    }

    #[test]
    fn a_target_too_long_is_seen_wherever_it_is_cut() {
        let target = format!("GET /{}", "a".repeat(limits::TARGET_BYTES_MAX + 500));
        for cut in [7000, 7990, 8190, 8200, 8300] {
            assert!(first_head_at(target.as_bytes(), cut).is_some(), "cut at {cut}");
        }
    }

    #[test]
    fn empty_lines_are_no_head_and_too_many_of_them_are() {
        assert_eq!(first_head_at(b"\r\n\r\n", 1), None);
        assert_eq!(first_head_at(b"\r\n\r\n\r\n", 1), Some(5), "the third is refused at its first byte");
        assert_eq!(first_head_at(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1), Some(31));
    }
}
