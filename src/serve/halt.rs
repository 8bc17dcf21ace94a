//! The word that the connections of a shard are to be handed over: said once, and heard by every one of them at its next turn
//! or in whatever it waits for.

use std::cell::Cell;

use tokio::sync::Notify;

/// Whether it was said.
#[derive(Debug, Default)]
pub(super) struct Halt {
    is_due: Cell<bool>,
    told: Notify,
}

impl Halt {
    /// Says it.
    pub fn call(&self) {
        self.is_due.set(true);
        self.told.notify_waiters();
    }

    /// Whether it was said.
    pub fn is_due(&self) -> bool {
        self.is_due.get()
    }

    /// Waits until it is.
    pub async fn due(&self) {
        let told = self.told.notified();
        if !self.is_due() {
            told.await;
        }
    }
}
