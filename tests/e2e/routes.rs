//! Every route, method and caller in one table: who gets what, and who is told what instead (spec/API.md).

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Answer, Client};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::Pattern;
use crate::support::scratch;

const CALLERS: [&str; 3] = ["nobody", "a user", "an administrator"];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const READ: &[&str] = &["GET", "HEAD", "OPTIONS"];
const POST: &[&str] = &["POST", "OPTIONS"];
/// No route: whatever the method, there is nothing.
const NONE: &[&str] = &[];

const PUBLIC: [u16; 3] = [200, 200, 200];
const USERS: [u16; 3] = [401, 200, 200];
const ADMINS: [u16; 3] = [401, 403, 200];
/// The route is there, and so is its guard, but not the object.
const MISSING: [u16; 3] = [401, 404, 404];

/// Seen from afar: a caller whom a proxy hands on is not one of this machine.
const PROXIED: &[(&str, &str)] = &[("X-Forwarded-For", "203.0.113.9")];

/// A path, the methods it has, and what they answer to nobody, a user and an administrator.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], [u16; 3]);

/// A daemon with one small film, the film's id, and the Authorization of each caller.
struct Scene {
    daemon: Daemon,
    video_id: String,
    callers: [Option<String>; 3],
    credentials: Value,
    _films: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let films = tempfile::tempdir_in(scratch()).unwrap();
        Pattern::of("film.mp4").write(&films.path().join("film.mp4"), 5000);
        // The table signs in by itself, and must not end the sessions it asks with.
        let home = Home::new(films.path()).set("REELWAY_SESSIONS__MAX_PER_USER", "1000");
        let words = ["user", "add", "bob", "--role", "user", "--password-stdin"];
        home.run(&words, "a-second-long-one-88\n").succeeded();
        let daemon = home.start();
        let token = daemon.sign_in("bob", "a-second-long-one-88");
        let list = daemon.fetch("GET", "/api/videos", &[]).json();
        let video_id = list["items"][0]["id"].as_str().unwrap().to_owned();
        let callers = [None, Some(format!("Bearer {token}")), Some(daemon.bearer())];
        let credentials = json!({"username": USER, "password": PASSWORD});
        Scene { daemon, video_id, callers, credentials, _films: films }
    }

    /// Checks a row for every method and caller, each caller on one connection: no answer may leave a byte too much.
    fn check(&self, (path, fields, methods, statuses): Row<'_>) {
        for ((name, caller), status) in CALLERS.iter().zip(&self.callers).zip(statuses) {
            let mut client = Client::connect(self.daemon.address);
            for method in METHODS {
                let mut all = fields.to_vec();
                all.extend(caller.as_deref().map(|value| ("Authorization", value)));
                let answer = match method {
                    "POST" | "PUT" | "PATCH" => client.fetch_json(method, path, &all, &self.credentials),
                    _ => client.fetch(method, path, &all),
                };
                let expected = match method {
                    _ if methods.is_empty() => 404,
                    "OPTIONS" => 204,
                    _ if methods.contains(&method) => status,
                    _ => 405,
                };
                let place = format!("{method} {path} as {name}");
                assert_eq!(answer.head.status, expected, "{place}: {:?}", answer.head);
                self.has_what_it_must(&answer, method, methods, &place);
            }
        }
    }

    /// The fields and the body that belong to a status.
    fn has_what_it_must(&self, answer: &Answer, method: &str, methods: &[&str], place: &str) {
        let status = answer.head.status;
        if status >= 400 && method != "HEAD" {
            answer.is_problem(status);
        }
        if status == 401 {
            let challenge = answer.head.field("www-authenticate").unwrap_or_default();
            assert!(challenge.contains("Bearer"), "{place}: WWW-Authenticate: {challenge}");
        }
        if status == 405 || status == 204 {
            assert_eq!(answer.head.field("allow"), Some(methods.join(", ").as_str()), "{place}");
        }
        if status == 200 && method == "POST" {
            self.daemon.keep_secret(answer.json()["token"].as_str().unwrap());
        }
    }
}

/// Goal: each route answers each method of each caller as the contract says: 200, 401, 403, 404 or 405, with what
/// belongs to it; HEAD like GET; what is not listed is 404 for everybody.
#[test]
fn every_route_answers_every_method_of_every_caller() {
    let scene = Scene::new();
    let id = scene.video_id.as_str();
    let (video, stream) = (format!("/api/videos/{id}"), format!("/api/stream/{id}"));
    let unknown = uuid::Uuid::from_u128(7);
    let (no_video, no_stream) = (format!("/api/videos/{unknown}"), format!("/api/stream/{unknown}"));
    let rows: &[Row<'_>] = &[
        ("/health", &[], READ, PUBLIC),
        ("/health/live", &[], READ, PUBLIC),
        ("/health/ready", &[], READ, PUBLIC),
        ("/metrics", &[], READ, PUBLIC),
        ("/metrics", PROXIED, READ, ADMINS),
        ("/api/auth/login", &[], POST, PUBLIC),
        ("/api/auth/me", &[], READ, USERS),
        ("/api/videos", &[], READ, USERS),
        (&video, &[], READ, USERS),
        (&no_video, &[], READ, MISSING),
        ("/api/stream/video/film.mp4", &[], READ, USERS),
        ("/stream/video/film.mp4", &[], READ, USERS),
        (&stream, &[], READ, USERS),
        ("/api/stream/video/missing.mp4", &[], READ, MISSING),
        (&no_stream, &[], READ, MISSING),
        ("/", &[], NONE, PUBLIC),
        ("/api", &[], NONE, PUBLIC),
        ("/api/nothing", &[], NONE, PUBLIC),
        ("/api/videos/not-an-id", &[], NONE, PUBLIC),
        ("/api/stream/video", &[], NONE, PUBLIC),
        ("/health/well", &[], NONE, PUBLIC),
        ("/HEALTH", &[], NONE, PUBLIC),
    ];
    rows.iter().for_each(|row| scene.check(*row));
}
