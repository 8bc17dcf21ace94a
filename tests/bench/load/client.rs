//! The clients: each connection asks, reads to the end, and asks again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::plan::{Group, Plan, Quantiles, Seen, SeenOfGroup};
use crate::sys::{self, Epoll};

/// Bytes of a body that are thrown away at once.
const PIECE: usize = 4 << 20;
/// A head of any server here is shorter.
const HEAD: usize = 4096;

struct Connection {
    group: usize,
    number: usize,
    fd: Option<OwnedFd>,
    request: Vec<u8>,
    sent: usize,
    head: Vec<u8>,
    /// Bytes of the body that are still to come; none while the head is read.
    left: Option<u64>,
    asked: Instant,
    first: Option<Instant>,
    /// Where the next range begins, of a connection that reads one after the other.
    offset: u64,
    /// It waits for its time to come: for its next request, or for its next bytes.
    sleeps: bool,
    /// Its answer is complete, or its connection broke: it asks again when its time comes.
    is_done: bool,
}

/// What one group did so far.
#[derive(Default)]
struct Tally {
    seen: SeenOfGroup,
    latency: Vec<f64>,
    first_byte: Vec<f64>,
}

struct Run<'a> {
    plan: &'a Plan,
    epoll: Epoll,
    connections: Vec<Connection>,
    tallies: Vec<Tally>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    dice: u64,
}

/// Does what the plan says.
pub fn run(plan: &Plan) -> io::Result<Seen> {
    let mut run = Run {
        plan,
        epoll: Epoll::new()?,
        connections: Vec::new(),
        tallies: plan.groups.iter().map(|_| Tally::default()).collect(),
        timers: BinaryHeap::new(),
        dice: 0x1234_5678,
    };
    for (group, wanted) in plan.groups.iter().enumerate() {
        for number in 0..wanted.connections {
            let index = run.connections.len();
            run.connections.push(Connection {
                group,
                number,
                fd: None,
                request: Vec::new(),
                sent: 0,
                head: Vec::with_capacity(HEAD),
                left: None,
                asked: Instant::now(),
                first: None,
                offset: 0,
                sleeps: false,
                is_done: false,
            });
            run.ask(index)?;
        }
    }
    run.until(Instant::now() + Duration::from_secs_f64(plan.warm))?;
    run.tallies.iter_mut().for_each(|tally| *tally = Tally::default());
    let (begun, cpu) = (Instant::now(), cpu(plan)?);
    run.until(begun + Duration::from_secs_f64(plan.seconds))?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), crate::client::cpu(plan)? - cpu);
    let groups = run.tallies.into_iter().map(|tally| SeenOfGroup {
        latency_us: Quantiles::of(tally.latency),
        first_byte_us: Quantiles::of(tally.first_byte),
        ..tally.seen
    });
    Ok(Seen { seconds, cpu, groups: groups.collect() })
}

fn cpu(plan: &Plan) -> io::Result<f64> {
    plan.processes.iter().map(|process| sys::cpu_seconds(*process)).sum()
}

