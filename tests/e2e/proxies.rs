//! Behind a proxy that is believed (`net.trusted_proxies`) a request is its client's; what anybody else says of whom they ask
//! for changes nothing, and nobody comes to the rights of this machine by a field.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{self, Client, request};
use crate::support::daemon::{Daemon, Home, PASSWORD, USER};
use crate::support::films::{self, BIG_FILM, url_path};
use crate::support::manager::Manager;
use crate::support::{PATIENCE, eventually, scratch};

const TRUSTED: &str = "REELWAY_NET__TRUSTED_PROXIES";
/// Somebody far away.
const AFAR: &str = "203.0.113.9";
/// Of the house, and not of this machine.
const HOUSE: &str = "192.168.1.9";
/// An address of this machine that is no proxy's.
const ANOTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A home whose proxy is 127.0.0.1, and nobody else on this machine.
fn home() -> Home {
    Home::new(&films::folder()).set(TRUSTED, r#"["127.0.0.1", "10.0.0.0/8"]"#)
}

/// Signs in over a connection of `from`, with these fields.
fn signs_in(daemon: &Daemon, from: IpAddr, fields: &[(&str, &str)], password: &str) -> u16 {
    let credentials = json!({"username": USER, "password": password});
    let mut client = Client::connect_from(from, daemon.address);
    let answer = client.fetch_json("POST", "/api/auth/login", fields, &credentials);
    if answer.head.status == 200 {
        daemon.keep_secret(answer.json()["token"].as_str().unwrap());
    }
    answer.head.status
}

/// The statuses of ten wrong passwords, each with the fields of its number.
fn ten_guesses(daemon: &Daemon, from: IpAddr, fields: impl Fn(usize) -> Vec<(&'static str, String)>) -> Vec<u16> {
    let guess = |number| {
        let fields = fields(number);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        signs_in(daemon, from, &fields, &format!("guess-{number}"))
    };
    (0..10).map(guess).collect()
}

fn nine_and_a_no() -> Vec<u16> {
    [[401; 9].as_slice(), &[429]].concat()
}

/// Goal: wrong passwords that come by one proxy are counted for each of its clients, whatever a client says of itself.
#[test]
fn passwords_are_counted_for_each_client_of_a_proxy() {
    let daemon = home().set("REELWAY_AUTH__LOGIN_FAILURES_MAX", "10").start_signed_out();
    let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
    // The proxy appends the address to what the client has sent.
    let said = ten_guesses(&daemon, proxy, |number| vec![("X-Forwarded-For", format!("198.51.100.{number}, {AFAR}"))]);
    assert_eq!(said, nine_and_a_no());
    let by_another_line = [("X-Forwarded-For", HOUSE), ("X-Forwarded-For", AFAR)];
    assert_eq!(signs_in(&daemon, proxy, &by_another_line, PASSWORD), 429, "lines are one list");
    let forwarded = format!("for=\"_me\", for=\"{AFAR}:4711\";proto=http, for=10.1.2.3");
    assert_eq!(signs_in(&daemon, proxy, &[("Forwarded", &forwarded)], PASSWORD), 429, "by two proxies");
    assert_eq!(signs_in(&daemon, proxy, &[("X-Forwarded-For", HOUSE)], PASSWORD), 200, "another client");
    assert_eq!(signs_in(&daemon, proxy, &[("Forwarded", "for=\"[2001:db8::7]\"")], PASSWORD), 200, "and another");
    assert_eq!(signs_in(&daemon, proxy, &[], PASSWORD), 200, "and the proxy itself");
    let failed = daemon.log.wait_for("sign-in failed: wrong name or password");
    assert_eq!(failed["metadata"]["client_ip"], AFAR, "{failed}");
}

/// Goal: who is no proxy that is believed is counted by the address of the connection, whatever it says.
#[test]
fn who_is_not_believed_cannot_say_who_it_is() {
    let daemon = home().set("REELWAY_AUTH__LOGIN_FAILURES_MAX", "10").start_signed_out();
    let said = ten_guesses(&daemon, ANOTHER, |number| {
        let address = format!("198.51.100.{number}");
        vec![("X-Forwarded-For", address.clone()), ("Forwarded", format!("for={address}"))]
    });
    assert_eq!(said, nine_and_a_no());
    assert_eq!(signs_in(&daemon, ANOTHER, &[], PASSWORD), 429);
    assert_eq!(signs_in(&daemon, Ipv4Addr::LOCALHOST.into(), &[("X-Forwarded-For", AFAR)], PASSWORD), 200);
}

/// A home with a film that does not end, and a cap for those who watch from elsewhere.
fn capped() -> (TempDir, Home) {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    File::create(folder.path().join("film.mp4")).unwrap().set_len(1 << 30).unwrap();
    let home = Home::new(folder.path()).set(TRUSTED, r#"["127.0.0.1"]"#).set("REELWAY_NET__PACING_TOTAL", "8000000");
    (folder, home)
}

/// What is shown of a film that `from` asks for with these fields: the client, and whether it is held to a pace.
fn watched(daemon: &Daemon, from: IpAddr, fields: &[(&str, &str)]) -> (String, bool) {
    let bearer = daemon.bearer();
    let mut client = Client::connect_from(from, daemon.address);
    let fields = [&[("Authorization", bearer.as_str())], fields].concat();
    client.ask("GET", &url_path("film.mp4"), &fields);
    assert_eq!(client.head().status, 200);
    let shown = eventually("it is shown", PATIENCE, || {
        let streams = daemon.fetch("GET", "/api/streams", &[]).json();
        let stream = streams["items"].as_array()?.iter().find(|stream| stream["connections"] == 1)?.clone();
        // A pace is given to it before the keeper has looked twice.
        (stream["bytesStreamed"].as_u64()? > 100_000).then_some(stream)
    });
    drop(client);
    let streams = || daemon.fetch("GET", "/api/streams", &[]).json();
    daemon.fetch("DELETE", "/api/streams", &[]);
    eventually("it is over", PATIENCE, || (streams()["items"] == json!([])).then_some(()));
    (shown["client"].as_str().unwrap().to_owned(), shown["pace"].is_u64())
}

/// Goal: who watches is shown by the client's address, and judged by it to be at home or away; of whom nothing is known is away.
#[test]
fn who_watches_is_the_client_of_the_proxy() {
    let (_folder, home) = capped();
    let daemon = home.start();
    let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (from, field, client, is_away) in [
        (proxy, ("X-Forwarded-For", HOUSE), HOUSE, false),
        (proxy, ("X-Forwarded-For", "203.0.113.9:4711"), AFAR, true),
        (proxy, ("X-Forwarded-For", "192.168.1.9, ::ffff:203.0.113.9"), AFAR, true),
        (proxy, ("Forwarded", "for=\"[fd00::7]:4711\""), "fd00::7", false),
        (proxy, ("Forwarded", "for=192.168.1.9, for=unknown"), "127.0.0.1", true),
        (proxy, ("X-Forwarded-For", "127.0.0.1"), "127.0.0.1", true),
        (proxy, ("Via", "1.1 proxy"), "127.0.0.1", true),
        (ANOTHER, ("X-Forwarded-For", HOUSE), "127.0.0.2", true),
    ] {
        assert_eq!(watched(&daemon, from, &[field]), (client.to_owned(), is_away), "{field:?} of {from}");
    }
    assert_eq!(watched(&daemon, proxy, &[]), ("127.0.0.1".to_owned(), false), "nobody stands between");
}

/// Goal: no field makes a caller one of this machine, and a proxy before the admin socket hands nobody the rights of root.
#[test]
fn nobody_comes_to_the_rights_of_this_machine_by_a_field() {
    let home = home();
    let daemon = home.start();
    let asks = |fields: &[(&str, &str)]| client::fetch(daemon.address, "GET", "/metrics", fields).head.status;
    assert_eq!(asks(&[]), 200);
    for field in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-For", "::1"),
        ("Forwarded", "for=127.0.0.1"),
        ("Forwarded", "for=\"[::1]\""),
        ("X-Forwarded-For", ""),
    ] {
        assert_eq!(asks(&[field]), 401, "{field:?}");
    }
    let socket = home.path("run/admin.sock");
    assert!(over(&socket, "/api/users", &[]).starts_with("HTTP/1.1 200 "), "root is the machine");
    for field in [("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1"), ("Via", "1.1 proxy")] {
        let answer = over(&socket, "/api/users", &[field]);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{field:?}: {answer}");
    }
}

/// What is answered over a Unix socket.
fn over(socket: &Path, path: &str, fields: &[(&str, &str)]) -> String {
    let mut proxy = UnixStream::connect(socket).unwrap();
    proxy.set_read_timeout(Some(PATIENCE)).unwrap();
    let fields = [fields, &[("Connection", "close")]].concat();
    proxy.write_all(request("GET", path, &fields).as_bytes()).unwrap();
    let mut answer = Vec::new();
    proxy.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Goal: the proxy may come by a path, which counts as 127.0.0.1; and whom the daemon believes changes by a reload.
#[test]
fn a_proxy_may_come_by_a_path_and_is_believed_from_a_reload_on() {
    let mut manager = Manager::new(Home::new(&films::folder()));
    let address: SocketAddr = manager.listen("127.0.0.1:0");
    let path = manager.home().path("http.sock");
    manager.listen_at(&path);
    let mut daemon = manager.start();
    assert_eq!(daemon.address, address);
    let asked_by = |number: u32| -> Value {
        let film = format!("{}?token={}", url_path(BIG_FILM), daemon.token);
        let answer = over(
            &path,
            &film,
            &[("X-Forwarded-For", AFAR), ("Range", "bytes=0-99"), ("User-Agent", &format!("player {number}"))],
        );
        assert!(answer.starts_with("HTTP/1.1 206 "), "{answer}");
        let streams = daemon.fetch("GET", "/api/streams", &[]).json();
        streams["items"].as_array().unwrap().last().unwrap()["client"].clone()
    };
    assert_eq!(asked_by(1), "127.0.0.1");
    daemon.fetch("DELETE", "/api/streams", &[]);
    std::fs::write(manager.home().configuration(), "[net]\ntrusted_proxies = [\"127.0.0.1\"]\n").unwrap();
    daemon.signal(Signal::HUP);
    let changed = daemon.log.wait_for("the configuration is in force");
    assert_eq!(changed["metadata"]["changed"], "net.trusted_proxies");
    assert_eq!(asked_by(2), AFAR);
    daemon.stop();
}
