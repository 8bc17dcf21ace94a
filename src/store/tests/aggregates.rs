//! Users and videos: what the rooms above see.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::{FoundVideo, NewUser, PasswordHash, Preferences, Role, Synced, UserError};
use super::{Place, Timestamp, at, names, new_user, noted};

#[tokio::test]
async fn a_user_is_read_back_as_it_was_made() {
    let place = Place::new();
    let wanted = NewUser { email: Some("ann@example.org".into()), role: Role::Admin, ..new_user("Ann") };
    let made = place.store.user_add(wanted.clone(), noted(), at(7)).await.unwrap();
    assert_eq!((made.id, made.username.as_str(), made.role), (wanted.id, "Ann", Role::Admin));
    assert_eq!((made.created_at, made.last_login, made.is_active), (at(7), None, true));
    assert_eq!((&made.preferences, made.credential_version), (&Preferences::default(), 1));
    assert_eq!(place.store.user_by_id(wanted.id).await.unwrap(), Some(made.clone()));
    let (found, hash) = place.store.user_by_name("aNN").await.unwrap().unwrap();
    assert_eq!((found, hash), (made, PasswordHash(wanted.password_hash)));
    assert_eq!(place.store.user_by_id(Uuid::new_v4()).await.unwrap(), None);
    assert_eq!(place.store.user_by_name("bob").await.unwrap(), None);
}

#[tokio::test]
async fn a_user_is_the_json_that_the_api_promises() {
    let place = Place::new();
    let user = place.store.user_add(new_user("ann"), noted(), at(0)).await.unwrap();
    let expected = serde_json::json!({
        "id": user.id.to_string(), "username": "ann", "email": null, "role": "user", "isActive": true,
        "preferences": {"quality": "auto", "maxBandwidth": null, "deviceType": null},
        "createdAt": "1970-01-01T00:00:00Z", "lastLogin": null
    });
    assert_eq!(serde_json::to_value(&user).unwrap(), expected);
}

#[tokio::test]
async fn a_name_is_one_persons_however_it_is_typed() {
    let place = Place::new();
    for name in ["Ann", "Ünal", "Ольга"] {
        place.store.user_add(new_user(name), noted(), at(1)).await.unwrap();
    }
    for name in ["ann", "üNAL", "ОЛЬГА"] {
        let taken = place.store.user_add(new_user(name), noted(), at(1)).await;
        assert!(matches!(taken, Err(UserError::NameTaken(_))), "{name}: {taken:?}");
        assert!(place.store.user_by_name(name).await.unwrap().is_some(), "{name}");
    }
    assert_eq!(names(&place.store).await.len(), 3);
}

#[tokio::test]
async fn names_and_addresses_that_cannot_be_kept_are_refused() {
    let place = Place::new();
    for name in [String::new(), "x".repeat(51), "a:b".into(), "a\nb".into(), " ann".into()] {
        let refused = place.store.user_add(new_user(&name), noted(), at(1)).await;
        assert!(matches!(refused, Err(UserError::Invalid(_))), "{name:?}: {refused:?}");
    }
    for email in [String::new(), "x".repeat(101)] {
        let refused = place.store.user_add(NewUser { email: Some(email), ..new_user("ann") }, noted(), at(1)).await;
        assert!(matches!(refused, Err(UserError::Invalid(_))), "{refused:?}");
    }
    for name in ["x".repeat(50), "ü".repeat(50)] {
        place.store.user_add(new_user(&name), noted(), at(1)).await.unwrap();
    }
    let with_email = |name: &str, email: &str| NewUser { email: Some(email.to_owned()), ..new_user(name) };
    place.store.user_add(with_email("bob", "b@example.org"), noted(), at(1)).await.unwrap();
    let taken = place.store.user_add(with_email("carl", "B@example.org"), noted(), at(1)).await;
    assert!(matches!(taken, Err(UserError::EmailTaken(_))), "{taken:?}");
}

