//! The kinds of values: what each allows, in words and in code, and its one form once accepted.
//!
//! The one idea: [`Kind::accept`] takes what somebody wrote and gives the value in the single form that the rest of
//! the daemon knows (a duration as milliseconds, a path absolute, a root with its name), or one sentence for each
//! thing that is wrong with it, holding the value and what is allowed.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use figment::value::{Dict, Value};

use super::given::{self, Content, Given, Member};
use super::key;
use super::prefix::Prefix;

/// A type with its bounds, both inclusive.
pub(super) enum Kind {
    /// `localhost`, `*` or an IP address.
    Host,
    Integer {
        min: u64,
        max: u64,
    },
    /// Bounds in milliseconds.
    Duration {
        alone: Alone,
        min: u64,
        max: u64,
    },
    /// An absolute path.
    Path,
    /// A short name.
    Word,
    OneOf(&'static [&'static str]),
    ListOf(&'static [&'static str]),
    /// A list of addresses with ports.
    Addresses,
    /// A list of origins of web pages, or `*`.
    Origins,
    /// A list of addresses and prefixes.
    Prefixes,
    /// A list of `{ name, path }`.
    Roots,
    /// Yes or no.
    Truth,
}

/// What a number without a unit means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    Milliseconds,
    Seconds,
}

/// Why a value was not accepted: "is …, but must be …" or "has …, but …", to stand after its key.
#[derive(Debug, PartialEq)]
pub(super) struct Misfit {
    /// Where, when that is more exact than the key itself.
    pub line: Option<usize>,
    pub sentence: String,
}

type Accepted = Result<Value, Vec<Misfit>>;

impl Kind {
    /// What is allowed, to stand after "must be".
    pub fn allowed(&self) -> String {
        match self {
            Kind::Host => "\"localhost\" (127.0.0.1 and ::1), an IP address, or \"*\" (every address)".to_owned(),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Duration { alone, min, max } => {
                let alone = match alone {
                    Alone::Milliseconds => "milliseconds",
                    Alone::Seconds => "seconds",
                };
                let (min, max) = (duration_text(*min), duration_text(*max));
                format!("a duration from {min} to {max}, with ms, s, m, h or d; a number alone is {alone}")
            }
            Kind::Path => "an absolute path".to_owned(),
            Kind::Word => "a name of 1 to 15 letters, digits, '-' and '_'".to_owned(),
            Kind::OneOf(words) => one_of(words),
            Kind::ListOf(words) => format!("a list of at least one of {}", words.join(", ")),
            Kind::Addresses => "a list of IP addresses with ports, such as \"192.168.1.9:3000\"".to_owned(),
            Kind::Origins => "a list of origins, such as \"https://tv.example.org\", or [\"*\"]".to_owned(),
            Kind::Prefixes => "a list of IP addresses and prefixes, such as \"127.0.0.1\" or \"fd00::/8\"".to_owned(),
            Kind::Truth => "true or false".to_owned(),
            Kind::Roots => "a list of { name, path }, such as [{ name = \"films\", path = \"/srv/films\" }]".to_owned(),
        }
    }

    /// Reads the text of a variable or a flag: a number, a list in TOML or JSON, folders with ':' between them, else
    /// the text itself. What does not fit stays a text, for [`Kind::accept`] to complain about.
    pub fn read(&self, text: &str) -> Given {
        let is_array = text.trim_start().starts_with('[');
        let read = match self {
            Kind::Integer { .. } => text.trim().parse().ok().map(Given::integer),
            Kind::Truth => text.trim().parse().ok().map(Given::truth),
            Kind::ListOf(_) | Kind::Addresses | Kind::Origins | Kind::Prefixes | Kind::Roots if is_array => {
                given::from_toml(text.trim()).or_else(|| given::from_json(text))
            }
            // As in PATH; an empty part is nothing.
            Kind::Roots => Some(Given::list(text.split(':').filter(|folder| !folder.is_empty()).map(Given::text))),
            Kind::Host
            | Kind::Duration { .. }
            | Kind::Path
            | Kind::Word
            | Kind::OneOf(_)
            | Kind::ListOf(_)
            | Kind::Addresses
            | Kind::Origins
            | Kind::Prefixes => None,
        };
        read.unwrap_or_else(|| Given::text(text))
    }

