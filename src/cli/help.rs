//! The help: the commands under headings, and examples.

use std::fmt::Write as _;

use clap::builder::{StyledStr, Styles};
use clap::{Command, CommandFactory as _};

use super::args::Cli;
use super::examples::{EXAMPLES, Example};

/// The headings of the list of commands, with the commands below them.
const SECTIONS: [(&str, &[&str]); 6] = [
    ("Server", &["serve", "check-config", "healthcheck"]),
    (
        "See the state",
        &["status", "get slots", "get gates", "history", "watch"],
    ),
    (
        "Change groups",
        &["unlock", "lock", "set slots", "pause", "resume", "override"],
    ),
    ("Embedded store", &["backup", "restore"]),
    ("Nodes", &["client", "id"]),
    ("Other", &["ex get slots", "completions", "version"]),
];

const AFTER_HELP: &str = "\
`airlock COMMAND --help` explains a command, with examples. `airlock --help` lists the exit codes.";

const EXIT_CODES: &str = "
  0         success, or there was nothing to change
  1         refused or failed, and nothing was changed (status: something needs attention)
  2         the command line is invalid (status: no group and no known node has this name)
  69        the store, the server or a gate cannot be used; nothing was changed
  75        the outcome of the change is unknown; check with `airlock get slots`
  77        client: the server rejects the request
  78        the configuration is invalid
  130, 143  a second SIGINT or SIGTERM ended the server at once";

/// Returns the definition of the command line, with its complete help.
pub(super) fn command() -> Command {
    let mut command = Cli::command();
    let styles = command.get_styles().clone();
    for (name, examples) in EXAMPLES {
        let text = examples_text(&styles, examples);
        command = with_after_long_help(command, name, text);
    }
    let examples = command.get_after_long_help().cloned().unwrap_or_default();
    let exit_codes = heading(&styles, "Exit codes");
    let template = template(&command);
    command
        .help_template(template)
        .after_help(AFTER_HELP)
        .after_long_help(StyledStr::from(format!(
            "{}\n\n{exit_codes}{EXIT_CODES}",
            examples.ansi()
        )))
}

/// Adds a text to the long help of the command with this name, which is empty for that of the program, before the text
/// that follows its help.
fn with_after_long_help(command: Command, name: &str, text: StyledStr) -> Command {
    let mut words = name.splitn(2, ' ');
    match words.next() {
        None | Some("") => match command.get_after_help().cloned() {
            Some(rest) => command.after_long_help(StyledStr::from(format!(
                "{}\n\n{}",
                text.ansi(),
                rest.ansi()
            ))),
            None => command.after_long_help(text),
        },
        Some(first) => {
            let rest = words.next().unwrap_or_default();
            command.mut_subcommand(first, |inner| with_after_long_help(inner, rest, text))
        }
    }
}

fn examples_text(styles: &Styles, examples: &[Example]) -> StyledStr {
    let literal = styles.get_literal();
    let mut text = heading(styles, "Examples");
    for (index, Example { purpose, line }) in examples.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{gap}\n  # {purpose}\n  {literal}{line}{literal:#}");
    }
    text.into()
}

fn heading(styles: &Styles, text: &str) -> String {
    let header = styles.get_header();
    format!("{header}{text}:{header:#}")
}

/// Returns the template of the help of the program, with the commands under their headings.
fn template(command: &Command) -> StyledStr {
    let styles = command.get_styles();
    let literal = styles.get_literal();
    let names = SECTIONS.iter().flat_map(|(_, names)| names.iter());
    let width = names.map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::from("{before-help}{about-with-newline}\n{usage-heading} {usage}\n\n");
    for (title, names) in SECTIONS {
        text.push_str(&heading(styles, title));
        for name in names {
            let about = find(command, name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {literal}{name:width$}{literal:#}  {about}");
        }
        text.push_str("\n\n");
    }
    text.push_str(&heading(styles, "Options"));
    text.push_str("\n{options}{after-help}");
    text.into()
}

/// Finds the command with this name, such as `get slots`.
fn find<'c>(command: &'c Command, name: &str) -> Option<&'c Command> {
    let mut words = name.split(' ');
    words.try_fold(command, |command, word| command.find_subcommand(word))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    use super::super::usage;
    use super::*;

    /// Returns the visible commands without commands of their own, except `help`.
    fn leaves(command: &Command, name: &str) -> Vec<String> {
        let visible = command
            .get_subcommands()
            .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
        let inner = visible.flat_map(|inner| {
            let name = format!("{name} {}", inner.get_name());
            leaves(inner, name.trim())
        });
        let inner: Vec<String> = inner.collect();
        match inner.is_empty() {
            true => vec![name.to_owned()],
            false => inner,
        }
    }

    #[test]
    fn every_command_is_listed_once_under_a_heading_and_fits_on_a_line() {
        let command = command();
        let listed: Vec<&str> = SECTIONS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        for leaf in leaves(&command, "") {
            let sections = listed
                .iter()
                .filter(|name| leaf == **name || leaf.starts_with(&format!("{name} ")));
            assert_eq!(sections.count(), 1, "{leaf}");
        }
        for name in &listed {
            assert!(find(&command, name).is_some(), "{name}");
        }
        let help = command.clone().render_help().to_string();
        let lines = help.lines().take_while(|line| *line != "Options:");
        for line in lines {
            assert!(line.len() <= 80, "{line}");
        }
    }

    #[test]
    fn every_command_has_examples_that_are_valid_command_lines() {
        let names: BTreeSet<String> = EXAMPLES.iter().map(|(name, _)| (*name).into()).collect();
        let mut expected: BTreeSet<String> = leaves(&command(), "").into_iter().collect();
        expected.insert(String::new());
        assert_eq!(names, expected);
        for (name, examples) in EXAMPLES {
            assert!((1..=3).contains(&examples.len()), "{name}");
            for Example { line, .. } in *examples {
                let airlock = line.strip_prefix("source <(").unwrap_or(line);
                let words = airlock.trim_end_matches(')').split(' ');
                let words: Vec<OsString> = words
                    .take_while(|word| ![">", "&&"].contains(word))
                    .map(Into::into)
                    .collect();
                usage::parse(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                assert!(line.contains(&format!("airlock {name}")), "{name}: {line}");
            }
        }
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        fn check(command: &Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{name} {id}");
            }
            command.get_subcommands().for_each(check);
        }
        let mut command = command();
        command.build();
        check(&command);
    }

    #[test]
    fn the_short_help_is_shorter_than_the_long_one() {
        let short = command().render_help().to_string();
        let long = command().render_long_help().to_string();
        assert!(
            !short.contains("Exit codes:") && !short.contains("Examples:"),
            "{short}"
        );
        assert!(
            long.contains("\nExamples:\n") && long.contains("\nExit codes:\n"),
            "{long}"
        );
        assert!(short.lines().count() < 50, "{short}");
    }
}
