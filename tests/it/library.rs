//! The library over a real folder and a real store: what a scan finds, and what survives a restart.

use reelway::library::index::Sort;
use reelway::library::{Library, video_id};
use reelway::store::{Store, Timestamp};

fn formats() -> Vec<String> {
    ["mp4", "mkv"].map(String::from).to_vec()
}

fn scanned(folder: &std::path::Path, store: &Store, now: i64) -> Library {
    let library = Library::open([("films".to_owned(), folder.join("films"))], &formats());
    library.scan(store, Timestamp::from_microseconds(now));
    library
}

/// Goal: a video keeps its id and the time it was first seen over restarts, and leaves the index when it is gone.
#[test]
fn a_video_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("films/Series")).unwrap();
    std::fs::write(folder.path().join("films/Series/one.mkv"), "1").unwrap();
    std::fs::write(folder.path().join("films/two.mp4"), "22").unwrap();
    let database = folder.path().join("reelway.db");

    let store = Store::open(&database).unwrap();
    let first = scanned(folder.path(), &store, 1_000_000).index();
    assert_eq!(first.len(), 2);
    let one = first.by_id(video_id("films", b"Series/one.mkv")).expect("found by root and path").clone();
    assert_eq!(one.added_at, Timestamp::from_microseconds(1_000_000));
    store.close();

    std::fs::remove_file(folder.path().join("films/two.mp4")).unwrap();
    let store = Store::open(&database).unwrap();
    let library = scanned(folder.path(), &store, 2_000_000);
    let second = library.index();
    let videos = second.search("", Sort::Title, false);
    assert_eq!(videos, [&one], "the same video, first seen when it was first seen");
    assert!(library.locate(videos[0]).is_some());
    assert!(library.scan_state().is_scanned);
}

/// Goal: a store that fails costs the library nothing but the times of first sight.
#[test]
fn a_library_is_served_when_the_store_fails() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("films")).unwrap();
    std::fs::write(folder.path().join("films/one.mkv"), "1").unwrap();
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    store.close();
    let library = scanned(folder.path(), &store, 1_000_000);
    assert_eq!(library.index().len(), 1);
    assert!(library.scan_state().store_fault.is_some());
}
