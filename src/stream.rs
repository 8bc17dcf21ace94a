//! The bytes of a film: file -> conditional -> range -> extents.
//!
//! Nothing here reads the file. It is opened below its root, its size and time are read from the very descriptor that
//! will be sent, and the answer is a [`Response`] whose body is made of extents of it; `serve` lets the kernel send them.
//! Asks no database and takes no lock.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::auth::presence::Sign;
use crate::auth::{Caller, Grant};
use crate::http::conditional::{self, ETag, Validators, Verdict};
use crate::http::multipart::{self, Boundary};
use crate::http::range::{self, Extent, Selection};
use crate::http::reject::Reject;
use crate::http::request::{Fields, Method, Request};
use crate::http::response::Response;
use crate::http::{date, media_type};
use crate::library::kept::Kept;
use crate::library::{self, Candidate, Library};
use crate::playback::{Key, Owner, Player, Watcher};
use crate::store::Timestamp;
use crate::sys::engine::Engine;
use crate::sys::file::{self, MediaFile};

/// Which film is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// By its path: `root/path`, or a path below any root.
    Path(&'a str),
    /// By its id.
    Id(Uuid),
}

/// A video that is open, and where it came from: the disks of different roots wait for one another as little as they can.
#[derive(Clone, Debug)]
pub struct OpenVideo {
    /// Which video it is.
    pub id: Uuid,
    /// The file.
    pub file: Arc<MediaFile>,
    /// Its root, 0-based.
    pub root: usize,
}

/// What of the library is seen, and for how long by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The one film that there is, for who may see only one.
    pub only: Option<Uuid>,
    /// Who may keep the answer.
    pub caching: Caching,
}

/// Who may keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// The client that asked.
    Private,
    /// Any cache on the way, for so many seconds.
    Shared {
        /// Until the link ends.
        seconds: i64,
    },
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
pub fn part(caller: &Caller, video: Uuid, fields: &Fields<'_>, client: IpAddr) -> Result<(Key, Watcher), Reject> {
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
    Ok((Key { owner, video, player }, Watcher { user_id, session_id, client, sign }))
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
) -> Result<Response<OpenVideo>, Reject> {
    let index;
    let media = match wanted {
        Wanted::Path(path) => open_first(library, kept, engine, &library.candidates(path), view).await?,
        Wanted::Id(id) => {
            index = library.index();
            let place = index.by_id(id).and_then(|video| library.locate(video)).ok_or(Reject::NotFound)?;
            open_first(library, kept, engine, &[place], view).await?
        }
    };
    media.answer(request, now)
}

/// Opens the first candidate that is a film. What is none by its name is not even opened.
async fn open_first<'a>(
    library: &Library,
    kept: &Kept,
    engine: Engine,
    candidates: &[Candidate<'a>],
    view: View,
) -> Result<Media<'a>, Reject> {
    for candidate in candidates {
        let Some(content_type) = library.media_type(candidate.path) else { continue };
        if let Some((id, file)) = kept.find(candidate).filter(|(id, _)| view.only.is_none_or(|only| only == *id)) {
            let video = OpenVideo { id, file, root: candidate.root };
            return Ok(Media { video, path: candidate.path, content_type, caching: view.caching });
        }
        let Some(path) = library::kernel_path(candidate.path) else { continue };
        let id = library::video_id(candidate.root_name, candidate.path.as_bytes());
        // Who may see one film learns of no other whether it is there.
        if view.only.is_some_and(|only| only != id) {
            continue;
        }
        let mut opened = engine.open(candidate.directory, path.clone()).await;
        if opened.as_ref().is_err_and(file::is_exhaustion) && kept.clear() {
            opened = engine.open(candidate.directory, path.clone()).await;
        }
        match opened {
            Ok(Some(file)) => {
                let file = Arc::new(file);
                kept.keep(candidate, path, id, &file);
                let video = OpenVideo { id, file, root: candidate.root };
                return Ok(Media { video, path: candidate.path, content_type, caching: view.caching });
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
    tracing::warn!(root, path, error = %error, "film could not be opened");
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

/// An open film and what its path says about it.
struct Media<'a> {
    video: OpenVideo,
    path: &'a str,
    content_type: &'static str,
    caching: Caching,
}

impl Media<'_> {
    fn answer(self, request: &Request<'_>, now: Timestamp) -> Result<Response<OpenVideo>, Reject> {
        let validators = self.validators();
        let size = self.video.file.size();
        let verdict = conditional::evaluate(request.method, &request.fields, &validators, now.seconds());
        let range = match verdict {
            Verdict::PreconditionFailed => return Err(Reject::PreconditionFailed),
            Verdict::NotModified => {
                let response = Response::new(304).field("X-Content-Type-Options", "nosniff");
                return Ok(self.described(response, &validators, now));
            }
            // Only GET has ranges (RFC 9110 §14.2).
            Verdict::Proceed { range_applies: true } if request.method == Method::Get => request.fields.range,
            Verdict::Proceed { .. } => None,
        };
        match range::select(range, size) {
            Selection::Part(extent) => {
                let content_range = extent.content_range(size);
                Ok(self.send(206, extent, &validators, now).field("Content-Range", content_range))
            }
            Selection::Unsatisfiable => Err(Reject::RangeNotSatisfiable { size }),
            Selection::Parts(extents) => {
                let boundary = Boundary::new(Uuid::new_v4().as_u128());
                let response = multipart::response(&self.video, self.content_type, size, &extents, boundary);
                Ok(self.named(response, &validators, now))
            }
            Selection::Whole => Ok(self.send(200, Extent::whole(size), &validators, now)),
        }
    }

    fn send(&self, status: u16, extent: Extent, validators: &Validators, now: Timestamp) -> Response<OpenVideo> {
        let response = Response::media(status, self.video.clone(), extent).field("Content-Type", self.content_type);
        self.named(response, validators, now)
    }

    /// The fields that 200 and 206 share.
    fn named(&self, response: Response<OpenVideo>, validators: &Validators, now: Timestamp) -> Response<OpenVideo> {
        let filename = self.path.rsplit('/').next().unwrap_or(self.path);
        let response = response.field("Content-Disposition", media_type::content_disposition(filename));
        let response = match self.caching {
            Caching::Private => response.field("X-Accel-Buffering", "no"),
            Caching::Shared { .. } => response,
        };
        self.described(response, validators, now)
    }

    /// The fields that 200, 206 and 304 share (RFC 9110 §15.4.5).
    fn described(&self, response: Response<OpenVideo>, validators: &Validators, now: Timestamp) -> Response<OpenVideo> {
        let response = response
            .field("Accept-Ranges", "bytes")
            .field("ETag", validators.etag)
            .field("Last-Modified", date::format(validators.last_modified(now.seconds())));
        match self.caching {
            Caching::Private => response.field("Cache-Control", "private, max-age=0, must-revalidate"),
            Caching::Shared { seconds } => {
                response.field("Cache-Control", format_args!("public, s-maxage={seconds}, max-age=0, must-revalidate"))
            }
        }
    }

    /// From the descriptor that will be sent, so that they can never describe another file.
    fn validators(&self) -> Validators {
        let (size, modified_ns) = (self.video.file.size(), self.video.file.modified_ns());
        let seconds = i64::try_from(modified_ns.div_euclid(1_000_000_000)).unwrap_or(0);
        Validators { etag: ETag::new(size, modified_ns, path_hash(self.path)), modified: seconds }
    }
}

/// FNV-1a of the path below its root: the same after a restart, a remount, and on another machine.
fn path_hash(path: &str) -> u64 {
    path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
