//! A head of any bytes: what is accepted is what a plain reading of its lines says, and no cut of it is another request.

use std::net::IpAddr;

use crate::http::request::{Body, Parsed, Request, method, parse};
use crate::http::target::encode_path;
use crate::limits::{FIELDS_MAX, HEAD_BYTES_MAX};

/// Input: what a client sent so far.
pub fn check(input: &[u8]) {
    match parse(input) {
        Ok(Parsed::Complete { request, head_length }) => {
            assert!(head_length <= input.len() && head_length <= HEAD_BYTES_MAX);
            let head = &input[..head_length];
            assert_eq!(
                parse(head),
                Ok(Parsed::Complete { request: request.clone(), head_length }),
                "nothing after it counts"
            );
            for cut in cuts(head) {
                assert_eq!(parse(&head[..cut]), Ok(Parsed::Partial), "the first {cut} bytes of {head_length}");
            }
            assert_eq!(method(input), Some(request.method), "the method is known even where the rest is not");
            is_unambiguous(head, &request);
            is_of_somebody(head, &request);
            is_read_again(&request);
        }
        Ok(Parsed::Partial) => {
            assert!(input.len() < HEAD_BYTES_MAX, "what fills the limit is decided");
            let begun = input.trim_ascii_start();
            assert!(!begun.windows(4).any(|end| end == b"\r\n\r\n"), "a whole head is decided");
            for cut in cuts(input) {
                assert_eq!(parse(&input[..cut]), Ok(Parsed::Partial), "the first {cut} bytes");
            }
        }
        Err(reject) => {
            assert!(reject.closes(), "nobody knows where the next request begins: {reject:?}");
            let mut longer = input.to_vec();
            longer.extend_from_slice(b"\r\nHost: a\r\n\r\n");
            assert!(parse(&longer).is_err(), "a no is final");
        }
    }
}

/// Some places to cut at, spread over the whole.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let length = bytes.len();
    (0..length).step_by(1 + length / 24).chain(length.checked_sub(1))
}

/// Nobody is believed who is not to be; and whatever a client has said of itself in a field, the word of the proxy after it counts.
/// Where there are two fields, neither does.
fn is_of_somebody(head: &[u8], request: &Request<'_>) {
    let (proxy, afar) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([203, 0, 113, 9]));
    let nobody = request.fields.trail.client(proxy, |_| false);
    assert_eq!((nobody.address, nobody.is_known), (proxy, false));
    let known = request.fields.trail.client(proxy, |address| address == proxy);
    assert_eq!(known.is_known, known.address != proxy);
    let said = head.strip_suffix(b"\r\n").expect("a head ends with an empty line");
    let lines = split_lines(said);
    let has =
        |name: &[u8]| lines.iter().any(|line| line.get(..name.len()).is_some_and(|is| is.eq_ignore_ascii_case(name)));
    let (has_addresses, has_pairs) = (has(b"x-forwarded-for:"), has(b"forwarded:"));
    let added: &[u8] =
        if has_addresses { b"X-Forwarded-For: 203.0.113.9\r\n\r\n" } else { b"Forwarded: for=203.0.113.9\r\n\r\n" };
    let expected = if has_addresses && has_pairs { (proxy, false) } else { (afar, true) };
    let head = [said, added].concat();
    if let Ok(Parsed::Complete { request, .. }) = parse(&head) {
        let client = request.fields.trail.client(proxy, |address| address == proxy);
        assert_eq!((client.address, client.is_known), expected);
        assert!(request.fields.is_forwarded);
    }
}

/// The rules by which two parsers could read a head differently, line by line. RFC 9112 §2.2, §5, §6
fn is_unambiguous(head: &[u8], request: &Request<'_>) {
    let skipped = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let text = head[skipped..].strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
    let lines: Vec<&[u8]> = split_lines(text);
    assert!(
        lines.iter().flat_map(|line| line.iter()).all(|byte| !matches!(byte, b'\r' | b'\n' | 0)),
        "no bare CR, LF or NUL"
    );
    let (request_line, fields) = lines.split_first().expect("there is a request line");
    assert_eq!(request_line.iter().filter(|byte| **byte == b' ').count(), 2, "one space between three words");
    assert!(fields.len() <= FIELDS_MAX);
    let (mut hosts, mut lengths, mut encodings) = (0, Vec::new(), Vec::new());
    for line in fields {
        let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
        let name = &line[..colon];
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        assert!(
            !name.is_empty() && name.iter().all(is_token),
            "a name is a token: {:?}",
            String::from_utf8_lossy(line)
        );
        let value = line[colon + 1..].trim_ascii();
        assert!(value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts += 1,
            b"content-length" => lengths.push(value.to_vec()),
            b"transfer-encoding" => encodings.push(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    assert!(hosts == 1 || (hosts == 0 && request.minor_version == 0));
    assert!(lengths.is_empty() || encodings.is_empty(), "a body has one end");
    match request.body {
        Body::None => assert!(lengths.is_empty() && encodings.is_empty()),
        Body::Length(length) => {
            assert!(!lengths.is_empty());
            for value in lengths {
                assert!(value.iter().all(u8::is_ascii_digit));
                assert_eq!(String::from_utf8_lossy(&value).parse(), Ok(length));
            }
        }
        Body::Chunked => {
            let members = encodings.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
            let members: Vec<&[u8]> = members.filter(|member| !member.is_empty()).collect();
            assert_eq!(members, [b"chunked"]);
        }
    }
}

fn split_lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

/// A request that was accepted, written anew, is the same request.
fn is_read_again(request: &Request<'_>) {
    let is_server = request.target.is_server();
    let path = if is_server { "*".to_owned() } else { encode_path(&request.target.path).to_string() };
    let query = request.target.query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut head = format!("{} {path}{query} HTTP/1.{}\r\n", request.method.as_str(), request.minor_version);
    let fields = &request.fields;
    for (name, value) in [
        ("Host", fields.host),
        ("Range", fields.range),
        ("If-Range", fields.if_range),
        ("If-Modified-Since", fields.if_modified_since),
        ("If-Unmodified-Since", fields.if_unmodified_since),
        ("Authorization", fields.authorization),
        ("Cookie", fields.cookie),
        ("Content-Type", fields.content_type),
        ("Origin", fields.origin),
        ("User-Agent", fields.user_agent),
        ("Connection", Some(if request.keep_alive { "keep-alive" } else { "close" })),
        ("Expect", request.expects_continue.then_some("100-continue")),
    ] {
        if let Some(value) = value {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    match request.body {
        Body::None => {}
        Body::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        Body::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
    }
    head.push_str("\r\n");
    if head.len() > HEAD_BYTES_MAX || path.len() + query.len() > crate::limits::TARGET_BYTES_MAX {
        return; // Percent-encoding made it longer than the limits allow.
    }
    let Ok(Parsed::Complete { request: again, .. }) = parse(head.as_bytes()) else { panic!("{head:?} is refused") };
    assert_eq!((again.method, again.body), (request.method, request.body));
    // It is written in origin form, so the scheme is gone.
    assert_eq!((&again.target.path, again.target.query), (&request.target.path, request.target.query));
    assert_eq!((again.keep_alive, again.expects_continue), (request.keep_alive, request.expects_continue));
    assert_eq!(
        (again.fields.host, again.fields.range, again.fields.if_range),
        (fields.host, fields.range, fields.if_range)
    );
    assert_eq!((again.fields.authorization, again.fields.cookie), (fields.authorization, fields.cookie));
}
