//! `GET /api/admin/audit`: who did what, the newest first. And the same told to the log, where it stands beside what the daemon
//! itself did.

use std::fmt::Display;

use tracing::field::display;
use uuid::Uuid;

use crate::api::{Asking, Page, Services, page_cursor, page_limit};
use crate::auth::grant::Grant;
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::http::target::Target;
use crate::log::messages;
use crate::store::{AuditAction, Fault};

/// A page of the trail; `?cursor=` goes on where a page ended.
///
/// # Errors
/// 400 for a parameter that is none, 503 when the store is busy.
pub async fn list<F>(services: &Services, target: &Target<'_>) -> Result<Response<F>, Reject> {
    let (limit, before) = (page_limit(target)?, page_cursor(target)?);
    let items = services.store.audit_rows(before, limit).await.map_err(Fault::into_reject)?;
    let next = items.last().filter(|_| items.len() == limit).map(|row| row.id.to_string());
    Ok(Response::json(200, &Page { items, next }))
}

/// What somebody did, for the log: told once it is done.
#[derive(Clone, Copy)]
pub(crate) struct Deed<'a> {
    /// What was done.
    pub action: AuditAction,
    /// The request that asked for it.
    pub asking: Asking,
    /// Who did it, or as whom somebody tried to; none for the command line of the machine.
    pub user_id: Option<Uuid>,
    /// Their name.
    pub username: Option<&'a str>,
    /// The session it was done by, or done to.
    pub session_id: Option<Uuid>,
    /// The account, link or stream that it was done to.
    pub subject: Option<&'a dyn Display>,
}

impl<'a> Deed<'a> {
    /// What the caller of a request did.
    pub fn of(grant: &'a Grant, action: AuditAction, asking: Asking) -> Deed<'a> {
        let account = grant.account().ok();
        Deed {
            action,
            asking,
            user_id: grant.actor(),
            username: account.map(|account| account.username.as_str()),
            session_id: account.map(|account| account.session_id),
            subject: None,
        }
    }

    /// Done to this account, link or stream.
    pub fn to(self, subject: &'a dyn Display) -> Deed<'a> {
        Deed { subject: Some(subject), ..self }
    }

    /// Tells the log.
    pub fn tell(self) {
        let Deed { action, asking, user_id, username, session_id, subject } = self;
        let (user_id, session_id, subject) = (user_id.map(display), session_id.map(display), subject.map(display));
        let (request_id, client_ip) = (asking.request_id, (!asking.is_machine).then(|| display(asking.client_ip)));
        macro_rules! tell {
            ($id:expr, $message:literal) => {
                tracing::info!(name: $id, %request_id, user_id, session_id, username, subject, client_ip, $message)
            };
        }
        match action {
            AuditAction::Login => tell!(messages::SIGNED_IN, "signed in"),
            AuditAction::LoginFailed => tell!(messages::SIGN_IN_FAILED, "sign-in failed: wrong name or password"),
            AuditAction::Logout => tell!(messages::SIGNED_OUT, "signed out"),
            AuditAction::Refresh => tell!(messages::TOKEN_REFRESHED, "token refreshed"),
            AuditAction::UserAdded => tell!(messages::USER_ADDED, "user added"),
            AuditAction::UserChanged => tell!(messages::USER_CHANGED, "user changed"),
            AuditAction::UserRemoved => tell!(messages::USER_REMOVED, "user removed"),
            AuditAction::PasswordChanged => tell!(messages::PASSWORD_CHANGED, "password changed"),
            AuditAction::SessionEnded => tell!(messages::SESSION_ENDED, "session ended"),
            AuditAction::TokenMade => tell!(messages::TOKEN_MADE, "token made"),
            AuditAction::LinkMade => tell!(messages::LINK_MADE, "share link made"),
            AuditAction::StreamStopped => tell!(messages::STREAM_STOP_ASKED, "stream is to be stopped"),
            // By the command line, where no daemon runs; whoever typed it was told.
            AuditAction::Restored => {}
            // By a signal to the daemon, which says more of it.
            AuditAction::ConfigReloaded => {}
        }
    }
}
