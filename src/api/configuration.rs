//! `GET /api/admin/config`: what is in force and why, as `reelway config show --origin --json` prints it; and of an option whose
//! changed value waits for a restart, that value as `afterRestart`.
//!
//! No option holds a secret: the signing key is named by its file, and credentials by their folder.

use crate::api::Services;
use crate::http::response::Response;

/// Every option with its value and its origin.
pub fn show<F>(services: &Services) -> Response<F> {
    Response::json(200, &services.settings().config.shown)
}
