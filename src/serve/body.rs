//! Request bodies: read where one is wanted, drained or refused where none is.
//!
//! A connection must never lose its place between two messages: what was promised by `Content-Length` is read to its
//! end, or the connection is closed (RFC 9112 §6, §9.3).

use tokio::net::TcpStream;

use crate::http::media_type;
use crate::http::reject::Reject;
use crate::http::request::{Body, Request};
use crate::http::response::CONTINUE;
use crate::limits;
use crate::serve::deadline::Patience;
use crate::serve::transfer;
use crate::sys::sendfile::Follow;

/// The body of one request, and how much of it has been read.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    /// What came with the head, and perhaps the next requests behind it.
    early: &'a [u8],
    /// Bytes of `early` that belong to this body and have been read.
    consumed: usize,
    /// Bytes of this body that have not been read, from anywhere.
    left: u64,
    is_chunked: bool,
    waits_for_continue: bool,
}

impl<'a> Incoming<'a> {
    /// The body of `request`, whose head was followed by `early`.
    pub fn new(request: &Request<'_>, early: &'a [u8]) -> Incoming<'a> {
        let (left, is_chunked) = match request.body {
            Body::None => (0, false),
            Body::Length(length) => (length, false),
            Body::Chunked => (0, true),
        };
        Incoming { early, consumed: 0, left, is_chunked, waits_for_continue: request.expects_continue }
    }

    /// Reads a JSON body whole.
    ///
    /// # Errors
    /// 411 without a length, 413 when it is too long, 415 when it is not declared as JSON, 408 when it does not come.
    pub async fn json(
        &mut self,
        request: &Request<'_>,
        socket: &TcpStream,
        patience: &Patience,
    ) -> Result<Vec<u8>, Reject> {
        if self.is_chunked {
            return Err(Reject::LengthRequired);
        }
        if self.left > limits::JSON_BODY_BYTES_MAX as u64 {
            return Err(Reject::BodyTooLarge);
        }
        if !request.fields.content_type.is_some_and(media_type::is_json) {
            return Err(Reject::NotJson);
        }
        let mut body = self.take_early().to_vec();
        if self.left > 0 && std::mem::take(&mut self.waits_for_continue) {
            let said = transfer::send_bytes(socket, CONTINUE, Follow::Nothing, patience).await;
            said.map_err(|_| Reject::BodyTimeout)?;
        }
        let reading = self.read(socket, |bytes| body.extend_from_slice(bytes));
        tokio::time::timeout(limits::BODY_TIMEOUT, reading).await.map_err(|_| Reject::BodyTimeout)??;
        Ok(body)
    }

    /// Makes sure that the connection stands before the next message: `Some` of the bytes that came with this head and
    /// are consumed now, or `None` when the connection must be closed instead.
    pub async fn finish(&mut self, socket: &TcpStream) -> Option<usize> {
        self.take_early();
        // A client that waits for "100 Continue" and was answered otherwise need not send its body, so nobody knows
        // what its next byte is (RFC 9110 §10.1.1).
        if self.is_chunked || self.left > limits::UNWANTED_BODY_BYTES_MAX || (self.left > 0 && self.waits_for_continue)
        {
            return None;
        }
        let draining = self.read(socket, |_| {});
        tokio::time::timeout(limits::BODY_TIMEOUT, draining).await.ok()?.ok()?;
        Some(self.consumed)
    }

    fn take_early(&mut self) -> &'a [u8] {
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.early.len() - self.consumed);
        let bytes = &self.early[self.consumed..self.consumed + here];
        self.consumed += here;
        self.left -= here as u64;
        bytes
    }

    /// Reads the rest of the body from the socket, never a byte beyond it.
    async fn read(&mut self, socket: &TcpStream, mut take: impl FnMut(&[u8])) -> Result<(), Reject> {
        let mut chunk = [0_u8; 4096];
        while self.left > 0 {
            socket.readable().await.map_err(|_| Reject::BodyTimeout)?;
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(chunk.len());
            match socket.try_read(&mut chunk[..wanted]) {
                Ok(0) => return Err(Reject::BodyTimeout),
                Ok(count) => {
                    take(&chunk[..count]);
                    self.left -= count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Reject::BodyTimeout),
            }
        }
        Ok(())
    }
}
