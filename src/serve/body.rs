//! Request bodies: read where one is wanted, drained or refused where none is.
//!
//! A connection must never lose its place between two messages: a body is read to its end as its head promised, by
//! length or in chunks, or the connection is closed (RFC 9112 §6, §7.1, §9.3).

use std::io;

use tokio::net::TcpStream;

use crate::http::media_type;
use crate::http::reject::Reject;
use crate::http::request::{Body, Request, parse_chunk_line, trailer_length};
use crate::http::response::CONTINUE;
use crate::limits;
use crate::serve::deadline::Patience;
use crate::serve::transfer;
use crate::sys::sendfile::Follow;

/// The body of one request, and how much of it has been read.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    /// What came with the head: the body's beginning, and perhaps the next requests behind it.
    early: &'a [u8],
    /// Bytes of `early` that belong to this body and have been read.
    consumed: usize,
    /// Bytes that were read from the socket and belong to what comes after this body. Nobody can put them back.
    overread: usize,
    left: Left,
    waits_for_continue: bool,
}

/// What of a body has not been read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// So many bytes.
    Length(u64),
    /// Chunks, up to the last one.
    Chunks,
    /// Nobody knows: reading it failed.
    Lost,
}

impl<'a> Incoming<'a> {
    /// The body of `request`, whose head was followed by `early`.
    pub fn new(request: &Request<'_>, early: &'a [u8]) -> Incoming<'a> {
        let left = match request.body {
            Body::None => Left::Length(0),
            Body::Length(length) => Left::Length(length),
            Body::Chunked => Left::Chunks,
        };
        Incoming { early, consumed: 0, overread: 0, left, waits_for_continue: request.expects_continue }
    }

    /// Reads a JSON body whole.
    ///
    /// # Errors
    /// 411 without a body, 413 when it is too long, 415 when it is not declared as JSON, 408 when it does not come.
    pub async fn json(
        &mut self,
        request: &Request<'_>,
        socket: &TcpStream,
        patience: &Patience,
    ) -> Result<Vec<u8>, Reject> {
        match request.body {
            Body::None => return Err(Reject::LengthRequired),
            Body::Length(length) if length > limits::JSON_BODY_BYTES_MAX as u64 => return Err(Reject::BodyTooLarge),
            Body::Length(_) | Body::Chunked => {}
        }
        if !request.fields.content_type.is_some_and(media_type::is_json) {
            return Err(Reject::NotJson);
        }
        // RFC 9110 §10.1.1: not when the body has begun to arrive without waiting.
        if std::mem::take(&mut self.waits_for_continue) && self.early.is_empty() {
            let said = transfer::send_bytes(socket, CONTINUE, Follow::Nothing, patience).await;
            said.map_err(|_| Reject::BodyTimeout)?;
        }
        let reading = self.read(socket, limits::JSON_BODY_BYTES_MAX);
        tokio::time::timeout(limits::BODY_TIMEOUT, reading).await.map_err(|_| Reject::BodyTimeout)?
    }

    /// Makes sure that the connection stands before the next message: `Some` of the bytes that came with this head and
    /// are consumed now, or `None` when the connection must be closed instead.
    pub async fn finish(&mut self, socket: &TcpStream) -> Option<usize> {
        let is_short = match self.left {
            Left::Length(length) => length <= limits::UNWANTED_BODY_BYTES_MAX as u64,
            Left::Chunks => true,
            Left::Lost => false,
        };
        let is_read = self.left == Left::Length(0);
        // A client that waits for "100 Continue" and was answered otherwise need not send its body, so nobody knows
        // what its next byte is (RFC 9110 §10.1.1).
        if !is_read && (!is_short || self.waits_for_continue) {
            return None;
        }
        let draining = self.read(socket, limits::UNWANTED_BODY_BYTES_MAX);
        tokio::time::timeout(limits::BODY_TIMEOUT, draining).await.ok()?.ok()?;
        (self.overread == 0).then_some(self.consumed)
    }

    /// Reads the rest of the body, at most `most` bytes of it.
    async fn read(&mut self, socket: &TcpStream, most: usize) -> Result<Vec<u8>, Reject> {
        // Whoever stops in the middle, by an error or because time is up, has lost the place.
        match std::mem::replace(&mut self.left, Left::Lost) {
            Left::Length(0) => {
                self.left = Left::Length(0);
                Ok(Vec::new())
            }
            Left::Length(length) => self.read_length(socket, usize::try_from(length).unwrap_or(usize::MAX)).await,
            Left::Chunks => self.read_chunks(socket, most).await,
            Left::Lost => Err(Reject::BodyTimeout),
        }
    }

    async fn read_length(&mut self, socket: &TcpStream, length: usize) -> Result<Vec<u8>, Reject> {
        let here = length.min(self.early.len());
        let mut body = self.early[..here].to_vec();
        self.consumed = here;
        while body.len() < length {
            more(socket, &mut body, length).await?;
        }
        self.left = Left::Length(0);
        Ok(body)
    }

    async fn read_chunks(&mut self, socket: &TcpStream, most: usize) -> Result<Vec<u8>, Reject> {
        let mut raw = self.early.to_vec();
        let mut body = Vec::new();
        let mut at = 0;
        loop {
            let line = loop {
                match parse_chunk_line(&raw[at..])? {
                    Some(line) => break line,
                    None => more(socket, &mut raw, usize::MAX).await?,
                }
            };
            at += line.line_length;
            let length = usize::try_from(line.data_length).unwrap_or(usize::MAX);
            if length == 0 {
                break;
            }
            if length > most - body.len() {
                return Err(Reject::BodyTooLarge);
            }
            while raw.len() < at + length + 2 {
                more(socket, &mut raw, usize::MAX).await?;
            }
            body.extend_from_slice(&raw[at..at + length]);
            if &raw[at + length..at + length + 2] != b"\r\n" {
                return Err(Reject::ChunkInvalid);
            }
            at += length + 2;
            // What has been taken is forgotten, so that small chunks of a long body do not pile up. What came with the
            // head stays: its length tells what of it was consumed.
            if at > self.early.len() {
                raw.drain(self.early.len()..at);
                at = self.early.len();
            }
        }
        let trailer = loop {
            match trailer_length(&raw[at..])? {
                Some(length) => break length,
                None => more(socket, &mut raw, usize::MAX).await?,
            }
        };
        at += trailer;
        self.consumed = at.min(self.early.len());
        self.overread = if at > self.early.len() { raw.len() - at } else { 0 };
        self.left = Left::Length(0);
        Ok(body)
    }
}

