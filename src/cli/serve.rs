//! `reelway serve`: the daemon.

use clap::Args;

use crate::config::{Loaded, Sources};
use crate::daemon;

/// Flags that win over every file and variable.
#[derive(Args)]
pub(super) struct Serve {
    /// Address to listen on: localhost, * or an IP address
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Port to listen on; 0 lets the system choose
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

impl Serve {
    /// The flags as settings.
    pub fn flags(&self) -> Vec<(String, String)> {
        let host = self.host.clone().map(|host| ("server.host".to_owned(), host));
        let port = self.port.map(|port| ("server.port".to_owned(), port.to_string()));
        host.into_iter().chain(port).collect()
    }
}

pub(super) fn run(loaded: Loaded, sources: &Sources) -> anyhow::Result<()> {
    Ok(daemon::run(loaded, sources)?)
}
