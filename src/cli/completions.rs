//! `reelway completions SHELL`: what a shell needs to complete the command line.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::print;

/// For which shell.
#[derive(Args)]
pub(super) struct CompletionsVerb {
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When stdout cannot be written.
pub(super) fn run(verb: &CompletionsVerb, command: Command) -> anyhow::Result<()> {
    print(&script(verb.shell, command))
}

fn script(shell: Shell, mut command: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "reelway", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn each_shell_is_told_of_the_verbs_and_their_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell, Arguments::command());
            for word in ["healthcheck", "password-stdin", "config"] {
                assert!(script.contains(word), "{shell} is not told of {word}");
            }
        }
    }
}
