//! `reelway link PATH|ID`: a link to one film, for somebody who is no user.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::{Films, Server};
use crate::cli::print;
use crate::config::{self, Config};
use crate::store::Timestamp;

#[derive(Args)]
pub(super) struct LinkVerb {
    /// The film: its path as the library shows it (root/folder/film.mp4), a path below a root, or its id
    film: String,
    /// How long it lives: 1h, 7d; at most 30d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = config::parse_duration)]
    expires: Duration,
    /// How many may watch; by default as many as like
    #[arg(long, value_name = "COUNT")]
    plays: Option<u32>,
    /// How this server is reached by whoever gets the link, such as 192.168.1.9:3000
    #[arg(long, value_name = "HOST:PORT")]
    host: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(verb: LinkVerb, config: Config) -> anyhow::Result<()> {
    let host = verb.host.clone().unwrap_or_else(|| own_host(&config));
    let server = Server::find(config, Films::Wanted)?;
    if let Some(services) = server.services() {
        // Nobody has looked yet what there is.
        services.settings().library.scan(&services.store, Timestamp::now());
    }
    let id = find(&server, &verb.film)?;
    let wanted = json!({"expiresIn": verb.expires.as_secs(), "maxPlays": verb.plays});
    let mut made = server
        .ask("POST", &format!("/api/videos/{id}/link"), Some(&wanted))
        .with_context(|| format!("no link to '{}'", verb.film))?;
    let url = made["url"].as_str().context("the daemon gave no address")?;
    // The socket over which this was asked has no name that others could use.
    let url = url.replacen("http://localhost/", &format!("http://{host}/"), 1);
    made["url"] = Value::from(url.clone());
    print(&if verb.json { format!("{made:#}\n") } else { format!("{url}\n") })
}

/// How this server is reached, as far as its configuration tells.
fn own_host(config: &Config) -> String {
    match config.server.addresses().first() {
        Some(address) if !address.ip().is_unspecified() => address.to_string(),
        Some(address) => format!("localhost:{}", address.port()),
        None => "localhost".to_owned(),
    }
}

/// The id of a film that there is.
fn find(server: &Server, film: &str) -> anyhow::Result<String> {
    let videos = server.all("/api/videos", "")?;
    let is_it = |video: &&Value| {
        let path = video["path"].as_str().unwrap_or_default();
        video["id"] == film || path == film || path.split_once('/').is_some_and(|(_, below)| below == film)
    };
    let found: Vec<&Value> = videos.iter().filter(is_it).collect();
    match found.as_slice() {
        [video] => Ok(video["id"].as_str().unwrap_or_default().to_owned()),
        [] => bail!("there is no film '{film}' in the library; its path begins with the name of a root, or below it"),
        several => bail!("'{film}' is in {} roots; put the name of the root before it", several.len()),
    }
}
