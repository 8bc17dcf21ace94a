//! Signing in and out: `POST /api/auth/login`, `/logout`, `/refresh`, `GET /api/auth/me`, and names with passwords.
//!
//! An unknown name and a wrong password get the same answer after the same time. A session is in the store before its
//! token leaves the house, and ended there before its end is answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::audit::Deed;
use crate::api::sessions::end;
use crate::api::{Asking, Services, parse};
use crate::auth::carriers::{Basic, COOKIE, Carried};
use crate::auth::grant::{Account, Caller, Grant};
use crate::auth::guest;
use crate::auth::limiter::Attempt;
use crate::auth::password::HashError;
use crate::auth::token::{Claims, Preferences, Proved, Said, SessionRef};
use crate::auth::{BAD_LINK, BAD_PASSWORD, BAD_TOKEN};
use crate::http::reject::{Reject, Running};
use crate::http::response::Response;
use crate::limits;
use crate::log::messages;
use crate::store::{AuditAction, Device, Fault, Login as Recorded, NewSession, Room, Session, Timestamp, User};

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
    #[serde(default)]
    device: Option<Device>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedToken {
    username: String,
    /// Seconds.
    #[serde(default)]
    expires_in: Option<u64>,
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
/// 400 for a body that is not a login, 401 for a wrong one, 429 after too many wrong ones or while all of
/// the user's sessions play, 503 when passwords queue up, the store is busy, or all sessions there are play.
pub async fn login<F>(services: &Services, body: &[u8], asking: Asking, now: Timestamp) -> Result<Response<F>, Reject> {
    let login: Login = parse(body)?;
    let user = prove(services, &login.username, login.password, asking, now).await?;
    if !services.sessions.has_room(now) {
        return Err(Reject::SessionsFull);
    }
    let new = new_session(
        &user,
        login.device,
        now,
        services.settings().config.sessions.require_reauth,
        Some(asking.client_ip),
    );
    let room = Room {
        max_per_user: services.settings().config.sessions.max_per_user,
        held: services.sessions.held(user.id),
        credential_version: user.credential_version,
    };
    let audit = asking.audit(AuditAction::Login, Some(user.id), None);
    let moment = services.sessions.moment();
    let session = match services.store.login_recorded(new, room, audit, now).await.map_err(Fault::into_reject)? {
        Recorded::SignedIn { session, signed_out } => {
            services.ended(&signed_out);
            session
        }
        Recorded::AllPlaying(sessions) => {
            return Err(Reject::SessionsPlaying { sessions: sessions.iter().map(running).collect() });
        }
        // Disabled, removed or given another password while this one was being checked.
        Recorded::UserGone => return Err(BAD_PASSWORD),
    };
    services.sessions.enter(&session, &user, moment, now);
    Deed {
        action: AuditAction::Login,
        asking,
        user_id: Some(user.id),
        username: Some(&user.username),
        session_id: Some(session.id),
        subject: None,
    }
    .tell();
    signed_in(services, &session, &User { last_login: Some(now), ..user }, now)
}

/// A token for a user, for players and scripts: the machine needs no password for it.
///
/// # Errors
/// 400 for a life that cannot be, 404 without such a user, 409 for one who is disabled.
pub async fn make_token<F>(
    services: &Services,
    body: &[u8],
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let wanted: WantedToken = parse(body)?;
    let life = wanted.expires_in.map_or(limits::TOKEN_LIFE, Duration::from_secs);
    if life.is_zero() || life > limits::TOKEN_LIFE {
        return Err(Reject::BadJson { why: "expiresIn is a number of seconds, from 1 to 86400 (24 h)".to_owned() });
    }
    let known = services.store.user_by_name(&wanted.username).await.map_err(Fault::into_reject)?;
    let (user, _) = known.ok_or(Reject::NotFound)?;
    if !user.is_active {
        return Err(Reject::Conflict { why: "the user is disabled" });
    }
    let new = new_session(&user, None, now, life, None);
    let audit = asking.audit(AuditAction::TokenMade, None, Some(user.id.to_string()));
    let session = services.store.session_add(new, audit, now).await.map_err(Fault::into_reject)?;
    Deed {
        action: AuditAction::TokenMade,
        asking,
        user_id: None,
        username: None,
        session_id: Some(session.id),
        subject: Some(&user.id),
    }
    .tell();
    signed_in(services, &session, &user, now)
}

/// A new token for the caller's session; the one it came with is dead.
///
/// # Errors
/// 401 when another request has refreshed it before, 403 for a caller by password, whose session has no token, 503 or 507 when the store could not note it.
pub async fn refresh<F>(
    services: &Services,
    grant: &Grant,
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let account = with_row(grant)?;
    let expires_at = now.plus(services.settings().config.sessions.require_reauth);
    let audit = asking.audit(AuditAction::Refresh, Some(account.user_id), Some(account.session_id.to_string()));
    let refreshed =
        services.store.session_refreshed(account.session_id, account.generation, expires_at, audit, now).await;
    let session = refreshed.map_err(Fault::into_reject)?.ok_or(BAD_TOKEN)?;
    services.sessions.refreshed(&session);
    Deed::of(grant, AuditAction::Refresh, asking).tell();
    let user = services.store.user_by_id(account.user_id).await.map_err(Fault::into_reject)?.ok_or(BAD_TOKEN)?;
    signed_in(services, &session, &user, now)
}

/// Ends the caller's session.
///
/// # Errors
/// 403 for a caller by password, 503 or 507 when the store could not note it: then nothing has ended.
pub async fn logout<F>(
    services: &Services,
    grant: &Grant,
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let account = with_row(grant)?;
    let audit = asking.audit(AuditAction::Logout, Some(account.user_id), Some(account.session_id.to_string()));
    end(services, account.session_id, audit, now).await?;
    Deed::of(grant, AuditAction::Logout, asking).tell();
    Ok(Response::empty(204).field("Set-Cookie", format_args!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")))
}

/// Who the caller is.
///
/// # Errors
/// 401 when the user is gone, 503 when the store is busy.
pub async fn me<F>(services: &Services, grant: &Grant) -> Result<Response<F>, Reject> {
    let id = grant.account()?.user_id;
    let user = services.store.user_by_id(id).await.map_err(Fault::into_reject)?.ok_or(BAD_TOKEN)?;
    Ok(Response::json(200, &user))
}

/// Whom a credential proves: by a token that we signed and a session that lives, by a link that has not ended, or by name and
/// password.
///
/// # Errors
/// 401 for what proves nobody, 429 after too many wrong passwords, 503 when the store is busy.
pub async fn caller(
    services: &Services,
    proved: &Proved,
    carried: Carried<'_>,
    asking: impl FnOnce() -> Asking,
    now: Timestamp,
) -> Result<Caller, Reject> {
    let (token, is_session, is_media) = match carried {
        // On the heap: what stands here across a wait, each connection would hold for as long as it lives.
        Carried::Password(basic) => {
            return Box::pin(by_password(services, basic, asking(), now)).await.map(Caller::User);
        }
        Carried::Media(token) | Carried::Any(token) if guest::is_token(&token) => {
            return services.guests.find(&token, now).map(Caller::Guest).ok_or(BAD_LINK);
        }
        Carried::Token(token) => (token, true, false),
        Carried::Media(token) => (token, false, true),
        Carried::Any(token) => (token, true, true),
    };
    proved.keep_only(services.in_force.generation());
    let said = match proved.look(&token, now.seconds().unsigned_abs()) {
        Some(said) => said,
        None => prove_token(services, proved, &token, is_session, now)?,
    };
    match said {
        Said::Session(claims) if is_session => services.sessions.account(&claims, now).await.map(Caller::User),
        Said::Media(claims) if is_media => {
            let account = services.sessions.player(&claims, now).await?;
            Ok(Caller::Player { account, video_id: claims.video })
        }
        Said::Session(_) | Said::Media(_) => Err(BAD_TOKEN),
    }
}

/// What a token says that was not proved before, or not lately.
fn prove_token(
    services: &Services,
    proved: &Proved,
    token: &str,
    is_session: bool,
    now: Timestamp,
) -> Result<Said, Reject> {
    let seconds = now.seconds().unsigned_abs();
    let settings = services.settings();
    let session = is_session.then(|| settings.signer.prove(token, seconds).ok()).flatten();
    let proof = session.map_or_else(|| settings.signer.prove_media(token, seconds), Ok)?;
    proved.note(token, proof.clone());
    Ok(proof.said)
}

/// Whom a name and a password prove that came with a request: `Authorization: Basic`, and what players make of
/// `http://name:password@host/`. All callers of one user from one address share a session, which is no login.
///
/// # Errors
/// 401 for a wrong one, 429 after too many, 503 when passwords queue up or the store is busy.
async fn by_password(
    services: &Services,
    Basic { name, password }: Basic,
    asking: Asking,
    now: Timestamp,
) -> Result<Arc<Account>, Reject> {
    let address = asking.client_ip.to_string();
    let proof = services.remembered.proof(&name, &password, &address);
    if let Some(known) = services.remembered.look(&proof, now) {
        return known.ok_or(BAD_PASSWORD);
    }
    let proved = prove(services, &name, password, asking, now).await;
    let account = match proved {
        Ok(user) => Some(Arc::new(Account::by_password(&user, &address))),
        Err(BAD_PASSWORD) => None,
        Err(reject) => return Err(reject),
    };
    services.remembered.note(&proof, account.clone(), now);
    account.ok_or(BAD_PASSWORD)
}

/// The caller, whose session is a login.
pub(crate) fn with_row(grant: &Grant) -> Result<&Arc<Account>, Reject> {
    grant.account().and_then(|account| if account.is_login { Ok(account) } else { Err(Reject::SessionNeeded) })
}

/// The user whom a name and a password prove. Counted before the hash; a right password is given back.
async fn prove(
    services: &Services,
    name: &str,
    password: String,
    asking: Asking,
    now: Timestamp,
) -> Result<User, Reject> {
    let attempt = admit(services, name, asking, now)?;
    let known = services.store.user_by_name(name).await.map_err(Fault::into_reject)?;
    let tried = known.as_ref().map(|(user, _)| user.id);
    let (user, hash) = match known {
        Some((user, hash)) if user.is_active => (Some(user), Some(hash.0)),
        Some(_) | None => (None, None),
    };
    let is_verified = services.hasher.verify(password, hash).await.map_err(|error| match error {
        HashError::Busy => Reject::Busy { retry_after_seconds: 1 },
        HashError::Length | HashError::Failed => Reject::Internal,
    })?;
    let Some(user) = user.filter(|_| is_verified) else {
        let shown: String = name.chars().take(50).collect();
        services.store.audit_noted_later(asking.audit(AuditAction::LoginFailed, None, Some(shown)), now);
        tell_failed(asking, tried);
        return Err(BAD_PASSWORD);
    };
    attempt.succeeded();
    Ok(user)
}

/// A name that is nobody's is not told: it may be a password in the wrong place.
fn tell_failed(asking: Asking, tried: Option<Uuid>) {
    Deed { action: AuditAction::LoginFailed, asking, user_id: tried, username: None, session_id: None, subject: None }
        .tell();
}

/// Counts an attempt, before its password is hashed.
pub(crate) fn admit<'a>(
    services: &'a Services,
    name: &str,
    asking: Asking,
    now: Timestamp,
) -> Result<Attempt<'a>, Reject> {
    services.limiter.admit(name, asking.client_ip, now).map_err(|wait| {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
        Reject::TooManyAttempts { retry_after_seconds: seconds.saturating_add(1) }
    })
}

/// A session that is in the way of another.
fn running(session: &Session) -> Running {
    let client = session.client.map(|address| address.to_string());
    Running { session_id: Some(session.id.to_string()), stream_id: None, video_id: None, client }
}

/// The answer to a login and to a refresh.
fn signed_in<F>(services: &Services, session: &Session, user: &User, now: Timestamp) -> Result<Response<F>, Reject> {
    let token = services.settings().signer.sign(&claims(session, user, now)).map_err(|error| {
        tracing::error!(name: messages::TOKEN_NOT_SIGNED, error = %error, "token could not be signed");
        Reject::Internal
    })?;
    let age = session.expires_at.seconds().saturating_sub(now.seconds());
    let signed_in =
        SignedIn { token: &token, token_type: "Bearer", expires_at: session.expires_at, session_id: session.id, user };
    Ok(Response::json(200, &signed_in)
        .field("Set-Cookie", format_args!("{COOKIE}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax")))
}

/// A session of `user` that begins `now` and ends after `life`.
pub(crate) fn new_session(
    user: &User,
    device: Option<Device>,
    now: Timestamp,
    life: Duration,
    client: Option<IpAddr>,
) -> NewSession {
    let device = device.or(user.preferences.device_type);
    NewSession { id: Uuid::new_v4(), user_id: user.id, device, expires_at: now.plus(life), client }
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
