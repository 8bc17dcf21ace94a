//! `GET /api/admin/audit`: who did what, the newest first.

use crate::api::{Page, Services, page_cursor, page_limit};
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::http::target::Target;
use crate::store::Fault;

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
