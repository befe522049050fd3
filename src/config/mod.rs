//! The configuration file: it is read once and checked as a whole, and all problems are reported together.
//!
//! * `read` reads the file.
//! * `toml` takes values out of the TOML document, with their lines and types; `field` is the result.
//! * `schema` lists the keys with their types and ranges; `keys` suggests a known key for an unknown one.
//! * `settings` gives them their meaning: defaults, and what must go together.
//! * `diagnostic` collects the errors and warnings of all these steps.

mod diagnostic;
mod field;
mod keys;
mod read;
mod schema;
mod settings;
mod suggest;
mod toml;

#[cfg(test)]
mod tests;

use std::path::Path;

pub(crate) use diagnostic::{ConfigErrors, Diagnostic};
pub use settings::{EtcdSettings, EtcdUser, KeyPair, MAX_ETCD_SLOTS};
pub(crate) use settings::{
    GroupSettings, Limits, ListenSettings, Settings, SlotsMismatch, StoreSettings, TlsSettings,
};

use diagnostic::Diagnostics;

/// The configuration file that is read unless the command line names another one.
pub(crate) const DEFAULT_PATH: &str = "/etc/airlock/config.toml";

/// A valid configuration.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// The warnings, which do not prevent the server from starting.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Reads and checks the file.
///
/// # Errors
/// All errors of the file together, each with its line, key and remedy.
pub(crate) fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    let mut diagnostics = Diagnostics::new(path);
    match read::text(&mut diagnostics, path) {
        Some(text) => parse(path, &text),
        None => loaded(diagnostics, None),
    }
}

/// Checks `text`, the content of the file at `path`.
///
/// # Errors
/// As for [`load`].
pub(crate) fn parse(path: &Path, text: &str) -> Result<Loaded, ConfigErrors> {
    let mut diagnostics = Diagnostics::new(path);
    let settings = schema::File::read(&mut diagnostics, text)
        .and_then(|file| Settings::check(&mut diagnostics, file));
    loaded(diagnostics, settings)
}

/// Returns the warnings about a file, whether it is valid or not.
pub(crate) fn warnings(loaded: &Result<Loaded, ConfigErrors>) -> &[Diagnostic] {
    match loaded {
        Ok(loaded) => &loaded.warnings,
        Err(errors) => &errors.warnings,
    }
}

fn loaded(diagnostics: Diagnostics, settings: Option<Settings>) -> Result<Loaded, ConfigErrors> {
    let (settings, warnings) = diagnostics.finish(settings)?;
    Ok(Loaded { settings, warnings })
}