    /// Checks a value. Relative paths begin at `base`; without it they are refused, because nobody knows where a
    /// daemon that reads a file was started.
    pub fn accept(&self, given: &Given, base: Option<&Path>) -> Accepted {
        match (self, &given.content) {
            (Kind::Host, Content::Text(text)) if is_host(text) => Ok(Value::from(text.clone())),
            (Kind::Integer { min, max }, Content::Integer(integer)) => match u64::try_from(*integer) {
                Ok(integer) if (*min..=*max).contains(&integer) => Ok(Value::from(integer)),
                _ => self.refuse(given),
            },
            (Kind::Duration { alone, min, max }, _) => match milliseconds(given, *alone) {
                Some(milliseconds) if (*min..=*max).contains(&milliseconds) => Ok(Value::from(milliseconds)),
                _ => self.refuse(given),
            },
            (Kind::Path, Content::Text(text)) => match absolute(text, base) {
                Some(path) => Ok(Value::from(path)),
                None => self.refuse(given),
            },
            (Kind::Word, Content::Text(text)) if is_word(text) => Ok(Value::from(text.clone())),
            (Kind::OneOf(words), Content::Text(text)) if words.contains(&text.as_str()) => {
                Ok(Value::from(text.clone()))
            }
            (Kind::ListOf(words), Content::List(items)) if !items.is_empty() => {
                each(items, |item| format_name(item, words))
            }
            (Kind::Addresses, Content::List(items)) => each(items, address),
            (Kind::Origins, Content::List(items)) => each(items, origin),
            (Kind::Prefixes, Content::List(items)) => each(items, prefix),
            (Kind::Truth, Content::Truth(truth)) => Ok(Value::from(*truth)),
            (Kind::Roots, Content::List(items)) => roots(items, base),
            _ => self.refuse(given),
        }
    }

