//! What makes it pleasant at home: names on the local network, and a laptop that stays awake while a film plays.

use std::path::Path;
use std::time::Duration;

use super::finding::{Finding, note, problem, well};
use crate::cli::machine::{self, Packager};
use crate::cli::unit::Unit;

/// The names that the shipped unit publishes.
const NAMES: [&str; 2] = ["reelway.local", "streaming.local"];

/// Our own names are answered by the avahi of this machine, in milliseconds.
const NAME_PATIENCE: Duration = Duration::from_millis(1500);

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Whether the package is here at all; without it none of this was promised.
    pub is_installed: bool,
    pub avahi: Unit,
    pub names: Unit,
    pub has_service_file: bool,
    /// The port that the service file says, and the one that is served.
    pub announced_port: Option<u16>,
    pub port: u16,
    /// The names that lead nowhere; none when nobody could be asked.
    pub unresolved: Option<Vec<&'static str>>,
    pub awake: Unit,
    pub logind: Unit,
    pub has_lid: bool,
    /// `LidSwitchIgnoreInhibited=` of logind.
    pub lid_ignores_inhibitors: bool,
    pub packager: Packager,
}

pub(super) fn gather(service: &Unit, port: u16) -> Facts {
    let file = machine::text("/etc/avahi/services/reelway.service");
    let port_of = |text: &String| text.split_once("<port>")?.1.split_once("</port>")?.0.trim().parse().ok();
    let avahi = Unit::ask("avahi-daemon.service");
    let lids = std::fs::read_dir("/proc/acpi/button/lid").is_ok_and(|mut lids| lids.next().is_some());
    let logind = machine::output("systemd-analyze", &["cat-config", "systemd/logind.conf"]).unwrap_or_default();
    Facts {
        is_installed: service.is_installed(),
        has_service_file: file.is_some(),
        announced_port: file.as_ref().and_then(port_of),
        port,
        unresolved: avahi.is_active().then(unresolved).flatten(),
        names: Unit::ask("reelway-names.service"),
        awake: Unit::ask("reelway-awake.socket"),
        logind: Unit::ask("systemd-logind.service"),
        has_lid: lids,
        lid_ignores_inhibitors: logind.lines().any(|line| line.trim() == "LidSwitchIgnoreInhibited=yes"),
        packager: Packager::here(),
        avahi,
    }
}

