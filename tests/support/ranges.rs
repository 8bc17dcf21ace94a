//! Sets of ranges by dice, and what each comes to (spec/HTTP.md, "Ranges"): a model that is written for being read, and
//! shares nothing with the daemon.

use super::dice::Dice;

/// A field that asks for more ranges than this is ignored.
const ASKED_MAX: usize = 256;
/// More parts than this, once joined, are answered with the whole film.
const PARTS_MAX: usize = 16;
/// No set of ranges: as good as no Range at all.
const IGNORED: [&str; 8] =
    ["bytes", "bytes=", "bytes=5-2", "bytes=a-b", "seconds=0-9", "bytes=0-1-2", "bytes=-", "bytes=0-9;20-29"];

/// A range as it is asked for: `first-last`, `first-` or `-length`.
#[derive(Debug, Clone, Copy)]
enum Spec {
    Between(u64, u64),
    From(u64),
    Suffix(u64),
}

/// What a set of ranges comes to.
pub enum Selected {
    /// The whole film: 200.
    Whole,
    /// Nothing that exists: 416.
    Nothing,
    /// So many parts, first and last position of each: 206.
    Parts(Vec<(u64, u64)>),
}

/// A value of Range for a film of `size` bytes, and what it comes to.
pub fn any(dice: &mut Dice, size: u64) -> (String, Selected) {
    if dice.one_in(12) {
        return ((*dice.pick(&IGNORED)).to_owned(), Selected::Whole);
    }
    let few = *dice.pick(&[1, 1, 1, 1, 1, 1, 2, 2, 3, 5, 16, 17, 40]);
    let count = if dice.one_in(100) { ASKED_MAX + dice.index(2) } else { few };
    let specs: Vec<Spec> = (0..count).map(|_| spec(dice, size)).collect();
    let separator = *dice.pick(&[",", ", ", " ,\t", ",,"]);
    let texts: Vec<String> = specs.iter().map(|spec| spec.text()).collect();
    let value = format!("{}={}", dice.pick(&["bytes", "bytes", "Bytes"]), texts.join(separator));
    if specs.len() > ASKED_MAX {
        return (value, Selected::Whole);
    }
    let parts = joined(specs.iter().filter_map(|spec| spec.within(size)).collect());
    let selected = match parts.len() {
        0 => Selected::Nothing,
        1..=PARTS_MAX => Selected::Parts(parts),
        _ => Selected::Whole,
    };
    (value, selected)
}

fn spec(dice: &mut Dice, size: u64) -> Spec {
    // A little beyond the end as well.
    let bound = size + size / 8 + 3;
    let first = dice.below(bound);
    match dice.below(8) {
        0 => Spec::From(first),
        1 => Spec::Suffix(dice.below(bound)),
        2 => Spec::Between(first, u64::MAX),
        3..=5 => Spec::Between(first, first + dice.below(100)),
        _ => Spec::Between(first, first + dice.below(bound)),
    }
}

impl Spec {
    fn text(self) -> String {
        match self {
            Spec::Between(first, last) => format!("{first}-{last}"),
            Spec::From(first) => format!("{first}-"),
            Spec::Suffix(length) => format!("-{length}"),
        }
    }

    fn within(self, size: u64) -> Option<(u64, u64)> {
        let (first, last) = match self {
            Spec::Between(first, last) => (first, last),
            Spec::From(first) => (first, u64::MAX),
            Spec::Suffix(0) => return None,
            Spec::Suffix(length) => (size.saturating_sub(length), u64::MAX),
        };
        (first < size).then(|| (first, last.min(size - 1)))
    }
}

/// Joins what overlaps or touches; the result stands where the earlier of the two stood (RFC 9110 §15.3.7.2).
fn joined(mut parts: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let touching = |parts: &[(u64, u64)]| {
        let pairs = (0..parts.len()).flat_map(|left| (left + 1..parts.len()).map(move |right| (left, right)));
        { pairs }.find(|(left, right)| parts[*left].0 <= parts[*right].1 + 1 && parts[*right].0 <= parts[*left].1 + 1)
    };
    // Each round leaves one part less.
    while let Some((left, right)) = touching(&parts) {
        let gone = parts.remove(right);
        parts[left] = (parts[left].0.min(gone.0), parts[left].1.max(gone.1));
    }
    parts
}
