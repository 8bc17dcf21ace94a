//! A small HTTP/1.1 client over a plain socket: it shows exactly what the daemon sent, and hides nothing.
//!
//! No library: a library would repair, retry or pool what these tests want to see. Every read has a deadline.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use super::films::Pattern;
use super::{PATIENCE, unread};

/// The status line and the fields of one response.
#[derive(Debug, Clone)]
pub struct Head {
    /// Status code.
    pub status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// A head that was read elsewhere.
    pub fn new(status: u16, fields: Vec<(String, String)>) -> Head {
        Head { status, fields }
    }

    /// The value of a field, its name without regard to case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let same = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        self.fields.iter().find(same).map(|(_, value)| value.as_str())
    }

    /// The values of all fields of this name, in order.
    pub fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        let same = move |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str())
    }

    /// `Content-Length`, in bytes.
    ///
    /// # Panics
    /// If it is missing or no number: every response with a body carries one (spec/HTTP.md).
    pub fn length(&self) -> u64 {
        let value = self.field("content-length");
        value.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no Content-Length in {self:?}"))
    }
}

/// One whole response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status and fields.
    pub head: Head,
    /// The body, `Content-Length` bytes long.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in the body of {:?}", self.head))
    }

    /// Checks that this is a refusal with the given status, in the form of RFC 9457.
    pub fn is_problem(&self, status: u16) {
        assert_eq!(self.head.status, status, "{:?}", self.head);
        let content_type = self.head.field("content-type");
        assert_eq!(content_type, Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{member} is empty in {problem}");
        }
        let request_id = problem["requestId"].as_str().unwrap_or_default();
        assert!(uuid::Uuid::parse_str(request_id).is_ok(), "requestId in {problem}");
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The server closed it.
    Closed,
    /// The server reset it.
    Reset,
}

