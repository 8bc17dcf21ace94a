//! The service manager's watchdog: it is fed for as long as every thread that others wait for shows life (sd_watchdog_enabled(3)).
//!
//! The one idea: who is fed by a timer alone is fed by a daemon that is stuck. So each shard, the main thread and the keeper
//! have a pulse, and both threads of the store are asked for an answer through the queue that everybody's work goes through;
//! one that comes on with what it has to do lives as well, however much of it there is.
//! Shards never wait for a disk, so they are believed to be stuck soon; the store does, and has the time that a slow disk's
//! fsync takes. When one is stuck, which one is said, and the restart is asked for at once.
//!
//! ```text
//!   beats of a shard    |  |  |  |  |  x                     a sixth of WatchdogSec=
//!   looks of ours       |     |     |     |     |            a third: WATCHDOG=1, or
//!                                               '── silent for half of it: WATCHDOG=trigger
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::limits;
use crate::log::messages;
use crate::serve::pulse::{Beats, Pulse};
use crate::store::{self, Store};
use crate::sys::{Fault, systemd};

/// Who is watched, before the watch begins.
#[derive(Debug)]
pub(super) struct Watched {
    /// `WatchdogSec=`; none when nobody listens, and then nobody is watched.
    time: Option<Duration>,
    threads: Vec<Thread>,
}

/// One thread.
#[derive(Debug)]
struct Thread {
    pulse: Arc<Pulse>,
    /// For how long it may be silent.
    patience: Duration,
}

/// Who is stuck.
#[derive(Debug, PartialEq, Eq)]
struct Stuck {
    name: String,
    silence: Duration,
}

/// The watch. Dropped, it ends, and the watchdog is fed no more.
pub(super) struct Watchdog {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    /// Nobody yet, for a watchdog that waits for `time`, if there is one.
    pub fn new(time: Option<Duration>) -> Watched {
        Watched { time, threads: Vec::new() }
    }

    /// What a thread has to do that waits for nothing but its work.
    pub fn add(&mut self, name: impl Into<String>) -> Option<Beats> {
        let patience = self.time? / 2;
        self.beats(name, patience)
    }

    /// The same for one that also waits for disks.
    pub fn add_patiently(&mut self, name: impl Into<String>) -> Option<Beats> {
        let patience = limits::DISK_SILENCE_MAX.max(self.time? / 2);
        self.beats(name, patience)
    }

    fn beats(&mut self, name: impl Into<String>, patience: Duration) -> Option<Beats> {
        let interval = self.time? / 6;
        let pulse = Arc::new(Pulse::new(name, Instant::now()));
        self.threads.push(Thread { pulse: Arc::clone(&pulse), patience });
        Some(Beats { pulse, interval })
    }

    /// Begins to watch them, and the store; none when nobody listens.
    ///
    /// # Errors
    /// When the system has no thread for us.
    pub fn start(self, store: &Store) -> Result<Option<Watchdog>, Fault> {
        let Some(time) = self.time else { return Ok(None) };
        let asked = [Asked::writer(store), Asked::reader(store)];
        let watch = Watch { threads: self.threads, asked, complained: Vec::new() };
        let (end, ended) = mpsc::channel();
        let run = move || watch.run(time / 3, &ended);
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(run);
        let thread = thread.map_err(|error| Fault::new("start the watchdog", error))?;
        Ok(Some(Watchdog { end: Some(end), thread: Some(thread) }))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.end.take());
        // A panic of it was reported by the panic hook, and the watchdog was not fed since.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Watch {
    threads: Vec<Thread>,
    asked: [Asked; 2],
    /// Those of whom it was said that they are stuck.
    complained: Vec<String>,
}

