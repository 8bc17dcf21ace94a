//! Request bodies: read where one is wanted, drained or refused where none is.
//!
//! A connection must never lose its place between two messages: a body is read to its end as its head promised, by
//! length or in chunks, or the connection is closed (RFC 9112 §6, §7.1, §9.3).

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::http::media_type;
use crate::http::reject::Reject;
use crate::http::request::{Body, ChunkDecoder, Piece, Request};
use crate::http::response::CONTINUE;
use crate::limits;
use crate::serve::exchange::Stop;
use crate::serve::peer::Peer;
use crate::serve::transfer;
use crate::sys::sendfile::Follow;
use crate::sys::socket;

/// The body of one request, and how much of it has been read.
///
/// What comes from the socket is looked at first and taken then, so that not one byte of the next request is read.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    /// What came with the head: the body's beginning, and perhaps the next requests behind it.
    early: &'a [u8],
    /// Bytes of `early` that belong to this body and have been read.
    consumed: usize,
    left: Left,
    waits_for_continue: bool,
}

/// What of a body has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Left {
    /// So many bytes.
    Length(u64),
    /// Chunks, up to the last one.
    Chunks(ChunkDecoder),
    /// Nobody knows: reading it failed.
    Lost,
}

impl Left {
    fn is_nothing(&self) -> bool {
        match self {
            Left::Length(length) => *length == 0,
            Left::Chunks(decoder) => decoder.is_ended(),
            Left::Lost => false,
        }
    }

    /// Bytes of data that are certain to follow, if the body ever ends.
    fn promised(&self) -> u64 {
        match self {
            Left::Length(length) => *length,
            Left::Chunks(decoder) => decoder.promised(),
            Left::Lost => 0,
        }
    }

    /// Takes what it can from the beginning of `input`.
    fn decode<'i>(&mut self, input: &'i [u8]) -> Result<Piece<'i>, Reject> {
        match self {
            Left::Length(left) => {
                let consumed = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= consumed as u64;
                Ok(Piece { consumed, data: &input[..consumed] })
            }
            Left::Chunks(decoder) => decoder.decode(input),
            Left::Lost => Err(Reject::BodyIncomplete),
        }
    }
}

impl<'a> Incoming<'a> {
    /// The body of `request`, whose head was followed by `early`.
    pub fn new(request: &Request<'_>, early: &'a [u8]) -> Incoming<'a> {
        let left = match request.body {
            Body::None => Left::Length(0),
            Body::Length(length) => Left::Length(length),
            Body::Chunked => Left::Chunks(ChunkDecoder::new()),
        };
        Incoming { early, consumed: 0, left, waits_for_continue: request.expects_continue }
    }

    /// Reads a JSON body whole.
    ///
    /// # Errors
    /// 411 without a body, 413 when it is too long, 415 when it is not declared as JSON or is coded, 408 when it does not
    /// come, 400 when it is cut; and the end, where the client does not even take `100 Continue`.
    pub async fn json(&mut self, request: &Request<'_>, peer: &Peer<'_>) -> Result<Vec<u8>, Stop> {
        wanted(request)?;
        // RFC 9110 §10.1.1: not when the body has begun to arrive without waiting.
        if std::mem::take(&mut self.waits_for_continue) && self.early.is_empty() {
            // Never halted here: what the client says next belongs to this request.
            let sent = transfer::send_bytes(peer, CONTINUE, &mut 0, Follow::Nothing, || peer.watch()).await;
            sent.map_err(Stop::Ended)?;
        }
        let mut body = Vec::new();
        self.read(peer, limits::JSON_BODY_BYTES_MAX, |data| body.extend_from_slice(data)).await?;
        Ok(body)
    }

    /// Whether what is left of the body, if anything, may be read over so that the connection can be kept.
    pub fn can_be_finished(&self) -> bool {
        let is_short = match self.left {
            Left::Length(length) => length <= limits::UNWANTED_BODY_BYTES_MAX as u64,
            Left::Chunks(_) => true,
            Left::Lost => false,
        };
        // A client that waits for "100 Continue" and was answered otherwise need not send its body, so nobody knows
        // what its next byte is (RFC 9110 §10.1.1).
        self.left.is_nothing() || (is_short && !self.waits_for_continue)
    }

    /// How many of the bytes that came with the head belong to this body, if nothing of it is left to be read.
    pub fn consumed(&self) -> Option<usize> {
        self.left.is_nothing().then_some(self.consumed)
    }

    /// Whether it has been read, and nothing came behind it.
    pub fn is_all_there(&self) -> bool {
        self.left.is_nothing() && self.consumed == self.early.len()
    }

    /// Reads over what is left, so that the connection stands before the next message: `Some` of the bytes that came with
    /// this head and are consumed now, or `None` when the connection must be closed instead.
    pub async fn finish(&mut self, peer: &Peer<'_>) -> Option<usize> {
        if !self.can_be_finished() {
            return None;
        }
        self.read(peer, limits::UNWANTED_BODY_BYTES_MAX, |_| ()).await.ok()?;
        Some(self.consumed)
    }

    /// Reads the rest of the body, at most `bytes_max` of data, and hands it over piece by piece.
    async fn read(&mut self, peer: &Peer<'_>, bytes_max: usize, take: impl FnMut(&[u8])) -> Result<(), Stop> {
        if self.left.is_nothing() {
            return Ok(());
        }
        // Whoever stops in the middle, by an error or because time is up, has lost the place.
        let mut left = std::mem::replace(&mut self.left, Left::Lost);
        let reading = self.read_all(&mut left, peer, bytes_max, take);
        tokio::time::timeout(limits::BODY_TIMEOUT, reading).await.map_err(|_| Reject::BodyTimeout)??;
        self.left = left;
        Ok(())
    }

    async fn read_all(
        &mut self,
        left: &mut Left,
        peer: &Peer<'_>,
        bytes_max: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Stop> {
        let mut data_bytes = 0_u64;
        let mut take = |input: &[u8], left: &mut Left| -> Result<usize, Reject> {
            let mut consumed = 0;
            while consumed < input.len() && !left.is_nothing() {
                let piece = left.decode(&input[consumed..])?;
                consumed += piece.consumed;
                data_bytes += piece.data.len() as u64;
                if data_bytes.saturating_add(left.promised()) > bytes_max as u64 {
                    return Err(Reject::BodyTooLarge);
                }
                take(piece.data);
            }
            Ok(consumed)
        };
        self.consumed += take(&self.early[self.consumed..], left)?;
        if left.is_nothing() {
            return Ok(());
        }
        let mut watch = peer.watch();
        // On the heap: what stands here across a wait, each connection would hold for as long as it lives.
        let mut seen = vec![0_u8; 4096];
        while !left.is_nothing() {
            watch.readable().await.map_err(Stop::Ended)?;
            match peer.socket.try_io(Interest::READABLE, || socket::peek(peer.socket, &mut seen)) {
                // The client went away in the middle of its body.
                Ok(0) => return Err(Reject::BodyIncomplete.into()),
                Ok(count) => {
                    let consumed = take(&seen[..count], left)?;
                    forget(peer.socket, &mut seen[..consumed])?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Reject::BodyIncomplete.into()),
            }
        }
        Ok(())
    }
}

