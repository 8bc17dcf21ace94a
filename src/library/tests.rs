//! Which root a path leads to, what a reload keeps, and whose films are gone after a scan.

use std::os::unix::ffi::OsStrExt;

use super::*;

fn library(folder: &std::path::Path) -> Library {
    let roots = ["films", "shows", "gone"].map(|name| (name.to_owned(), folder.join(name)));
    std::fs::create_dir_all(folder.join("films/shows")).unwrap();
    std::fs::create_dir_all(folder.join("shows")).unwrap();
    Library::open(roots, &["mp4".into(), "MKV".into()])
}

fn missing(name: &str) -> Missing {
    Missing { name: name.to_owned(), why: Absence::Missing }
}

#[test]
fn a_first_segment_that_names_a_root_tries_that_root_first() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let places = |path: &'static str| -> Vec<(String, String)> {
        let found = library.candidates(path);
        found.iter().map(|place| (place.root_name.to_owned(), place.path.to_owned())).collect()
    };
    let pair = |root: &str, path: &str| (root.to_owned(), path.to_owned());
    assert_eq!(places("a.mp4"), [pair("films", "a.mp4"), pair("shows", "a.mp4")]);
    assert_eq!(
        places("shows/a.mp4"),
        [pair("shows", "a.mp4"), pair("films", "shows/a.mp4"), pair("shows", "shows/a.mp4")]
    );
    assert_eq!(places("gone/a.mp4"), [pair("films", "gone/a.mp4"), pair("shows", "gone/a.mp4")]);
}

#[test]
fn only_wanted_formats_have_a_media_type() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    assert_eq!(library.media_type("a/b.MP4"), Some("video/mp4"));
    assert!(library.media_type("b.mkv").is_some());
    assert_eq!(library.media_type("b.avi"), None, "avi is a format, but not a wanted one");
    assert!(library.media_type("b.srt").is_some(), "subtitles go with any film");
    assert_eq!(library.media_type("b.exe"), None);
    assert_eq!(library.media_type("mp4"), None);
    assert_eq!(library.scan_state().missing_roots, [missing("gone")]);
}

#[test]
fn a_library_with_other_roots_keeps_what_is_known_of_those_in_both() {
    let folder = tempfile::tempdir().unwrap();
    let before = library(folder.path());
    let video = |root: usize, name: &str, path: &str| Video {
        id: video_id(name, path.as_bytes()),
        root,
        path: path.to_owned(),
        title: path.to_owned(),
        size: 1,
        modified: Timestamp::from_microseconds(0),
        added_at: Timestamp::from_microseconds(0),
    };
    let known = vec![video(0, "films", "a.mp4"), video(1, "shows", "b.mp4"), video(1, "shows", "c.mkv")];
    before.index.store(Arc::new(Index::new(known)));
    // The first root is gone, the second has become the second after a new one, and mkv is no format any more.
    let roots = ["new", "shows"].map(|name| (name.to_owned(), folder.path().join(name)));
    let after = before.changed(roots, &["mp4".to_owned()]);
    let index = after.index();
    assert_eq!(index.len(), 1);
    let kept = index.by_id(video_id("shows", b"b.mp4")).expect("it is in both");
    let place = after.locate(kept).expect("its root is there");
    assert_eq!((place.root_name, place.root), ("shows", 1));
    assert!(
        Arc::ptr_eq(&place.directory, &before.roots()[1].open().unwrap()),
        "a folder that stays is not opened again"
    );
    assert_eq!(after.scan_state().missing_roots, [missing("new")]);
}

#[test]
fn an_id_is_made_from_root_and_path_alone() {
    assert_eq!(video_id("films", b"a.mp4"), video_id("films", b"a.mp4"));
    assert_ne!(video_id("films", b"a.mp4"), video_id("shows", b"a.mp4"));
    assert_ne!(video_id("films", b"a.mp4"), video_id("films", b"b.mp4"));
}

#[test]
fn one_scan_runs_at_a_time_and_its_end_is_seen_whatever_becomes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let library = Arc::new(library(folder.path()));
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let now = Timestamp::from_microseconds(1);
    let turn = library.take_turn().unwrap();
    assert!(library.scan_state().is_scanning);
    assert_eq!(library.start_scan(&store, now).unwrap(), ScanStart::Running);
    library.scan(&store, now);
    assert!(!library.scan_state().is_scanned, "nobody scans beside another");
    drop(turn);
    assert!(!library.scan_state().is_scanning);
    library.scan(&store, now);
    let state = library.scan_state();
    assert!(state.is_scanned && !state.is_scanning, "{state:?}");
    store.close();
}

