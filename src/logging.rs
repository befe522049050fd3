//! The log on standard error: logfmt as coreos/airlock writes it, or JSON, with one line per event.
//!
//! A separate thread writes the lines. If it falls behind, lines are dropped, so that logging never delays a request.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use crate::text::escape::quoted;

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// `time="…" level=debug msg="…" group=default`
    #[default]
    Logfmt,
    /// `{"time":"…","level":"debug","msg":"…","group":"default"}`
    Json,
}

/// The maximum number of lines that wait to be written, some hundred bytes each.
const MAX_PENDING_LINES: usize = 16_384;

/// Starts the log on standard error: events of Airlock up to `verbosity` (the number of `-v` flags), and warnings of
/// libraries. Dropping the guard flushes the log.
pub(crate) fn init(verbosity: u8, format: Format) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_PENDING_LINES)
        .thread_name("log")
        .finish(Batched(BufWriter::new(io::stderr())));
    let lines = Lines {
        level: level(verbosity),
        format,
        writer,
    };
    // A second call, as from tests in one process, keeps the first log.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(lines));
    guard
}

/// Maps the number of `-v` flags to a level, as coreos/airlock does.
pub(crate) fn level(verbosity: u8) -> Level {
    match verbosity {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

/// Writes lines in batches: after each write it waits for more lines, so that under load many lines share one system
/// call and one wakeup of the thread.
struct Batched<W>(W);

/// The maximum time that a line waits for others.
const BATCH_INTERVAL: Duration = Duration::from_millis(2);

impl<W: Write> Write for Batched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// The thread of the log calls this when no line waits.
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        thread::sleep(BATCH_INTERVAL);
        Ok(())
    }
}

/// Writes one line for each event.
struct Lines {
    level: Level,
    format: Format,
    writer: NonBlocking,
}

/// Reports whether an event is logged: those of this crate up to `level`, and the warnings of libraries.
pub(crate) fn is_enabled(level: Level, metadata: &Metadata<'_>) -> bool {
    let is_own = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    *metadata.level() <= if is_own { level } else { Level::WARN }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_enabled(self.level, metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.max(Level::WARN).into())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let line = match self.format {
            Format::Logfmt => logfmt(&time, event.metadata().level(), &fields),
            Format::Json => json(&time, event.metadata().level(), fields),
        };
        // The lossy writer neither blocks nor fails.
        let _ = self.writer.clone().write_all(line.as_bytes());
    }
}

/// Names a level as logrus does, with which coreos/airlock logs.
fn level_name(level: &Level) -> &'static str {
    match *level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warning",
        Level::ERROR => "error",
    }
}

/// Formats an event as a line of logfmt.
fn logfmt(time: &str, level: &Level, fields: &Fields) -> String {
    let mut line = format!(
        "time=\"{time}\" level={} msg={}",
        level_name(level),
        quoted(&fields.message)
    );
    for (name, value) in &fields.others {
        let text = match value {
            Value::String(text) if text.chars().all(is_bare) => text.clone(),
            Value::String(text) => quoted(text),
            other => other.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = write!(line, " {name}={text}");
    }
    line.push('\n');
    line
}

/// Reports whether logrus writes the character without quotes.
fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._/@^+".contains(c)
}

/// Formats an event as a line of JSON.
fn json(time: &str, level: &Level, fields: Fields) -> String {
    let mut line = Map::new();
    line.insert("time".into(), time.into());
    line.insert("level".into(), level_name(level).into());
    line.insert("msg".into(), fields.message.into());
    for (name, value) in fields.others {
        line.insert(name.into(), value);
    }
    format!("{}\n", Value::Object(line))
}

/// The message and the other fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        self.others.push((field.name(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.record_str(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.push(field, value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }
}

/// Returns the number of warnings and errors that `action` logs.
#[cfg(test)]
pub(crate) fn warnings(action: impl FnOnce()) -> usize {
    logged(action).len()
}

/// Returns the messages of the warnings and errors that `action` logs.
#[cfg(test)]
pub(crate) fn logged(action: impl FnOnce()) -> Vec<String> {
    use std::sync::Arc;

    use parking_lot::Mutex;

    struct Messages(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Messages {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if *event.metadata().level() <= Level::WARN {
                let mut message = String::new();
                event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
                    if field.name() == "message" {
                        message = format!("{value:?}");
                    }
                });
                self.0.lock().push(message);
            }
        }
    }

    let messages = Arc::default();
    let subscriber = Registry::default().with(Messages(Arc::clone(&messages)));
    tracing::subscriber::with_default(subscriber, action);
    std::mem::take(&mut *messages.lock())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(message: &str, others: Vec<(&'static str, Value)>) -> Fields {
        Fields {
            message: message.into(),
            others,
        }
    }

    #[test]
    fn a_line_has_the_format_of_coreos_airlock() {
        let fields = fields(
            "processing client pre-reboot request",
            vec![("group", "patroni".into()), ("id", "2204af7f".into())],
        );
        assert_eq!(
            logfmt("2023-09-26T12:58:45Z", &Level::DEBUG, &fields),
            "time=\"2023-09-26T12:58:45Z\" level=debug msg=\"processing client pre-reboot request\" group=patroni id=2204af7f\n"
        );
    }

    #[test]
    fn a_client_cannot_forge_a_line_or_a_field() {
        let forged = "x level=error\ntime=\"now\" msg=\"pwned\"";
        let line = logfmt("t", &Level::WARN, &fields("m", vec![("id", forged.into())]));
        assert_eq!(
            line,
            "time=\"t\" level=warning msg=\"m\" id=\"x level=error\\ntime=\\\"now\\\" msg=\\\"pwned\\\"\"\n"
        );
        let line = json("t", &Level::INFO, fields("m", vec![("id", forged.into())]));
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap()["id"],
            Value::from(forged)
        );
    }

    #[test]
    fn numbers_are_written_without_quotes_and_addresses_with_quotes() {
        let fields = fields(
            "m",
            vec![
                ("port", 2222.into()),
                ("endpoints", "[http://127.0.0.1:2379]".into()),
                ("empty", "".into()),
            ],
        );
        assert_eq!(
            logfmt("t", &Level::ERROR, &fields),
            "time=\"t\" level=error msg=\"m\" port=2222 endpoints=\"[http://127.0.0.1:2379]\" empty=\n"
        );
    }

    /// Counts the `name=value` pairs that a parser of logfmt finds.
    fn count_fields(line: &str) -> usize {
        let (mut fields, mut quoted, mut escaped) = (1, false, false);
        for c in line.trim_end_matches('\n').chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ' ' if !quoted => fields += 1,
                _ => {}
            }
        }
        assert!(!quoted, "{line}");
        fields
    }

    proptest! {
        #[test]
        fn any_text_stays_within_its_field_and_line(
            message: String,
            // Favors the characters that have a meaning in logfmt.
            id in "[ a=\"\\\\]{0,4}|.*",
        ) {
            let fields = || fields(&message, vec![("id", id.as_str().into()), ("port", 1.into())]);
            let line = logfmt("t", &Level::INFO, &fields());
            prop_assert_eq!(line.find(char::is_control), Some(line.len() - 1), "{}", line);
            prop_assert_eq!(count_fields(&line), 5, "{}", line);
            let line = json("t", &Level::INFO, fields());
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1), "{}", line);
            let read: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["id"].as_str(), Some(id.as_str()));
        }
    }
}
