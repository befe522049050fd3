//! Output of commands: results on stdout, errors and warnings on stderr. Each reader may close its end at any time, as
//! `head` does.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::CliError;
use super::color;
use crate::lock::NodeId;
use crate::logging;
use crate::text::escape::{escaped_json, printable, shortened};
use crate::text::explain::{causes, chain};

/// Prints a line that is the result of a command. Control characters are escaped.
///
/// # Errors
/// If the reader has closed stdout, or the line cannot be written.
pub(super) fn print(line: impl Display) -> Result<(), CliError> {
    print_raw(printable(&line.to_string()))
}

/// Prints a value as JSON. Control characters are escaped, so that a parser returns the same texts.
///
/// # Errors
/// If the reader has closed stdout, or the text cannot be written.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    // The values have no maps with keys other than texts, which JSON could not represent.
    let text = serde_json::to_string(value).unwrap_or_default();
    print_raw(escaped_json(&text))
}

/// Prints text for programs, which may contain any character.
///
/// # Errors
/// If the reader has closed stdout, or the text cannot be written.
pub(super) fn print_raw(text: impl Display) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{text}").map_err(CliError::Output)
}

/// Prints a line of progress. The command and its exit code do not depend on whether it can be written.
pub(super) fn report(line: impl Display) {
    let _ = print(line);
}

/// Prints a line of progress that begins with a label, such as `warning:`.
pub(super) fn report_labelled(line: impl Display) {
    let _ = print_raw(labelled(&line.to_string(), &io::stdout()));
}

/// The maximum number of characters of an id in a table or a sentence: every id that a server accepts is shown in full.
const MAX_ID: usize = NodeId::MAX_BYTES;

/// Returns an id as it is shown: escaped, and cut if it is longer than the ids that a server accepts.
pub(super) fn shown(id: &str) -> Cow<'_, str> {
    shortened(id, MAX_ID)
}

/// Returns the lines of a table. The columns in `right` are aligned to the right.
///
/// A cell of more than `max_width` characters does not widen its column, so that one long id moves only its own row. A
/// column without any text is left out.
pub(super) fn table<const N: usize>(
    mut rows: Vec<[String; N]>,
    right: &[usize],
    max_width: usize,
) -> Vec<String> {
    for cell in rows.iter_mut().flatten() {
        *cell = shown(cell).into_owned();
    }
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.filter(|length| *length <= max_width).max()
    };
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let is_empty: [bool; N] =
        std::array::from_fn(|column| rows.iter().all(|row| row[column].is_empty()));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.filter(|(column, _)| !is_empty[*column]);
        let cells = cells.map(|(column, (cell, width))| {
            if right.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Returns a number with its noun, such as `2 warnings`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Prints the reason why a command failed to stderr: the message, its causes, and the remedy if there is one.
pub(super) fn print_error(error: &CliError, config: &Path) {
    match error {
        CliError::Config(invalid) => {
            for error in &invalid.errors {
                print_message(format_args!("error: {error}"));
            }
            return;
        }
        // The command has printed the reasons.
        CliError::CheckFailed
        | CliError::StoreCheckFailed
        | CliError::GatesFailed
        | CliError::NeedsAttention
        | CliError::InvalidMachineIds => return,
        error => print_message(format_args!("error: {error}")),
    }
    for cause in causes(error) {
        print_message(format_args!("  caused by: {cause}"));
    }
    if let Some(hint) = error.hint(config) {
        print_message(format_args!("hint: {hint}"));
    }
}

/// Logs the reason why the server failed: the message, its causes, and the remedy if there is one.
pub(super) fn log_error(error: &CliError, config: &Path) {
    if let CliError::Config(invalid) = error {
        for error in &invalid.errors {
            tracing::error!("{error}");
        }
        return;
    }
    match error.hint(config) {
        Some(hint) => tracing::error!("{}; {hint}", chain(error)),
        None => tracing::error!("{}", chain(error)),
    }
}

/// Prints a line to stderr. There is no other place for the error of a failure to do so.
fn print_message(line: impl Display) {
    let line = line.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", labelled(&line, &io::stderr()));
}

/// Returns a line with its label in color, if colors are wanted in what is written to `stream`.
fn labelled(line: &str, stream: &impl IsTerminal) -> String {
    let line = printable(line);
    match color::are_wanted(stream) {
        true => color::label(&line).into_owned(),
        false => line.into_owned(),
    }
}

/// Begins to print events to stderr as plain text, such as `warning: …`: those of this crate up to `verbosity` (the
/// count of `-v`), and the warnings of libraries.
pub(super) fn print_events(verbosity: u8) {
    let level = logging::level(verbosity);
    // A second call, as tests in one process make it, keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(PlainText { level }));
}

/// A [`Layer`] that prints events for people.
struct PlainText {
    level: Level,
}

/// The text of an event.
#[derive(Default)]
struct EventText {
    message: String,
    fields: Vec<String>,
}

// === impl PlainText ===

impl<S: Subscriber> Layer<S> for PlainText {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        logging::is_enabled(self.level, metadata)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = EventText::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        print_message(format_args!("{level}: {text}"));
    }
}

// === impl EventText ===

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.push(format!("{}: {value:?}", field.name()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl Display for EventText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.fields.join(", ") {
            fields if fields.is_empty() => Ok(()),
            fields => write!(f, " ({fields})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(ids: &[&str]) -> Vec<String> {
        let rows = ids.iter().map(|id| ["1".into(), (*id).into(), "x".into()]);
        table(rows.collect(), &[0], 4)
    }

    #[test]
    fn a_long_cell_moves_only_its_own_row() {
        assert_eq!(lines(&["a", "abcd"]), ["1  a     x", "1  abcd  x"]);
        assert_eq!(
            lines(&["a", "abcde", "ab"]),
            ["1  a   x", "1  abcde  x", "1  ab  x"]
        );
    }

    #[test]
    fn an_id_that_no_server_accepts_is_cut() {
        let longest = "é".repeat(253);
        let expected = format!("1  {longest}  x");
        assert_eq!(lines(&[&longest]), [&*expected]);
        let expected = format!("1  {longest}…  x");
        assert_eq!(lines(&[&"é".repeat(65_536)]), [&*expected]);
    }

    #[test]
    fn a_column_without_text_is_left_out() {
        let rows = ["a", "b"].map(|cell| [cell.into(), String::new(), "c".into()]);
        assert_eq!(table(rows.into(), &[], 4), ["a  c", "b  c"]);
    }

    #[test]
    fn a_cell_cannot_forge_a_row() {
        assert_eq!(lines(&["a\nb", "c"]), [r"1  a\nb  x", "1  c     x"]);
    }
}