#[test]
fn a_library_that_is_superseded_undoes_nothing_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let before = library(folder.path());
    std::fs::write(folder.path().join("shows/a.mp4"), "x").unwrap();
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let roots = ["films", "shows"].map(|name| (name.to_owned(), folder.path().join(name)));
    let after = before.changed(roots, &["mp4".to_owned()]);
    before.supersede();
    after.scan(&store, Timestamp::from_microseconds(1));
    assert_eq!(after.scan_state().added, 1);
    // As a scan does that began before the reload and finds other things, or the same at another time.
    std::fs::write(folder.path().join("shows/b.mp4"), "x").unwrap();
    std::fs::remove_file(folder.path().join("shows/a.mp4")).unwrap();
    before.scan(&store, Timestamp::from_microseconds(2));
    let state = before.scan_state();
    assert!(!state.is_scanned && !state.is_scanning && before.index().is_empty(), "{state:?}");
    std::fs::write(folder.path().join("shows/a.mp4"), "x").unwrap();
    after.scan(&store, Timestamp::from_microseconds(3));
    let ScanState { added, changed, removed, .. } = *after.scan_state();
    assert_eq!((added, removed), (1, 0), "b.mp4 is new, a.mp4 never left ({changed} changed)");
    store.close();
}

#[test]
fn what_is_found_is_stored_by_one_library_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let before = library(folder.path());
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let after = Arc::new(before.changed([], &["mp4".to_owned()]));
    let storing = before.storing.lock().unwrap();
    after.start_scan(&store, Timestamp::from_microseconds(1)).unwrap();
    std::thread::yield_now();
    assert!(after.storing.try_lock().is_err() && !after.scan_state().is_scanned);
    drop(storing);
    while !after.scan_state().is_scanned {
        std::thread::yield_now();
    }
    store.close();
}

#[test]
fn an_empty_folder_is_a_disk_that_is_away_unless_films_were_found_in_that_very_folder() {
    let folder = tempfile::tempdir().unwrap();
    let [disk, unplugged] = ["films", "unplugged"].map(|name| folder.path().join(name));
    let library = library(folder.path());
    std::fs::remove_dir(disk.join("shows")).unwrap();
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let scan = |library: &Library, seconds: i64| {
        library.scan(&store, Timestamp::from_microseconds(seconds * 1_000_000));
        let state = library.scan_state();
        (state.absence("films"), state.found, state.added, state.removed)
    };
    assert_eq!(scan(&library, 1), (None, 0, 0, 0), "one in which there never were any is just empty");
    std::fs::write(disk.join("a.mp4"), "x").unwrap();
    assert_eq!(scan(&library, 2), (None, 1, 1, 0));
    let away = (Some(Absence::Unmounted), 0, 0, 0);
    std::fs::rename(&disk, &unplugged).unwrap();
    std::fs::create_dir(&disk).unwrap();
    assert_eq!(scan(&library, 3), away);
    assert_eq!(scan(&library, 4), away, "it stays away");
    let restarted = self::library(folder.path());
    std::fs::remove_dir(disk.join("shows")).unwrap();
    assert_eq!(scan(&restarted, 5), away, "also for a daemon that has never seen it");
    std::fs::remove_dir(&disk).unwrap();
    std::fs::rename(&unplugged, &disk).unwrap();
    for library in [&library, &restarted] {
        assert_eq!(scan(library, 6), (None, 1, 0, 0), "it is back, and nothing in it is new");
    }
    std::fs::remove_file(disk.join("a.mp4")).unwrap();
    assert_eq!(scan(&library, 7), (None, 0, 0, 1), "somebody has deleted them");
    assert_eq!(scan(&self::library(folder.path()), 8), (None, 0, 0, 0), "which is remembered");
    store.close();
}

#[test]
fn what_is_walked_is_the_folder_that_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let [disk, unplugged] = ["films", "unplugged"].map(|name| folder.path().join(name));
    std::fs::write(disk.join("shows/a.mp4"), "x").unwrap();
    std::fs::write(disk.join(std::ffi::OsStr::from_bytes(b"\xe9.mp4")), "x").unwrap();
    // The disk is taken out when the scan has begun and this root has not had its turn.
    std::fs::rename(&disk, &unplugged).unwrap();
    std::fs::create_dir(&disk).unwrap();
    let found = scan::walk(&library, std::time::Duration::from_secs(60), |_| {});
    assert_eq!((found.by_root[0], found.empty_roots), (1, vec![1]));
    let shown = disk.join(std::ffi::OsStr::from_bytes(b"\xe9.mp4")).display().to_string();
    assert_eq!(found.failed[0].path, shown, "people know it by the path of the configuration");
}

