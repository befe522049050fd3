//! Output of commands: results on stdout, errors and warnings on stderr. Each reader may close its end at any time, as
//! `head` does.

use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::CliError;
use crate::logging;
use crate::text::escape::printable;
use crate::text::explain::{causes, chain};

/// Prints a line that is the result of a command. Control characters are escaped.
///
/// # Errors
/// If the reader has closed stdout, or the line cannot be written.
pub(super) fn print(line: impl Display) -> Result<(), CliError> {
    print_raw(printable(&line.to_string()))
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
        CliError::CheckFailed | CliError::StoreCheckFailed => return,
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
    let _ = writeln!(io::stderr().lock(), "{}", printable(&line));
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
