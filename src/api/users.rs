//! `/api/users…`: accounts, for administrators, and one's own.
//!
//! A change of password, role or state ends the sessions that were there before. It is durable before it is answered.

use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::api::audit::Deed;
use crate::api::auth::admit;
use crate::api::{Asking, Page, Services, page_cursor, page_limit, parse};
use crate::auth::grant::Grant;
use crate::auth::password::HashError;
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::http::target::Target;
use crate::store::{AuditAction, Changed, Fault, NewUser, Preferences, Role, Timestamp, UserChange, UserError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    username: String,
    password: String,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default)]
    email: Option<String>,
}

/// What an administrator may change; what is left out stays.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Wanted {
    username: Option<String>,
    /// `null` takes the address away.
    #[serde(deserialize_with = "present")]
    email: Option<Option<String>>,
    role: Option<Role>,
    is_active: Option<bool>,
    password: Option<String>,
    preferences: Option<Preferences>,
}

/// What a user may change.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WantedOwn {
    username: Option<String>,
    #[serde(deserialize_with = "present")]
    email: Option<Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    current: String,
    new: String,
}

/// A field that was sent, be it as `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The accounts, by name; `?query=` is part of a name or an address.
///
/// # Errors
/// 400 for a parameter that is none, 503 when the store is busy.
pub async fn list<F>(services: &Services, target: &Target<'_>) -> Result<Response<F>, Reject> {
    let query = target.query_value("query").map(|query| query.into_owned()).filter(|query| !query.is_empty());
    let (limit, after) = (page_limit(target)?, page_cursor(target)?);
    // One more than asked for tells whether there is another page.
    let mut items = services.store.users_page(query, after, limit + 1).await.map_err(Fault::into_reject)?;
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|user| user.username.clone());
    Ok(Response::json(200, &Page { items, next }))
}

/// Makes an account.
///
/// # Errors
/// 400 for what cannot be one, 409 when the name or the address is taken.
pub async fn add<F>(
    services: &Services,
    grant: &Grant,
    body: &[u8],
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let added: Added = parse(body)?;
    let new = NewUser {
        id: Uuid::new_v4(),
        username: added.username,
        email: added.email,
        role: added.role.unwrap_or(Role::User),
        password_hash: hash(services, added.password).await?,
    };
    let audit = asking.audit(AuditAction::UserAdded, grant.actor(), Some(new.id.to_string()));
    let user = services.store.user_add(new, audit, now).await.map_err(refused)?;
    services.remembered.forget(user.id); // Somebody may have tried this name before it was one.
    Deed::of(grant, AuditAction::UserAdded, asking).to(&user.id).tell();
    Ok(Response::json(201, &user).field("Location", format_args!("/api/users/{}", user.id)))
}

/// One account.
///
/// # Errors
/// 404 when there is no such user.
pub async fn one<F>(services: &Services, id: Uuid) -> Result<Response<F>, Reject> {
    let user = services.store.user_by_id(id).await.map_err(Fault::into_reject)?.ok_or(Reject::NotFound)?;
    Ok(Response::json(200, &user))
}

/// Changes an account.
///
/// # Errors
/// 400 for a value that is none, 404 without such a user, 409 when the name is taken or no administrator would be left.
pub async fn change<F>(
    services: &Services,
    grant: &Grant,
    id: Uuid,
    body: &[u8],
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let changed: Wanted = parse(body)?;
    let password_hash = match changed.password {
        Some(password) => Some(hash(services, password).await?),
        None => None,
    };
    let change = UserChange {
        username: changed.username,
        email: changed.email,
        role: changed.role,
        is_active: changed.is_active,
        password_hash,
        preferences: changed.preferences,
        ..UserChange::default()
    };
    apply(services, grant, id, change, AuditAction::UserChanged, asking, now).await
}

/// Removes an account with everything that is its own.
///
/// # Errors
/// 404 without such a user, 409 when no administrator would be left.
pub async fn remove<F>(
    services: &Services,
    grant: &Grant,
    id: Uuid,
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let audit = asking.audit(AuditAction::UserRemoved, grant.actor(), Some(id.to_string()));
    if !services.store.user_removed(id, audit, now).await.map_err(refused)? {
        return Err(Reject::NotFound);
    }
    Deed::of(grant, AuditAction::UserRemoved, asking).to(&id).tell();
    services.remembered.forget(id);
    services.sessions.changed(id);
    services.playbacks.stop_user(id, None);
    services.links_changed(now).await?;
    Ok(Response::empty(204))
}

