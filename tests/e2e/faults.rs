//! What goes wrong while a film plays: the file changes, the player dies, reads slowly, or pauses. The right bytes or an
//! honest end, and nothing stays behind.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{
    self, BIG_FILM, BIG_FILM_BYTES, COLD_FILM_BYTES, COLD_FILMS, ColdFilms, MIB, Pattern, url_path,
};
use crate::support::{PATIENCE, eventually, page_cache, scratch};

const FILM: &str = "film.mp4";
const FILM_BYTES: u64 = 48 * MIB;
/// What a viewer has seen when the fault comes. The kernel queues a few MiB more.
const SEEN_BYTES: u64 = MIB;
/// From here on the film is evicted in the cold cases: well behind everything queued.
const COLD_FROM: u64 = 24 * MIB;

/// Whether the rest of the film is in memory when the fault comes: sendfile or the ring will meet it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Hot,
    Cold,
}

/// A daemon with a film that one viewer has begun to watch.
struct Scene {
    daemon: Daemon,
    path: PathBuf,
    folder: TempDir,
    viewer: Client,
    etag: String,
}

impl Scene {
    fn new(rest: Rest) -> Scene {
        let folder = tempfile::tempdir_in(scratch()).unwrap();
        let path = folder.path().join(FILM);
        Pattern::of(FILM).write(&path, FILM_BYTES);
        let daemon = Home::new(folder.path()).start();
        page_cache::make_hot(&path);
        let mut viewer = Client::connect_narrow(daemon.address);
        let head = daemon.ask_film(&mut viewer, FILM, None);
        let etag = head.field("etag").unwrap().to_owned();
        viewer.expect(Pattern::of(FILM), 0, SEEN_BYTES);
        if rest == Rest::Cold {
            page_cache::evict_from(&path, COLD_FROM);
            for offset in [COLD_FROM + MIB, FILM_BYTES - 1] {
                assert!(!page_cache::is_hot_at(&path, offset), "{offset} is still hot");
            }
        }
        Scene { daemon, path, folder, viewer, etag }
    }

    /// The viewer watches to the end: every byte is of the film as it was.
    fn plays_to_the_end(&mut self, rest: Rest) {
        self.viewer.expect(Pattern::of(FILM), SEEN_BYTES, FILM_BYTES - SEEN_BYTES);
        let (ring, _) = self.daemon.ledger().cold_windows();
        // A hot film may lose a page to the kernel at any time; then the ring is right to help.
        assert!(ring > 0 || rest == Rest::Hot, "the rest of the film was not cold");
    }
}

/// Goal: a film truncated while it plays ends early, honestly: only bytes that were there, then the end of the
/// connection before Content-Length; it is counted, and the next viewer gets the film as it is now.
#[test]
fn a_truncated_film_ends_the_connection_and_is_never_padded() {
    for rest in [Rest::Hot, Rest::Cold] {
        let scene = Scene::new(rest);
        let Scene { daemon, path, mut viewer, etag, folder: _folder } = scene;
        let before = daemon.ledger().sum("reelway_truncated_total");
        let length = 32 * MIB + 100;
        File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        let (received, ending) = viewer.expect_until_end(Pattern::of(FILM), SEEN_BYTES);
        let all = SEEN_BYTES + received;
        assert!(all <= length, "{all} bytes of {length}, {ending:?}, {rest:?}");
        assert!(all >= 16 * MIB, "only {all} bytes came, {ending:?}, {rest:?}");
        assert_eq!(daemon.ledger().sum("reelway_truncated_total"), before + 1);
        let now = daemon.fetch("HEAD", &url_path(FILM), &[]);
        assert_eq!(now.head.length(), length);
        assert_ne!(now.head.field("etag"), Some(etag.as_str()));
    }
}

/// Goal: a film replaced by rename goes on with its old bytes for who watches, and is the new one, under a new ETag,
/// for who comes next.
#[test]
fn a_replaced_film_plays_its_old_bytes_to_the_end() {
    for rest in [Rest::Hot, Rest::Cold] {
        let mut scene = Scene::new(rest);
        let new = scene.folder.path().join("new");
        Pattern::of("another").write(&new, MIB);
        fs::rename(&new, &scene.path).unwrap();
        scene.plays_to_the_end(rest);
        let next = scene.daemon.fetch("GET", &url_path(FILM), &[]);
        assert_eq!((next.head.status, next.head.length()), (200, MIB));
        assert_ne!(next.head.field("etag"), Some(scene.etag.as_str()));
        Pattern::of("another").compare(0, &next.body);
        let insists = [("If-Match", scene.etag.as_str())];
        assert_eq!(scene.daemon.fetch("HEAD", &url_path(FILM), &insists).head.status, 412);
    }
}

