//! Notes as they are written, read, and spoilt.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::auth::presence::Sign;
use crate::http::range::Extent;
use crate::library::Library;
use crate::library::open::OpenVideo;
use crate::limits;
use crate::playback::Kept;
use crate::store::Timestamp;
use crate::sys::descriptor::{Kind, cookie, kind};
use crate::sys::file::{MediaFile, Root};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_microseconds(seconds * 1_000_000)
}

fn library(folder: &Path) -> Library {
    Library::open([("films".to_owned(), folder.to_owned())], &["mp4".into()])
}

fn film(folder: &Path, name: &str) -> Film {
    std::fs::write(folder.join(name), vec![7; 5000]).unwrap();
    let path = std::ffi::CString::new(name).unwrap();
    let root = Root::open(folder).unwrap();
    let opened = root.open_waiting(&path).unwrap();
    let file = MediaFile::admit(opened).unwrap().unwrap();
    Arc::new(OpenVideo::new(Some(Arc::new(root)), "films", name, "video/mp4", Arc::new(file)))
}

fn watcher() -> Watcher {
    let (id, client) = (Uuid::from_u128(5), IpAddr::from([192, 168, 0, 7]));
    Watcher { user_id: Some(id), session_id: id, client, is_near: true, max_bandwidth: Some(9), sign: Sign::default() }
}

fn key() -> Key {
    Key { owner: Owner::User(Uuid::from_u128(5)), video: Uuid::from_u128(6), player: u64::MAX }
}

fn connection(left: Left) -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection { socket: ours.into(), left }, theirs)
}

fn answering(films: &[&Film]) -> Left {
    let extent = |film: &&Film| Part::Extent { file: Arc::clone(film), extent: Extent { offset: 10, length: 4000 } };
    let mut parts: Vec<Part<Film>> = films.iter().map(extent).collect();
    parts.insert(0, Part::Bytes(b"--rest of a part's head\r\n".to_vec().into()));
    let length = parts.iter().map(Part::length).sum();
    let finished = Finished { status: 206, head: b"\r\n\r\n".to_vec(), parts: parts.into(), length, close: false };
    let plays = Some(Plays { key: key(), watcher: watcher(), credential_version: Some(3) });
    let asked = Asked {
        request_id: Uuid::from_u128(1),
        client: None,
        user_id: None,
        session_id: Some(Uuid::from_u128(2)),
        path: "/videos/a.mp4".into(),
    };
    Left::Answering { unsent: Box::new(Unsent { finished, plays, asked }), inbox: b"GET / HT".to_vec() }
}

/// Sorts descriptors as the daemon does, and puts a note together with them.
fn assembled(note: &[u8], descriptors: Vec<OwnedFd>, library: &Library) -> Result<Found, String> {
    let (mut sockets, mut files) = (HashMap::new(), HashMap::new());
    for descriptor in descriptors {
        match kind(&descriptor).unwrap() {
            Kind::Socket { cookie } => drop(sockets.insert(cookie, descriptor)),
            Kind::File(id) => drop(files.insert(id, descriptor)),
            other => panic!("{other:?}"),
        }
    }
    Ok(unpack(note)?.assemble(sockets, files, library))
}

fn copies(connections: &[Connection]) -> Vec<OwnedFd> {
    let sockets = connections.iter().map(|connection| connection.socket.as_fd());
    { files(connections).into_iter().chain(sockets) }
        .map(|descriptor| descriptor.try_clone_to_owned().unwrap())
        .collect()
}

#[test]
fn what_is_left_is_the_same_after_it_was_packed_and_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["a.mp4", "b.mp4"].map(|name| film(folder.path(), name));
    let mut proxied = answering(&[&one]);
    if let Left::Answering { unsent, .. } = &mut proxied {
        unsent.asked.client = Some([203, 0, 113, 9].into());
    }
    let lefts = [Left::idle(b"GET /half"), answering(&[&one, &two]), proxied, Left::closing()];
    let (connections, _clients): (Vec<_>, Vec<_>) = lefts.into_iter().map(connection).unzip();
    let kept = Kept {
        id: Uuid::from_u128(77),
        key: key(),
        watcher: watcher(),
        started: at(5),
        bytes: u64::MAX,
        retransmits: 2,
    };
    let library = library(folder.path());
    let note = pack(&connections, std::slice::from_ref(&kept), at(9)).unwrap();
    let descriptors = copies(&connections);
    assert_eq!(descriptors.len(), 2 + 4, "each film once");
    std::fs::remove_file(folder.path().join("a.mp4")).unwrap();
    let found = assembled(&note, descriptors, &library).unwrap();
    assert_eq!((found.connections.len(), found.lost), (4, 0));
    for (now, before) in found.connections.iter().zip(&connections) {
        assert_eq!(cookie(&now.socket).unwrap(), cookie(&before.socket).unwrap());
        assert_eq!(shown(&now.left), shown(&before.left));
    }
    let [playback] = &found.playbacks[..] else { panic!("{:?}", found.playbacks) };
    let shown = |kept: &Kept| format!("{:?}", Kept { watcher: watcher(), ..kept.clone() });
    assert_eq!(shown(playback), shown(&kept));
    assert_eq!(playback.watcher.client, kept.watcher.client);
}

