//! From what the service sees to what is missing: pure, so that every case stands in a table.
//!
//! A remedy opens as little as it can: a folder is let into the sandbox alone, a group is joined only if it is there for
//! sharing, and an access control list names the service's user and nobody else (acl(5)).

use std::path::{Path, PathBuf};

use crate::cli::access::Entry;
use crate::cli::access::look::{Obstacle, Sight};
use crate::cli::access::mount::{Mount, Permissions};
use crate::cli::access::sandbox::quoted;
use crate::cli::unit::Setting;

/// All that the advice depends on.
pub(super) struct Situation<'a> {
    /// The folder of films, an absolute path without links.
    pub path: &'a Path,
    /// The account of the service.
    pub account: &'a str,
    /// The groups it is in.
    pub groups: &'a [u32],
    /// What the service sees.
    pub seen: &'a Sight,
    /// What it would see with [`let_in`], if that was tried.
    pub let_in: Option<&'a Sight>,
    /// The folders on the way, the root of the file system first, as far as we can see them.
    pub way: &'a [Entry],
    /// The first file or folder below that may not be read.
    pub unreadable: Option<&'a Entry>,
    /// Where it is mounted.
    pub mount: Option<&'a Mount>,
    /// Whether there is a unit that could get a drop-in.
    pub has_unit: bool,
    /// Whether that has one for this library already.
    pub has_drop_in: bool,
    /// Other roots under a home, which the service sees only because the homes are not hidden now.
    pub others: &'a [PathBuf],
}

/// Something that is missing, and how it is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remedy {
    /// What is done, and what that opens to whom, in sentences.
    pub explanation: String,
    /// How it is done.
    pub cure: Cure,
    /// Whether no film can be played without it.
    pub is_needed: bool,
}

/// How something is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// A drop-in of the unit, with this text.
    DropIn(String),
    /// Commands that root can run; groups are taken over at the next start of the service.
    Commands { commands: Vec<Vec<String>>, needs_restart: bool },
    /// Commands that somebody has to decide about.
    ByHand(Vec<String>),
}

/// The settings that let the service see `path` in its sandbox, and nothing beside it.
pub(super) fn let_in(path: &Path) -> Vec<Setting> {
    // A disk that is away must not keep the service from starting: '-'.
    let bind = ("BindReadOnlyPaths".to_owned(), quoted(&format!("-{}", path.display())));
    // An empty /home has no folder in the way that would have to be opened, and hides everything else that is there.
    let home = is_below_homes(path).then(|| ("ProtectHome".to_owned(), "tmpfs".to_owned()));
    home.into_iter().chain([bind]).collect()
}

/// The folders that ProtectHome= is about (systemd.exec(5)).
pub(super) fn is_below_homes(path: &Path) -> bool {
    ["/home", "/root", "/run/user"].iter().any(|homes| path.starts_with(homes))
}

/// What is missing: nothing when the service can read the folder and finds its disk at the next start.
pub(super) fn advise(situation: &Situation<'_>) -> Vec<Remedy> {
    let helps = situation.let_in.is_some_and(|let_in| is_better(let_in, situation.seen));
    let seen = situation.let_in.filter(|_| helps).unwrap_or(situation.seen);
    let drop_in = drop_in(situation, helps);
    let permission = match &seen.obstacle {
        // Nothing to be done about these by permissions.
        Some(Obstacle::Missing(_) | Obstacle::NotAFolder(_) | Obstacle::Failed(..)) => None,
        Some(Obstacle::NotSearchable(at)) => Some(permission(situation, at, seen)),
        Some(Obstacle::NotReadable(at)) => Some(permission(situation, at, seen)),
        None if seen.unreadable_count > 0 => Some(permission(situation, situation.path, seen)),
        None => None,
    };
    drop_in.into_iter().chain(permission).collect()
}

/// Whether more is seen: the next thing in the way is another one.
fn is_better(with: &Sight, without: &Sight) -> bool {
    without.obstacle.is_some() && with.obstacle != without.obstacle
}

