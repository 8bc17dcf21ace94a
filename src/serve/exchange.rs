//! One request and its answer, top-down. The room to read first.
//!
//! Each line of [`Exchange::answer`] eats what the lines above it made, so their order cannot be broken, and the cheap
//! no's come before the dear ones: a route before a token, a token before a file, a file before a pipe.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use uuid::Uuid;

use crate::api;
use crate::api::settings::Settings;
use crate::auth::carriers::{self, Carriers};
use crate::auth::{Caller, Grant, Need};
use crate::http::forwarded::Client;
use crate::http::reject::Reject;
use crate::http::request::{self, Body, Fields, Method, Parsed, Request};
use crate::http::response::{Envelope, Finished, Part, Response};
use crate::library::open::Caching;
use crate::limits;
use crate::log::messages;
use crate::metrics::{self, Open};
use crate::playback::{Key, Playing, Refused, Watcher};
use crate::route::{self, Resolved, Route, Wanting};
use crate::serve::body::Incoming;
use crate::serve::handover::{Asked, Plays, Unsent};
use crate::serve::inbox::Inbox;
use crate::serve::peer::{Ended, Peer};
use crate::serve::shard::Shard;
use crate::serve::transfer::{self, Transfer, Turn};
use crate::store::Timestamp;
use crate::stream::{self, Film, View, Wanted};
use crate::sys::sendfile::Follow;
use crate::sys::socket::Corked;

/// What becomes of the connection after an exchange.
#[derive(Debug)]
pub(super) enum Next {
    /// It waits for the next request; so many bytes of the inbox belonged to this one.
    KeepAlive {
        /// Bytes of head and body.
        consumed: usize,
    },
    /// We said all we had to say: it is closed once the client has read it.
    Close,
    /// The same, and the client said that it would say no more.
    CloseAsAsked,
    /// It was cut short: reset, so that the client cannot take it for whole.
    Reset,
    /// No byte of an answer is there after as long as a restart waits for one: the process after us answers.
    Unanswered,
    /// It was halted: the process after us sends what is left.
    Halt {
        /// What is left of the answer.
        unsent: Box<Unsent>,
        /// Bytes of head and body, if the next request may follow.
        consumed: Option<usize>,
    },
}

/// Answers the request whose head stands at the beginning of the inbox.
pub(super) async fn run(shard: &Shard, peer: &Peer<'_>, inbox: &Inbox<'_>, turn: &mut Turn) -> Next {
    metrics::add(&shard.pump.counters.requests, 1);
    match inbox.parse() {
        Ok(Parsed::Complete { request, head_length }) => {
            let body = Incoming::new(&request, &inbox.pending()[head_length..]);
            let (request_id, user_id, session_id, playing) = Default::default();
            let (request, now, client) = (&request, shard.now(), client(shard, peer, &request.fields));
            let exchange = Exchange {
                shard,
                peer,
                request,
                client,
                now,
                body,
                request_id,
                user_id,
                session_id,
                playing,
                is_media: false,
            };
            exchange.run(head_length, turn).await
        }
        // The connection reads until a head is whole or refused; what is neither by now never will be.
        Ok(Parsed::Partial) => Box::pin(refuse(shard, peer, inbox.pending(), &Reject::HeadTooLarge)).await,
        Err(reject) => Box::pin(refuse(shard, peer, inbox.pending(), &reject)).await,
    }
}

/// Says no to a client whose request we cannot name, beyond what `pending` begins with, and closes.
pub(super) async fn refuse(shard: &Shard, peer: &Peer<'_>, pending: &[u8], reject: &Reject) -> Next {
    let request_id = Uuid::new_v4();
    let refusal = refusal(shard, reject, request_id, peer.address, "");
    let envelope = Envelope::without_request(request::method(pending), shard.date(shard.now()));
    let mut finished = refusal.finish(envelope, shard.heads.take());
    match send(shard, peer, &mut finished, &mut Turn::new()).await {
        Ok(()) => Next::Close,
        Err(Ended::Halted) => {
            let asked = Asked { request_id, client: None, user_id: None, session_id: None, path: String::new() };
            Next::Halt { unsent: Box::new(Unsent { finished, plays: None, asked }), consumed: None }
        }
        Err(_) => Next::Reset,
    }
}

/// Why there is no answer as it was asked for.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client is told why not.
    Refused(Reject),
    /// There is nobody to tell.
    Ended(Ended),
}

impl From<Reject> for Stop {
    fn from(reject: Reject) -> Stop {
        Stop::Refused(reject)
    }
}

