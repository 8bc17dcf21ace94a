//! The sandbox of the installed service: what it hides, and a look from inside of it.
//!
//! The one idea: nobody guesses what ProtectHome= and its kin come to. The settings of the unit that decide what is seen are
//! given to a transient unit (systemd-run(1)), which looks; so a setting that is only intended can be tried out as well.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::cli::access::look::Sight;
use crate::cli::unit::{Setting, Unit};
use crate::limits;

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

/// What the service would see of `path`, if the unit had `more` as well. Only root can have it looked.
///
/// # Errors
/// When systemd does not run it.
pub(super) fn look(unit: &Unit, path: &Path, formats: &[String], more: &[Setting]) -> anyhow::Result<Sight> {
    let program = std::env::current_exe().context("could not find this program")?;
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"]);
    command.arg(format!("--property=RuntimeMaxSec={}", limits::ACCESS_LOOK_TIMEOUT.as_secs()));
    let more = more.iter().filter_map(taken_literally);
    for (key, value) in decisive(unit).chain(more) {
        command.arg(format!("--property={key}={value}"));
    }
    if !program.starts_with("/usr") {
        // A sandbox that hides films may hide this program: a developer's, as a rule.
        command.arg(format!("--property=BindReadOnlyPaths={}", quoted(&program.to_string_lossy())));
    }
    command.arg("--").arg(program).arg("look").arg(path).args(formats);
    seen(&mut command)
}

fn decisive(unit: &Unit) -> impl Iterator<Item = Setting> {
    let decisive = unit.settings().iter().filter(|(key, _)| DECISIVE.contains(&key.as_str()));
    decisive.filter_map(taken_literally)
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

/// A text as one word of a unit file: quoted, and no specifier in it.
pub(in crate::cli) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::unit::tests::FILES;

    #[test]
    fn only_what_decides_who_sees_what_is_tried() {
        let unit = Unit::with_files(FILES);
        let keys: Vec<String> = decisive(&unit).map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(keys, ["User=reelway", "ProtectHome=yes", "CapabilityBoundingSet=", "ProtectHome=tmpfs"]);
        let taken = |value: &str| taken_literally(&("X".to_owned(), value.to_owned())).map(|(_, value)| value);
        assert_eq!(taken("-/srv/100%% good"), Some("-/srv/100% good".to_owned()));
        assert_eq!(taken("%%/%S"), None);
    }

    #[test]
    fn a_word_of_a_unit_file_is_the_text_and_nothing_else() {
        assert_eq!(quoted("/home/ann/My \"100%\" Films\\x"), "\"/home/ann/My \\\"100%%\\\" Films\\\\x\"");
    }
}
