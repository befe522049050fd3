//! The errors and warnings about a configuration file, each with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::text::escape::{printable, redacted, shortened};

/// An error or a warning about one place of the configuration.
///
/// Its text form is the message, followed by the place:
/// `expected true or false, found 1 (config.toml:3, service.tls)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// The configuration file.
    pub(crate) file: PathBuf,
    /// The line, counted from 1; `None` if the problem is something that the file does not contain.
    pub(crate) line: Option<usize>,
    /// The full name of the key, such as `lock.groups[1].slots`; empty if the whole file is the problem.
    pub(crate) key: String,
    /// The message: the problem, the value found, and the remedy.
    pub(crate) text: String,
}

/// The reason why a configuration cannot be used: all errors of the file. Its text form lists the errors only.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.errors))]
pub(crate) struct ConfigErrors {
    /// The errors, in the order of their lines. Never empty.
    pub(crate) errors: Vec<Diagnostic>,
    /// The warnings, which may point to the cause of an error: a misspelt section, for example.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// The places of the keys of one file, for problems that are found after the file was read.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
}

/// The errors and warnings about one file, collected while the file is read and checked.
pub(super) struct Diagnostics {
    places: Places,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// The keys of the file that are not known, each with the name of its table.
    unknown: Vec<(String, Located<String>)>,
}

/// A value and its place in the file.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    /// The line; `None` for a table that the file does not contain.
    pub(super) line: Option<usize>,
    /// The full name of the key.
    pub(super) key: String,
}

/// The maximum number of characters of a key in a summary.
const MAX_KEY: usize = 200;

/// Quotes a value for a message. The result fits on a line and contains no control characters, and no password of a URL.
pub(super) fn quote(value: &str) -> String {
    const MAX_CHARS: usize = 100;
    let value = redacted(value);
    match value.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// Returns the line of a byte of the text, counted from 1.
pub(super) fn line(text: &str, start: usize) -> usize {
    let before = text.get(..start).unwrap_or(text);
    1 + before.matches('\n').count()
}

/// Joins the name of a table and a key, which may contain any character; the name of the document is empty.
pub(super) fn join(table: &str, key: &str) -> String {
    let key = printable(key);
    if table.is_empty() {
        key.into_owned()
    } else {
        format!("{table}.{key}")
    }
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

// === impl Diagnostic ===

impl Diagnostic {
    /// Returns the section of the key, such as `lock`; empty if the whole file is the problem.
    pub(crate) fn section(&self) -> &str {
        self.key.split(['.', '[', ',']).next().unwrap_or_default()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.text, self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ", {}", self.key)?;
        }
        write!(f, ")")
    }
}

// === impl ConfigErrors ===

impl ConfigErrors {
    /// Returns the first error, of which at most `max` characters, and the number of the others.
    pub(crate) fn summary(&self, max: usize) -> String {
        let first = self.errors.first().map(ToString::to_string);
        let first = first.unwrap_or_default();
        let first = shortened(&first, max);
        match self.errors.len().saturating_sub(1) {
            0 => first.into_owned(),
            more => format!("{first} (and {more} more)"),
        }
    }

    /// Returns the number of errors and the place of the first one, without any value of the file, which may be secret:
    /// `2 errors, the first at line 3, lock.windows[0].days`.
    pub(crate) fn places(&self) -> String {
        let first = self.errors.first();
        let line = first.and_then(|first| first.line);
        let line = line.map(|line| format!("line {line}"));
        let key = first.map(|first| shortened(&first.key, MAX_KEY).into_owned());
        let key = key.filter(|key| !key.is_empty());
        let place: Vec<String> = line.into_iter().chain(key).collect();
        match (self.errors.len(), place.join(", ")) {
            (1, place) if place.is_empty() => "1 error".to_owned(),
            (1, place) => format!("1 error, at {place}"),
            (number, place) if place.is_empty() => format!("{number} errors"),
            (number, place) => format!("{number} errors, the first at {place}"),
        }
    }
}

// === impl Places ===

impl Places {
    /// Returns a diagnostic about the values of `keys`, at the line of the first one. A key that the file does not
    /// contain has the line of its table.
    pub(crate) fn diagnostic(&self, keys: &[&str], text: String) -> Diagnostic {
        let line = |key: &&str| {
            let table = key.rsplit_once('.').map(|(table, _)| table);
            let line = self.lines.get(*key);
            line.or_else(|| self.lines.get(table?)).copied()
        };
        Diagnostic {
            file: self.file.clone(),
            line: keys.first().and_then(line),
            key: keys.join(", "),
            text,
        }
    }
}

// === impl Diagnostics ===

impl Diagnostics {
    pub(super) fn new(file: &Path) -> Self {
        Diagnostics {
            places: Places {
                file: file.to_owned(),
                lines: BTreeMap::new(),
            },
            errors: Vec::new(),
            warnings: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Records the place of a key that the file contains.
    pub(super) fn found<T>(&mut self, located: &Located<T>) {
        if let Some(line) = located.line {
            self.places.lines.insert(located.key.clone(), line);
        }
    }

    /// Adds an error, which prevents the server from starting.
    pub(super) fn error<T>(&mut self, located: &Located<T>, text: impl Into<String>) {
        self.error_at(located.line, &located.key, text);
    }

    /// Reports whether there is an error about `key` or something in it.
    pub(super) fn has_error_in(&self, key: &str) -> bool {
        self.errors.iter().any(|error| error.key.starts_with(key))
    }

    /// Adds an error about a place that has no value.
    pub(super) fn error_at(&mut self, line: Option<usize>, key: &str, text: impl Into<String>) {
        let diagnostic = self.diagnostic(line, key, text.into());
        self.errors.push(diagnostic);
    }

    /// Adds a warning.
    pub(super) fn warning<T>(&mut self, located: &Located<T>, text: impl Into<String>) {
        let diagnostic = self.diagnostic(located.line, &located.key, text.into());
        self.warnings.push(diagnostic);
    }

    /// Records a key that is none of those of its table. The name of the table has no array indices.
    pub(super) fn unknown(&mut self, table: &str, key: Located<String>) {
        self.unknown.push((table.to_owned(), key));
    }

    /// Takes the unknown keys.
    pub(super) fn take_unknown(&mut self) -> Vec<(String, Located<String>)> {
        std::mem::take(&mut self.unknown)
    }

    /// Returns the places, the errors and the warnings.
    pub(super) fn finish(self) -> (Places, Vec<Diagnostic>, Vec<Diagnostic>) {
        (self.places, self.errors, self.warnings)
    }

    fn diagnostic(&self, line: Option<usize>, key: &str, text: String) -> Diagnostic {
        Diagnostic {
            file: self.places.file.clone(),
            line,
            key: key.to_owned(),
            text,
        }
    }
}

// === impl Located ===

impl<T> Located<T> {
    /// Returns the place with another value.
    pub(super) fn with<U>(&self, value: U) -> Located<U> {
        Located {
            value,
            line: self.line,
            key: self.key.clone(),
        }
    }

    /// Returns the place for a key that this table does not contain: the line of the table.
    pub(super) fn missing(&self, key: &str) -> Located<()> {
        Located {
            value: (),
            line: self.line,
            key: join(&self.key, key),
        }
    }
}