struct Exchange<'a> {
    shard: &'a Shard,
    peer: &'a Peer<'a>,
    request: &'a Request<'a>,
    client: Client,
    /// When its head was whole.
    now: Timestamp,
    body: Incoming<'a>,
    /// Made when somebody asks for it: a film that plays needs none.
    request_id: OnceCell<Uuid>,
    /// Who is asking, or lets somebody ask, once that is known.
    user_id: OnceCell<Uuid>,
    session_id: OnceCell<Uuid>,
    /// Its part in a playback, while a film is being sent.
    playing: Option<Playing<'a>>,
    /// Whether this is about a film.
    is_media: bool,
}

impl Exchange<'_> {
    async fn run(mut self, head_length: usize, turn: &mut Turn) -> Next {
        let (shard, peer, request) = (self.shard, self.peer, self.request);
        let answered = tokio::select! {
            biased;
            answered = self.answer() => answered,
            () = left_to_the_next(shard, peer, request) => return Next::Unanswered,
        };
        let (response, closes) = match answered {
            Ok(response) => (response, false),
            Err(Stop::Refused(reject)) => (self.refuse(&reject), reject.closes()),
            Err(Stop::Ended(ended)) => return self.cut(ended, &[]),
        };
        let keep_alive = self.request.keep_alive && !closes && !self.shard.is_draining() && self.body.can_be_finished();
        let envelope = Envelope { keep_alive, ..Envelope::of(self.request, self.shard.date(self.shard.now())) };
        let mut finished = response.finish(envelope, self.shard.heads.take());
        self.peer.keep_pace();
        let sent = send(self.shard, self.peer, &mut finished, turn).await;
        if let Some(playing) = self.playing.take() {
            playing.leave(self.shard.now());
        }
        match sent {
            Ok(()) if finished.close && !self.request.keep_alive && self.body.is_all_there() => Next::CloseAsAsked,
            Ok(()) if finished.close => Next::Close,
            // The rest of a body nobody wanted, after the answer: who sends it slowly waits for nothing else.
            Ok(()) => {
                let consumed = match self.body.consumed() {
                    Some(consumed) => Some(consumed),
                    None => Box::pin(self.rest_of_body()).await,
                };
                consumed.map_or(Next::Close, |body| Next::KeepAlive { consumed: head_length + body })
            }
            Err(Ended::Halted) => self.halt(finished, head_length),
            Err(ended) => self.cut(ended, &finished.parts),
        }
    }

    /// What the process after us has to know of an answer that it goes on with. Of a body that nobody wants and that has not
    /// come it does not: then the connection ends after the answer.
    #[cold]
    fn halt(&self, mut finished: Finished<Film>, head_length: usize) -> Next {
        let consumed = self.body.consumed().filter(|_| !finished.close).map(|body| head_length + body);
        finished.close = consumed.is_none();
        let has_film = finished.parts.iter().any(|part| matches!(part, Part::Extent { .. }));
        let played = self.peer.viewer.played().filter(|_| has_film);
        let plays = played.map(|(key, watcher)| Plays { key, watcher, credential_version: None });
        Next::Halt { unsent: Box::new(Unsent { finished, plays, asked: self.asked() }), consumed }
    }

    /// Reads over the rest of a body, unless the daemon drains before it has come.
    async fn rest_of_body(&mut self) -> Option<usize> {
        tokio::select! {
            biased;
            consumed = self.body.finish(self.peer) => consumed,
            () = self.shard.drain_patience() => None,
        }
    }

    /// The answer as a value: no byte of it has been sent yet.
    async fn answer(&mut self) -> Result<Response<Film>, Stop> {
        let Exchange { shard, request, peer, now, .. } = *self;
        let services = &shard.state.services;

        self.is_media = route::is_media(&request.target);
        if request.target.is_https {
            return Err(Reject::Misdirected.into()); // No connection of ours is encrypted yet. RFC 9110 §7.4
        }
        let Resolved { route, need, carriers } = route::resolve(request.method, &request.target)?; // 404, 405
        let moment = services.sessions.moment();
        let caller = self.caller(need, carriers, now).await?; // 401
        let is_loopback = peer.address.is_loopback() && !request.fields.is_forwarded;
        let grant = need.judge(caller, is_loopback)?; // 401, 403

        let body = match route.body() {
            Wanting::Nothing => Vec::new(),
            Wanting::MayBe if request.body == Body::None => Vec::new(),
            Wanting::MayBe | Wanting::Needed => Box::pin(self.json()).await?, // 411, 413, 415, 408
        };
        let is_film = matches!(route, Route::StreamPath(_) | Route::StreamId(_) | Route::Shared);
        if !is_film {
            // On the heap: what a connection holds across this wait, it would hold for as long as it lives.
            let answer = Box::pin(route::answer(services, &route, &grant, request, &body, self.asking(), now)).await?;
            let is_preflight = self.is_media && matches!(route, Route::Options(_));
            return Ok(if is_preflight {
                services.settings().cors.preflight(answer, request.fields.origin)
            } else {
                answer
            });
        }
        let film = self.film(&route, &grant, now).await?; // 404, 412, 416
        self.take_part(&film, &grant, now).await?; // 429
        if services.sessions.moment() != moment {
            // Some session was ended meanwhile. If it was this one, it may have been before there was anything to stop.
            let caller = self.caller(need, carriers, now).await?;
            if let Some(account) = caller.as_ref().and_then(Caller::own_account) {
                services.playbacks.allow(account.user_id, account.max_bandwidth, shard.now());
            }
        }
        peer.may_send().await.map_err(Stop::Ended)?;
        Ok(film)
    }

    /// The JSON body, unless the daemon drains before it has come.
    async fn json(&mut self) -> Result<Vec<u8>, Stop> {
        tokio::select! {
            biased;
            body = self.body.json(self.request, self.peer) => body,
            () = self.shard.drain_patience() => Err(Reject::Draining.into()),
        }
    }

    /// The film that a route names, as far as the caller may see it.
    async fn film(&self, route: &Route<'_>, grant: &Grant, now: Timestamp) -> Result<Response<Film>, Reject> {
        let settings = self.shard.state.services.settings();
        let Settings { library, cors, config, .. } = &**settings;
        let wanted = match (route, grant.only_video()) {
            (Route::StreamPath(path), _) => Wanted::Path(path),
            (Route::StreamId(id), _) => Wanted::Id(*id),
            (Route::Shared, Some(id)) => Wanted::Id(id),
            _ => return Err(Reject::NotFound),
        };
        let is_shared = *route == Route::Shared && config.net.shared_cache;
        let caching = if is_shared { stream::shared_caching(grant, now)? } else { Caching::Private };
        let view = View { only: grant.only_video(), caching };
        let Shard { kept, pump, .. } = self.shard;
        let was_empty = kept.is_empty();
        let film = stream::answer(library, kept, pump.engine, wanted, view, self.request, now).await;
        if was_empty && !kept.is_empty() {
            self.shard.films_kept.notify_one();
        }
        let film = film?;
        Ok(cors.film(film, self.request.fields.origin))
    }

    /// Takes part in the caller's playback of a film, if any byte of it is about to be sent. A player that moves on to the next
    /// film may ask for it before it has let go of the last, so a no is waited for a moment.
    async fn take_part(&mut self, film: &Response<Film>, grant: &Grant, now: Timestamp) -> Result<(), Reject> {
        let Some(video) = film.file().filter(|_| self.request.method == Method::Get) else { return Ok(()) };
        let caller = grant.caller()?;
        let (key, watcher) = stream::part(caller, video.id, &self.request.fields, self.client)?;
        if let Caller::Guest(guest) = caller
            && !self.shard.state.services.guests.admits(guest, key.player, now)
        {
            return Err(Reject::LinkUsedUp);
        }
        let played = match self.peer.viewer.play(key, &watcher, now) {
            Err(Refused::Busy(_) | Refused::Reached(_)) => {
                Box::pin(play_later(self.shard, self.peer, key, &watcher)).await
            }
            played => played,
        };
        self.playing = Some(played.map_err(api::streams::refused)?);
        Ok(())
    }

    /// The answer that says no. A page of another site may read why it has no film.
    fn refuse(&self, reject: &Reject) -> Response<Film> {
        let (client_ip, path) = (self.client.address, route::shown(&self.request.target));
        let refusal = |reject| refusal(self.shard, reject, self.request_id(), client_ip, path);
        if !self.is_media {
            return refusal(reject);
        }
        // Whoever was given a link has no name and password to send.
        let refusal =
            if route::is_shared(&self.request.target) { refusal(reject) } else { refusal(&reject.to_player()) };
        self.shard.state.services.settings().cors.answer(refusal, self.request.fields.origin)
    }

    /// Who is asking. A route that needs nobody looks for nobody: a health check that sends somebody else's credentials is
    /// answered all the same.
    async fn caller(&self, need: Need, carriers: Carriers, now: Timestamp) -> Result<Option<Caller>, Reject> {
        if need == Need::Public {
            return Ok(None);
        }
        let Some(carried) = carriers::carried(self.request, carriers)? else {
            return Ok(self.is_machine().then_some(Caller::Machine));
        };
        let caller =
            api::auth::caller(&self.shard.state.services, &self.shard.proved, carried, || self.asking(), now).await?;
        if let Some(user_id) = caller.user_id() {
            let _ = self.user_id.set(user_id);
        }
        if let Some(account) = caller.own_account() {
            let _ = self.session_id.set(account.session_id);
        }
        Ok(Some(caller))
    }

    fn asking(&self) -> api::Asking {
        let (request_id, client_ip) = (self.request_id(), self.client.address);
        api::Asking { request_id, client_ip, is_machine: self.is_machine() }
    }

    /// Whoever hands on what others ask is not the machine, wherever it comes in.
    fn is_machine(&self) -> bool {
        self.peer.is_machine && !self.request.fields.is_forwarded
    }

    fn request_id(&self) -> Uuid {
        *self.request_id.get_or_init(Uuid::new_v4)
    }

    fn asked(&self) -> Asked {
        let path = route::shown(&self.request.target).to_owned();
        let (user_id, session_id) = (self.user_id.get().copied(), self.session_id.get().copied());
        let client = Some(self.client.address).filter(|address| *address != self.peer.address);
        Asked { request_id: self.request_id(), client, user_id, session_id, path }
    }

    fn cut(&self, ended: Ended, parts: &[Part<Film>]) -> Next {
        self.asked().cut(self.shard, self.peer, ended, parts)
    }
}

