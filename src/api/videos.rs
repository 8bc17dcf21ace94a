//! `GET /api/videos`, `GET /api/videos/{id}`: answered from the index, which is in memory.

use serde::Serialize;
use uuid::Uuid;

use crate::api::{Page, Services, bad, page_cursor, page_limit};
use crate::auth::Grant;
use crate::http::media_type;
use crate::http::reject::Reject;
use crate::http::response::Response;
use crate::http::target::{self, Target};
use crate::library::Library;
use crate::library::index::{Sort, Video};
use crate::store::Timestamp;

/// A video as the contract shows one. What only the file's inside could tell is null, and its lists are empty.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VideoView<'a> {
    id: Uuid,
    title: &'a str,
    filename: &'a str,
    path: String,
    size: u64,
    duration: Option<f64>,
    resolution: Option<&'a str>,
    format: String,
    added_at: Timestamp,
    available: bool,
    tracks: [(); 0],
    renditions: [(); 0],
    subtitles: [(); 0],
    stream_url: String,
    thumbnail_url: Option<&'a str>,
    views: u64,
    progress: Option<()>,
    rating: Option<u8>,
}

impl<'a> VideoView<'a> {
    fn new(library: &Library, video: &'a Video) -> VideoView<'a> {
        let root = library.roots().get(video.root);
        let path = format!("{}/{}", root.map_or("", |root| root.name.as_str()), video.path);
        VideoView {
            id: video.id,
            title: &video.title,
            filename: video.filename(),
            size: video.size,
            duration: None,
            resolution: None,
            format: media_type::extension(&video.path).unwrap_or_default().to_ascii_lowercase(),
            added_at: video.added_at,
            available: true,
            tracks: [],
            renditions: [],
            subtitles: [],
            stream_url: format!("/api/stream/video/{}", target::encode_path(&path)),
            thumbnail_url: None,
            views: 0,
            progress: None,
            rating: None,
            path,
        }
    }
}

/// What a list was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    query: String,
    sort: Sort,
    is_descending: bool,
    limit: usize,
    cursor: Option<Uuid>,
}

/// A page of the videos.
///
/// # Errors
/// 400 for a limit, order or cursor that is none.
pub fn list<F>(services: &Services, target: &Target<'_>) -> Result<Response<F>, Reject> {
    let wish = Wish::of(target)?;
    let index = services.settings().library.index();
    let found = index.search(&wish.query, wish.sort, wish.is_descending);
    let start = match wish.cursor {
        None => 0,
        Some(last) => {
            let position = found.iter().position(|video| video.id == last);
            position.ok_or_else(|| bad("cursor", "is not one of this list; begin again without it"))? + 1
        }
    };
    let page = &found[start..found.len().min(start + wish.limit)];
    let has_more = start + page.len() < found.len();
    let next = page.last().filter(|_| has_more).map(|video| video.id.to_string());
    let items = page.iter().map(|video| VideoView::new(&services.settings().library, video)).collect();
    Ok(Response::json(200, &Page { items, next }))
}

/// One video.
///
/// # Errors
/// 404 when there is none of this id, or none that the caller may see.
pub fn get<F>(services: &Services, grant: &Grant, id: Uuid) -> Result<Response<F>, Reject> {
    if grant.only_video().is_some_and(|only| only != id) {
        return Err(Reject::NotFound);
    }
    let index = services.settings().library.index();
    let video = index.by_id(id).ok_or(Reject::NotFound)?;
    Ok(Response::json(200, &VideoView::new(&services.settings().library, video)))
}

impl Wish {
    fn of(target: &Target<'_>) -> Result<Wish, Reject> {
        let sort = match target.query_value("sort").as_deref() {
            None | Some("title") => Sort::Title,
            Some("addedAt") => Sort::AddedAt,
            Some(_) => return Err(bad("sort", "is title or addedAt")),
        };
        let is_descending = match target.query_value("order").as_deref() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(bad("order", "is asc or desc")),
        };
        let limit = page_limit(target)?;
        let query = target.query_value("query").unwrap_or_default().into_owned();
        let cursor = page_cursor(target)?;
        Ok(Wish { query, sort, is_descending, limit, cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{Parsed, parse};

    fn wish(query: &str) -> Result<Wish, u16> {
        let head = format!("GET /api/videos{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Ok(Parsed::Complete { request, .. }) = parse(head.as_bytes()) else { panic!("no request: {query}") };
        Wish::of(&request.target).map_err(|no| no.status())
    }

    #[test]
    fn a_list_is_asked_for_as_the_contract_says() {
        let plain = wish("").unwrap();
        assert_eq!((plain.limit, plain.sort, plain.is_descending), (50, Sort::Title, false));
        let full = wish("?query=a+b%20c&sort=addedAt&order=desc&limit=200").unwrap();
        assert_eq!((full.query.as_str(), full.limit, full.is_descending), ("a b c", 200, true));
        for refused in ["?limit=0", "?limit=201", "?limit=x", "?sort=colour", "?order=up", "?cursor=x"] {
            assert_eq!(wish(refused).map(|_| ()), Err(400), "{refused}");
        }
    }
}
