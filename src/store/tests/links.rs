//! Share links: which are known, who has played them, and with whom they go.

use std::time::Duration;

use uuid::Uuid;

use super::super::{NewLink, Played, UserChange};
use super::{Place, Timestamp, at, new_user, noted};
use crate::limits;

const WITHIN: Duration = Duration::from_secs(100);

fn link(user_id: Option<Uuid>, expires_at: Timestamp) -> NewLink {
    let id = Uuid::new_v4();
    let mark = format!("{}{}", id.simple(), "0123456789a");
    NewLink { id, mark, user_id, video_id: Uuid::from_u128(5), expires_at, max_plays: Some(2) }
}

#[tokio::test]
async fn links_are_known_beyond_their_end_and_with_their_maker() {
    let place = Place::new();
    let user = place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    place.store.user_add(new_user("eve"), noted(), at(1)).await.unwrap();
    let (own, machine, short) = (link(Some(user.id), at(90)), link(None, at(90)), link(None, at(20)));
    for link in [&own, &machine, &short] {
        assert!(place.store.link_add(link.clone(), noted(), at(10)).await.unwrap());
    }
    let known = async |now| {
        let links = place.store.links_known(WITHIN, now).await.unwrap();
        let mut ids: Vec<_> = links.into_iter().map(|link| link.made).collect();
        ids.sort_by_key(|made| (made.user_id.is_none(), made.expires_at));
        ids
    };
    let kept = |seconds| at(seconds).plus(limits::ENDED_LINKS_KEPT);
    assert_eq!(known(kept(15)).await, [own.clone(), short, machine.clone()], "they are over and known");
    assert_eq!(known(kept(20)).await, [own.clone(), machine.clone()]);
    assert_eq!(known(kept(90)).await, []);
    let change = UserChange { is_active: Some(false), ..UserChange::default() };
    place.store.user_changed(user.id, change, noted(), at(2)).await.unwrap();
    assert_eq!(known(kept(20)).await.as_slice(), std::slice::from_ref(&machine));
    let change = UserChange { is_active: Some(true), ..UserChange::default() };
    place.store.user_changed(user.id, change, noted(), at(2)).await.unwrap();
    assert_eq!(known(kept(20)).await, [own, machine.clone()]);
    assert!(place.store.user_removed(user.id, noted(), at(3)).await.unwrap());
    assert_eq!(known(kept(20)).await, [machine]);
}

#[tokio::test]
async fn a_client_is_one_play_and_forgotten_in_time() {
    let place = Place::new();
    let link = link(None, at(10_000));
    place.store.link_add(link.clone(), noted(), at(0)).await.unwrap();
    let play = |client, now, plays| Played { link_id: link.id, client, at: at(now), plays };
    let gone = Played { link_id: Uuid::new_v4(), ..play(1, 10, 1) };
    place.store.links_played(vec![play(u64::MAX, 10, 1), gone, play(7, 50, 2)], WITHIN).await.unwrap();
    let known = async |now| {
        let link = place.store.links_known(WITHIN, at(now)).await.unwrap().remove(0);
        (link.plays, link.clients)
    };
    assert_eq!(known(60).await, (2, vec![(u64::MAX, at(10)), (7, at(50))]));
    assert_eq!(known(110).await, (2, vec![(7, at(50))]));
    place.store.links_played(vec![play(7, 200, 1)], WITHIN).await.unwrap();
    assert_eq!(known(210).await, (2, vec![(7, at(200))]), "what was counted is never less");
}

#[tokio::test]
async fn there_are_so_many_links_and_those_that_are_over_make_room() {
    let place = Place::new();
    for _ in 0..limits::LINKS_MAX {
        assert!(place.store.link_add(link(None, at(50)), noted(), at(1)).await.unwrap());
    }
    let one = link(None, at(90));
    assert!(!place.store.link_add(one.clone(), noted(), at(49)).await.unwrap());
    assert!(place.store.link_add(one.clone(), noted(), at(50)).await.unwrap());
    let known = async |now| place.store.links_known(WITHIN, now).await.unwrap();
    assert_eq!(known(at(50)).await.len(), 1 + limits::ENDED_LINKS_MAX, "of those that are over not all are kept");
    let later = at(50).plus(limits::ENDED_LINKS_KEPT);
    let another = link(None, later.plus(WITHIN));
    assert!(place.store.link_add(another.clone(), noted(), later).await.unwrap());
    let mut left: Vec<_> = known(at(0)).await.into_iter().map(|link| link.made).collect();
    left.sort_by_key(|made| made.expires_at);
    assert_eq!(left, [one, another], "and none for ever");
}
