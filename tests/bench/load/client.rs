//! The clients: each connection asks, reads to the end, and asks again.
//!
//! A request costs the same whoever serves: its head is made in a buffer that stays, one `send`, one `recv` of the answer's
//! head, then the body thrown away, and no timer where no pause is wanted. So the client, on a processor of its own, is not
//! what a server waits for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::plan::{Group, Plan, Quantiles, Seen, SeenOfGroup};
use crate::sys::{self, Epoll};

/// Bytes of a body that are thrown away at once.
const PIECE: usize = 4 << 20;
/// What is read at once of an answer while its head has not ended. Longer heads take several.
const HEAD: usize = 1024;
/// How often in a second a connection with a rate reads.
const TICKS: u64 = 20;

struct Connection {
    group: usize,
    fd: Option<OwnedFd>,
    /// The request; all but the range and the end is the same each time.
    request: Vec<u8>,
    unchanging: usize,
    sent: usize,
    head: Vec<u8>,
    /// Bytes of the body that are still to come; none while the head is read.
    left: Option<u64>,
    asked: Instant,
    first: Option<Instant>,
    /// Where the next range begins, of a connection that reads one after the other.
    offset: u64,
    /// Bytes of bodies in the measured window.
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// It asks, or waits for its answer.
    Asked,
    /// It reads on when its time comes.
    Reads,
    /// Its answer is complete, or its connection broke: it asks again when its time comes.
    Done,
}

/// What one group did so far.
#[derive(Default)]
struct Tally {
    seen: SeenOfGroup,
    latency: Vec<f64>,
    first_byte: Vec<f64>,
}

/// All connections.
pub struct Run<'a> {
    plan: &'a Plan,
    epoll: Epoll,
    connections: Vec<Connection>,
    tallies: Vec<Tally>,
    /// Those that ask again at once.
    again: Vec<usize>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    dice: u64,
}

impl Run<'_> {
    /// Makes the connections, each with its first request on its way.
    ///
    /// # Errors
    /// When this machine has no room for them.
    pub fn begin(plan: &Plan) -> io::Result<Run<'_>> {
        let mut run = Run {
            plan,
            epoll: Epoll::new()?,
            connections: Vec::new(),
            tallies: plan.groups.iter().map(|_| Tally::default()).collect(),
            again: Vec::new(),
            timers: BinaryHeap::new(),
            dice: 0x1234_5678,
        };
        for (group, wanted) in plan.groups.iter().enumerate() {
            for number in 0..wanted.connections {
                let index = run.connections.len();
                run.connections.push(Connection::new(group, wanted, number));
                run.ask(index)?;
            }
        }
        Ok(run)
    }

    /// Does what the plan says, and tells what was seen. The connections stay.
    ///
    /// # Errors
    /// When this machine, and not the server, is at fault.
    pub fn measure(&mut self) -> io::Result<Seen> {
        self.until(Instant::now() + Duration::from_secs_f64(self.plan.warm))?;
        for tally in &mut self.tallies {
            // What broke before is lost all the same.
            let errors = tally.seen.errors;
            *tally = Tally { seen: SeenOfGroup { errors, ..SeenOfGroup::default() }, ..Tally::default() };
        }
        self.connections.iter_mut().for_each(|connection| connection.bytes = 0);
        let (begun, cpu_begun) = (Instant::now(), self.cpu()?);
        self.until(begun + Duration::from_secs_f64(self.plan.seconds))?;
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), self.cpu()? - cpu_begun);
        for connection in &self.connections {
            let (tally, group) = (&mut self.tallies[connection.group], &self.plan.groups[connection.group]);
            tally.seen.bytes += connection.bytes;
            let is_starved = (connection.bytes as f64) < group.rate as f64 * seconds / 2.0;
            tally.seen.starved += u64::from(is_starved);
        }
        let groups = self.tallies.drain(..).map(|tally| SeenOfGroup {
            latency_us: Quantiles::of(tally.latency),
            first_byte_us: Quantiles::of(tally.first_byte),
            ..tally.seen
        });
        Ok(Seen { seconds, cpu, groups: groups.collect() })
    }

    fn cpu(&self) -> io::Result<f64> {
        self.plan.processes.iter().map(|process| sys::cpu_seconds(*process)).sum()
    }

    fn until(&mut self, end: Instant) -> io::Result<()> {
        let (mut ready, mut again) = (Vec::new(), Vec::new());
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            while let Some(Reverse((_, index))) = self.timers.peek().copied().filter(|Reverse((due, _))| *due <= now) {
                self.timers.pop();
                match self.connections[index].state {
                    State::Done => self.ask(index)?,
                    State::Reads | State::Asked => self.go_on(index)?,
                }
            }
            std::mem::swap(&mut self.again, &mut again);
            for index in again.drain(..) {
                self.ask(index)?;
            }
            let next = self.timers.peek().map_or(end, |Reverse((due, _))| (*due).min(end));
            let is_busy = self.plan.spins || !self.again.is_empty();
            let wait = if is_busy { Duration::ZERO } else { next.saturating_duration_since(now) };
            // Less than a millisecond is not waited for: a late request would be a figure of ours.
            self.epoll.wait(wait.as_millis().min(50) as i32, &mut ready)?;
            for index in ready.drain(..) {
                if self.connections[index].state == State::Asked {
                    self.go_on(index)?;
                }
            }
        }
    }

    /// Begins the next request of a connection.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let group = &self.plan.groups[connection.group];
        let offset = if group.sequential {
            let offset = if connection.offset + group.range > group.file { 0 } else { connection.offset };
            connection.offset = offset + group.range;
            offset
        } else {
            let places = (group.file - group.range) / 4096 + 1;
            roll(&mut self.dice) % places * 4096
        };
        connection.request.truncate(connection.unchanging);
        write!(connection.request, "{offset}-{}\r\n\r\n", offset + group.range - 1)?;
        connection.sent = 0;
        connection.state = State::Asked;
        connection.head.clear();
        connection.left = None;
        connection.first = None;
        connection.asked = Instant::now();
        if connection.fd.is_none() {
            let fd = sys::connect(self.plan.port)?;
            self.epoll.watch(&fd, index)?;
            connection.fd = Some(fd);
        }
        // Nothing is read now: whatever comes is told by epoll.
        match connection.send() {
            Ok(_) => Ok(()),
            Err(error) => self.broke(index, error),
        }
    }

    /// Does what can be done without waiting.
    fn go_on(&mut self, index: usize) -> io::Result<()> {
        match self.connections[index].step(&self.plan.groups) {
            Ok(Step::Waits) => Ok(()),
            Ok(Step::Sleeps) => {
                self.connections[index].state = State::Reads;
                self.wake_after(index, Duration::from_secs(1) / TICKS as u32);
                Ok(())
            }
            Ok(Step::Whole) => {
                self.finished(index);
                Ok(())
            }
            Err(error) => self.broke(index, error),
        }
    }

    fn finished(&mut self, index: usize) {
        let now = Instant::now();
        let connection = &mut self.connections[index];
        let (group, tally) = (&self.plan.groups[connection.group], &mut self.tallies[connection.group]);
        let microseconds = |end: Instant| end.duration_since(connection.asked).as_secs_f64() * 1e6;
        tally.latency.push(microseconds(now));
        tally.first_byte.push(microseconds(connection.first.unwrap_or(now)));
        tally.seen.requests += 1;
        if group.anew {
            connection.fd = None;
        }
        connection.state = State::Done;
        match group.pause_us {
            // By the loop and not from here, or answers that come at once would nest.
            0 => self.again.push(index),
            pause => self.wake_after(index, Duration::from_micros(pause)),
        }
    }

    fn broke(&mut self, index: usize, error: io::Error) -> io::Result<()> {
        // What is no fault of the server: the run is worth nothing then.
        if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EADDRNOTAVAIL)) {
            return Err(error);
        }
        let connection = &mut self.connections[index];
        connection.fd = None;
        connection.state = State::Done;
        self.tallies[connection.group].seen.errors += 1;
        self.wake_after(index, Duration::from_millis(5));
        Ok(())
    }

    fn wake_after(&mut self, index: usize, pause: Duration) {
        self.timers.push(Reverse((Instant::now() + pause, index)));
    }
}

