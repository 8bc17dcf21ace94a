//! `contract.txt`: every rule of the contract is held by a row or a test that exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("../../vectors/contract.txt");
const ROWS: [(&str, &str); 7] = [
    ("request", include_str!("../../vectors/request.txt")),
    ("target", include_str!("../../vectors/target.txt")),
    ("range", include_str!("../../vectors/range.txt")),
    ("conditional", include_str!("../../vectors/conditional.txt")),
    ("chunk", include_str!("../../vectors/chunk.txt")),
    ("multipart", include_str!("../../vectors/multipart.txt")),
    ("exchange", include_str!("../../vectors/exchange.txt")),
];

fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
}

/// `TABLE:RULE` for every row of every table.
fn names_of_rows() -> BTreeSet<String> {
    let rules = ROWS.iter().flat_map(|(table, text)| {
        lines(text).filter_map(|line| line.split('|').next()).map(move |rule| format!("{table}:{}", rule.trim()))
    });
    rules.collect()
}

/// `test:NAME` for every function of the sources and of the tests.
fn names_of_tests() -> BTreeSet<String> {
    fn collect(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.split("#[test]").skip(1).filter_map(|after| after.split("fn ").nth(1));
                found.extend(names.filter_map(|name| Some(format!("test:{}", name.split_once('(')?.0))));
            }
        }
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    collect(&project.join("src"), &mut found);
    collect(&project.join("tests"), &mut found);
    found
}

/// Goal: each rule of contract.txt names at least one row or test, and every name is there.
#[test]
fn every_rule_of_the_contract_is_held_somewhere() {
    let known: BTreeSet<String> = names_of_rows().into_iter().chain(names_of_tests()).collect();
    let mut missing = Vec::new();
    for line in lines(TABLE) {
        let [_, rule, places] = line.split(" | ").collect::<Vec<_>>()[..] else { panic!("three columns: {line}") };
        let places: Vec<&str> = places.split_whitespace().collect();
        assert!(!places.is_empty(), "nothing holds: {rule}");
        missing.extend(places.into_iter().filter(|place| !place.starts_with("later:") && !known.contains(*place)));
    }
    assert!(missing.is_empty(), "no such row or test: {missing:?}");
    assert!(!known.contains("test:names_of_rows") && known.len() > 600, "{} names", known.len());
}

/// Goal: contract.txt has every word of the contract, in order, where the contract lies beside the project.
#[test]
fn no_word_of_the_contract_is_left_out() {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/spec/HTTP.md");
    let Some(text) = read_if_there(&contract) else {
        eprintln!("left out: {} is not there", contract.display());
        return;
    };
    // Only words count: a table's bars, list marks and titles are layout.
    let words = |text: &str| -> Vec<String> {
        let is_layout =
            |word: &&str| ["|", "/", "-", "#", "##"].contains(word) || word.chars().all(|c| c == '-' || c == '|');
        text.split_whitespace().filter(|word| !is_layout(word)).map(str::to_owned).collect()
    };
    let titles = [
        "# The HTTP contract",
        "## Messages",
        "## Ranges",
        "## Validators",
        "## Media headers",
        "## Paths",
        "## Errors",
    ];
    let body = text.lines().filter(|line| !titles.contains(line) && *line != "| request | answer |");
    let contract = words(&body.collect::<Vec<_>>().join("\n"));
    let rules = lines(TABLE).filter_map(|line| line.split(" | ").nth(1)).collect::<Vec<_>>().join("\n");
    let rules = words(&rules);
    let apart = contract.iter().zip(&rules).position(|(theirs, ours)| theirs != ours);
    let shown = |words: &[String], at: usize| words[at.saturating_sub(5)..(at + 12).min(words.len())].join(" ");
    assert_eq!(apart.map(|at| (shown(&contract, at), shown(&rules, at))), None, "the contract, and contract.txt");
    assert_eq!(contract.len(), rules.len());
}

fn read_if_there(path: &PathBuf) -> Option<String> {
    fs::read_to_string(path).ok()
}
