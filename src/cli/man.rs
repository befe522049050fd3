//! `airlock man`: writes the manual pages, which are generated from the definitions of the command line and of the
//! configuration. Packages contain them.

mod configuration;

use std::path::Path;
use std::{fs, io};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{CliError, help};

/// The program of the pages, and its version.
const SOURCE: &str = concat!("airlock ", env!("CARGO_PKG_VERSION"));

/// The date of the pages, as an argument in roff: none, so that the same sources produce the same pages.
const NO_DATE: &str = "\"\"";

/// The headings of the text behind the help, without the colon.
const EXAMPLES: &str = "Examples";
const EXIT_CODES: &str = "Exit codes";

/// Writes one manual page for each command into `folder`, and one for the configuration.
pub(super) fn run(folder: &Path) -> Result<(), CliError> {
    let mut command = help::command().disable_help_subcommand(true);
    command.build();
    let exit_codes = block(&command, EXIT_CODES);
    let configuration = folder.join(configuration::FILE_NAME);
    write_pages(folder, &command, &[], &exit_codes)
        .and_then(|()| fs::write(configuration, configuration::page(NO_DATE, SOURCE).render()))
        .map_err(|source| CliError::Write {
            path: folder.to_owned(),
            source,
        })
}

/// Writes the page of a command, and those of its commands. `parents` are the names of the pages above; `exit_codes` are
/// those of a command that has none of its own.
fn write_pages(
    folder: &Path,
    command: &Command,
    parents: &[&str],
    exit_codes: &[String],
) -> io::Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(NO_DATE)
        .source(SOURCE);
    let commands = || {
        command
            .get_subcommands()
            .filter(|inner| !inner.is_hide_set())
    };
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if commands().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut end = Roff::new();
    let own_codes = block(command, EXIT_CODES);
    let codes = if own_codes.is_empty() {
        exit_codes
    } else {
        &own_codes
    };
    environment(&mut end, command);
    literal_section(&mut end, "EXIT STATUS", codes);
    literal_section(&mut end, "EXAMPLES", &block(command, EXAMPLES));
    see_also(&mut end, parents);
    end.to_writer(&mut page)?;
    fs::write(folder.join(man.get_filename()), page)?;

    let parents = [parents, &[name]].concat();
    commands().try_for_each(|inner| write_pages(folder, inner, &parents, exit_codes))
}

/// Returns the lines of the text behind the long help that are indented below a heading.
fn block(command: &Command, heading: &str) -> Vec<String> {
    let text = command.get_after_long_help().or(command.get_after_help());
    let text = text.map(ToString::to_string).unwrap_or_default();
    let below = text
        .lines()
        .skip_while(|line| line.strip_suffix(':') != Some(heading))
        .skip(1);
    below
        .take_while(|line| line.starts_with(' ') || line.is_empty())
        .map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned())
        .collect()
}

/// Adds the variables that set options, which clap_mangen leaves out.
fn environment(page: &mut Roff, command: &Command) {
    let options = command
        .get_arguments()
        .filter(|option| !option.is_hide_set());
    let variables = options.filter_map(|option| Some((option.get_env()?, option.get_long()?)));
    for (index, (variable, option)) in variables.enumerate() {
        if index == 0 {
            page.control("SH", ["ENVIRONMENT"]);
        }
        page.control("TP", []);
        page.text([bold(variable.to_string_lossy())]);
        page.text([
            roman("The value of "),
            bold(format!("--{option}")),
            roman(", unless the command line has one"),
        ]);
    }
}

/// Adds a section of lines as they are.
fn literal_section(page: &mut Roff, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    page.control("SH", [title]).control("nf", []);
    for line in lines {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

fn see_also(page: &mut Roff, parents: &[&str]) {
    page.control("SH", ["SEE ALSO"]);
    let mut pages = Vec::new();
    for parent in parents {
        pages.extend([bold(*parent), roman("(1), ")]);
    }
    pages.extend([bold(configuration::NAME), roman("(5)")]);
    page.text(pages);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_below_a_heading_end_with_the_next_one() {
        let command = Command::new("c").after_help("One:\n  a\n\n    b\nTwo:\n  c\nThree");
        assert_eq!(block(&command, "One"), ["a", "", "  b"]);
        assert_eq!(block(&command, "Two"), ["c"]);
        assert_eq!(block(&command, "Three"), [""; 0]);
    }
}
