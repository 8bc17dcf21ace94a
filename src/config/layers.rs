//! The layers, from the weakest to the strongest, and the settings each of them holds.
//!
//! The one idea: whoever speaks, what is heard is a [`Setting`]: a row of the table, an accepted value, and an origin.
//! Each setting is a figment provider of its own, so figment itself knows the line a value comes from.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider, Source};

use super::Sources;
use super::given::{self, Given, Member};
use super::key;
use super::option_table::{self, Entry, Form, OPTIONS, Row};

/// One value of one layer.
pub(super) struct Setting {
    row: &'static Row,
    value: Value,
    origin: Origin,
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::from(self.row.key, Source::Custom(self.origin.to_string()))
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut names = self.row.key.rsplit('.');
        let innermost = Dict::from([(names.next().unwrap_or_default().to_owned(), self.value.clone())]);
        let data = names.fold(innermost, |inside, name| Dict::from([(name.to_owned(), Value::from(inside))]));
        Ok(Map::from([(Profile::Default, data)]))
    }
}

/// Who said it.
#[derive(Clone)]
enum Origin {
    Default,
    File { path: PathBuf, line: Option<usize> },
    Environment(String),
    Flag,
}

impl Origin {
    /// As a complaint begins.
    fn place(&self, line: Option<usize>) -> String {
        match self {
            Origin::Default => "built-in".to_owned(),
            Origin::File { path, line: of_key } => file_place(path, line.or(*of_key)),
            Origin::Environment(name) => format!("environment {name}"),
            Origin::Flag => "command line".to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::File { path, line } => write!(formatter, "from {}", file_place(path, *line)),
            Origin::Environment(name) => write!(formatter, "environment {name}"),
            Origin::Flag => formatter.write_str("flag"),
        }
    }
}

fn file_place(path: &Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}

/// All that the layers said, weakest first.
#[derive(Default)]
pub(super) struct Gathered {
    pub settings: Vec<Setting>,
    pub files: Vec<PathBuf>,
    pub warnings: Vec<String>,
    pub problems: Vec<String>,
}

/// Reads all layers in order.
pub(super) fn gather(sources: &Sources) -> Gathered {
    let mut gathered = Gathered::default();
    gathered.defaults();
    gathered.main_file_and_drop_ins(sources);
    gathered.document_variables(sources);
    gathered.reelway_variables(sources);
    gathered.flags(sources);
    gathered
}

impl Gathered {
    fn defaults(&mut self) {
        for row in OPTIONS.iter().filter(|row| !row.default.is_empty()) {
            match given::from_toml(row.default) {
                Some(given) => self.set(row, &given, Origin::Default, None),
                None => self.problems.push(format!("The default of {} is not TOML: {}.", row.key, row.default)),
            }
        }
    }

    /// Checks a value and keeps it, or what is wrong with it.
    fn set(&mut self, row: &'static Row, given: &Given, origin: Origin, base: Option<&Path>) {
        match row.kind.accept(given, base) {
            Ok(value) => self.settings.push(Setting { row, value, origin }),
            Err(misfits) => self.problems.extend(
                misfits
                    .into_iter()
                    .map(|misfit| format!("{}: {} {}", origin.place(misfit.line), row.key, misfit.sentence)),
            ),
        }
    }

    // ---- files ----

    fn main_file_and_drop_ins(&mut self, sources: &Sources) {
        let main = sources.main_file();
        match fs::read_to_string(&main) {
            Ok(text) => self.file(&main, &text),
            Err(error) if error.kind() == ErrorKind::NotFound && sources.file.is_none() => {}
            Err(error) => self.unreadable(&main, &error),
        }
        let draft = sources.draft.as_ref();
        let mut drop_ins = self.drop_ins(&sources.drop_in_folder());
        drop_ins.extend(draft.map(|(path, _)| path.clone()).filter(|path| !drop_ins.contains(path)));
        drop_ins.sort();
        for path in drop_ins {
            let drafted = draft.filter(|(drafted, _)| *drafted == path).map(|(_, text)| text.clone());
            match drafted.map_or_else(|| fs::read_to_string(&path), Ok) {
                Ok(text) => self.file(&path, &text),
                Err(error) => self.unreadable(&path, &error),
            }
        }
    }

