//! The names and kinds in every JSON answer, at every depth: those of spec/API.md and no others. Clients are written
//! against them.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::client::{self, Client};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, url_path};

fn start() -> Daemon {
    Home::new(&films::folder()).start()
}

/// Checks that `actual` has the shape of `example`: the same names, and values of the same kind; a time where there is
/// a time, an id where there is an id. A null in the example stands for what may be unknown, the first element of a list
/// for all of them.
fn has_shape(actual: &Value, example: &Value, place: &str) {
    match (example, actual) {
        (Value::Null, _) | (Value::Bool(_), Value::Bool(_)) | (Value::Number(_), Value::Number(_)) => {}
        (Value::Object(expected), Value::Object(fields)) => {
            let names = |object: &serde_json::Map<String, Value>| {
                let mut names: Vec<String> = object.keys().cloned().collect();
                names.sort();
                names
            };
            assert_eq!(names(fields), names(expected), "names in {place}");
            for (name, example) in expected {
                has_shape(&fields[name], example, &format!("{place}.{name}"));
            }
        }
        (Value::Array(examples), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                has_shape(item, &examples[0], &format!("{place}[{index}]"));
            }
        }
        (Value::String(example), Value::String(text)) => {
            let is_time = |text: &str| text.ends_with('Z') && OffsetDateTime::parse(text, &Rfc3339).is_ok();
            assert_eq!(is_time(text), is_time(example), "{place} is {text}, a time in UTC is {example}");
            let is_id = |text: &str| uuid::Uuid::parse_str(text).is_ok();
            assert_eq!(is_id(text), is_id(example), "{place} is {text}, an id is {example}");
        }
        _ => panic!("{place} is {actual}, which is not of the kind of {example}"),
    }
}

const ID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const TIME: &str = "2026-01-31T12:00:00Z";

fn user() -> Value {
    json!({
        "id": ID, "username": "ann", "email": null, "role": "user", "isActive": true,
        "preferences": {"quality": "auto", "maxBandwidth": null, "deviceType": null},
        "createdAt": TIME, "lastLogin": TIME,
    })
}

/// What only the inside of the file could tell may be null, and what nobody has done yet.
fn video() -> Value {
    let track = json!({
        "id": 1, "kind": "video", "codec": "avc1.640028", "width": 1920, "height": 1080, "frameRate": 25.0,
        "language": null,
    });
    json!({
        "id": ID, "title": "Film", "filename": "film.mp4", "path": "films/film.mp4", "size": 1, "duration": null,
        "resolution": null, "format": "mp4", "addedAt": TIME, "available": true, "tracks": [track],
        "renditions": [{"quality": "720p", "path": "a path", "size": 1}],
        "subtitles": [{"track": "en", "language": "en", "title": null}],
        "streamUrl": "a path", "thumbnailUrl": null, "views": 3, "progress": null, "rating": null,
    })
}

/// RFC 9457 with our id of the request.
fn problem() -> Value {
    json!({"type": "a URI", "title": "a phrase", "status": 404, "detail": "a sentence", "requestId": ID})
}

/// Goal: the check above notices a missing name, a foreign one, another kind and another form, at any depth.
#[test]
fn the_check_of_shapes_notices_what_is_wrong() {
    has_shape(&user(), &user(), "user");
    let changes: [(&str, Value); 6] = [
        ("id", json!("no id")),
        ("createdAt", json!("2026-01-31T12:00:00+01:00")),
        ("isActive", json!("true")),
        ("username", Value::Null),
        ("preferences", json!({"quality": "auto", "maxBandwidth": null})),
        ("surname", json!("a name nobody knows")),
    ];
    for (name, value) in changes {
        let mut changed = user();
        changed[name] = value;
        let found = std::panic::catch_unwind(|| has_shape(&changed, &user(), "user"));
        assert!(found.is_err(), "not noticed: {changed}");
    }
    let found = std::panic::catch_unwind(|| has_shape(&json!([1, "two"]), &json!([1]), "list"));
    assert!(found.is_err(), "the second element was not looked at");
}

/// Goal: a sign-in and /api/auth/me show a user as the contract does.
#[test]
fn users_have_their_shape() {
    let daemon = start();
    let credentials = json!({"username": USER, "password": PASSWORD});
    let signed_in = client::post(daemon.address, "/api/auth/login", &credentials).json();
    daemon.keep_secret(signed_in["token"].as_str().unwrap());
    let example =
        json!({"token": "a token", "tokenType": "Bearer", "expiresAt": TIME, "sessionId": ID, "user": user()});
    has_shape(&signed_in, &example, "login");
    has_shape(&daemon.fetch("GET", "/api/auth/me", &[]).json(), &user(), "me");
}

