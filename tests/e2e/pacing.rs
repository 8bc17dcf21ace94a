//! How fast films go: what a user asks for, what an administrator allows, who shares with whom, and that no way of asking
//! gets more. Rates are those that a real client reads over a real socket.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{MIB, url_path};
use crate::support::{eventually, scratch};

const BOB_PASSWORD: &str = "a-second-long-one-88";
/// What is to happen within a second has happened after this.
const SOON: Duration = Duration::from_secs(5);
/// Eight megabits a second, in bytes.
const MB: u64 = 1_000_000;
const RANGE_BYTES: u64 = 64 * 1024;

/// Two films so long that none ends while it is measured.
fn films() -> TempDir {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    for index in 0..2 {
        File::create(folder.path().join(name(index))).unwrap().set_len(1024 * MIB).unwrap();
    }
    folder
}

fn name(index: usize) -> String {
    format!("film-{index}.mp4")
}

/// A home with an administrator and a user `bob`.
fn home(films: &TempDir) -> Home {
    let home = Home::new(films.path());
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    home
}

/// The same with caps in bytes a second, which hold on this machine as well.
fn capped(films: &TempDir, caps: &[(&str, u64)]) -> Home {
    let set = |home: Home, (name, bytes): &(&str, u64)| home.set(name, &(bytes * 8).to_string());
    caps.iter().fold(home(films).set("REELWAY_NET__PACING_LAN", "true"), set)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn streams(daemon: &Daemon) -> Vec<Value> {
    daemon.fetch("GET", "/api/streams", &[]).json()["items"].as_array().unwrap().clone()
}

/// Waits until the streams are held to these paces, in bytes a second, whatever their order.
fn wait_for_paces(daemon: &Daemon, paces: &[Option<u64>]) {
    let mut wanted: Vec<_> = paces.iter().map(|pace| pace.map(|bytes| bytes * 8)).collect();
    wanted.sort_unstable();
    eventually(&format!("the paces are {wanted:?}"), SOON, || {
        let mut found: Vec<_> = streams(daemon).iter().map(|stream| stream["pace"].as_u64()).collect();
        found.sort_unstable();
        (found == wanted).then_some(())
    });
}

/// Says how much each stream of this user may take, in bytes a second.
fn set_max_bandwidth(daemon: &Daemon, token: &str, bytes: Option<u64>) {
    let preferences = json!({"maxBandwidth": bytes.map(|bytes| bytes * 8)});
    let fields = [("Authorization", &*bearer(token))];
    let mut client = Client::connect(daemon.address);
    let answer = client.fetch_json("PUT", "/api/users/me/preferences", &fields, &preferences);
    assert_eq!(answer.head.status, 200, "{:?}", answer.head);
}

/// A player that takes all it gets, on a thread of its own.
struct Player {
    received: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Player {
    /// Plays as `play` does: called with where to count bytes, again and again until the player is dropped.
    fn start(mut play: impl FnMut(&AtomicU64, &AtomicBool) + Send + 'static) -> Player {
        let (received, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&received), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                play(&count, &stop);
            }
        });
        Player { received, is_over, thread: Some(thread) }
    }

    /// Plays a film in one answer. Little lies in the kernel for it, so that what it reads is what was sent a moment ago.
    fn watch(daemon: &Daemon, token: &str, index: usize) -> Player {
        let mut client = Client::connect_narrow(daemon.address);
        client.ask("GET", &url_path(&name(index)), &[("Authorization", &bearer(token))]);
        assert_eq!(client.head().status, 200);
        let mut socket = client.sender();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        Player::start(move |received, _| {
            // An end of the film, or of the daemon, leaves the count where it is.
            let count = socket.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                thread::yield_now();
            }
            received.fetch_add(count as u64, Ordering::Relaxed);
        })
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes more have come.
    fn wait_for(&self, bytes: u64, patience: Duration) {
        let wanted = self.received() + bytes;
        eventually(&format!("{bytes} bytes more"), patience, || (self.received() >= wanted).then_some(()));
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "a player failed");
    }
}

/// Bytes a second that each player gets over so many seconds.
fn rates<const COUNT: usize>(players: [&Player; COUNT], seconds: u64) -> [u64; COUNT] {
    let before = players.map(Player::received);
    let begun = Instant::now();
    thread::sleep(Duration::from_secs(seconds));
    let milliseconds = begun.elapsed().as_millis() as u64;
    let mut index = 0;
    players.map(|player| {
        index += 1;
        (player.received() - before[index - 1]) * 1000 / milliseconds
    })
}

/// Checks that a rate is about `wanted`: never much more; less only as far as a busy machine makes it.
fn is_about(rate: u64, wanted: u64, what: &str) {
    assert!(rate <= wanted * 5 / 4, "{what}: {rate} bytes a second are more than {wanted}");
    assert!(rate >= wanted / 3, "{what}: {rate} bytes a second are far less than {wanted}");
}

