//! The rules of the configuration: which layer wins, what is refused and with which words, and that the table, the
//! structs and the sample file say the same.

mod refused;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::option_table::{OPTIONS, SECTIONS};
use super::*;
use crate::limits;

/// A folder with files, in which nothing of this machine is seen.
struct Place {
    folder: TempDir,
    sources: Sources,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Place {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let sources = Sources {
            file: None,
            draft: None,
            default_file: folder.path().join("reelway.toml"),
            environment: BTreeMap::new(),
            flags: Vec::new(),
            working_directory: PathBuf::from("/home/ann"),
        };
        Place { folder, sources }
    }

    fn file(text: &str) -> Place {
        Place::new(&[("reelway.toml", text)])
    }

    fn environment(variables: &[(&str, &str)]) -> Place {
        let mut place = Place::new(&[]);
        place.sources.environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        place
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    /// All complaints, with the folder written as `…`.
    fn problems(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        match load(&self.sources) {
            Ok(loaded) => panic!("accepted: {:?}", loaded.config),
            Err(error) => error.problems().iter().map(|problem| problem.replace(&folder, "…")).collect(),
        }
    }

    fn origin(&self, key: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let shown = self.load().show_json();
        shown[key]["origin"].as_str().unwrap().replace(&folder, "…")
    }
}

fn root(name: &str, path: &str) -> Root {
    Root { name: name.to_owned(), path: PathBuf::from(path) }
}

// ---- the table, the structs, the sample ----

#[test]
fn without_any_source_the_defaults_of_the_contract_hold() {
    let config = Place::new(&[]).load().config;
    assert_eq!((config.server.host.as_str(), config.server.port), ("localhost", 3000));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.library.roots, []);
    assert_eq!(config.video.supported_formats.len(), 11);
    assert_eq!(config.video.chunk_size, 2_097_152);
    assert_eq!((config.video.max_concurrent_streams, config.video.max_streams_per_user), (8, 3));
    assert_eq!((config.sessions.capacity, config.sessions.max_per_user), (64, 3));
    assert_eq!(config.sessions.timeout, Duration::from_secs(30 * 60));
    assert_eq!(config.sessions.max_inactivity, Duration::from_secs(15 * 60));
    assert_eq!(config.sessions.require_reauth, Duration::from_secs(24 * 60 * 60));
    assert_eq!(config.auth.jwt_key_file, None);
    let ttl = config.cache.ttl;
    let seconds = [ttl.video_metadata, ttl.user_session, ttl.popular_videos].map(|ttl| ttl.as_secs());
    assert_eq!(seconds, [3600, 1800, 300]);
    let net = config.net;
    assert_eq!((net.connections_max, net.connections_per_address, net.connections_per_playback), (4096, 2048, 1024));
    assert_eq!((net.congestion_control.as_str(), net.notsent_lowat), ("cubic", limits::NOT_SENT_BYTES));
    assert_eq!((net.pacing_per_user, net.pacing_total, net.pacing_lan), (0, 0, false));
    let seconds = [net.stall_timeout, net.pause_timeout, net.keep_alive_timeout, net.head_timeout];
    assert_eq!(seconds.map(|timeout| timeout.as_secs()), [300, 4 * 60 * 60, 75, 10]);
    assert_eq!((config.log.format, config.log.level.as_str()), (log::Format::Text, "info"));
    assert_eq!(config.directories.state, Path::new("/var/lib/reelway"));
    assert_eq!(config.directories.cache, Path::new("/var/cache/reelway"));
    assert_eq!(config.directories.runtime, Path::new("/run/reelway"));
    assert_eq!(config.directories.database_file(), Path::new("/var/lib/reelway/reelway.db"));
    assert_eq!((config.directories.credentials, config.directories.database), (None, None));
}

#[test]
fn every_row_is_in_a_section_and_no_key_is_declared_twice() {
    for (index, row) in OPTIONS.iter().enumerate() {
        assert!(
            SECTIONS.iter().any(|(section, _)| *section == row.section()),
            "{} would not be in the sample",
            row.key
        );
        assert!(OPTIONS[..index].iter().all(|earlier| earlier.key != row.key), "{} is declared twice", row.key);
    }
}

#[test]
fn shipped_file_is_in_step_with_the_table() {
    let shipped = include_str!("../../conf/reelway.toml");
    assert_eq!(shipped, sample(), "run: reelway config sample > conf/reelway.toml");
}

