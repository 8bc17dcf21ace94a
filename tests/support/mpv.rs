//! mpv under remote control (`--input-ipc-server`): a viewer who seeks, and tells when the picture is back.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, eventually, exit_code, program};

/// A running mpv without window and sound; it ends when dropped.
pub struct Mpv {
    child: Child,
    replies: BufReader<UnixStream>,
    _folder: TempDir,
}

impl Mpv {
    /// Starts it with nothing to play. It reads hardly ahead, so that a seek must ask the server again.
    pub fn start() -> Mpv {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("mpv");
        let mut command = program("mpv");
        command.args(["--no-config", "--vo=null", "--ao=null", "--idle=yes"]);
        command.args(["--cache=no", "--demuxer-readahead-secs=0"]);
        command.args(["--no-terminal", "--demuxer-max-back-bytes=0"]);
        command.arg(format!("--input-ipc-server={}", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let stream = eventually("mpv listens", PATIENCE, || UnixStream::connect(&socket).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Mpv { child, replies: BufReader::new(stream), _folder: folder }
    }

    /// Plays a URL and waits for the first picture.
    pub fn play(&mut self, url: &str) {
        self.send(&json!(["loadfile", url]));
        self.wait_for_playback();
    }

    /// Seeks to a time in seconds and waits until the picture is back.
    pub fn seek(&mut self, seconds: f64) {
        self.send(&json!(["seek", seconds, "absolute+exact"]));
        self.wait_for_playback();
    }

    /// Pauses it, or lets it play on.
    pub fn pause(&mut self, is_paused: bool) {
        self.send(&json!(["set_property", "pause", is_paused]));
    }

    /// The time now playing, in seconds.
    pub fn position(&mut self) -> f64 {
        self.send(&json!(["get_property", "time-pos"]));
        let reply = self.wait_until("time-pos", |message| message["request_id"] == 1);
        reply["data"].as_f64().unwrap_or_else(|| panic!("mpv says {reply}"))
    }

    /// Ends it: its exit code.
    pub fn quit(mut self) -> Option<i32> {
        self.send(&json!(["quit"]));
        exit_code(&mut self.child, PATIENCE).expect("mpv quits")
    }

    fn wait_for_playback(&mut self) {
        self.wait_until("playback-restart", |message| {
            let event = &message["event"];
            let is_replaced = message["reason"] == "stop";
            assert!(event != "end-file" || is_replaced, "mpv gave up: {message}");
            event == "playback-restart"
        });
    }

    fn send(&mut self, command: &Value) {
        let is_question = command[0] == "get_property";
        let request_id = u32::from(is_question);
        let line = json!({"command": command, "request_id": request_id});
        writeln!(self.replies.get_mut(), "{line}").unwrap();
    }

    fn wait_until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut line = String::new();
            self.replies.read_line(&mut line).unwrap();
            let message: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("mpv ended before {what}: {error}"));
            if is_it(&message) {
                return message;
            }
            assert!(Instant::now() < deadline, "mpv never said {what}");
        }
    }
}

impl Drop for Mpv {
    fn drop(&mut self) {
        // After quit there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
