//! kill -9 in the middle of sign-ins, refreshes, sign-outs and changes of accounts: what was acknowledged holds, and what was
//! ended stays ended.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{self, Client};
use crate::support::daemon::Home;
use crate::support::dice::Dice;
use crate::support::{PATIENCE, films};

const BOB_PASSWORD: &str = "a-second-long-one-88";
/// Rounds in CI; REELWAY_KILL_ROUNDS asks for more.
const ROUNDS: u64 = 20;

/// What was acknowledged.
#[derive(Default)]
struct Promised {
    /// Tokens that live.
    alive: Vec<String>,
    /// Tokens that are dead.
    dead: Vec<String>,
    /// The number that bob's address has, at least.
    number: u64,
}

/// One request; `None` when the daemon was killed before it had answered.
fn ask(address: SocketAddr, method: &str, path: &str, token: &str, body: Option<&Value>) -> Option<(u16, Value)> {
    std::panic::catch_unwind(|| {
        let mut client = Client::try_connect(address).ok()?;
        client.wait_at_most(PATIENCE);
        let bearer = format!("Bearer {token}");
        let mut fields = vec![("Connection", "close".to_owned())];
        if !token.is_empty() {
            fields.push(("Authorization", bearer));
        }
        let text = body.map(ToString::to_string).unwrap_or_default();
        if body.is_some() {
            fields.push(("Content-Type", "application/json".to_owned()));
            fields.push(("Content-Length", text.len().to_string()));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        client.try_send(client::request(method, path, &fields) + &text).ok()?;
        let head = client.try_head().ok()?;
        let (rest, _) = client.rest();
        let is_whole = head.field("content-length").is_none_or(|length| length.parse() == Ok(rest.len()));
        is_whole.then(|| (head.status, serde_json::from_slice(&rest).unwrap_or(Value::Null)))
    })
    .ok()?
}

/// Signs in, refreshes and signs out until the daemon is gone, and notes what it promised.
fn sign_in_and_out(address: SocketAddr, promised: &Mutex<Promised>) {
    let token_of = |answer: &Value| answer["token"].as_str().unwrap().to_owned();
    for turn in 0.. {
        let credentials = json!({"username": "bob", "password": BOB_PASSWORD});
        let Some((200, answer)) = ask(address, "POST", "/api/auth/login", "", Some(&credentials)) else { return };
        let first = token_of(&answer);
        // Not promised while a request is under way that may end it.
        let Some((200, answer)) = ask(address, "POST", "/api/auth/refresh", &first, None) else { return };
        let second = token_of(&answer);
        promised.lock().unwrap().dead.push(first);
        if turn % 2 == 0 {
            let Some((204, _)) = ask(address, "POST", "/api/auth/logout", &second, None) else { return };
            promised.lock().unwrap().dead.push(second);
        } else {
            promised.lock().unwrap().alive.push(second);
        }
    }
}

/// Gives bob one address after the other until the daemon is gone.
fn change_addresses(address: SocketAddr, admin: &str, bob: &str, promised: &Mutex<Promised>) {
    loop {
        let number = promised.lock().unwrap().number + 1;
        let body = json!({"email": format!("{number}@example.org")});
        let Some((200, _)) = ask(address, "PATCH", bob, admin, Some(&body)) else { return };
        promised.lock().unwrap().number = number;
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let home = Home::new(&films::folder()).set("REELWAY_SESSIONS__MAX_PER_USER", "60000");
    home.run(&["user", "add", "bob", "--password-stdin"], &format!("{BOB_PASSWORD}\n")).succeeded();
    let rounds = std::env::var("REELWAY_KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let mut daemon = home.start();
    let admin = daemon.token.clone();
    let list = daemon.fetch("GET", "/api/users?query=bob", &[]).json();
    let bob = format!("/api/users/{}", list["items"][0]["id"].as_str().unwrap());
    let promised = Mutex::new(Promised::default());
    let mut dice = Dice::new(4);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let address = daemon.address;
        std::thread::scope(|scope| {
            scope.spawn(|| sign_in_and_out(address, &promised));
            scope.spawn(|| change_addresses(address, &admin, &bob, &promised));
            std::thread::sleep(Duration::from_millis(100 + dice.below(200)));
            daemon.signal(Signal::KILL);
        });
        daemon.wait(PATIENCE);
        let begun = Instant::now();
        daemon = home.start_signed_out();
        let promised = promised.lock().unwrap();
        let (status, user) = ask(daemon.address, "GET", &bob, &admin, None).unwrap();
        slowest = slowest.max(begun.elapsed());
        assert_eq!(status, 200, "round {round}: the administrator's own session is gone");
        let number: u64 = user["email"].as_str().map_or(0, |email| email.split('@').next().unwrap().parse().unwrap());
        assert!(number >= promised.number, "round {round}: {number} of {}", promised.number);
        // Those of this round and a few of the others: all of them every time would be the square.
        let last = |tokens: &[String]| tokens.iter().rev().take(20).cloned().collect::<Vec<_>>();
        for token in last(&promised.alive) {
            daemon.keep_secret(&token);
            assert_eq!(ask(daemon.address, "GET", "/api/auth/me", &token, None).unwrap().0, 200, "round {round}");
        }
        for token in last(&promised.dead) {
            daemon.keep_secret(&token);
            assert_eq!(ask(daemon.address, "GET", "/api/auth/me", &token, None).unwrap().0, 401, "round {round}");
        }
    }
    let promised = promised.into_inner().unwrap();
    println!(
        "{rounds} rounds: {} tokens lived on, {} stayed dead, {} changes held; serving again after {slowest:?} at most",
        promised.alive.len(),
        promised.dead.len(),
        promised.number
    );
    assert!(promised.dead.len() as u64 > rounds && promised.number > rounds, "too little was done to be killed");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    for (tokens, status) in [(&promised.alive, 200), (&promised.dead, 401)] {
        for token in tokens {
            assert_eq!(ask(daemon.address, "GET", "/api/auth/me", token, None).unwrap().0, status);
        }
    }
}
