//! `reelway doctor`: what is wrong with this machine's reelway, and the command that mends it.
//!
//! The one idea: facts are gathered by what may fail and hang, and judged by pure functions, so every finding is a row of a
//! table of tests. One file a part: `service`, `state`, `films`, `kernel`, `network`, `home`.
//!
//! What is judged is the service's configuration, not that of the shell this is typed in: its unit may give it variables. With
//! STATE_DIRECTORY set, and no `--unit`, it is a daemon started by hand, and no unit is looked at.
//! Nothing is changed, and nothing is started: a daemon that systemd would start for whoever connects is not asked.

mod films;
mod finding;
mod home;
mod kernel;
mod network;
mod service;
mod state;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::cli::client::plain;
use crate::cli::print;
use crate::cli::unit::{Name, Unit};
use crate::config::{self, Loaded, Sources};
use crate::sys::process;
use finding::{Finding, Level, note, problem, well};

#[derive(Args)]
pub(super) struct DoctorVerb {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Looks at everything and prints what was found.
///
/// # Errors
/// When there is a problem, or the answer cannot be printed.
pub(super) fn run(DoctorVerb { json }: DoctorVerb, sources: Sources, unit: Option<Name>) -> anyhow::Result<()> {
    if let Some(name) = &unit {
        Unit::known(name)?;
    }
    let found = examine(sources, unit);
    let problems = found.iter().filter(|finding| finding.level == Level::Problem).count();
    print(&match json {
        true => format!("{:#}\n", json!({"healthy": problems == 0, "findings": found})),
        false => table(&found),
    })?;
    match problems {
        0 => Ok(()),
        1 => bail!("there is a problem"),
        count => bail!("there are {count} problems"),
    }
}

fn examine(mut sources: Sources, unit: Option<Name>) -> Vec<Finding> {
    let is_by_hand = unit.is_none() && sources.environment.contains_key(OsStr::new("STATE_DIRECTORY"));
    let is_named = unit.is_some();
    let name = unit.unwrap_or_default();
    let (service, socket) = match is_by_hand {
        true => (Unit::default(), Unit::default()),
        false => (service::settled(&name.service()), Unit::ask(&name.socket())),
    };
    if is_named {
        service.lends_folders(&mut sources);
    }
    let given = give_variables(&service, &mut sources);
    let loaded = config::load(&sources);
    let mut found = configuration(&loaded, &given, &name);
    if let Some(pattern) = service.pattern() {
        let what =
            format!("EnvironmentFile={pattern} of {} is a pattern: what its files set is not seen here", service.name);
        found.push(note("config.pattern", what).advise("name each file in the unit: the other verbs refuse to guess"));
    }
    if !process::is_root() {
        found.push(
            note("doctor.user", "some things can be seen by root only")
                .advise(format!("sudo {} doctor", name.program())),
        );
    }
    // Which folders another service than the first has stands in its unit: where that cannot be read, they are not known.
    let are_folders_known = name == Name::default() || service.is_loaded();
    let config = loaded.as_ref().ok().map(|loaded| &loaded.config).filter(|_| are_folders_known);
    let service_facts = service::gather(&name, &service, &socket, config);
    found.extend(service::judge(&service_facts));
    found.extend(loaded.as_ref().ok().and_then(|loaded| passed_over(loaded, &name, &service::listens(&socket))));
    let Some(config) = config else { return found };
    found.extend(state::judge(&state::gather(config, &name, &service)));
    found.extend(films::judge(&films::gather(config, &name, &service)));
    let is_answering = matches!(service_facts.health, Some(Ok(_)));
    found.extend(kernel::judge(&kernel::gather(config, &name, &service, is_answering)));
    found.extend(network::judge(&network::gather(config, &name, &service, &socket)));
    // Names and sleep are about the machine and what it announces, which is not an instance behind a proxy.
    if !name.is_instance() {
        found.extend(home::judge(&home::gather(&service, service_facts.port)));
    }
    found
}

/// Adds the variables that the unit gives the daemon: those that were added, and where each stands.
fn give_variables(service: &Unit, sources: &mut Sources) -> Vec<(String, String)> {
    let mut given = Vec::new();
    for (name, value, place) in service.variables() {
        sources.environment.insert(name.clone().into(), value.into());
        given.push((name, place));
    }
    given
}

fn configuration(
    loaded: &Result<Loaded, config::ConfigError>,
    given: &[(String, String)],
    name: &Name,
) -> Vec<Finding> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let fix = format!("correct it; `{} config check` says when it is right", name.program());
            let one = |what: &String| {
                problem("config.invalid", what.clone(), fix.clone()).because("the daemon does not start with it")
            };
            return error.problems().iter().map(one).collect();
        }
    };
    let mut found: Vec<_> = loaded.warnings.iter().map(|warning| note("config.warning", warning.clone())).collect();
    for (key, member) in loaded.show_json().as_object().into_iter().flatten() {
        let variable = member["origin"].as_str().and_then(|origin| origin.strip_prefix("environment "));
        let place = given.iter().rev().find(|(name, _)| Some(name.as_str()) == variable).map(|(_, place)| place);
        if let (Some(variable), Some(place)) = (variable, place) {
            let what = format!(
                "{key} is {} by {variable} in {place}, whatever the files of the configuration say",
                member["value"]
            );
            found.push(note("config.variable", what));
        }
    }
    let files: Vec<_> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let from = if files.is_empty() { "no file: all defaults".to_owned() } else { files.join(", ") };
    found.push(well("config.valid", format!("the configuration is valid ({from})")));
    found
}

