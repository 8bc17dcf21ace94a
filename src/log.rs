//! Events: to the journal with their fields, or to stderr as text for people or as one JSON object a line; never waiting for
//! whoever reads them.
//!
//! An event is a stable message and fields, never a formatted sentence with values inside, and what matters to whoever runs
//! the daemon has a message id ([`messages`]). A thread of its own writes: when its reader stops, lines are dropped and
//! counted, and no stream waits. Tokens and passwords are never given to a log call; a target is logged without its query.

mod journal;
mod json;
pub mod messages;
mod record;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, reload};

use crate::limits;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people; where stderr is the journal, an entry of it with its fields.
    Text,
    /// For programs.
    Json,
}

/// Writes what is left when it is dropped, but waits for nobody longer than [`limits::LOG_FLUSH_TIMEOUT`].
#[derive(Debug)]
pub struct Guard {
    _of: Of,
}

#[derive(Debug)]
#[expect(dead_code, reason = "what is in them acts when it is dropped")]
enum Of {
    Stderr(WorkerGuard),
    Journal(journal::Guard),
}

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
/// Changes the level.
static LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Sets the level of what is written, by its name.
type SetLevel = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Lines dropped so far because nobody read them.
pub fn lines_dropped() -> u64 {
    DROPPED.get().map_or_else(journal::entries_dropped, |counter| counter.dropped_lines() as u64)
}

/// What to write before a line on stderr, so that the journal takes it for an error (sd-daemon(3)).
pub fn error_prefix() -> &'static str {
    if journal::is_stderr() { "<3>" } else { "" }
}

/// Starts logging events of `level` (`error`, `warn`, `info`, `debug`, `trace`) and above. Keep the guard until the process
/// ends.
///
/// # Errors
/// When the level is no such word, logging was started before, or there can be no thread for it.
pub fn start(format: Format, level: &str) -> Result<Guard, String> {
    if format == Format::Text && journal::is_stderr() {
        let (wanted, handle) = reload::Layer::new(filter(level)?);
        let (same, same_handle) = reload::Layer::new(filter(level)?);
        let guard = journal::start(wanted, same)?;
        let _ = LEVEL.set(Box::new(move |level| {
            same_handle.reload(filter(level)?).map_err(|error| error.to_string())?;
            handle.reload(filter(level)?).map_err(|error| error.to_string())
        }));
        return Ok(Guard { _of: Of::Journal(guard) });
    }
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(limits::LOG_QUEUE_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let _ = DROPPED.set(writer.error_counter());
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level)?).with_writer(writer);
    let started = match format {
        Format::Json => {
            let builder = builder.event_format(json::Json::new()).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = LEVEL.set(Box::new(move |level| handle.reload(filter(level)?).map_err(|error| error.to_string())));
            builder.try_init()
        }
        Format::Text => {
            let builder = builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = LEVEL.set(Box::new(move |level| handle.reload(filter(level)?).map_err(|error| error.to_string())));
            builder.try_init()
        }
    };
    started.map_err(|error| error.to_string())?;
    Ok(Guard { _of: Of::Stderr(guard) })
}

/// From now on events of `level` and above are written.
///
/// # Errors
/// When the level is no such word.
pub fn set_level(level: &str) -> Result<(), String> {
    LEVEL.get().map_or(Ok(()), |set| set(level))
}

/// Of the crates below us only warnings are of interest.
fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(format!("warn,reelway={level}"))
        .map_err(|error| format!("log.level '{level}' is not error, warn, info, debug or trace: {error}"))
}
