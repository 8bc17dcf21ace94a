//! Every route with every role, made of the daemon's own table: no route can be forgotten here.

use reelway::auth::Need;
use reelway::auth::carriers::Carriers;
use reelway::http::request::Method;
use reelway::route::{Row, TABLE};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::client::{self, Answer};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::Pattern;
use crate::support::scratch;

const OTHER_PASSWORD: &str = "a-second-long-one-88";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Nobody,
    /// Whoever has a link to the film.
    Guest,
    User,
    Admin,
}

struct Scene {
    daemon: Daemon,
    video_id: String,
    _films: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let films = tempfile::tempdir_in(scratch()).unwrap();
        Pattern::of("film.mp4").write(&films.path().join("film.mp4"), 5000);
        // Every call signs in anew, and none of these may end the session of another.
        let home = Home::new(films.path()).set("REELWAY_SESSIONS__MAX_PER_USER", "1000");
        home.run(&["user", "add", "bob", "--password-stdin"], &format!("{OTHER_PASSWORD}\n")).succeeded();
        let daemon = home.start();
        let list = daemon.fetch("GET", "/api/videos", &[]).json();
        let video_id = list["items"][0]["id"].as_str().unwrap().to_owned();
        Scene { daemon, video_id, _films: films }
    }

    /// A fresh token of this role, and the id of its session: what one call ends, the next one does not miss.
    fn caller(&self, role: Role) -> Option<(String, String)> {
        let (name, password) = match role {
            Role::Nobody | Role::Guest => return None,
            Role::User => ("bob", OTHER_PASSWORD),
            Role::Admin => (USER, PASSWORD),
        };
        let token = self.daemon.sign_in(name, password);
        let fields = [("Authorization", format!("Bearer {token}"))];
        let session = ask(&self.daemon, "GET", "/api/session", &fields, None).json();
        Some((token, session["sessionId"].as_str().unwrap().to_owned()))
    }

    /// The token of a link to the film.
    fn link(&self) -> String {
        let fields = [("Authorization", format!("Bearer {}", self.daemon.sign_in(USER, PASSWORD)))];
        let answer = ask(&self.daemon, "POST", &format!("/api/videos/{}/link", self.video_id), &fields, None);
        assert_eq!(answer.head.status, 201, "{}", answer.json());
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        self.daemon.keep_secret(&token);
        token
    }

    /// A stream that was begun with this token.
    fn stream(&self, token: &str) -> String {
        let fields = [("Authorization", format!("Bearer {token}"))];
        assert_eq!(ask(&self.daemon, "GET", "/stream/video/film.mp4", &fields, None).head.status, 200);
        let mine = ask(&self.daemon, "GET", "/api/session", &fields, None).json();
        assert_eq!(mine["activity"]["streamsCount"], 1, "{mine}");
        let streams = ask(&self.daemon, "GET", "/api/streams", &fields, None).json();
        let own = streams["items"].as_array().unwrap().iter().rfind(|stream| stream["userId"] == mine["userId"]);
        own.unwrap()["streamId"].as_str().unwrap().to_owned()
    }

    /// Somebody who may be changed and removed.
    fn victim(&self) -> String {
        let name = format!("victim-{}", Uuid::new_v4().simple());
        let body = json!({"username": name, "password": "nobody-will-ask-77"});
        let token = self.daemon.sign_in(USER, PASSWORD);
        let fields = [("Authorization", format!("Bearer {token}"))];
        let answer = ask(&self.daemon, "POST", "/api/users", &fields, Some(&body));
        assert_eq!(answer.head.status, 201, "{}", answer.json());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The path of a row with objects that are there.
    fn path(&self, row: &Row, caller: Option<&(String, String)>) -> String {
        let inner = row.path.trim_start_matches('[').trim_end_matches(']');
        let pieces: Vec<&str> = inner.split(',').map(str::trim).filter(|piece| !piece.is_empty()).collect();
        let mut path = String::new();
        for (index, piece) in pieces.iter().enumerate() {
            path.push('/');
            match *piece {
                "_" => path.push_str("film.mp4"),
                ".." => _ = path.pop(),
                "id" => path.push_str(&match pieces[index - 1] {
                    "\"users\"" => self.victim(),
                    "\"videos\"" | "\"stream\"" => self.video_id.clone(),
                    "\"sessions\"" => caller.map_or(Uuid::nil().to_string(), |(_, session)| session.clone()),
                    "\"streams\"" => caller.map_or(Uuid::nil().to_string(), |(token, _)| self.stream(token)),
                    other => panic!("what is the id behind {other} of {}?", row.path),
                }),
                literal => path.push_str(literal.trim_matches('"')),
            }
        }
        path
    }
}

