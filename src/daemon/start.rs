//! A start that takes long and is honest about it: the service manager gives it more time while it goes on.
//!
//! What can take long is the look at the whole database, and what follows from it: a great write-ahead log that is folded in, a
//! copy before a new schema. A disk that never answers is no such thing, so the patience has an end (limits.rs).

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use crate::limits;
use crate::sys::systemd;

/// Does `work`, and asks for more time for as long as it goes on. `what` says what that is, as a status.
pub(super) fn with_more_time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (end, ended) = mpsc::channel::<()>();
        let begun = Instant::now();
        let ask = move || {
            while ended.recv_timeout(limits::START_LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout)
                && begun.elapsed() < limits::START_PATIENCE
            {
                systemd::status(what);
                systemd::more_time(limits::START_EXTENSION);
            }
        };
        // Without a thread for it there is the time that the service manager gives anyway.
        let _asks = std::thread::Builder::new().name("start".into()).spawn_scoped(scope, ask);
        let done = work();
        drop(end);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_is_quick_is_not_held_up() {
        let begun = Instant::now();
        assert_eq!(with_more_time("Doing a sum", || 1 + 1), 2);
        assert!(begun.elapsed() < limits::START_LOOK_INTERVAL);
    }
}
