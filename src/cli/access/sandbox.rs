//! The installed service, as systemd has it: who it runs as, what its sandbox hides, and a look from inside of it.
//!
//! The one idea: nobody guesses what ProtectHome= and its kin come to. The settings of the unit that decide what is seen are
//! given to a transient unit (systemd-run(1)), which looks; so a setting that is only intended can be tried out as well.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::cli::access::look::Sight;
use crate::config::Config;
use crate::limits;

/// The service of the package.
pub(in crate::cli) const SERVICE: &str = "reelway.service";

/// A setting of a unit: its name, and its value as a unit file has it.
pub(in crate::cli) type Setting = (String, String);

/// An installed unit.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Unit {
    /// `reelway.service`, or an instance.
    pub name: String,
    /// Whether it runs now.
    pub is_active: bool,
    /// Whether `systemctl reload` means something to it.
    pub can_reload: bool,
    /// What its files say in `[Service]`, drop-ins included.
    settings: Vec<Setting>,
    /// Its runtime and state directories, if it has any.
    runtime: Option<PathBuf>,
    state: Option<PathBuf>,
}

/// The settings that decide who sees which files (systemd.exec(5)).
const DECISIVE: [&str; 19] = [
    "AmbientCapabilities",
    "BindPaths",
    "BindReadOnlyPaths",
    "CapabilityBoundingSet",
    "DynamicUser",
    "Group",
    "InaccessiblePaths",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateTmp",
    "PrivateUsers",
    "ProtectHome",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "RootDirectory",
    "SupplementaryGroups",
    "TemporaryFileSystem",
    "User",
];

impl Unit {
    /// The unit of this name, if this machine is run by systemd and has it.
    pub fn installed(name: &str) -> Option<Unit> {
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        let shown =
            systemctl(&["show", name, "--property=LoadState,ActiveState,CanReload,RuntimeDirectory,StateDirectory"])
                .ok()?;
        let property = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        if property("LoadState") != Some("loaded") {
            return None;
        }
        Some(Unit {
            name: name.to_owned(),
            is_active: matches!(property("ActiveState"), Some("active" | "reloading" | "activating")),
            can_reload: property("CanReload") == Some("yes"),
            runtime: property("RuntimeDirectory").and_then(|names| first_below("/run", names)),
            state: property("StateDirectory").and_then(|names| first_below("/var/lib", names)),
            settings: settings(&systemctl(&["cat", name]).ok()?, "Service"),
        })
    }

    /// The configuration as the service of this unit has it: with its directories, unless the environment names others.
    pub fn places(&self, mut config: Config) -> Config {
        let is_unnamed = |variable| std::env::var_os(variable).is_none();
        if let Some(runtime) = self.runtime.clone().filter(|_| is_unnamed("RUNTIME_DIRECTORY")) {
            config.directories.runtime = runtime;
        }
        if let Some(state) = self.state.clone().filter(|_| is_unnamed("STATE_DIRECTORY")) {
            config.directories.state = state;
        }
        config
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

    /// Where its environment sets the variable `name`: the unit itself, or a file it reads.
    pub fn sets_variable(&self, name: &str) -> Option<String> {
        let sets = |text: &str| text.trim_start_matches(['"', '\'']).starts_with(&format!("{name}="));
        for (key, value) in &self.settings {
            if key == "Environment" && value.split_whitespace().any(sets) {
                return Some(self.name.clone());
            }
            if key == "EnvironmentFile" {
                let file = value.trim_start_matches('-');
                let text = std::fs::read_to_string(file).unwrap_or_default();
                if text.lines().any(|line| sets(line.trim_start()) && !line.trim_end().ends_with('=')) {
                    return Some(file.to_owned());
                }
            }
        }
        None
    }

    /// What the service would see of `path`, if its unit had `more` as well. Only root can have it looked.
    ///
    /// # Errors
    /// When systemd does not run it.
    pub fn look(&self, path: &Path, formats: &[String], more: &[Setting]) -> anyhow::Result<Sight> {
        let program = std::env::current_exe().context("could not find this program")?;
        let mut command = Command::new("systemd-run");
        command.args(["--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"]);
        command.arg(format!("--property=RuntimeMaxSec={}", limits::ACCESS_LOOK_TIMEOUT.as_secs()));
        let more = more.iter().filter_map(taken_literally);
        for (key, value) in self.decisive().chain(more) {
            command.arg(format!("--property={key}={value}"));
        }
        if !program.starts_with("/usr") {
            // A sandbox that hides films may hide this program: a developer's, as a rule.
            command.arg(format!("--property=BindReadOnlyPaths={}", quoted(&program.to_string_lossy())));
        }
        command.arg("--").arg(program).arg("look").arg(path).args(formats);
        seen(&mut command)
    }

    fn decisive(&self) -> impl Iterator<Item = Setting> {
        let decisive = self.settings.iter().filter(|(key, _)| DECISIVE.contains(&key.as_str()));
        decisive.filter_map(taken_literally)
    }

    /// The folder of its drop-ins.
    pub fn drop_in_folder(&self) -> PathBuf {
        PathBuf::from(format!("/etc/systemd/system/{}.d", self.name))
    }
}

/// A setting as a transient unit takes it, which knows no specifiers: `%%` is two signs to it. One with a specifier is none;
/// those of ours are about folders of the service's own.
fn taken_literally((key, value): &Setting) -> Option<Setting> {
    let parts: Vec<&str> = value.split("%%").collect();
    let is_literal = parts.iter().all(|part| !part.contains('%'));
    is_literal.then(|| (key.clone(), parts.join("%")))
}

/// Runs a command that looks, and reads what it saw.
pub(super) fn seen(command: &mut Command) -> anyhow::Result<Sight> {
    let output = command.stdin(Stdio::null()).output().context("could not look as the service")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("could not look as the service: {}; {}", output.status, why.trim());
    }
    serde_json::from_slice(&output.stdout).context("could not look as the service")
}

