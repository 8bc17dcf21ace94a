//! `GET /health`, `/health/live`, `/health/ready`: how the daemon is, and whether new clients should come.
//!
//! While draining, the listeners are closed and idle connections end at once, so that a balancer meets a refused
//! connection; who was in the middle of asking `ready` is told 503.

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::api::Services;
use crate::http::response::Response;
use crate::limits;
use crate::sys::engine::Engine;

/// Which question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// All of it.
    Whole,
    /// Does the process answer?
    Live,
    /// Should new clients come here? Not while draining.
    Ready,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Degraded,
    Draining,
}

#[derive(Debug, Serialize)]
struct Component {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
struct Components {
    store: Component,
    library: Component,
    ring: Component,
}

#[derive(Debug, Serialize)]
struct Health {
    status: Status,
    version: &'static str,
    /// Seconds.
    uptime: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<Components>,
}

/// Answers a health probe. Only `ready`, and only while draining, is not a 200: a degraded daemon still serves.
pub async fn answer<F>(services: &Services, probe: Probe) -> Response<F> {
    let is_draining = services.is_draining.load(Ordering::Relaxed);
    let components = match probe {
        Probe::Live => None,
        Probe::Whole | Probe::Ready => {
            Some(Components { store: store(services).await, library: library(services), ring: ring(services) })
        }
    };
    let all_well = components.iter().flat_map(Components::all).all(|component| component.status == Status::Ok);
    let status = match (is_draining, all_well) {
        (true, _) => Status::Draining,
        (false, true) => Status::Ok,
        (false, false) => Status::Degraded,
    };
    let http_status = if probe == Probe::Ready && is_draining { 503 } else { 200 };
    let uptime = services.started.elapsed().as_secs();
    let response =
        Response::json(http_status, &Health { status, version: env!("CARGO_PKG_VERSION"), uptime, components });
    match http_status {
        503 => response.field("Retry-After", limits::RETRY_AFTER_SECONDS), // spec/HTTP.md, "Errors"
        _ => response,
    }
}

impl Components {
    fn all(&self) -> [&Component; 3] {
        [&self.store, &self.library, &self.ring]
    }
}

impl Component {
    fn ok() -> Component {
        Component { status: Status::Ok, detail: None }
    }

    fn degraded(detail: String) -> Component {
        Component { status: Status::Degraded, detail: Some(detail) }
    }
}

async fn store(services: &Services) -> Component {
    match tokio::time::timeout(limits::HEALTH_PATIENCE, services.store.ping()).await {
        Ok(Ok(())) => Component::ok(),
        Ok(Err(fault)) => Component::degraded(fault.to_string()),
        Err(_) => Component::degraded("the database does not answer; is its disk well?".to_owned()),
    }
}

fn library(services: &Services) -> Component {
    let state = services.settings().library.scan_state();
    if !state.missing_roots.is_empty() {
        let names: Vec<&str> = state.missing_roots.iter().map(|missing| missing.name.as_str()).collect();
        return Component::degraded(format!("not available: {}", names.join(", ")));
    }
    if let Some(fault) = &state.store_fault {
        return Component::degraded(fault.clone());
    }
    let detail = match state.is_scanned {
        true => match services.settings().library.index().len() {
            1 => "1 video".to_owned(),
            count => format!("{count} videos"),
        },
        false => "being scanned".to_owned(),
    };
    Component { status: Status::Ok, detail: Some(detail) }
}

fn ring(services: &Services) -> Component {
    match (services.engine, &services.ring_refusal) {
        (Engine::Ring, _) => Component::ok(),
        (Engine::Threads, reason) => {
            let reason = reason.as_deref().unwrap_or("unknown reason");
            Component::degraded(format!("io_uring is not available ({reason}); threads wait for the disk instead"))
        }
    }
}