fn drop_in(situation: &Situation<'_>, helps: bool) -> Option<Remedy> {
    let disk = situation.mount.filter(|mount| situation.has_unit && !mount.is_root());
    // One that stands there and helps no more is left as it is: what it lets in may be what is seen.
    if !helps && (situation.has_drop_in || disk.is_none()) {
        return None;
    }
    let mut text = String::new();
    let mut sentences = Vec::new();
    if let Some(mount) = disk {
        text += "[Unit]\n";
        let point = mount.point.display();
        if mount.may_be_away() {
            // What RequiresMountsFor= says would end the service with the disk: other films play on (systemd.unit(5)).
            text += &format!("Wants={unit}\nAfter={unit}\n", unit = mount.unit());
            sentences.push(format!("the service starts after {point} is mounted, and without it when that is away"));
        } else {
            text += &format!("RequiresMountsFor={}\n", quoted(&situation.path.to_string_lossy()));
            sentences.push(format!("the service waits for {point} to be mounted"));
        }
    }
    if helps {
        text += "[Service]\n";
        for (key, value) in let_in(situation.path) {
            text += &format!("{key}={value}\n");
        }
        for other in situation.others {
            text += &format!("BindReadOnlyPaths={}\n", quoted(&format!("-{}", other.display())));
        }
        sentences.push(format!(
            "{} is let into the sandbox of the service, to be read; nothing else under the same roof is",
            situation.path.display()
        ));
    }
    let explanation = format!("A drop-in of the unit: {}.", sentences.join("; "));
    Some(Remedy { explanation, cure: Cure::DropIn(text), is_needed: helps })
}

/// What opens `at`, or films in it, to the service.
fn permission(situation: &Situation<'_>, at: &Path, seen: &Sight) -> Remedy {
    let mount = situation.mount.filter(|mount| at.starts_with(&mount.point));
    let (explanation, cure) = match mount.map(|mount| (mount, mount.permissions())) {
        Some((mount, Permissions::Mount)) => mount_options(situation, mount),
        Some((mount, Permissions::Server)) => server(situation, mount),
        Some((_, Permissions::Files)) | None => {
            let is_way = matches!(seen.obstacle, Some(Obstacle::NotSearchable(_)));
            group(situation, at, is_way).unwrap_or_else(|| access_list(situation, at, is_way))
        }
    };
    Remedy { explanation, cure, is_needed: true }
}

/// Joins the group of what is closed, when it is a group for sharing and its members may do what is wanted.
fn group(situation: &Situation<'_>, at: &Path, is_way: bool) -> Option<(String, Cure)> {
    let way = situation.way.iter().find(|entry| entry.path == at);
    let closed = if is_way || situation.unreadable.is_none() { way } else { situation.unreadable }?;
    let wanted = if is_way { 0o010 } else { 0o040 };
    let is_shared = is_for_sharing(&closed.group, closed.group_number) && closed.group != closed.owner;
    if !is_shared || closed.mode & wanted == 0 || situation.groups.contains(&closed.group_number) {
        return None;
    }
    let (account, group) = (situation.account, &closed.group);
    let explanation = format!(
        "{account} joins the group '{group}', to which {} is open. It may then read whatever else is open to that group.",
        closed.path.display()
    );
    Some((
        explanation,
        Cure::Commands { commands: vec![words(&["usermod", "-aG", group, account])], needs_restart: true },
    ))
}

/// Whether a group is there for sharing files: one that people have made, or one of a system that gives nothing else. Whoever
/// is in docker or disk is as good as root, whatever number those have.
fn is_for_sharing(group: &str, number: u32) -> bool {
    // Those of a system have numbers below (login.defs(5), SYS_GID_MAX), and nobody's is 65534.
    let is_of_people = (1000..65534).contains(&number) || number > 65535;
    (is_of_people && !POWERFUL_GROUPS.contains(&group)) || SHARING_GROUPS.contains(&group)
}

/// Groups of systems that people share files by.
const SHARING_GROUPS: [&str; 2] = ["media", "users"];

