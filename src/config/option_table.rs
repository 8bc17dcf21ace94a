//! The option table: one row an option, and the only place an option is declared.
//!
//! A row says key, kind (type and bounds), default as it would stand in a file, unit, the document's variable, and a
//! description. `mod.rs` holds the field of the same path; a test finds a row without a field and the reverse.

use super::kind::{Alone, Kind};
use crate::limits;

/// One option.
pub(super) struct Row {
    /// Section and name, with dots: `cache.ttl.popular_videos`.
    pub key: &'static str,
    /// Type and bounds.
    pub kind: Kind,
    /// The built-in value in TOML; empty when there is none.
    pub default: &'static str,
    /// What the sample file shows where the default would teach nothing.
    pub example: Option<&'static str>,
    /// What a number counts.
    pub unit: Option<&'static str>,
    /// The variable that the document or systemd names; every key also has REELWAY_SECTION__KEY.
    pub variable: Option<Variable>,
    /// For an administrator.
    pub description: &'static str,
}

/// A variable of the environment with a name of its own.
pub(super) struct Variable {
    pub name: &'static str,
    pub form: Form,
}

/// How the text of a variable is to be read.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// As the option's kind says.
    Value,
    /// Paths separated by ':', of which the first counts (systemd.exec(5), RuntimeDirectory=).
    FirstPath,
    /// `sqlite:PATH`.
    SqliteUrl,
}

impl Row {
    /// `cache.ttl` of `cache.ttl.popular_videos`.
    pub fn section(&self) -> &'static str {
        self.key.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// `popular_videos` of `cache.ttl.popular_videos`.
    pub fn name(&self) -> &'static str {
        self.key.rsplit_once('.').map_or(self.key, |(_, name)| name)
    }

    const fn example(mut self, example: &'static str) -> Row {
        self.example = Some(example);
        self
    }

    const fn unit(mut self, unit: &'static str) -> Row {
        self.unit = Some(unit);
        self
    }

    const fn variable(mut self, name: &'static str, form: Form) -> Row {
        self.variable = Some(Variable { name, form });
        self
    }
}

const fn row(key: &'static str, kind: Kind, default: &'static str, description: &'static str) -> Row {
    Row { key, kind, default, example: None, unit: None, variable: None, description }
}

/// Formats with a media type (spec/HTTP.md, "Media headers"): the document's five, then the others.
const FORMATS: &[&str] = &["mp4", "mkv", "avi", "mov", "webm", "m4v", "ts", "m2ts", "mpg", "ogv", "flv"];
/// The words of `log.format`.
pub(super) const LOG_FORMATS: &[&str] = &["text", "json"];
const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

const SECOND: u64 = 1000;
const HOUR: u64 = 60 * 60 * SECOND;
const YEAR: u64 = 365 * 24 * HOUR;
/// No line is faster.
const BITS_MAX: u64 = 1_000_000_000_000;

const fn integer(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max }
}

const fn duration(min: u64, max: u64) -> Kind {
    Kind::Duration { alone: Alone::Milliseconds, min, max }
}

/// A time to live: in the document these, and only these, are numbers of seconds.
const TTL: Kind = Kind::Duration { alone: Alone::Seconds, min: 0, max: YEAR };

/// The sections in the order of the sample file, each with its first line there.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("server", "Where the daemon listens, and how it stops."),
    ("library", "Where the films are."),
    ("video", "How films are served."),
    ("sessions", "Who is signed in, and for how long."),
    ("auth", "How tokens are signed."),
    ("cache.ttl", "How long answers are remembered in memory."),
    ("net", "Connections: how many, and how long one may be idle."),
    ("power", "What a laptop may do while a film plays."),
    ("log", "Events, written to the journal or to stderr."),
    ("directories", "The daemon's own files. systemd passes these; only a daemon started by hand needs them."),
];

