//! How many connections there may be: one too many is told so, and there is room again when one ends.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::support::client::{Answer, Client, Ending, request};
use crate::support::daemon::{Daemon, Home};
use crate::support::films::{self, BIG_FILM, BIG_FILM_BYTES, Pattern};
use crate::support::ledger::Ledger;
use crate::support::{PATIENCE, eventually};

const CONNECTIONS: usize = 3;
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

/// A daemon with the given limit at `CONNECTIONS`, and so many clients that it has none left.
fn full(limit: &str) -> (Daemon, Vec<Client>) {
    let name = format!("REELWAY_NET__{limit}");
    let daemon = Home::new(&films::folder()).set(&name, &CONNECTIONS.to_string()).start();
    let clients = (0..CONNECTIONS).map(|_| admitted(|| Client::connect(daemon.address))).collect();
    (daemon, clients)
}

/// A client that has a place. An earlier connection may still be ending, so it tries until there is one.
fn admitted(connect: impl Fn() -> Client) -> Client {
    eventually("there is a place", PATIENCE, || {
        let mut client = connect();
        client.ask("GET", "/health", &[]);
        (client.answer("GET").head.status == 200).then_some(client)
    })
}

/// Checks that a further connection is refused, properly and with all that a client needs to know.
fn is_refused(mut client: Client) {
    let answer: Answer = client.answer("GET");
    answer.is_problem(503);
    let seconds = answer.head.field("retry-after").and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "Retry-After in {:?}", answer.head);
    assert_eq!(answer.head.field("connection"), Some("close"));
    client.expect_closed();
}

/// A client that sends its request at once, as real ones do; its 503 is on its way before that.
fn eager(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.ask("GET", "/health", &[]);
    client
}

/// Goal: `net.connections_max` is for everybody together: the next is 503, from wherever it comes, the others are served
/// on, and a place that becomes free is given away.
#[test]
fn one_connection_too_many_is_503_until_one_ends() {
    let (daemon, mut clients) = full("CONNECTIONS_MAX");
    is_refused(Client::connect(daemon.address));
    is_refused(eager(daemon.address));
    is_refused(Client::connect_from(ELSEWHERE, daemon.address));
    for client in &mut clients {
        assert_eq!(client.fetch("GET", "/health", &[]).head.status, 200);
    }
    clients.pop();
    clients.push(admitted(|| Client::connect_from(ELSEWHERE, daemon.address)));
    is_refused(Client::connect(daemon.address));
}

/// Goal: when there are as many connections as there may be, the player that has been paused for longest gives way, and is
/// reset so that it takes what it has for no whole film; who was paused later goes on, and nobody is refused.
#[test]
fn the_longest_paused_viewer_gives_way_when_the_table_is_full() {
    let home = Home::new(&films::folder()).set("REELWAY_NET__CONNECTIONS_MAX", "3");
    // Whether somebody is paused is looked at as often as this says.
    let daemon = home.set("REELWAY_NET__STALL_TIMEOUT", "400ms").start();
    // Asked over a connection that has its seat: another one would make somebody give way itself.
    let gave_way =
        |seated: &mut Client| Ledger::of(&seated.fetch("GET", "/metrics", &[])).sum("reelway_gave_way_total");
    let pause = || {
        let mut viewer = Client::connect_narrow(daemon.address);
        daemon.ask_film(&mut viewer, BIG_FILM, None);
        viewer
    };
    let mut first = pause();
    // Not a wait for something: this one has been paused for longer than the next.
    std::thread::sleep(Duration::from_millis(600));
    let mut second = pause();
    std::thread::sleep(Duration::from_millis(600));
    let mut third = admitted(|| Client::connect(daemon.address));
    assert_eq!(gave_way(&mut third), 0, "the third connection has its place");
    let _fourth = admitted(|| Client::connect(daemon.address));
    assert_eq!(first.expect_until_end(Pattern::of(BIG_FILM), 0).1, Ending::Reset);
    assert_eq!(gave_way(&mut third), 1);
    second.expect(Pattern::of(BIG_FILM), 0, BIG_FILM_BYTES);
}

