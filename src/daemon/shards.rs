//! The threads that serve: started, waited for until each serves, and joined.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::daemon::StartError;
use crate::daemon::watchdog::Watched;
use crate::log::messages;
use crate::serve::handover::Connection;
use crate::serve::pulse::Beats;
use crate::serve::shard::{self, Listener};
use crate::serve::{Phase, State};
use crate::sys::Fault;

/// The threads of all shards.
pub(super) struct Shards {
    threads: Vec<JoinHandle<()>>,
    /// Two messages a shard at most.
    news: mpsc::UnboundedReceiver<News>,
}

/// What a shard has to say.
enum News {
    /// It watches its listeners.
    Serves,
    /// It has ended, and should not have.
    Failed(StartError),
}

impl Shards {
    /// Starts one for each list of listeners, which goes on with its connections of the process before, and waits until all
    /// serve.
    ///
    /// # Errors
    /// Why one does not.
    pub fn start(
        state: &Arc<State>,
        listeners: Vec<Vec<Listener>>,
        resumed: Vec<Vec<Connection>>,
        phases: &watch::Receiver<Phase>,
        watched: &mut Watched,
    ) -> Result<Shards, StartError> {
        let (told, mut news) = mpsc::unbounded_channel();
        let mut start = |(number, (listeners, resumed)): (usize, (Vec<Listener>, Vec<Connection>))| {
            let (state, phases, told) = (Arc::clone(state), phases.clone(), told.clone());
            let name = format!("shard {number}");
            let beats = watched.add(&name);
            std::thread::Builder::new()
                .name(name)
                .spawn(move || run(number, state, listeners, resumed, phases, beats, &told))
                .map_err(|error| Fault::new("start a shard", error))
        };
        let threads = listeners.into_iter().zip(resumed).enumerate().map(&mut start).collect::<Result<Vec<_>, _>>()?;
        for _ in &threads {
            match news.blocking_recv() {
                Some(News::Serves) => {}
                Some(News::Failed(failure)) => return Err(failure),
                None => return Err(all_have_ended()),
            }
        }
        Ok(Shards { threads, news })
    }

    /// Waits until one fails. Why.
    pub async fn failure(&mut self) -> StartError {
        loop {
            match self.news.recv().await {
                Some(News::Serves) => {}
                Some(News::Failed(failure)) => return failure,
                None => return all_have_ended(),
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Whether all have ended.
    pub fn are_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits a little for those that were told to end: a disk that hangs may hold one, and must not hold the exit.
    pub fn join(self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            } else {
                tracing::warn!(name: messages::SHARD_LEFT_BEHIND, "a shard still waits for a disk; leaving without it");
            }
        }
    }
}

fn all_have_ended() -> StartError {
    StartError::Other("all shards have ended".to_owned())
}

fn run(
    number: usize,
    state: Arc<State>,
    listeners: Vec<Listener>,
    resumed: Vec<Connection>,
    phases: watch::Receiver<Phase>,
    beats: Option<Beats>,
    told: &mpsc::UnboundedSender<News>,
) {
    // Nobody hears it when the daemon ends at the same time.
    let serves = || drop(told.send(News::Serves));
    let run = std::panic::AssertUnwindSafe(|| shard::run(number, state, listeners, resumed, phases, beats, serves));
    let failure = match std::panic::catch_unwind(run) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => Fault::new(format!("run shard {number}"), error).into(),
        Err(_) => StartError::Other(format!("shard {number} panicked; the log says where")),
    };
    let _ = told.send(News::Failed(failure));
}
