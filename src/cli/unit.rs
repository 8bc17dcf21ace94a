//! Units of systemd, as systemctl(1) shows and cats them: how one is, what its files say, and what it gives its process.
//!
//! The one idea: asking never fails. Without systemd there is no unit, and of one that systemd says nothing of in time that is
//! known; whoever asks says what it means.

mod environment;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::cli::machine::{self, Answer};
use crate::config::Sources;

/// The service of the package.
pub(super) const SERVICE: &str = "reelway.service";

/// What a service of ours is called: `reelway`, or `reelway@3001` for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

impl Name {
    /// What follows `--unit`, with or without its ending.
    pub fn of(given: &str) -> Name {
        Name(given.strip_suffix(".service").or_else(|| given.strip_suffix(".socket")).unwrap_or(given).to_owned())
    }

    /// Whether it is one of several, which listens for a proxy on a port that its name says.
    pub fn is_instance(&self) -> bool {
        self.0.contains('@')
    }

    /// Its unit.
    pub fn service(&self) -> String {
        format!("{}.service", self.0)
    }

    /// The unit of its socket.
    pub fn socket(&self) -> String {
        format!("{}.socket", self.0)
    }

    /// The command that starts it anew with its socket. One whose service runs cannot be started (systemd.socket(5)).
    pub fn restart_both(&self) -> String {
        format!("systemctl restart {} {}", self.socket(), self.service())
    }

    /// The words that a command about it begins with.
    pub fn program(&self) -> String {
        if *self == Name::default() { self.0.clone() } else { format!("reelway --unit {self}") }
    }
}

impl Default for Name {
    fn default() -> Name {
        Name::of(SERVICE)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A setting of a unit: its name, and its value as a unit file has it.
pub(super) type Setting = (String, String);

/// What is asked of each unit.
const PROPERTIES: &str = "LoadState,LoadError,ActiveState,SubState,UnitFileState,Result,StatusText,NeedDaemonReload,MainPID,\
    Environment,EnvironmentFiles,User,StateDirectory,LimitNOFILE,MemoryMax,MemoryHigh,IPAddressAllow,IPAddressDeny,SystemCallFilter,\
    FileDescriptorStoreMax,Listen,NRestarts,InvocationID,InactiveExitTimestampMonotonic,CanReload,RuntimeDirectory,\
    CacheDirectory";

/// A unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// `reelway.service`, or an instance.
    pub name: String,
    /// Whether systemd did not answer in time, so that nothing is known of it.
    pub is_silent: bool,
    /// What systemd says of it.
    properties: BTreeMap<String, String>,
    /// What its files say in `[Service]`, drop-ins included.
    settings: Vec<Setting>,
}

impl Unit {
    /// Asks for it. Without systemd it is one that is not installed.
    pub fn ask(name: &str) -> Unit {
        let silent = || Unit { name: name.to_owned(), is_silent: true, ..Unit::default() };
        let wanted = format!("--property={PROPERTIES}");
        let shown = match machine::answer("systemctl", &["show", "--no-pager", &wanted, name]) {
            Answer::Succeeded(shown) => shown,
            Answer::Failed | Answer::Missing => String::new(),
            Answer::Late => return silent(),
        };
        let mut unit = Unit { name: name.to_owned(), ..Unit::of(&shown) };
        if unit.is_loaded() && name.ends_with(".service") {
            match machine::answer("systemctl", &["cat", "--no-pager", name]) {
                Answer::Succeeded(files) => unit.settings = settings(&files),
                Answer::Failed | Answer::Missing => {}
                // Without what its files say it would pass for one that has no sandbox and runs as root.
                Answer::Late => return silent(),
            }
        }
        unit
    }

    /// Itself, if systemd has said how it is.
    ///
    /// # Errors
    /// When it did not in time. Whoever changes something must not take that for "not installed".
    fn answered(self) -> anyhow::Result<Unit> {
        if self.is_silent {
            let seconds = machine::COMMAND_PATIENCE.as_secs();
            bail!(
                "systemd has not said within {seconds} s how {} is; try again when the machine is less busy",
                self.name
            );
        }
        Ok(self)
    }

