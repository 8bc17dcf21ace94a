//! Whether the house reaches it: addresses, the filter of the unit, the firewall.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use super::finding::{Finding, note, problem, well};
use super::service;
use crate::cli::machine;
use crate::cli::unit::{Name, Unit};
use crate::config::Config;

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub name: Name,
    /// Where it listens, or will.
    pub listens: Vec<IpAddr>,
    pub port: u16,
    pub has_socket_unit: bool,
    /// Addresses of this machine that others can reach, with the length of their prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// `IPAddressAllow=` and `IPAddressDeny=` of the unit that holds the socket.
    pub allow: String,
    pub deny: String,
    /// A firewall that refuses what it does not know, and has no line for the port.
    pub firewall: Option<Firewall>,
}

/// A firewall in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Firewall {
    pub name: &'static str,
    /// The command that lets the port in.
    pub fix: String,
}

pub(super) fn gather(config: &Config, name: &Name, service: &Unit, socket: &Unit) -> Facts {
    let addresses = match socket.is_installed() {
        true => service::listens(socket),
        false => config.server.addresses(),
    };
    let port = addresses.first().map_or(config.server.port, std::net::SocketAddr::port);
    // Whoever opened the socket decides who may come in by it.
    let filter = if socket.is_installed() { socket } else { service };
    Facts {
        name: name.clone(),
        listens: addresses.iter().map(std::net::SocketAddr::ip).collect(),
        port,
        has_socket_unit: socket.is_installed(),
        addresses: own_addresses(),
        allow: filter.get("IPAddressAllow").to_owned(),
        deny: filter.get("IPAddressDeny").to_owned(),
        firewall: firewall(port),
    }
}

/// What `ip -j address` says of interfaces that lead somewhere.
fn own_addresses() -> Vec<(IpAddr, u8)> {
    let shown = machine::output("ip", &["-j", "address", "show", "up"]).unwrap_or_default();
    let interfaces: Value = serde_json::from_str(&shown).unwrap_or_default();
    let infos =
        interfaces.as_array().into_iter().flatten().flat_map(|one| one["addr_info"].as_array().into_iter().flatten());
    let global = infos.filter(|info| info["scope"] == "global" && info["deprecated"] != true);
    global
        .filter_map(|info| {
            Some((info["local"].as_str()?.parse().ok()?, u8::try_from(info["prefixlen"].as_u64()?).ok()?))
        })
        .collect()
}

/// Looks at those that people use. Without root none of them says anything.
fn firewall(port: u16) -> Option<Firewall> {
    if machine::output("firewall-cmd", &["--state"]).is_some_and(|state| state.trim() == "running") {
        let query = ["--quiet", &format!("--query-port={port}/tcp")];
        let asked = machine::succeeds("firewall-cmd", &query);
        let fix = format!("firewall-cmd --permanent --add-port={port}/tcp; firewall-cmd --reload");
        return asked.filter(|is_open| !is_open).map(|_| Firewall { name: "firewalld", fix });
    }
    let ufw = machine::output("ufw", &["status"]).filter(|status| status.starts_with("Status: active"));
    if let Some(status) = ufw {
        let fix = format!("ufw allow from 192.168.0.0/16 to any port {port} proto tcp");
        let is_open = status
            .lines()
            .any(|line| line.split([' ', '/']).next() == Some(&port.to_string()) && line.contains("ALLOW"));
        return (!is_open).then_some(Firewall { name: "ufw", fix });
    }
    let rules = machine::output("nft", &["list", "ruleset"])?;
    is_closed_by(&rules, port).then(|| Firewall {
        name: "nftables",
        fix: format!("nft add rule inet filter input tcp dport {port} accept, with the names of your table and chain"),
    })
}

