//! The HTTP/1.1 grammar: bytes in, values out.
//!
//! The one idea: everything a client can write is turned, once, into a value that cannot be wrong (`Request`, `Target`,
//! `Selection`, `Verdict`) or into a `Reject`; everything we say is composed in a `Response`. Nothing in this room
//! opens a file, owns a socket, reads a clock, logs or counts: time comes in as an argument. So the whole room is
//! tested from the tables of `tests/vectors`, which the end-to-end tests and the fuzzer read as well.
//!
//! ```text
//! bytes -> request -> target            who asks for what       RFC 9112, RFC 3986
//!             `-> fields -> conditional whether to send it      RFC 9110 §13
//!                      `-> range        which bytes of it       RFC 9110 §14
//! response, reject                      what we say             RFC 9110 §15, RFC 9457
//! date, media_type                      small tables            RFC 9110 §5.6.7, RFC 6266
//! ```
//!
//! The contract is `spec/HTTP.md`; a rule from an RFC carries its section.

pub mod conditional;
pub mod date;
pub mod media_type;
pub mod range;
pub mod reject;
pub mod request;
pub mod response;
pub mod target;

/// Reads the tables of `tests/vectors`: one row a line, columns split at `|`, `#` starts a comment line.
#[cfg(test)]
pub(crate) mod vectors {
    /// The rows of `table`, each with exactly `columns` trimmed columns.
    pub(crate) fn rows(table: &'static str, columns: usize) -> Vec<Vec<&'static str>> {
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        for row in &rows {
            assert_eq!(row.len(), columns, "a row has {columns} columns: {row:?}");
        }
        let mut rules: Vec<&str> = rows.iter().map(|row| row[0]).collect();
        rules.sort_unstable();
        let count = rules.len();
        rules.dedup();
        assert_eq!(rules.len(), count, "each rule has a name of its own");
        rows
    }

    /// A cell as bytes: `¶` is CRLF, `\r \n \t \0 \xNN` are single bytes, `{TEXT*N}` is TEXT N times.
    pub(crate) fn bytes(cell: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = cell;
        while let Some(first) = rest.chars().next() {
            let mut taken = first.len_utf8();
            match (first, rest.as_bytes().get(1)) {
                ('¶', _) => out.extend_from_slice(b"\r\n"),
                ('\\', Some(b'x')) => {
                    out.push(u8::from_str_radix(&rest[2..4], 16).expect("\\xNN has two hex digits"));
                    taken = 4;
                }
                ('\\', Some(escape)) => {
                    out.push(match escape {
                        b'r' => b'\r',
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'0' => 0,
                        b's' => b' ',
                        b'\\' => b'\\',
                        other => panic!("unknown escape \\{}", char::from(*other)),
                    });
                    taken = 2;
                }
                ('{', _) => {
                    let end = rest.find('}').expect("a repetition ends with }");
                    let (text, count) = rest[1..end].rsplit_once('*').expect("a repetition has a *");
                    out.extend(bytes(text).repeat(count.parse().expect("a repetition ends with a count")));
                    taken = end + 1;
                }
                _ => out.extend_from_slice(&rest.as_bytes()[..taken]),
            }
            rest = &rest[taken..];
        }
        out
    }
}
