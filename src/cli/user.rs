//! `reelway user add|list`: accounts.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use uuid::Uuid;

use crate::auth::password;
use crate::cli::{print, state};
use crate::config::Config;
use crate::daemon::block_on;
use crate::store::{Audit, AuditAction, NewUser, Role, User};

#[derive(Subcommand)]
pub(super) enum UserVerb {
    /// Add an account
    Add {
        /// The name to sign in with: 1 to 50 characters
        name: String,
        /// What the account may do
        #[arg(long, value_enum, default_value = "user")]
        role: RoleArgument,
        /// An address, for people to read
        #[arg(long)]
        email: Option<String>,
        /// Read the password from standard input, one line, instead of asking for it
        #[arg(long)]
        password_stdin: bool,
        /// Print the new account as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the accounts
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum RoleArgument {
    User,
    Admin,
}

pub(super) fn run(verb: UserVerb, config: &Config) -> anyhow::Result<()> {
    match verb {
        UserVerb::Add { name, role, email, password_stdin, json } => {
            let password_hash = password::hash(&read_password(password_stdin)?)?;
            let role = match role {
                RoleArgument::User => Role::User,
                RoleArgument::Admin => Role::Admin,
            };
            let new = NewUser { id: Uuid::new_v4(), username: name, email, role, password_hash };
            let audit = Audit::by_machine(AuditAction::UserAdded, new.id);
            let user = block_on(state::open(config)?.user_add(new, audit, state::now()))?;
            print(&match json {
                true => format!("{:#}\n", json!(user)),
                false => format!("added {} {}\n", word(user.role), user.username),
            })
        }
        UserVerb::List { json } => {
            let users = block_on(state::open(config)?.users())?;
            print(&match json {
                true => format!("{:#}\n", json!({"items": users, "next": null})),
                false => table(&users),
            })
        }
    }
}

fn table(users: &[User]) -> String {
    let mut table = format!("{:<24} {:<6} {:<7} LAST LOGIN\n", "NAME", "ROLE", "ACTIVE");
    for user in users {
        let last_login = user.last_login.map_or("never".to_owned(), |time| time.to_rfc3339());
        let active = if user.is_active { "yes" } else { "no" };
        table += &format!("{:<24} {:<6} {active:<7} {last_login}\n", user.username, word(user.role));
    }
    table
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::User => "user",
    }
}

/// One line of standard input, or of the terminal without showing it.
fn read_password(from_stdin: bool) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    let asks = !from_stdin && stdin.is_terminal();
    if !from_stdin && !asks {
        bail!("no terminal to ask for the password on; pipe it in and add --password-stdin");
    }
    let silence = if asks {
        eprint!("Password: ");
        std::io::stderr().flush()?;
        Some(crate::sys::process::Silence::begin(&stdin).context("could not hide what is typed")?)
    } else {
        None
    };
    let mut line = String::new();
    stdin.lock().read_line(&mut line).context("could not read the password")?;
    if silence.is_some() {
        eprintln!();
    }
    let password = line.strip_suffix('\n').unwrap_or(&line);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}