/// One connection to the daemon.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap()
    }

    /// Connects, where nobody may be listening.
    ///
    /// # Errors
    /// ECONNREFUSED when nobody is.
    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        TcpStream::connect_timeout(&address, PATIENCE).map(Client::over)
    }

    /// Connects with a small receive buffer, so that the server soon feels that nobody reads.
    pub fn connect_narrow(address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        socket.connect_timeout(&address.into(), PATIENCE).unwrap();
        Client::over(socket.into())
    }

    /// Connects from another address of this machine: all of 127.0.0.0/8 is ours.
    pub fn connect_from(local: IpAddr, address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(local, 0).into()).unwrap();
        socket.connect_timeout(&address.into(), PATIENCE).unwrap();
        Client::over(socket.into())
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::with_capacity(4096, stream) }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes as they are, where the connection may have ended.
    ///
    /// # Errors
    /// EPIPE or ECONNRESET when it has.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Asks for `path` with `fields`; the answer is read by the caller.
    pub fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) {
        self.send(request(method, path, fields));
    }

    /// Reads one head.
    pub fn head(&mut self) -> Head {
        self.try_head().unwrap()
    }

    /// Whether something has come that was not read yet. Does not wait.
    pub fn has_answer(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !self.stream.buffer().is_empty() || seen.is_ok_and(|count| count > 0)
    }

    /// Reads one head, or the error that ended the connection before it was whole.
    pub fn try_head(&mut self) -> io::Result<Head> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {status_line:?}"));
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { status, fields });
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in the field {line:?}"));
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.stream.read_until(b'\n', &mut bytes)?;
        match bytes.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8(line.to_vec()).unwrap()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads exactly `length` bytes.
    pub fn body(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads at most so many bytes, as far as they come.
    pub fn read_at_most(&mut self, length: u64) {
        let _ = io::copy(&mut self.stream.by_ref().take(length), &mut io::sink());
    }

    /// Asks, and reads the whole answer.
    pub fn fetch(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask(method, path, fields);
        self.answer(method)
    }

    /// Asks with a JSON body, and reads the whole answer.
    pub fn fetch_json(&mut self, method: &str, path: &str, fields: &[(&str, &str)], value: &Value) -> Answer {
        let body = value.to_string();
        let length = body.len().to_string();
        let mut all = vec![("Content-Type", "application/json"), ("Content-Length", length.as_str())];
        all.extend_from_slice(fields);
        self.send(request(method, path, &all) + &body);
        self.answer(method)
    }

    /// Reads the whole answer to a request that was sent.
    pub fn answer(&mut self, method: &str) -> Answer {
        let head = self.head();
        let is_bodiless = method == "HEAD" || head.status == 304 || head.status == 204;
        let length = if is_bodiless { 0 } else { head.length() };
        let body = self.body(length);
        Answer { head, body }
    }

    /// Reads `length` bytes and compares each with the film's byte at `offset` and on.
    pub fn expect(&mut self, pattern: Pattern, mut offset: u64, length: u64) {
        let end = offset + length;
        let mut buffer = vec![0; 256 * 1024];
        while offset < end {
            let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let chunk = buffer.len().min(wanted);
            self.stream
                .read_exact(&mut buffer[..chunk])
                .unwrap_or_else(|error| panic!("{error} between offset {offset} and {end}"));
            pattern.compare(offset, &buffer[..chunk]);
            offset += chunk as u64;
        }
    }

    /// Reads and compares until the connection ends: how many bytes came, and how it ended.
    pub fn expect_until_end(&mut self, pattern: Pattern, offset: u64) -> (u64, Ending) {
        let mut buffer = vec![0; 256 * 1024];
        let mut received = 0;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return (received, Ending::Closed),
                Ok(count) => {
                    pattern.compare(offset + received, &buffer[..count]);
                    received += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return (received, Ending::Reset);
                }
                Err(error) => panic!("{error} after {received} bytes"),
            }
        }
    }

    /// Checks that the server closes the connection and sends nothing more.
    pub fn expect_closed(&mut self) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("the connection should be closed, but reading gave {other:?}"),
        }
    }

    /// Reads until the connection ends: what came, and how it ended.
    ///
    /// # Panics
    /// If it does not end: nothing came for as long as `wait_at_most` says.
    pub fn rest(&mut self) -> (Vec<u8>, Ending) {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => (bytes, Ending::Closed),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => (bytes, Ending::Reset),
            Err(error) => panic!("{error} after {} bytes, and the connection has not ended", bytes.len()),
        }
    }

    /// How long each read may take, instead of `PATIENCE`.
    pub fn wait_at_most(&self, patience: Duration) {
        self.stream.get_ref().set_read_timeout(Some(patience)).unwrap();
    }

    /// Waits until the server has read all that was sent, so that what is sent next comes apart from it. Over loopback
    /// what is sent has arrived when `send` returns.
    pub fn wait_until_read(&self) {
        let deadline = Instant::now() + PATIENCE;
        while unread::bytes_at_the_other_end(self.stream.get_ref()) != Some(0) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: the server has read what was sent");
            std::thread::yield_now();
        }
    }

    /// The same, where the server may answer or end the connection instead.
    pub fn wait_until_read_or_ended(&self) {
        let stream = self.stream.get_ref();
        let has_ended = || {
            stream.set_nonblocking(true).unwrap();
            let seen = stream.peek(&mut [0]);
            stream.set_nonblocking(false).unwrap();
            !matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        };
        let deadline = Instant::now() + PATIENCE;
        while !has_ended() && unread::bytes_at_the_other_end(stream) != Some(0) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: the server has read what was sent, or ended");
            std::thread::yield_now();
        }
    }

    /// Another handle to the same socket, to send on one thread and read on another.
    pub fn sender(&self) -> TcpStream {
        self.stream.get_ref().try_clone().unwrap()
    }

    /// Tells the server that no request follows; answers still come.
    pub fn finish_sending(&mut self) {
        let stream = self.stream.get_ref();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// The same, where the connection may have ended.
    pub fn try_finish_sending(&mut self) {
        let _ = self.stream.get_ref().shutdown(std::net::Shutdown::Write);
    }

    /// Loses the network: from now on nothing that arrives is seen, so nothing is acknowledged and no probe is answered,
    /// as after a pulled plug. The kernel drops for us what a socket filter refuses, before TCP sees it (socket(7)).
    pub fn fall_silent(&self) {
        // BPF_RET | BPF_K: keep no byte of any segment.
        let drop_all = SockFilter::new(0x06, 0, 0, 0);
        SockRef::from(self.stream.get_ref()).attach_filter(&[drop_all]).expect("SO_ATTACH_FILTER");
    }

    /// Has the network back after `fall_silent`.
    pub fn come_back(&self) {
        SockRef::from(self.stream.get_ref()).detach_filter().expect("SO_DETACH_FILTER");
    }

    /// Ends the connection with RST, as a crashed player or a lost network does.
    pub fn reset(self) {
        let socket = SockRef::from(self.stream.get_ref());
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }
}

/// The text of a request without body.
pub fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: films.local\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}

/// One request on a connection of its own.
pub fn fetch(address: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    Client::connect(address).fetch(method, path, fields)
}

/// One POST of a JSON value on a connection of its own.
pub fn post(address: SocketAddr, path: &str, value: &Value) -> Answer {
    Client::connect(address).fetch_json("POST", path, &[], value)
}
