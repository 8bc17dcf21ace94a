//! Events, message ids, and the pages of the journal's catalog are held to each other: an administrator who types
//! `journalctl -x` finds a page for whatever the daemon has told, and no page about what it never tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{code, is_test_file, sources};

/// Fields that systemd.journal-fields(7) gives a meaning, and that tracing-journald or the journal writes itself.
const TAKEN: &[&str] = &[
    "CODE_FILE",
    "CODE_FUNC",
    "CODE_LINE",
    "COREDUMP_UNIT",
    "COREDUMP_USER_UNIT",
    "DOCUMENTATION",
    "ERRNO",
    "INVOCATION_ID",
    "MESSAGE_ID",
    "OBJECT_PID",
    "PRIORITY",
    "SYSLOG_FACILITY",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_PID",
    "SYSLOG_RAW",
    "SYSLOG_TIMESTAMP",
    "TARGET",
    "TID",
    "UNIT",
    "USER_INVOCATION_ID",
    "USER_UNIT",
];

/// An event of the code.
struct Event {
    place: String,
    /// The constant after `messages::`, or what a macro puts there.
    id: Option<String>,
    /// The fields, under the journal's names.
    fields: BTreeSet<String>,
}

/// The ids, by their names.
fn ids() -> BTreeMap<String, String> {
    let rows = read("src/log/messages.rs");
    let rows = rows.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = "));
    rows.map(|(name, id)| (name.to_owned(), id.trim_matches(['"', ';']).to_owned())).collect()
}

/// One page of the catalog.
struct Page {
    id: String,
    fields: Vec<(String, String)>,
    text: Vec<String>,
}

fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    let mut is_head = false;
    for line in read("systemd/reelway.catalog").lines().filter(|line| !line.starts_with('#')) {
        if let Some(id) = line.strip_prefix("-- ") {
            pages.push(Page { id: id.to_owned(), fields: Vec::new(), text: Vec::new() });
            is_head = true;
            continue;
        }
        let Some(page) = pages.last_mut() else { continue };
        if is_head && !line.is_empty() {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}: a head is NAME: VALUE"));
            page.fields.push((name.to_owned(), value.to_owned()));
        } else {
            is_head = false;
            page.text.push(line.to_owned());
        }
    }
    pages
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the journal calls a field.
fn journal_name(field: &str) -> String {
    let table = read("src/log/journal.rs");
    let table = table.split("const NAMES").nth(1).unwrap().split("];").next().unwrap();
    let renamed = table.split("(\"").skip(1).find_map(|row| {
        let (ours, rest) = row.split_once("\", \"")?;
        (ours == field).then(|| rest.split('"').next().unwrap().to_owned())
    });
    renamed.unwrap_or_else(|| field.to_owned()).to_uppercase()
}

/// The events of level info and above, in the code of one file.
fn events(file: &str, text: &str) -> Vec<Event> {
    let lines: Vec<(usize, &str)> = code(text).collect();
    let mut found = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        for (position, name) in ["info!(", "warn!(", "error!("].iter().flat_map(|name| line.match_indices(name)) {
            let before = line[..position].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest =
                std::iter::once(&line[position + name.len()..]).chain(lines[index + 1..].iter().map(|(_, line)| *line));
            found.push(event(format!("src/{file}:{number}"), &arguments(rest)));
        }
    }
    found
}

/// What stands between the brackets of a call, split at its commas. Brackets and commas in texts are no others.
fn arguments<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut depth, mut is_text, mut is_escaped) = (0, false, false);
    let mut arguments = vec![String::new()];
    for character in lines.flat_map(|line| line.chars().chain([' '])) {
        match character {
            '"' if !is_escaped => is_text = !is_text,
            '(' | '[' | '{' if !is_text => depth += 1,
            ')' | ']' | '}' if !is_text && depth == 0 => break,
            ')' | ']' | '}' if !is_text => depth -= 1,
            ',' if !is_text && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        is_escaped = is_text && character == '\\' && !is_escaped;
        arguments.last_mut().unwrap().push(character);
    }
    arguments.iter().map(|argument| argument.trim().to_owned()).filter(|argument| !argument.is_empty()).collect()
}

fn event(place: String, arguments: &[String]) -> Event {
    let (mut id, mut fields) = (None, BTreeSet::new());
    for argument in arguments {
        if let Some(name) = argument.strip_prefix("name: ") {
            id = Some(name.rsplit("::").next().unwrap().to_owned());
        } else if !argument.starts_with('$') && (!argument.contains('"') || argument.contains(" = ")) {
            let name = argument.split(" = ").next().unwrap().trim_start_matches(['%', '?']);
            fields.insert(journal_name(name));
        }
    }
    Event { place, id, fields }
}

