//! Keys as people write them: the document's spelling, the nearest known one, and those that have lost their meaning.

/// `maxConcurrentStreams` of the document is `max_concurrent_streams` here (spec/SEED.md, "Settled here").
pub(super) fn canonical(segment: &str) -> String {
    let mut name = String::with_capacity(segment.len() + 4);
    for (index, character) in segment.char_indices() {
        if character.is_ascii_uppercase() && index > 0 {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

/// The candidate that was most likely meant. A right name in the wrong section is one step away.
pub(super) fn nearest<'a>(unknown: &str, candidates: impl Iterator<Item = &'a str>) -> &'a str {
    let last = |key: &str| key.rsplit_once('.').map_or(key.to_owned(), |(_, name)| name.to_owned());
    candidates
        .min_by_key(|candidate| {
            let whole = strsim::damerau_levenshtein(unknown, candidate);
            let name = strsim::damerau_levenshtein(&last(unknown), &last(candidate));
            whole.min(name + 1)
        })
        .unwrap_or_default()
}

/// Sections of the document that this daemon has no use for, and why: they warn instead of failing, so that its
/// configuration can be taken over (spec/SEED.md 138, 139, 141).
const OBSOLETE: [(&str, &str); 2] = [
    ("database", "everything is remembered in one SQLite file in the state directory"),
    ("containers", "there are no containers; systemd bounds the memory and the processor time of the service"),
];

/// Why a key of the document has no effect.
pub(super) fn obsolete(key: &str) -> Option<&'static str> {
    let section = key.split('.').next().unwrap_or(key);
    OBSOLETE.iter().find(|(name, _)| *name == section).map(|(_, reason)| *reason)
}