#[tokio::test]
async fn users_are_listed_by_name() {
    let place = Place::new();
    for name in ["carl", "Bob", "ann"] {
        place.store.user_add(new_user(name), noted(), at(1)).await.unwrap();
    }
    assert_eq!(names(&place.store).await, ["ann", "Bob", "carl"]);
}

fn found(root: &str, path: &[u8], size: u64) -> FoundVideo {
    let name = [root.as_bytes(), b"/", path].concat();
    FoundVideo {
        id: Uuid::new_v5(&Uuid::NAMESPACE_URL, &name),
        root: root.to_owned(),
        path: path.to_owned(),
        filename: String::from_utf8_lossy(path).into_owned(),
        title: "Film".to_owned(),
        format: "mp4".to_owned(),
        size,
        modified: at(5),
    }
}

/// Each video's path, size, availability, and when its row was written last.
async fn rows(place: &Place) -> Vec<(Vec<u8>, i64, bool, Timestamp)> {
    let read = place.store.read(|connection| {
        let mut statement = connection
            .prepare("SELECT path_bytes, file_size, available, updated_at FROM videos ORDER BY root, path_bytes")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
    });
    read.await.unwrap()
}

#[tokio::test]
async fn a_scan_adds_changes_and_forgets_and_leaves_other_roots_alone() {
    let place = Place::new();
    let sync = async |roots: &[&str], videos: Vec<FoundVideo>, now| {
        let roots = roots.iter().map(|root| (*root).to_owned()).collect();
        place.store.videos_sync(roots, videos, at(now)).await.unwrap()
    };
    let not_utf8 = b"caf\xe9.mp4";
    let first = vec![found("films", b"a.mp4", 1), found("films", not_utf8, 2), found("other", b"a.mp4", 3)];
    let all = sync(&["films", "other"], first.clone(), 10).await;
    let known_since = first.iter().map(|video| (video.id, at(10))).collect();
    assert_eq!(all, Synced { known_since, added: 3, changed: 0, removed: 0 });

    let second = vec![found("films", b"a.mp4", 9)];
    let known_since = HashMap::from([(second[0].id, at(10))]);
    let one = sync(&["films"], second.clone(), 20).await;
    assert_eq!(one, Synced { known_since, added: 0, changed: 1, removed: 1 });
    let expected = vec![
        (b"a.mp4".to_vec(), 9, true, at(20)),
        (not_utf8.to_vec(), 2, false, at(20)),
        (b"a.mp4".to_vec(), 3, true, at(10)),
    ];
    assert_eq!(rows(&place).await, expected);

    sync(&["films"], vec![], 30).await;
    assert_eq!(rows(&place).await.iter().map(|row| row.2).collect::<Vec<_>>(), [false, false, true], "an emptied root");
    let back = sync(&["films", "other"], first.clone(), 40).await;
    assert_eq!(back.known_since[&first[1].id], at(10), "a video that returns keeps its row");
    assert_eq!((back.added, back.changed, back.removed), (2, 0, 0), "and is new again to whoever watches");
    assert!(rows(&place).await.iter().all(|row| row.2));
}

#[tokio::test]
async fn ten_thousand_unchanged_videos_write_nothing() {
    let place = Place::new();
    let videos: Vec<_> = (0..10_000).map(|index| found("films", format!("{index}.mp4").as_bytes(), index)).collect();
    place.store.videos_sync(vec!["films".into()], videos.clone(), at(10)).await.unwrap();
    let changes = || place.store.write(|connection| Ok(connection.total_changes()));
    let before = changes().await.unwrap();
    let synced = place.store.videos_sync(vec!["films".into()], videos, at(20)).await.unwrap();
    assert_eq!(changes().await.unwrap(), before);
    assert_eq!((synced.added, synced.changed, synced.removed), (0, 0, 0));
    let known = synced.known_since;
    assert_eq!(known.len(), 10_000);
    assert!(known.values().all(|since| *since == at(10)));
}