/// What the configuration says of addresses, where systemd listens and says otherwise.
fn passed_over(loaded: &Loaded, name: &Name, listens: &[SocketAddr]) -> Option<Finding> {
    let ports: Vec<u16> = listens.iter().map(SocketAddr::port).collect();
    let is_so = loaded.config.server.addresses().iter().all(|address| ports.contains(&address.port()));
    // Whoever gave systemd another port and wrote nothing into the configuration has done it right.
    let shown = loaded.show_json();
    let is_written = ["server.port", "server.listen"].iter().any(|key| shown[*key]["origin"] != "default");
    // An instance has the configuration of the first, and its port in its name.
    if ports.is_empty() || is_so || !is_written || name.is_instance() {
        return None;
    }
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let what = format!("server.port of the configuration is {}, and is passed over", loaded.config.server.port);
    let why = format!("systemd listens for the service, as {} says: on port {}", name.socket(), ports.join(", "));
    let fix = format!(
        "systemctl edit {}, with these three lines, then {}:\n[Socket]\nListenStream=\nListenStream={}",
        name.socket(),
        name.restart_both(),
        loaded.config.server.port
    );
    Some(note("config.socket", what).because(why).advise(fix))
}

/// Problems first, what is well last, each in a line with what explains it below.
fn table(found: &[Finding]) -> String {
    let mut text = String::new();
    for level in [Level::Problem, Level::Note, Level::Ok] {
        for finding in found.iter().filter(|finding| finding.level == level) {
            let word = match level {
                Level::Problem => "PROBLEM",
                Level::Note => "note",
                Level::Ok => "ok",
            };
            // A text takes all that is written to it.
            let _ = writeln!(text, "{word:<8} {:<18} {}", finding.id, plain(&finding.what));
            if let Some(why) = &finding.why {
                let _ = writeln!(text, "{:27} {}", "", plain(why));
            }
            for (number, line) in finding.fix.iter().flat_map(|fix| fix.lines()).enumerate() {
                let _ = writeln!(text, "{:27} {} {}", "", if number == 0 { "->" } else { "  " }, plain(line));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_stand_first_with_what_to_do() {
        let found =
            [well("a.well", "all is well"), problem("b.bad", "it is broken", "mend it\nand this").because("age")];
        let text = table(&found);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "PROBLEM  b.bad              it is broken");
        assert_eq!(lines[1..4], ["age", "-> mend it", "and this"]);
        assert!(lines[4].starts_with("ok"), "{text}");
    }

    #[test]
    fn variables_of_the_unit_are_the_services_and_are_named() {
        let mut sources = Sources::of_process(Some("/dev/null".into()), Vec::new());
        sources.environment = [("PATH".into(), "/bin".into())].into();
        let unit = Unit::of("LoadState=loaded\nEnvironment=PORT=8080 FDSTORE=4096");
        let given = give_variables(&unit, &mut sources);
        let loaded = config::load(&sources);
        assert_eq!(loaded.as_ref().unwrap().config.server.port, 8080);
        let found = configuration(&loaded, &given, &Name::default());
        assert_eq!(finding::marked(&found), ["config.variable"]);
        assert!(found[0].what.contains("server.port is 8080 by PORT in Environment="), "{found:?}");
        // Where systemd listens elsewhere, nobody is served there.
        let noted = |listens: &str| {
            let listens: Vec<_> = listens.split_whitespace().map(|address| address.parse().unwrap()).collect();
            passed_over(loaded.as_ref().unwrap(), &Name::default(), &listens).map(|finding| finding.id)
        };
        assert_eq!(noted("[::]:3000"), Some("config.socket"));
        assert_eq!(noted("[::]:8080"), None);
        assert_eq!(noted(""), None, "no socket unit");
        sources.environment.clear();
        let unwritten = config::load(&sources).unwrap();
        assert!(
            passed_over(&unwritten, &Name::default(), &["[::]:80".parse().unwrap()]).is_none(),
            "a drop-in of the socket alone"
        );
    }
}
