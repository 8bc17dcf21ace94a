//! Who is signed in: a slab of fixed capacity over the rows of the store.
//!
//! A session is one login on one device. Its row is the truth and lives in the store; while it is in use it also has a
//! slot here, so that a request is an index and a compare: no lock that two people can meet on, no database.
//!
//! ```text
//!            login, or its token comes                    logout, DELETE, password, role, disabled
//!   (a row) ──────────────────────────► in use ─────────────────────────────► revoked, for good
//!      ▲                                  │
//!      └── resting (30 min idle), evicted (a full slab lets go of the idlest)
//! ```
//!
//! Whatever ends a session is durable before it is answered. What a session did is written behind, within a second, by
//! [`Table::written_behind`] (spec/API.md, "Sessions"). A session to which a film is being sent, be it one of three
//! hours, is neither put to rest nor signed out by a further login.

pub mod guests;
mod slab;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::auth::BAD_TOKEN;
use crate::auth::grant::Account;
use crate::auth::token::{Claims, MediaClaims};
use crate::http::reject::Reject;
use crate::session::slab::{Entered, Live, Slab};
use crate::store::{Fault, Held, Session, Store, Timestamp, Touched, User};

/// The sessions in use.
#[derive(Debug)]
pub struct Table {
    slab: Slab,
    store: Store,
}

/// What memory knows better than a session's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// When it last did something.
    pub last_activity: Timestamp,
    /// Bytes of films it was sent.
    pub bytes_streamed: u64,
}

/// For whom a film goes on that a session has begun.
#[derive(Clone, Debug)]
pub enum Watching {
    /// For whom it was begun.
    By(Arc<Account>),
    /// For nobody in particular: the session has expired since, and a film outlives the token that began it.
    Beyond,
    /// For nobody: the session was ended for good, or the user is disabled.
    Over,
}

