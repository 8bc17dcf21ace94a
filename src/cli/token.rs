//! `reelway token NAME`: a session and its token, for players and scripts.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::api::Services;
use crate::cli::client::{Films, Refusal, Server};
use crate::cli::print;
use crate::config::{self, Config};
use crate::daemon;
use crate::limits;

#[derive(Args)]
pub(super) struct TokenVerb {
    /// Whose token
    name: String,
    /// How long it lives: 30m, 1h, 24h; at most 24h
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = config::parse_duration)]
    expires: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(TokenVerb { name, expires, json }: TokenVerb, config: Config) -> anyhow::Result<()> {
    if expires < Duration::from_secs(1) || expires > limits::TOKEN_LIFE {
        bail!("--expires is a second at least and at most {} hours", limits::TOKEN_LIFE.as_secs() / 3600);
    }
    let server = Server::find(config, Films::Unwanted)?;
    server.services().map_or(Ok(()), signs_as_the_daemon)?;
    let wanted = json!({"username": name, "expiresIn": expires.as_secs()});
    let made = server.ask("POST", "/api/admin/token", Some(&wanted)).map_err(|error| match error.downcast_ref() {
        Some(Refusal { status: 404, .. }) => {
            anyhow::anyhow!("there is no user '{name}'; `reelway user list` shows who there is")
        }
        _ => error.context(format!("no token for '{name}'")),
    })?;
    print(&if json {
        let view = json!({"token": made["token"], "expiresAt": made["expiresAt"], "sessionId": made["sessionId"]});
        format!("{view:#}\n")
    } else {
        format!("{}\n", made["token"].as_str().context("the daemon gave no token")?)
    })
}

/// Whether the key that this process found is the one that the daemon signed with when it ran last.
fn signs_as_the_daemon(services: &Services) -> anyhow::Result<()> {
    match std::fs::read_to_string(daemon::key_id_file(&services.settings().config)) {
        Ok(daemons) if daemons != services.settings().signer.key_id() => bail!(
            "the daemon signs with another key than this command finds, so the token would be worth nothing; \
             is its key a credential? then start it first, or run this with the same CREDENTIALS_DIRECTORY"
        ),
        // No daemon has run on this state yet, so it will find the key that we found.
        Ok(_) | Err(_) => Ok(()),
    }
}
