//! Accounts of the machine, and commands that run as one: with all of its groups, as a service manager starts a service
//! (initgroups(3)).

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist, setgid, setgroups, setuid};

/// An account of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What it is called; its number, when it has no name.
    pub name: String,
    /// Its number.
    pub user: u32,
    /// Its own group.
    pub group: u32,
    /// All groups it is in, its own included.
    pub groups: Vec<u32>,
}

impl Account {
    /// The account of this name.
    ///
    /// # Errors
    /// When the machine's list of accounts cannot be read.
    pub fn named(name: &str) -> io::Result<Option<Account>> {
        Ok(User::from_name(name)?.map(|user| Account::of(&user)))
    }

    /// The account of this number, which need not have a name.
    pub fn numbered(user: u32, group: u32) -> Account {
        match User::from_uid(Uid::from_raw(user)) {
            Ok(Some(user)) => Account::of(&user),
            _ => Account { name: user.to_string(), user, group, groups: vec![group] },
        }
    }

    /// The account that this process acts as.
    pub fn own() -> Account {
        Account::numbered(nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    }

    /// Whether it is the administrator, who may everything.
    pub fn is_root(&self) -> bool {
        self.user == 0
    }

    fn of(user: &User) -> Account {
        let listed = CString::new(user.name.as_str()).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
        let groups = listed.unwrap_or_else(|| vec![user.gid]).into_iter().map(Gid::as_raw).collect();
        Account { name: user.name.clone(), user: user.uid.as_raw(), group: user.gid.as_raw(), groups }
    }

    /// Has `command` run as this account, which only root may.
    pub fn takes(&self, command: &mut Command) {
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let become_it = move || {
            setgroups(&groups)?;
            setgid(group)?;
            setuid(user)?;
            Ok(())
        };
        // SAFETY: between fork(2) and execve(2) only three system calls are made, on memory that was allocated before.
        unsafe { command.pre_exec(become_it) };
    }
}

/// What the group of this number is called; its number, when it has no name.
pub fn group_name(group: u32) -> String {
    match Group::from_gid(Gid::from_raw(group)) {
        Ok(Some(group)) => group.name,
        _ => group.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nobody_else_by_that_name() {
        let root = Account::named("root").unwrap().unwrap();
        assert!(root.is_root() && root.groups.contains(&0), "{root:?}");
        assert_eq!(Account::numbered(0, 0), root);
        assert_eq!(Account::named("no such account").unwrap(), None);
        let stranger = Account::numbered(3_999_999_999, 7);
        assert_eq!((stranger.name.as_str(), stranger.groups), ("3999999999", vec![7]));
        assert_eq!(group_name(0), "root");
    }

    #[test]
    fn a_command_runs_as_the_account_with_its_groups() {
        if !Account::own().is_root() {
            return; // Only root may become somebody else.
        }
        let account = Account { name: "x".into(), user: 4321, group: 4322, groups: vec![4322, 4323] };
        let mut command = Command::new("id");
        account.takes(&mut command);
        let seen = String::from_utf8(command.output().unwrap().stdout).unwrap();
        for expected in ["uid=4321", "gid=4322", "4323"] {
            assert!(seen.contains(expected), "{seen}");
        }
        assert!(!seen.contains("root"), "{seen}");
    }
}
