//! `reelway man FOLDER`: the manual, one page a verb and one for the configuration file. Packages are made with it.
//!
//! The one idea: nothing is written twice. Pages of verbs are what clap knows of them, reelway.toml(5) is the option table; only
//! what neither knows (files, exit codes, where to read on) stands here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::config;

/// Where to put the pages.
#[derive(Args)]
pub(super) struct ManVerb {
    /// A folder, which is made if it is missing
    folder: PathBuf,
}

/// Writes every page.
///
/// # Errors
/// When the folder cannot be made or written to.
pub(super) fn run(verb: &ManVerb, command: Command) -> anyhow::Result<()> {
    let folder = &verb.folder;
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    write(folder, "reelway.toml.5", config::manual().as_bytes())?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    pages(&command, "reelway", folder)
}

/// The page of a verb and those of the verbs below it: reelway.1, reelway-user.1, reelway-user-add.1.
fn pages(command: &Command, name: &str, folder: &Path) -> anyhow::Result<()> {
    for verb in visible(command) {
        pages(verb, &format!("{name}-{}", verb.get_name()), folder)?;
    }
    write(folder, &format!("{name}.1"), &page(command)?)
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set())
}

fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let source = format!("reelway {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("reelway");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    if visible(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    let is_whole = command.get_name() == "reelway";
    if is_whole {
        terms("FIRST STEPS", FIRST_STEPS).to_writer(&mut text)?;
    }
    let exit_codes = if command.get_name() == "doctor" { EXIT_CODES_OF_DOCTOR } else { EXIT_CODES };
    terms("EXIT STATUS", exit_codes).to_writer(&mut text)?;
    if is_whole {
        terms("ENVIRONMENT", ENVIRONMENT).to_writer(&mut text)?;
        terms("FILES", FILES).to_writer(&mut text)?;
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let (first, rest) = if is_whole { ("systemctl", SEE_ALSO_OF_ALL) } else { ("reelway", SEE_ALSO_OF_A_VERB) };
    roff.text([bold(first), roman(rest)]);
    roff.to_writer(&mut text)?;
    Ok(text)
}

const EXIT_CODES: &[(&str, &str)] =
    &[("0", "Done."), ("1", "Failed; the reason is on standard error."), ("2", "The command line is not understood.")];

const EXIT_CODES_OF_DOCTOR: &[(&str, &str)] = &[
    ("0", "No problem; there may be notes."),
    ("1", "There is a problem."),
    ("2", "The command line is not understood."),
];

const FIRST_STEPS: &[(&str, &str)] = &[
    ("sudo reelway user add tv", "Somebody who may watch; it asks for a password."),
    (
        "sudo reelway library add /home/ann/Videos",
        "The folder of films. It says what keeps the service from reading it, and mends it.",
    ),
    (
        "vlc http://tv:PASSWORD@HOST:3000/api/stream/video/holiday.mp4",
        "The holiday.mp4 of that folder, on any machine in the house; mpv, Kodi and browsers take the same address. HOST is \
         reelway.local where avahi runs, else the address of this machine.",
    ),
    (
        "sudo reelway link holiday.mp4 --expires 30d",
        "An address that plays this film without a name, for whoever has it.",
    ),
    ("systemctl status reelway", "A sentence on how it is. The first request starts the service."),
    (
        "sudo systemctl edit reelway.socket",
        "Another port: below [Socket] an empty ListenStream= and ListenStream=8080, then systemctl restart reelway.socket \
         reelway.service. Several on one machine are reelway@3001.socket, reelway@3002.socket and so on; a command with \
         --unit reelway@3001 is about that one.",
    ),
    ("sudo reelway doctor", "What is wrong, and what to type."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "VIDEOS_PATH, PORT",
        "Folders of films, separated by colons; the port where no socket unit says one. They win over files.",
    ),
    ("REELWAY_SECTION__KEY", "Any option of reelway.toml(5), such as REELWAY_LOG__LEVEL=debug."),
    (
        "STATE_DIRECTORY, RUNTIME_DIRECTORY, CACHE_DIRECTORY, CREDENTIALS_DIRECTORY",
        "Where the daemon's own files are; systemd sets them. Commands for another instance need the first two.",
    ),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/reelway/reelway.toml", "The configuration; see reelway.toml(5)."),
    ("/etc/reelway/conf.d/*.toml", "Parts of it, by name; each wins over those before."),
    ("/etc/default/reelway", "Variables for the service, such as REELWAY_LOG__LEVEL=debug."),
    ("/etc/credstore/reelway.jwt-key", "The key that signs tokens, if it is not to be made at the first start."),
    ("/var/lib/reelway", "The state: accounts, sessions, history, the signing key."),
    ("/run/reelway/admin.sock", "Where the command line talks to the service; root and the user reelway may."),
];

const SEE_ALSO_OF_ALL: &str =
    "(1), reelway.toml(5), systemd.socket(5). journalctl -u reelway -x explains what the log says.";
const SEE_ALSO_OF_A_VERB: &str = "(1), reelway.toml(5)";

/// A section of words with their meanings.
fn terms(heading: &str, terms: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (term, meaning) in terms {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
    roff
}

fn write(folder: &Path, name: &str, text: &[u8]) -> anyhow::Result<()> {
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("could not write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn each_verb_that_a_user_sees_has_a_page_and_the_others_have_none() {
        let folder = tempfile::tempdir().unwrap();
        run(&ManVerb { folder: folder.path().join("man") }, Arguments::command()).unwrap();
        let page = |name: &str| fs::read_to_string(folder.path().join("man").join(name));
        let whole = page("reelway.1").unwrap();
        for word in ["reelway\\-user", "FIRST STEPS", "EXIT STATUS", "VIDEOS_PATH", "/run/reelway/admin.sock"] {
            assert!(whole.contains(word), "{word} is missing in:\n{whole}");
        }
        assert!(page("reelway-user-add.1").unwrap().contains("password\\-stdin"));
        assert!(page("reelway-doctor.1").unwrap().contains("There is a problem."));
        assert!(page("reelway-restore.1").unwrap().contains("signs in again"));
        assert!(page("reelway.toml.5").unwrap().contains("SESSION_TIMEOUT"));
        assert!(page("reelway-man.1").is_err() && page("reelway-help.1").is_err());
    }
}
