//! The daemon in the sandbox of the installed unit, where the tests run on a machine that has one (`tests/package/e2e`).
//!
//! `E2E_UNIT` names the unit file. What it says of the service's sandbox, limits and user is said again to a transient
//! unit for each daemon, so that tests still give each its own folders and environment; what it says of how the service is
//! started, watched and fed is left out. A daemon that a test starts behind another program (strace, prlimit) goes without.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use super::{PATIENCE, eventually, program};

/// How the service is started and where its files are: a test has its own.
const LEFT_OUT: &[&str] = &[
    "Type",
    "NotifyAccess",
    "ExecStart",
    "ExecStartPre",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
    "Restart",
    "RestartSec",
    "WatchdogSec",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "TimeoutSec",
    "Sockets",
    "FileDescriptorStoreMax",
    "Environment",
    "EnvironmentFile",
    "StateDirectory",
    "StateDirectoryMode",
    "CacheDirectory",
    "CacheDirectoryMode",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "RuntimeDirectoryPreserve",
    "ConfigurationDirectory",
    "LogsDirectory",
    "LoadCredential",
    "StandardOutput",
    "StandardError",
    "SyslogIdentifier",
    "WorkingDirectory",
    "Slice",
];

/// The word of systemd-run that names the unit.
const UNIT_NAME: &str = "--unit=";

/// How many units this process has named.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The installed service, as far as it is a sandbox.
pub struct Unit {
    properties: Vec<String>,
    user: String,
}

impl Unit {
    /// The one that the tests were told to run in, if they were.
    pub fn installed() -> Option<Unit> {
        let file = PathBuf::from(env::var_os("E2E_UNIT")?);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut section = "";
        let mut properties = Vec::new();
        let joined = text.replace("\\\n", " ");
        for line in joined.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            } else if section == "[Service]" && !line.starts_with(['#', ';']) {
                let Some((key, _)) = line.split_once('=') else { continue };
                if !LEFT_OUT.contains(&key) {
                    properties.push(line.to_owned());
                }
            }
        }
        let user = properties.iter().find_map(|property| property.strip_prefix("User="));
        let user = user.unwrap_or_else(|| panic!("{} has no User=", file.display())).to_owned();
        Some(Unit { properties, user })
    }

    /// `systemd-run` for a program that may write to `home` and sees everything else as the service does. What is in `home` is
    /// given to the service's user.
    pub fn command(&self, home: &Path, environment: &[(String, String)]) -> Command {
        let given = program("chown").args(["-R", &format!("{0}:{0}", self.user)]).arg(home).status().unwrap();
        assert!(given.success(), "{} could not be given to {}", home.display(), self.user);
        let mut command = program("systemd-run");
        command.args(["--quiet", "--pipe", "--wait", "--collect", "--service-type=exec"]);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        command.arg(format!("{UNIT_NAME}reelway-e2e-{}-{number}.service", std::process::id()));
        for property in &self.properties {
            match property.split_once('=') {
                // systemd-run understands the words of these one by one only.
                Some((key @ ("IPAddressAllow" | "IPAddressDeny"), networks)) => {
                    command.args(networks.split_whitespace().map(|network| format!("--property={key}={network}")));
                }
                _ => _ = command.arg(format!("--property={property}")),
            }
        }
        command.arg(format!("--property=ReadWritePaths={}", home.display()));
        command.arg(format!("--working-directory={}", home.display()));
        for (key, value) in environment {
            command.arg(format!("--setenv={key}={value}"));
        }
        command
    }
}

/// The unit that a command starts, if it starts one.
pub fn name_of(command: &Command) -> Option<String> {
    command.get_args().find_map(|word| word.to_str()?.strip_prefix(UNIT_NAME).map(str::to_owned))
}

/// The process of the unit of this `name`, once it runs.
pub fn main_process(name: &str) -> u32 {
    eventually("the unit's process", PATIENCE, || {
        let shown = program("systemctl").args(["show", "--property=MainPID", "--value", name]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).trim().parse().ok().filter(|process| *process != 0)
    })
}
