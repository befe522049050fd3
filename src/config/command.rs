//! The command lines that messages suggest.

use std::path::Path;

use super::DEFAULT_PATH;
use crate::text::escape::shell_word;

/// Returns the command line of an `airlock` command on the configuration at `config`. It can be pasted into a POSIX
/// shell, in any folder unless the configuration contains relative paths. No argument becomes an option.
pub(crate) fn command_line(config: &Path, command: &str, arguments: &[&str]) -> String {
    let mut words = vec!["airlock".to_owned()];
    if config != Path::new(DEFAULT_PATH) {
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
        let line =
            |config: &str, arguments: &[&str]| command_line(Path::new(config), "unlock", arguments);
        assert_eq!(line(DEFAULT_PATH, &["g", "a"]), "airlock unlock g a");
        assert_eq!(
            line("/my files/c.toml", &["-x", "it's"]),
            r"airlock -c '/my files/c.toml' unlock -- -x 'it'\''s'"
        );
        let relative = line("c.toml", &[]);
        assert!(relative.starts_with("airlock -c /") && relative.ends_with("/c.toml unlock"));
    }
}
