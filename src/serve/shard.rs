//! A shard: one thread, one runtime, its own listeners, its connections, each a task.
//!
//! Nothing is shared with the other shards but [`State`]: the kernel spreads connections by SO_REUSEPORT, and of a listener
//! that all share (systemd's) it gives each to who is there first. A panic ends the task it happens in, is counted, and never
//! the shard.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};

use crate::api::Services;
use crate::auth::token::Proved;
use crate::http::date;
use crate::http::reject::Reject;
use crate::library::kept::Kept;
use crate::limits;
use crate::log::messages;
use crate::metrics::{self, Open};
use crate::playback::Viewer;
use crate::serve::deadline::Patience;
use crate::serve::halt::Halt;
use crate::serve::handover::{Connection, Left};
use crate::serve::hot::Hot;
use crate::serve::inbox::{Buffers, Heads};
use crate::serve::pace::Pacer;
use crate::serve::peer::Peer;
use crate::serve::pipes::Pipes;
use crate::serve::pulse::Beats;
use crate::serve::transfer::Pump;
use crate::serve::{Phase, State, connection, exchange};
use crate::store::Timestamp;
use crate::sys::{socket, unix};

/// What a connection needs of its shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub state: Arc<State>,
    pub pump: Pump,
    pub buffers: Buffers,
    /// Used ones, for heads of answers.
    pub heads: Heads,
    /// The date of the answers of this second.
    latest: Cell<date::Latest>,
    /// Films that were asked for a moment ago.
    pub kept: Kept,
    /// Told when there is the first of these.
    pub films_kept: Notify,
    /// Tokens that were proved lately.
    pub proved: Proved,
    pub phase: watch::Receiver<Phase>,
    /// Places for connections that were refused and are told so.
    refused: Semaphore,
    /// Connections that are here, from when they were accepted.
    connections: Cell<usize>,
    /// Told whenever one ends.
    connection_ended: Notify,
    /// By which connections hear that they are to be handed over.
    halt: Halt,
    /// By which those hear it that have waited for the beginning of an answer for as long as one may take.
    halt_unanswered: Halt,
}

/// A listener that a shard is given.
#[derive(Debug)]
pub enum Listener {
    /// For everybody.
    Network(TcpListener),
    /// The same, opened by somebody else, who had connections wait there before we said what these should be like.
    Passed(TcpListener),
    /// For everybody who can reach a path of this machine: a proxy, as a rule.
    Local(UnixListener),
    /// The admin socket: for the machine itself.
    Admin(UnixListener),
}

/// The same on the shard's runtime.
enum Door {
    Network(tokio::net::TcpListener),
    Passed(tokio::net::TcpListener),
    Local(tokio::net::UnixListener),
    Admin(tokio::net::UnixListener),
}

/// A connection that has come in.
struct Accepted {
    socket: TcpStream,
    /// In its one spelling.
    address: IpAddr,
    entrance: Entrance,
}

/// Where it came in.
enum Entrance {
    Network,
    Admin {
        /// Whether it is root, or who runs the daemon. Anybody else is a stranger here as well.
        is_machine: bool,
    },
    /// In the process before us.
    Before(Box<Left>),
}

/// Runs shard `number` on this thread until `phase` says that all is over. `resumed` are connections of the process before.
/// Shows life by `beats`, and calls `serves` once it watches its listeners.
///
/// # Errors
/// When the runtime cannot be made, or a listener cannot be watched.
pub fn run(
    number: usize,
    state: Arc<State>,
    listeners: Vec<Listener>,
    resumed: Vec<Connection>,
    phase: watch::Receiver<Phase>,
    beats: Option<Beats>,
    serves: impl FnOnce(),
) -> io::Result<()> {
    let engine = state.services.engine;
    engine.block_on(serve(Rc::new(Shard::new(number, state, phase)), listeners, resumed, beats, serves))?
}

async fn serve(
    shard: Rc<Shard>,
    listeners: Vec<Listener>,
    resumed: Vec<Connection>,
    beats: Option<Beats>,
    serves: impl FnOnce(),
) -> io::Result<()> {
    let _leaves = Leaves(Rc::clone(&shard));
    if let Some(beats) = beats {
        tokio::task::spawn_local(async move { beats.keep().await });
    }
    for connection in resumed {
        match Accepted::before(connection) {
            Ok(accepted) => shard.arrived(accepted),
            // Its client has left meanwhile.
            Err(error) => tracing::debug!(%error, "connection could not be resumed"),
        }
    }
    for listener in listeners {
        let door = Door::open(listener)?;
        tokio::task::spawn_local(accept(Rc::clone(&shard), door));
    }
    tokio::task::spawn_local(let_go(Rc::clone(&shard)));
    serves();
    let mut phase = shard.phase.clone();
    // The sender lives as long as the daemon; without it all is over as well.
    let ends = phase.wait_for(|phase| *phase >= Phase::HandingOver).await.map(|phase| *phase);
    let hands_over = ends.is_ok_and(|phase| phase == Phase::HandingOver);
    if hands_over {
        shard.halt.call();
    }
    let time_is_up = async {
        if hands_over {
            let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
            shard.halt_unanswered.call();
        }
        let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
    };
    tokio::select! {
        () = shard.drained() => {}
        () = time_is_up => {}
    }
    Ok(())
}

