//! A machine with a lid: it stays awake while a film plays, and once it has slept everything goes on.
//!
//! The keeper looks here first, twice a second. What sessions did, and the films that were playing, are where they were: the
//! calendar's jump ends no playback. The library is looked at anew, because a disk may have come or gone meanwhile.

use crate::daemon::awake::Awake;
use crate::daemon::clocks::{Clocks, News, Reading};
use crate::log::messages;
use crate::serve::State;
use crate::store::Timestamp;

/// What is known of the machine between two looks.
#[derive(Debug)]
pub(super) struct Laptop {
    awake: Awake,
    clocks: Clocks,
}

impl Laptop {
    /// From now on.
    pub fn new() -> Laptop {
        Laptop { awake: Awake::new(), clocks: Clocks::new(Reading::now()) }
    }

    /// One look. Returns the time that whoever else looks now has to go by: for that time everything is prepared.
    pub fn look(&mut self, state: &State) -> Timestamp {
        let services = &state.services;
        let reading = Reading::now();
        match self.clocks.news(reading) {
            News::None => {}
            News::Slept(time) => {
                // Rounded: the clocks of the two looks were read a microsecond apart.
                let seconds = time.as_secs_f64().round() as u64;
                tracing::info!(
                    name: messages::RESUMED_FROM_SUSPEND, seconds, "the machine has slept; the library is looked at anew"
                );
                services.playbacks.jumped(reading.calendar);
                let scan = services.settings().library.start_scan(&services.store, reading.calendar);
                scan.map(drop).unwrap_or_else(|error| tracing::debug!(%error, "the library was not looked at anew"));
            }
            News::Set(seconds) => {
                tracing::debug!(seconds, "the clock was set");
                services.playbacks.jumped(reading.calendar);
            }
        }
        self.awake.look(&services.settings().config.power, services.playbacks.is_any_open(), reading.awake);
        reading.calendar
    }
}
