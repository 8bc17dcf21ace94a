//! The service and its socket: installed, enabled, running, and the program that is on the disk.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::finding::{Finding, note, problem, well};
use crate::cli::healthcheck;
use crate::cli::machine::{self, Packager};
use crate::cli::unit::{Name, Unit};
use crate::config::Config;
use crate::sys::{clock, unix};
use crate::{daemon, limits};

/// How long a service on its way up is waited for: one that fails at once is to be seen between two of its attempts.
const SETTLE_PATIENCE: Duration = Duration::from_secs(3);

/// A start takes no longer, unless it says what it does.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub name: Name,
    pub has_systemd: bool,
    pub service: Unit,
    pub socket: Unit,
    /// What it wrote to the journal when it failed.
    pub last_error: Option<String>,
    /// For how long it has been on its way up.
    pub starting_for: Option<Duration>,
    /// Whether the file that runs is the one on the disk.
    pub runs_replaced_file: bool,
    /// What the daemon says of itself, if it runs: asking would start one that systemd starts for whoever connects.
    pub health: Option<Result<Value, String>>,
    /// What connecting to its admin socket says, if it runs.
    pub admin_socket: Option<Result<(), String>>,
    /// The port of the configuration; 0 is any.
    pub port: u16,
    /// Who listens on it, when it is neither the service nor systemd.
    pub stranger: Option<String>,
    /// The folder of the state.
    pub state: PathBuf,
    /// The process that holds the lock of the state.
    pub lock_holder: Option<u32>,
    pub packager: Packager,
}

impl Facts {
    /// Whether a daemon of this state runs, as a service or by hand.
    pub fn is_running(&self) -> bool {
        self.service.process().is_some() || self.lock_holder.is_some()
    }
}

