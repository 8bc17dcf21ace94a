//! Files of variables, as `EnvironmentFile=` has them read (systemd.exec(5)): quotes, escapes, and lines that go on.
//!
//! The one idea: a machine that takes one letter after another, so that what is in force here is what the service has.

/// What the next letter is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The beginning of a line.
    Start,
    Comment,
    Name,
    /// A value of which nothing has come, or a quoted part.
    BeforeValue,
    Value,
    /// What follows a backslash.
    Escape,
    Single,
    Double,
    /// What follows a backslash between double quotes.
    DoubleEscape,
}

/// The variables of a file, in their order. A line without `=` is none.
pub(super) fn variables(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut name, mut value) = (String::new(), String::new());
    // The part of the value that blanks at its end are not taken off: it was quoted.
    let mut kept = 0;
    let mut place = Place::Start;
    for letter in text.chars() {
        place = match place {
            Place::Start | Place::Name => match letter {
                '\n' => {
                    name.clear();
                    Place::Start
                }
                '=' => Place::BeforeValue,
                '#' | ';' if place == Place::Start => Place::Comment,
                blank if place == Place::Start && blank.is_ascii_whitespace() => Place::Start,
                letter => {
                    name.push(letter);
                    Place::Name
                }
            },
            Place::Comment => {
                if letter == '\n' {
                    Place::Start
                } else {
                    Place::Comment
                }
            }
            Place::BeforeValue | Place::Value => match letter {
                '\n' => {
                    value.truncate(value.trim_ascii_end().len().max(kept));
                    found.push((std::mem::take(&mut name), std::mem::take(&mut value)));
                    kept = 0;
                    Place::Start
                }
                '\\' => Place::Escape,
                '\'' if place == Place::BeforeValue => Place::Single,
                '"' if place == Place::BeforeValue => Place::Double,
                blank if place == Place::BeforeValue && blank.is_ascii_whitespace() => Place::BeforeValue,
                letter => {
                    value.push(letter);
                    Place::Value
                }
            },
            // A line that ends in a backslash goes on in the next one.
            Place::Escape => {
                if letter != '\n' {
                    value.push(letter);
                    kept = value.len();
                }
                Place::Value
            }
            Place::Single | Place::Double => match letter {
                '\\' if place == Place::Double => Place::DoubleEscape,
                quote if quote == if place == Place::Single { '\'' } else { '"' } => {
                    kept = value.len();
                    Place::BeforeValue
                }
                letter => {
                    value.push(letter);
                    place
                }
            },
            Place::DoubleEscape => {
                match letter {
                    '\n' => {}
                    '"' | '\\' | '`' | '$' => value.push(letter),
                    letter => value.extend(['\\', letter]),
                }
                Place::Double
            }
        };
    }
    // The last line may have no end, and a quote none either.
    if !matches!(place, Place::Start | Place::Comment | Place::Name) {
        if matches!(place, Place::BeforeValue | Place::Value) {
            value.truncate(value.trim_ascii_end().len().max(kept));
        }
        found.push((name, value));
    }
    found.into_iter().map(|(name, value)| (name.trim_ascii_end().to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_systemd_reads_it() {
        for (text, expected) in [
            ("A=b\n# C=d\n; E=f\n\n  G = h \nno variable\nI=", &[("A", "b"), ("G", "h"), ("I", "")][..]),
            ("A=\"b c\"\nD='e \"f\" \\'\n", &[("A", "b c"), ("D", "e \"f\" \\")]),
            (r#"A="say \"b\" \$c \d \\""#, &[("A", r#"say "b" $c \d \"#)]),
            ("A=/srv/a:\\\n/srv/b\nC=\"d \\\ne\"\n", &[("A", "/srv/a:/srv/b"), ("C", "d e")]),
            ("A=b\\ c\\\\d\\ \nE=\"f \" g\nH=\"i ", &[("A", "b c\\d "), ("E", "f g"), ("H", "i ")]),
            ("A=b \"c\"\nD=e#f\n", &[("A", "b \"c\""), ("D", "e#f")]),
            ("A=\"b\nc\"\nD=e", &[("A", "b\nc"), ("D", "e")]),
            ("A", &[]),
        ] {
            let found = variables(text);
            let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
