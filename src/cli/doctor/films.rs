//! The folders of films: there, mounted, readable for the service's user, inside its sandbox, and with films in them.

use std::path::{Path, PathBuf};

use super::finding::{Finding, note, problem, well};
use crate::cli::access::mount::Mount;
use crate::cli::access::{self, Findings, Subject, Vantage, sandbox};
use crate::cli::library::advice::shell_word;
use crate::cli::unit::{Name, Unit};
use crate::config::{self, Config};
use crate::limits;

/// A root, as it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Root {
    pub name: String,
    pub path: PathBuf,
    /// Without links; none when it does not exist.
    pub resolved: Option<PathBuf>,
    pub is_folder: bool,
    /// A folder that fstab(5) says something is mounted on, above or at the root, where nothing is.
    pub unmounted: Option<PathBuf>,
    /// What the service's user was seen to be unable to do there, or what kept us from looking as that user.
    pub trouble: Option<Trouble>,
    /// Whether the service that runs has another view of the file system, from before something was changed.
    pub is_unseen_yet: bool,
    /// Films that are served, and other files, as far as was looked.
    pub films: usize,
    pub others: usize,
}

/// Why a root is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The sandbox of the unit hides it.
    Hidden(String),
    /// The account may not.
    Refused(String),
    /// Nobody could look as the service.
    Unseen(String),
}

/// What is known of the library.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub name: Name,
    pub roots: Vec<Root>,
    pub formats: Vec<String>,
}

pub(super) fn gather(config: &Config, name: &Name, service: &Unit) -> Facts {
    let installed = Some(service.clone()).filter(Unit::is_loaded);
    // Without the account of the unit there is nobody to look as; `state` says so.
    let subject = Subject::find(config, installed).map_err(|error| format!("{error:#}"));
    let facts_of = |root: &config::Root| {
        let mut found = Root { name: root.name.clone(), path: root.path.clone(), ..Root::default() };
        found.unmounted = Mount::missing_above(&root.path);
        found.resolved = std::fs::canonicalize(&root.path).ok();
        found.is_folder = root.path.is_dir();
        if let Some(resolved) = found.resolved.clone().filter(|_| found.is_folder) {
            look(&resolved, &subject, &mut found);
            found.is_unseen_yet = service.process().is_some_and(|process| is_unseen(process, &resolved));
        }
        found
    };
    Facts {
        name: name.clone(),
        roots: config.library.roots.iter().map(facts_of).collect(),
        formats: config.video.supported_formats.clone(),
    }
}

/// Looks at a folder as the service would.
fn look(path: &Path, subject: &Result<Subject, String>, found: &mut Root) {
    let probed = subject.as_ref().map_err(Clone::clone);
    match probed.and_then(|subject| access::probe(path, subject).map_err(|error| format!("{error:#}"))) {
        Err(error) => found.trouble = Some(Trouble::Unseen(error)),
        Ok(findings) => {
            (found.films, found.others) = (findings.sight.films, findings.sight.others);
            found.trouble = trouble(&findings);
        }
    }
}

fn trouble(findings: &Findings) -> Option<Trouble> {
    let sentences = findings.sentences().join(" ");
    match (findings.vantage, sentences.is_empty()) {
        (_, true) => None,
        (Vantage::Own, false) => Some(Trouble::Unseen(sentences)),
        (Vantage::Service | Vantage::Account, false) if findings.is_hidden => Some(Trouble::Hidden(sentences)),
        (Vantage::Service | Vantage::Account, false) => Some(Trouble::Refused(sentences)),
    }
}