/// Changes the caller's own name or address.
///
/// # Errors
/// As [`change`].
pub async fn change_own<F>(
    services: &Services,
    grant: &Grant,
    body: &[u8],
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let WantedOwn { username, email } = parse(body)?;
    let change = UserChange { username, email, ..UserChange::default() };
    apply(services, grant, grant.account()?.user_id, change, AuditAction::UserChanged, asking, now).await
}

/// Gives the caller a new password; all their other sessions end.
///
/// # Errors
/// 403 when the current one is wrong, 429 after too many wrong ones, 400 for one that cannot be, 503 when passwords queue up.
pub async fn change_password<F>(
    services: &Services,
    grant: &Grant,
    body: &[u8],
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let account = grant.account()?;
    let NewPassword { current, new } = parse(body)?;
    let attempt = admit(services, &account.username, asking, now)?;
    let known = services.store.user_by_name(&account.username).await.map_err(Fault::into_reject)?;
    let known = known.filter(|(user, _)| user.id == account.user_id).map(|(_, hash)| hash.0);
    if !services.hasher.verify(current, known).await.map_err(hash_refused)? {
        return Err(Reject::WrongPassword);
    }
    attempt.succeeded();
    let change = UserChange {
        password_hash: Some(hash(services, new).await?),
        kept_session: account.is_login.then_some(account.session_id),
        ..UserChange::default()
    };
    let action = AuditAction::PasswordChanged;
    apply::<F>(services, grant, account.user_id, change, action, asking, now).await?;
    Ok(Response::empty(204))
}

/// How the caller likes to watch.
///
/// # Errors
/// 404 when the user is gone.
pub async fn preferences<F>(services: &Services, grant: &Grant) -> Result<Response<F>, Reject> {
    let user = services.store.user_by_id(grant.account()?.user_id).await.map_err(Fault::into_reject)?;
    Ok(Response::json(200, &user.ok_or(Reject::NotFound)?.preferences))
}

/// Changes how the caller likes to watch. What is left out becomes the default.
///
/// # Errors
/// 400 for a preference there is not.
pub async fn set_preferences<F>(
    services: &Services,
    grant: &Grant,
    body: &[u8],
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let preferences: Preferences = parse(body)?;
    let change = UserChange { preferences: Some(preferences.clone()), ..UserChange::default() };
    let id = grant.account()?.user_id;
    apply::<F>(services, grant, id, change, AuditAction::UserChanged, asking, now).await?;
    Ok(Response::json(200, &preferences))
}

/// Makes a change durable, then ends what it makes void.
async fn apply<F>(
    services: &Services,
    grant: &Grant,
    id: Uuid,
    change: UserChange,
    action: AuditAction,
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let audit = asking.audit(action, grant.actor(), Some(id.to_string()));
    let kept_session = change.kept_session;
    let changed = services.store.user_changed(id, change, audit, now).await.map_err(refused)?;
    let Changed { user, ended, is_void } = changed.ok_or(Reject::NotFound)?;
    Deed::of(grant, action, asking).to(&id).tell();
    services.remembered.forget(id);
    services.ended(&ended);
    services.sessions.changed(id);
    services.playbacks.allow(id, user.preferences.max_bandwidth, now);
    if is_void {
        // Those who came in by password have no session that could have been ended.
        services.playbacks.stop_user(id, kept_session);
        services.links_changed(now).await?;
    }
    Ok(Response::json(200, &user))
}

/// A password as it is kept, made on the hashing thread.
async fn hash(services: &Services, password: String) -> Result<String, Reject> {
    services.hasher.hash(password).await.map_err(hash_refused)
}

fn hash_refused(error: HashError) -> Reject {
    match error {
        HashError::Busy => Reject::Busy { retry_after_seconds: 1 },
        HashError::Length => Reject::BadJson { why: HashError::Length.to_string() },
        HashError::Failed => Reject::Internal,
    }
}

fn refused(error: UserError) -> Reject {
    match error {
        UserError::Fault(fault) => fault.into_reject(),
        UserError::Invalid(why) => Reject::BadJson { why: why.to_owned() },
        UserError::NameTaken(_) => Reject::Conflict { why: "the user name is taken" },
        UserError::EmailTaken(_) => Reject::Conflict { why: "the address belongs to another user" },
        UserError::LastAdmin => Reject::Conflict { why: "no administrator would be left; make another one first" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_null_is_taken_away_and_one_left_out_stays() {
        let changed = |body: &str| parse::<Wanted>(body.as_bytes()).map(|changed| changed.email);
        assert_eq!(changed("{}"), Ok(None));
        assert_eq!(changed(r#"{"email":null}"#), Ok(Some(None)));
        assert_eq!(changed(r#"{"email":"a@b"}"#), Ok(Some(Some("a@b".into()))));
        assert!(changed(r#"{"mail":"a@b"}"#).is_err(), "a key that is not known is a mistake");
    }
}
