//! Copies that are made beside a writer, and databases of every age that come back.

use std::fs;

use rusqlite::Connection;

use super::super::backup::{self, Contents, Original, schema_known};
use super::super::migrations::{self, STEPS};
use super::super::unfinished_restore;
use super::{Fault, Place, Store, at, names, new_user, noted};

#[tokio::test]
async fn a_copy_holds_what_was_acknowledged_and_no_log_beside_it() {
    let place = Place::new();
    for name in ["ann", "bob"] {
        place.store.user_add(new_user(name), noted(), at(1)).await.unwrap();
    }
    let copy = place.folder.path().join("copy.db");
    let original = Original::open(&place.file()).unwrap();
    let found = original.copy_to(&copy).unwrap();
    assert_eq!(found, Contents { schema: schema_known(), users: 2, admins: found.admins });
    assert_eq!(original.contents().unwrap(), found);
    assert_eq!(backup::examine(&copy).unwrap(), found);
    assert!(!place.folder.path().join("copy.db-wal").exists());
    place.store.user_add(new_user("carl"), noted(), at(1)).await.unwrap();
    assert_eq!(names(&Store::open(&copy).unwrap()).await, ["ann", "bob"]);
}

#[tokio::test]
async fn sessions_and_links_end_whatever_the_schema() {
    for steps in 1..=STEPS.len() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reelway.db");
        let mut connection = Connection::open(&file).unwrap();
        migrations::migrate(&mut connection, &file, &STEPS[..steps]).unwrap();
        let (user, session) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
        connection
            .execute_batch(&format!(
                "INSERT INTO users (id, username, password_hash, created_at) VALUES ('{user}', 'ann', 'x', 1);
                 INSERT INTO user_sessions (session_id, user_id, expires_at, created_at, last_activity)
                 VALUES ('{session}', '{user}', 100, 1, 2);"
            ))
            .unwrap();
        drop(connection);
        backup::sign_everybody_out(&file, at(50)).unwrap();
        assert_eq!(backup::examine(&file).unwrap(), Contents { schema: steps as i64, users: 1, admins: 0 });
        let store = Store::open(&file).unwrap();
        let (found, _) = store.session(session).await.unwrap().expect("its row stays");
        assert_eq!(found.revoked_at, Some(at(50)), "schema {steps}");
    }
}

#[tokio::test]
async fn rows_that_belong_to_nobody_are_found() {
    let place = Place::new();
    place.store.close();
    let connection = Connection::open(place.file()).unwrap();
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             INSERT INTO user_sessions (session_id, user_id, expires_at, created_at, last_activity)
             VALUES (printf('%036d', 1), printf('%036d', 2), 1, 1, 1);",
        )
        .unwrap();
    drop(connection);
    let fault = backup::examine(&place.file()).unwrap_err();
    assert!(matches!(&fault, Fault::Corrupt { detail, .. } if detail.contains("nobody")), "{fault}");
}

#[tokio::test]
async fn a_database_whose_restore_was_cut_off_is_not_opened() {
    let place = Place::new();
    place.store.close();
    fs::write(unfinished_restore(&place.file()), "").unwrap();
    for fault in [Store::open(&place.file()).unwrap_err(), Original::open(&place.file()).unwrap_err()] {
        assert!(matches!(&fault, Fault::Open { reason, .. } if reason.contains("restore")), "{fault}");
    }
}

#[tokio::test]
async fn a_log_that_was_left_is_folded_in() {
    let place = Place::new();
    place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    for name in ["reelway.db", "reelway.db-wal"] {
        fs::copy(place.folder.path().join(name), other.path().join(name)).unwrap();
    }
    let file = other.path().join("reelway.db");
    backup::fold_log(&file).unwrap();
    assert!(!other.path().join("reelway.db-wal").exists());
    assert_eq!(names(&Store::open(&file).unwrap()).await, ["ann"]);
    fs::write(&file, vec![0x5a; 5000]).unwrap();
    assert!(backup::fold_log(&file).is_err());
}
