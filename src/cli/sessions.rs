//! `reelway sessions list|end` and `reelway streams list|stop`: who is signed in where, who watches what, and an end to it.

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::client::{Films, Server, encoded, plain};
use crate::cli::print;
use crate::config::Config;

#[derive(Subcommand)]
pub(super) enum SessionsVerb {
    /// List who is signed in, the last active first
    List(Show),
    /// End a session: its token is dead, and what it plays stops
    End(Which),
}

#[derive(Subcommand)]
pub(super) enum StreamsVerb {
    /// List who is watching what
    List(Show),
    /// Stop a stream; its player may ask for it again
    Stop(Which),
}

#[derive(Args)]
pub(super) struct Show {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Which {
    /// Its id, as the list shows it
    id: String,
}

pub(super) fn run(verb: SessionsVerb, config: Config) -> anyhow::Result<()> {
    let server = Server::find(config, Films::Unwanted)?;
    match verb {
        SessionsVerb::List(show) => {
            let sessions = server.all("/api/sessions", "")?;
            let names = if show.json { Vec::new() } else { server.all("/api/users", "")? };
            list(&sessions, &show, |session| {
                let activity = &session["activity"];
                [
                    text(session, "sessionId"),
                    name_of(&names, session),
                    text(session, "device"),
                    text(session, "client"),
                    activity["streamsCount"].to_string(),
                    text(activity, "lastActivity"),
                ]
            })
        }
        SessionsVerb::End(Which { id }) => end(&server, "/api/sessions", "session", &id),
    }
}

pub(super) fn run_streams(verb: StreamsVerb, config: Config) -> anyhow::Result<()> {
    let server = Server::find(config, Films::Unwanted)?;
    match verb {
        StreamsVerb::List(show) => {
            let streams = server.all("/api/streams", "")?;
            let names = if show.json { Vec::new() } else { server.all("/api/users", "")? };
            list(&streams, &show, |stream| {
                let film = server.ask("GET", &format!("/api/videos/{}", text(stream, "videoId")), None);
                [
                    text(stream, "streamId"),
                    name_of(&names, stream),
                    film.map_or_else(|_| text(stream, "videoId"), |film| text(&film, "title")),
                    text(stream, "client"),
                    stream["connections"].to_string(),
                    format!("{:.1} MB/s", stream["rate"].as_f64().unwrap_or_default() / 1e6),
                ]
            })
        }
        StreamsVerb::Stop(Which { id }) => end(&server, "/api/streams", "stream", &id),
    }
}

/// Prints a list, as JSON or with a line for each.
fn list<const COLUMNS: usize>(
    items: &[Value],
    show: &Show,
    columns: impl Fn(&Value) -> [String; COLUMNS],
) -> anyhow::Result<()> {
    if show.json {
        return print(&format!("{:#}\n", json!({"items": items, "next": null})));
    }
    let lines: Vec<String> = items.iter().map(|item| columns(item).join("  ") + "\n").collect();
    print(&lines.concat())
}

fn end(server: &Server, path: &str, what: &str, id: &str) -> anyhow::Result<()> {
    server
        .ask("DELETE", &format!("{path}/{}", encoded(id)), None)
        .with_context(|| format!("there is no {what} '{id}'; `reelway {what}s list` shows which there are"))?;
    print(&format!("ended {id}\n"))
}

fn text(value: &Value, name: &str) -> String {
    plain(value[name].as_str().unwrap_or("-"))
}

fn name_of(users: &[Value], item: &Value) -> String {
    let user = users.iter().find(|user| user["id"] == item["userId"]);
    user.map_or_else(|| "guest".to_owned(), |user| text(user, "username"))
}
