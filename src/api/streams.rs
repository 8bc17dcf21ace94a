//! `GET, DELETE /api/streams[/{id}]`: who is watching what right now, and an end to it.
//!
//! A user sees and stops their own, an administrator everybody's. Stopping sets a flag and wakes the connections, which
//! their own shards end within a second; a player that asks again begins a new stream.

use serde::Serialize;
use uuid::Uuid;

use crate::api::audit::Deed;
use crate::api::{Asking, Page, Services, page_cursor, page_limit};
use crate::auth::grant::{Grant, Scope};
use crate::http::reject::{Reject, Running};
use crate::http::response::Response;
use crate::http::target::Target;
use crate::playback::{Refused, Stream};
use crate::store::{AuditAction, Timestamp};

/// A stream as the contract shows one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamView {
    stream_id: Uuid,
    /// None for a link that the machine's command line made.
    user_id: Option<Uuid>,
    video_id: Uuid,
    start_time: Timestamp,
    bytes_streamed: u64,
    /// Bytes a second, over the last seconds.
    rate: f64,
    /// Bits a second that it is held to.
    pace: Option<u64>,
    /// Bytes a second that arrive, as TCP has it.
    delivery_rate: u64,
    /// Segments that TCP had to send again.
    retransmits: u64,
    /// Nobody knows yet which byte of a film is which second.
    position: Option<f64>,
    connections: usize,
    client: String,
}

/// The streams that hold a place, those that linger included (their `connections` are 0), the oldest first.
///
/// # Errors
/// 400 for a parameter that is none.
pub fn list<F>(services: &Services, grant: &Grant, target: &Target<'_>) -> Result<Response<F>, Reject> {
    let (limit, cursor) = (page_limit(target)?, page_cursor::<Uuid>(target)?);
    let mut streams = visible(services, grant.scope()?);
    // A stream that is over by now is no place to go on from; then the list begins anew.
    let seen = cursor.and_then(|cursor| streams.iter().position(|stream| stream.id == cursor));
    streams.drain(..seen.map_or(0, |index| index + 1));
    let has_more = streams.len() > limit;
    streams.truncate(limit);
    let next = streams.last().filter(|_| has_more).map(|stream| stream.id.to_string());
    Ok(Response::json(200, &Page { items: streams.iter().map(view).collect(), next }))
}

/// One stream.
///
/// # Errors
/// 404 when it is over, or somebody else's.
pub fn one<F>(services: &Services, grant: &Grant, id: Uuid) -> Result<Response<F>, Reject> {
    let streams = visible(services, grant.scope()?);
    let stream = streams.iter().find(|stream| stream.id == id).ok_or(Reject::NotFound)?;
    Ok(Response::json(200, &view(stream)))
}

/// Stops one stream.
///
/// # Errors
/// As [`one`].
pub fn stop<F>(
    services: &Services,
    grant: &Grant,
    id: Uuid,
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let scope = grant.scope()?;
    let is_visible = visible(services, scope).iter().any(|stream| stream.id == id);
    if !is_visible || !services.playbacks.stop(id) {
        return Err(Reject::NotFound);
    }
    note_stopped(services, grant, id, asking, now);
    Ok(Response::empty(204))
}

/// Stops all streams of the caller, or, for an administrator, of everybody.
///
/// # Errors
/// 401 without a caller.
pub fn stop_all<F>(services: &Services, grant: &Grant, asking: Asking, now: Timestamp) -> Result<Response<F>, Reject> {
    for stream in visible(services, grant.scope()?) {
        if services.playbacks.stop(stream.id) {
            note_stopped(services, grant, stream.id, asking, now);
        }
    }
    Ok(Response::empty(204))
}

/// What is in the way of a caller for whom there is no playback.
pub fn refused(refused: Refused) -> Reject {
    let running = |streams: Vec<Stream>| streams.iter().map(running).collect();
    match refused {
        Refused::Busy(streams) => Reject::StreamsBusy { streams: running(streams) },
        Refused::Reached(streams) => Reject::StreamsReached { streams: running(streams) },
        Refused::Connections => Reject::StreamConnections,
    }
}

fn running(stream: &Stream) -> Running {
    Running {
        session_id: None,
        stream_id: Some(stream.id.to_string()),
        video_id: Some(stream.video_id.to_string()),
        client: Some(stream.client.to_string()),
    }
}

fn visible(services: &Services, scope: Scope) -> Vec<Stream> {
    let mut streams = services.playbacks.streams();
    streams.retain(|stream| scope.has(stream.user_id));
    streams
}

/// Nothing is lost with a stream that was stopped, so its row in the audit trail need not be waited for.
fn note_stopped(services: &Services, grant: &Grant, id: Uuid, asking: Asking, now: Timestamp) {
    let audit = asking.audit(AuditAction::StreamStopped, grant.actor(), Some(id.to_string()));
    services.store.audit_noted_later(audit, now);
    Deed::of(grant, AuditAction::StreamStopped, asking).to(&id).tell();
}

fn view(stream: &Stream) -> StreamView {
    StreamView {
        stream_id: stream.id,
        user_id: stream.user_id,
        video_id: stream.video_id,
        start_time: stream.started,
        bytes_streamed: stream.bytes,
        rate: stream.rate.round(),
        pace: stream.pace.bits(),
        delivery_rate: stream.delivery_rate,
        retransmits: stream.retransmits,
        position: None,
        connections: stream.connections,
        client: stream.client.to_string(),
    }
}