/// All of what is left, but for what is open.
fn shown(left: &Left) -> String {
    let Left::Answering { unsent, inbox } = left else { return format!("{left:?}") };
    let Unsent { finished, plays, asked } = &**unsent;
    let part = |part: &Part<Film>| match part {
        Part::Bytes(bytes) => format!("{bytes:?}"),
        Part::Extent { file, extent } => {
            format!("{} {:?} {} {} {extent:?}", file.id, file.file.id(), file.media_type, file.validators.etag)
        }
    };
    let parts: Vec<String> = finished.parts.iter().map(part).collect();
    let plays = plays.as_ref().map(|plays| (plays.key, plays.watcher.session_id, plays.credential_version));
    let Finished { status, head, length, close, .. } = finished;
    format!("{inbox:?} {status} {head:?} {length} {close} {parts:?} {plays:?} {asked:?}")
}

/// What version 1 writes, with 0 for each number that differs from machine to machine.
const RECORDED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/handover-1.json"));

/// An upgrade hands the note of one release to another, and a rollback the other way. Whoever changes what is written records it
/// beside this as the next version, and goes on reading this one.
#[test]
fn a_note_is_written_as_it_was_recorded_and_the_recorded_one_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let one = film(folder.path(), "a.mp4");
    let lefts = [Left::idle(b"GET /half"), answering(&[&one]), Left::closing()];
    let (connections, _clients): (Vec<_>, Vec<_>) = lefts.into_iter().map(connection).unzip();
    let (key, watcher) = (key(), watcher());
    let kept = Kept { id: Uuid::from_u128(77), key, watcher, started: at(5), bytes: 1 << 40, retransmits: 2 };
    let written = pack(&connections, &[kept], at(9)).unwrap();

    const PLACES: [&str; 6] = [
        "/films/0/device",
        "/films/0/inode",
        "/films/0/modified_ns",
        "/connections/0/cookie",
        "/connections/1/cookie",
        "/connections/2/cookie",
    ];
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    let mut recorded: serde_json::Value = serde_json::from_str(RECORDED).unwrap();
    for place in PLACES {
        let of_machine = recorded.pointer_mut(place).unwrap();
        assert_eq!(of_machine, &serde_json::Value::from(0), "{place}");
        *of_machine = written.pointer(place).unwrap().clone();
    }
    assert_eq!(written, recorded);
    let found = assembled(recorded.to_string().as_bytes(), copies(&connections), &library(folder.path())).unwrap();
    assert_eq!((found.connections.len(), found.playbacks.len(), found.lost), (3, 1, 0));
    for (now, before) in found.connections.iter().zip(&connections) {
        assert_eq!(shown(&now.left), shown(&before.left));
    }
}

#[test]
fn a_note_of_another_version_or_of_nothing_is_told_apart() {
    for (text, reason) in [
        ("{\"version\":2}", "has version 2, and this release reads 1"),
        ("{\"version\":1}", "missing field"),
        ("{\"version\":-1}", "cannot be read"),
        ("", "cannot be read"),
        ("\u{0}", "cannot be read"),
    ] {
        let refused = unpack(text.as_bytes()).unwrap_err();
        assert!(refused.contains(reason), "{text:?}: {refused}");
    }
}

#[test]
fn who_has_left_meanwhile_is_missed_and_a_socket_without_a_word_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let one = film(folder.path(), "a.mp4");
    let (connections, mut clients): (Vec<_>, Vec<_>) =
        [answering(&[&one]), Left::idle(b"")].into_iter().map(connection).unzip();
    let library = library(folder.path());
    let note = pack(&connections, &[], at(9)).unwrap();
    let mut descriptors = copies(&connections);
    assert_eq!(descriptors.len(), 3);
    drop(descriptors.remove(1));
    let (stranger, other_end) = UnixStream::pair().unwrap();
    descriptors.push(stranger.into());
    drop(connections);
    let found = assembled(&note, descriptors, &library).unwrap();
    assert_eq!((found.connections.len(), found.lost), (1, 1));
    assert_eq!(std::io::Read::read(&mut &other_end, &mut [0]).unwrap(), 0, "the stranger is closed");
    assert_eq!(std::io::Read::read(&mut clients[0], &mut [0]).unwrap(), 0, "nobody holds it open");
}

#[test]
fn a_film_whose_file_is_missing_is_lost_alone() {
    let folder = tempfile::tempdir().unwrap();
    let one = film(folder.path(), "a.mp4");
    let (connections, _clients): (Vec<_>, Vec<_>) =
        [answering(&[&one]), Left::idle(b"")].into_iter().map(connection).unzip();
    let library = library(folder.path());
    let note = pack(&connections, &[], at(9)).unwrap();
    let descriptors = copies(&connections).split_off(1);
    let found = assembled(&note, descriptors, &library).unwrap();
    assert_eq!((found.connections.len(), found.lost), (1, 1));
}

