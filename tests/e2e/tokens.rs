//! Who may watch: a valid session token and nothing else, in the places where it may stand.

use std::fs;

use serde_json::{Value, json};

use crate::support::client::{self, Answer};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, url_path};

/// Routes that need a token, each with whether the token may stand in the query.
fn guarded() -> Vec<(String, bool)> {
    vec![
        (url_path(BIG_FILM), true),
        (format!("/stream/video/{BIG_FILM}"), true),
        ("/api/videos".to_owned(), false),
        ("/api/auth/me".to_owned(), false),
    ]
}

/// Asks for a small piece, so that a success costs nothing.
fn ask(daemon: &Daemon, path: &str, authorization: Option<&str>) -> Answer {
    let mut fields = vec![("Range", "bytes=0-9")];
    fields.extend(authorization.map(|value| ("Authorization", value)));
    client::fetch(daemon.address, "GET", path, &fields)
}

fn is_unauthorized(answer: &Answer, case: &str) {
    assert_eq!(answer.head.status, 401, "{case}: {:?}", answer.head);
    answer.is_problem(401);
    let challenge = answer.head.field("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("Bearer"), "{case}: {challenge}");
}

/// Goal: whoever replaces the signing key signs nobody out: what the key before has signed is good for a day, over every
/// restart, also what `reelway token` made; new sign-ins get the new key.
#[test]
fn a_replaced_key_signs_nobody_out() {
    let home = Home::new(&films::folder()).set("REELWAY_SESSIONS__MAX_PER_USER", "100");
    let mut daemon = home.start();
    let before = daemon.token.clone();
    let kid = |token: &str| token.split('.').next().unwrap().to_owned();
    daemon.stop();
    std::fs::remove_file(home.state().join("jwt.key")).unwrap();
    for _ in 0..2 {
        let mut daemon = home.start();
        assert_ne!(kid(&before), kid(&daemon.token));
        for token in [&before, &daemon.token] {
            let bearer = format!("Bearer {token}");
            let answer = client::fetch(daemon.address, "GET", "/api/auth/me", &[("Authorization", &bearer)]);
            assert_eq!(answer.head.status, 200);
        }
        let made = home.run(&["token", USER], "").succeeded().text().trim().to_owned();
        daemon.keep_secret(&made);
        assert_eq!(kid(&made), kid(&daemon.token));
        daemon.stop();
    }
    std::fs::remove_file(home.state().join("jwt.previous")).unwrap();
    std::fs::remove_file(home.state().join("jwt.key")).unwrap();
    let daemon = home.start();
    let bearer = format!("Bearer {before}");
    let answer = client::fetch(daemon.address, "GET", "/api/auth/me", &[("Authorization", &bearer)]);
    answer.is_problem(401);
}

/// Goal: without a token, or with one that is none, every guarded route is 401 in the form of RFC 9457.
#[test]
fn no_token_or_nonsense_is_401() {
    let daemon = Home::new(&films::folder()).start();
    for (path, _) in guarded() {
        let scheme_only = "Bearer ";
        for authorization in [None, Some("Bearer nonsense"), Some(scheme_only), Some("Bearer a.b.c"), Some("Digest x")]
        {
            let case = format!("{path} with {authorization:?}");
            is_unauthorized(&ask(&daemon, &path, authorization), &case);
        }
        let with = ask(&daemon, &path, Some(&daemon.bearer()));
        assert!(with.head.status < 300, "{path}: {:?}", with.head);
    }
}

/// Goal: a session token is accepted in the query on media routes only, where players have no other place for it.
#[test]
fn a_token_in_the_query_is_for_media_only() {
    let daemon = Home::new(&films::folder()).start();
    for (path, is_media) in guarded() {
        let answer = ask(&daemon, &format!("{path}?token={}", daemon.token), None);
        if is_media {
            assert_eq!(answer.head.status, 206, "{path}: {:?}", answer.head);
        } else {
            is_unauthorized(&answer, &path);
        }
    }
}

/// Goal: every way in which a token can be almost right is 401; the same token unchanged is accepted.
#[test]
fn a_token_that_is_almost_right_is_401() {
    let home = Home::new(&films::folder());
    let daemon = home.start();
    let key = signing_key(&home);
    let (header, claims) = parts_of(&daemon.token);
    let now = jsonwebtoken::get_current_timestamp();
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let mut foreign_header = header.clone();
    foreign_header["jku"] = json!("https://example.org/keys");
    let mut unsigned_header = header.clone();
    unsigned_header["alg"] = json!("none");
    let mut expired = with("iat", json!(now - 7200));
    expired["exp"] = json!(now - 3600);
    let nobody = format!("{}.0", uuid::Uuid::from_u128(7));
    let unsigned = format!("{}.{}.", base64url(&unsigned_header), base64url(&claims));
    let cases = [
        ("expired", signed(&header, &expired, &key)),
        ("too long a life", signed(&header, &with("exp", json!(now + 40 * 3600)), &key)),
        ("no such session", signed(&header, &with("session_id", json!(nobody)), &key)),
        ("another user", signed(&header, &with("sub", json!(uuid::Uuid::from_u128(9))), &key)),
        ("another key", signed(&header, &claims, &[7; 32])),
        ("a foreign header field", signed(&foreign_header, &claims, &key)),
        ("unsigned", unsigned),
    ];
    for (case, token) in cases {
        daemon.keep_secret(&token);
        for (path, _) in guarded() {
            is_unauthorized(&ask(&daemon, &path, Some(&format!("Bearer {token}"))), case);
        }
    }
    // The tools above sign as the daemon does: what they make of unchanged parts is accepted.
    let again = signed(&header, &claims, &key);
    daemon.keep_secret(&again);
    let accepted = ask(&daemon, "/api/videos", Some(&format!("Bearer {again}")));
    assert_eq!(accepted.head.status, 200, "{:?}", accepted.head);
}

/// Goal: an unknown name and a wrong password are told apart by nothing in the answer.
#[test]
fn a_wrong_password_and_an_unknown_name_look_alike() {
    let daemon = Home::new(&films::folder()).start();
    let attempt = |username: &str, password: &str| {
        daemon.keep_secret(password);
        let credentials = json!({"username": username, "password": password});
        let answer = client::post(daemon.address, "/api/auth/login", &credentials);
        answer.is_problem(401);
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("requestId");
        problem
    };
    let wrong = attempt(USER, "this-is-not-it-93");
    let unknown = attempt("nobody-of-this-name", "this-is-not-it-93");
    assert_eq!(wrong, unknown);
}

/// Goal: signing in gives what spec/API.md says, and the token shows its owner.
#[test]
fn login_gives_a_token_of_its_owner() {
    let daemon = Home::new(&films::folder()).start();
    let credentials = json!({"username": USER, "password": PASSWORD, "device": "tv"});
    let answer = client::post(daemon.address, "/api/auth/login", &credentials);
    assert_eq!(answer.head.status, 200);
    assert_eq!(answer.head.field("cache-control"), Some("no-store"));
    let body = answer.json();
    let token = body["token"].as_str().unwrap();
    daemon.keep_secret(token);
    assert_eq!(body["tokenType"], "Bearer");
    assert_eq!(body["user"]["username"], USER);
    assert_eq!(body["user"]["role"], "admin");
    assert!(body["expiresAt"].is_string() && body["sessionId"].is_string(), "no times or session");
    let me = ask(&daemon, "/api/auth/me", Some(&format!("Bearer {token}")));
    assert_eq!(me.json()["username"], USER);
    let (header, claims) = parts_of(token);
    let names = |value: &Value| {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names(&header), ["alg", "kid", "typ"]);
    assert_eq!(names(&claims), ["exp", "iat", "preferences", "role", "session_id", "sub", "username"]);
}

/// The secret the daemon made at its first start: the bytes of the file without a trailing newline.
fn signing_key(home: &Home) -> Vec<u8> {
    let mut bytes = fs::read(home.state().join("jwt.key")).unwrap();
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    assert!(bytes.len() >= 32, "the key has {} bytes", bytes.len());
    bytes
}

/// Header and claims of a token, unverified.
fn parts_of(token: &str) -> (Value, Value) {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap();
    (serde_json::to_value(header).unwrap(), claims.claims)
}

/// A token of these parts, signed with HS256, whatever they say.
fn signed(header: &Value, claims: &Value, key: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(key);
    let algorithm = jsonwebtoken::Algorithm::HS256;
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// RFC 4648 §5 without padding, of the JSON text.
fn base64url(value: &Value) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in value.to_string().as_bytes().chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..=group.len() as u32 {
            let digit = bits >> (18 - 6 * index) & 63;
            text.push(char::from(ALPHABET[digit as usize]));
        }
    }
    text
}
