//! The configuration file: it is read once and checked as a whole, and all problems are reported together.
//!
//! * `read` reads the file.
//! * `toml` takes values out of the TOML document, with their lines and types; `field` is the result.
//! * `schema` lists the keys with their types, ranges and documentation; `keys` suggests a known key for an unknown one.
//! * `settings` gives them their meaning: defaults, and what must go together.
//! * `diagnostic` collects the errors and warnings of all these steps.
//! * `command` writes the command lines that messages suggest.

mod command;
mod diagnostic;
mod field;
mod keys;
mod path;
mod read;
pub(crate) mod schema;
mod settings;
mod suggest;
mod toml;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;

pub(crate) use command::command_line;
pub(crate) use diagnostic::{ConfigErrors, Diagnostic, Places};
pub(crate) use path::{DEFAULT_PATH, PATH_VARIABLE, default_path};
pub(crate) use settings::{
    CapSettings, ConfiguredGate, EventKind, GateCredentials, GateSettings, GateTarget,
    GroupSettings, Limits, ListenSettings, NotifySettings, Settings, SlotsMismatch, StoreSettings,
    TlsSettings, TooManySlots, UrlError, is_exposed, parse_url, shown_url,
};
pub use settings::{ClusterId, EtcdSettings, EtcdUser, KeyPair, MAX_ETCD_SLOTS};
pub(crate) use suggest::nearest;

use diagnostic::Diagnostics;

/// A valid configuration.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// The places of the keys, for problems with what they name.
    pub(crate) places: Places,
    /// The warnings, which do not prevent the server from starting.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// A file that was checked and may be invalid.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The settings, with a default for each value that is invalid or missing. `None`: the file cannot be read.
    pub(crate) draft: Option<Settings>,
    /// The places of the keys.
    pub(crate) places: Places,
    /// The errors, in the order of their lines.
    pub(crate) errors: Vec<Diagnostic>,
    /// The warnings, in the order of their lines.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Reads and checks the file.
///
/// # Errors
/// All errors of the file together, each with its line, key and remedy.
pub(crate) fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    check(path).into_loaded()
}

/// Reads and checks the file, for a caller that also checks what an invalid one names.
pub(crate) fn check(path: &Path) -> Checked {
    let mut diagnostics = Diagnostics::new(path);
    let draft = read::text(&mut diagnostics, path).and_then(|text| draft(&mut diagnostics, &text));
    Checked::new(diagnostics, draft)
}

/// Checks `text`, the content of the file at `path`.
///
/// # Errors
/// The same as those of [`load`].
#[cfg(any(test, fuzzing))]
pub(crate) fn parse(path: &Path, text: &str) -> Result<Loaded, ConfigErrors> {
    let mut diagnostics = Diagnostics::new(path);
    let draft = draft(&mut diagnostics, text);
    Checked::new(diagnostics, draft).into_loaded()
}

fn draft(diagnostics: &mut Diagnostics, text: &str) -> Option<Settings> {
    let file = schema::File::parse(diagnostics, text)?;
    keys::warn_of_unknown(diagnostics);
    Some(Settings::check(diagnostics, file))
}

/// Returns the warnings about a file, whether it is valid or not.
pub(crate) fn warnings(loaded: &Result<Loaded, ConfigErrors>) -> &[Diagnostic] {
    match loaded {
        Ok(loaded) => &loaded.warnings,
        Err(errors) => &errors.warnings,
    }
}

// === impl Checked ===

impl Checked {
    fn new(diagnostics: Diagnostics, draft: Option<Settings>) -> Self {
        let (places, errors, warnings) = diagnostics.finish();
        let mut checked = Checked {
            draft,
            places,
            errors,
            warnings,
        };
        checked.sort();
        checked
    }

    /// Sorts errors and warnings by line. Those without a line are last.
    pub(crate) fn sort(&mut self) {
        for list in [&mut self.errors, &mut self.warnings] {
            list.sort_by_key(|diagnostic| diagnostic.line.unwrap_or(usize::MAX));
        }
    }

    /// Returns the settings if the file is valid.
    ///
    /// # Errors
    /// All errors of the file.
    pub(crate) fn into_loaded(self) -> Result<Loaded, ConfigErrors> {
        self.into_loaded_for(|_| true)
    }

    /// Returns the settings if the sections that `needs` selects by their names are valid. The others may have defaults in
    /// place of invalid values.
    ///
    /// # Errors
    /// All errors of the file, also those of other sections.
    pub(crate) fn into_loaded_for(
        self,
        needs: impl Fn(&str) -> bool,
    ) -> Result<Loaded, ConfigErrors> {
        let mut errors = self.errors.iter();
        match self.draft {
            Some(settings) if !errors.any(|error| needs(error.section())) => Ok(Loaded {
                settings,
                places: self.places,
                warnings: self.warnings,
            }),
            _ => Err(ConfigErrors {
                errors: self.errors,
                warnings: self.warnings,
            }),
        }
    }
}