/// Goal: a film goes as fast as its user asked, also at home; a change is felt while it plays, be it up or down, by a film
/// that waits at a slow pace within about a second; and without a wish it goes as fast as it can.
#[test]
fn a_film_goes_as_fast_as_its_user_asked_and_changes_while_it_plays() {
    let films = films();
    let daemon = home(&films).start();
    set_max_bandwidth(&daemon, &daemon.token, Some(MB));
    let player = Player::watch(&daemon, &daemon.token, 0);
    wait_for_paces(&daemon, &[Some(MB)]);
    player.wait_for(MB, SOON);
    is_about(rates([&player], 3)[0], MB, "from the beginning");
    set_max_bandwidth(&daemon, &daemon.token, Some(4 * MB));
    wait_for_paces(&daemon, &[Some(4 * MB)]);
    player.wait_for(MB, SOON);
    is_about(rates([&player], 2)[0], 4 * MB, "faster");
    set_max_bandwidth(&daemon, &daemon.token, Some(MB / 2));
    // What was queued before is on its way at the new pace already.
    player.wait_for(MB / 8, SOON);
    is_about(rates([&player], 3)[0], MB / 2, "slower");
    set_max_bandwidth(&daemon, &daemon.token, None);
    wait_for_paces(&daemon, &[None]);
    player.wait_for(64 * MB, SOON);
}

/// Goal: what one user asks for themselves is nobody else's pace, and holds for each of their films.
#[test]
fn what_a_user_asks_for_holds_for_each_film_and_for_nobody_else() {
    let films = films();
    let daemon = home(&films).start();
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    set_max_bandwidth(&daemon, &bob, Some(MB));
    let bobs = [0, 1].map(|index| Player::watch(&daemon, &bob, index));
    bobs.iter().for_each(|player| player.wait_for(MB, SOON));
    rates([&bobs[0], &bobs[1]], 2).into_iter().for_each(|rate| is_about(rate, MB, "one of bob's films"));
    let other = Player::watch(&daemon, &daemon.token, 0);
    other.wait_for(64 * MB, SOON);
    wait_for_paces(&daemon, &[Some(MB), Some(MB), None]);
}

/// Goal: two who play share what all may take, from the moment on at which the second begins; who pauses holds nothing,
/// and who leaves leaves all to the other.
#[test]
fn two_who_play_share_what_all_may_take() {
    let films = films();
    let daemon = capped(&films, &[("REELWAY_NET__PACING_TOTAL", 2 * MB)]).start();
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let anns = Player::watch(&daemon, &daemon.token, 0);
    wait_for_paces(&daemon, &[Some(2 * MB)]);
    let bobs = Player::watch(&daemon, &bob, 0);
    wait_for_paces(&daemon, &[Some(MB), Some(MB)]);
    [&anns, &bobs].iter().for_each(|player| player.wait_for(MB, SOON));
    let shared = rates([&anns, &bobs], 3);
    shared.into_iter().for_each(|rate| is_about(rate, MB, "one of two"));
    assert!(shared.iter().sum::<u64>() <= 5 * MB / 2, "both together: {shared:?}");
    drop(bobs);
    eventually("all is left to the one who plays", SOON, || {
        streams(&daemon).iter().any(|stream| stream["pace"] == 16 * MB).then_some(())
    });
    let mut paused = Client::connect_narrow(daemon.address);
    paused.ask("GET", &url_path(&name(1)), &[("Authorization", &bearer(&bob))]);
    assert_eq!(paused.head().status, 200);
    eventually("who pauses holds nothing", SOON, || {
        streams(&daemon).iter().any(|stream| stream["pace"] == 16 * MB).then_some(())
    });
    is_about(rates([&anns], 2)[0], 2 * MB, "beside one who pauses");
}

/// Goal: what one user may take is for all their films together; another user has as much.
#[test]
fn the_cap_of_a_user_is_for_all_their_films_together() {
    let films = films();
    let daemon = capped(&films, &[("REELWAY_NET__PACING_PER_USER", 2 * MB)]).start();
    let bob = daemon.sign_in("bob", BOB_PASSWORD);
    let own = [0, 1].map(|index| Player::watch(&daemon, &daemon.token, index));
    let again = Player::watch(&daemon, &daemon.token, 1);
    let bobs = Player::watch(&daemon, &bob, 0);
    wait_for_paces(&daemon, &[Some(MB), Some(MB), Some(2 * MB)]);
    [&own[0], &again, &bobs].iter().for_each(|player| player.wait_for(MB, SOON));
    let [first, second, third, bobs] = rates([&own[0], &own[1], &again, &bobs], 3);
    is_about(first, MB, "one film");
    is_about(second + third, MB, "another, over two connections");
    is_about(bobs, 2 * MB, "somebody else's");
}

