//! What a file is called on the wire: its media type and its `Content-Disposition`.
//!
//! The one idea: the extension decides, from one table; a file whose extension is not in it is never served
//! (spec/HTTP.md, "Media headers"). Sniffing would read the file, and players trust the extension anyway.

use std::fmt::{self, Display};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Extension, media type, and whether it is a film (the rest accompany one).
const TABLE: [(&str, &str, bool); 14] = [
    ("mp4", "video/mp4", true),
    ("m4v", "video/mp4", true), // what Safari and TVs expect; video/x-m4v is unknown to them
    ("mkv", "video/x-matroska", true),
    ("webm", "video/webm", true),
    ("avi", "video/x-msvideo", true),
    ("mov", "video/quicktime", true),
    ("ts", "video/mp2t", true),
    ("m2ts", "video/mp2t", true),
    ("mpg", "video/mpeg", true),
    ("ogv", "video/ogg", true),
    ("flv", "video/x-flv", true),
    ("vtt", "text/vtt; charset=utf-8", false),
    ("srt", "application/x-subrip; charset=utf-8", false),
    ("jpg", "image/jpeg", false),
];

/// Everything outside `attr-char`, RFC 8187 §3.2.1.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The media type of files with this extension (without its dot, in any case), or nothing if they are not served.
pub fn of_extension(extension: &str) -> Option<&'static str> {
    row(extension).map(|(_, media_type, _)| *media_type)
}

/// Whether files with this extension are films.
pub fn is_video(extension: &str) -> bool {
    row(extension).is_some_and(|(_, _, is_video)| *is_video)
}

fn row(extension: &str) -> Option<&'static (&'static str, &'static str, bool)> {
    TABLE.iter().find(|(name, _, _)| name.eq_ignore_ascii_case(extension))
}

/// The extension of the last segment of `path`: what follows its last dot, if something stands on both sides of it.
pub fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then_some(extension)
}

/// Whether the value of a `Content-Type` field says JSON: `application/json`, whatever its parameters. RFC 9110 §8.3.1.
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim_matches([' ', '\t']).eq_ignore_ascii_case("application/json")
}

/// The value of a `Content-Disposition` field that shows the file in place and names it if somebody saves it. Every
/// name can be written, in any script. RFC 6266 §4.3, RFC 8187.
pub fn content_disposition(filename: &str) -> impl Display {
    ContentDisposition { filename }
}

struct ContentDisposition<'a> {
    filename: &'a str,
}

impl Display for ContentDisposition<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "inline; filename*=UTF-8''{}", utf8_percent_encode(self.filename, NOT_ATTR_CHAR))
    }
}

#[cfg(test)]
mod tests {
    use super::{content_disposition, extension, is_json, is_video, of_extension};

    #[test]
    fn every_supported_extension_has_a_type_in_any_case() {
        for film in ["mp4", "m4v", "mkv", "webm", "avi", "mov", "ts", "m2ts", "mpg", "ogv", "flv"] {
            assert!(is_video(film), "{film}");
            assert!(of_extension(&film.to_uppercase()).is_some_and(|found| found.starts_with("video/")), "{film}");
        }
        for beside in ["vtt", "srt", "jpg"] {
            assert!(of_extension(beside).is_some() && !is_video(beside), "{beside}");
        }
        for other in ["", "txt", "html", "mp4 ", "part", "exe"] {
            assert_eq!(of_extension(other), None, "{other}");
        }
    }

    #[test]
    fn extension_is_what_follows_the_last_dot_of_the_name() {
        assert_eq!(extension("a/b.c/film.de.MKV"), Some("MKV"));
        assert_eq!(extension("film"), None);
        assert_eq!(extension("folder.mkv/film"), None);
        assert_eq!(extension(".mkv"), None);
        assert_eq!(extension("film."), None);
    }

    #[test]
    fn json_is_recognised_whatever_its_parameters() {
        for yes in ["application/json", "Application/JSON; charset=utf-8", " application/json ;a=b"] {
            assert!(is_json(yes), "{yes}");
        }
        for no in ["", "text/plain", "application/jsonp", "text/plain; application/json", "application/problem+json"] {
            assert!(!is_json(no), "{no}");
        }
    }

    #[test]
    fn every_file_name_can_be_written_and_none_can_end_the_field() {
        assert_eq!(content_disposition("É té.mkv").to_string(), "inline; filename*=UTF-8''%C3%89%20t%C3%A9.mkv");
        assert_eq!(
            content_disposition("a\"b;\r\n%'()*.mkv").to_string(),
            "inline; filename*=UTF-8''a%22b%3B%0D%0A%25%27%28%29%2A.mkv"
        );
    }
}