/// A shard that serves, until it does no more, for whatever reason.
struct Leaves(Rc<Shard>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.state.leave(self.0.connections.get());
    }
}

/// A connection of a shard, from when it was accepted to its end.
struct Here(Rc<Shard>);

impl Here {
    fn new(shard: &Rc<Shard>) -> Here {
        shard.connections.set(shard.connections.get() + 1);
        Here(Rc::clone(shard))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.connection_ended.notify_one();
    }
}

impl Accepted {
    /// A listener for both families (ipv6(7)) gives IPv4 clients another spelling of their address. From here on an address has
    /// one: it is compared, counted and judged by whether it is in the house.
    fn of_network(socket: TcpStream, address: IpAddr) -> Accepted {
        Accepted { socket, address: address.to_canonical(), entrance: Entrance::Network }
    }

    /// A connection that the process before us accepted.
    fn before(connection: Connection) -> io::Result<Accepted> {
        let socket = std::net::TcpStream::from(connection.socket);
        let address = match socket.peer_addr() {
            Ok(peer) => peer.ip().to_canonical(),
            // A Unix socket: its peer is on this machine.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ipv4Addr::LOCALHOST.into(),
            Err(error) => return Err(error),
        };
        let entrance = Entrance::Before(Box::new(connection.left));
        Ok(Accepted { socket: TcpStream::from_std(socket)?, address, entrance })
    }
}

impl Door {
    fn open(listener: Listener) -> io::Result<Door> {
        Ok(match listener {
            Listener::Network(listener) => Door::Network(tokio::net::TcpListener::from_std(listener)?),
            Listener::Passed(listener) => Door::Passed(tokio::net::TcpListener::from_std(listener)?),
            Listener::Local(listener) => Door::Local(tokio::net::UnixListener::from_std(listener)?),
            Listener::Admin(listener) => Door::Admin(tokio::net::UnixListener::from_std(listener)?),
        })
    }

    async fn accept(&self, services: &Services) -> io::Result<Accepted> {
        match self {
            Door::Network(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok(Accepted::of_network(socket, peer.ip()))
            }
            Door::Passed(listener) => {
                let (socket, peer) = listener.accept().await?;
                // Fails only on a connection that is gone already, which is seen when it is read.
                let settings = services.settings();
                let net = &settings.config.net;
                let _ = socket::tune(&socket, &net.congestion_control, net.notsent_lowat);
                Ok(Accepted::of_network(socket, peer.ip()))
            }
            Door::Local(listener) => {
                let (stream, _) = listener.accept().await?;
                let socket = TcpStream::from_std(unix::as_stream(stream.into_std()?))?;
                Ok(Accepted::of_network(socket, Ipv4Addr::LOCALHOST.into()))
            }
            Door::Admin(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = unix::peer_user(&stream)?;
                let entrance = Entrance::Admin { is_machine: user == 0 || user == unix::own_user() };
                let socket = TcpStream::from_std(unix::as_stream(stream.into_std()?))?;
                Ok(Accepted { socket, address: Ipv4Addr::LOCALHOST.into(), entrance })
            }
        }
    }
}

/// Closes films that nobody asks for any more. While there are none it sleeps.
async fn let_go(shard: Rc<Shard>) {
    loop {
        shard.films_kept.notified().await;
        while shard.kept.let_go(Instant::now()) {
            tokio::time::sleep(limits::FILM_KEPT_FOR / 2).await;
        }
    }
}

