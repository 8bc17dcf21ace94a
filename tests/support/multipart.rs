//! A strict reader of `multipart/byteranges` (RFC 9110 §14.6, RFC 2046 §5.1.1): every byte of the body has its place, or
//! the test ends. A part is as long as its Content-Range says, so film bytes that look like a delimiter do no harm.

/// One part of a body.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Position of its first byte in the film.
    pub first: u64,
    /// Position of its last byte.
    pub last: u64,
    /// Length of the film.
    pub size: u64,
    /// Its Content-Type.
    pub content_type: String,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The parts of `body`, the whole body of a response with this Content-Type.
///
/// # Panics
/// Where the body is not what the RFCs say, naming the place.
pub fn pieces<'a>(content_type: &str, body: &'a [u8]) -> Vec<Piece<'a>> {
    let boundary = boundary(content_type);
    let mut reader = Reader { body, at: 0 };
    let mut pieces = Vec::new();
    // More line ends may stand before the first delimiter. RFC 9110 §14.6
    while reader.has("\r\n") {}
    reader.must_have(&format!("--{boundary}\r\n"));
    // Each round reads a part of at least one byte, so this ends with the body.
    loop {
        pieces.push(reader.piece());
        reader.must_have(&format!("\r\n--{boundary}"));
        if reader.has("--") {
            reader.has("\r\n");
            assert_eq!(reader.at, body.len(), "bytes after the closing delimiter");
            return pieces;
        }
        reader.must_have("\r\n");
    }
}

/// The boundary that a Content-Type names, quoted or not.
fn boundary(content_type: &str) -> String {
    let parameter = content_type.strip_prefix("multipart/byteranges;").map(str::trim_start);
    let value = parameter.and_then(|text| text.strip_prefix("boundary="));
    let value = value.unwrap_or_else(|| panic!("no boundary in {content_type:?}"));
    let boundary = value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(value);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    assert!((1..=70).contains(&boundary.len()) && boundary.bytes().all(is_allowed), "the boundary {boundary:?}");
    boundary.to_owned()
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn has(&mut self, text: &str) -> bool {
        let has = self.body[self.at..].starts_with(text.as_bytes());
        self.at += if has { text.len() } else { 0 };
        has
    }

    fn must_have(&mut self, text: &str) {
        let here = &self.body[self.at..];
        let shown = String::from_utf8_lossy(&here[..here.len().min(100)]).into_owned();
        assert!(self.has(text), "{text:?} should stand at byte {} of the body: {shown:?}", self.at);
    }

    fn line(&mut self) -> &'a str {
        let rest = &self.body[self.at..];
        let length = rest.windows(2).position(|two| two == b"\r\n").expect("a line of a part has no end");
        self.at += length + 2;
        std::str::from_utf8(&rest[..length]).expect("a line of a part is no text")
    }

    fn piece(&mut self) -> Piece<'a> {
        let (mut content_type, mut range) = (None, None);
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}"));
            let slot = match name.to_ascii_lowercase().as_str() {
                "content-type" => &mut content_type,
                "content-range" => &mut range,
                _ => continue,
            };
            assert!(slot.replace(value.trim().to_owned()).is_none(), "{name} stands twice in a part");
        }
        let (first, last, size) = content_range(&range.expect("a part without Content-Range"));
        let length = usize::try_from(last - first + 1).unwrap();
        let bytes = self.body.get(self.at..self.at + length).expect("a part that is shorter than its Content-Range");
        self.at += length;
        Piece { first, last, size, content_type: content_type.expect("a part without Content-Type"), bytes }
    }
}

/// First and last position and size of a Content-Range that selects something. RFC 9110 §14.4
pub fn content_range(value: &str) -> (u64, u64, u64) {
    let numbers = value.strip_prefix("bytes ").and_then(|text| {
        let (range, size) = text.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?, size.parse().ok()?))
    });
    let (first, last, size) = numbers.unwrap_or_else(|| panic!("no Content-Range: {value:?}"));
    assert!(first <= last && last < size, "Content-Range: {value}");
    (first, last, size)
}