/// Whether a process does not see a folder that we see, or sees another one there (proc(5), /proc/PID/root). Only root may ask.
fn is_unseen(process: u32, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let view = PathBuf::from(format!("/proc/{process}/root"));
    let Ok(relative) = path.strip_prefix("/") else { return false };
    let Ok(own) = std::fs::metadata(path) else { return false };
    match (std::fs::metadata(&view), std::fs::metadata(view.join(relative))) {
        (Ok(_), Ok(theirs)) => (theirs.dev(), theirs.ino()) != (own.dev(), own.ino()),
        (Ok(_), Err(_)) => true,
        (Err(_), _) => false,
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    if facts.roots.is_empty() {
        let fix = format!("{} library add /path/to/films", facts.name.program());
        return vec![problem("library.none", "there is no folder of films", fix)];
    }
    let mut found: Vec<_> = facts.roots.iter().map(|root| judge_root(facts, root)).collect();
    for (number, root) in facts.roots.iter().enumerate() {
        found.extend(facts.roots[..number].iter().filter_map(|earlier| twice(&facts.name, earlier, root)));
    }
    found
}

fn judge_root(facts: &Facts, root: &Root) -> Finding {
    let (name, path) = (&root.name, root.path.display());
    if let Some(folder) = &root.unmounted {
        let (folder, word) = (folder.display(), shell_word(&folder.to_string_lossy()));
        let why = "without it the films seem to be gone";
        let fix = format!("mount {word}; systemctl restart {}", facts.name.service());
        return problem("library.mount", format!("nothing is mounted on {folder}, where {name} is to be"), fix)
            .because(why);
    }
    if root.resolved.is_none() {
        let fix =
            format!("correct library.roots: {} config show --origin says where it is written", facts.name.program());
        return problem("library.missing", format!("the folder {path} of {name} does not exist"), fix);
    }
    if !root.is_folder {
        let fix = "name its folder in library.roots";
        return problem("library.file", format!("{path} of {name} is no folder"), fix);
    }
    if let Some(trouble) = &root.trouble {
        return unread(&facts.name, root, trouble);
    }
    if root.is_unseen_yet {
        let why = "something was mounted, or let in by the unit, after it was started";
        let what = format!("the service that runs does not see the folder {path} of {name} yet");
        return problem("library.restart", what, format!("systemctl restart {}", facts.name.service())).because(why);
    }
    match (root.films, root.others) {
        (0, 0) => {
            let (program, word) = (facts.name.program(), shell_word(name));
            let fix = format!(
                "mount the disk that belongs there, or put anything in, then: {program} library scan; \
                 or, where no films are to be: {program} library remove {word}"
            );
            note("library.empty", format!("the folder {path} of {name} is empty")).advise(fix)
        }
        (0, others) => {
            let fix = format!("see video.supported_formats: {} are served", facts.formats.join(", "));
            problem(
                "library.formats",
                format!("none of the {others} files in {path} of {name} is a film that is served"),
                fix,
            )
        }
        (limits::ACCESS_ENTRIES_MAX.., _) => well("library.films", format!("{name}: many films in {path}")),
        (1, _) => well("library.films", format!("{name}: a film in {path}")),
        (films, _) => well("library.films", format!("{name}: {films} films in {path}")),
    }
}

fn unread(service: &Name, root: &Root, trouble: &Trouble) -> Finding {
    let (name, path) = (&root.name, root.path.display());
    let word = shell_word(&root.path.to_string_lossy());
    let fix = format!("{} library add {word}, which says what is missing and offers to do it", service.program());
    match trouble {
        Trouble::Hidden(why) => {
            let by_hand = format!(
                "{fix}; or systemctl edit {unit}, with these two lines, then systemctl restart {unit}:\n\
                 [Service]\nBindReadOnlyPaths={}",
                sandbox::quoted(&format!("-{path}")),
                unit = service.service()
            );
            problem("library.sandbox", format!("the service does not see the folder {path} of {name}"), by_hand)
                .because(why)
        }
        Trouble::Refused(why) => {
            problem("library.access", format!("the service may not read all of {path} of {name}"), fix).because(why)
        }
        Trouble::Unseen(why) => {
            let what = format!("whether the service can read {path} of {name} was not seen");
            note("library.unseen", what).because(why).advise("run this as root")
        }
    }
}

fn twice(name: &Name, earlier: &Root, later: &Root) -> Option<Finding> {
    let (first, second) = (earlier.resolved.as_ref()?, later.resolved.as_ref()?);
    let (one, other) = (&earlier.name, &later.name);
    let fix = format!(
        "remove one of them from library.roots: {} config show --origin says where it is written",
        name.program()
    );
    let what = match (first == second, first.starts_with(second) || second.starts_with(first)) {
        (true, _) => format!("{one} and {other} are the same folder"),
        (false, true) => format!("{one} and {other} are in one another"),
        (false, false) => return None,
    };
    Some(problem("library.twice", what, fix).because("every film in both is listed twice"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::marked;
    use super::*;

    fn root(path: &str) -> Root {
        Root {
            name: "films".to_owned(),
            path: path.into(),
            resolved: Some(path.into()),
            is_folder: true,
            films: 3,
            ..Root::default()
        }
    }

    fn facts(roots: Vec<Root>) -> Facts {
        Facts { roots, formats: vec!["mp4".into()], ..Facts::default() }
    }

    #[test]
    fn each_fault_of_a_root_has_its_finding() {
        type Spoil = fn(&mut Root);
        let cases: [(Spoil, &[&str]); 10] = [
            (|_| {}, &[]),
            (|root| root.unmounted = Some("/srv".into()), &["!library.mount"]),
            (|root| root.resolved = None, &["!library.missing"]),
            (|root| root.is_folder = false, &["!library.file"]),
            (|root| root.trouble = Some(Trouble::Refused("no".into())), &["!library.access"]),
            (|root| root.trouble = Some(Trouble::Hidden("no".into())), &["!library.sandbox"]),
            (|root| root.trouble = Some(Trouble::Unseen("no".into())), &["library.unseen"]),
            (|root| root.is_unseen_yet = true, &["!library.restart"]),
            (|root| root.films = 0, &["library.empty"]),
            (|root| (root.films, root.others) = (0, 4), &["!library.formats"]),
        ];
        for (change, expected) in cases {
            let mut root = root("/srv/films");
            change(&mut root);
            assert_eq!(marked(&judge(&facts(vec![root]))), expected);
        }
        assert_eq!(marked(&judge(&facts(Vec::new()))), ["!library.none"]);
    }

    #[test]
    fn an_empty_folder_comes_with_what_to_do_and_no_restart() {
        let mut root = root("/srv/films");
        root.films = 0;
        let mut facts = facts(vec![root]);
        facts.name = Name::of("reelway@3001");
        let fix = judge(&facts)[0].fix.clone().unwrap_or_default();
        assert!(fix.contains("then: reelway --unit reelway@3001 library scan;"), "{fix}");
        assert!(fix.ends_with("reelway --unit reelway@3001 library remove films"), "{fix}");
        assert!(!fix.contains("restart"), "a restart forgets that there were films: {fix}");
    }

    #[test]
    fn a_path_is_one_word_of_what_is_to_be_typed() {
        let mut root = root("/srv/My 100% Films");
        root.trouble = Some(Trouble::Hidden("no".into()));
        let fix = judge(&facts(vec![root.clone()]))[0].fix.clone().unwrap_or_default();
        assert!(fix.starts_with("reelway library add '/srv/My 100% Films',"), "{fix}");
        assert!(fix.ends_with("BindReadOnlyPaths=\"-/srv/My 100%% Films\""), "{fix}");
        root.unmounted = Some("/srv/My 100% Films".into());
        let fix = judge(&facts(vec![root]))[0].fix.clone().unwrap_or_default();
        assert!(fix.starts_with("mount '/srv/My 100% Films';"), "{fix}");
    }

    #[test]
    fn folders_that_are_the_same_or_in_one_another_are_found() {
        let roots = vec![root("/srv/films"), root("/srv/films/new"), root("/srv/films2"), root("/srv/films")];
        let found = judge(&facts(roots));
        let twice: Vec<_> = found.iter().filter(|finding| finding.id == "library.twice").collect();
        assert_eq!(twice.len(), 3, "{twice:?}");
    }
}