/// A moment, told by how many sessions had been ended by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

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
        let rows = self.store.sessions_live(None, now, self.slab.capacity()).await?;
        let count = rows.len();
        for (session, user) in rows {
            self.slab.enter(live(&session, &user), now);
        }
        Ok(count)
    }

    /// What is known now of sessions that were ended: read it before a session is made, and hand it to [`Table::enter`]. As
    /// long as it stays the same, whoever was found to have a session has it still.
    pub fn moment(&self) -> Moment {
        Moment(self.slab.ended())
    }

    /// Whether there is a slot for one more session: there is, unless all of them play.
    pub fn has_room(&self, now: Timestamp) -> bool {
        self.slab.has_room(now)
    }

    /// Enters a session that was made after `moment`; unless any was ended since, which may have been this one: then its
    /// token wakes it from its row, or not.
    pub fn enter(&self, session: &Session, user: &User, moment: Moment, now: Timestamp) {
        self.slab.enter_unless_ended(live(session, user), moment.0, now);
    }

    /// Whom a verified token acts for, if its session lives at `now`.
    ///
    /// # Errors
    /// 401 when the session was revoked, has expired, was refreshed since, or belongs to somebody else or to a user
    /// who is disabled; 503 when the row could not be read, or all sessions in use play.
    pub async fn account(&self, claims: &Claims, now: Timestamp) -> Result<Arc<Account>, Reject> {
        let live = self.live(claims.session_id.id, now).await?;
        if live.account.generation != claims.session_id.generation {
            return Err(BAD_TOKEN);
        }
        judge(&live, claims.sub, now)
    }

    /// Whom a media token acts for, if the session it was made for lives at `now`, whatever was made of its own token.
    ///
    /// # Errors
    /// As [`Table::account`].
    pub async fn player(&self, claims: &MediaClaims, now: Timestamp) -> Result<Arc<Account>, Reject> {
        let live = self.live(claims.session, now).await?;
        judge(&live, claims.sub, now)
    }

    /// For whom a film goes on that was begun by a session of this user.
    ///
    /// # Errors
    /// The row could not be read.
    pub async fn watching(&self, id: Uuid, user_id: Uuid, now: Timestamp) -> Result<Watching, Fault> {
        let live = match self.slab.find(id, now) {
            Some(live) => Ok(live),
            None => self.woken(id, now).await?,
        };
        if let Ok(account) = live.and_then(|live| judge(&live, user_id, now)) {
            return Ok(Watching::By(account));
        }
        // There may be no slot for it, or it has one and has just expired.
        let row = self.store.session(id).await?;
        let goes_on = |(session, user): &(Session, User)| {
            session.revoked_at.is_none() && session.user_id == user_id && user.is_active
        };
        Ok(if row.as_ref().is_some_and(goes_on) { Watching::Beyond } else { Watching::Over })
    }

    /// The session of this id: from its slot, or woken from its row.
    async fn live(&self, id: Uuid, now: Timestamp) -> Result<Arc<Live>, Reject> {
        match self.slab.find(id, now) {
            Some(live) => Ok(live),
            // On the heap: it is rare, and what may be waited for here each connection would hold for as long as it lives.
            None => Box::pin(self.woken(id, now)).await.map_err(Fault::into_reject)?,
        }
    }

    /// The session of this id, woken from its row, or why it cannot be.
    async fn woken(&self, id: Uuid, now: Timestamp) -> Result<Result<Arc<Live>, Reject>, Fault> {
        loop {
            let ended = self.slab.ended();
            let row = self.store.session(id).await?;
            let lives = |(session, user): &(Session, User)| {
                session.revoked_at.is_none() && session.expires_at > now && user.is_active
            };
            let Some((session, user)) = row.filter(lives) else { return Ok(Err(BAD_TOKEN)) };
            let live = live(&session, &user);
            live.touch(now);
            match self.slab.enter_unless_ended(Arc::clone(&live), ended, now) {
                Entered::Here => return Ok(Ok(live)),
                // Somebody's session was ended between the look at the row and now: it may have been this one.
                Entered::Void => {}
                Entered::AllPlaying => return Ok(Err(Reject::SessionsFull)),
            }
        }
    }

    /// Its token was refreshed: the store has the new generation, and the older tokens are dead from now on.
    pub fn refreshed(&self, session: &Session) {
        self.slab.replace(session.id, |live| live.refreshed(session.generation, session.expires_at));
    }

    /// These sessions are ended for good, as the store knows already.
    pub fn ended(&self, ids: &[Uuid]) {
        self.slab.end(|live| ids.contains(&live.account.session_id));
    }

    /// The sessions of this user are to be looked up anew: the name or the preferences have changed.
    pub fn changed(&self, user_id: Uuid) {
        self.slab.end(|live| live.account.user_id == user_id);
    }

    /// What memory knows of a session, if it is in use.
    pub fn activity(&self, id: Uuid) -> Option<Activity> {
        let live = self.slab.look(id)?;
        Some(Activity { last_activity: live.last_activity(), bytes_streamed: live.bytes_streamed() })
    }

    /// A session was sent so many bytes of films.
    pub fn streamed(&self, id: Uuid, bytes: u64, now: Timestamp) {
        if let Some(live) = self.slab.look(id) {
            live.streamed(bytes, now);
        }
    }

    /// What memory knows better than the rows of a user's sessions: for the choice of the one that a login signs out.
    pub fn held(&self, user_id: Uuid) -> Vec<Held> {
        let of_user = self.slab.all().filter(|live| live.account.user_id == user_id);
        of_user
            .map(|live| Held {
                id: live.account.session_id,
                last_activity: live.last_activity(),
                is_playing: live.is_playing(),
            })
            .collect()
    }

    /// How many sessions are in use.
    pub fn count(&self) -> usize {
        self.slab.all().count()
    }

    /// Puts to rest the sessions that have done nothing for `timeout`. Their tokens wake them.
    pub fn put_to_rest(&self, now: Timestamp, timeout: Duration) -> Vec<Touched> {
        let is_idle = |live: &Live| !live.is_playing() && live.last_activity().plus(timeout) <= now;
        let rested = self.slab.rest(|live| live.expires_at <= now || is_idle(live));
        rested.iter().filter_map(|live| touched(live)).collect()
    }

    /// Writes what the sessions did since the last time, and what `rested` did before they were put to rest.
    ///
    /// # Errors
    /// When the store failed; what could not be written is tried again the next time.
    pub async fn written_behind(&self, rested: Vec<Touched>) -> Result<usize, Fault> {
        let live: Vec<_> = self.slab.all().collect();
        let touched: Vec<_> = rested.into_iter().chain(live.iter().filter_map(|live| touched(live))).collect();
        let count = touched.len();
        if count > 0 {
            self.store.sessions_touched(touched).await.inspect_err(|_| {
                live.iter().for_each(|live| live.forget_written());
            })?;
        }
        Ok(count)
    }
}

fn live(session: &Session, user: &User) -> Arc<Live> {
    let account = Account::new(session, user);
    let (expires_at, last_activity) = (session.expires_at, session.last_activity);
    Arc::new(Live::new(Arc::new(account), expires_at, last_activity, session.bytes_streamed))
}

fn touched(live: &Live) -> Option<Touched> {
    let (last_activity, bytes_streamed) = live.unwritten()?;
    Some(Touched { id: live.account.session_id, last_activity, bytes_streamed })
}

fn judge(live: &Live, user_id: Uuid, now: Timestamp) -> Result<Arc<Account>, Reject> {
    let is_theirs = live.account.user_id == user_id && now < live.expires_at;
    is_theirs.then(|| Arc::clone(&live.account)).ok_or(BAD_TOKEN)
}