#[test]
fn films_of_a_root_that_could_not_be_looked_through_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let library = library(folder.path());
    for film in ["films/a.mp4", "films/b.mp4", "shows/c.mp4"] {
        std::fs::write(folder.path().join(film), "x").unwrap();
    }
    library.scan(&store, Timestamp::from_microseconds(1));
    // There was no thread for the first root, or the walk of it has panicked.
    let mut found = Found { by_root: vec![0; 3], ..Found::default() };
    let end = walker::End::Broken("could not start a thread for it".into());
    found.walked(0, &library.roots()[0], end, std::time::Duration::ZERO);
    library.take_over(found, &store, Timestamp::from_microseconds(2));
    let state = library.scan_state();
    assert_eq!((state.absence("films"), state.found, state.removed), (Some(Absence::Unscanned), 2, 1), "c.mp4 is gone");
    assert_eq!(library.index().len(), 2);
    library.scan(&store, Timestamp::from_microseconds(3));
    assert_eq!((library.scan_state().absence("films"), library.scan_state().added), (None, 1));
    store.close();
}

#[test]
fn a_root_that_is_removed_and_added_again_has_the_thread_that_is_stuck_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let before = library(folder.path());
    std::fs::write(folder.path().join("films/a.mp4"), "x").unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let work = move |_| {
        let _ = held.recv();
        Ok(())
    };
    let (_, end) = before.roots()[0].walker.watch(Found::default(), std::time::Duration::ZERO, work, |_| true);
    assert_eq!(end, walker::End::Silent { is_new: true });
    let without = before.changed([], &["mp4".to_owned()]);
    drop(before);
    let after = without.changed([("films".to_owned(), folder.path().join("films"))], &["mp4".to_owned()]);
    assert_eq!(after.scan_state().absence("films"), Some(Absence::Silent));
    after.scan(&store, Timestamp::from_microseconds(1));
    assert_eq!((after.scan_state().absence("films"), after.index().len()), (Some(Absence::Silent), 0));
    release.send(()).unwrap();
    while after.roots()[0].walker.is_stuck() {
        std::thread::yield_now();
    }
    after.scan(&store, Timestamp::from_microseconds(2));
    assert_eq!((after.scan_state().absence("films"), after.index().len()), (None, 1));
    store.close();
}

#[test]
fn a_folder_with_anything_in_it_is_believed_to_have_no_films() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let film = folder.path().join("films/a.mp4");
    let before = library(folder.path());
    std::fs::write(&film, "x").unwrap();
    before.scan(&store, Timestamp::from_microseconds(1));
    std::fs::remove_file(&film).unwrap();
    let after = library(folder.path());
    after.scan(&store, Timestamp::from_microseconds(2));
    let state = after.scan_state();
    assert_eq!((state.absence("films"), state.removed), (None, 1), "the folder 'shows' is in it");
    store.close();
}

#[test]
fn a_scan_sees_a_disk_that_has_come_and_one_that_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let scan = |seconds: i64| {
        library.scan(&store, Timestamp::from_microseconds(seconds * 1_000_000));
        library.scan_state()
    };
    assert!(library.candidates("gone/a.mp4").iter().all(|place| place.root_name != "gone"));
    std::fs::create_dir(folder.path().join("gone")).unwrap();
    std::fs::write(folder.path().join("gone/a.mp4"), "x").unwrap();
    let state = scan(1);
    assert_eq!((state.missing_roots.len(), state.found, state.added), (0, 1, 1));
    assert_eq!(state.found_by_root, [0, 0, 1]);
    assert!(library.candidates("gone/a.mp4").iter().any(|place| place.root_name == "gone"));
    std::fs::write(folder.path().join("gone/a.mp4"), "longer").unwrap();
    assert_eq!(scan(2).changed, 1);
    std::fs::remove_dir_all(folder.path().join("gone")).unwrap();
    let state = scan(3);
    assert_eq!((state.missing_roots.clone(), state.found, state.removed), (vec![missing("gone")], 0, 0));
    assert!(library.candidates("a.mp4").iter().all(|place| place.root_name != "gone"), "it is not read any more");
    store.close();
}
