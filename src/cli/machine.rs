//! How facts are had of this machine: commands that may be missing or hang, small files of /proc.
//!
//! The one idea: nothing here fails. What cannot be seen is absent, and whoever judges says so. Where it matters whether
//! something is absent or only slow, [`answer`] tells.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take. They answer in milliseconds, unless what they ask hangs.
pub(super) const COMMAND_PATIENCE: Duration = Duration::from_secs(4);

/// Bytes of a command's answer that are read: a firewall may have many rules.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The standard output of a command that succeeded in time.
pub(super) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    output_within(COMMAND_PATIENCE, program, arguments)
}

/// The same with another patience.
pub(super) fn output_within(patience: Duration, program: &str, arguments: &[&str]) -> Option<String> {
    match answer_within(patience, program, arguments) {
        Answer::Succeeded(text) => Some(text),
        Answer::Failed | Answer::Missing | Answer::Late => None,
    }
}

/// Whether a command succeeds; none when it is not there, or hangs.
pub(super) fn succeeds(program: &str, arguments: &[&str]) -> Option<bool> {
    match answer(program, arguments) {
        Answer::Succeeded(_) => Some(true),
        Answer::Failed => Some(false),
        Answer::Missing | Answer::Late => None,
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// With its standard output.
    Succeeded(String),
    Failed,
    /// It is not there, or could not be run.
    Missing,
    /// It did not end in time.
    Late,
}

/// What comes of a command.
pub(super) fn answer(program: &str, arguments: &[&str]) -> Answer {
    answer_within(COMMAND_PATIENCE, program, arguments)
}

fn answer_within(patience: Duration, program: &str, arguments: &[&str]) -> Answer {
    ended(patience, program, arguments).map_or(Answer::Missing, |ended| match ended {
        None => Answer::Late,
        Some((true, text)) => Answer::Succeeded(text),
        Some((false, _)) => Answer::Failed,
    })
}

/// Whether a command succeeded, and its standard output, if it ended in time; none when it could not be run.
fn ended(patience: Duration, program: &str, arguments: &[&str]) -> Option<Option<(bool, String)>> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").env("SYSTEMD_PAGER", "").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let pipe = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes)
    });
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                // It hangs. What it has started may hold the pipe open, so nobody waits for the reader.
                let _ = child.kill();
                let _ = child.wait();
                return Some(None);
            }
        }
    };
    let bytes = reader.join().ok()?.ok()?;
    Some(Some((status.success(), String::from_utf8_lossy(&bytes).into_owned())))
}

/// What installs packages here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Packager {
    /// Of Debian and what descends from it.
    #[default]
    Apt,
    /// Of Fedora and its kin.
    Dnf,
}

impl Packager {
    /// The one of this machine. Either program may be there for other purposes, so the system is asked what it is.
    pub fn here() -> Packager {
        if Path::new("/etc/debian_version").exists() { Packager::Apt } else { Packager::Dnf }
    }

    /// The command that installs what the one calls `debian` and the other `fedora`.
    pub fn install(self, debian: &str, fedora: &str) -> String {
        match self {
            Packager::Apt => format!("apt install {debian}"),
            Packager::Dnf => format!("dnf install {fedora}"),
        }
    }
}

/// A small file as text.
pub(super) fn text(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_missing_or_fails_or_hangs_has_no_output() {
        assert_eq!(answer("/nonexistent/program", &[]), Answer::Missing);
        assert_eq!((answer("false", &[]), output("false", &[])), (Answer::Failed, None));
        assert_eq!(output("echo", &["well"]).as_deref(), Some("well\n"));
        let begun = Instant::now();
        assert_eq!(answer("sleep", &["60"]), Answer::Late);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
