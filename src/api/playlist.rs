//! `GET /api/library.m3u8`: all films as an extended M3U, so that VLC, mpv and Kodi just play.
//!
//! Each entry has a token of its own, which opens this one film for as long as the caller's session lives.

use std::fmt::Write;

use uuid::Uuid;

use crate::api::auth::with_row;
use crate::api::{Services, absolute};
use crate::auth::Grant;
use crate::auth::token::MediaClaims;
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::http::target;
use crate::library::index::Sort;
use crate::limits;
use crate::log::messages;
use crate::store::{Fault, Timestamp};

/// The playlist of the whole library, by title.
///
/// # Errors
/// 401 when the session is over by now, 403 for a caller by name and password, whose session no token can be bound to, 503
/// when the store is busy.
pub async fn library<F>(
    services: &Services,
    grant: &Grant,
    host: Option<&str>,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let account = with_row(grant)?;
    let row = services.store.session(account.session_id).await.map_err(Fault::into_reject)?;
    let expires_at = row.map(|(session, _)| session.expires_at).ok_or(Reject::NotFound)?;
    let index = services.settings().library.index();
    let mut text = "#EXTM3U\n".to_owned();
    let videos = index.search("", Sort::Title, false);
    for (count, video) in videos.iter().take(limits::PLAYLIST_ENTRIES_MAX).enumerate() {
        if count % limits::PLAYLIST_ENTRIES_A_TURN == limits::PLAYLIST_ENTRIES_A_TURN - 1 {
            services.engine.turn().await;
        }
        let token = token(services, account.user_id, account.session_id, video.id, (now, expires_at))?;
        let url = absolute(host, format_args!("/s/{token}/{}", target::encode_path(video.filename())));
        // A title ends with its line.
        let title: String = video.title.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        // A text takes all that is written to it.
        let _ = write!(text, "#EXTINF:-1,{title}\n{url}\n");
    }
    Ok(Response::text(200, "audio/x-mpegurl; charset=utf-8", text.into_bytes()))
}

/// A token for one film, which ends with the session.
fn token(
    services: &Services,
    sub: Uuid,
    session: Uuid,
    video: Uuid,
    (now, expires_at): (Timestamp, Timestamp),
) -> Result<String, Reject> {
    let (iat, exp) = (now.seconds().unsigned_abs(), expires_at.seconds().unsigned_abs());
    services.settings().signer.sign_media(&MediaClaims { sub, session, video, iat, exp }).map_err(|error| {
        tracing::error!(name: messages::TOKEN_NOT_SIGNED, %error, "token could not be signed");
        Reject::Internal
    })
}