/// Goal: however a viewer was paused when it gave way, its seat is given away once: after many rounds there are exactly as
/// many seats as there may be, no more and no fewer.
#[test]
fn seats_are_given_away_once_however_a_viewer_was_paused() {
    const SEATS: usize = 6;
    let home = Home::new(&films::folder()).set("REELWAY_NET__CONNECTIONS_MAX", &SEATS.to_string());
    let daemon = home.set("REELWAY_NET__STALL_TIMEOUT", "400ms").start();
    let bearer = daemon.bearer();
    let film = |fields: &[(&str, &str)]| {
        request("GET", &films::url_path(BIG_FILM), &[&[("Authorization", bearer.as_str())], fields].concat())
    };
    let login = request(
        "POST",
        "/api/auth/login",
        &[("Content-Type", "application/json"), ("Content-Length", "9"), ("Expect", "100-continue")],
    );
    // While a film is sent; while the last bytes are queued, kept and closing; before 100 Continue, with all sizes of
    // what is queued before it.
    let mut ways = vec![
        film(&[]),
        film(&[("Range", "bytes=0-699999")]),
        film(&[("Range", "bytes=0-699999"), ("Connection", "close")]),
    ];
    ways.extend(
        [900_000, 1_000_000, 1_050_000, 1_052_228, 1_060_000, 1_100_000]
            .map(|length| film(&[("Range", &format!("bytes=0-{length}"))]) + &login),
    );
    for way in ways.iter().cycle().take(2 * ways.len()) {
        let paused: Vec<Client> = (0..SEATS - 1)
            .map(|_| {
                let mut viewer = Client::connect_narrow(daemon.address);
                // It may be refused, if the last ones have not left yet.
                let _ = viewer.try_send(way);
                viewer
            })
            .collect();
        // Not a wait for something: they are paused for longer than it takes to be noticed, and give way one by one.
        std::thread::sleep(Duration::from_millis(700));
        let honest: Vec<Client> = (0..SEATS - 1).map(|_| admitted(|| Client::connect(daemon.address))).collect();
        std::thread::sleep(Duration::from_millis(300));
        drop((paused, honest));
    }
    eventually("everybody has left", PATIENCE, || (daemon.ledger().sum("reelway_connections") <= 1).then_some(()));
    let seated: Vec<Client> = (0..SEATS).map(|_| admitted(|| Client::connect(daemon.address))).collect();
    is_refused(eager(daemon.address));
    drop(seated);
    assert!(daemon_gave_way(&daemon) > 0, "nobody gave way, so nothing was tried");
}

fn daemon_gave_way(daemon: &Daemon) -> u64 {
    eventually("there is a seat", PATIENCE, || {
        let mut client = Client::connect(daemon.address);
        client.ask("GET", "/metrics", &[]);
        let answer = client.answer("GET");
        (answer.head.status == 200).then(|| Ledger::of(&answer).sum("reelway_gave_way_total"))
    })
}

/// Goal: `net.connections_per_address` is for one address: the next from there is 503, another address has its own
/// places, and one that becomes free is given away.
#[test]
fn one_connection_too_many_from_one_address_is_503_until_one_ends() {
    let (daemon, mut clients) = full("CONNECTIONS_PER_ADDRESS");
    is_refused(Client::connect(daemon.address));
    let others: Vec<Client> =
        (0..CONNECTIONS).map(|_| admitted(|| Client::connect_from(ELSEWHERE, daemon.address))).collect();
    is_refused(Client::connect_from(ELSEWHERE, daemon.address));
    drop(others);
    is_refused(Client::connect(daemon.address));
    clients.pop();
    clients.push(admitted(|| Client::connect(daemon.address)));
    is_refused(eager(daemon.address));
}

/// Goal: nobody is left without a word: whoever is refused reads the whole 503, though it says all that it wanted to say
/// before it reads. Whoever writes to a closed connection has an error instead.
#[test]
fn who_talks_on_is_told_that_it_is_refused() {
    let (daemon, _clients) = full("CONNECTIONS_MAX");
    for _ in 0..100 {
        let mut client = Client::connect(daemon.address);
        eventually("it is refused", PATIENCE, || client.has_answer().then_some(()));
        client.send(request("POST", "/api/auth/login", &[("Content-Length", "20000")]));
        for piece in [b'x'; 20_000].chunks(5000) {
            client.send(piece);
        }
        is_refused(client);
    }
}
