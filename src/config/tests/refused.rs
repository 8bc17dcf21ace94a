//! What is refused, and the exact words: file, line, key, value, and what is allowed.

use super::Place;

/// (file, complaints without the name of the file).
const REFUSED: &[(&str, &[&str])] = &[
    ("[server]\nprot = 1", &["2: unknown key 'server.prot'; the nearest known key is 'server.port'."]),
    ("port = 1", &["1: unknown key 'port'; the nearest known key is 'server.port'."]),
    ("[net]\nport = 1", &["2: unknown key 'net.port'; the nearest known key is 'server.port'."]),
    // The right name in the wrong section is nearer than another name in that section.
    ("directories.level = \"info\"", &["1: unknown key 'directories.level'; the nearest known key is 'log.level'."]),
    ("\n[sesions]\ncapacity = 1", &["2: unknown key 'sesions'; the nearest known key is 'sessions'."]),
    ("[cache.tll]\nuser_session = 1", &["1: unknown key 'cache.tll'; the nearest known key is 'cache.ttl'."]),
    (
        "cache.ttl.user_sesion = 1",
        &["1: unknown key 'cache.ttl.user_sesion'; the nearest known key is 'cache.ttl.user_session'."],
    ),
    ("\nserver = 3", &["2: server is a section with keys of its own, not a value."]),
    ("[server]\nport = 70000", &["2: server.port is 70000, but must be a whole number from 0 to 65535."]),
    ("[server]\nport = -1", &["2: server.port is -1, but must be a whole number from 0 to 65535."]),
    ("[server]\nport = \"80\"", &["2: server.port is \"80\", but must be a whole number from 0 to 65535."]),
    ("server.port = 1.5", &["1: server.port is 1.5, but must be a whole number from 0 to 65535."]),
    (
        "server.port = 99999999999999999999",
        &["1: server.port is 99999999999999999999, but must be a whole number from 0 to 65535."],
    ),
    ("server.shards = 65", &["1: server.shards is 65, but must be a whole number from 0 to 64."]),
    (
        "server.host = \"media\"",
        &[
            "1: server.host is \"media\", but must be \"localhost\" (127.0.0.1 and ::1), an IP address, or \"*\" (every \
           address).",
        ],
    ),
    (
        "[server]\nlisten = [\n  \"127.0.0.1:80\",\n  \"unix:/run/x\",\n  \"[::1]\",\n  \"127.0.0.1:80\",\n]",
        &[
            "4: server.listen has \"unix:/run/x\", but listening on a Unix socket is not available yet: give an IP \
             address with a port.",
            "5: server.listen has \"[::1]\", but wants IP addresses with ports, such as \"192.168.1.9:3000\" or \
             \"[::]:3000\".",
            "6: server.listen has \"127.0.0.1:80\" twice.",
        ],
    ),
    (
        "[net]\ncors_origins = [\n  \"tv.example\",\n  \"https://\",\n  \"https://a/b\",\n  \"ftp://a\",\n  \"https://a:443\",\n  \"HTTPS://A/\",\n]",
        &[
            "3: net.cors_origins has \"tv.example\", but wants origins, such as \"https://tv.example.org\" or \
             \"http://192.168.1.9:8080\".",
            "4: net.cors_origins has \"https://\", but wants origins, such as \"https://tv.example.org\" or \
             \"http://192.168.1.9:8080\".",
            "5: net.cors_origins has \"https://a/b\", but wants origins, such as \"https://tv.example.org\" or \
             \"http://192.168.1.9:8080\".",
            "6: net.cors_origins has \"ftp://a\", but wants origins, such as \"https://tv.example.org\" or \
             \"http://192.168.1.9:8080\".",
            "8: net.cors_origins has \"HTTPS://A/\" twice.",
        ],
    ),
    (
        "[net]\ntrusted_proxies = [\n  \"proxy.example\",\n  \"10.0.0.0/33\",\n  \"::1\",\n  7,\n  \"::1/128\",\n]",
        &[
            "3: net.trusted_proxies has \"proxy.example\", but wants IP addresses or prefixes, such as \"127.0.0.1\" or \
             \"fd00::/8\".",
            "4: net.trusted_proxies has \"10.0.0.0/33\", but wants IP addresses or prefixes, such as \"127.0.0.1\" or \
             \"fd00::/8\".",
            "6: net.trusted_proxies has 7, but wants IP addresses or prefixes, such as \"127.0.0.1\" or \"fd00::/8\".",
            "7: net.trusted_proxies has \"::1/128\" twice.",
        ],
    ),
    (
        "[log]\nlevel = \"loud\"",
        &["2: log.level is \"loud\", but must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\"."],
    ),
    ("log.format = true", &["1: log.format is true, but must be \"text\" or \"json\"."]),
    (
        "net.head_timeout = \"2 weeks\"",
        &[
            "1: net.head_timeout is \"2 weeks\", but must be a duration from 1ms to 1h, with ms, s, m, h or d; a number \
           alone is milliseconds.",
        ],
    ),
    (
        "net.head_timeout = \"18446744073709551615 d\"",
        &[
            "1: net.head_timeout is \"18446744073709551615 d\", but must be a duration from 1ms to 1h, with ms, s, m, h \
           or d; a number alone is milliseconds.",
        ],
    ),
    (
        "sessions.require_reauth = \"25h\"",
        &["1: sessions.require_reauth is \"25h\", but must be a duration from 1s to 24h, with ms, s, m, h or d; a \
           number alone is milliseconds."],
    ),
    ("auth.jwt_key_file = \"jwt.key\"", &["1: auth.jwt_key_file is \"jwt.key\", but must be an absolute path."]),
    (
        "net.congestion_control = \"a name too long\"",
        &["1: net.congestion_control is \"a name too long\", but must be a name of 1 to 15 letters, digits, '-' and \
           '_'."],
    ),
    (
        "[video]\nsupported_formats = [\"mp4\", \"exe\"]",
        &[
            "2: video.supported_formats has \"exe\", but may have only mp4, mkv, avi, mov, webm, m4v, ts, m2ts, mpg, ogv, \
           flv.",
        ],
    ),
    (
        "video.supported_formats = []",
        &[
            "1: video.supported_formats is a list, but must be a list of at least one of mp4, mkv, avi, mov, webm, m4v, \
           ts, m2ts, mpg, ogv, flv.",
        ],
    ),
    (
        "[[library.roots]]\nname = \"a/b\"\npath = \"films\"\n\n[[library.roots]]\nname = \"x\"\n\n[[library.roots]]\n\
         path = \"/a\"\npaht = \"/b\"",
        &[
            "2: library.roots has the name \"a/b\", but a name must be one part of a path: no slash, no backslash, at \
             most 255 bytes.",
            "3: library.roots has the path \"films\", but a path must be absolute.",
            "5: library.roots has a root without a path, but must have one.",
            "10: library.roots has the unknown key 'paht'; the nearest known key is 'path'.",
        ],
    ),
    (
        "library.roots = [\n{ name = \"a\", path = \"/a\" },\n{ name = \"a\", path = \"/b\" },\n]",
        &["3: library.roots has two roots named \"a\", but URLs need a name for each."],
    ),
    (
        "[video]\nchunkSize = 4096\nchunk_size = 8192",
        &["3: video.chunk_size is set twice in this file, in two spellings."],
    ),
    // What is wrong at the bottom of the file comes last, whichever table it belongs to.
    (
        "[video]\nchunk_size = 1\n[server]\nport = 70000\n[video.x]\n[net]\nheadTimeot = 1",
        &[
            "2: video.chunk_size is 1, but must be a whole number from 4096 to 1073741824.",
            "4: server.port is 70000, but must be a whole number from 0 to 65535.",
            "5: unknown key 'video.x'; the nearest known key is 'video'.",
            "7: unknown key 'net.head_timeot'; the nearest known key is 'net.head_timeout'.",
        ],
    ),
];

