//! `reelway library add`: the folder is looked at as the service, what is missing is explained and offered, then it is
//! stored, the service takes it over, and is asked how many films it has found.
//!
//! Nothing is stored that the service could not read. Each round of looking opens what was in the way, and shows what is
//! behind it.

use std::ffi::OsStr;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::json;

use crate::cli::access::mount::{Mount, Permissions};
use crate::cli::access::{self, Entry, Findings, Subject, Vantage};
use crate::cli::client::plain;
use crate::cli::library::advice::{self, Cure, Remedy, Situation};
use crate::cli::library::roots::Roots;
use crate::cli::library::service::{self, Change, Outcome};
use crate::cli::library::{Add, configuration, counted, films, later};
use crate::cli::print;
use crate::cli::unit::{Name, Unit, systemctl};
use crate::config::{Config, Root, Sources};
use crate::limits;
use crate::sys::account::Account;
use crate::sys::file;

pub(super) fn run(add: &Add, service: &Name, sources: &Sources) -> anyhow::Result<()> {
    let (config, unit) = configuration(service, sources)?;
    let mut roots = Roots::find(sources.clone(), unit.as_ref())?;
    let path = resolved(&add.path)?;
    let known = roots.roots.iter().find(|root| root.path == path).cloned();
    let name = match (&known, &add.name) {
        (Some(known), Some(name)) if known.name != *name => {
            bail!("{} is in the library already, as '{}'; remove that first", path.display(), known.name)
        }
        (Some(known), _) => known.name.clone(),
        (None, Some(name)) if roots.roots.iter().any(|root| root.name == *name) => {
            bail!("there is a library '{name}' already; choose another --name")
        }
        (None, name) => name.clone().unwrap_or_else(|| roots.unused_name(&path)),
    };
    note_overlap(&path, &roots.roots);
    let before = roots.roots.clone();
    if known.is_none() {
        roots.roots.push(Root { name: name.clone(), path: path.clone() });
    }
    // Before anything is opened for a library that cannot be.
    roots.check()?;
    let case = Case { add, service, config: &config, unit: unit.as_ref(), path: &path, name: &name, roots: &before };
    let (change, films_seen) = case.make_readable()?;
    if known.is_none() {
        roots.write()?;
    }
    let shows = |status: &serde_json::Value| service::shows(status, &name, &path);
    let outcome = service::take_over(&config, unit.as_ref(), change, shows)?;
    tell(&config, add, &case, &outcome, films_seen)
}

/// The folder without links, for what the service opens must not change with a link.
fn resolved(path: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
    let real = std::fs::canonicalize(&absolute);
    let real = real.with_context(|| format!("could not find {}", absolute.display()))?;
    if !real.is_dir() {
        bail!("{} is no folder: add the folder that the films are in", real.display());
    }
    let text = real.to_str().context("its path is not UTF-8, but must be")?;
    if text.chars().any(char::is_control) {
        bail!("there is a control character in {}: rename it first", plain(text));
    }
    if real == Path::new("/") {
        bail!("/ is the whole machine: add the folder that the films are in");
    }
    if real != absolute.components().collect::<PathBuf>() {
        eprintln!("{} is {}", absolute.display(), real.display());
    }
    Ok(real)
}

/// Films in two libraries are two films.
fn note_overlap(path: &Path, roots: &[Root]) {
    for root in roots.iter().filter(|root| root.path != path) {
        if path.starts_with(&root.path) || root.path.starts_with(path) {
            let (name, other) = (&root.name, root.path.display());
            eprintln!("note: the library '{name}' at {other} overlaps with this one: films in both are listed twice");
        }
    }
}

/// The name of the drop-in of a library.
pub(super) fn drop_in_name(library: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let letters = library.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("_{byte:02x}"),
    });
    format!("library-{}.conf", letters.collect::<String>())
}

/// One folder on its way into the library.
struct Case<'a> {
    add: &'a Add,
    service: &'a Name,
    config: &'a Config,
    unit: Option<&'a Unit>,
    path: &'a Path,
    name: &'a str,
    roots: &'a [Root],
}

