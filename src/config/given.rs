//! What somebody wrote, before anybody asked whether it is allowed.
//!
//! The one idea: a file, a variable and a flag become the same small tree, which keeps the line of every piece, so
//! that one set of checks serves all layers and each complaint points at the right line. toml is parsed here only;
//! it is not figment's own reader because that one forgets the lines.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    /// 1-based; `None` when it does not come from a file.
    pub line: Option<usize>,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Text(String),
    Integer(i64),
    Truth(bool),
    /// A fraction, a date, an integer beyond 64 bits: no option takes one.
    Other(String),
    List(Vec<Given>),
    Table(Vec<Member>),
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub name: String,
    /// The line of the key, which is where an editor should jump to.
    pub line: Option<usize>,
    pub value: Given,
}

/// Characters of a value repeated in a message.
const SHOWN_CHARACTERS_MAX: usize = 80;

impl Given {
    /// A text that does not come from a file.
    pub fn text(text: &str) -> Given {
        Given { line: None, content: Content::Text(text.to_owned()) }
    }

    /// An integer that does not come from a file.
    pub fn integer(integer: i64) -> Given {
        Given { line: None, content: Content::Integer(integer) }
    }

    /// A truth value that does not come from a file.
    pub fn truth(truth: bool) -> Given {
        Given { line: None, content: Content::Truth(truth) }
    }

    /// A list that does not come from a file.
    pub fn list(items: impl Iterator<Item = Given>) -> Given {
        Given { line: None, content: Content::List(items.collect()) }
    }

    /// The value as a message repeats it.
    pub fn shown(&self) -> String {
        let whole = match &self.content {
            Content::Text(text) => format!("{text:?}"),
            Content::Integer(integer) => integer.to_string(),
            Content::Truth(truth) => truth.to_string(),
            Content::Other(text) => text.clone(),
            Content::List(_) => "a list".to_owned(),
            Content::Table(_) => "a table".to_owned(),
        };
        match whole.char_indices().nth(SHOWN_CHARACTERS_MAX) {
            Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or(&whole)),
            None => whole,
        }
    }

    fn without_lines(self) -> Given {
        let content = match self.content {
            Content::List(items) => Content::List(items.into_iter().map(Given::without_lines).collect()),
            Content::Table(members) => Content::Table(
                members
                    .into_iter()
                    .map(|member| Member { line: None, value: member.value.without_lines(), ..member })
                    .collect(),
            ),
            plain => plain,
        };
        Given { line: None, content }
    }
}

/// A file that is not TOML.
pub(super) struct SyntaxError {
    pub line: Option<usize>,
    pub message: String,
}

/// Parses a file.
pub(super) fn from_file(source: &str) -> Result<Vec<Member>, SyntaxError> {
    match DeTable::parse(source) {
        Ok(table) => Ok(members(source, table.get_ref())),
        Err(error) => Err(SyntaxError {
            line: error.span().map(|span| line(source, &span)),
            // The message may have several lines: what was found, then what was expected.
            message: error.message().trim_end().replace('\n', "; "),
        }),
    }
}

/// Reads one value in TOML, such as a default of the table.
pub(super) fn from_toml(text: &str) -> Option<Given> {
    let value = DeValue::parse(text).ok()?;
    Some(given(text, &value).without_lines())
}

/// Reads one value in JSON.
pub(super) fn from_json(text: &str) -> Option<Given> {
    serde_json::from_str(text).ok().map(|value| of_json(&value))
}

fn of_json(value: &serde_json::Value) -> Given {
    use serde_json::Value;
    let content = match value {
        Value::String(text) => Content::Text(text.clone()),
        Value::Number(number) => number.as_i64().map_or_else(|| Content::Other(number.to_string()), Content::Integer),
        Value::Bool(truth) => Content::Truth(*truth),
        Value::Null => Content::Other(value.to_string()),
        Value::Array(items) => Content::List(items.iter().map(of_json).collect()),
        Value::Object(members) => Content::Table(
            members
                .iter()
                .map(|(name, value)| Member { name: name.clone(), line: None, value: of_json(value) })
                .collect(),
        ),
    };
    Given { line: None, content }
}

fn given(source: &str, value: &Spanned<DeValue<'_>>) -> Given {
    let content = match value.get_ref() {
        DeValue::String(text) => Content::Text(text.clone().into_owned()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Content::Integer(integer),
            Err(_beyond_64_bits) => Content::Other(integer.to_string()),
        },
        DeValue::Float(float) => Content::Other(float.to_string()),
        DeValue::Boolean(boolean) => Content::Truth(*boolean),
        DeValue::Datetime(datetime) => Content::Other(datetime.to_string()),
        DeValue::Array(items) => Content::List(list(source, items)),
        DeValue::Table(table) => Content::Table(members(source, table)),
    };
    Given { line: Some(line(source, &value.span())), content }
}

fn list(source: &str, items: &DeArray<'_>) -> Vec<Given> {
    items.iter().map(|item| given(source, item)).collect()
}

/// The keys of a table in the order they were written.
fn members(source: &str, table: &DeTable<'_>) -> Vec<Member> {
    let mut members: Vec<(usize, Member)> = table
        .iter()
        .map(|(name, value)| {
            let span = name.span();
            let line = Some(line(source, &span));
            (span.start, Member { name: name.get_ref().clone().into_owned(), line, value: given(source, value) })
        })
        .collect();
    members.sort_by_key(|(start, _)| *start);
    members.into_iter().map(|(_, member)| member).collect()
}

/// The 1-based line on which a span begins.
fn line(source: &str, span: &Range<usize>) -> usize {
    source.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}
