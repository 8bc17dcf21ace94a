//! The service manager: what it hands to us, and what we tell it.
//!
//! The one idea: outside systemd every word here is said to nobody and nothing is handed over, so no caller asks where it
//! runs. sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3), and systemd.service(5), `FileDescriptorStoreMax=`.

use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use systemd::daemon;

/// Descriptors that one message may carry (unix(7), SCM_MAX_FD).
const DESCRIPTORS_PER_MESSAGE_MAX: usize = 253;

/// A descriptor that the service manager handed over at the start.
#[derive(Debug)]
pub struct Passed {
    /// The name that the socket unit, or we ourselves when we stored it, gave it.
    pub name: String,
    /// It is ours now, and not inherited by children.
    pub descriptor: OwnedFd,
}

/// Takes what the service manager hands over: listening sockets, and what the process before us stored. A second call finds
/// nothing. Call it before there is a second thread.
///
/// # Errors
/// When the environment says something that cannot be.
pub fn take_passed() -> io::Result<Vec<Passed>> {
    // SAFETY: it changes the environment, and the caller promises that no other thread exists which could read it.
    let listened = unsafe { daemon::listen_fds_with_names_unset_environment() }.map_err(io::Error::from)?;
    let taken = listened.iter().map(|(number, name)| Passed {
        name: name.to_string_lossy().into_owned(),
        // SAFETY: systemd opened this descriptor for us, nobody else in this process knows its number, and the environment
        // that named it is gone, so that it is taken once.
        descriptor: unsafe { OwnedFd::from_raw_fd(number) },
    });
    Ok(taken.collect())
}

/// Says that everything is up (or, after [`reloading`], that the reload is over).
pub fn ready(status: &str) {
    tell(&[("READY", "1"), ("STATUS", status)]);
}

/// Says that the configuration is being read again. [`ready`] ends that.
pub fn reloading() {
    // systemd must not take the answer to an earlier reload for that to this one (sd_notify(3), MONOTONIC_USEC).
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    tell(&[("RELOADING", "1"), ("MONOTONIC_USEC", &now.as_micros().to_string())]);
}

/// Says that we are about to end.
pub fn stopping(status: &str) {
    tell(&[("STOPPING", "1"), ("STATUS", status)]);
}

/// Says how we are: one line, for whoever types `systemctl status`.
pub fn status(line: &str) {
    tell(&[("STATUS", line)]);
}

/// Says that we are well. Whoever does not for the time of [`watchdog`] is ended and started again.
pub fn alive() {
    tell(&[("WATCHDOG", "1")]);
}

/// Asks to be ended and started again, because we are stuck.
pub fn stuck(status: &str) {
    tell(&[("STATUS", status), ("WATCHDOG", "trigger")]);
}

/// Asks for so much more time before the current start or stop counts as failed.
pub fn more_time(time: Duration) {
    tell(&[("EXTEND_TIMEOUT_USEC", &time.as_micros().to_string())]);
}

/// How long we may be silent, if anybody listens (`WatchdogSec=`).
pub fn watchdog() -> Option<Duration> {
    daemon::watchdog_enabled().ok().filter(|time| *time > 0).map(Duration::from_micros)
}

/// The service that this process is of, by its control group (cgroups(7)).
pub fn unit() -> Option<String> {
    // sd_pid_get_unit(3) asks for the group of process 1 as well, which ProtectProc= hides.
    unit_of(&std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// `0::/system.slice/reelway.service`; a group that was delegated to the service is below its own.
fn unit_of(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let hierarchy = fields.next()?;
        fields.next().filter(|_| matches!(hierarchy, "" | "name=systemd"))
    });
    paths.flat_map(|path| path.rsplit('/').find(|group| group.ends_with(".service"))).next().map(str::to_owned)
}

/// How many descriptors the service manager keeps for the process after us, while it restarts the service. systemd 254 says
/// so itself; for older ones our unit does (`Environment=FDSTORE=`).
pub fn store_capacity() -> usize {
    let capacity = std::env::var("FDSTORE").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    if std::env::var_os("NOTIFY_SOCKET").is_some() { capacity } else { 0 }
}

/// Hands `files` and `sockets` to the service manager under `name`, and waits up to `patience` until it has them: the process
/// after us is passed them. Two descriptors of one open file are kept once. A socket whose peer leaves meanwhile is let go; a
/// file is not asked anything.
///
/// # Errors
/// When it cannot be told, or does not take them in time.
pub fn store(name: &str, files: &[BorrowedFd<'_>], sockets: &[BorrowedFd<'_>], patience: Duration) -> io::Result<()> {
    for (descriptors, polls) in [(files, "0"), (sockets, "1")] {
        for some in descriptors.chunks(DESCRIPTORS_PER_MESSAGE_MAX) {
            let numbers: Vec<_> = some.iter().map(AsRawFd::as_raw_fd).collect();
            let words = [("FDSTORE", "1"), ("FDNAME", name), ("FDPOLL", polls)];
            let told = daemon::pid_notify_with_fds(0, words.iter(), &numbers);
            if !told.map_err(io::Error::from)? {
                return Err(io::ErrorKind::NotConnected.into());
            }
        }
    }
    barrier(patience)
}

/// Has the service manager forget what it keeps under `name`: until then it holds every connection among that open.
pub fn forget_stored(name: &str) {
    tell(&[("FDSTOREREMOVE", "1"), ("FDNAME", name)]);
}

/// Waits until the service manager has heard all that it was told (sd_notify(3), BARRIER=1): it holds the other end of a pipe
/// until then.
fn barrier(patience: Duration) -> io::Result<()> {
    let (ours, theirs): (PipeReader, _) = io::pipe()?;
    let told = daemon::pid_notify_with_fds(0, [("BARRIER", "1")].iter(), &[theirs.as_raw_fd()]);
    drop(theirs);
    if !told.map_err(io::Error::from)? {
        return Err(io::ErrorKind::NotConnected.into());
    }
    let mut ends = [PollFd::new(std::os::fd::AsFd::as_fd(&ours), PollFlags::empty())];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    match poll(&mut ends, patience)? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Without a service manager, or when it does not listen, there is nobody to tell.
fn tell(words: &[(&str, &str)]) {
    if let Err(error) = daemon::notify(words.iter()) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_in_either_kind_of_control_groups() {
        for (groups, expected) in [
            ("0::/system.slice/reelway.service\n", Some("reelway.service")),
            (
                "0::/machine.slice/x.service/payload/system.slice/system-reelway.slice/reelway@3001.service/child\n",
                Some("reelway@3001.service"),
            ),
            ("4:cpu:/a.service\n1:name=systemd:/system.slice/b.service\n0::/\n", Some("b.service")),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(groups).as_deref(), expected, "{groups}");
        }
    }
}
