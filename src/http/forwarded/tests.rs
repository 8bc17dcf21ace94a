//! The table `tests/vectors/forwarded.txt`, and that a client cannot say who it is.

use proptest::prelude::*;

use super::*;
use crate::http::request::{Parsed, parse};
use crate::http::vectors;

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/forwarded.txt"));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Who asks with these fields.
fn asks(fields: &[u8], is_believed: impl Fn(IpAddr) -> bool) -> Client {
    let head = [b"GET / HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n"].concat();
    match parse(&head) {
        Ok(Parsed::Complete { request, .. }) => request.fields.trail.client(PROXY, is_believed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_row_of_the_table_holds() {
    let rows = vectors::rows(TABLE, 5);
    assert!(rows.len() >= 50);
    for row in rows {
        let [rule, source, fields, proxies, expected] = row[..] else { unreachable!() };
        let proxies: Vec<IpAddr> = proxies.split(' ').filter_map(|proxy| proxy.parse().ok()).collect();
        let client = asks(&vectors::bytes(fields), |address| proxies.contains(&address));
        let found = if client.is_known { client.address.to_string() } else { format!("proxy {}", client.address) };
        assert_eq!(found, expected, "{rule} ({source})");
    }
}

proptest! {
    #[test]
    fn what_stands_before_the_last_proxys_word_changes_nothing(said in "[\\t -~\u{80}-\u{ff}]{0,40}") {
        let appended = |name: &str, word: &str, sep: &str| format!("{name}: {said}{sep}{word}\r\n").into_bytes();
        let expected = Client { address: [203, 0, 113, 9].into(), is_known: true };
        for sep in [", ".to_owned(), ",".to_owned()] {
            for word in ["for=203.0.113.9", "for=\"203.0.113.9:80\";by=\"a,\\\"b\\\\\""] {
                prop_assert_eq!(asks(&appended("Forwarded", word, &sep), |address| address == PROXY), expected);
            }
            let word = "203.0.113.9";
            prop_assert_eq!(asks(&appended("X-Forwarded-For", word, &sep), |address| address == PROXY), expected);
        }
    }

    #[test]
    fn nobody_is_believed_who_is_not_named(said in "[\\t -~]{0,60}") {
        for name in ["Forwarded", "X-Forwarded-For"] {
            let client = asks(format!("{name}: {said}\r\n").as_bytes(), |_| false);
            prop_assert_eq!(client, Client { address: PROXY, is_known: false });
        }
    }
}