    /// `conf.d/*.toml`. What an editor leaves behind (`.x.toml`, `x.toml~`) is none.
    fn drop_ins(&mut self, folder: &Path) -> Vec<PathBuf> {
        let listed = fs::read_dir(folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<PathBuf>, _>>()
        });
        let mut paths = match listed {
            Ok(paths) => paths,
            Err(error) => {
                // Without the folder, or when the file stands where no folder can be, there are no drop-ins.
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                    self.unreadable(folder, &error);
                }
                return Vec::new();
            }
        };
        let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        paths.retain(|path| path.extension() == Some(OsStr::new("toml")) && !hidden(path));
        paths
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.problems.push(format!(
            "{}: cannot be read: {error}. Name a file that exists and that this user may read.",
            path.display()
        ));
    }

    fn file(&mut self, path: &Path, text: &str) {
        self.files.push(path.to_owned());
        match given::from_file(text) {
            Ok(members) => {
                let first = self.problems.len();
                Walk { gathered: self, path, seen: Vec::new() }.table("", &members);
                // Tables are walked in the order of their first keys; people read from the top.
                if let Some(problems) = self.problems.get_mut(first..) {
                    problems.sort_by_key(|problem| line_of(problem, path));
                }
            }
            Err(error) => {
                let place = file_place(path, error.line);
                self.problems.push(format!("{place}: this is not TOML: {}.", error.message));
            }
        }
    }

    // ---- environment and flags ----

    /// The names of the document and of systemd. An empty one is as good as none: a unit file can set, but not unset.
    fn document_variables(&mut self, sources: &Sources) {
        for row in OPTIONS {
            let Some(variable) = &row.variable else { continue };
            let Some(text) = self.variable(sources, variable.name).filter(|text| !text.is_empty()) else { continue };
            let given = match variable.form {
                Form::Value => row.kind.read(text),
                Form::FirstPath => Given::text(text.split(':').next().unwrap_or(text)),
                Form::SqliteUrl => match sqlite_path(text) {
                    Ok(path) => Given::text(path),
                    Err(sentence) => {
                        self.problems.push(format!("environment {}: {sentence}", variable.name));
                        continue;
                    }
                },
            };
            let origin = Origin::Environment(variable.name.to_owned());
            self.set(row, &given, origin, Some(&sources.working_directory));
        }
        for (name, reason) in UNUSED_VARIABLES {
            if sources.environment.contains_key(OsStr::new(name)) {
                self.warnings.push(format!("environment {name}: has no effect: {reason}."));
            }
        }
    }

    /// `REELWAY_SECTION__KEY`, for every key.
    fn reelway_variables(&mut self, sources: &Sources) {
        for name in sources.environment.keys() {
            let name = name.to_string_lossy();
            let Some(path) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let key = path.to_ascii_lowercase().replace("__", ".");
            let Entry::Option(row) = option_table::find(&key) else {
                let nearest = variable_name(key::nearest(&key, OPTIONS.iter().map(|row| row.key)));
                let sentence = format!("no option has this name; the nearest known variable is {nearest}.");
                self.problems.push(format!("environment {name}: {sentence}"));
                continue;
            };
            if let Some(text) = self.variable(sources, &name) {
                let given = row.kind.read(text);
                self.set(row, &given, Origin::Environment(name.into_owned()), Some(&sources.working_directory));
            }
        }
    }

    /// The text of a variable, if it is one: a path in another encoding would be another path as text.
    fn variable<'a>(&mut self, sources: &'a Sources, name: &str) -> Option<&'a str> {
        let value = sources.environment.get(OsStr::new(name))?;
        if value.to_str().is_none() {
            self.problems.push(format!("environment {name}: its value is not UTF-8, but must be."));
        }
        value.to_str()
    }

    fn flags(&mut self, sources: &Sources) {
        for (key, text) in &sources.flags {
            match option_table::find(key) {
                Entry::Option(row) => {
                    let given = row.kind.read(text);
                    self.set(row, &given, Origin::Flag, Some(&sources.working_directory));
                }
                Entry::Section | Entry::Nothing => {
                    let nearest = key::nearest(key, OPTIONS.iter().map(|row| row.key));
                    self.problems.push(format!("command line: {}", unknown(key, nearest)));
                }
            }
        }
    }
}

