//! Events to the journal, with their fields (systemd.journal-fields(7)).
//!
//! ```text
//! event -> Record -> queue -> one thread -> the same event under the journal's names -> tracing-journald -> its socket
//! ```
//!
//! The one idea: that socket blocks once the journal stands still, so that the thread waits there and nobody else does. What
//! finds no room in the queue is dropped and counted, and how much that was is told once there is room again.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::field::{DisplayValue, Value, display};
use tracing::{Dispatch, Event, Metadata, Subscriber, callsite};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::messages;
use super::record::{Record, renamed, say};
use crate::limits;

/// Our fields that have another name in the journal. Any other is written in capitals there.
const NAMES: &[(&str, &str)] =
    &[("user_id", "user"), ("session_id", "session"), ("video_id", "video"), ("client_ip", "peer")];
/// Between two looks at a queue that is full when the daemon ends.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Entries dropped so far because the journal did not read.
pub(super) fn entries_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Whether stderr is the journal (systemd.exec(5), `$JOURNAL_STREAM`). The variable alone says nothing: whoever is started
/// with another stderr has inherited it.
pub(super) fn is_stderr() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let stderr =
        std::io::stderr().as_fd().try_clone_to_owned().and_then(|descriptor| File::from(descriptor).metadata());
    stderr.is_ok_and(|file| stream.to_str() == Some(&format!("{}:{}", file.dev(), file.ino())))
}

/// Writes what is left in the queue when it is dropped, for as long as the journal reads.
#[derive(Debug)]
pub(super) struct Guard(SyncSender<Told>);

/// What the thread is told.
enum Told {
    Event(Record),
    /// The daemon ends: answer when all that came before is written.
    End(SyncSender<()>),
}

/// Which events are wanted; that may change.
pub(super) type Filter = reload::Layer<EnvFilter, Registry>;

/// Starts logging to the journal. Both filters say the same: the events that are wanted.
///
/// # Errors
/// When logging was started before, or there can be no thread.
pub(super) fn start(filter: Filter, same_filter: Filter) -> Result<Guard, String> {
    let (sender, receiver) = mpsc::sync_channel(limits::JOURNAL_QUEUE_MAX);
    let guard = Guard(sender.clone());
    let queue = Queue(sender);
    tracing_subscriber::registry().with(filter).with(queue).try_init().map_err(|error| error.to_string())?;
    // To connect is to write, which the thread alone may wait for.
    let writing = thread::Builder::new().name("log".into()).spawn(move || write(&receiver, Sink::open(same_filter)));
    writing.map_err(|error| format!("no thread for the log: {error}"))?;
    Ok(guard)
}

impl Drop for Guard {
    fn drop(&mut self) {
        let deadline = Instant::now() + limits::LOG_FLUSH_TIMEOUT;
        let (done, is_done) = mpsc::sync_channel(1);
        let mut end = Told::End(done);
        while let Err(TrySendError::Full(back)) = self.0.try_send(end) {
            if Instant::now() >= deadline {
                return;
            }
            end = back;
            thread::sleep(FULL_QUEUE_PAUSE);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Whoever stops the journal loses what it has not read.
        let (Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) = is_done.recv_timeout(left);
    }
}

/// The end of the queue where events come in, in whichever thread they are made.
struct Queue(SyncSender<Told>);

impl<S: Subscriber> Layer<S> for Queue {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.0.try_send(Told::Event(Record::of(event))).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes what comes, until the daemon ends.
fn write(queue: &Receiver<Told>, mut sink: Sink) {
    let (mut dropped_told, mut end) = (0, None);
    loop {
        match queue.try_recv() {
            Ok(Told::Event(record)) => sink.write(&record),
            Ok(Told::End(done)) => end = Some(done),
            Err(TryRecvError::Empty) => {
                let dropped = entries_dropped();
                if dropped > dropped_told {
                    let lines = dropped - dropped_told;
                    dropped_told = dropped;
                    // It finds room: the queue has just been found empty.
                    tracing::warn!(name: messages::LOG_LINES_DROPPED, lines, "lines of the log were dropped");
                    continue;
                }
                if let Some(done) = end.take() {
                    let _ = done.send(());
                }
                match queue.recv() {
                    Ok(Told::Event(record)) => sink.write(&record),
                    Ok(Told::End(done)) => end = Some(done),
                    Err(mpsc::RecvError) => return,
                }
            }
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

/// Where entries go.
enum Sink {
    Journal {
        journal: Dispatch,
        /// The metadata of each place that has logged, under the journal's names.
        renamed: HashMap<callsite::Identifier, &'static Metadata<'static>>,
    },
    /// Lines of text, where the journal is not to be had.
    Stderr(Dispatch),
}

impl Sink {
    /// The filter keeps the others from making what this one does not want.
    fn open(filter: Filter) -> Sink {
        match tracing_journald::layer() {
            Ok(journal) => {
                let journal = journal
                    .with_field_prefix(None)
                    .with_syslog_identifier("reelway".to_owned())
                    .with_priority_mappings(PriorityMappings {
                        info: Priority::Informational,
                        debug: Priority::Debug,
                        ..PriorityMappings::new()
                    });
                let journal = tracing_subscriber::registry().with(filter).with(journal).into();
                Sink::Journal { journal, renamed: HashMap::new() }
            }
            Err(error) => {
                let lines = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false);
                let lines = lines.with_writer(std::io::stderr);
                let stderr = Sink::Stderr(tracing_subscriber::registry().with(filter).with(lines).into());
                tracing::warn!(
                    name: messages::JOURNAL_MISSING, %error,
                    "the journal's socket is not to be had; lines are written to stderr"
                );
                stderr
            }
        }
    }

    fn write(&mut self, record: &Record) {
        match self {
            Sink::Journal { journal, renamed } => {
                let metadata = renamed.entry(record.metadata.callsite()).or_insert_with(|| entry(record.metadata));
                let (line, id) = (record.line(), messages::id(record.metadata));
                let mut values = of_fields(record);
                for (value, field) in values.iter_mut().zip(record.metadata.fields()) {
                    if field.name() == "message" {
                        *value = Some(&line);
                    }
                }
                values.insert(0, id.as_ref().map(|id| id as &dyn Value));
                say(metadata, &values, |event| journal.event(event));
            }
            Sink::Stderr(lines) => {
                // A field that was shown without quotes is so again.
                let shown: Vec<DisplayValue<&String>> = record.values.iter().map(|(_, value)| display(value)).collect();
                let mut values = vec![None; record.metadata.fields().len()];
                for ((index, _), shown) in record.values.iter().zip(&shown) {
                    values[*index] = Some(shown as &dyn Value);
                }
                say(record.metadata, &values, |event| lines.event(event));
            }
        }
    }
}

/// The values of a record, in the order of its fields.
fn of_fields(record: &Record) -> Vec<Option<&dyn Value>> {
    let mut values = vec![None; record.metadata.fields().len()];
    for (index, value) in &record.values {
        values[*index] = Some(value as &dyn Value);
    }
    values
}

/// The metadata of an entry: the message id first, then the fields under the journal's names.
fn entry(metadata: &'static Metadata<'static>) -> &'static Metadata<'static> {
    let fields = metadata.fields().iter().map(|field| {
        let name = field.name();
        NAMES.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, journals)| journals)
    });
    renamed(metadata, std::iter::once("message_id").chain(fields))
}
