//! `reelway library add|remove|list|scan|status`: the folders of films, and whether the service can read them.

mod add;
pub(super) mod advice;
mod roots;
mod service;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::access::{self, Subject};
use crate::cli::client::{Films, Server, plain};
use crate::cli::library::roots::Roots;
use crate::cli::library::service::{Change, Outcome};
use crate::cli::print;
use crate::cli::unit::{Name, SERVICE, Unit, systemctl};
use crate::config::{self, Config, Sources};
use crate::sys::account::Account;

#[derive(Subcommand)]
pub(super) enum LibraryVerb {
    /// Add a folder of films, and see to it that the service can read it
    ///
    /// Looks at the folder as the service does: with its user, its groups and its sandbox. What is in the way is explained, and put
    /// right by --fix or a yes: a drop-in of the unit, a group, or access control lists. The list of folders is kept in
    /// conf.d/library.toml beside the configuration.
    Add(Add),
    /// Take a folder out of the library; its films stay where they are
    Remove {
        /// The name of the library, as the list shows it
        name: String,
        #[command(flatten)]
        printed: Printed,
    },
    /// List the folders of films
    List(Printed),
    /// Have all folders looked through, and wait for what comes of it
    Scan(Printed),
    /// Show how far a scan is, or what the last one came to
    Status(Printed),
}

#[derive(Args)]
pub(super) struct Add {
    /// The folder
    path: PathBuf,
    /// What it is called in the addresses of its films, instead of the folder's name
    #[arg(long)]
    name: Option<String>,
    /// Put right what keeps the service from reading it, without asking
    #[arg(long, visible_alias = "yes")]
    fix: bool,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Args)]
pub(super) struct Printed {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb for the service that is to read the films.
pub(super) fn run(verb: LibraryVerb, service: &Name, sources: &Sources) -> anyhow::Result<()> {
    match verb {
        LibraryVerb::Add(add) => add::run(&add, service, sources),
        LibraryVerb::Remove { name, printed } => remove(&name, &printed, service, sources),
        LibraryVerb::List(printed) => {
            let status = status(service, sources)?;
            print(&match printed.json {
                true => format!("{:#}\n", json!({"items": status["roots"], "next": null})),
                false => table(&status),
            })
        }
        LibraryVerb::Scan(printed) => {
            let (config, unit) = configuration(service, sources)?;
            if Server::running(&config).is_none() && unit.is_some() {
                eprintln!(
                    "note: the service does not run, so this looks without its sandbox, which may hide some films"
                );
            }
            let server = Server::find(config, Films::Wanted)?;
            server.ask("POST", "/api/library/scan", None)?;
            let status = service::watch_scan(&server, |status| eprintln!("{} films so far", status["found"]))?;
            print(&if printed.json { format!("{status:#}\n") } else { summary(&status) })
        }
        LibraryVerb::Status(printed) => {
            let status = status(service, sources)?;
            print(&if printed.json { format!("{status:#}\n") } else { summary(&status) })
        }
    }
}

/// The library's status: the daemon's, or, while the installed service rests, what it would see.
fn status(service: &Name, sources: &Sources) -> anyhow::Result<Value> {
    let (config, unit) = configuration(service, sources)?;
    let unit = unit.filter(|_| Account::own().is_root());
    if unit.is_none() || Server::running(&config).is_some() {
        return Server::find(config, Films::Wanted)?.ask("GET", "/api/library/status", None);
    }
    let subject = Subject::find(&config, unit)?;
    let mut roots = Vec::new();
    for root in &config.library.roots {
        let available = access::probe(&root.path, &subject)?.sight.obstacle.is_none();
        roots.push(json!({"name": root.name, "path": root.path, "available": available, "found": 0}));
    }
    Ok(json!({
        "state": "unscanned", "found": 0, "added": 0, "changed": 0, "removed": 0, "failed": [], "roots": roots,
    }))
}

fn remove(name: &str, printed: &Printed, service: &Name, sources: &Sources) -> anyhow::Result<()> {
    let (config, unit) = configuration(service, sources)?;
    let mut roots = Roots::find(sources.clone(), unit.as_ref())?;
    let position = roots.roots.iter().position(|root| root.name == name);
    let position = position.with_context(|| {
        format!("there is no library '{name}'; `{} library list` shows which there are", service.program())
    })?;
    let root = roots.roots.remove(position);
    roots.write()?;
    let change = take_drop_in_away(unit.as_ref(), name)?;
    let is_gone = |status: &Value| service::root_of(status, name).is_none();
    let outcome = service::take_over(&config, unit.as_ref(), change, is_gone)?;
    if printed.json {
        let in_force = matches!(outcome, Outcome::InForce(_));
        return print(&format!("{:#}\n", json!({"name": root.name, "path": root.path, "inForce": in_force})));
    }
    print(&format!("removed '{}'; its films are still in {}{}\n", plain(name), root.path.display(), later(&outcome)))
}

/// Removes what `add` gave the unit.
fn take_drop_in_away(unit: Option<&Unit>, name: &str) -> anyhow::Result<Change> {
    let Some(unit) = unit else { return Ok(Change::Configuration) };
    let file = unit.drop_in_folder().join(add::drop_in_name(name));
    match std::fs::remove_file(&file) {
        Ok(()) => {
            systemctl(&["daemon-reload"])?;
            Ok(Change::Process)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Change::Configuration),
        Err(error) => bail!("could not remove {}: {error}", file.display()),
    }
}

/// What is left to be done by others.
fn later(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::InForce(_) => "",
        Outcome::AtNextStart => "; the service takes this over when it starts",
        Outcome::ByHand => "; start the daemon anew to have it taken over",
    }
}

