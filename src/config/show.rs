//! The configuration on paper: what is in force and why (`config show`), and the sample file.
//!
//! The one idea: both are the option table, read from top to bottom. What is printed as TOML can be read back.

use figment::value::Value;
use serde_json::json;

use super::Loaded;
use super::kind::{Alone, Kind, duration_text};
use super::option_table::{OPTIONS, Row, SECTIONS};

/// The origin of a built-in value.
const DEFAULT_ORIGIN: &str = "default";
/// Columns of the sample file's comments.
const SAMPLE_COLUMNS: usize = 100;

impl Loaded {
    /// The values in force as TOML; `with_origin` adds where each comes from as a comment behind it.
    pub fn show(&self, with_origin: bool) -> String {
        let mut text = String::new();
        for (section, _) in SECTIONS {
            let separator = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{separator}[{section}]\n"));
            let lines: Vec<(String, String)> = rows(section).map(|row| self.line(row)).collect();
            let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max();
            for (line, origin) in lines {
                match with_origin {
                    true => text.push_str(&format!("{line:width$}  # {origin}\n", width = width.unwrap_or(0))),
                    false => text.push_str(&format!("{line}\n")),
                }
            }
        }
        text
    }

    /// An object with a member for each key, `{"value":…,"origin":"…"}`. Durations are seconds, as in all our JSON.
    pub fn show_json(&self) -> serde_json::Value {
        let member = |row: &Row| {
            let value = self.value(row).map_or(serde_json::Value::Null, |value| json_value(&row.kind, &value));
            (row.key.to_owned(), json!({ "value": value, "origin": self.origin(row) }))
        };
        serde_json::Value::Object(OPTIONS.iter().map(member).collect())
    }

    /// Whether somebody has set this key: it has not its built-in value, or that was written down.
    pub fn is_set(&self, key: &str) -> bool {
        OPTIONS.iter().find(|row| row.key == key).is_some_and(|row| self.origin(row) != DEFAULT_ORIGIN)
    }

    /// `port = 3000` and its origin; what is not set stands as a comment, so that the whole stays TOML.
    fn line(&self, row: &Row) -> (String, String) {
        let line = match self.value(row) {
            Some(value) => format!("{} = {}", row.name(), toml_value(&row.kind, &value)),
            None => format!("#{} is not set", row.name()),
        };
        (line, self.origin(row))
    }

    fn value(&self, row: &Row) -> Option<Value> {
        self.figment.find_value(row.key).ok()
    }

    fn origin(&self, row: &Row) -> String {
        let source = self.figment.find_metadata(row.key).and_then(|metadata| metadata.source.clone());
        source.map_or_else(|| DEFAULT_ORIGIN.to_owned(), |source| source.to_string())
    }
}

/// The file that is shipped as conf/reelway.toml: every key as a comment, with its default or an example.
pub fn sample() -> String {
    let mut text = String::from(SAMPLE_HEAD);
    for (section, description) in SECTIONS {
        text.push_str(&format!("\n# {description}\n[{section}]\n"));
        for row in rows(section) {
            text.push_str(&format!("\n{}#{} = {}\n", sample_comment(row), row.name(), sample_value(row)));
        }
    }
    text
}

const SAMPLE_HEAD: &str = "\
# The configuration of reelway, to be kept as /etc/reelway/reelway.toml.
#
# This file is made by `reelway config sample`. Every key stands here as a comment, with its built-in value or, where
# that is empty, an example. Remove the '#' before a key to change it; `reelway config check` says whether all is well,
# and `reelway config show --origin` what is in force and why.
#
# Later ones win: this file, conf.d/*.toml beside it by name, the environment, the command line; a list takes the place
# of the one before it. Every key can also be set as REELWAY_SECTION__KEY, for example REELWAY_SERVER__PORT; lists are
# then written as here.
";

pub(super) fn rows(section: &str) -> impl Iterator<Item = &'static Row> {
    OPTIONS.iter().filter(move |row| row.section() == section)
}

pub(super) fn sample_value(row: &Row) -> &'static str {
    row.example.unwrap_or(row.default)
}

/// What the option is for; then what is allowed, what it counts, and its variable.
fn sample_comment(row: &Row) -> String {
    format!("{}{}", comment(row.description), comment(&facts(row)))
}

/// What is allowed, what it counts, what it is when nobody says, and its variable, in sentences.
pub(super) fn facts(row: &Row) -> String {
    let mut facts = capitalised(&row.kind.allowed());
    if let Some(unit) = row.unit {
        facts.push_str(&format!(". Unit: {unit}"));
    }
    match (row.example, row.default) {
        (Some(_), "") => facts.push_str(". Not set by default"),
        (Some(_), default) => facts.push_str(&format!(". Default: {default}")),
        (None, _) => {}
    }
    if let Some(variable) = &row.variable {
        facts.push_str(&format!(". Environment: {}", variable.name));
    }
    facts.push('.');
    facts
}

fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A comment of as many lines as it takes.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= SAMPLE_COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n") + "\n"
}

/// A value as a file would have it.
fn toml_value(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Duration { alone, .. }, _) => {
            let milliseconds = milliseconds(value);
            match alone {
                Alone::Seconds if milliseconds.is_multiple_of(1000) => (milliseconds / 1000).to_string(),
                Alone::Seconds | Alone::Milliseconds => toml_text(&duration_text(milliseconds)),
            }
        }
        (_, Value::String(_, text)) => toml_text(text),
        (_, Value::Num(_, number)) => number.to_u128().unwrap_or_default().to_string(),
        (_, Value::Array(_, items)) => {
            let items: Vec<String> = items.iter().map(|item| toml_value(kind, item)).collect();
            format!("[{}]", items.join(", "))
        }
        (_, Value::Dict(_, members)) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name} = {}", toml_value(kind, value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        // No kind accepts anything else.
        (_, Value::Bool(_, truth)) => truth.to_string(),
        (_, Value::Char(..) | Value::Empty(..)) => String::new(),
    }
}

/// A text as a configuration file has it.
pub fn toml_text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn json_value(kind: &Kind, value: &Value) -> serde_json::Value {
    match (kind, value) {
        (Kind::Duration { .. }, _) => {
            let milliseconds = milliseconds(value);
            match milliseconds.is_multiple_of(1000) {
                true => json!(milliseconds / 1000),
                false => json!(milliseconds as f64 / 1000.0),
            }
        }
        (_, value) => json!(value),
    }
}

fn milliseconds(value: &Value) -> u64 {
    value.to_u128().and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}
