//! `GET /metrics`: OpenMetrics 1.0 text, for a program on this machine or an administrator.

use crate::api::Services;
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::metrics::Levels;

/// Answers a scrape.
///
/// # Errors
/// 500 when the text cannot be made.
pub fn answer<F>(services: &Services) -> Result<Response<F>, Reject> {
    let streams = services.playbacks.streams();
    let levels = Levels {
        streams: streams.len(),
        streams_open: streams.iter().filter(|stream| stream.connections > 0).count(),
        sessions: services.sessions.count(),
        store: services.store.counts(),
    };
    let text = services.metrics.openmetrics(levels, services.started.elapsed().as_secs_f64());
    let text = text.map_err(|_| Reject::Internal)?;
    Ok(Response::text(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", text.into_bytes()))
}
