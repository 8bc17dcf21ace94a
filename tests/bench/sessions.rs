//! What it costs to find a session: printed, and held to no allocation. Times are printed and never asserted, because the
//! machines of CI are shared; run it alone, optimised, for a figure:
//! `cargo test --release --test bench_sessions -- --nocapture`.
#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait; it hands everything on to the system's")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "counting.rs"]
mod counting;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use reelway::auth::token::{Claims, Preferences, SessionRef};
use reelway::session::Table;
use reelway::store::{Audit, AuditAction, NewSession, NewUser, Quality, Role, Store, Timestamp};
use uuid::Uuid;

/// What a future gives that needs to wait for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits: it has asked the store"),
    }
}

#[tokio::test]
async fn a_session_is_found_without_an_allocation() {
    const SESSIONS: u64 = 64;
    const ROUNDS: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("reelway.db")).unwrap();
    let table = Table::new(SESSIONS as usize, store.clone());
    let now = Timestamp::now();
    let new = NewUser {
        id: Uuid::new_v4(),
        username: "ann".into(),
        email: None,
        role: Role::User,
        password_hash: "$argon2id$v=19$…".into(),
    };
    let audit = Audit::by_machine(AuditAction::UserAdded, new.id);
    let user = store.user_add(new, audit.clone(), now).await.unwrap();
    let mut claims = Vec::new();
    for _ in 0..SESSIONS {
        let expires_at = now.plus(Duration::from_secs(3600));
        let new = NewSession { id: Uuid::new_v4(), user_id: user.id, device: None, expires_at, client: None };
        let moment = table.moment();
        let session = store.session_add(new, audit.clone(), now).await.unwrap();
        table.enter(&session, &user, moment, now);
        claims.push(Claims {
            sub: user.id,
            username: user.username.clone(),
            role: user.role,
            session_id: SessionRef { id: session.id, generation: 0 },
            preferences: Preferences { quality: Quality::Auto, device: None },
            iat: 0,
            exp: u64::MAX,
        });
    }
    let find =
        |claims: &Claims| assert_eq!(at_once(table.account(claims, now)).unwrap().session_id, claims.session_id.id);
    claims.iter().for_each(find);

    let asked = counting::asked();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        claims.iter().for_each(find);
    }
    let each = begun.elapsed().as_nanos() as f64 / (ROUNDS * SESSIONS) as f64;
    let allocations = counting::asked() - asked;
    println!("{each:.1} ns a lookup among {SESSIONS} sessions, {allocations} allocations in all");
    assert_eq!(allocations, 0);
}
