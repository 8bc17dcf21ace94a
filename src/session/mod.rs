//! Who is signed in: a slab of fixed capacity over the rows of the store.
//!
//! A session is one login on one device. Its row is the truth and lives in the store; while it is in use it also has a
//! slot here, so that a request is an index and a compare: no lock that two people can meet on, no database. A slot is
//! found from the session's id; a miss looks through the slab, which is small, and then reads the row, which wakes the
//! session (spec/API.md, "Sessions"). A full slab lets go of the idlest one: its row stays, and its token wakes it.

mod slab;

use std::sync::Arc;

use crate::auth::BAD_TOKEN;
use crate::auth::grant::Caller;
use crate::auth::token::Claims;
use crate::http::reject::Reject;
use crate::session::slab::{Live, Slab};
use crate::store::{Fault, Session, Store, Timestamp, User};

/// The sessions in use.
#[derive(Debug)]
pub struct Table {
    slab: Slab,
    store: Store,
}

impl Table {
    /// An empty table of `capacity` slots over the rows of `store`.
    pub fn new(capacity: usize, store: Store) -> Table {
        Table { slab: Slab::new(capacity), store }
    }

    /// Takes back the sessions that were in use, as far as there are slots: what a restart does.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn restore(&self, now: Timestamp) -> Result<usize, Fault> {
        let rows = self.store.sessions_live(now, self.slab.capacity()).await?;
        let count = rows.len();
        // Newest first: the last one entered is the idlest, so none pushes out a newer one.
        for (session, user) in rows {
            self.slab.enter(live(&session, &user), now);
        }
        Ok(count)
    }

    /// Enters a session that has just been made.
    pub fn enter(&self, session: &Session, user: &User, now: Timestamp) {
        self.slab.enter(live(session, user), now);
    }

    /// The caller behind a verified token, if its session lives at `now`.
    ///
    /// # Errors
    /// 401 when the session was revoked, has expired, was refreshed since, or belongs to somebody else or to a user
    /// who is disabled; 503 when the row could not be read.
    pub async fn caller(&self, claims: &Claims, now: Timestamp) -> Result<Caller, Reject> {
        if let Some(live) = self.slab.find(claims.session_id.id, now) {
            return judge(&live, claims, now);
        }
        let row = self.store.session(claims.session_id.id).await.map_err(Fault::into_reject)?;
        let Some((session, user)) = row.filter(|(session, user)| session.revoked_at.is_none() && user.is_active) else {
            return Err(BAD_TOKEN);
        };
        let live = live(&session, &user);
        let caller = judge(&live, claims, now)?;
        self.slab.enter(live, now);
        Ok(caller)
    }
}

fn live(session: &Session, user: &User) -> Arc<Live> {
    let caller = Caller { user_id: user.id, username: user.username.clone(), role: user.role, session_id: session.id };
    Arc::new(Live::new(caller, session.generation, session.expires_at, session.last_activity))
}

fn judge(live: &Live, claims: &Claims, now: Timestamp) -> Result<Caller, Reject> {
    let is_theirs = live.caller.user_id == claims.sub && live.generation == claims.session_id.generation;
    (is_theirs && now < live.expires_at).then(|| live.caller.clone()).ok_or(BAD_TOKEN)
}
