//! What the kernel and the limits of the unit allow.

use super::finding::{Finding, note, problem};
use crate::cli::machine;
use crate::cli::unit::{Name, Unit};
use crate::config::Config;

/// Less memory than this and the daemon is ended while it hashes passwords.
const MEMORY_MIN: u64 = 64 * 1024 * 1024;

/// Descriptors beside those of connections: database, log, roots, pipes.
const OTHER_DESCRIPTORS: u64 = 256;

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub name: Name,
    pub service: Unit,
    /// `kernel.io_uring_disabled`, where the kernel has it.
    pub io_uring_disabled: Option<u8>,
    /// The congestion control of the configuration, and those that anybody may choose.
    pub congestion_control: String,
    pub allowed: Vec<String>,
    pub connections_max: u64,
    /// Whether a daemon answers, and has said itself how its ring is.
    pub is_answering: bool,
}

pub(super) fn gather(config: &Config, name: &Name, service: &Unit, is_answering: bool) -> Facts {
    let number = machine::text("/proc/sys/kernel/io_uring_disabled").and_then(|text| text.trim().parse().ok());
    let allowed = machine::text("/proc/sys/net/ipv4/tcp_allowed_congestion_control").unwrap_or_default();
    Facts {
        name: name.clone(),
        service: service.clone(),
        io_uring_disabled: number,
        congestion_control: config.net.congestion_control.clone(),
        allowed: allowed.split_ascii_whitespace().map(str::to_owned).collect(),
        connections_max: config.net.connections_max as u64,
        is_answering,
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let why = "films play all the same, at more cost for those that come from the disk";
    if !facts.is_answering {
        if facts.io_uring_disabled == Some(2) {
            let fix = "sysctl -w kernel.io_uring_disabled=0, and the same line in /etc/sysctl.d/";
            found.push(
                note("kernel.ring", "kernel.io_uring_disabled is 2: there is no io_uring").because(why).advise(fix),
            );
        } else if forbids_ring(facts.service.get("SystemCallFilter")) {
            let fix = format!(
                "systemctl edit {}, with: SystemCallFilter=io_uring_setup io_uring_enter io_uring_register",
                facts.name.service()
            );
            found.push(note("kernel.ring", "SystemCallFilter= of the unit forbids io_uring").because(why).advise(fix));
        }
    }
    let wanted = &facts.congestion_control;
    if wanted != "system" && !facts.allowed.is_empty() && !facts.allowed.contains(wanted) {
        let what =
            format!("the kernel does not let net.congestion_control be {wanted}; it has {}", facts.allowed.join(", "));
        let fix = format!(
            "modprobe tcp_{wanted}; sysctl -w net.ipv4.tcp_allowed_congestion_control=\"{} {wanted}\"",
            facts.allowed.join(" ")
        );
        found.push(note("kernel.congestion", what).advise(fix));
    }
    found.extend(limits(facts));
    found
}

fn limits(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let needed = facts.connections_max + OTHER_DESCRIPTORS;
    if let Some(limit) = facts.service.limit("LimitNOFILE").filter(|limit| *limit < needed) {
        let what = format!("the unit allows {limit} open files, and net.connections_max needs {needed}");
        let fix = format!(
            "systemctl edit {}, with: LimitNOFILE=65536; or a smaller net.connections_max",
            facts.name.service()
        );
        found.push(
            problem("limits.files", what, fix).because("clients are refused long before the limit that was chosen"),
        );
    }
    for property in ["MemoryMax", "MemoryHigh"] {
        if let Some(limit) = facts.service.limit(property).filter(|limit| *limit < MEMORY_MIN) {
            let mebibytes = limit / 1024 / 1024;
            let what = format!("{property}= of the unit is {mebibytes} MiB; it takes 64");
            let fix = format!("systemctl edit {}, with: {property}=256M", facts.name.service());
            found.push(
                problem("limits.memory", what, fix).because("each password that is checked takes 19 MiB for a moment"),
            );
        }
    }
    found
}

/// Whether a list of system calls leaves io_uring_setup out, or names it in a list of forbidden ones (systemd.exec(5)).
fn forbids_ring(filter: &str) -> bool {
    let (is_forbidding, list) = match filter.strip_prefix('~') {
        Some(list) => (true, list),
        None => (false, filter),
    };
    let is_named = list.split_ascii_whitespace().any(|call| call.split(':').next() == Some("io_uring_setup"));
    !list.is_empty() && is_named == is_forbidding
}

#[cfg(test)]
mod tests {
    use super::super::finding::marked;
    use super::*;

    fn facts(service: &str) -> Facts {
        Facts {
            name: Name::default(),
            service: Unit::of(service),
            io_uring_disabled: Some(0),
            congestion_control: "cubic".to_owned(),
            allowed: vec!["reno".to_owned(), "cubic".to_owned()],
            connections_max: 4096,
            is_answering: false,
        }
    }

    #[test]
    fn limits_of_the_unit_are_compared_with_what_is_needed() {
        for (service, expected) in [
            ("LimitNOFILE=65536\nMemoryMax=2147483648\nMemoryHigh=infinity", ""),
            ("LimitNOFILE=1024", "!limits.files"),
            ("MemoryMax=33554432", "!limits.memory"),
            ("SystemCallFilter=read write", "kernel.ring"),
            ("SystemCallFilter=read io_uring_setup", ""),
            ("SystemCallFilter=~io_uring_setup", "kernel.ring"),
            ("SystemCallFilter=~reboot", ""),
        ] {
            assert_eq!(marked(&judge(&facts(service))).join(" "), expected, "{service}");
        }
    }

    #[test]
    fn what_the_kernel_forbids_is_a_note() {
        let mut without = facts("");
        without.io_uring_disabled = Some(2);
        assert_eq!(marked(&judge(&without)), ["kernel.ring"]);
        without.is_answering = true;
        assert_eq!(marked(&judge(&without)), [""; 0], "the daemon itself says how its ring is");
        let mut other = facts("");
        other.congestion_control = "bbr".to_owned();
        assert_eq!(marked(&judge(&other)), ["kernel.congestion"]);
        other.congestion_control = "system".to_owned();
        assert_eq!(marked(&judge(&other)), [""; 0]);
    }
}