/// Groups whose members can become root, and which people make by hand, so that their numbers say nothing.
const POWERFUL_GROUPS: [&str; 12] =
    ["adm", "admin", "disk", "docker", "incus", "incus-admin", "kvm", "libvirt", "lxd", "podman", "sudo", "wheel"];

/// Names the service in the access control lists of what is closed.
fn access_list(situation: &Situation<'_>, at: &Path, is_way: bool) -> (String, Cure) {
    let account = situation.account;
    if is_way {
        // Those further down are closed as well if their modes say so: asked about once, not one by one.
        let is_closed = |entry: &&Entry| {
            entry.path == at || (entry.path.starts_with(at) && entry.path != situation.path && entry.mode & 0o001 == 0)
        };
        let closed: Vec<&Entry> = situation.way.iter().filter(is_closed).collect();
        let command = |path: &Path| words(&["setfacl", "-m", &format!("u:{account}:x"), &path.to_string_lossy()]);
        let mut commands: Vec<_> = closed.iter().map(|entry| command(&entry.path)).collect();
        if commands.is_empty() {
            commands.push(command(at));
        }
        let explanation = format!(
            "{account} may pass through {} to what is below it, as an access control list says. It cannot list that folder; \
             what lies in it stays closed as far as its own permissions close it.",
            at.display()
        );
        return (explanation, Cure::Commands { commands, needs_restart: false });
    }
    let path = situation.path.to_string_lossy();
    let (now, later) = (format!("u:{account}:rX"), format!("d:u:{account}:rX"));
    let command = words(&["setfacl", "-R", "-m", &now, "-m", &later, &path]);
    let explanation = format!(
        "{account} may read all that is in {path}, and what comes there later, as access control lists say. It may change \
         nothing, and nobody else may more than before."
    );
    (explanation, Cure::Commands { commands: vec![command], needs_restart: false })
}

/// A file system without permissions of its own: they are given when it is mounted.
fn mount_options(situation: &Situation<'_>, mount: &Mount) -> (String, Cure) {
    let (account, point) = (situation.account, mount.point.display());
    let options = format!("gid={account},umask=0027");
    let explanation = format!(
        "{point} is a {} file system, which knows no owners: who may read it is said when it is mounted, and {account} may not. \
         The options {options} let the group of {account} read it, and nobody else.",
        mount.kind
    );
    let point_word = shell_word(&mount.point.to_string_lossy());
    let by_hand = match &mount.listed {
        Some(listed) => {
            let kept: Vec<&str> = listed.options.split(',').filter(|option| !is_permission(option)).collect();
            let options = format!("{},{options}", kept.join(","));
            vec![
                format!("put these options on the line of {point} in /etc/fstab: {}", options.trim_start_matches(',')),
                format!("umount {point_word} && mount {point_word}"),
            ]
        }
        None => {
            let source = shell_word(&mount.source);
            vec![format!("umount {point_word} && mount -o {options} {source} {point_word}")]
        }
    };
    (explanation, Cure::ByHand(by_hand))
}

fn is_permission(option: &str) -> bool {
    ["uid=", "gid=", "umask=", "fmask=", "dmask="].iter().any(|name| option.starts_with(name))
}

fn server(situation: &Situation<'_>, mount: &Mount) -> (String, Cure) {
    let (account, point) = (situation.account, mount.point.display());
    let explanation = format!(
        "{point} is a folder of {} ({}), and the server decides who may read it: {account} may not.",
        mount.source, mount.kind
    );
    let step = match mount.kind.as_str() {
        "cifs" | "smb3" | "smbfs" => {
            format!("mount it with the options uid={account},forceuid,file_mode=0440,dir_mode=0550")
        }
        _ => format!("let the number of {account} (`id -u {account}`), or everybody, read it on the server"),
    };
    (explanation, Cure::ByHand(vec![step]))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A command as a shell takes it.
pub(super) fn shell_line(words: &[String]) -> String {
    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

/// A text as one word of a shell.
pub(in crate::cli) fn shell_word(word: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "-_./:=,+@".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests;