/// A service as it is once it no longer starts, or after a moment.
pub(super) fn settled(name: &str) -> Unit {
    let deadline = Instant::now() + SETTLE_PATIENCE;
    loop {
        let unit = Unit::ask(name);
        if !unit.is_starting() || Instant::now() >= deadline {
            return unit;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(super) fn gather(name: &Name, service: &Unit, socket: &Unit, config: Option<&Config>) -> Facts {
    let mut facts = Facts {
        name: name.clone(),
        has_systemd: std::path::Path::new("/run/systemd/system").exists(),
        service: service.clone(),
        socket: socket.clone(),
        packager: Packager::here(),
        ..Facts::default()
    };
    if service.has_failed() {
        facts.last_error = last_error(service);
    }
    if service.is_starting() {
        let begun = service.get("InactiveExitTimestampMonotonic").parse().map_or(Duration::MAX, Duration::from_micros);
        facts.starting_for = Some(clock::awake().saturating_sub(begun));
    }
    if let Some(process) = service.process() {
        let program = std::fs::read_link(format!("/proc/{process}/exe"));
        facts.runs_replaced_file = program.is_ok_and(|program| program.to_string_lossy().ends_with(" (deleted)"));
    }
    let Some(config) = config else { return facts };
    facts.lock_holder = lock_holder(&config.directories.state.join("lock"));
    facts.state.clone_from(&config.directories.state);
    let address = address(config, name, socket);
    facts.port = address.port();
    if facts.starting_for.is_some() {
        // It does not answer yet.
    } else if facts.is_running() {
        if facts.port != 0 {
            facts.health = Some(healthcheck::health(address).map_err(|error| format!("{error:#}")));
        }
        let connected = unix::connect(&daemon::admin_socket(config)).map(drop);
        facts.admin_socket = Some(connected.map_err(|error| error.to_string()));
    } else if facts.port != 0 && !socket.is_active() {
        facts.stranger = listener_of(facts.port).map(|(_, name)| name);
    }
    facts
}

/// What the run that failed told of it; what systemd tells, where the run could not even begin.
fn last_error(service: &Unit) -> Option<String> {
    let run = Some(service.get("InvocationID")).filter(|run| !run.is_empty())?;
    let told = |field: &str| {
        let which = format!("{field}={run}");
        let query = [&which, "--priority=err", "--lines=5", "--output=cat", "--no-pager", "--quiet"];
        let text = machine::output("journalctl", &query)?;
        let says_why = |line: &&str| !line.is_empty() && !line.starts_with("Failed to start ");
        let lines: Vec<_> = text.lines().map(str::trim).filter(says_why).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    };
    let has_said = !service.get("StatusText").is_empty();
    told("_SYSTEMD_INVOCATION_ID").or_else(|| if has_said { None } else { told("INVOCATION_ID") })
}

/// Where the daemon is to be asked: where systemd listens for it, if it does. An instance listens nowhere else.
fn address(config: &Config, name: &Name, socket: &Unit) -> SocketAddr {
    let of_config = config.server.addresses().first().copied().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let of_unit = (socket.is_active() || name.is_instance()).then(|| listens(socket).into_iter().next()).flatten();
    healthcheck::reachable(of_unit.unwrap_or(of_config))
}

/// The addresses of a socket unit: `[::]:3000 (Stream)`.
pub(super) fn listens(socket: &Unit) -> Vec<SocketAddr> {
    let lines = socket.get("Listen").lines();
    lines.filter_map(|line| line.split_once(" (").map_or(line, |(address, _)| address).trim().parse().ok()).collect()
}

/// The process that holds a lock on this file (proc(5), /proc/locks).
fn lock_holder(path: &std::path::Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", std::fs::metadata(path).ok()?.ino());
    let locks = machine::text("/proc/locks")?;
    let fields = locks.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let mut held = fields.filter(|fields| fields.get(1) == Some(&"FLOCK"));
    let found = held.find(|fields| fields.get(5).is_some_and(|file| file.ends_with(&inode)))?;
    found.get(4)?.parse().ok().filter(|process| *process != std::process::id())
}

/// The process that listens on a port, and its name; to be seen by root, and for one's own processes.
fn listener_of(port: u16) -> Option<(u32, String)> {
    let is_listening = |line: &&str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let local = fields.get(1).and_then(|local| local.rsplit(':').next());
        // 0A is LISTEN (proc(5), /proc/net/tcp).
        local.and_then(|port| u16::from_str_radix(port, 16).ok()) == Some(port) && fields.get(3) == Some(&"0A")
    };
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| machine::text(table).unwrap_or_default());
    let sockets: Vec<String> = tables
        .iter()
        .flat_map(|table| table.lines().filter(is_listening))
        .filter_map(|line| Some(format!("socket:[{}]", line.split_ascii_whitespace().nth(9)?)))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let holds = |process: u32| {
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        let mut targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    };
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let named = numbers.find(|process| holds(*process)).map(|process| {
        let name = machine::text(format!("/proc/{process}/comm")).unwrap_or_default();
        (process, format!("{} (process {process})", name.trim()))
    });
    Some(named.unwrap_or((0, "somebody whom only root can see".to_owned())))
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(silent) = [&facts.service, &facts.socket].into_iter().find(|unit| unit.is_silent) {
        let what = format!("systemd has not said in time how {} is, so little is known", silent.name);
        let fix = "run this again when the machine is less busy; systemctl list-jobs says what systemd is at";
        found.push(problem("service.unseen", what, fix));
    } else if !facts.has_systemd || !facts.service.is_installed() {
        let what = match facts.has_systemd {
            true => "no service is looked at: it is not installed, or STATE_DIRECTORY is set and names another daemon",
            false => "systemd does not run here",
        };
        let fix = facts.packager.install("./reelway_*.deb", "./reelway-*.rpm");
        found.push(note("service.none", what).advise(format!("install the package: {fix}")));
    } else {
        found.extend(units(facts));
    }
    found.extend(running(facts));
    if let Some(stranger) = &facts.stranger {
        let fix = match facts.socket.is_installed() {
            true if facts.name.is_instance() => "stop it, or take another instance: its port is in its name".to_owned(),
            true => format!(
                "stop it, or choose another port: systemctl edit {}, with these three lines, then {}:\n\
                 [Socket]\nListenStream=\nListenStream=8080",
                facts.name.socket(),
                facts.name.restart_both()
            ),
            false => "stop it, or choose another server.port in the configuration".to_owned(),
        };
        let what = format!("port {} is taken by {stranger}", facts.port);
        found.push(problem("service.port", what, fix).because("reelway cannot listen there"));
    }
    found
}

/// Both units, as systemd has them.
fn units(facts: &Facts) -> Vec<Finding> {
    let (service, socket) = (&facts.service, &facts.socket);
    let mut found = Vec::new();
    for (unit, name) in [(service, facts.name.service()), (socket, facts.name.socket())] {
        match unit.get("LoadState") {
            "masked" => found.push(
                problem("service.masked", format!("{name} is masked"), format!("systemctl unmask {name}"))
                    .because("nothing can start it"),
            ),
            "error" | "bad-setting" => found.push(
                problem("service.unit", format!("{name} cannot be read"), format!("systemd-analyze verify {name}"))
                    .because(unit.get("LoadError")),
            ),
            _ => {}
        }
        if unit.is("NeedDaemonReload", "yes") {
            found.push(
                problem("service.reload", format!("{name} was changed on the disk"), "systemctl daemon-reload")
                    .because("systemd still goes by what it has read before"),
            );
        }
    }
    found.extend(handover(&facts.name, service));
    if !found.iter().any(|finding| finding.id == "service.masked") {
        found.extend(activation(facts));
    }
    found
}

/// Whether the daemon hands over more than systemd keeps.
fn handover(name: &Name, service: &Unit) -> Option<Finding> {
    let kept: u64 = service.get("FileDescriptorStoreMax").parse().ok()?;
    let variables = service.variables();
    let (_, handed, _) = variables.iter().rfind(|(name, _, _)| name == "FDSTORE")?;
    (handed.parse().is_ok_and(|handed: u64| handed > kept)).then(|| {
        let unit = name.service();
        let what = format!("FileDescriptorStoreMax={kept} of {unit} is less than Environment=FDSTORE={handed}");
        let fix = format!(
            "systemctl edit {name}, below [Service]: Environment=FDSTORE={kept}; then systemctl restart {unit}"
        );
        problem("service.handover", what, fix)
            .because("a restart hands over more connections than systemd keeps: it cuts them")
    })
}

/// Whether it runs, or will when somebody comes, or at boot.
fn activation(facts: &Facts) -> Vec<Finding> {
    let (service, socket) = (&facts.service, &facts.socket);
    let (service_name, socket_name) = (facts.name.service(), facts.name.socket());
    let restart_both = facts.name.restart_both();
    let mut found = Vec::new();
    if service.has_failed() {
        found.push(failed(facts));
    } else if let Some(time) = facts.starting_for {
        found.push(starting(facts, time));
    }
    if socket.is_installed() {
        if socket.is("ActiveState", "failed") {
            let why = format!("its result is {}", socket.get("Result"));
            let fix = format!("systemctl reset-failed {socket_name}; {restart_both}");
            let what = format!("{socket_name} has failed: nobody can connect");
            found.push(problem("service.socket", what, fix).because(why));
        } else if !socket.is_active() {
            let fix = match service.is_active() {
                true => format!("systemctl enable {socket_name}; {restart_both}"),
                false => format!("systemctl enable --now {socket_name}"),
            };
            let what = format!("{socket_name} is not started: nobody can connect");
            found.push(problem("service.socket", what, fix));
        } else if !service.is_active() && !service.has_failed() {
            found.push(well("service.waiting", "systemd listens; the first request starts it"));
        }
        if !socket.is_enabled() {
            let what = format!("{socket_name} is not enabled: after a reboot nobody can connect");
            found.push(problem("service.disabled", what, format!("systemctl enable {socket_name}")));
        }
    } else {
        if !service.is_active() && !service.has_failed() {
            let fix = format!("systemctl enable --now {service_name}");
            found.push(problem("service.stopped", format!("{service_name} is not started"), fix));
        }
        if !service.is_enabled() {
            let what = format!("{service_name} is not enabled: after a reboot it is not there");
            found.push(problem("service.disabled", what, format!("systemctl enable {service_name}")));
        }
    }
    if let (Some(holder), None) = (facts.lock_holder, service.process()) {
        let fix = format!("end it, as far as it is yours: kill {holder}; then systemctl restart {service_name}");
        let what = format!("process {holder} uses the state, and is not the service");
        found.push(problem("service.lock", what, fix).because("the service cannot start beside it"));
    }
    found
}

fn failed(facts: &Facts) -> Finding {
    let (service, name, unit) = (&facts.service, &facts.name, facts.name.service());
    let result = service.get("Result");
    let why = facts.last_error.clone().or_else(|| said(service)).unwrap_or_else(|| format!("its result is {result}"));
    if service.is_retried() {
        let what = match service.get("NRestarts") {
            "" | "0" => format!("{unit} has failed ({result}), and is tried again"),
            "1" => format!("{unit} has failed ({result}), and was tried again once"),
            count => format!("{unit} has failed ({result}), and was tried again {count} times"),
        };
        let fix =
            format!("mend what it says here, or in journalctl -xeu {name}; systemd goes on trying, so that is enough");
        return problem("service.failed", what, fix).because(why);
    }
    let fix = match result {
        "start-limit-hit" => {
            let both = name.restart_both();
            format!("mend the cause (journalctl -u {name} -e), then: systemctl reset-failed {unit}; {both}")
        }
        _ => format!("journalctl -xeu {name}; once that is mended: systemctl restart {unit}"),
    };
    problem("service.failed", format!("{unit} has failed ({result})"), fix).because(why)
}

/// A start that takes long and says why is waited for, as the daemon asks systemd to.
fn starting(facts: &Facts, time: Duration) -> Finding {
    let (name, unit, why) = (&facts.name, facts.name.service(), said(&facts.service));
    let patience = if why.is_some() { limits::START_PATIENCE } else { START_TIME_MAX };
    let what = format!("{unit} has been starting for {} s", time.as_secs());
    let why = why.unwrap_or_else(|| "it has not said what it does".to_owned());
    if time < patience {
        return note("service.starting", what).because(why);
    }
    let fix = format!("journalctl -xeu {name}; if that does not tell: systemctl restart {unit}");
    problem("service.starting", format!("{what}, and is not ready"), fix).because(why)
}

/// What the daemon has told systemd last.
fn said(service: &Unit) -> Option<String> {
    Some(service.get("StatusText").to_owned()).filter(|text| !text.is_empty())
}

/// What the running daemon says.
fn running(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let restart = format!("systemctl restart {}", facts.name.service());
    if facts.runs_replaced_file {
        let what = "the program on the disk was replaced since it was started";
        found.push(problem("service.version", what, restart.clone()));
    }
    match &facts.health {
        None => {}
        Some(Err(error)) => {
            let fix = format!("{restart}; if it stays so: journalctl -eu {}", facts.name);
            found.push(problem("service.silent", "the daemon runs and does not answer", fix).because(error.clone()));
        }
        Some(Ok(health)) => found.extend(answered(facts, health)),
    }
    if let Some(Err(error)) = &facts.admin_socket {
        if error.contains("Permission denied") {
            found.push(
                note("service.admin", "its admin socket is for root and the service's user").advise("run this as root"),
            );
        } else {
            let what = "the daemon runs, but its admin socket cannot be reached";
            found.push(problem("service.admin", what, restart).because(error.clone()));
        }
    }
    found
}

fn answered(facts: &Facts, health: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    let restart = format!("systemctl restart {}", facts.name.service());
    let (running, installed) = (health["version"].as_str().unwrap_or_default(), env!("CARGO_PKG_VERSION"));
    if running != installed && !facts.runs_replaced_file {
        let what = format!("version {running} runs, and {installed} is installed");
        // A version is tried as an instance.
        found.push(match facts.name.is_instance() {
            true => note("service.version", what),
            false => problem("service.version", what, restart),
        });
    }
    match health["status"].as_str() {
        Some("draining") => found.push(note("service.draining", "it is about to stop")),
        _ => found
            .push(well("service.answers", format!("it runs, version {running}, and answers on port {}", facts.port))),
    }
    for (name, component) in health["components"].as_object().into_iter().flatten() {
        let detail = component["detail"].as_str().unwrap_or("not well");
        match (name.as_str(), component["status"].as_str()) {
            (_, Some("ok")) => {}
            ("ring", _) => {
                let why = "films play all the same, at more cost for those that come from the disk";
                let fix =
                    "sysctl kernel.io_uring_disabled=0, and no SystemCallFilter= of the unit without io_uring_setup";
                found.push(note("kernel.ring", detail).because(why).advise(fix));
            }
            ("store", _) => {
                let fix = format!("journalctl -eu {}; df -h {}", facts.name, facts.state.display());
                found.push(problem("state.store", "the database does not answer", fix).because(detail));
            }
            ("library", _) => {
                let scan = format!("{} library scan", facts.name.program());
                let fix = format!("the lines about the library below say what to do; then: {scan}");
                found
                    .push(problem("library.daemon", "the daemon does not have the whole library", fix).because(detail));
            }
            (_, _) => found.push(note("service.component", format!("{name}: {detail}"))),
        }
    }
    found
}

#[cfg(test)]
mod tests;
