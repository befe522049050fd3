//! The parsing of the command line, and the messages about one that is invalid.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Command, Error, FromArgMatches as _};

use super::args::{Cli, CliCommand};
use super::help;

/// Parses the arguments, of which the first is the name of the program.
///
/// # Errors
/// If they are invalid, or ask for help. The message about an unknown command lists the commands. It suggests none: the
/// most similar name may be that of a command that changes something.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Cli, Error> {
    parsed(&arguments).map_err(|mut error| {
        error.remove(ContextKind::SuggestedSubcommand);
        if error.kind() == ErrorKind::InvalidSubcommand {
            error.remove(ContextKind::SuggestedCommand);
            let commands = format!("the commands are: {}", commands(&arguments).join(", "));
            let tips = ContextValue::StyledStrs(vec![StyledStr::from(commands)]);
            error.insert(ContextKind::Suggested, tips);
        }
        error
    })
}

fn parsed(arguments: &[OsString]) -> Result<Cli, Error> {
    let mut command = help::command();
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
}
