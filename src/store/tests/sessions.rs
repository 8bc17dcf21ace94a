//! Sign-ins: made, limited, refreshed, ended, and what they did.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::{Device, Held, Login, NewSession, Room, Session, Touched};
use super::{Place, Timestamp, at, new_user, noted};

fn new_session(user_id: Uuid, expires_at: Timestamp) -> NewSession {
    let client = Some([192, 168, 1, 9].into());
    NewSession { id: Uuid::new_v4(), user_id, device: Some(Device::Tv), expires_at, client }
}

fn room(max_per_user: usize, held: Vec<Held>) -> Room {
    Room { max_per_user, held, credential_version: 1 }
}

/// A login that must succeed, and whom it signed out.
async fn sign_in(place: &Place, new: NewSession, room: Room, now: i64) -> (Session, Vec<Uuid>) {
    match place.store.login_recorded(new, room, noted(), at(now)).await.unwrap() {
        Login::SignedIn { session, signed_out } => (session, signed_out),
        refused => panic!("{refused:?}"),
    }
}

#[tokio::test]
async fn a_login_makes_a_session_and_is_remembered_by_the_account() {
    let place = Place::new();
    let user = place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    let wanted = new_session(user.id, at(100));
    let (made, signed_out) = sign_in(&place, wanted.clone(), room(3, Vec::new()), 10).await;
    assert_eq!((made.id, made.user_id, made.device), (wanted.id, user.id, Some(Device::Tv)));
    assert_eq!((made.created_at, made.last_activity, made.expires_at), (at(10), at(10), at(100)));
    assert_eq!((made.generation, made.revoked_at, made.client), (0, None, wanted.client));
    assert!(signed_out.is_empty());
    let (session, owner) = place.store.session(wanted.id).await.unwrap().unwrap();
    assert_eq!((session, owner.last_login), (made, Some(at(10))));
    assert_eq!(place.store.session(Uuid::new_v4()).await.unwrap(), None);
}

#[tokio::test]
async fn who_is_gone_disabled_or_has_another_password_by_now_is_not_signed_in() {
    let place = Place::new();
    let user = place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    let older = Room { credential_version: 0, ..room(3, Vec::new()) };
    for (user_id, room) in [(Uuid::new_v4(), room(3, Vec::new())), (user.id, older)] {
        let refused = place.store.login_recorded(new_session(user_id, at(100)), room, noted(), at(10)).await;
        assert_eq!(refused.unwrap(), Login::UserGone);
    }
    assert_eq!(place.store.sessions_live(None, at(10), 9).await.unwrap(), []);
    assert_eq!(place.store.user_by_id(user.id).await.unwrap().unwrap().last_login, None);
}

#[tokio::test]
async fn a_login_too_many_signs_out_the_idlest_that_plays_nothing() {
    let place = Place::new();
    let user = place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap().id;
    let mut ids = Vec::new();
    for now in [10, 20, 30] {
        ids.push(sign_in(&place, new_session(user, at(1000)), room(3, Vec::new()), now).await.0.id);
    }
    // Memory knows that the first has done something since, and that the second plays.
    let held = |id: Uuid, last: i64, is_playing| Held { id, last_activity: at(last), is_playing };
    let known = vec![held(ids[0], 90, false), held(ids[1], 20, true)];
    let (fourth, signed_out) = sign_in(&place, new_session(user, at(1000)), room(3, known), 100).await;
    assert_eq!(signed_out, [ids[2]]);
    let playing = [ids[0], ids[1], fourth.id].map(|id| held(id, 100, true)).to_vec();
    let fifth = place.store.login_recorded(new_session(user, at(1000)), room(3, playing), noted(), at(110)).await;
    assert!(matches!(fifth.unwrap(), Login::AllPlaying(sessions) if sessions.len() == 3));
    assert_eq!(place.store.sessions_live(Some(user), at(110), 9).await.unwrap().len(), 3);
    let (_, signed_out) = sign_in(&place, new_session(user, at(2000)), room(1, Vec::new()), 1000).await;
    assert!(signed_out.is_empty(), "those that have expired are not counted");
}

#[tokio::test]
async fn of_two_that_refresh_one_token_one_does() {
    let place = Place::new();
    let user = place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap().id;
    let id = sign_in(&place, new_session(user, at(100)), room(3, Vec::new()), 10).await.0.id;
    let refresh = |generation, now| place.store.session_refreshed(id, generation, at(now + 100), noted(), at(now));
    let refreshed = refresh(0, 20).await.unwrap().expect("it is the present one");
    assert_eq!((refreshed.generation, refreshed.expires_at), (1, at(120)));
    assert_eq!(refresh(0, 20).await.unwrap(), None, "it is dead");
    assert_eq!(refresh(2, 20).await.unwrap(), None, "it never was");
    assert_eq!(refresh(1, 120).await.unwrap(), None, "it has expired");
    assert!(place.store.session_revoked(id, noted(), at(30)).await.unwrap());
    assert_eq!(refresh(1, 40).await.unwrap(), None, "a revoked one never lives again");
}

