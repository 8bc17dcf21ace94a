//! Units of systemd, as systemctl(1) shows and cats them: how one is, what its files say, and what it gives its process.
//!
//! The one idea: asking never fails. Without systemd there is no unit, and whoever asks says what that means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::cli::machine;
use crate::config::Config;

/// The service of the package.
pub(super) const SERVICE: &str = "reelway.service";

/// A setting of a unit: its name, and its value as a unit file has it.
pub(super) type Setting = (String, String);

/// What is asked of each unit.
const PROPERTIES: &str = "LoadState,LoadError,ActiveState,SubState,UnitFileState,Result,StatusText,NeedDaemonReload,MainPID,\
    Environment,EnvironmentFiles,User,StateDirectory,LimitNOFILE,MemoryMax,MemoryHigh,IPAddressAllow,IPAddressDeny,SystemCallFilter,\
    FileDescriptorStoreMax,Listen,NRestarts,InvocationID,InactiveExitTimestampMonotonic,CanReload,RuntimeDirectory";

/// A unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// `reelway.service`, or an instance.
    pub name: String,
    /// What systemd says of it.
    properties: BTreeMap<String, String>,
    /// What its files say in `[Service]`, drop-ins included.
    settings: Vec<Setting>,
}

impl Unit {
    /// Asks for it. Without systemd it is one that is not installed.
    pub fn ask(name: &str) -> Unit {
        let wanted = format!("--property={PROPERTIES}");
        let shown = machine::output("systemctl", &["show", "--no-pager", &wanted, name]).unwrap_or_default();
        let mut unit = Unit { name: name.to_owned(), ..Unit::of(&shown) };
        if unit.is_loaded() && name.ends_with(".service") {
            unit.settings = settings(&machine::output("systemctl", &["cat", "--no-pager", name]).unwrap_or_default());
        }
        unit
    }

    /// The one of this name, if this machine is run by systemd and has it.
    pub fn installed(name: &str) -> Option<Unit> {
        Some(Unit::ask(name)).filter(Unit::is_loaded)
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
        Unit { properties, ..Unit::default() }
    }

    /// A property, empty when it is not set or not known.
    pub fn get(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == value
    }

    /// Whether systemd has it.
    pub fn is_installed(&self) -> bool {
        !matches!(self.get("LoadState"), "" | "not-found")
    }

    /// Whether systemd has it and can read it.
    pub fn is_loaded(&self) -> bool {
        self.is("LoadState", "loaded")
    }

    /// Whether it runs, or is about to.
    pub fn is_active(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "activating" | "reloading")
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
            Some((path.to_owned(), machine::text(path)?))
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

    /// Where its environment sets the variable `name`. An empty one is as good as none.
    pub fn sets_variable(&self, name: &str) -> Option<String> {
        let last = self.variables().into_iter().rfind(|(known, _, _)| known == name);
        last.filter(|(_, value, _)| !value.is_empty()).map(|(_, _, place)| place)
    }

    /// The configuration as the service of this unit has it: with its directories, unless the environment names others.
    pub fn places(&self, mut config: Config) -> Config {
        let is_unnamed = |variable| std::env::var_os(variable).is_none();
        if let Some(runtime) = self.folder("RuntimeDirectory").filter(|_| is_unnamed("RUNTIME_DIRECTORY")) {
            config.directories.runtime = runtime;
        }
        if let Some(state) = self.folder("StateDirectory").filter(|_| is_unnamed("STATE_DIRECTORY")) {
            config.directories.state = state;
        }
        config
    }

    /// What its files say in `[Service]`, one after another.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The last word on a setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let last = self.settings.iter().rfind(|(known, _)| known == name)?;
        Some(last.1.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether it is started with this text among its arguments.
    pub fn is_started_with(&self, argument: &str) -> bool {
        self.setting("ExecStart").is_some_and(|command| command.split_whitespace().any(|word| word == argument))
    }

    /// The folder of its drop-ins.
    pub fn drop_in_folder(&self) -> PathBuf {
        PathBuf::from(format!("/etc/systemd/system/{}.d", self.name))
    }

    /// The first folder of its own that it names with this property, as systemd makes it (systemd.exec(5)).
    fn folder(&self, property: &str) -> Option<PathBuf> {
        let base = match property {
            "RuntimeDirectory" => "/run",
            _ => "/var/lib",
        };
        // A name may be followed by a colon and a link to it.
        let first = self.get(property).split_whitespace().next()?.split(':').next()?;
        Some(Path::new(base).join(first))
    }
}

/// The settings of `[Service]` of unit files, one after another as systemctl(1) cats them (systemd.syntax(7)).
fn settings(text: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    let mut is_in = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim().to_owned();
        if line.starts_with(['#', ';']) {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            match lines.next() {
                // A comment amid a continued line is left out.
                Some(next) if next.trim_start().starts_with(['#', ';']) => line.push('\\'),
                Some(next) => line += next.trim(),
                None => {}
            }
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_in = name == "Service";
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_in) {
            found.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
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

/// Runs systemctl(1) and returns what it prints.
///
/// # Errors
/// With what it says, when it fails.
pub(super) fn systemctl(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output();
    let output = output.context("could not run systemctl")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("`systemctl {}` failed: {}", arguments.join(" "), why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As `systemctl cat` prints them.
    pub const FILES: &str = "\
# /usr/lib/systemd/system/reelway.service
[Unit]
Description=x
User=nobody
[Service]
ExecStart=/usr/bin/reelway serve --config /etc/x.toml
User=reelway
ProtectHome=yes
Environment=A=b \"VIDEOS_PATH=/srv/a b\"
CapabilityBoundingSet=
SystemCallFilter=@system-service \\
# a comment
  @io
BindReadOnlyPaths=%S/x

# /etc/systemd/system/reelway.service.d/library-x.conf
[Service]
ProtectHome = tmpfs
";

    impl Unit {
        /// One with these files.
        pub fn with_files(files: &str) -> Unit {
            Unit { name: SERVICE.to_owned(), settings: settings(files), ..Unit::default() }
        }
    }

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
    fn a_variable_is_found_in_the_unit_and_in_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reelway");
        std::fs::write(&file, "# REELWAY_LIBRARY__ROOTS=/no\nPORT=\nREELWAY_LIBRARY__ROOTS=/srv\n").unwrap();
        let own = "Environment=A=b \"VIDEOS_PATH=/srv/a b\" PORT=80";
        assert_eq!(Unit::of(own).sets_variable("VIDEOS_PATH").as_deref(), Some("Environment= of the unit"));
        assert_eq!(Unit::of(own).sets_variable("REELWAY_LIBRARY__ROOTS"), None);
        let both = Unit::of(&format!("{own}\nEnvironmentFiles={} (ignore_errors=yes)", file.display()));
        assert_eq!(both.sets_variable("REELWAY_LIBRARY__ROOTS"), Some(file.display().to_string()));
        assert_eq!(both.sets_variable("PORT"), None, "an empty one is as good as none, and the last one counts");
    }

    #[test]
    fn the_last_word_of_a_unit_counts() {
        let unit = Unit::with_files(FILES);
        assert_eq!(unit.setting("User"), Some("reelway"));
        assert_eq!(unit.setting("ProtectHome"), Some("tmpfs"));
        assert_eq!(unit.setting("CapabilityBoundingSet"), None);
        assert_eq!(unit.setting("SystemCallFilter"), Some("@system-service @io"));
        assert_eq!(unit.setting("Description"), None, "of another section");
        assert!(unit.is_started_with("/etc/x.toml") && !unit.is_started_with("/etc/y.toml"));
    }
}
