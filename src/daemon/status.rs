//! How the daemon is, in one line: what `systemctl status` shows (sd_notify(3), `STATUS=`).
//!
//! The one idea: [`line`] makes a sentence of a few numbers; the keeper gathers these and tells them when the sentence has
//! become another. What keeps people from their films is said first, then what an administrator does next, then how it goes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::daemon::block_on;
use crate::serve::State;
use crate::sys::systemd;

/// What there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Connections that are waited for, while the daemon drains.
    pub draining: Option<usize>,
    /// What is wrong, a sentence each, without a full stop.
    pub troubles: Vec<String>,
    /// Whether anybody could sign in.
    pub has_accounts: bool,
    /// Whether there is any folder of films.
    pub has_roots: bool,
    /// Films found so far, while the library is scanned.
    pub scanning: Option<usize>,
    /// Films that can be watched.
    pub films: usize,
    /// Films that are being sent.
    pub streams: usize,
    /// To so many people, or guests.
    pub people: usize,
    /// Sessions in use.
    pub signed_in: usize,
}

/// The line. Paths and what the database says stand in it, and may have line breaks. `program` is how a command about this
/// daemon begins.
pub(super) fn line(seen: &Seen, program: &str) -> String {
    on_one_line(&said(seen, program))
}

fn said(seen: &Seen, program: &str) -> String {
    if let Some(connections) = seen.draining {
        return match connections {
            0 => "Draining: the last answers are out".to_owned(),
            left => format!("Draining: {} left", counted(left, "answer", "answers")),
        };
    }
    if !seen.troubles.is_empty() {
        return format!("Degraded: {}", seen.troubles.join("; "));
    }
    if !seen.has_accounts {
        return format!("Nobody has an account yet: sudo {program} user add NAME");
    }
    if !seen.has_roots {
        return format!("There are no films yet: sudo {program} library add /path");
    }
    let films = match seen.scanning {
        Some(found) => format!("Scanning the library: {} so far", counted(found, "film", "films")),
        None => format!("Serving {}", counted(seen.films, "film", "films")),
    };
    let streams = match seen.streams {
        0 => "nobody is watching".to_owned(),
        streams => format!("{} to {}", counted(streams, "stream", "streams"), counted(seen.people, "person", "people")),
    };
    let signed_in = grouped(seen.signed_in);
    if seen.streams == 0 && seen.signed_in == 0 { films } else { format!("{films}; {streams}, {signed_in} signed in") }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// `1,204`.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A sentence of several lines as one: a message to the service manager has an assignment a line.
pub(super) fn on_one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What was told last, and what is wrong as far as others than the library know.
#[derive(Debug)]
pub(super) struct Status {
    program: String,
    known: Mutex<Known>,
}

/// The words that a command about the daemon of this unit begins with: without them it would be about the first.
fn program(unit: Option<&str>) -> String {
    let name = unit.and_then(|unit| unit.strip_suffix(".service")).filter(|name| name.starts_with("reelway@"));
    name.map_or_else(|| "reelway".to_owned(), |name| format!("reelway --unit {name}"))
}

#[derive(Debug, Default)]
struct Known {
    told: String,
    has_accounts: bool,
    store_fault: Option<String>,
    /// Why a configuration that was read again is not in force.
    refusal: Option<String>,
}

impl Status {
    /// Nothing was told yet.
    pub fn new() -> Arc<Status> {
        Arc::new(Status { program: program(systemd::unit().as_deref()), known: Mutex::default() })
    }

    /// Tells how it is, if that is not what was told last.
    pub fn tell(&self, state: &State) {
        let line = self.now(state);
        let is_told = std::mem::replace(&mut self.known().told, line.clone()) == line;
        // Unlocked: it may wait for the service manager, and others want to note something meanwhile.
        if !is_told {
            systemd::status(&line);
            let mut known = self.known();
            if known.told != line {
                // Somebody else has told another: which came last is not known, so the next look tells again.
                known.told.clear();
            }
        }
    }

    /// The line that is to be told now, with something else. It counts as told.
    pub fn take(&self, state: &State) -> String {
        let line = self.now(state);
        self.known().told.clone_from(&line);
        line
    }

    /// What the store said when it was last written to, if that failed.
    pub fn note_store(&self, fault: Option<String>) {
        self.known().store_fault = fault;
    }

    /// A configuration was refused for this reason, or another is in force.
    pub fn note_refusal(&self, refusal: Option<String>) {
        self.known().refusal = refusal;
    }

    /// Asks whether there is anybody who could sign in. Once there is, nobody is asked again.
    pub fn look_for_accounts(&self, state: &State) {
        if self.known().has_accounts {
            return;
        }
        // A store that fails says so where it is written to.
        let has_accounts = block_on(state.services.store.users()).map_or(true, |users| !users.is_empty());
        self.known().has_accounts = has_accounts;
    }

    fn now(&self, state: &State) -> String {
        let seen = self.look(state);
        line(&seen, &self.program)
    }

    fn look(&self, state: &State) -> Seen {
        let services = &state.services;
        let known = self.known();
        let settings = services.settings();
        let scan = settings.library.scan_state();
        let roots = settings.library.roots();
        let missing = scan.missing_roots.iter().filter_map(|missing| {
            let root = roots.iter().find(|root| root.name == missing.name)?;
            Some(missing.why.sentence(&root.name, &root.path))
        });
        let store = known.store_fault.iter().chain(&scan.store_fault).take(1).map(|fault| format!("database: {fault}"));
        let refusal = known.refusal.iter().map(|why| format!("the changed configuration is refused: {why}"));
        // Playbacks that linger are nobody's streams; to look at them costs something, so only where there are any.
        let open = match services.playbacks.count() {
            0 => Vec::new(),
            _ => services.playbacks.streams().into_iter().filter(|stream| stream.connections > 0).collect(),
        };
        let is_draining = services.is_draining.load(std::sync::atomic::Ordering::Relaxed);
        Seen {
            draining: is_draining.then(|| services.metrics.sum_open(|counters| &counters.open_connections)),
            troubles: missing.chain(store).chain(refusal).collect(),
            has_accounts: known.has_accounts,
            has_roots: roots.iter().next().is_some(),
            scanning: (!scan.is_scanned).then_some(scan.found),
            films: settings.library.index().len(),
            people: open.iter().map(|stream| stream.owner).collect::<HashSet<_>>().len(),
            streams: open.len(),
            signed_in: services.sessions.count(),
        }
    }

    /// Poisoned only by a panic between two of its values.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Seen {
        Seen { has_accounts: true, has_roots: true, films: 1204, ..Seen::default() }
    }

    #[test]
    fn a_line_says_what_matters_most() {
        let trouble = || vec!["the root films (/srv/films) is not available".to_owned()];
        let table: [(Seen, &str); 13] = [
            (well(), "Serving 1,204 films"),
            (Seen { films: 1, ..well() }, "Serving 1 film"),
            (Seen { films: 0, ..well() }, "Serving 0 films"),
            (Seen { signed_in: 5, ..well() }, "Serving 1,204 films; nobody is watching, 5 signed in"),
            (
                Seen { streams: 3, people: 2, signed_in: 5, ..well() },
                "Serving 1,204 films; 3 streams to 2 people, 5 signed in",
            ),
            (
                Seen { streams: 1, people: 1, signed_in: 1, ..well() },
                "Serving 1,204 films; 1 stream to 1 person, 1 signed in",
            ),
            (Seen { streams: 1, people: 1, ..well() }, "Serving 1,204 films; 1 stream to 1 person, 0 signed in"),
            (Seen { scanning: Some(340), ..well() }, "Scanning the library: 340 films so far"),
            (
                Seen { scanning: Some(1), streams: 1, people: 1, signed_in: 2, ..well() },
                "Scanning the library: 1 film so far; 1 stream to 1 person, 2 signed in",
            ),
            (
                Seen { troubles: trouble(), streams: 3, ..well() },
                "Degraded: the root films (/srv/films) is not available",
            ),
            (Seen { draining: Some(2), troubles: trouble(), ..well() }, "Draining: 2 answers left"),
            (
                Seen { has_accounts: false, has_roots: false, ..well() },
                "Nobody has an account yet: sudo reelway user add NAME",
            ),
            (Seen { has_roots: false, ..well() }, "There are no films yet: sudo reelway library add /path"),
        ];
        for (seen, expected) in table {
            assert_eq!(line(&seen, "reelway"), expected, "{seen:?}");
        }
    }

    #[test]
    fn an_instance_names_itself_in_what_is_to_be_typed() {
        let told = line(&Seen::default(), &program(Some("reelway@3001.service")));
        assert_eq!(told, "Nobody has an account yet: sudo reelway --unit reelway@3001 user add NAME");
        for other in [None, Some("reelway.service"), Some("session-3.scope"), Some("ssh@1.service")] {
            assert_eq!(program(other), "reelway", "{other:?}");
        }
    }

    #[test]
    fn troubles_are_all_named() {
        let troubles = vec!["the root a is not available".to_owned(), "database: disk is full".to_owned()];
        let seen = Seen { troubles, ..well() };
        assert_eq!(line(&seen, "reelway"), "Degraded: the root a is not available; database: disk is full");
        let missing = "the root a (/srv/a\nREADY=1\rx) is not available".to_owned();
        let told = line(&Seen { troubles: vec![missing], ..well() }, "reelway");
        assert_eq!(told, "Degraded: the root a (/srv/a; READY=1; x) is not available");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0, 12, 999, 1000, 65_536, 1_000_000].map(grouped);
        assert_eq!(shown, ["0", "12", "999", "1,000", "65,536", "1,000,000"]);
    }

    #[test]
    fn several_lines_become_one() {
        assert_eq!(on_one_line("a.toml:1: no.\nb.toml:2: no.\n"), "a.toml:1: no.; b.toml:2: no.");
    }
}
