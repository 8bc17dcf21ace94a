//! `GET /metrics`: OpenMetrics 1.0 text, for a program on this machine or an administrator.

use crate::api::Services;
use crate::http::reject::Reject;
use crate::http::response::Response;

/// Answers a scrape.
///
/// # Errors
/// 500 when the text cannot be made.
pub fn answer<F>(services: &Services) -> Result<Response<F>, Reject> {
    let text = services.metrics.openmetrics(services.store.counts(), services.started.elapsed().as_secs_f64());
    let text = text.map_err(|_| Reject::Internal)?;
    Ok(Response::text(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", text.into_bytes()))
}
