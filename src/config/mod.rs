//! The configuration: read once, checked as a whole, all problems reported together.
//!
//! `document` knows TOML and where everything stands in it, `file` the keys, `settings` what they mean.

mod document;
mod file;
mod settings;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

pub use settings::{
    EtcdSettings, EtcdUser, GroupSettings, KeyPair, Limits, ListenSettings, Settings,
    SlotsMismatch, StoreSettings, TlsSettings,
};

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/airlock/config.toml";

/// One thing to say about one place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub file: PathBuf,
    /// Counted from 1; `None` where it is about something that is not there.
    pub line: Option<usize>,
    /// The full name of the key, such as `etcd3.endpoints`; empty where it is about the whole file.
    pub key: String,
    /// What is wrong and what to do.
    pub text: String,
}

/// Why there are no settings: every problem of the file. Its text is the errors alone.
#[derive(Debug, thiserror::Error)]
#[error("{}", joined(.errors))]
pub struct Problems {
    pub errors: Vec<Diagnostic>,
    /// What is odd besides, and may be the cause: a section that is misspelt, for one.
    pub warnings: Vec<Diagnostic>,
}

/// Settings, and what is odd but no reason not to start.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks the file.
///
/// # Errors
/// All problems at once, each with its file, line, key and remedy.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let error = Diagnostic {
            file: path.to_owned(),
            line: None,
            key: String::new(),
            text: format!("cannot be read: {error}; name the file with -c/--config"),
        };
        Problems {
            errors: vec![error],
            warnings: Vec::new(),
        }
    })?;
    parse(path, &text)
}

/// What is odd about a file, whether it is good otherwise or not.
pub fn warnings(loaded: &Result<Loaded, Problems>) -> &[Diagnostic] {
    match loaded {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => &problems.warnings,
    }
}

/// Checks `text`, which is what `path` has in it.
pub fn parse(path: &Path, text: &str) -> Result<Loaded, Problems> {
    let mut notes = document::Notes::new(path, text);
    let settings = file::File::read(&mut notes).and_then(|file| Settings::check(file, &mut notes));
    match settings {
        Some(settings) if notes.errors.is_empty() => Ok(Loaded {
            settings,
            warnings: notes.warnings,
        }),
        _ => Err(Problems {
            errors: notes.errors,
            warnings: notes.warnings,
        }),
    }
}

fn joined(problems: &[Diagnostic]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

// === impl Diagnostic ===

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}
