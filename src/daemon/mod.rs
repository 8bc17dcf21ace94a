//! Assembly: configuration -> sockets -> lock -> admin socket -> store -> keys -> library -> shards -> drain -> exit.
//!
//! [`run`] can be recited: each line needs what the lines above it made. The main thread waits for signals; everything
//! that serves runs on the shards. Listening comes before scanning, so a big library delays no one.

mod admin_socket;
mod awake;
mod clocks;
mod handover;
mod keeper;
mod laptop;
mod listeners;
mod reload;
mod shards;
mod signals;
mod start;
mod status;
mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::api::Services;
use crate::api::settings::{InForce, Settings};
use crate::auth::keyring::Keyring;
use crate::auth::keys::Places;
use crate::auth::limiter::Limiter;
use crate::auth::password::Hasher;
use crate::auth::remembered::Remembered;
use crate::auth::token::Signer;
use crate::config::{Config, Loaded, Sources};
use crate::http::cors;
use crate::library::Library;
use crate::limits;
use crate::log::{self, messages};
use crate::metrics::Metrics;
use crate::playback::pace::{Caps, Pace};
use crate::playback::{Bounds, Playbacks};
use crate::serve::handover::Connection;
use crate::serve::{Phase, State};
use crate::session::Table;
use crate::session::guests::Guests;
use crate::store::{Store, Timestamp};
use crate::sys::Fault;
use crate::sys::engine::Engine;
use crate::sys::process::{self, FileLock};
use crate::sys::systemd::{self, Passed};
pub(crate) use crate::sys::wait::block_on;
pub(crate) use admin_socket::path as admin_socket;

use admin_socket::AdminSocket;
use handover::{Inherited, Outcome};
use keeper::Keeper;
use listeners::Listeners;
use shards::Shards;
use signals::{Signals, Wanted};
use status::Status;
use watchdog::Watched;

/// Why the daemon did not start, or did not end well. Each is a sentence for an administrator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel failed us.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] crate::store::Fault),
    /// There is no signing key.
    #[error(transparent)]
    Key(#[from] crate::auth::keys::KeyError),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl StartError {
    fn in_use(config: &Config) -> StartError {
        StartError::Other(format!(
            "another reelway already uses the state in {}; stop it, or set STATE_DIRECTORY to another folder",
            config.directories.state.display()
        ))
    }
}

/// Runs the daemon until a signal ends it. `sources` are read again when somebody asks. Call it before there is a second
/// thread.
///
/// # Errors
/// A [`StartError`] that says what to do. The service manager was told it.
pub fn run(loaded: Loaded, sources: &Sources) -> Result<(), StartError> {
    let passed = systemd::take_passed();
    let ended =
        serve(loaded, sources, passed.map_err(|error| Fault::new("take what the service manager passed", error)));
    ended.inspect_err(|error| tell_refusal(&error.to_string()))
}

/// Tells the service manager why there is no daemon.
pub(crate) fn tell_refusal(reason: &str) {
    systemd::status(&status::on_one_line(reason));
}

fn serve(loaded: Loaded, sources: &Sources, passed: Result<Vec<Passed>, Fault>) -> Result<(), StartError> {
    process::give_big_blocks_back();
    let _log = log::start(loaded.config.log.format, &loaded.config.log.level).map_err(StartError::Other)?;
    log_panics();
    let warnings = loaded.warnings.iter();
    warnings.for_each(|warning| tracing::warn!(name: messages::CONFIGURATION_DOUBTFUL, "{warning}"));
    raise_descriptor_limit()?;
    let mut passed = passed?;
    let inherited = Inherited::of(&mut passed);

    let mut signals = Signals::watch().map_err(|error| Fault::new("watch for signals", error))?;
    listeners::note_replaced(&loaded, &passed);
    let Loaded { config, .. } = loaded;
    let shards = config.server.shard_count();
    let listeners = Listeners::of(passed, &config, shards)?;
    let tuned = listeners.handles()?;
    let _lock = lock_state(&config, limits::STATE_LOCK_START_PATIENCE)?.ok_or_else(|| StartError::in_use(&config))?;
    let admin = AdminSocket::open(&config);
    let services = start::with_more_time("Opening the database", || services(config, shards))?;
    note_key_id(&services)?;
    let store = services.store.clone();
    let state = State::new(services);
    let (phase, phases) = watch::channel(Phase::Serving);
    expect_descriptors(shards)?; // Before the films of the process before are ours, and end with us.
    let resumed = handover::spread(inherited.resume(&state), shards);
    let mut watched = Watched::new(systemd::watchdog());
    let mut shards = Shards::start(&state, listeners.with(&admin)?, resumed, &phases, &mut watched)?;
    state.services.settings().library.start_scan(&state.services.store, now())?;
    let status = Status::new();
    status.look_for_accounts(&state);
    let keeper = Keeper::start(&state, &status, watched.add_patiently("keeper"))?;
    signals.beat(watched.add_patiently("main"));
    let watchdog = watched.start(&store)?;
    systemd::ready(&status.take(&state));

    let failure = loop {
        match signals.wait_serving(shards.failure()) {
            Wanted::Reload => reload::reload(sources, &state, &tuned, &status),
            Wanted::End(name) => {
                tracing::info!(name: messages::DRAINING, signal = name, "draining");
                break None;
            }
            // A daemon that listens and does not answer is worse than one that is started again.
            Wanted::Other(failure) => break Some(failure),
        }
    };
    drop(tuned); // The last handles of our own listeners must be those of the shards, which close them.
    drop(watchdog); // Nobody waits for it while a service ends, and the store is about to.
    state.services.is_draining.store(true, Ordering::Relaxed);
    systemd::stopping(&status.take(&state));
    systemd::more_time(stop_patience(&state));
    let is_drained = if handover::is_possible() {
        match handover::hand_over(&mut signals, &state, &phase, shards.count()) {
            Outcome::Done => true,
            Outcome::Cut => false,
            Outcome::Refused(connections) => drain_again(&mut signals, &state, connections, shards.count()),
        }
    } else {
        drain(&mut signals, &state, &phase, &shards)
    };
    let _ = phase.send(Phase::Ended);
    let nobody_is_cut = state.shards_left() >= shards.count() && state.cut() == 0;
    shards.join();
    keeper.end();
    store.close();
    drop(admin);
    tracing::info!(name: messages::STOPPED, drained = is_drained && nobody_is_cut, "stopped");
    failure.map_or(Ok(()), Err)
}

