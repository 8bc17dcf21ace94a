//! The verbs as clients of the API: of the running daemon over its admin socket, or of the handlers in this process.
//!
//! The one idea: a verb is a request, whoever answers it. Without a daemon the state's lock is taken, as a daemon would, and
//! the same routes answer here; so no verb knows the store, and what it does is in force at once where a daemon runs.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use uuid::Uuid;

use crate::api::{Asking, Services};
use crate::auth::Caller;
use crate::config::Config;
use crate::daemon::{self, block_on};
use crate::http::date;
use crate::http::reject::Reject;
use crate::http::request::{self, Parsed};
use crate::http::response::{Envelope, Part, Response};
use crate::limits;
use crate::route::{self, Resolved};
use crate::store::Timestamp;
use crate::sys::process::FileLock;
use crate::sys::unix;

/// Whoever answers.
pub(super) enum Server {
    /// A daemon, at its admin socket.
    Daemon(PathBuf),
    /// This process, which has the lock of the state.
    Here {
        /// What answers.
        services: Box<Services>,
        /// Held for as long as this lives.
        _lock: FileLock,
    },
}

/// Whether a verb is about films.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Films {
    Wanted,
    Unwanted,
}

/// A "no" of the API.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Refusal {
    /// The status of the answer.
    pub status: u16,
    detail: String,
}

impl Server {
    /// Finds the daemon of this configuration, or takes its place: with its films only if the verb is about films, for their
    /// disks may be slow or away.
    ///
    /// # Errors
    /// When a daemon uses the state and cannot be talked to, or the state cannot be opened.
    pub fn find(mut config: Config, films: Films) -> anyhow::Result<Server> {
        let socket = daemon::admin_socket(&config);
        let deadline = Instant::now() + limits::STATE_LOCK_PATIENCE;
        loop {
            // First the lock: behind the socket may be the daemon of another state.
            if let Some(_lock) = daemon::lock_state(&config, Duration::ZERO)? {
                if films == Films::Unwanted {
                    config.library.roots.clear();
                }
                return Ok(Server::Here { services: Box::new(daemon::services(config, 1)?), _lock });
            }
            match unix::connect(&socket) {
                Ok(_) => return Ok(Server::Daemon(socket)),
                // Who has the state may be a daemon that is about to listen, or another command.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                Err(error) => {
                    let advice = format!("could not talk to the daemon at {}; run this as root", socket.display());
                    return Err(error).context(advice);
                }
            }
            if Instant::now() >= deadline {
                bail!(
                    "a daemon uses the state in {} and does not listen on {}: set RUNTIME_DIRECTORY as it is set there",
                    config.directories.state.display(),
                    socket.display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The daemon of this configuration, if one answers.
    pub fn running(config: &Config) -> Option<Server> {
        let socket = daemon::admin_socket(config);
        unix::connect(&socket).ok().map(|_| Server::Daemon(socket))
    }

    /// Asks for `path`: the answer's body, `Null` when it has none.
    ///
    /// # Errors
    /// A [`Refusal`] when the answer is no; otherwise what kept it from coming.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            // A text takes all that is written to it.
            let _ = write!(head, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let (status, body) = match self {
            Server::Daemon(socket) => over(socket, &(head + &body))?,
            Server::Here { services, .. } => here(services, &head, body.as_bytes())?,
        };
        let value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        if (200..300).contains(&status) { Ok(value) } else { Err(Refusal::of(status, &value).into()) }
    }

    /// All items of a list, page by page.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub fn all(&self, path: &str, query: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.ask("GET", &format!("{path}?limit={}{query}{cursor}", limits::LIST_ITEMS_MAX), None)?;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={}", encoded(next)),
                None => return Ok(items),
            }
        }
    }

    /// What answers here, if this process does.
    pub fn services(&self) -> Option<&Services> {
        match self {
            Server::Daemon(_) => None,
            Server::Here { services, .. } => Some(services),
        }
    }
}

impl Refusal {
    fn of(status: u16, problem: &Value) -> Refusal {
        let detail = problem["detail"].as_str().unwrap_or("the daemon gave no reason");
        // Whoever types words sends no body.
        let detail = detail.strip_prefix("The body is not what is expected here: ").unwrap_or(detail);
        Refusal { status, detail: detail.to_owned() }
    }
}

/// A text for a terminal: what a file's name may do to one, it does not.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// A text as it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    crate::http::target::encode_path(text).to_string()
}

/// Sends a request over the admin socket. Status and body of the answer.
fn over(socket: &Path, request: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let talk = |mut stream: UnixStream| {
        stream.set_read_timeout(Some(limits::ADMIN_ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(limits::ADMIN_ANSWER_TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(limits::ADMIN_ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = unix::connect(socket).and_then(talk);
    let answer = answer.with_context(|| format!("the daemon at {} did not answer", socket.display()))?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the daemon ended before it had answered; see whether it was done, and try again")?;
    let status = str::from_utf8(&answer[..end]).ok().and_then(|head| head.split(' ').nth(1)?.parse().ok());
    Ok((status.context("the daemon's answer is not HTTP")?, answer[end + 4..].to_vec()))
}

/// The same in this process.
fn here(services: &Services, head: &str, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let request = match request::parse(head.as_bytes()) {
        Ok(Parsed::Complete { request, .. }) => request,
        Ok(Parsed::Partial) => bail!("what was typed makes no request"),
        Err(reject) => bail!(reject),
    };
    let asking = Asking { request_id: Uuid::new_v4(), client_ip: IpAddr::from(Ipv4Addr::LOCALHOST), is_machine: true };
    let now = Timestamp::now();
    let answered: Result<Response<()>, Reject> = block_on(async {
        let Resolved { route, need, .. } = route::resolve(request.method, &request.target)?;
        let grant = need.judge(Some(Caller::Machine), true)?;
        route::answer(services, &route, &grant, &request, body, asking, now).await
    });
    let response = answered.unwrap_or_else(|reject| reject.response(&asking.request_id.to_string()));
    let finished = response.finish(Envelope::of(&request, date::format(now.seconds())), Vec::new());
    let bytes = finished.parts.into_iter().filter_map(|part| match part {
        Part::Bytes(bytes) => Some(bytes.into_owned()),
        Part::Extent { .. } => None,
    });
    Ok((finished.status, bytes.flatten().collect()))
}
