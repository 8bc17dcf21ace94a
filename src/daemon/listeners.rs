//! Where the daemon listens: each address once a shard, and the admin socket on the first.

use std::net::TcpListener;

use crate::config::Config;
use crate::daemon::admin_socket::AdminSocket;
use crate::log::messages;
use crate::serve::shard::Listener;
use crate::sys::{Fault, socket};

/// The listeners of every shard: each address once a shard.
pub(super) struct Listeners(Vec<Vec<TcpListener>>);

impl Listeners {
    /// Opens them all.
    ///
    /// # Errors
    /// When one cannot be had, for reasons that `sys::socket` tells.
    pub fn open(config: &Config, shards: usize) -> Result<Listeners, Fault> {
        let mut by_shard: Vec<Vec<TcpListener>> = (0..shards).map(|_| Vec::new()).collect();
        let mut chosen_port = None;
        let congestion_control = &config.net.congestion_control;
        for (number, mut address) in config.server.addresses().into_iter().enumerate() {
            if address.port() == 0 {
                // Port 0 lets the kernel choose once; what follows shares its choice.
                address.set_port(chosen_port.unwrap_or(0));
            }
            for (shard, listeners) in by_shard.iter_mut().enumerate() {
                // SO_REUSEPORT would let a second daemon of the same user take half of our connections, or we of its.
                let is_free = if shard == 0 { socket::ensure_free(address) } else { Ok(()) };
                match is_free.and_then(|()| socket::listen(address, congestion_control, config.net.notsent_lowat)) {
                    Ok(listener) => {
                        address = listener.local_addr().map_err(|error| Fault::new("read an address", error))?;
                        listeners.push(listener);
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
            if let Some(listener) = by_shard[0].get(number) {
                let (congestion_control, notsent_lowat) =
                    (socket::congestion_control(listener), socket::not_sent_bytes(listener));
                tracing::info!(
                    name: messages::LISTENING, address = %address, congestion_control, notsent_lowat,
                    "listening"
                );
            }
        }
        Ok(Listeners(by_shard))
    }

    /// These, with the admin socket beside those of the first shard.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn with(self, admin: &AdminSocket) -> Result<Vec<Vec<Listener>>, Fault> {
        let network = |listeners: Vec<TcpListener>| listeners.into_iter().map(Listener::Network).collect();
        let mut by_shard: Vec<Vec<Listener>> = self.0.into_iter().map(network).collect();
        if let (Some(first), Some(listener)) = (by_shard.first_mut(), admin.listener()?) {
            first.push(Listener::Admin(listener));
        }
        Ok(by_shard)
    }
}
