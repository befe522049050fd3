//! The log on standard error: logfmt as coreos/airlock writes it, or JSON, with one line per event.
//!
//! A separate thread writes the lines. If it falls behind, lines are dropped, so that logging never delays a request.

mod queue;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, LazyLock};
use std::thread;

use jiff::Timestamp;
use prometheus::{IntCounter, Registry as Metrics};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use crate::text::escape::{escaped_json, quoted};
use queue::Queue;

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// `time="…" level=debug msg="…" group=default`
    #[default]
    Logfmt,
    /// `{"time":"…","level":"debug","msg":"…","group":"default"}`
    Json,
}

/// The maximum length of a field in bytes: group names and ids of nodes have at most 253.
const MAX_VALUE: usize = 300;

/// The maximum length of a sentence in bytes. The server writes them, and they end with the remedy.
const MAX_SENTENCE: usize = 2_048;

/// The fields that contain a sentence.
const SENTENCES: [&str; 5] = ["message", "changes", "error", "reason", "remedy"];

#[expect(clippy::expect_used, reason = "the name is valid")]
static DROPPED_LINES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Lines of the log that were dropped: standard error was not read fast enough, or a write failed.";
    IntCounter::new("airlock_log_lines_dropped_total", help).expect("a valid counter")
});

/// Flushes the log when it is dropped.
pub(crate) struct LogGuard(Arc<Queue>);

/// Starts the log on standard error: events of Airlock up to `verbosity` (the number of `-v` flags), and warnings of
/// libraries.
///
/// # Errors
/// If no thread can be started.
pub(crate) fn init(verbosity: u8, format: Format) -> io::Result<LogGuard> {
    let queue = Arc::new(Queue::new(DROPPED_LINES.clone()));
    let writer = Arc::clone(&queue);
    let report = move |dropped| dropped_line(format, dropped);
    thread::Builder::new()
        .name("log".into())
        .spawn(move || writer.write_to(io::stderr(), report))?;
    let lines = Lines {
        level: level(verbosity),
        format,
        queue: Arc::clone(&queue),
    };
    // A second call, as from tests in one process, keeps the first log.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(lines));
    Ok(LogGuard(queue))
}

/// Registers the metric of the log. There is one log, so it counts for the process.
///
/// # Errors
/// If the name is registered already.
pub(crate) fn register(metrics: &Metrics) -> Result<(), prometheus::Error> {
    metrics.register(Box::new(DROPPED_LINES.clone()))
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

/// Writes one line for each event.
struct Lines {
    level: Level,
    format: Format,
    queue: Arc<Queue>,
}

/// The target of events that are logged at every verbosity.
pub(crate) const ALWAYS: &str = "airlock::always";

/// Reports whether an event is logged: those of this crate up to `level` or with the target [`ALWAYS`], and the warnings
/// of libraries.
pub(crate) fn is_enabled(level: Level, metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_own = target.split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    target == ALWAYS || *metadata.level() <= if is_own { level } else { Level::WARN }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_enabled(self.level, metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Events with the target `ALWAYS` have this level.
        Some(self.level.max(Level::INFO).into())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.queue
            .push(&line(self.format, event.metadata().level(), fields));
    }
}

// === impl LogGuard ===

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Returns the line that stands for dropped ones.
fn dropped_line(format: Format, dropped: u64) -> String {
    let noun = if dropped == 1 { "line" } else { "lines" };
    let message = format!(
        "dropped {dropped} {noun} of the log: standard error was not read fast enough, or a write failed"
    );
    let fields = Fields {
        message,
        others: Vec::new(),
    };
    line(format, &Level::WARN, fields)
}

/// Formats an event of this moment as a line.
fn line(format: Format, level: &Level, fields: Fields) -> String {
    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    match format {
        Format::Logfmt => logfmt(&time, level, &fields),
        Format::Json => json(&time, level, fields),
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
    let line = Value::Object(line).to_string();
    format!("{}\n", escaped_json(&line))
}

/// Returns at most `max` bytes of a value, with its length if there are more.
fn truncated(value: &str, max: usize) -> String {
    if value.len() <= max {
        return value.to_owned();
    }
    let start = &value[..value.floor_char_boundary(max)];
    format!("{start}…({} bytes)", value.len())
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
        let is_sentence = SENTENCES.contains(&field.name());
        let text = truncated(value, if is_sentence { MAX_SENTENCE } else { MAX_VALUE });
        if field.name() == "message" {
            self.message = text;
        } else {
            self.push(field, text.into());
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
