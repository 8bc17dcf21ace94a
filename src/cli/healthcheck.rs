//! `reelway healthcheck`: asks the running daemon how it is. For service managers and monitors.

use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::cli::print;
use crate::cli::unit::Name;
use crate::config::Config;
use crate::sys::unix;
use crate::{daemon, limits};

/// More than any health answer has.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn run(as_json: bool, config: &Config, unit: Option<&Name>) -> anyhow::Result<()> {
    let health = match (at_admin_socket(config), unit) {
        (Some(health), _) => health?,
        // Systemd may listen elsewhere than the configuration says, and who answers there be another.
        (None, Some(name)) => bail!("{name} does not run, or this is to be run as root; see: systemctl status {name}"),
        (None, None) => {
            let address = config.server.addresses().first().copied().map(reachable);
            health(address.context("no address is configured")?)?
        }
    };
    let status = health["status"].as_str().unwrap_or("unknown");
    print(&if as_json { format!("{health:#}\n") } else { sentence(status, &health) })?;
    match status {
        "ok" | "degraded" => Ok(()),
        _ => bail!("the daemon is {status}"),
    }
}

/// The same of the daemon of this configuration, if there is one and we may ask it there: it is found whatever its sockets are.
fn at_admin_socket(config: &Config) -> Option<anyhow::Result<Value>> {
    let path = daemon::admin_socket(config);
    let stream = unix::connect(&path).ok()?;
    let ask = || {
        stream.set_read_timeout(Some(limits::HEALTHCHECK_TIMEOUT))?;
        stream.set_write_timeout(Some(limits::HEALTHCHECK_TIMEOUT))?;
        answered(&stream, "localhost")
    };
    let place = path.display();
    Some(ask().with_context(|| format!("no answer at {place}")).and_then(|answer| judged(&answer, &place)))
}

/// What the daemon at this address says of itself.
pub(super) fn health(address: SocketAddr) -> anyhow::Result<Value> {
    let answer = ask(address).with_context(|| {
        format!("no answer from http://{address}/health; is the daemon running? try: systemctl status reelway")
    })?;
    judged(&answer, &address)
}

fn judged(answer: &str, place: &impl Display) -> anyhow::Result<Value> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| anyhow!("{place} did not answer in HTTP"))?;
    serde_json::from_str(body).with_context(|| format!("{place} is not a reelway: {head}"))
}

/// The status, and a line for each part that is not well.
fn sentence(status: &str, health: &Value) -> String {
    let mut text = format!("{status}\n");
    for (name, component) in health["components"].as_object().into_iter().flatten() {
        if component["status"] != "ok" {
            text += &format!("{name}: {}\n", component["detail"].as_str().unwrap_or("not well"));
        }
    }
    text
}

/// An address that listens on all interfaces is reached on this machine's own. `[::]` is for IPv4 too, and where
/// `net.ipv6.conf.all.disable_ipv6` is set there is no `[::1]` to be reached at.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            let has_ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
            address.set_ip(if has_ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() });
        }
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let deadline = Instant::now() + limits::HEALTHCHECK_TIMEOUT;
    let stream = TcpStream::connect_timeout(&address, limits::HEALTHCHECK_TIMEOUT)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    answered(stream, &address.to_string())
}

fn answered(mut stream: impl Read + Write, host: &str) -> anyhow::Result<String> {
    write!(stream, "GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
