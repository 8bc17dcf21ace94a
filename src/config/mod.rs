//! What an administrator may choose, in layers, and where each value came from.
//!
//! The one idea: an option is one row of `option_table.rs`, and everything else follows from the row: what a file or a
//! variable may say (`kind.rs`), the sample file and `config show` (`show.rs`). A value passes through here once and
//! comes out in its own type, so nobody checks it again.
//!
//! ```text
//!   built-in < reelway.toml < conf.d/*.toml < document's variables < REELWAY_SECTION__KEY < flags
//!       |            |              |                 |                      |               |
//!       '---- given.rs: what somebody wrote, with its line ------------------'---------------'
//!                    |  kind.rs: is it allowed? then it is one value, in one form
//!                    v
//!             layers.rs: a Setting (row, value, origin) each -> figment -> Config
//! ```
//!
//! All problems are reported at once, each with its file and line, the value, and what is allowed. figment and toml
//! are used in this room only. Contract: spec/API.md, "Configuration and files"; spec/SEED.md 42, 80, 136-141.

mod change;
mod given;
mod key;
mod kind;
mod layers;
mod manual;
mod option_table;
mod prefix;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use figment::Figment;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::log;
pub use change::is_fixed;
use layers::{Gathered, Setting};
pub use manual::manual;
pub use prefix::Prefix;
pub use show::{sample, toml_text};

/// The file read when none is named. That it is missing is no error.
pub const DEFAULT_FILE: &str = "/etc/reelway/reelway.toml";

/// Where to look for values. The environment is a map, so that a test needs no state of the process.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `--config FILE`: must exist.
    pub file: Option<PathBuf>,
    /// A file of conf.d that is about to be written, with its text: read as if it stood there.
    pub draft: Option<(PathBuf, String)>,
    /// Read when `file` is `None`; may be missing.
    pub default_file: PathBuf,
    /// The environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// (key, value) of the command line, such as `("server.port", "3000")`; of two with one key the last wins. A
    /// value is written as in the environment: a list as an array of TOML or JSON, roots also as `/a:/b`.
    pub flags: Vec<(String, String)>,
    /// Relative paths of the environment and of flags begin here.
    pub working_directory: PathBuf,
}

impl Sources {
    /// The main file, whether it is there or not.
    pub fn main_file(&self) -> PathBuf {
        self.working_directory.join(self.file.as_ref().unwrap_or(&self.default_file))
    }

    /// The folder of the drop-ins, beside the main file.
    pub fn drop_in_folder(&self) -> PathBuf {
        self.main_file().with_file_name("conf.d")
    }

    /// The sources of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Sources {
        Sources {
            file,
            draft: None,
            default_file: PathBuf::from(DEFAULT_FILE),
            environment: std::env::vars_os().collect(),
            flags,
            // A working directory that was removed makes relative paths senseless anyway.
            working_directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        }
    }
}

/// Reads all layers.
///
/// # Errors
/// When a file cannot be read, or any layer holds an unknown key or a value that is not allowed: all of them at once.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let Gathered { settings, files, warnings, problems } = layers::gather(sources);
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let figment = settings.into_iter().fold(Figment::new(), Figment::merge::<Setting>);
    // Every value was checked, so what fails here is a row of the table without a field below, or the reverse.
    let config = figment.extract().map_err(|error| ConfigError { problems: vec![error.to_string()] })?;
    let mut loaded = Loaded { config, warnings, files, figment };
    loaded.config.shown = Shown(loaded.show_json());
    Ok(loaded)
}

/// A configuration and how it came about.
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Sentences about settings that have no effect.
    pub warnings: Vec<String>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    figment: Figment,
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    /// One sentence a problem, beginning with where it is.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Every option. What each means to an administrator stands in its row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and how the daemon listens.
    pub server: Server,
    /// The films.
    pub library: Library,
    /// How films are served.
    pub video: Video,
    /// Who is signed in.
    pub sessions: Sessions,
    /// How tokens are signed. No option of this section has a built-in value, so it may be absent as a whole.
    #[serde(default)]
    pub auth: Auth,
    /// What is remembered in memory.
    pub cache: Cache,
    /// Connections.
    pub net: Net,
    /// When the machine may sleep.
    pub power: Power,
    /// The log.
    pub log: Log,
    /// Where the daemon keeps its own files.
    pub directories: Directories,
    /// All of it with where each value came from, as [`Loaded::show_json`] tells it.
    #[serde(skip)]
    pub shown: Shown,
}

