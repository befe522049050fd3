//! The store that the configuration names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{ConnectOptions, Identity, TlsOptions};

use super::Store;
use super::etcd::EtcdStore;
use super::sqlite::{OpenError, SqliteStore};
use crate::config::{EtcdSettings, StoreSettings};

/// Why there is no store to use.
#[derive(Debug, thiserror::Error)]
pub enum StoreSetupError {
    #[error("{0} (embedded.path)")]
    Embedded(#[from] OpenError),
    #[error("{}: cannot be read: {source} ({key})", path.display())]
    File {
        path: PathBuf,
        key: &'static str,
        source: std::io::Error,
    },
}

/// Opens the embedded store, or prepares the clients of etcd, which connect when first used.
///
/// # Errors
/// If a file that the configuration names cannot be used.
pub fn open(
    settings: &StoreSettings,
    timeout: Duration,
) -> Result<Arc<dyn Store>, StoreSetupError> {
    match settings {
        StoreSettings::Embedded { path } => Ok(Arc::new(SqliteStore::open(path, timeout)?)),
        StoreSettings::Etcd(settings) => {
            let tls = tls(settings)?;
            let endpoints = settings.endpoints.iter().map(|url| {
                let mut options = ConnectOptions::new();
                if url.starts_with("https://") {
                    options = options.with_tls(tls.clone());
                }
                (url.clone(), options)
            });
            Ok(Arc::new(EtcdStore::new(endpoints.collect(), timeout)))
        }
    }
}

fn tls(settings: &EtcdSettings) -> Result<TlsOptions, StoreSetupError> {
    let mut tls = TlsOptions::new().with_native_roots();
    if let Some(pair) = &settings.client_cert {
        let cert = read(&pair.cert_path, "etcd3.client_cert_pub_path")?;
        let key = read(&pair.key_path, "etcd3.client_cert_key_path")?;
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    Ok(tls)
}

fn read(path: &PathBuf, key: &'static str) -> Result<Vec<u8>, StoreSetupError> {
    std::fs::read(path).map_err(|source| StoreSetupError::File {
        path: path.clone(),
        key,
        source,
    })
}
