//! `POST /api/library/scan`, `GET /api/library/status`: have the roots looked through, and see what came of it.
//!
//! A scan walks folders and waits for disks, so it is begun here and watched by asking for the status.

use serde::Serialize;

use crate::api::Services;
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::library::{Absence, Failed, Library, LibraryRoot, ScanStart, ScanState};
use crate::limits;
use crate::log::messages;
use crate::store::Timestamp;

/// What the library is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Activity {
    /// Nobody has looked yet what there is.
    Unscanned,
    /// A scan runs; what was added, changed and removed is known when it is over.
    Scanning,
    /// The last scan is over.
    Idle,
}

/// How far the scan is that runs, or what the last one came to.
#[derive(Debug, Serialize)]
struct StatusView {
    state: Activity,
    found: usize,
    added: usize,
    changed: usize,
    removed: usize,
    failed: Vec<FailedView>,
    roots: Vec<RootView>,
}

#[derive(Debug, Serialize)]
struct FailedView {
    path: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct RootView {
    name: String,
    path: String,
    /// As the last scan saw it: a handler may not wait for a disk.
    available: bool,
    /// Why it is not, where more is known than that its folder is not there or cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Videos in it.
    found: usize,
}

/// Begins a scan: 202 with the status. One that runs is not begun twice: then it is 200.
///
/// # Errors
/// 503 when the system has no thread for it.
pub fn scan<F>(services: &Services, now: Timestamp) -> Result<Response<F>, Reject> {
    let start = services.settings().library.start_scan(&services.store, now).map_err(|fault| {
        tracing::error!(name: messages::SCAN_NOT_STARTED, error = %fault, "scan not started");
        Reject::Busy { retry_after_seconds: limits::RETRY_AFTER_SECONDS }
    })?;
    let status = match start {
        ScanStart::Begun => 202,
        ScanStart::Running => 200,
    };
    Ok(Response::json(status, &view(&services.settings().library)))
}

/// The status.
pub fn status<F>(services: &Services) -> Response<F> {
    Response::json(200, &view(&services.settings().library))
}

fn view(library: &Library) -> StatusView {
    let state = library.scan_state();
    let activity = match (state.is_scanning, state.is_scanned) {
        (true, _) => Activity::Scanning,
        (false, true) => Activity::Idle,
        (false, false) => Activity::Unscanned,
    };
    let root = |(number, root): (usize, &LibraryRoot)| RootView {
        name: root.name.clone(),
        path: root.path.display().to_string(),
        available: state.absence(&root.name).is_none(),
        reason: state
            .absence(&root.name)
            .filter(|why| *why != Absence::Missing)
            .map(|why| why.sentence(&root.name, &root.path)),
        found: state.found_by_root.get(number).copied().unwrap_or_default(),
    };
    StatusView {
        state: activity,
        found: state.found,
        added: state.added,
        changed: state.changed,
        removed: state.removed,
        failed: failed(&state),
        roots: library.roots().iter().enumerate().map(root).collect(),
    }
}

/// What was left out, with a last line for what there is no room to name.
fn failed(state: &ScanState) -> Vec<FailedView> {
    let view = |Failed { path, reason }: &Failed| FailedView { path: path.clone(), reason: reason.clone() };
    let mut failed: Vec<_> = state.failed.iter().map(view).collect();
    let others = state.skipped.saturating_sub(state.failed.len());
    if others > 0 {
        let reason = format!("{others} more were left out; with log.level = \"debug\" the log of a scan names each");
        failed.push(FailedView { path: "...".to_owned(), reason });
    }
    if let Some(fault) = &state.store_fault {
        failed.push(FailedView { path: "reelway.db".to_owned(), reason: fault.clone() });
    }
    failed
}
