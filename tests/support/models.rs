//! Second readings of the grammar: slow, plain, and written from the RFCs without a look at `src/http`.
//!
//! The one idea: what two independent readings agree on is hardly wrong. Included (`#[path]`) by the property tests of
//! `src/http` and by the fuzz package, so that both hold the grammar to the same models.

#![allow(dead_code, reason = "each of those who include this file uses another part of it")]

/// What a `Range` field asks of a file, byte by byte. RFC 9110 §14.1.2, §14.2; spec/HTTP.md, "Ranges"
pub mod range {
    /// What is to be sent: nothing special, 416, or runs of bytes (first and last position), in the order asked for.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Model {
        Whole,
        Unsatisfiable,
        Runs(Vec<(u64, u64)>),
    }

    /// Marks the bytes of a small file one by one.
    ///
    /// # Panics
    /// If the file has more than 65536 bytes: this model is for small ones.
    pub fn select(field: &str, size: u64, asked_max: usize, parts_max: usize) -> Model {
        assert!(size <= 65536, "the model marks bytes one by one");
        let Some(asked) = read(field, asked_max) else { return Model::Whole };
        let length = usize::try_from(size).unwrap_or(0);
        // Who asked first for each byte.
        let mut asker: Vec<Option<usize>> = vec![None; length];
        for (place, (first, last)) in asked.iter().map(|spec| positions(*spec, size)).enumerate() {
            for (at, asker) in asker.iter_mut().enumerate() {
                let at = at as u128;
                if first <= at && at <= last && asker.is_none() {
                    *asker = Some(place);
                }
            }
        }
        let mut runs: Vec<(usize, u64, u64)> = Vec::new();
        for (at, asker) in asker.iter().enumerate() {
            let Some(asker) = *asker else { continue };
            match runs.last_mut() {
                Some((place, _, last)) if *last + 1 == at as u64 => {
                    *place = asker.min(*place);
                    *last = at as u64;
                }
                _ => runs.push((asker, at as u64, at as u64)),
            }
        }
        runs.sort();
        match runs.len() {
            0 => Model::Unsatisfiable,
            count if count > parts_max => Model::Whole,
            _ => Model::Runs(runs.into_iter().map(|(_, first, last)| (first, last)).collect()),
        }
    }

    /// `(first, last)` of `first-last`, `(first, none)` of `first-`, `(none, length)` of `-length`.
    type Spec = (Option<u128>, Option<u128>);

    fn read(field: &str, asked_max: usize) -> Option<Vec<Spec>> {
        let (unit, set) = field.split_at(field.find('=')?);
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut specs = Vec::new();
        for element in set[1..].split(',') {
            let element = element.trim_matches(|character| character == ' ' || character == '\t');
            if element.is_empty() {
                continue;
            }
            let parts: Vec<&str> = element.split('-').collect();
            let spec = match parts[..] {
                ["", length] => (None, Some(number(length)?)),
                [first, ""] => (Some(number(first)?), None),
                [first, last] => (Some(number(first)?), Some(number(last)?)),
                _ => return None,
            };
            if let (Some(first), Some(last)) = spec
                && first > last
            {
                return None;
            }
            specs.push(spec);
        }
        (1..=asked_max).contains(&specs.len()).then_some(specs)
    }

    /// Whatever is beyond 64 bits is infinitely large, and no infinity is larger than another (spec/HTTP.md).
    fn number(digits: &str) -> Option<u128> {
        if digits.is_empty() || !digits.chars().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_start_matches('0');
        let exact = if significant.len() > 30 { u128::MAX } else { format!("0{significant}").parse().ok()? };
        Some(exact.min(u128::from(u64::MAX)))
    }

    /// First and last position; the last before the first where there is none.
    fn positions(spec: Spec, size: u64) -> (u128, u128) {
        let size = u128::from(size);
        match spec {
            (Some(first), last) => (first, last.unwrap_or(u128::MAX)),
            (None, Some(0)) | (None, None) => (1, 0),
            (None, Some(length)) => (size.saturating_sub(length), u128::MAX),
        }
    }
}

/// What an origin-form target asks for, character by character. RFC 3986 §2.1, §3.3; spec/HTTP.md, "Paths"
pub mod target {
    /// The decoded path and the query, or nothing where the target is to be refused.
    pub fn read(raw: &str) -> Option<(String, Option<String>)> {
        if !raw.starts_with('/') || raw.contains('#') {
            return None;
        }
        let (path, query) = match raw.find('?') {
            Some(at) => (&raw[..at], Some(raw[at + 1..].to_owned())),
            None => (raw, None),
        };
        let mut decoded = Vec::new();
        let mut bytes = path.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                decoded.push(byte);
                continue;
            }
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            let byte = high * 16 + low;
            if byte == b'/' {
                return None;
            }
            decoded.push(byte);
        }
        let decoded = String::from_utf8(decoded).ok()?;
        let is_wrong = |character: char| character == '\\' || (character as u32) < 0x20 || character as u32 == 0x7f;
        if decoded.chars().any(is_wrong) {
            return None;
        }
        let segments: Vec<&str> = decoded[1..].split('/').collect();
        let (last, before) = segments.split_last()?;
        if before.contains(&"") || segments.contains(&".") || segments.contains(&"..") {
            return None;
        }
        let _ = last; // An empty last segment is a trailing slash, which is kept.
        Some((decoded, query))
    }

    fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            b'A'..=b'F' => Some(byte - b'A' + 10),
            _ => None,
        }
    }
}

