//! The file of the embedded store, for the commands that copy it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::CliError;
use crate::config::{Loaded, Settings, StoreSettings};

/// The configured file.
pub(super) struct StoreFile {
    pub(super) settings: Settings,
    pub(super) path: PathBuf,
    /// The configuration that names the file.
    pub(super) config: PathBuf,
    /// The time for which another process may keep the file locked.
    pub(super) busy_timeout: Duration,
}

// === impl StoreFile ===

impl StoreFile {
    /// Returns the file that the configuration names.
    ///
    /// # Errors
    /// If the store is etcd, whose own programs do what `command` does.
    pub(super) fn new(
        loaded: Loaded,
        config: &Path,
        command: &'static str,
    ) -> Result<Self, CliError> {
        let settings = loaded.settings;
        match &settings.store {
            StoreSettings::Embedded { path } => Ok(StoreFile {
                path: std::path::absolute(path).unwrap_or_else(|_| path.clone()),
                config: config.to_owned(),
                busy_timeout: settings.transaction_timeout / 2,
                settings,
            }),
            StoreSettings::Etcd(_) => Err(CliError::NotEmbedded {
                command,
                config: config.to_owned(),
            }),
        }
    }

    /// Names the file and the configuration.
    pub(super) fn location(&self) -> String {
        format!(
            "file {} (from {})",
            self.path.display(),
            self.config.display()
        )
    }
}