/// A reload or a restart may have renamed the root, taken it out, or put others before it.
#[test]
fn a_film_keeps_its_root_by_name_and_goes_on_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let one = film(folder.path(), "a.mp4");
    let (connection, _client) = connection(answering(&[&one]));
    let connections = [connection];
    let note = pack(&connections, &[], at(9)).unwrap();
    let other = tempfile::tempdir().unwrap();
    for (roots, knows_it) in [(vec!["other", "films"], true), (vec!["other"], false), (vec![], false)] {
        let place = |name: &&str| if *name == "films" { folder.path().to_owned() } else { other.path().to_owned() };
        let library = Library::open(roots.iter().map(|name| (String::from(*name), place(name))), &["mp4".into()]);
        let found = assembled(&note, copies(&connections), &library).unwrap();
        let [resumed] = &found.connections[..] else { panic!("{roots:?}: {} lost", found.lost) };
        let film = resumed.left.films().next().expect("it has a film");
        assert_eq!((film.id, &film.root_name), (one.id, &one.root_name), "{roots:?}");
        assert_eq!(film.root.is_some(), knows_it, "{roots:?}");
        let of_root = library.roots().iter().find(|root| root.name == "films").and_then(|root| root.open());
        assert!(film.root.iter().zip(&of_root).all(|(is, should)| Arc::ptr_eq(is, should)), "{roots:?}");
        // As it is written again, by a process that may know the root no more.
        assert!(String::from_utf8(pack(&found.connections, &[], at(10)).unwrap()).unwrap().contains("\"films\""));
    }
}

#[test]
fn films_are_stored_before_all_others_when_there_is_no_room_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["a.mp4", "b.mp4"].map(|name| film(folder.path(), name));
    let lefts = || [Left::idle(b""), answering(&[&one]), Left::closing(), answering(&[&one]), answering(&[&two])];
    // A note, a film with two connections, another with one, and two without.
    for (capacity, films, others) in
        [(0, 0, 0), (2, 0, 1), (3, 1, 0), (4, 2, 0), (5, 2, 1), (6, 3, 0), (7, 3, 1), (8, 3, 2)]
    {
        let (connections, _clients): (Vec<_>, Vec<_>) = lefts().into_iter().map(connection).unzip();
        let (fits, left_out) = fitting(connections, capacity);
        let count = fits.iter().filter(|connection| connection.left.films().next().is_some()).count();
        let found = (count, fits.len() - count, fits.len() + left_out.len());
        assert_eq!(found, (films, others, 5), "of {capacity}");
        assert!(fits.is_empty() || copies(&fits).len() < capacity);
    }
}

#[test]
fn no_spoilt_note_does_any_harm() {
    let folder = tempfile::tempdir().unwrap();
    let one = film(folder.path(), "a.mp4");
    let (connections, _clients): (Vec<_>, Vec<_>) =
        [answering(&[&one]), Left::idle(b"x"), Left::closing()].into_iter().map(connection).unzip();
    let library = library(folder.path());
    let note = pack(&connections, &[], at(9)).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut read = 0;
    for _ in 0..20_000 {
        let mut spoilt = note.clone();
        for _ in 0..=next(3) {
            let place = next(spoilt.len());
            match next(4) {
                0 => spoilt[place] = b"0123456789-{}[]\",:ntf"[next(21)],
                1 => spoilt[place] = next(256) as u8,
                2 if spoilt.len() > 1 => drop(spoilt.remove(place)),
                _ => spoilt.truncate(place.max(1)),
            }
        }
        let Ok(found) = assembled(&spoilt, copies(&connections), &library) else { continue };
        read += 1;
        for Connection { left, .. } in &found.connections {
            let Left::Answering { unsent, inbox } = left else { continue };
            assert!(inbox.len() <= limits::HEAD_BYTES_MAX);
            for part in &unsent.finished.parts {
                if let Part::Extent { extent, .. } = part {
                    assert!(extent.offset.checked_add(extent.length).is_some() && unsent.plays.is_some());
                }
            }
        }
    }
    assert!(read > 500, "only {read} could be read: nothing was tried");
}

/// What a database says that is asked `failures` times in vain, and how often it was asked.
async fn asked(patience: Duration, failures: usize, fault: Fault) -> (Result<(), Fault>, usize) {
    let mut count = 0;
    let answer = until_answered(patience, async || {
        count += 1;
        if count > failures { Ok(()) } else { Err(fault.clone()) }
    });
    (answer.await, count)
}

#[tokio::test]
async fn a_database_that_fails_is_asked_again_but_not_for_ever() {
    let busy = Fault::Busy { file: "reelway.db".into() };
    let long = Duration::from_secs(3600);
    assert!(matches!(asked(long, 2, busy.clone()).await, (Ok(()), 3)));
    assert!(matches!(asked(Duration::ZERO, 2, busy).await, (Err(Fault::Busy { .. }), 1)));
    assert!(matches!(asked(long, 2, Fault::Stopped).await, (Err(Fault::Stopped), 1)), "it has ended");
}