    /// The one of this name, if this machine is run by systemd and has it.
    ///
    /// # Errors
    /// When systemd does not say in time.
    pub fn installed(name: &str) -> anyhow::Result<Option<Unit>> {
        Ok(Some(Unit::ask(name).answered()?).filter(Unit::is_loaded))
    }

    /// The service of this name, which somebody has typed.
    ///
    /// # Errors
    /// When systemd does not have it, or cannot start it.
    pub fn named(name: &Name) -> anyhow::Result<Unit> {
        let (unit, service) = (Unit::known(name)?, name.service());
        match unit.get("LoadState") {
            "loaded" => unit.understood(),
            "masked" => bail!("{service} is masked, so nothing can start it: `systemctl unmask {service}`"),
            _ => {
                let why = unit.get("LoadError");
                bail!("systemd cannot read {service} ({why}); see `systemd-analyze verify {service}`")
            }
        }
    }

    /// The same, also where it is masked or cannot be read: then it has something that is to be said of it.
    ///
    /// # Errors
    /// When systemd does not have it, or nobody has made an instance of this name.
    pub fn known(name: &Name) -> anyhow::Result<Unit> {
        let unit = Unit::ask(&name.service()).answered()?;
        if !unit.is_installed() {
            bail!("systemd has no {}; see `systemctl list-units 'reelway*'`", name.service());
        }
        // Of a template systemd has any instance: one that nobody has made is a slip of the finger.
        if name.is_instance() && unit.is_loaded() && !unit.is_made() {
            let socket = name.socket();
            if !Unit::ask(&socket).answered()?.is_made() {
                bail!("there is no {name} yet; `systemctl enable --now {socket}` makes it, if it is the one you mean");
            }
        }
        Ok(unit)
    }