fn ask(daemon: &Daemon, method: &str, path: &str, fields: &[(&str, String)], body: Option<&Value>) -> Answer {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut client = client::Client::connect(daemon.address);
    match body {
        Some(body) => client.fetch_json(method, path, &fields, body),
        None => client.fetch(method, path, &fields),
    }
}

/// A body that the row accepts, from this role.
fn body(row: &Row, role: Role) -> Option<Value> {
    let (password, name) = match role {
        Role::Admin => (PASSWORD, USER),
        Role::Nobody | Role::Guest | Role::User => (OTHER_PASSWORD, "bob"),
    };
    let fresh = || format!("new-{}", Uuid::new_v4().simple());
    match (row.method, row.path) {
        (Method::Get | Method::Delete, _) => None,
        (_, path) if path.contains("admin") => Some(json!({"username": name})),
        (_, path) if path.contains("login") => Some(json!({"username": name, "password": password})),
        (_, path) if path.contains("password") => Some(json!({"current": password, "new": password})),
        (_, path) if path.contains("preferences") => Some(json!({"quality": "720p"})),
        (Method::Post, path) if path.ends_with("\"users\"]") => {
            Some(json!({"username": fresh(), "password": "nobody-will-ask-77"}))
        }
        (Method::Patch, _) => Some(json!({"email": null})),
        _ => None,
    }
}

/// Goal: each row of the daemon's table answers each role as its need says: nobody is told to sign in, a user is forbidden
/// what is an administrator's, and whoever may gets an answer of success.
#[test]
fn every_row_of_the_table_asks_of_its_caller_what_it_says() {
    let scene = Scene::new();
    for row in TABLE {
        for role in [Role::Nobody, Role::Guest, Role::User, Role::Admin] {
            let caller = scene.caller(role);
            let mut path = scene.path(row, caller.as_ref());
            let link = scene.link();
            if role == Role::Guest {
                path = format!("{path}?token={link}");
            }
            if row.carriers == Carriers::Path {
                let token = if role == Role::Nobody { "0123456789abcdef0123456789abcdef" } else { &link };
                path = format!("/s/{token}/film.mp4");
            }
            // Seen from afar: a program on this machine may read the counters without being anybody.
            let mut fields = vec![("X-Forwarded-For", "203.0.113.9".to_owned())];
            fields.extend(caller.map(|(token, _)| ("Authorization", format!("Bearer {token}"))));
            let answer = ask(&scene.daemon, row.method.as_str(), &path, &fields, body(row, role).as_ref());
            let status = answer.head.status;
            let place = format!(
                "{} {path} as {role:?}: {status} {}",
                row.method.as_str(),
                String::from_utf8_lossy(&answer.body)
            );
            match (row.need, role) {
                // At the admin socket only: tests/e2e/admin.rs.
                (Need::Machine, _) => answer.is_problem(403),
                (Need::Public, _)
                | (Need::User | Need::UserOrGuest, Role::User)
                | (Need::UserOrGuest, Role::Guest)
                | (_, Role::Admin) => {
                    assert!((200..300).contains(&status), "{place}");
                }
                // Where a link is looked for, it is known and not enough; elsewhere it is as good as nothing.
                (Need::User, Role::Guest) if row.carriers == Carriers::FieldsOrQuery => answer.is_problem(403),
                (Need::User | Need::UserOrGuest | Need::Admin | Need::AdminOrLoopback, Role::Nobody | Role::Guest) => {
                    answer.is_problem(401);
                    assert!(answer.head.field("www-authenticate").is_some(), "{place}");
                }
                (Need::Admin | Need::AdminOrLoopback, Role::User) => answer.is_problem(403),
            }
        }
    }
}