/// What a connection did without waiting.
enum Step {
    /// It waits for the server.
    Waits,
    /// It has read what its rate allows for now.
    Sleeps,
    /// The answer has come whole.
    Whole,
}

impl Connection {
    fn new(group: usize, wanted: &Group, number: usize) -> Connection {
        let path = &wanted.paths[number % wanted.paths.len()];
        let close = if wanted.anew { "Connection: close\r\n" } else { "" };
        let fields = &wanted.fields;
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{fields}{close}Range: bytes=").into_bytes();
        Connection {
            group,
            fd: None,
            unchanging: request.len(),
            request,
            sent: 0,
            head: Vec::with_capacity(HEAD),
            left: None,
            asked: Instant::now(),
            first: None,
            offset: 0,
            bytes: 0,
            state: State::Done,
        }
    }

    /// Whether the request is sent whole.
    fn send(&mut self) -> io::Result<bool> {
        let Some(fd) = &self.fd else { return Ok(false) };
        while self.sent < self.request.len() {
            match sys::send(fd, &self.request[self.sent..]) {
                Ok(Some(count)) => self.sent += count,
                Ok(None) => return Ok(false),
                // It is still being connected.
                Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn step(&mut self, groups: &[Group]) -> io::Result<Step> {
        if !self.send()? {
            return Ok(Step::Waits);
        }
        let Some(fd) = &self.fd else { return Ok(Step::Waits) };
        let Group { range, rate, .. } = groups[self.group];
        while self.left.is_none() {
            let mut piece = [0; HEAD];
            let Some(count) = sys::receive(fd, &mut piece)? else { return Ok(Step::Waits) };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.first.get_or_insert_with(Instant::now);
            self.head.extend_from_slice(&piece[..count]);
            if let Some(end) = sys::find(&self.head, b"\r\n\r\n") {
                if !self.head.starts_with(b"HTTP/1.1 206") {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let with_head = (self.head.len() - end - 4) as u64;
                self.bytes += with_head;
                self.left = Some(range.checked_sub(with_head).ok_or(io::ErrorKind::InvalidData)?);
            }
        }
        let mut left = self.left.unwrap_or(0);
        while left > 0 {
            let most = if rate > 0 { left.min(rate / TICKS) as usize } else { (left as usize).min(PIECE) };
            let Some(count) = sys::discard(fd, most)? else { break };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= count as u64;
            self.bytes += count as u64;
            if rate > 0 {
                break;
            }
        }
        self.left = Some(left);
        Ok(match left {
            0 => Step::Whole,
            _ if rate > 0 => Step::Sleeps,
            _ => Step::Waits,
        })
    }
}

/// splitmix64, so that every run asks for the same.
fn roll(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *dice;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
