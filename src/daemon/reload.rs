//! SIGHUP: the configuration and the keys are read again, and what can change does so at once, as a whole.
//!
//! The one idea: everything that can fail is done before anything is changed. What is wrong is said with its file and line, and
//! the configuration of before stays in force. No film is cut by a reload: whatever is on its way goes on as it began, also from
//! a folder that is no root any more. What only a restart can change is named.

use std::net::TcpListener;
use std::sync::Arc;

use crate::api::settings::Settings;
use crate::config::{self, Config, Sources};
use crate::daemon::status::Status;
use crate::daemon::{bounds, listeners, note_key_id, now, roots, signer};
use crate::http::cors;
use crate::log::{self, messages};
use crate::serve::State;
use crate::store::{Audit, AuditAction};
use crate::sys::systemd;

/// Reads them again. The service manager is told when that begins and when it is over.
pub(super) fn reload(sources: &Sources, state: &Arc<State>, handles: &[TcpListener], status: &Status) {
    systemd::reloading();
    match read(sources, state) {
        Ok(Read { config, warnings, later }) => {
            warnings.iter().for_each(|warning| tracing::warn!(name: messages::CONFIGURATION_DOUBTFUL, "{warning}"));
            let renewed = renew(config, state, handles);
            if renewed.is_ok() && !later.is_empty() {
                tracing::warn!(name: messages::RESTART_NEEDED, options = later.join(", "), "takes effect after a restart");
            }
            status.note_refusal(renewed.err().map(|why| refused(&[why])));
        }
        Err(problems) => status.note_refusal(Some(refused(&problems))),
    }
    systemd::ready(&status.take(state));
}

/// Says what is wrong. The first of it.
fn refused(problems: &[String]) -> String {
    for problem in problems {
        tracing::error!(
            name: messages::RELOAD_REFUSED, problem,
            "the configuration is refused; the one before stays in force"
        );
    }
    problems.first().map(|problem| problem.trim_end_matches('.').to_owned()).unwrap_or_default()
}

/// What was read.
struct Read {
    /// As far as it can be in force now.
    config: Config,
    warnings: Vec<String>,
    /// The keys of which a restart is needed.
    later: Vec<String>,
}

/// The configuration; or what is wrong with it.
fn read(sources: &Sources, state: &State) -> Result<Read, Vec<String>> {
    let loaded = config::load(sources).map_err(|error| error.problems().to_vec())?;
    let before = state.services.settings();
    let changed = loaded.config.changed_since(&before.config);
    let slots = state.services.playbacks.slot_count();
    let needs_restart = |key: &&String| {
        let too_many = loaded.config.video.max_concurrent_streams > slots;
        config::is_fixed(key) || (*key == "video.max_concurrent_streams" && too_many)
    };
    let later = changed.iter().filter(needs_restart).cloned().collect();
    Ok(Read { config: loaded.config.beside(&before.config, slots), warnings: loaded.warnings, later })
}

/// Puts a configuration in force.
fn renew(config: Config, state: &Arc<State>, handles: &[TcpListener]) -> Result<(), String> {
    let services = &state.services;
    let before = services.settings();
    let changed = config.changed_since(&before.config);
    let signer = signer(&config).map_err(|error| error.to_string())?;
    log::set_level(&config.log.level)?;
    let is_other_library = changed.iter().any(|key| key == "library.roots" || key == "video.supported_formats");
    let library = match is_other_library {
        true => Arc::new(before.library.changed(roots(&config), &config.video.supported_formats)),
        false => Arc::clone(&before.library),
    };
    services.in_force.replace(Settings {
        cors: cors::Policy::new(&config.net.cors_origins),
        config,
        library: Arc::clone(&library),
        signer,
        generation: before.generation + 1,
    });
    // What holds to numbers of its own follows.
    let settings = services.settings();
    services.limiter.set_failures_max(settings.config.auth.login_failures_max);
    services.playbacks.set_bounds(bounds(&settings.config), now());
    state.set_connections_max(&settings.config.net);
    listeners::tune(handles, &settings.config.net);
    if let Err(error) = note_key_id(services) {
        tracing::warn!(name: messages::CONFIGURATION_DOUBTFUL, "{error}; commands may take the signing key for another");
    }
    let audit = Audit { action: AuditAction::ConfigReloaded, actor: None, subject: None, client: None };
    services.store.audit_noted_later(audit, now());
    if is_other_library {
        before.library.supersede();
    }
    if is_other_library && let Err(error) = library.start_scan(&services.store, now()) {
        tracing::error!(name: messages::SCAN_NOT_STARTED, %error, "the library could not be scanned");
    }
    tracing::info!(name: messages::RELOADED, changed = changed.join(", "), "the configuration is in force");
    Ok(())
}