/// The configuration as the service has it, and its unit, if that is installed.
fn configuration(service: &Name, sources: &Sources) -> anyhow::Result<(Config, Option<Unit>)> {
    let (mut sources, unit) = (sources.clone(), unit(service, sources)?);
    unit.iter().for_each(|unit| unit.lends_all(&mut sources));
    Ok((config::load(&sources)?.config, unit))
}

/// The installed unit, if the configuration that is changed is the one it reads.
fn unit(service: &Name, sources: &Sources) -> anyhow::Result<Option<Unit>> {
    if *service != Name::default() {
        // Whoever names a service knows what it reads: an instance has the file that all have, unless a drop-in says otherwise.
        return Unit::named(service).map(Some);
    }
    let is_its_own = |unit: &Unit| match &sources.file {
        Some(file) => unit.is_started_with(&file.to_string_lossy()),
        None => sources.default_file == std::path::Path::new(config::DEFAULT_FILE),
    };
    Unit::installed(SERVICE)?.filter(is_its_own).map(Unit::understood).transpose()
}

fn table(status: &Value) -> String {
    let mut table = format!("{:<24} {:<10} {:>7}  PATH\n", "NAME", "AVAILABLE", "FILMS");
    for root in status["roots"].as_array().into_iter().flatten() {
        let text = |name: &str| plain(root[name].as_str().unwrap_or_default());
        let available = if root["available"] == true { "yes" } else { "no" };
        // Nobody has counted them without a daemon.
        let found = if status["state"] == "unscanned" { "-".to_owned() } else { root["found"].to_string() };
        table += &format!("{:<24} {available:<10} {found:>7}  {}\n", text("name"), text("path"));
    }
    table
}

/// `1 film`, `2 films`.
fn films(count: u64) -> String {
    if count == 1 { "1 film".to_owned() } else { format!("{count} films") }
}

/// A status for people.
fn summary(status: &Value) -> String {
    let number = |name: &str| status[name].as_u64().unwrap_or_default();
    let mut text = match status["state"].as_str() {
        Some("unscanned") => "not scanned yet\n".to_owned(),
        Some("scanning") => format!("being scanned: {} so far\n", films(number("found"))),
        _ => format!(
            "{}: {} new, {} changed, {} gone\n",
            films(number("found")),
            number("added"),
            number("changed"),
            number("removed")
        ),
    };
    for root in status["roots"].as_array().into_iter().flatten().filter(|root| root["available"] == false) {
        let (name, path) =
            (plain(root["name"].as_str().unwrap_or_default()), root["path"].as_str().unwrap_or_default());
        if let Some(reason) = root["reason"].as_str() {
            text += &format!("not available: {}\n", plain(reason));
            continue;
        }
        let word = advice::shell_word(&plain(path));
        text += &format!("not available: '{name}' at {}; see `reelway library add {word}`\n", plain(path));
    }
    for failed in status["failed"].as_array().into_iter().flatten() {
        let text_of = |name: &str| plain(failed[name].as_str().unwrap_or_default());
        text += &format!("left out: {}: {}\n", text_of("path"), text_of("reason"));
    }
    text
}

/// The library's status after a change, for the one whose library it is.
fn counted(config: &Config, status: Value) -> anyhow::Result<Value> {
    let server = Server::running(config).context("the service has ended; see `journalctl -u reelway`")?;
    if status["state"] == "idle" {
        return Ok(status);
    }
    service::watch_scan(&server, |status| eprintln!("{} films so far", status["found"]))
}