#[test]
fn sample_changes_nothing_until_a_key_is_uncommented() {
    assert_eq!(Place::file(&sample()).load().config, Place::new(&[]).load().config);
}

#[test]
fn every_key_of_the_sample_can_be_uncommented() {
    let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let text: Vec<String> =
        sample().lines().map(|line| if is_key(line) { line[1..].to_owned() } else { line.to_owned() }).collect();
    let place = Place::file(&text.join("\n"));
    for row in OPTIONS {
        let (_, line) = place.origin(row.key).rsplit_once(':').map(|(_, line)| ((), line.parse::<usize>())).unwrap();
        let line = &text[line.unwrap() - 1];
        assert!(line.starts_with(&format!("{} = ", row.name())), "{}: {line}", row.key);
    }
}

#[test]
fn shown_configuration_can_be_read_back() {
    let place = Place::environment(&[
        ("VIDEOS_PATH", "/srv/films:/srv/\"odd\""),
        ("SESSION_TIMEOUT", "90500"),
        ("REELWAY_CACHE__TTL__USER_SESSION", "1500 ms"),
        ("REELWAY_SERVER__LISTEN", r#"["[::1]:80"]"#),
    ]);
    let loaded = place.load();
    for with_origin in [false, true] {
        assert_eq!(Place::file(&loaded.show(with_origin)).load().config, loaded.config);
    }
}

#[test]
fn json_has_every_key_and_durations_in_seconds() {
    let shown = Place::environment(&[("SESSION_TIMEOUT", "90500")]).load().show_json();
    assert_eq!(shown.as_object().unwrap().len(), OPTIONS.len());
    let expected = serde_json::json!({ "value": 90.5, "origin": "environment SESSION_TIMEOUT" });
    assert_eq!(shown["sessions.timeout"], expected);
    assert_eq!(shown["server.drain_timeout"], serde_json::json!({ "value": 30, "origin": "default" }));
    assert_eq!(shown["auth.jwt_key_file"], serde_json::json!({ "value": null, "origin": "default" }));
}

// ---- layers ----

#[test]
fn each_layer_wins_over_the_one_below_it() {
    let mut place = Place::new(&[]);
    let write = |place: &Place, name: &str, text: &str| {
        let path = place.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let state = |place: &Place| (place.load().config.server.port, place.origin("server.port"));
    assert_eq!(state(&place), (3000, "default".to_owned()));
    write(&place, "reelway.toml", "# a comment\n[server]\nport = 1\nhost = \"::1\"\n");
    assert_eq!(state(&place), (1, "from …/reelway.toml:3".to_owned()));
    write(&place, "conf.d/10-first.toml", "server.port = 2");
    assert_eq!(state(&place), (2, "from …/conf.d/10-first.toml:1".to_owned()));
    write(&place, "conf.d/20-second.toml", "\n\nserver.port = 3");
    assert_eq!(state(&place), (3, "from …/conf.d/20-second.toml:3".to_owned()));
    place.sources.environment.insert("PORT".into(), "4".into());
    assert_eq!(state(&place), (4, "environment PORT".to_owned()));
    place.sources.environment.insert("REELWAY_SERVER__PORT".into(), "5".into());
    assert_eq!(state(&place), (5, "environment REELWAY_SERVER__PORT".to_owned()));
    place.sources.flags = vec![("server.port".to_owned(), "6".to_owned()), ("server.port".to_owned(), "7".to_owned())];
    assert_eq!(state(&place), (7, "flag".to_owned()));
    assert_eq!(place.load().config.server.host, "::1", "a layer that says nothing takes nothing away");
    assert_eq!(place.origin("server.host"), "from …/reelway.toml:4");
}

#[test]
fn only_visible_toml_files_are_drop_ins() {
    let place = Place::new(&[
        ("conf.d/a.toml", "server.port = 1"),
        ("conf.d/.b.toml", "server.port = 2"),
        ("conf.d/c.toml~", "server.port = 3"),
        ("conf.d/d.conf", "server.port = 4"),
    ]);
    let loaded = place.load();
    assert_eq!(loaded.config.server.port, 1);
    assert_eq!(loaded.files, [place.folder.path().join("conf.d/a.toml")]);
}

#[test]
fn named_file_must_exist_and_default_file_need_not() {
    let mut place = Place::new(&[]);
    place.load();
    place.sources.file = Some(place.folder.path().join("other.toml"));
    let problems = place.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("…/other.toml: cannot be read: No such file"), "{problems:?}");
    fs::write(place.folder.path().join("other.toml"), "server.port = 8").unwrap();
    assert_eq!(place.load().config.server.port, 8);
}

#[test]
fn a_list_replaces_the_list_below_it() {
    let place = Place::new(&[
        ("reelway.toml", "library.roots = [\"/a\", \"/b\"]"),
        ("conf.d/x.toml", "library.roots = [\"/c\"]"),
    ]);
    assert_eq!(place.load().config.library.roots, [root("c", "/c")]);
}

// ---- environment ----

#[test]
fn document_names_of_the_environment_work() {
    let config = Place::environment(&[
        ("VIDEOS_PATH", "/srv/films"),
        ("MAX_CONCURRENT_STREAMS", "20"),
        ("MAX_STREAMS_PER_USER", "5"),
        ("SESSION_TIMEOUT", "1800000"),
        ("CHUNK_SIZE", "4194304"),
        ("PORT", "0"),
        ("DATABASE_URL", "sqlite:/srv/reelway.db"),
    ])
    .load()
    .config;
    assert_eq!(config.library.roots, [root("films", "/srv/films")]);
    assert_eq!((config.video.max_concurrent_streams, config.video.max_streams_per_user), (20, 5));
    assert_eq!(config.sessions.timeout, Duration::from_secs(30 * 60));
    assert_eq!((config.video.chunk_size, config.server.port), (4_194_304, 0));
    assert_eq!(config.directories.database.as_deref(), Some(Path::new("/srv/reelway.db")));
}

#[test]
fn folders_of_videos_path_are_made_absolute_and_named_uniquely() {
    for (text, expected) in [
        ("films", vec![root("films", "/home/ann/films")]),
        ("./films/", vec![root("films", "/home/ann/films")]),
        (".", vec![root("ann", "/home/ann")]),
        ("/", vec![root("videos", "/")]),
        (
            "/a/films::/b/films:/c/films",
            vec![root("films", "/a/films"), root("films-2", "/b/films"), root("films-3", "/c/films")],
        ),
        ("/É t é/films", vec![root("films", "/É t é/films")]),
        ("[\"/srv/a:b\"]", vec![root("a:b", "/srv/a:b")]),
    ] {
        assert_eq!(Place::environment(&[("VIDEOS_PATH", text)]).load().config.library.roots, expected, "{text}");
    }
}

#[test]
fn found_name_gives_way_to_a_chosen_one() {
    let place = Place::file("library.roots = [\"/a/films\", { name = \"films\", path = \"/b\" }]");
    assert_eq!(place.load().config.library.roots, [root("films-2", "/a/films"), root("films", "/b")]);
}

#[test]
fn any_key_can_be_set_by_its_long_name() {
    let config = Place::environment(&[
        ("REELWAY_CACHE__TTL__POPULAR_VIDEOS", "5m"),
        ("REELWAY_SERVER__LISTEN", r#"["127.0.0.1:80", "[::1]:80"]"#),
        ("REELWAY_LIBRARY__ROOTS", r#"[{"name": "a", "path": "/x"}, {"path": "films"}]"#),
        ("REELWAY_VIDEO__SUPPORTED_FORMATS", "['MP4', '.mkv']"),
        ("REELWAY_LOG__FORMAT", "json"),
        ("REELWAY_AUTH__JWT_KEY_FILE", "jwt.key"),
    ])
    .load()
    .config;
    assert_eq!(config.cache.ttl.popular_videos, Duration::from_secs(300));
    assert_eq!(config.server.addresses(), ["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()]);
    assert_eq!(config.library.roots, [root("a", "/x"), root("films", "/home/ann/films")]);
    assert_eq!(config.video.supported_formats, ["mp4", "mkv"]);
    assert_eq!(config.log.format, log::Format::Json);
    assert_eq!(config.auth.jwt_key_file.as_deref(), Some(Path::new("/home/ann/jwt.key")));
}

#[test]
fn unknown_long_name_is_refused_with_the_nearest() {
    for (name, nearest) in [
        ("REELWAY_SERVER__PROT", "REELWAY_SERVER__PORT"),
        ("REELWAY_PORT", "REELWAY_SERVER__PORT"),
        ("REELWAY_LOG_LEVEL", "REELWAY_LOG__LEVEL"),
        ("REELWAY_CACHE__TTL__USER_SESION", "REELWAY_CACHE__TTL__USER_SESSION"),
    ] {
        let expected = format!("environment {name}: no option has this name; the nearest known variable is {nearest}.");
        assert_eq!(Place::environment(&[(name, "1")]).problems(), [expected]);
    }
}

#[test]
fn foreign_database_is_refused_and_its_password_never_repeated() {
    for url in ["postgres://ann:hunter2@db/x", "sqlite:", "sqlite::memory:", "sqlite:/x?key=hunter2", "hunter2"] {
        let problems = Place::environment(&[("DATABASE_URL", url)]).problems();
        assert!(problems.len() == 1 && problems[0].starts_with("environment DATABASE_URL: "), "{problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
    for (url, path) in [("sqlite:x.db", "/home/ann/x.db"), ("sqlite:///x.db", "/x.db"), ("sqlite:/x.db", "/x.db")] {
        let config = Place::environment(&[("DATABASE_URL", url)]).load().config;
        assert_eq!(config.directories.database_file(), Path::new(path), "{url}");
    }
}

#[test]
fn of_several_directories_of_systemd_the_first_counts() {
    let config = Place::environment(&[
        ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
        ("CACHE_DIRECTORY", "/c"),
        ("RUNTIME_DIRECTORY", ""),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/reelway.service"),
    ])
    .load()
    .config;
    assert_eq!(config.directories.state, Path::new("/var/lib/a"));
    assert_eq!(config.directories.cache, Path::new("/c"));
    assert_eq!(config.directories.runtime, Path::new("/run/reelway"), "an empty variable is none");
    assert_eq!(config.directories.credentials.as_deref(), Some(Path::new("/run/credentials/reelway.service")));
}

#[test]
fn text_that_is_no_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let mut place = Place::new(&[]);
    place.sources.environment.insert("VIDEOS_PATH".into(), OsString::from_vec(b"/srv/\xff".to_vec()));
    place.sources.environment.insert("OTHER".into(), OsString::from_vec(b"\xff".to_vec()));
    assert_eq!(place.problems(), ["environment VIDEOS_PATH: its value is not UTF-8, but must be."]);
}

// ---- the document's own words ----

#[test]
fn the_documents_file_loads_with_warnings_for_what_is_gone() {
    let mut place = Place::file(
        "[server]\nport = 3000\nhost = \"localhost\"\n[database]\ntype = \"postgres\"\n[containers]\nmaxPerUser = 1\n\
         [video]\nsupportedFormats = [\"mp4\", \"mkv\"]\nmaxConcurrentStreams = 9\n[cache.ttl]\npopularVideos = 60\n",
    );
    for name in ["NODE_ENV", "REDIS_URL"] {
        place.sources.environment.insert(name.into(), "redis://:hunter2@cache".into());
    }
    let loaded = place.load();
    assert_eq!(loaded.config.video.max_concurrent_streams, 9);
    assert_eq!(loaded.config.cache.ttl.popular_videos, Duration::from_secs(60));
    let file = place.sources.default_file.display();
    let starts = [
        format!("{file}:4: 'database' has no effect"),
        format!("{file}:6: 'containers' has no effect"),
        "environment NODE_ENV: has no effect".to_owned(),
        "environment REDIS_URL: has no effect".to_owned(),
    ];
    assert_eq!(loaded.warnings.len(), starts.len(), "{:?}", loaded.warnings);
    for (warning, start) in loaded.warnings.iter().zip(starts) {
        assert!(warning.starts_with(&start) && !warning.contains("hunter2"), "{warning}");
    }
}

#[test]
fn durations_are_understood_as_people_write_them() {
    for (text, milliseconds) in [
        ("1800000", 1_800_000),
        ("\"1800000\"", 1_800_000),
        ("\"30m\"", 1_800_000),
        ("\"15 min\"", 900_000),
        ("\"24h\"", 86_400_000),
        ("\" 2 days \"", 172_800_000),
        ("\"250ms\"", 250),
        ("\"10 seconds\"", 10_000),
    ] {
        let config = Place::file(&format!("net.stall_timeout = {text}")).load().config;
        assert_eq!(config.net.stall_timeout, Duration::from_millis(milliseconds), "{text}");
    }
    assert_eq!(parse_duration("90 s"), Ok(Duration::from_secs(90)));
    assert_eq!(parse_duration("1w"), Err("'1w' is no duration; write 30m, 1h or 24h".to_owned()));
    for text in ["\"\"", "\"m\"", "\"1.5h\"", "\"-1s\"", "\"1h30m\"", "0", "[1]"] {
        assert_eq!(Place::file(&format!("net.stall_timeout = {text}")).problems().len(), 1, "{text}");
    }
}

#[test]
fn host_and_port_become_addresses_unless_listen_says_otherwise() {
    for (file, addresses) in [
        ("", &["127.0.0.1:3000", "[::1]:3000"][..]),
        ("server.host = \"*\"", &["0.0.0.0:3000", "[::]:3000"]),
        ("server.host = \"192.168.1.9\"\nserver.port = 80", &["192.168.1.9:80"]),
        ("server.host = \"::1\"", &["[::1]:3000"]),
        ("server.listen = [\"10.0.0.1:1\"]", &["10.0.0.1:1"]),
    ] {
        let expected: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(Place::file(file).load().config.server.addresses(), expected, "{file}");
    }
    assert_eq!(Place::file("server.shards = 7").load().config.server.shard_count(), 7);
    assert!((1..=4).contains(&Place::file("").load().config.server.shard_count()));
}

#[test]
fn origins_are_kept_as_browsers_write_them() {
    for (file, origins) in [
        ("", &[][..]),
        ("net.cors_origins = [\"*\"]", &["*"]),
        ("net.cors_origins = [\"HTTPS://TV.Example:443/\"]", &["https://tv.example"]),
        (
            "net.cors_origins = [\"http://192.168.1.9:80\", \"http://[::1]:8080\"]",
            &["http://192.168.1.9", "http://[::1]:8080"],
        ),
    ] {
        assert_eq!(Place::file(file).load().config.net.cors_origins, origins, "{file}");
    }
}

#[test]
fn proxies_are_believed_by_address_or_prefix_and_none_by_default() {
    for (file, proxies) in [
        ("", &[][..]),
        ("net.trusted_proxies = [\"127.0.0.1\", \"192.168.1.9/24\"]", &["127.0.0.1", "192.168.1.0/24"]),
        ("net.trusted_proxies = [\"FD00::1\", \"::ffff:10.0.0.0/104\"]", &["fd00::1", "10.0.0.0/8"]),
    ] {
        let found = Place::file(file).load().config.net.trusted_proxies;
        assert_eq!(found.iter().map(Prefix::to_string).collect::<Vec<_>>(), proxies, "{file}");
    }
    let place = Place::environment(&[("REELWAY_NET__TRUSTED_PROXIES", "[\"::1\"]")]);
    assert_eq!(place.load().config.net.trusted_proxies, ["::1".parse().unwrap()]);
}

#[test]
fn a_draft_is_read_as_if_it_stood_in_its_folder() {
    let root = |name: &str| format!("[library]\nroots = [{{ name = \"{name}\", path = \"/srv/{name}\" }}]\n");
    let mut place = Place::new(&[("reelway.toml", &root("main")), ("conf.d/library.toml", &root("old"))]);
    let draft = place.sources.drop_in_folder().join("library.toml");
    let names =
        |place: &Place| place.load().config.library.roots.iter().map(|root| root.name.clone()).collect::<String>();
    assert_eq!(names(&place), "old");
    place.sources.draft = Some((draft.clone(), root("new")));
    assert_eq!(names(&place), "new", "instead of the file there");
    place.sources.draft = Some((draft.with_file_name("aaa.toml"), root("new")));
    assert_eq!(names(&place), "old", "in the order of the names");
    place.sources.draft = Some((draft, "[library]\nroot = 1\n".to_owned()));
    assert!(
        place.problems()[0].contains("conf.d/library.toml:2: unknown key 'library.root'"),
        "{:?}",
        place.problems()
    );
}

#[test]
fn what_is_shown_goes_with_the_values() {
    let loaded = Place::file("[server]\nport = 4000\n").load();
    assert_eq!(loaded.config.shown.0, loaded.show_json());
    assert_eq!(loaded.config.shown.0["server.port"]["value"], 4000);
}
