//! Changes of accounts, what they make void, and the trail they leave.

use uuid::Uuid;

use super::super::{Audit, AuditAction, NewSession, NewUser, Preferences, Quality, Role, UserChange, UserError};
use super::{Place, at, new_user, noted};
use crate::limits;

async fn add(place: &Place, name: &str, role: Role) -> Uuid {
    place.store.user_add(NewUser { role, ..new_user(name) }, noted(), at(1)).await.unwrap().id
}

/// A session of this user that lives until 1000.
async fn session_of(place: &Place, user_id: Uuid) -> Uuid {
    let new = NewSession { id: Uuid::new_v4(), user_id, device: None, expires_at: at(1000), client: None };
    place.store.session_add(new, noted(), at(2)).await.unwrap().id
}

#[tokio::test]
async fn what_is_left_out_of_a_change_stays() {
    let place = Place::new();
    let id = add(&place, "ann", Role::User).await;
    let session = session_of(&place, id).await;
    let before = place.store.user_by_id(id).await.unwrap().unwrap();
    let preferences = Preferences { quality: Quality::P720, ..Preferences::default() };
    for (change, name, email) in [
        (UserChange::default(), "ann", None),
        (UserChange { username: Some("Anne".into()), ..UserChange::default() }, "Anne", None),
        (UserChange { email: Some(Some("a@b".into())), ..UserChange::default() }, "Anne", Some("a@b")),
        (UserChange { preferences: Some(preferences.clone()), ..UserChange::default() }, "Anne", Some("a@b")),
        (UserChange { email: Some(None), ..UserChange::default() }, "Anne", None),
    ] {
        let changed = place.store.user_changed(id, change, noted(), at(3)).await.unwrap().unwrap();
        assert_eq!((changed.user.username.as_str(), changed.user.email.as_deref()), (name, email));
        assert!(changed.ended.is_empty(), "nothing of this is a credential");
    }
    let after = place.store.user_by_id(id).await.unwrap().unwrap();
    assert_eq!((after.preferences, after.credential_version), (preferences, before.credential_version));
    assert!(place.store.session(session).await.unwrap().unwrap().0.revoked_at.is_none());
    let nobody = place.store.user_changed(Uuid::new_v4(), UserChange::default(), noted(), at(3)).await;
    assert_eq!(nobody.unwrap(), None);
}

#[tokio::test]
async fn another_password_role_or_state_ends_the_sessions_and_raises_the_version() {
    let place = Place::new();
    add(&place, "root", Role::Admin).await;
    let id = add(&place, "ann", Role::User).await;
    for (version, change) in [
        (2, UserChange { password_hash: Some("$other".into()), ..UserChange::default() }),
        (3, UserChange { role: Some(Role::Admin), ..UserChange::default() }),
        (4, UserChange { is_active: Some(false), ..UserChange::default() }),
        (5, UserChange { is_active: Some(true), ..UserChange::default() }),
    ] {
        let session = session_of(&place, id).await;
        let changed = place.store.user_changed(id, change, noted(), at(5)).await.unwrap().unwrap();
        assert_eq!((changed.user.credential_version, changed.ended), (version, vec![session]));
    }
    let same = UserChange { role: Some(Role::Admin), is_active: Some(true), ..UserChange::default() };
    let session = session_of(&place, id).await;
    let changed = place.store.user_changed(id, same, noted(), at(6)).await.unwrap().unwrap();
    assert_eq!((changed.user.credential_version, changed.ended.len()), (5, 0), "nothing is another");
    let kept = UserChange { password_hash: Some("$new".into()), kept_session: Some(session), ..UserChange::default() };
    let other = session_of(&place, id).await;
    let changed = place.store.user_changed(id, kept, noted(), at(7)).await.unwrap().unwrap();
    assert_eq!(changed.ended, [other], "the session it was changed from goes on");
    assert_eq!(place.store.user_by_name("ann").await.unwrap().unwrap().1.0, "$new");
}

#[tokio::test]
async fn there_is_always_an_administrator_who_may_sign_in() {
    let place = Place::new();
    let only = add(&place, "root", Role::Admin).await;
    let disabled = add(&place, "old", Role::Admin).await;
    let disable = || UserChange { is_active: Some(false), ..UserChange::default() };
    let demote = || UserChange { role: Some(Role::User), ..UserChange::default() };
    place.store.user_changed(disabled, disable(), noted(), at(2)).await.unwrap();
    for change in [disable(), demote()] {
        let refused = place.store.user_changed(only, change, noted(), at(3)).await;
        assert!(matches!(refused, Err(UserError::LastAdmin)), "{refused:?}");
    }
    assert!(matches!(place.store.user_removed(only, noted(), at(3)).await, Err(UserError::LastAdmin)));
    let second = add(&place, "root2", Role::Admin).await;
    assert!(place.store.user_removed(only, noted(), at(4)).await.unwrap());
    assert!(!place.store.user_removed(only, noted(), at(4)).await.unwrap(), "it is gone");
    assert!(matches!(place.store.user_removed(second, noted(), at(5)).await, Err(UserError::LastAdmin)));
    assert!(place.store.user_removed(disabled, noted(), at(6)).await.unwrap(), "one that is disabled is no loss");
}