fn unresolved() -> Option<Vec<&'static str>> {
    // Where nobody has the name it hangs for seconds, or says nothing and succeeds all the same.
    let leads = |name: &str| {
        let told = machine::output_within(NAME_PATIENCE, "avahi-resolve", &["-4", "-n", name]);
        told.is_some_and(|text| !text.trim().is_empty())
    };
    let nowhere = std::thread::scope(|scope| {
        let asking = NAMES.map(|name| scope.spawn(move || (!leads(name)).then_some(name)));
        asking.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    Path::new("/usr/bin/avahi-resolve").exists().then_some(nowhere)
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    if !facts.is_installed {
        return Vec::new();
    }
    let mut found = names(facts);
    found.extend(awake(facts));
    found
}

fn names(facts: &Facts) -> Vec<Finding> {
    if !facts.avahi.is_installed() {
        let what = "avahi-daemon is not installed: players find the server by its address only";
        let fix = facts.packager.install("avahi-daemon avahi-utils", "avahi avahi-tools");
        return vec![note("names.none", what).advise(fix)];
    }
    if !facts.avahi.is_active() {
        let fix = "systemctl enable --now avahi-daemon.service";
        let why = "players find the server by its address only";
        return vec![
            problem("names.stopped", "avahi-daemon does not run: reelway.local leads nowhere", fix).because(why),
        ];
    }
    let mut found = Vec::new();
    if !facts.has_service_file {
        let what = "/etc/avahi/services/reelway.service is not there: nobody is told of the server";
        let fix = match facts.packager {
            // dpkg leaves out what somebody has removed, unless it is told not to.
            Packager::Apt => "apt install --reinstall -o Dpkg::Options::=--force-confmiss ./reelway_*.deb",
            Packager::Dnf => "dnf reinstall ./reelway-*.rpm",
        };
        found.push(note("names.file", what).advise(fix));
    }
    if let Some(port) = facts.announced_port.filter(|port| *port != facts.port && facts.port != 0) {
        let what = format!("port {port} is announced, and {} is served", facts.port);
        let fix = format!("say <port>{}</port> in /etc/avahi/services/reelway.service", facts.port);
        found.push(problem("names.port", what, fix).because("who finds the server by its announcement cannot connect"));
    }
    match &facts.unresolved {
        Some(names) if names.is_empty() => {
            found.push(well("names.lead", "reelway.local and streaming.local lead here"))
        }
        Some(names) => {
            let fix = match facts.names.is_installed() {
                true => "systemctl restart reelway-names.service; journalctl -u reelway-names says who has the name"
                    .to_owned(),
                false => {
                    let fix = facts
                        .packager
                        .install("--reinstall avahi-utils ./reelway_*.deb", "avahi-tools ./reelway-*.rpm");
                    format!("{fix}; reelway-names.service publishes them")
                }
            };
            found.push(note("names.lead", format!("nobody answers for {}", names.join(" and "))).advise(fix));
        }
        None => {}
    }
    found
}

fn awake(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.awake.is_installed() && !facts.awake.is_active() {
        let fix = "systemctl enable --now reelway-awake.socket";
        let what = "reelway-awake.socket is not started";
        found.push(problem("awake.socket", what, fix).because("the machine goes to sleep while a film plays"));
    }
    if facts.awake.is_active() && !facts.logind.is_active() {
        let what = "systemd-logind does not run: nothing keeps the machine awake while a film plays, and nothing sends it to sleep";
        found.push(note("awake.logind", what));
    }
    if facts.has_lid && facts.lid_ignores_inhibitors {
        let fix = "LidSwitchIgnoreInhibited=no in /etc/systemd/logind.conf, then: systemctl restart systemd-logind";
        found.push(note("awake.lid", "a closed lid sends this machine to sleep, even while a film plays").advise(fix));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::finding::marked;
    use super::*;

    fn healthy() -> Facts {
        let active = Unit::of("LoadState=loaded\nActiveState=active\nUnitFileState=enabled");
        Facts {
            is_installed: true,
            avahi: active.clone(),
            names: active.clone(),
            has_service_file: true,
            announced_port: Some(3000),
            port: 3000,
            unresolved: Some(Vec::new()),
            awake: active.clone(),
            logind: active,
            has_lid: true,
            lid_ignores_inhibitors: false,
            packager: Packager::Apt,
        }
    }

    #[test]
    fn each_fault_of_names_and_sleep_has_its_finding() {
        let stopped = || Unit::of("LoadState=loaded\nActiveState=inactive");
        type Spoil<'a> = &'a dyn Fn(&mut Facts);
        let cases: [(Spoil<'_>, &[&str]); 9] = [
            (&|_| {}, &[]),
            (&|facts| facts.avahi = Unit::default(), &["names.none"]),
            (&|facts| facts.avahi = stopped(), &["!names.stopped"]),
            (&|facts| facts.has_service_file = false, &["names.file"]),
            (&|facts| facts.port = 80, &["!names.port"]),
            (&|facts| facts.unresolved = Some(vec!["reelway.local"]), &["names.lead"]),
            (&|facts| facts.awake = stopped(), &["!awake.socket"]),
            (&|facts| facts.logind = stopped(), &["awake.logind"]),
            (&|facts| facts.lid_ignores_inhibitors = true, &["awake.lid"]),
        ];
        for (change, expected) in cases {
            let mut facts = healthy();
            change(&mut facts);
            assert_eq!(marked(&judge(&facts)), expected);
        }
        assert_eq!(judge(&Facts::default()), []);
    }

    #[test]
    fn what_is_missing_is_installed_by_what_installs_here() {
        for (packager, expected) in
            [(Packager::Apt, "apt install avahi-daemon avahi-utils"), (Packager::Dnf, "dnf install avahi avahi-tools")]
        {
            let found = judge(&Facts { avahi: Unit::default(), packager, ..healthy() });
            assert_eq!(found[0].fix.as_deref(), Some(expected));
        }
    }
}
