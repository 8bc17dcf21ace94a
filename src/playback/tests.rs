//! What holds a slot, who gives way, and who is told.

use super::*;
use crate::auth::presence::Presence;
use crate::playback::pace::Wish;
use std::sync::atomic::AtomicBool;

const HOUR: Duration = Duration::from_secs(3600);
const BOUNDS: Bounds = Bounds { playbacks_max: 4, per_user_max: 2, connections_max: 3, pause: HOUR, caps: Caps::NONE };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_microseconds(1_700_000_000_000_000).plus(Duration::from_secs(seconds))
}

/// One who watches: user, session and player of the same number.
fn watcher(number: u128) -> Watcher {
    let id = Uuid::from_u128(number);
    let client = IpAddr::from([127, 0, 0, 1]);
    Watcher { user_id: Some(id), session_id: id, client, is_near: true, max_bandwidth: None, sign: Sign::default() }
}

fn key(user: u128, video: u128) -> Key {
    key_of(Owner::User(Uuid::from_u128(user)), video, user)
}

fn key_of(owner: Owner, video: u128, player: u128) -> Key {
    Key { owner, video: Uuid::from_u128(video), player: Player::Session(Uuid::from_u128(player)).number() }
}

/// (open, lingering)
fn counts(playbacks: &Playbacks) -> (usize, usize) {
    let streams = playbacks.streams();
    let open = streams.iter().filter(|stream| stream.connections > 0).count();
    (open, streams.len() - open)
}

#[test]
fn connections_of_one_viewer_are_one_playback_and_it_lingers_after_them() {
    let playbacks = Playbacks::new(BOUNDS);
    let viewers = [Viewer::new(&playbacks), Viewer::new(&playbacks), Viewer::new(&playbacks)];
    let playing: Vec<_> = viewers.iter().map(|viewer| viewer.play(key(1, 1), &watcher(1), at(0)).unwrap()).collect();
    assert_eq!((playbacks.count(), playbacks.streams()[0].connections), (1, 3));
    let more = Viewer::new(&playbacks);
    assert_eq!(more.play(key(1, 1), &watcher(1), at(0)).unwrap_err(), Refused::Connections);
    playing.into_iter().for_each(|playing| playing.leave(at(10)));
    assert_eq!(counts(&playbacks), (0, 1));
    playbacks.swept(at(39));
    assert_eq!(counts(&playbacks), (0, 1));
    let again = viewers[0].play(key(1, 1), &watcher(1), at(39)).unwrap();
    playbacks.swept(at(41));
    assert_eq!(counts(&playbacks), (1, 0), "who plays again does not linger");
    again.leave(at(41));
    playbacks.swept(at(71));
    assert_eq!(playbacks.count(), 0);
}

#[test]
fn a_playback_is_the_same_one_after_a_restart_and_what_it_was_sent_is_not_told_twice() {
    let before = Playbacks::new(BOUNDS);
    let viewer = Viewer::new(&before);
    let playing = viewer.play(key(1, 1), &watcher(1), at(0)).unwrap();
    viewer.sent(5000).unwrap();
    assert_eq!(before.swept(at(1)).len(), 1);
    assert_eq!(viewer.played().map(|(key, watcher)| (key, watcher.session_id)), Some((key(1, 1), Uuid::from_u128(1))));
    playing.leave(at(2));
    let (kept, seen) = (before.kept(), before.streams());

    let caps = Caps { per_user: Pace::of_bits(8_000_000), total: Pace::NONE, with_lan: true };
    let after = Playbacks::new(Bounds { caps, ..BOUNDS });
    assert!(after.restore(&kept[0], false, at(60)));
    assert!(!after.restore(&kept[0], false, at(60)), "it is there already");
    assert_eq!(counts(&after), (0, 1));
    let viewer = Viewer::new(&after);
    let playing = viewer.play(key(1, 1), &watcher(1), at(61)).unwrap();
    assert_eq!(viewer.owes(|| at(61)), None, "what it was sent before is paid for");
    viewer.sent(7).unwrap();
    let now = &after.streams()[0];
    assert_eq!((now.id, now.started, now.bytes, now.connections), (seen[0].id, seen[0].started, 5007, 1));
    let told: Vec<u64> = after.swept(at(62)).iter().map(|streamed| streamed.bytes).collect();
    assert_eq!(told, [7]);
    playing.leave(at(62));
    let full = Playbacks::new(Bounds { playbacks_max: 0, ..BOUNDS });
    assert!(!full.restore(&kept[0], false, at(60)), "there is no slot");
}

