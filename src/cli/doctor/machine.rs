//! How facts are had: units from systemctl(1), commands that may be missing or hang, small files of /proc.
//!
//! The one idea: nothing here fails. What cannot be seen is absent, and whoever judges says so.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take. They answer in milliseconds, unless what they ask hangs.
const COMMAND_PATIENCE: Duration = Duration::from_secs(4);

/// Bytes of a command's answer that are read: a firewall may have many rules.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What is asked of each unit.
const PROPERTIES: &str = "LoadState,LoadError,ActiveState,SubState,UnitFileState,Result,StatusText,NeedDaemonReload,MainPID,\
    Environment,EnvironmentFiles,User,StateDirectory,LimitNOFILE,MemoryMax,MemoryHigh,IPAddressAllow,IPAddressDeny,SystemCallFilter,\
    FileDescriptorStoreMax,Listen,NRestarts,InvocationID,InactiveExitTimestampMonotonic";

/// The standard output of a command that succeeded in time.
pub(super) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    output_within(COMMAND_PATIENCE, program, arguments)
}

/// The same with another patience.
pub(super) fn output_within(patience: Duration, program: &str, arguments: &[&str]) -> Option<String> {
    let (succeeded, text) = answer(patience, program, arguments)?;
    succeeded.then_some(text)
}

/// Whether a command succeeds; none when it is not there, or hangs.
pub(super) fn succeeds(program: &str, arguments: &[&str]) -> Option<bool> {
    answer(COMMAND_PATIENCE, program, arguments).map(|(succeeded, _)| succeeded)
}

/// Whether a command succeeded, and its standard output; none when it is not there or hangs.
fn answer(patience: Duration, program: &str, arguments: &[&str]) -> Option<(bool, String)> {
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
                return None;
            }
        }
    };
    let bytes = reader.join().ok()?.ok()?;
    Some((status.success(), String::from_utf8_lossy(&bytes).into_owned()))
}

/// A small file as text.
pub(super) fn text(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What systemd knows of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit(BTreeMap<String, String>);

impl Unit {
    /// Asks for it. Without systemd it is one that is not installed.
    pub fn ask(name: &str) -> Unit {
        let wanted = format!("--property={PROPERTIES}");
        Unit::of(&output("systemctl", &["show", "--no-pager", &wanted, name]).unwrap_or_default())
    }

    /// Reads what `systemctl show` prints. A property that is printed more than once is a list.
    pub fn of(shown: &str) -> Unit {
        let mut properties = BTreeMap::<String, String>::new();
        for (name, value) in shown.lines().filter_map(|line| line.split_once('=')) {
            let known = properties.entry(name.to_owned()).or_default();
            if !known.is_empty() {
                known.push('\n');
            }
            known.push_str(value);
        }
        Unit(properties)
    }

    /// A property, empty when it is not set or not known.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == value
    }

    /// Whether systemd has it.
    pub fn is_installed(&self) -> bool {
        !matches!(self.get("LoadState"), "" | "not-found")
    }

    /// Whether it runs, or is about to.
    pub fn is_active(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "activating" | "reloading" | "deactivating")
    }

    /// Whether it has ended badly, for good or until it is tried again.
    pub fn has_failed(&self) -> bool {
        self.is("ActiveState", "failed") || self.is_retried()
    }

    /// Whether it has ended, and systemd is about to start it again; systemd 254 has a second word for that.
    pub fn is_retried(&self) -> bool {
        self.get("SubState").starts_with("auto-restart")
    }

    /// Whether it is on its way up.
    pub fn is_starting(&self) -> bool {
        self.is("ActiveState", "activating") && !self.is_retried()
    }

    /// Whether it is started at boot, or by something that is.
    pub fn is_enabled(&self) -> bool {
        !matches!(self.get("UnitFileState"), "disabled" | "masked" | "masked-runtime" | "")
    }

    /// The process of a service.
    pub fn process(&self) -> Option<u32> {
        self.get("MainPID").parse().ok().filter(|number| *number > 0)
    }

    /// A number of bytes or of files; none when there is no limit.
    pub fn limit(&self, name: &str) -> Option<u64> {
        // Without a limit it says `infinity`, or the greatest number.
        self.get(name).parse().ok().filter(|limit| *limit != u64::MAX)
    }

    /// The variables that the unit gives its process, in the order in which later ones win, each with where it stands.
    pub fn variables(&self) -> Vec<(String, String, String)> {
        let own = words(self.get("Environment")).into_iter().map(|word| (word, "Environment= of the unit".to_owned()));
        let files = self.get("EnvironmentFiles").lines().filter_map(|line| {
            let path = line.split_once(" (").map_or(line, |(path, _)| path).trim();
            Some((path.to_owned(), text(path)?))
        });
        let lines = files.flat_map(|(path, text)| {
            let lines: Vec<_> = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with(['#', ';']))
                .map(|line| (unquoted(line), path.clone()))
                .collect();
            lines
        });
        own.chain(lines)
            .filter_map(|(word, place)| {
                let (name, value) = word.split_once('=')?;
                Some((name.trim().to_owned(), value.to_owned(), place))
            })
            .collect()
    }
}

/// `NAME="a value"` of an environment file as `NAME=a value`.
fn unquoted(line: &str) -> String {
    let Some((name, value)) = line.split_once('=') else { return String::new() };
    let value = value.trim();
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    format!("{name}={}", inner.unwrap_or(value))
}

/// Words as systemctl prints them: separated by spaces, quoted where they hold one.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, ' ' | '\n') => words.push(std::mem::take(&mut word)),
            (_, letter) => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_systemctl_prints_them() {
        let unit = Unit::of(
            "LoadState=loaded\nEnvironment=PORT=80 \"A=b c\"\nListen=a\nListen=b\nMainPID=0\nMemoryMax=infinity",
        );
        assert!(unit.is_installed() && !unit.is_active() && !unit.is_enabled());
        assert_eq!((unit.get("Listen"), unit.process(), unit.limit("MemoryMax")), ("a\nb", None, None));
        let variables = unit.variables();
        let names: Vec<_> = variables.iter().map(|(name, value, _)| (name.as_str(), value.as_str())).collect();
        assert_eq!(names, [("PORT", "80"), ("A", "b c")]);
        assert!(!Unit::of("").is_installed());
    }

    #[test]
    fn an_environment_file_is_read_after_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("default");
        std::fs::write(&file, "# PORT=1\nPORT=8080\nVIDEOS_PATH=\"/srv/a b\"\n").unwrap();
        let shown = format!("Environment=PORT=80\nEnvironmentFiles={} (ignore_errors=yes)", file.display());
        let variables = Unit::of(&shown).variables();
        let names: Vec<_> = variables.iter().map(|(name, value, _)| (name.as_str(), value.as_str())).collect();
        assert_eq!(names, [("PORT", "80"), ("PORT", "8080"), ("VIDEOS_PATH", "/srv/a b")]);
        assert_eq!(variables[2].2, file.to_str().unwrap());
    }

    #[test]
    fn a_command_that_is_missing_or_fails_or_hangs_has_no_output() {
        assert_eq!(output("/nonexistent/program", &[]), None);
        assert_eq!(output("false", &[]), None);
        assert_eq!(output("echo", &["well"]).as_deref(), Some("well\n"));
        let begun = Instant::now();
        assert_eq!(output("sleep", &["60"]), None);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
