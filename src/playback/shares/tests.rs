//! Who is given which share, and when.

use std::net::IpAddr;

use super::*;
use crate::auth::presence::Sign;
use crate::playback::{Bounds, News, Player, Viewer, Watcher};

const MB: u64 = 1_000_000;

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_microseconds(1_700_000_000_000_000).plus(Duration::from_millis(milliseconds))
}

fn pace(bytes: u64) -> Pace {
    Pace::of_bits(bytes * 8)
}

/// Playbacks of which all together may take so many bytes a second.
fn playbacks(total: u64) -> Playbacks {
    let caps = Caps { per_user: Pace::NONE, total: pace(total), with_lan: false };
    Playbacks::new(Bounds { playbacks_max: 9, per_user_max: 9, connections_max: 99, pause: Duration::MAX, caps })
}

fn key(user: u128, video: u128) -> Key {
    let owner = Owner::User(Uuid::from_u128(user));
    Key { owner, video: Uuid::from_u128(video), player: Player::Session(Uuid::from_u128(user)).number() }
}

/// One who watches from elsewhere.
fn watcher(user: u128) -> Watcher {
    let id = Uuid::from_u128(user);
    let client = IpAddr::from([9, 9, 9, 9]);
    Watcher { user_id: Some(id), session_id: id, client, is_near: false, max_bandwidth: None, sign: Sign::default() }
}

fn near(user: u128) -> Watcher {
    Watcher { is_near: true, ..watcher(user) }
}

