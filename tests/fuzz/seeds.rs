//! Writes the first seeds of each target from the tables of `tests/vectors`: `seeds FOLDER` makes FOLDER/TARGET/RULE.

#![allow(clippy::unwrap_used, reason = "a seed that cannot be written ends the program, with the place")]

use std::fs;
use std::path::Path;

use reelway_fuzz::vectors::{bytes, rows};

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| panic!("usage: seeds FOLDER"));
    let write = |target: &str, rule: &str, seed: &[u8]| {
        // A seed as long as a limit makes the fuzzer slow, and teaches it little.
        if seed.len() > 4096 {
            return;
        }
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(rule), seed).unwrap();
    };
    for row in rows(include_str!("../vectors/request.txt"), 4) {
        write("request", row[0], &bytes(row[2]));
    }
    for row in rows(include_str!("../vectors/forwarded.txt"), 5) {
        write("request", row[0], &[b"GET / HTTP/1.1\r\nHost: a\r\n", bytes(row[2]).as_slice(), b"\r\n"].concat());
    }
    for row in rows(include_str!("../vectors/target.txt"), 5) {
        write("target", row[0], &bytes(row[2]));
    }
    for row in rows(include_str!("../vectors/range.txt"), 5) {
        let size = row[3].parse::<u64>().unwrap().min(2047) as u16;
        write("range", row[0], &[&size.to_le_bytes(), bytes(row[2]).as_slice()].concat());
        write("multipart", row[0], &[&size.to_le_bytes(), &[7, 7], bytes(row[2]).as_slice(), &[0]].concat());
    }
    for row in rows(include_str!("../vectors/conditional.txt"), 6) {
        let method = u8::from(row[2] == "HEAD");
        let age = row[3].parse::<i64>().unwrap().clamp(-128, 127) as i8;
        let names = ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"];
        let mut seed = vec![method, age as u8];
        for line in row[4].split('¶') {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let Some(place) = names.iter().position(|known| *known == name) else { continue };
            let value = value.trim().replace("$ETAG", "$").replace("$MODIFIED", "&");
            seed.push(place as u8);
            seed.extend(bytes(&value));
            seed.push(b'\n');
        }
        write("conditional", row[0], &seed);
    }
    for row in rows(include_str!("../vectors/chunk.txt"), 4) {
        write("chunk", row[0], &[&[3], bytes(row[2]).as_slice()].concat());
    }
}