const VARIABLE_PREFIX: &str = "REELWAY_";

/// `REELWAY_SERVER__PORT` of `server.port`.
fn variable_name(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// Variables of the document that mean nothing here (spec/SEED.md 80).
const UNUSED_VARIABLES: [(&str, &str); 2] = [
    ("NODE_ENV", "there is one way to run, and the configuration says the rest"),
    ("REDIS_URL", "sessions and caches are in the daemon's own memory and in SQLite"),
];

/// The path of `sqlite:PATH`. A URL of another kind may hold a password, so it is never repeated.
fn sqlite_path(url: &str) -> Result<&str, &'static str> {
    let Some(path) = url.strip_prefix("sqlite:") else {
        return Err("only sqlite:PATH is supported, for example sqlite:/var/lib/reelway/reelway.db.");
    };
    // `sqlite:///srv/reelway.db` has an empty authority, as in file URLs (RFC 8089 §2).
    let path = path.strip_prefix("//").unwrap_or(path);
    match path {
        "" | ":memory:" => Err("sqlite: must be followed by the path of a file, for example \
                                sqlite:/var/lib/reelway/reelway.db."),
        path if path.contains('?') => Err("sqlite:PATH takes no parameters: leave out the '?' and what follows."),
        path => Ok(path),
    }
}

fn unknown(key: &str, nearest: &str) -> String {
    format!("unknown key '{key}'; the nearest known key is '{nearest}'.")
}

/// The line in a complaint that begins `FILE:LINE:`.
fn line_of(problem: &str, path: &Path) -> Option<usize> {
    let rest = problem.strip_prefix(&format!("{}:", path.display()))?;
    rest.split(':').next()?.parse().ok()
}

/// The way through the tables of one file.
struct Walk<'a> {
    gathered: &'a mut Gathered,
    path: &'a Path,
    /// Keys found so far: `chunkSize` and `chunk_size` are two keys to TOML and one to us.
    seen: Vec<&'static str>,
}

impl Walk<'_> {
    fn table(&mut self, section: &str, members: &[Member]) {
        for member in members {
            let name = key::canonical(&member.name);
            let key = if section.is_empty() { name } else { format!("{section}.{name}") };
            match (option_table::find(&key), &member.value.content) {
                (Entry::Option(row), _) => self.option(row, member),
                (Entry::Section, given::Content::Table(members)) => self.table(&key, members),
                (Entry::Section, _) => {
                    self.complain(member, &format!("{key} is a section with keys of its own, not a value."));
                }
                (Entry::Nothing, content) => self.unknown(&key, member, matches!(content, given::Content::Table(_))),
            }
        }
    }

    fn option(&mut self, row: &'static Row, member: &Member) {
        if self.seen.contains(&row.key) {
            self.complain(member, &format!("{} is set twice in this file, in two spellings.", row.key));
            return;
        }
        self.seen.push(row.key);
        let origin = Origin::File { path: self.path.to_owned(), line: member.line };
        self.gathered.set(row, &member.value, origin, None);
    }

    fn unknown(&mut self, key: &str, member: &Member, is_table: bool) {
        if let Some(reason) = key::obsolete(key) {
            let place = file_place(self.path, member.line);
            self.gathered.warnings.push(format!("{place}: '{key}' has no effect: {reason}."));
            return;
        }
        let nearest = match is_table {
            true => key::nearest(key, option_table::sections()),
            false => key::nearest(key, OPTIONS.iter().map(|row| row.key)),
        };
        self.complain(member, &unknown(key, nearest));
    }

    fn complain(&mut self, member: &Member, sentence: &str) {
        let place = file_place(self.path, member.line);
        self.gathered.problems.push(format!("{place}: {sentence}"));
    }
}