impl Run<'_> {
    fn until(&mut self, end: Instant) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            while let Some(Reverse((_, index))) = self.timers.peek().copied().filter(|Reverse((due, _))| *due <= now) {
                self.timers.pop();
                self.connections[index].sleeps = false;
                if self.connections[index].is_done { self.ask(index)? } else { self.go_on(index)? }
            }
            let next = self.timers.peek().map_or(end, |Reverse((due, _))| (*due).min(end));
            let wait = next.saturating_duration_since(Instant::now());
            // Less than a millisecond is not waited for: a late request would be a figure of ours.
            self.epoll.wait(wait.as_millis().min(50) as i32, &mut ready)?;
            for index in std::mem::take(&mut ready) {
                if !self.connections[index].sleeps {
                    self.go_on(index)?;
                }
            }
        }
    }

    fn group(&self, index: usize) -> &Group {
        &self.plan.groups[self.connections[index].group]
    }

    /// Begins the next request of a connection.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let group = &self.plan.groups[self.connections[index].group];
        let (range, file, is_sequential) = (group.range, group.file, group.sequential);
        let connection = &mut self.connections[index];
        let offset = if is_sequential {
            let offset = if connection.offset + range > file { 0 } else { connection.offset };
            connection.offset = offset + range;
            offset
        } else {
            // splitmix64, so that every run asks for the same.
            self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.dice;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            let places = (file - range) / 4096 + 1;
            word % places * 4096
        };
        let path = &group.paths[connection.number % group.paths.len()];
        let end = offset + range - 1;
        let close = if group.anew { "Connection: close\r\n" } else { "" };
        let fields = &group.fields;
        connection.request =
            format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{fields}{close}Range: bytes={offset}-{end}\r\n\r\n")
                .into_bytes();
        connection.sent = 0;
        connection.is_done = false;
        connection.head.clear();
        connection.left = None;
        connection.first = None;
        connection.asked = Instant::now();
        if connection.fd.is_none() {
            let fd = sys::connect(self.plan.port)?;
            self.epoll.watch(&fd, index)?;
            connection.fd = Some(fd);
        }
        self.go_on(index)
    }

    /// Does what can be done without waiting.
    fn go_on(&mut self, index: usize) -> io::Result<()> {
        match self.step(index) {
            Ok(true) => self.finished(index),
            Ok(false) => Ok(()),
            Err(error) if is_fatal(&error) => Err(error),
            Err(_) => {
                let connection = &mut self.connections[index];
                connection.fd = None;
                connection.is_done = true;
                self.tallies[connection.group].seen.errors += 1;
                self.sleep(index, Duration::from_millis(5));
                Ok(())
            }
        }
    }

    /// Whether the answer has come whole.
    fn step(&mut self, index: usize) -> io::Result<bool> {
        let rate = self.group(index).rate;
        let connection = &mut self.connections[index];
        let Some(fd) = &connection.fd else { return Ok(false) };
        while connection.sent < connection.request.len() {
            match sys::send(fd, &connection.request[connection.sent..]) {
                Ok(Some(count)) => connection.sent += count,
                Ok(None) => return Ok(false),
                Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        while connection.left.is_none() {
            let mut piece = [0; HEAD];
            let Some(count) = sys::receive(fd, &mut piece)? else { return Ok(false) };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            connection.first.get_or_insert_with(Instant::now);
            connection.head.extend_from_slice(&piece[..count]);
            if let Some(end) = connection.head.windows(4).position(|window| window == b"\r\n\r\n") {
                if !connection.head.starts_with(b"HTTP/1.1 206") {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let length = self.plan.groups[connection.group].range;
                let with_head = (connection.head.len() - end - 4) as u64;
                self.tallies[connection.group].seen.bytes += with_head;
                connection.left = Some(length.checked_sub(with_head).ok_or(io::ErrorKind::InvalidData)?);
            }
        }
        let mut left = connection.left.unwrap_or(0);
        while left > 0 {
            let most = if rate > 0 { left.min(rate / 20) as usize } else { (left as usize).min(PIECE) };
            let Some(count) = sys::discard(fd, most)? else { break };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= count as u64;
            self.tallies[connection.group].seen.bytes += count as u64;
            if rate > 0 {
                break;
            }
        }
        connection.left = Some(left);
        if rate > 0 && left > 0 {
            self.sleep(index, Duration::from_millis(50));
        }
        Ok(left == 0)
    }

    fn finished(&mut self, index: usize) -> io::Result<()> {
        let now = Instant::now();
        let (pause, is_anew) = (self.group(index).pause_us, self.group(index).anew);
        let connection = &mut self.connections[index];
        let tally = &mut self.tallies[connection.group];
        let microseconds = |end: Instant| end.duration_since(connection.asked).as_secs_f64() * 1e6;
        tally.latency.push(microseconds(now));
        tally.first_byte.push(microseconds(connection.first.unwrap_or(now)));
        tally.seen.requests += 1;
        if is_anew {
            connection.fd = None;
        }
        connection.is_done = true;
        // Without a pause as well: the next request is made by the loop, or answers that come at once would nest.
        self.sleep(index, Duration::from_micros(pause));
        Ok(())
    }

    fn sleep(&mut self, index: usize, pause: Duration) {
        self.connections[index].sleeps = true;
        self.timers.push(Reverse((Instant::now() + pause, index)));
    }
}

/// What is no fault of the server: the run is worth nothing then.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EADDRNOTAVAIL))
}