impl Watch {
    fn run(mut self, interval: Duration, ended: &mpsc::Receiver<()>) {
        let mut looked = Instant::now();
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let now = Instant::now();
            // Who was held up itself, with the whole machine, does not judge the others by the time that passed meanwhile.
            let was_held_up = now.duration_since(looked) > interval + interval / 2;
            looked = now;
            let stuck = self.look(now);
            if was_held_up || stuck.is_empty() {
                systemd::alive();
            } else {
                self.complain(&stuck);
            }
        }
    }

    fn look(&mut self, now: Instant) -> Vec<Stuck> {
        let of_store: Vec<Stuck> = self.asked.iter_mut().filter_map(|asked| asked.look(now)).collect();
        let threads = self.threads.iter().filter_map(|thread| thread.look(now));
        let stuck: Vec<Stuck> = of_store.into_iter().chain(threads).collect();
        self.complained.retain(|name| stuck.iter().any(|stuck| stuck.name == *name));
        stuck
    }

    fn complain(&mut self, stuck: &[Stuck]) {
        for Stuck { name, silence } in stuck {
            if !self.complained.contains(name) {
                self.complained.push(name.clone());
                tracing::error!(name: messages::THREAD_STUCK, thread = name, silent_seconds = silence.as_secs(), "a thread is stuck");
            }
        }
        let named: Vec<_> =
            stuck.iter().map(|stuck| format!("{} for {} s", stuck.name, stuck.silence.as_secs())).collect();
        // What ends us comes at once, and the line above is written by another thread.
        std::thread::sleep(limits::LAST_WORDS_PATIENCE);
        systemd::stuck(&format!("Stuck: nothing was heard of {}; asking to be started again", named.join(", of ")));
    }
}

