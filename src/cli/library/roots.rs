//! conf.d/library.toml, the file that `library add` and `remove` write: all roots, because a list replaces the one before it.
//!
//! It is written whole, beside the file it replaces, and only after the configuration as a whole is valid with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::client::Server;
use crate::cli::unit::Unit;
use crate::config::{self, Root, Sources};
use crate::sys::file;

const HEADER: &str = "\
# The folders of films, written by `reelway library add` and `reelway library remove`, which write it anew each time.
# This list replaces the one of reelway.toml. A change by hand is taken over as long as it stays a list of { name, path }.

[library]
roots = [
";

/// The roots in force, and where a change of them is written.
pub(super) struct Roots {
    /// In their order.
    pub roots: Vec<Root>,
    file: PathBuf,
    sources: Sources,
}

impl Roots {
    /// Those of the configuration.
    ///
    /// # Errors
    /// When it is not valid, or the environment says which roots there are: then a file would change nothing.
    pub fn find(mut sources: Sources, unit: Option<&Unit>) -> anyhow::Result<Roots> {
        // Its folders, so that its own daemon is asked; not its variables, which no file may hold.
        unit.iter().for_each(|unit| unit.lends_folders(&mut sources));
        let config = config::load(&sources)?.config;
        ensure_a_file_decides(config.shown.origin("library.roots"))?;
        for name in ["VIDEOS_PATH", "REELWAY_LIBRARY__ROOTS"] {
            if let Some(place) = unit.and_then(|unit| unit.sets_variable(name)) {
                bail!("{name} is set in {place} and wins over every file: take it out there, then run this again");
            }
        }
        if let Some(server) = Server::running(&config)
            && let Ok(shown) = server.ask("GET", "/api/admin/config", None)
        {
            ensure_a_file_decides(shown["library.roots"]["origin"].as_str().unwrap_or_default())?;
        }
        Ok(Roots { roots: config.library.roots, file: sources.drop_in_folder().join("library.toml"), sources })
    }

    /// A name that no root has: that of the folder, with a number behind it if need be.
    pub fn unused_name(&self, path: &Path) -> String {
        let folder = path.file_name().map_or_else(|| "films".into(), |name| name.to_string_lossy());
        // A backslash is none of an address of ours (spec/HTTP.md, "Paths").
        let folder = folder.replace('\\', "-");
        let numbered = (2..).map(|number: usize| format!("{folder}-{number}"));
        let is_free = |name: &String| self.roots.iter().all(|root| root.name != *name);
        [folder.clone()].into_iter().chain(numbered).find(is_free).unwrap_or(folder)
    }

    /// Whether the configuration is valid with these roots, and they are in force then.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        let sources = Sources { draft: Some((self.file.clone(), text(&self.roots))), ..self.sources.clone() };
        let loaded = config::load(&sources).context("the configuration would not be valid with this change")?;
        if loaded.config.library.roots != self.roots {
            let origin = loaded.config.shown.origin("library.roots");
            bail!("library.roots is set {origin}, which wins over {}: take it out there", self.file.display());
        }
        Ok(())
    }

    /// Writes the roots, if they pass [`Roots::check`]. Where they stand.
    ///
    /// # Errors
    /// With what is wrong; nothing is changed then.
    pub fn write(&self) -> anyhow::Result<&Path> {
        self.check()?;
        file::replace(&self.file, 0o644, text(&self.roots).as_bytes())
            .with_context(|| format!("could not write {}; run this as root", self.file.display()))?;
        Ok(&self.file)
    }
}

fn ensure_a_file_decides(origin: &str) -> anyhow::Result<()> {
    match origin.strip_prefix("environment ") {
        Some(name) => bail!("{name} is set in the environment of the daemon, and wins over every file: unset it there"),
        None => Ok(()),
    }
}

fn text(roots: &[Root]) -> String {
    let mut text = HEADER.to_owned();
    for root in roots {
        let (name, path) = (config::toml_text(&root.name), config::toml_text(&root.path.to_string_lossy()));
        text += &format!("    {{ name = {name}, path = {path} }},\n");
    }
    text + "]\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        sources: Sources,
    }

    fn place(files: &[(&str, &str)]) -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let run = format!("[directories]\nruntime = \"{}\"\n", folder.path().display());
        fs::write(folder.path().join("conf.d/00-test.toml"), run).unwrap();
        let sources = Sources {
            file: None,
            draft: None,
            default_file: folder.path().join("reelway.toml"),
            environment: BTreeMap::new(),
            flags: Vec::new(),
            working_directory: PathBuf::from("/"),
        };
        Place { folder, sources }
    }

    impl Place {
        fn find(&self) -> anyhow::Result<Roots> {
            Roots::find(self.sources.clone(), None)
        }

        fn in_force(&self) -> Vec<Root> {
            config::load(&self.sources).unwrap().config.library.roots
        }
    }

    fn root(name: &str) -> Root {
        Root { name: name.to_owned(), path: Path::new("/srv").join(name) }
    }

    #[test]
    fn roots_of_other_files_are_kept() {
        let place = place(&[("reelway.toml", "[library]\nroots = [\"/srv/old\"]\n")]);
        let mut roots = place.find().unwrap();
        roots.roots.push(root("it's \"new\" é"));
        let file = roots.write().unwrap().to_owned();
        assert_eq!(place.in_force(), [root("old"), root("it's \"new\" é")]);
        assert_eq!(file, place.folder.path().join("conf.d/library.toml"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 2, "no draft is left behind");
        let mut roots = place.find().unwrap();
        roots.roots.clear();
        roots.write().unwrap();
        assert_eq!(place.in_force(), [], "a list of none is one");
    }

    #[test]
    fn what_would_not_be_valid_or_not_in_force_is_not_written() {
        let place = place(&[("conf.d/zz.toml", "[library]\nroots = [\"/srv/later\"]\n")]);
        let mut roots = place.find().unwrap();
        roots.roots.push(root("new"));
        let error = roots.write().unwrap_err().to_string();
        assert!(error.contains("zz.toml:2, which wins over"), "{error}");
        roots.roots = vec![root("a"), root("a")];
        let error = format!("{:#}", roots.write().unwrap_err());
        assert!(error.contains("two roots named \"a\""), "{error}");
        assert!(!place.folder.path().join("conf.d/library.toml").exists());
    }

    #[test]
    fn a_variable_that_wins_is_named() {
        let mut place = place(&[]);
        place.sources.environment.insert("VIDEOS_PATH".into(), "/srv".into());
        let error = place.find().err().unwrap().to_string();
        assert!(error.contains("VIDEOS_PATH is set in the environment"), "{error}");
    }

    #[test]
    fn a_name_is_that_of_the_folder_unless_it_is_taken() {
        let mut roots = place(&[]).find().unwrap();
        assert_eq!(roots.unused_name(Path::new("/home/ann/Videos")), "Videos");
        roots.roots = ["Videos", "Videos-2"].map(root).to_vec();
        assert_eq!(roots.unused_name(Path::new("/home/bob/Videos")), "Videos-3");
        assert_eq!(roots.unused_name(Path::new("/")), "films");
        assert_eq!(roots.unused_name(Path::new("/srv/a\\b")), "a-b");
    }
}