#[tokio::test]
async fn a_name_or_an_address_of_somebody_else_is_refused() {
    let place = Place::new();
    let ann = add(&place, "ann", Role::User).await;
    let bob = add(&place, "bob", Role::User).await;
    let named = |name: &str| UserChange { username: Some(name.into()), ..UserChange::default() };
    let at_address = |email: &str| UserChange { email: Some(Some(email.into())), ..UserChange::default() };
    place.store.user_changed(ann, at_address("a@b"), noted(), at(2)).await.unwrap();
    let taken = place.store.user_changed(bob, named("ANN"), noted(), at(2)).await;
    assert!(matches!(taken, Err(UserError::NameTaken(_))), "{taken:?}");
    let taken = place.store.user_changed(bob, at_address("A@B"), noted(), at(2)).await;
    assert!(matches!(taken, Err(UserError::EmailTaken(_))), "{taken:?}");
    let invalid = place.store.user_changed(bob, named("a:b"), noted(), at(2)).await;
    assert!(matches!(invalid, Err(UserError::Invalid(_))), "{invalid:?}");
    place.store.user_changed(ann, named("Ann"), noted(), at(2)).await.expect("one's own name typed otherwise");
    place.store.user_changed(ann, at_address("A@b"), noted(), at(2)).await.expect("and one's own address");
}

#[tokio::test]
async fn accounts_are_found_by_part_of_a_name_or_address_and_page_by_page() {
    let place = Place::new();
    for name in ["carl", "Bob", "ann_lee", "annXlee"] {
        add(&place, name, Role::User).await;
    }
    let names = async |query: Option<&str>, after: Option<&str>, limit| -> Vec<String> {
        let page = place.store.users_page(query.map(str::to_owned), after.map(str::to_owned), limit).await.unwrap();
        page.into_iter().map(|user| user.username).collect()
    };
    assert_eq!(names(None, None, 9).await, ["ann_lee", "annXlee", "Bob", "carl"]);
    assert_eq!(names(None, Some("annXlee"), 1).await, ["Bob"]);
    assert_eq!(names(Some("n_l"), None, 9).await, ["ann_lee"], "no character stands for others");
    assert_eq!(names(Some("%"), None, 9).await, [""; 0]);
    assert_eq!(names(Some("BO"), None, 9).await, ["Bob"]);
}

#[tokio::test]
async fn the_trail_tells_what_was_done_and_no_more_than_it_may() {
    let place = Place::new();
    let client = Some([10, 0, 0, 7].into());
    for number in 0..3 {
        let subject = Some(format!("{}{number}", "ü".repeat(300)));
        let audit = Audit { action: AuditAction::LoginFailed, actor: None, subject, client };
        place.store.audit_noted(audit, at(number)).await.unwrap();
    }
    let rows = place.store.audit_rows(None, 2).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [3, 2]);
    assert_eq!((rows[0].at, rows[0].client.as_deref()), (at(2), Some("10.0.0.7")));
    assert_eq!(rows[0].subject.as_ref().unwrap().chars().count(), 200);
    assert_eq!(place.store.audit_rows(Some(2), 9).await.unwrap().len(), 1);

    let (ann, audit) = (new_user("ann"), Audit::by_machine(AuditAction::UserAdded, Uuid::nil()));
    place.store.user_add(ann, audit.clone(), at(5)).await.unwrap();
    place.store.user_add(new_user("ANN"), audit, at(6)).await.unwrap_err();
    assert_eq!(place.store.audit_rows(None, 9).await.unwrap().len(), 4, "what was refused was not done");

    let flood =
        place.store.write(|connection| connection.execute("UPDATE audit SET id = id + ?1", [limits::AUDIT_ROWS_MAX]));
    flood.await.unwrap();
    place.store.audit_noted(noted(), at(7)).await.unwrap();
    let rows = place.store.audit_rows(None, 9).await.unwrap();
    assert_eq!(rows.len(), 5, "{rows:?}");
    place.store.write(|connection| connection.execute("UPDATE audit SET id = 1 WHERE at = 0", [])).await.unwrap();
    place.store.audit_noted(noted(), at(8)).await.unwrap();
    assert!(place.store.audit_rows(None, 9).await.unwrap().iter().all(|row| row.id > 1), "the oldest has gone");
}
