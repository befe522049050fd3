//! The store that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use super::Store;
use super::etcd::{Credentials, CredentialsError, EtcdStore};
use super::sqlite::{OpenError, SqliteStore};
use crate::config::StoreSettings;

/// Why there is no store to use.
#[derive(Debug, thiserror::Error)]
pub enum StoreSetupError {
    #[error("{0} (embedded.path)")]
    Embedded(#[from] OpenError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// A store, and what can be read again of one in etcd.
pub type Opened = (Arc<dyn Store>, Option<Arc<Credentials>>);

/// Opens the embedded store, or prepares the clients of etcd, which connect when first used.
///
/// # Errors
/// If a file that the configuration names cannot be used.
pub fn open(
    settings: &StoreSettings,
    timeout: Duration,
) -> Result<Arc<dyn Store>, StoreSetupError> {
    open_watched(settings, timeout).map(|(store, _)| store)
}

/// The same, with what can be read again.
///
/// # Errors
/// As [`open`].
pub fn open_watched(
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