impl Case<'_> {
    /// Looks, and has what is missing put right, until the service can read the folder. What that takes to be in force, and
    /// how many films were seen.
    fn make_readable(&self) -> anyhow::Result<(Change, usize)> {
        let mut change = Change::Configuration;
        for round in 0..limits::ACCESS_ROUNDS_MAX {
            let unit = self.unit.map(|unit| Unit::installed(&unit.name)).transpose()?.flatten();
            let subject = Subject::find(self.config, unit)?;
            let findings = access::probe(self.path, &subject)?;
            let remedies = self.remedies(&subject, &findings)?;
            if round == 0 {
                self.note(&findings);
            }
            let is_needed = remedies.iter().any(|remedy| remedy.is_needed);
            if !findings.sight.is_clear() && !is_needed {
                bail!("{}", findings.sentences().join("\n"));
            }
            if remedies.is_empty() {
                return Ok((change, findings.sight.films));
            }
            findings.sentences().iter().for_each(|sentence| eprintln!("{sentence}"));
            self.explain(&remedies);
            if !self.may_put_right(&remedies)? {
                if is_needed {
                    bail!(
                        "nothing is stored: `{}`, run by root, does the above; or do it yourself, then add the folder again",
                        with_fix(self.add, self.service, self.path)
                    );
                }
                return Ok((change, findings.sight.films));
            }
            check_programs(&remedies, &std::env::var_os("PATH").unwrap_or_default())?;
            for remedy in &remedies {
                if self.put_right(remedy)? == Change::Process {
                    change = Change::Process;
                }
            }
        }
        bail!(
            "{} still cannot be read by the service; `{} doctor` may know more",
            self.path.display(),
            self.service.program()
        )
    }

    fn remedies(&self, subject: &Subject, findings: &Findings) -> anyhow::Result<Vec<Remedy>> {
        let let_in = match findings.sight.obstacle {
            Some(_) if findings.vantage == Vantage::Service => {
                Some(access::probe_with(self.path, subject, &advice::let_in(self.path))?.sight)
            }
            _ => None,
        };
        let mut way: Vec<Entry> = self.path.ancestors().filter_map(Entry::of).collect();
        way.reverse();
        let sight = let_in.as_ref().filter(|sight| sight.obstacle.is_none()).unwrap_or(&findings.sight);
        let unreadable = sight.unreadable.first().and_then(|path| Entry::of(path));
        let drop_in = self.drop_in();
        Ok(advice::advise(&Situation {
            path: self.path,
            account: &subject.account.name,
            groups: &subject.account.groups,
            seen: &findings.sight,
            let_in: let_in.as_ref(),
            way: &way,
            unreadable: unreadable.as_ref(),
            mount: Mount::of(self.path).as_ref(),
            has_unit: subject.unit.is_some(),
            has_drop_in: drop_in.is_some_and(|file| file.exists()),
            others: &self.others(subject),
        }))
    }

    /// Roots under a home that are seen because the unit, as it is, hides no homes.
    fn others(&self, subject: &Subject) -> Vec<PathBuf> {
        let hides = |unit: &Unit| matches!(unit.setting("ProtectHome"), Some("tmpfs" | "yes" | "true" | "1" | "on"));
        if subject.unit.as_ref().is_none_or(hides) {
            return Vec::new();
        }
        let below = |root: &&Root| root.path != self.path && advice::is_below_homes(&root.path);
        self.roots.iter().filter(below).map(|root| root.path.clone()).collect()
    }

    fn drop_in(&self) -> Option<PathBuf> {
        self.unit.map(|unit| unit.drop_in_folder().join(drop_in_name(self.name)))
    }

    /// What is good to know, and wrong with nothing.
    fn note(&self, findings: &Findings) {
        if findings.vantage == Vantage::Own {
            let account = &findings.account;
            eprintln!("note: looked at as you, not as {account}, who is to read it: run this as root to be sure");
        }
        let Some(mount) = Mount::of(self.path).filter(|mount| !mount.is_root()) else { return };
        let point = mount.point.display();
        match mount.permissions() {
            Permissions::Server => {
                let kind = &mount.kind;
                eprintln!("note: {point} is on another machine ({kind}); when that is away, so are its films");
            }
            Permissions::Files | Permissions::Mount if mount.listed.is_none() => {
                eprintln!("note: {point} is not in /etc/fstab: after the next start somebody has to mount it again");
            }
            Permissions::Files | Permissions::Mount => {}
        }
    }

    fn explain(&self, remedies: &[Remedy]) {
        for remedy in remedies {
            let strength = if remedy.is_needed { "Needed" } else { "Recommended" };
            eprintln!("\n{strength}: {}", remedy.explanation);
            match &remedy.cure {
                Cure::DropIn(text) => {
                    let file = self.drop_in().unwrap_or_default();
                    eprintln!("  write {}:", file.display());
                    text.lines().for_each(|line| eprintln!("    {line}"));
                    eprintln!("  systemctl daemon-reload");
                }
                Cure::Commands { commands, .. } => {
                    commands.iter().for_each(|words| eprintln!("  {}", advice::shell_line(words)));
                }
                Cure::ByHand(steps) => steps.iter().for_each(|step| eprintln!("  {step}")),
            }
        }
        eprintln!();
    }

    /// Whether root is here and wants it done now.
    fn may_put_right(&self, remedies: &[Remedy]) -> anyhow::Result<bool> {
        let is_by_hand = |remedy: &Remedy| matches!(remedy.cure, Cure::ByHand(_));
        if let Some(remedy) = remedies.iter().find(|remedy| is_by_hand(remedy)) {
            let Cure::ByHand(steps) = &remedy.cure else { return Ok(false) };
            bail!(
                "nothing is stored: only you can decide to `{}`; then add the folder again",
                steps.join("`, and to `")
            );
        }
        if !Account::own().is_root() {
            return Ok(false);
        }
        let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
        if self.add.fix || !stdin.is_terminal() || !stderr.is_terminal() {
            return Ok(self.add.fix);
        }
        write!(stderr, "Do this now? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).context("could not read the answer")?;
        Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
    }

    fn put_right(&self, remedy: &Remedy) -> anyhow::Result<Change> {
        match &remedy.cure {
            Cure::DropIn(text) => {
                let file = self.drop_in().context("there is no unit")?;
                let head = format!(
                    "# The library '{}', as `reelway library add` wrote it; `reelway library remove` takes it away.\n",
                    self.name
                );
                file::replace(&file, 0o644, (head + text).as_bytes())
                    .with_context(|| format!("could not write {}", file.display()))?;
                systemctl(&["daemon-reload"])?;
                Ok(Change::Process)
            }
            Cure::Commands { commands, needs_restart } => {
                commands.iter().try_for_each(|words| run_command(words))?;
                Ok(if *needs_restart { Change::Process } else { Change::Configuration })
            }
            Cure::ByHand(_) => Ok(Change::Configuration),
        }
    }
}

