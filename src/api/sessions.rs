//! `GET /api/session`, `GET, DELETE /api/sessions[/{id}]`: who is signed in where, and an end to it.
//!
//! A user sees and ends their own, an administrator everybody's; what is another's is as good as missing. Ending is durable
//! before it is answered.

use serde::Serialize;
use uuid::Uuid;

use crate::api::audit::Deed;
use crate::api::{Asking, Page, Services, page_cursor, page_limit};
use crate::auth::grant::{Grant, Scope};
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::http::target::Target;
use crate::limits;
use crate::store::{Audit, AuditAction, Device, Fault, Preferences, Session, Timestamp, User};

/// A session as the contract shows one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionView {
    session_id: Uuid,
    user_id: Uuid,
    preferences: Preferences,
    activity: ActivityView,
    /// Empty until the daemon knows what was watched.
    watch_history: [(); 0],
    device: Option<Device>,
    client: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ActivityView {
    start_time: Timestamp,
    last_activity: Timestamp,
    /// Playbacks that hold a slot, those that linger included.
    streams_count: usize,
    bytes_streamed: u64,
}

/// The session of the caller.
///
/// # Errors
/// 404 when it was ended while this was asked.
pub async fn own<F>(services: &Services, grant: &Grant, now: Timestamp) -> Result<Response<F>, Reject> {
    let account = grant.account()?;
    if account.is_login {
        return one(services, grant, account.session_id, now).await;
    }
    // Callers by password share a session that has no row.
    let user = services.store.user_by_id(account.user_id).await.map_err(Fault::into_reject)?;
    let user = user.ok_or(Reject::NotFound)?;
    Ok(Response::json(
        200,
        &SessionView {
            session_id: account.session_id,
            user_id: user.id,
            preferences: user.preferences,
            activity: ActivityView {
                start_time: now,
                last_activity: now,
                streams_count: services.playbacks.count_of(account.session_id),
                bytes_streamed: 0,
            },
            watch_history: [],
            device: None,
            client: None,
        },
    ))
}

/// The sessions that live, the last active first.
///
/// # Errors
/// 400 for a parameter that is none, 503 when the store is busy.
pub async fn list<F>(
    services: &Services,
    grant: &Grant,
    target: &Target<'_>,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let (limit, cursor) = (page_limit(target)?, page_cursor::<Uuid>(target)?);
    let sessions = services.store.sessions_live(grant.scope()?.user(), now, limits::SESSIONS_LISTED_MAX).await;
    let sessions = sessions.map_err(Fault::into_reject)?;
    let mut items: Vec<_> = sessions.iter().map(|(session, user)| view(services, session, user)).collect();
    items.sort_by_key(|session| std::cmp::Reverse(session.activity.last_activity));
    // A session that is over by now is no place to go on from; then the list begins anew.
    let seen = cursor.and_then(|cursor| items.iter().position(|session| session.session_id == cursor));
    items.drain(..seen.map_or(0, |index| index + 1));
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|session| session.session_id.to_string());
    Ok(Response::json(200, &Page { items, next }))
}

/// One session.
///
/// # Errors
/// 404 when it is over, or somebody else's.
pub async fn one<F>(services: &Services, grant: &Grant, id: Uuid, now: Timestamp) -> Result<Response<F>, Reject> {
    let (session, user) = visible(services, grant.scope()?, id, now).await?;
    Ok(Response::json(200, &view(services, &session, &user)))
}

/// Ends one session.
///
/// # Errors
/// 404 when it is over, or somebody else's; 503 or 507 when the store could not note it: then it goes on.
pub async fn end_one<F>(
    services: &Services,
    grant: &Grant,
    id: Uuid,
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    visible(services, grant.scope()?, id, now).await?;
    let audit = asking.audit(AuditAction::SessionEnded, grant.actor(), Some(id.to_string()));
    if !end(services, id, audit, now).await? {
        return Err(Reject::NotFound);
    }
    Deed { session_id: Some(id), ..Deed::of(grant, AuditAction::SessionEnded, asking) }.tell();
    Ok(Response::empty(204))
}

/// Ends all sessions of the caller, or, for an administrator, of everybody.
///
/// # Errors
/// As [`end_one`].
pub async fn end_all<F>(
    services: &Services,
    grant: &Grant,
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let scope = grant.scope()?;
    let audit = asking.audit(AuditAction::SessionEnded, grant.actor(), None);
    let ended = services.store.sessions_revoked_of(scope.user(), audit, now).await.map_err(Fault::into_reject)?;
    services.ended(&ended);
    for id in ended {
        Deed { session_id: Some(id), ..Deed::of(grant, AuditAction::SessionEnded, asking) }.tell();
    }
    // Those who came in by password have no session that could have been ended.
    match scope {
        Scope::Own(user_id) => services.playbacks.stop_user(user_id, None),
        Scope::All => services.playbacks.stop_users(),
    };
    Ok(Response::empty(204))
}

/// Ends a session for good. Whether it was alive.
pub(crate) async fn end(services: &Services, id: Uuid, audit: Audit, now: Timestamp) -> Result<bool, Reject> {
    let was_alive = services.store.session_revoked(id, audit, now).await.map_err(Fault::into_reject)?;
    services.ended(&[id]);
    Ok(was_alive)
}

/// A session that lives, if the caller may see it.
async fn visible(services: &Services, scope: Scope, id: Uuid, now: Timestamp) -> Result<(Session, User), Reject> {
    let row = services.store.session(id).await.map_err(Fault::into_reject)?;
    let lives = |session: &Session| session.revoked_at.is_none() && now < session.expires_at;
    row.filter(|(session, _)| lives(session) && scope.has(session.user_id)).ok_or(Reject::NotFound)
}

/// A session as the contract shows it: the row, and what memory knows better.
pub(crate) fn view(services: &Services, session: &Session, user: &User) -> SessionView {
    let activity = services.sessions.activity(session.id);
    SessionView {
        session_id: session.id,
        user_id: session.user_id,
        preferences: user.preferences.clone(),
        activity: ActivityView {
            start_time: session.created_at,
            last_activity: activity.map_or(session.last_activity, |known| known.last_activity),
            streams_count: services.playbacks.count_of(session.id),
            bytes_streamed: activity.map_or(session.bytes_streamed, |known| known.bytes_streamed),
        },
        watch_history: [],
        device: session.device,
        client: session.client.map(|address| address.to_string()),
    }
}