/// What a stop may take at most: handing over, the drain that follows if nobody takes it, and the end.
fn stop_patience(state: &State) -> Duration {
    let handing_over = limits::HANDOVER_PATIENCE + 3 * limits::DRAIN_PATIENCE + limits::HANDOVER_PATIENCE_MAX;
    handing_over + state.services.settings().config.server.drain_timeout + limits::STOP_MARGIN
}

/// Has the shards finish their responses, for as long as an administrator allows. Whether they did.
fn drain(signals: &mut Signals, state: &State, phase: &watch::Sender<Phase>, shards: &Shards) -> bool {
    let _ = phase.send(Phase::Draining);
    let drain_timeout = state.services.settings().config.server.drain_timeout;
    signals.wait_while(drain_timeout, || !shards.are_finished())
}

/// The same with connections that nobody wanted to take over: shards that accept nobody finish them.
fn drain_again(signals: &mut Signals, state: &Arc<State>, connections: Vec<Connection>, shards: usize) -> bool {
    let (phase, phases) = watch::channel(Phase::Draining);
    let nobody = (0..shards).map(|_| Vec::new()).collect();
    match Shards::start(state, nobody, handover::spread(connections, shards), &phases, &mut Watched::new(None)) {
        Ok(shards) => {
            let is_drained = drain(signals, state, &phase, &shards);
            let _ = phase.send(Phase::Ended);
            shards.join();
            is_drained
        }
        Err(error) => {
            tracing::error!(name: messages::HAND_OVER_FAILED, %error, "connections could not be drained");
            false
        }
    }
}

/// A panic is a bug of ours: it goes to the log with its place, and its task ends alone.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let reason = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(name: messages::TASK_PANICKED, place, reason = reason.unwrap_or_default(), "a task panicked");
    }));
}

fn raise_descriptor_limit() -> Result<(), StartError> {
    match process::raise_descriptor_limit() {
        Ok(limit) if limit < limits::DESCRIPTORS_MIN => {
            let needed = limits::DESCRIPTORS_MIN;
            Err(too_few_descriptors(&format!("with {limit} descriptors: {needed} are the least")))
        }
        Ok(limit) => {
            tracing::debug!(limit, "descriptor limit raised");
            Ok(())
        }
        Err(error) => {
            tracing::warn!(
                name: messages::DESCRIPTOR_LIMIT_LOW, error = %error,
                "descriptor limit could not be raised"
            );
            Ok(())
        }
    }
}

/// Whoever started us may have left descriptors open in us, so the limit alone does not say how many there are for viewers.
fn expect_descriptors(shards: usize) -> Result<(), StartError> {
    let needed = limits::DESCRIPTORS_LEFT_MIN + shards * limits::DESCRIPTORS_PER_SHARD;
    process::try_descriptors(needed).map_err(|error| {
        too_few_descriptors(&format!("with fewer than {needed} descriptors left for shards and viewers: {error}"))
    })
}

fn too_few_descriptors(what: &str) -> StartError {
    StartError::Other(format!(
        "could not start {what}, and each viewer takes three; raise LimitNOFILE= of the unit, or ulimit -n"
    ))
}