/// What was asked for, as the command that also puts right what is missing.
fn with_fix(add: &Add, service: &Name, path: &Path) -> String {
    let mut words = vec![path.display().to_string()];
    if let Some(name) = &add.name {
        words.extend(["--name".to_owned(), name.clone()]);
    }
    format!("{} library add --fix {}", service.program(), advice::shell_line(&words))
}

/// Looks for all that the remedies run before the first is applied, so that none is left half done.
fn check_programs(remedies: &[Remedy], search: &OsStr) -> anyhow::Result<()> {
    let commands = remedies.iter().filter_map(|remedy| match &remedy.cure {
        Cure::Commands { commands, .. } => Some(commands),
        Cure::DropIn(_) | Cure::ByHand(_) => None,
    });
    for program in commands.flatten().filter_map(|words| words.first()) {
        if !std::env::split_paths(search).any(|folder| folder.join(program).is_file()) {
            let package = if program == "setfacl" { "acl" } else { "passwd" };
            bail!(
                "{program} is not installed, so nothing was changed: install the package '{package}', then run this again"
            );
        }
    }
    Ok(())
}

fn run_command(words: &[String]) -> anyhow::Result<()> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    match Command::new(program).args(arguments).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`{}` failed: {status}", advice::shell_line(words)),
        Err(error) => bail!("could not run `{}`: {error}", advice::shell_line(words)),
    }
}

