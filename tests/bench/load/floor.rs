//! The floor: what the kernel's sendfile alone costs, with a thread that waits for each connection. The offset and the length are
//! read from the request's range; the head that is sent before the bytes is the least that a client needs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::sys;

/// Serves ranges of one file until it is ended.
pub fn serve(file: &str, port: u16) -> io::Result<()> {
    let file = Arc::new(File::open(file)?);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("listening");
    for socket in listener.incoming() {
        let (socket, file) = (socket?, Arc::clone(&file));
        // Who goes away ends its thread.
        std::thread::Builder::new().stack_size(64 * 1024).spawn(move || answer(&socket, &file))?;
    }
    Ok(())
}

fn answer(socket: &TcpStream, file: &File) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(4096, socket);
    let mut line = String::new();
    loop {
        let mut range = None;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if let Some(value) = text.strip_prefix("Range: bytes=") {
                range = value
                    .split_once('-')
                    .and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
            }
        }
        let (first, last) = range.ok_or(io::ErrorKind::InvalidData)?;
        let length = last - first + 1;
        let mut writer = socket;
        writer.write_all(format!("HTTP/1.1 206 P\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
        sys::send_file(socket, file, first, length)?;
    }
}