/// Whether a rule set of nftables has an input chain that drops, and no line that names the port. A line that accepts by
/// address or interface may still let it in: so whoever is told this is told that it was a glance.
fn is_closed_by(rules: &str, port: u16) -> bool {
    let drops = rules.lines().any(|line| line.contains("hook input") && line.contains("policy drop"));
    let number = port.to_string();
    let names_port = |line: &str| {
        line.contains("dport") && line.contains("accept") && line.split([' ', ',', '{', '}']).any(|word| word == number)
    };
    drops && !rules.lines().any(names_port)
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let unit = if facts.has_socket_unit { facts.name.socket() } else { facts.name.service() };
    if !facts.listens.is_empty() && facts.listens.iter().all(IpAddr::is_loopback) {
        if facts.name.is_instance() {
            return vec![well("network.local", "only this machine itself can connect: its proxy")];
        }
        let fix = match facts.has_socket_unit {
            true => format!(
                "systemctl edit {unit}, with these three lines, then {}:\n[Socket]\nListenStream=\nListenStream={}",
                facts.name.restart_both(),
                facts.port
            ),
            false => "server.host = \"*\" in the configuration, then restart it".to_owned(),
        };
        found.push(note("network.local", "only this machine itself can connect").advise(fix));
        // Nothing below matters then.
        return found;
    }
    found.extend(filter(facts, &unit));
    if let Some(Firewall { name, fix }) = &facts.firewall {
        let what = format!("{name} drops what it does not know, and has no line for port {}, at a glance", facts.port);
        found.push(note("network.firewall", what).advise(fix.clone()));
    }
    if found.is_empty() && !facts.addresses.is_empty() {
        let names: Vec<_> = facts.addresses.iter().map(|(address, _)| address.to_string()).collect();
        found.push(well(
            "network.open",
            format!("the house may connect to port {} of {}", facts.port, names.join(", ")),
        ));
    }
    found
}

/// Whether those who have addresses like ours are let in by the unit.
fn filter(facts: &Facts, unit: &str) -> Vec<Finding> {
    let refused = |(address, prefix): &&(IpAddr, u8)| {
        let neighbour = network(*address, *prefix);
        is_listed(&facts.deny, neighbour) && !is_listed(&facts.allow, neighbour)
    };
    let refused: Vec<_> = facts.addresses.iter().filter(refused).collect();
    let (section, restart) = match facts.has_socket_unit {
        true => ("[Socket]", facts.name.restart_both()),
        false => ("[Service]", format!("systemctl restart {unit}")),
    };
    let mut found = Vec::new();
    if !refused.is_empty() && refused.len() == facts.addresses.len() {
        let names: Vec<_> =
            refused.iter().map(|(address, prefix)| format!("{}/{prefix}", network(*address, *prefix))).collect();
        let fix = format!(
            "systemctl edit {unit}, with these two lines, then {restart}:\n{section}\nIPAddressAllow={}",
            names.join(" ")
        );
        let what = format!("{unit} lets nobody in from the networks of this machine ({})", names.join(", "));
        found.push(problem("network.filter", what, fix).because("its IPAddressAllow= does not name them"));
        return found;
    }
    for (address, prefix) in refused {
        let network = format!("{}/{prefix}", network(*address, *prefix));
        let fix = format!(
            "to let them in: systemctl edit {unit}, with these two lines, then {restart}:\n{section}\n\
             IPAddressAllow={network}"
        );
        let why = match address {
            IpAddr::V6(_) => {
                "their addresses are from your provider's prefix and look like the internet's; a device that is refused by \
                 IPv6 tries IPv4, which works, a moment later"
            }
            IpAddr::V4(_) => "IPAddressAllow= names private networks only, and this is none",
        };
        found.push(note("network.filter", format!("{unit} lets nobody in from {network}")).because(why).advise(fix));
    }
    found
}

/// Whether a list of networks, as systemctl prints it, holds an address.
fn is_listed(list: &str, address: IpAddr) -> bool {
    list.split_ascii_whitespace().any(|word| {
        let (network_text, length) = word.split_once('/').unwrap_or((word, "128"));
        let Ok(start) = network_text.parse::<IpAddr>() else { return word == "any" };
        let length = length.parse().unwrap_or(128);
        start.is_ipv4() == address.is_ipv4() && network(address, length) == network(start, length)
    })
}

