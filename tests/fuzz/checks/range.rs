//! A range set of any text, against the model that marks bytes one by one, and within bounds for files of any size.

use super::Input;
use crate::http::range::{Extent, Selection, select};
use crate::limits::{RANGES_ASKED_MAX, RANGES_MAX};
use crate::models::range::{Model, select as select_by_model};

/// Input: two bytes that make the size of a small file, then the field.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let size = u64::from(input.short() % 2048);
    let Ok(field) = std::str::from_utf8(input.0) else { return };
    let selection = select(Some(field), size);
    let model = select_by_model(field, size, RANGES_ASKED_MAX, RANGES_MAX);
    let runs =
        |extents: &[Extent]| Model::Runs(extents.iter().map(|extent| (extent.offset, extent.end() - 1)).collect());
    let ours = match &selection {
        Selection::Whole => Model::Whole,
        Selection::Unsatisfiable => Model::Unsatisfiable,
        Selection::Part(extent) => runs(&[*extent]),
        Selection::Parts(extents) => runs(extents),
    };
    assert_eq!(ours, model, "{field:?} of {size}");
    for size in [0, 1, u64::from(u32::MAX) + 1, u64::MAX] {
        is_within(field, size);
    }
}

/// What holds whatever the size is.
fn is_within(field: &str, size: u64) {
    let extents = match select(Some(field), size) {
        Selection::Whole | Selection::Unsatisfiable => return,
        Selection::Part(extent) => vec![extent],
        Selection::Parts(extents) => {
            assert!((2..=RANGES_MAX).contains(&extents.len()));
            extents.to_vec()
        }
    };
    let mut sorted = extents;
    sorted.sort_by_key(|extent| extent.offset);
    assert!(
        sorted.iter().all(|extent| extent.length > 0 && extent.length <= size && extent.offset <= size - extent.length)
    );
    let apart = |pair: &[Extent]| pair[0].end() < pair[1].offset;
    assert!(sorted.windows(2).all(apart), "{field:?} of {size}: parts overlap or touch");
}
