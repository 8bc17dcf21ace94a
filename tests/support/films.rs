//! Films: real ones made by ffmpeg once a run, and patterned ones whose every byte follows from its offset.
//!
//! Real films lie in `target/test-films/films`, made under a lock by whichever test process comes first, each under a
//! temporary name and renamed when whole. A `Pattern` makes a lost, doubled, padded or foreign byte show at once.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{page_cache, program, run, scratch};

/// One MiB, in bytes.
pub const MIB: u64 = 1024 * 1024;

/// Real films: path below the folder and how ffmpeg makes it. Containers, places of the index, spaces, Unicode, folders.
const RECIPES: &[(&str, &str)] = &[
    ("Moov last.mp4", SHORT_H264_AAC),
    ("Fast start.mp4", "-c:v libx264 -preset ultrafast -c:a aac -movflags +faststart"),
    ("Série/S01/Épisode 1 – début.mkv", SHORT_H264_AAC),
    ("Web film.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k -c:a libopus"),
    ("Apple clip.mov", SHORT_H264_AAC),
    ("Old film.avi", "-c:v mpeg4 -c:a libmp3lame"),
];
const SHORT_H264_AAC: &str = "-c:v libx264 -preset ultrafast -c:a aac";

/// A film long and big enough that a seek has to ask the server again; its index lies at the end.
pub const LONG_FILM: &str = "Long film.mp4";
const LONG_FILM_SECONDS: u32 = 40;

/// A patterned file for byte compares.
pub const BIG_FILM: &str = "big.mp4";
/// Length of `BIG_FILM`.
pub const BIG_FILM_BYTES: u64 = 24 * MIB;

/// How many cold films there are.
pub const COLD_FILMS: usize = 8;
/// Length of each.
pub const COLD_FILM_BYTES: u64 = 64 * MIB;

/// The names of the real short films, one for each container.
pub fn names() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|(name, _)| *name)
}

/// The folder of real films and `BIG_FILM`, made if need be. Nobody changes what lies there.
pub fn folder() -> PathBuf {
    let _lock = lock("films.lock");
    let folder = kept().join("films");
    for (name, options) in RECIPES {
        make_once(&folder.join(name), |path| encode(path, 4, 160, options));
    }
    let noisy = "-vf noise=alls=30:allf=t -c:v libx264 -preset ultrafast -b:v 5M -g 50 -c:a aac";
    make_once(&folder.join(LONG_FILM), |path| {
        encode(path, LONG_FILM_SECONDS, 320, noisy);
    });
    make_once(&folder.join(BIG_FILM), |path| {
        Pattern::of(BIG_FILM).write(path, BIG_FILM_BYTES);
    });
    folder
}

/// The folder of big patterned films, for one test at a time: whoever holds it may evict their pages.
pub struct ColdFilms {
    /// Where they lie.
    pub folder: PathBuf,
    _lock: File,
}

impl ColdFilms {
    /// Makes the films if need be and waits until no other test uses them.
    pub fn alone() -> ColdFilms {
        let lock = lock("cold.lock");
        let folder = kept().join("cold");
        for index in 0..COLD_FILMS {
            let name = ColdFilms::name(index);
            make_once(&folder.join(&name), |path| {
                Pattern::of(&name).write(path, COLD_FILM_BYTES);
            });
        }
        ColdFilms { folder, _lock: lock }
    }

    /// The name of one of them.
    pub fn name(index: usize) -> String {
        format!("cold-{index}.mp4")
    }

    /// Evicts all pages of all films, and proves it.
    pub fn make_cold(&self) {
        for index in 0..COLD_FILMS {
            page_cache::make_cold(&self.folder.join(ColdFilms::name(index)));
        }
    }
}

/// The path of a film as it stands in a URL.
pub fn url_path(name: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');
    format!("/api/stream/video/{}", utf8_percent_encode(name, KEPT))
}

/// A sequence of bytes without repetition, decided by a seed: byte n is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    /// The pattern that belongs to a name; another name gives other bytes.
    pub fn of(name: &str) -> Pattern {
        // FNV-1a, so that neighbouring names give unrelated seeds.
        let seed = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Pattern { seed }
    }

    /// The bytes from `offset` on.
    pub fn fill(self, offset: u64, bytes: &mut [u8]) {
        let mut position = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let word = self.word(position / 8).to_le_bytes();
            let from = (position % 8) as usize;
            let count = rest.len().min(8 - from);
            rest[..count].copy_from_slice(&word[from..from + count]);
            rest = &mut rest[count..];
            position += count as u64;
        }
    }

    /// Word `index` of the sequence (splitmix64).
    fn word(self, index: u64) -> u64 {
        let mut word = self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Compares bytes received for `offset` with the pattern.
    ///
    /// # Panics
    /// Naming the first offset that differs.
    pub fn compare(self, offset: u64, received: &[u8]) {
        let mut expected = vec![0; received.len()];
        self.fill(offset, &mut expected);
        if expected != received {
            let pairs = expected.iter().zip(received);
            let at = pairs.take_while(|(left, right)| left == right).count();
            panic!("byte {} differs: {} instead of {}", offset + at as u64, received[at], expected[at]);
        }
    }

    /// Writes a file of `length` bytes and waits until they are on disk, so that its pages can be evicted.
    pub fn write(self, path: &Path, length: u64) {
        let mut file = File::create(path).unwrap();
        let mut block = vec![0; MIB as usize];
        let mut offset = 0;
        while offset < length {
            let count = (length - offset).min(MIB);
            let block = &mut block[..usize::try_from(count).unwrap()];
            self.fill(offset, block);
            file.write_all(block).unwrap();
            offset += count;
        }
        file.sync_all().unwrap();
    }
}

/// The folder that outlives a run: films are made once, not once a run.
fn kept() -> PathBuf {
    scratch().parent().unwrap().join("test-films")
}

/// Takes a lock between test processes; it is released when the file is dropped, also by a crash.
fn lock(name: &str) -> File {
    fs::create_dir_all(kept()).unwrap();
    let file = File::create(kept().join(name)).unwrap();
    file.lock().unwrap();
    file
}

fn make_once(path: &Path, make: impl FnOnce(&Path)) {
    if path.exists() {
        return;
    }
    let name = path.file_name().unwrap().to_str().unwrap();
    let unfinished = kept().join("unfinished");
    fs::create_dir_all(&unfinished).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let temporary = unfinished.join(name);
    make(&temporary);
    File::open(&temporary).unwrap().sync_all().unwrap();
    fs::rename(&temporary, path).unwrap();
}

/// Encodes a moving test picture with a tone; `width` in pixels, 16:9.
fn encode(path: &Path, seconds: u32, width: u32, options: &str) {
    let height = width * 9 / 16 / 2 * 2;
    let picture = format!("testsrc2=size={width}x{height}:rate=25");
    let mut ffmpeg = program("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-y"]);
    ffmpeg.args(["-f", "lavfi", "-i", &picture]);
    ffmpeg.args(["-f", "lavfi", "-i", "sine=frequency=440"]);
    ffmpeg.args(["-t", &seconds.to_string(), "-pix_fmt", "yuv420p"]);
    ffmpeg.args(options.split(' ')).arg(path);
    run(&mut ffmpeg, Duration::from_secs(120)).succeeded();
}