#[test]
fn refusal_names_file_line_key_value_and_what_is_allowed() {
    for (file, complaints) in REFUSED {
        let expected: Vec<String> = complaints.iter().map(|complaint| format!("…/reelway.toml:{complaint}")).collect();
        assert_eq!(Place::file(file).problems(), expected, "{file}");
    }
}

#[test]
fn syntax_error_names_its_line() {
    for (file, line) in [("[server]\nport = \n", 2), ("[server]\nport = 1\nport = 2", 3), ("[server\n", 1)] {
        let problems = Place::file(file).problems();
        let start = format!("…/reelway.toml:{line}: this is not TOML: ");
        assert!(problems.len() == 1 && problems[0].starts_with(&start), "{file:?}: {problems:?}");
    }
}

#[test]
fn all_layers_are_heard_before_the_refusal() {
    let mut place = Place::new(&[("reelway.toml", "a = 1"), ("conf.d/x.toml", "server.host = 1")]);
    place.sources.environment.insert("PORT".into(), "http".into());
    place.sources.flags.push(("server.prot".to_owned(), "1".to_owned()));
    let problems = place.problems();
    let starts = [
        "…/reelway.toml:1: ",
        "…/conf.d/x.toml:1: server.host is 1",
        "environment PORT: server.port is \"http\"",
        "command line: unknown key 'server.prot'; the nearest known key is 'server.port'",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}");
    }
}
