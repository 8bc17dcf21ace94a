//! `reelway config`: whether the configuration is right, what is in force and why, and a file to start from.

use clap::Subcommand;
use serde_json::json;

use crate::cli::print;
use crate::config::{self, ConfigError, Loaded, Sources};

/// What to do with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the configuration is valid; exit with 1 if it is not
    Check {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Print every option with the value in force
    Show {
        /// Also print where each value comes from: file and line, variable, flag or default
        #[arg(long)]
        origin: bool,
        /// Print JSON for programs; origins are always in it
        #[arg(long)]
        json: bool,
    },
    /// Print a configuration file with every option, its default and its meaning
    Sample,
}

/// Runs the verb and prints its answer to stdout.
///
/// # Errors
/// When the configuration is not valid, or stdout cannot be written.
pub fn run(command: ConfigCommand, sources: &Sources) -> anyhow::Result<()> {
    let loaded = match command {
        ConfigCommand::Sample => return print(&config::sample()),
        ConfigCommand::Check { .. } | ConfigCommand::Show { .. } => config::load(sources),
    };
    if let ConfigCommand::Check { json: true } = command {
        print(&check_json(&loaded))?;
    }
    let loaded = loaded?;
    match command {
        ConfigCommand::Sample | ConfigCommand::Check { json: true } => Ok(()),
        ConfigCommand::Check { json: false } => print(&check_text(&loaded)),
        ConfigCommand::Show { json: true, .. } => print(&format!("{:#}\n", loaded.show_json())),
        ConfigCommand::Show { json: false, origin } => print(&loaded.show(origin)),
    }
}

fn check_text(loaded: &Loaded) -> String {
    let files = loaded.files.iter().map(|file| format!("read {}\n", file.display()));
    let warnings = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n"));
    files.chain(warnings).chain(["configuration is valid\n".to_owned()]).collect()
}

fn check_json(loaded: &Result<Loaded, ConfigError>) -> String {
    let answer = match loaded {
        Ok(loaded) => json!({
            "valid": true,
            "problems": [],
            "warnings": loaded.warnings,
            "files": loaded.files.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "valid": false, "problems": error.problems(), "warnings": [], "files": [] }),
    };
    format!("{answer:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `config check --json` says of a file.
    fn check(text: &str) -> serde_json::Value {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reelway.toml");
        std::fs::write(&file, text).unwrap();
        let mut sources = Sources::of_process(Some(file), Vec::new());
        sources.environment = [("NODE_ENV".into(), "production".into())].into();
        serde_json::from_str(&check_json(&config::load(&sources))).unwrap()
    }

    #[test]
    fn check_lists_warnings_of_a_valid_and_problems_of_an_invalid_configuration() {
        let valid = check("server.port = 80");
        assert_eq!((&valid["valid"], &valid["problems"]), (&json!(true), &json!([])));
        assert!(valid["warnings"][0].as_str().unwrap().contains("NODE_ENV"), "{valid}");
        assert!(valid["files"][0].as_str().unwrap().ends_with("reelway.toml"), "{valid}");
        let invalid = check("server.prot = 80");
        assert_eq!((&invalid["valid"], &invalid["warnings"]), (&json!(false), &json!([])));
        assert!(invalid["problems"][0].as_str().unwrap().contains("'server.port'"), "{invalid}");
    }

    #[test]
    fn invalid_configuration_fails_every_verb_but_sample() {
        let mut sources = Sources::of_process(Some("/nonexistent/reelway.toml".into()), Vec::new());
        sources.environment.clear();
        assert!(run(ConfigCommand::Check { json: false }, &sources).is_err());
        assert!(run(ConfigCommand::Show { origin: true, json: false }, &sources).is_err());
        assert!(run(ConfigCommand::Sample, &sources).is_ok());
    }
}