/// Says what has come of it.
fn tell(config: &Config, add: &Add, case: &Case<'_>, outcome: &Outcome, films_seen: usize) -> anyhow::Result<()> {
    let (name, path) = (case.name, case.path);
    let status = match outcome {
        Outcome::InForce(status) => Some(counted(config, status.clone())?),
        Outcome::AtNextStart | Outcome::ByHand => None,
    };
    let root = status.as_ref().and_then(|status| service::root_of(status, name));
    if let Some(root) = root.filter(|root| root["available"] != true) {
        let failed = status.iter().flat_map(|status| status["failed"].as_array()).flatten();
        let why = failed.filter(|failed| failed["path"].as_str().map(Path::new) == Some(path));
        let why = why.chain([root]).find_map(|named| named["reason"].as_str()).unwrap_or("see `reelway doctor`");
        bail!("'{name}' is stored, but the service cannot read {}: {why}", path.display());
    }
    if add.printed.json {
        let found = root.map_or(serde_json::Value::Null, |root| root["found"].clone());
        let in_force = root.is_some();
        return print(&format!("{:#}\n", json!({"name": name, "path": path, "inForce": in_force, "found": found})));
    }
    let count = match root.and_then(|root| root["found"].as_u64()) {
        Some(count) => films(count),
        None => films(u64::try_from(films_seen).unwrap_or_default()),
    };
    print(&format!("added '{}' at {}: {count}{}\n", plain(name), path.display(), later(outcome)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::library::Printed;

    #[test]
    fn each_library_has_a_drop_in_of_its_own() {
        assert_eq!(drop_in_name("Videos"), "library-Videos.conf");
        assert_eq!(drop_in_name("My Films"), "library-My_20Films.conf");
        assert_eq!(drop_in_name("My_20Films"), "library-My_5f20Films.conf");
    }

    #[test]
    fn the_command_that_puts_right_is_about_the_same_service_and_name() {
        let command = |name: Option<&str>, service: &Name| {
            let (path, name) = (PathBuf::from("Videos"), name.map(str::to_owned));
            let add = Add { path, name, fix: false, printed: Printed { json: false } };
            with_fix(&add, service, Path::new("/home/ann/Videos"))
        };
        assert_eq!(command(None, &Name::default()), "reelway library add --fix /home/ann/Videos");
        assert_eq!(
            command(Some("my films"), &Name::of("reelway@3001")),
            "reelway --unit reelway@3001 library add --fix /home/ann/Videos --name 'my films'"
        );
    }

    #[test]
    fn nothing_is_changed_for_want_of_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let command = |words: &[&str]| Remedy {
            explanation: String::new(),
            cure: Cure::Commands {
                commands: vec![words.iter().map(|word| (*word).to_owned()).collect()],
                needs_restart: false,
            },
            is_needed: true,
        };
        let drop_in = Remedy { explanation: String::new(), cure: Cure::DropIn(String::new()), is_needed: true };
        let remedies = [drop_in, command(&["setfacl", "-m"])];
        let error = check_programs(&remedies, folder.path().as_os_str()).unwrap_err().to_string();
        assert!(error.contains("nothing was changed") && error.contains("'acl'"), "{error}");
        std::fs::write(folder.path().join("setfacl"), "").unwrap();
        check_programs(&remedies, folder.path().as_os_str()).unwrap();
    }

    #[test]
    fn a_folder_is_meant_without_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, folder.path().join("link")).unwrap();
        std::fs::write(real.join("film.mp4"), "x").unwrap();
        assert_eq!(resolved(&folder.path().join("link/.")).unwrap(), real);
        for (path, expected) in [
            (real.join("film.mp4"), "is no folder"),
            (real.join("missing"), "could not find"),
            (PathBuf::from("/"), "the whole machine"),
        ] {
            let error = resolved(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