/// What is wished of each, in bytes a second; 0 is as fast as it goes.
fn wished<const COUNT: usize>(viewers: [&Viewer<'_>; COUNT]) -> [u64; COUNT] {
    viewers.map(|viewer| viewer.wish().expect("it plays").pace().bytes().unwrap_or(0))
}

#[test]
fn a_newcomer_has_its_share_before_its_first_byte_and_the_others_less_from_then_on() {
    let playbacks = playbacks(12 * MB);
    let [one, two, again] = [(); 3].map(|()| Viewer::new(&playbacks));
    let _one = one.play(key(1, 1), &watcher(1), at(0)).unwrap();
    assert_eq!(wished([&one]), [12 * MB]);
    let _two = two.play(key(2, 1), &watcher(2), at(0)).unwrap();
    assert_eq!(wished([&one, &two]), [6 * MB, 6 * MB]);
    let _again = again.play(key(1, 1), &watcher(1), at(0)).unwrap();
    assert_eq!(wished([&one, &again, &two]), [3 * MB, 3 * MB, 6 * MB]);
    drop(_again);
    drop(again);
    playbacks.swept(at(500));
    assert_eq!(wished([&one, &two]), [6 * MB, 6 * MB], "who leaves leaves its part");
    let shown: Vec<_> = playbacks.streams().iter().map(|stream| stream.pace.bits()).collect();
    assert_eq!(shown, [Some(48 * MB), Some(48 * MB)]);
}

#[test]
fn who_stands_still_holds_no_share_be_it_a_playback_or_a_connection() {
    let playbacks = playbacks(12 * MB);
    let [one, still, two] = [(); 3].map(|()| Viewer::new(&playbacks));
    let _one = one.play(key(1, 1), &watcher(1), at(0)).unwrap();
    let _still = still.play(key(1, 1), &watcher(1), at(0)).unwrap();
    let _two = two.play(key(2, 1), &watcher(2), at(0)).unwrap();
    for look in 1..=6 {
        one.sent(6 * MB).unwrap();
        playbacks.swept(at(500 * look));
    }
    assert_eq!(wished([&one, &still, &two]), [12 * MB, 6 * MB, 6 * MB], "and begins as one more");
    still.acknowledged(77);
    playbacks.swept(at(3500));
    assert_eq!(wished([&one, &still]), [6 * MB, 6 * MB], "who reads what was sent before plays");
    two.sent(1).unwrap();
    playbacks.swept(at(4000));
    assert_eq!(wished([&one, &still, &two]), [3 * MB, 3 * MB, 6 * MB]);
}

#[test]
fn what_one_does_not_take_the_other_has() {
    let playbacks = playbacks(12 * MB);
    let [slow, fast] = [(); 2].map(|()| Viewer::new(&playbacks));
    let _slow = slow.play(key(1, 1), &watcher(1), at(0)).unwrap();
    let _fast = fast.play(key(2, 1), &watcher(2), at(0)).unwrap();
    let look = |count: u64, bytes: u64, from: u64| {
        for number in from..from + count {
            slow.sent(bytes).unwrap();
            fast.sent(6 * MB).unwrap();
            playbacks.swept(at(500 * number));
        }
        wished([&slow, &fast])
    };
    assert_eq!(
        look(6, MB / 2, 0),
        [3 * MB / 2, 12 * MB - 3 * MB / 2],
        "it takes 1 MB/s, and may take half as much more"
    );
    assert_eq!(look(1, 3 * MB / 4, 6), [6 * MB, 6 * MB], "it takes all of that, so it would take more");
}

#[test]
fn a_playback_is_capped_as_soon_as_one_of_its_connections_is_elsewhere() {
    let playbacks = playbacks(4 * MB);
    let [home, away] = [(); 2].map(|()| Viewer::new(&playbacks));
    let _home = home.play(key(1, 1), &near(1), at(0)).unwrap();
    playbacks.swept(at(0));
    assert_eq!(wished([&home]), [0]);
    let _away = away.play(key(1, 1), &watcher(1), at(0)).unwrap();
    assert_eq!(wished([&home, &away]), [2 * MB, 2 * MB]);
    drop(_away);
    drop(away);
    playbacks.swept(at(500));
    assert_eq!(wished([&home]), [0]);
    let again = home.play(key(1, 1), &watcher(1), at(1000)).unwrap();
    assert_eq!(wished([&home]), [4 * MB], "the same connection, by a proxy now");
    drop(again);
}

#[test]
fn what_a_user_allows_holds_at_once_for_what_plays_and_wakes_it() {
    let playbacks = playbacks(0);
    let [one, other] = [(); 2].map(|()| Viewer::new(&playbacks));
    let modest = Watcher { max_bandwidth: Some(16 * MB), ..near(1) };
    let _one = one.play(key(1, 1), &modest, at(0)).unwrap();
    let _other = other.play(key(2, 1), &near(2), at(0)).unwrap();
    assert_eq!(wished([&one, &other]), [2 * MB, 0]);
    let kept = one.wish().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let news = runtime.block_on(async {
        let waiting = tokio::time::timeout(Duration::from_secs(5), one.news(kept));
        let (news, ()) = tokio::join!(waiting, async {
            tokio::task::yield_now().await;
            playbacks.allow(Uuid::from_u128(1), Some(8 * MB), at(0));
        });
        news.expect("it is woken")
    });
    assert_eq!((news, wished([&one, &other])), (News::Pace, [MB, 0]));
    playbacks.allow(Uuid::from_u128(1), None, at(0));
    assert_eq!(wished([&one, &other]), [0, 0]);
}

#[test]
fn what_was_handed_ahead_is_waited_for_also_by_the_next_film() {
    let playbacks = playbacks(MB);
    let [one, two, near_one] = [(); 3].map(|()| Viewer::new(&playbacks));
    let ahead = limits::PACE_AHEAD;
    let first = one.play(key(1, 1), &watcher(1), at(0)).unwrap();
    one.sent(3 * MB).unwrap();
    assert_eq!(one.owes(|| at(0)), Some(Duration::from_secs(3) - ahead));
    first.leave(at(0));
    assert_eq!(one.owes(|| panic!("nothing is sent")), None);
    let _second = two.play(key(1, 2), &watcher(1), at(1000)).unwrap();
    // There are two among whom it is divided, until the first is seen to stand still.
    assert!(two.owes(|| at(1000)).is_some_and(|wait| wait >= Duration::from_secs(2) - ahead));
    assert_eq!(two.owes(|| at(9000)), None);
    let _near = near_one.play(key(1, 3), &near(1), at(1000)).unwrap();
    near_one.sent(90 * MB).unwrap();
    assert_eq!(near_one.owes(|| panic!("it has no pace")), None);
}

#[test]
fn a_connection_that_plays_is_asked_once_a_second_how_it_gets_on() {
    let playbacks = playbacks(0);
    let viewer = Viewer::new(&playbacks);
    let _playing = viewer.play(key(1, 1), &near(1), at(0)).unwrap();
    playbacks.swept(at(0));
    let mut before = viewer.wish().unwrap();
    let mut asked = 0;
    for look in 1..=8 {
        viewer.sent(1).unwrap();
        playbacks.swept(at(500 * look));
        let wish = viewer.wish().unwrap();
        asked += u32::from(wish.asks_since(before));
        before = wish;
    }
    assert_eq!(asked, 4);
    viewer.delivered(5000, 3);
    viewer.delivered(6000, 4);
    let stream = &playbacks.streams()[0];
    assert_eq!((stream.delivery_rate, stream.retransmits), (6000, 4));
    for look in 9..=16 {
        playbacks.swept(at(500 * look));
    }
    assert_eq!(playbacks.streams()[0].delivery_rate, 0, "nothing arrives of one that stands still");
}
