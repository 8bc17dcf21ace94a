//! `POST /api/auth/login`, `GET /api/auth/me`.
//!
//! An unknown name and a wrong password get the same answer after the same time. A session is in the store before its
//! token leaves the house.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::{Asking, Services, parse};
use crate::auth::BAD_TOKEN;
use crate::auth::carriers::COOKIE;
use crate::auth::grant::Grant;
use crate::auth::password::HashError;
use crate::auth::token::{Claims, Preferences, SessionRef};
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::store::{Device, Fault, NewSession, Session, Timestamp, User};

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
    #[serde(default)]
    device: Option<Device>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedIn<'a> {
    token: &'a str,
    token_type: &'static str,
    expires_at: Timestamp,
    session_id: Uuid,
    user: &'a User,
}

/// Signs a user in: a name and a password for a session and its token.
///
/// # Errors
/// 400 for a body that is not a login, 401 for a wrong one, 503 when passwords queue up or the store is busy.
pub async fn login<F>(services: &Services, body: &[u8], asking: Asking, now: Timestamp) -> Result<Response<F>, Reject> {
    let login: Login = parse(body)?;
    let known = services.store.user_by_name(&login.username).await.map_err(Fault::into_reject)?;
    let (user, hash) = match known {
        Some((user, hash)) if user.is_active => (Some(user), Some(hash.0)),
        Some(_) | None => (None, None),
    };
    let is_verified = services.hasher.verify(login.password, hash).await.map_err(|error| match error {
        HashError::Busy => Reject::Busy { retry_after_seconds: 1 },
        HashError::Length | HashError::Failed => Reject::Internal,
    })?;
    let Some(user) = user.filter(|_| is_verified) else {
        return Err(Reject::BadLogin);
    };
    let life = services.config.sessions.require_reauth;
    let new = new_session(&user, login.device, now, life);
    let session = services.store.login_recorded(new, now).await.map_err(Fault::into_reject)?;
    let token = services.signer.sign(&claims(&session, &user, now)).map_err(|error| {
        tracing::error!(error = %error, "token could not be signed");
        Reject::Internal
    })?;
    services.sessions.enter(&session, &user, now);
    let Asking { request_id, client_ip } = asking;
    tracing::info!(%request_id, user_id = %user.id, session_id = %session.id, %client_ip, "signed in");

    let user = User { last_login: Some(now), ..user };
    let age = life.as_secs();
    let signed_in = SignedIn {
        token: &token,
        token_type: "Bearer",
        expires_at: session.expires_at,
        session_id: session.id,
        user: &user,
    };
    Ok(Response::json(200, &signed_in)
        .field("Set-Cookie", format_args!("{COOKIE}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax")))
}

/// Who the caller is.
///
/// # Errors
/// 401 when the user is gone, 503 when the store is busy.
pub async fn me<F>(services: &Services, grant: &Grant) -> Result<Response<F>, Reject> {
    let id = grant.caller()?.user_id;
    let user = services.store.user_by_id(id).await.map_err(Fault::into_reject)?.ok_or(BAD_TOKEN)?;
    Ok(Response::json(200, &user))
}

/// A session of `user` that begins `now` and ends after `life`.
pub(crate) fn new_session(user: &User, device: Option<Device>, now: Timestamp, life: Duration) -> NewSession {
    let device = device.or(user.preferences.device_type);
    NewSession { id: Uuid::new_v4(), user_id: user.id, device, expires_at: now.plus(life) }
}

/// What the token of `session` says.
pub(crate) fn claims(session: &Session, user: &User, now: Timestamp) -> Claims {
    // The session's end, not a second more; and in whole seconds the life is never a fraction over the limit.
    let issued = now.seconds().unsigned_abs();
    let expires = session.expires_at.seconds().unsigned_abs();
    Claims {
        sub: user.id,
        username: user.username.clone(),
        role: user.role,
        session_id: SessionRef { id: session.id, generation: session.generation },
        preferences: Preferences { quality: user.preferences.quality, device: session.device },
        iat: issued,
        exp: expires,
    }
}
