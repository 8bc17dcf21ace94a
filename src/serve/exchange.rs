//! One request and its answer, top-down. The room to read first.
//!
//! Each line of [`Exchange::answer`] eats what the lines above it made, so their order cannot be broken, and the cheap
//! no's come before the dear ones: a route before a token, a token before a file, a file before a pipe.

use std::net::IpAddr;

use tokio::net::TcpStream;
use uuid::Uuid;

use crate::api;
use crate::auth::carriers;
use crate::http::reject::Reject;
use crate::http::request::{self, Parsed, Request};
use crate::http::response::{Envelope, Finished, Part, Response};
use crate::metrics::{self, Open};
use crate::route::{self, Route};
use crate::serve::body::Incoming;
use crate::serve::shard::Shard;
use crate::serve::transfer::{self, Ended, Transfer};
use crate::stream::{self, Film, Wanted};
use crate::sys::sendfile::Follow;

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It waits for the next request; so many bytes of the inbox belonged to this one.
    KeepAlive {
        /// Bytes of head and body.
        consumed: usize,
    },
    /// We said all we had to say: it is closed once the client has read it.
    Close,
    /// It was cut short: reset, so that the client cannot take it for whole.
    Reset,
}

/// Answers the request whose head stands at the beginning of `pending`.
pub(super) async fn run(shard: &Shard, socket: &TcpStream, peer: IpAddr, pending: &[u8]) -> Next {
    metrics::add(&shard.pump.counters.requests, 1);
    match request::parse(pending) {
        Ok(Parsed::Complete { request, head_length }) => {
            let body = Incoming::new(&request, &pending[head_length..]);
            let exchange = Exchange { shard, socket, peer, request: &request, body };
            exchange.run(head_length).await
        }
        // The connection reads until a head is whole or refused; what is neither by now never will be.
        Ok(Parsed::Partial) => refuse(shard, socket, &Reject::HeadTooLarge).await,
        Err(reject) => refuse(shard, socket, &reject).await,
    }
}

/// Says no to a client whose request we cannot even name, and closes.
pub(super) async fn refuse(shard: &Shard, socket: &TcpStream, reject: &Reject) -> Next {
    metrics::add(&shard.pump.counters.rejects, 1);
    let refusal: Response<Film> = reject.response(&Uuid::new_v4().to_string());
    let Finished { head, parts, .. } = refusal.finish(Envelope::without_request(shard.now().seconds()));
    match send(shard, socket, &head, &parts).await {
        Ok(()) => Next::Close,
        Err(_) => Next::Reset,
    }
}

struct Exchange<'a> {
    shard: &'a Shard,
    socket: &'a TcpStream,
    peer: IpAddr,
    request: &'a Request<'a>,
    body: Incoming<'a>,
}

