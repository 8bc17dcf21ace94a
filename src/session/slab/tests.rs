//! Which session gets which slot, and which one gives way.

use super::*;
use crate::store::Role;

fn at(microseconds: i64) -> Timestamp {
    Timestamp::from_microseconds(microseconds)
}

fn live(id: u128, last_activity: i64, expires_at: i64) -> Arc<Live> {
    let account = Account::for_test(Uuid::from_u128(9), Uuid::from_u128(id), Role::User);
    Arc::new(Live::new(Arc::new(account), at(expires_at), at(last_activity), 0))
}

fn enter(slab: &Slab, live: Arc<Live>, now: i64) {
    assert_eq!(slab.enter(live, at(now)), Entered::Here);
}

fn holds(slab: &Slab, id: u128) -> bool {
    slab.look(Uuid::from_u128(id)).is_some()
}

#[test]
fn every_session_is_found_whatever_slot_its_id_hints_at() {
    let slab = Slab::new(64);
    let ids: Vec<u128> = (0..64).map(|index| index << 112 | index).collect();
    ids.iter().for_each(|id| enter(&slab, live(*id, 0, i64::MAX), 0));
    assert!(ids.iter().all(|id| holds(&slab, *id)));
    assert_eq!(slab.all().count(), 64);
    assert!(!holds(&slab, 77));
}

#[test]
fn ids_that_share_their_mark_are_told_apart() {
    let slab = Slab::new(2);
    let ids = [1_u128 << 100, 1_u128 << 101];
    ids.iter().for_each(|id| enter(&slab, live(*id, 0, i64::MAX), 0));
    for id in ids {
        assert_eq!(slab.look(Uuid::from_u128(id)).unwrap().account.session_id.as_u128(), id);
    }
    assert!(!holds(&slab, 1_u128 << 102));
}

#[test]
fn a_full_slab_lets_go_of_an_expired_session_first_and_then_of_the_idlest() {
    let slab = Slab::new(3);
    enter(&slab, live(1, 10, i64::MAX), 0);
    enter(&slab, live(2, 5, i64::MAX), 0);
    enter(&slab, live(3, 30, 100), 0);
    enter(&slab, live(4, 40, i64::MAX), 200);
    assert!(!holds(&slab, 3), "3 had expired");
    enter(&slab, live(5, 50, i64::MAX), 200);
    assert!(!holds(&slab, 2), "2 was the idlest");
    assert!(holds(&slab, 1) && holds(&slab, 4) && holds(&slab, 5));
}

#[test]
fn a_session_with_a_playback_does_not_give_way() {
    let slab = Slab::new(2);
    enter(&slab, live(1, 10, i64::MAX), 0);
    enter(&slab, live(2, 20, i64::MAX), 0);
    let shown = |id| slab.look(Uuid::from_u128(id)).unwrap().account.presence.sign().show().unwrap();
    let first = shown(1);
    enter(&slab, live(3, 30, i64::MAX), 0);
    assert!(holds(&slab, 1) && !holds(&slab, 2), "1 was idler, but it plays");
    // A refresh in the middle of a film changes nothing about that.
    slab.replace(Uuid::from_u128(1), |live| live.refreshed(1, at(i64::MAX)));
    let second = shown(3);
    assert!(!slab.has_room(at(0)));
    assert_eq!(slab.enter(live(4, 40, i64::MAX), at(0)), Entered::AllPlaying);
    assert_eq!(slab.enter(live(3, 40, i64::MAX), at(0)), Entered::Here, "who has a slot keeps it");
    drop((first, second));
    assert!(slab.has_room(at(0)));
    enter(&slab, live(4, 40, i64::MAX), 0);
    assert!(!holds(&slab, 1));
}

#[test]
fn entering_a_session_again_replaces_it_in_its_slot() {
    let slab = Slab::new(2);
    enter(&slab, live(1, 10, i64::MAX), 0);
    enter(&slab, live(1, 20, i64::MAX), 0);
    assert_eq!(slab.all().count(), 1);
}

#[test]
fn a_row_read_before_a_session_was_ended_enters_nothing() {
    let slab = Slab::new(2);
    let before = slab.ended();
    assert!(slab.end(|live| live.account.session_id.as_u128() == 1).is_empty(), "it had no slot");
    assert_eq!(slab.enter_unless_ended(live(1, 0, i64::MAX), before, at(0)), Entered::Void);
    let after = slab.ended();
    assert_eq!(slab.enter_unless_ended(live(2, 0, i64::MAX), after, at(0)), Entered::Here);
    let taken = slab.end(|live| live.account.session_id.as_u128() == 2);
    assert_eq!((taken.len(), holds(&slab, 2)), (1, false));
}

#[test]
fn a_session_that_rests_leaves_its_slot_and_may_come_again() {
    let slab = Slab::new(2);
    enter(&slab, live(1, 10, i64::MAX), 0);
    enter(&slab, live(2, 90, i64::MAX), 0);
    let rested = slab.rest(|live| live.last_activity() < at(50));
    assert_eq!(rested.len(), 1);
    assert!(!holds(&slab, 1) && holds(&slab, 2));
    enter(&slab, live(1, 100, i64::MAX), 0);
    assert!(holds(&slab, 1));
}

#[test]
fn activity_is_written_once_and_again_when_writing_failed() {
    let live = live(1, 0, i64::MAX);
    assert_eq!(live.unwritten(), None);
    live.streamed(500, at(2_000_000));
    live.touch(at(2_500_000));
    assert_eq!(live.unwritten(), Some((at(2_000_000), 500)), "to the second");
    assert_eq!(live.unwritten(), None);
    live.forget_written();
    assert_eq!(live.unwritten(), Some((at(2_000_000), 500)));
    live.touch(at(1));
    assert_eq!(live.unwritten(), None, "a clock that goes back takes nothing back");
}

#[test]
fn a_session_is_found_while_others_sign_in_and_out() {
    let slab = Slab::new(2);
    enter(&slab, live(1, 10, i64::MAX), 0);
    let (found, finds) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        // As long as somebody enters or ends a session.
        let guard = slab.lock();
        scope.spawn(|| found.send(slab.find(Uuid::from_u128(1), at(5)).is_some()).unwrap());
        let answer = finds.recv_timeout(std::time::Duration::from_secs(10));
        drop(guard);
        assert_eq!(answer, Ok(true), "finding a session waits for nobody");
    });
}
