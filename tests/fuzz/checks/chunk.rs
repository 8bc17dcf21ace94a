//! A chunked body of any bytes, in any pieces, against a reading of the whole; and data encoded and decoded again.

use super::Input;
use crate::http::reject::Reject;
use crate::http::request::ChunkDecoder;
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, HEAD_BYTES_MAX};
use crate::models::chunk::{Model, decode as decode_by_model, encode};

/// Input: a byte that says how the body is cut, then the body and what follows it.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let cut = usize::from(input.byte());
    let model = decode_by_model(input.0, CHUNK_EXTENSION_BYTES_MAX, HEAD_BYTES_MAX);
    for piece_length in [usize::MAX, 1, cut + 1] {
        let ours = match decode(input.0, piece_length) {
            Ok((data, consumed, true)) => Model::Whole(data, consumed),
            Ok((_, consumed, false)) => {
                assert_eq!(consumed, input.0.len(), "what is not the end is taken whole");
                Model::Partial
            }
            Err(_) => Model::Wrong,
        };
        assert_eq!(ours, model, "in pieces of {piece_length}: {:?}", String::from_utf8_lossy(input.0));
    }
    let lengths: Vec<usize> = input.0.iter().map(|byte| usize::from(*byte)).collect();
    let mut encoded = encode(input.0, &lengths);
    let body_length = encoded.len();
    encoded.extend_from_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(decode(&encoded, cut + 1), Ok((input.0.to_vec(), body_length, true)));
}

/// The data of a body that comes in pieces, how much was taken, and whether the body ended.
fn decode(body: &[u8], piece_length: usize) -> Result<(Vec<u8>, usize, bool), Reject> {
    let mut decoder = ChunkDecoder::new();
    let (mut data, mut consumed) = (Vec::new(), 0);
    for piece in body.chunks(piece_length.min(body.len()).max(1)) {
        let mut rest = piece;
        while !rest.is_empty() && !decoder.is_ended() {
            let taken = decoder.decode(rest)?;
            assert!(taken.consumed > 0 && taken.data.len() <= taken.consumed, "a step takes something");
            data.extend_from_slice(taken.data);
            consumed += taken.consumed;
            rest = &rest[taken.consumed..];
        }
    }
    Ok((data, consumed, decoder.is_ended()))
}