impl Asked {
    /// Notes why a response did not reach its end.
    pub(super) fn cut(&self, shard: &Shard, peer: &Peer<'_>, ended: Ended, parts: &[Part<Film>]) -> Next {
        let counters = &shard.pump.counters;
        let request_id = self.request_id.to_string();
        let (user_id, session_id) =
            (self.user_id.as_ref().map(Uuid::to_string), self.session_id.as_ref().map(Uuid::to_string));
        let video_id = parts.iter().find_map(|part| match part {
            Part::Extent { file, .. } => Some(file.id.to_string()),
            Part::Bytes(_) => None,
        });
        let (path, client_ip) = (self.path.as_str(), self.client.unwrap_or(peer.address));
        match ended {
            // Whoever halts hands it over, and cuts nothing.
            Ended::Gone | Ended::Halted => {
                tracing::debug!(request_id, user_id, session_id, video_id, path, %client_ip, "client went away");
            }
            Ended::Stalled => {
                metrics::add(&counters.stalled, 1);
                tracing::info!(
                    name: messages::CLIENT_STALLED, request_id, user_id, session_id, video_id, path, %client_ip,
                    "client stalled"
                );
            }
            Ended::GaveWay => {
                metrics::add(&counters.gave_way, 1);
                tracing::info!(
                    name: messages::CLIENT_GAVE_WAY, request_id, user_id, session_id, video_id, path, %client_ip,
                    "paused client gave way to another"
                );
            }
            Ended::Stopped => {
                metrics::add(&counters.stopped, 1);
                tracing::info!(
                    name: messages::STREAM_STOPPED, request_id, user_id, session_id, video_id, path, %client_ip,
                    "stream was stopped"
                );
            }
            Ended::Superseded => {
                metrics::add(&counters.superseded, 1);
                tracing::debug!(request_id, user_id, session_id, video_id, path, %client_ip, "connection was superseded by a newer one");
            }
            Ended::LostSlot => {
                metrics::add(&counters.gave_way, 1);
                tracing::info!(
                    name: messages::PLAYER_LOST_ITS_PLACE, request_id, user_id, session_id, video_id, path, %client_ip,
                    "paused player plays on, and all streams are taken"
                );
            }
            Ended::Truncated => {
                metrics::add(&counters.truncated, 1);
                tracing::warn!(
                    name: messages::FILM_TRUNCATED, request_id, user_id, session_id, video_id, path, %client_ip,
                    "film became shorter while it was sent"
                );
            }
            Ended::Disk(error) => {
                metrics::add(&counters.faults, 1);
                tracing::error!(
                    name: messages::FILM_UNREADABLE, request_id, user_id, session_id, video_id, path, %client_ip, %error,
                    "film could not be read"
                );
            }
            Ended::Unasked(error) => {
                metrics::add(&counters.faults, 1);
                tracing::error!(
                    name: messages::FILM_NOT_RESUMED, request_id, user_id, session_id, video_id, path, %client_ip, %error,
                    "film was not resumed, because the database did not say whether it may go on"
                );
            }
        }
        Next::Reset
    }
}

