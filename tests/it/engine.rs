//! Both engines wait for the disk, lose nothing, and leak nothing when whoever asked has gone.

use std::ffi::CString;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reelway::sys::engine::Engine;
use reelway::sys::file::{MediaFile, Root};
use reelway::sys::sendfile::{Follow, Pipe};

const ENGINES: [Engine; 2] = [Engine::Ring, Engine::Threads];
const FILM_BYTES: usize = 700_001;

/// A folder with a film whose bytes follow a rule.
fn film() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..FILM_BYTES).map(|index| (index * 31 % 251) as u8).collect();
    std::fs::write(folder.path().join("film.mp4"), &bytes).unwrap();
    (folder, bytes)
}

async fn open(engine: Engine, folder: &Path) -> Arc<MediaFile> {
    let root = Arc::new(Root::open(folder).unwrap());
    let file = engine.open(&root, CString::new("film.mp4").unwrap()).await.unwrap();
    Arc::new(file.expect("a regular file"))
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Goal: what an engine puts into a pipe is what the file has there, to its end and not beyond.
#[test]
fn a_fill_carries_the_bytes_of_the_file() {
    let (folder, bytes) = film();
    for engine in ENGINES {
        engine
            .block_on(async {
                let file = open(engine, folder.path()).await;
                let pipe = Arc::new(Pipe::new(1 << 20, &Arc::default()).unwrap());
                for offset in [0, 1, 4096, FILM_BYTES - 1] {
                    let length = 100_000.min(FILM_BYTES - offset);
                    let fill = engine.fill(Arc::clone(&file), Arc::clone(&pipe), offset as u64, length, ());
                    assert_eq!(fill.await.unwrap(), length);
                    let (ours, mut theirs) = UnixStream::pair().unwrap();
                    let mut received = vec![0; length];
                    let reader = std::thread::spawn(move || theirs.read_exact(&mut received).map(|()| received));
                    let mut left = length;
                    while left > 0 {
                        left -= pipe.drain(&ours, left, Follow::Nothing).unwrap();
                    }
                    assert_eq!(reader.join().unwrap().unwrap(), &bytes[offset..offset + length], "{engine:?} {offset}");
                }
                let past = engine.fill(file, pipe, FILM_BYTES as u64, 10, ()).await.unwrap();
                assert_eq!(past, 0, "{engine:?}: the end of the file is the end");
            })
            .unwrap();
    }
}

/// Goal: a request that is dropped while the kernel works on it costs nobody a descriptor.
#[test]
fn a_dropped_fill_or_open_leaks_nothing() {
    let (folder, _) = film();
    for engine in ENGINES {
        let pipes = Arc::new(AtomicUsize::new(0));
        engine
            .block_on(async {
                let root = Arc::new(Root::open(folder.path()).unwrap());
                let file = open(engine, folder.path()).await;
                // Opened once, so that it does not count below.
                let _cold = file.cold();
                let before = open_descriptors();
                for _ in 0..100 {
                    let pipe = Arc::new(Pipe::new(1 << 20, &pipes).unwrap());
                    let fill = engine.fill(Arc::clone(&file), pipe, 0, FILM_BYTES, ());
                    let name = CString::new("film.mp4").unwrap();
                    tokio::select! {
                        biased;
                        _ = fill => {}
                        _ = engine.open(&root, name) => {}
                        () = std::future::ready(()) => {}
                    }
                }
                let deadline = Instant::now() + Duration::from_secs(10);
                while pipes.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
                    engine.turn().await;
                }
                assert_eq!(pipes.load(Ordering::Relaxed), 0, "{engine:?}");
                assert_eq!(open_descriptors(), before, "{engine:?}");
            })
            .unwrap();
    }
}

/// Goal: a turn lets every other task run, those that wait for the ring included.
#[test]
fn turns_starve_nobody() {
    let (folder, _) = film();
    for engine in ENGINES {
        engine
            .block_on(async {
                let file = open(engine, folder.path()).await;
                let busy = tokio::task::spawn_local(async move {
                    loop {
                        engine.turn().await;
                    }
                });
                let pipe = Arc::new(Pipe::new(1 << 20, &Arc::default()).unwrap());
                let fill = engine.fill(file, pipe, 0, 1000, ());
                let filled = tokio::time::timeout(Duration::from_secs(5), fill).await;
                assert_eq!(filled.expect("a fill beside a busy stream").unwrap(), 1000, "{engine:?}");
                busy.abort();
            })
            .unwrap();
    }
}
