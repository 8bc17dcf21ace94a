//! The bytes of a film: file -> conditional -> range -> extents.
//!
//! Nothing here reads the file. It is opened below its root, its size and time are read from the very descriptor that
//! will be sent, and the answer is a [`Response`] whose body is made of extents of it; `serve` lets the kernel send them.
//! Asks no database and takes no lock.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::auth::presence::Sign;
use crate::auth::{Caller, Grant};
use crate::http::conditional::{self, Verdict};
use crate::http::forwarded::Client;
use crate::http::multipart::{self, Boundary};
use crate::http::range::{self, Extent, Selection};
use crate::http::reject::Reject;
use crate::http::request::{Fields, Method, Request};
use crate::http::response::{FieldLines, Response};
use crate::library::kept::Kept;
use crate::library::open::{Caching, OpenVideo};
use crate::library::{self, Candidate, Library};
use crate::log::messages;
use crate::playback::{Key, Owner, Player, Watcher, pace};
use crate::store::Timestamp;
use crate::sys::engine::Engine;
use crate::sys::file;

/// An open video, as answers and transfers share it.
pub type Film = Arc<OpenVideo>;

/// Which film is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// By its path: `root/path`, or a path below any root.
    Path(&'a str),
    /// By its id.
    Id(Uuid),
}

/// What of the library is seen, and for how long by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The one film that there is, for who may see only one.
    pub only: Option<Uuid>,
    /// Who may keep the answer.
    pub caching: Caching,
}

/// Who may keep a film that was asked for by a token in its path, where links are there for an edge cache.
///
/// # Errors
/// 403 for a link whose plays are counted: a cache would hide them.
pub fn shared_caching(grant: &Grant, now: Timestamp) -> Result<Caching, Reject> {
    match grant.caller()? {
        Caller::Guest(guest) if guest.max_plays.is_some() => Err(Reject::Forbidden),
        Caller::Guest(guest) => Ok(Caching::Shared { seconds: guest.expires_at.seconds() - now.seconds() }),
        // Ends with its session, which no cache hears of.
        Caller::User(_) | Caller::Player { .. } | Caller::Machine => Ok(Caching::Private),
    }
}

/// Whose playback of a film a request belongs to, and who watches.
///
/// # Errors
/// 403 for the machine: a film is sent to somebody.
pub fn part(caller: &Caller, video: Uuid, fields: &Fields<'_>, client: Client) -> Result<(Key, Watcher), Reject> {
    let Client { address: client, is_known } = client;
    let place = Player::Place(client, fields.user_agent);
    let (owner, session_id, player, sign) = match caller {
        Caller::User(account) | Caller::Player { account, .. } => {
            let player = if account.is_login { Player::Session(account.session_id) } else { place };
            (Owner::User(account.user_id), account.session_id, player, account.presence.sign())
        }
        Caller::Guest(guest) => (Owner::Link(guest.link_id), guest.link_id, place, Sign::default()),
        Caller::Machine => return Err(Reject::Forbidden),
    };
    let player = fields.playback_session_id.map_or(player, Player::Named).number();
    let user_id = caller.user_id();
    let is_near = is_known && pace::is_near(client);
    let max_bandwidth = caller.own_account().and_then(|account| account.max_bandwidth);
    Ok((Key { owner, video, player }, Watcher { user_id, session_id, client, is_near, max_bandwidth, sign }))
}

