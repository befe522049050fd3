//! The credentials of this server for etcd, and the CA that it trusts, from files that are reloaded when they change.

use std::path::{Path, PathBuf};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use parking_lot::RwLock;

use crate::config::EtcdSettings;
use crate::file::{self, FileError};
use crate::reloadable::{Reload, ReloadError};
use crate::text::explain::Remedy;
use crate::tls::{self, TlsError};

/// The CA, the client certificate and the user, as of the last successful load.
pub struct Credentials {
    settings: EtcdSettings,
    current: RwLock<Current>,
}

/// The reason why the files cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The CA cannot be used.
    #[error(transparent)]
    Ca(TlsError),
    /// The client certificate cannot be used.
    #[error(transparent)]
    ClientCert(TlsError),
    /// The password cannot be read.
    #[error(transparent)]
    Password(#[from] FileError),
    /// The password is empty.
    #[error("{}: is empty", path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
}

struct Current {
    /// The number of reloads so far.
    generation: u64,
    loaded: EtcdFiles,
}

struct EtcdFiles {
    tls: TlsOptions,
    /// The name and the password.
    user: Option<(String, String)>,
    /// The common name of the client certificate.
    common_name: Option<String>,
}

// === impl CredentialsError ===

impl CredentialsError {
    /// Returns the key of the configuration that names the file.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            CredentialsError::Ca(_) => "etcd3.ca_cert_path",
            CredentialsError::ClientCert(_) => "etcd3.client_cert_pub_path",
            CredentialsError::Password(_) | CredentialsError::NoPassword { .. } => {
                "etcd3.password_path"
            }
        }
    }
}

impl Remedy for CredentialsError {
    fn remedy(&self) -> Option<String> {
        match self {
            CredentialsError::Ca(error) | CredentialsError::ClientCert(error) => error.remedy(),
            CredentialsError::Password(error) => error.remedy(),
            CredentialsError::NoPassword { .. } => {
                Some("write the password of the etcd user into it".into())
            }
        }
    }
}

// === impl Credentials ===

impl Credentials {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// If a file cannot be used.
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

    /// Returns the generation of the credentials. Connections of an older generation have to be replaced.
    pub(super) fn generation(&self) -> u64 {
        self.current.read().generation
    }

    /// Returns the settings that name the files.
    pub(super) fn settings(&self) -> &EtcdSettings {
        &self.settings
    }

    /// Returns the TLS options of a connection to the endpoint `url`; `None` if it is a plain one.
    pub(super) fn tls(&self, url: &str) -> Option<TlsOptions> {
        let is_tls = url.starts_with("https://");
        is_tls.then(|| self.current.read().loaded.tls.clone())
    }

    /// Returns the name and the password of the user.
    pub(super) fn user(&self) -> Option<(String, String)> {
        self.current.read().loaded.user.clone()
    }

    /// Returns the user that etcd takes from the client certificate (`--client-cert-auth`); `None` if a user is
    /// configured.
    pub(super) fn certificate_user(&self, url: &str) -> Option<String> {
        let uses_certificate = self.settings.user.is_none() && url.starts_with("https://");
        let name = || self.current.read().loaded.common_name.clone();
        uses_certificate.then(name).flatten()
    }

    /// Returns the options of a connection to the endpoint `url`.
    pub(super) fn options(&self, url: &str) -> ConnectOptions {
        let options = self.options_without_user(url);
        match self.user() {
            Some((name, password)) => options.with_user(name, password),
            None => options,
        }
    }

    /// Returns the options of a connection to the endpoint `url`, on which no user is authenticated.
    pub(super) fn options_without_user(&self, url: &str) -> ConnectOptions {
        let options = ConnectOptions::new();
        match self.tls(url) {
            Some(tls) => options.with_tls(tls),
            None => options,
        }
    }

    /// Returns the options with which etcdctl uses the same credentials. etcdctl prompts for the password.
    pub(super) fn etcdctl_options(&self) -> Vec<String> {
        let EtcdSettings {
            endpoints: _,
            cluster_id: _,
            ca_cert_path,
            client_cert,
            user,
        } = &self.settings;
        let mut options = Vec::new();
        let mut option = |name: &str, value: String| options.extend([name.to_owned(), value]);
        // The command must not depend on the directory in which it is run.
        let absolute = |path: &PathBuf| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.display().to_string()
        };
        if let Some(path) = ca_cert_path {
            option("--cacert", absolute(path));
        }
        if let Some(pair) = client_cert {
            option("--cert", absolute(&pair.cert_path));
            option("--key", absolute(&pair.key_path));
        }
        if let Some(user) = user {
            option("--user", user.name.clone());
        }
        options
    }
}

impl Reload for Credentials {
    fn what(&self) -> String {
        "etcd3".into()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let EtcdSettings {
            endpoints: _,
            cluster_id: _,
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

    fn reload(&self) -> Result<(), ReloadError> {
        let loaded = load(&self.settings)?;
        let mut current = self.current.write();
        *current = Current {
            generation: current.generation + 1,
            loaded,
        };
        Ok(())
    }
}

fn load(settings: &EtcdSettings) -> Result<EtcdFiles, CredentialsError> {
    let mut tls = TlsOptions::new();
    tls = match &settings.ca_cert_path {
        None => tls.with_native_roots(),
        Some(path) => tls.ca_certificate(Certificate::from_pem(
            tls::ca_pem(path).map_err(CredentialsError::Ca)?,
        )),
    };
    if let Some(pair) = &settings.client_cert {
        let (cert, key) = tls::key_pair_pem(pair).map_err(CredentialsError::ClientCert)?;
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let client_cert = settings.client_cert.as_ref();
    let common_name = client_cert.and_then(|pair| tls::common_name(&pair.cert_path));
    let user = match &settings.user {
        None => None,
        Some(user) => Some((user.name.clone(), password(&user.password_path)?)),
    };
    Ok(EtcdFiles {
        tls,
        user,
        common_name,
    })
}

/// Reads a password, without the newline that editors append.
fn password(path: &Path) -> Result<String, CredentialsError> {
    let text = file::read_text(path)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        let path = path.to_owned();
        return Err(CredentialsError::NoPassword { path });
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests;