/// Goal: a player gets no more by asking range after range, on one connection or on a new one for each, over many at once,
/// or under another name each time.
#[test]
fn no_way_of_asking_gets_more() {
    let films = films();
    let daemon = home(&films).start();
    set_max_bandwidth(&daemon, &daemon.token, Some(MB));
    let (address, bearer) = (daemon.address, daemon.bearer());
    let fetch = move |client: &mut Client, number: u64, name_of_player: &str, received: &AtomicU64| {
        let first = number % 1000 * RANGE_BYTES;
        let range = format!("bytes={first}-{}", first + RANGE_BYTES - 1);
        let fields = [("Authorization", &*bearer), ("Range", &range), ("X-Playback-Session-Id", name_of_player)];
        client.ask("GET", &url_path(&name(0)), &fields);
        assert_eq!(client.head().status, 206);
        received.fetch_add(client.body(RANGE_BYTES).len() as u64, Ordering::Relaxed);
    };
    let measure = |what: &str, players: &[Player]| {
        // What a playback may be handed at once, and each connection's first range, have come by then.
        let received = || players.iter().map(Player::received).sum::<u64>();
        eventually("it has begun", SOON, || (received() >= MB).then_some(()));
        let (before, begun) = (received(), Instant::now());
        thread::sleep(Duration::from_secs(4));
        is_about((received() - before) * 1000 / begun.elapsed().as_millis() as u64, MB, what);
    };

    let (ask, mut client, mut number) = (fetch.clone(), Client::connect(address), 0);
    let kept = Player::start(move |received, _| {
        number += 1;
        ask(&mut client, number, "kept", received);
    });
    measure("range after range", &[kept]);

    let (ask, mut number) = (fetch.clone(), 0);
    let fresh = Player::start(move |received, _| {
        number += 1;
        ask(&mut Client::connect(address), number, "fresh", received);
    });
    measure("a new connection for each range", &[fresh]);

    let many: Vec<Player> = (0..8_u64)
        .map(|part| {
            let (ask, mut number) = (fetch.clone(), part * 100);
            Player::start(move |received, _| {
                number += 1;
                ask(&mut Client::connect(address), number, "many", received);
            })
        })
        .collect();
    measure("eight at once", &many);
    drop(many);

    let (ask, mut number) = (fetch, 0);
    let renamed = Player::start(move |received, _| {
        number += 1;
        ask(&mut Client::connect(address), number, &format!("player {number}"), received);
    });
    measure("another player for each range", &[renamed]);
}

/// Goal: the caps are for those who watch from elsewhere, unless they are told to hold at home; behind a proxy nobody is at
/// home.
#[test]
fn who_is_at_home_is_not_capped_and_behind_a_proxy_nobody_is_at_home() {
    let films = films();
    let daemon = capped(&films, &[("REELWAY_NET__PACING_TOTAL", MB), ("REELWAY_NET__PACING_PER_USER", MB)])
        .set("REELWAY_NET__PACING_LAN", "false")
        .start();
    let player = Player::watch(&daemon, &daemon.token, 0);
    player.wait_for(64 * MB, SOON);
    wait_for_paces(&daemon, &[None]);
    drop(player);
    for field in [("X-Forwarded-For", "192.168.1.9"), ("Via", "1.1 proxy")] {
        let mut client = Client::connect(daemon.address);
        client.ask("GET", &url_path(&name(1)), &[("Authorization", &daemon.bearer()), field]);
        assert_eq!(client.head().status, 200);
        eventually("it is held to a pace before the keeper looks again", SOON, || {
            streams(&daemon).iter().any(|stream| stream["pace"] == 8 * MB).then_some(())
        });
    }
}

/// Goal: a stream shows what TCP knows of it, be it in one answer that never waits or range by range.
#[test]
fn a_stream_shows_what_tcp_knows_of_it() {
    let films = films();
    let daemon = home(&films).start();
    let (address, bearer) = (daemon.address, daemon.bearer());
    let mut client = Client::connect(address);
    let shown = || {
        let stream = streams(&daemon).remove(0);
        assert!(stream["retransmits"].is_u64() && stream["pace"].is_null(), "{stream}");
        stream["deliveryRate"].as_u64().unwrap()
    };
    let ranges = Player::start(move |received, _| {
        let fields = [("Authorization", &*bearer), ("Range", "bytes=0-4095")];
        received.fetch_add(client.fetch("GET", &url_path(&name(0)), &fields).body.len() as u64, Ordering::Relaxed);
    });
    ranges.wait_for(1, SOON);
    eventually("a rate, range by range", SOON, || (shown() > 0).then_some(()));
    drop(ranges);
    eventually("nothing is sent any more", SOON, || (shown() == 0).then_some(()));
}

/// Goal: the log says once how connections are made, as the kernel has it.
#[test]
fn the_log_says_what_connections_queue() {
    let films = films();
    let daemon = home(&films).set("REELWAY_NET__NOTSENT_LOWAT", "262144").start();
    let listening = daemon.log.wait_for("listening");
    assert_eq!(listening["metadata"]["notsent_lowat"], 262_144, "{listening}");
    assert!(listening["metadata"]["congestion_control"].is_string(), "{listening}");
    assert_eq!(daemon.log.lines_with("notsent_lowat").len(), 1);
}