    fn refuse<T>(&self, given: &Given) -> Result<T, Vec<Misfit>> {
        let sentence = format!("is {}, but must be {}.", given.shown(), self.allowed());
        Err(vec![Misfit { line: given.line, sentence }])
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn is_host(text: &str) -> bool {
    text == "localhost" || text == "*" || text.parse::<IpAddr>().is_ok()
}

/// Names of congestion controls are so short in the kernel: TCP_CA_NAME_MAX is 16 with the final zero.
fn is_word(text: &str) -> bool {
    (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// All items, or all that is wrong with them. No item may stand there twice.
fn each(items: &[Given], accept: impl Fn(&Given) -> Result<String, String>) -> Accepted {
    let mut accepted: Vec<String> = Vec::new();
    let mut misfits = Vec::new();
    for item in items {
        match accept(item) {
            Ok(value) if accepted.contains(&value) => {
                misfits.push(Misfit { line: item.line, sentence: format!("has {} twice.", item.shown()) });
            }
            Ok(value) => accepted.push(value),
            Err(sentence) => misfits.push(Misfit { line: item.line, sentence }),
        }
    }
    if misfits.is_empty() { Ok(Value::from(accepted)) } else { Err(misfits) }
}

/// `MKV` and `.mkv` are what people write.
fn format_name(item: &Given, words: &[&str]) -> Result<String, String> {
    if let Content::Text(text) = &item.content {
        let name = text.trim_start_matches('.').to_ascii_lowercase();
        if words.contains(&name.as_str()) {
            return Ok(name);
        }
    }
    Err(format!("has {}, but may have only {}.", item.shown(), words.join(", ")))
}

fn address(item: &Given) -> Result<String, String> {
    match &item.content {
        Content::Text(text) if text.starts_with("unix:") => Err(format!(
            "has {}, but listening on a Unix socket is not available yet: give an IP address with a port.",
            item.shown()
        )),
        Content::Text(text) => match text.parse::<SocketAddr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(address_wanted(item)),
        },
        Content::Integer(_) | Content::Truth(_) | Content::Other(_) | Content::List(_) | Content::Table(_) => {
            Err(address_wanted(item))
        }
    }
}

/// A scheme and an authority as browsers write them in `Origin`: small letters, no default port, nothing after it.
/// Fetch §3.1, RFC 6454 §6.2
fn origin(item: &Given) -> Result<String, String> {
    let without_end = |text: &str, end: &str| text.strip_suffix(end).unwrap_or(text).to_owned();
    if let Content::Text(text) = &item.content {
        let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let parts = origin.split_once("://");
        let is_host = |host: &str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
        };
        match parts {
            None if origin == "*" => return Ok(origin),
            Some(("http", host)) if is_host(host) => return Ok(without_end(&origin, ":80")),
            Some(("https", host)) if is_host(host) => return Ok(without_end(&origin, ":443")),
            _ => {}
        }
    }
    Err(format!(
        "has {}, but wants origins, such as \"https://tv.example.org\" or \"http://192.168.1.9:8080\".",
        item.shown()
    ))
}

fn prefix(item: &Given) -> Result<String, String> {
    let read = match &item.content {
        Content::Text(text) => text.parse().ok(),
        Content::Integer(_) | Content::Truth(_) | Content::Other(_) | Content::List(_) | Content::Table(_) => None,
    };
    let wanted =
        || format!("has {}, but wants IP addresses or prefixes, such as \"127.0.0.1\" or \"fd00::/8\".", item.shown());
    read.map(|prefix: Prefix| prefix.to_string()).ok_or_else(wanted)
}

fn address_wanted(item: &Given) -> String {
    format!("has {}, but wants IP addresses with ports, such as \"192.168.1.9:3000\" or \"[::]:3000\".", item.shown())
}

// ---- durations ----

/// Units, the largest first, with the words people write for them.
const UNITS: [(u64, &str, &[&str]); 5] = [
    (24 * 60 * 60 * 1000, "d", &["day", "days"]),
    (60 * 60 * 1000, "h", &["hour", "hours"]),
    (60 * 1000, "m", &["min", "minute", "minutes"]),
    (1000, "s", &["sec", "second", "seconds"]),
    (1, "ms", &["millisecond", "milliseconds"]),
];

fn milliseconds(given: &Given, alone: Alone) -> Option<u64> {
    let (number, unit) = match &given.content {
        Content::Integer(integer) => (u64::try_from(*integer).ok()?, ""),
        Content::Text(text) => number_and_unit(text)?,
        Content::Truth(_) | Content::Other(_) | Content::List(_) | Content::Table(_) => return None,
    };
    in_milliseconds(number, unit, alone)
}

/// A duration written as text.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    in_milliseconds(number, unit, Alone::Milliseconds).map(Duration::from_millis)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

fn in_milliseconds(number: u64, unit: &str, alone: Alone) -> Option<u64> {
    let factor = match (unit, alone) {
        ("", Alone::Milliseconds) => 1,
        ("", Alone::Seconds) => 1000,
        (unit, _) => UNITS.iter().find(|(_, short, words)| *short == unit || words.contains(&unit))?.0,
    };
    number.checked_mul(factor)
}

/// A duration as a file would have it, in the largest unit that leaves no rest. Nobody says 1d for 24h.
pub(super) fn duration_text(milliseconds: u64) -> String {
    let fits = |factor: u64, short: &str| {
        milliseconds >= factor && milliseconds.is_multiple_of(factor) && !(short == "d" && milliseconds == factor)
    };
    match UNITS.iter().find(|(factor, short, _)| fits(*factor, short)) {
        Some((factor, short, _)) => format!("{}{short}", milliseconds / factor),
        None => "0s".to_owned(),
    }
}

// ---- paths and roots ----

/// The path without `.` and repeated slashes.
fn absolute(text: &str, base: Option<&Path>) -> Option<String> {
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    let path = match base {
        Some(base) => base.join(text),
        None => PathBuf::from(text),
    };
    let path: PathBuf = path.components().collect();
    path.is_absolute().then(|| path.to_str().map(str::to_owned)).flatten()
}

/// Names that were chosen are taken as they are; the others are found afterwards, so that none takes a chosen one.
fn roots(items: &[Given], base: Option<&Path>) -> Accepted {
    let mut misfits = Vec::new();
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for item in items {
        match root(item, base) {
            Ok((Some(name), _)) if !names.insert(name.clone()) => misfits.push(Misfit {
                line: item.line,
                sentence: format!("has two roots named {name:?}, but URLs need a name for each."),
            }),
            Ok(root) => found.push(root),
            Err(mut wrong) => misfits.append(&mut wrong),
        }
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let named = found.into_iter().map(|(name, path)| {
        let name = name.unwrap_or_else(|| unused_name(&path, &mut names));
        Dict::from([("name".to_owned(), Value::from(name)), ("path".to_owned(), Value::from(path))])
    });
    Ok(Value::from(named.collect::<Vec<_>>()))
}

/// One root: a path, or a table with a path and perhaps a name.
fn root(item: &Given, base: Option<&Path>) -> Result<(Option<String>, String), Vec<Misfit>> {
    match &item.content {
        Content::Text(_) => Ok((None, root_path(item, base)?)),
        Content::Table(members) => root_of_table(item, members, base),
        Content::Integer(_) | Content::Truth(_) | Content::Other(_) | Content::List(_) => Kind::Roots.refuse(item),
    }
}

fn root_of_table(
    item: &Given,
    members: &[Member],
    base: Option<&Path>,
) -> Result<(Option<String>, String), Vec<Misfit>> {
    let (mut name, mut path) = (None, None);
    let mut misfits = Vec::new();
    for member in members {
        let read = match member.name.as_str() {
            "name" => root_name(&member.value).map(|value| name = Some(value)),
            "path" => root_path(&member.value, base).map(|value| path = Some(value)),
            other => {
                let nearest = key::nearest(other, ["name", "path"].into_iter());
                let sentence = format!("has the unknown key '{other}'; the nearest known key is '{nearest}'.");
                Err(vec![Misfit { line: member.line, sentence }])
            }
        };
        misfits.extend(read.err().into_iter().flatten());
    }
    match path {
        Some(path) if misfits.is_empty() => Ok((name, path)),
        None if misfits.is_empty() => {
            Err(vec![Misfit { line: item.line, sentence: "has a root without a path, but must have one.".to_owned() }])
        }
        _ => Err(misfits),
    }
}

fn root_path(given: &Given, base: Option<&Path>) -> Result<String, Vec<Misfit>> {
    let path = match &given.content {
        Content::Text(text) => absolute(text, base),
        Content::Integer(_) | Content::Truth(_) | Content::Other(_) | Content::List(_) | Content::Table(_) => None,
    };
    path.ok_or_else(|| {
        let sentence = format!("has the path {}, but a path must be absolute.", given.shown());
        vec![Misfit { line: given.line, sentence }]
    })
}

fn root_name(given: &Given) -> Result<String, Vec<Misfit>> {
    match &given.content {
        Content::Text(text) if is_segment(text) => Ok(text.clone()),
        _ => {
            let sentence = format!(
                "has the name {}, but a name must be one part of a path: no slash, no backslash, at most 255 bytes.",
                given.shown()
            );
            Err(vec![Misfit { line: given.line, sentence }])
        }
    }
}

/// Whether a URL can say it (spec/HTTP.md, "Paths").
fn is_segment(text: &str) -> bool {
    let forbidden = |character: char| character == '/' || character == '\\' || character.is_control();
    !text.is_empty() && text.len() <= 255 && text != "." && text != ".." && !text.contains(forbidden)
}

/// The folder's name, with `-2`, `-3`… when another root has it.
fn unused_name(path: &str, names: &mut BTreeSet<String>) -> String {
    let last = Path::new(path).components().next_back();
    let folder = match last {
        Some(Component::Normal(name)) => name.to_str().filter(|name| is_segment(name)),
        Some(Component::RootDir | Component::CurDir | Component::ParentDir | Component::Prefix(_)) | None => None,
    };
    let folder = folder.unwrap_or("videos");
    let numbered = (2..).map(|number: usize| format!("{folder}-{number}"));
    let name = [folder.to_owned()].into_iter().chain(numbered).find(|name| !names.contains(name)).unwrap_or_default();
    names.insert(name.clone());
    name
}
