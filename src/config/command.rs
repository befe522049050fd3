//! The command lines that messages suggest.

use std::path::{Path, PathBuf};

use super::path::{DEFAULT_PATH, default_path};
use crate::text::escape::shell_word;

/// Returns the command line of an `airlock` command on the configuration at `config`. It can be pasted into a POSIX
/// shell, in any folder unless the configuration contains relative paths. No argument becomes an option.
///
/// It names the file also where AIRLOCK_CONFIG does: the shell into which it is pasted may not have the variable, which
/// a container or the unit of a server sets. It does not name the default file, unless the variable names another one.
pub(crate) fn command_line(config: &Path, command: &str, arguments: &[&str]) -> String {
    line(config, default_path(), command, arguments)
}

/// Returns the command line, for a process that reads the file `default` unless its command line names another one.
fn line(config: &Path, default: PathBuf, command: &str, arguments: &[&str]) -> String {
    let mut words = vec!["airlock".to_owned()];
    if [config, &default] != [Path::new(DEFAULT_PATH); 2] {
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        words.extend(["-c".to_owned(), shell_word(&config.to_string_lossy())]);
    }
    words.push(command.to_owned());
    if arguments.iter().any(|argument| argument.starts_with('-')) {
        words.push("--".to_owned());
    }
    words.extend(arguments.iter().map(|argument| shell_word(argument)));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_command_uses_the_same_configuration_and_quotes_its_arguments() {
        let line = |config: &str, arguments: &[&str]| {
            super::line(Path::new(config), DEFAULT_PATH.into(), "unlock", arguments)
        };
        assert_eq!(line(DEFAULT_PATH, &["g", "a"]), "airlock unlock g a");
        assert_eq!(
            line("/my files/c.toml", &["-x", "it's"]),
            r"airlock -c '/my files/c.toml' unlock -- -x 'it'\''s'"
        );
        let relative = line("c.toml", &[]);
        assert!(relative.starts_with("airlock -c /") && relative.ends_with("/c.toml unlock"));
    }

    #[test]
    fn a_suggested_command_works_with_and_without_the_variable() {
        let line = |config: &str, variable: &str| {
            super::line(Path::new(config), variable.into(), "status", &[])
        };
        // Pasted where the variable is set, the command has to use the file that was meant.
        assert_eq!(
            line(DEFAULT_PATH, "/other.toml"),
            "airlock -c /etc/airlock/config.toml status"
        );
        // Pasted where it is not set, as well.
        assert_eq!(
            line("/other.toml", "/other.toml"),
            "airlock -c /other.toml status"
        );
        assert_eq!(line(DEFAULT_PATH, DEFAULT_PATH), "airlock status");
    }
}
