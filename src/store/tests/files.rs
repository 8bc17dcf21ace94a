//! The file: its schema, its mode and settings, and the files we refuse.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;
use rusqlite_migration::M;
use uuid::Uuid;

use super::super::migrations::{self, STEPS};
use super::{Fault, Place, Store, at, names, new_user, noted};

fn mode_of(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_schema_has_all_tables_strict_with_their_columns() {
    let place = Place::new();
    let tables = place.store.read(|connection| {
        let mut statement = connection.prepare(
            "SELECT list.name, list.strict, group_concat(columns.name, ' ' ORDER BY columns.cid)
             FROM pragma_table_list AS list, pragma_table_info(list.name) AS columns
             WHERE list.schema = 'main' AND list.type = 'table' AND list.name NOT LIKE 'sqlite_%'
             GROUP BY list.name",
        )?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<Vec<_>, _>>()
    });
    let expected = [
        ("audit", "id at action actor subject client"),
        ("link_plays", "link_id client at"),
        ("links", "id mark user_id video_id created_at expires_at max_plays plays"),
        ("playlist_videos", "playlist_id video_id position added_at"),
        ("playlists", "id user_id name description is_public created_at updated_at"),
        (
            "user_sessions",
            "session_id user_id device generation session_data expires_at created_at last_activity revoked_at \
             bytes_streamed client",
        ),
        ("user_videos", "user_id video_id watch_time watch_progress rating last_watched watch_metadata"),
        (
            "users",
            "id username email password_hash role streaming_preferences created_at last_login is_active \
             credential_version",
        ),
        (
            "videos",
            "id filename title description file_path file_size duration resolution format thumbnail_path metadata \
             created_at updated_at root path_bytes modified_at view_count available",
        ),
    ];
    let expected: Vec<(String, bool, String)> =
        expected.map(|(table, columns)| (table.to_owned(), true, columns.to_owned())).into();
    assert_eq!(tables.await.unwrap(), expected);
}

#[tokio::test]
async fn rows_that_make_no_sense_are_refused_by_the_schema() {
    let place = Place::new();
    place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    for statement in [
        "UPDATE users SET role = 'guest'",
        "UPDATE users SET username = ''",
        "UPDATE users SET streaming_preferences = '{'",
        "UPDATE users SET created_at = 'yesterday'",
        "INSERT INTO user_videos (user_id, video_id, rating) SELECT id, id, 6 FROM users",
        "INSERT INTO user_videos (user_id, video_id, rating) SELECT id, id, 5 FROM users",
        "INSERT INTO playlists (id, user_id, name, created_at, updated_at)
             SELECT id, id, printf('%101d', 1), 0, 0 FROM users",
    ] {
        let answer = place.store.write(move |connection| connection.execute(statement, [])).await;
        assert!(matches!(answer, Err(Fault::Other { .. })), "{statement}: {answer:?}");
    }
}

#[tokio::test]
async fn both_connections_are_set_as_promised() {
    let place = Place::new();
    fn settings(connection: &Connection) -> rusqlite::Result<Vec<Value>> {
        let names = ["journal_mode", "synchronous", "busy_timeout", "trusted_schema", "foreign_keys", "mmap_size"];
        names.iter().map(|name| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))).collect()
    }
    let wal = Value::from("wal".to_owned());
    let writer = place.store.write(settings).await.unwrap();
    assert_eq!(writer[0], wal);
    assert_eq!(writer[1..], [2, 5000, 0, 1, 0].map(Value::Integer));
    let reader = place.store.read(settings).await.unwrap();
    assert_eq!(reader[0], wal);
    assert_eq!(reader[2..4], [5000, 0].map(Value::Integer));
    assert_eq!(reader[5], Value::Integer(0));
    let written = place.store.read(|connection| connection.execute("DELETE FROM users", [])).await;
    assert!(written.is_err(), "the reader can write");
}

#[tokio::test]
async fn the_file_and_its_log_are_for_nobody_else() {
    let place = Place::new();
    place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    for name in ["reelway.db", "reelway.db-wal", "reelway.db-shm"] {
        assert_eq!(mode_of(&place.folder.path().join(name)), 0o600, "{name}");
    }
    place.store.close();
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o644)).unwrap();
    Store::open(&place.file()).unwrap();
    assert_eq!(mode_of(&place.file()), 0o600);
}

