//! The running service after a change: it is told, and asked whether it has the films.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cli::client::Server;
use crate::cli::unit::{Unit, systemctl};
use crate::config::Config;
use crate::limits;

/// What a change needs to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The configuration is read again.
    Configuration,
    /// The process is another: it has a new sandbox, or new groups. Streams go on all the same.
    Process,
}

/// What became of a change.
pub(super) enum Outcome {
    /// The service runs with it; its library's status.
    InForce(Value),
    /// The service takes it over when it is started.
    AtNextStart,
    /// A daemon runs that is no service: whoever started it has to start it again.
    ByHand,
}

/// Has the service take over a change, and waits until its status says so.
///
/// # Errors
/// When it does not come up again, or does not take it over.
pub(super) fn take_over(
    config: &Config,
    unit: Option<&Unit>,
    change: Change,
    is_taken_over: impl Fn(&Value) -> bool,
) -> anyhow::Result<Outcome> {
    let Some(unit) = unit else {
        return Ok(if Server::running(config).is_some() { Outcome::ByHand } else { Outcome::AtNextStart });
    };
    if !unit.is_active() {
        return Ok(Outcome::AtNextStart);
    }
    if change == Change::Configuration && unit.is("CanReload", "yes") {
        systemctl(&["reload", &unit.name]).with_context(|| {
            let name = &unit.name;
            format!("the change is stored, but the service may not have taken it over; see `journalctl -u {name}`")
        })?;
        if let Some(status) = wait(config, limits::LIBRARY_RELOAD_PATIENCE, &is_taken_over) {
            return Ok(Outcome::InForce(status));
        }
    }
    // Whoever adds five folders in a minute is no service that fails to start (systemctl(1), reset-failed).
    if let Err(error) = systemctl(&["reset-failed", &unit.name]) {
        tracing::debug!(%error, "start limit not reset");
    }
    systemctl(&["restart", &unit.name]).with_context(|| {
        format!("the change is stored, but the service does not start with it; see `journalctl -u {}`", unit.name)
    })?;
    match wait(config, limits::LIBRARY_RESTART_PATIENCE, &is_taken_over) {
        Some(status) => Ok(Outcome::InForce(status)),
        None => bail!("the service has not taken the change over; see `journalctl -u {}`", unit.name),
    }
}

/// Waits until the daemon says so: its status then.
fn wait(config: &Config, patience: Duration, is_so: impl Fn(&Value) -> bool) -> Option<Value> {
    let deadline = Instant::now() + patience;
    loop {
        let status = Server::running(config).and_then(|server| server.ask("GET", "/api/library/status", None).ok());
        if let Some(status) = status.filter(&is_so) {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a scan is over: its status then. A daemon that has just started begins one by itself, in a moment.
///
/// # Errors
/// When the daemon stops answering.
pub(super) fn watch_scan(server: &Server, mut tell: impl FnMut(&Value)) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let mut told = begun;
    loop {
        let status = server.ask("GET", "/api/library/status", None)?;
        let is_over = match status["state"].as_str() {
            Some("scanning") => false,
            Some("unscanned") => begun.elapsed() >= limits::LIBRARY_RELOAD_PATIENCE,
            _ => true,
        };
        if is_over {
            return Ok(status);
        }
        if told.elapsed() >= limits::SCAN_TOLD_INTERVAL {
            told = Instant::now();
            tell(&status);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The root of this name in a status.
pub(super) fn root_of<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["roots"].as_array()?.iter().find(|root| root["name"] == name)
}

/// Whether a status shows this root at this place.
pub(super) fn shows(status: &Value, name: &str, path: &Path) -> bool {
    root_of(status, name).is_some_and(|root| root["path"].as_str().map(Path::new) == Some(path))
}