/// Whether a request comes with a body that may be JSON.
fn wanted(request: &Request<'_>) -> Result<(), Reject> {
    match request.body {
        Body::None => return Err(Reject::LengthRequired),
        Body::Length(length) if length > limits::JSON_BODY_BYTES_MAX as u64 => return Err(Reject::BodyTooLarge),
        Body::Length(_) | Body::Chunked => {}
    }
    if !request.fields.content_type.is_some_and(media_type::is_json) {
        return Err(Reject::NotJson);
    }
    // RFC 9110 §8.4
    if request.fields.is_body_coded { Err(Reject::BodyCoded) } else { Ok(()) }
}

/// Takes as many bytes from the socket as `seen` has: they have been looked at, so they are there.
fn forget(socket: &TcpStream, seen: &mut [u8]) -> Result<(), Reject> {
    let mut forgotten = 0;
    while forgotten < seen.len() {
        match socket.try_read(&mut seen[forgotten..]) {
            Ok(0) => return Err(Reject::BodyIncomplete),
            Ok(count) => forgotten += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Reject::BodyIncomplete),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{Parsed, parse};
    use crate::limits;
    use crate::playback::pace::Caps;
    use crate::playback::{Bounds, Playbacks, Viewer};
    use crate::serve::deadline::Patience;
    use crate::serve::pace::Pacer;
    use std::io::Write;
    use std::time::Duration;

    const FIVE: Duration = Duration::from_secs(5);
    const PATIENCE: Patience = Patience { stall: FIVE, pause: FIVE, head: FIVE, keep_alive: FIVE };

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
            let address = client.local_addr().unwrap().ip();
            let bounds = Bounds {
                playbacks_max: 1,
                per_user_max: 1,
                connections_max: 1,
                pause: PATIENCE.pause,
                caps: Caps::NONE,
            };
            let playbacks = Playbacks::new(bounds);
            let viewer = Viewer::new(&playbacks);
            let (is_machine, pacer) = (false, Pacer::new(limits::NOT_SENT_BYTES));
            let (patience, seat, halt) = (PATIENCE, None, None);
            let peer = Peer { socket: &socket, address, is_machine, patience, viewer, pacer, seat, halt };
            let json = incoming.json(&request, &peer).await;
            let status = |stop| match stop {
                Stop::Refused(reject) => reject.status(),
                Stop::Ended(ended) => panic!("{ended:?}"),
            };
            let json = json.map(|body| String::from_utf8(body).unwrap()).map_err(status);
            (json, incoming.finish(&peer).await)
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
        assert_eq!(read(&message, 3), (Ok("{}".into()), Some(3)), "the rest is still in the socket");
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
        assert_eq!(read(&format!("{HEAD}Content-Length: 4\n\nab"), 9), (Err(400), None), "the client left");
        assert_eq!(read(&format!("{HEAD}Transfer-Encoding: chunked\n\nx\n"), 9), (Err(400), None), "no chunk");
        assert_eq!(read(&format!("{HEAD}Transfer-Encoding: chunked\n\nfffffff\n"), 9), (Err(413), None));
    }
}