/// Who asks: the peer, or, where that is a proxy that is believed, whom it asks for. What others say of that is a trace of a
/// proxy, and no more.
fn client(shard: &Shard, peer: &Peer<'_>, fields: &Fields<'_>) -> Client {
    if !fields.is_forwarded {
        return Client { address: peer.address, is_known: true };
    }
    let settings = shard.state.services.settings();
    let proxies = &settings.config.net.trusted_proxies;
    fields.trail.client(peer.address, |address| proxies.iter().any(|proxy| proxy.contains(address)))
}

/// Waits until a request is to be answered by the process after us: one that may be asked twice (RFC 9110 §9.2.1), and that
/// stands in the inbox as it came.
async fn left_to_the_next(shard: &Shard, peer: &Peer<'_>, request: &Request<'_>) {
    let may_be_asked_twice = matches!(request.method, Method::Get | Method::Head) && request.body == Body::None;
    if peer.halt.is_none() || !may_be_asked_twice {
        std::future::pending::<()>().await;
    }
    shard.unanswered().await;
}

/// Waits for a playback until there is a slot for it, or it is refused all the same.
async fn play_later<'a>(
    shard: &Shard,
    peer: &'a Peer<'a>,
    key: Key,
    watcher: &Watcher,
) -> Result<Playing<'a>, Refused> {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(limits::PLAYBACK_RETRY_INTERVAL).await;
        let played = peer.viewer.play(key, watcher, shard.now());
        let may_come = matches!(played, Err(Refused::Busy(_) | Refused::Reached(_)));
        if !may_come || begun.elapsed() >= limits::PLAYBACK_PATIENCE {
            return played;
        }
    }
}

