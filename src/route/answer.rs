//! Who answers what: each route with its handler. Films are not here: they are sent, and need a connection.

use crate::api::{self, Asking, Services};
use crate::auth::Grant;
use crate::http::reject::Reject;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::route::Route;
use crate::store::Timestamp;

/// The answer of the route that `request` names, to a caller who may take it.
///
/// # Errors
/// What the handler refuses; 404 for a film.
pub async fn answer<F>(
    services: &Services,
    route: &Route<'_>,
    grant: &Grant,
    request: &Request<'_>,
    body: &[u8],
    asking: Asking,
    now: Timestamp,
) -> Result<Response<F>, Reject> {
    let (target, host) = (&request.target, request.fields.host);
    match *route {
        Route::StreamPath(_) | Route::StreamId(_) | Route::Shared => Err(Reject::NotFound),
        Route::Health(probe) => Ok(api::health::answer(services, probe).await),
        Route::Metrics => api::metrics::answer(services),
        Route::Login => api::auth::login(services, body, asking, now).await,
        Route::Logout => api::auth::logout(services, grant, asking, now).await,
        Route::Refresh => api::auth::refresh(services, grant, asking, now).await,
        Route::Me => api::auth::me(services, grant).await,
        Route::MakeToken => api::auth::make_token(services, body, asking, now).await,
        Route::ChangeMe => api::users::change_own(services, grant, body, asking, now).await,
        Route::ChangePassword => api::users::change_password(services, grant, body, asking, now).await,
        Route::Preferences => api::users::preferences(services, grant).await,
        Route::SetPreferences => api::users::set_preferences(services, grant, body, asking, now).await,
        Route::Users => api::users::list(services, target).await,
        Route::AddUser => api::users::add(services, grant, body, asking, now).await,
        Route::User(id) => api::users::one(services, id).await,
        Route::ChangeUser(id) => api::users::change(services, grant, id, body, asking, now).await,
        Route::RemoveUser(id) => api::users::remove(services, grant, id, asking, now).await,
        Route::Session => api::sessions::own(services, grant, now).await,
        Route::Sessions => api::sessions::list(services, grant, target, now).await,
        Route::EndSessions => api::sessions::end_all(services, grant, asking, now).await,
        Route::SessionOf(id) => api::sessions::one(services, grant, id, now).await,
        Route::EndSession(id) => api::sessions::end_one(services, grant, id, asking, now).await,
        Route::Streams => api::streams::list(services, grant, target),
        Route::StopStreams => api::streams::stop_all(services, grant, asking, now),
        Route::Stream(id) => api::streams::one(services, grant, id),
        Route::StopStream(id) => api::streams::stop(services, grant, id, asking, now),
        Route::Videos => api::videos::list(services, target),
        Route::Video(id) => api::videos::get(services, grant, id),
        Route::MakeLink(id) => api::links::make(services, grant, id, body, host, asking, now).await,
        Route::LibraryPlaylist => api::playlist::library(services, grant, host, now).await,
        Route::ScanLibrary => api::library::scan(services, now),
        Route::LibraryStatus => Ok(api::library::status(services)),
        Route::Configuration => Ok(api::configuration::show(services)),
        Route::Audit => api::audit::list(services, target).await,
        Route::Options(allow) => Ok(Response::empty(204).field("Allow", allow)),
    }
}