/// A chunked body that is there as a whole. RFC 9112 §7.1
pub mod chunk {
    /// What the bytes are.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Model {
        /// Not whole yet, and nothing wrong so far.
        Partial,
        /// The data, and how many bytes the body took.
        Whole(Vec<u8>, usize),
        Wrong,
    }

    /// Reads lines with a plain search, and data by its length.
    pub fn decode(input: &[u8], extensions_max: usize, trailers_max: usize) -> Model {
        let (mut at, mut data, mut extensions) = (0, Vec::new(), 0);
        loop {
            let (line, next) = match line(&input[at..]) {
                Line::Whole(line) => (line, at + line.len() + 2),
                // A line that has not ended is wrong already if what is there can become nothing right.
                Line::Open(line) => return partial_if(size(line, true, &mut extensions, extensions_max).is_some()),
                Line::Ending(line) => return partial_if(size(line, false, &mut extensions, extensions_max).is_some()),
                Line::Wrong => return Model::Wrong,
            };
            let Some(length) = size(line, false, &mut extensions, extensions_max) else { return Model::Wrong };
            at = next;
            if length == 0 {
                break;
            }
            let there = input.len() - at;
            let Some(length) = usize::try_from(length).ok().filter(|length| *length <= there) else {
                return Model::Partial;
            };
            data.extend_from_slice(&input[at..at + length]);
            at += length;
            match &input[at..] {
                [] | [b'\r'] => return Model::Partial,
                [b'\r', b'\n', ..] => at += 2,
                _ => return Model::Wrong,
            }
        }
        let start = at;
        loop {
            match line(&input[at..]) {
                Line::Whole(line) if !is_trailer(line, false) => return Model::Wrong,
                Line::Whole(line) => {
                    at += line.len() + 2;
                    if at - start > trailers_max {
                        return Model::Wrong;
                    }
                    if line.is_empty() {
                        return Model::Whole(data, at);
                    }
                }
                Line::Open(line) => return partial_if(is_trailer(line, true) && input.len() - start <= trailers_max),
                Line::Ending(line) => {
                    return partial_if(is_trailer(line, false) && input.len() - start <= trailers_max);
                }
                Line::Wrong => return Model::Wrong,
            }
        }
    }

    /// A field, or the empty line at the end; an open line may still become one.
    fn is_trailer(line: &[u8], is_open: bool) -> bool {
        let name_length = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(name_length);
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let is_named = !name.is_empty() && !value.is_empty();
        name.iter().all(is_token)
            && !value.iter().any(|byte| is_control(*byte))
            && (is_named || line.is_empty() || (is_open && value.is_empty()))
    }

    fn partial_if(is_right_so_far: bool) -> Model {
        if is_right_so_far { Model::Partial } else { Model::Wrong }
    }

    enum Line<'a> {
        Whole(&'a [u8]),
        /// Neither CR nor LF is there yet.
        Open(&'a [u8]),
        /// Only the LF is missing.
        Ending(&'a [u8]),
        Wrong,
    }

    /// Up to the first CRLF; a CR or LF alone is wrong.
    fn line(input: &[u8]) -> Line<'_> {
        match input.iter().position(|byte| *byte == b'\r' || *byte == b'\n') {
            None => Line::Open(input),
            Some(end) => match &input[end..] {
                [b'\r', b'\n', ..] => Line::Whole(&input[..end]),
                [b'\r'] => Line::Ending(&input[..end]),
                _ => Line::Wrong,
            },
        }
    }

    /// The size on a line, or whether what there is of it may become one.
    fn size(line: &[u8], is_open: bool, extensions: &mut usize, extensions_max: usize) -> Option<u64> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (number, rest) = line.split_at(digits);
        *extensions += rest.len();
        if digits > 16 || *extensions > extensions_max || rest.iter().any(|byte| is_control(*byte)) {
            return None;
        }
        if digits == 0 {
            return (is_open && line.is_empty()).then_some(0);
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match rest.get(padding) {
            Some(b';') => {}
            None if padding == 0 || is_open => {}
            _ => return None,
        }
        u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()
    }

    fn is_control(byte: u8) -> bool {
        byte != b'\t' && (byte < 0x20 || byte == 0x7f)
    }

    /// `data` in chunks of the given lengths (each at least 1), the last one for the rest.
    pub fn encode(data: &[u8], lengths: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = data;
        let mut lengths = lengths.iter();
        while !rest.is_empty() {
            let length = lengths.next().map_or(rest.len(), |length| (*length).clamp(1, rest.len()));
            let (chunk, after) = rest.split_at(length);
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
            rest = after;
        }
        out.extend_from_slice(b"0\r\n\r\n");
        out
    }
}
