//! `reelway user add|list|passwd|role|disable|enable|remove`: accounts.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::client::{Films, Server, encoded, plain};
use crate::cli::print;
use crate::config::Config;

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
    /// Give an account another password; whoever is signed in with it is signed out
    Passwd {
        #[command(flatten)]
        whose: Whose,
        /// Read the password from standard input, one line, instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change what an account may do; whoever is signed in with it is signed out
    Role {
        #[command(flatten)]
        whose: Whose,
        /// What the account may do
        #[arg(long, value_enum)]
        role: RoleArgument,
    },
    /// Disable an account: nobody can sign in with it, and what it plays stops
    Disable(Whose),
    /// Enable an account that was disabled
    Enable(Whose),
    /// Remove an account with everything that is its own
    Remove(Whose),
}

/// An account that there is.
#[derive(Args)]
pub(super) struct Whose {
    /// The name it signs in with
    name: String,
    /// Print the account as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum RoleArgument {
    User,
    Admin,
}

pub(super) fn run(verb: UserVerb, config: Config) -> anyhow::Result<()> {
    match verb {
        UserVerb::Add { name, role, email, password_stdin, json } => {
            let password = read_password(password_stdin)?;
            let new = json!({"username": name, "password": password, "role": role.word(), "email": email});
            let user = Server::find(config, Films::Unwanted)?.ask("POST", "/api/users", Some(&new));
            let user = user.with_context(|| format!("could not add '{name}'"))?;
            show(&user, json, &format!("added {} {name}", role.word()))
        }
        UserVerb::List { json } => {
            let users = Server::find(config, Films::Unwanted)?.all("/api/users", "")?;
            print(&match json {
                true => format!("{:#}\n", json!({"items": users, "next": null})),
                false => table(&users),
            })
        }
        UserVerb::Passwd { whose, password_stdin } => {
            let password = read_password(password_stdin)?;
            change(config, &whose, &json!({"password": password}), "changed the password of")
        }
        UserVerb::Role { whose, role } => {
            change(config, &whose, &json!({"role": role.word()}), &format!("now {}:", role.word()))
        }
        UserVerb::Disable(whose) => change(config, &whose, &json!({"isActive": false}), "disabled"),
        UserVerb::Enable(whose) => change(config, &whose, &json!({"isActive": true}), "enabled"),
        UserVerb::Remove(whose) => {
            let server = Server::find(config, Films::Unwanted)?;
            let (user, path) = find(&server, &whose.name)?;
            server.ask("DELETE", &path, None).with_context(|| format!("could not remove '{}'", whose.name))?;
            show(&user, whose.json, &format!("removed {}", whose.name))
        }
    }
}

/// Changes an account that there is.
fn change(config: Config, whose: &Whose, change: &Value, done: &str) -> anyhow::Result<()> {
    let server = Server::find(config, Films::Unwanted)?;
    let (_, path) = find(&server, &whose.name)?;
    let user = server.ask("PATCH", &path, Some(change));
    let user = user.with_context(|| format!("could not change '{}'", whose.name))?;
    show(&user, whose.json, &format!("{done} {}", whose.name))
}

/// The account of this name, and its path.
fn find(server: &Server, name: &str) -> anyhow::Result<(Value, String)> {
    let found = server.all("/api/users", &format!("&query={}", encoded(name)))?;
    // As at a sign-in, capitals make no other name.
    let is_it = |user: &Value| user["username"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name));
    let user = found.into_iter().find(is_it);
    let user = user.with_context(|| format!("there is no user '{name}'; `reelway user list` shows who there is"))?;
    let path = format!("/api/users/{}", user["id"].as_str().unwrap_or_default());
    Ok((user, path))
}

fn show(user: &Value, as_json: bool, done: &str) -> anyhow::Result<()> {
    print(&if as_json { format!("{user:#}\n") } else { format!("{done}\n") })
}

fn table(users: &[Value]) -> String {
    let mut table = format!("{:<24} {:<6} {:<7} LAST LOGIN\n", "NAME", "ROLE", "ACTIVE");
    for user in users {
        let text = |name: &str| plain(user[name].as_str().unwrap_or_default());
        let active = if user["isActive"] == true { "yes" } else { "no" };
        let last_login = user["lastLogin"].as_str().unwrap_or("never");
        table += &format!("{:<24} {:<6} {active:<7} {last_login}\n", text("username"), text("role"));
    }
    table
}

impl RoleArgument {
    fn word(self) -> &'static str {
        match self {
            RoleArgument::User => "user",
            RoleArgument::Admin => "admin",
        }
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