/// Every event of the code that has an id of the table. A macro that is told the id counts for each it is told.
fn events_by_id() -> BTreeMap<String, Vec<Event>> {
    let ids = ids();
    let mut by_id: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| !is_test_file(file) && file != "log/messages.rs") {
        let events = events(&file, &text);
        let by_macro = events.iter().find(|event| event.id.as_deref().is_some_and(|id| id.starts_with('$')));
        for name in ids.keys() {
            let told = |(_, line): &(usize, &str)| {
                let told = line.split("messages::").skip(1).any(|rest| word(rest) == *name);
                told && !line.contains("name: messages::")
            };
            if let Some((number, _)) = code(&text).find(told) {
                let fields = by_macro.map_or_else(BTreeSet::new, |event| event.fields.clone());
                let place = format!("src/{file}:{number}");
                by_id.entry(name.clone()).or_default().push(Event { place, id: Some(name.clone()), fields });
            }
        }
        for event in events {
            if let Some(id) = event.id.clone().filter(|id| !id.starts_with('$')) {
                by_id.entry(id).or_default().push(event);
            }
        }
    }
    by_id
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The names between two `@` of a text, as catalog pages write a field.
fn substitutions(line: &str) -> Vec<String> {
    let pieces: Vec<&str> = line.split('@').collect();
    assert!(pieces.len() % 2 == 1, "{line}: an @ without its other");
    pieces.into_iter().skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_event_of_level_info_and_above_has_an_id() {
    let ids = ids();
    for (file, text) in sources().into_iter().filter(|(file, _)| !is_test_file(file)) {
        for Event { place, id, .. } in events(&file, &text) {
            let Some(id) = id else {
                panic!("{place}: begin with `name: messages::…`, a row of src/log/messages.rs")
            };
            assert!(id.starts_with('$') || ids.contains_key(&id), "{place}: {id} is no row of src/log/messages.rs");
        }
    }
}

#[test]
fn every_id_is_one_message_and_is_used() {
    let (ids, used) = (ids(), events_by_id());
    assert!(ids.len() > 30, "the rows of src/log/messages.rs are `pub const NAME: &str = \"…\";`");
    let mut seen = BTreeSet::new();
    for (name, id) in &ids {
        let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        assert!(is_id, "{name}: an id is 32 small hexadecimal digits, as `systemd-id128 new` prints them");
        assert!(seen.insert(id), "{name}: another message has this id");
        assert!(used.contains_key(name), "{name}: no event has this id; remove its row and its page");
    }
}

#[test]
fn no_field_takes_a_name_of_the_journal() {
    for (name, events) in events_by_id() {
        for Event { place, fields, .. } in events {
            let taken: Vec<_> = fields.iter().filter(|field| TAKEN.contains(&field.as_str())).collect();
            assert!(taken.is_empty(), "{place}: {name}: the journal has its own {taken:?}");
            let is_name = |field: &String| field.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
            assert!(fields.iter().all(is_name), "{place}: {name}: {fields:?} are no names of fields");
        }
    }
}

#[test]
fn every_id_has_a_page_and_every_page_an_id() {
    let (ids, pages) = (ids(), pages());
    let of_pages: Vec<&String> = pages.iter().map(|page| &page.id).collect();
    for (name, id) in &ids {
        let count = of_pages.iter().filter(|of_page| **of_page == id).count();
        assert_eq!(count, 1, "{name}: systemd/reelway.catalog has {count} pages `-- {id}`");
    }
    for id in of_pages {
        assert!(
            ids.values().any(|known| known == id),
            "systemd/reelway.catalog: {id} is no row of src/log/messages.rs"
        );
    }
}

#[test]
fn a_page_says_what_happened_and_what_to_do_in_eighty_columns() {
    for page in pages() {
        let head: Vec<&str> = page.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(head, ["Subject", "Defined-By", "Support", "Documentation"], "page {}", page.id);
        assert_eq!(page.fields[1].1, "reelway", "page {}", page.id);
        let text: Vec<&String> = page.text.iter().filter(|line| !line.is_empty()).collect();
        assert!(text.len() >= 2, "page {}: say what happened, why, and what to do", page.id);
        assert_eq!(page.text.first().map(String::as_str), Some(""), "page {}: an empty line after the head", page.id);
    }
    for line in read("systemd/reelway.catalog").lines() {
        assert!(line.chars().count() <= 80, "{line}: a page has lines of at most 80 columns");
        assert_eq!(line, line.trim_end(), "spaces at the end of a line");
    }
}

#[test]
fn a_page_names_fields_that_each_of_its_events_has() {
    let (ids, events) = (ids(), events_by_id());
    for page in pages() {
        let Some((name, _)) = ids.iter().find(|(_, id)| **id == page.id) else { continue };
        let lines = page.text.iter().chain(page.fields.iter().map(|(_, value)| value));
        for field in lines.flat_map(|line| substitutions(line)).filter(|field| !field.starts_with('_')) {
            for event in events.get(name).into_iter().flatten() {
                let has = event.fields.contains(&field) || ["MESSAGE", "MESSAGE_ID"].contains(&field.as_str());
                assert!(has, "the page of {name} names @{field}@; {} has {:?}", event.place, event.fields);
            }
        }
    }
}

#[test]
fn the_events_of_a_file_are_found() {
    let text = "tracing::info!(name: messages::A, %error, user_id, count = f(1, 2), \"a, (b\");\ntracing::warn!(\n    \"x {y}\"\n);";
    let found = events("a.rs", text);
    let ids: Vec<_> = found.iter().map(|event| event.id.as_deref()).collect();
    assert_eq!(ids, [Some("A"), None]);
    assert_eq!(found[0].fields.iter().map(String::as_str).collect::<Vec<_>>(), ["COUNT", "ERROR", "USER"]);
    assert_eq!(found[1].place, "src/a.rs:2");
    assert_eq!(substitutions("a @B@ c @D@"), ["B", "D"]);
}
