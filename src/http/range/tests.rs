//! The table `tests/vectors/range.txt`, and what must hold for any field whatever.

use proptest::prelude::*;

use super::{Extent, Selection, select};
use crate::http::models::range::{Model, select as select_by_model};
use crate::http::vectors;
use crate::limits::{RANGES_ASKED_MAX, RANGES_MAX};

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

/// One element of a set: mostly of the sizes of the file, at times far beyond, at times nonsense.
fn element() -> impl Strategy<Value = String> {
    let position = || prop_oneof![8 => (0_u64..70).prop_map(|at| at.to_string()), 1 => "[0-9]{18,24}"];
    prop_oneof![
        6 => (position(), position()).prop_map(|(first, last)| format!("{first}-{last}")),
        4 => (0_u64..64, 0_u64..9).prop_map(|(first, more)| format!("{first}-{}", first + more)),
        2 => position().prop_map(|first| format!("{first}-")),
        2 => position().prop_map(|length| format!("-{length}")),
        1 => "[-0-9 ,\ta]{0,4}",
    ]
}

proptest! {
    /// Every selection, against a plain reading of the same set that marks the bytes of a small file one by one.
    #[test]
    fn a_second_reading_selects_the_same_bytes(
        elements in prop::collection::vec(element(), 0..40),
        unit in prop_oneof![9 => Just("bytes="), 1 => Just("Bytes="), 1 => Just("items="), 1 => Just("bytes ")],
        size in 0_u64..64,
    ) {
        let field = format!("{unit}{}", elements.join(","));
        let runs = |extents: &[Extent]| {
            Model::Runs(extents.iter().map(|extent| (extent.offset, extent.end() - 1)).collect())
        };
        let ours = match select(Some(&field), size) {
            Selection::Whole => Model::Whole,
            Selection::Unsatisfiable => Model::Unsatisfiable,
            Selection::Part(extent) => runs(&[extent]),
            Selection::Parts(extents) => runs(&extents),
        };
        prop_assert_eq!(ours, select_by_model(&field, size, RANGES_ASKED_MAX, RANGES_MAX));
    }

    /// An extent that is printed as a client asks for it, or as we answer, is the same extent again.
    #[test]
    fn what_is_printed_is_read_again(offset in 0..u64::MAX - 1, length in 1_u64..u64::MAX, size in 1_u64..u64::MAX) {
        let offset = offset % size;
        let extent = Extent { offset, length: 1 + (length - 1) % (size - offset) };
        let content_range = extent.content_range(size).to_string();
        let asked = content_range.replacen(' ', "=", 1);
        let asked = asked.strip_suffix(&format!("/{size}")).expect("the size stands at the end");
        prop_assert_eq!(select(Some(asked), size), Selection::Part(extent));
        prop_assert_eq!(select(Some(&format!("bytes=-{}", size - offset)), size), Selection::Part(Extent { offset, length: size - offset }));
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