/// What is in force and why, for people and programs to read. Two configurations with the same values are the same, wherever
/// these come from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Shown(serde_json::Value);

impl PartialEq for Shown {
    fn eq(&self, _: &Shown) -> bool {
        true
    }
}

impl Eq for Shown {}

impl Shown {
    fn members(&self) -> &serde_json::Map<String, serde_json::Value> {
        static NONE: LazyLock<serde_json::Map<String, serde_json::Value>> = LazyLock::new(serde_json::Map::new);
        self.0.as_object().unwrap_or(&NONE)
    }

    /// Takes over the rows of the keys that `is_kept`, each with the value that waits for a restart, if another does.
    fn keep(&mut self, before: &Shown, is_kept: impl Fn(&str) -> bool) {
        for (key, row) in before.members().iter().filter(|(key, _)| is_kept(key)) {
            let (value, origin) = (&row["value"], &row["origin"]);
            let waiting = self.0[key]["value"].take();
            self.0[key] = json!({ "value": value, "origin": origin });
            if waiting != *value {
                self.0[key]["afterRestart"] = waiting;
            }
        }
    }

    /// Of this number only as much as `value` is in force; the rest waits for a restart.
    fn put_off(&mut self, key: &str, value: usize) {
        let waiting = self.0[key]["value"].take();
        self.0[key]["value"] = json!(value);
        self.0[key]["afterRestart"] = waiting;
    }

    /// Where the value of this key comes from, in words: `default`, `from FILE:LINE`, `environment NAME` or `flag`.
    pub fn origin(&self, key: &str) -> &str {
        self.0[key]["origin"].as_str().unwrap_or_default()
    }
}

/// Section `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `localhost`, `*`, or the text of an IP address.
    pub host: String,
    /// 0 lets the kernel choose.
    pub port: u16,
    /// Replaces host and port unless empty.
    pub listen: Vec<SocketAddr>,
    /// 0 means that [`Server::shard_count`] decides.
    pub shards: usize,
    /// How long current responses may go on after SIGTERM.
    #[serde(deserialize_with = "milliseconds")]
    pub drain_timeout: Duration,
}

/// Shards when nobody says how many: more were not measured to help (DESIGN.md §4).
const SHARDS_DEFAULT_MAX: usize = 4;

impl Server {
    /// The addresses to listen on, never empty. Those of `localhost` and `*` are one per address family: a machine
    /// without IPv6 refuses the second, which is no reason to give up.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let hosts: Vec<IpAddr> = match self.host.as_str() {
            "*" => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            address => match address.parse() {
                Ok(address) => vec![address],
                Err(_localhost) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            },
        };
        hosts.into_iter().map(|host| SocketAddr::new(host, self.port)).collect()
    }

    /// How many shards to start: as configured, else one a core up to 4.
    pub fn shard_count(&self) -> usize {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(SHARDS_DEFAULT_MAX)),
            shards => shards,
        }
    }
}

/// Section `[library]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// Folders of films; their names are unique.
    pub roots: Vec<Root>,
}

/// One folder of films.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// One segment of a path: the first one of the URLs below this root.
    pub name: String,
    /// Absolute; it need not exist now (a disk may be away).
    pub path: PathBuf,
}

/// Section `[video]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Video {
    /// File name extensions in lower case, without the dot.
    pub supported_formats: Vec<String>,
    /// Bytes.
    pub chunk_size: u64,
    /// Playbacks at once.
    pub max_concurrent_streams: usize,
    /// Playbacks of one user at once.
    pub max_streams_per_user: usize,
}

