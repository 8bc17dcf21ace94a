//! The tools of the tests, tested: a tool that always says yes would let every test pass.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::daemon::Home;
use crate::support::films::{self, COLD_FILM_BYTES, ColdFilms, MIB, Pattern};
use crate::support::manager::Manager;
use crate::support::multipart::pieces;
use crate::support::trace::Trace;
use crate::support::without_ring::WithoutRing;
use crate::support::{PATIENCE, page_cache, program, run, scratch, slow_disk};

/// Goal: one foreign byte is found wherever it lies, and equal bytes pass.
#[test]
fn a_pattern_notices_a_single_foreign_byte() {
    let pattern = Pattern::of("film");
    let mut bytes = vec![0; 1000];
    pattern.fill(123, &mut bytes);
    pattern.compare(123, &bytes);
    for at in [0, 1, 500, 999] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let found = std::panic::catch_unwind(|| pattern.compare(123, &damaged));
        assert!(found.is_err(), "the damage at {at} was not noticed");
    }
    let shifted = std::panic::catch_unwind(|| pattern.compare(124, &bytes));
    assert!(shifted.is_err(), "shifted bytes were not noticed");
}

/// Goal: a body of several ranges is read strictly: the example of RFC 9110 §14.6 passes, and nothing that is cut, doubled,
/// out of place or too much.
#[test]
fn a_multipart_body_is_read_strictly() {
    let content_type = "multipart/byteranges; boundary=THIS_STRING";
    let part = |range: &str, bytes: &str| {
        format!("--THIS_STRING\r\nContent-Type: video/mp4\r\nContent-Range: bytes {range}\r\n\r\n{bytes}\r\n")
    };
    let right = part("2-4/10", "\r\n-") + &part("7-8/10", "ab") + "--THIS_STRING--\r\n";
    let found: Vec<_> = pieces(content_type, right.as_bytes()).iter().map(|piece| (piece.first, piece.bytes)).collect();
    assert_eq!(found, [(2, &b"\r\n-"[..]), (7, b"ab")]);
    pieces("multipart/byteranges; boundary=\"THIS_STRING\"", format!("\r\n{right}").as_bytes());
    for wrong in [
        right.replace("THIS_STRING--\r\n", "THIS_STRING\r\n"),
        right.replace("--THIS_STRING--\r\n", ""),
        right.replace("2-4/10", "2-5/10"),
        right.replace("2-4/10", "2-3/10"),
        right.replace("2-4/10", "2-10/10"),
        right.replace("ab", "abc"),
        right.replace("Content-Range", "X-Range"),
        right.replace("Content-Type: video/mp4\r\n", "Content-Range: bytes 2-4/10\r\n"),
        right.replace("\r\n--", "\n--"),
        format!("x{right}"),
        format!("{right}x"),
        right[..right.len() - 4].to_owned(),
    ] {
        let read = std::panic::catch_unwind(|| pieces(content_type, wrong.as_bytes()).len());
        assert!(read.is_err(), "{wrong:?} was read");
    }
}

/// Goal: the cold tests rest on this; an evicted film would wait for the disk, and a film that was read would not.
#[test]
fn an_evicted_film_is_cold_and_a_read_one_is_hot() {
    let films = ColdFilms::alone();
    let film = films.folder.join(ColdFilms::name(0));
    page_cache::make_hot(&film);
    assert!(page_cache::is_hot_at(&film, 33 * MIB));
    page_cache::make_cold(&film);
    assert!(!page_cache::is_hot_at(&film, COLD_FILM_BYTES - 1));
}

/// Goal: a test that this machine cannot run is left out on a developer's machine, and a failure that says why in CI.
#[test]
fn what_cannot_be_run_is_a_failure_in_ci() {
    slow_disk::leave_out("no cgroups", false);
    let failure = std::panic::catch_unwind(|| slow_disk::leave_out("no cgroups", true)).unwrap_err();
    let sentence = failure.downcast_ref::<String>().map(String::as_str).unwrap_or_default();
    assert!(sentence.contains("CI") && sentence.contains("no cgroups"), "{sentence}");
}

/// Goal: the fallback tests rest on this; io_uring_setup fails with EPERM, and other calls still work.
#[test]
fn the_wrapper_without_ring_forbids_io_uring_and_nothing_else() {
    let ask = "import ctypes, os; c = ctypes.CDLL(None, use_errno=True); \
               r = c.syscall(425, 8, ctypes.create_string_buffer(120)); \
               print(r, ctypes.get_errno(), os.getpid() > 0)";
    let mut allowed = program("python3");
    let free = run(allowed.args(["-c", ask]), Duration::from_secs(20)).succeeded();
    assert!(
        !free.text().starts_with("-1 "),
        "io_uring is missing on this machine: the ring tests cannot run here: {}",
        free.text()
    );
    let machine = WithoutRing::new();
    let mut wrapped = std::process::Command::new(&machine.wrapper()[0]);
    wrapped.args(["python3", "-c", ask]);
    let denied = run(&mut wrapped, Duration::from_secs(20)).succeeded();
    assert_eq!(denied.text().trim(), "-1 1 True");
}