/// Answers a request for a film.
///
/// # Errors
/// 404 when there is no such film, 412 and 416 as RFC 9110 has them, 500 or 503 when the kernel failed us.
pub async fn answer(
    library: &Library,
    kept: &Kept,
    engine: Engine,
    wanted: Wanted<'_>,
    view: View,
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Response<Film>, Reject> {
    let index;
    let film = match wanted {
        Wanted::Path(path) => open_first(library, kept, engine, &library.candidates(path), view).await?,
        Wanted::Id(id) => {
            index = library.index();
            let place = index.by_id(id).and_then(|video| library.locate(video)).ok_or(Reject::NotFound)?;
            open_first(library, kept, engine, &[place], view).await?
        }
    };
    respond(&film, view.caching, request, now.seconds())
}

/// Opens the first candidate that is a film. What is none by its name is not even opened.
async fn open_first(
    library: &Library,
    kept: &Kept,
    engine: Engine,
    candidates: &[Candidate<'_>],
    view: View,
) -> Result<Film, Reject> {
    for candidate in candidates {
        if let Some(film) = kept.find(candidate).filter(|film| view.only.is_none_or(|only| only == film.id)) {
            return Ok(film);
        }
        let Some(media_type) = library.media_type(candidate.path) else { continue };
        let Some(path) = library::kernel_path(candidate.path) else { continue };
        // Who may see one film learns of no other whether it is there.
        if view.only.is_some_and(|only| only != library::video_id(candidate.root_name, candidate.path.as_bytes())) {
            continue;
        }
        // On the heap: what a connection holds across this wait, it would hold for as long as it lives.
        let mut opened = Box::pin(engine.open(&candidate.directory, path.clone())).await;
        if opened.as_ref().is_err_and(file::is_exhaustion) && kept.clear() {
            opened = Box::pin(engine.open(&candidate.directory, path.clone())).await;
        }
        match opened {
            Ok(Some(file)) => {
                let Candidate { root_name, path: shown, .. } = *candidate;
                let root = Some(Arc::clone(&candidate.directory));
                let film = Arc::new(OpenVideo::new(root, root_name, shown, media_type, Arc::new(file)));
                kept.keep(&candidate.directory, path, &film);
                return Ok(film);
            }
            Ok(None) => {} // A folder, a FIFO, a device: not a film.
            Err(error) if file::is_absence(&error) => {}
            Err(error) => return Err(refuse(candidate, &error)),
        }
    }
    Err(Reject::NotFound)
}

fn refuse(candidate: &Candidate<'_>, error: &io::Error) -> Reject {
    let (root, path) = (candidate.root_name, candidate.path);
    tracing::warn!(name: messages::FILM_NOT_OPENED, root, path, error = %error, "film could not be opened");
    // Another program holds a lease on the file (fcntl(2)), or its disk does not answer: later it may.
    let is_passing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    if is_passing || file::is_exhaustion(error) {
        Reject::Busy { retry_after_seconds: 1 }
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        // The administrator reads of it in the log; to the client a film we may not open is none.
        Reject::NotFound
    } else {
        Reject::Internal
    }
}

/// What of an open film is sent, if anything.
fn respond(film: &Film, caching: Caching, request: &Request<'_>, now: i64) -> Result<Response<Film>, Reject> {
    let size = film.file.size();
    let range = match conditional::evaluate(request.method, &request.fields, &film.validators, now) {
        Verdict::PreconditionFailed => return Err(Reject::PreconditionFailed),
        Verdict::NotModified => {
            let lines = FieldLines::default().field("X-Content-Type-Options", "nosniff");
            return Ok(Response::new(304).lines(film.described(lines, caching, now)));
        }
        // Only GET has ranges (RFC 9110 §14.2).
        Verdict::Proceed { range_applies: true } if request.method == Method::Get => request.fields.range,
        Verdict::Proceed { .. } => None,
    };
    let whole = |status, extent| Response::media(status, Arc::clone(film), extent, size, film.lines(caching, now));
    match range::select(range, size) {
        Selection::Part(extent) => Ok(whole(206, extent)),
        Selection::Whole => Ok(whole(200, Extent::whole(size))),
        Selection::Unsatisfiable => Err(Reject::RangeNotSatisfiable { size }),
        Selection::Parts(extents) => {
            let boundary = Boundary::new(Uuid::new_v4().as_u128());
            let response = multipart::response(film, film.media_type, size, &extents, boundary);
            Ok(response.lines(film.named(FieldLines::default(), caching, now)))
        }
    }
}