impl Exchange<'_> {
    async fn run(mut self, head_length: usize) -> Next {
        let answer = self.answer().await;
        let (response, closes) = match answer {
            Ok(response) => (response, false),
            Err(reject) => (self.refuse(&reject), reject.closes()),
        };
        // The rest of a body nobody wanted, before the answer says whether the connection is kept.
        let consumed = self.body.finish(self.socket).await;
        let keeps = self.request.keep_alive && !closes && !self.shard.is_draining() && consumed.is_some();
        let envelope = Envelope::of(self.request, self.shard.now().seconds());
        let finished = response.finish(Envelope { keep_alive: keeps, ..envelope });
        match send(self.shard, self.socket, &finished.head, &finished.parts).await {
            Ok(()) => {
                consumed.filter(|_| keeps).map_or(Next::Close, |body| Next::KeepAlive { consumed: head_length + body })
            }
            Err(ended) => self.cut(ended),
        }
    }

    /// The answer as a value: no byte of it has been sent yet.
    async fn answer(&mut self) -> Result<Response<Film>, Reject> {
        let Exchange { shard, request, .. } = *self;
        let services = &shard.state.services;
        let now = shard.now();

        let route = route::resolve(request.method, &request.target)?; // 404, 405
        let claims = match carriers::token(request, route.carriers())? {
            Some(token) if route.need() != crate::auth::Need::Public => {
                Some(services.signer.verify(&token, now.seconds().unsigned_abs())?) // 401
            }
            Some(_) | None => None,
        };
        let caller = match &claims {
            Some(claims) => Some(services.sessions.caller(claims, now).await?), // 401
            None => None,
        };
        let is_loopback = self.peer.is_loopback() && !request.fields.is_forwarded;
        let grant = route.need().judge(caller, is_loopback)?; // 401, 403

        match route {
            Route::StreamPath(path) => {
                stream::answer(&services.library, shard.pump.engine, Wanted::Path(path), request, now).await
            }
            Route::StreamId(id) => {
                stream::answer(&services.library, shard.pump.engine, Wanted::Id(id), request, now).await
            }
            Route::Health(probe) => Ok(api::health::answer(services, probe).await),
            Route::Metrics => api::metrics::answer(services),
            Route::Login => {
                let body = self.body.json(request, self.socket, &shard.pump.patience).await?; // 411, 413, 415, 408
                api::auth::login(services, &body, now).await
            }
            Route::Me => api::auth::me(services, &grant).await,
            Route::Videos => api::videos::list(services, &request.target),
            Route::Video(id) => api::videos::get(services, id),
            Route::Options(allow) => Ok(Response::empty(204).field("Allow", allow)),
        }
    }

    /// The answer to a request that is refused. The log has it under the id that the client is given.
    fn refuse(&self, reject: &Reject) -> Response<Film> {
        metrics::add(&self.shard.pump.counters.rejects, 1);
        let request_id = Uuid::new_v4().to_string();
        let (status, reason, path) = (reject.status(), reject.reason(), &*self.request.target.path);
        if status >= 500 {
            tracing::warn!(request_id, status, reason, path, client_ip = %self.peer, "request failed");
        } else {
            tracing::debug!(request_id, status, reason, path, client_ip = %self.peer, "request refused");
        }
        reject.response(&request_id)
    }

    /// Notes why a response did not reach its end.
    fn cut(&self, ended: Ended) -> Next {
        let counters = &self.shard.pump.counters;
        let path = &*self.request.target.path;
        match ended {
            Ended::Gone => tracing::debug!(path, client_ip = %self.peer, "client went away"),
            Ended::Stalled => {
                metrics::add(&counters.stalled, 1);
                tracing::info!(path, client_ip = %self.peer, "client stalled");
            }
            Ended::Truncated => {
                metrics::add(&counters.truncated, 1);
                tracing::warn!(path, client_ip = %self.peer, "film became shorter while it was sent");
            }
            Ended::Disk(error) => {
                metrics::add(&counters.faults, 1);
                tracing::error!(path, client_ip = %self.peer, error = %error, "film could not be read");
            }
        }
        Next::Reset
    }
}

/// Sends a head and its parts.
async fn send(shard: &Shard, socket: &TcpStream, head: &[u8], parts: &[Part<Film>]) -> Result<(), Ended> {
    let pump = &shard.pump;
    match parts {
        [] => transfer::send_bytes(socket, head, Follow::Nothing, &pump.patience).await,
        [Part::Extent { file, extent }] => {
            let _open = Open::new(&pump.counters.open_transfers);
            Transfer::new(file, *extent).run(socket, head, pump).await
        }
        parts => {
            transfer::send_bytes(socket, head, Follow::Body, &pump.patience).await?;
            for (index, part) in parts.iter().enumerate() {
                match part {
                    Part::Bytes(bytes) => {
                        let follow = if index + 1 < parts.len() { Follow::Body } else { Follow::Nothing };
                        transfer::send_bytes(socket, bytes, follow, &pump.patience).await?;
                    }
                    Part::Extent { file, extent } => {
                        let _open = Open::new(&pump.counters.open_transfers);
                        Transfer::new(file, *extent).run(socket, &[], pump).await?;
                    }
                }
            }
            Ok(())
        }
    }
}
