//! Slots never leak: clients that are reset, closed, half-closed, stalled and killed in every phase of a request, in their
//! thousands; whatever they did, the counts come back to nothing within the time of a linger.
//!
//! `REELWAY_LEAK_ROUNDS=10000` for as many rounds; CI does fewer.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::client::{Client, request};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::dice::Dice;
use crate::support::films::{MIB, url_path};
use crate::support::{eventually, scratch};

const FILMS: u64 = 6;
const THREADS: u64 = 8;
/// What a linger takes, and as much again for a busy machine.
const LINGER: Duration = Duration::from_secs(60);

fn rounds() -> u64 {
    std::env::var("REELWAY_LEAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2000)
}

/// One client: how far it gets, and how it ends.
fn round(daemon: &Daemon, tokens: &[String], dice: &mut Dice) {
    let token = &tokens[dice.below(tokens.len() as u64) as usize];
    let film = url_path(&format!("film-{}.mp4", dice.below(FILMS)));
    let bearer = format!("Bearer {token}");
    let first = dice.below(60) * MIB;
    let range = if dice.below(4) == 0 { "bytes=0-99".to_owned() } else { format!("bytes={first}-") };
    let words = request("GET", &film, &[("Authorization", &bearer), ("Range", &range)]);
    let mut client =
        if dice.below(2) == 0 { Client::connect_narrow(daemon.address) } else { Client::connect(daemon.address) };
    // The phase it gets to. The other side may have ended by then; that is one of the ways.
    let phase = dice.below(6);
    let _ = match phase {
        0 => Ok(()),
        1 => client.try_send(&words[..words.len() / 2]),
        _ => client.try_send(&words),
    };
    if phase >= 3 && client.try_head().is_ok() && phase >= 4 {
        let some = if range == "bytes=0-99" { 50 } else { dice.below(2 * MIB) };
        client.read_at_most(some);
        if phase == 5 {
            // Another request behind the first, whose answer it does not wait for.
            let _ = client.try_send(&words);
        }
    }
    match dice.below(4) {
        0 => client.reset(),
        1 => drop(client),
        2 => {
            client.try_finish_sending();
            drop(client);
        }
        _ => {
            // It reads no more, and is there for a moment.
            std::thread::sleep(Duration::from_millis(dice.below(30)));
            client.reset();
        }
    }
}

/// A client that is killed in the middle of a film.
fn killed(daemon: &Daemon, token: &str) {
    let url = format!("http://{}{}?token={token}", daemon.address, url_path("film-0.mp4"));
    let mut command = Command::new("curl");
    command.args(["-q", "-s", "--limit-rate", "200k", "-o", "/dev/null", &url]);
    let mut curl = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    curl.kill().unwrap();
    curl.wait().unwrap();
}

/// Goal: after rounds of every kind of client, with streams stopped and sessions ended in between, nothing plays, nothing is
/// held once a linger has passed, and the next viewer has a place.
#[test]
fn slots_come_back_whatever_clients_do() {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    for index in 0..FILMS {
        File::create(folder.path().join(format!("film-{index}.mp4"))).unwrap().set_len(64 * MIB).unwrap();
    }
    let daemon = Home::new(folder.path())
        .set("REELWAY_VIDEO__MAX_CONCURRENT_STREAMS", "8")
        .set("REELWAY_VIDEO__MAX_STREAMS_PER_USER", "4")
        .set("REELWAY_SESSIONS__MAX_PER_USER", "1000")
        .set("REELWAY_NET__STALL_TIMEOUT", "3s")
        .start();
    let before = daemon.holdings_at_rest();
    let done = AtomicU64::new(0);
    let rounds = rounds();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (daemon, done) = (&daemon, &done);
            scope.spawn(move || {
                let mut dice = Dice::new(thread + 1);
                let tokens: Vec<String> = (0..3).map(|_| daemon.sign_in(USER, PASSWORD)).collect();
                while done.fetch_add(1, Ordering::Relaxed) < rounds {
                    round(daemon, &tokens, &mut dice);
                    match dice.below(50) {
                        0 => killed(daemon, &tokens[0]),
                        1 => drop(daemon.fetch("DELETE", "/api/streams", &[])),
                        _ => {}
                    }
                }
            });
        }
    });
    let ledger = eventually("nothing plays any more", Duration::from_secs(30), || {
        let ledger = daemon.ledger();
        (ledger.sum("reelway_streams_open") == 0 && ledger.sum("reelway_transfers") == 0).then_some(ledger)
    });
    assert!(ledger.sum("reelway_streams") <= 8);
    eventually("nothing is held", LINGER, || (daemon.ledger().sum("reelway_streams") == 0).then_some(()));
    daemon.expect_holdings(&before);
    let answer = daemon.fetch("GET", &url_path("film-1.mp4"), &[("Range", "bytes=0-9")]);
    assert_eq!(answer.head.status, 206);
}
