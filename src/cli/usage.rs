//! The parsing of the command line, and the messages about one that is invalid.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Command, Error, FromArgMatches as _};

use super::args::{Cli, CliCommand};
use super::{environment, help};
use crate::text::escape::redacted;

/// Parses the arguments, of which the first is the name of the program.
///
/// # Errors
/// If they are invalid, or ask for help. The message about an unknown command lists the commands. It suggests none: the
/// most similar name may be that of a command that changes something. No message contains the password of a URL.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Cli, Error> {
    parsed(&arguments).map_err(|mut error| {
        error.remove(ContextKind::SuggestedSubcommand);
        if error.kind() == ErrorKind::InvalidSubcommand {
            error.remove(ContextKind::SuggestedCommand);
            let commands = format!("the commands are: {}", commands(&arguments).join(", "));
            let tips = ContextValue::StyledStrs(vec![StyledStr::from(commands)]);
            error.insert(ContextKind::Suggested, tips);
        }
        redact(&mut error);
        error
    })
}

/// Replaces the passwords in the words of the command line that an error repeats, and removes the tips that do.
fn redact(error: &mut Error) {
    let word = |word: &String| redacted(word).into_owned();
    let context = error.context().filter_map(|(kind, value)| {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(word(text)),
            ContextValue::Strings(texts) => ContextValue::Strings(texts.iter().map(word).collect()),
            ContextValue::StyledStrs(tips) => {
                let is_safe = |tip: &&StyledStr| !tip.to_string().contains('@');
                ContextValue::StyledStrs(tips.iter().filter(is_safe).cloned().collect())
            }
            _ => return None,
        };
        Some((kind, value))
    });
    for (kind, value) in context.collect::<Vec<_>>() {
        error.insert(kind, value);
    }
}

fn parsed(arguments: &[OsString]) -> Result<Cli, Error> {
    let mut command = environment::without_empty(help::command());
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    let is_dev = matches!(&cli.command, CliCommand::Serve(arguments) if arguments.dev);
    // A rule of clap would not see an option before the command.
    if is_dev && matches.value_source("config") == Some(ValueSource::CommandLine) {
        let text = "the argument '--dev' cannot be used with '--config <FILE>': the server writes a configuration of \
                    its own";
        let serve = command.find_subcommand_mut("serve");
        return Err(match serve {
            Some(serve) => serve.error(ErrorKind::ArgumentConflict, text),
            None => command.error(ErrorKind::ArgumentConflict, text),
        });
    }
    Ok(cli)
}

/// Returns the names of the commands that are possible after those in `arguments`.
fn commands(arguments: &[OsString]) -> Vec<String> {
    let mut command = &help::command();
    for argument in arguments {
        if let Some(found) = command.find_subcommand(argument) {
            command = found;
        }
    }
    let visible = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    visible.map(Command::get_name).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(arguments: &[&str]) -> String {
        let arguments = ["airlock"].iter().chain(arguments).map(OsString::from);
        parse(arguments.collect()).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_command_lists_the_commands_and_suggests_none() {
        for unknown in ["state", "unlok", "resum", "pasue"] {
            let message = message(&[unknown]);
            assert!(
                message.contains("tip: the commands are: serve, check-config, "),
                "{message}"
            );
            assert!(!message.contains("similar"), "{message}");
            assert!(!message.contains(", man"), "{message}");
        }
        let set = message(&["set", "slot", "default", "1"]);
        assert!(set.contains("the commands are: slots\n"), "{set}");
        let argument = message(&["--dry-run"]);
        assert!(!argument.contains("tip:"), "{argument}");
    }

    #[test]
    fn no_message_contains_the_password_of_a_url() {
        let url = "https://u:topsecret@h/";
        for arguments in [
            &[url][..],
            &["client", url],
            &["client", "pre-reboot", url],
            &["client", "pre-reboot", "--ur", url],
            &["client", "pre-reboot", "--ur=https://u:topsecret@h/"],
            &["client", "pre-reboot", "-uhttps://u:topsecret@h/"],
            &["client", "pre-reboot", "--https://u:topsecret@h/"],
            &["client", "pre-reboot", "--url", url, "u:topsecret@h"],
            &["client", "pre-reboot", "--url", url, "--timeout", url],
            &[
                "client",
                "pre-reboot",
                "--url",
                url,
                "--wait=https://u:topsecret@h/",
            ],
            &["unlock", "default", "n", url],
        ] {
            let message = message(arguments);
            assert!(message.starts_with("error: "), "{message}");
            assert!(!message.contains("topsecret"), "{message}");
        }
        let shown = message(&["client", "pre-reboot", url]);
        assert!(shown.contains("'https://u:***@h/'"), "{shown}");
    }
}