/// Goal: a film overwritten in place goes on without an end: each byte is of the film as it was or as it is now, at its own
/// place, and as many come as were promised; who comes next gets it as it is, under a new ETag.
#[test]
fn an_overwritten_film_goes_on_with_bytes_of_either() {
    for rest in [Rest::Hot, Rest::Cold] {
        let Scene { daemon, path, mut viewer, etag, folder: _folder } = Scene::new(rest);
        let new = Pattern::of("another");
        let mut block = vec![0; MIB as usize];
        let file = File::options().write(true).open(&path).unwrap();
        for offset in (0..FILM_BYTES).step_by(block.len()) {
            new.fill(offset, &mut block);
            file.write_all_at(&block, offset).unwrap();
        }
        let mut was = block.clone();
        for offset in (SEEN_BYTES..FILM_BYTES).step_by(block.len()) {
            let received = viewer.body(MIB);
            Pattern::of(FILM).fill(offset, &mut was);
            new.fill(offset, &mut block);
            let foreign = (0..block.len()).find(|at| received[*at] != was[*at] && received[*at] != block[*at]);
            assert_eq!(foreign, None, "in the MiB at {offset}, {rest:?}");
        }
        let next = daemon.fetch("GET", &url_path(FILM), &[]);
        assert_ne!(next.head.field("etag"), Some(etag.as_str()));
        assert_eq!(next.body.len() as u64, FILM_BYTES);
        new.compare(0, &next.body);
        assert_eq!(daemon.ledger().sum("reelway_truncated_total"), 0);
    }
}

/// Goal: a deleted film plays to its end for who watches, and is 404 for who comes next; its last descriptor goes.
#[test]
fn a_deleted_film_plays_to_the_end_and_is_404_afterwards() {
    for rest in [Rest::Hot, Rest::Cold] {
        let mut scene = Scene::new(rest);
        fs::remove_file(&scene.path).unwrap();
        scene.plays_to_the_end(rest);
        scene.daemon.fetch("GET", &url_path(FILM), &[]).is_problem(404);
        expect_no_film_open(&scene.daemon, &scene.path);
    }
}

/// Goal: a film replaced by a FIFO plays on for who watches; who comes next gets 404 at once instead of waiting for a
/// writer for ever.
#[test]
fn a_film_replaced_by_a_fifo_is_404_at_once() {
    for rest in [Rest::Hot, Rest::Cold] {
        let mut scene = Scene::new(rest);
        fs::remove_file(&scene.path).unwrap();
        mkfifoat(CWD, &scene.path, Mode::RUSR | Mode::WUSR).unwrap();
        let start = Instant::now();
        scene.daemon.fetch("GET", &url_path(FILM), &[]).is_problem(404);
        assert!(start.elapsed() < Duration::from_secs(5), "it waited for the FIFO");
        scene.plays_to_the_end(rest);
        expect_no_film_open(&scene.daemon, &scene.path);
    }
}

/// A film nobody watches holds no descriptor: a deleted one would hold its disk space.
fn expect_no_film_open(daemon: &Daemon, path: &Path) {
    let name = path.to_str().unwrap();
    eventually("the film is closed", PATIENCE, || {
        let open = daemon.open_files();
        (!open.iter().any(|file| file.starts_with(name))).then_some(())
    });
}

/// Goal: players that crash in the middle of hot and cold films leave no descriptor, pipe, transfer or connection.
#[test]
fn crashed_players_leave_nothing_behind() {
    let films = ColdFilms::alone();
    let daemon = Home::new(&films.folder).start();
    let hot = films.folder.join(ColdFilms::name(0));
    let before = daemon.holdings_at_rest();
    films.make_cold();
    page_cache::make_hot(&hot);
    for round in 0..5 {
        let viewers: Vec<Client> = (0..COLD_FILMS)
            .map(|index| {
                let name = ColdFilms::name(index);
                let mut viewer = Client::connect_narrow(daemon.address);
                // Each round begins where the last one has not read ahead.
                let first = round * 12 * MIB;
                daemon.ask_film(&mut viewer, &name, Some(&format!("bytes={first}-")));
                viewer.expect(Pattern::of(&name), first, 1000);
                viewer
            })
            .collect();
        viewers.into_iter().for_each(Client::reset);
    }
    let (ring, _) = daemon.ledger().cold_windows();
    assert!(ring > 0, "no film was cold");
    daemon.expect_holdings(&before);
    assert!(daemon.ledger().sum("reelway_pipes") <= 32);
}

