//! JSON handlers, one file a resource. Each returns a Response value; none touches a socket.

pub mod audit;
pub mod auth;
pub mod configuration;
pub mod health;
pub mod library;
pub mod links;
pub mod metrics;
pub mod playlist;
pub mod sessions;
pub mod settings;
pub mod streams;
pub mod users;
pub mod videos;

use std::net::IpAddr;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::api::settings::{InForce, Settings};
use crate::auth::limiter::Limiter;
use crate::auth::password::Hasher;
use crate::auth::remembered::Remembered;
use crate::http::reject::Reject;
use crate::http::target::Target;
use crate::limits;
use crate::metrics::Metrics;
use crate::playback::Playbacks;
use crate::session::Table;
use crate::session::guests::Guests;
use crate::store::{Audit, AuditAction, Fault, Store, Timestamp};
use crate::sys::engine::Engine;

/// What the handlers work with: all that the daemon put together at start.
#[derive(Debug)]
pub struct Services {
    /// The configuration in force, and what follows from it.
    pub in_force: InForce,
    /// SQLite.
    pub store: Store,
    /// Who is watching what.
    pub playbacks: Playbacks,
    /// Who is signed in.
    pub sessions: Table,
    /// Who has a link.
    pub guests: Guests,
    /// The password thread.
    pub hasher: Hasher,
    /// How often a password may be tried.
    pub limiter: Limiter,
    /// Names and passwords that were checked lately.
    pub remembered: Remembered,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Who waits for the disk.
    pub engine: Engine,
    /// Why that is not the ring, if it is not.
    pub ring_refusal: Option<String>,
    /// When the daemon started.
    pub started: Instant,
    /// Whether it is about to end.
    pub is_draining: AtomicBool,
}

impl Services {
    /// The settings in force now. Load them once for what belongs together.
    pub fn settings(&self) -> impl Deref<Target = Arc<Settings>> + use<> {
        self.in_force.load()
    }

    /// These sessions are over, as the store knows already: their tokens are dead, and what they play stops.
    pub(crate) fn ended(&self, sessions: &[Uuid]) {
        self.sessions.ended(sessions);
        self.playbacks.stop_sessions(sessions);
    }

    /// An account was changed or is gone, as the store knows already: so may be the links it made.
    ///
    /// # Errors
    /// 503 when the store could not be read: then the links of somebody who is gone go on until it can.
    pub(crate) async fn links_changed(&self, now: Timestamp) -> Result<(), Reject> {
        self.guests.load(now).await.map_err(Fault::into_reject)?;
        self.sessions.ended(&[]); // Who was let in by a link before this is looked at again.
        self.playbacks.stop_links(|link_id| !self.guests.has(link_id));
        Ok(())
    }
}

/// Who is asking, for the log.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// The id of the request.
    pub request_id: Uuid,
    /// Where it came from.
    pub client_ip: IpAddr,
    /// Whether it is the machine itself that asks.
    pub is_machine: bool,
}

impl Asking {
    /// What the audit trail is told of this request.
    pub(crate) fn audit(self, action: AuditAction, actor: Option<Uuid>, subject: Option<String>) -> Audit {
        Audit { action, actor, subject, client: (!self.is_machine).then_some(self.client_ip) }
    }
}

/// A page of a list (spec/API.md).
#[derive(Debug, Serialize)]
pub struct Page<Item> {
    /// The items of this page.
    pub items: Vec<Item>,
    /// What to ask with for the next page; `None` on the last.
    pub next: Option<String>,
}

/// An address of this server, as the client wrote its name; without one, the path.
fn absolute(host: Option<&str>, path: std::fmt::Arguments<'_>) -> String {
    host.map_or_else(|| path.to_string(), |host| format!("http://{host}{path}"))
}

/// A JSON body as the value a handler wants.
///
/// # Errors
/// 400 that says what is missing or wrong, and where.
pub(crate) fn parse<Value: DeserializeOwned>(body: &[u8]) -> Result<Value, Reject> {
    serde_json::from_slice(body).map_err(|error| Reject::BadJson { why: error.to_string() })
}

/// How many items of a list are wanted.
///
/// # Errors
/// 400 for what is no such number.
fn page_limit(target: &Target<'_>) -> Result<usize, Reject> {
    const RULE: &str = "is a number from 1 to 200";
    let limit = value(target, "limit", RULE)?.unwrap_or(limits::LIST_ITEMS_DEFAULT);
    if (1..=limits::LIST_ITEMS_MAX).contains(&limit) { Ok(limit) } else { Err(bad("limit", RULE)) }
}

/// Where the page before ended.
///
/// # Errors
/// 400 for what no page has given.
fn page_cursor<Cursor: FromStr>(target: &Target<'_>) -> Result<Option<Cursor>, Reject> {
    value(target, "cursor", "is what an earlier page gave as next")
}

fn value<Value: FromStr>(target: &Target<'_>, name: &'static str, rule: &'static str) -> Result<Option<Value>, Reject> {
    target.query_value(name).map(|text| text.parse().map_err(|_| bad(name, rule))).transpose()
}

fn bad(name: &'static str, why: &'static str) -> Reject {
    Reject::ParameterInvalid { name, why }
}