/// Accepts until the daemon hands over or drains; then the listener is closed with this task.
async fn accept(shard: Rc<Shard>, door: Door) {
    let mut phase = shard.phase.clone();
    let mut complained = None;
    loop {
        let accepted = tokio::select! {
            accepted = door.accept(&shard.state.services) => accepted,
            _ = phase.wait_for(|phase| *phase >= Phase::HandingOver) => return,
        };
        match accepted {
            Ok(accepted) => shard.arrived(accepted),
            Err(error) => {
                // A client that left before it was accepted costs nothing; want of descriptors must not spin.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
                    if complained.is_none_or(|at: Instant| at.elapsed() > limits::ACCEPT_COMPLAINT_INTERVAL) {
                        complained = Some(Instant::now());
                        tracing::warn!(
                            name: messages::CONNECTIONS_NOT_ACCEPTED, error = %error,
                            "connections cannot be accepted"
                        );
                    }
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Counts the panic of a task that holds one. The runtime contains the panic.
struct CountsPanic<Count: FnMut()>(Count);

impl<Count: FnMut()> Drop for CountsPanic<Count> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0();
        }
    }
}

impl Shard {
    fn new(number: usize, state: Arc<State>, phase: watch::Receiver<Phase>) -> Shard {
        let services = &state.services;
        let shards = services.metrics.shard_count();
        Shard {
            pump: Pump {
                engine: services.engine,
                pipes: Pipes::new(shards, Arc::clone(&services.metrics.pipes)),
                hot: Hot::default(),
                little_asked: Cell::default(),
                counters: services.metrics.shard(number),
            },
            buffers: Buffers::default(),
            heads: Heads::default(),
            latest: Cell::default(),
            kept: Kept::default(),
            films_kept: Notify::new(),
            proved: Proved::default(),
            phase,
            refused: Semaphore::new(limits::REFUSED_LINGERING_MAX),
            connections: Cell::default(),
            connection_ended: Notify::new(),
            halt: Halt::default(),
            halt_unanswered: Halt::default(),
            state,
        }
    }

    /// The time, for everything that one request decides.
    pub fn now(&self) -> Timestamp {
        Timestamp::from(SystemTime::now())
    }

    /// The same as an answer says it.
    pub fn date(&self, now: Timestamp) -> date::Date {
        let mut latest = self.latest.get();
        let date = latest.format(now.seconds());
        self.latest.set(latest);
        date
    }

    /// Whether connections are to be closed after their current response.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Whether connections are to be handed over.
    pub fn is_handing_over(&self) -> bool {
        *self.phase.borrow() == Phase::HandingOver
    }

    /// Waits until whoever still waits for the beginning of an answer leaves it to the process after us.
    pub async fn unanswered(&self) {
        self.halt_unanswered.due().await;
    }

    /// Waits until the daemon drains, and then a moment longer: what has begun to arrive may be on its way.
    pub async fn drain_patience(&self) {
        let _ = self.phase.clone().wait_for(|phase| *phase >= Phase::Draining).await;
        tokio::time::sleep(limits::DRAIN_PATIENCE).await;
    }

    /// A connection is here, and is counted before it begins: a drain that comes now waits for it.
    fn arrived(self: &Rc<Self>, accepted: Accepted) {
        let here = Here::new(self);
        tokio::task::spawn_local(async move { here.0.welcome(accepted).await });
    }

    /// Serves an accepted connection, if there is a seat for it.
    async fn welcome(&self, Accepted { socket, address, entrance }: Accepted) {
        let _counts = CountsPanic(|| metrics::add(&self.pump.counters.panics, 1));
        let _open = Open::new(&self.pump.counters.open_connections);
        let left = self.serve(&socket, address, entrance).await;
        if let Some(left) = left
            && let Ok(socket) = socket.into_std()
        {
            self.state.give_up(Connection { socket: socket.into(), left });
        }
    }

    /// Serves a connection to its end, or until it is to be handed over: what is left then.
    async fn serve(&self, socket: &TcpStream, address: IpAddr, entrance: Entrance) -> Option<Left> {
        let counters = &self.pump.counters;
        let (connections, is_machine, halt, left) = match entrance {
            Entrance::Network => (&self.state.connections, false, Some(&self.halt), None),
            Entrance::Admin { is_machine } => (&self.state.admins, is_machine, None, None),
            Entrance::Before(left) => (&self.state.connections, false, Some(&self.halt), Some(left)),
        };
        metrics::add(if left.is_some() { &counters.resumed } else { &counters.connections }, 1);
        let seat = if left.is_some() { Some(connections.readmit(address)) } else { connections.admit(address) };
        let viewer = Viewer::new(&self.state.services.playbacks);
        let (patience, pacer) = {
            let settings = self.state.services.settings();
            let net = &settings.config.net;
            (Patience::of(net), Pacer::new(net.notsent_lowat))
        };
        let seat = seat.as_ref();
        let peer =
            Peer { socket, address, is_machine, patience, viewer, pacer, seat, halt: halt.filter(|_| seat.is_some()) };
        if seat.is_some() {
            return connection::run(self, &peer, left).await;
        }
        exchange::refuse(self, &peer, &[], &Reject::TooManyConnections).await;
        if let Ok(_place) = self.refused.try_acquire() {
            connection::linger(self, &peer).await;
        }
        None
    }

    /// Waits until no connection is left.
    async fn drained(&self) {
        while self.connections.get() > 0 {
            self.connection_ended.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_panic_ends_one_task_and_is_counted() {
        let panics = Rc::new(Cell::new(0));
        let finished = Rc::new(Cell::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let spawn = |task: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
                let panics = Rc::clone(&panics);
                tokio::task::spawn_local(async move {
                    let _counts = CountsPanic(|| panics.set(panics.get() + 1));
                    task.await;
                })
            };
            let broken = spawn(Box::pin(async { panic!("as this test wants it") }));
            let counted = Rc::clone(&finished);
            let sound = spawn(Box::pin(async move { counted.set(1) }));
            assert!(broken.await.unwrap_err().is_panic());
            sound.await.unwrap();
        });
        assert_eq!((panics.get(), finished.get()), (1, 1));
    }
}