#[test]
fn a_playback_whose_connection_is_about_to_come_gives_way_to_nobody_for_a_moment() {
    let before = Playbacks::new(BOUNDS);
    let viewer = Viewer::new(&before);
    viewer.play(key(1, 1), &watcher(1), at(0)).unwrap().leave(at(1));
    let kept = before.kept();
    let bounds = Bounds { playbacks_max: 1, ..BOUNDS };

    let after = Playbacks::new(bounds);
    assert!(after.restore(&kept[0], true, at(60)));
    let [newcomer, resumed] = [(); 2].map(|()| Viewer::new(&after));
    assert!(newcomer.play(key(2, 9), &watcher(2), at(61)).is_err(), "the slot is taken");
    let playing = resumed.play(key(1, 1), &watcher(1), at(62)).expect("its own slot");
    playing.leave(at(63));
    assert!(newcomer.play(key(2, 9), &watcher(2), at(63)).is_ok(), "it came, and lingers like any other");

    let after = Playbacks::new(bounds);
    assert!(after.restore(&kept[0], true, at(60)));
    let newcomer = Viewer::new(&after);
    let patience_is_over = at(61).plus(limits::PLAYBACK_AWAITED_FOR);
    assert!(newcomer.play(key(2, 9), &watcher(2), patience_is_over).is_ok(), "nobody came");
}

#[test]
fn a_player_has_the_same_number_in_every_release() {
    assert_eq!(Player::Named("a").number(), 0xfc7b_c8e8_e75d_8205);
}