/// Takes the state, or `None` when somebody else has it for longer than `patience`. Run by root, this process is its owner
/// afterwards.
///
/// # Errors
/// When there is no such folder and none can be made.
pub(crate) fn lock_state(config: &Config, patience: Duration) -> Result<Option<FileLock>, StartError> {
    let state = &config.directories.state;
    std::fs::create_dir_all(state)
        .map_err(|error| Fault::new(format!("make the state directory {}", state.display()), error))?;
    let runtime = &config.directories.runtime;
    if !runtime.exists() {
        // It may lie where only root can make it. Without it there is no admin socket, which is said where that is opened.
        let made = std::fs::create_dir_all(runtime).and_then(|()| process::give_to_owner_of(state, runtime));
        made.unwrap_or_else(|error| tracing::debug!(%error, "runtime folder could not be made"));
    }
    // Run by root, for a port that only root may open: from here on nothing needs root, and a file of root's would be
    // one that the service and the command line cannot open.
    process::become_owner_of(state)
        .map_err(|error| Fault::new(format!("become the owner of {}", state.display()), error))?;
    let deadline = Instant::now() + patience;
    loop {
        let lock = FileLock::take(&state.join("lock"))?;
        if lock.is_some() || Instant::now() >= deadline {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Puts together what handlers work with, over the state of this configuration, which the caller has locked.
///
/// # Errors
/// A [`StartError`] that says what to do.
pub(crate) fn services(config: Config, shards: usize) -> Result<Services, StartError> {
    let store = Store::open(&config.directories.database_file())?;
    let signer = signer(&config)?;
    let library = Arc::new(Library::open(roots(&config), &config.video.supported_formats));
    if config.library.roots.is_empty() {
        tracing::warn!(
            name: messages::LIBRARY_WITHOUT_ROOTS,
            "no library roots: set library.roots in the configuration, or VIDEOS_PATH"
        );
    }
    let (engine, refusal) = Engine::choose();
    if let Some(reason) = &refusal {
        tracing::warn!(
            name: messages::RING_MISSING, reason = %reason,
            "io_uring is not available; threads wait for the disk instead"
        );
    }
    let mut metrics = Metrics::new(shards, engine.name());
    metrics.log_lines_dropped = log::lines_dropped;
    let sessions = Table::new(config.sessions.capacity, store.clone());
    let restored = block_on(sessions.restore(now()))?;
    tracing::debug!(sessions = restored, "sessions restored");
    let guests = Guests::new(store.clone());
    block_on(guests.load(now()))?;
    Ok(Services {
        store,
        playbacks: Playbacks::new(bounds(&config)),
        sessions,
        guests,
        hasher: Hasher::start().map_err(|error| Fault::new("start the hashing thread", error))?,
        remembered: Remembered::new().map_err(|error| Fault::new("find randomness", error))?,
        limiter: Limiter::new(config.auth.login_failures_max),
        metrics: Arc::new(metrics),
        engine,
        ring_refusal: refusal.map(|reason| reason.to_string()),
        started: Instant::now(),
        is_draining: AtomicBool::new(false),
        in_force: InForce::new(Settings {
            cors: cors::Policy::new(&config.net.cors_origins),
            config,
            library,
            signer,
            generation: 0,
        }),
    })
}

/// The keys of this configuration.
///
/// systemd hands over credentials when a service starts; systemd 252 does not renew them for a reload, so a key that is a
/// credential is replaced by a restart, and one that lies in a file by a reload as well.
fn signer(config: &Config) -> Result<Signer, StartError> {
    let keyring = Keyring::find(&key_places(config), now())?;
    for warning in &keyring.warnings {
        tracing::warn!(
            name: messages::SIGNING_KEY_REPLACED,
            "{warning}; whoever signed in before the key was replaced has to sign in again"
        );
    }
    Signer::new(&keyring).map_err(|error| StartError::Other(format!("the signing key: {error}")))
}

fn roots(config: &Config) -> impl Iterator<Item = (String, PathBuf)> {
    config.library.roots.iter().map(|root| (root.name.clone(), root.path.clone()))
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        playbacks_max: config.video.max_concurrent_streams,
        per_user_max: config.video.max_streams_per_user,
        connections_max: config.net.connections_per_playback,
        pause: config.sessions.max_inactivity,
        caps: Caps {
            per_user: Pace::of_bits(config.net.pacing_per_user),
            total: Pace::of_bits(config.net.pacing_total),
            with_lan: config.net.pacing_lan,
        },
    }
}

/// Notes in the state which key this daemon signs with, so that a command run without the daemon's credentials finds out
/// that its own key would make tokens which are worth nothing.
fn note_key_id(services: &Services) -> Result<(), Fault> {
    let path = key_id_file(&services.settings().config);
    std::fs::write(&path, services.settings().signer.key_id())
        .map_err(|error| Fault::new(format!("write {}", path.display()), error))
}

/// Where the daemon notes the name of its key.
pub(crate) fn key_id_file(config: &Config) -> PathBuf {
    config.directories.state.join("jwt.kid")
}

/// Where the signing key of this configuration may be.
fn key_places(config: &Config) -> Places {
    Places {
        credentials: config.directories.credentials.clone(),
        configured: config.auth.jwt_key_file.clone(),
        state: config.directories.state.clone(),
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