impl Thread {
    fn look(&self, now: Instant) -> Option<Stuck> {
        let silence = self.pulse.silence(now);
        (silence > self.patience).then(|| Stuck { name: self.pulse.name.clone(), silence })
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<(), store::Fault>> + Send>>;

/// A thread of the store, which shows life by answering, and by coming on.
struct Asked {
    thread: Thread,
    ask: Box<dyn Fn() -> Answer + Send>,
    /// What it was asked and has not answered yet.
    question: Option<Answer>,
    /// How far it has come, in steps that each wait for the disk but once.
    steps: Box<dyn Fn() -> u64 + Send>,
    /// That at the last look.
    steps_seen: u64,
    has_ended: bool,
}

impl Asked {
    fn writer(store: &Store) -> Asked {
        let (store, counted) = (store.clone(), store.clone());
        let ask = move || -> Answer {
            let store = store.clone();
            Box::pin(async move { store.ping_writer().await })
        };
        Asked::new(store::WRITER, ask, move || counted.writer_steps())
    }

    fn reader(store: &Store) -> Asked {
        let (store, counted) = (store.clone(), store.clone());
        let ask = move || -> Answer {
            let store = store.clone();
            Box::pin(async move { store.ping().await })
        };
        Asked::new(store::READER, ask, move || counted.counts().reads)
    }

    fn new(name: &str, ask: impl Fn() -> Answer + Send + 'static, steps: impl Fn() -> u64 + Send + 'static) -> Asked {
        let pulse = Arc::new(Pulse::new(name, Instant::now()));
        let thread = Thread { pulse, patience: limits::DISK_SILENCE_MAX };
        let steps_seen = steps();
        Asked { thread, ask: Box::new(ask), question: None, steps: Box::new(steps), steps_seen, has_ended: false }
    }

    /// Hears the answer, if it has come, and asks anew.
    fn look(&mut self, now: Instant) -> Option<Stuck> {
        let mut question = self.question.take().unwrap_or_else(|| (self.ask)());
        // Nobody needs to be woken: the next look polls again.
        match question.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.question = Some(question),
            // It could not even be asked, because so much waits there: no sign of life.
            Poll::Ready(Err(store::Fault::Busy { .. })) => {}
            Poll::Ready(Err(store::Fault::Stopped)) => self.has_ended = true,
            // That the database fails is not that nobody is there.
            Poll::Ready(Ok(()) | Err(_)) => self.thread.pulse.beat(now),
        }
        let steps = (self.steps)();
        if std::mem::replace(&mut self.steps_seen, steps) != steps {
            self.thread.pulse.beat(now);
        }
        let silence = self.thread.pulse.silence(now);
        let ended = self.has_ended.then(|| Stuck { name: self.thread.pulse.name.clone(), silence });
        ended.or_else(|| self.thread.look(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;
    use std::path::PathBuf;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    const WATCHDOG: Duration = Duration::from_secs(30);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn nobody_is_watched_where_nobody_listens() {
        let mut watched = Watched::new(None);
        assert!(watched.add("shard 0").is_none());
        assert!(watched.add_patiently("keeper").is_none());
        assert!(watched.threads.is_empty());
    }

    #[test]
    fn a_thread_is_stuck_within_the_time_of_the_watchdog_and_not_sooner_than_it_may_be_silent() {
        let mut watched = Watched::new(Some(WATCHDOG));
        let beats = watched.add("shard 0").unwrap();
        let patient = watched.add_patiently("keeper").unwrap();
        let start = Instant::now();
        beats.pulse.beat(start);
        patient.pulse.beat(start);
        let stuck = |seconds| -> Vec<String> {
            let at = after(start, seconds);
            watched.threads.iter().filter_map(|thread| thread.look(at)).map(|stuck| stuck.name).collect()
        };
        assert!(stuck(14).is_empty());
        assert_eq!(stuck(16), ["shard 0"]);
        assert_eq!(stuck(119), ["shard 0"], "a disk may take so long");
        assert_eq!(stuck(122), ["shard 0", "keeper"]);
        // The last look that does not find it, the time until the next, and its patience.
        assert!(beats.interval * 2 <= WATCHDOG / 3 && WATCHDOG / 2 + WATCHDOG / 3 < WATCHDOG);
        beats.pulse.beat(after(start, 122));
        assert_eq!(stuck(123), ["keeper"], "it lives again");
    }

    /// Somebody who is asked, and answers as the test says: for every question one, or none yet.
    fn asked(answers: Vec<Option<Result<(), store::Fault>>>) -> Asked {
        let answers = Mutex::new(answers.into_iter());
        let ask = move || -> Answer {
            match answers.lock().unwrap().next().flatten() {
                Some(answer) => Box::pin(ready(answer)),
                None => Box::pin(std::future::pending()),
            }
        };
        Asked::new("store-writer", ask, || 0)
    }

    #[test]
    fn a_store_that_answers_late_lives_and_one_that_does_not_is_stuck() {
        let mut store = asked(vec![Some(Ok(())), None]);
        let start = Instant::now();
        assert_eq!(store.look(after(start, 10)), None);
        assert_eq!(store.look(after(start, 20)), None);
        assert_eq!(store.look(after(start, 129)), None, "a slow disk");
        let stuck = store.look(after(start, 131)).expect("it has been silent since it answered");
        assert_eq!((stuck.name.as_str(), stuck.silence.as_secs()), ("store-writer", 121));
    }

    #[test]
    fn a_store_that_comes_on_lives_however_late_it_answers() {
        let busy = || Some(Err(store::Fault::Busy { file: PathBuf::new() }));
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let mut store = asked(vec![busy(), busy(), busy(), None]);
        store.steps = Box::new(move || counted.load(Ordering::Relaxed));
        let start = Instant::now();
        // Each of its commits takes 110 s, and so much waits that it takes no question, and then answers none.
        for commit in 0..6 {
            assert_eq!(store.look(after(start, 110 * commit)), None, "after {commit} commits");
            steps.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(store.look(after(start, 660)), None);
        assert_eq!(store.look(after(start, 779)), None);
        assert!(store.look(after(start, 781)).is_some(), "it comes on no more");
    }

    #[test]
    fn a_store_that_fails_lives_and_one_that_takes_nothing_does_not() {
        let failed = || Some(Err(store::Fault::DiskFull { file: PathBuf::new() }));
        let busy = || Some(Err(store::Fault::Busy { file: PathBuf::new() }));
        let mut store = asked(vec![failed(), busy(), busy(), failed()]);
        let start = Instant::now();
        assert_eq!(store.look(after(start, 100)), None);
        assert_eq!(store.look(after(start, 219)), None);
        assert!(store.look(after(start, 221)).is_some());
        assert_eq!(store.look(after(start, 231)), None, "it lives again");
    }

    #[test]
    fn a_store_whose_thread_has_ended_is_stuck_at_once() {
        let mut store = asked(vec![Some(Err(store::Fault::Stopped))]);
        assert!(store.look(Instant::now()).is_some());
    }
}
