//! What a person types: one file a verb. anyhow is used in this room only.
//!
//! Every verb takes `--config`; those that print take `--json` for programs. Exit codes: 0 done, 1 failed, 2 usage.

mod access;
mod archive;
mod backup;
mod client;
mod completions;
mod config;
mod doctor;
mod healthcheck;
mod library;
mod link;
mod machine;
mod man;
mod restore;
mod serve;
mod sessions;
mod token;
mod unit;
mod user;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::cli::unit::{Name, Unit};
use crate::config::{Loaded, Sources};
use crate::daemon;
use crate::log;

/// Your films, straight from the SSD to the screen.
#[derive(Parser)]
#[command(name = "reelway", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Args)]
struct Common {
    /// Read this configuration file instead of /etc/reelway/reelway.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The service that is meant, on a host with several: reelway@PORT
    #[arg(long, global = true, value_name = "UNIT")]
    unit: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the daemon until SIGTERM or Ctrl-C
    Serve(serve::Serve),
    /// Add, list and change accounts
    #[command(subcommand)]
    User(user::UserVerb),
    /// Say where the films are, and have them looked through
    #[command(subcommand)]
    Library(library::LibraryVerb),
    /// Print a token for a user, for players and scripts
    Token(token::TokenVerb),
    /// Print a link to one film, for somebody who has no account
    Link(link::LinkVerb),
    /// See who is signed in, and end it
    #[command(subcommand)]
    Sessions(sessions::SessionsVerb),
    /// See who is watching what, and stop it
    #[command(subcommand)]
    Streams(sessions::StreamsVerb),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Say what this process sees of a folder: run as the service by `library add` and `doctor`
    #[command(hide = true)]
    Look {
        /// The folder
        path: PathBuf,
        /// What the files are called that are films: mp4
        formats: Vec<String>,
    },
    /// Find what is wrong, and the command that mends it; fails when there is a problem
    ///
    /// Looks at the configuration, the service and its socket, the state, the folders of films (as the service sees them), the
    /// kernel's limits and the network, whether the service runs or not. As root it sees more. A note is worth knowing and is no
    /// problem.
    Doctor(doctor::DoctorVerb),
    /// Keep accounts, history, keys and configuration in one file; the daemon may run
    ///
    /// The file is a tar that only its owner may read: who has it can sign in as anybody. It holds the state of one moment, however
    /// much is written meanwhile. A signing key that systemd hands over is not in it, and that is said.
    Backup(backup::BackupVerb),
    /// Go back to what a backup holds; the daemon must not run
    ///
    /// Stop it first, with the socket that would start it again: systemctl stop reelway.socket reelway.service. The backup is
    /// checked before anything is changed, and what was there is kept beside it. Everybody signs in again afterwards, and links to
    /// films are gone: what was revoked since the backup must not come back to life.
    Restore(restore::RestoreVerb),
    /// Ask the running daemon how it is; fails when it does not answer
    Healthcheck {
        /// Print the daemon's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what bash, zsh or fish need to complete this command line
    Completions(completions::CompletionsVerb),
    /// Write the manual's pages into a folder
    #[command(hide = true)]
    Man(man::ManVerb),
}

/// Runs the verb of this process's arguments.
pub fn main() -> ExitCode {
    // Usage errors are clap's: it prints what is possible and exits with 2.
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (prefix, text) = (log::error_prefix(), format!("reelway: {error:#}"));
            text.lines().for_each(|line| eprintln!("{prefix}{line}"));
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { common, verb }: Arguments) -> anyhow::Result<()> {
    let sources = |flags| Sources::of_process(common.config.clone(), flags);
    let unit = common.unit.as_deref().map(Name::of);
    // The configuration of the service that is meant.
    let meant = || -> anyhow::Result<Sources> {
        let mut sources = sources(Vec::new());
        if let Some(name) = &unit {
            Unit::named(name)?.lends_all(&mut sources);
        }
        Ok(sources)
    };
    match verb {
        Verb::Serve(_) if unit.is_some() => bail!("--unit is for the other verbs: systemctl starts a service"),
        Verb::Serve(serve) => {
            let sources = sources(serve.flags());
            let loaded = load(&sources).inspect_err(|error| daemon::tell_refusal(&format!("{error:#}")))?;
            serve::run(loaded, &sources)
        }
        Verb::User(verb) => user::run(verb, load(&meant()?)?.config),
        Verb::Library(verb) => library::run(verb, &unit.unwrap_or_default(), &sources(Vec::new())),
        Verb::Token(verb) => token::run(verb, load(&meant()?)?.config),
        Verb::Link(verb) => link::run(verb, load(&meant()?)?.config),
        Verb::Sessions(verb) => sessions::run(verb, load(&meant()?)?.config),
        Verb::Streams(verb) => sessions::run_streams(verb, load(&meant()?)?.config),
        Verb::Config(command) => config::run(command, &meant()?),
        Verb::Look { path, formats } => print(&serde_json::to_string(&access::look::look(&path, &formats))?),
        Verb::Doctor(verb) => doctor::run(verb, sources(Vec::new()), unit),
        Verb::Backup(verb) => backup::run(verb, &load(&meant()?)?),
        Verb::Restore(verb) => {
            let sources = meant()?;
            restore::run(verb, &load(&sources)?.config, &sources, &unit.unwrap_or_default())
        }
        Verb::Healthcheck { json } => healthcheck::run(json, &load(&meant()?)?.config, unit.as_ref()),
        Verb::Completions(verb) => completions::run(&verb, Arguments::command()),
        Verb::Man(verb) => man::run(&verb, Arguments::command()),
    }
}

/// Prints an answer to standard output. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// When it cannot be written: a full disk.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("could not write the answer"),
    }
}

fn load(sources: &Sources) -> anyhow::Result<Loaded> {
    Ok(crate::config::load(sources)?)
}
