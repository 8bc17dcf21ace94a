//! Where the daemon listens: at the sockets that systemd passes, or else at the configured addresses, each once a shard; and
//! at the admin socket, on the first.
//!
//! A socket that is passed is systemd's: all shards accept from the one, it outlives the daemon, and whoever comes while none
//! runs waits there. One of our own is there once a shard (SO_REUSEPORT). systemd.socket(5)

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use crate::config::{Config, Loaded, Net};
use crate::daemon::StartError;
use crate::daemon::admin_socket::AdminSocket;
use crate::log::messages;
use crate::serve::shard::Listener;
use crate::sys::socket::{self, Opened};
use crate::sys::systemd::Passed;
use crate::sys::{Fault, unix};

/// What our socket units call their sockets (`FileDescriptorName=`).
const NAME: &str = "reelway";
/// The options in whose place passed sockets are.
const REPLACED: [&str; 3] = ["server.host", "server.port", "server.listen"];

/// The listeners of every shard.
pub(super) struct Listeners {
    by_shard: Vec<Vec<Listener>>,
}

/// Says, if sockets were `passed`, which settings they take the place of.
pub(super) fn note_replaced(loaded: &Loaded, passed: &[Passed]) {
    let replaced: Vec<_> = REPLACED.into_iter().filter(|key| loaded.is_set(key)).collect();
    if !passed.is_empty() && !replaced.is_empty() {
        let options = replaced.join(", ");
        tracing::warn!(name: messages::SOCKETS_PASSED, options, "systemd passes the sockets to listen on, so these settings have no effect");
    }
}

impl Listeners {
    /// Takes those that were passed; where there is none, opens the configured ones.
    ///
    /// # Errors
    /// When one cannot be had, or is no listener.
    pub fn of(passed: Vec<Passed>, config: &Config, shards: usize) -> Result<Listeners, StartError> {
        let mut listeners = Listeners { by_shard: (0..shards).map(|_| Vec::new()).collect() };
        for Passed { name, descriptor } in passed {
            match socket::adopt(descriptor) {
                Ok(opened) => listeners.share(opened, config)?,
                Err(error) if name == NAME => {
                    return Err(StartError::Other(format!(
                        "systemd passes something under the name {NAME} that is no socket to listen on ({error}); let \
                         reelway.socket say ListenStream= and nothing else, as ListenDatagram= and ListenSequentialPacket= do not"
                    )));
                }
                Err(error) => {
                    tracing::warn!(name: messages::SOCKETS_PASSED, passed = name, %error, "something passed by systemd is not for us; it is closed")
                }
            }
        }
        if listeners.by_shard.first().is_none_or(Vec::is_empty) {
            listeners.open_configured(config)?;
        }
        Ok(listeners)
    }

    /// Gives each shard a handle of one passed listener.
    fn share(&mut self, opened: Opened, config: &Config) -> Result<(), Fault> {
        let shared = |error| Fault::new("share a listener among the shards", error);
        match opened {
            Opened::Tcp(listener) => {
                // For those who come from now on; each that has come before is tuned when it is accepted.
                socket::tune(&listener, &config.net.congestion_control, config.net.notsent_lowat).map_err(shared)?;
                note_listening(&listener)?;
                for listeners in &mut self.by_shard {
                    listeners.push(Listener::Passed(listener.try_clone().map_err(shared)?));
                }
            }
            Opened::Unix(listener) => {
                tracing::info!(name: messages::LISTENING, address = unix::shown(&listener), "listening");
                for listeners in &mut self.by_shard {
                    let listener: UnixListener = listener.try_clone().map_err(shared)?;
                    listeners.push(Listener::Local(listener));
                }
            }
        }
        Ok(())
    }

    /// Opens each configured address once a shard.
    fn open_configured(&mut self, config: &Config) -> Result<(), Fault> {
        let mut chosen_port = None;
        let congestion_control = &config.net.congestion_control;
        for (number, mut address) in config.server.addresses().into_iter().enumerate() {
            if address.port() == 0 {
                // Port 0 lets the kernel choose once; what follows shares its choice.
                address.set_port(chosen_port.unwrap_or(0));
            }
            for (shard, listeners) in self.by_shard.iter_mut().enumerate() {
                // SO_REUSEPORT would let a second daemon of the same user take half of our connections, or we of its.
                let is_free = if shard == 0 { socket::ensure_free(address) } else { Ok(()) };
                match is_free.and_then(|()| socket::listen(address, congestion_control, config.net.notsent_lowat)) {
                    Ok(listener) => {
                        address = listener.local_addr().map_err(|error| Fault::new("read an address", error))?;
                        if shard == 0 {
                            note_listening(&listener)?;
                        }
                        listeners.push(Listener::Network(listener));
                    }
                    // `localhost` and `*` have an address a family, and a machine may be without IPv6.
                    Err(fault)
                        if number > 0 && config.server.listen.is_empty() && socket::is_without_family(&fault.cause) =>
                    {
                        tracing::debug!(error = %fault, "address left out");
                        break;
                    }
                    Err(fault) => return Err(fault),
                }
            }
            chosen_port = Some(address.port());
        }
        Ok(())
    }

    /// Handles of those of the network, to [`tune`] them later.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn handles(&self) -> Result<Vec<TcpListener>, Fault> {
        let of_network = |listener: &Listener| match listener {
            Listener::Network(listener) | Listener::Passed(listener) => Some(listener.try_clone()),
            Listener::Local(_) | Listener::Admin(_) => None,
        };
        let handles: std::io::Result<_> = self.by_shard.iter().flatten().filter_map(of_network).collect();
        handles.map_err(|error| Fault::new("share a listener", error))
    }

    /// These, with the admin socket beside those of the first shard.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn with(self, admin: &AdminSocket) -> Result<Vec<Vec<Listener>>, Fault> {
        let mut by_shard = self.by_shard;
        if let (Some(first), Some(listener)) = (by_shard.first_mut(), admin.listener()?) {
            first.push(Listener::Admin(listener));
        }
        Ok(by_shard)
    }
}

/// Has the connections that come from now on be as this configuration has them.
pub(super) fn tune(handles: &[TcpListener], net: &Net) {
    for listener in handles {
        if let Err(error) = socket::tune(listener, &net.congestion_control, net.notsent_lowat) {
            tracing::debug!(%error, "listener could not be tuned");
        }
    }
}

fn note_listening(listener: &TcpListener) -> Result<(), Fault> {
    let address = listener.local_addr().map_err(|error| Fault::new("read an address", error))?;
    let (congestion_control, notsent_lowat) = (socket::congestion_control(listener), socket::not_sent_bytes(listener));
    tracing::info!(name: messages::LISTENING, %address, congestion_control, notsent_lowat, "listening");
    Ok(())
}