/// Every option, by section.
pub(super) const OPTIONS: &[Row] = &[
    row(
        "server.host",
        Kind::Host,
        r#""localhost""#,
        "The address to listen on. The service of the package listens where reelway.socket says, and not here.",
    ),
    row(
        "server.port",
        integer(0, 65535),
        "3000",
        "The port to listen on; 0 lets the kernel choose one. The service of the package listens where reelway.socket says: \
         systemctl edit reelway.socket.",
    )
    .variable("PORT", Form::Value),
    row(
        "server.listen",
        Kind::Addresses,
        "[]",
        "Several addresses with ports, instead of host and port. The service of the package listens where reelway.socket \
         says, and not here.",
    )
    .example(r#"["192.168.1.9:3000", "[::1]:3000"]"#),
    row(
        "server.shards",
        integer(0, limits::SHARDS_MAX as u64),
        "0",
        "Threads that serve films; 0 means one for each processor core, up to 4.",
    )
    .unit("threads"),
    row(
        "server.drain_timeout",
        duration(0, 24 * HOUR),
        r#""30s""#,
        "When a daemon without a service manager is told to stop, responses being sent may go on for so long. The service of \
         the package waits 7 seconds for short ones, and hands films to systemd instead: a restart goes on with them, a stop \
         ends them.",
    ),
    row(
        "library.roots",
        Kind::Roots,
        "[]",
        "The folders of films. Each has a name, the first part of the URLs below it; without one it is called like its \
         folder. The variable is a list of folders separated by ':'.",
    )
    .example(r#"[{ name = "films", path = "/srv/films" }]"#)
    .variable("VIDEOS_PATH", Form::Value),
    row(
        "video.supported_formats",
        Kind::ListOf(FORMATS),
        r#"["mp4", "mkv", "avi", "mov", "webm", "m4v", "ts", "m2ts", "mpg", "ogv", "flv"]"#,
        "Files with these extensions are films; the others are not served.",
    ),
    row(
        "video.chunk_size",
        integer(4096, 1 << 30),
        "2097152",
        "How far a film is read ahead. It never shortens an answer. Accepted now; takes effect when read-ahead is \
         tuned to the disk, until then the built-in window is used.",
    )
    .unit("bytes")
    .variable("CHUNK_SIZE", Form::Value),
    row(
        "video.max_concurrent_streams",
        integer(1, 65536),
        "8",
        "Films that may play at once, each one viewer's with as many connections as the player likes. What has not \
         sent for a moment gives way to a new one; a guest with a link never takes the last two places.",
    )
    .unit("playbacks")
    .variable("MAX_CONCURRENT_STREAMS", Form::Value),
    row(
        "video.max_streams_per_user",
        integer(1, 65536),
        "3",
        "Films that one user may play at once. Moving on to another film is not a second one.",
    )
    .unit("playbacks")
    .variable("MAX_STREAMS_PER_USER", Form::Value),
    row("sessions.capacity", integer(1, 65536), "64", "Sessions kept in memory. The others rest in the database.")
        .unit("sessions"),
    row(
        "sessions.max_per_user",
        integer(1, 65536),
        "3",
        "Sessions of one user. A further login signs out the one that was idle for longest and is not playing.",
    )
    .unit("sessions"),
    row(
        "sessions.timeout",
        duration(SECOND, YEAR),
        r#""30m""#,
        "A session that was idle for so long leaves the memory; its token wakes it.",
    )
    .variable("SESSION_TIMEOUT", Form::Value),
    row(
        "sessions.max_inactivity",
        duration(SECOND, YEAR),
        r#""15m""#,
        "A film that was paused for so long frees its place, and takes one again when it plays on.",
    ),
    row(
        "sessions.require_reauth",
        duration(SECOND, limits::TOKEN_LIFE.as_millis() as u64),
        r#""24h""#,
        "How long a token lives: after that one must log in again. A film that plays goes on.",
    ),
    row(
        "auth.jwt_key_file",
        Kind::Path,
        "",
        "The key that signs tokens: at least 32 bytes, without a newline at the end. By default the credential \
         reelway.jwt-key, else a key that the daemon makes in its state directory.",
    )
    .example(r#""/etc/reelway/jwt.key""#),
    row(
        "auth.login_failures_max",
        integer(2, 1_000_000),
        "10",
        "Of so many wrong passwords in a row, for one name or from one address, the last is refused unseen; one more may be \
         tried every 30 s. A right password is not counted.",
    )
    .unit("attempts"),
    row(
        "cache.ttl.video_metadata",
        TTL,
        "3600",
        "What is known about a video. Accepted now; takes effect when metadata is cached.",
    ),
    row(
        "cache.ttl.user_session",
        TTL,
        "1800",
        "What is known about a session. Accepted now; takes effect when session data is cached.",
    ),
    row(
        "cache.ttl.popular_videos",
        TTL,
        "300",
        "The list of popular videos. Accepted now; takes effect when that list exists.",
    ),
    row("net.connections_max", integer(1, 1_000_000), "4096", "Connections of the daemon.").unit("connections"),
    row(
        "net.connections_per_address",
        integer(1, 1_000_000),
        "2048",
        "Connections of one client address. Players open many: do not go below 100.",
    )
    .unit("connections"),
    row(
        "net.connections_per_playback",
        integer(1, 1_000_000),
        "1024",
        "Connections of one viewer for one film that send at once.",
    )
    .unit("connections"),
    row(
        "net.congestion_control",
        Kind::Word,
        r#""cubic""#,
        "How TCP shares the line, by a name of tcp(7). \"system\" leaves it as the system has it; a name that the \
         system does not allow is passed over.",
    ),
    row(
        "net.notsent_lowat",
        integer(4096, 1 << 30),
        "1048576",
        "What a connection queues in the kernel before it is sent; 256 KiB at the most where a shard sends more than \
         256 films. Less spares memory where many watch over slow lines; below 1 MiB fast lines lose some of their speed.",
    )
    .unit("bytes"),
    row(
        "net.pacing_per_user",
        integer(0, BITS_MAX),
        "0",
        "What one user may take of the line, all their films together, or whoever has one link; 0 is no limit. What a \
         user asks for themselves as maxBandwidth always holds, for each film.",
    )
    .unit("bits a second"),
    row(
        "net.pacing_total",
        integer(0, BITS_MAX),
        "0",
        "What all may take together; 0 is no limit. It is shared among those who watch, and what one does not use goes \
         to the others.",
    )
    .unit("bits a second"),
    row(
        "net.pacing_lan",
        Kind::Truth,
        "false",
        "Whether these two also hold for clients in the house: on this machine, or with a private, link-local or unique \
         local address. Behind a proxy that says nothing of those it asks for (no Forwarded, X-Forwarded-For or Via) \
         everybody is in the house: say true there.",
    ),
    row(
        "net.stall_timeout",
        duration(1, YEAR),
        r#""300s""#,
        "A client that acknowledges nothing at all for so long is gone.",
    ),
    row("net.pause_timeout", duration(1, YEAR), r#""4h""#, "A paused player keeps its connection for so long."),
    row(
        "net.keep_alive_timeout",
        duration(1, YEAR),
        r#""75s""#,
        "A connection may be idle between two requests for so long.",
    ),
    row("net.head_timeout", duration(1, HOUR), r#""10s""#, "A request's head must arrive within this time."),
    row(
        "net.cors_origins",
        Kind::Origins,
        "[]",
        "Web sites whose pages may show films of this server in the browser, and Cast receivers; \"*\" is every site. \
         A page needs a token of its own: the sign-in of the browser is not shared.",
    )
    .example(r#"["https://tv.example.org"]"#),
    row(
        "net.shared_cache",
        Kind::Truth,
        "false",
        "Whether a cache that stands before this server may keep films that were asked for by a link. It counts no \
         plays, so links with a number of plays are refused then.",
    ),
    row(
        "net.trusted_proxies",
        Kind::Prefixes,
        "[]",
        "Proxies, by address or prefix, that are believed whom they ask for; one that comes by a Unix socket is 127.0.0.1. \
         Wrong passwords, viewers of a link and who is in the house then go by the client's address: the last of \
         X-Forwarded-For, or of Forwarded, that is none of these. A proxy must add to one of these fields and drop the other: \
         where both are there, neither is believed. Its connections stay its own: \
         net.connections_per_address has to be enough for all its clients.",
    )
    .example(r#"["127.0.0.1", "192.168.1.2"]"#),
    row(
        "power.keep_awake",
        Kind::Truth,
        "true",
        "Whether the machine stays awake, its lid closed or not, for as long as a film is being sent; one that was paused for \
         sessions.max_inactivity no longer counts. It takes the unit reelway-awake.socket.",
    ),
    row(
        "power.awake_socket",
        Kind::Path,
        r#""/run/reelway-awake.sock""#,
        "The socket of that unit: as long as a connection to it is open the machine stays awake.",
    ),
    row("log.format", Kind::OneOf(LOG_FORMATS), r#""text""#, "Lines for people, which become entries with fields where the journal takes them, or JSON for programs."),
    row("log.level", Kind::OneOf(LOG_LEVELS), r#""info""#, "The least important events that are written."),
    row("directories.state", Kind::Path, r#""/var/lib/reelway""#, "Accounts, the signing key, and the lock.")
        .variable("STATE_DIRECTORY", Form::FirstPath),
    row(
        "directories.cache",
        Kind::Path,
        r#""/var/cache/reelway""#,
        "What can be made again. Accepted now; takes effect when there is such a thing.",
    )
    .variable("CACHE_DIRECTORY", Form::FirstPath),
    row(
        "directories.runtime",
        Kind::Path,
        r#""/run/reelway""#,
        "For the socket through which the command line talks to the daemon.",
    )
    .variable("RUNTIME_DIRECTORY", Form::FirstPath),
    row("directories.credentials", Kind::Path, "", "Secrets that systemd hands over (LoadCredential=).")
        .example(r#""/run/credentials/reelway.service""#)
        .variable("CREDENTIALS_DIRECTORY", Form::FirstPath),
    row(
        "directories.database",
        Kind::Path,
        "",
        "The database file; by default reelway.db in the state directory. The variable says sqlite:PATH.",
    )
    .example(r#""/var/lib/reelway/reelway.db""#)
    .variable("DATABASE_URL", Form::SqliteUrl),
];

/// What a path of keys leads to.
pub(super) enum Entry {
    Option(&'static Row),
    Section,
    Nothing,
}

/// Looks a dotted key up.
pub(super) fn find(key: &str) -> Entry {
    if let Some(row) = OPTIONS.iter().find(|row| row.key == key) {
        return Entry::Option(row);
    }
    match sections().any(|section| section == key) {
        true => Entry::Section,
        false => Entry::Nothing,
    }
}

/// Every path that holds options or sections: `cache` and `cache.ttl` too.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().flat_map(|(section, _)| {
        let parents = section.match_indices('.').map(|(end, _)| section.get(..end).unwrap_or(section));
        parents.chain([*section])
    })
}