#[test]
fn a_file_that_is_no_database_is_corrupt_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reelway.db");
    for content in [b"not a database".to_vec(), vec![0x5a; 20_000]] {
        fs::write(&file, &content).unwrap();
        let fault = Store::open(&file).unwrap_err();
        assert!(matches!(fault, Fault::Corrupt { .. }), "{fault}");
        let message = fault.to_string();
        assert!(message.contains("reelway.db") && message.contains("backup"), "{message}");
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn a_damaged_page_is_found_when_the_file_is_opened() {
    let place = Place::new();
    for index in 0..200 {
        place.store.user_add(new_user(&format!("user{index}")), noted(), at(1)).await.unwrap();
    }
    place.store.close();
    let page: i64 = Connection::open(place.file())
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'users'", [], |row| row.get(0))
        .unwrap();
    // The schema stays whole, so nothing but the check of the whole file comes across it.
    let file = fs::OpenOptions::new().write(true).open(place.file()).unwrap();
    file.write_all_at(&[0xff; 4096], ((page - 1) * 4096) as u64).unwrap();
    let fault = Store::open(&place.file()).unwrap_err();
    assert!(matches!(fault, Fault::Corrupt { .. }), "{fault}");
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    let place = Place::new();
    place.store.write(|connection| connection.pragma_update(None, "user_version", 99)).await.unwrap();
    place.store.close();
    let before = fs::read(place.file()).unwrap();
    let fault = Store::open(&place.file()).unwrap_err();
    assert!(matches!(fault, Fault::Newer { found: 99, known, .. } if known == STEPS.len() as i64), "{fault}");
    assert_eq!(fs::read(place.file()).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reelway.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1").unwrap();
    let before = fs::read(&file).unwrap();
    let fault = Store::open(&file).unwrap_err();
    assert!(matches!(&fault, Fault::Open { reason, .. } if reason.contains("another program")), "{fault}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_path_that_cannot_be_a_file_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/reelway.db");
    let fault = Store::open(&missing).unwrap_err();
    assert!(matches!(&fault, Fault::Open { reason, .. } if reason.contains("folder")), "{fault}");
    let fault = Store::open(folder.path()).unwrap_err();
    assert!(matches!(&fault, Fault::Open { reason, .. } if reason.contains("regular file")), "{fault}");
}

#[test]
fn eight_that_open_a_fresh_database_at_once_all_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reelway.db");
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let file = file.clone();
            std::thread::spawn(move || Store::open(&file).map(|store| store.close()))
        })
        .collect();
    for opened in opening {
        opened.join().unwrap().unwrap();
    }
}

fn files_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All steps that there are, and one more.
fn steps_of_the_next_release() -> Vec<M<'static>> {
    let next = M::up("ALTER TABLE users ADD COLUMN shoe_size INTEGER; DELETE FROM users;");
    STEPS.iter().cloned().chain([next]).collect()
}

#[tokio::test]
async fn an_older_database_is_copied_before_it_is_migrated_and_a_fresh_one_never() {
    let place = Place::new();
    place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    place.store.close();
    assert_eq!(files_in(place.folder.path()), ["reelway.db"], "a fresh database needs no backup");
    Store::open(&place.file()).unwrap();
    assert_eq!(files_in(place.folder.path()), ["reelway.db"], "nor does a current one");

    let steps = steps_of_the_next_release();
    let copy_name = format!("reelway.db.before-{}", steps.len());
    fs::write(place.folder.path().join(format!("{copy_name}.partial")), "an interrupted one").unwrap();
    let mut connection = Connection::open(place.file()).unwrap();
    migrations::migrate(&mut connection, &place.file(), &steps).unwrap();
    connection.execute("UPDATE users SET shoe_size = 39", []).expect("it was migrated");
    drop(connection);

    assert_eq!(files_in(place.folder.path()), ["reelway.db".to_owned(), copy_name.clone()]);
    let copy = place.folder.path().join(copy_name);
    assert_eq!(mode_of(&copy), 0o600);
    assert_eq!(names(&Store::open(&copy).unwrap()).await, ["ann"], "the copy is a whole database of the older schema");
}

#[tokio::test]
async fn a_database_of_the_first_release_keeps_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reelway.db");
    let mut connection = Connection::open(&file).unwrap();
    migrations::migrate(&mut connection, &file, &STEPS[..1]).unwrap();
    let (user, session) = (Uuid::from_u128(1), Uuid::from_u128(2));
    connection
        .execute_batch(&format!(
            "INSERT INTO users (id, username, password_hash, created_at) VALUES ('{user}', 'ann', 'x', 1);
             INSERT INTO user_sessions (session_id, user_id, expires_at, created_at, last_activity)
             VALUES ('{session}', '{user}', 100, 1, 2);"
        ))
        .unwrap();
    drop(connection);
    let store = Store::open(&file).unwrap();
    let (found, owner) = store.session(session).await.unwrap().expect("it is still there");
    assert_eq!((found.bytes_streamed, found.client, owner.username.as_str()), (0, None, "ann"));
    assert!(folder.path().join("reelway.db.before-3").exists());
}

#[tokio::test]
async fn a_step_that_fails_leaves_the_database_as_it_was() {
    let place = Place::new();
    place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    place.store.close();
    let mut steps = steps_of_the_next_release();
    steps.push(M::up("DROP TABLE nobody;"));
    let mut connection = Connection::open(place.file()).unwrap();
    let fault = migrations::migrate(&mut connection, &place.file(), &steps).unwrap_err();
    assert!(fault.to_string().contains("nobody"), "{fault}");
    drop(connection);
    let copy = place.folder.path().join(format!("reelway.db.before-{}", steps.len()));
    assert_eq!(names(&Store::open(&copy).unwrap()).await, ["ann"]);
}
