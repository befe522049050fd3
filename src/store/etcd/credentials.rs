//! How this server shows itself to etcd, and which etcd it trusts: made of files that may change.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use crate::config::EtcdSettings;
use crate::files::FromFiles;
use crate::tls::{self, TlsError};

/// The CA, the client certificate and the user, as the files had them when they were last read.
pub struct Credentials {
    settings: EtcdSettings,
    current: RwLock<Current>,
}

/// Why the files cannot be used. It names the file and the key of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("{source} ({keys})")]
    Certificate {
        keys: &'static str,
        source: TlsError,
    },
    #[error("{}: cannot be read: {source} (etcd3.password_path)", path.display())]
    Password {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: is empty; write the password of the etcd user into it (etcd3.password_path)", path.display())]
    NoPassword { path: PathBuf },
}

struct Current {
    /// Counts the changes.
    generation: u64,
    loaded: Loaded,
}

struct Loaded {
    tls: TlsOptions,
    /// Name and password.
    user: Option<(String, String)>,
}

// === impl Credentials ===

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be used.
    pub fn load(settings: EtcdSettings) -> Result<Self, CredentialsError> {
        let loaded = load(&settings)?;
        Ok(Credentials {
            settings,
            current: RwLock::new(Current {
                generation: 0,
                loaded,
            }),
        })
    }

    /// Another one means that connections have to be made anew.
    pub fn generation(&self) -> u64 {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .generation
    }

    /// What a connection to this endpoint needs.
    pub fn options(&self, url: &str) -> ConnectOptions {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let mut options = ConnectOptions::new();
        if url.starts_with("https://") {
            options = options.with_tls(current.loaded.tls.clone());
        }
        if let Some((name, password)) = &current.loaded.user {
            options = options.with_user(name, password);
        }
        options
    }
}

impl FromFiles for Credentials {
    fn what(&self) -> String {
        "etcd3".into()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let EtcdSettings {
            endpoints: _,
            ca_cert_path,
            client_cert,
            user,
        } = &self.settings;
        let mut paths: Vec<PathBuf> = ca_cert_path.iter().cloned().collect();
        if let Some(pair) = client_cert {
            paths.extend([pair.cert_path.clone(), pair.key_path.clone()]);
        }
        paths.extend(user.as_ref().map(|user| user.password_path.clone()));
        paths
    }

    fn reload(&self) -> Result<(), String> {
        let loaded = load(&self.settings).map_err(|error| error.to_string())?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current {
            generation: current.generation + 1,
            loaded,
        };
        Ok(())
    }
}

fn load(settings: &EtcdSettings) -> Result<Loaded, CredentialsError> {
    let mut tls = TlsOptions::new();
    tls = match &settings.ca_cert_path {
        None => tls.with_native_roots(),
        Some(path) => {
            let keys = "etcd3.ca_cert_path";
            let failed = |source| CredentialsError::Certificate { keys, source };
            tls.ca_certificate(Certificate::from_pem(tls::cas(path).map_err(failed)?))
        }
    };
    if let Some(pair) = &settings.client_cert {
        let keys = "etcd3.client_cert_pub_path, etcd3.client_cert_key_path";
        let failed = |source| CredentialsError::Certificate { keys, source };
        let (cert, key) = tls::pair(pair).map_err(failed)?;
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let user = match &settings.user {
        None => None,
        Some(user) => Some((user.name.clone(), password(&user.password_path)?)),
    };
    Ok(Loaded { tls, user })
}

/// The file without the end of its line, which editors add.
fn password(path: &Path) -> Result<String, CredentialsError> {
    let path = || path.to_owned();
    let text = std::fs::read_to_string(path()).map_err(|source| CredentialsError::Password {
        path: path(),
        source,
    })?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(CredentialsError::NoPassword { path: path() });
    }
    Ok(password.to_owned())
}
