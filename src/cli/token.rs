//! `reelway token NAME`: a session and its token, for players and scripts.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::api;
use crate::auth::keyring::Keyring;
use crate::auth::token::Signer;
use crate::cli::{print, state};
use crate::config::{self, Config};
use crate::daemon::{self, block_on};
use crate::limits;
use crate::store::{Audit, AuditAction};

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

pub(super) fn run(TokenVerb { name, expires, json }: TokenVerb, config: &Config) -> anyhow::Result<()> {
    if expires.is_zero() || expires > limits::TOKEN_LIFE {
        bail!("--expires is more than nothing and at most {} hours", limits::TOKEN_LIFE.as_secs() / 3600);
    }
    let store = state::open(config)?;
    let signer = signer(config)?;
    let now = state::now();
    let (user, _) = block_on(store.user_by_name(&name))?
        .with_context(|| format!("there is no user '{name}'; `reelway user list` shows who there is"))?;
    if !user.is_active {
        bail!("the user '{name}' is disabled");
    }
    let new = api::auth::new_session(&user, None, now, expires, None);
    let session = block_on(store.session_add(new, Audit::by_machine(AuditAction::TokenMade, user.id), now))?;
    let token = signer.sign(&api::auth::claims(&session, &user, now))?;
    if json {
        let view = json!({"token": token, "expiresAt": session.expires_at, "sessionId": session.id});
        print(&format!("{view:#}\n"))
    } else {
        print(&format!("{token}\n"))
    }
}

/// The signer of this state, if its key is the one that the daemon signs with.
fn signer(config: &Config) -> anyhow::Result<Signer> {
    let signer = Signer::new(&Keyring::find(&daemon::key_places(config), state::now())?)?;
    match std::fs::read_to_string(daemon::key_id_file(config)) {
        Ok(daemons) if daemons != signer.key_id() => bail!(
            "the daemon signs with another key than this command finds, so the token would be worth nothing; \
             is its key a credential? then sign in over HTTP, or run this with the same CREDENTIALS_DIRECTORY"
        ),
        // No daemon has run on this state yet, so it will find the key that we found.
        Ok(_) | Err(_) => Ok(signer),
    }
}