/// The problem document of a refusal. The log has it under the id that the client is given, never above debug: what a
/// stranger can cause must not fill a disk. What failed here was logged where it failed.
fn refusal(shard: &Shard, reject: &Reject, request_id: Uuid, client_ip: IpAddr, path: &str) -> Response<Film> {
    metrics::add(&shard.pump.counters.rejects, 1);
    let request_id = request_id.to_string();
    let (status, reason) = (reject.status(), reject.reason());
    tracing::debug!(request_id, status, reason, path, %client_ip, "request refused");
    reject.response(&request_id)
}

/// Sends a head and the parts of its body. The head is somebody else's once it is sent. Where it ends before the end, what was
/// not sent is left in `finished`.
pub(super) async fn send(
    shard: &Shard,
    peer: &Peer<'_>,
    finished: &mut Finished<Film>,
    turn: &mut Turn,
) -> Result<(), Ended> {
    let Finished { head, parts, length, .. } = finished;
    if *length <= limits::TURN_BYTES {
        shard.pump.little_asked.set(Some(Instant::now()));
    }
    let count = parts.len();
    let _corked = (count > 1).then(|| Corked::new(peer.socket));
    if count == 0 {
        transfer::send_head(peer, head, Follow::Nothing).await?;
    }
    for index in 0..count {
        let place = Place { is_alone: count == 1, is_last: index + 1 == count };
        let sent = send_part(shard, peer, head, &mut parts[index], place, turn).await;
        if sent.is_err() {
            parts.drain(..index);
            return sent;
        }
    }
    Ok(())
}

/// Where a part stands in its body.
#[derive(Clone, Copy, Debug)]
struct Place {
    is_alone: bool,
    is_last: bool,
}

/// Sends the head, if that was not sent before, and a part.
async fn send_part(
    shard: &Shard,
    peer: &Peer<'_>,
    head: &mut Vec<u8>,
    part: &mut Part<Film>,
    place: Place,
    turn: &mut Turn,
) -> Result<(), Ended> {
    match part {
        Part::Bytes(bytes) => {
            transfer::send_head(peer, head, Follow::Body).await?;
            shard.heads.put(std::mem::take(head));
            let follow = if place.is_last { Follow::Nothing } else { Follow::Body };
            let mut done = 0;
            let sent = transfer::send_bytes(peer, bytes, &mut done, follow, || peer.watch_or_halt()).await;
            if sent.is_err() {
                bytes.to_mut().drain(..done);
            }
            sent.map(drop)
        }
        Part::Extent { file, extent } => {
            let _open = Open::new(&shard.pump.counters.open_transfers);
            if shard.pump.counters.open_transfers.load(Ordering::Relaxed) > limits::FILMS_MANY {
                peer.queue_less();
            }
            let mut transfer = Transfer::new(file, *extent, &shard.pump);
            let mut sent = transfer.begin(peer, head).await;
            if sent.is_ok() {
                shard.heads.put(std::mem::take(head));
                sent = transfer.run(peer, turn, &shard.pump, place.is_alone).await;
            }
            if sent.is_err() {
                *extent = transfer.left();
            }
            sent
        }
    }
}