/// Waits for bytes and appends them, until there are at most `most`.
async fn more(socket: &TcpStream, bytes: &mut Vec<u8>, most: usize) -> Result<(), Reject> {
    let mut piece = [0_u8; 4096];
    let wanted = piece.len().min(most - bytes.len());
    loop {
        socket.readable().await.map_err(|_| Reject::BodyTimeout)?;
        match socket.try_read(&mut piece[..wanted]) {
            // The client closed in the middle of its body; nobody will read the answer.
            Ok(0) => return Err(Reject::BodyTimeout),
            Ok(count) => {
                bytes.extend_from_slice(&piece[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Reject::BodyTimeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{Parsed, parse};
    use std::io::Write;
    use std::time::Duration;

    const PATIENCE: Patience = Patience { stall: Duration::from_secs(5), pause: Duration::from_secs(5) };

    /// Sends `message` in two pieces, the first `cut` bytes with the head; what `json` and then `finish` say.
    fn read(message: &str, cut: usize) -> (Result<String, u16>, Option<usize>) {
        let message = message.replace('\n', "\r\n");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            let head = message.find("\r\n\r\n").unwrap() + 4;
            let cut = (head + cut).min(message.len());
            client.write_all(&message.as_bytes()[cut..]).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let pending = &message.as_bytes()[..cut];
            let Ok(Parsed::Complete { request, head_length }) = parse(pending) else { panic!("{message}") };
            let mut incoming = Incoming::new(&request, &pending[head_length..]);
            let json = incoming.json(&request, &socket, &PATIENCE).await;
            let json = json.map(|body| String::from_utf8(body).unwrap()).map_err(|no| no.status());
            (json, incoming.finish(&socket).await)
        })
    }

    const HEAD: &str = "POST / HTTP/1.1\nHost: a\nContent-Type: application/json\n";

    #[test]
    fn a_body_is_read_wherever_it_is_cut() {
        for body in
            ["Content-Length: 9\n\n{\"a\": 12}", "Transfer-Encoding: chunked\n\n4\n{\"a\"\n5;x=y\n: 12}\n0\nT: 1\n\n"]
        {
            let message = format!("{HEAD}{body}");
            let length = message.replace('\n', "\r\n").split_once("\r\n\r\n").unwrap().1.len();
            for cut in 0..=length {
                let (json, consumed) = read(&message, cut);
                assert_eq!(json.as_deref(), Ok("{\"a\": 12}"), "cut at {cut} of {body}");
                assert_eq!(consumed, Some(cut), "cut at {cut} of {body}");
            }
        }
    }

    #[test]
    fn what_stands_behind_a_body_is_left_for_the_next_request_or_ends_the_connection() {
        let message = format!("{HEAD}Transfer-Encoding: chunked\n\n2\n{{}}\n0\n\nGET / HTTP/1.1\n");
        assert_eq!(read(&message, 1000), (Ok("{}".into()), Some(12)), "all of it came with the head");
        assert_eq!(read(&message, 3), (Ok("{}".into()), None), "it was read from the socket and cannot be put back");
        let message = format!("{HEAD}Content-Length: 2\n\n{{}}GET / HTTP/1.1\n");
        assert_eq!(read(&message, 1000), (Ok("{}".into()), Some(2)));
        assert_eq!(read(&message, 0), (Ok("{}".into()), Some(0)), "by length, nothing beyond it is read");
    }

    #[test]
    fn a_body_that_is_not_wanted_is_refused_and_drained_or_the_connection_ends() {
        let refused = |fields: &str, body: &str| read(&format!("POST / HTTP/1.1\nHost: a\n{fields}\n{body}"), 1);
        assert_eq!(refused("Content-Length: 4\n", "abcd"), (Err(415), Some(1)), "drained");
        assert_eq!(refused("Content-Length: 2000000\n", "abcd"), (Err(413), None), "too long to drain");
        assert_eq!(refused("Content-Length: 4\nExpect: 100-continue\n", ""), (Err(415), None), "it may never come");
        assert_eq!(refused("", ""), (Err(411), Some(0)));
        assert_eq!(read(&format!("{HEAD}Content-Length: 4\n\nab"), 9), (Err(408), None), "the client left");
        assert_eq!(read(&format!("{HEAD}Transfer-Encoding: chunked\n\nx\n"), 9), (Err(400), None), "no chunk");
        assert_eq!(read(&format!("{HEAD}Transfer-Encoding: chunked\n\nfffffff\n"), 9), (Err(413), None));
    }
}
