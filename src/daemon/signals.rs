//! SIGTERM and SIGINT: the first asks for a clean end, the second for an end now. SIGHUP asks to read the configuration again.

use std::io;
use std::time::{Duration, Instant};

use crate::serve::pulse::Beats;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often a drain is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Both signals, on a small runtime of the main thread.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    sources: Sources,
    beats: Option<Beats>,
}

/// What was waited for.
pub(super) enum Either<T> {
    /// A signal.
    Signal,
    /// The other thing.
    Other(T),
}

/// What somebody wants of a daemon that serves.
pub(super) enum Wanted<T> {
    /// That it ends, by the name of the signal.
    End(&'static str),
    /// That it reads its configuration again.
    Reload,
    /// What was waited for beside that.
    Other(T),
}

struct Sources {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Watches from now on; before this call either signal simply ends the process.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn watch() -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let sources = Sources {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        drop(guard);
        Ok(Signals { runtime, sources, beats: None })
    }

    /// Shows life by `beats`, from now on and while it waits.
    pub fn beat(&mut self, beats: Option<Beats>) {
        self.beats = beats;
    }

    /// Waits for a signal to end, or for `other`, whichever comes first.
    pub fn wait<T>(&mut self, other: impl Future<Output = T>) -> Either<T> {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.sources.next() => Either::Signal,
                other = other => Either::Other(other),
            }
        })
    }

    /// The same while the daemon serves. As many hangups as come while nobody waits are one.
    pub fn wait_serving<T>(&mut self, other: impl Future<Output = T>) -> Wanted<T> {
        let beats = async {
            match &self.beats {
                Some(beats) => beats.keep().await,
                None => std::future::pending().await,
            }
        };
        let Sources { terminate, interrupt, hangup } = &mut self.sources;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = terminate.recv() => Wanted::End("SIGTERM"),
                _ = interrupt.recv() => Wanted::End("SIGINT"),
                other = other => Wanted::Other(other),
                _ = hangup.recv() => Wanted::Reload,
                never = beats => match never {},
            }
        })
    }

    /// Waits for as long as `is_busy`, at most for `limit`, or until the next signal. Returns whether it was not cut.
    pub fn wait_while(&mut self, limit: Duration, is_busy: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        self.runtime.block_on(async {
            while is_busy() {
                if Instant::now() >= deadline || tokio::time::timeout(STEP, self.sources.next()).await.is_ok() {
                    return false;
                }
            }
            true
        })
    }
}

impl Sources {
    /// Waits for a signal to end.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