/// Goal: a player that crashes before it has read a single byte, also while the disk is being waited for, leaves
/// nothing behind either.
#[test]
fn players_that_crash_at_once_leave_nothing_behind() {
    let films = ColdFilms::alone();
    let daemon = Home::new(&films.folder).start();
    let before = daemon.holdings_at_rest();
    films.make_cold();
    let bearer = daemon.bearer();
    for index in 0..40 {
        let name = ColdFilms::name(index % COLD_FILMS);
        let mut viewer = Client::connect(daemon.address);
        viewer.ask("GET", &url_path(&name), &[("Authorization", &bearer)]);
        viewer.reset();
    }
    daemon.expect_holdings(&before);
    let mut client = Client::connect(daemon.address);
    daemon.ask_film(&mut client, &ColdFilms::name(0), None);
    client.expect(Pattern::of(&ColdFilms::name(0)), 0, COLD_FILM_BYTES);
}

/// Goal: viewers who all jump to and fro at once, each jump a connection that is reset in the middle, get the right bytes
/// every time and leave nothing behind.
#[test]
fn a_storm_of_seeks_leaves_nothing_behind() {
    const VIEWERS: u64 = 10;
    const SEEKS: u64 = 300;
    const PIECE_BYTES: u64 = 64 * 1024;
    let daemon = Home::new(&films::folder()).start();
    let before = daemon.holdings_at_rest();
    std::thread::scope(|scope| {
        for viewer in 0..VIEWERS {
            let daemon = &daemon;
            scope.spawn(move || {
                for seek in 0..SEEKS {
                    // A prime walks all over the film; half of a long rest is never read.
                    let first = (viewer * SEEKS + seek) * 7_654_321 % (BIG_FILM_BYTES - PIECE_BYTES);
                    let mut client = Client::connect(daemon.address);
                    daemon.ask_film(&mut client, BIG_FILM, Some(&format!("bytes={first}-")));
                    client.expect(Pattern::of(BIG_FILM), first, PIECE_BYTES);
                    client.reset();
                }
            });
        }
    });
    daemon.expect_holdings(&before);
    let after = daemon.ledger();
    assert!(after.sum("reelway_requests_total") >= VIEWERS * SEEKS);
    assert_eq!((after.sum("reelway_panics_total"), after.sum("reelway_faults_total")), (0, 0));
}

/// Goal: who reads byte by byte gets every byte, and so does who then reads on quickly.
#[test]
fn a_slow_reader_gets_every_byte() {
    for rest in [Rest::Hot, Rest::Cold] {
        let mut scene = Scene::new(rest);
        let mut offset = SEEN_BYTES;
        for (length, times) in [(1, 3000), (1000, 2000), (50_000, 100)] {
            for _ in 0..times {
                scene.viewer.expect(Pattern::of(FILM), offset, length);
                offset += length;
            }
        }
        scene.viewer.expect(Pattern::of(FILM), offset, FILM_BYTES - offset);
    }
}

/// Goal: a paused player keeps its connection, and gets the rest of the film when it plays on.
#[test]
fn a_paused_player_goes_on_where_it_was() {
    let mut scenes = [Scene::new(Rest::Hot), Scene::new(Rest::Cold)];
    // Not a wait for something: the pause is what is being tested. It is longer than a full pipe waits (1 s).
    std::thread::sleep(Duration::from_secs(3));
    for (scene, rest) in scenes.iter_mut().zip([Rest::Hot, Rest::Cold]) {
        assert_eq!(scene.daemon.ledger().sum("reelway_transfers"), 1);
        scene.plays_to_the_end(rest);
    }
}

/// Goal: viewers who pause cold films, more of them than there are pipes and permits, do not keep another viewer from
/// a cold film; and when they play on, each gets its own bytes.
#[test]
fn paused_cold_viewers_starve_nobody() {
    const PAUSED: usize = 40;
    const LENGTH: u64 = 10 * MIB;
    let films = ColdFilms::alone();
    let daemon = Home::new(&films.folder).start();
    let before = daemon.holdings_at_rest();
    films.make_cold();
    // The last film is the other viewer's; the paused ones begin where nobody before them has read ahead.
    let place = |number: usize| {
        let name = ColdFilms::name(number % (COLD_FILMS - 1));
        (name, (number / (COLD_FILMS - 1)) as u64 * 10 * MIB)
    };
    let mut paused: Vec<Client> = (0..PAUSED)
        .map(|number| {
            let (name, first) = place(number);
            let mut viewer = Client::connect_narrow(daemon.address);
            let range = format!("bytes={first}-{}", first + LENGTH - 1);
            daemon.ask_film(&mut viewer, &name, Some(&range));
            viewer
        })
        .collect();
    let other = ColdFilms::name(COLD_FILMS - 1);
    let mut client = Client::connect(daemon.address);
    daemon.ask_film(&mut client, &other, None);
    client.expect(Pattern::of(&other), 0, COLD_FILM_BYTES);
    assert!(daemon.ledger().sum("reelway_pipes") <= 32);
    for (number, viewer) in paused.iter_mut().enumerate() {
        let (name, first) = place(number);
        viewer.expect(Pattern::of(&name), first, LENGTH);
    }
    drop((paused, client));
    daemon.expect_holdings(&before);
}
