//! What a sleeping machine does to clocks (clock_gettime(2)): one goes on, one stands still, and the difference is the sleep.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long the machine has slept since it was started, in all.
///
/// Two calls of one moment may differ by less than a millisecond.
pub fn slept() -> Duration {
    let awake = awake();
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
}

/// How long the machine has been awake since it was started: the clock of systemd's monotonic time stamps.
pub fn awake() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Every kernel we run on has both clocks. Were one missing, no sleep would ever be seen, and everything else goes on.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}
