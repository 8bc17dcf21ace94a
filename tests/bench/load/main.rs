//! The load generator of `scripts/bench`: one thread, epoll, closed loops of range requests, bodies thrown away in the kernel
//! (`recv(MSG_TRUNC)`), and the CPU time of the server read from its own clock at both ends of the measured window.
//!
//! `load measure` reads what to do as a line of JSON from standard input and writes what it saw as a line to standard output. Its
//! connections stay until standard input is at its end: meanwhile the memory they cost the server can be looked at.
//! `load floor FILE PORT` is the floor: a server that calls sendfile for ranges of one file and knows nothing else of HTTP.

mod client;
mod floor;
mod plan;
mod sys;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["measure"] => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            let plan: plan::Plan = serde_json::from_str(&line)?;
            let mut run = client::Run::begin(&plan)?;
            println!("{}", serde_json::to_string(&run.measure()?)?);
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
            Ok(())
        }
        ["floor", file, port] => floor::serve(file, port.parse().map_err(std::io::Error::other)?),
        _ => {
            eprintln!("usage: load measure <plan.json | load floor FILE PORT");
            std::process::exit(2);
        }
    }
}