    /// Whether somebody has made this instance: it is to be started, was started, or has a state.
    fn is_made(&self) -> bool {
        let state = self.variables().into_iter().rfind(|(name, _, _)| name == "STATE_DIRECTORY");
        let state = state.map(|(_, folder, _)| folder.into()).or_else(|| self.folder("/var/lib", "StateDirectory"));
        matches!(self.get("UnitFileState"), "enabled" | "enabled-runtime" | "masked" | "masked-runtime")
            || !matches!(self.get("ActiveState"), "" | "inactive")
            || state.is_some_and(|folder| folder.exists())
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

    /// Whether it is started at boot, or by something that is. What is enabled by links in /run is not: those are gone then.
    pub fn is_enabled(&self) -> bool {
        matches!(self.get("UnitFileState"), "enabled" | "alias" | "generated" | "static")
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
        let own = own.filter_map(|(word, place)| {
            let (name, value) = word.split_once('=')?;
            Some((name.trim().to_owned(), value.to_owned(), place))
        });
        let of_files = self.environment_files().filter_map(|path| Some((path, machine::text(path)?)));
        let of_files = of_files.flat_map(|(path, text)| {
            environment::variables(&text).into_iter().map(move |(name, value)| (name, value, path.to_owned()))
        });
        own.chain(of_files).collect()
    }

    /// The files of variables that it names.
    fn environment_files(&self) -> impl Iterator<Item = &str> {
        let lines = self.get("EnvironmentFiles").lines();
        lines.map(|line| line.split_once(" (").map_or(line, |(path, _)| path).trim())
    }

    /// A file of variables that it names by a pattern: which files match is not looked up here.
    pub fn pattern(&self) -> Option<&str> {
        self.environment_files().find(|path| path.contains(['*', '?', '[']))
    }

    /// Itself, if all of its variables are known.
    ///
    /// # Errors
    /// When a file of them is named by a pattern: another configuration than the service's would be taken for it.
    pub fn understood(self) -> anyhow::Result<Unit> {
        match self.pattern() {
            None => Ok(self),
            Some(pattern) => bail!(
                "EnvironmentFile={pattern} of {} is a pattern, and what matches is not looked up here: name each file",
                self.name
            ),
        }
    }

    /// Where its environment sets the variable `name`. An empty one is as good as none.
    pub fn sets_variable(&self, name: &str) -> Option<String> {
        let last = self.variables().into_iter().rfind(|(known, _, _)| known == name);
        last.filter(|(_, value, _)| !value.is_empty()).map(|(_, _, place)| place)
    }

    /// Has the configuration be read as the service does: with its variables and its folders.
    pub fn lends_all(&self, sources: &mut Sources) {
        self.variables()
            .into_iter()
            .for_each(|(name, value, _)| _ = sources.environment.insert(name.into(), value.into()));
        self.lends_folders(sources);
    }

    /// Has the configuration be read with the folders that systemd makes for the service, unless the environment names others.
    pub fn lends_folders(&self, sources: &mut Sources) {
        let folders = [
            ("STATE_DIRECTORY", "/var/lib", "StateDirectory"),
            ("CACHE_DIRECTORY", "/var/cache", "CacheDirectory"),
            ("RUNTIME_DIRECTORY", "/run", "RuntimeDirectory"),
        ];
        for (variable, base, property) in folders {
            if let Some(folder) = self.folder(base, property) {
                sources.environment.entry(variable.into()).or_insert_with(|| folder.into());
            }
        }
    }

    /// A folder that systemd makes for it.
    fn folder(&self, base: &str, property: &str) -> Option<PathBuf> {
        // Of several the first is ours, and a name may be followed by a colon and a link to it (systemd.exec(5)).
        let first = self.get(property).split([' ', ':']).next().filter(|name| !name.is_empty());
        first.map(|name| Path::new(base).join(name))
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
            match lines.next() {
                // A comment amid a continued line is left out.
                Some(next) if next.trim_start().starts_with(['#', ';']) => {}
                next => {
                    // A space takes the place of the backslash, so `a\` and `b` are two words.
                    line.pop();
                    line.push(' ');
                    line += next.unwrap_or_default().trim();
                }
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
SystemCallFilter=@system-service\\
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
    fn what_is_only_linked_is_not_started_at_boot() {
        let is_enabled = |state: &str| Unit::of(&format!("UnitFileState={state}")).is_enabled();
        for state in ["enabled", "alias", "generated", "static"] {
            assert!(is_enabled(state), "{state}");
        }
        for state in ["", "bad", "disabled", "enabled-runtime", "indirect", "linked", "masked", "transient"] {
            assert!(!is_enabled(state), "{state}");
        }
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
    fn a_pattern_of_environment_files_is_refused() {
        let unit =
            Unit::of("EnvironmentFiles=/etc/a (ignore_errors=yes)\nEnvironmentFiles=/etc/b/*.env (ignore_errors=no)");
        let why = unit.understood().unwrap_err().to_string();
        assert!(why.starts_with("EnvironmentFile=/etc/b/*.env of "), "{why}");
        assert!(Unit::of("EnvironmentFiles=/etc/a (ignore_errors=yes)").understood().is_ok());
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

    #[test]
    fn a_name_says_what_is_to_be_typed() {
        for (given, program, both) in [
            ("reelway.service", "reelway", "systemctl restart reelway.socket reelway.service"),
            (
                "reelway@3001",
                "reelway --unit reelway@3001",
                "systemctl restart reelway@3001.socket reelway@3001.service",
            ),
            ("films.socket", "reelway --unit films", "systemctl restart films.socket films.service"),
        ] {
            let name = Name::of(given);
            assert_eq!((name.program().as_str(), name.restart_both().as_str()), (program, both));
        }
        assert!(Name::of("reelway@3001.service").is_instance() && !Name::default().is_instance());
    }

    #[test]
    fn the_configuration_is_read_as_the_instance_reads_it() {
        let unit = "LoadState=loaded\nEnvironment=A=b MAX_CONCURRENT_STREAMS=7\nStateDirectory=reelway-3001\n\
            RuntimeDirectory=reelway-3001 other\nCacheDirectory=reelway-3001:cache";
        let mut sources = Sources::of_process(Some("/dev/null".into()), Vec::new());
        sources.environment = [("RUNTIME_DIRECTORY".into(), "/run/mine".into())].into();
        Unit::of(unit).lends_all(&mut sources);
        let config = crate::config::load(&sources).unwrap().config;
        assert_eq!(config.directories.state, Path::new("/var/lib/reelway-3001"));
        assert_eq!(config.directories.runtime, Path::new("/run/mine"), "whoever names one means it");
        assert_eq!(sources.environment[std::ffi::OsStr::new("CACHE_DIRECTORY")], "/var/cache/reelway-3001");
        assert_eq!(config.video.max_concurrent_streams, 7);
    }
}