/// Goal: videos in a page and alone are shown as the contract does; a page names the next one, and the last none.
#[test]
fn videos_have_their_shape() {
    let daemon = start();
    let page = |cursor: &str| daemon.fetch("GET", &format!("/api/videos?limit=5{cursor}"), &[]).json();
    let first = page("");
    has_shape(&first, &json!({"items": [video()], "next": ID}), "the first page");
    assert_eq!(first["items"].as_array().map(Vec::len), Some(5));
    let last = page(&format!("&cursor={}", first["next"].as_str().unwrap()));
    has_shape(&last, &json!({"items": [video()], "next": null}), "the last page");
    assert_eq!((last["items"].as_array().map(Vec::len), &last["next"]), (Some(3), &Value::Null));
    let id = last["items"][0]["id"].as_str().unwrap();
    let one = daemon.fetch("GET", &format!("/api/videos/{id}"), &[]).json();
    has_shape(&one, &video(), "one video");
    assert_eq!(one, last["items"][0]);
}

/// Goal: a stream is shown as the contract does, in a page and alone, held to a pace and not.
#[test]
fn streams_have_their_shape() {
    let daemon = start();
    let example = |pace: Value| {
        json!({
            "streamId": ID, "userId": ID, "videoId": ID, "startTime": TIME, "bytesStreamed": 1, "rate": 1.5e6, "pace": pace,
            "deliveryRate": 1, "retransmits": 0, "position": null, "connections": 2, "client": "an address",
        })
    };
    assert_eq!(daemon.fetch("GET", &url_path(BIG_FILM), &[("Range", "bytes=0-9")]).head.status, 206);
    let page = daemon.fetch("GET", "/api/streams", &[]).json();
    has_shape(&page, &json!({"items": [example(Value::Null)], "next": null}), "the page");
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
    let bearer = daemon.bearer();
    let fields = [("Authorization", bearer.as_str())];
    let preferences = json!({"maxBandwidth": 8_000_000});
    Client::connect(daemon.address).fetch_json("PUT", "/api/users/me/preferences", &fields, &preferences);
    let id = page["items"][0]["streamId"].as_str().unwrap();
    let one = daemon.fetch("GET", &format!("/api/streams/{id}"), &[]).json();
    has_shape(&one, &example(json!(1)), "one stream");
    assert_eq!(one["pace"], 8_000_000, "it is in force when the answer is there");
}

/// Goal: /health and /health/ready show every part, with a detail where there is one; /health/live asks no part.
#[test]
fn health_has_its_shape() {
    let daemon = start();
    let part = json!({"status": "ok"});
    let parts = json!({"store": part, "library": part, "ring": part});
    let whole = json!({"status": "ok", "version": "0.1.0", "uptime": 1, "components": parts});
    for path in ["/health", "/health/ready"] {
        let mut health = client::fetch(daemon.address, "GET", path, &[]).json();
        for part in health["components"].as_object_mut().unwrap().values_mut() {
            let detail = part.as_object_mut().unwrap().remove("detail");
            assert!(detail.is_none_or(|detail| detail.is_string()), "{path}");
        }
        has_shape(&health, &whole, path);
    }
    let alive = client::fetch(daemon.address, "GET", "/health/live", &[]).json();
    has_shape(&alive, &json!({"status": "ok", "version": "0.1.0", "uptime": 1}), "/health/live");
}

/// Goal: every refusal has the five members of a problem and no other, whoever in the daemon says no.
#[test]
fn problems_have_their_shape() {
    let daemon = start();
    let film = url_path(BIG_FILM);
    let any = ("Accept", "*/*");
    let cases = [
        (400, "GET", "/api/videos?limit=0", any),
        (401, "GET", "/api/videos", ("Authorization", "Bearer nonsense")),
        (404, "GET", "/api/nothing", any),
        (405, "DELETE", "/health", any),
        (411, "POST", "/api/auth/login", any),
        (412, "GET", &film, ("If-Match", "\"another\"")),
        (416, "GET", &film, ("Range", "bytes=99999999999-")),
        (501, "BREW", "/health", any),
    ];
    for (status, method, path, field) in cases {
        let bearer = daemon.bearer();
        let mut all = vec![field];
        all.extend((field.0 != "Authorization").then_some(("Authorization", bearer.as_str())));
        let answer = Client::connect(daemon.address).fetch(method, path, &all);
        answer.is_problem(status);
        has_shape(&answer.json(), &problem(), &format!("{method} {path}"));
    }
}
