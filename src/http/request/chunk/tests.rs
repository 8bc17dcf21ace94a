//! The table `tests/vectors/chunk.txt`, in whatever pieces, and data that is encoded and decoded again.

use proptest::prelude::*;

use super::ChunkDecoder;
use crate::http::models::chunk::{Model, decode as decode_by_model, encode};
use crate::http::reject::Reject;
use crate::http::vectors;
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, HEAD_BYTES_MAX};

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/chunk.txt"));

/// The data of `body`, how many bytes of it were taken, and whether it ended.
fn decode(body: &[u8], piece_length: usize) -> Result<(Vec<u8>, usize, bool), Reject> {
    let mut decoder = ChunkDecoder::new();
    let (mut data, mut consumed) = (Vec::new(), 0);
    for piece in body.chunks(piece_length) {
        let mut rest = piece;
        while !rest.is_empty() && !decoder.is_ended() {
            let taken = decoder.decode(rest)?;
            data.extend_from_slice(taken.data);
            consumed += taken.consumed;
            rest = &rest[taken.consumed..];
        }
    }
    Ok((data, consumed, decoder.is_ended()))
}

/// A result in the words of the table.
fn words(body: &[u8], piece_length: usize) -> (String, Vec<u8>) {
    match decode(body, piece_length) {
        Err(reject) => (format!("{} {}", reject.status(), reject.reason()), Vec::new()),
        Ok((_, _, false)) => ("partial".to_owned(), Vec::new()),
        Ok((data, consumed, true)) => (format!("ok rest={}", body.len() - consumed), data),
    }
}

#[test]
fn every_row_of_the_table_holds_however_it_is_cut() {
    let rows = vectors::rows(TABLE, 4);
    assert!(rows.len() >= 50);
    for row in rows {
        let [rule, source, bytes, expected] = row[..] else { unreachable!() };
        let bytes = vectors::bytes(bytes);
        let expected = match expected.strip_prefix("ok ") {
            None => (expected.to_owned(), Vec::new()),
            Some(data_and_rest) => {
                let (data, rest) = data_and_rest.split_once(" rest=").unwrap_or((data_and_rest, "0"));
                let data = if data == "-" { Vec::new() } else { vectors::bytes(data) };
                (format!("ok rest={rest}"), data)
            }
        };
        for piece_length in [usize::MAX, 1, 2, 3, 7] {
            assert_eq!(words(&bytes, piece_length), expected, "{rule} ({source}) in pieces of {piece_length}");
        }
    }
}

/// Bytes that the grammar has an opinion on, and others.
fn bytes_that_matter() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec!["0", "1", "5", "a", "F", "\r\n", "\r\n", "\r\n", ";x", " ", "hello", "A: b"]).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_second_reading_agrees(body in bytes_that_matter(), piece_length in 1_usize..9) {
        let model = decode_by_model(&body, CHUNK_EXTENSION_BYTES_MAX, HEAD_BYTES_MAX);
        let ours = match decode(&body, piece_length) {
            Ok((data, consumed, true)) => Model::Whole(data, consumed),
            Ok((_, _, false)) => Model::Partial,
            Err(_) => Model::Wrong,
        };
        prop_assert_eq!(ours, model);
    }

    #[test]
    fn what_is_encoded_is_decoded(
        data in prop::collection::vec(any::<u8>(), 0..300),
        lengths in prop::collection::vec(1_usize..40, 0..20),
        piece_length in 1_usize..50,
    ) {
        let encoded = encode(&data, &lengths);
        let body_length = encoded.len();
        let followed = [encoded.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
        prop_assert_eq!(decode(&followed, piece_length), Ok((data, body_length, true)));
    }
}