/// Section `[sessions]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// Slots of the slab.
    pub capacity: usize,
    /// Sessions of one user.
    pub max_per_user: usize,
    /// Idle time after which a session rests.
    #[serde(deserialize_with = "milliseconds")]
    pub timeout: Duration,
    /// Time without a byte after which a playback gives up its slot.
    #[serde(deserialize_with = "milliseconds")]
    pub max_inactivity: Duration,
    /// Age at which a session ends whatever it does.
    #[serde(deserialize_with = "milliseconds")]
    pub require_reauth: Duration,
}

/// Section `[auth]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The signing key; `None` means the one of STATE/jwt.key.
    pub jwt_key_file: Option<PathBuf>,
    /// The attempt to sign in, of as many wrong ones in a row, that is refused before its password is looked at.
    pub login_failures_max: u32,
}

/// Section `[cache]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// How long each class of values is believed.
    pub ttl: Ttl,
}

/// Section `[cache.ttl]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ttl {
    /// What is known about one video.
    #[serde(deserialize_with = "milliseconds")]
    pub video_metadata: Duration,
    /// What is known about one session.
    #[serde(deserialize_with = "milliseconds")]
    pub user_session: Duration,
    /// The list of popular videos.
    #[serde(deserialize_with = "milliseconds")]
    pub popular_videos: Duration,
}

/// Section `[net]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// Connections of the whole daemon.
    pub connections_max: usize,
    /// Connections of one client address.
    pub connections_per_address: usize,
    /// Connections of one playback.
    pub connections_per_playback: usize,
    /// A name of tcp(7), or `system` to leave what the system chose.
    pub congestion_control: String,
    /// Unsent bytes that a connection queues in the kernel.
    pub notsent_lowat: u32,
    /// Bits a second of one user, or one link; 0 is no limit.
    pub pacing_per_user: u64,
    /// Bits a second of all together; 0 is no limit.
    pub pacing_total: u64,
    /// Whether the two hold for clients in the house as well.
    pub pacing_lan: bool,
    /// A peer that acknowledges nothing for so long is closed.
    #[serde(deserialize_with = "milliseconds")]
    pub stall_timeout: Duration,
    /// A paused player's connection stays for so long.
    #[serde(deserialize_with = "milliseconds")]
    pub pause_timeout: Duration,
    /// Idle time between two requests of a connection.
    #[serde(deserialize_with = "milliseconds")]
    pub keep_alive_timeout: Duration,
    /// How long a request head may take to arrive.
    #[serde(deserialize_with = "milliseconds")]
    pub head_timeout: Duration,
    /// Origins of pages that may show films: `https://host`, or `*`.
    pub cors_origins: Vec<String>,
    /// Whether links may be kept by a cache that stands before this server.
    pub shared_cache: bool,
    /// Proxies that are believed whom they ask for.
    pub trusted_proxies: Vec<Prefix>,
}

/// Section `[power]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Whether the machine is kept awake while a film plays.
    pub keep_awake: bool,
    /// Who connects here keeps it awake.
    pub awake_socket: PathBuf,
}

/// Section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    #[serde(deserialize_with = "log_format")]
    pub format: log::Format,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// Section `[directories]`: as systemd passes them, as a rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directories {
    /// STATE: accounts, the signing key and the lock.
    pub state: PathBuf,
    /// CACHE: what can be made again.
    pub cache: PathBuf,
    /// RUNTIME: the admin socket.
    pub runtime: PathBuf,
    /// Credentials of systemd.exec(5).
    pub credentials: Option<PathBuf>,
    /// The database file; `None` means STATE/reelway.db.
    pub database: Option<PathBuf>,
}

impl Directories {
    /// Where the database is.
    pub fn database_file(&self) -> PathBuf {
        self.database.clone().unwrap_or_else(|| self.state.join("reelway.db"))
    }
}

/// A duration as people write one: `30m`, `15 min`, `24h`; a number alone is milliseconds.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    kind::duration(text).ok_or_else(|| format!("'{text}' is no duration; write 30m, 1h or 24h"))
}

/// Durations travel through figment as whole milliseconds.
fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn log_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<log::Format, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "text" => Ok(log::Format::Text),
        "json" => Ok(log::Format::Json),
        other => Err(serde::de::Error::unknown_variant(other, option_table::LOG_FORMATS)),
    }
}
