//! Opens the configured store.

use std::sync::Arc;
use std::time::Duration;

use super::Store;
use super::etcd::{Credentials, CredentialsError, EtcdStore};
use super::sqlite::{OpenError, SqliteStore};
use crate::config::StoreSettings;
use crate::text::explain::Remedy;

/// The reason why the configured store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreSetupError {
    #[error(transparent)]
    Embedded(#[from] OpenError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

// === impl StoreSetupError ===

impl StoreSetupError {
    /// Returns the key of the configuration that names the file.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            StoreSetupError::Embedded(_) => "embedded.path",
            StoreSetupError::Credentials(error) => error.key(),
        }
    }

    /// Reports whether the user of this process may not write the embedded store.
    pub(crate) fn is_denied(&self) -> bool {
        match self {
            StoreSetupError::Embedded(error) => error.is_denied(),
            StoreSetupError::Credentials(_) => false,
        }
    }
}

impl Remedy for StoreSetupError {
    fn remedy(&self) -> Option<String> {
        match self {
            StoreSetupError::Embedded(error) => error.remedy(),
            StoreSetupError::Credentials(error) => error.remedy(),
        }
    }
}

/// A store, and the credentials of etcd, which can be reloaded.
pub(crate) type Opened = (Arc<dyn Store>, Option<Arc<Credentials>>);

/// Opens the embedded store, or prepares the clients of etcd, which connect at the first call.
///
/// # Errors
/// If a file that the configuration names cannot be used.
pub(crate) fn open(
    settings: &StoreSettings,
    timeout: Duration,
) -> Result<Arc<dyn Store>, StoreSetupError> {
    open_reloadable(settings, timeout).map(|(store, _)| store)
}

/// Does the same as [`open`], and also returns the credentials.
///
/// # Errors
/// The same as those of [`open`].
pub(crate) fn open_reloadable(
    settings: &StoreSettings,
    timeout: Duration,
) -> Result<Opened, StoreSetupError> {
    match settings {
        StoreSettings::Embedded { path } => Ok((Arc::new(SqliteStore::open(path, timeout)?), None)),
        StoreSettings::Etcd(settings) => {
            let endpoints = settings.endpoints.clone();
            let credentials = Arc::new(Credentials::load(settings.clone())?);
            let store = EtcdStore::new(endpoints, Arc::clone(&credentials), timeout);
            Ok((Arc::new(store), Some(credentials)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_key_and_has_the_remedy_of_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings::Embedded {
            path: folder.path().join("missing/airlock.db"),
        };
        let error = open(&settings, Duration::from_secs(1)).err().unwrap();
        assert_eq!(error.key(), "embedded.path");
        assert!(!error.is_denied());
        let remedy = error.remedy().unwrap();
        assert!(remedy.contains("create the folder"), "{remedy}");
    }
}
