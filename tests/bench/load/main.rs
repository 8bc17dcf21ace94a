//! The load generator of `scripts/bench`: one thread, epoll, closed loops of range requests, bodies thrown away in the kernel
//! (`recv(MSG_TRUNC)`), and the CPU time of the server read from its own clock at both ends of the measured window.
//!
//! `load measure` reads what to do as JSON from standard input and writes what it saw to standard output. `load floor FILE PORT`
//! is the floor: a server that calls sendfile for a fixed range of one file and knows nothing of HTTP but its first line.

mod client;
mod floor;
mod plan;
mod sys;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["measure"] => {
            let plan: plan::Plan = serde_json::from_reader(std::io::stdin())?;
            let seen = client::run(&plan)?;
            println!("{}", serde_json::to_string(&seen)?);
            Ok(())
        }
        ["floor", file, port] => floor::serve(file, port.parse().map_err(std::io::Error::other)?),
        _ => {
            eprintln!("usage: load measure <plan.json | load floor FILE PORT");
            std::process::exit(2);
        }
    }
}
