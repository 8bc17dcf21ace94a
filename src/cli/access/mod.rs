//! Whether the service can read a folder: looked at as the service user, through the sandbox of the installed unit.
//!
//! The one idea: nothing is computed from modes and lists of groups; a process that stands where the service stands looks, and
//! what it cannot see is explained afterwards. [`Subject::find`] says who that is, [`probe`] looks.

pub(in crate::cli) mod look;
pub(in crate::cli) mod mount;
pub(in crate::cli) mod sandbox;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cli::access::look::{Obstacle, Sight};
use crate::cli::unit::{Setting, Unit};
use crate::config::Config;
use crate::sys::account::{Account, group_name};

/// Who is to read the films.
pub(in crate::cli) struct Subject {
    /// The account of the service: that of the unit, else the owner of STATE, else whoever asks.
    pub account: Account,
    /// The installed unit, if there is one.
    pub unit: Option<Unit>,
    /// What it serves: `video.supported_formats`.
    pub formats: Vec<String>,
}

/// Where was looked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Vantage {
    /// As the service, in its sandbox.
    Service,
    /// As the account of the service, without a sandbox.
    Account,
    /// As whoever asks, who is somebody else: only root can look as the service.
    Own,
}

/// What the service sees of a folder.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Findings {
    /// Who looked.
    pub account: String,
    /// Where was looked from.
    pub vantage: Vantage,
    /// What was seen.
    pub sight: Sight,
    /// Whether the same account sees more without the sandbox of the unit.
    pub is_hidden: bool,
}

/// A file or folder as root sees it, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: String,
    /// Which group's.
    pub group: String,
    /// That group's number.
    pub group_number: u32,
    /// The lower twelve bits of its mode.
    pub mode: u32,
}

impl Subject {
    /// Who runs, or would run, the daemon of this configuration.
    ///
    /// # Errors
    /// When the unit's user does not exist.
    pub fn find(config: &Config, unit: Option<Unit>) -> anyhow::Result<Subject> {
        let account = match (&unit, std::fs::metadata(&config.directories.state)) {
            (Some(unit), _) if unit.setting("DynamicUser").is_none_or(|value| !is_true(value)) => {
                let name = unit.setting("User").unwrap_or("root");
                Account::named(name)
                    .ok()
                    .flatten()
                    .with_context(|| format!("{} runs as '{name}', and there is no such account", unit.name))?
            }
            (_, Ok(state)) => Account::numbered(state.uid(), state.gid()),
            (_, Err(_)) => Account::own(),
        };
        Ok(Subject { account, unit, formats: config.video.supported_formats.clone() })
    }
}

/// Looks at the folder at `path`, an absolute path without links, as the service would.
///
/// # Errors
/// When nobody could look.
pub(in crate::cli) fn probe(path: &Path, subject: &Subject) -> anyhow::Result<Findings> {
    probe_with(path, subject, &[])
}

/// As [`probe`], as if the unit had these settings as well.
///
/// # Errors
/// When nobody could look.
pub(in crate::cli) fn probe_with(path: &Path, subject: &Subject, more: &[Setting]) -> anyhow::Result<Findings> {
    let findings =
        |vantage, sight, is_hidden| Findings { account: subject.account.name.clone(), vantage, sight, is_hidden };
    let own = Account::own();
    if !own.is_root() {
        let vantage = if own.user == subject.account.user { Vantage::Account } else { Vantage::Own };
        return Ok(findings(vantage, look::look(path, &subject.formats), false));
    }
    let outside = look_as(subject, path)?;
    let Some(unit) = &subject.unit else { return Ok(findings(Vantage::Account, outside, false)) };
    let inside = sandbox::look(unit, path, &subject.formats, more)?;
    let is_hidden = inside.obstacle.is_some() && inside.obstacle != outside.obstacle;
    Ok(findings(Vantage::Service, inside, is_hidden))
}

/// What the account sees without any sandbox.
fn look_as(subject: &Subject, path: &Path) -> anyhow::Result<Sight> {
    // By way of /proc this program can be started by somebody who may not enter the folder it lies in.
    let mut command = Command::new("/proc/self/exe");
    command.arg("look").arg(path).args(&subject.formats).env_clear().current_dir("/");
    subject.account.takes(&mut command);
    sandbox::seen(&mut command)
}

impl Findings {
    /// What is wrong, a sentence each; nothing when all is well.
    pub fn sentences(&self) -> Vec<String> {
        let account = &self.account;
        let told = |at: &Path| Entry::of(at).map_or(String::new(), |entry| format!(" ({})", entry.described()));
        let mut sentences = Vec::new();
        match &self.sight.obstacle {
            None => {}
            Some(Obstacle::Missing(at) | Obstacle::NotSearchable(at)) if self.is_hidden => sentences.push(format!(
                "{account} cannot see {}: the sandbox of the service hides it (ProtectHome= and its kin in the unit).",
                at.display()
            )),
            Some(Obstacle::Missing(at)) => sentences.push(format!("There is no {}.", at.display())),
            Some(Obstacle::NotAFolder(at)) => sentences.push(format!("{} is no folder.", at.display())),
            Some(Obstacle::NotSearchable(at)) => {
                sentences.push(format!("{account} may not enter {}{}.", at.display(), told(at)));
            }
            Some(Obstacle::NotReadable(at)) => {
                sentences.push(format!("{account} may not list {}{}.", at.display(), told(at)));
            }
            Some(Obstacle::Failed(at, why)) => {
                sentences.push(format!("{account} cannot read {}: {why}.", at.display()));
            }
        }
        if let Some(first) = self.sight.unreadable.first() {
            let others = match self.sight.unreadable_count {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            sentences.push(format!("{account} may not read {}{}{others}.", first.display(), told(first)));
        }
        sentences
    }
}

impl Entry {
    /// Whose the file or folder at `path` is, if this process can see it.
    pub fn of(path: &Path) -> Option<Entry> {
        let found = std::fs::metadata(path).ok()?;
        Some(Entry {
            path: path.to_owned(),
            owner: Account::numbered(found.uid(), found.gid()).name,
            group: group_name(found.gid()),
            group_number: found.gid(),
            mode: found.mode() & 0o7777,
        })
    }

    fn described(&self) -> String {
        format!("it is for {}:{}, mode {:04o}", self.owner, self.group, self.mode)
    }
}

/// As unit files write it.
fn is_true(value: &str) -> bool {
    ["1", "yes", "true", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}