#[tokio::test]
async fn what_is_revoked_is_revoked_once_and_for_whom_it_is_meant() {
    let place = Place::new();
    let [ann, bob] = [new_user("ann"), new_user("bob")].map(|new| place.store.user_add(new, noted(), at(1)));
    let (ann, bob) = (ann.await.unwrap().id, bob.await.unwrap().id);
    let mut made = Vec::new();
    for user in [ann, ann, bob] {
        made.push(sign_in(&place, new_session(user, at(100)), room(3, Vec::new()), 10).await.0.id);
    }
    assert!(place.store.session_revoked(made[0], noted(), at(20)).await.unwrap());
    assert!(!place.store.session_revoked(made[0], noted(), at(21)).await.unwrap());
    assert!(!place.store.session_revoked(Uuid::new_v4(), noted(), at(21)).await.unwrap());
    assert_eq!(place.store.sessions_revoked_of(Some(ann), noted(), at(30)).await.unwrap(), [made[1]]);
    assert_eq!(place.store.sessions_live(None, at(40), 9).await.unwrap().len(), 1);
    assert_eq!(place.store.sessions_revoked_of(None, noted(), at(50)).await.unwrap(), [made[2]]);
}

#[tokio::test]
async fn only_sessions_that_could_be_used_are_restored_the_last_seen_first() {
    let place = Place::new();
    let ann = place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap().id;
    let gone = place.store.user_add(new_user("gone"), noted(), at(1)).await.unwrap().id;
    let mut sessions = HashMap::new();
    for (label, user, made, expires) in [
        ("old", ann, 10, 100),
        ("new", ann, 20, 100),
        ("expired", ann, 30, 50),
        ("revoked", ann, 30, 100),
        ("disabled", gone, 30, 100),
    ] {
        let session = NewSession { device: None, ..new_session(user, at(expires)) };
        sessions.insert(place.store.session_add(session, noted(), at(made)).await.unwrap().id, label);
    }
    let revoked = *sessions.iter().find(|(_, label)| **label == "revoked").unwrap().0;
    let changed = place.store.write(move |connection| {
        connection.execute("UPDATE user_sessions SET revoked_at = 1 WHERE session_id = ?1", [revoked.to_string()])?;
        connection.execute("UPDATE users SET is_active = 0 WHERE id = ?1", [gone.to_string()])
    });
    assert_eq!(changed.await.unwrap(), 1);
    let live = place.store.sessions_live(None, at(50), 64).await.unwrap();
    let labels: Vec<_> = live.iter().map(|(session, _)| sessions[&session.id]).collect();
    assert_eq!(labels, ["new", "old"]);
    assert_eq!(place.store.sessions_live(None, at(50), 1).await.unwrap().len(), 1);
    assert_eq!(place.store.sessions_live(Some(gone), at(50), 9).await.unwrap(), []);
    let (session, _) = place.store.session(revoked).await.unwrap().expect("a revoked row is still read");
    assert!(session.revoked_at.is_some());
}

#[tokio::test]
async fn what_a_session_did_only_ever_rises() {
    let place = Place::new();
    let user = place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap().id;
    let id = sign_in(&place, new_session(user, at(1000)), room(3, Vec::new()), 10).await.0.id;
    let touched = |id, last: i64, bytes_streamed| Touched { id, last_activity: at(last), bytes_streamed };
    place.store.sessions_touched(vec![touched(Uuid::new_v4(), 5, 5), touched(id, 50, 700)]).await.unwrap();
    place.store.sessions_touched(vec![touched(id, 40, 600)]).await.unwrap();
    let (session, _) = place.store.session(id).await.unwrap().unwrap();
    assert_eq!((session.last_activity, session.bytes_streamed), (at(50), 700));
}

#[tokio::test]
async fn rows_of_sessions_that_ended_long_ago_go_with_the_next_login() {
    const DAY: i64 = 24 * 3600; // `at` counts seconds.
    let place = Place::new();
    let user = place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap().id;
    let id = sign_in(&place, new_session(user, at(DAY)), room(3, Vec::new()), 10).await.0.id;
    sign_in(&place, new_session(user, at(9 * DAY)), room(3, Vec::new()), 8 * DAY - 1).await;
    assert!(place.store.session(id).await.unwrap().is_some(), "seven days are not over");
    sign_in(&place, new_session(user, at(9 * DAY)), room(3, Vec::new()), 8 * DAY + 1).await;
    assert!(place.store.session(id).await.unwrap().is_none());
}
