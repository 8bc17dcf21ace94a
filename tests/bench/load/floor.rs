//! The floor: what the kernel's sendfile alone costs. One thread, epoll, sendfile until the socket takes no more, corked. The
//! offset and the length are read from the request's range; the head that is sent before the bytes is the least that a client
//! needs.

use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};

use crate::sys::{self, Epoll};

/// The number of the listener among the watched; connections have theirs from 1 on.
const LISTENER: usize = 0;

struct Connection {
    socket: TcpStream,
    head: Vec<u8>,
    /// What is still to be sent of the file.
    place: u64,
    end: u64,
}

/// Serves ranges of one file until it is ended.
pub fn serve(file: &str, port: u16) -> io::Result<()> {
    let file = File::open(file)?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new()?;
    epoll.watch(&listener, LISTENER)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut ready = Vec::new();
    loop {
        epoll.wait(-1, &mut ready)?;
        for number in ready.drain(..) {
            if number == LISTENER {
                while let Ok((socket, _)) = listener.accept() {
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    let free = connections.iter().position(Option::is_none).unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    epoll.watch(&socket, free + 1)?;
                    connections[free] = Some(Connection { socket, head: Vec::new(), place: 0, end: 0 });
                }
                continue;
            }
            let connection = &mut connections[number - 1];
            // Who goes away, or asks what cannot be read, is closed.
            if connection.as_mut().is_some_and(|connection| connection.go_on(&file).is_err()) {
                *connection = None;
            }
        }
    }
}

impl Connection {
    /// Does what can be done without waiting.
    fn go_on(&mut self, file: &File) -> io::Result<()> {
        loop {
            while self.place < self.end {
                match sys::send_file(&self.socket, file, self.place, self.end - self.place)? {
                    Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Some(count) => self.place += count as u64,
                    None => return Ok(()),
                }
                if self.place == self.end {
                    sys::cork(&self.socket, false)?;
                }
            }
            let mut piece = [0; 1024];
            match sys::receive(&self.socket, &mut piece)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(count) => self.head.extend_from_slice(&piece[..count]),
                None => return Ok(()),
            }
            if self.head.ends_with(b"\r\n\r\n") {
                let (first, last) = range(&self.head).ok_or(io::ErrorKind::InvalidData)?;
                (self.place, self.end) = (first, last + 1);
                self.head.clear();
                let head = format!("HTTP/1.1 206 P\r\nContent-Length: {}\r\n\r\n", self.end - self.place);
                sys::cork(&self.socket, true)?;
                sys::send(&self.socket, head.as_bytes())?;
            }
        }
    }
}

fn range(head: &[u8]) -> Option<(u64, u64)> {
    const NAME: &[u8] = b"Range: bytes=";
    let value = &head[sys::find(head, NAME)? + NAME.len()..];
    let value = str::from_utf8(&value[..sys::find(value, b"\r\n")?]).ok()?;
    let (first, last) = value.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}