/// Goal: the zero-copy tests rest on this; a trace tells sendfile from a copying server, byte for byte.
#[test]
fn a_trace_tells_sent_from_copied_bytes() {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let film = folder.path().join("a film, (1).mp4");
    Pattern::of("film").write(&film, 300_000);
    let copying_and_not = "import os, socket, sys; s = socket.create_server(('127.0.0.1', 0)); \
        c = socket.create_connection(s.getsockname()); a, _ = s.accept(); \
        f = os.open(sys.argv[1], os.O_RDONLY); os.sendfile(a.fileno(), f, 0, 50000); \
        a.send(os.pread(f, 7000, 0)); os.preadv(f, [bytearray(1)], 0, os.RWF_NOWAIT); \
        r, w = os.pipe(); os.splice(f, w, 9000, 0); os.splice(r, a.fileno(), 9000)";
    let trace = Trace::into(folder.path().join("trace"));
    let words = trace.wrapper();
    let mut command = program(&words[0]);
    command.args(&words[1..]).args(["python3", "-c"]);
    command.arg(splice_for_old_python(copying_and_not)).arg(&film);
    run(&mut command, Duration::from_secs(60)).succeeded();
    let mut calls = trace.calls();
    // What is called python3 may be a script that starts it, with pipes of its own.
    let mover = calls.iter().find(|call| call.zero_copy_bytes() > 0).map(|call| call.thread);
    calls.retain(|call| Some(call.thread) == mover);
    let zero_copy: u64 = calls.iter().map(|call| call.zero_copy_bytes()).sum();
    let copied: u64 = calls.iter().map(|call| call.copied_bytes()).sum();
    let reads = calls.iter().filter(|call| call.reads_file_data("a film, (1)"));
    assert_eq!((zero_copy, copied, reads.count()), (59_000, 7000, 1));
    assert!(calls.iter().all(|call| !call.fills_pipe_from_memory()));
}

/// os.splice came with Python 3.10; the C function is always there.
fn splice_for_old_python(program: &str) -> String {
    let define = "import ctypes; lib = ctypes.CDLL(None); P = ctypes.c_void_p; \
                  splice = lambda i, o, n, off=None: lib.splice(i, P(), o, P(), ctypes.c_size_t(n), 0); ";
    let program = program
        .replace("os.splice(f, w, 9000, 0)", "splice(f, w, 9000)")
        .replace("os.splice(r, a.fileno(), 9000)", "splice(r, a.fileno(), 9000)");
    format!("{define}{program}")
}

/// Goal: each real film is one the players can be judged by: ffprobe finds a picture and a tone of four seconds.
#[test]
fn the_films_are_films() {
    let folder = films::folder();
    for name in films::names() {
        let mut ffprobe = program("ffprobe");
        ffprobe.args(["-v", "error", "-show_entries", "stream=codec_type:format=duration"]);
        ffprobe.args(["-of", "csv=p=0"]).arg(folder.join(name));
        let found = run(&mut ffprobe, Duration::from_secs(30)).succeeded().text();
        assert!(found.contains("video") && found.contains("audio"), "{name}: {found}");
        let duration = found.lines().next_back().and_then(|line| line.parse().ok());
        let seconds: f64 = duration.unwrap_or_else(|| panic!("{name}: {found}"));
        assert!((3.5..4.6).contains(&seconds), "{name} lasts {seconds} s");
    }
}

/// Goal: the pretend service manager keeps what is stored under its name until that is forgotten, answers barriers unless it is
/// told not to, and lets go of everything when the service is over.
#[test]
fn the_pretend_manager_keeps_what_is_stored() {
    let manager = Manager::new(Home::without_account(&films::folder()));
    let tell = |text: &str| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        manager.tell(text, theirs);
        ours
    };
    let mut stored = tell("FDSTORE=1\nFDNAME=kept");
    let mut barrier = tell("BARRIER=1");
    assert_eq!(barrier.read(&mut [0]).unwrap(), 0, "the barrier is answered by closing it");
    assert_eq!(manager.stored(), ["kept"]);
    let _other = tell("FDSTORE=1\nFDNAME=other");
    manager.answer_barriers(false);
    let barrier = tell("BARRIER=1");
    manager.wait_for_after(3, "BARRIER=1");
    barrier.set_nonblocking(true).unwrap();
    assert_eq!((&barrier).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "this one is not");
    let _nothing = tell("FDSTOREREMOVE=1\nFDNAME=kept");
    assert_eq!(stored.read(&mut [0]).unwrap(), 0, "what is forgotten is closed");
    assert_eq!(manager.stored(), ["other"]);
    manager.forget();
    assert!(manager.stored().is_empty());
}