/// The first address of the network of this one.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            std::net::Ipv4Addr::from(u32::from(v4) & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from(u128::from(v6) & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::marked;
    use super::*;

    /// As systemd 252 prints those of the shipped unit.
    const HOUSE: &str = "127.0.0.0/8 ::1/128 169.254.0.0/16 fe80::/64 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7";

    fn facts(addresses: &[(&str, u8)]) -> Facts {
        Facts {
            name: Name::default(),
            listens: vec![Ipv6Addr::UNSPECIFIED.into()],
            port: 3000,
            has_socket_unit: true,
            addresses: addresses.iter().map(|(address, prefix)| (address.parse().unwrap(), *prefix)).collect(),
            allow: HOUSE.to_owned(),
            deny: "0.0.0.0/0 ::/0".to_owned(),
            firewall: None,
        }
    }

    #[test]
    fn neighbours_are_let_in_or_it_is_said_how() {
        for (addresses, expected) in [
            (&[("192.168.1.9", 24), ("fd00::1", 64)][..], ""),
            (&[], ""),
            (&[("192.168.1.9", 24), ("2001:db8:1:2::9", 64)], "network.filter"),
            (&[("100.64.3.4", 10)], "!network.filter"),
        ] {
            assert_eq!(marked(&judge(&facts(addresses))).join(" "), expected, "{addresses:?}");
        }
        let found = judge(&facts(&[("192.168.1.9", 24), ("2001:db8:1:2::9", 64)]));
        assert!(
            found[0].fix.as_deref().is_some_and(|fix| fix.contains("IPAddressAllow=2001:db8:1:2::/64")),
            "{found:?}"
        );
        let mut open = facts(&[("100.64.3.4", 10)]);
        open.allow = "0.0.0.0/0 ::/0".to_owned();
        assert_eq!(marked(&judge(&open)), [""; 0]);
        open.deny.clear();
        open.allow.clear();
        assert_eq!(marked(&judge(&open)), [""; 0], "who denies nobody lets everybody in");
    }

    #[test]
    fn a_daemon_of_this_machine_only_is_a_note() {
        let mut local = facts(&[("192.168.1.9", 24)]);
        local.listens = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(marked(&judge(&local)), ["network.local"]);
        assert!(
            judge(&local)[0]
                .fix
                .as_deref()
                .is_some_and(|fix| fix.ends_with("[Socket]\nListenStream=\nListenStream=3000"))
        );
    }

    #[test]
    fn a_socket_is_restarted_with_the_service_that_has_it() {
        // systemd refuses to start a socket whose service runs.
        let mut local = facts(&[]);
        local.listens = vec!["127.0.0.1".parse().unwrap()];
        for facts in [local, facts(&[("100.64.3.4", 10)]), facts(&[("192.168.1.9", 24), ("2001:db8:1:2::9", 64)])] {
            let fix = judge(&facts)[0].fix.clone().unwrap_or_default();
            assert!(fix.contains("systemctl restart reelway.socket reelway.service:\n[Socket]\n"), "{fix}");
        }
    }

    #[test]
    fn a_firewall_without_a_line_for_the_port_is_a_note() {
        let drops = "table inet filter {\n chain input {\n type filter hook input priority filter; policy drop;\n";
        for (rules, expected) in [
            (drops.to_owned(), true),
            (format!("{drops} tcp dport {{ 22, 3000 }} accept\n"), false),
            (format!("{drops} tcp dport 3000 accept\n"), false),
            (format!("{drops} tcp dport 30000 accept\n"), true),
            (drops.replace("drop", "accept"), false),
            (String::new(), false),
        ] {
            assert_eq!(is_closed_by(&rules, 3000), expected, "{rules}");
        }
        let mut closed = facts(&[]);
        closed.firewall = Some(Firewall { name: "ufw", fix: "ufw allow".to_owned() });
        assert_eq!(marked(&judge(&closed)), ["network.firewall"]);
    }
}
