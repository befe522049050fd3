//! A certificate and its key.

use std::path::PathBuf;

use crate::config::diagnostic::Located;

/// A certificate chain and its private key, both as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The file with the certificate chain.
    pub cert_path: PathBuf,
    /// The file with the private key.
    pub key_path: PathBuf,
}

// === impl KeyPair ===

impl KeyPair {
    pub(super) fn new(cert: Located<String>, key: Located<String>) -> Self {
        KeyPair {
            cert_path: cert.value.into(),
            key_path: key.value.into(),
        }
    }
}