/// Runs systemctl(1) and returns what it prints.
///
/// # Errors
/// With what it says, when it fails.
pub(in crate::cli) fn systemctl(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output();
    let output = output.context("could not run systemctl")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("`systemctl {}` failed: {}", arguments.join(" "), why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The settings of a section of unit files, one after another as systemctl(1) cats them (systemd.syntax(7)).
fn settings(text: &str, section: &str) -> Vec<Setting> {
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
            is_in = name == section;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_in) {
            found.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
}

/// A text as one word of a unit file: quoted, and no specifier in it.
pub(in crate::cli) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

/// The first of `names` (systemd.exec(5), RuntimeDirectory=) below `base`.
fn first_below(base: &str, names: &str) -> Option<PathBuf> {
    // A name may be followed by a colon and a link to it.
    let first = names.split_whitespace().next()?.split(':').next()?;
    Some(Path::new(base).join(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "\
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

    fn unit() -> Unit {
        let (runtime, state) = (Some("/run/reelway".into()), None);
        Unit {
            name: SERVICE.into(),
            is_active: true,
            can_reload: true,
            settings: settings(FILES, "Service"),
            runtime,
            state,
        }
    }

    #[test]
    fn the_last_word_of_a_unit_counts() {
        let unit = unit();
        assert_eq!(unit.setting("User"), Some("reelway"));
        assert_eq!(unit.setting("ProtectHome"), Some("tmpfs"));
        assert_eq!(unit.setting("CapabilityBoundingSet"), None);
        assert_eq!(unit.setting("SystemCallFilter"), Some("@system-service @io"));
        assert_eq!(unit.setting("Description"), None, "of another section");
        assert!(unit.is_started_with("/etc/x.toml") && !unit.is_started_with("/etc/y.toml"));
    }

    #[test]
    fn only_what_decides_who_sees_what_is_tried() {
        let keys: Vec<String> = unit().decisive().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(keys, ["User=reelway", "ProtectHome=yes", "CapabilityBoundingSet=", "ProtectHome=tmpfs"]);
        let taken = |value: &str| taken_literally(&("X".to_owned(), value.to_owned())).map(|(_, value)| value);
        assert_eq!(taken("-/srv/100%% good"), Some("-/srv/100% good".to_owned()));
        assert_eq!(taken("%%/%S"), None);
    }

    #[test]
    fn a_variable_is_found_in_the_unit_and_in_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reelway");
        std::fs::write(&file, "# REELWAY_LIBRARY__ROOTS=/no\nPORT=\nREELWAY_LIBRARY__ROOTS=/srv\n").unwrap();
        let mut unit = unit();
        assert_eq!(unit.sets_variable("VIDEOS_PATH"), Some(SERVICE.to_owned()));
        assert_eq!(unit.sets_variable("REELWAY_LIBRARY__ROOTS"), None);
        unit.settings.push(("EnvironmentFile".into(), format!("-{}", file.display())));
        assert_eq!(unit.sets_variable("REELWAY_LIBRARY__ROOTS"), Some(file.display().to_string()));
        assert_eq!(unit.sets_variable("PORT"), None, "an empty one is as good as none");
    }

    #[test]
    fn a_word_of_a_unit_file_is_the_text_and_nothing_else() {
        assert_eq!(quoted("/home/ann/My \"100%\" Films\\x"), "\"/home/ann/My \\\"100%%\\\" Films\\\\x\"");
    }
}
