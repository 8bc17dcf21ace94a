//! The table `tests/vectors/range.txt`, and what must hold for any field whatever.

use super::{Extent, Selection, select};
use crate::http::vectors;
use crate::limits::RANGES_MAX;

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/range.txt"));

/// A selection in the words of the table.
fn words(selection: &Selection) -> String {
    let positions = |extent: &Extent| format!("{}-{}", extent.offset, extent.end() - 1);
    match selection {
        Selection::Whole => "200".to_owned(),
        Selection::Unsatisfiable => "416".to_owned(),
        Selection::Part(extent) => format!("206 {}", positions(extent)),
        Selection::Parts(extents) => {
            format!("206 {}", extents.iter().map(positions).collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn every_row_of_the_table_holds() {
    let rows = vectors::rows(TABLE, 5);
    assert!(rows.len() >= 40);
    for row in rows {
        let [rule, source, range, size, expected] = row[..] else { unreachable!() };
        let range = String::from_utf8(vectors::bytes(range)).expect("a range of the table is text");
        let selection = select(Some(&range), size.parse().expect("a size is a number"));
        assert_eq!(words(&selection), expected, "{rule} ({source}): {range} of {size}");
    }
}

#[test]
fn no_field_is_the_whole_file() {
    assert_eq!(select(None, 0), Selection::Whole);
    assert_eq!(select(None, 10), Selection::Whole);
}

#[test]
fn the_largest_file_does_not_overflow() {
    assert_eq!(select(Some("bytes=0-"), u64::MAX), Selection::Part(Extent::whole(u64::MAX)));
    let last = Extent { offset: u64::MAX - 1, length: 1 };
    assert_eq!(select(Some("bytes=-1"), u64::MAX), Selection::Part(last));
    assert_eq!(select(Some("bytes=18446744073709551614-"), u64::MAX), Selection::Part(last));
    assert_eq!(select(Some("bytes=18446744073709551615-"), u64::MAX), Selection::Unsatisfiable);
}

#[test]
fn content_range_names_first_last_and_size() {
    assert_eq!(Extent { offset: 5, length: 3 }.content_range(10).to_string(), "bytes 5-7/10");
}

/// Every selection, against a plain reading of the same set that marks the bytes of a small file one by one.
#[test]
fn selected_bytes_are_those_asked_for_and_no_others() {
    let mut state = 1_u64;
    let mut random = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for _ in 0..20_000 {
        let size = random(12);
        let mut wanted = vec![false; usize::try_from(size).expect("small")];
        let mut elements = Vec::new();
        for _ in 0..=random(4) {
            let (first, length) = (random(14), random(5));
            let marked = match random(3) {
                0 => {
                    elements.push(format!("{first}-{}", first + length));
                    first..first + length + 1
                }
                1 => {
                    elements.push(format!("{first}-"));
                    first..u64::MAX
                }
                _ => {
                    elements.push(format!("-{length}"));
                    size.saturating_sub(length)..size
                }
            };
            (0..size).filter(|at| marked.contains(at)).for_each(|at| wanted[at as usize] = true);
        }
        let field = format!("bytes={}", elements.join(","));
        let extents = match select(Some(&field), size) {
            Selection::Part(extent) => vec![extent],
            Selection::Parts(extents) => extents.to_vec(),
            Selection::Unsatisfiable => Vec::new(),
            Selection::Whole => panic!("{field} is valid"),
        };
        let mut sent = vec![false; wanted.len()];
        for extent in extents {
            assert!(extent.length > 0, "{field} of {size}: an extent is never empty");
            for at in extent.offset..extent.end() {
                assert!(!std::mem::replace(&mut sent[at as usize], true), "{field} of {size}: {at} is sent twice");
            }
        }
        assert_eq!(sent, wanted, "{field} of {size}");
    }
}

#[test]
fn a_field_of_nothing_but_commas_or_ranges_is_bounded_and_stays_inline() {
    assert_eq!(select(Some(&format!("bytes={}", ",".repeat(16_000))), 10), Selection::Whole);
    assert_eq!(select(Some(&format!("bytes={}", "0-0,".repeat(4_000))), 10), Selection::Whole);
    let most: Vec<String> = (0..RANGES_MAX).map(|at| format!("{0}-{0}", at * 2)).collect();
    match select(Some(&format!("bytes={}", most.join(","))), 1_000) {
        Selection::Parts(extents) => assert!(extents.len() == RANGES_MAX && !extents.spilled()),
        other => panic!("{other:?}"),
    }
}
