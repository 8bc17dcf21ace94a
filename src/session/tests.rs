//! For whom a film goes on, by the session that began it.

use super::*;
use crate::store::{Audit, AuditAction, NewSession, NewUser, Role};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_microseconds(seconds * 1_000_000)
}

/// What the trail is told where a test is about something else.
fn noted() -> Audit {
    Audit::by_machine(AuditAction::UserAdded, Uuid::nil())
}

#[tokio::test]
async fn a_film_outlives_its_session_unless_that_was_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let ann = NewUser {
        id: Uuid::from_u128(1),
        username: "ann".to_owned(),
        email: None,
        role: Role::User,
        password_hash: "$argon2id$v=19$…".to_owned(),
    };
    let ann = store.user_add(ann, noted(), at(1)).await.unwrap();
    let new = NewSession { id: Uuid::from_u128(2), user_id: ann.id, device: None, expires_at: at(100), client: None };
    let session = store.session_add(new, noted(), at(10)).await.unwrap();
    let (slotted, rested) = (Table::new(1, store.clone()), Table::new(1, store.clone()));
    slotted.enter(&session, &ann, slotted.moment(), at(10));
    for table in [&slotted, &rested] {
        let watching = async |now| table.watching(session.id, ann.id, at(now)).await;
        assert!(matches!(watching(100).await, Ok(Watching::Beyond)));
        assert!(matches!(watching(99).await, Ok(Watching::By(account)) if account.user_id == ann.id));
        assert!(matches!(watching(100).await, Ok(Watching::Beyond)), "it has its slot until somebody looks");
        let others = table.watching(session.id, Uuid::from_u128(3), at(99)).await;
        assert!(matches!(others, Ok(Watching::Over)), "it is somebody else's");
    }
    assert!(store.session_revoked(session.id, noted(), at(50)).await.unwrap());
    for table in [&slotted, &rested] {
        table.ended(&[session.id]);
        assert!(matches!(table.watching(session.id, ann.id, at(60)).await, Ok(Watching::Over)));
    }
    store.close();
    let unasked = slotted.watching(session.id, ann.id, at(60)).await;
    assert!(matches!(unasked, Err(Fault::Stopped)), "a database that does not answer ends nobody's session");
}
