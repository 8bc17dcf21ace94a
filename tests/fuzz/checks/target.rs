//! A target of any text, against a second reading of it, and printed and read again.

use crate::http::request::{Parsed, parse};
use crate::http::target::encode_path;
use crate::limits::TARGET_BYTES_MAX;
use crate::models::target::read;

/// Input: the target as it stands in the request line.
pub fn check(input: &[u8]) {
    let Ok(raw) = std::str::from_utf8(input) else { return };
    let is_a_word = !raw.is_empty() && raw.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if !is_a_word || raw.len() > TARGET_BYTES_MAX {
        return;
    }
    let head = format!("GET {raw} HTTP/1.1\r\nHost: a\r\n\r\n");
    let parsed = parse(head.as_bytes());
    if !raw.starts_with('/') {
        if let Ok(Parsed::Complete { request, .. }) = &parsed {
            // The absolute form is the origin form behind a scheme and an authority.
            let (_, rest) = raw.split_once("://").expect("an accepted target has a path or a scheme");
            let path_and_query = &rest[rest.find(['/', '?']).unwrap_or(rest.len())..];
            let origin_form =
                if path_and_query.starts_with('/') { path_and_query.to_owned() } else { format!("/{path_and_query}") };
            let expected = read(&origin_form).expect("the same target in origin form is accepted");
            assert_eq!((request.target.path.to_string(), request.target.query.map(str::to_owned)), expected);
            assert!(request.fields.host.is_some_and(|host| rest.starts_with(host)));
        }
        return;
    }
    match (parsed, read(raw)) {
        (Ok(Parsed::Complete { request, .. }), Some((path, query))) => {
            let target = &request.target;
            assert_eq!((target.path.as_ref(), target.query), (path.as_str(), query.as_deref()), "{raw:?}");
            assert!(!target.segments().iter().any(|segment| matches!(*segment, "." | "..")));
            is_read_again(&path);
            // Any name may be asked for: it must neither panic nor find what is not there.
            let _ = target.query_value("token");
        }
        (Err(_), None) => {}
        (ours, model) => panic!("{raw:?}: we say {ours:?}, and the model {model:?}"),
    }
}

/// A path that was accepted, printed as a URL, is the same path again.
fn is_read_again(path: &str) {
    let printed = encode_path(path).to_string();
    assert_eq!(read(&printed), Some((path.to_owned(), None)), "{printed}");
    if printed.len() <= TARGET_BYTES_MAX {
        let head = format!("GET {printed} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Ok(Parsed::Complete { request, .. }) = parse(head.as_bytes()) else { panic!("{printed} is refused") };
        assert_eq!((request.target.path.as_ref(), request.target.query), (path, None));
    }
}
