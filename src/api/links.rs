//! `POST /api/videos/{id}/link`: a link to one film, for somebody who is no user.
//!
//! The token leaves the house once, in this answer; what is kept of it cannot be played.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::audit::Deed;
use crate::api::{Asking, Services, absolute, parse};
use crate::auth::Grant;
use crate::auth::guest;
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::http::target;
use crate::limits;
use crate::store::{AuditAction, Fault, NewLink, Timestamp};

/// What may be said about a link. Both may be left out, and so may the body.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Wanted {
    /// Seconds.
    expires_in: Option<u64>,
    max_plays: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    url: String,
    token: &'a str,
    expires_at: Timestamp,
}

/// Makes a link. It is durable before it is answered.
///
/// # Errors
/// 400 for a time or a number that cannot be, 404 without such a film, 429 when there are as many links as there may be.
pub async fn make<F>(
    services: &Services,
    grant: &Grant,
    id: Uuid,
    body: &[u8],
    host: Option<&str>,
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let wanted: Wanted = if body.is_empty() { Wanted::default() } else { parse(body)? };
    let life = life(&wanted)?;
    if wanted.max_plays.is_some() && services.settings().config.net.shared_cache {
        return Err(bad("maxPlays cannot be counted behind a shared cache (net.shared_cache)"));
    }
    let index = services.settings().library.index();
    let video = index.by_id(id).ok_or(Reject::NotFound)?;
    let token = guest::new_token();
    let link = NewLink {
        id: Uuid::new_v4(),
        mark: guest::mark(&token),
        user_id: grant.actor(),
        video_id: id,
        expires_at: now.plus(life),
        max_plays: wanted.max_plays,
    };
    let (link_id, expires_at) = (link.id, link.expires_at);
    let audit = asking.audit(AuditAction::LinkMade, grant.actor(), Some(link.id.to_string()));
    if !services.store.link_add(link, audit, now).await.map_err(Fault::into_reject)? {
        return Err(Reject::LinksFull);
    }
    Deed::of(grant, AuditAction::LinkMade, asking).to(&link_id).tell();
    services.guests.load(now).await.map_err(Fault::into_reject)?;
    let url = absolute(host, format_args!("/s/{token}/{}", target::encode_path(video.filename())));
    Ok(Response::json(201, &Made { url, token: &token, expires_at }))
}

fn life(wanted: &Wanted) -> Result<Duration, Reject> {
    if wanted.max_plays == Some(0) {
        return Err(bad("maxPlays is 1 at least"));
    }
    let life = wanted.expires_in.map_or(limits::LINK_LIFE_DEFAULT, Duration::from_secs);
    let is_possible = !life.is_zero() && life <= limits::LINK_LIFE_MAX;
    is_possible.then_some(life).ok_or_else(|| bad("expiresIn is a number of seconds, from 1 to 2592000 (30 days)"))
}

fn bad(why: &str) -> Reject {
    Reject::BadJson { why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_lives_a_day_unless_told_otherwise_and_a_month_at_most() {
        let life = |body: &str| life(&parse::<Wanted>(body.as_bytes()).unwrap()).map(|life| life.as_secs());
        assert_eq!(life("{}"), Ok(86_400));
        assert_eq!(life(r#"{"expiresIn":60,"maxPlays":1}"#), Ok(60));
        assert_eq!(life(r#"{"expiresIn":2592000}"#), Ok(2_592_000));
        for refused in [r#"{"expiresIn":0}"#, r#"{"expiresIn":2592001}"#, r#"{"maxPlays":0}"#] {
            assert_eq!(life(refused).map_err(|no| no.status()), Err(400), "{refused}");
        }
        assert!(parse::<Wanted>(br#"{"expires":60}"#).is_err());
    }
}