#[test]
fn one_user_has_so_many_open_and_what_lingers_gives_way() {
    let playbacks = Playbacks::new(BOUNDS);
    let [first, second, third, other] = [(); 4].map(|()| Viewer::new(&playbacks));
    let one = first.play(key(1, 1), &watcher(1), at(0)).unwrap();
    let two = second.play(key(1, 2), &watcher(1), at(1)).unwrap();
    let Err(Refused::Reached(running)) = third.play(key(1, 3), &watcher(1), at(2)) else { panic!("a third") };
    assert_eq!(running.iter().map(|stream| stream.video_id.as_u128()).collect::<Vec<_>>(), [1, 2]);
    let others = other.play(key(2, 1), &watcher(2), at(2)).unwrap();
    one.leave(at(3));
    let three = third.play(key(1, 3), &watcher(1), at(3)).expect("the first one gives way at once");
    let videos = |user: u128| {
        let streams = playbacks.streams();
        let own = streams.into_iter().filter(|stream| stream.user_id.unwrap().as_u128() == user);
        own.map(|stream| stream.video_id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!((videos(1), videos(2)), (vec![2, 3], vec![1]));
    let again = first.play(key(1, 1), &watcher(1), at(4));
    assert!(matches!(again, Err(Refused::Reached(_))), "its slot is another's now");
    drop((two, three, others));
    assert_eq!(counts(&playbacks), (0, 3));
}

#[test]
fn when_all_are_taken_the_longest_lingering_gives_way_whoever_it_is() {
    let playbacks = Playbacks::new(BOUNDS);
    let viewers: Vec<_> = (0..5).map(|_| Viewer::new(&playbacks)).collect();
    let mut playing: Vec<_> =
        (0..4_u128).map(|user| viewers[user as usize].play(key(user, 9), &watcher(user), at(0)).unwrap()).collect();
    assert!(
        matches!(viewers[4].play(key(7, 9), &watcher(7), at(1)), Err(Refused::Busy(running)) if running.is_empty())
    );
    playing.remove(2).leave(at(5));
    playing.remove(1).leave(at(3));
    let seventh = viewers[4].play(key(7, 9), &watcher(7), at(6)).unwrap();
    let users: Vec<_> = playbacks.streams().iter().map(|stream| stream.user_id.unwrap().as_u128()).collect();
    assert!(!users.contains(&1) && users.contains(&2), "{users:?}");
    drop((playing, seventh));
}

#[test]
fn a_guest_has_two_and_never_the_last_two() {
    let bounds = Bounds { playbacks_max: 6, ..BOUNDS };
    let playbacks = Playbacks::new(bounds);
    let link = |number| Owner::Link(Uuid::from_u128(number));
    let viewers: Vec<_> = (0..8).map(|_| Viewer::new(&playbacks)).collect();
    let play = |index: usize, owner, player| viewers[index].play(key_of(owner, 1, player), &watcher(50), at(0));
    let _held = [play(0, link(1), 1).unwrap(), play(1, link(1), 2).unwrap()];
    assert!(matches!(play(2, link(1), 3), Err(Refused::Reached(running)) if running.len() == 2));
    let _others = [play(2, link(2), 1).unwrap(), play(3, link(2), 2).unwrap()];
    assert!(matches!(play(4, link(3), 1), Err(Refused::Busy(_))), "the last two are for the house");
    let user = Owner::User(Uuid::from_u128(1));
    let _own = [play(4, user, 1).unwrap(), play(5, user, 2).unwrap()];
}

#[test]
fn a_paused_one_loses_its_slot_and_takes_one_again_with_its_next_byte() {
    let playbacks = Playbacks::new(BOUNDS);
    let [viewer, other, second, third] = [(); 4].map(|()| Viewer::new(&playbacks));
    // Whoever asks anew does so by the clock of the machine.
    let start = Timestamp::now();
    let at = |seconds| start.plus(Duration::from_secs(seconds));
    let playing = viewer.play(key(1, 1), &watcher(1), at(0)).unwrap();
    viewer.sent(1000).unwrap();
    playbacks.swept(at(10));
    playbacks.swept(at(3600));
    assert_eq!(counts(&playbacks), (1, 0));
    playbacks.swept(at(3620));
    assert_eq!(playbacks.count(), 0);
    let quick = other.play(key(2, 1), &watcher(2), at(3621)).unwrap();
    viewer.sent(1).expect("there is room");
    assert_eq!(counts(&playbacks), (2, 0));
    // The same again, and no room.
    playbacks.swept(at(3622));
    other.sent(5).unwrap();
    playbacks.swept(at(7230));
    assert_eq!(playbacks.count(), 1, "who plays keeps the slot");
    let full =
        [second.play(key(1, 2), &watcher(1), at(7231)).unwrap(), third.play(key(1, 3), &watcher(1), at(7231)).unwrap()];
    assert_eq!(viewer.sent(1), Err(Told::Lost));
    playing.leave(at(7232));
    drop((full, quick));
    assert_eq!(counts(&playbacks), (0, 3));
}

#[test]
fn whoever_is_stopped_is_told_and_its_slot_is_free() {
    let playbacks = Playbacks::new(BOUNDS);
    let [one, two, three] = [(); 3].map(|()| Viewer::new(&playbacks));
    let of = |session: u128| Watcher { session_id: Uuid::from_u128(session), ..watcher(1) };
    let named = Key { player: Player::Named("x").number(), ..key(1, 1) };
    let first = one.play(named, &of(10), at(0)).unwrap();
    let second = two.play(named, &of(11), at(0)).unwrap();
    let third = three.play(key(2, 1), &watcher(2), at(0)).unwrap();
    assert_eq!(playbacks.count(), 2);
    assert!(playbacks.stop_sessions(&[Uuid::from_u128(10)]));
    assert_eq!((one.sent(1), two.sent(1), playbacks.count()), (Err(Told::Stopped), Ok(()), 2), "only its own part");
    assert!(!playbacks.stop_user(Uuid::from_u128(1), Some(Uuid::from_u128(11))) || one.sent(1).is_err());
    assert_eq!(two.sent(1), Ok(()), "the session that asks goes on");
    assert!(playbacks.stop_user(Uuid::from_u128(1), None));
    assert_eq!((two.sent(1), playbacks.count()), (Err(Told::Stopped), 1));
    let id = playbacks.streams()[0].id;
    assert!(playbacks.stop(id) && !playbacks.stop(id) && playbacks.count() == 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let told = async { tokio::time::timeout(Duration::from_secs(5), three.news(Wish::NONE)).await };
    assert_eq!(runtime.block_on(told).unwrap(), News::Told(Told::Stopped));
    drop((first, second, third));
    assert_eq!(playbacks.count(), 0, "who leaves a stopped one leaves nothing behind");
}

#[test]
fn a_lingering_one_of_a_session_that_ends_is_gone_with_it() {
    let playbacks = Playbacks::new(BOUNDS);
    let viewer = Viewer::new(&playbacks);
    viewer.play(key(1, 1), &watcher(1), at(0)).unwrap().leave(at(1));
    drop(viewer);
    assert_eq!(counts(&playbacks), (0, 1));
    assert!(playbacks.stop_sessions(&[Uuid::from_u128(1)]));
    assert_eq!(playbacks.count(), 0);
}

#[test]
fn of_too_many_connections_the_oldest_that_stand_still_are_told() {
    let bounds = Bounds { connections_max: 100, ..BOUNDS };
    let playbacks = Playbacks::new(bounds);
    let viewers: Vec<_> = (0..16).map(|_| Viewer::new(&playbacks)).collect();
    let playing: Vec<_> = viewers.iter().map(|viewer| viewer.play(key(1, 1), &watcher(1), at(0)).unwrap()).collect();
    let told = || -> Vec<usize> {
        viewers.iter().enumerate().filter(|(_, viewer)| viewer.sent(0).is_err()).map(|(index, _)| index).collect()
    };
    playbacks.swept(at(0));
    viewers[1].acknowledged(77); // It reads what was sent before.
    playbacks.swept(at(9));
    assert!(told().is_empty());
    playbacks.swept(at(11));
    assert_eq!(told(), [0, 2, 3, 4], "four too many, and the second comes further");
    playbacks.swept(at(12));
    assert_eq!(told(), [0, 2, 3, 4], "twelve are not too many");
    drop(playing);
}

#[test]
fn the_rate_is_that_of_the_last_seconds_and_bytes_are_told_once() {
    let playbacks = Playbacks::new(BOUNDS);
    let viewer = Viewer::new(&playbacks);
    let presence = Presence::default();
    let watcher = Watcher { sign: presence.sign(), ..watcher(1) };
    let playing = viewer.play(key(1, 1), &watcher, at(0)).unwrap();
    assert!(presence.is_shown());
    playbacks.swept(at(0));
    for second in 1..=60 {
        viewer.sent(1_000_000).unwrap();
        let streamed = playbacks.swept(at(second));
        assert_eq!(streamed, [Streamed { key: key(1, 1), session_id: watcher.session_id, bytes: 1_000_000 }]);
    }
    let stream = &playbacks.streams()[0];
    assert_eq!(stream.bytes, 60_000_000);
    assert!((stream.rate - 1e6).abs() < 1e4, "{}", stream.rate);
    viewer.sent(5).unwrap();
    playbacks.stop(stream.id);
    assert_eq!(playbacks.swept(at(61)), [Streamed { key: key(1, 1), session_id: watcher.session_id, bytes: 5 }]);
    assert_eq!(playbacks.swept(at(62)), []);
    drop(playing);
    assert!(!presence.is_shown(), "nothing is being sent, whatever the connection keeps");
}

/// Goal: a playback that is held is joined and left while somebody else begins or ends one, and so waits for nobody.
#[test]
fn a_held_playback_is_joined_while_the_door_is_locked() {
    let playbacks = Playbacks::new(BOUNDS);
    let viewer = Viewer::new(&playbacks);
    viewer.play(key(1, 1), &watcher(1), at(0)).unwrap().leave(at(0));
    let (joined, joins) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let door = playbacks.door();
        let playbacks = &playbacks;
        scope.spawn(move || {
            // On a new connection, and then on the same one.
            let viewer = Viewer::new(playbacks);
            for _ in 0..2 {
                let playing = viewer.play(key(1, 1), &watcher(1), at(1)).unwrap();
                viewer.sent(5).unwrap();
                playing.leave(at(1));
            }
            joined.send(()).unwrap();
        });
        let waited = joins.recv_timeout(Duration::from_secs(10));
        drop(door);
        waited.expect("joining waits for nobody");
    });
}

/// Goal: slots are a matter of many threads: at every moment so many are held as may be, and at the end none.
#[test]
fn slots_are_neither_lost_nor_given_twice_among_threads() {
    let playbacks = Playbacks::new(Bounds { connections_max: 1000, ..BOUNDS });
    let is_over = AtomicBool::new(false);
    let (playbacks, is_over) = (&playbacks, &is_over);
    std::thread::scope(|scope| {
        let players: Vec<_> = (0..6_u128)
            .map(|user| {
                scope.spawn(move || {
                    let mut refused = 0;
                    for round in 0..4000_u128 {
                        let viewer = Viewer::new(playbacks);
                        match viewer.play(key(user, round % 3), &watcher(user), at(1)) {
                            Ok(playing) => {
                                let _ = viewer.sent(1);
                                drop(playing);
                            }
                            Err(Refused::Busy(_) | Refused::Reached(_)) => refused += 1,
                            Err(Refused::Connections) => panic!("there are not so many"),
                        }
                    }
                    refused
                })
            })
            .collect();
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                assert!(playbacks.count() <= BOUNDS.playbacks_max);
                playbacks.swept(at(1));
                if let Some(stream) = playbacks.streams().first() {
                    playbacks.stop(stream.id);
                }
                std::thread::yield_now();
            }
        });
        players.into_iter().for_each(|player| {
            player.join().unwrap();
        });
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(counts(playbacks).0, 0, "nobody plays any more");
    playbacks.swept(Timestamp::now().plus(HOUR));
    assert_eq!(playbacks.count(), 0);
}

#[test]
fn a_calendar_that_jumps_is_nobodys_pause() {
    // A night asleep, and a clock that was set back.
    for (before, after) in [(1_000_000, 1_030_000), (1_000_000, 900_000)] {
        let playbacks = Playbacks::new(BOUNDS);
        let [paused, left] = [(); 2].map(|()| Viewer::new(&playbacks));
        let _paused = paused.play(key(1, 1), &watcher(1), at(before)).unwrap();
        left.play(key(1, 2), &watcher(1), at(before)).unwrap().leave(at(before));
        playbacks.swept(at(before + 1));
        playbacks.jumped(at(after));
        playbacks.swept(at(after));
        playbacks.swept(at(after + 29));
        assert_eq!(counts(&playbacks), (1, 1));
        playbacks.swept(at(after + 31));
        assert_eq!(counts(&playbacks), (1, 0), "who does not come back is gone after the usual time");
        playbacks.swept(at(after + 3601));
        assert_eq!(playbacks.count(), 0, "as is who pauses on");
    }
}
