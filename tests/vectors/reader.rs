//! Reads the tables of this folder: one row a line, columns split at `|`, `#` starts a comment line.
//!
//! Included by whoever tests from the tables (`#[path]`): the unit tests of `src/http`, the end-to-end tests, and the
//! fuzz package, which takes its first seeds from them. The meaning of the columns stands at the top of each table.

#![allow(dead_code, reason = "each of those who include this file uses another part of it")]
#![allow(clippy::expect_used, clippy::panic, reason = "a table that cannot be read ends the test, with the row")]

/// The rows of `table`, each with exactly `columns` trimmed columns. The first is the rule's name, the second its source.
pub fn rows(table: &'static str, columns: usize) -> Vec<Vec<&'static str>> {
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

/// A cell as bytes: `¶` is CRLF, `\r \n \t \0 \xNN` are single bytes, `\s` a space, `{TEXT*N}` is TEXT N times.
pub fn bytes(cell: &str) -> Vec<u8> {
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

/// A cell that is text.
pub fn text(cell: &str) -> String {
    String::from_utf8(bytes(cell)).expect("this cell is text")
}

/// The fields of a row of `conditional.txt`, for a file with the tag `quoted_etag`, last modified at `modified`, in seconds
/// since 1970. `date` writes such a time as RFC 9110 §5.6.7 prefers it.
pub fn conditional_fields(cell: &str, quoted_etag: &str, modified: i64, date: impl Fn(i64) -> String) -> Vec<u8> {
    let (rfc850, asctime) = obsolete_forms(&date(modified));
    let cell = cell
        .replace("$ETAG", quoted_etag)
        .replace("$OPAQUE", quoted_etag.trim_matches('"'))
        .replace("$MODIFIED", &date(modified))
        .replace("$EARLIER", &date(modified - 1))
        .replace("$LATER", &date(modified + 1))
        .replace("$RFC850", &rfc850)
        .replace("$ASCTIME", &asctime);
    bytes(&cell)
}

/// A date in the two forms nobody writes any more.
fn obsolete_forms(date: &str) -> (String, String) {
    let [day_name, day, month, year, time, _] = date.split(' ').collect::<Vec<_>>()[..] else { panic!("{date}") };
    let day_name = day_name.trim_end_matches(',');
    let long = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
        .into_iter()
        .find(|long| long.starts_with(day_name))
        .expect("a day has a name");
    let rfc850 = format!("{long}, {day}-{month}-{} {time} GMT", &year[2..]);
    let asctime = format!("{day_name} {month} {:>2} {time} {year}", day.trim_start_matches('0'));
    (rfc850, asctime)
}
