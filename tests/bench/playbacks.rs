//! What it costs to join a playback for the next range: printed, and held to no allocation on a connection that is kept.
//! Times are printed and never asserted, because the machines of CI are shared; run it alone, optimised, for a figure:
//! `cargo test --release --test bench_playbacks -- --nocapture`.
#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait; it hands everything on to the system's")]

#[path = "counting.rs"]
mod counting;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use reelway::auth::presence::Presence;
use reelway::playback::pace::Caps;
use reelway::playback::{Bounds, Key, Owner, Playbacks, Player, Viewer, Watcher};
use reelway::store::Timestamp;
use uuid::Uuid;

const PLAYBACKS: u128 = 8;
const ROUNDS: u64 = 200_000;

/// Nanoseconds of one of `ROUNDS` calls, and allocations of all.
fn measured(mut act: impl FnMut()) -> (f64, u64) {
    let allocations = counting::asked();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        act();
    }
    (begun.elapsed().as_nanos() as f64 / ROUNDS as f64, counting::asked() - allocations)
}

#[test]
fn the_next_range_joins_its_playback_without_an_allocation() {
    let bounds = Bounds {
        playbacks_max: PLAYBACKS as usize,
        per_user_max: 3,
        connections_max: 1024,
        pause: Duration::from_secs(900),
        caps: Caps::NONE,
    };
    let playbacks = Playbacks::new(bounds);
    let now = Timestamp::now();
    let client = IpAddr::from([127, 0, 0, 1]);
    let presences: Vec<_> = (0..PLAYBACKS).map(|_| Presence::default()).collect();
    let of = |user: u128| {
        let id = Uuid::from_u128(user * 0x1_0001);
        let key = Key { owner: Owner::User(id), video: Uuid::from_u128(7), player: Player::Session(id).number() };
        let sign = presences[user as usize].sign();
        (key, Watcher { user_id: Some(id), session_id: id, client, is_near: true, max_bandwidth: None, sign })
    };
    let viewers: Vec<_> = (0..PLAYBACKS).map(|_| Viewer::new(&playbacks)).collect();
    let join = |viewer: &Viewer<'_>, user: u128| {
        let (key, watcher) = of(user);
        match viewer.play(key, &watcher, now) {
            Ok(playing) => playing.leave(now),
            Err(refused) => panic!("{refused:?}"),
        }
    };
    for (user, viewer) in viewers.iter().enumerate() {
        join(viewer, user as u128);
    }
    let (kept, allocations) = measured(|| join(&viewers[5], 5));
    println!("{kept:.1} ns a range on a connection that is kept, {allocations} allocations in all");
    assert_eq!(allocations, 0);
    let (anew, some) = measured(|| join(&Viewer::new(&playbacks), 5));
    println!("{anew:.1} ns a range on a new connection, among {PLAYBACKS} playbacks, {some} allocations in all");
    let playing = viewers[3].play(of(3).0, &of(3).1, now);
    let (sent, allocations) = measured(|| assert!(viewers[3].sent(262_144).is_ok()));
    println!("{sent:.1} ns a turn of a film, {allocations} allocations in all");
    assert_eq!(allocations, 0);
    drop(playing);
}
