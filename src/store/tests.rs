//! The promises of the store: an answer means durable, a failure stays where it happened, a bad file is refused.
//!
//! `tests/files.rs` is about the file before the first request, `tests/aggregates.rs` about users and videos,
//! `tests/accounts.rs` about changes of accounts, `tests/sessions.rs` about sign-ins.

mod accounts;
mod aggregates;
mod backup;
mod files;
mod links;
mod sessions;

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::limits;

/// A store in a folder of its own, which goes when this value does.
struct Place {
    folder: TempDir,
    store: Store,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("reelway.db")).unwrap();
        Place { folder, store }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("reelway.db")
    }

    /// Lets the writer wait inside a job until the answer is dropped or sent to: what is queued meanwhile is one group.
    fn hold_writer(&self) -> (mpsc::Sender<()>, Asked<Result<(), Fault>>) {
        let (release, released) = mpsc::channel();
        let (started, has_started) = mpsc::channel();
        let holding = begin(self.store.clone(), move |store| async move {
            store
                .write(move |_| {
                    started.send(()).unwrap();
                    let _ = released.recv();
                    Ok(())
                })
                .await
        });
        has_started.recv().unwrap();
        (release, holding)
    }
}

/// Polls the future of `ask` once, so that its job is queued, and hands it back to be awaited.
fn begin<F: Future + 'static>(store: Store, ask: impl FnOnce(Store) -> F) -> Asked<F::Output> {
    let mut future = Box::pin(ask(store));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Box::pin(async { value }),
        Poll::Pending => future,
    }
}

/// An answer that is on its way.
type Asked<T> = Pin<Box<dyn Future<Output = T>>>;

/// What the trail is told where a test is about something else.
fn noted() -> Audit {
    Audit::by_machine(AuditAction::UserAdded, Uuid::nil())
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        id: Uuid::new_v4(),
        username: name.to_owned(),
        email: None,
        role: Role::User,
        password_hash: "$argon2id$v=19$…".to_owned(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_microseconds(seconds * 1_000_000)
}

async fn names(store: &Store) -> Vec<String> {
    store.users().await.unwrap().into_iter().map(|user| user.username).collect()
}

fn begin_user(store: &Store, name: &str) -> Asked<Result<User, UserError>> {
    let user = new_user(name);
    begin(store.clone(), move |store| async move { store.user_add(user, noted(), at(1)).await })
}

#[tokio::test]
async fn what_waits_while_the_writer_is_busy_shares_one_commit() {
    let place = Place::new();
    let (release, holding) = place.hold_writer();
    let waiting: Vec<_> = (0..64).map(|index| begin_user(&place.store, &format!("user{index:02}"))).collect();
    let before = place.store.counts();
    release.send(()).unwrap();
    holding.await.unwrap();
    for user in waiting {
        user.await.unwrap();
    }
    let after = place.store.counts();
    assert_eq!(after.writes - before.writes, 65);
    assert_eq!(after.commits - before.commits, 2, "the job that held the writer, and then all 64 together");
    assert_eq!(names(&place.store).await.len(), 64);
}

#[tokio::test]
async fn the_steps_of_the_writer_are_seen_within_a_group() {
    let place = Place::new();
    let added = || place.store.user_add(new_user("ann"), noted(), at(1));
    let before = place.store.writer_steps();
    let in_group = {
        let store = place.store.clone();
        let work = move |_: &rusqlite::Connection| Ok(store.writer_steps());
        place.store.write(work).await.unwrap()
    };
    assert!(in_group > before, "it has begun, and nobody was answered yet");
    added().await.unwrap();
    assert!(place.store.writer_steps() > in_group);
}

#[tokio::test]
async fn a_group_has_at_most_the_jobs_that_limits_allow() {
    let place = Place::new();
    let (release, holding) = place.hold_writer();
    let waiting: Vec<_> =
        (0..=limits::STORE_GROUP_MAX).map(|index| begin_user(&place.store, &format!("user{index}"))).collect();
    release.send(()).unwrap();
    holding.await.unwrap();
    for user in waiting {
        user.await.unwrap();
    }
    assert_eq!(place.store.counts().commits, 3);
}

#[tokio::test]
async fn nothing_is_answered_before_its_commit() {
    let place = Place::new();
    let (release_first, first) = place.hold_writer();
    let mut ann = begin_user(&place.store, "ann");
    // Queued behind ann, so in the same transaction: while it is held, ann's work is done and not committed.
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let second = begin(place.store.clone(), move |store| async move {
        store
            .write(move |_| {
                started.send(()).unwrap();
                let _ = released.recv();
                Ok(())
            })
            .await
    });
    release_first.send(()).unwrap();
    first.await.unwrap();
    has_started.recv().unwrap();
    assert!(ann.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(names(&place.store).await, Vec::<String>::new(), "and nobody sees it");
    release.send(()).unwrap();
    second.await.unwrap();
    ann.await.unwrap();
    assert_eq!(names(&place.store).await, ["ann"]);
}

#[tokio::test]
async fn a_name_taken_inside_a_group_fails_alone() {
    let place = Place::new();
    let (release, holding) = place.hold_writer();
    let waiting: Vec<_> = ["ann", "ANN", "bob"].map(|name| begin_user(&place.store, name)).into();
    release.send(()).unwrap();
    holding.await.unwrap();
    let mut answers = Vec::new();
    for user in waiting {
        answers.push(user.await);
    }
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(&answers[1], Err(UserError::NameTaken(name)) if name == "ANN"), "{:?}", answers[1]);
    assert_eq!(names(&place.store).await, ["ann", "bob"]);
}

fn insert_name(connection: &Connection, name: &str) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO users (id, username, password_hash, created_at) VALUES (?1, ?2, 'x', 0)",
        [Uuid::new_v4().to_string(), name.to_owned()],
    )
}

#[tokio::test]
async fn a_job_that_fails_halfway_undoes_itself_and_nothing_else() {
    let place = Place::new();
    let (release, holding) = place.hold_writer();
    let ann = begin_user(&place.store, "ann");
    let failing = begin(place.store.clone(), |store| async move {
        store
            .write(|connection| {
                insert_name(connection, "half")?;
                insert_name(connection, "half")
            })
            .await
    });
    let panicking = begin(place.store.clone(), |store| async move {
        store
            .write(|connection| -> rusqlite::Result<()> {
                insert_name(connection, "panicked")?;
                panic!("on purpose")
            })
            .await
    });
    let bob = begin_user(&place.store, "bob");
    release.send(()).unwrap();
    holding.await.unwrap();
    ann.await.unwrap();
    assert!(matches!(failing.await, Err(Fault::Other { reason, .. }) if reason.contains("UNIQUE")));
    assert!(matches!(panicking.await, Err(Fault::Other { reason, .. }) if reason.contains("on purpose")));
    bob.await.unwrap();
    assert_eq!(names(&place.store).await, ["ann", "bob"]);
    place.store.user_add(new_user("carl"), noted(), at(1)).await.unwrap();
}

#[tokio::test]
async fn a_panic_while_reading_is_a_fault_and_reading_goes_on() {
    let place = Place::new();
    let answer = place.store.read(|_| -> rusqlite::Result<()> { panic!("on purpose") }).await;
    assert!(matches!(answer, Err(Fault::Other { .. })), "{answer:?}");
    place.store.ping().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_fails_fails_its_whole_group_and_only_it() {
    let place = Place::new();
    let (release, holding) = place.hold_writer();
    let ann = begin_user(&place.store, "ann");
    // A reference into nowhere that SQLite looks at only when it commits.
    let dangling = begin(place.store.clone(), |store| async move {
        store
            .write(|connection| {
                connection.pragma_update(None, "defer_foreign_keys", true)?;
                let ids = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
                connection.execute(
                    "INSERT INTO user_sessions (session_id, user_id, expires_at, created_at, last_activity)
                     VALUES (?1, ?2, 0, 0, 0)",
                    ids,
                )
            })
            .await
    });
    release.send(()).unwrap();
    holding.await.unwrap();
    assert!(matches!(ann.await, Err(UserError::Fault(Fault::Other { .. }))));
    assert!(matches!(dangling.await, Err(Fault::Other { .. })));
    assert_eq!(names(&place.store).await, Vec::<String>::new());
    place.store.user_add(new_user("bob"), noted(), at(1)).await.unwrap();
    assert_eq!(names(&place.store).await, ["bob"]);
}

#[tokio::test]
async fn a_transaction_that_sqlite_has_rolled_back_fails_those_in_it_and_the_rest_go_on() {
    let place = Place::new();
    let (release, holding) = place.hold_writer();
    let ann = begin_user(&place.store, "ann");
    // What SQLite does by itself on some I/O errors.
    let breaking = begin(place.store.clone(), |store| async move {
        store
            .write(|connection| {
                connection.execute_batch("ROLLBACK")?;
                insert_name(connection, "")
            })
            .await
    });
    let bob = begin_user(&place.store, "bob");
    release.send(()).unwrap();
    holding.await.unwrap();
    assert!(matches!(ann.await, Err(UserError::Fault(Fault::Other { reason, .. })) if reason.contains("CHECK")));
    assert!(breaking.await.is_err());
    bob.await.unwrap();
    assert_eq!(names(&place.store).await, ["bob"]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let place = Place::new();
    let (release, holding) = place.hold_writer();
    let ask = |store: Store| async move { store.write(|_| Ok(())).await };
    let waiting: Vec<_> = (0..limits::STORE_QUEUE_MAX).map(|_| begin(place.store.clone(), ask)).collect();
    assert!(matches!(place.store.write(|_| Ok(())).await, Err(Fault::Busy { .. })));
    place.store.ping().await.expect("reading has a queue of its own");
    release.send(()).unwrap();
    holding.await.unwrap();
    for answer in waiting {
        answer.await.unwrap();
    }
    place.store.write(|_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_database_held_by_another_process_is_busy() {
    let place = Place::new();
    place.store.write(|connection| connection.busy_timeout(std::time::Duration::ZERO)).await.unwrap();
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = place.store.user_add(new_user("ann"), noted(), at(1)).await;
    assert!(matches!(refused, Err(UserError::Fault(Fault::Busy { .. }))), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
}

/// Lets the file grow by no more than `pages`: what a full disk looks like to SQLite.
async fn leave_room_for(store: &Store, pages: i64) {
    let limited = store.write(move |connection| {
        let now: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        connection.pragma_update_and_check(None, "max_page_count", now + pages, |row| row.get::<_, i64>(0))
    });
    limited.await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_reading_goes_on() {
    let place = Place::new();
    place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    leave_room_for(&place.store, 0).await;
    let mut kept = vec!["ann".to_owned()];
    let fault = loop {
        let name = format!("filler{:05}", kept.len());
        match place.store.user_add(new_user(&name), noted(), at(1)).await {
            Ok(user) => kept.push(user.username),
            Err(error) => break error,
        }
        assert!(kept.len() < 10_000, "the disk never filled");
    };
    assert!(matches!(fault, UserError::Fault(Fault::DiskFull { .. })), "{fault}");
    assert_eq!(names(&place.store).await, kept, "what was acknowledged is there, the refused one is not");
    leave_room_for(&place.store, 1000).await;
    place.store.user_add(new_user("zoe"), noted(), at(1)).await.unwrap();
}

#[tokio::test]
async fn closing_finishes_what_waits_and_then_everything_is_stopped() {
    let place = Place::new();
    let (release, holding) = place.hold_writer();
    let waiting: Vec<_> = (0..10).map(|index| begin_user(&place.store, &format!("user{index}"))).collect();
    let closing = std::thread::spawn({
        let store = place.store.clone();
        move || store.close()
    });
    release.send(()).unwrap();
    closing.join().unwrap();
    place.store.close();
    holding.await.unwrap();
    for user in waiting {
        user.await.unwrap();
    }
    assert!(matches!(place.store.ping().await, Err(Fault::Stopped)));
    assert!(matches!(
        place.store.user_add(new_user("late"), noted(), at(1)).await,
        Err(UserError::Fault(Fault::Stopped))
    ));
    assert!(!place.folder.path().join("reelway.db-wal").exists(), "the log was folded into the file");
    let again = Store::open(&place.file()).unwrap();
    assert_eq!(names(&again).await.len(), 10);
}

#[tokio::test]
async fn the_last_clone_to_go_closes_the_store() {
    let Place { folder, store } = Place::new();
    let clone = store.clone();
    drop(store);
    clone.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    drop(clone);
    assert!(!folder.path().join("reelway.db-wal").exists());
}

#[tokio::test]
async fn reads_and_writes_are_counted_apart() {
    let place = Place::new();
    place.store.user_add(new_user("ann"), noted(), at(1)).await.unwrap();
    place.store.ping().await.unwrap();
    place.store.users().await.unwrap();
    let counts = place.store.counts();
    assert_eq!((counts.reads, counts.writes, counts.commits), (2, 1, 1));
}

/// Names the database for the child process of the next test.
const CHILD_VARIABLE: &str = "REELWAY_TEST_STORE_TO_BE_KILLED";

#[tokio::test]
async fn every_acknowledged_write_survives_sigkill() {
    if let Some(file) = std::env::var_os(CHILD_VARIABLE) {
        return write_until_killed(Path::new(&file)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reelway.db");
    let module = module_path!().split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::every_acknowledged_write_survives_sigkill"), "--nocapture"])
        .env(CHILD_VARIABLE, &file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged = lines.filter_map(|line| Some(line.split_once("acknowledged ")?.1.to_owned()));
    let mut names_expected: Vec<String> = acknowledged.by_ref().take(50).collect();
    child.kill().unwrap(); // SIGKILL, in the middle of whatever it is doing
    names_expected.extend(acknowledged);
    child.wait().unwrap();
    assert!(names_expected.len() >= 50, "the child wrote {names_expected:?}");

    let found = names(&Store::open(&file).unwrap()).await;
    for name in &names_expected {
        assert!(found.contains(name), "{name} was acknowledged and is gone");
    }
}

async fn write_until_killed(file: &Path) {
    let store = Store::open(file).unwrap();
    for index in 0..1_000_000 {
        let user = store.user_add(new_user(&format!("user{index}")), noted(), at(1)).await.unwrap();
        writeln!(std::io::stdout(), "acknowledged {}", user.username).unwrap();
    }
}
